//! Writing frames: reserve the length, write the payload behind it, fill in the length.

use alloc::vec::Vec;

use super::{LENGTH_LEN, MAC_BIT};

/// Where a frame begins in an output buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a frame that is begun must be finished or cancelled"]
pub struct FrameStart(usize);

impl FrameStart {
    /// Takes the unfinished frame out of the buffer again.
    pub fn cancel(self, out: &mut Vec<u8>) {
        out.truncate(self.0);
    }
}

/// The longest payload that a length has room for beside the bit that announces a MAC, in bytes.
pub(crate) const LEN_MAX_BESIDE_MAC: u32 = MAC_BIT - 1;

/// Reserves the length prefix at the end of `out`.
pub fn begin(out: &mut Vec<u8>) -> FrameStart {
    let start = FrameStart(out.len());
    out.extend_from_slice(&[0; LENGTH_LEN]);
    start
}

/// Fills in the length of everything behind the prefix. A payload beyond 4 GiB - 1 takes the frame out
/// again and gives `false`: no peer could read it.
#[must_use]
pub fn finish(start: FrameStart, out: &mut Vec<u8>) -> bool {
    finish_without(start, out, 0, u32::MAX)
}

/// [`finish`], where `absent_len` bytes of the payload are not in `out`, and all of it is at most `len_max` bytes.
#[must_use]
pub(crate) fn finish_without(start: FrameStart, out: &mut Vec<u8>, absent_len: usize, len_max: u32) -> bool {
    let payload_len = out.len().saturating_sub(start.0 + LENGTH_LEN).saturating_add(absent_len);
    let Some(length) = u32::try_from(payload_len).ok().filter(|length| *length <= len_max) else {
        start.cancel(out);
        return false;
    };
    if let Some(prefix) = out.get_mut(start.0..start.0 + LENGTH_LEN) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    true
}

/// Writes a frame whose payload is at hand.
pub fn write_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let start = begin(out);
    out.extend_from_slice(payload);
    // A payload in memory beyond 4 GiB is the caller's doing; it is left out.
    let _ = finish(start, out);
}
