//! A data file as what is copied from: its transactions one after the other, read and never written (protocol reference
//! 14.1; `ZODB/FileStorage/format.py`, ZODB 6.4).
//!
//! The server has a reader with an index, which can do more; it stands above this crate. No lock is taken, so that the file
//! of a server that runs can be copied: what it has not finished yet is the end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zeo_codec::call::{RecordInfo, TransactionInfo};
use zeo_codec::{Limits, Oid, Tid, Value, pickle};

use super::{BlobFile, Source};
use crate::blob::layout::{Layout, MARKER};
use crate::tools::zeo::Failure;

/// What a file of Python 3 begins with, and one of Python 2.
const MAGICS: [[u8; 4]; 2] = [*b"FS30", *b"FS21"];
/// The magic's length: where the first transaction is.
const FIRST_POS: u64 = 4;
/// A transaction up to its user; a record up to its data; what stands behind the records of a transaction.
const TRANSACTION_HEADER_LEN: u64 = 23;
const DATA_HEADER_LEN: u64 = 42;
const TRAILER_LEN: u64 = 8;
/// Where the data of a record is instead, if it has none of its own.
const POINTER_LEN: u64 = 8;
/// The status of a transaction that was voted on, and not finished.
const CHECKPOINT: u8 = b'c';
/// Bytes that are read ahead.
const BUFFER_LEN: usize = 256 << 10;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no data file: it begins with neither FS30 nor FS21")]
    Magic,
    /// What stands there contradicts itself.
    #[error("damaged at position {pos}: {what}")]
    Damaged {
        /// Where, in bytes.
        pos: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Whether a file that begins so is a data file.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    MAGICS.iter().any(|magic| magic == bytes)
}

/// A data file, and perhaps a blob directory.
#[derive(Debug)]
pub(super) struct DataFile {
    path: PathBuf,
    reader: BufReader<File>,
    /// As it was when it was opened: what comes later is for another time.
    len: u64,
    blobs: Option<(PathBuf, Layout)>,
    /// The first transaction that is wanted.
    start: Tid,
    last: Tid,
    /// Of the transaction that came last: its position, where its next record is, where these end.
    transaction_pos: u64,
    record_pos: u64,
    records_end: u64,
    /// Where the next transaction is.
    next_pos: u64,
    /// Bytes behind the last whole transaction, once that has been read.
    rest_len: u64,
}

/// The fields of a record that are needed.
struct DataHeader {
    oid: Oid,
    tid: Tid,
    transaction_pos: u64,
    data_len: u64,
}

