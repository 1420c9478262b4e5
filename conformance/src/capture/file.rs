//! Captures as files: `NAME.zeocap`, or `NAME.zeocap.gz`, compressed.
//!
//! gzip, because every language reads it without a library from elsewhere; flate2, because it is the crate that
//! Rust does that with, and needs no C.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::error::CaptureError;
use super::metadata::Metadata;
use super::read::Reader;
use super::write::Writer;

/// The end of a capture's name, before a `.gz`.
pub const EXTENSION: &str = "zeocap";

/// How a gzip file begins.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

const BUFFER_LEN: usize = 256 * 1024;

/// A capture that is read from somewhere.
pub type FileReader = Reader<Box<dyn Read + Send>>;

/// A capture that goes to a file.
pub type FileWriter = Writer<Sink>;

/// Opens a capture. Whether it is compressed is told by its first bytes.
///
/// # Errors
/// [`CaptureError`] if it cannot be opened, or is no capture.
pub fn open(path: &Path) -> Result<FileReader, CaptureError> {
    read(File::open(path).map_err(|source| CaptureError::Io { offset: 0, source })?)
}

/// Reads a capture from any source, such as standard input.
///
/// # Errors
/// [`CaptureError`] if it is no capture.
pub fn read(source: impl Read + Send + 'static) -> Result<FileReader, CaptureError> {
    let mut source = BufReader::with_capacity(BUFFER_LEN, source);
    let start = source.fill_buf().map_err(|source| CaptureError::Io { offset: 0, source })?;
    if !start.starts_with(GZIP_MAGIC) {
        return Reader::new(Box::new(source));
    }
    Reader::new(Box::new(BufReader::with_capacity(BUFFER_LEN, MultiGzDecoder::new(source))))
}

/// Creates a capture, compressed if the name ends with `.gz`.
///
/// # Errors
/// Those of the file system.
pub fn create(path: &Path, metadata: &Metadata) -> io::Result<FileWriter> {
    begin(File::create(path)?, path, metadata)
}

/// The same, if there is no such file.
///
/// # Errors
/// Those of the file system; [`io::ErrorKind::AlreadyExists`] if there is one.
pub fn create_new(path: &Path, metadata: &Metadata) -> io::Result<FileWriter> {
    begin(File::create_new(path)?, path, metadata)
}

fn begin(file: File, path: &Path, metadata: &Metadata) -> io::Result<FileWriter> {
    let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
    let sink = match is_compressed {
        true => Sink::Gzip(Box::new(BufWriter::with_capacity(
            BUFFER_LEN,
            GzEncoder::new(file, Compression::best()),
        ))),
        false => Sink::Plain(BufWriter::with_capacity(BUFFER_LEN, file)),
    };
    Writer::new(sink, metadata)
}

/// Where the bytes of a capture go.
#[derive(Debug)]
pub enum Sink {
    /// To the file as they are.
    Plain(BufWriter<File>),
    /// Through gzip.
    Gzip(Box<BufWriter<GzEncoder<File>>>),
}

impl Sink {
    /// Writes everything, the end of the compressed stream included.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn close(self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.into_inner().map(drop).map_err(io::Error::from),
            Self::Gzip(encoder) => encoder.into_inner().map_err(io::Error::from)?.finish().map(drop),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}
