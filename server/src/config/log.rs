//! `<eventlog>` and its `<logfile>`s.

use super::fields::{Fields, convert, range};
use super::schema::{EVENTLOG, LOGFILE};
use super::{ConfigError, ErrorKind};
use crate::logging::{DateFormat, Format, Level, LogConfig, LogFile, LogHandler, LogTarget, Rotation};
use crate::zconfig::value::{boolean, byte_size, integer};
use crate::zconfig::{Entry, Section};

/// What `section`, an `<eventlog>`, says.
pub(super) fn eventlog(section: &Section) -> Result<LogConfig, ConfigError> {
    let fields = Fields::new(section, &EVENTLOG)?;
    let logfiles = section.sections().filter(|inner| inner.kind == "logfile");
    Ok(LogConfig {
        level: level(&fields)?.unwrap_or(Level::INFO),
        handlers: logfiles.map(logfile).collect::<Result<_, _>>()?,
        is_configured: true,
    })
}

fn logfile(section: &Section) -> Result<LogHandler, ConfigError> {
    let fields = Fields::new(section, &LOGFILE)?;
    refuse_other_styles(&fields)?;
    Ok(LogHandler {
        target: target(&fields)?,
        level: level(&fields)?.unwrap_or(Level::NOTSET),
        format: match fields.entry("format") {
            Some(entry) => Format::parse(&entry.value).map_err(|error| format_error(entry, "format", error)),
            None => Ok(Format::default()),
        }?,
        date_format: match fields.entry("dateformat") {
            Some(entry) => {
                DateFormat::parse(&entry.value).map_err(|error| format_error(entry, "dateformat", error))
            }
            None => Ok(DateFormat::default()),
        }?,
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

/// What a handler writes to, after `FileHandlerFactory` of `ZConfig/components/logger/handlers.py`.
fn target(fields: &Fields<'_>) -> Result<LogTarget, ConfigError> {
    let path = fields.required("path")?;
    let refuse = |reason| Err(ConfigError::at(&path.at, ErrorKind::LogFile { reason }));
    let old_files = count(fields, "old-files", |entry| convert(entry, "old-files", integer))?;
    let max_size = count(fields, "max-size", |entry| convert(entry, "max-size", byte_size))?;
    let is_delayed = fields.convert("delay", boolean)?.unwrap_or(false);
    let encoding = encoding(fields)?;
    let stream = match path.value.as_str() {
        "STDERR" => Some(LogTarget::Stderr),
        "STDOUT" => Some(LogTarget::Stdout),
        _ => None,
    };
    if let Some(stream) = stream {
        return match () {
            () if old_files > 0 || max_size > 0 => refuse("STDOUT and STDERR cannot be rotated"),
            () if is_delayed => refuse("the opening of STDOUT and STDERR cannot be delayed"),
            () if encoding.is_some() => refuse("the encoding of STDOUT and STDERR cannot be set"),
            () => Ok(stream),
        };
    }
    let rotation = match (max_size, u32::try_from(old_files)) {
        (0, Ok(0)) => None,
        (_, Ok(0)) => return refuse("rotation by max-size needs old-files"),
        (0, _) => return refuse("old-files needs max-size"),
        (max_len, Ok(old_files)) => Some(Rotation { max_len, old_files }),
        (_, Err(_)) => return refuse("old-files is too great a number"),
    };
    Ok(LogTarget::File(LogFile { path: path.value.clone().into(), rotation, is_delayed }))
}

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
        _ => Err(range(entry, "encoding", "utf-8")),
    }
}

/// Of ZConfig's ways to write a format only the first one is known here, and only fields that always exist.
fn refuse_other_styles(fields: &Fields<'_>) -> Result<(), ConfigError> {
    if let Some(entry) = fields.entry("style")
        && entry.value.to_lowercase() != "classic"
    {
        return Err(range(entry, "style", "classic"));
    }
    match fields.entry("arbitrary-fields") {
        Some(entry) if convert(entry, "arbitrary-fields", boolean)? => {
            Err(range(entry, "arbitrary-fields", "false"))
        }
        _ => Ok(()),
    }
}

fn format_error(entry: &Entry, key: &'static str, source: crate::logging::FormatError) -> ConfigError {
    ConfigError::at(&entry.at, ErrorKind::LogFormat { key, source })
}
