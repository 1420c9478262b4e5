//! What the recorder costs the peers that it stands between.
//!
//! ```sh
//! cargo run --release -p zeo-conformance --example record_speed [--rounds N] [--only python|ours]
//! ```
//!
//! Python's client of 6.2 on Python's server, and a client of ours on our server, load and commit objects of 256 bytes: in
//! turn straight at the server, through a hop that only copies bytes from socket to socket, and through `zeo-conformance
//! record` with a plain file, a process of its own as users have it; and straight at the server while Wireshark's `dumpcap`, if
//! it is there and may, takes the packets, which `zeo-conformance convert` makes a capture of. Rates are medians of the rounds;
//! a ratio is the median of those of single rounds, in which the rest of the machine has disturbed all alike.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use zeo_codec::Oid;
use zeo_conformance::bench::client::Client;
use zeo_conformance::bench::commits::commit_steadily;
use zeo_conformance::bench::data::{Entry, SMALL};
use zeo_conformance::bench::loads::{Expect, Pipeline, Requests};
use zeo_conformance::bench::target::{ServerSpec, StorageKind, Target};
use zeo_conformance::bench::usage::{Machine, cpu_time};
use zeo_conformance::bench::window::{Pace, Window, measure};
use zeo_conformance::commands::record;
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::process::{Process, poll_until};
use zeo_conformance::script::Script;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";
/// The one that makes it the recorder.
const RECORD_ARGUMENT: &str = "record";
/// The one that makes it the hop.
const HOP_ARGUMENT: &str = "hop";
/// How to get to the server; on the wire is directly, with somebody listening.
const WAYS: [&str; 4] = ["directly", "hop", "recorded", "on the wire"];
const ON_THE_WIRE: usize = 3;
const PACE: Pace = Pace { warm_up: Duration::from_millis(50), window: Duration::from_millis(200) };
/// What Python does in a round.
const PYTHON_LOADS: usize = 500;
const PYTHON_COMMITS: usize = 50;
/// Objects of a transaction of the preparation.
const PREPARE_COUNT: usize = 1_000;

#[derive(Debug, Parser)]
struct Options {
    /// Rounds of each workload, which are short: so all ways of a round have the machine in the same state.
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Only these peers: python or ours.
    #[arg(long)]
    only: Option<String>,
}

/// The recorder, as the program has it.
#[derive(Debug, Parser)]
struct Recording {
    #[command(flatten)]
    arguments: record::Arguments,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|first| first.to_str()) {
        Some(SERVE_ARGUMENT) => {
            return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
        }
        Some(RECORD_ARGUMENT) => {
            let words = std::iter::once(OsString::from(RECORD_ARGUMENT)).chain(args);
            return told(record::run(Recording::parse_from(words).arguments).map(|_| ()));
        }
        Some(HOP_ARGUMENT) => return told(hop(&args.next().unwrap_or_default())),
        _ => {}
    }
    told(compare(&Options::parse()))
}

