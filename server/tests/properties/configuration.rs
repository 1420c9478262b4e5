//! A configuration of any text.

use std::io;
use std::path::Path;

use zeo_server::config::{Config, Overrides};
use zeo_server::zconfig::{Environment, Limits, parse_text};

/// The first of the texts, which NUL bytes part, is the configuration; the others are files that it may include by
/// their numbers, and values of environment variables called `A`, `B`, and so on. It is understood, or refused with a
/// line that there is.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let texts = Texts(text.split('\0').collect());
    let main = texts.0.first().copied().unwrap_or_default();
    let line_count_max =
        u32::try_from(texts.0.iter().map(|text| text.lines().count()).max().unwrap_or_default() + 1).unwrap();
    match parse_text(main, Path::new("/c/zeo.conf"), &texts, Limits::default()) {
        Ok(document) => {
            if let Err(error) = Config::from_document(&document, Overrides::default(), &texts) {
                assert!(error.at.as_ref().is_none_or(|at| at.line <= line_count_max), "{error}");
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => assert!(error.at.line <= line_count_max, "{error}"),
    }
}

struct Texts<'t>(Vec<&'t str>);

impl Environment for Texts<'_> {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>> {
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<usize>().ok());
        let text = number.and_then(|number| self.0.get(number)).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.bytes().take(len_max + 1).collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        let &[letter @ b'A'..=b'Z'] = name.as_bytes() else { return None };
        self.0.get(usize::from(letter - b'A') + 1).map(|text| (*text).to_owned())
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.ends_with("directory")
    }
}
