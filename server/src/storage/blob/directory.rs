//! [`BlobDirectory`]: the files of all blobs of one storage, and those on their way there.
//!
//! Owns everything below its root. Knows no transactions: who makes a staged file part of one is
//! [`super::storage`], and `server/BLOBS.md` has the table of what a crash leaves behind.
//!
//! Permissions are those that Python's tools leave: directories by the umask; committed files lose every write
//! bit and get the read bits of their directory (`ZODB/blob.py:set_not_writable`, ZODB 6.4); staged files are
//! their owner's only.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use tempfile::{NamedTempFile, TempPath};
use zeo_codec::{Oid, Tid};

use super::super::StorageError;
use super::super::file::{create_folders, io_error};
use super::durable::sync;
use super::layout::{Layout, MARKER};
use super::staged::{PREFIX, StagedBlob, Upload};

/// Where files are staged, relative to the root. Clients with a shared blob directory keep files of their own
/// there (`ClientStorage.temporaryDirectory`, ZEO 6.2).
const TMP: &str = "tmp";

/// How to open a blob directory. The default opens it for writing and creates it if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobDirectoryOptions {
    /// Start with an empty directory even if there is one, which is then **deleted**: the `create` of Python's
    /// FileStorage.
    pub create: bool,
    /// Change nothing and refuse every write.
    pub read_only: bool,
}

/// A blob directory.
#[derive(Debug)]
pub struct BlobDirectory {
    /// Absolute, as Python shows it in messages.
    root: PathBuf,
    layout: Layout,
    is_read_only: bool,
}

impl BlobDirectory {
    /// Opens the directory at `path`. Its layout is what its marker says; without one it is chosen as Python
    /// does (see [`Layout::without_marker`]) and the marker is written.
    ///
    /// # Errors
    /// [`StorageError::BlobDirectory`] for a marker that names no layout of a server; [`StorageError::Io`].
    pub fn open(path: &Path, options: BlobDirectoryOptions) -> Result<Self, StorageError> {
        let root = std::path::absolute(path).map_err(io_error("find", path))?;
        if options.create && !options.read_only {
            match fs::remove_dir_all(&root) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("delete", &root)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let marked = read_marker(&root)?;
        let layout = match marked {
            Some(layout) => layout,
            None => Layout::without_marker(has_visible_entries(&root).map_err(io_error("list", &root))?),
        };
        if layout == Layout::Lawn {
            tracing::warn!(target: "ZODB.blob", "the blob directory {} has the deprecated layout 'lawn'", root.display());
        }
        let directory = Self { root, layout, is_read_only: options.read_only };
        if !options.read_only {
            let tmp = directory.tmp();
            create_folders(&tmp, sync).map_err(io_error("create", &tmp))?;
            if marked.is_none() {
                directory.write_marker().map_err(io_error("mark the layout of", &directory.root))?;
            }
        }
        Ok(directory)
    }

    /// The layout.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The absolute path of the directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join(TMP)
    }

    /// Where the file of a revision is, or would be.
    #[must_use]
    pub fn revision_path(&self, oid: Oid, serial: Tid) -> PathBuf {
        self.root.join(self.layout.revision(oid, serial))
    }

