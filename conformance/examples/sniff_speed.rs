//! How fast captures are read, and how much memory that takes.
//!
//! ```sh
//! cargo run --release -p zeo-conformance --example sniff_speed [MIB]
//! ```
//!
//! A client loads objects of 4 KiB on a connection until the traffic is as large as it should be, 1024 MiB by default; that
//! is written to a capture and to a pcapng file, and each is read as the programs do: message by message with typed calls
//! and replies, with the figures of `--stats`, and as packets. Beside each stands the memory that this process had at most
//! until then, without what is mapped from files, so that it is seen that it does not grow with the size.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write, sink};
use std::path::Path;
use std::time::{Duration, Instant};

use zeo_codec::call::{LoadBefore, Loaded, Register};
use zeo_codec::frame::write_frame;
use zeo_codec::session::{Direction, Observer};
use zeo_codec::{Call, Dialect, Flag, Limits, Method, MsgId, Oid, REPLY, Reply, Tid, Value, write_message};
use zeo_conformance::capture::{Event, Metadata, Record, Writer};
use zeo_conformance::packets::Options;
use zeo_conformance::packets::PacketWriter;
use zeo_conformance::sniff::input::{self, Reading};
use zeo_conformance::sniff::{Bounds, Filter, Sniffer, Stats};

const OBJECT_LEN: usize = 4096;
/// Loads whose answers are read by one `read`.
const TOGETHER: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mib: u64 = std::env::args().nth(1).map_or(Ok(1024), |number| number.parse())?;
    let dir = tempfile::tempdir()?;
    let (capture, packets) = (dir.path().join("loads.zeocap"), dir.path().join("loads.pcapng"));
    let traffic = Traffic::new()?;
    let mut out = Writer::new(BufWriter::new(File::create(&capture)?), &Metadata::default())?;
    let total_len = traffic.each(mib << 20, |record| out.write(record))?;
    out.finish()?.flush()?;
    let mut out = PacketWriter::new(BufWriter::new(File::create(&packets)?), &Metadata::default())?;
    traffic.each(mib << 20, |record| out.write(record))?;
    out.finish()?.flush()?;
    println!("{} MiB of loads of 4 KiB, peak {} MiB until here", total_len >> 20, peak_mib()?);

    measure("decoded, from memory", total_len, || decode(&traffic, mib << 20))?;
    measure("decoded, from the capture", total_len, || decode_file(&capture))?;
    measure("sniffed, the capture", total_len, || sniff(&capture))?;
    measure("sniffed, as packets", total_len, || sniff(&packets))?;
    Ok(())
}

fn measure(
    what: &str,
    len: u64,
    work: impl FnOnce() -> Result<u64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let message_count = work()?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = len as f64 / 1e9 / seconds;
    println!("{what:<28}{rate:>6.2} GB/s, {message_count} messages, peak {} MiB", peak_mib()?);
    Ok(())
}

/// What a client and a server say.
struct Traffic {
    greeting: Vec<u8>,
    begin: (Vec<u8>, Vec<u8>),
    /// Some loads.
    loads: (Vec<u8>, Vec<u8>),
}

impl Traffic {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut greeting = Vec::new();
        write_frame(&mut greeting, b"Z5");
        let mut begin = (greeting.clone(), Vec::new());
        let id = MsgId::Int(1);
        let register = Call::Register(Register {
            storage: "1".into(),
            read_only: Value::Bool(false),
            credentials: None,
        });
        let method = Method::Register.name();
        write_message(&mut begin.0, &Dialect::Z5, &id, Flag::Bool(false), method, &register)?;
        write_message(&mut begin.1, &Dialect::Z5, &id, Flag::RESULT, REPLY, &Reply::Tid(Tid::from_u64(7)))?;
        let mut loads = (Vec::new(), Vec::new());
        let data = vec![b'x'; OBJECT_LEN];
        for number in 0..TOGETHER as u64 {
            let (oid, before) = (Oid::from_u64(number), Tid::MAX);
            let id = MsgId::Load(oid, before);
            let call = Call::LoadBefore(LoadBefore { oid, before });
            let method = Method::LoadBefore.name();
            write_message(&mut loads.0, &Dialect::Z5, &id, Flag::Bool(false), method, &call)?;
            let loaded = Loaded { data: data[..].into(), serial: Tid::from_u64(7), end: None };
            write_message(&mut loads.1, &Dialect::Z5, &id, Flag::RESULT, REPLY, &Reply::Loaded(loaded))?;
        }
        Ok(Self { greeting, begin, loads })
    }

    /// Gives it record by record until so many bytes went over the wire; how many there were.
    fn each<E>(&self, len: u64, mut take: impl FnMut(&Record<'_>) -> Result<(), E>) -> Result<u64, E> {
        let mut time = Duration::ZERO;
        let mut total_len = 0;
        let mut say = |direction, bytes: &[u8]| {
            time += Duration::from_micros(20);
            total_len += bytes.len() as u64;
            take(&Record { time, connection: 1, event: Event::Bytes { direction, bytes: bytes.into() } })?;
            Ok(total_len)
        };
        say(Direction::FromServer, &self.greeting)?;
        say(Direction::FromClient, &self.begin.0)?;
        say(Direction::FromServer, &self.begin.1)?;
        loop {
            say(Direction::FromClient, &self.loads.0)?;
            let total_len = say(Direction::FromServer, &self.loads.1)?;
            if total_len >= len {
                return Ok(total_len);
            }
        }
    }
}

fn decode(traffic: &Traffic, len: u64) -> Result<u64, Box<dyn Error>> {
    let mut observer = Observer::new(Limits::DEFAULT);
    let mut count = 0;
    traffic.each(len, |record| {
        if let Event::Bytes { direction, bytes } = &record.event {
            observer.receive(*direction, bytes);
            for direction in [Direction::FromClient, Direction::FromServer] {
                while let Some(seen) = observer.poll_event(direction) {
                    std::hint::black_box(&seen);
                    count += 1;
                }
            }
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    Ok(count)
}

fn decode_file(path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut count = 0;
    zeo_conformance::decode::each_message(&mut zeo_conformance::capture::file::open(path)?, |_, _, told| {
        std::hint::black_box(&told);
        count += 1;
    })?;
    Ok(count)
}

fn sniff(path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut sniffer = Sniffer::new(Bounds::default());
    let (mut stats, filter) = (Stats::default(), Filter::default());
    let mut count = 0;
    let reading = Reading { is_followed: false, options: Options { server_ports: vec![] } };
    input::read(input::open(path, None)?, &reading, &mut |_| Ok(()), &mut |record| {
        sniffer.hear(record, &mut |message| {
            stats.hear(message, &filter);
            count += 1;
            Ok(())
        })
    })?;
    write!(sink(), "{stats}")?;
    Ok(count)
}

/// Greatest anonymous memory so far, as far as Linux tells.
fn peak_mib() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(kib >> 10)
}
