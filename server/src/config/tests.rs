//! What the environment and the command line contribute. What configuration files mean is compared with
//! Python in `tests/zconfig_python.rs`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::schema::LIMITS;
use super::schema::{
    BLOBSTORAGE, DEMOSTORAGE, EVENTLOG, FILESTORAGE, LOGFILE, MAPPINGSTORAGE, REFUSED, SSL, SYSLOG, ZEO,
};
use super::*;
use crate::limits::Limit;
use crate::zconfig::{self, Nothing};

struct Variables(HashMap<&'static str, &'static str>);

impl Environment for Variables {
    fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).into())
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

fn read(text: &str, overrides: Overrides, environment: &dyn Environment) -> Result<Config, ConfigError> {
    Config::from_document(&zconfig::parse(text)?, overrides, environment)
}

fn zeo(keys: &str) -> String {
    format!("<zeo>\naddress localhost:8100\n{keys}\n</zeo>\n<mappingstorage a/>\n")
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.into(), port }
}

#[test]
fn msgpack_comes_from_the_environment_unless_it_is_configured() {
    let msgpack = |keys: &str, variables: &[(&'static str, &'static str)]| {
        let environment = Variables(variables.iter().copied().collect());
        read(&zeo(keys), Overrides::default(), &environment).unwrap().server.msgpack
    };
    assert!(!msgpack("", &[]));
    assert!(!msgpack("", &[("ZEO_MSGPACK", "")]));
    assert!(msgpack("", &[("ZEO_MSGPACK", "0")]), "any text counts, as in Python");
    assert!(!msgpack("msgpack false", &[("ZEO_MSGPACK", "1")]));
    assert!(msgpack("msgpack true", &[]));
}

/// Each key of `<limits>` sets its own, and nothing can be limited to nothing.
#[test]
fn the_section_of_limits() {
    let read = |lines: &str| {
        let section = format!("<limits>\n{lines}\n</limits>");
        let config = read(&zeo(&section), Overrides::default(), &Nothing);
        config.map(|config| config.server.limits).map_err(|error| error.to_string())
    };
    assert_eq!(read(""), Ok(LimitOptions::default()));
    let keys = LIMITS.keys.iter().enumerate();
    let lines: Vec<String> = keys.map(|(number, key)| format!("{key} {}", 5000 + number)).collect();
    let expected = LimitOptions {
        connection_count: 5000,
        early_frame_bytes: 5001,
        read_timeout: Duration::from_secs(5002),
        holder_read_timeout: Duration::from_secs(5003),
        unread_commit_count: 5004,
        unread_oid_count: 5005,
        question_count: 5006,
        all_question_count: 5007,
        pack_count: 5008,
        download_count: 5009,
        iterator_count: 5010,
        transaction_bytes: 5011,
        transaction_blob_bytes: 5012,
        answer_bytes: 5013,
        missed_oid_count: 5014,
    };
    assert_eq!(read(&lines.join("\n")), Ok(expected));
    for key in LIMITS.keys {
        assert!(Limit::ALL.iter().any(|limit| limit.name() == *key), "{key} is not counted");
        for value in ["0", "-1"] {
            let refused = read(&format!("{key} {value}")).unwrap_err();
            assert!(refused.contains(key) && refused.contains("is refused; expected a"), "{refused}");
        }
    }
    let blobs = read("transaction-blob-size 2GB\nread-timeout 2m").unwrap();
    assert_eq!((blobs.transaction_blob_bytes, blobs.read_timeout), (2 << 30, Duration::from_secs(120)));
}

