//! How fast is the file storage here? Fills a new data file, reads it, and rebuilds its index.
//!
//! ```text
//! cargo run --release -p zeo-server --example filestorage_speed -- /tmp/speed/Data.fs [transactions] [objects] [bytes]
//! ```
//!
//! `objects` is per transaction, `bytes` per object. The data file stays, for Python to look at.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use zeo_codec::{Oid, Tid};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::tid::next_tid;
use zeo_server::storage::{LoadedRevision, NewRecord, NewTransaction, Storage};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().ok_or("usage: filestorage_speed <Data.fs> [transactions] [objects] [bytes]")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (transaction_count, object_count, data_len) = (number(1_000)?, number(10)?, number(300)?);

    let options = FileStorageOptions { create: true, ..FileStorageOptions::default() };
    let storage = FileStorage::open(&path, options)?;
    fill(&storage, transaction_count, object_count, usize::try_from(data_len)?)?;
    read(&storage)?;
    let started = Instant::now();
    storage.close()?;
    println!("close, with the index saved: {:?}", started.elapsed());
    reopen(&path)
}

/// A pickle of `data_len` bytes or a few more, so that Python's tools can read the records, too.
fn pickle(data_len: usize) -> Vec<u8> {
    // The class PersistentMapping, no arguments; its state: a string.
    let mut bytes = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03T".to_vec();
    let text_len = data_len.saturating_sub(bytes.len() + 5);
    bytes.extend_from_slice(&u32::try_from(text_len).unwrap_or(u32::MAX).to_le_bytes());
    bytes.resize(bytes.len() + text_len, b'x');
    bytes.push(b'.');
    bytes
}

fn fill(
    storage: &FileStorage,
    transaction_count: u64,
    object_count: u64,
    data_len: usize,
) -> Result<(), Box<dyn Error>> {
    let data = Bytes::from(pickle(data_len));
    let record = |oid| NewRecord::with_data(oid, data.clone());
    let mut times = Vec::new();
    for _ in 0..transaction_count {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
        let first = storage.new_oids(u32::try_from(object_count)?)?.to_u64();
        let mut records: Vec<_> =
            (first..first + object_count).map(|number| record(Oid::from_u64(number))).collect();
        records.push(record(Oid::ZERO));
        let transaction = NewTransaction {
            tid: next_tid(now, storage.view().last_tid()).ok_or("no tids are left")?,
            status: b' ',
            user: Bytes::from_static(b"speed"),
            description: Bytes::new(),
            extension: Bytes::new(),
            records,
        };
        let started = Instant::now();
        storage.vote(transaction)?.finish()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    println!("{transaction_count} commits: median {:?}, 99 % {:?}", at(50), at(99));
    Ok(())
}

fn read(storage: &FileStorage) -> Result<(), Box<dyn Error>> {
    let view = storage.view();
    let mut sink = LoadedRevision::default();
    let count = view.object_count();
    let load_count = 1_000_000;
    let started = Instant::now();
    for number in 0..load_count {
        let oid = Oid::from_u64(number * 7_919 % count);
        black_box(view.load_before(oid, Tid::MAX, &mut sink)?);
    }
    println!(
        "{load_count} loads in jumps over {count} objects: {:?} each",
        started.elapsed() / u32::try_from(load_count)?
    );
    Ok(())
}

fn reopen(path: &str) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    FileStorage::open(path, FileStorageOptions::default())?.close()?;
    println!("open with the index: {:?}", started.elapsed());
    std::fs::remove_file(format!("{path}.index"))?;
    let started = Instant::now();
    let storage = FileStorage::open(path, FileStorageOptions::default())?;
    let mib = Path::new(path).metadata()?.len() >> 20;
    println!("open without it, {mib} MiB: {:?}", started.elapsed());
    storage.close()?;
    Ok(())
}
