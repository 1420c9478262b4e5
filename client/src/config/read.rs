//! From a section to the [`ClientConfig`].

use std::path::PathBuf;
use std::time::Duration;

use super::ClientConfig;
use super::error::{ConfigError, ErrorKind};
use super::fields::{Fields, convert, range};
use crate::address::Address;
use crate::blob::BlobOptions;
use crate::builder::Access;
use crate::credentials::Credentials;
use crate::tls::{Identity, Password, Servers, TlsOptions};
use crate::zconfig::value::{
    SocketAddress, boolean, byte_size, existing_dirpath, integer, socket_connection_address,
};
use crate::zconfig::{Entry, Environment, Section};

/// The keys of both sections.
const COMMON: [&str; 11] = [
    "server",
    "storage",
    "name",
    "cache-size",
    "blob-dir",
    "shared-blob-dir",
    "blob-cache-size",
    "blob-cache-size-check",
    "read-only",
    "read-only-fallback",
    "client-label",
];
/// The keys of `<clientstorage>` alone.
const OF_CLIENTSTORAGE: [&str; 4] = ["cache-path", "disconnect-poll", "server-sync", "wait-timeout"];
/// The keys of `<zeoclient>` alone.
const OF_ZEOCLIENT: [&str; 9] = [
    "client",
    "var",
    "min-disconnect-poll",
    "max-disconnect-poll",
    "wait",
    "username",
    "password",
    "realm",
    "drop-cache-rather-verify",
];
/// The keys of `<ssl>`; `password-file` and `password-env` take the place of Python's `password-function`.
const SSL: [&str; 8] = [
    "certificate",
    "key",
    "password-function",
    "password-file",
    "password-env",
    "authenticate",
    "check-hostname",
    "server-hostname",
];

/// Whether this is the type of a section that a [`ClientConfig`] is read from.
#[must_use]
pub fn is_client_section(kind: &str) -> bool {
    matches!(kind, "clientstorage" | "zeoclient")
}

/// The only section for a client in this one.
pub(super) fn only(root: &Section) -> Result<&Section, ConfigError> {
    let mut found: Option<&Section> = None;
    let mut open = vec![root];
    while let Some(section) = open.pop() {
        if is_client_section(&section.kind) {
            if let Some(first) = found {
                let first = first.at.clone();
                return Err(ConfigError::at(&section.at, ErrorKind::SeveralSections { first }));
            }
            found = Some(section);
        } else {
            let inner: Vec<&Section> = section.sections().collect();
            open.extend(inner.into_iter().rev());
        }
    }
    found.ok_or_else(|| ConfigError::at(&root.at, ErrorKind::NoSection))
}

