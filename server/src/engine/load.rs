//! Replies whose data goes from the storage straight into the output buffer.

use zeo_codec::session::{Mark, Output};
use zeo_codec::{Body, Dialect, Emit, EncodeError, Flag, MsgId, REPLY, Tid};

use crate::storage::{DataSink, ROOM_LEN};

/// Which reply the data belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `(data, serial, end)` of `loadBefore`.
    Revision,
    /// The bare data of `loadSerial`.
    Data,
}

/// How much is read of an object before its length is known: as much as the last one needed, since objects that are
/// loaded one after the other are often of a kind. Too much costs a copy of what is in the page cache; too little,
/// another system call.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    room_len: usize,
}

/// What storages look at behind the data.
const BEHIND_LEN: usize = 64;
/// Beyond this another system call matters less than needless copying.
const ROOM_LEN_MAX: usize = 16 * 1024 + BEHIND_LEN;

impl Default for ReadAhead {
    fn default() -> Self {
        Self { room_len: ROOM_LEN }
    }
}

impl ReadAhead {
    fn learn(&mut self, data_len: usize) {
        self.room_len = data_len.saturating_add(BEHIND_LEN).clamp(ROOM_LEN, ROOM_LEN_MAX);
    }
}

/// Writes the frame around the data, and offers the place of the data to the storage.
pub(crate) struct LoadReply<'s> {
    output: &'s mut Output,
    read_ahead: &'s mut ReadAhead,
    dialect: Dialect,
    id: &'s MsgId<'s>,
    shape: Shape,
    start: Mark,
    is_encodable: bool,
}

impl<'s> LoadReply<'s> {
    pub(crate) const fn new(
        output: &'s mut Output,
        read_ahead: &'s mut ReadAhead,
        dialect: Dialect,
        id: &'s MsgId<'s>,
        shape: Shape,
    ) -> Self {
        let start = output.mark();
        Self { output, read_ahead, dialect, id, shape, start, is_encodable: true }
    }

    /// Takes back whatever was written.
    pub(crate) fn cancel(self) {
        self.output.take_back(self.start);
    }

    /// Whether the reply stands in the buffer as it should.
    pub(crate) const fn is_encodable(&self) -> bool {
        self.is_encodable
    }
}

impl DataSink for LoadReply<'_> {
    fn room(&mut self) -> &mut [u8] {
        self.output.room(self.read_ahead.room_len)
    }

    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8] {
        self.read_ahead.learn(data_len);
        let hole = Hole { shape: self.shape, serial, end, data_len };
        let written = self.output.message_around(&self.dialect, self.id, Flag::RESULT, REPLY, &hole);
        self.is_encodable = written.is_ok();
        if self.is_encodable {
            self.output.data_mut()
        } else {
            // Beyond 4 GiB, or an id that cannot be echoed: the data must go somewhere before we say so.
            self.output.room(data_len)
        }
    }
}

/// A result with a hole where the data goes.
struct Hole {
    shape: Shape,
    serial: Tid,
    end: Option<Tid>,
    data_len: usize,
}

