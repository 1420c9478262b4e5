//! Replies whose data goes from the storage straight into the output buffer.

use std::cell::Cell;

use zeo_codec::{Body, Dialect, Emit, EncodeError, Flag, MsgId, REPLY, Tid, write_message};

use crate::storage::DataSink;

/// Which reply the data belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `(data, serial, end)` of `loadBefore`.
    Revision,
    /// The bare data of `loadSerial`.
    Data,
}

/// Writes the frame around the data, and offers the place of the data to the storage.
pub(crate) struct LoadReply<'s> {
    out: &'s mut Vec<u8>,
    dialect: &'s Dialect,
    id: &'s MsgId<'s>,
    shape: Shape,
    start_len: usize,
    is_encodable: bool,
}

impl<'s> LoadReply<'s> {
    pub(crate) fn new(out: &'s mut Vec<u8>, dialect: &'s Dialect, id: &'s MsgId<'s>, shape: Shape) -> Self {
        let start_len = out.len();
        Self { out, dialect, id, shape, start_len, is_encodable: true }
    }

    /// Takes back whatever was written.
    pub(crate) fn cancel(self) {
        self.out.truncate(self.start_len);
    }

    /// Whether the reply stands in the buffer as it should.
    pub(crate) const fn is_encodable(&self) -> bool {
        self.is_encodable
    }
}

impl DataSink for LoadReply<'_> {
    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8] {
        let hole = Hole { shape: self.shape, serial, end, data_len, at: Cell::new(0) };
        let written = write_message(self.out, self.dialect, self.id, Flag::RESULT, REPLY, &hole);
        let mut start = hole.at.get();
        if written.is_err() {
            // Beyond 4 GiB, or an id that cannot be echoed: the data must go somewhere before we say so.
            self.is_encodable = false;
            start = self.out.len();
            self.out.resize(start + data_len, 0);
        }
        self.out.get_mut(start..start + data_len).unwrap_or_default()
    }
}

/// A result with a hole where the data goes.
struct Hole {
    shape: Shape,
    serial: Tid,
    end: Option<Tid>,
    data_len: usize,
    at: Cell<usize>,
}

impl Body for Hole {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        match self.shape {
            Shape::Data => self.at.set(out.bytes_hole(self.data_len)),
            Shape::Revision => out.tuple(3, |out| {
                self.at.set(out.bytes_hole(self.data_len));
                out.tid(self.serial);
                out.optional_tid(self.end);
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_codec::Oid;
    use zeo_codec::call::Loaded;

    #[test]
    fn the_frame_is_the_typed_reply() {
        for dialect in [Dialect::Z5, Dialect::M5] {
            for data_len in [1, 255, 256, 70_000] {
                let id = MsgId::Load(Oid::from_u64(1), Tid::MAX);
                let data = vec![7; data_len];
                let (serial, end) = (Tid::from_u64(5), Some(Tid::from_u64(6)));
                let mut filled = Vec::new();
                LoadReply::new(&mut filled, &dialect, &id, Shape::Revision)
                    .accept(serial, end, data_len)
                    .copy_from_slice(&data);
                let typed = Loaded { data: data.as_slice().into(), serial, end };
                let mut expected = Vec::new();
                write_message(&mut expected, &dialect, &id, Flag::RESULT, REPLY, &typed).unwrap();
                assert_eq!(filled, expected);
            }
        }
    }
}
