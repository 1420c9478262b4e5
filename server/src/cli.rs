//! The command line of `runzeo` (ZEO 6.2: `ZEO/runzeo.py`, with the options of zdaemon's `zdoptions.py`).
//!
//! It is read as Python's `getopt` reads it: values may be glued to their letter (`-a:0 -ft`), long options
//! may be shortened as long as they are unique, and repeating an option is fine if it says the same again
//! (`-a` may change its mind, each `-f` is one more storage). What is told the user is told in Python's
//! words, and so is the exit status: 2 for everything that is wrong with arguments or configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapError};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use crate::config::{Address, Config, Overrides, duration};
use crate::zconfig::value::{float, socket_binding_address};
use crate::zconfig::{self, Environment, Limits};

/// What there is to know beyond the options. There are none for the keys of `<zeo>` that are not Python's: their
/// names would make abbreviations ambiguous that Python understands, such as `--f` and `--h`.
const AFTER_HELP: &str = "\
Without -C, -a and -f it listens on 127.0.0.1:8100 and serves the file
./data/Data.fs, which it creates.

Configuration file, as for Python's runzeo. What is not known or not supported
is refused by file and line:
  <zeo>                  address (required), read-only, transaction-timeout,
                         invalidation-queue-size, invalidation-age,
                         client-conflict-resolution, msgpack, pid-filename;
                         as for ZEO 4: monitor-address (statistics as text),
                         authentication-protocol (digest),
                         authentication-database (see zeopasswd),
                         authentication-realm, drop-cache-rather-verify (no
                         effect); and, unknown to Python's: min-protocol (Z308
                         to Z5), the oldest that is spoken; frame-size-limit
                         (1GB), the greatest message that a client may send;
                         handshake-timeout (30s), until it has registered
    <limits>             what nobody may make the server spend, unknown to
                         Python's, with README's defaults: connections,
                         early-frame-size, read-timeout,
                         lock-holder-read-timeout, unread-commits,
                         unread-objects, questions, all-questions, packs,
                         blob-downloads, iterators, transaction-size,
                         transaction-blob-size, answer-size, missed-objects
    <ssl>                certificate, key, authenticate (a file, a directory,
                         or SIGNED), password-file or password-env
  <filestorage NAME>     path, create, read-only, quota, blob-dir, pack-gc,
                         pack-keep-old
  <mappingstorage NAME>  name
  <blobstorage NAME>     blob-dir, and the section of another storage
  <demostorage NAME>     name, and the sections of up to two other storages,
                         one of them named \"changes\"
  <clientstorage NAME>   server and all else that Python's clients know: the
  <zeoclient NAME>       storage of another server
  <eventlog>             level
    <logfile>            path (or STDOUT, STDERR), level, format, dateformat,
                         style (classic, format, template, safe-template),
                         old-files with max-size, or with when (S, M, H, D,
                         midnight, W0 to W6) and interval; delay
    <syslog>             address (localhost:514, or a path such as /dev/log),
                         facility (user), level, format, dateformat, style
Also %define, %include, %import, and $(VARIABLE) in values. A storage without
a name is called 1.

Environment:
  ZEO_MSGPACK            not empty: as msgpack in <zeo>, where that is absent
  INSTANCE_HOME          see --pid-file
  NOTIFY_SOCKET          set by systemd for Type=notify: tells it when clients
                         can come

Signals:
  TERM, INT              stop: acknowledged commits are on the disk, and the
                         index is saved
  HUP                    the same with exit status 1, so that a supervisor
                         starts the server again
  USR2                   open the log files again under their names

Exit status:
  0                      after TERM, INT
  1                      after HUP; a storage or an address cannot be opened
  2                      something is wrong with the options, the
                         configuration, or the files that <ssl> and
                         authentication-database name";

/// Start the ZEO storage server.
#[derive(Debug, Parser)]
#[command(
    name = "zeo-server",
    version,
    override_usage = "runzeo -C FILE [OPTIONS]\n       runzeo -a ADDRESS -f FILENAME [-f FILENAME]... [OPTIONS]\n       runzeo",
    after_help = AFTER_HELP,
    infer_long_args = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
struct Arguments {
    /// Configuration file, in the format of ZConfig
    #[arg(short = 'C', long = "configure", value_name = "FILE", allow_hyphen_values = true)]
    configure: Vec<PathBuf>,

    /// Server address of the form PORT, HOST:PORT, or PATH (a PATH must contain at least one "/")
    #[arg(short, long, value_name = "ADDRESS", allow_hyphen_values = true)]
    address: Vec<String>,

    /// File name for a file storage; may be repeated for storages 1, 2, and so on
    #[arg(short, long, value_name = "FILENAME", allow_hyphen_values = true)]
    filename: Vec<PathBuf>,

    /// Transaction timeout in seconds (default no timeout)
    #[arg(short, long, value_name = "TIMEOUT", allow_hyphen_values = true)]
    timeout: Vec<String>,

    /// File to write this process's id to (default $INSTANCE_HOME/var/ZEO.pid if INSTANCE_HOME is set)
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pid_file: Vec<PathBuf>,

