//! Vote and finish. What a crash between any two steps leaves is told in [`super::append`].

use std::sync::Arc;

use super::super::{NewTransaction, StorageError, View, Voted};
use super::append::{Image, lay_out};
use super::disk::Disk;
use super::storage::{Health, Shared, Writer};
use super::view::{FileState, FileView};

/// Room is reserved in steps of this many bytes, so that few commits pay for it.
const RESERVE_STEP: u64 = 4 << 20;

/// A laid-out transaction for which there is room.
#[derive(Debug)]
pub(super) struct FileVoted {
    shared: Arc<Shared>,
    /// The file for which it was laid out: a pack brings another one.
    state: Arc<FileState>,
    image: Image,
}

impl FileVoted {
    /// Checks and lays out `transaction`, and reserves room for it.
    pub(super) fn vote(shared: &Arc<Shared>, transaction: NewTransaction) -> Result<Self, StorageError> {
        let mut writer = shared.writer();
        writer.check()?;
        let view = shared.view.load_full();
        Shared::check_tid(&view, transaction.tid)?;
        let image = lay_out(transaction, view.end_pos, &view.state.index)?;
        if let Some(quota_bytes) = shared.options.quota_bytes
            && image.last_record_pos() > quota_bytes
        {
            return Err(StorageError::QuotaExceeded { quota_bytes });
        }
        writer.reserve(&view, image.end_pos())?;
        Ok(Self { shared: shared.clone(), state: view.state.clone(), image })
    }
}

impl Voted for FileVoted {
    fn transaction_len(&self) -> u64 {
        self.image.len
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        let Self { shared, state, image } = *self;
        let mut writer = shared.writer();
        writer.check()?;
        let before = shared.view.load_full();
        if before.end_pos != image.start_pos || !Arc::ptr_eq(&before.state, &state) {
            return Err(StorageError::VoteOutdated);
        }
        writer.write(&before, &image)?;
        // Durable. Readers of older views who meet the new entries go back along the chain of records.
        for (oid, pos) in &image.record_positions {
            state.index.insert(*oid, *pos);
        }
        let view = Arc::new(FileView {
            object_count: state.index.len(),
            state,
            end_pos: image.end_pos(),
            last_tid: image.tid,
        });
        shared.view.store(view.clone());
        // Not at the vote: an oid that is aborted must not spoil the sequence.
        if let Some(oid) = image.record_positions.iter().map(|(oid, _)| *oid).max() {
            shared.raise_last_oid(oid);
        }
        Ok(view)
    }
}

impl Writer {
    /// Makes sure that there is room up to `end_pos`.
    fn reserve(&mut self, view: &FileView, end_pos: u64) -> Result<(), StorageError> {
        let from_pos = self.reserved_pos.max(view.end_pos);
        if end_pos <= from_pos {
            return Ok(());
        }
        let disk = &view.state.disk;
        let needed_len = end_pos - from_pos;
        let ahead_len = needed_len.saturating_add(RESERVE_STEP);
        let reserved_len = match disk.reserve(from_pos, ahead_len) {
            Ok(()) => ahead_len,
            // Perhaps there is still room for this transaction alone.
            Err(_) => {
                disk.reserve(from_pos, needed_len).map_err(failed("reserve room in", view))?;
                needed_len
            }
        };
        self.reserved_pos = from_pos.saturating_add(reserved_len);
        Ok(())
    }

    /// Writes `image` behind `view` and makes it durable, or leaves the file as it was, or stops writing for
    /// good.
    fn write(&mut self, view: &FileView, image: &Image) -> Result<(), StorageError> {
        let disk = &*view.state.disk;
        if let Err(error) = write_pieces(disk, image) {
            self.cut_back(view);
            return Err(failed("write to", view)(error));
        }
        if let Err(error) = disk.sync_data() {
            // Not to be tried again: the kernel may have dropped the pages and call the file clean.
            self.fail(format!("cannot sync {}: {error}", view.state.file_name));
            return Err(failed("sync", view)(error));
        }
        Ok(())
    }

    /// Removes what a failed write left behind `view`. Nothing of it is durable yet.
    fn cut_back(&mut self, view: &FileView) {
        // Reserved room behind the new end is given back by this, too.
        self.reserved_pos = view.end_pos;
        if let Err(error) = view.state.disk.set_len(view.end_pos) {
            self.fail(format!("cannot cut {} back after a failed write: {error}", view.state.file_name));
        }
    }

    pub(super) fn fail(&mut self, why: String) {
        tracing::error!(target: "ZODB.FileStorage", why, "writing has stopped");
        self.health = Health::Failed(why.into());
    }
}

fn write_pieces(disk: &dyn Disk, image: &Image) -> std::io::Result<()> {
    let mut pos = image.start_pos;
    for piece in &image.pieces {
        disk.write_all_at(piece, pos)?;
        pos = pos.saturating_add(super::format::span(piece.len()));
    }
    Ok(())
}

fn failed(doing: &str, view: &FileView) -> impl FnOnce(std::io::Error) -> StorageError {
    let doing = format!("{doing} {}", view.state.file_name);
    move |source| StorageError::Io { doing, source }
}
