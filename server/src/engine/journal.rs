//! The sequence of commits, as every connection walks through it.
//!
//! The journal is a singly linked list that only grows at its end. A connection holds a [`Cursor`]: the
//! last commit that it has told its client about, and with it the [`View`] in which it reads. Moving the
//! cursor forward is the only way to a newer view, and whoever moves it gets the commit to tell. So no
//! connection can read a transaction's data before it has announced it, nor answer from an older state
//! afterwards: rules S1 to S4 of the ordering hold by construction, without a lock that readers share.
//!
//! ```text
//!   published:  [T1] -> [T2] -> [T3] -> [T4]        tail: where new connections start
//!                 ^               ^       ^
//!            connection A      B and C  connection D
//! ```
//!
//! A pack is an entry, too: it changes no object, but brings a view of the new file, and the old one cannot go before
//! the last cursor has moved on.
//!
//! A commit is freed when the last cursor has passed it. How far a cursor may fall behind is the business
//! of who owns it ([`Cursor::lag`]).

use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::handshake::Framing;
use zeo_codec::pickle::PickleFlavor;
use zeo_codec::{Body, Dialect, EncodeError, Generation, Method, MsgId, Oid, Tid, write_message};

use super::PeerId;
use super::sync::{ArcSwap, OnceLock};
use crate::storage::View;

/// A commit as it is told to clients.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) tid: Tid,
    /// Everything that changed, created and deleted objects included (rule S7).
    pub(crate) oids: Vec<Oid>,
    pub(crate) committer: PeerId,
    /// The state with this commit as its last one.
    pub(crate) view: Arc<dyn View>,
    encoded: Box<[OnceLock<Bytes>; FORM_COUNT]>,
}

/// The forms in which clients read an invalidation.
const FORM_COUNT: usize = 8;

/// Which of them a client reads.
fn form(dialect: &Dialect) -> usize {
    match (dialect.framing, dialect.pickle, dialect.generation) {
        (Framing::Msgpack, PickleFlavor::Python3, _) => 0,
        (Framing::Msgpack, _, _) => 1,
        (Framing::Pickle, PickleFlavor::Python3, Generation::Zeo5) => 2,
        (Framing::Pickle, PickleFlavor::Python2Protocol3, Generation::Zeo5) => 3,
        (Framing::Pickle, PickleFlavor::Python2Protocol1, Generation::Zeo5) => 4,
        (Framing::Pickle, PickleFlavor::Python3, Generation::Zeo4) => 5,
        (Framing::Pickle, _, Generation::Zeo4) => 6,
        // Of Python 2 all of them, or dead for long.
        (Framing::Pickle, _, _) => 7,
    }
}

impl Commit {
    pub(crate) fn new(tid: Tid, oids: Vec<Oid>, committer: PeerId, view: Arc<dyn View>) -> Self {
        Self { tid, oids, committer, view, encoded: Box::default() }
    }

    /// The frame of `invalidateTransaction`, encoded once for all clients that read it in the same form.
    pub(crate) fn invalidation(&self, dialect: &Dialect) -> Result<&Bytes, EncodeError> {
        let Some(cell) = self.encoded.get(form(dialect)) else { return Err(EncodeError) };
        if let Some(frame) = cell.get() {
            return Ok(frame);
        }
        let mut frame = Vec::with_capacity(64 + 12 * self.oids.len());
        let method = Method::InvalidateTransaction.name();
        write_message(
            &mut frame,
            dialect,
            &MsgId::ONE_WAY,
            dialect.call_flag(true),
            method,
            &BorrowedInvalidation { commit: self, has_versions: dialect.generation == Generation::Versions },
        )?;
        Ok(cell.get_or_init(|| frame.into()))
    }
}

/// Writes `invalidateTransaction` without a copy of the oids.
struct BorrowedInvalidation<'c> {
    commit: &'c Commit,
    /// Below `Z309` each oid comes with its version, which is empty (protocol reference 7.7).
    has_versions: bool,
}