    /// Stop at once after the start
    #[arg(long, overrides_with = "test")]
    test: bool,

    /// Print this usage message and exit
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version and exit
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,

    /// Not supported: overrides for the configuration file
    #[arg(short = 'X', hide = true, value_name = "OVERRIDE", allow_hyphen_values = true)]
    zconfig_options: Vec<OsString>,
}

/// Why there is no server to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The user asked for help or the version: to be printed on the standard output stream.
    Answer(String),
    /// Something is wrong with arguments or configuration: to be printed on the standard error stream.
    Usage(String),
}

impl Stop {
    /// The exit status of the process: 0 or 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Answer(_) => 0,
            Self::Usage(_) => 2,
        }
    }

    /// Prints what there is to say, to the stream where it belongs. Failures of that are ignored.
    pub fn print(&self) {
        use std::io::Write;
        let _ = match self {
            Self::Answer(text) => std::io::stdout().lock().write_all(text.as_bytes()),
            Self::Usage(text) => std::io::stderr().lock().write_all(text.as_bytes()),
        };
    }
}

/// Reads the command line, of which the first argument is the name of the program, and the configuration
/// file that it names.
///
/// # Errors
/// [`Stop`], which says what to print and how to exit.
pub fn parse<I>(arguments: I, environment: &dyn Environment) -> Result<Config, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments.first().map_or_else(|| "zeo-server".into(), |name| name.to_string_lossy());
    let usage = |message: String| Stop::Usage(format!("Error: {message}\nFor help, use {program} -h\n"));
    let command = Arguments::command();
    let matches = command.try_get_matches_from(&arguments);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = parsed.map_err(|error| match error.kind() {
        ClapError::DisplayHelp | ClapError::DisplayVersion => Stop::Answer(error.to_string()),
        _ => usage(describe(&error)),
    })?;
    config(parsed, environment).map_err(usage)
}

fn config(arguments: Arguments, environment: &dyn Environment) -> Result<Config, String> {
    if !arguments.zconfig_options.is_empty() {
        return Err("option -X is not supported: put the overrides into the configuration file".into());
    }
    let mut overrides = Overrides {
        filenames: arguments.filename,
        pid_file: single("--pid-file", arguments.pid_file)?,
        is_test: arguments.test,
        ..Overrides::default()
    };
    for text in arguments.address {
        let address = socket_binding_address(&text);
        let address = address.map_err(|error| format!("invalid value for -a '{text}': {error}"))?;
        overrides.listen = Some(Address::from(address));
    }
    let timeouts: Result<Vec<Duration>, String> =
        arguments.timeout.iter().map(|text| timeout(text)).collect();
    overrides.transaction_timeout = single("-t", timeouts?)?;
    let loaded = match single("-C", arguments.configure)? {
        None => Config::from_overrides(overrides, environment),
        Some(path) => match zconfig::load(&path, environment, Limits::default()) {
            Ok(document) => Config::from_document(&document, overrides, environment),
            Err(error) => Err(error.into()),
        },
    };
    loaded.map_err(|error| error.to_string())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let refuse = |reason: String| format!("invalid value for -t '{text}': {reason}");
    let seconds = float(text).map_err(|error| refuse(error.to_string()))?;
    duration(seconds).ok_or_else(|| refuse("expected a number of seconds, 0 or more".into()))
}

/// The value of an option that may be repeated only with the same value.
fn single<T: PartialEq>(option: &str, values: Vec<T>) -> Result<Option<T>, String> {
    let mut values = values.into_iter();
    let first = values.next();
    match values.all(|value| Some(&value) == first.as_ref()) {
        true => Ok(first),
        false => Err(format!("conflicting command line option '{option}'")),
    }
}

