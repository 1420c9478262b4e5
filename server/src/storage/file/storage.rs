//! [`FileStorage`]: the shared view, the writer's state, and what stands around commits.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use zeo_client::lock_file::LockFile;
use zeo_codec::{Oid, Tid};

use super::super::tid::unix_micros_from_tid;
use super::super::{
    Features, HistoryShape, NewTransaction, PackHost, PackOutcome, PackRequest, Reservation, Storage,
    StorageError, View, Voted,
};
use super::commit::{FileVoted, commit_together};
use super::disk::Disk;
use super::open::{FileStorageOptions, IndexUse, OpenReport, open_disk, open_files};
use super::pack::files::{Files, RealFiles};
use super::pack::pack;
use super::room::{Room, Writing, reserve};
use super::view::FileView;
use super::{index_file, io_error, together, with_suffix};

/// Python's list for a FileStorage without blobs: `zope.interface.providedBy(storage).__iro__`, ZODB 6.4.
const INTERFACES: [(&str, &str); 7] = [
    ("ZODB.interfaces", "IStorageRestoreable"),
    ("ZODB.interfaces", "IStorageIteration"),
    ("ZODB.interfaces", "IStorageUndoable"),
    ("ZODB.interfaces", "IStorageCurrentRecordIteration"),
    ("ZODB.interfaces", "IExternalGC"),
    ("ZODB.interfaces", "IStorage"),
    ("zope.interface", "Interface"),
];

/// A storage in a single file of Python's format.
///
/// Dropping it without [`Storage::close`] loses nothing but the saved index.
#[derive(Debug)]
pub struct FileStorage {
    pub(super) shared: Arc<Shared>,
    report: OpenReport,
}

/// What the storage and an outstanding vote share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    /// Where the data file is and the files beside it; `None` for a disk that is no file.
    path: Option<PathBuf>,
    pub(super) options: FileStorageOptions,
    /// The state after the last finished transaction.
    pub(super) view: ArcSwap<FileView>,
    /// Held by the one who writes, never by readers.
    writer: Mutex<Writer>,
    pub(super) room: Room,
    /// The greatest oid stored or handed out.
    last_oid: Mutex<u64>,
    /// Up to where the saved index holds; held while it is being written. Taken before the writer's.
    pub(super) index_saved_pos: Mutex<u64>,
    /// The files of a pack; `None` for a disk that is no file.
    pub(super) files: Option<Box<dyn Files>>,
    /// Held while a pack is under way.
    pub(super) packing: Mutex<()>,
    /// Whether a pack is to be given up.
    pub(super) is_closing: AtomicBool,
}

/// What only the writer uses.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) health: Health,
    /// Up to here the disk has room for sure.
    pub(super) reserved_pos: u64,
    lock: Option<LockFile>,
}

/// Whether it may be written.
#[derive(Debug, Clone)]
pub(super) enum Health {
    Good,
    ReadOnly,
    Closed,
    Failed(Arc<str>),
}

impl FileStorage {
    /// Opens the data file at `path`, with the `.lock` and `.index` files beside it.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if it is open for writing elsewhere; [`StorageError::Corrupt`] if it is damaged
    /// in a way that no interrupted commit explains, or no FileStorage; [`StorageError::Io`].
    pub fn open(path: impl AsRef<Path>, options: FileStorageOptions) -> Result<Self, StorageError> {
        let path = path.as_ref();
        Self::open_as(path, path.display().to_string(), options)
    }

