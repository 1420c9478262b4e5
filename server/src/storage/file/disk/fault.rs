//! What goes wrong with disks, for tests: operations that fail, and power that is cut.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::memory::put;
use super::{Change, Disk, MemoryDisk};
use crate::storage::file::tests::Random;

/// `EIO` of the kernel.
pub(crate) const EIO: i32 = 5;
/// `ENOSPC` of the kernel.
pub(crate) const ENOSPC: i32 = 28;

/// Bytes that a disk writes whole or not at all.
const SECTOR_LEN: usize = 512;

/// What the failing operation does before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    /// A write writes its first half.
    Half,
    /// All; only the report is wrong.
    All,
}

/// From which changing operation on (counted from 0), for how many, and how the disk fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) from: u64,
    pub(crate) count: u64,
    pub(crate) errno: i32,
    pub(crate) effect: Effect,
}

/// A disk in memory whose changing operations fail as told.
#[derive(Debug, Default)]
pub(crate) struct FaultDisk {
    pub(crate) inner: MemoryDisk,
    fault: Mutex<Option<Fault>>,
    operation_count: AtomicU64,
}

impl FaultDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { inner: MemoryDisk::new(bytes), ..Self::default() }
    }

    /// Sets what will fail, counting from the next operation.
    pub(crate) fn plan(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.operation_count.store(0, Ordering::SeqCst);
    }

    /// Changing operations since the last [`FaultDisk::plan`].
    pub(crate) fn operation_count(&self) -> u64 {
        self.operation_count.load(Ordering::SeqCst)
    }

    /// Runs one changing operation, given its whole and its half.
    fn change(
        &self,
        whole: impl FnOnce() -> io::Result<()>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let number = self.operation_count.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) if (fault.from..fault.from.saturating_add(fault.count)).contains(&number) => {
                match fault.effect {
                    Effect::Nothing => {}
                    Effect::Half => half()?,
                    Effect::All => whole()?,
                }
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            Some(_) | None => whole(),
        }
    }
}

impl Disk for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, pos)
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.change(|| self.inner.write_all_at(bytes, pos), || self.inner.write_all_at(half, pos))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|| self.inner.sync_data(), || Ok(()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|| self.inner.set_len(len), || Ok(()))
    }

    fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
        self.change(|| self.inner.reserve(pos, len), || Ok(()))
    }
}

/// Which unsynced sectors reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survivors {
    /// The first so many bytes, in the order of writing.
    Prefix(usize),
    /// Any sectors; any length of the file.
    Subset,
}

/// The bytes of a disk after a power cut: `initial` and all `changes` up to the last sync, and of those after
/// it what `survivors` says.
pub(crate) fn after_power_cut(
    initial: &[u8],
    changes: &[Change],
    survivors: Survivors,
    random: &mut Random,
) -> Vec<u8> {
    let synced_count = changes.iter().rposition(|change| *change == Change::Sync).map_or(0, |at| at + 1);
    let (synced, unsynced) = changes.split_at(synced_count);
    let mut bytes = initial.to_vec();
    for change in synced {
        apply(&mut bytes, change);
    }
    let synced_len = bytes.len();
    let mut full_len = synced_len;
    let mut left = match survivors {
        Survivors::Prefix(len) => len,
        Survivors::Subset => usize::MAX,
    };
    // One likelihood for the whole cut, so that nearly all and nearly none come up, too.
    let odds = random.below(5);
    for change in unsynced {
        let Change::Write { pos, bytes: written } = change else {
            apply(&mut bytes, change);
            full_len = bytes.len();
            continue;
        };
        let start = usize::try_from(*pos).unwrap();
        full_len = full_len.max(start + written.len());
        let mut at = start;
        while at < start + written.len() && left > 0 {
            let end =
                (at - at % SECTOR_LEN + SECTOR_LEN).min(start + written.len()).min(at.saturating_add(left));
            if survivors != Survivors::Subset || random.below(4) < odds {
                put(&mut bytes, at as u64, &written[at - start..end - start]).unwrap();
            }
            left -= if survivors == Survivors::Subset { 0 } else { end - at };
            at = end;
        }
    }
    if survivors == Survivors::Subset {
        // The length is written apart from the sectors: as they need it, full, or anything.
        match random.below(3) {
            0 => {}
            1 => bytes.resize(full_len, 0),
            _ => bytes.resize(synced_len + random.below(full_len - synced_len + 1), 0),
        }
    }
    bytes
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { pos, bytes: written } => put(bytes, *pos, written).unwrap(),
        Change::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        Change::Sync => {}
    }
}
