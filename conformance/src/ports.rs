//! Ports for servers that cannot choose theirs, or have to come back to it.
//!
//! Between the choice of a port and its use somebody else may take it. Those who choose here do not get in each other's way:
//! ports are dealt out in blocks, each to one process, which holds the lock of a file for it until it ends; and a process
//! hands out each port of its blocks once. All of them lie below the range from which systems take the ports of clients, so
//! that no client gets one while its server is away. What is left are strangers who listen there on purpose, at the wrong
//! moment; those who are there already are seen.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 20_000;
const BLOCK_LEN: u16 = 100;
const BLOCK_COUNT: u16 = 120;

/// A port that nobody listens on, and that no other process or caller is given by this function while this process runs
/// (unless all 12,000 have been).
#[must_use]
pub fn free_port() -> u16 {
    static PORTS: Mutex<Option<Ports>> = Mutex::new(None);
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    ports.get_or_insert_with(|| Ports::new(&std::env::temp_dir().join("zeo-ports"))).next()
}

/// The blocks of one process.
#[derive(Debug)]
struct Ports {
    /// Where the locks are.
    dir: PathBuf,
    own: Vec<Block>,
    /// Where the search for the next block begins.
    start: u16,
    block: u16,
    used_count: u16,
}

#[derive(Debug)]
struct Block {
    number: u16,
    /// The lock is that of the open file, and ends with it.
    _lock: File,
}

impl Ports {
    /// None yet.
    fn new(dir: &Path) -> Self {
        // If that fails there are no locks, and processes only begin in different places.
        let _ = fs::create_dir_all(dir);
        let start = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(BLOCK_COUNT)).unwrap_or(0);
        Self { dir: dir.to_owned(), own: Vec::new(), start, block: start, used_count: BLOCK_LEN }
    }

    fn next(&mut self) -> u16 {
        loop {
            if self.used_count == BLOCK_LEN {
                self.block = self.next_block();
                self.used_count = 0;
            }
            let port = FIRST + self.block * BLOCK_LEN + self.used_count;
            self.used_count += 1;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
    }

    /// A block that is nobody's; if there is none left, the next of the own ones again.
    fn next_block(&mut self) -> u16 {
        for step in 0..BLOCK_COUNT {
            let number = (self.start + step) % BLOCK_COUNT;
            if let Some(lock) = self.lock(number) {
                self.own.push(Block { number, _lock: lock });
                self.start = (number + 1) % BLOCK_COUNT;
                return number;
            }
        }
        let place = self.own.iter().position(|block| block.number == self.block);
        let following = place.and_then(|place| self.own.get(place + 1)).or_else(|| self.own.first());
        following.map_or((self.block + 1) % BLOCK_COUNT, |block| block.number)
    }

    /// The lock of a block, if nobody has it: this process has it as another open file.
    fn lock(&self, number: u16) -> Option<File> {
        let path = self.dir.join(number.to_string());
        let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
        file.try_lock().ok()?;
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_given_the_port_of_another() {
        let dir = tempfile::tempdir().unwrap();
        // Locks are those of open files: two of these are as two processes.
        let (mut one, mut other) = (Ports::new(dir.path()), Ports::new(dir.path()));
        let count = usize::from(BLOCK_LEN) * 2 + 1;
        let ports: BTreeSet<u16> = (0..count).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(ports.len(), 2 * count);
        assert!(ports.iter().all(|port| (FIRST..FIRST + BLOCK_LEN * BLOCK_COUNT).contains(port)));
    }

    #[test]
    fn a_block_is_free_again_with_the_end_of_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Ports::new(dir.path());
        let first = one.next_block();
        drop(one);
        assert_eq!(Ports::new(dir.path()).next_block(), first);
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ports::new(dir.path()).next();
        // If that fails it is another test that listens.
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        assert_ne!(Ports::new(dir.path()).next(), first);
    }

    #[test]
    fn when_all_are_given_out_the_own_ones_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Ports::new(dir.path());
        let mine: Vec<u16> = (0..BLOCK_COUNT).map(|_| all.next_block()).collect();
        assert_eq!(mine.iter().collect::<BTreeSet<_>>().len(), usize::from(BLOCK_COUNT));
        all.block = *mine.last().unwrap();
        assert_eq!(all.next_block(), mine[0]);
        // Without locks all ports are tried.
        let mut nothing = Ports::new(&dir.path().join("0"));
        let first = nothing.next();
        nothing.used_count = BLOCK_LEN;
        assert_ne!(nothing.next() / BLOCK_LEN, first / BLOCK_LEN);
    }
}
