//! From the tree of sections to the [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use zeo_codec::Limits;
use zeo_codec::handshake::{Framing, Hello, Version};

use super::fields::{Fields, convert, range};
use super::schema::{IMPORTS, ROOT, SSL, ZEO};
use super::{
    Address, Authenticate, AuthenticationOptions, Config, ConfigError, ErrorKind, Overrides, Password,
    ServerOptions, SslOptions, limits, log, storages,
};
use crate::zconfig::value::{
    boolean, byte_size, existing_dirpath, float, integer, socket_binding_address, time_interval,
};
use crate::zconfig::{Document, Entry, Environment, Position, Section};

pub(super) fn config(
    document: &Document,
    overrides: Overrides,
    environment: &dyn Environment,
) -> Result<Config, ConfigError> {
    for import in &document.imports {
        if !IMPORTS.contains(&import.package.as_str()) {
            let (package, known) = (import.package.clone(), IMPORTS.join(", "));
            return Err(ConfigError::at(&import.at, ErrorKind::UnknownImport { package, known }));
        }
    }
    let root = &document.root;
    Fields::new(root, &ROOT)?;
    let section = |kind: &str| root.sections().find(|section| section.kind == kind);
    let zeo = section("zeo").ok_or_else(|| whole(&root.at, ErrorKind::NoZeoSection))?;
    let mut zeo = self::zeo(zeo, environment)?;
    let from_file = storages::from_sections(root, environment)?;
    if from_file.is_empty() {
        return Err(whole(&root.at, ErrorKind::NoStorageSection));
    }
    if overrides.transaction_timeout.is_some() {
        zeo.server.transaction_timeout = overrides.transaction_timeout;
    }
    Ok(Config {
        listen: overrides.listen.unwrap_or(zeo.listen),
        pid_file: pid_file(overrides.pid_file.or(zeo.pid_file), &zeo.server, environment),
        server: zeo.server,
        storages: match overrides.filenames {
            filenames if filenames.is_empty() => from_file,
            filenames => storages::from_filenames(filenames),
        },
        log: section("eventlog").map(log::eventlog).transpose()?.unwrap_or_default(),
        is_test: overrides.is_test,
    })
}

/// The options of a server without `<zeo>`.
pub(super) fn defaults(
    transaction_timeout: Option<Duration>,
    environment: &dyn Environment,
) -> ServerOptions {
    ServerOptions {
        transaction_timeout,
        msgpack: msgpack_by_environment(environment),
        ..ServerOptions::default()
    }
}

/// Where the process id is written, after `make_pidfile` and `_get_pidfile` of `ZEO/runzeo.py`.
pub(super) fn pid_file(
    configured: Option<PathBuf>,
    server: &ServerOptions,
    environment: &dyn Environment,
) -> Option<PathBuf> {
    if server.read_only {
        return None;
    }
    configured.filter(|path| !path.as_os_str().is_empty()).or_else(|| {
        let home = environment.variable("INSTANCE_HOME").filter(|home| !home.is_empty())?;
        Some(PathBuf::from(home).join("var").join("ZEO.pid"))
    })
}

/// The length of time that a number of seconds stands for; `None` for negative numbers and `nan`.
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    // Too long for a `Duration`, such as `inf`, is as good as the longest one.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

const SECONDS: &str = "a number of seconds, 0 or more";

/// What `<zeo>` says.
struct Zeo {
    listen: Address,
    server: ServerOptions,
    pid_file: Option<PathBuf>,
}

fn zeo(section: &Section, environment: &dyn Environment) -> Result<Zeo, ConfigError> {
    let fields = Fields::new(section, &ZEO)?;
    let default = ServerOptions::default();
    let listen = convert(fields.required("address")?, "address", socket_binding_address)?.into();
    let inner = |kind: &str| section.sections().find(|inner| inner.kind == kind);
    let (ssl, limits) = (inner("ssl"), inner("limits"));
    let server = ServerOptions {
        read_only: fields.convert("read-only", boolean)?.unwrap_or(default.read_only),
        invalidation_queue_size: queue_size(&fields)?,
        invalidation_age: invalidation_age(&fields)?,
        transaction_timeout: transaction_timeout(&fields)?,
        client_conflict_resolution: fields
            .convert("client-conflict-resolution", boolean)?
            .unwrap_or(default.client_conflict_resolution),
        msgpack: match fields.convert("msgpack", boolean)? {
            Some(msgpack) => msgpack,
            None => msgpack_by_environment(environment),
        },
        frame_size_limit: frame_size_limit(&fields)?.unwrap_or(default.frame_size_limit),
        handshake_timeout: handshake_timeout(&fields)?.unwrap_or(default.handshake_timeout),
        limits: limits.map(limits::limits).transpose()?.unwrap_or_default(),
        ssl: ssl.map(|section| self::ssl(section, environment)).transpose()?,
        oldest: oldest(&fields)?.unwrap_or(default.oldest),
        authentication: authentication(&fields)?,
        monitor: fields.convert("monitor-address", socket_binding_address)?.map(Into::into),
    };
    // Of use to clients only, but in the schema of ZEO 4.
    fields.convert("drop-cache-rather-verify", boolean)?;
    let pid_file = fields.convert("pid-filename", |path| existing_dirpath(path, environment))?;
    Ok(Zeo { listen, server, pid_file: pid_file.map(PathBuf::from) })
}

fn queue_size(fields: &Fields<'_>) -> Result<Option<usize>, ConfigError> {
    let key = "invalidation-queue-size";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let size = convert(entry, key, integer)?;
    usize::try_from(size).map(Some).map_err(|_| range(entry, key, "a number of transactions, 0 or more"))
}

