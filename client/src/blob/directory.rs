//! The directory, the files in it, and which of them are in use.
//!
//! What a crash leaves: `NAME.dl`, a download that was broken off, which the next one of the same blob overwrites; and
//! `….tmp-`, an upload that was broken off, which nobody takes for a blob. Python's client leaves the same.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tempfile::TempPath;
use zeo_codec::{Oid, Tid};

use super::layout::{self, Layout};
use super::{Blob, BlobOptions};
use crate::lock_file::{LockError, LockFile};

/// The lock under which files of a directory are made.
const LOCK: &str = ".lock";
/// Where Python's client keeps files that an application is writing.
const TMP: &str = "tmp";

/// A blob directory of a client.
#[derive(Debug)]
pub(crate) struct BlobDirectory {
    root: PathBuf,
    place: Place,
    bound: Option<Bound>,
    pub(crate) blob_len_max: u64,
    state: Mutex<State>,
}

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    Shared(Layout),
}

/// Of the size of all files, in bytes.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// Looked at when this much has come in.
    check_len: u64,
    /// Brought down to this.
    target_len: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that have come in since the size was looked at.
    loaded_len: u64,
    /// How often each file, relative to the root, is in use.
    pinned: HashMap<PathBuf, usize>,
}

/// Keeps a file from being removed by this process.
#[derive(Debug)]
pub(super) struct Pin {
    directory: Arc<BlobDirectory>,
    path: PathBuf,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.directory.state();
        if let Some(count) = state.pinned.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                state.pinned.remove(&self.path);
            }
        }
    }
}

impl BlobDirectory {
    /// Opens the directory. One of the client's own is made if need be, and marked as Python marks it.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] if it is another kind of directory.
    pub(crate) fn open(options: &BlobOptions) -> io::Result<Self> {
        let root = std::path::absolute(&options.path)?;
        let marked = marker(&root)?;
        let place = if options.is_shared {
            Place::Shared(match marked.as_deref() {
                Some(name) => Layout::from_name(name)
                    .ok_or_else(|| unusable(&root, &format!("no server can use the layout {name:?}")))?,
                None => Layout::without_marker(has_visible_entries(&root)?),
            })
        } else {
            fs::create_dir_all(root.join(TMP))?;
            match marked.as_deref() {
                Some(layout::CACHE_NAME) => {}
                Some(name) => {
                    let what = format!("it is a server's, of the layout {name:?}; say shared-blob-dir");
                    return Err(unusable(&root, &what));
                }
                None => fs::write(root.join(layout::MARKER), layout::CACHE_NAME)?,
            }
            Place::Own
        };
        let bound = options.len_max.filter(|_| place == Place::Own).map(|len_max| {
            // Once more than it: a product of two numbers of 64 bits has room in 128.
            let check_len = u128::from(len_max) * u128::from(options.check_percent) / 100;
            let check_len = u64::try_from(check_len).unwrap_or(u64::MAX);
            Bound { check_len, target_len: len_max.saturating_sub(check_len) }
        });
        let state = Mutex::new(State::default());
        Ok(Self { root, place, bound, blob_len_max: options.blob_len_max, state })
    }

