use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use zeo_codec::session::Direction;

use super::error::CaptureError;
use super::format::{DATA_LEN_MAX, HEADER_LEN, Header, MAGIC, kind};
use super::metadata::Metadata;
use super::record::{End, Event, Record};

/// Reads a capture, record by record, in the memory of one record. Give it a buffered reader.
///
/// After the end, or an error, there are no more records.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    metadata: Metadata,
    /// Data of the record that was read last.
    data: Vec<u8>,
    /// Bytes read so far.
    offset: u64,
    is_over: bool,
    /// Nothing behind the last record is looked at.
    ends_at_last_record: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a capture.
    ///
    /// # Errors
    /// [`CaptureError`] if it is none, one of another version, or cut before its first record ends.
    pub fn new(inner: R) -> Result<Self, CaptureError> {
        let mut reader = Self {
            inner,
            metadata: Metadata::default(),
            data: Vec::new(),
            offset: 0,
            is_over: false,
            ends_at_last_record: false,
        };
        let mut magic = [0; MAGIC.len()];
        let len = reader.fill(&mut magic)?;
        check_magic(magic.get(..len).unwrap_or_default())?;
        let (offset, header) = reader.read_header()?;
        let malformed = |reason: String| CaptureError::Malformed { offset, kind: header.kind, reason };
        if header.kind != kind::METADATA {
            return Err(malformed("the first record has to be the metadata".to_owned()));
        }
        reader.read_data(offset, header)?;
        reader.metadata =
            serde_json::from_slice(&reader.data).map_err(|error| malformed(error.to_string()))?;
        Ok(reader)
    }

    /// What the capture says about itself.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// How many bytes of the capture were read, before compression.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the last record for the end of the source: one whose end would have to be waited for.
    pub const fn end_at_last_record(&mut self) {
        self.ends_at_last_record = true;
    }

    /// The next record; `None` at the end of a complete capture. Records of unknown kinds are left out.
    ///
    /// # Errors
    /// [`CaptureError`], once. What came before it was as good as in a whole file.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        if self.is_over {
            return Ok(None);
        }
        // Until it is known to be otherwise: an error leaves by `?`.
        self.is_over = true;
        loop {
            let (offset, header) = self.read_header()?;
            self.read_data(offset, header)?;
            match header.kind {
                kind::COMPLETE => {
                    self.expect_end()?;
                    return Ok(None);
                }
                kind::OPENED
                | kind::CLIENT
                | kind::SERVER
                | kind::CLIENT_END
                | kind::SERVER_END
                | kind::NOTE => {
                    let event = event(header.kind, &self.data).map_err(|reason| CaptureError::Malformed {
                        offset,
                        kind: header.kind,
                        reason,
                    })?;
                    self.is_over = false;
                    let time = Duration::from_nanos(header.time_ns);
                    return Ok(Some(Record { time, connection: header.connection, event }));
                }
                kind::METADATA => {
                    let reason = "only the first record can be the metadata".to_owned();
                    return Err(CaptureError::Malformed { offset, kind: header.kind, reason });
                }
                _ => {}
            }
        }
    }

    /// A header, and where it begins.
    fn read_header(&mut self) -> Result<(u64, Header), CaptureError> {
        let offset = self.offset;
        let mut bytes = [0; HEADER_LEN];
        if self.fill(&mut bytes)? < HEADER_LEN {
            return Err(CaptureError::Cut { offset });
        }
        Ok((offset, Header::from_bytes(bytes)))
    }

    /// Reads the data of the record that begins at `offset`.
    fn read_data(&mut self, offset: u64, header: Header) -> Result<(), CaptureError> {
        let too_long = CaptureError::TooLong { offset, len: header.data_len };
        let Some(len) = usize::try_from(header.data_len).ok().filter(|len| *len <= DATA_LEN_MAX) else {
            return Err(too_long);
        };
        let mut data = std::mem::take(&mut self.data);
        data.resize(len, 0);
        let filled = self.fill(&mut data);
        self.data = data;
        if filled? < len {
            return Err(CaptureError::Cut { offset });
        }
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), CaptureError> {
        if self.ends_at_last_record {
            return Ok(());
        }
        let offset = self.offset;
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(CaptureError::Trailing { offset }),
        }
    }

    /// Reads until `bytes` is full or the file ends, and says how much it was.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, CaptureError> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(len) => {
                    filled += len;
                    self.offset += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // So a decompressor says that its file was cut.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(source) => return Err(CaptureError::Io { offset: self.offset, source }),
            }
        }
        Ok(filled)
    }
}

/// Whether a file begins like a capture that this program can read.
fn check_magic(found: &[u8]) -> Result<(), CaptureError> {
    let [name @ .., version, _] = &MAGIC;
    match found {
        _ if found == MAGIC => Ok(()),
        [start @ .., digit, b'\n'] if start == name && digit != version => {
            Err(CaptureError::Version { found: *digit })
        }
        [_, ..] if MAGIC.starts_with(found) => Err(CaptureError::Cut { offset: 0 }),
        _ => Err(CaptureError::NotACapture { found: found.to_vec() }),
    }
}

fn event(kind: u8, data: &[u8]) -> Result<Event<'_>, String> {
    let text = || str::from_utf8(data).map_err(|error| error.to_string());
    let direction = match kind {
        kind::CLIENT | kind::CLIENT_END => Direction::FromClient,
        _ => Direction::FromServer,
    };
    match kind {
        kind::OPENED => serde_json::from_slice(data).map(Event::Opened).map_err(|error| error.to_string()),
        kind::CLIENT | kind::SERVER => Ok(Event::Bytes { direction, bytes: Cow::Borrowed(data) }),
        kind::NOTE => Ok(Event::Note(Cow::Borrowed(text()?))),
        _ => Ok(Event::Ended { direction, end: End::from_text(text()?) }),
    }
}