fn told(outcome: Result) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("record_speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result {
    let dir = tempfile::Builder::new().prefix("record_speed-").tempdir_in(".")?;
    let exe = std::env::current_exe()?;
    let is_wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let machine = Machine::describe(dir.path());
    println!(
        "{}, {} cores, Linux {}, {}; {} rounds\n",
        machine.cpu, machine.core_count, machine.kernel, machine.file_system, options.rounds
    );
    println!(
        "| per second | directly | through a hop | recorded | recorded / directly | recorded / hop | \
         CPU µs each of hop, recorder | dumpcap / directly |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    if is_wanted("python") {
        let peer = Peer::ensure(PeerVersion::Zeo62)?;
        let words = vec![peer.runzeo().into(), "-C".into(), "{config}".into()];
        let mut stage = Stage::set("python", words, dir.path(), &exe)?;
        let mut scripts = Vec::new();
        for (way, address) in WAYS.into_iter().zip(stage.addresses()?) {
            scripts.push(script(&peer, address, way, dir.path())?);
        }
        for (what, count, name) in
            [("cold", PYTHON_LOADS, "loads, one at a time"), ("commit", PYTHON_COMMITS, "commits of one")]
        {
            stage.rounds(&format!("Python 6.2 on Python 6.2: {name}"), options.rounds, |way, _, _| {
                let script = scripts.get_mut(way).ok_or("no script")?;
                python(script, what, count)
            })?;
        }
        for mut script in scripts {
            script.tell(&json!(["end"]).to_string())?;
            script.finish()?;
        }
        stage.strike()?;
    }
    if is_wanted("ours") {
        let words = vec![exe.clone().into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
        let mut stage = Stage::set("ours", words, dir.path(), &exe)?;
        let pid = stage.target.pid()?;
        for depth in [1, 16] {
            let name = format!("ours on ours: loads, {depth} at a time");
            stage.rounds(&name, options.rounds, |_, address, _| loads(address, depth, pid))?;
        }
        let name = "ours on ours: commits of one";
        stage.rounds(name, options.rounds, |_, address, entries| commits(address, entries, pid))?;
        stage.strike()?;
    }
    Ok(())
}

/// How often something was done, and in what time.
struct Turn {
    op_count: f64,
    seconds: f64,
}

fn script(peer: &Peer, address: SocketAddr, label: &str, dir: &Path) -> Result<Script> {
    let args = [address.ip().to_string(), address.port().to_string(), SMALL.data_len.to_string()];
    let mut script = Script::start(peer, "client_speed", label, &args, dir)?;
    script.expect_step("ready")?;
    Ok(script)
}

fn python(script: &mut Script, what: &str, count: usize) -> Result<Turn> {
    let oid_count = if what == "commit" { 1 } else { count };
    let oids: Vec<u64> = SMALL.oids().take(oid_count).map(|oid: Oid| oid.to_u64()).collect();
    script.tell(&json!([what, oids, count]).to_string())?;
    let said = script.expect_step(what)?;
    let seconds = said.get("seconds").and_then(Value::as_f64).ok_or("no time")?;
    Ok(Turn { op_count: count as f64, seconds })
}

fn loads(address: SocketAddr, depth: usize, pid: u32) -> Result<Turn> {
    let client = Client::connect(address)?;
    let protocol = client.protocol();
    let expect = Expect::Revisions(SMALL, protocol.dialect());
    let pipeline = Pipeline::new(client.into_stream(), Requests::new(protocol, SMALL, 1)?, expect);
    let sample = measure(vec![move |window: &Window| pipeline.run(depth, window)], PACE, pid)?;
    Ok(Turn { op_count: sample.tally.op_count as f64, seconds: sample.elapsed.as_secs_f64() })
}

fn commits(address: SocketAddr, entries: &mut [Entry], pid: u32) -> Result<Turn> {
    let mut client = Client::connect(address)?;
    let worker = |window: &Window| commit_steadily(&mut client, entries, 1, window);
    let sample = measure(vec![worker], PACE, pid)?;
    Ok(Turn { op_count: sample.tally.op_count as f64, seconds: sample.elapsed.as_secs_f64() })
}

/// Copies bytes between sockets, each way by a thread that waits: what anything costs that stands between.
fn hop(server: &OsStr) -> Result {
    fn copy(mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer)? {
                0 => return to.shutdown(Shutdown::Write),
                len => to.write_all(buffer.get(..len).unwrap_or_default())?,
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready: listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept()?;
        let server = TcpStream::connect(server.to_str().ok_or("no address")?)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            std::thread::spawn(move || copy(from, to));
        }
    }
}

/// A server with its objects, and what stands before it.
struct Stage {
    target: Target,
    hop: Between,
    recorder: Between,
    entries: Vec<Entry>,
    dir: PathBuf,
}

impl Stage {
    fn set(name: &str, words: Vec<OsString>, dir: &Path, exe: &Path) -> Result<Self> {
        let spec = ServerSpec::new(name, words);
        let dir = dir.join(name);
        let mut target = Target::new(&spec, dir.clone(), Framing::Msgpack, StorageKind::File)?;
        let (mut client, _) = target.start()?;
        let mut entries: Vec<Entry> = SMALL.oids().map(Entry::new).collect();
        for entries in entries.chunks_mut(PREPARE_COUNT) {
            client.commit(entries, SMALL.data_len)?;
        }
        let server = target.address()?.to_string();
        let hop = Between::start(exe, &[HOP_ARGUMENT, &server], &dir)?;
        let capture = dir.join("all.zeocap").display().to_string();
        let recorder = Between::start(exe, &[RECORD_ARGUMENT, "127.0.0.1:0", &server, "-o", &capture], &dir)?;
        Ok(Self { target, hop, recorder, entries, dir })
    }

    fn addresses(&self) -> Result<[SocketAddr; WAYS.len()]> {
        let server = self.target.address()?;
        Ok([server, self.hop.address, self.recorder.address, server])
    }

