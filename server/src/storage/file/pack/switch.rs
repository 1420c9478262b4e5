//! Catching up with commits, and the switch to the new file. See [`super`] for what a crash leaves.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::super::{PackHost, StorageError};
use super::super::index::IndexBuilder;
use super::super::storage::{Shared, Writer};
use super::super::view::{FileState, FileView};
use super::copy::Copy;
use super::files::Files;
use super::notes::Notes;
use super::progress::Progress;
use super::walk::Walk;
use super::{LAST_ROUND_LEN_MAX, ROUND_COUNT_MAX, Stop, failed};

/// What a switch did.
pub(super) struct Switched {
    pub(super) view: Arc<FileView>,
    pub(super) old_len: u64,
    pub(super) removed_count: u64,
    /// Records of undos that met the pack.
    pub(super) filled_count: u64,
    pub(super) stopped: Duration,
}

/// Copies everything that is there now, and what came in while that was copied, until little is left or it comes faster
/// than it can be copied.
pub(super) fn catch_up(
    shared: &Shared,
    walk: &mut Walk<'_>,
    copy: &mut Copy,
    notes: &mut Notes<'_>,
    progress: &mut Progress<'_>,
) -> Result<(), Stop> {
    for _ in 0..ROUND_COUNT_MAX {
        if shared.view.load().end_pos - copy.copied_pos <= LAST_ROUND_LEN_MAX {
            break;
        }
        round(shared, walk, copy, notes, progress)?;
    }
    round(shared, walk, copy, notes, progress)
}

/// Copies what is left, and puts the new file in place.
pub(super) fn switch(
    shared: &Arc<Shared>,
    files: &dyn Files,
    walk: &mut Walk<'_>,
    mut copy: Copy,
    notes: &mut Notes<'_>,
    progress: &mut Progress<'_>,
    host: &dyn PackHost,
) -> Result<Switched, Stop> {
    let file = &*shared.name;
    let mut round_count = 0;
    loop {
        round(shared, walk, &mut copy, notes, progress)?;
        // The index file is written by one at a time; that may take a while, and must not while commits are stopped.
        let mut index_saved_pos = shared.index_saved_pos.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(_stopped) = host.stop_commits() else { return Err(StorageError::Cancelled.into()) };
        let since = Instant::now();
        let left_len = shared.view.load().end_pos - copy.copied_pos;
        if left_len > LAST_ROUND_LEN_MAX && round_count < ROUND_COUNT_MAX {
            // Whoever held the lock, or those before us in the queue, have committed much.
            round_count += 1;
            continue;
        }
        let mut writer = shared.writer();
        writer.check()?;
        let old = shared.view.load_full();
        round(shared, walk, &mut copy, notes, progress)?;
        put_in_place(shared, files, &mut writer)?;
        *index_saved_pos = 0;
        let (removed_count, filled_count, old_len) = (copy.removed_count, copy.filled_count, old.end_pos);
        let view = publish(shared, &mut writer, copy, &old);
        host.packed(view.clone());
        drop(writer);
        free_later(file, old);
        tracing::debug!(target: "ZODB.FileStorage", file, left_len, round_count, "pack: switched");
        return Ok(Switched { view, old_len, removed_count, filled_count, stopped: since.elapsed() });
    }
}

/// Keeps `old` until all readers have moved on, in a thread of its own. Whoever closes a removed file last has to wait
/// until its blocks are free, seconds for a large one; that must be no reader.
fn free_later(file: &str, old: Arc<FileView>) {
    /// The old file is in nobody's way meanwhile.
    const LOOK_INTERVAL: Duration = Duration::from_millis(100);
    let state = Arc::clone(&old.state);
    drop(old);
    let waiting = std::thread::Builder::new().name("old data file".to_owned()).spawn(move || {
        while Arc::strong_count(&state) > 1 {
            std::thread::sleep(LOOK_INTERVAL);
        }
        drop(state);
    });
    if let Err(error) = waiting {
        tracing::debug!(target: "ZODB.FileStorage", file, %error, "pack: the last reader closes the old file");
    }
}

/// Copies everything that has been committed, and makes it durable.
fn round(
    shared: &Shared,
    walk: &mut Walk<'_>,
    copy: &mut Copy,
    notes: &mut Notes<'_>,
    progress: &mut Progress<'_>,
) -> Result<(), Stop> {
    walk.extend(shared.view.load().end_pos);
    copy.rest(walk, notes, progress)?;
    progress.check()?;
    Ok(copy.out.sync().map_err(failed("sync the packed file of", &shared.name))?)
}

/// The steps of the table in [`super`] that concern names.
fn put_in_place(shared: &Shared, files: &dyn Files, writer: &mut Writer) -> Result<(), StorageError> {
    let file = &*shared.name;
    files.remove_index().map_err(failed("remove the index of", file))?;
    if !shared.options.discard_old {
        // Somebody may have put one there since.
        files.remove_old().map_err(failed("remove the old file of", file))?;
        // Where the file system has no second names, `pack-keep-old false` is needed.
        files.link_old().map_err(failed("keep the old file of", file))?;
    }
    files.replace().map_err(failed("put in place the packed file of", file))?;
    if let Err(error) = files.sync() {
        // The new file is the one under the name, and everything in it is durable. Only the name is not.
        writer.fail(format!("cannot sync the directory of {file} after a pack: {error}"));
    }
    Ok(())
}

/// Shows the new file to everybody who asks from now on.
fn publish(shared: &Shared, writer: &mut Writer, copy: Copy, old: &FileView) -> Arc<FileView> {
    let Copy { out, index, .. } = copy;
    let end_pos = out.pos();
    let index: IndexBuilder = index;
    let state = FileState::new(out.disk, old.state.file_name.clone(), index.finish());
    let object_count = state.index.len();
    let view = Arc::new(FileView { state: Arc::new(state), end_pos, last_tid: old.last_tid, object_count });
    writer.reserved_pos = 0;
    shared.view.store(view.clone());
    view
}