impl Body for BorrowedInvalidation<'_> {
    fn emit(&self, out: &mut impl zeo_codec::Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.tid(self.commit.tid);
            out.list(self.commit.oids.iter(), |out, oid| {
                if self.has_versions {
                    out.tuple(2, |out| {
                        out.oid(*oid);
                        out.text("");
                    });
                } else {
                    out.oid(*oid);
                }
            });
        });
        Ok(())
    }
}

/// An entry of the journal.
#[derive(Debug)]
pub(crate) enum Event {
    Committed(Commit),
    /// The storage has been packed, or was found to need none: every client is told its size. No object has changed,
    /// but whoever reads goes on in this view, so that the old file can go.
    Packed(Arc<dyn View>),
    /// Anything may have changed: every client has to come back and have its cache verified.
    Unknown(Arc<dyn View>),
}

impl Event {
    fn view(&self) -> &Arc<dyn View> {
        match self {
            Self::Committed(commit) => &commit.view,
            Self::Packed(view) | Self::Unknown(view) => view,
        }
    }
}

#[derive(Debug)]
struct Node {
    /// Number of events since the journal began.
    sequence: u64,
    /// Number of objects in them.
    oid_count: u64,
    event: Event,
    next: OnceLock<Arc<Self>>,
}

impl Drop for Node {
    /// Frees a long chain without recursion.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(node) = next {
            next = Arc::into_inner(node).and_then(|mut node| node.next.take());
        }
    }
}

/// The end of the journal, to which one writer at a time appends.
#[derive(Debug)]
pub(crate) struct Journal {
    tail: ArcSwap<Node>,
}

impl Journal {
    /// Begins with the state that was found.
    pub(crate) fn new(view: Arc<dyn View>) -> Self {
        let node = Node { sequence: 0, oid_count: 0, event: Event::Packed(view), next: OnceLock::new() };
        Self { tail: ArcSwap::from_pointee(node) }
    }

    /// Publishes the event made from the newest view: from here on connections see it. Only one thread may publish
    /// at a time.
    pub(crate) fn publish(&self, event: impl FnOnce(&Arc<dyn View>) -> Event) {
        let tail = self.tail.load_full();
        let (sequence, event) = (tail.sequence + 1, event(tail.event.view()));
        let oid_count = match &event {
            Event::Committed(commit) => tail.oid_count + commit.oids.len() as u64,
            Event::Packed(_) | Event::Unknown(_) => tail.oid_count,
        };
        let node = Arc::new(Node { sequence, oid_count, event, next: OnceLock::new() });
        let is_only_writer = tail.next.set(Arc::clone(&node)).is_ok();
        debug_assert!(is_only_writer, "two threads published at once");
        self.tail.store(node);
    }

    /// A cursor at the last event.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { at: self.tail.load_full() }
    }

    /// The newest state.
    pub(crate) fn view(&self) -> Arc<dyn View> {
        Arc::clone(self.tail.load().event.view())
    }
}

/// How far a connection is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Events that it has not seen.
    pub(crate) event_count: u64,
    /// Objects in them.
    pub(crate) oid_count: u64,
}

/// A connection's place in the journal.
#[derive(Debug)]
pub(crate) struct Cursor {
    at: Arc<Node>,
}

impl Cursor {
    /// The state in which the connection reads.
    pub(crate) fn view(&self) -> &dyn View {
        &**self.at.event.view()
    }

    /// The same, for those who go on reading in it after the cursor has moved.
    pub(crate) fn shared_view(&self) -> Arc<dyn View> {
        Arc::clone(self.at.event.view())
    }

    /// Moves to the next event, if there is one; the caller tells its client about it.
    pub(crate) fn advance(&mut self) -> Option<&Event> {
        let next = Arc::clone(self.at.next.get()?);
        self.at = next;
        Some(&self.at.event)
    }

