//! Vote and finish. What a crash between any two steps leaves is told in [`super::append`].

use std::collections::HashMap;
use std::sync::Arc;

use super::super::{NewTransaction, StorageError, View, Voted};
use super::append::{Image, lay_out};
use super::disk::Disk;
use super::storage::{Health, Shared, Writer};
use super::together::TOGETHER_LEN_MAX;
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
        Shared::check_tid(view.last_tid, transaction.tid)?;
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
        writer.write(&before, std::slice::from_ref(&image))?;
        Ok(shared.show(&state, &image))
    }
}

/// [`Storage::commit_together`](super::super::Storage::commit_together).
pub(super) fn commit_together(
    shared: &Shared,
    transactions: Vec<NewTransaction>,
) -> Result<Vec<Arc<dyn View>>, StorageError> {
    let mut writer = shared.writer();
    writer.check()?;
    let before = shared.view.load_full();
    let (mut end_pos, mut last_tid) = (before.end_pos, before.last_tid);
    let mut places = HashMap::new();
    let mut images = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        // Their records point back to what is in the index now.
        let place = images.len();
        if transaction.records.iter().any(|record| *places.entry(record.oid).or_insert(place) != place) {
            return Err(StorageError::VoteOutdated);
        }
        Shared::check_tid(last_tid, transaction.tid)?;
        let image = lay_out(transaction, end_pos, &before.state.index)?;
        (end_pos, last_tid) = (image.end_pos(), image.tid);
        images.push(image);
    }
    // Promised, but perhaps for another file: a pack brings a new one.
    writer.reserve(&before, end_pos)?;
    writer.write(&before, &images)?;
    Ok(images.iter().map(|image| shared.show(&before.state, image)).collect())
}

impl Shared {
    /// Shows everybody what is durable now. Readers of older views who meet the new entries go back along the chain of
    /// records.
    fn show(&self, state: &Arc<FileState>, image: &Image) -> Arc<dyn View> {
        for (oid, pos) in &image.record_positions {
            state.index.insert(*oid, *pos);
        }
        let view = Arc::new(FileView {
            object_count: state.index.len(),
            state: Arc::clone(state),
            end_pos: image.end_pos(),
            last_tid: image.tid,
        });
        self.view.store(view.clone());
        // Not at the vote: an oid that is aborted must not spoil the sequence.
        if let Some(oid) = image.record_positions.iter().map(|(oid, _)| *oid).max() {
            self.raise_last_oid(oid);
        }
        view
    }
}

impl Writer {
    /// Makes sure that there is room up to `end_pos`.
    pub(super) fn reserve(&mut self, view: &FileView, end_pos: u64) -> Result<(), StorageError> {
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

    /// Writes `images`, one behind the other, behind `view` and makes them durable, or leaves the file as it was, or stops
    /// writing for good.
    fn write(&mut self, view: &FileView, images: &[Image]) -> Result<(), StorageError> {
        let disk = &*view.state.disk;
        if let Err(error) = write_pieces(disk, images) {
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

fn write_pieces(disk: &dyn Disk, images: &[Image]) -> std::io::Result<()> {
    if let [first, _, ..] = images
        && images.iter().map(|image| image.len).sum::<u64>() <= TOGETHER_LEN_MAX
    {
        // Small ones: a copy costs less than a call.
        let pieces: Vec<&[u8]> =
            images.iter().flat_map(|image| image.pieces.iter().map(|piece| &**piece)).collect();
        return disk.write_all_at(&pieces.concat(), first.start_pos);
    }
    for image in images {
        let mut pos = image.start_pos;
        for piece in &image.pieces {
            disk.write_all_at(piece, pos)?;
            pos = pos.saturating_add(super::format::span(piece.len()));
        }
    }
    Ok(())
}

fn failed(doing: &str, view: &FileView) -> impl FnOnce(std::io::Error) -> StorageError {
    let doing = format!("{doing} {}", view.state.file_name);
    move |source| StorageError::Io { doing, source }
}
