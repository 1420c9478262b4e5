//! `zeo-conformance sniff`: prints what peers say to each other, of files or live.

mod live;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use zeo_codec::{Method, Oid, Tid};

use super::Outcome;
use super::between::Signals;
use crate::packets::Options;
use crate::sniff::filter::parse_id;
use crate::sniff::input::{self, InputError, Reading, Stop};
use crate::sniff::text::Lines;
use zeo_server::auth::{DatabaseError, PasswordDatabase};

use crate::sniff::{Bounds, Filter, Kind, Message, Sniffer, Stats, json};

/// Prints what peers say to each other, one line a message.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Captures, pcap or pcapng files, compressed or not; "-" for standard input.
    #[arg(required_unless_present = "listen", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to show, and how.
    #[command(flatten)]
    view: View,
    /// Goes on at the end of the file, which is still written; with --stats until SIGINT or SIGTERM.
    #[arg(long)]
    follow: bool,
    /// Of files of packets, only connections to this port. May be repeated.
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
    /// Live.
    #[command(flatten)]
    live: live::Live,
}

/// What to show, and how.
#[derive(Debug, Clone, Args)]
pub struct View {
    /// Only these methods, by their Python names, with commas; replies have the methods of their calls.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = methods(), hide_possible_values = true)]
    method: Vec<String>,
    /// Only messages about this object, in hexadecimal. May be repeated.
    #[arg(long, value_name = "OID", value_parser = parse_id)]
    oid: Vec<u64>,
    /// Only messages with this tid or serial, in hexadecimal. May be repeated.
    #[arg(long, value_name = "TID", value_parser = parse_id)]
    tid: Vec<u64>,
    /// Only this connection. May be repeated.
    #[arg(long, value_name = "NUMBER")]
    connection: Vec<u32>,
    /// Only errors, and what cannot be read.
    #[arg(long)]
    errors: bool,
    /// Shows the contents of messages, strings and lists cut to this length.
    #[arg(long, value_name = "LENGTH")]
    show: Option<usize>,
    /// Lines of JSON.
    #[arg(long)]
    json: bool,
    /// Figures instead of messages: calls, latencies, bytes, the waiting for the commit lock.
    #[arg(long)]
    stats: bool,
    /// Longest message that is read, in MiB; longer ones are passed over.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    message_limit: u64,
    /// The password file of a server of ZEO 4 (see zeopasswd): the MACs of sessions that its users begin are checked.
    #[arg(long, value_name = "FILE")]
    passwords: Option<PathBuf>,
}

/// The names of all methods: an unknown one would show nothing. clap names them where it is given another one.
fn methods() -> PossibleValuesParser {
    PossibleValuesParser::new(Method::ALL.iter().map(|method| method.name()))
}

/// Shows messages as it was asked to.
#[derive(Debug)]
pub struct Screen<W: Write> {
    filter: Filter,
    lines: Lines,
    is_json: bool,
    stats: Option<Box<Stats>>,
    out: W,
}

impl View {
    /// A screen for it.
    pub fn screen<W: Write>(&self, out: W) -> Screen<W> {
        Screen {
            filter: Filter {
                methods: self.method.clone(),
                oids: self.oid.iter().copied().map(Oid::from_u64).collect(),
                tids: self.tid.iter().copied().map(Tid::from_u64).collect(),
                connections: self.connection.clone(),
                is_errors_only: self.errors,
            },
            lines: Lines::new(self.show),
            is_json: self.json,
            stats: self.stats.then(Box::default),
            out,
        }
    }

    /// A sniffer for it.
    ///
    /// # Errors
    /// If the password file cannot be read.
    pub fn sniffer(&self) -> Result<Sniffer, DatabaseError> {
        let mut sniffer = Sniffer::new(self.bounds());
        if let Some(path) = &self.passwords {
            sniffer.set_passwords(PasswordDatabase::load(path, None)?.into());
        }
        Ok(sniffer)
    }

    /// The bounds of a sniffer for it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let message_bytes = usize::try_from(self.message_limit << 20).unwrap_or(usize::MAX);
        let buffered_bytes = message_bytes.saturating_mul(4);
        Bounds { message_bytes, buffered_bytes, ..Bounds::default() }
    }
}

