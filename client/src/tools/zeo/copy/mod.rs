//! `zeo copy`: all transactions of one database, under their own tids, into another.
//!
//! What is read from is a [`Source`]: another server, or a data file. What is written to is a server, always; for a data
//! file one is started, see [`served`].
//!
//! A copy that was broken off is gone on with behind the target's last transaction. A server either has a transaction or
//! has it not, so that nothing has to be remembered for it; but before anything is written that last transaction is
//! compared with the source's: what was copied into must be a copy.

mod ends;
mod file;
mod remote;
mod served;
mod target;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use zeo_codec::call::{RecordInfo, TransactionInfo};
use zeo_codec::{Oid, Tid};

use super::Failure;
use super::server::{Place, seconds};
use crate::Blob;
use crate::tools::text::{Shown, complain};
use crate::tools::time::{parse_tid, show_time};
use ends::End;
use served::Served;
use target::{Copied, Target};

/// How often the bar is drawn again.
const TICK: Duration = Duration::from_millis(200);

/// Copy all transactions from a server or a data file to another.
///
/// Transactions keep their ids, metadata and records, and blobs are copied with them. A copy that was broken off, or
/// whose source has grown, goes on behind the target's last transaction, which has to be one of the source, too; anything
/// else is refused. Nobody else may write to the target meanwhile. Python's servers do not keep transactions without
/// records. A blob has as many records as the target's server makes of its upload, two of the same data with a file storage.
///
/// A data file that is copied from may be in use, and is only read. One that is copied to, or is made, is written by a server
/// of its own, runzeo, which runs as long as the copy does: nobody else may have it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where from: HOST:PORT, PORT, the path of a socket, a Data.fs, or a configuration file with a section clientstorage
    from: String,

    /// Where to: the same
    to: String,

    /// Which storage of the server that is copied from
    #[arg(long, value_name = "NAME", default_value = "1")]
    from_storage: String,

    /// Which storage of the server that is copied to
    #[arg(long, value_name = "NAME", default_value = "1")]
    to_storage: String,

    /// Only up to this transaction, or time in UTC
    #[arg(long, value_name = "TID", value_parser = parse_tid)]
    until: Option<Tid>,

    /// Where the blobs of a Data.fs lie that is copied from
    #[arg(long, value_name = "DIRECTORY")]
    blob_dir: Option<PathBuf>,

    /// Where the blobs of a Data.fs go that is copied to
    #[arg(long, value_name = "DIRECTORY")]
    to_blob_dir: Option<PathBuf>,

    /// The server for a Data.fs that is copied to [default: the one beside this program, or in PATH]
    #[arg(long, value_name = "PROGRAM")]
    runzeo: Option<PathBuf>,

    /// Copy the records of blobs only
    #[arg(long, conflicts_with = "blob_dir")]
    without_blobs: bool,

    /// How many seconds to wait for a server
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

/// Transactions to copy, oldest first; the records of each follow it.
trait Source {
    /// The next transaction; `None` at the end. What is left of the records of the one before is skipped.
    fn next_transaction(&mut self) -> Result<Option<TransactionInfo<'static>>, Failure>;

    /// The next record of the transaction that came last; `None` behind the last of them.
    fn next_record(&mut self) -> Result<Option<RecordInfo<'static>>, Failure>;

    /// The blob of a revision; `None` if there is none.
    fn blob(&mut self, oid: Oid, serial: Tid) -> Result<Option<BlobFile>, Failure>;

    /// Its size in bytes, as a data file.
    fn size_len(&self) -> u64;

    /// At the end: what is there and was left out, in words.
    fn unfinished(&self) -> Option<String> {
        None
    }
}

