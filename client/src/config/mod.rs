//! The sections `<clientstorage>` (`ZEO/component.xml`, ZEO 6.2) and `<zeoclient>` (`ZODB/component.xml`, ZODB 6.4;
//! ZEO 4's), as options of a client.
//!
//! Knows keys and what they mean; [`crate::zconfig`] knows the syntax. Where ZEO has keys that do nothing since ZEO 5
//! they are taken and do nothing here, too; [`ClientConfig`] says which.

mod error;
mod fields;
mod read;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ErrorKind};
pub use read::is_client_section;

use crate::address::Address;
use crate::blob::BlobOptions;
use crate::builder::{Access, Builder};
use crate::credentials::Credentials;
use crate::tls::TlsOptions;
use crate::zconfig::{self, Environment, Limits, Section};

/// Python's default size of a cache, 20 MB (`ZEO/component.xml`).
const CACHE_LEN: u64 = 20 << 20;

/// What a section says.
///
/// What only servers of ZEO 4 ask for (`username`, `password`, `realm`, `drop-cache-rather-verify`) does nothing with
/// others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// `server`, once for each address; at least one.
    pub addresses: Vec<Address>,
    /// `storage`, default `1`.
    pub storage: String,
    /// `name`: what the storage calls itself in messages; without it, its addresses.
    pub name: Option<String>,
    /// `read-only` and `read-only-fallback`; the latter wins.
    pub access: Access,
    /// `cache-size`, default 20 MB: bytes of the cache file.
    pub cache_len: u64,
    /// `cache-path`; or `client` and `var`, from which ZEO 4 makes the name. Without it the cache file goes
    /// with the client.
    pub cache_path: Option<PathBuf>,
    /// `blob-dir`, `shared-blob-dir`, `blob-cache-size` and `blob-cache-size-check`.
    pub blobs: Option<BlobOptions>,
    /// `server-sync`, default false.
    pub server_sync: bool,
    /// `wait-timeout`, default 30 seconds, which 0 stands for as well.
    pub wait_timeout: Duration,
    /// `wait`, default true, a key of `<zeoclient>`: whether to wait for the first connection.
    pub waits: bool,
    /// `min-disconnect-poll`, a key of `<zeoclient>`, or `disconnect-poll`, one of `<clientstorage>` by the documentation of
    /// ZEO 5, in seconds; without it the default of [`Builder::disconnect_poll`].
    pub disconnect_poll: Option<Duration>,
    /// `max-disconnect-poll`, a key of `<zeoclient>`; without it the default of [`Builder::disconnect_poll_max`].
    pub disconnect_poll_max: Option<Duration>,
    /// `client-label`.
    pub label: Option<String>,
    /// `<ssl>`.
    pub tls: Option<TlsOptions>,
    /// `username`, `password` and `realm`, keys of `<zeoclient>`; the last two mean nothing without the first.
    pub credentials: Option<Credentials>,
    /// `drop-cache-rather-verify`, a key of `<zeoclient>`, default false.
    pub drops_cache: bool,
}

impl ClientConfig {
    /// What a section says that has nothing but these addresses.
    #[must_use]
    pub fn new(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            storage: "1".to_owned(),
            name: None,
            access: Access::ReadWrite,
            cache_len: CACHE_LEN,
            cache_path: None,
            blobs: None,
            server_sync: false,
            wait_timeout: Duration::from_secs(30),
            waits: true,
            disconnect_poll: None,
            disconnect_poll_max: None,
            label: None,
            tls: None,
            credentials: None,
            drops_cache: false,
        }
    }

    /// Reads the only `<clientstorage>` or `<zeoclient>` of a file, wherever in it that stands.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let environment = zconfig::System;
        let document = zconfig::load(path, &environment, Limits::default())?;
        Self::from_document(&document.root, &environment)
    }

    /// Reads the only `<clientstorage>` or `<zeoclient>` in this section.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the line.
    pub fn from_document(root: &Section, environment: &dyn Environment) -> Result<Self, ConfigError> {
        read::only(root).and_then(|section| Self::from_section(section, environment))
    }

    /// Reads a section `<clientstorage>` or `<zeoclient>`.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the line.
    pub fn from_section(section: &Section, environment: &dyn Environment) -> Result<Self, ConfigError> {
        read::section(section, environment)
    }

    /// What the storage calls itself.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
            addresses.join(", ")
        })
    }

    /// A client to be with these options; the cache file, too, is opened when it starts.
    ///
    /// Two of them are for the caller: [`waits`](Self::waits) says whether to [`connect`](Builder::connect) it or to
    /// [`start`](Builder::start) it, and [`name`](Self::name) what to call it in messages
    /// ([`display_name`](Self::display_name)).
    pub fn builder(&self) -> Builder {
        let mut builder = Builder::with_addresses(self.addresses.clone())
            .storage(self.storage.clone())
            .access(self.access)
            .server_sync(self.server_sync)
            .drop_cache_rather_verify(self.drops_cache)
            .wait_timeout(self.wait_timeout);
        builder = match &self.cache_path {
            Some(path) => builder.cache_file(path, self.cache_len),
            None => builder.cache_size(self.cache_len),
        };
        if let Some(pause) = self.disconnect_poll {
            builder = builder.disconnect_poll(pause);
        }
        if let Some(pause) = self.disconnect_poll_max {
            builder = builder.disconnect_poll_max(pause);
        }
        if let Some(label) = &self.label {
            builder = builder.label(label.clone());
        }
        if let Some(blobs) = &self.blobs {
            builder = builder.blobs(blobs.clone());
        }
        if let Some(credentials) = &self.credentials {
            builder = builder.credentials(credentials.clone());
        }
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        builder
    }
}
