//! `zeopack`: packs storages of ZEO servers, as Python's does (`ZEO/scripts/zeopack.py`, ZEO 6.2).
//!
//! Options, the order in which servers are packed, the words of mistakes and the exit status are Python's; what it
//! does not have: IPv6 addresses in brackets, `--wait`, `--help`, and on a terminal a bar.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{ArgAction, CommandFactory as _, Parser};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use jiff::Zoned;
use jiff::civil::Time;
use zeo_codec::{Call, Method, Reply, Value};

use super::python::quoted;
use super::text::{Shown, complain};
use crate::blocking::Client;
use crate::{Access, Address, Builder, Error};

/// What mistakes and failures end with; 2 is that of options which cannot be read, as in Python.
const EXIT_FAILED: u8 = 1;
/// What `-d` counts (`zeopack.py:_main`).
const DAY_SECONDS: i64 = 86_400;
/// Between two attempts to connect, as in Python.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the bar is drawn again: the time in it goes on, whatever the server does.
const TICK: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
The positional arguments specify 0 or more TCP servers to pack. A server that
cannot be reached is reported, and the others are packed.

Exit status:
  0     packed; or some server was not there, which standard error tells
  1     no server could be reached, or a pack failed
  2     the options are wrong";

/// Pack one or more storages hosted by ZEO servers.
#[derive(Debug, Parser)]
#[command(
    name = "zeopack",
    version,
    after_help = AFTER_HELP,
    infer_long_args = true,
    args_override_self = true,
    disable_help_flag = true
)]
struct Arguments {
    #[arg(value_name = "SERVER", help = "TCP servers, of the form host:port[:name]")]
    servers: Vec<String>,

    /// Pack objects that are older than this number of days
    #[arg(short, long, value_name = "DAYS", default_value_t = 0, allow_hyphen_values = true)]
    days: i64,

    #[arg(
        short,
        long,
        value_name = "TIME",
        help = "Time of day to pack to, of the form HH[:MM[:SS]], local time. Defaults to the current time"
    )]
    time: Option<String>,

    #[arg(
        short,
        long = "unix",
        value_name = "PATH",
        help = "A Unix-domain-socket server to connect to, of the form path[:name]; may be repeated"
    )]
    unix_sockets: Vec<String>,

    /// How many seconds to wait for each server
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,

    /// Deprecated: with -p and -S, the host to connect to
    #[arg(short = 'h', value_name = "HOST")]
    host: Option<String>,

    /// Deprecated: with -h and -S, the port to connect to
    #[arg(short, value_name = "PORT")]
    port: Option<u16>,

    /// Deprecated: with -h and -p, or with -U, the storage name to use
    #[arg(short = 'S', value_name = "NAME", default_value = "1")]
    name: String,

    /// Deprecated: with -S, the Unix-domain socket to connect to
    #[arg(short = 'U', value_name = "PATH")]
    unix: Option<String>,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// A storage of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    address: Address,
    name: String,
}

/// Runs `zeopack` with its command line, the program's name included.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() <= 1 {
        // So does Python's.
        let _ = Arguments::command().print_help();
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILED).into();
        }
    };
    match pack_all(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(format_args!("Error:\n{message}"));
            EXIT_FAILED.into()
        }
    }
}

fn pack_all(arguments: &Arguments) -> Result<(), String> {
    let time = pack_time(&Zoned::now(), arguments.time.as_deref(), arguments.days)?;
    let targets = targets(arguments, || rustix::system::uname().nodename().to_string_lossy().into_owned())?;
    let progress = Progress::new(targets.len());
    let mut is_any_found = false;
    for target in &targets {
        progress.turn_to("connecting to", target);
        let Target { address, name } = target;
        let builder = Builder::new(address.clone()).storage(name).access(Access::ReadOnly);
        let wait = Duration::from_secs(arguments.wait.into());
        let client = match builder
            .label("zeopack")
            .no_cache()
            .wait_timeout(wait)
            .disconnect_poll(PAUSE)
            .disconnect_poll_max(PAUSE)
            .connect_blocking()
        {
            Ok(client) => client,
            Err(error) => {
                progress.aside(&format!("Couldn't connect to: {}: {}", describe(target), Shown(error)));
                continue;
            }
        };
        is_any_found = true;
        progress.turn_to("packing", target);
        let packed = pack(&client, time);
        client.close();
        let (before, after) = packed.map_err(|error| {
            progress.end();
            format!("Error packing storage {name} in {}: {}", quoted(&address.to_string()), Shown(error))
        })?;
        progress.packed(target, before, after);
    }
    progress.end();
    if is_any_found { Ok(()) } else { Err("Cannot connect to any of the configured ZEO servers.".to_owned()) }
}