impl Body for Hole {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        match self.shape {
            Shape::Data => out.bytes_hole(self.data_len),
            Shape::Revision => out.tuple(3, |out| {
                out.bytes_hole(self.data_len);
                out.tid(self.serial);
                out.optional_tid(self.end);
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::file::disk::MemoryDisk;
    use crate::storage::file::{FileStorage, FileStorageOptions};
    use crate::storage::memory::MemoryStorage;
    use crate::storage::{NewRecord, NewTransaction, Pending, Storage, View};
    use zeo_codec::call::Loaded;
    use zeo_codec::{Oid, Reply, write_message};

    /// Lengths about each at which something changes: the header of the data in a reply (1 byte, 2 in msgpack, 4), what
    /// is read at least and at most, and the size of a large object.
    fn data_lens() -> Vec<usize> {
        let about = |len: usize| len - 2..len + 3;
        let behind = [ROOM_LEN - BEHIND_LEN, ROOM_LEN_MAX - BEHIND_LEN, ROOM_LEN, ROOM_LEN_MAX];
        [2, 255, 256, 4096, 65_536].into_iter().chain(behind).flat_map(about).filter(|len| *len > 0).collect()
    }

    fn data(number: usize, len: usize) -> Vec<u8> {
        (number..).flat_map(usize::to_be_bytes).take(len).collect()
    }

    fn tid(number: u64) -> Tid {
        Tid::from_u64(1000 + number)
    }

    fn commit(storage: &dyn Storage, tid: Tid, records: Vec<NewRecord>) {
        let [user, description, extension] = Default::default();
        let transaction = NewTransaction { tid, status: b' ', user, description, extension, records };
        storage.vote(transaction).unwrap().finish().unwrap();
    }

    /// Objects of all these lengths, changed to a byte, which is undone: then they lie behind back pointers.
    fn fill(storage: &dyn Storage, lens: &[usize]) {
        let oids = || (1_u64..).map(Oid::from_u64);
        let first = oids().zip(lens).enumerate();
        let first = first.map(|(at, (oid, len))| NewRecord::with_data(oid, data(at, *len).into()));
        let first: Vec<_> = first.collect();
        commit(storage, tid(1), first.clone());
        let second = oids().take(lens.len()).map(|oid| NewRecord::with_data(oid, "x".into())).collect();
        commit(storage, tid(2), second);
        // A storage that cannot undo gets the same once more.
        let undone = storage.view().undo(tid(2), &mut Pending::default());
        commit(storage, tid(3), undone.unwrap_or(first));
    }

    /// A batch of replies, as the connection makes them, and as typed messages say that they should be.
    fn replies(view: &dyn View, dialect: Dialect, lens: &[usize], order: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let mut output = Output::default();
        let mut read_ahead = ReadAhead::default();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for (step, &at) in order.iter().enumerate() {
            let oid = Oid::from_u64(at as u64 + 1);
            let id = if step % 7 == 3 {
                MsgId::Int(i64::try_from(step).unwrap())
            } else {
                MsgId::Load(oid, Tid::MAX)
            };
            let data = data(at, lens[at]);
            let (before, serial, end) =
                if step % 3 == 1 { (tid(2), tid(1), Some(tid(2))) } else { (Tid::MAX, tid(3), None) };
            let shape = if step % 5 == 2 { Shape::Data } else { Shape::Revision };
            let mut sink = LoadReply::new(&mut output, &mut read_ahead, dialect, &id, shape);
            let reply = match shape {
                Shape::Revision => {
                    assert!(view.load_before(oid, before, &mut sink).unwrap());
                    Reply::Loaded(Loaded { data: data.into(), serial, end })
                }
                Shape::Data => {
                    view.load_serial(oid, serial, &mut sink).unwrap();
                    Reply::Data(data.into())
                }
            };
            assert!(sink.is_encodable());
            write_message(&mut expected, &dialect, &id, Flag::RESULT, REPLY, &reply).unwrap();
            // A load that finds nothing leaves nothing.
            let mut sink = LoadReply::new(&mut output, &mut read_ahead, dialect, &id, Shape::Revision);
            assert!(!view.load_before(oid, tid(0), &mut sink).unwrap());
            assert!(view.load_before(Oid::from_u64(u64::MAX), Tid::MAX, &mut sink).is_err());
            sink.cancel();
            if step % 16 == 15 {
                sent.extend_from_slice(output.unwritten());
                output.consume(output.len());
            }
        }
        sent.extend_from_slice(output.unwritten());
        (sent, expected)
    }

    #[test]
    fn replies_in_a_row_are_the_typed_replies() {
        let lens = data_lens();
        let file =
            FileStorage::open_disk(Arc::new(MemoryDisk::default()), "f", FileStorageOptions::default());
        let storages: [&dyn Storage; 2] = [&file.unwrap(), &MemoryStorage::new("m")];
        // Each after each: a stride that has no divisor in common with the count.
        let orders = [1, 7, 16].map(|stride| (0..3 * lens.len()).map(|n| n * stride % lens.len()).collect());
        for storage in storages {
            fill(storage, &lens);
            for dialect in [Dialect::Z5, Dialect::M5] {
                for order in &orders {
                    let order: &Vec<usize> = order;
                    let (sent, expected) = replies(&*storage.view(), dialect, &lens, order);
                    assert!(sent == expected, "{} {:?}", storage.name(), dialect.framing);
                }
            }
        }
    }
}
