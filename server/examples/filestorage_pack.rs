//! What a pack takes: memory for each object, time, and for how long commits stop. The figures of
//! `server/FILESTORAGE.md` are from here:
//!
//! ```sh
//! cargo run --release --example filestorage_pack -- [OBJECTS]
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to be run by hand")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zeo_codec::{Oid, Tid};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::{
    CommitsStopped, NewRecord, NewTransaction, PackHost, PackOutcome, PackRequest, Storage, View,
};

/// Objects to which an object refers.
const FAN_OUT: u64 = 50;

/// A record of about 300 bytes or more that refers to others.
fn record(to: impl Iterator<Item = u64>) -> Bytes {
    let mut record = b"\x80\x03cmodule\nname\n.\x80\x03(".to_vec();
    for oid in to {
        record.extend_from_slice(b"C\x08");
        record.extend_from_slice(&oid.to_be_bytes());
        record.push(b'Q');
    }
    record.extend_from_slice(b"B\0\x01\0\0");
    record.extend_from_slice(&[b'x'; 256]);
    record.extend_from_slice(b"t.");
    record.into()
}

fn transaction(tid: u64, records: Vec<NewRecord>) -> NewTransaction {
    NewTransaction {
        tid: Tid::from_u64(tid),
        status: b' ',
        user: Bytes::new(),
        description: Bytes::new(),
        extension: Bytes::new(),
        records,
    }
}

/// A tree of the first `count` objects, written twice, and a fifth as many again that nobody refers to.
fn fill(storage: &FileStorage, count: u64) {
    let mut tid = 0;
    for revision in 0..2 {
        let last = if revision == 0 { count + count / 5 } else { count };
        for first in (0..last).step_by(10_000) {
            tid += 1;
            let objects = first..last.min(first + 10_000);
            let records = objects.map(|oid| {
                let children = oid * FAN_OUT + 1..=(oid + 1) * FAN_OUT;
                let data = record(children.filter(|child| *child < count));
                NewRecord::with_data(Oid::from_u64(oid), data)
            });
            storage.vote(transaction(tid, records.collect())).unwrap().finish().unwrap();
        }
    }
}

struct Host<'h>(&'h Mutex<()>);

struct Held<'h>(#[expect(dead_code, reason = "what matters is when it is dropped")] MutexGuard<'h, ()>);

impl CommitsStopped for Held<'_> {}

impl PackHost for Host<'_> {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        Some(Box::new(Held(self.0.lock().unwrap())))
    }

    fn packed(&self, _: Arc<dyn View>) {}
}

/// A line of `/proc/self/status` in bytes.
fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [path, count] = args.as_slice() {
        return measure(Path::new(path), count.parse().unwrap());
    }
    let count = args.first().map_or("1000000", String::as_str);
    let folder = tempfile::tempdir_in(".").unwrap();
    let path = folder.path().join("Data.fs");
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    fill(&storage, count.parse().unwrap());
    storage.close().unwrap();
    // In a process of its own, which has no room left over from filling.
    let program = std::env::current_exe().unwrap();
    assert!(Command::new(program).arg(&path).arg(count).status().unwrap().success());
}

fn measure(path: &Path, count: u64) {
    let storage = FileStorage::open(path, FileStorageOptions::default()).unwrap();
    let objects = storage.view().object_count();
    println!("{objects} objects, {} MiB", storage.view().size_bytes() >> 20);
    // The peak from here on.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");

    let (lock, is_done) = (Mutex::new(()), AtomicBool::new(false));
    let (outcome, took, longest) = std::thread::scope(|scope| {
        let committer = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            let (mut tid, mut commit_count) = (1 << 62, 0_u32);
            while !is_done.load(Ordering::Relaxed) {
                let since = Instant::now();
                let _held = lock.lock().unwrap();
                let data = record(std::iter::empty());
                let records = vec![NewRecord::with_data(Oid::from_u64(tid % count), data)];
                storage.vote(transaction(tid, records)).unwrap().finish().unwrap();
                tid += 1;
                commit_count += 1;
                longest = longest.max(since.elapsed());
            }
            println!("{commit_count} commits meanwhile");
            longest
        });
        let since = Instant::now();
        let request = PackRequest { until: Tid::from_u64(1 << 61), gc: None };
        let outcome = storage.pack(request, &Host(&lock)).unwrap();
        let took = since.elapsed();
        is_done.store(true, Ordering::Relaxed);
        (outcome, took, committer.join().unwrap())
    });
    let PackOutcome::Packed(report) = outcome else { panic!("{outcome:?}") };
    let peak = memory("VmHWM").saturating_sub(before);
    println!(
        "packed in {:.1} s: {} MiB, {} records removed",
        took.as_secs_f64(),
        report.new_len >> 20,
        report.removed_count
    );
    println!("peak {} MiB above the start: {:.1} bytes an object", peak >> 20, peak as f64 / objects as f64);
    println!(
        "commits stopped for {:.1} ms; longest commit {:.1} ms",
        report.stopped.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3
    );
}
