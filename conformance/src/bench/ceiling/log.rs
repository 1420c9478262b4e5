//! Commits: appended together, made durable by one sync, and told to everybody by one write each.
//!
//! The connection that finds nobody at work serves itself, and whoever came at the same moment; so one client alone waits for
//! no other thread. What has come meanwhile is left to a thread that does nothing else, as the connection has to read on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use zeo_codec::call::InvalidateTransaction;
use zeo_codec::handshake::Framing;
use zeo_codec::{Dialect, EncodeError, Flag, Method, MsgId, REPLY, Reply, Tid, write_message};
use zeo_server::storage::tid::next_tid;

use super::Server;
use super::connection::{Peer, Transaction};
use super::objects::Revision;

/// A transaction to be committed.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) peer: Arc<Peer>,
    /// To be answered.
    pub(super) id: MsgId<'static>,
    pub(super) transaction: Transaction,
}

/// A commit at its place in the order.
#[derive(Debug)]
struct Placed {
    commit: Commit,
    tid: Tid,
}

#[derive(Debug)]
pub(super) struct Log {
    queue: Mutex<Queue>,
    handed_over: Condvar,
    end: Mutex<End>,
    /// Of the last commit that everybody has been told of.
    last_tid: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Commit>,
    work: Work,
}

/// Who commits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Work {
    #[default]
    Nobody,
    Somebody,
    /// The thread that does nothing else is to begin.
    HandedOver,
}

/// Where the next commit goes. Held by who commits.
#[derive(Debug)]
struct End {
    file: Option<File>,
    last_tid: Tid,
    buffer: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(super) fn new(file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(File::create).transpose()?;
        let end = End { file, last_tid: Tid::ZERO, buffer: Vec::new() };
        let last_tid = AtomicU64::default();
        Ok(Self { queue: Mutex::default(), handed_over: Condvar::new(), end: Mutex::new(end), last_tid })
    }

    pub(super) fn last_tid(&self) -> Tid {
        Tid::from_u64(self.last_tid.load(Ordering::Relaxed))
    }

    /// Commits, now or soon.
    pub(super) fn commit(&self, commit: Commit, server: &Server) {
        let mut queue = lock(&self.queue);
        queue.waiting.push(commit);
        if queue.work != Work::Nobody {
            return;
        }
        queue.work = Work::Somebody;
        let group = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.commit_together(group, server);
        let mut queue = lock(&self.queue);
        if queue.waiting.is_empty() {
            queue.work = Work::Nobody;
        } else {
            queue.work = Work::HandedOver;
            self.handed_over.notify_one();
        }
    }

    /// The thread that does nothing else.
    pub(super) fn go_on(&self, server: &Server) -> ! {
        let mut queue = lock(&self.queue);
        loop {
            while queue.work != Work::HandedOver {
                queue = self.handed_over.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.work = Work::Somebody;
            while !queue.waiting.is_empty() {
                let group = std::mem::take(&mut queue.waiting);
                drop(queue);
                self.commit_together(group, server);
                queue = lock(&self.queue);
            }
            queue.work = Work::Nobody;
        }
    }

    /// Commits a group with one sync. If the disk does not take it, its clients are not answered.
    fn commit_together(&self, group: Vec<Commit>, server: &Server) {
        let mut end = lock(&self.end);
        match end.append(group) {
            Ok(placed) => {
                publish(placed, server);
                self.last_tid.store(end.last_tid.to_u64(), Ordering::Relaxed);
            }
            Err(error) => eprintln!("commit: {error}"),
        }
    }
}

impl End {
    fn append(&mut self, group: Vec<Commit>) -> io::Result<Vec<Placed>> {
        self.buffer.clear();
        let mut placed = Vec::with_capacity(group.len());
        for commit in group {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
            let tid = next_tid(micros, self.last_tid).ok_or(io::ErrorKind::Other)?;
            self.last_tid = tid;
            let bytes = &commit.transaction.bytes;
            self.buffer.extend_from_slice(tid.as_bytes());
            self.buffer.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            self.buffer.extend_from_slice(bytes);
            placed.push(Placed { commit, tid });
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
            file.sync_data()?;
        }
        Ok(placed)
    }
}

/// Makes the objects visible, and tells everybody: committers the tid, in their place among the others' invalidations.
fn publish(mut group: Vec<Placed>, server: &Server) {
    for Placed { commit, tid } in &mut group {
        let data = Bytes::from(std::mem::take(&mut commit.transaction.bytes));
        for (oid, range) in &commit.transaction.objects {
            server.objects.put(*oid, Revision { serial: *tid, data: data.slice(range.clone()) });
        }
    }
    let mut invalidations = Invalidations::default();
    server.peers.for_each(|peer| {
        if group.iter().all(|placed| placed.commit.peer.number != peer.number) {
            peer.send(&invalidations.of(&group, &peer.dialect).bytes);
            return;
        }
        let mut frames = Vec::new();
        for (index, Placed { commit, tid }) in group.iter().enumerate() {
            if commit.peer.number != peer.number {
                frames.extend_from_slice(invalidations.of(&group, &peer.dialect).frame(index));
            } else if let Err(error) =
                write_message(&mut frames, &peer.dialect, &commit.id, Flag::RESULT, REPLY, &Reply::Tid(*tid))
            {
                eprintln!("reply: {error}");
            }
        }
        peer.send(&frames);
    });
}

/// The invalidations of a group, encoded once for each framing that somebody has.
#[derive(Debug, Default)]
struct Invalidations {
    pickle: Option<Frames>,
    msgpack: Option<Frames>,
}

/// Frames, one after the other.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Invalidations {
    fn of(&mut self, group: &[Placed], dialect: &Dialect) -> &Frames {
        let frames = match dialect.framing {
            Framing::Pickle => &mut self.pickle,
            Framing::Msgpack => &mut self.msgpack,
        };
        frames.get_or_insert_with(|| {
            Frames::new(group, dialect).unwrap_or_else(|error| {
                eprintln!("invalidation: {error}");
                Frames::default()
            })
        })
    }
}

impl Frames {
    fn new(group: &[Placed], dialect: &Dialect) -> Result<Self, EncodeError> {
        let mut frames = Self::default();
        for Placed { commit, tid } in group {
            let oids = commit.transaction.objects.iter().map(|(oid, _)| *oid).collect();
            let args = InvalidateTransaction { tid: *tid, oids };
            let name = Method::InvalidateTransaction.name();
            write_message(&mut frames.bytes, dialect, &MsgId::ONE_WAY, dialect.call_flag(true), name, &args)?;
            frames.ends.push(frames.bytes.len());
        }
        Ok(frames)
    }

    fn frame(&self, index: usize) -> &[u8] {
        let end = |index: usize| self.ends.get(index).copied().unwrap_or_default();
        let start = index.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(index)).unwrap_or_default()
    }
}