    /// The same, for a storage that calls itself by another name than its path.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as(path: &Path, name: String, options: FileStorageOptions) -> Result<Self, StorageError> {
        if options.create && options.read_only {
            // As Python does, see FileStorage.__init__.
            return Err(StorageError::ReadOnly);
        }
        let (disk, lock) = open_files(path, options)?;
        let storage = Self::start(Arc::new(disk), name, Some(path), options, lock)?;
        if let IndexUse::Rebuilt(_) = storage.report.index
            && !options.read_only
            && let Err(error) = storage.save_index()
        {
            // It costs another scan at the next start, no more.
            tracing::warn!(target: "ZODB.FileStorage", file = storage.shared.name, %error, "cannot save the index");
        }
        storage.warn_of_the_future();
        Ok(storage)
    }

    /// Opens what is on `disk`, without files beside it: no lock, no saved index, a torn tail is cut unsaved.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`]; [`StorageError::Io`].
    pub fn open_disk(
        disk: Arc<dyn Disk>,
        name: &str,
        options: FileStorageOptions,
    ) -> Result<Self, StorageError> {
        Self::start(disk, name.to_owned(), None, options, None)
    }

    fn start(
        disk: Arc<dyn Disk>,
        name: String,
        path: Option<&Path>,
        options: FileStorageOptions,
        lock: Option<LockFile>,
    ) -> Result<Self, StorageError> {
        let opened = open_disk(disk, &name, path, options.read_only)?;
        let last_oid = opened.view.state.index.max_oid().unwrap_or(Oid::ZERO);
        let writer = Writer {
            health: if options.read_only { Health::ReadOnly } else { Health::Good },
            reserved_pos: 0,
            lock,
        };
        let shared = Shared {
            name,
            path: path.map(Path::to_path_buf),
            options,
            view: ArcSwap::from_pointee(opened.view),
            room: Room::new(&writer),
            writer: Mutex::new(writer),
            last_oid: Mutex::new(last_oid.to_u64()),
            index_saved_pos: Mutex::new(opened.index_saved_pos),
            files: path.map(|path| Box::new(RealFiles::new(path)) as Box<dyn Files>),
            packing: Mutex::default(),
            is_closing: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), report: opened.report })
    }

    /// Lets new oids begin above all that an earlier process can have handed out, given the time of this start.
    ///
    /// Clients keep a hundred oids in hand, and go on using them when the server is back. Python's server begins behind
    /// the greatest stored oid and hands the same ones out again, so that two clients give one oid to two objects: the
    /// later one meets conflicts that nothing explains, or `ValueError: A different object already has the same oid`
    /// (seen with ZEO 6.2). Nothing on the disk tells which oids were handed out, but the clock does well enough: each
    /// second since 2026 has 65,536 oids of its own, and those that are stored count in any case.
    pub fn skip_issued_oids(&self, now: SystemTime) {
        const YEAR_2026: Duration = Duration::from_secs(1_767_225_600);
        const OIDS_PER_SECOND: u64 = 1 << 16;
        let seconds = now.duration_since(UNIX_EPOCH + YEAR_2026).unwrap_or_default().as_secs();
        self.shared.raise_last_oid(Oid::from_u64(seconds.saturating_mul(OIDS_PER_SECOND)));
    }

    /// Logs it if the last transaction is ahead of the clock: all new tids will follow it, not the time. Python
    /// does the same.
    fn warn_of_the_future(&self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_micros = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        let ahead_micros = unix_micros_from_tid(self.view().last_tid()).saturating_sub(now_micros);
        if ahead_micros > 0 {
            let seconds = ahead_micros / 1_000_000;
            tracing::warn!(target: "ZODB.FileStorage", file = self.shared.name, seconds, "the last transaction lies in the future");
        }
    }

    /// What was found and done at open.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Saves the index as of now, so that the next start need not scan what is covered by it. Commits go on
    /// meanwhile; each waits at most for the copying of one bucket of 65,536 entries. Does nothing if nothing
    /// has been committed since the index was saved or loaded.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Corrupt`]; the old index file is still there.
    pub fn save_index(&self) -> Result<(), StorageError> {
        save_index(&self.shared)
    }
}

/// [`FileStorage::save_index`].
pub(super) fn save_index(shared: &Shared) -> Result<(), StorageError> {
    let Some(path) = &shared.path else { return Ok(()) };
    let path = with_suffix(path, ".index");
    let mut saved_pos = shared.index_saved_pos.lock().unwrap_or_else(PoisonError::into_inner);
    let view = shared.view.load_full();
    if *saved_pos == view.end_pos {
        return Ok(());
    }
    let state = &view.state;
    let mut damage = None;
    let buckets = state.index.buckets().map(|(prefix, entries)| {
        // Commits that finish while we write are ahead of this view.
        let mut kept = Vec::with_capacity(entries.len());
        for (suffix, newest_pos) in entries {
            let oid = super::index::join(prefix, suffix);
            match state.position_below(oid, newest_pos, view.end_pos) {
                Ok(pos) => kept.extend(pos.map(|pos| (suffix, pos))),
                Err(error) => {
                    damage = Some(error);
                    return Err(std::io::Error::other("damaged record"));
                }
            }
        }
        Ok((prefix, kept))
    });
    let saved = index_file::save(&path, view.end_pos, buckets);
    match damage {
        Some(error) => return Err(error),
        None => saved.map_err(io_error("save", &path))?,
    }
    *saved_pos = view.end_pos;
    Ok(())
}

