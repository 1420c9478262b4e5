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
        many("filestorage"),
        many("mappingstorage"),
        many("blobstorage"),
        many("demostorage"),
        many("clientstorage"),
        many("zeoclient"),
        many("fullstorage"),
        many("minimalstorage"),
    ],
};

/// `<zeo>` (`ZEO/server.xml`). The last two keys are ours.
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
        "frame-size-limit",
        "handshake-timeout",
    ],
    sections: &[one("ssl")],
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
pub(super) const BLOBSTORAGE: Schema = Schema {
    keys: &["blob-dir"],
    sections: &[
        one("filestorage"),
        one("mappingstorage"),
        one("blobstorage"),
        one("demostorage"),
        one("clientstorage"),
        one("zeoclient"),
        one("fullstorage"),
        one("minimalstorage"),
    ],
};

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

/// Packages whose `%import` changes nothing, since their sections are known anyway.
pub(super) const IMPORTS: &[&str] = &["ZEO", "ZODB", "zdaemon", "ZConfig.components.logger"];

/// What Python's server can do and this one cannot, yet: the section (empty for outside all sections), and
/// the key or `<section>` in it. **Implementing one means deleting its row**: keys listed here are already read
/// into the [`Config`](super::Config); only sections of storages and log handlers need a reader, too.
pub(super) const NOT_YET: &[(&str, &str)] = &[
    ("zeo", "<ssl>"),
    ("filestorage", "quota"),
    ("", "<demostorage>"),
    ("", "<clientstorage>"),
    ("", "<zeoclient>"),
    ("", "<fullstorage>"),
    ("", "<minimalstorage>"),
    ("blobstorage", "<demostorage>"),
    ("blobstorage", "<clientstorage>"),
    ("blobstorage", "<zeoclient>"),
    ("blobstorage", "<fullstorage>"),
    ("blobstorage", "<minimalstorage>"),
    ("eventlog", "<syslog>"),
    ("eventlog", "<win32-eventlog>"),
    ("eventlog", "<http-logger>"),
    ("eventlog", "<email-notifier>"),
    ("logfile", "when"),
    ("logfile", "interval"),
];

/// Keys whose value is the name of Python code, and what to say instead.
const PYTHON_ONLY: &[(&str, &str, &str)] = &[
    ("filestorage", "packer", "leave it out: packing is built in, and pack-gc and pack-keep-old work"),
    ("logfile", "formatter", "leave it out, and use format and dateformat"),
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
    if NOT_YET.contains(&(within, name)) {
        return Err(ConfigError::at(at, ErrorKind::NotSupportedYet { what: what() }));
    }
    match PYTHON_ONLY.iter().find(|&&(section, key, _)| (section, key) == (within, name)) {
        Some(&(.., instead)) => Err(ConfigError::at(at, ErrorKind::PythonOnly { what: what(), instead })),
        None => Ok(()),
    }
}