impl DataFile {
    /// Opens it; the transactions begin with `start`, or the first one.
    pub(super) fn open(path: &Path, blob_dir: Option<&Path>, start: Option<Tid>) -> Result<Self, Failure> {
        let open = || {
            let mut file = File::open(path)?;
            let len = file.metadata()?.len();
            let mut magic = Vec::new();
            Read::by_ref(&mut file).take(FIRST_POS).read_to_end(&mut magic)?;
            if is_magic(&magic) { Ok((file, len)) } else { Err(FileError::Magic) }
        };
        let (file, len) = open().map_err(|error| format!("{}: {error}", path.display()))?;
        let blobs = match blob_dir {
            Some(dir) => {
                Some((dir.to_owned(), layout(dir).map_err(|error| format!("{}: {error}", dir.display()))?))
            }
            None => None,
        };
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(BUFFER_LEN, file),
            len,
            blobs,
            start: start.unwrap_or(Tid::ZERO),
            last: Tid::ZERO,
            transaction_pos: FIRST_POS,
            record_pos: FIRST_POS,
            records_end: FIRST_POS,
            next_pos: FIRST_POS,
            rest_len: 0,
        })
    }

    /// Goes there, without giving up what has been read ahead.
    fn seek(&mut self, pos: u64) -> io::Result<()> {
        let here = self.reader.stream_position()?;
        match pos.checked_sub(here).and_then(|by| i64::try_from(by).ok()) {
            Some(by) => self.reader.seek_relative(by),
            None => self.reader.seek(SeekFrom::Start(pos)).map(drop),
        }
    }

    fn read<const LEN: usize>(&mut self) -> io::Result<[u8; LEN]> {
        let mut bytes = [0; LEN];
        self.reader.read_exact(&mut bytes).map(|()| bytes)
    }

    /// So many bytes from here on, which are known to be in the file.
    fn read_vec(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut self.reader).take(len).read_to_end(&mut bytes)?;
        if u64::try_from(read) == Ok(len) { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn transaction(&mut self) -> Result<Option<TransactionInfo<'static>>, FileError> {
        loop {
            let pos = self.next_pos;
            let damaged = |what| FileError::Damaged { pos, what };
            let rest_len = self.len.saturating_sub(pos);
            if rest_len < TRANSACTION_HEADER_LEN {
                return Ok(self.end(rest_len));
            }
            self.seek(pos)?;
            let tid = Tid::from_bytes(self.read()?);
            let len = u64::from_be_bytes(self.read()?);
            let [status] = self.read()?;
            let lens =
                [self.read::<2>()?, self.read()?, self.read()?].map(|len| u64::from(u16::from_be_bytes(len)));
            let end = pos.checked_add(len).and_then(|end| end.checked_add(TRAILER_LEN));
            // What is being written, or was when its writer ended.
            let is_whole = status != CHECKPOINT && end.is_some_and(|end| end <= self.len);
            let Some(records_end) = end.map(|end| end - TRAILER_LEN).filter(|_| is_whole) else {
                return Ok(self.end(rest_len));
            };
            if tid <= self.last {
                return Err(damaged("the transaction is not after the one before"));
            }
            let metadata_len: u64 = lens.iter().sum();
            let record_pos = pos + TRANSACTION_HEADER_LEN + metadata_len;
            if record_pos > records_end {
                return Err(damaged("the transaction is shorter than its user, description and extension"));
            }
            (self.last, self.transaction_pos, self.records_end) = (tid, pos, records_end);
            let metadata = [self.read_vec(lens[0])?, self.read_vec(lens[1])?, self.read_vec(lens[2])?];
            self.seek(records_end)?;
            if u64::from_be_bytes(self.read()?) != len {
                return Err(damaged("the two lengths of the transaction differ"));
            }
            (self.record_pos, self.next_pos) = (record_pos, records_end + TRAILER_LEN);
            if tid < self.start {
                continue;
            }
            let [user, description, extension] = metadata;
            let extension =
                extension_of(&extension).ok_or_else(|| damaged("the extension is no pickled dict"))?;
            return Ok(Some(TransactionInfo {
                tid,
                status: char::from(status).to_string().into(),
                user: user.into(),
                description: description.into(),
                extension,
            }));
        }
    }

    fn record(&mut self) -> Result<Option<RecordInfo<'static>>, FileError> {
        let pos = self.record_pos;
        if pos >= self.records_end {
            return Ok(None);
        }
        let damaged = |what| FileError::Damaged { pos, what };
        if self.records_end - pos < DATA_HEADER_LEN {
            return Err(damaged("the record reaches beyond its transaction"));
        }
        self.seek(pos)?;
        let header = header_of(self.read()?).ok_or_else(|| damaged("the record has a version"))?;
        if header.transaction_pos != self.transaction_pos {
            return Err(damaged("the record is of another transaction"));
        }
        let data_len = if header.data_len == 0 { POINTER_LEN } else { header.data_len };
        let end = (pos + DATA_HEADER_LEN).checked_add(data_len).filter(|end| *end <= self.records_end);
        self.record_pos = end.ok_or_else(|| damaged("the record reaches beyond its transaction"))?;
        let (data, data_txn) = if header.data_len == 0 {
            let back = u64::from_be_bytes(self.read()?);
            self.follow(header.oid, back, pos)?.map_or((None, None), |(data, tid)| (Some(data), Some(tid)))
        } else {
            (Some(self.read_vec(header.data_len)?), None)
        };
        let data = data.map(Into::into);
        Ok(Some(RecordInfo { oid: header.oid, tid: header.tid, data, data_txn }))
    }

    /// The data that is behind a pointer, and the transaction that wrote it; `None` if the object ceased to exist.
    fn follow(&self, oid: Oid, mut back: u64, mut from: u64) -> Result<Option<(Vec<u8>, Tid)>, FileError> {
        let file = self.reader.get_ref();
        while back != 0 {
            let damaged = |what| FileError::Damaged { pos: from, what };
            // Only backwards: so this comes to an end, and what is there is whole.
            if back < FIRST_POS || back >= from || from - back < DATA_HEADER_LEN {
                return Err(damaged("the record points to no earlier record"));
            }
            let mut bytes = [0; 42];
            file.read_exact_at(&mut bytes, back)?;
            let header = header_of(bytes).filter(|header| header.oid == oid);
            let header = header.ok_or_else(|| damaged("the record points to a record of another object"))?;
            let data_pos = back + DATA_HEADER_LEN;
            if header.data_len > 0 {
                let len = Some(header.data_len).filter(|len| *len <= from.saturating_sub(data_pos));
                let len = len.and_then(|len| usize::try_from(len).ok());
                let mut data =
                    vec![0; len.ok_or_else(|| damaged("the record points to one that is too long"))?];
                file.read_exact_at(&mut data, data_pos)?;
                return Ok(Some((data, header.tid)));
            }
            let mut pointer = [0; 8];
            file.read_exact_at(&mut pointer, data_pos)?;
            from = back;
            back = u64::from_be_bytes(pointer);
        }
        Ok(None)
    }

    /// The end of what is whole. What lies behind it may be more than a transaction that is under way.
    fn end(&mut self, rest_len: u64) -> Option<TransactionInfo<'static>> {
        self.rest_len = rest_len;
        None
    }

    fn named(&self, error: FileError) -> Failure {
        format!("{}: {error}", self.path.display()).into()
    }
}

