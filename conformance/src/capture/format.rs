//! How a record lies in the file: a header of fixed length, then its data. All numbers are big-endian, as in ZEO.

use std::time::Duration;

/// The first bytes of every capture; the last digit is the version of the format.
pub const MAGIC: [u8; 8] = *b"ZEOCAP1\n";

/// Length of a header.
pub const HEADER_LEN: usize = 17;

/// Greatest length of a record's data. Longer chunks are written as several records.
pub const DATA_LEN_MAX: usize = 1 << 20;

/// What a record is. Others are left out by readers, so that there can be more kinds some day.
pub mod kind {
    /// The capture's metadata, as JSON. The first record, and only the first.
    pub const METADATA: u8 = b'M';
    /// A connection was made; JSON about its ends.
    pub const OPENED: u8 = b'O';
    /// Bytes of the client.
    pub const CLIENT: u8 = b'C';
    /// Bytes of the server.
    pub const SERVER: u8 = b'S';
    /// The client's stream ended: nothing, or the reason.
    pub const CLIENT_END: u8 = b'c';
    /// The server's stream ended: nothing, or the reason.
    pub const SERVER_END: u8 = b's';
    /// A remark of whoever recorded, as text: above all what was done to the connection on purpose.
    pub const NOTE: u8 = b'N';
    /// The capture is complete. The last record.
    pub const COMPLETE: u8 = b'Z';
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// One of [`kind`], or unknown.
    pub kind: u8,
    /// The connection; 0 for what concerns the whole capture.
    pub connection: u32,
    /// Since the start of the capture, in nanoseconds.
    pub time_ns: u64,
    /// Length of the data.
    pub data_len: u32,
}

impl Header {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [self.kind; HEADER_LEN];
        let fields = self
            .connection
            .to_be_bytes()
            .into_iter()
            .chain(self.time_ns.to_be_bytes())
            .chain(self.data_len.to_be_bytes());
        bytes.iter_mut().skip(1).zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }

    /// From the bytes. Any are a header: only its length can be wrong, see [`DATA_LEN_MAX`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [kind, c0, c1, c2, c3, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = bytes;
        Self {
            kind,
            connection: u32::from_be_bytes([c0, c1, c2, c3]),
            time_ns: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            data_len: u32::from_be_bytes([l0, l1, l2, l3]),
        }
    }
}

/// A time as it lies in the file; what is longer than 584 years is that long.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
