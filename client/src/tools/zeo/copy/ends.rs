//! What a copy goes from and to, by what the user has written.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::is_magic;
use crate::tools::zeo::Failure;
use crate::tools::zeo::server::Place;
use crate::{Address, ClientConfig};

/// One end of a copy.
#[derive(Debug)]
pub(super) enum End {
    /// A storage of a server.
    Server(Box<Place>),
    /// A data file, which may not be there.
    File(PathBuf),
}

impl End {
    /// An address, a data file, or a configuration file: whatever is there decides, and after that the spelling.
    pub(super) fn parse(text: &str, storage: &str, timeout: Duration) -> Result<Self, Failure> {
        let path = Path::new(text);
        if let Ok(metadata) = std::fs::metadata(path) {
            if metadata.file_type().is_socket() {
                return Ok(Self::server(path.into(), storage, timeout));
            }
            if metadata.is_file() {
                return if metadata.len() == 0 || has_magic(path)? {
                    Ok(Self::File(path.into()))
                } else {
                    Ok(Self::Server(Place::new(ClientConfig::load(path)?).into()))
                };
            }
        }
        if path.extension().is_some_and(|extension| extension == "fs") {
            return Ok(Self::File(path.into()));
        }
        Ok(Self::server(text.parse()?, storage, timeout))
    }

    fn server(address: Address, storage: &str, timeout: Duration) -> Self {
        Self::Server(Place::at(address, storage, timeout).into())
    }
}

/// Whether the file begins as data files do.
fn has_magic(path: &Path) -> Result<bool, Failure> {
    let mut magic = Vec::new();
    let file = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    file.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(is_magic(&magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_servers_and_files_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let kind = |text: &str| match End::parse(text, "main", Duration::ZERO) {
            Ok(End::Server(place)) => place.to_string(),
            Ok(End::File(_)) => "file".to_owned(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(kind("8100"), "storage main at 127.0.0.1:8100");
        assert_eq!(kind("/nowhere/zeo.sock"), "storage main at /nowhere/zeo.sock");
        assert_eq!(kind("/nowhere/Data.fs"), "file");
        assert_eq!(kind("Data.fs"), "file");
        assert_eq!(kind(&file("data", b"FS30")), "file");
        assert_eq!(kind(&file("old", b"FS21more")), "file");
        assert_eq!(kind(&file("empty", b"")), "file");
        let config = file("zeo.conf", b"<clientstorage>\nserver 8101\nstorage two\n</clientstorage>\n");
        assert_eq!(kind(&config), "storage two at 127.0.0.1:8101");
        assert!(kind("nonsense").starts_with("error: "));
        assert!(kind(&file("text", b"hello\n")).starts_with("error: "));
    }
}
