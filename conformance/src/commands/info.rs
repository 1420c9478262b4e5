//! `zeo-conformance info`: what captures are of, and whether they are whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use zeo_codec::session::Direction;

use super::Outcome;
use crate::capture::{End, Event, Metadata, Record};
use crate::sniff::input::{self, InputError, Reading};
use crate::sniff::printable;

/// Shows what captures say about themselves, and their connections.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Captures, pcap or pcapng files, compressed or not; "-" for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What was seen of one connection.
#[derive(Debug, Default)]
struct Connection {
    client: String,
    first: Option<Duration>,
    last: Duration,
    client_bytes: u64,
    server_bytes: u64,
    ends: Vec<String>,
}

/// Runs the command. The status is a failure if a file cannot be read to its end.
///
/// # Errors
/// Those of `output`.
pub fn run(arguments: &Arguments, output: &mut impl Write) -> Outcome {
    let mut status = ExitCode::SUCCESS;
    for path in &arguments.files {
        writeln!(output, "{}", path.display())?;
        let mut connections = BTreeMap::<u32, Connection>::new();
        let mut metadata = None;
        let read = input::open(path, None).map_err(InputError::Open).and_then(|source| {
            let mut begin = |found: &Metadata| {
                metadata = Some(serde_json::to_string(found)?);
                Ok(())
            };
            input::read(source, &Reading::default(), &mut begin, &mut |record| {
                // Number 0 has the notes on the capture as a whole.
                if record.connection != 0 {
                    connections.entry(record.connection).or_default().hear(record);
                }
                Ok(())
            })
        });
        if let Some(metadata) = metadata {
            writeln!(output, "  {}", printable(&metadata))?;
        }
        for (number, connection) in &connections {
            writeln!(output, "  connection {number} {}", printable(&connection.to_string()))?;
        }
        if let Err(error) = read {
            output.flush()?;
            eprintln!("{}: {error}", path.display());
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

impl Connection {
    fn hear(&mut self, record: &Record<'_>) {
        self.first.get_or_insert(record.time);
        self.last = record.time;
        match &record.event {
            Event::Opened(endpoints) => self.client.clone_from(&endpoints.client),
            Event::Bytes { direction, bytes } => {
                let count = match direction {
                    Direction::FromClient => &mut self.client_bytes,
                    Direction::FromServer => &mut self.server_bytes,
                };
                *count += bytes.len() as u64;
            }
            Event::Ended { direction, end } => {
                let who = match direction {
                    Direction::FromClient => "client",
                    Direction::FromServer => "server",
                };
                let how = match end {
                    End::Closed => "closed",
                    other => other.text(),
                };
                self.ends.push(format!("{who} {how}"));
            }
            Event::Note(_) => {}
        }
    }
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, first, last, client_bytes, server_bytes, ends } = self;
        let first = first.unwrap_or_default();
        if !client.is_empty() {
            write!(f, "from {client} ")?;
        }
        write!(f, "at {:.3} s for {:.3} s: ", first.as_secs_f64(), last.saturating_sub(first).as_secs_f64())?;
        write!(f, "{client_bytes} bytes of the client, {server_bytes} of the server")?;
        match ends.as_slice() {
            [] => f.write_str(", still open"),
            ends => write!(f, ", {}", ends.join(", ")),
        }
    }
}
