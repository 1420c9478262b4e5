//! What a pack is, whoever does it: the request, the outcome, and what a storage asks of its surroundings
//! meanwhile.
//!
//! A pack removes what nobody can see any more: revisions that were superseded at the pack time and, with
//! garbage collection, objects that could not be reached from the root then. Readers go on throughout. The
//! storage itself decides nothing about connections or locks; its [`PackHost`] does.

pub(crate) mod pace;

use std::sync::Arc;
use std::time::Duration;

use zeo_codec::{Oid, Tid};

use super::{StorageError, View};

/// What is to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRequest {
    /// The pack time. What this transaction or an earlier one superseded goes; what a later one wrote stays.
    /// See [`pack_time`](super::tid::pack_time).
    pub until: Tid,
    /// Whether objects go that could not be reached from the root at the pack time; `None`: as the storage is
    /// configured (`pack-gc`).
    pub gc: Option<bool>,
}

/// How a pack ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackOutcome {
    /// The storage is smaller now.
    Packed(PackReport),
    /// There is nothing in the storage.
    Empty,
    /// It has been packed to this time or a later one already, or nothing was committed since.
    Redundant,
    /// Nothing would have become free: everything is as it was.
    NothingFreed,
}

/// What a pack did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackReport {
    /// Size of the storage before, at the moment of the switch, in bytes.
    pub old_len: u64,
    /// Size of the storage afterwards, in bytes.
    pub new_len: u64,
    /// Records that were left out.
    pub removed_count: u64,
    /// Damaged or strange records, each of which was logged and kept, and references to objects that do not
    /// exist.
    pub strange_count: u64,
    /// Whether the storage as it was has been kept under another name (`pack-keep-old`).
    pub is_old_kept: bool,
    /// For how long no commit could be made, at the switch.
    pub stopped: Duration,
}

/// What a storage asks of whoever has it packed.
pub trait PackHost: Sync {
    /// Whether the pack is to be given up. Asked at least ten times a second while there is work.
    fn is_cancelled(&self) -> bool;

    /// Waits until no vote is outstanding, and keeps new ones from being made until the guard is dropped; the
    /// storage does so soon. `None`: the pack is to be given up.
    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>>;

    /// Takes note that the storage has changed its form, though no object: readers should move on to `view`, which
    /// has the same last transaction as before. Called while commits are stopped.
    fn packed(&self, view: Arc<dyn View>);

    /// Whether [`PackHost::removed_blob`] is of interest: finding out costs a look at each record that goes.
    fn wants_removed_blobs(&self) -> bool {
        false
    }

    /// Takes note that no record is left of the revision `serial` of a blob, once the pack has succeeded: until
    /// [`Storage::pack`](super::Storage::pack) has returned [`PackOutcome::Packed`], its file must stay. May be told
    /// more than once of the same. A record is not told if another one of the same transaction stays: ZEO's clients
    /// store a blob's record twice.
    ///
    /// Each revision is told by itself, also where all of them go: somebody may store the object again meanwhile.
    /// Source: `fspack.py:copyDataRecords`, ZODB 6.4, which notes them in the file `.removed`.
    ///
    /// # Errors
    /// The pack is given up.
    fn removed_blob(&self, oid: Oid, serial: Tid) -> Result<(), StorageError> {
        let _ = (oid, serial);
        Ok(())
    }
}

/// A guard: while it lives there is no commit.
pub trait CommitsStopped {}

/// A host without connections: nobody else uses the storage, and nothing cancels the pack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

struct NobodyCommits;

impl CommitsStopped for NobodyCommits {}

impl PackHost for Unattended {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        Some(Box::new(NobodyCommits))
    }

    fn packed(&self, _: Arc<dyn View>) {}
}
