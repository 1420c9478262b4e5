//! Formats and dates are compared with Python's (`tests/data/zconfig_expect.py`); the rest is tried out.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt;

use super::field::Record;
use super::*;

fn expected() -> Value {
    serde_json::from_str(include_str!("../../tests/data/zconfig/expected.json")).unwrap()
}

#[test]
fn formats_are_followed_as_python_follows_them() {
    let time = Timestamp::from_millisecond(1_234_567_890_250).unwrap().to_zoned(TimeZone::UTC);
    let record = Record {
        time: &time,
        level: Level::INFO,
        logger: "ZEO.runzeo",
        message: "the message",
        file: "server/src/some.file.rs",
        line: 42,
    };
    for (text, expected) in expected()["formats"].as_object().unwrap() {
        let found = Format::parse(text).map(|format| {
            let mut line = String::new();
            format.emit(&record, &DateFormat::default(), &mut line);
            line
        });
        match expected.get("ok").and_then(Value::as_str) {
            Some(expected) => assert_eq!(found.as_deref(), Ok(format!("{expected}\n").as_str()), "{text}"),
            None => assert!(found.is_err(), "{text}: {found:?}"),
        }
    }
}

#[test]
fn dates_look_as_python_s_do() {
    for (text, times) in expected()["dates"].as_object().unwrap() {
        let format = DateFormat::parse(text).unwrap();
        for (seconds, expected) in times.as_object().unwrap() {
            let time = Timestamp::from_second(seconds.parse().unwrap()).unwrap().to_zoned(TimeZone::UTC);
            let mut found = String::new();
            format.emit(&time, &mut found);
            assert_eq!(&found, expected.as_str().unwrap(), "{text} of {seconds}");
        }
    }
}

#[test]
fn the_default_format_is_what_zconfig_would_write_as_a_key() {
    let written = r"------\n%(asctime)s %(levelname)s %(name)s %(message)s";
    assert_eq!(Format::parse(written).unwrap(), Format::default());
    assert_eq!(DateFormat::parse("%Y-%m-%dT%H:%M:%S").unwrap(), DateFormat::default());
}

#[test]
fn dates_without_a_format_have_milliseconds_and_odd_directives_are_refused() {
    let time = Timestamp::from_millisecond(7).unwrap().to_zoned(TimeZone::UTC);
    let mut found = String::new();
    DateFormat::parse("").unwrap().emit(&time, &mut found);
    assert_eq!(found, "1970-01-01 00:00:00,007");
    for text in ["%", "%Q", "%f", "%N", "%:z", "%-d", "100%"] {
        assert!(matches!(DateFormat::parse(text), Err(FormatError::Date { .. })), "{text}");
    }
}

/// A log file in a directory of its own.
fn file(directory: &TempDir, rotation: Option<Rotation>) -> LogTarget {
    LogTarget::File(LogFile { path: directory.path().join("zeo.log"), rotation, is_delayed: false })
}

fn config(target: LogTarget, level: Level, format: &str) -> LogConfig {
    let handler = LogHandler {
        target,
        level: Level::NOTSET,
        format: Format::parse(format).unwrap(),
        date_format: DateFormat::default(),
    };
    LogConfig { level, handlers: vec![handler], is_configured: true }
}

/// Logs by `config` while `body` runs.
fn logging(config: &LogConfig, body: impl FnOnce(&LogHandle)) {
    let (layer, handle) = open(config).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || body(&handle));
}

fn read(directory: &TempDir, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap()
}

/// One event of each level.
fn all_levels() {
    tracing::trace!(target: "ZEO.a", "t");
    tracing::debug!(target: "ZEO.a", "d");
    tracing::debug!(target: "ZEO.a", blather = true, "b");
    tracing::debug!(target: "ZEO.a", blather = false, "no b");
    tracing::info!(target: "ZEO.b", "i {}", 1);
    tracing::warn!(target: "ZEO.b", answer = 42, "w");
    tracing::error!(target: "ZEO.c", "e");
    tracing::error!(target: "ZEO.c", critical = true, "c");
}