/// Python has no such keys; their values are of ZConfig's types.
#[test]
fn limits_of_our_own() {
    let read = |keys: &str| read(&zeo(keys), Overrides::default(), &Nothing);
    let limits = |keys: &str| {
        let server = read(keys).unwrap().server;
        (server.frame_size_limit, server.handshake_timeout)
    };
    assert_eq!(limits(""), (1 << 30, Duration::from_secs(30)));
    assert_eq!(limits("frame-size-limit 64KB\nhandshake-timeout 5"), (64 << 10, Duration::from_secs(5)));
    assert_eq!(limits("frame-size-limit 4gb\nhandshake-timeout 2m"), (4 << 30, Duration::from_secs(120)));
    let size = "expected a size from 64KB to 4GB";
    let time = "expected a time of one second or more";
    for (key, value, why) in [
        ("frame-size-limit", "65535", format!("is refused; {size}")),
        ("frame-size-limit", "5GB", format!("is refused; {size}")),
        ("frame-size-limit", "-1", format!("is refused; {size}")),
        ("frame-size-limit", "x", "is not a size; expected an integer, alone or with KB, MB or GB".into()),
        ("handshake-timeout", "0", format!("is refused; {time}")),
        ("handshake-timeout", "-1", format!("is refused; {time}")),
        (
            "handshake-timeout",
            "1.5",
            "is not a time interval; expected an integer, alone or with s, m, h or d".into(),
        ),
    ] {
        let error = read(&format!("{key} {value}")).unwrap_err().to_string();
        assert_eq!(error, format!("<text>:3: {key}: {value:?} {why}"));
    }
}

#[test]
fn the_pid_file_has_a_place_in_an_instance() {
    let pid_file = |keys: &str, overrides: Overrides| {
        let environment = Variables(HashMap::from([("INSTANCE_HOME", "/inst")]));
        read(&zeo(keys), overrides, &environment).unwrap().pid_file
    };
    let option = || Overrides { pid_file: Some("x".into()), ..Overrides::default() };
    assert_eq!(pid_file("", Overrides::default()), Some("/inst/var/ZEO.pid".into()));
    assert_eq!(pid_file("pid-filename z.pid", Overrides::default()), Some("z.pid".into()));
    assert_eq!(pid_file("pid-filename z.pid", option()), Some("x".into()));
    assert_eq!(pid_file("read-only yes", option()), None);
    assert_eq!(read(&zeo(""), Overrides::default(), &Nothing).unwrap().pid_file, None);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        listen: Some(tcp("", 1)),
        filenames: vec!["a.fs".into(), "b.fs".into()],
        transaction_timeout: Some(Duration::from_millis(1500)),
        pid_file: None,
        is_test: true,
    };
    let config = read(&zeo("transaction-timeout 30\nread-only yes"), overrides, &Nothing).unwrap();
    assert_eq!(config.listen, tcp("", 1));
    assert_eq!(config.server.transaction_timeout, Some(Duration::from_millis(1500)));
    assert!(config.server.read_only);
    assert!(config.is_test);
    let file = |name: &str, path: &str| StorageConfig {
        name: name.into(),
        kind: StorageKind::File(FileStorageOptions::new(path)),
        at: None,
    };
    assert_eq!(config.storages, [file("1", "a.fs"), file("2", "b.fs")]);
}

#[test]
fn without_anything_there_is_a_default() {
    let config = Config::from_overrides(Overrides::default(), &Nothing).unwrap();
    assert_eq!(config.listen, tcp("127.0.0.1", 8100));
    let file = FileStorageOptions {
        blob_dir: Some("./data/blobs".into()),
        create_directory: true,
        ..FileStorageOptions::new("./data/Data.fs")
    };
    let storage = StorageConfig { name: "1".into(), kind: StorageKind::File(file), at: None };
    assert_eq!(config.storages, [storage]);
    assert_eq!(config.server, ServerOptions::default());
    assert_eq!(config.log, LogConfig::default());
}

#[test]
fn half_of_a_configuration_is_none() {
    let error = |overrides| Config::from_overrides(overrides, &Nothing).unwrap_err().to_string();
    let listen = Overrides { listen: Some(tcp("", 1)), ..Overrides::default() };
    assert_eq!(error(listen), "no storages specified; use -f or -C");
    let filenames = Overrides { filenames: vec!["x".into()], ..Overrides::default() };
    assert_eq!(error(filenames), "no server address specified; use -a or -C");
}

