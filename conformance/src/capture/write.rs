use std::io::{self, Write};

use zeo_codec::session::Direction;

use super::format::{DATA_LEN_MAX, Header, MAGIC, kind, nanoseconds};
use super::metadata::Metadata;
use super::record::{Event, Record};

/// Writes a capture, record by record. Give it a buffered writer.
///
/// A capture without [`finish`](Self::finish) lacks its last record: everything can be read, and then the reader
/// says that it was cut.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// Those of the inner writer, and [`io::ErrorKind::InvalidInput`] for metadata that are too long.
    pub fn new(inner: W, metadata: &Metadata) -> io::Result<Self> {
        let mut writer = Self { inner };
        writer.inner.write_all(&MAGIC)?;
        writer.put(kind::METADATA, 0, 0, &serde_json::to_vec(metadata)?)?;
        Ok(writer)
    }

    /// Writes one record; of bytes several, if they are many.
    ///
    /// # Errors
    /// Those of the inner writer, and [`io::ErrorKind::InvalidInput`] for a text that is too long.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (connection, time) = (record.connection, nanoseconds(record.time));
        match &record.event {
            Event::Opened(endpoints) => {
                self.put(kind::OPENED, connection, time, &serde_json::to_vec(endpoints)?)
            }
            Event::Bytes { direction, bytes } => {
                let kind = match direction {
                    Direction::FromClient => kind::CLIENT,
                    Direction::FromServer => kind::SERVER,
                };
                bytes.chunks(DATA_LEN_MAX).try_for_each(|chunk| self.put(kind, connection, time, chunk))
            }
            Event::Ended { direction, end } => {
                let kind = match direction {
                    Direction::FromClient => kind::CLIENT_END,
                    Direction::FromServer => kind::SERVER_END,
                };
                self.put(kind, connection, time, end.text().as_bytes())
            }
            Event::Note(text) => self.put(kind::NOTE, connection, time, text.as_bytes()),
        }
    }

    /// Hands on what is in buffers.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// Ends the capture, and gives back the inner writer, flushed.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(kind::COMPLETE, 0, 0, &[])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn put(&mut self, kind: u8, connection: u32, time_ns: u64, data: &[u8]) -> io::Result<()> {
        let data_len =
            u32::try_from(data.len()).ok().filter(|_| data.len() <= DATA_LEN_MAX).ok_or_else(|| {
                let reason = format!("record {:?} of {} bytes is too long", char::from(kind), data.len());
                io::Error::new(io::ErrorKind::InvalidInput, reason)
            })?;
        self.inner.write_all(&Header { kind, connection, time_ns, data_len }.to_bytes())?;
        self.inner.write_all(data)
    }
}
