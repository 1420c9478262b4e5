//! Formats, dates, rotation by the clock, and what goes to syslog are compared with Python's
//! (`tests/data/zconfig_expect.py`); the rest is tried out.

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt;

use super::file::OpenFile;
use super::format::Record;
use super::*;

fn expected() -> Value {
    serde_json::from_str(include_str!("../../tests/data/zconfig/expected.json")).unwrap()
}

fn record<'a>(time: &'a Zoned, message: &'a str) -> Record<'a> {
    let (logger, file) = ("ZEO.runzeo", "server/src/some.file.rs");
    Record { time, age_ms: 1500.5, level: Level::INFO, logger, message, file, line: 42 }
}

#[test]
fn formats_are_followed_as_python_follows_them() {
    let time = Timestamp::from_millisecond(1_234_567_890_250).unwrap().to_zoned(TimeZone::UTC);
    let expected = expected();
    let styles = expected["formats"].as_object().unwrap();
    assert_eq!(styles.len(), 4);
    for (style, texts) in styles {
        for (text, expected) in texts.as_object().unwrap() {
            let found = Format::parse(text, Style::by_name(style).unwrap()).map(|format| {
                let mut line = String::new();
                format.emit(&record(&time, "the message"), &DateFormat::default(), &mut line);
                line
            });
            match expected.get("ok").and_then(Value::as_str) {
                Some(expected) => assert_eq!(found.as_deref(), Ok(expected), "{style}: {text}"),
                None => assert!(found.is_err(), "{style}: {text}: {found:?}"),
            }
        }
    }
}

#[test]
fn fields_that_only_python_has_are_there_as_far_as_can_be() {
    let time = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let shown = |text: &str| {
        let mut line = String::new();
        let format = Format::parse(text, Style::Format).unwrap();
        format.emit(&record(&time, ""), &DateFormat::default(), &mut line);
        line
    };
    assert_eq!(shown("{funcName}"), "(unknown function)");
    let here = shown("{thread}");
    assert_eq!(shown("{thread:d}"), here);
    let there = std::thread::scope(|scope| scope.spawn(|| shown("{thread}")).join().unwrap());
    assert_ne!(there, here);
}

#[test]
fn files_end_when_they_end_in_python() {
    let expected = expected();
    let zone = TimeZone::posix(expected["zone"].as_str().unwrap()).unwrap();
    let at = |value: &Value| Timestamp::from_second(value.as_i64().unwrap()).unwrap().to_zoned(zone.clone());
    let rotations = expected["rotations"].as_array().unwrap();
    assert!(rotations.len() > 50);
    for case in rotations {
        let when = When::by_name(case["when"].as_str().unwrap()).unwrap();
        let schedule = Schedule::new(when, case["interval"].as_u64().unwrap().try_into().unwrap());
        let end = schedule.end(&at(&case["written"])).unwrap();
        assert_eq!(end, at(&case["end"]), "{case}");
        let suffix = schedule.suffix(&end).unwrap();
        assert_eq!(format!("zeo.log.{suffix}"), case["old"].as_str().unwrap(), "{case}");
        assert!(schedule.is_suffix(&suffix) && schedule.is_suffix(&format!("{suffix}.gz")), "{case}");
        assert_eq!(schedule.end(&end).unwrap(), at(&case["next"]), "{case}");
    }
    for name in ["", "X", "W", "W7", "W00", "noon", " D"] {
        assert_eq!(When::by_name(name), None, "{name}");
    }
}

