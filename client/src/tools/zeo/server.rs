//! Which server, and which of its storages.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::blocking::Client;
use crate::{Access, Address, Builder, ClientConfig};

/// The pause between two attempts to connect, at first and later.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The only storage of most servers.
const STORAGE: &str = "1";

/// The options of a server.
#[derive(Debug, Args)]
pub(super) struct ServerOptions {
    /// The server: HOST:PORT, PORT, or the path of a socket, which has a "/" in it
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8100")]
    address: Address,

    /// Which of its storages, 1 by default; status shows all by default
    #[arg(short = 'S', long, value_name = "NAME")]
    storage: Option<String>,

    /// Take server, storage and TLS from the section clientstorage or zeoclient of this file
    #[arg(short = 'C', long, value_name = "FILE", conflicts_with_all = ["address", "storage"])]
    config: Option<PathBuf>,

    /// How many seconds to wait for the server
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

/// A server, or several with the same data, and one of its storages.
#[derive(Debug, Clone)]
pub(super) struct Place {
    config: ClientConfig,
}

/// A time in seconds, with or without a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    let duration = number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // The clock has to be able to add it.
    let duration = duration.filter(|duration| *duration <= Duration::from_secs(u32::MAX.into()));
    duration.ok_or_else(|| "expected a number of seconds".to_owned())
}

impl ServerOptions {
    /// Reads the file, if there is one.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        Ok(match &self.config {
            Some(path) => Place::new(ClientConfig::load(path)?),
            None => {
                let storage = self.storage.as_deref().unwrap_or(STORAGE);
                Place::at(self.address.clone(), storage, self.timeout)
            }
        })
    }

    /// The storage that was asked for, if one was: in a file always.
    pub(super) fn wanted_storage<'p>(&self, place: &'p Place) -> Option<&'p str> {
        (self.storage.is_some() || self.config.is_some()).then(|| place.storage())
    }

    /// How long to wait for it.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects. What fails names the place.
    pub(super) fn connect(&self, access: Access) -> Result<Client, Failure> {
        self.place()?.connect(access, self.timeout)
    }
}

impl Place {
    /// As a file says.
    pub(super) const fn new(config: ClientConfig) -> Self {
        Self { config }
    }

    /// A storage of the server at this address, everything else by default.
    pub(super) fn at(address: Address, storage: &str, timeout: Duration) -> Self {
        Self::new(ClientConfig {
            storage: storage.to_owned(),
            wait_timeout: timeout,
            ..ClientConfig::new(vec![address])
        })
    }

    /// The address, if a connection to it takes no more than that.
    pub(super) fn plain_address(&self) -> Option<&Address> {
        match self.config.addresses.as_slice() {
            [address] if self.config.tls.is_none() => Some(address),
            _ => None,
        }
    }

    /// Where it is, without the storage.
    pub(super) fn server(&self) -> String {
        self.config.display_name()
    }

    /// The storage.
    pub(super) fn storage(&self) -> &str {
        &self.config.storage
    }

    /// A client to be, which keeps neither objects nor blobs.
    pub(super) fn builder(&self, access: Access, timeout: Duration) -> Builder {
        let mut builder = Builder::with_addresses(self.config.addresses.clone())
            .storage(self.config.storage.clone())
            .access(access)
            .label("zeo")
            .no_cache()
            .wait_timeout(timeout)
            .handshake_timeout(timeout.max(PAUSE))
            .disconnect_poll(PAUSE)
            .disconnect_poll_max(PAUSE_MAX);
        if let Some(tls) = &self.config.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(credentials) = &self.config.credentials {
            builder = builder.credentials(credentials.clone());
        }
        builder
    }

    /// Connects. What fails names the place.
    pub(super) fn connect(&self, access: Access, timeout: Duration) -> Result<Client, Failure> {
        let connected = self.builder(access, timeout).connect_blocking();
        connected.map_err(|error| format!("{self}: {error}").into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storage {} at {}", self.config.storage, self.server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_finite() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "-1", "inf", "nan", "1e300", "1e10", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
