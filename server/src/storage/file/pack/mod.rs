//! Packing while the storage is in use.
//!
//! A pack reads the data file through the disk that everybody reads through, writes a new one beside it, and puts
//! that in its place. Source of the meaning: `FileStorage.py:pack`, `fspack.py`, ZODB 6.4; the bytes are the same,
//! see [`copy`].
//!
//! ```text
//!   thread of the pack          others         memory beside the index that is always there
//!   1 index as of pack time  |                 6.0 to 9.4 bytes an object               [`reachable`]
//!   2 back pointers behind   |                 48 bytes for each revision found
//!   3 marking                |                 a quarter of a byte an object; the stack: 512 KiB
//!   4 copy up to pack time   |  read and       + the new index, 6.0 to 9.4 bytes an object  [`copy`]
//!   5 copy the rest,         |  commit         - that of 1 to 3                         [`rest`]
//!     in rounds              |
//!   6 switch                 |  read           nothing
//!   7 save the new index     |  all again      a bucket at a time
//! ```
//!
//! 1 to 5 stand back behind everything else ([`in_background`]); 6 does not, since commits wait for it.
//!
//! So at most 20 bytes an object, whatever the size of the file, and buffers of 5 MiB; beside the largest record,
//! which is read whole for its references. The old index goes when the last reader has moved on.
//!
//! # The switch
//!
//! Rounds copy what was committed meanwhile until so little is left ([`LAST_ROUND_LEN_MAX`]) that copying and
//! syncing it takes no time worth mentioning. Then commits are stopped; the host queues for its commit lock like
//! anybody else. What is left is copied, synced, and:
//!
//! | step | a crash behind it leaves | next start |
//! |---|---|---|
//! | `.old` removed (before the copy, as Python does, for its room) | the old file | `.pack` is removed |
//! | `.pack` written and synced | the old file, `.pack` | the same |
//! | `.index` removed | the same, no index | the same, and a full scan |
//! | `.old` linked to the data file (`pack-keep-old`) | the same file under two names | the same |
//! | `.pack` renamed to the data file | **the new file, whole** | full scan |
//! | directory synced | the same, also after a power cut | the same |
//! | new view published, commits go on | the same | the same |
//! | new index saved | the new file and its index | nothing special |
//!
//! At every moment the data file is the old one or the new one. (Python renames twice; a crash in between leaves none.
//! [`files::clean_up`] sets that right.) A power cut before the directory is synced may leave either. The index goes
//! first because one that belongs to the old file must never meet the new one.
//!
//! If anything fails before the rename, `.pack` is removed and everything is as it was. If only the syncing of the
//! directory fails, nobody knows which file a power cut would bring back: the storage stops writing.

mod copy;
mod estimate;
pub(crate) mod files;
mod moves;
mod notes;
mod output;
mod progress;
mod reachable;
mod rest;
mod switch;
mod walk;

use std::sync::Arc;
use std::sync::TryLockError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use self::copy::Copy;
use self::estimate::Part;
use self::files::Files;
use self::notes::Notes;
use self::output::Output;
use self::progress::Progress;
use self::walk::Walk;
use super::super::{PackHost, PackOutcome, PackReport, PackRequest, StorageError, View};
use super::storage::Shared;
use crate::background::in_background;
use zeo_codec::{Oid, Tid};

/// Bytes that may be left to be copied while commits are stopped. At the speed of a slow disk, 40 ms.
const LAST_ROUND_LEN_MAX: u64 = 4 << 20;
/// Rounds after which commits are stopped whatever is left: they come faster than they can be copied.
const ROUND_COUNT_MAX: u32 = 30;

/// How often a pack begins with garbage collection, at most. The next time it takes no object, so that whatever is undone
/// meanwhile refers to what is there.
const COLLECTING_ATTEMPTS: u32 = 3;

/// Why a pack does not come to its end.
enum Stop {
    Failed(StorageError),
    /// Transaction `tid`, committed meanwhile, undid something: now `oid` is referred to again, and has gone already.
    Lacking {
        tid: Tid,
        oid: Oid,
    },
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// Packs the storage.
pub(super) fn pack(
    shared: &Arc<Shared>,
    request: PackRequest,
    host: &dyn PackHost,
) -> Result<PackOutcome, StorageError> {
    if shared.options.read_only {
        return Err(StorageError::ReadOnly);
    }
    if request.until == Tid::ZERO {
        return Err(StorageError::InvalidPackTime);
    }
    let view = shared.view.load_full();
    if view.object_count == 0 {
        return Ok(PackOutcome::Empty);
    }
    let files = shared.files.as_deref().ok_or_else(no_files)?;
    let _packing = match shared.packing.try_lock() {
        Ok(packing) => packing,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(StorageError::AlreadyPacking),
    };
    shared.writer().check()?;
    let host = &OrClosing { shared, host };
    let result = run(shared, files, request, host);
    match &result {
        Ok(PackOutcome::Packed(_)) => {}
        Ok(_) | Err(_) => discard(shared, files),
    }
    result
}

/// A storage without a folder has no room for a second file.
fn no_files() -> StorageError {
    StorageError::Io { doing: "pack".to_owned(), source: std::io::ErrorKind::Unsupported.into() }
}

/// Removes what a pack that did not come to its end has written.
fn discard(shared: &Shared, files: &dyn Files) {
    if let Err(error) = files.remove_pack() {
        let file = &shared.name;
        tracing::warn!(target: "ZODB.FileStorage", file, %error, "pack: cannot remove the unfinished file; the next start will");
    }
}

/// Packs, from the beginning again if what is committed meanwhile needs what is about to go.
fn run(
    shared: &Arc<Shared>,
    files: &dyn Files,
    request: PackRequest,
    host: &dyn PackHost,
) -> Result<PackOutcome, StorageError> {
    let file = &*shared.name;
    let mut is_collecting = request.gc.unwrap_or(!shared.options.keep_garbage);
    let mut attempt = 1;
    // Before the new file needs the room; and as Python does, also when it turns out that there is nothing to do.
    files.remove_old().map_err(failed("remove the old file of", file))?;
    loop {
        match run_once(shared, files, request.until, is_collecting, host) {
            Ok(outcome) => return Ok(outcome),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Lacking { tid, oid }) => {
                // It is seen in time now. Without collecting, nothing that exists ever lacks.
                is_collecting &= attempt < COLLECTING_ATTEMPTS;
                tracing::info!(target: "ZODB.FileStorage", file, gc = is_collecting, "pack: begins again: by the undo {tid} the object {oid} is referred to again, which would have gone");
                attempt += 1;
            }
        }
    }
}