pub(super) fn section(section: &Section, environment: &dyn Environment) -> Result<ClientConfig, ConfigError> {
    let is_zeoclient = section.kind == "zeoclient";
    let own: &[&str] = if is_zeoclient { &OF_ZEOCLIENT } else { &OF_CLIENTSTORAGE };
    let known = [&COMMON, own].concat();
    let fields = Fields::new(section, &known, &["server"])?;
    let addresses: Result<Vec<Address>, ConfigError> =
        fields.all("server")?.iter().map(|entry| address(entry)).collect();
    let seconds = |key| -> Result<Option<Duration>, ConfigError> {
        Ok(fields.number(key, integer)?.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    };
    let default = ClientConfig::new(addresses?);
    Ok(ClientConfig {
        storage: fields.text("storage").unwrap_or(default.storage),
        name: fields.text("name"),
        access: access(&fields)?,
        cache_len: fields.number("cache-size", byte_size)?.unwrap_or(default.cache_len),
        cache_path: cache_path(&fields),
        blobs: blobs(&fields)?,
        server_sync: fields.convert("server-sync", boolean)?.unwrap_or(default.server_sync),
        wait_timeout: seconds("wait-timeout")?.unwrap_or(default.wait_timeout),
        waits: fields.convert("wait", boolean)?.unwrap_or(default.waits),
        disconnect_poll: seconds("min-disconnect-poll")?.or(seconds("disconnect-poll")?),
        disconnect_poll_max: seconds("max-disconnect-poll")?,
        label: fields.text("client-label"),
        tls: tls(section, is_zeoclient, environment)?,
        credentials: credentials(&fields),
        drops_cache: fields.convert("drop-cache-rather-verify", boolean)?.unwrap_or(default.drops_cache),
        addresses: default.addresses,
    })
}

/// Who the client is; without a user, nobody (`ClientStorage.py:_get_auth_client`, 4.3.1).
fn credentials(fields: &Fields<'_>) -> Option<Credentials> {
    let user = fields.text("username").filter(|user| !user.is_empty())?;
    let credentials = Credentials::new(user, fields.text("password").unwrap_or_default());
    Some(match fields.text("realm") {
        Some(realm) => credentials.realm(realm),
        None => credentials,
    })
}

fn address(entry: &Entry) -> Result<Address, ConfigError> {
    match convert(entry, "server", socket_connection_address)? {
        SocketAddress::Inet { host, port: Some(port) } => Ok(Address::Tcp { host, port }),
        SocketAddress::Inet { port: None, .. } => Err(range(entry, "server", "an address with a port")),
        SocketAddress::Unix(path) => Ok(Address::Unix(path.into())),
    }
}

fn access(fields: &Fields<'_>) -> Result<Access, ConfigError> {
    let is_set = |key| fields.convert(key, boolean).map(|value| value.unwrap_or(false));
    Ok(match (is_set("read-only-fallback")?, is_set("read-only")?) {
        (true, _) => Access::PreferWrite,
        (false, true) => Access::ReadOnly,
        (false, false) => Access::ReadWrite,
    })
}

/// The cache file: as it is called, or as ZEO 4 calls it (`ClientStorage.py:open_cache`).
fn cache_path(fields: &Fields<'_>) -> Option<PathBuf> {
    if let Some(path) = fields.text("cache-path") {
        return Some(path.into());
    }
    let client = fields.text("client")?;
    let dir = fields.text("var").unwrap_or_default();
    let storage = fields.text("storage").unwrap_or_else(|| "1".into());
    Some(PathBuf::from(dir).join(format!("{client}-{storage}.zec")))
}

fn blobs(fields: &Fields<'_>) -> Result<Option<BlobOptions>, ConfigError> {
    let is_shared = fields.convert("shared-blob-dir", boolean)?.unwrap_or(false);
    let len_max = fields.number("blob-cache-size", byte_size)?;
    let check_percent = match fields.entry("blob-cache-size-check") {
        None => None,
        Some(entry) => {
            let percent = convert(entry, "blob-cache-size-check", integer)?;
            let percent = u8::try_from(percent).ok().filter(|percent| *percent < 100);
            Some(percent.ok_or_else(|| range(entry, "blob-cache-size-check", "a percentage below 100"))?)
        }
    };
    let Some(path) = fields.text("blob-dir") else { return Ok(None) };
    let default = BlobOptions::new(path);
    let check_percent = check_percent.unwrap_or(default.check_percent);
    Ok(Some(BlobOptions { is_shared, len_max, check_percent, ..default }))
}

fn tls(
    section: &Section,
    is_zeoclient: bool,
    environment: &dyn Environment,
) -> Result<Option<TlsOptions>, ConfigError> {
    let mut found: Option<&Section> = None;
    for inner in section.sections() {
        if inner.kind != "ssl" || is_zeoclient {
            let (kind, section) = (inner.kind.clone(), section.kind.clone());
            return Err(ConfigError::at(&inner.at, ErrorKind::UnknownSection { kind, section }));
        }
        if let Some(first) = found.replace(inner) {
            let (what, first) = ("<ssl>".into(), first.at.clone());
            return Err(ConfigError::at(&inner.at, ErrorKind::Repeated { what, first }));
        }
    }
    found.map(|section| ssl(section, environment)).transpose()
}

fn ssl(section: &Section, environment: &dyn Environment) -> Result<TlsOptions, ConfigError> {
    let fields = Fields::new(section, &SSL, &[])?;
    if let Some(inner) = section.sections().next() {
        let (kind, section) = (inner.kind.clone(), section.kind.clone());
        return Err(ConfigError::at(&inner.at, ErrorKind::UnknownSection { kind, section }));
    }
    if let Some(entry) = fields.entry("password-function") {
        return Err(ConfigError::at(&entry.at, ErrorKind::PythonOnly { key: "password-function" }));
    }
    let path = |key| {
        let path = fields.convert(key, |path| existing_dirpath(path, environment))?;
        Ok::<_, ConfigError>(path.map(PathBuf::from))
    };
    let password = match (path("password-file")?, fields.entry("password-env")) {
        (Some(_), Some(entry)) => {
            return Err(range(entry, "password-env", "no more than one place for the password"));
        }
        (Some(path), None) => Some(Password::File(path)),
        (None, Some(entry)) => Some(Password::Variable(entry.value.clone())),
        (None, None) => None,
    };
    let key = path("key")?;
    let identity = path("certificate")?.map(|certificate| Identity { certificate, key, password });
    let servers = match fields.entry("authenticate") {
        // Python's client would trust nobody (ZEO 6.2, `zconfig.py:ssl_config`).
        Some(entry) if entry.value == "DYNAMIC" => {
            return Err(range(entry, "authenticate", "a file or directory with certificates"));
        }
        _ => path("authenticate")?.map_or(Servers::System, Servers::Path),
    };
    Ok(TlsOptions {
        identity,
        servers,
        check_hostname: fields.convert("check-hostname", boolean)?.unwrap_or(true),
        server_hostname: fields.text("server-hostname"),
    })
}