fn transaction_timeout(fields: &Fields<'_>) -> Result<Option<Duration>, ConfigError> {
    let key = "transaction-timeout";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let seconds = u64::try_from(convert(entry, key, integer)?);
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).map_err(|_| range(entry, key, SECONDS))
}

fn invalidation_age(fields: &Fields<'_>) -> Result<Option<Duration>, ConfigError> {
    let key = "invalidation-age";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let age = duration(convert(entry, key, float)?).ok_or_else(|| range(entry, key, SECONDS))?;
    Ok(Some(age).filter(|age| !age.is_zero()))
}

/// Not below what is allowed before `register`; above 4 GiB there are no frames.
fn frame_size_limit(fields: &Fields<'_>) -> Result<Option<usize>, ConfigError> {
    let key = "frame-size-limit";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let size = usize::try_from(convert(entry, key, byte_size)?).ok();
    size.filter(|size| (Limits::DEFAULT.frame_bytes_before_register..=4 << 30).contains(size))
        .map(Some)
        .ok_or_else(|| range(entry, key, "a size from 64KB to 4GB"))
}

fn handshake_timeout(fields: &Fields<'_>) -> Result<Option<Duration>, ConfigError> {
    let key = "handshake-timeout";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let seconds = u64::try_from(convert(entry, key, time_interval)?).ok().filter(|seconds| *seconds > 0);
    let timeout = seconds.map(|seconds| Some(Duration::from_secs(seconds)));
    timeout.ok_or_else(|| range(entry, key, "a time of one second or more"))
}

fn oldest(fields: &Fields<'_>) -> Result<Option<Version>, ConfigError> {
    let key = "min-protocol";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let protocol = match Hello::parse(entry.value.as_bytes()) {
        Hello::Zeo(protocol) if protocol.framing == Framing::Pickle => Some(protocol.version),
        Hello::Zeo(_) | Hello::Ruok | Hello::Unknown(_) => None,
    };
    let version = protocol.filter(|version| *version >= Version::V308);
    version.map(Some).ok_or_else(|| range(entry, key, "one of Z308, Z309, Z310, Z3101, Z4, Z5"))
}

fn authentication(fields: &Fields<'_>) -> Result<Option<AuthenticationOptions>, ConfigError> {
    let key = "authentication-protocol";
    let given = |key| fields.entry(key).filter(|entry: &&Entry| !entry.value.is_empty());
    let Some(entry) = given(key).filter(|entry| entry.value != "none") else {
        // It would be thought that nobody comes in without a password.
        return match given("authentication-database").or_else(|| given("authentication-realm")) {
            Some(entry) => {
                let section = format!("{:?}", entry.key);
                Err(ConfigError::at(&entry.at, ErrorKind::MissingKey { key, section }))
            }
            None => Ok(None),
        };
    };
    if entry.value != "digest" {
        return Err(range(entry, key, "\"digest\": other schemes are for programs that embed the server"));
    }
    let database = fields.required("authentication-database")?.value.clone().into();
    let realm = given("authentication-realm").map(|entry| entry.value.clone());
    Ok(Some(AuthenticationOptions { database, realm }))
}

fn ssl(section: &Section, environment: &dyn Environment) -> Result<SslOptions, ConfigError> {
    let fields = Fields::new(section, &SSL)?;
    let path = |path: &str| existing_dirpath(path, environment).map(PathBuf::from);
    let authenticate = fields.required("authenticate")?;
    Ok(SslOptions {
        certificate: convert(fields.required("certificate")?, "certificate", path)?,
        key: fields.convert("key", path)?.filter(|path| !path.as_os_str().is_empty()),
        password: password(&fields, environment)?,
        authenticate: match authenticate.value.as_str() {
            "-" | "SIGNED" => Authenticate::Signed,
            // Python's server starts, and lets nobody in (ZEO 6.2, `zconfig.py:ssl_config`): it trusts no certificate
            // until a program that runs it has its TLS context load some.
            "DYNAMIC" => {
                let kind = ErrorKind::NotSupported { what: "authenticate DYNAMIC".into(), reason: DYNAMIC };
                return Err(ConfigError::at(&authenticate.at, kind));
            }
            path => Authenticate::Path(path.into()),
        },
    })
}

const DYNAMIC: &str = "it trusts no certificate, so that no client could connect; name a file or a directory, or say \
                       SIGNED";

fn password(fields: &Fields<'_>, environment: &dyn Environment) -> Result<Option<Password>, ConfigError> {
    let path = |path: &str| existing_dirpath(path, environment).map(PathBuf::from);
    let file = fields.convert("password-file", path)?.filter(|path| !path.as_os_str().is_empty());
    let variable = fields.entry("password-env").filter(|entry| !entry.value.is_empty());
    match (file, variable) {
        (Some(_), Some(entry)) => {
            Err(range(entry, "password-env", "no more than one place for the password"))
        }
        (Some(path), None) => Ok(Some(Password::File(path))),
        (None, Some(entry)) => Ok(Some(Password::Variable(entry.value.clone()))),
        (None, None) => Ok(None),
    }
}

fn msgpack_by_environment(environment: &dyn Environment) -> bool {
    environment.variable("ZEO_MSGPACK").is_some_and(|value| !value.is_empty())
}

fn whole(at: &Position, kind: ErrorKind) -> ConfigError {
    ConfigError::at(&Position { line: 0, ..at.clone() }, kind)
}