impl<W: Write> Screen<W> {
    /// Shows a message, if it is asked for.
    ///
    /// # Errors
    /// Those of the output.
    pub fn show(&mut self, message: &Message<'_>) -> io::Result<()> {
        if let Some(stats) = &mut self.stats {
            stats.hear(message, &self.filter);
            return Ok(());
        }
        if !self.filter.accepts(message) {
            return Ok(());
        }
        if self.is_json {
            json::write(message, self.lines.shown_len, &mut self.out)
        } else {
            self.lines.write(message, &mut self.out)
        }
    }

    /// Shows the figures, if these are asked for.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(&mut self) -> io::Result<()> {
        match &self.stats {
            Some(stats) if self.is_json => writeln!(self.out, "{}", stats.json())?,
            Some(stats) => write!(self.out, "{stats}")?,
            None => {}
        }
        self.out.flush()
    }

    /// Hands on what is in buffers.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What was found in a file.
#[derive(Debug, Default)]
struct Found {
    byte_count: u64,
    has_messages: bool,
}

impl Found {
    fn see(&mut self, message: &Message<'_>) {
        self.has_messages |= message.seen.is_some() && message.kind != Kind::Undecodable;
    }

    /// Something was said, and nothing of it is ZEO.
    const fn is_all_alien(&self) -> bool {
        self.byte_count > 0 && !self.has_messages
    }
}

/// From now on SIGINT and SIGTERM end what is followed, not the program.
fn stop_at_a_signal(stop: &Stop) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    let stop = stop.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.next());
        stop.tell();
        // One more does not wait for what is read.
        runtime.block_on(signals.next());
        std::process::exit(1);
    })?;
    Ok(())
}

/// Runs the command. The status is a failure if a file cannot be read to its end, or nothing in it is ZEO.
///
/// # Errors
/// Those of `output`; live those of the sockets, keys and the capture, too.
pub fn run(arguments: &Arguments, output: impl Write) -> Outcome {
    if let Some((listen, server)) = arguments.live.addresses() {
        // Said here, since a conflict would make clap forget what else is required.
        if arguments.follow || !arguments.files.is_empty() || !arguments.port.is_empty() {
            return Err("FILE, --follow and --port are about files, --listen is not".into());
        }
        return live::run(&arguments.live, listen, server, &arguments.view, output);
    }
    let mut screen = arguments.view.screen(BufWriter::with_capacity(64 * 1024, output));
    let mut status = ExitCode::SUCCESS;
    let options = Options { server_ports: arguments.port.clone() };
    let reading = Reading { is_followed: arguments.follow, options };
    let stop = Stop::default();
    if arguments.follow && arguments.view.stats {
        stop_at_a_signal(&stop)?;
    }
    let until = arguments.follow.then_some(&stop);
    for path in &arguments.files {
        let mut sniffer = arguments.view.sniffer()?;
        let mut found = Found::default();
        let read = input::open(path, until).map_err(InputError::Open).and_then(|source| {
            input::read(source, &reading, &mut |_| Ok(()), &mut |record| {
                found.byte_count += record.byte_count();
                sniffer.hear(record, &mut |message| {
                    found.see(message);
                    screen.show(message)
                })?;
                if arguments.follow { screen.flush() } else { Ok(()) }
            })
        });
        if !matches!(read, Err(InputError::Take(_))) {
            sniffer.finish(&mut |message| screen.show(message))?;
        }
        match read {
            Ok(()) if found.is_all_alien() => {
                screen.flush()?;
                let what = "belongs to a message of ZEO";
                eprintln!(
                    "{}: offset 0: none of the {} bytes that were said {what}",
                    path.display(),
                    found.byte_count
                );
                status = ExitCode::FAILURE;
            }
            Ok(()) if found.byte_count == 0 && !arguments.port.is_empty() => {
                screen.flush()?;
                eprintln!(
                    "{}: nothing was said on connections to the ports that were asked for",
                    path.display()
                );
                status = ExitCode::FAILURE;
            }
            Ok(()) => {}
            Err(InputError::Take(error)) => return Err(error.into()),
            // It ends where it was being written.
            Err(_) if stop.is_told() => {}
            Err(error) => {
                // What was read before stands above it.
                screen.flush()?;
                eprintln!("{}: {error}", path.display());
                status = ExitCode::FAILURE;
            }
        }
    }
    screen.finish()?;
    Ok(status)
}
