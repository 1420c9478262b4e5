//! `zeo-conformance convert`: captures to files of packets, and back.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::between::recorder;
use super::{Outcome, about};
use crate::capture::Metadata;
use crate::capture::file::{self, EXTENSION, FileWriter};
use crate::packets::{Options, PacketWriter};
use crate::sniff::input::{self, InputError, Reading};

/// Makes a pcapng file of a capture, for Wireshark and tshark, or a capture of a pcap or pcapng file.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A capture, pcap or pcapng file, compressed or not; "-" for standard input.
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// NAME.pcapng, NAME.zeocap or NAME.zeocap.gz.
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Replaces a file that is there already.
    #[arg(long)]
    force: bool,
    /// Of a file of packets, only connections to this port. May be repeated.
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
}

/// What is written.
enum Target {
    Capture(FileWriter),
    Packets(Box<PacketWriter<BufWriter<File>>>),
}

impl Target {
    fn create(path: &Path, may_replace: bool, metadata: &Metadata) -> io::Result<Self> {
        if !may_replace && path.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is there already; --force replaces it",
            ));
        }
        let is_named = |extension: &str| path.extension() == Some(OsStr::new(extension));
        if is_named("pcapng") {
            let out = BufWriter::with_capacity(256 * 1024, File::create(path)?);
            return PacketWriter::new(out, metadata).map(|writer| Self::Packets(Box::new(writer)));
        }
        let is_capture = is_named(EXTENSION) || path.to_string_lossy().ends_with(&format!(".{EXTENSION}.gz"));
        if !is_capture {
            return Err(io::Error::other("the name has to end with .pcapng or .zeocap"));
        }
        let made_by = format!("converted by {}", recorder());
        let metadata = match metadata.recorder.as_str() {
            "" => &Metadata { recorder: made_by, ..metadata.clone() },
            _ => metadata,
        };
        file::create(path, metadata).map(Self::Capture)
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Capture(writer) => writer.finish()?.close(),
            Self::Packets(writer) => writer.finish().map(drop),
        }
    }
}

/// Runs the command. What can be read of a damaged file is written all the same, and the status is a failure.
///
/// # Errors
/// Those of the file that is written.
pub fn run(arguments: &Arguments) -> Outcome {
    let Arguments { from, to, force, port } = arguments;
    let reading = Reading { is_followed: false, options: Options { server_ports: port.clone() } };
    // Made by the metadata, used by the records that come behind it.
    let target = std::cell::RefCell::new(None);
    let read = input::open(from, None).map_err(InputError::Open).and_then(|source| {
        let mut begin = |metadata: &Metadata| {
            *target.borrow_mut() = Some(Target::create(to, *force, metadata)?);
            Ok(())
        };
        input::read(source, &reading, &mut begin, &mut |record| match target.borrow_mut().as_mut() {
            Some(Target::Capture(writer)) => writer.write(record),
            Some(Target::Packets(writer)) => writer.write(record),
            None => Ok(()),
        })
    });
    if let Some(target) = target.into_inner() {
        target.finish().map_err(|error| about(to.display(), error))?;
    }
    match read {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(InputError::Take(error)) => Err(about(to.display(), error)),
        Err(error) => Err(about(from.display(), error)),
    }
}
