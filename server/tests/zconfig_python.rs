//! What Python makes of configurations and values, and what we make of them.
//!
//! The inputs are in `data/zconfig/`; `data/zconfig_expect.py` asked the real ZConfig and wrote its answers to
//! `data/zconfig/expected.json`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed as it should"
)]

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeo_server::config::{Address, Authenticate, Config, Overrides, StorageKind};
use zeo_server::logging::{
    Facility, Level, LogConfig, LogHandler, LogTarget, Rotation, Schedule, SyslogAddress, SyslogConfig, When,
};
use zeo_server::zconfig::value::{self, SocketAddress, ValueError};
use zeo_server::zconfig::{self, Environment, Item, Limits, Section};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zconfig")
}

fn expected() -> Value {
    let text = std::fs::read_to_string(data().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The files below `data/zconfig`, with the variables that Python had.
struct Data {
    variables: Value,
}

impl Data {
    fn new(expected: &Value) -> Self {
        Self { variables: expected["environment"].clone() }
    }
}

impl Environment for Data {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>> {
        zconfig::System.read(&data().join(path), len_max)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables[name].as_str().map(str::to_owned)
    }

    fn is_directory(&self, path: &Path) -> bool {
        data().join(path).is_dir()
    }
}

fn tree(section: &Section) -> Value {
    let items = section.items.iter().map(|item| match item {
        Item::Entry(entry) => json!({"key": entry.key, "value": entry.value, "line": entry.at.line}),
        Item::Section(section) => tree(section),
    });
    json!({"kind": section.kind, "name": section.name, "items": items.collect::<Vec<_>>()})
}

#[test]
fn syntax_is_python_s() {
    let expected = expected();
    let environment = Data::new(&expected);
    for (name, expected) in expected["syntax"].as_object().unwrap() {
        let path = PathBuf::from(format!("syntax/{name}.conf"));
        let document = zconfig::load(&path, &environment, Limits::default());
        match (expected.get("ok"), document) {
            (Some(expected), Ok(document)) => {
                let imports: Vec<&str> = document.imports.iter().map(|import| &*import.package).collect();
                let found = json!({"tree": tree(&document.root), "imports": imports});
                assert_eq!(&found, expected, "{name}");
            }
            (None, Err(_)) => {}
            (_, found) => panic!("{name}: {found:?} instead of {expected}"),
        }
    }
}

fn log(config: &LogConfig) -> Value {
    let handler = |handler: &LogHandler| {
        let level = handler.level.number();
        let (path, file) = match &handler.target {
            LogTarget::Stderr => (json!("STDERR"), None),
            LogTarget::Stdout => (json!("STDOUT"), None),
            LogTarget::File(file) => (json!(file.path), Some(file)),
            LogTarget::Syslog(SyslogConfig { address, facility }) => {
                let address = match address {
                    SyslogAddress::Udp { host, port } => json!({"host": host, "port": port}),
                    SyslogAddress::Unix(path) => json!(path),
                };
                return json!({"kind": "syslog", "level": level, "address": address, "facility": facility.number()});
            }
        };
        let rotation = file.and_then(|file| file.rotation);
        let (max_size, schedule, old_files) = match rotation {
            None => (0, None, 0),
            Some(Rotation::Full { max_len, old_files }) => (max_len, None, old_files),
            Some(Rotation::Timed { schedule, old_files }) => (0, Some(schedule), old_files),
        };
        json!({
            "kind": "logfile",
            "path": path,
            "level": level,
            "max_size": max_size,
            "old_files": old_files,
            "schedule": schedule.map(|schedule| format!("{schedule:?}")),
            "delay": file.is_some_and(|file| file.is_delayed),
        })
    };
    let handlers: Vec<Value> = config.handlers.iter().map(handler).collect();
    json!({"level": config.level.number(), "handlers": handlers})
}

/// A storage, as `zconfig_expect.py` describes it.
fn opened(kind: &StorageKind) -> Value {
    match kind {
        StorageKind::File(file) => json!({
            "kind": "FileStorage",
            "path": file.path,
            "blob_dir": file.blob_dir,
            "create": file.create,
            "read_only": file.read_only,
            "quota": file.quota_bytes,
            "pack_gc": file.pack_gc,
            "pack_keep_old": file.pack_keep_old,
        }),
        StorageKind::Mapping { name } => json!({"kind": "MappingStorage", "name": name}),
        StorageKind::Blob { blob_dir, base } => {
            json!({"kind": "BlobStorage", "blob_dir": blob_dir, "base": opened(base)})
        }
        StorageKind::Client { .. } => json!({"kind": "ClientStorage"}),
        StorageKind::Demo { name, base, changes } => {
            let [base, changes] = [base, changes].map(|inner| inner.as_deref().map(opened));
            json!({"kind": "DemoStorage", "name": name, "base": base, "changes": changes})
        }
    }
}

/// Our configuration, as Python would describe it.
fn as_python(config: &Config) -> Value {
    let server = &config.server;
    let storages = config.storages.iter().map(
        |storage| json!({"name": storage.name, "opener": storage.kind.opener(), "opened": opened(&storage.kind)}),
    );
    let ssl = server.ssl.as_ref().map(|ssl| {
        let authenticate = match &ssl.authenticate {
            Authenticate::Path(path) => json!(path),
            Authenticate::Signed => json!("SIGNED"),
        };
        json!({"certificate": ssl.certificate, "key": ssl.key, "authenticate": authenticate})
    });
    json!({
        "address": match &config.listen {
            Address::Tcp { host, port } => json!({"host": host, "port": port}),
            Address::Unix(path) => json!(path),
        },
        "read_only": server.read_only,
        // Python's default; ours is more without the key.
        "invalidation_queue_size": server.invalidation_queue_size.unwrap_or(100),
        "invalidation_age": server.invalidation_age.map(|age| age.as_secs_f64()),
        "transaction_timeout": server.transaction_timeout.map(|timeout| timeout.as_secs()),
        "client_conflict_resolution": server.client_conflict_resolution,
        "msgpack": server.msgpack,
        "pid_file": config.pid_file,
        "ssl": ssl,
        "storages": storages.collect::<Vec<_>>(),
        "eventlog": if config.log.is_configured { log(&config.log) } else { Value::Null },
    })
}

fn normalize_storage(storage: &mut Value) {
    let Value::Object(storage) = storage else { return };
    for key in ["create", "read_only"] {
        if storage.get(key).is_some_and(Value::is_null) {
            storage.insert(key.into(), json!(false));
        }
    }
    if storage.get("blob_dir") == Some(&json!("")) {
        storage.insert("blob_dir".into(), Value::Null);
    }
    for key in ["base", "changes"] {
        if let Some(inner) = storage.get_mut(key) {
            normalize_storage(inner);
        }
    }
}

fn normalize_handler(handler: &mut Value) {
    let handler = handler.as_object_mut().unwrap();
    if let Some(facility) = handler.get_mut("facility") {
        *facility = json!(Facility::by_name(facility.as_str().unwrap()).unwrap().number());
        return;
    }
    let (when, interval) = (handler.remove("when").unwrap(), handler.remove("interval").unwrap());
    let interval = interval.as_u64().unwrap().try_into().unwrap();
    let schedule = When::by_name(when.as_str().unwrap()).map(|when| Schedule::new(when, interval));
    handler.insert("schedule".into(), json!(schedule.map(|schedule| format!("{schedule:?}"))));
}

/// Makes Python's description comparable to ours: what has no value there has its default here.
fn normalized(mut expected: Value) -> Value {
    for storage in expected["storages"].as_array_mut().unwrap() {
        normalize_storage(&mut storage["opened"]);
    }
    if expected["invalidation_age"] == json!(0.0) {
        expected["invalidation_age"] = Value::Null;
    }
    // A read-only server writes no such file, which Python finds out later.
    if expected["read_only"] == json!(true) {
        expected["pid_file"] = Value::Null;
    }
    if let Some(handlers) = expected.pointer_mut("/eventlog/handlers").and_then(Value::as_array_mut) {
        handlers.iter_mut().for_each(normalize_handler);
    }
    expected
}

/// What Python accepts and we refuse. The messages are in `messages.txt`.
const REFUSED_HERE: &[&str] = &[
    // Only for Python, or only for Windows.
    "log_formatter_other",
    "packer_known",
    "ssl_password_function",
    "log_win32",
    // What would hold up the server.
    "log_email",
    "log_http",
    // Odd, or known to Python only at run time: it starts, and lets nobody in, fails the first commit, writes no log,
    // or goes round in circles.
    "age_negative",
    "log_bad_date",
    "log_encoding",
    "log_arbitrary",
    "log_interval_negative",
    "log_style_default_format",
    "log_syslog_no_port",
    "log_when_bad",
    "queue_negative",
    "ssl_dynamic",
    "timeout_negative",
];

/// What we accept and Python 6.2 refuses: `%import ZEO` clashes there with a section of the same name, but it is
/// in many configurations, since clients need it; and ZEO 5 has no monitor.
const REFUSED_THERE: &[&str] = &["clientstorage", "import", "monitor_address"];

#[test]
fn configurations_mean_what_they_mean_to_python() {
    let expected = expected();
    let environment = Data::new(&expected);
    let mut messages = String::new();
    for (name, expected) in expected["schema"].as_object().unwrap() {
        let path = PathBuf::from(format!("schema/{name}.conf"));
        let config = zconfig::load(&path, &environment, Limits::default())
            .map_err(Into::into)
            .and_then(|document| Config::from_document(&document, Overrides::default(), &environment));
        let is_refused_there = expected.get("ok").is_none();
        match config {
            Ok(_) if is_refused_there => {
                assert!(REFUSED_THERE.contains(&name.as_str()), "{name} is accepted")
            }
            Ok(config) => assert_eq!(as_python(&config), normalized(expected["ok"].clone()), "{name}"),
            Err(error) => {
                let is_known = is_refused_there || REFUSED_HERE.contains(&name.as_str());
                assert!(is_known, "{name} is refused: {error}");
                messages.push_str(&format!("{error}\n"));
            }
        }
    }
    for (name, _) in expected["syntax"].as_object().unwrap() {
        let path = PathBuf::from(format!("syntax/{name}.conf"));
        if let Err(error) = zconfig::load(&path, &environment, Limits::default()) {
            messages.push_str(&format!("{error}\n"));
        }
    }
    check_snapshot("messages.txt", &messages);
}

/// Compares with a file that was read by a person; `UPDATE_SNAPSHOTS=1` writes it.
fn check_snapshot(name: &str, found: &str) {
    let path = data().join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap());
}

fn address(value: &str) -> Result<Value, ValueError> {
    Ok(match value::socket_binding_address(value)? {
        SocketAddress::Inet { host, port } => json!({"host": host, "port": port}),
        SocketAddress::Unix(path) => json!(path),
    })
}

/// As a `<logfile>` takes it: a name or a number.
fn level(value: &str) -> Option<Value> {
    let number = || u8::try_from(value::integer(value).ok()?).ok();
    let level = Level::by_name(value).or_else(|| Level::by_number(number()?))?;
    Some(json!(level.number()))
}

/// Python's `repr` of a float, for the numbers in the table.
fn repr(number: f64) -> Value {
    if number.is_nan() { json!("nan") } else { json!(format!("{number:?}")) }
}

#[test]
fn values_mean_what_they_mean_to_python() {
    let expected = expected();
    let environment = Data::new(&expected);
    for (kind, values) in expected["values"].as_object().unwrap() {
        for (text, expected) in values.as_object().unwrap() {
            let found = match kind.as_str() {
                "boolean" => value::boolean(text).ok().map(Value::from),
                "integer" => value::integer(text).ok().map(Value::from),
                "float" => value::float(text).ok().map(repr),
                "byte-size" => value::byte_size(text).ok().map(Value::from),
                "time-interval" => value::time_interval(text).ok().map(Value::from),
                "basic-key" => value::basic_key(text).ok().map(Value::from),
                "socket-binding-address" => address(text).ok(),
                "existing-dirpath" => value::existing_dirpath(text, &environment).ok().map(Value::from),
                "logging-level" => level(text),
                _ => panic!("no such type: {kind}"),
            };
            assert_eq!(found.as_ref(), expected.get("ok"), "{kind} {text:?}");
        }
    }
}