/// Packs, and returns the size of the storage in bytes before and after.
fn pack(client: &Client, time: SystemTime) -> Result<(u64, u64), Error> {
    let before = client.server_info().size_len;
    client.pack(time, true)?;
    // Nobody is told the new size. A server that does not tell it now has packed all the same.
    let info = client.ask(&Call::Plain(Method::GetInfo));
    let after = match &info {
        Ok(Reply::Value(info)) => {
            info.get("size").and_then(Value::as_int).and_then(|size| size.try_into().ok())
        }
        Ok(_) | Err(_) => None,
    };
    Ok((before, after.unwrap_or(before)))
}

/// What was superseded before this time goes: today's time of day, or now; and so many days before it.
fn pack_time(now: &Zoned, time: Option<&str>, days: i64) -> Result<SystemTime, String> {
    let until = match time {
        None => now.timestamp(),
        Some(text) => {
            let invalid = || format!("Invalid time value: {}", quoted(text));
            let time = time_of_day(text).ok_or_else(invalid)?;
            let zoned = now.date().to_datetime(time).to_zoned(now.time_zone().clone());
            zoned.map_err(|_| invalid())?.timestamp()
        }
    };
    let back = days.checked_mul(DAY_SECONDS).map(jiff::SignedDuration::from_secs);
    let until = back.and_then(|back| until.checked_sub(back).ok());
    until.map(SystemTime::from).ok_or_else(|| format!("Invalid number of days: {days}"))
}

