//! The files of a configuration: finding, bounding and reading them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::Parser;
use super::substitute::Defines;
use super::{Document, Environment, Error, ErrorKind, Import, Limits, Position, Section};

/// What all files of one configuration share.
pub(super) struct Reader<'e> {
    pub(super) environment: &'e dyn Environment,
    pub(super) limits: Limits,
    /// Definitions hold from their line on, in all files: an include sees and adds to them.
    pub(super) defines: Defines,
    pub(super) imports: Vec<Import>,
    line_count: u32,
    include_count: u32,
    /// The files that are being read, the outermost first.
    reading: Vec<PathBuf>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(environment: &'e dyn Environment, limits: Limits) -> Self {
        Self {
            environment,
            limits,
            defines: Defines::new(),
            imports: Vec::new(),
            line_count: 0,
            include_count: 0,
            reading: Vec::new(),
        }
    }

    pub(super) fn file(self, path: &Path) -> Result<Document, Error> {
        let at = Position::new(&path.to_string_lossy(), 0);
        let text = self.read(path).map_err(|kind| Error { at, kind })?;
        self.text(&text, path)
    }

    pub(super) fn text(mut self, text: &str, path: &Path) -> Result<Document, Error> {
        if text.len() > self.limits.file_len_max {
            let (path, len_max) = (path.to_string_lossy(), self.limits.file_len_max);
            let at = Position::new(&path, 0);
            return Err(Error { at, kind: ErrorKind::FileTooLong { path: path.into(), len_max } });
        }
        let file: Arc<str> = path.to_string_lossy().into();
        let root = Section {
            kind: String::new(),
            name: None,
            at: Position { file: Arc::clone(&file), line: 0 },
            items: Vec::new(),
        };
        self.reading.push(path.to_path_buf());
        let root = Parser::new(&mut self, file, root, 0).parse(text)?;
        Ok(Document { root, imports: self.imports })
    }

    /// Reads the file `target` into `section`; `at` is where it is included.
    pub(super) fn include(
        &mut self,
        target: &str,
        section: Section,
        section_depth: usize,
        at: &Position,
    ) -> Result<Section, Error> {
        let opened = self.open(target);
        let (path, text) = opened.map_err(|kind| Error { at: at.clone(), kind })?;
        let file: Arc<str> = path.to_string_lossy().into();
        self.reading.push(path);
        let section = Parser::new(self, file, section, section_depth).parse(&text)?;
        self.reading.pop();
        Ok(section)
    }

    fn open(&mut self, target: &str) -> Result<(PathBuf, String), ErrorKind> {
        let depth_max = self.limits.include_depth_max;
        if self.reading.len() > depth_max {
            return Err(ErrorKind::TooDeep { depth_max });
        }
        let count_max = self.limits.include_count_max;
        if self.include_count >= count_max {
            return Err(ErrorKind::TooManyIncludes { count_max });
        }
        self.include_count += 1;
        let relative = file_path(target).ok_or_else(|| ErrorKind::IncludeNotAFile { url: target.into() })?;
        let directory = self.reading.last().and_then(|file| file.parent()).unwrap_or_else(|| Path::new(""));
        let path = directory.join(relative);
        if self.reading.contains(&path) {
            return Err(ErrorKind::IncludeCycle { path: path.to_string_lossy().into() });
        }
        let text = self.read(&path)?;
        Ok((path, text))
    }

    fn read(&self, path: &Path) -> Result<String, ErrorKind> {
        let len_max = self.limits.file_len_max;
        let name = || path.to_string_lossy().into_owned();
        let bytes = self.environment.read(path, len_max);
        let bytes = bytes.map_err(|source| ErrorKind::Unreadable { path: name(), source })?;
        if bytes.len() > len_max {
            return Err(ErrorKind::FileTooLong { path: name(), len_max });
        }
        String::from_utf8(bytes).map_err(|_| ErrorKind::NotText { path: name() })
    }

    pub(super) fn count_line(&mut self) -> Result<(), ErrorKind> {
        let count_max = self.limits.line_count_max;
        if self.line_count >= count_max {
            return Err(ErrorKind::TooManyLines { count_max });
        }
        self.line_count += 1;
        Ok(())
    }
}

/// The path that `target` names: itself, or what follows `file://`. `None` for other URLs.
fn file_path(target: &str) -> Option<&str> {
    if let Some(path) = target.strip_prefix("file://") {
        return path.starts_with('/').then_some(path).filter(|path| !path.contains('%'));
    }
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))
    };
    let has_scheme = target.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
    (!has_scheme).then_some(target)
}

/// The real environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>> {
        let bound = u64::try_from(len_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::open(path)?.take(bound).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}