#[test]
fn events_become_lines_as_python_has_them() {
    let directory = TempDir::new().unwrap();
    let config =
        config(file(&directory, None), Level::INFO, "%(asctime)s %(levelname)s %(name)s %(message)s");
    logging(&config, |_| {
        tracing::info!(target: "ZEO.StorageServer", "(test-label-1) x");
        tracing::error!(target: "ZEO.StorageServer", critical = true, "Transaction timeout after 2 seconds");
    });
    let log = read(&directory, "zeo.log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines[0][1..], ["INFO", "ZEO.StorageServer", "(test-label-1)", "x"]);
    assert_eq!(lines[1][1..6], ["CRITICAL", "ZEO.StorageServer", "Transaction", "timeout", "after"]);
    assert_eq!(lines[0][0].len(), "2026-01-31T12:00:00".len());
}

#[test]
fn levels_are_python_s() {
    let of_level = |level: &str| {
        let directory = TempDir::new().unwrap();
        let level = Level::by_name(level).unwrap();
        logging(&config(file(&directory, None), level, "%(levelname)s:%(message)s"), |_| all_levels());
        read(&directory, "zeo.log").lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let info = "INFO:i 1 WARNING:w answer=42 ERROR:e CRITICAL:c";
    assert_eq!(of_level("notset"), format!("TRACE:t DEBUG:d BLATHER:b DEBUG:no b {info}"));
    assert_eq!(of_level("trace"), format!("TRACE:t DEBUG:d BLATHER:b DEBUG:no b {info}"));
    assert_eq!(of_level("debug"), format!("DEBUG:d BLATHER:b DEBUG:no b {info}"));
    assert_eq!(of_level("blather"), format!("BLATHER:b {info}"));
    assert_eq!(of_level("info"), info);
    assert_eq!(of_level("warning"), "WARNING:w answer=42 ERROR:e CRITICAL:c");
    assert_eq!(of_level("error"), "ERROR:e CRITICAL:c");
    assert_eq!(of_level("critical"), "CRITICAL:c");
}

#[test]
fn each_handler_has_its_own_level_and_none_is_silence() {
    let directory = TempDir::new().unwrap();
    let mut config = config(file(&directory, None), Level::NOTSET, "%(message)s");
    config.handlers[0].level = Level::ERROR;
    let mut second = config.handlers[0].clone();
    second.level = Level::CRITICAL;
    second.target = LogTarget::File(LogFile {
        path: directory.path().join("critical.log"),
        rotation: None,
        is_delayed: true,
    });
    config.handlers.push(second);
    logging(&config, |_| {
        tracing::error!("e");
        assert!(!directory.path().join("critical.log").exists(), "opened before there is something to write");
        all_levels();
    });
    assert_eq!(read(&directory, "zeo.log"), "e\ne\nc\n");
    assert_eq!(read(&directory, "critical.log"), "c\n");
    config.handlers.clear();
    logging(&config, |_| assert!(!tracing::enabled!(tracing::Level::ERROR)));
}

#[test]
fn reopening_begins_a_new_file_under_the_old_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("zeo.log");
    logging(&config(file(&directory, None), Level::INFO, "%(name)s %(message)s"), |handle| {
        tracing::info!(target: "x", "before");
        fs::rename(&path, directory.path().join("old.log")).unwrap();
        tracing::info!(target: "x", "between");
        handle.reopen();
    });
    let pid = std::process::id();
    assert_eq!(read(&directory, "old.log"), "x before\nx between\n");
    assert_eq!(read(&directory, "zeo.log"), format!("ZEO.runzeo ({pid}) Log files reopened successfully\n"));
}

#[test]
fn a_log_that_cannot_be_reopened_goes_on() {
    let directory = TempDir::new().unwrap();
    let (here, gone) = (directory.path().join("here"), directory.path().join("gone"));
    fs::create_dir(&here).unwrap();
    let target = LogTarget::File(LogFile { path: here.join("zeo.log"), rotation: None, is_delayed: false });
    logging(&config(target, Level::INFO, "%(levelname)s"), |handle| {
        fs::rename(&here, &gone).unwrap();
        handle.reopen();
        tracing::info!("still there");
    });
    assert_eq!(fs::read_to_string(gone.join("zeo.log")).unwrap(), "ERROR\nINFO\n");
}

#[test]
fn without_an_eventlog_there_is_nothing_to_reopen() {
    let directory = TempDir::new().unwrap();
    let mut config = config(file(&directory, None), Level::INFO, "%(levelname)s %(message)s");
    config.is_configured = false;
    logging(&config, LogHandle::reopen);
    let line = format!("WARNING ({}) received SIGUSR2, but it was not handled!\n", std::process::id());
    assert_eq!(read(&directory, "zeo.log"), line);
}

#[test]
fn full_files_give_way_to_new_ones() {
    let directory = TempDir::new().unwrap();
    let rotation = Some(Rotation { max_len: 6, old_files: 2 });
    let config = config(file(&directory, rotation), Level::NOTSET, "%(message)s");
    logging(&config, |handle| {
        for number in 1..=7 {
            tracing::info!("{number}");
        }
        // Two bytes each: the third one would reach the six.
        assert_eq!(read(&directory, "zeo.log"), "7\n");
        assert_eq!(read(&directory, "zeo.log.1"), "5\n6\n");
        assert_eq!(read(&directory, "zeo.log.2"), "3\n4\n");
        assert!(!directory.path().join("zeo.log.3").exists());
        tracing::info!("longer than six bytes");
        assert_eq!(read(&directory, "zeo.log"), "longer than six bytes\n");
        handle.reopen();
        assert_eq!(read(&directory, "zeo.log.1"), "longer than six bytes\n");
    });
}

#[test]
fn a_log_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let path = Path::new("/nosuch/directory/zeo.log").to_path_buf();
    let target = LogTarget::File(LogFile { path, rotation: None, is_delayed: false });
    let error = open(&config(target, Level::INFO, "%(message)s")).unwrap_err();
    let message = "cannot open log file /nosuch/directory/zeo.log: No such file or directory (os error 2)";
    assert_eq!(error.to_string(), message);
}

proptest! {
    #[test]
    fn no_format_makes_us_panic(
        text in "\\PC*|([%() .0-9sdfn\\\\-]|%\\(message\\)|asctime){0,20}",
        date in "\\PC*|(%\\PC){0,5}",
    ) {
        let time = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let record =
            Record { time: &time, level: Level::TRACE, logger: "", message: "ä", file: "", line: 0 };
        let dates = DateFormat::parse(&date).unwrap_or_default();
        let mut line = String::new();
        if let Ok(format) = Format::parse(&text) {
            format.emit(&record, &dates, &mut line);
        }
        dates.emit(&time, &mut line);
    }
}
