//! Between `tracing` and the handlers.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{Timestamp, Zoned};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;

use super::file::OpenFile;
use super::format::Record;
use super::syslog::Syslog;
use super::{Level, LogError, LogHandler, LogTarget};

/// The layer that writes events to all handlers. See the [module](super) for what it expects of them.
#[derive(Debug)]
pub struct EventLog {
    /// The lowest level that any handler takes.
    level: Level,
    sinks: Arc<[Sink]>,
    opened: Timestamp,
}

/// A handler at work.
#[derive(Debug)]
pub(super) struct Sink {
    handler: LogHandler,
    output: Mutex<Output>,
}

#[derive(Debug)]
struct Output {
    target: Target,
    /// Whether the last event could not be written. Only the first failure is told.
    is_failing: bool,
}

#[derive(Debug)]
enum Target {
    Stderr,
    Stdout,
    File(OpenFile),
    Syslog(Syslog),
}

impl EventLog {
    pub(super) fn new(level: Level, sinks: Arc<[Sink]>) -> Self {
        let lowest = sinks.iter().map(|sink| sink.handler.level).min();
        Self { level: level.max(lowest.unwrap_or(Level::NOTSET)), sinks, opened: Timestamp::now() }
    }
}

impl<S: Subscriber> Layer<S> for EventLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !self.sinks.is_empty() && level_max(metadata) >= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.sinks.is_empty() { LevelFilter::OFF } else { self.level.filter() })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields { level: Level::from(*event.metadata().level()), ..Fields::default() };
        event.record(&mut fields);
        if fields.level < self.level {
            return;
        }
        fields.message.push_str(&fields.others);
        let time = Zoned::now();
        let record = Record {
            time: &time,
            age_ms: time.timestamp().duration_since(self.opened).as_secs_f64() * 1e3,
            level: fields.level,
            logger: event.metadata().target(),
            message: &fields.message,
            file: event.metadata().file().unwrap_or_default(),
            line: event.metadata().line().unwrap_or_default(),
        };
        for sink in self.sinks.iter().filter(|sink| record.level >= sink.handler.level) {
            sink.log(&record);
        }
    }
}

/// The highest level that an event can have, as far as that is known before it happens.
fn level_max(metadata: &Metadata<'_>) -> Level {
    let level = Level::from(*metadata.level());
    let has = |name| metadata.fields().field(name).is_some();
    match level {
        Level::ERROR if has("critical") => Level::CRITICAL,
        Level::DEBUG if has("blather") => Level::BLATHER,
        _ => level,
    }
}

/// What an event carries.
struct Fields {
    level: Level,
    message: String,
    others: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self { level: Level::NOTSET, message: String::new(), others: String::new() }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        match (field.name(), self.level) {
            ("critical", Level::ERROR) if value => self.level = Level::CRITICAL,
            ("blather", Level::DEBUG) if value => self.level = Level::BLATHER,
            ("critical" | "blather", _) => {}
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

impl Sink {
    pub(super) fn open(handler: &LogHandler) -> Result<Self, LogError> {
        let target = match &handler.target {
            LogTarget::Stderr => Target::Stderr,
            LogTarget::Stdout => Target::Stdout,
            LogTarget::File(file) => Target::File(OpenFile::open(file, &Zoned::now())?),
            LogTarget::Syslog(syslog) => Target::Syslog(Syslog::open(syslog)?),
        };
        let output = Mutex::new(Output { target, is_failing: false });
        Ok(Self { handler: handler.clone(), output })
    }

    pub(super) fn reopen(&self) -> Result<(), LogError> {
        // A panic of another thread leaves a file that can be written to as well as before.
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut output.target {
            Target::Stderr | Target::Stdout | Target::Syslog(_) => Ok(()),
            Target::File(file) => file.reopen(&Zoned::now()),
        }
    }

    fn log(&self, record: &Record<'_>) {
        let mut text = String::new();
        self.handler.format.emit(record, &self.handler.date_format, &mut text);
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &mut output.target {
            Target::Syslog(syslog) => syslog.send(record.level, &text),
            Target::Stderr => io::stderr().lock().write_all(with_end(&mut text)),
            Target::Stdout => write_and_flush(&mut io::stdout().lock(), with_end(&mut text)),
            Target::File(file) => file.write(with_end(&mut text), record.time),
        };
        let was_failing = output.is_failing;
        output.is_failing = written.is_err();
        if let (Err(error), false) = (written, was_failing) {
            // The server goes on without its log; there is nobody to tell but the terminal, if there is one.
            let _ = writeln!(io::stderr(), "cannot write to the log, {}: {error}", self.handler.target);
        }
    }
}

/// A whole line of `text`.
fn with_end(text: &mut String) -> &[u8] {
    text.push('\n');
    text.as_bytes()
}

fn write_and_flush(stream: &mut dyn io::Write, line: &[u8]) -> io::Result<()> {
    stream.write_all(line)?;
    stream.flush()
}