/// Where Python 3.11 takes every interval for 1, and errs by an hour; Python 3.13 does not.
#[test]
fn days_that_end_at_midnight_are_counted_and_may_have_23_hours() {
    let zone = TimeZone::posix(expected()["zone"].as_str().unwrap()).unwrap();
    let at = |text: &str| text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap();
    let ends = |when, interval, since: &str| {
        let schedule = Schedule::new(When::by_name(when).unwrap(), interval);
        let end = schedule.end(&at(since)).unwrap();
        (end.datetime().to_string(), schedule.suffix(&end).unwrap())
    };
    let pair = |end: &str, suffix: &str| (end.to_owned(), suffix.to_owned());
    // The clocks go forward in the night to the 29th of March 2026, a Sunday, and back on the 25th of October.
    assert_eq!(ends("midnight", 1, "2026-03-29T01:00"), pair("2026-03-30T00:00:00", "2026-03-29"));
    assert_eq!(ends("midnight", 1, "2026-10-25T01:00"), pair("2026-10-26T00:00:00", "2026-10-25"));
    assert_eq!(ends("W0", 1, "2026-03-28T12:00"), pair("2026-03-31T00:00:00", "2026-03-24"));
    assert_eq!(ends("midnight", 3, "2026-01-01T12:00"), pair("2026-01-04T00:00:00", "2026-01-01"));
    assert_eq!(ends("W3", 2, "2026-01-01T12:00"), pair("2026-01-09T00:00:00", "2025-12-26"));
    assert_eq!(ends("D", 0, "2026-01-01T12:00"), pair("2026-01-02T12:00:00", "2026-01-01"));
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
fn the_default_formats_are_what_zconfig_would_write_as_keys() {
    assert_eq!(Format::parse(Format::LOGFILE, Style::Classic).unwrap(), Format::default());
    assert_eq!(Format::parse(Format::SYSLOG, Style::Classic).unwrap(), Format::syslog());
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
        format: Format::parse(format, Style::Classic).unwrap(),
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
    let rotation = Some(Rotation::Full { max_len: 6, old_files: 2 });
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

/// The old files in `directory`, in order.
fn old_files(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "zeo.log");
    names.sort();
    names
}

#[test]
fn files_whose_time_is_over_give_way_to_new_ones() {
    let directory = TempDir::new().unwrap();
    let at = |text: &str| text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
    let schedule = Schedule::new(When::Hours, 1);
    let LogTarget::File(spec) = file(&directory, Some(Rotation::Timed { schedule, old_files: 2 })) else {
        unreachable!()
    };
    // Neither is one of ours.
    fs::write(directory.path().join("zeo.log.1"), "").unwrap();
    fs::write(directory.path().join("zeo.log.2026-01-01"), "").unwrap();
    let mut log = OpenFile::open(&spec, &at("2026-01-01T10:30")).unwrap();
    for time in ["10:31", "11:29", "11:30", "11:40", "13:59", "14:00", "15:00"] {
        log.write(format!("{time}\n").as_bytes(), &at(&format!("2026-01-01T{time}"))).unwrap();
    }
    // The first one ended at 11:30, the second at 12:30, the third at 14:59, an hour after it was begun.
    let foreign = ["zeo.log.1", "zeo.log.2026-01-01"];
    let old: Vec<String> =
        old_files(&directory).into_iter().filter(|name| !foreign.contains(&&**name)).collect();
    assert_eq!(old, ["zeo.log.2026-01-01_11", "zeo.log.2026-01-01_13"], "two are kept");
    assert_eq!(read(&directory, "zeo.log.2026-01-01_11"), "11:30\n11:40\n");
    assert_eq!(read(&directory, "zeo.log.2026-01-01_13"), "13:59\n14:00\n");
    assert_eq!(read(&directory, "zeo.log"), "15:00\n");
    // SIGUSR2 ends the file before its time; a second one within the hour leaves what it finds.
    log.reopen(&at("2026-01-01T15:01")).unwrap();
    log.write(b"15:01\n", &at("2026-01-01T15:01")).unwrap();
    log.reopen(&at("2026-01-01T15:02")).unwrap();
    log.write(b"15:02\n", &at("2026-01-01T15:02")).unwrap();
    assert_eq!(read(&directory, "zeo.log.2026-01-01_15"), "15:00\n");
    assert_eq!(read(&directory, "zeo.log"), "15:01\n15:02\n");
}

#[test]
fn a_file_of_yesterday_ends_with_the_first_event_of_today() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("zeo.log");
    fs::write(&path, "old\n").unwrap();
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(24 * 60 * 60);
    fs::File::options().append(true).open(&path).unwrap().set_modified(yesterday).unwrap();
    let schedule = Schedule::new(When::Midnight, 1);
    let rotation = Some(Rotation::Timed { schedule, old_files: 5 });
    logging(&config(file(&directory, rotation), Level::INFO, "%(message)s"), |_| tracing::info!("new"));
    let date = Timestamp::try_from(yesterday).unwrap().to_zoned(TimeZone::system()).date();
    assert_eq!(old_files(&directory), [format!("zeo.log.{date}")]);
    assert_eq!(read(&directory, &format!("zeo.log.{date}")), "old\n");
    assert_eq!(read(&directory, "zeo.log"), "new\n");
}

