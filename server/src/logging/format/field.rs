//! The fields of an event: their names, and how they become text.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Zoned;

use crate::logging::{DateFormat, Level};

/// An event on its way into the log.
#[derive(Debug)]
pub(in crate::logging) struct Record<'a> {
    pub(in crate::logging) time: &'a Zoned,
    /// Milliseconds since the log was opened.
    pub(in crate::logging) age_ms: f64,
    pub(in crate::logging) level: Level,
    pub(in crate::logging) logger: &'a str,
    pub(in crate::logging) message: &'a str,
    pub(in crate::logging) file: &'a str,
    pub(in crate::logging) line: u32,
}

/// How a value is cut and padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) fill: char,
    pub(super) align: Align,
    pub(super) width: u8,
    pub(super) precision: Option<u8>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { fill: ' ', align: Align::Right, width: 0, precision: None }
    }
}

/// Where a value stands that is narrower than its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// What a value becomes: `s`, `d` or `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    Text,
    Integer,
    Float,
}

/// What a value is in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    FuncName,
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
    RelativeCreated,
    Thread,
    ThreadName,
}

impl Field {
    /// The field that Python calls `name`, and its name as a constant.
    pub(super) fn by_name(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "asctime" => (Self::Asctime, "asctime"),
            "created" => (Self::Created, "created"),
            "filename" => (Self::Filename, "filename"),
            "funcName" => (Self::FuncName, "funcName"),
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
            "relativeCreated" => (Self::RelativeCreated, "relativeCreated"),
            "thread" => (Self::Thread, "thread"),
            "threadName" => (Self::ThreadName, "threadName"),
            _ => return None,
        })
    }

    /// What its value is in Python.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Created | Self::Msecs | Self::RelativeCreated => Kind::Float,
            Self::Levelno | Self::Lineno | Self::Process | Self::Thread => Kind::Integer,
            Self::Asctime | Self::Filename | Self::FuncName | Self::Levelname | Self::Message => Kind::Text,
            Self::Module | Self::Name | Self::Pathname | Self::ProcessName | Self::ThreadName => Kind::Text,
        }
    }
}

/// What a field has in an event.
enum Value<'a> {
    Text(&'a str),
    Owned(String),
    Integer(u64),
    Float(f64),
}

fn value<'a>(field: Field, record: &Record<'a>, dates: &DateFormat) -> Value<'a> {
    let filename = record.file.rsplit('/').next().unwrap_or_default();
    match field {
        Field::Asctime => {
            let mut text = String::new();
            dates.emit(record.time, &mut text);
            Value::Owned(text)
        }
        // Microseconds since 1970 are exact in a float until the year 2255.
        Field::Created => Value::Float(record.time.timestamp().as_microsecond() as f64 / 1e6),
        Field::Filename => Value::Text(filename),
        // What Python's logging says where it cannot tell; `tracing` never can.
        Field::FuncName => Value::Text("(unknown function)"),
        Field::Levelname => Value::Owned(record.level.to_string()),
        Field::Levelno => Value::Integer(record.level.number().into()),
        Field::Lineno => Value::Integer(record.line.into()),
        Field::Message => Value::Text(record.message),
        Field::Module => Value::Text(filename.rsplit_once('.').map_or(filename, |(stem, _)| stem)),
        Field::Msecs => Value::Float(record.time.millisecond().into()),
        Field::Name => Value::Text(record.logger),
        Field::Pathname => Value::Text(record.file),
        Field::Process => Value::Integer(std::process::id().into()),
        Field::ProcessName => Value::Text("MainProcess"),
        Field::RelativeCreated => Value::Float(record.age_ms),
        Field::Thread => Value::Integer(thread_id()),
        Field::ThreadName => Value::Owned(std::thread::current().name().unwrap_or("?").to_owned()),
    }
}

/// A number of this thread, unlike that of any other. (Python's is an address in its C library.)
fn thread_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static ID: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ID.with(|id| *id)
}

/// Appends what `field` is for `record` to `line`, converted, cut and padded.
pub(super) fn emit_field(
    field: Field,
    conversion: Conversion,
    layout: Layout,
    record: &Record<'_>,
    dates: &DateFormat,
    line: &mut String,
) {
    let decimals = usize::from(layout.precision.unwrap_or(6));
    let mut text: Cow<'_, str> = match (value(field, record, dates), conversion) {
        (Value::Text(text), _) => text.into(),
        (Value::Owned(text), _) => text.into(),
        // Below 2^53, all of them.
        (Value::Integer(number), Conversion::Float) => format!("{:.decimals$}", number as f64).into(),
        (Value::Integer(number), _) => number.to_string().into(),
        (Value::Float(number), Conversion::Text) => format!("{number:?}").into(),
        (Value::Float(number), Conversion::Integer) => format!("{:.0}", number.trunc()).into(),
        (Value::Float(number), Conversion::Float) => format!("{number:.decimals$}").into(),
    };
    if let (Some(precision), Conversion::Text) = (layout.precision, conversion) {
        text = text.chars().take(usize::from(precision)).collect();
    }
    pad(&text, layout, line);
}

/// Appends `text` to `line`, padded.
fn pad(text: &str, layout: Layout, line: &mut String) {
    let missing = usize::from(layout.width).saturating_sub(text.chars().count());
    let before = match layout.align {
        Align::Left => 0,
        Align::Center => missing / 2,
        Align::Right => missing,
    };
    line.extend(std::iter::repeat_n(layout.fill, before));
    line.push_str(text);
    line.extend(std::iter::repeat_n(layout.fill, missing - before));
}