    /// Opens the file of a revision for reading.
    ///
    /// # Errors
    /// [`StorageError::NoBlobFile`]; [`StorageError::Io`].
    pub fn open_revision(&self, oid: Oid, serial: Tid) -> Result<File, StorageError> {
        let path = self.revision_path(oid, serial);
        let missing = || StorageError::NoBlobFile { path: path.display().to_string(), oid, serial };
        match File::open(&path) {
            Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => Ok(file),
            Ok(_) => Err(missing()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// A new, empty file for a blob that is about to arrive. It goes when it is dropped.
    ///
    /// # Errors
    /// [`StorageError::ReadOnly`]; [`StorageError::Io`].
    pub fn new_upload(&self) -> Result<Upload, StorageError> {
        let (file, path) = self.new_file()?.into_parts();
        Ok(Upload::new(file, path))
    }

    /// Takes over a file that a client has put into the directory of `oid` (`storeBlobShared`). From now on it is
    /// the server's, under another name, and goes when it is dropped.
    ///
    /// Nothing is followed on the way: neither links in place of the directories nor of the file, and a file that
    /// has another name elsewhere is not taken either, since it would be changed there, too.
    ///
    /// # Errors
    /// [`StorageError::BadBlobName`] unless `name` is one that Python's server takes (StorageServer.py:
    /// storeBlobShared, ZEO 6.2) and stands for a plain file; [`StorageError::ReadOnly`]; [`StorageError::Io`].
    pub fn claim(&self, oid: Oid, name: &str) -> Result<StagedBlob, StorageError> {
        let refused = || StorageError::BadBlobName(name.to_owned());
        if !is_shared_name(name) {
            return Err(refused());
        }
        let (_, path) = self.new_file()?.into_parts();
        let io = |error: rustix::io::Errno| match error {
            // What O_NOFOLLOW and O_DIRECTORY say to a link.
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR | rustix::io::Errno::INVAL => refused(),
            error => io_error("take over", Path::new(name))(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = rustix::fs::open(&self.root, flags, Mode::empty()).map_err(io)?;
        for level in &self.layout.object_dir(oid) {
            dir = rustix::fs::openat(&dir, level, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(io)?;
        }
        let is_own_file = |stat: rustix::fs::Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
        };
        if !is_own_file(rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?) {
            return Err(refused());
        }
        rustix::fs::renameat(&dir, name, CWD, &*path).map_err(io)?;
        // Where it is now nobody exchanges it any more.
        if !is_own_file(rustix::fs::statat(CWD, &*path, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?) {
            return Err(refused());
        }
        Ok(StagedBlob::new(path))
    }

    /// The content of a revision, staged for another one: what undoing needs.
    ///
    /// It is a hard link where the file system has them. That is safe, also with Python's tools: nobody writes
    /// into a committed file, they are only ever removed by name (`ZODB/blob.py:remove_committed`; Python's pack
    /// links them, too).
    ///
    /// # Errors
    /// [`StorageError::NoBlobFile`]; [`StorageError::ReadOnly`]; [`StorageError::Io`].
    pub fn stage_copy(&self, oid: Oid, serial: Tid) -> Result<StagedBlob, StorageError> {
        let mut source = self.open_revision(oid, serial)?;
        self.check_writable()?;
        let from = self.revision_path(oid, serial);
        let linked =
            tempfile::Builder::new().prefix(PREFIX).make_in(self.tmp(), |path| fs::hard_link(&from, path));
        if let Ok(linked) = linked {
            return Ok(StagedBlob::new(linked.into_temp_path()));
        }
        let mut copy = self.new_file()?;
        io::copy(&mut source, copy.as_file_mut()).map_err(io_error("copy", &from))?;
        Ok(StagedBlob::new(copy.into_temp_path()))
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        if self.is_read_only { Err(StorageError::ReadOnly) } else { Ok(()) }
    }

    fn new_file(&self) -> Result<NamedTempFile, StorageError> {
        self.check_writable()?;
        let tmp = self.tmp();
        tempfile::Builder::new().prefix(PREFIX).tempfile_in(&tmp).map_err(io_error("create a file in", &tmp))
    }

    /// Makes the directory for the revisions of `oid` and takes the write permission from `file`, as it will be
    /// there. Returns the directory.
    pub(super) fn prepare(&self, oid: Oid, file: &TempPath) -> Result<PathBuf, StorageError> {
        let dir = self.root.join(self.layout.object_dir(oid));
        create_folders(&dir, sync).map_err(io_error("create", &dir))?;
        let set_not_writable = || {
            let readable = fs::metadata(&dir)?.mode() & 0o444;
            let mode = fs::symlink_metadata(file)?.mode() & 0o7777 & !0o222;
            fs::set_permissions(file, Permissions::from_mode(mode | readable))
        };
        set_not_writable().map_err(io_error("take the write permission from", file))?;
        Ok(dir)
    }

    /// Makes the names in `tmp/` durable.
    pub(super) fn sync_notes(&self) -> Result<(), StorageError> {
        let tmp = self.tmp();
        sync(&tmp).map_err(io_error("sync", &tmp))
    }

    fn write_marker(&self) -> io::Result<()> {
        // With a hidden name: a crash must not leave anything that counts as a visible entry.
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(MARKER).permissions(Permissions::from_mode(0o666));
        let mut marker = builder.tempfile_in(&self.root)?;
        marker.write_all(self.layout.name().as_bytes())?;
        sync(marker.path())?;
        marker.persist(self.root.join(MARKER))?;
        sync(&self.root)
    }
}

/// Whether a client may call a file of a blob's own directory so: `<anything>.tmp`, perhaps with one more
/// character.
fn is_shared_name(name: &str) -> bool {
    let mut shorter = name.chars();
    shorter.next_back();
    !name.contains(['/', '\0']) && (name.ends_with(".tmp") || shorter.as_str().ends_with(".tmp"))
}

fn read_marker(root: &Path) -> Result<Option<Layout>, StorageError> {
    let path = root.join(MARKER);
    match fs::read_to_string(&path) {
        Ok(name) => Layout::from_name(name.trim()).map(Some).ok_or_else(|| StorageError::BlobDirectory {
            path: root.display().to_string(),
            what: format!("no server can use the layout {:?}", name.trim()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &path)(error)),
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