/// `HH[:MM[:SS]]`.
fn time_of_day(text: &str) -> Option<Time> {
    let mut numbers = text.split(':').map(|number| number.trim().parse::<i8>().ok());
    let (hour, minute, second) =
        (numbers.next()??, numbers.next().unwrap_or(Some(0))?, numbers.next().unwrap_or(Some(0))?);
    if numbers.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// All that is to be packed, in Python's order: old options, arguments, Unix sockets.
fn targets(arguments: &Arguments, own_host: impl FnOnce() -> String) -> Result<Vec<Target>, String> {
    let mut found = Vec::new();
    let old = |address| Target { address, name: arguments.name.clone() };
    match (&arguments.host, arguments.port) {
        (Some(host), Some(port)) => found.push(old(Address::Tcp { host: host.clone(), port })),
        (Some(_), None) => {
            return Err("If host (-h) is specified then a port (-p) must be specified as well.".to_owned());
        }
        (None, Some(port)) => found.push(old(Address::Tcp { host: own_host(), port })),
        (None, None) => {}
    }
    found.extend(arguments.unix.iter().map(|path| old(Address::Unix(path.into()))));
    for text in &arguments.servers {
        found.push(tcp_target(text)?);
    }
    for text in &arguments.unix_sockets {
        found.push(unix_target(text)?);
    }
    if found.is_empty() { Err("No servers specified.".to_owned()) } else { Ok(found) }
}

/// `host:port[:name]`, where an IPv6 address stands in brackets.
fn tcp_target(text: &str) -> Result<Target, String> {
    let invalid = || format!("Invalid server specification: {}", quoted(text));
    let (host, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some(split) => split,
        None => text.split_once(':').ok_or_else(invalid)?,
    };
    let (port, name) = rest.split_once(':').unwrap_or((rest, "1"));
    if name.contains(':') {
        return Err(invalid());
    }
    let port = port.trim().parse();
    let port = port.map_err(|_| format!("Invalid port in server specification: {}", quoted(text)))?;
    Ok(Target { address: Address::Tcp { host: host.to_owned(), port }, name: name.to_owned() })
}

/// `path[:name]`.
fn unix_target(text: &str) -> Result<Target, String> {
    let (path, name) = text.split_once(':').unwrap_or((text, "1"));
    if name.contains(':') {
        return Err(format!("Invalid server specification: {}", quoted(text)));
    }
    Ok(Target { address: Address::Unix(path.into()), name: name.to_owned() })
}

/// As Python shows the address and the name.
fn describe(Target { address, name }: &Target) -> String {
    let address = match address {
        Address::Tcp { host, port } => format!("({}, {port})", quoted(host)),
        Address::Unix(path) => quoted(&path.to_string_lossy()),
    };
    format!("({address}, {})", quoted(name))
}

/// The bar: how many storages are done, and how long the pack under way has been going on. The protocol does not tell
/// how far that is. Hidden unless standard error is a terminal.
#[derive(Debug)]
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(count: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
        // The template is one of ours: if it were wrong the plain bar would do.
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg} [{bar:24}] {pos}/{len} packed, {elapsed}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    fn turn_to(&self, what: &str, Target { address, name }: &Target) {
        self.bar.set_message(format!("{what} {} in {}", Shown(name), Shown(address)));
    }

    /// Says something for which there must be a place on whatever standard error is.
    fn aside(&self, text: &str) {
        self.bar.suspend(|| complain(text));
        self.bar.inc(1);
    }

    /// Says what came of it, on a terminal.
    fn packed(&self, Target { address, name }: &Target, before: u64, after: u64) {
        self.bar.println(format!(
            "packed {} in {}: {}, was {}; after {}",
            Shown(name),
            Shown(address),
            HumanBytes(after),
            HumanBytes(before),
            HumanDuration(self.bar.elapsed()),
        ));
        self.bar.inc(1);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
        let _ = std::io::stderr().flush();
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;
    use jiff::tz::TimeZone;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<Target>, String> {
        let words = std::iter::once("zeopack").chain(words.iter().copied());
        let arguments = Arguments::try_parse_from(words).unwrap();
        targets(&arguments, || "test.host.com".to_owned())
    }

    fn shown(words: &[&str]) -> Vec<String> {
        parsed(words).unwrap().iter().map(describe).collect()
    }

    /// The scenarios of `ZEO/scripts/zeopack.test`, ZEO 6.2.
    #[test]
    fn packs_what_pythons_would() {
        let tcp = ["(('host1', 8100), '1')", "(('host1', 8100), '2')"];
        assert_eq!(shown(&["host1:8100", "host1:8100:2"]), tcp);
        let with_unix = [tcp[0], tcp[1], "('foo', '1')", "('bar', 'spam')"];
        assert_eq!(shown(&["-ufoo", "-ubar:spam", "-d3", "host1:8100", "host1:8100:2"]), with_unix);
        assert_eq!(shown(&["-d3", "-h", "host1", "-p", "8100", "-S", "2"]), [tcp[1]]);
        assert_eq!(shown(&["-d3", "-p", "8100"]), ["(('test.host.com', 8100), '1')"]);
        assert_eq!(shown(&["-d3", "-U", "foo/bar", "-S", "2"]), ["('foo/bar', '2')"]);
        // The last of several counts, and long options may be shortened.
        assert_eq!(
            shown(&["--unix=foo", "--da", "3", "-p1", "-p2"]),
            ["(('test.host.com', 2), '1')", "('foo', '1')"]
        );
        assert_eq!(shown(&["[::1]:8100:main"]), ["(('::1', 8100), 'main')"]);
    }

    #[test]
    fn mistakes_are_told_in_pythons_words() {
        for (words, expected) in [
            (&["-d3"][..], "No servers specified."),
            (&["a"], "Invalid server specification: 'a'"),
            (&["a:b:c:d"], "Invalid server specification: 'a:b:c:d'"),
            (&["a:b:2"], "Invalid port in server specification: 'a:b:2'"),
            (&["a:70000"], "Invalid port in server specification: 'a:70000'"),
            (&["-u", "a:b:2"], "Invalid server specification: 'a:b:2'"),
            (&["-h", "host1"], "If host (-h) is specified then a port (-p) must be specified as well."),
        ] {
            assert_eq!(parsed(words).unwrap_err(), expected);
        }
    }

    /// Seconds after midnight are those that `zeopack.test` has, less its week.
    #[test]
    fn the_time_is_pythons() {
        for zone in [TimeZone::UTC, TimeZone::fixed(jiff::tz::offset(-7))] {
            let now = datetime(2009, 3, 24, 10, 55, 17, 0).to_zoned(zone.clone()).unwrap();
            let midnight = datetime(2009, 3, 24, 0, 0, 0, 0).to_zoned(zone).unwrap().timestamp().as_second();
            for (time, days, expected) in [
                (None, 0, 644_117),
                (None, 3, 384_917),
                (Some("1:30"), 3, 351_000),
                (Some("1:30:05"), 3, 351_005),
            ] {
                let found = pack_time(&now, time, days).unwrap();
                let since = found.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                assert_eq!(i64::try_from(since).unwrap() - midnight + 7 * DAY_SECONDS, expected);
            }
            for text in ["1:2:3:4", "24", "noon", "", "1:", "-1"] {
                let message = format!("Invalid time value: '{text}'");
                assert_eq!(pack_time(&now, Some(text), 0), Err(message));
            }
            assert!(pack_time(&now, None, i64::MAX).is_err());
        }
    }
}