    /// How far this cursor is behind the end.
    pub(crate) fn lag(&self, journal: &Journal) -> Lag {
        let tail = journal.tail.load();
        Lag {
            event_count: tail.sequence.saturating_sub(self.at.sequence),
            oid_count: tail.oid_count.saturating_sub(self.at.oid_count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::StillView;
    use zeo_codec::call::InvalidateTransaction;

    fn commit(number: u64) -> Commit {
        let tid = Tid::from_u64(number);
        Commit::new(tid, vec![Oid::from_u64(number)], PeerId::NOBODY, Arc::new(StillView(tid)))
    }

    fn tid(event: &Event) -> u64 {
        match event {
            Event::Committed(commit) => commit.tid.to_u64(),
            Event::Packed(view) | Event::Unknown(view) => view.last_tid().to_u64() + 100,
        }
    }

    #[test]
    fn a_cursor_meets_every_commit_once_and_in_order() {
        let journal = Journal::new(Arc::new(StillView(Tid::ZERO)));
        let mut early = journal.cursor();
        for number in 1..=3 {
            journal.publish(|_| Event::Committed(commit(number)));
        }
        let mut late = journal.cursor();
        assert_eq!(early.lag(&journal), Lag { event_count: 3, oid_count: 3 });
        assert_eq!(late.lag(&journal), Lag { event_count: 0, oid_count: 0 });
        journal.publish(|_| Event::Committed(commit(4)));
        let told =
            |cursor: &mut Cursor| -> Vec<u64> { std::iter::from_fn(|| cursor.advance().map(tid)).collect() };
        assert_eq!(told(&mut early), [1, 2, 3, 4]);
        assert_eq!(told(&mut late), [4]);
        assert_eq!(early.view().last_tid(), Tid::from_u64(4));
    }

    #[test]
    fn a_view_moves_only_with_its_commit() {
        let journal = Journal::new(Arc::new(StillView(Tid::ZERO)));
        let mut cursor = journal.cursor();
        journal.publish(|_| Event::Committed(commit(1)));
        assert_eq!(cursor.view().last_tid(), Tid::ZERO);
        assert_eq!(cursor.advance().map(tid), Some(1));
        assert_eq!(cursor.view().last_tid(), Tid::from_u64(1));
        journal.publish(|view| Event::Packed(Arc::clone(view)));
        journal.publish(|_| Event::Packed(Arc::new(StillView(Tid::from_u64(1)))));
        let address = |cursor: &Cursor| std::ptr::from_ref(cursor.view()).addr();
        let before = address(&cursor);
        assert_eq!(cursor.advance().map(tid), Some(101));
        assert_eq!(address(&cursor), before, "the same view");
        assert_eq!(cursor.advance().map(tid), Some(101));
        assert_ne!(address(&cursor), before, "another view");
    }

    #[test]
    fn a_long_chain_is_freed_without_recursion() {
        let journal = Journal::new(Arc::new(StillView(Tid::ZERO)));
        let cursor = journal.cursor();
        for number in 1..=500_000 {
            journal.publish(|_| Event::Committed(commit(number)));
        }
        drop(cursor);
    }

    #[test]
    fn the_frame_is_the_typed_message() {
        // One commit, so that forms which shared a place would be noticed.
        let commit = commit(7);
        let dialects = [Dialect::Z5, Dialect::M5, Dialect::Z4].into_iter().flat_map(|dialect| {
            let flavors =
                [PickleFlavor::Python3, PickleFlavor::Python2Protocol1, PickleFlavor::Python2Protocol3];
            flavors.map(|flavor| dialect.with_pickle(flavor))
        });
        // There is no ZEO 4 with zodbpickle's protocol.
        let exists = |dialect: &Dialect| {
            dialect.generation == Generation::Zeo5 || dialect.pickle != PickleFlavor::Python2Protocol3
        };
        for dialect in dialects.filter(exists) {
            let typed = InvalidateTransaction { tid: commit.tid, oids: commit.oids.clone() };
            let mut frame = Vec::new();
            let name = Method::InvalidateTransaction.name();
            write_message(&mut frame, &dialect, &MsgId::ONE_WAY, dialect.call_flag(true), name, &typed)
                .unwrap();
            assert_eq!(commit.invalidation(&dialect).unwrap(), &frame);
        }
    }
}