    /// Does something on all ways, each first in its turn, and prints what came of it.
    fn rounds(
        &mut self,
        name: &str,
        count: usize,
        mut turn: impl FnMut(usize, SocketAddr, &mut [Entry]) -> Result<Turn>,
    ) -> Result {
        let addresses = self.addresses()?;
        let mut rates = [const { Vec::new() }; WAYS.len()];
        let (mut to_direct, mut to_hop, mut on_the_wire) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = [0.0; WAYS.len()];
        let mut cpu = [Duration::ZERO; WAYS.len()];
        let pids = [None, Some(self.hop.process.id()), Some(self.recorder.process.id()), None];
        let spent = |way: usize| pids.get(way).copied().flatten().map_or(Ok(Duration::ZERO), cpu_time);
        // The first is to warm up.
        for round in 0..=count {
            eprintln!("{name}, round {round}");
            let mut found = [0.0; WAYS.len()];
            for way in (0..WAYS.len()).map(|way| (way + round) % WAYS.len()) {
                let wire = (way == ON_THE_WIRE).then(|| listen(addresses[0].port(), &self.dir));
                if matches!(wire, Some(None)) {
                    continue;
                }
                let began = spent(way)?;
                let done = turn(way, *addresses.get(way).ok_or("no way")?, &mut self.entries)?;
                if let Some((count, cpu)) = counts.get_mut(way).zip(cpu.get_mut(way)).filter(|_| round > 0) {
                    *count += done.op_count;
                    *cpu += spent(way)?.saturating_sub(began);
                }
                *found.get_mut(way).ok_or("no way")? = done.op_count / done.seconds;
                if let Some(Some(mut wire)) = wire {
                    wire.terminate()?;
                    wire.wait(Duration::from_secs(10))?;
                }
            }
            if round > 0 {
                rates.iter_mut().zip(found).for_each(|(rates, rate)| rates.push(rate));
                let [direct, hop, recorded, wire] = found;
                to_direct.push(recorded / direct);
                to_hop.push(recorded / hop);
                on_the_wire.push(wire / direct);
            }
        }
        let [direct, hop, recorded, wire] = rates.map(median);
        let wire = if wire > 0.0 { format!("{:.2}", median(on_the_wire)) } else { "-".to_owned() };
        let mut each = cpu.iter().zip(counts).map(|(cpu, count)| cpu.as_secs_f64() * 1e6 / count).skip(1);
        let [hop_cpu, recorder_cpu] = [(); 2].map(|()| each.next().unwrap_or_default());
        println!(
            "| {name} | {direct:.0} | {hop:.0} | {recorded:.0} | {:.2} | {:.2} | {hop_cpu:.0}, {recorder_cpu:.0} | {wire} |",
            median(to_direct),
            median(to_hop),
        );
        Ok(())
    }

    fn strike(mut self) -> Result {
        self.recorder.process.terminate()?;
        let status = self.recorder.process.wait(Duration::from_secs(30))?;
        self.target.stop()?;
        if status.success() { Ok(()) } else { Err(format!("the recorder: {status}").into()) }
    }
}

/// Takes the packets of a port, into a file that is not looked at; `None` if that cannot be here.
fn listen(port: u16, dir: &Path) -> Option<Process> {
    const READY: &str = "Capturing on";
    let mut command = Command::new("dumpcap");
    command.args(["-q", "-i", "lo", "-f", &format!("tcp port {port}"), "-w"]).arg(dir.join("wire.pcapng"));
    let mut process = Process::spawn("dumpcap", &mut command, dir.join("dumpcap.log")).ok()?;
    let is_ready =
        || (process.log_text().contains(READY) || process.try_wait().ok()?.is_some()).then_some(());
    poll_until(Duration::from_secs(5), is_ready);
    process.try_wait().ok()?.is_none().then_some(process)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What stands between clients and the server, a process that says where it listens.
struct Between {
    process: Process,
    address: SocketAddr,
}

impl Between {
    fn start(exe: &Path, args: &[&str], dir: &Path) -> Result<Self> {
        let name = *args.first().ok_or("no name")?;
        let mut command = Command::new(exe);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::spawn(name, &mut command, dir.join(name).with_extension("log"))?;
        let mut line = String::new();
        BufReader::new(process.take_stdout().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("ready: listening on ").ok_or("no address")?.parse()?;
        Ok(Self { process, address })
    }
}