impl Shared {
    /// Waits for the one who writes, perhaps for the disk.
    pub(super) fn writer(&self) -> Writing<'_> {
        // Every step under this lock leaves a state that the next holder can judge by `health`.
        Writing { writer: self.writer.lock().unwrap_or_else(PoisonError::into_inner), room: &self.room }
    }

    /// Keeps `oid` from being handed out.
    pub(super) fn raise_last_oid(&self, oid: Oid) {
        let mut last_oid = self.last_oid.lock().unwrap_or_else(PoisonError::into_inner);
        *last_oid = oid.to_u64().max(*last_oid);
    }
}

impl Writer {
    /// Whether it may be written.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        match &self.health {
            Health::Good => Ok(()),
            Health::ReadOnly => Err(StorageError::ReadOnly),
            Health::Closed => Err(StorageError::Closed),
            Health::Failed(why) => Err(StorageError::Failed(why.clone())),
        }
    }
}

impl Storage for FileStorage {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn features(&self) -> Features {
        Features {
            undo: true,
            iteration: true,
            restore: true,
            record_iteration: true,
            external_gc: true,
            blobs: false,
            concurrent_commits: true,
            history: HistoryShape::Merged,
            python_class: "FileStorage",
        }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        &INTERFACES
    }

    fn is_read_only(&self) -> bool {
        self.shared.options.read_only
    }

    fn view(&self) -> Arc<dyn View> {
        self.shared.view.load_full()
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        if self.shared.options.read_only {
            return Err(StorageError::ReadOnly);
        }
        let mut last_oid = self.shared.last_oid.lock().unwrap_or_else(PoisonError::into_inner);
        let first = last_oid.checked_add(1).ok_or(StorageError::OidsExhausted)?;
        *last_oid = last_oid.checked_add(u64::from(count)).ok_or(StorageError::OidsExhausted)?;
        Ok(Oid::from_u64(first))
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        Ok(Box::new(FileVoted::vote(&self.shared, transaction)?))
    }

    fn reserve(&self, transaction: &NewTransaction) -> Result<Reservation, StorageError> {
        reserve(&self.shared, transaction)
    }

    fn tid_together(&self, wanted: Tid, place: usize) -> Option<Tid> {
        together::tid_at(wanted, place)
    }

    fn commit_together(&self, transactions: Vec<NewTransaction>) -> Result<Vec<Arc<dyn View>>, StorageError> {
        commit_together(&self.shared, transactions)
    }

    fn has_stopped(&self) -> bool {
        matches!(self.shared.writer().health, Health::Failed(_))
    }

    fn checkpoint(&self) -> Result<(), StorageError> {
        if self.shared.options.read_only { Ok(()) } else { self.save_index() }
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        pack(&self.shared, request, host)
    }

    fn close(&self) -> Result<(), StorageError> {
        // A pack must not outlive the lock file. It looks for this often.
        self.shared.is_closing.store(true, Ordering::Relaxed);
        let _packing = self.shared.packing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.shared.writer();
        if let Health::Closed = writer.health {
            return Ok(());
        }
        let was_good = matches!(writer.health, Health::Good);
        writer.health = Health::Closed;
        let view = self.shared.view.load_full();
        if was_good && writer.reserved_pos > view.end_pos {
            // Same length; gives back the room reserved behind it. If not, the next start can use it.
            let _kept = view.state.disk.set_len(view.end_pos);
        }
        drop(writer);
        let result = if was_good { save_index(&self.shared) } else { Ok(()) };
        // Last: until now no other process may touch these files.
        self.shared.writer().lock = None;
        result
    }
}

impl Shared {
    /// Refuses `tid` unless it follows the `last` one.
    pub(super) fn check_tid(last: Tid, tid: Tid) -> Result<(), StorageError> {
        if tid > last { Ok(()) } else { Err(StorageError::TidNotRising { tid, last }) }
    }
}