/// `None` for the record of a version, which no ZODB writes any more.
fn header_of(bytes: [u8; 42]) -> Option<DataHeader> {
    let mut rest = bytes.as_slice();
    let mut number = || {
        let (first, others) = rest.split_first_chunk::<8>()?;
        rest = others;
        Some(u64::from_be_bytes(*first))
    };
    let (oid, tid, _previous, transaction_pos) = (number()?, number()?, number()?, number()?);
    let (version_len, data_len) = rest.split_first_chunk::<2>()?;
    let data_len = u64::from_be_bytes(data_len.try_into().ok()?);
    let header = DataHeader { oid: Oid::from_u64(oid), tid: Tid::from_u64(tid), transaction_pos, data_len };
    (*version_len == [0, 0]).then_some(header)
}

/// A pickled dict; nothing is an empty one.
fn extension_of(pickled: &[u8]) -> Option<Value<'static>> {
    if pickled.is_empty() {
        return Some(Value::Dict(Vec::new()));
    }
    let value = pickle::decode(pickled, &Limits::DEFAULT).ok()?;
    matches!(value, Value::Dict(_)).then(|| value.into_owned())
}

/// How the blob directory is laid out.
fn layout(dir: &Path) -> io::Result<Layout> {
    match std::fs::read_to_string(dir.join(MARKER)) {
        Ok(name) => Layout::from_name(name.trim()).ok_or_else(|| io::Error::other("its layout is unknown")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut has_visible_entries = false;
            for entry in std::fs::read_dir(dir)? {
                has_visible_entries |= !entry?.file_name().as_encoded_bytes().starts_with(b".");
            }
            Ok(Layout::without_marker(has_visible_entries))
        }
        Err(error) => Err(error),
    }
}

impl Source for DataFile {
    fn next_transaction(&mut self) -> Result<Option<TransactionInfo<'static>>, Failure> {
        self.transaction().map_err(|error| self.named(error))
    }

    fn next_record(&mut self) -> Result<Option<RecordInfo<'static>>, Failure> {
        self.record().map_err(|error| self.named(error))
    }

    fn blob(&mut self, oid: Oid, serial: Tid) -> Result<Option<BlobFile>, Failure> {
        let Some((dir, layout)) = &self.blobs else {
            return Err(format!(
                "object {oid} has a blob: say by --blob-dir where blobs lie, or copy its record alone by --without-blobs"
            )
            .into());
        };
        let path = dir.join(layout.revision(oid, serial));
        Ok(path.is_file().then_some(BlobFile::Path(path)))
    }

    fn size_len(&self) -> u64 {
        self.len
    }

    fn unfinished(&self) -> Option<String> {
        (self.rest_len > 0).then(|| {
            format!(
                "{}: {} bytes from position {} on are no finished transaction, and not copied",
                self.path.display(),
                self.rest_len,
                self.next_pos,
            )
        })
    }
}

#[cfg(test)]
mod tests;