fn run_once(
    shared: &Arc<Shared>,
    files: &dyn Files,
    until: Tid,
    is_collecting: bool,
    host: &dyn PackHost,
) -> Result<PackOutcome, Stop> {
    let file = &*shared.name;
    let view = shared.view.load_full();
    tracing::info!(target: "ZODB.FileStorage", file, %until, gc = is_collecting, bytes = view.end_pos, "pack: started");
    let mut notes = Notes::new(file);
    let mut progress = Progress::new(host, file, is_collecting, &Instant::now);
    let mut walk = Walk::new(&view.state, view.end_pos);
    let work = || prepare(shared, files, until, is_collecting, host, &mut walk, &mut notes, &mut progress);
    let prepared = in_background("pack", work).map_err(failed("start a pack of", file))??;
    let copy = match prepared {
        Prepared::Copied(copy) => copy,
        Prepared::Nothing(outcome) => {
            notes.finish();
            return Ok(outcome);
        }
    };
    let switched = switch::switch(shared, files, &mut walk, copy, &mut notes, &mut progress, host)?;
    notes.finish();
    let switch::Switched { view: new_view, old_len, removed_count, filled_count, stopped } = switched;
    let report = PackReport {
        old_len,
        new_len: new_view.end_pos,
        removed_count,
        strange_count: notes.count(),
        is_old_kept: !shared.options.discard_old,
        stopped,
    };
    let (new_len, stopped_ms) = (report.new_len, stopped.as_millis());
    if filled_count > 0 {
        tracing::info!(target: "ZODB.FileStorage", file, "pack: {filled_count} records of undos that were made meanwhile hold the data now to which they referred");
    }
    tracing::info!(target: "ZODB.FileStorage", file, old_len, new_len, removed_count, "pack: finished; commits were stopped for {stopped_ms} ms");
    if let Err(error) = super::storage::save_index(shared) {
        // It costs a scan at the next start, no more.
        tracing::warn!(target: "ZODB.FileStorage", file, %error, "cannot save the index");
    }
    Ok(PackOutcome::Packed(report))
}

/// What there is before the switch.
enum Prepared {
    Copied(Copy),
    /// There is nothing to be switched to.
    Nothing(PackOutcome),
}

/// Does everything for which commits need not stop.
#[expect(clippy::too_many_arguments, reason = "one call, split where the thread changes")]
fn prepare<'p>(
    shared: &Shared,
    files: &dyn Files,
    until: Tid,
    is_collecting: bool,
    host: &dyn PackHost,
    walk: &mut Walk<'_>,
    notes: &mut Notes<'p>,
    progress: &mut Progress<'p>,
) -> Result<Prepared, Stop> {
    let file = &*shared.name;
    let found = reachable::pack_index(walk, until, notes, progress)?;
    if found.is_redundant {
        tracing::info!(target: "ZODB.FileStorage", file, "The database has already been packed to a later time or no changes have been made since the last pack");
        return Ok(Prepared::Nothing(PackOutcome::Redundant));
    }
    let reachable = reachable::reachable(found, walk, is_collecting, notes, progress)?;

    let disk = files.create_pack().map_err(failed("create the packed file of", file))?;
    let mut copy = Copy::new(Output::new(disk), is_collecting);
    if !copy.packed(walk, &reachable, host, notes, progress)? {
        tracing::info!(target: "ZODB.FileStorage", file, "pack: nothing would become free");
        return Ok(Prepared::Nothing(PackOutcome::NothingFreed));
    }
    drop(reachable);
    progress.begin(Part::Copy, "copying what was committed since");
    switch::catch_up(shared, walk, &mut copy, notes, progress)?;
    Ok(Prepared::Copied(copy))
}

fn failed(doing: &str, file: &str) -> impl FnOnce(std::io::Error) -> StorageError {
    let doing = format!("{doing} {file}");
    move |source| StorageError::Io { doing, source }
}

/// The host, and the storage itself, which may be closed meanwhile.
struct OrClosing<'h> {
    shared: &'h Shared,
    host: &'h dyn PackHost,
}

impl PackHost for OrClosing<'_> {
    fn is_cancelled(&self) -> bool {
        self.shared.is_closing.load(Ordering::Relaxed) || self.host.is_cancelled()
    }

    fn stop_commits(&self) -> Option<Box<dyn super::super::CommitsStopped + '_>> {
        self.host.stop_commits()
    }

    fn packed(&self, view: Arc<dyn View>) {
        self.host.packed(view);
    }

    fn wants_removed_blobs(&self) -> bool {
        self.host.wants_removed_blobs()
    }

    fn removed_blob(&self, oid: Oid, serial: Tid) -> Result<(), StorageError> {
        self.host.removed_blob(oid, serial)
    }
}
