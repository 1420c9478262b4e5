//! Records that are not copied into the output, but sent from where they lie.
//!
//! A writer puts the bytes around a record into the buffer, and notes the record beside it. Typed messages
//! borrow their records as slices; a slice of memory that its owner shares ([`Bytes`]) can be kept.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

/// From this length on a record is shared rather than copied. Here both take about as long (the benches), and
/// each shared record costs a vectored write two more entries.
pub(crate) const SHARED_LEN_MIN: usize = 2 * 1024;

/// Records that were not copied, in their order.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) parts: VecDeque<Part>,
    /// Sum of their lengths.
    pub(crate) len: usize,
}

/// A record that was not copied.
#[derive(Debug)]
pub(crate) struct Part {
    /// It goes before this byte of the buffer.
    pub(crate) at: usize,
    /// Never empty.
    pub(crate) data: Bytes,
}

impl Shared {
    /// Takes back records until their sum is `len` again.
    pub(crate) fn cancel_to(&mut self, len: usize) {
        while self.len > len
            && let Some(part) = self.parts.pop_back()
        {
            self.len -= part.data.len();
        }
    }
}

/// What a writer may share, and where it notes that.
#[derive(Debug)]
pub(crate) struct Sharing<'o> {
    pub(crate) memory: &'o Bytes,
    pub(crate) shared: &'o mut Shared,
}

impl Sharing<'_> {
    pub(crate) const fn reborrow(&mut self) -> Sharing<'_> {
        Sharing { memory: self.memory, shared: self.shared }
    }

    fn take(&mut self, at: usize, data: &[u8]) -> bool {
        let (memory, wanted) = (self.memory.as_ptr_range(), data.as_ptr_range());
        let is_inside = memory.start <= wanted.start && wanted.end <= memory.end;
        if is_inside {
            self.shared.len += data.len();
            self.shared.parts.push_back(Part { at, data: self.memory.slice_ref(data) });
        }
        is_inside
    }
}

/// Appends `data` to `out`, or notes that it belongs there.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, sharing: &mut Option<Sharing<'_>>, data: &[u8]) {
    if data.len() >= SHARED_LEN_MIN
        && let Some(sharing) = sharing
        && sharing.take(out.len(), data)
    {
        return;
    }
    out.extend_from_slice(data);
}