/// The content of a blob.
#[derive(Debug)]
enum BlobFile {
    /// From a server; there as long as this is.
    Loaded(Blob),
    /// In a blob directory.
    Path(PathBuf),
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Whatever is wrong with the target is told before anything is asked of the source.
    let to = End::parse(&arguments.to, &arguments.to_storage, arguments.timeout)?;
    let from = End::parse(&arguments.from, &arguments.from_storage, arguments.timeout)?;
    let timeout = arguments.timeout;
    let (place, served) = match to {
        End::Server(_) if arguments.to_blob_dir.is_some() => {
            return Err("--to-blob-dir is for data files: a server has its blobs itself".into());
        }
        End::Server(place) => (place, None),
        End::File(path) => {
            let blob_dir = arguments.to_blob_dir.as_deref();
            let served = Served::start(&path, blob_dir, arguments.runzeo.as_deref(), timeout)?;
            (served.place().into(), Some(served))
        }
    };
    // The client goes before its server.
    copy_to(&place, from, arguments)?;
    served.map_or(Ok(()), Served::stop)
}

fn copy_to(place: &Place, from: End, arguments: &Arguments) -> Result<(), Failure> {
    let timeout = arguments.timeout;
    let mut target = Target::connect(place, timeout)?;
    let last = target.last_transaction();
    let start = Some(last).filter(|last| *last != Tid::ZERO);
    let mut source: Box<dyn Source> = match from {
        End::Server(place) => {
            if arguments.blob_dir.is_some() {
                return Err("--blob-dir is for data files: a server has its blobs itself".into());
            }
            Box::new(remote::Remote::open(&place, timeout, start)?)
        }
        End::File(path) => Box::new(file::DataFile::open(&path, arguments.blob_dir.as_deref(), start)?),
    };
    if start.is_some() {
        target.verify(last, &mut *source)?;
    }
    let progress = Progress::new(source.size_len(), target.size_len());
    let copied = copy(&mut *source, &mut target, arguments, &progress);
    progress.end();
    // What was copied stays, whatever has happened then.
    let done = writeln!(std::io::stdout(), "{}", summary(&progress.total(), target.last_transaction()));
    copied?;
    Ok(done?)
}

fn copy(
    source: &mut dyn Source,
    target: &mut Target,
    arguments: &Arguments,
    progress: &Progress,
) -> Result<(), Failure> {
    while let Some(info) = source.next_transaction()? {
        if arguments.until.is_some_and(|until| info.tid > until) {
            return Ok(());
        }
        let tid = info.tid;
        let copied = target.copy(info, source, !arguments.without_blobs);
        let copied = copied.map_err(|error| format!("transaction {tid}: {error}"))?;
        progress.add(tid, &copied);
    }
    if let Some(what) = source.unfinished() {
        warn(what);
    }
    Ok(())
}

fn summary(total: &Copied, last: Tid) -> String {
    let mut text = format!(
        "copied {} transactions, {} records, {} blobs, {}; the target's last transaction is {last}",
        total.transaction_count,
        total.record_count,
        total.blob_count,
        HumanBytes(total.len),
    );
    if total.missing_blob_count > 0 {
        text += &format!("; of {} blobs there was no content", total.missing_blob_count);
    }
    text
}

/// The bar: bytes, as a data file has them. Hidden unless standard error is a terminal.
#[derive(Debug)]
struct Progress {
    bar: ProgressBar,
    total: std::cell::Cell<Copied>,
}

impl Progress {
    /// What the target has is taken for as much of the source.
    fn new(source_len: u64, target_len: u64) -> Self {
        let bar = ProgressBar::new(source_len.max(target_len)).with_position(target_len);
        bar.reset_eta();
        // The template is one of ours: if it were wrong the plain bar would do.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} [{bar:24}] {bytes}/{total_bytes}, {bytes_per_sec}, {elapsed}, {eta} left",
        ) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar, total: std::cell::Cell::default() }
    }

    fn add(&self, tid: Tid, copied: &Copied) {
        let total = self.total().plus(copied);
        self.total.set(total);
        self.bar.set_message(format!("{} transactions, {}", total.transaction_count, show_time(tid)));
        self.bar.inc(copied.len);
    }

    fn total(&self) -> Copied {
        self.total.get()
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Says what is strange and no reason to stop.
fn warn(text: impl std::fmt::Display) {
    complain(format_args!("Warning: {}", Shown(text)));
}
