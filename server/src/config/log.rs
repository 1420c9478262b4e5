//! `<eventlog>`, with `<logfile>` and `<syslog>` in it.

use super::fields::{Fields, convert, range};
use super::schema::{EVENTLOG, LOGFILE, SYSLOG};
use super::{ConfigError, ErrorKind};
use crate::logging::{
    DateFormat, Facility, Format, FormatError, Level, LogConfig, LogFile, LogHandler, LogTarget, Rotation,
    Schedule, Style, SyslogAddress, SyslogConfig, When,
};
use crate::zconfig::value::{SocketAddress, boolean, byte_size, integer, socket_binding_address};
use crate::zconfig::{Entry, Section};

/// What `section`, an `<eventlog>`, says.
pub(super) fn eventlog(section: &Section) -> Result<LogConfig, ConfigError> {
    let fields = Fields::new(section, &EVENTLOG)?;
    let handlers = section.sections().map(|inner| match inner.kind.as_str() {
        "syslog" => syslog(inner),
        // `Fields` has refused whatever else there is.
        _ => logfile(inner),
    });
    Ok(LogConfig {
        level: level(&fields)?.unwrap_or(Level::INFO),
        handlers: handlers.collect::<Result<_, _>>()?,
        is_configured: true,
    })
}

fn logfile(section: &Section) -> Result<LogHandler, ConfigError> {
    let fields = Fields::new(section, &LOGFILE)?;
    handler(&fields, target(&fields)?, (Format::default(), Format::LOGFILE))
}

fn syslog(section: &Section) -> Result<LogHandler, ConfigError> {
    let fields = Fields::new(section, &SYSLOG)?;
    let local = || SyslogAddress::Udp { host: "localhost".into(), port: 514 };
    let address = fields.entry("address").map(syslog_address).transpose()?.unwrap_or_else(local);
    let facility = match fields.entry("facility") {
        Some(entry) => {
            Facility::by_name(&entry.value).ok_or_else(|| range(entry, "facility", Facility::NAMES))?
        }
        None => Facility::USER,
    };
    let target = LogTarget::Syslog(SyslogConfig { address, facility });
    handler(&fields, target, (Format::syslog(), Format::SYSLOG))
}

/// ZConfig's `socket-address`; Python's server starts without a port, too, and then sends nothing.
fn syslog_address(entry: &Entry) -> Result<SyslogAddress, ConfigError> {
    match convert(entry, "address", socket_binding_address)? {
        SocketAddress::Unix(path) => Ok(SyslogAddress::Unix(path.into())),
        SocketAddress::Inet { host, port: Some(port) } => Ok(SyslogAddress::Udp { host, port }),
        SocketAddress::Inet { port: None, .. } => Err(range(entry, "address", "HOST:PORT, PORT, or a path")),
    }
}