#[test]
fn addresses_are_shown_as_python_shows_them() {
    assert_eq!(tcp("", 0).to_string(), "('', 0)");
    assert_eq!(Address::Unix(PathBuf::from("./sock")).to_string(), "'./sock'");
}

#[test]
fn very_long_times_are_for_ever_and_none_is_no_time() {
    assert_eq!(duration(f64::INFINITY), Some(Duration::MAX));
    assert_eq!(duration(1e300), Some(Duration::MAX));
    assert_eq!(duration(0.0), Some(Duration::ZERO));
    assert_eq!(duration(-0.1), None);
    assert_eq!(duration(f64::NAN), None);
}

/// A row that names nothing would refuse nothing.
#[test]
fn what_is_refused_is_in_the_schema() {
    for (within, name, _) in REFUSED {
        assert_eq!(*within, "eventlog");
        assert!(EVENTLOG.sections.iter().any(|inner| format!("<{}>", inner.kind) == *name), "{name}");
    }
}

fn ssl(keys: &str) -> Result<SslOptions, String> {
    let keys = format!("<ssl>\ncertificate server.pem\nauthenticate clients.pem\n{keys}\n</ssl>");
    let config = read(&zeo(&keys), Overrides::default(), &Nothing).map_err(|error| error.to_string())?;
    Ok(config.server.ssl.unwrap())
}

#[test]
fn passwords_are_in_one_place() {
    assert_eq!(ssl("").unwrap().password, None);
    assert_eq!(ssl("password-file password").unwrap().password, Some(Password::File("password".into())));
    let error = ssl("password-file nosuch/password").unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
    let variable = Password::Variable("ZEO_KEY_PASSWORD".into());
    assert_eq!(ssl("password-env ZEO_KEY_PASSWORD").unwrap().password, Some(variable));
    let error = ssl("password-env A\npassword-file b").unwrap_err();
    assert!(error.contains("no more than one place for the password"), "{error}");
}

#[test]
fn signed_certificates_have_two_names() {
    let authenticate = |value: &str| {
        let keys = format!("<ssl>\ncertificate server.pem\nauthenticate {value}\n</ssl>");
        read(&zeo(&keys), Overrides::default(), &Nothing).unwrap().server.ssl.unwrap().authenticate
    };
    assert_eq!(authenticate("SIGNED"), Authenticate::Signed);
    assert_eq!(authenticate("-"), Authenticate::Signed);
    assert_eq!(authenticate("signed"), Authenticate::Path("signed".into()));
}

#[test]
fn a_storage_knows_where_it_is_configured() {
    let config = read(&zeo(""), Overrides::default(), &Nothing).unwrap();
    let at = config.storages.first().unwrap().at.as_ref().unwrap();
    assert_eq!(at.line, 5);
}

#[test]
fn the_help_names_every_key() {
    let Err(crate::cli::Stop::Answer(help)) = crate::cli::parse(["runzeo".into(), "-h".into()], &Nothing)
    else {
        panic!("no help")
    };
    let sections =
        [ZEO, SSL, FILESTORAGE, MAPPINGSTORAGE, BLOBSTORAGE, DEMOSTORAGE, EVENTLOG, LOGFILE, SYSLOG];
    let mut keys: Vec<&str> = sections.iter().flat_map(|schema| schema.keys).copied().collect();
    // Python's only, and those that change nothing.
    let without_effect = ["encoding", "formatter", "arbitrary-fields"];
    keys.retain(|key| !["packer", "password-function"].contains(key) && !without_effect.contains(key));
    for key in keys {
        assert!(help.contains(key), "{key}");
    }
    assert!(help.lines().all(|line| line.len() <= 100), "fits a terminal");
}
