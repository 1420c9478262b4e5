//! What a server under test is told: framing, file, and options.
//!
//! The same configuration goes to any server, so it is written in the language of Python's `runzeo`.

use std::path::{Path, PathBuf};

/// The two encodings of messages; the server announces one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Framing {
    /// `Z5`.
    Pickle,
    /// `M5`.
    Msgpack,
}

impl Framing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pickle, Self::Msgpack];

    /// As in trial names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Msgpack => "msgpack",
        }
    }

    /// What a server that speaks it says first.
    #[must_use]
    pub fn greeting(self) -> &'static str {
        match self {
            Self::Pickle => "Z5",
            Self::Msgpack => "M5",
        }
    }
}

/// What is configured: the options of `runzeo` that the trials use, by their names there.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `msgpack`.
    pub framing: Framing,
    /// `path` of the file storage `1`.
    pub storage_path: PathBuf,
    /// The section of the storage `1`; without one it is the file storage at `storage_path`, everything else by
    /// default.
    pub storage_section: Option<String>,
    /// `read-only` of the server, not of the storage.
    pub read_only: bool,
    /// `invalidation-queue-size`; the server's default if there is none.
    pub invalidation_queue_size: Option<u32>,
    /// `client-conflict-resolution`.
    pub client_conflict_resolution: bool,
    /// Further lines of keys in `<zeo>`.
    pub keys: String,
    /// What stands in `<ssl>`; empty for a server without TLS.
    pub ssl: String,
    /// The port to use again; without one any is good.
    pub port: Option<u16>,
}

impl ServerConfig {
    /// A file storage, everything else by default.
    #[must_use]
    pub fn new(framing: Framing, storage_path: PathBuf) -> Self {
        Self {
            framing,
            storage_path,
            storage_section: None,
            read_only: false,
            invalidation_queue_size: None,
            client_conflict_resolution: false,
            keys: String::new(),
            ssl: String::new(),
            port: None,
        }
    }

    /// The file, for a server that is to listen on `port`; 0 for any.
    #[must_use]
    pub fn text(&self, port: u16) -> String {
        let Self { read_only, keys, .. } = self;
        // The keys that ZEO 4 does not know stand there only where they say something.
        let framing = if self.framing == Framing::Msgpack { "  msgpack true\n" } else { "" };
        let resolution =
            if self.client_conflict_resolution { "  client-conflict-resolution true\n" } else { "" };
        let queue = match self.invalidation_queue_size {
            Some(size) => format!("  invalidation-queue-size {size}\n"),
            None => String::new(),
        };
        let plain = || file_section("1", &self.storage_path, "");
        let storage = self.storage_section.clone().unwrap_or_else(plain);
        let ssl = match self.ssl.as_str() {
            "" => String::new(),
            lines => format!("  <ssl>\n{lines}  </ssl>\n"),
        };
        format!(
            "<zeo>\n  address 127.0.0.1:{port}\n  read-only {read_only}\n{framing}{queue}{resolution}{keys}{ssl}</zeo>\n\n\
             {storage}",
        )
    }
}

/// `<filestorage NAME>`, with further lines of keys if `keys` is not empty.
#[must_use]
pub fn file_section(name: &str, path: &Path, keys: &str) -> String {
    format!("<filestorage {name}>\n  path {}\n{keys}</filestorage>\n", path.display())
}

/// The key for the blobs of a file storage.
#[must_use]
pub fn blob_dir(path: &Path) -> String {
    format!("  blob-dir {}\n", path.display())
}

/// `<blobstorage NAME>` around the section of another storage.
#[must_use]
pub fn blob_section(name: &str, blobs: &Path, inner: &str) -> String {
    format!("<blobstorage {name}>\n{}{inner}</blobstorage>\n", blob_dir(blobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_the_names_of_runzeo() {
        let config = ServerConfig {
            framing: Framing::Msgpack,
            storage_path: PathBuf::from("/tmp/x/Data.fs"),
            storage_section: None,
            read_only: false,
            invalidation_queue_size: Some(7),
            client_conflict_resolution: true,
            keys: "  transaction-timeout 3\n".to_owned(),
            ssl: String::new(),
            port: None,
        };
        let expected = "<zeo>\n  address 127.0.0.1:8100\n  read-only false\n  msgpack true\n  \
                        invalidation-queue-size 7\n  client-conflict-resolution true\n  \
                        transaction-timeout 3\n</zeo>\n\n\
                        <filestorage 1>\n  path /tmp/x/Data.fs\n</filestorage>\n";
        assert_eq!(config.text(8100), expected);
        let zeo4 = ServerConfig {
            framing: Framing::Pickle,
            invalidation_queue_size: None,
            client_conflict_resolution: false,
            keys: String::new(),
            ..config.clone()
        };
        assert!(
            zeo4.text(8100).starts_with("<zeo>\n  address 127.0.0.1:8100\n  read-only false\n</zeo>\n\n<f")
        );

        let (path, blobs) = (Path::new("/tmp/x/Data.fs"), Path::new("/tmp/x/blobs"));
        let own = file_section("1", path, &blob_dir(blobs));
        let config = ServerConfig { storage_section: Some(own.clone()), ..config };
        let expected = "<filestorage 1>\n  path /tmp/x/Data.fs\n  blob-dir /tmp/x/blobs\n</filestorage>\n";
        assert_eq!(own, expected);
        assert!(config.text(8100).ends_with(&format!("</zeo>\n\n{expected}")));
        let expected = "<blobstorage 1>\n  blob-dir /tmp/x/blobs\n<filestorage >\n  path /tmp/x/Data.fs\n\
                        </filestorage>\n</blobstorage>\n";
        assert_eq!(blob_section("1", blobs, &file_section("", path, "")), expected);
    }
}