/// The keys of every handler (`ZConfig.logger.base-log-handler`).
fn handler(
    fields: &Fields<'_>,
    target: LogTarget,
    (default_format, default_text): (Format, &'static str),
) -> Result<LogHandler, ConfigError> {
    check_formatter(fields)?;
    // Fields that no event has are refused in any case: Python's server would lose each event over them.
    fields.convert("arbitrary-fields", boolean)?;
    let style = match fields.entry("style") {
        Some(entry) => Style::by_name(&entry.value)
            .ok_or_else(|| range(entry, "style", "classic, format, template or safe-template"))?,
        None => Style::Classic,
    };
    let format = match (fields.entry("format"), fields.entry("style")) {
        (None, None) => Ok(default_format),
        (Some(entry), _) => {
            Format::parse(&entry.value, style).map_err(|error| format_error(entry, "format", error))
        }
        (None, Some(entry)) => Format::parse(default_text, style)
            // The default of the key has fields in the style `classic` only.
            .map_err(|_| range(entry, "style", "classic, or a key \"format\" beside it")),
    };
    Ok(LogHandler {
        target,
        level: level(fields)?.unwrap_or(Level::NOTSET),
        format: format?,
        date_format: match fields.entry("dateformat") {
            Some(entry) => {
                DateFormat::parse(&entry.value).map_err(|error| format_error(entry, "dateformat", error))?
            }
            None => DateFormat::default(),
        },
    })
}

fn level(fields: &Fields<'_>) -> Result<Option<Level>, ConfigError> {
    let Some(entry) = fields.entry("level") else { return Ok(None) };
    if let Some(level) = Level::by_name(&entry.value) {
        return Ok(Some(level));
    }
    let number = convert(entry, "level", integer).ok().and_then(|number| u8::try_from(number).ok());
    let level = number.and_then(Level::by_number);
    level.map(Some).ok_or_else(|| range(entry, "level", LEVELS))
}

const LEVELS: &str = "critical, fatal, error, warn, warning, info, blather, debug, trace, all, notset, \
                      or an integer from 0 to 50";

/// What a `<logfile>` writes to, after `FileHandlerFactory` of `ZConfig/components/logger/handlers.py`.
fn target(fields: &Fields<'_>) -> Result<LogTarget, ConfigError> {
    let path = fields.required("path")?;
    let refuse = |reason| Err(ConfigError::at(&path.at, ErrorKind::LogFile { reason }));
    let old_files = count(fields, "old-files", |entry| convert(entry, "old-files", integer))?;
    let max_size = count(fields, "max-size", |entry| convert(entry, "max-size", byte_size))?;
    let interval = count(fields, "interval", |entry| convert(entry, "interval", integer))?;
    let when = fields.entry("when").filter(|entry| !entry.value.is_empty());
    let when = when.map(|entry| When::by_name(&entry.value).ok_or_else(|| range(entry, "when", WHEN)));
    let when = when.transpose()?;
    let is_delayed = fields.convert("delay", boolean)?.unwrap_or(false);
    let encoding = encoding(fields)?;
    let stream = match path.value.as_str() {
        "STDERR" => Some(LogTarget::Stderr),
        "STDOUT" => Some(LogTarget::Stdout),
        _ => None,
    };
    if let Some(stream) = stream {
        return match () {
            () if old_files > 0 || max_size > 0 || when.is_some() => {
                refuse("STDOUT and STDERR cannot be rotated")
            }
            () if is_delayed => refuse("the opening of STDOUT and STDERR cannot be delayed"),
            () if encoding.is_some() => refuse("the encoding of STDOUT and STDERR cannot be set"),
            () => Ok(stream),
        };
    }
    let Ok(old_files) = u32::try_from(old_files) else {
        return refuse("old-files is too great a number");
    };
    let rotation = match (when, max_size) {
        (None, 0) if old_files == 0 && interval == 0 => None,
        _ if old_files == 0 => return refuse("rotation by max-size or when needs old-files"),
        (None, 0) => return refuse("old-files needs max-size or when"),
        (Some(_), 1..) => return refuse("rotation is by max-size or by when, not by both"),
        (None, max_len) => Some(Rotation::Full { max_len, old_files }),
        (Some(when), 0) => match u16::try_from(interval) {
            Ok(interval) => Some(Rotation::Timed { schedule: Schedule::new(when, interval), old_files }),
            Err(_) => return refuse("interval is too great a number"),
        },
    };
    Ok(LogTarget::File(LogFile { path: path.value.clone().into(), rotation, is_delayed }))
}

const WHEN: &str = "S, M, H, D, midnight, or W0 (Monday) to W6";

fn count(
    fields: &Fields<'_>,
    key: &'static str,
    conversion: impl FnOnce(&Entry) -> Result<i64, ConfigError>,
) -> Result<u64, ConfigError> {
    let Some(entry) = fields.entry(key) else { return Ok(0) };
    u64::try_from(conversion(entry)?).map_err(|_| range(entry, key, "0 or more"))
}

/// The log is written in UTF-8, so that is the only encoding that can be asked for.
fn encoding<'d>(fields: &Fields<'d>) -> Result<Option<&'d str>, ConfigError> {
    let Some(entry) = fields.entry("encoding").filter(|entry| !entry.value.is_empty()) else {
        return Ok(None);
    };
    match entry.value.to_lowercase().replace('_', "-").as_str() {
        "utf-8" | "utf8" | "ascii" | "us-ascii" => Ok(Some(&entry.value)),
        _ => Err(range(entry, "encoding", "utf-8, in which the log is written")),
    }
}

/// `formatter` names a class. Two are known: Python's own, and that of zope.exceptions, which differs in tracebacks,
/// and there are none here.
fn check_formatter(fields: &Fields<'_>) -> Result<(), ConfigError> {
    let entry = fields.entry("formatter").filter(|entry| !entry.value.is_empty());
    match entry.map(|entry| (entry, entry.value.as_str())) {
        None | Some((_, "logging.Formatter" | "zope.exceptions.log.Formatter")) => Ok(()),
        Some((entry, _)) => {
            let (key, value) = ("formatter", entry.value.clone());
            let instead = "leave it out, and use format, style and dateformat";
            Err(ConfigError::at(&entry.at, ErrorKind::PythonName { key, value, instead }))
        }
    }
}

fn format_error(entry: &Entry, key: &'static str, source: FormatError) -> ConfigError {
    ConfigError::at(&entry.at, ErrorKind::LogFormat { key, source })
}
