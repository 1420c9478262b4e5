//! The fields of an event: their names, and how they become text.

use std::fmt::Write;

use jiff::Zoned;

use super::{DateFormat, Level};

/// An event on its way into the log.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) time: &'a Zoned,
    pub(super) level: Level,
    pub(super) logger: &'a str,
    pub(super) message: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
}

/// Flags, width and precision between the field's name and its conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub(super) is_left: bool,
    pub(super) is_zero_padded: bool,
    pub(super) width: u8,
    pub(super) precision: Option<u8>,
}

/// The letter after that: `s`, `d` or `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    Text,
    Integer,
    Float,
}

/// What can be known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Asctime,
    Created,
    Filename,
    Levelname,
    Levelno,
    Lineno,
    Message,
    Module,
    Msecs,
    Name,
    Pathname,
    Process,
    ProcessName,
    ThreadName,
}

impl Field {
    /// The field that Python calls `name`, and its name as a constant.
    pub(super) fn by_name(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "asctime" => (Self::Asctime, "asctime"),
            "created" => (Self::Created, "created"),
            "filename" => (Self::Filename, "filename"),
            "levelname" => (Self::Levelname, "levelname"),
            "levelno" => (Self::Levelno, "levelno"),
            "lineno" => (Self::Lineno, "lineno"),
            "message" => (Self::Message, "message"),
            "module" => (Self::Module, "module"),
            "msecs" => (Self::Msecs, "msecs"),
            "name" => (Self::Name, "name"),
            "pathname" => (Self::Pathname, "pathname"),
            "process" => (Self::Process, "process"),
            "processName" => (Self::ProcessName, "processName"),
            "threadName" => (Self::ThreadName, "threadName"),
            _ => return None,
        })
    }

    /// Whether Python would convert the field in this way, too.
    pub(super) fn admits(self, conversion: Conversion) -> bool {
        match self {
            Self::Created | Self::Msecs => true,
            Self::Levelno | Self::Lineno | Self::Process => conversion != Conversion::Float,
            Self::Asctime | Self::Filename | Self::Levelname | Self::Message | Self::Module => {
                conversion == Conversion::Text
            }
            Self::Name | Self::Pathname | Self::ProcessName | Self::ThreadName => {
                conversion == Conversion::Text
            }
        }
    }
}

/// Appends what `field` is for `record` to `value`, not yet padded.
pub(super) fn emit_field(
    field: Field,
    conversion: Conversion,
    layout: Layout,
    record: &Record<'_>,
    dates: &DateFormat,
    value: &mut String,
) {
    let stem =
        |path: &str| path.rsplit_once('.').map_or_else(|| path.to_owned(), |(stem, _)| stem.to_owned());
    let filename = || record.file.rsplit('/').next().unwrap_or_default();
    // Microseconds since 1970 are exact in a float until the year 2255.
    let created = record.time.timestamp().as_microsecond() as f64 / 1e6;
    let msecs = f64::from(record.time.millisecond());
    let decimals = usize::from(layout.precision.unwrap_or(6));
    // Writing to a `String` does not fail.
    let _ = match field {
        Field::Asctime => {
            dates.emit(record.time, value);
            Ok(())
        }
        Field::Created if conversion == Conversion::Integer => {
            write!(value, "{}", record.time.timestamp().as_second())
        }
        Field::Created if conversion == Conversion::Float => write!(value, "{created:.decimals$}"),
        Field::Created => write!(value, "{created:?}"),
        Field::Msecs if conversion == Conversion::Integer => write!(value, "{}", record.time.millisecond()),
        Field::Msecs if conversion == Conversion::Float => write!(value, "{msecs:.decimals$}"),
        Field::Msecs => write!(value, "{msecs:?}"),
        Field::Filename => write!(value, "{}", filename()),
        Field::Levelname => write!(value, "{}", record.level),
        Field::Levelno => write!(value, "{}", record.level.number()),
        Field::Lineno => write!(value, "{}", record.line),
        Field::Message => write!(value, "{}", record.message),
        Field::Module => write!(value, "{}", stem(filename())),
        Field::Name => write!(value, "{}", record.logger),
        Field::Pathname => write!(value, "{}", record.file),
        Field::Process => write!(value, "{}", std::process::id()),
        Field::ProcessName => write!(value, "MainProcess"),
        Field::ThreadName => write!(value, "{}", std::thread::current().name().unwrap_or("?")),
    };
}

/// Appends `value` to `line`, cut or padded as `layout` says.
pub(super) fn pad(value: &str, conversion: Conversion, layout: Layout, line: &mut String) {
    let width = usize::from(layout.width);
    let is_text = conversion == Conversion::Text;
    let cut: String;
    let value = match layout.precision {
        Some(precision) if is_text => {
            cut = value.chars().take(usize::from(precision)).collect();
            cut.as_str()
        }
        _ => value,
    };
    // Writing to a `String` does not fail.
    let _ = match layout {
        Layout { is_left: true, .. } => write!(line, "{value:<width$}"),
        Layout { is_zero_padded: true, .. } if !is_text => write!(line, "{value:0>width$}"),
        _ => write!(line, "{value:>width$}"),
    };
}
