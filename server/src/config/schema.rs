//! Which sections and keys there are, and which of them this server cannot do yet.

use super::{ConfigError, ErrorKind};
use crate::zconfig::Position;

/// The keys and sections that a section may have.
pub(super) struct Schema {
    /// Its keys. None may occur twice.
    pub(super) keys: &'static [&'static str],
    /// Its sections.
    pub(super) sections: &'static [Inner],
}

/// A section that may stand in another one.
pub(super) struct Inner {
    pub(super) kind: &'static str,
    pub(super) may_repeat: bool,
}

const fn one(kind: &'static str) -> Inner {
    Inner { kind, may_repeat: false }
}

const fn many(kind: &'static str) -> Inner {
    Inner { kind, may_repeat: true }
}

/// What stands outside all sections (`ZEO/schema.xml`; the storages are those of `ZODB/component.xml`).
pub(super) const ROOT: Schema = Schema {
    keys: &[],
    sections: &[
        one("zeo"),
        one("runner"),
        one("eventlog"),
        FILE,
        MAPPING,
        BLOB,
        DEMO,
        CLIENT,
        ZEO_CLIENT,
        FULL,
        MINIMAL,
    ],
};

// The sections that `ZODB/component.xml` and `ZEO/component.xml` call storages: they stand wherever one of them may.
const FILE: Inner = many("filestorage");
const MAPPING: Inner = many("mappingstorage");
const BLOB: Inner = many("blobstorage");
const DEMO: Inner = many("demostorage");
const CLIENT: Inner = many("clientstorage");
const ZEO_CLIENT: Inner = many("zeoclient");
const FULL: Inner = many("fullstorage");
const MINIMAL: Inner = many("minimalstorage");

/// The same in one list.
pub(super) const STORAGES: &[Inner] = &[FILE, MAPPING, BLOB, DEMO, CLIENT, ZEO_CLIENT, FULL, MINIMAL];

/// `<zeo>` (`ZEO/server.xml` of 6.2; from `monitor-address` on `ZEO/component.xml` of 4.3.1). The last three keys are
/// ours.
pub(super) const ZEO: Schema = Schema {
    keys: &[
        "address",
        "read-only",
        "invalidation-queue-size",
        "invalidation-age",
        "transaction-timeout",
        "pid-filename",
        "client-conflict-resolution",
        "msgpack",
        "monitor-address",
        "authentication-protocol",
        "authentication-database",
        "authentication-realm",
        "drop-cache-rather-verify",
        "min-protocol",
        "frame-size-limit",
        "handshake-timeout",
    ],
    sections: &[one("ssl"), one("limits")],
};

/// `<limits>` in it, this server's own.
pub(super) const LIMITS: Schema = Schema {
    keys: &[
        "connections",
        "early-frame-size",
        "read-timeout",
        "lock-holder-read-timeout",
        "unread-commits",
        "unread-objects",
        "questions",
        "all-questions",
        "packs",
        "blob-downloads",
        "iterators",
        "transaction-size",
        "transaction-blob-size",
        "answer-size",
        "missed-objects",
    ],
    sections: &[],
};

/// `<ssl>` (`ZEO/server.xml`); `password-file` and `password-env` are this server's own.
pub(super) const SSL: Schema = Schema {
    keys: &["certificate", "key", "password-function", "password-file", "password-env", "authenticate"],
    sections: &[],
};

/// `<filestorage>` (`ZODB/component.xml`).
pub(super) const FILESTORAGE: Schema = Schema {
    keys: &["path", "blob-dir", "create", "read-only", "quota", "packer", "pack-gc", "pack-keep-old"],
    sections: &[],
};

/// `<mappingstorage>` (`ZODB/component.xml`).
pub(super) const MAPPINGSTORAGE: Schema = Schema { keys: &["name"], sections: &[] };

/// `<blobstorage>` (`ZODB/component.xml`).
pub(super) const BLOBSTORAGE: Schema = Schema { keys: &["blob-dir"], sections: STORAGES };

/// `<demostorage>` (`ZODB/component.xml`).
pub(super) const DEMOSTORAGE: Schema = Schema { keys: &["name"], sections: STORAGES };

/// `<eventlog>` (`ZConfig/components/logger/base-logger.xml`).
pub(super) const EVENTLOG: Schema = Schema {
    keys: &["level"],
    sections: &[
        many("logfile"),
        many("syslog"),
        many("win32-eventlog"),
        many("http-logger"),
        many("email-notifier"),
    ],
};

/// `<logfile>` (`ZConfig/components/logger/handlers.xml`).
pub(super) const LOGFILE: Schema = Schema {
    keys: &[
        "path",
        "level",
        "format",
        "dateformat",
        "style",
        "formatter",
        "arbitrary-fields",
        "old-files",
        "max-size",
        "when",
        "interval",
        "encoding",
        "delay",
    ],
    sections: &[],
};

/// `<syslog>` (`ZConfig/components/logger/handlers.xml`).
pub(super) const SYSLOG: Schema = Schema {
    keys: &["address", "facility", "level", "format", "dateformat", "style", "formatter", "arbitrary-fields"],
    sections: &[],
};

/// Packages whose `%import` changes nothing, since their sections are known anyway.
pub(super) const IMPORTS: &[&str] = &["ZEO", "ZODB", "zdaemon", "ZConfig.components.logger"];

/// Sections of Python's server that have no place in this one: where they stand, which they are, and why.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[
    ("eventlog", "<win32-eventlog>", "there is such a log on Windows only; use <syslog> or <logfile>"),
    ("eventlog", "<http-logger>", LOG_SHIPPER),
    ("eventlog", "<email-notifier>", LOG_SHIPPER),
];
const LOG_SHIPPER: &str = "a request to another host for each event would hold up the server; use <syslog>, or \
                           <logfile> and a program that watches the file";

/// Keys whose value is the name of Python code, and what to say instead.
const PYTHON_ONLY: &[(&str, &str, &str)] = &[
    ("filestorage", "packer", "leave it out: packing is built in, and pack-gc and pack-keep-old work"),
    (
        "ssl",
        "password-function",
        "put the password into a file and say \"password-file PATH\", or into an environment variable and say \
         \"password-env NAME\"",
    ),
];

/// Refuses `name`, a key or `<section>` in the section `within`, if this server cannot do what it asks for.
pub(super) fn check_supported(within: &str, name: &str, at: &Position) -> Result<(), ConfigError> {
    let what = || if within.is_empty() { name.to_owned() } else { format!("{name} in <{within}>") };
    if let Some(&(.., reason)) = REFUSED.iter().find(|&&(section, kind, _)| (section, kind) == (within, name))
    {
        return Err(ConfigError::at(at, ErrorKind::NotSupported { what: what(), reason }));
    }
    match PYTHON_ONLY.iter().find(|&&(section, key, _)| (section, key) == (within, name)) {
        Some(&(.., instead)) => Err(ConfigError::at(at, ErrorKind::PythonOnly { what: what(), instead })),
        None => Ok(()),
    }
}