/// What Python's `getopt` and zdaemon would say.
fn describe(error: &clap::Error) -> String {
    let argument = error.context().find_map(|(kind, value)| match (kind, value) {
        (ContextKind::InvalidArg, ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    });
    // clap calls an option "--address <ADDRESS>".
    let option = argument.and_then(|text| text.split(' ').next()).unwrap_or_default();
    match error.kind() {
        ClapError::UnknownArgument if option.starts_with('-') => format!("option {option} not recognized"),
        ClapError::UnknownArgument => "positional arguments are not supported".into(),
        ClapError::InvalidValue => format!("option {option} requires argument"),
        ClapError::InvalidUtf8 => "an argument is not UTF-8 text".into(),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StorageKind;
    use crate::zconfig::Nothing;

    fn run(arguments: &[&str]) -> Result<Config, Stop> {
        parse(std::iter::once("runzeo").chain(arguments.iter().copied()).map(Into::into), &Nothing)
    }

    fn usage(arguments: &[&str]) -> String {
        let stop = run(arguments).unwrap_err();
        assert_eq!(stop.exit_code(), 2);
        let Stop::Usage(text) = stop else { panic!("{arguments:?}: {stop:?}") };
        let message = text.strip_prefix("Error: ").unwrap();
        message.strip_suffix("\nFor help, use runzeo -h\n").unwrap().into()
    }

    fn paths(config: &Config) -> Vec<String> {
        let path = |storage: &crate::config::StorageConfig| match &storage.kind {
            StorageKind::File(file) => format!("{}:{}", storage.name, file.path.display()),
            other => other.opener().to_owned(),
        };
        config.storages.iter().map(path).collect()
    }

    #[test]
    fn values_may_be_glued_to_their_letters() {
        let config = run(&["-a:0", "-ft", "--test"]).unwrap();
        assert_eq!(config.listen, Address::Tcp { host: String::new(), port: 0 });
        assert_eq!(paths(&config), ["1:t"]);
        assert!(config.is_test);
    }

    #[test]
    fn long_options_may_be_short_and_have_equal_signs() {
        let arguments = ["--addr", "h:1", "--file=x", "--filename", "y", "--time=1.5", "--pid=p"];
        let config = run(&arguments).unwrap();
        assert_eq!(config.listen, Address::Tcp { host: "h".into(), port: 1 });
        assert_eq!(paths(&config), ["1:x", "2:y"]);
        assert_eq!(config.server.transaction_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(config.pid_file, Some("p".into()));
        assert!(!config.is_test);
    }

    #[test]
    fn repetitions_are_as_in_python() {
        let config = run(&["-a1", "-a2", "-t5", "-t5.0", "-fx"]).unwrap();
        assert_eq!(config.listen, Address::Tcp { host: String::new(), port: 2 });
        assert_eq!(usage(&["-t3", "-t4"]), "conflicting command line option '-t'");
        assert_eq!(usage(&["-Ca", "-Cb"]), "conflicting command line option '-C'");
    }

    #[test]
    fn without_arguments_there_is_a_default() {
        assert_eq!(paths(&run(&[]).unwrap()), ["1:./data/Data.fs"]);
        assert!(run(&["--test"]).unwrap().is_test);
        assert_eq!(run(&["-t9"]).unwrap().server.transaction_timeout, Some(Duration::from_secs(9)));
    }

    #[test]
    fn what_is_wrong_is_said_as_in_python() {
        assert_eq!(usage(&["-a1"]), "no storages specified; use -f or -C");
        assert_eq!(usage(&["-fx"]), "no server address specified; use -a or -C");
        assert_eq!(usage(&["-m1"]), "option -m not recognized");
        assert_eq!(usage(&["--monitor", "1"]), "option --monitor not recognized");
        assert_eq!(usage(&["-a"]), "option --address requires argument");
        assert_eq!(usage(&["stray"]), "positional arguments are not supported");
        let port = "invalid value for -a '1:x': \"x\" is not a port; expected an integer from 0 to 65535";
        assert_eq!(usage(&["-a1:x"]), port);
        assert_eq!(usage(&["-tx"]), "invalid value for -t 'x': \"x\" is not a number");
        assert_eq!(usage(&["-t-1"]), "invalid value for -t '-1': expected a number of seconds, 0 or more");
        let overrides = "option -X is not supported: put the overrides into the configuration file";
        assert_eq!(usage(&["-X", "zeo/address=1"]), overrides);
        assert_eq!(usage(&["--test=1"]), "unexpected value '1' for '--test' found; no more were expected");
        assert_eq!(usage(&["-Cnosuch.conf"]), "nosuch.conf: cannot read nosuch.conf: entity not found");
    }

    #[test]
    fn a_file_is_read_and_the_options_win() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("zeo.conf");
        let text =
            "<zeo>\n address 1\n transaction-timeout 2\n</zeo>\n<filestorage a>\n path x\n</filestorage>";
        std::fs::write(&path, text).unwrap();
        let option = format!("-C{}", path.display());
        let run = |more: &[&str]| {
            let arguments = ["runzeo", option.as_str()].into_iter().chain(more.iter().copied());
            parse(arguments.map(Into::into), &zconfig::System)
        };
        let config = run(&[]).unwrap();
        assert_eq!(config.listen, Address::Tcp { host: String::new(), port: 1 });
        assert_eq!(config.server.transaction_timeout, Some(Duration::from_secs(2)));
        assert_eq!(paths(&config), ["a:x"]);
        let config = run(&["-a./sock", "-t3", "-fy", "--test", "--test"]).unwrap();
        assert_eq!(config.listen, Address::Unix("./sock".into()));
        assert_eq!(config.server.transaction_timeout, Some(Duration::from_secs(3)));
        assert_eq!(paths(&config), ["1:y"]);
        std::fs::write(&path, "<zeo>").unwrap();
        let message = format!(
            "Error: {}:1: the section <zeo> begun in line 1 is never ended\nFor help, use runzeo -h\n",
            path.display()
        );
        assert_eq!(run(&[]).unwrap_err(), Stop::Usage(message));
    }

    #[test]
    fn help_and_version_are_answers() {
        for arguments in [["-h"], ["--help"], ["--version"]] {
            let stop = run(&arguments).unwrap_err();
            assert_eq!(stop.exit_code(), 0);
            assert!(matches!(stop, Stop::Answer(text) if !text.is_empty()));
        }
    }
}
