//! Opening a file: what is in it, and making it as long as it shall be.

use std::io;

use super::disk::Disk;
use super::format::{BLOCK_LEN_MAX, Block, HEAD_LEN, HEADER_LEN, MAGIC, damage, free};
use super::index::Index;

/// How much of a file is read at once.
const WINDOW_LEN: usize = 64 * 1024;

/// What is in a file.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) index: Index,
    pub(super) last_tid: u64,
    /// Where the next record goes: the first free block, which follows the newest record; in a file that has been
    /// extended, the new space, before anything that is known goes.
    pub(super) at: u64,
}

/// Makes an empty cache of a file, whatever was in it.
pub(super) fn create(disk: &mut impl Disk, last_tid: u64, size: u64) -> io::Result<()> {
    disk.set_len(0)?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&last_tid.to_be_bytes());
    disk.write_at(0, &header)?;
    fill(disk, HEADER_LEN, size)
}

/// Reads a file, and makes it `size` bytes long: cut off behind the last block that is wholly within it, or extended by
/// free blocks.
pub(super) fn scan(disk: &mut impl Disk, size: u64) -> io::Result<Scanned> {
    let file_len = disk.len()?;
    let mut header = [0; 12];
    disk.read_at(0, &mut header).map_err(|_| damage(0, "too short for a header"))?;
    let (magic, last_tid) = header.split_at(4);
    if magic != MAGIC {
        return Err(damage(0, "no cache file begins like this"));
    }
    let last_tid = last_tid.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let mut index = Index::default();
    let (mut first_free, mut last_free) = (None, None);
    let mut window = Window::default();
    let mut at = HEADER_LEN;
    while at < file_len.min(size) {
        let block = Block::parse(window.at(disk, at, file_len)?, at)?;
        let len = block.len();
        let is_within = at + len <= size;
        match block {
            Block::Record(head) if is_within => {
                if at + len > file_len {
                    return Err(damage(at, "a record that goes beyond the end of the file"));
                }
                if index.insert(&head, at).is_some() && head.end == 0 {
                    return Err(damage(at, "two current revisions of an object"));
                }
            }
            Block::Record(_) => {}
            Block::Free(_) => {
                first_free.get_or_insert(at);
            }
        }
        if !is_within || (len > BLOCK_LEN_MAX && matches!(block, Block::Free(_))) {
            write_free(disk, at, len.min(size - at))?;
        }
        last_free = matches!(block, Block::Free(_)).then_some(at);
        at = if is_within { at + len } else { size };
    }
    if file_len > size {
        disk.set_len(size)?;
    } else if file_len < size {
        if at < size {
            first_free = last_free.or(Some(at));
        }
        fill(disk, at, size)?;
    }
    Ok(Scanned { index, last_tid, at: first_free.unwrap_or(HEADER_LEN) })
}

/// Makes the file `size` bytes long, free from here on.
fn fill(disk: &mut impl Disk, from: u64, size: u64) -> io::Result<()> {
    write_free(disk, from, size - from)?;
    if disk.len()? < size {
        disk.set_len(size)?;
        if size - from > 5 {
            // As Python does: the system knows how long the file is.
            disk.write_at(size - 1, b"x")?;
        }
    }
    disk.sync()
}

/// Writes free blocks over that many bytes, the last one first: what is there before stays in force until all are.
fn write_free(disk: &mut impl Disk, at: u64, len: u64) -> io::Result<()> {
    let mut end = len.div_ceil(BLOCK_LEN_MAX);
    while end > 0 {
        end -= 1;
        let offset = end * BLOCK_LEN_MAX;
        disk.write_at(at + offset, &free((len - offset).min(BLOCK_LEN_MAX)))?;
    }
    Ok(())
}

/// The part of the file that was read last: small blocks come many at a time.
#[derive(Debug, Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The beginning of a block.
    fn at(&mut self, disk: &impl Disk, at: u64, file_len: u64) -> io::Result<&[u8]> {
        let start = at.checked_sub(self.at).and_then(|start| usize::try_from(start).ok());
        let is_here = start.is_some_and(|start| start.saturating_add(HEAD_LEN) <= self.bytes.len());
        if !is_here {
            let len = usize::try_from(file_len - at).unwrap_or(WINDOW_LEN).min(WINDOW_LEN);
            self.bytes.resize(len, 0);
            disk.read_at(at, &mut self.bytes)?;
            self.at = at;
            return Ok(&self.bytes);
        }
        Ok(start.and_then(|start| self.bytes.get(start..)).unwrap_or_default())
    }
}