/// What Python's handler sends, from level 5 to 50.
fn expected_datagrams(facility: &str) -> Vec<String> {
    let found = &expected()["syslog"][facility]["ok"];
    found.as_array().unwrap().iter().map(|datagram| datagram.as_str().unwrap().to_owned()).collect()
}

fn syslog(address: SyslogAddress, facility: &str) -> LogConfig {
    let facility = Facility::by_name(facility).unwrap();
    config(LogTarget::Syslog(SyslogConfig { address, facility }), Level::NOTSET, Format::SYSLOG)
}

fn log_at_every_level() {
    tracing::trace!(target: "ZEO.runzeo", "event ä");
    tracing::debug!(target: "ZEO.runzeo", "event ä");
    tracing::debug!(target: "ZEO.runzeo", blather = true, "event ä");
    tracing::info!(target: "ZEO.runzeo", "event ä");
    tracing::warn!(target: "ZEO.runzeo", "event ä");
    tracing::error!(target: "ZEO.runzeo", "event ä");
    tracing::error!(target: "ZEO.runzeo", critical = true, "event ä");
}

#[test]
fn syslog_gets_what_python_sends() {
    let facilities = expected()["syslog"].as_object().unwrap().clone();
    assert_eq!(facilities.len(), 20);
    for (facility, _) in facilities.iter().filter(|(_, sent)| sent.get("ok").is_some()) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        logging(&syslog(SyslogAddress::Unix(path), facility), |_| log_at_every_level());
        let mut buffer = [0; 100];
        for expected in expected_datagrams(facility) {
            let len = daemon.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..len]), Ok(expected.as_str()), "{facility}");
        }
    }
}

#[test]
fn syslog_is_reached_by_udp() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = daemon.local_addr().unwrap().port();
    let config = syslog(SyslogAddress::Udp { host: "127.0.0.1".into(), port }, "local3");
    logging(&config, |_| log_at_every_level());
    let mut buffer = [0; 100];
    for expected in expected_datagrams("local3") {
        let len = daemon.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..len]), Ok(expected.as_str()));
    }
}

#[test]
fn a_log_daemon_may_come_go_have_a_stream_and_stand_still() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    logging(&syslog(SyslogAddress::Unix(path.clone()), "user"), |_| {
        tracing::info!(target: "a", "nobody is there");
        let mut buffer = [0; 100];
        for message in ["it has come", "it was started anew"] {
            let daemon = UnixDatagram::bind(&path).unwrap();
            tracing::info!(target: "a", "{message}");
            let len = daemon.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..len]), Ok(format!("<14>a {message}\0").as_str()));
            fs::remove_file(&path).unwrap();
        }
        let daemon = UnixListener::bind(&path).unwrap();
        tracing::info!(target: "a", "by a stream");
        let (mut stream, _) = daemon.accept().unwrap();
        let mut buffer = [0; "<14>a by a stream\0".len()];
        stream.read_exact(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer), Ok("<14>a by a stream\0"));
        drop((daemon, stream));
        fs::remove_file(&path).unwrap();
        // One that reads nothing costs events, and holds up nobody.
        let daemon = UnixDatagram::bind(&path).unwrap();
        (0..2_000).for_each(|number| tracing::info!(target: "a", "{number}"));
        let mut buffer = [0; 100];
        let len = daemon.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..len]), Ok("<14>a 0\0"));
    });
}

#[test]
fn a_log_host_that_cannot_be_found_is_an_error_at_the_start() {
    let address = SyslogAddress::Udp { host: "host.invalid".into(), port: 514 };
    let error = open(&syslog(address, "user")).unwrap_err().to_string();
    assert!(error.starts_with("cannot log to syslog at host.invalid:514: "), "{error}");
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
        text in "\\PC*|([%() .0-9sdfn\\\\-]|%\\(message\\)|asctime){0,20}|([{}:!<^>=.0-9sdf$]|msecs|message|ä){0,20}",
        date in "\\PC*|(%\\PC){0,5}",
    ) {
        let time = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let record = record(&time, "ä");
        let dates = DateFormat::parse(&date).unwrap_or_default();
        let mut line = String::new();
        for style in [Style::Classic, Style::Format, Style::Template, Style::SafeTemplate] {
            if let Ok(format) = Format::parse(&text, style) {
                format.emit(&record, &dates, &mut line);
            }
        }
        dates.emit(&time, &mut line);
    }
}
