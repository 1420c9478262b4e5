//! Revisions of objects that need not be asked for again.
//!
//! A cache has one owner, the [`Engine`](crate::engine::Engine), which nothing else goes around (C6). It knows no
//! messages and no sockets: it is told what a server said, in the order in which the server said it.
//!
//! [`Cache`] is the contract, [`FileCache`] a file in the format of Python's `ClientCache` (protocol reference 16).

mod file;

use std::fmt;
use std::io;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

pub use file::{Disk, FileCache};

/// A revision of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The database record.
    pub data: Bytes,
    /// The transaction that wrote it.
    pub serial: Tid,
    /// The transaction that superseded it; `None` while it is current.
    pub end: Option<Tid>,
}

/// What is known of a database up to [`last_tid`](Self::last_tid).
///
/// At most one revision of an object is current; any number of others may be there. What a cache does not want to
/// keep it may forget at any time. After an error it is not used any more: an invalidation that was lost would make it
/// lie.
pub trait Cache: Send + fmt::Debug {
    /// The last transaction whose changes have all been applied; `None` if there is none yet.
    fn last_tid(&self) -> Option<Tid>;

    /// Notes that all changes up to `tid` have been applied. It never falls while the cache holds anything.
    ///
    /// # Errors
    /// If it cannot be written.
    fn set_last_tid(&mut self, tid: Tid) -> io::Result<()>;

    /// Whether there is no revision in it.
    fn is_empty(&self) -> bool;

    /// The newest revision older than `before`, if the cache knows which one that is: a revision that was superseded
    /// at `before` or later, or the current one.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was written.
    fn load_before(&mut self, oid: Oid, before: Tid) -> io::Result<Option<Revision>>;

    /// Takes in a revision, or forgets it at once. One that is there already stays as it is. A current revision takes
    /// the place of an older one that was thought to be current, which is forgotten: when it ended is not known.
    ///
    /// # Errors
    /// If it cannot be written.
    fn store(&mut self, oid: Oid, revision: &Revision) -> io::Result<()>;

    /// The object has a new revision, written by `tid`: the current one ends there. With `None`, some transaction has
    /// written one: the current revision is forgotten. A current revision that is not older than `tid` stays.
    ///
    /// # Errors
    /// If it cannot be written.
    fn invalidate(&mut self, oid: Oid, tid: Option<Tid>) -> io::Result<()>;

    /// All current revisions: the objects and their serials.
    ///
    /// # Errors
    /// If it cannot be read.
    fn current(&mut self) -> io::Result<Vec<(Oid, Tid)>>;

    /// Forgets all revisions.
    ///
    /// # Errors
    /// If it cannot be written.
    fn clear(&mut self) -> io::Result<()>;

    /// Writes what was stored last, if it waits in memory for more. A cache that is dropped does so by itself.
    ///
    /// # Errors
    /// If it cannot be written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