    /// Whether it is the server's.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self.place, Place::Shared(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that panics happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object_dir(&self, oid: Oid) -> PathBuf {
        self.root.join(match self.place {
            Place::Own => layout::cache_dir(oid),
            Place::Shared(layout) => layout.object_dir(oid),
        })
    }

    fn revision(&self, oid: Oid, serial: Tid) -> PathBuf {
        match self.place {
            Place::Own => layout::cache_revision(oid, serial),
            Place::Shared(layout) => layout.revision(oid, serial),
        }
    }

    /// Opens the file of a revision, if it is there, and notes that it was used.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn find(
        self: &Arc<Self>,
        oid: Oid,
        serial: Tid,
    ) -> Result<Option<Blob>, (PathBuf, io::Error)> {
        let relative = self.revision(oid, serial);
        let path = self.root.join(&relative);
        // First: from then on it is not removed.
        let pin = (self.place == Place::Own).then(|| self.pin(relative));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err((path, error)),
        };
        if pin.is_some() {
            // Of another user's file the time cannot be set; then it goes a little early.
            let _ = file.set_times(fs::FileTimes::new().set_accessed(SystemTime::now()));
        }
        Ok(Some(Blob::new(file, path, pin)))
    }

    fn pin(self: &Arc<Self>, path: PathBuf) -> Pin {
        *self.state().pinned.entry(path.clone()).or_default() += 1;
        Pin { directory: Arc::clone(self), path }
    }

    /// Removes a file, relative to the root, unless it is in use; whether it did.
    pub(super) fn remove_unless_pinned(&self, relative: &Path) -> io::Result<bool> {
        let state = self.state();
        if state.pinned.contains_key(relative) {
            return Ok(false);
        }
        fs::remove_file(self.root.join(relative)).map(|()| true)
    }

    /// The lock under which a file of this object is made, if nobody has it.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn lock(&self, oid: Oid) -> Result<Option<LockFile>, (PathBuf, io::Error)> {
        let path = self.lock_path(oid);
        let locked = fs::create_dir_all(self.object_dir(oid)).and_then(|()| try_lock(&path));
        locked.map_err(|error| (path, error))
    }

    pub(crate) fn lock_path(&self, oid: Oid) -> PathBuf {
        self.object_dir(oid).join(LOCK)
    }

    /// A file for a blob that is about to come in, under the lock.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn incoming(&self, oid: Oid, serial: Tid) -> Result<Incoming, (PathBuf, io::Error)> {
        let to = self.root.join(self.revision(oid, serial));
        let mut from = to.clone().into_os_string();
        from.push(".dl");
        let from = PathBuf::from(from);
        // Of a download that was broken off there may be something.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&from);
        match file {
            Ok(file) => Ok(Incoming { file: Some(file), from, to }),
            Err(error) => Err((from, error)),
        }
    }

    /// Takes a file of the application, by its name or, from another file system, by a copy.
    pub(crate) fn take(self: &Arc<Self>, oid: Oid, serial: Tid, file: &Path) -> io::Result<Taken> {
        let dir = self.object_dir(oid);
        fs::create_dir_all(&dir)?;
        // As Python's client calls them; servers look at the end of the name in a shared directory.
        let place = tempfile::Builder::new()
            .prefix(&layout::short_hex(serial.to_u64()))
            .suffix(".tmp-")
            .tempfile_in(&dir)?
            .into_temp_path();
        if fs::rename(file, &place).is_err() {
            fs::copy(file, &place)?;
            fs::remove_file(file)?;
        }
        set_not_writable(&place, &dir)?;
        Ok(Taken { directory: Arc::clone(self), oid, path: place })
    }

    /// Notes that this much has come in; whether it is time to look at the size.
    pub(crate) fn note_loaded(&self, len: u64) -> bool {
        let Some(bound) = self.bound else { return false };
        let mut state = self.state();
        state.loaded_len = state.loaded_len.saturating_add(len);
        if state.loaded_len < bound.check_len {
            return false;
        }
        state.loaded_len = 0;
        true
    }

    /// Removes what was not used for long, if the files take too much.
    pub(crate) fn shrink(&self) {
        let Some(bound) = self.bound else { return };
        if let Err(error) = super::shrink::shrink(self, &self.root, bound.target_len) {
            tracing::error!("the blob cache {} cannot be looked through: {error}", self.root.display());
        }
    }
}

/// A blob on its way into the directory. Dropped before it is [kept](Self::keep), it leaves nothing.
#[derive(Debug)]
pub(crate) struct Incoming {
    file: Option<File>,
    from: PathBuf,
    to: PathBuf,
}

impl Incoming {
    /// The file, to write to.
    pub(crate) fn file(&mut self) -> Option<&mut File> {
        self.file.as_mut()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.from
    }

    /// It is complete: gives it its name. Its length.
    pub(crate) fn keep(mut self) -> io::Result<u64> {
        let Some(file) = self.file.take() else { return Ok(0) };
        file.set_permissions(Permissions::from_mode(0o400))?;
        let len = file.metadata()?.len();
        let kept = fs::rename(&self.from, &self.to);
        if kept.is_err() {
            self.file = Some(file);
        }
        kept.map(|()| len)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.from);
        }
    }
}

/// A file that the application has handed over for a commit. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    directory: Arc<BlobDirectory>,
    oid: Oid,
    path: TempPath,
}

impl Taken {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in the directory of its object, which the server is told.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.file_name()?.to_str()
    }

    pub(crate) const fn oid(&self) -> Oid {
        self.oid
    }

    /// It was committed: becomes the file of this revision, under the lock.
    /// Its length.
    pub(crate) fn commit(self, tid: Tid) -> io::Result<u64> {
        let len = fs::metadata(&self.path)?.len();
        let to = self.directory.root.join(self.directory.revision(self.oid, tid));
        self.path.persist(to).map_err(|error| error.error)?;
        Ok(len)
    }
}

/// As `ZODB/blob.py:set_not_writable`: nobody may write, and may read who may read the directory.
fn set_not_writable(path: &Path, dir: &Path) -> io::Result<()> {
    let readable = fs::metadata(dir)?.mode() & 0o444;
    let mode = fs::symlink_metadata(path)?.mode() & 0o7777 & !0o222;
    fs::set_permissions(path, Permissions::from_mode(mode | readable))
}

/// The lock, if nobody has it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<LockFile>> {
    match LockFile::acquire(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(LockError::Io(error)) => Err(error),
    }
}

fn marker(root: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(root.join(layout::MARKER)) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_visible_entries(root: &Path) -> io::Result<bool> {
    match fs::read_dir(root) {
        Ok(entries) => {
            for entry in entries {
                if !entry?.file_name().as_encoded_bytes().starts_with(b".") {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn unusable(root: &Path, what: &str) -> io::Error {
    let what = format!("the blob directory {} cannot be used: {what}", root.display());
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
