//! The examples of the client, as programs of their own, in front of our server; `chatter` with its other half in Python.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};
use zeo_conformance::config::{Framing, ServerConfig};
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::process::{Process, read_lossy};
use zeo_conformance::server::{Ready, Server, ServerCommand, free_port};

use crate::{SERVE_ARGUMENT, is_required, runzeo};

/// The longest wait for all that is said.
const LIMIT: Duration = Duration::from_secs(120);
/// Of each language.
const CHATTERS: usize = 3;
/// Of each of them.
const MESSAGES: usize = 10;

type Run = fn(&World) -> Result<(), Failed>;

/// One trial for each example; the chat begins in Rust or in Python, and outlives a kill of the server.
pub(crate) fn trials() -> Vec<Trial> {
    let runs: [(&str, Framing, Run); 5] = [
        ("hello", Framing::Pickle, hello),
        ("watch", Framing::Msgpack, watch),
        ("chatter", Framing::Pickle, |world| chatter(world, "rust", false)),
        ("chatter_from_python", Framing::Msgpack, |world| chatter(world, "python", false)),
        ("chatter_killed", Framing::Pickle, |world| chatter(world, "rust", true)),
    ];
    let trial = |(name, framing, run): (&str, Framing, Run)| {
        Trial::ignorable_test(format!("live::examples::{name}"), move || play(framing, run))
    };
    runs.map(trial).into()
}

fn play(framing: Framing, run: Run) -> Result<Completion, Failed> {
    let world = match World::new(framing) {
        Ok(world) => world,
        Err(reason) if is_required() => return Err(reason.into()),
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    run(&world).map_err(|error| {
        let logs: Vec<String> = std::fs::read_dir(world.dir.path())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .map(|path| format!("--- {}\n{}", path.display(), read_lossy(&path)))
            .collect();
        Failed::from(format!("{}\n{}", error.message().unwrap_or_default(), logs.join("\n")))
    })?;
    Ok(Completion::Completed)
}

/// It writes, and reads back what it wrote; and it is as short as promised.
fn hello(world: &World) -> Result<(), Failed> {
    let source = examples_dir().join("hello.rs");
    assert!(std::fs::read_to_string(source)?.lines().count() <= 30);
    let server = world.server()?;
    let mut hello = world.example("hello", &[])?;
    hello.hang_up();
    let said = hello.say(3)?;
    assert!(said.iter().any(|line| line.starts_with("committed object 0000000000000001 as ")), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("read it back: 56 bytes"));
    hello.end()?;
    Ok(server.stop()?)
}

/// It prints what `hello` commits.
fn watch(world: &World) -> Result<(), Failed> {
    let server = world.server()?;
    let mut watch = world.example("watch", &[])?;
    let said = watch.say(1)?;
    assert!(said.iter().all(|line| line.starts_with("watching from transaction ")), "{said:?}");
    for _ in 0..2 {
        let mut hello = world.example("hello", &[])?;
        let committed = hello.say(3)?;
        hello.end()?;
        let words: Vec<&str> = committed.get(1).ok_or("no commit")?.split(' ').collect();
        let [_, _, oid, _, tid] = words[..] else { return Err(format!("{committed:?}").into()) };
        assert_eq!(watch.say(1)?, [format!("{tid} changed {oid}")]);
    }
    Ok(server.stop()?)
}

/// All post at once, and everybody prints the same: each message once, those of each of them in its order.
fn chatter(world: &World, first: &str, is_killed: bool) -> Result<(), Failed> {
    let mut server = world.server()?;
    let start = |name: &str| match name.starts_with("rust") {
        true => world.example("chatter", &[name]),
        false => world.python("chatter.py", &[name]),
    };
    // Two that make a root at once are no matter of the chat: ZODB gives up then.
    let first = format!("{first}-0");
    let mut chatters = vec![(first.clone(), start(&first)?)];
    for (_, chatter) in &mut chatters {
        chatter.post("is anybody there?")?;
        assert_eq!(chatter.say(1)?, [format!("{first}: is anybody there?")]);
    }
    for name in (0..CHATTERS).flat_map(|number| [format!("rust-{number}"), format!("python-{number}")]) {
        if name != first {
            let mut chatter = start(&name)?;
            // What was said before it came.
            assert_eq!(chatter.say(1)?, [format!("{first}: is anybody there?")]);
            chatters.push((name, chatter));
        }
    }
    for (_, chatter) in &mut chatters {
        (0..MESSAGES).try_for_each(|number| chatter.post(&format!("message {number}")))?;
    }
    let count = MESSAGES * chatters.len();
    let mut heard = vec![Vec::new(); chatters.len()];
    if is_killed {
        if let (Some(heard), Some((_, chatter))) = (heard.first_mut(), chatters.first_mut()) {
            heard.extend(chatter.say(count / 3)?);
        }
        server.kill();
        server = world.server()?;
    }
    for (heard, (_, chatter)) in heard.iter_mut().zip(&mut chatters) {
        heard.extend(chatter.say(count - heard.len())?);
    }
    let said = heard.first().ok_or("nobody")?.clone();
    for (heard, (name, _)) in heard.iter().zip(&chatters) {
        assert_eq!(*heard, said, "{name}");
        let own: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
        assert_eq!(own, (0..MESSAGES).map(|number| format!("message {number}")).collect::<Vec<_>>());
    }
    assert_eq!(said.iter().collect::<BTreeSet<_>>().len(), count);
    for (_, chatter) in &mut chatters {
        chatter.hang_up();
    }
    for (_, chatter) in chatters {
        chatter.end()?;
    }
    Ok(server.stop()?)
}

/// What a trial has at hand.
struct World {
    peer: Peer,
    examples: PathBuf,
    server_command: ServerCommand,
    config: ServerConfig,
    dir: tempfile::TempDir,
}

impl World {
    fn new(framing: Framing) -> Result<Self, String> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let peer = Peer::ensure(PeerVersion::Zeo62).map_err(|error| error.to_string())?;
        let build = || runzeo::build(&["--package", "zeo-client", "--examples"], "chatter");
        let chatter = BUILT.get_or_init(build).clone()?;
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        let template = vec![exe.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
        let dir = tempfile::TempDir::with_prefix("zeo-examples-").map_err(|error| error.to_string())?;
        let config = ServerConfig {
            port: Some(free_port()),
            ..ServerConfig::new(framing, dir.path().join("Data.fs"))
        };
        Ok(Self {
            peer,
            examples: chatter.parent().ok_or("nowhere")?.to_owned(),
            server_command: ServerCommand { template, ready: Ready::Line, is_python: false },
            config,
            dir,
        })
    }

    fn server(&self) -> Result<Server, Failed> {
        Ok(Server::start("server", &self.server_command, &self.config, self.dir.path())?)
    }

    fn example(&self, name: &str, args: &[&str]) -> Result<Program, Failed> {
        self.start(Command::new(self.examples.join(name)), name, args)
    }

    fn python(&self, name: &str, args: &[&str]) -> Result<Program, Failed> {
        let mut command = self.peer.python();
        command.arg(examples_dir().join(name));
        self.start(command, name, args)
    }

    fn start(&self, mut command: Command, name: &str, args: &[&str]) -> Result<Program, Failed> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.config.port.unwrap_or_default()));
        command.arg(address.to_string()).args(args).current_dir(self.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let name = [&[name], args].concat().join("-");
        let log = self.dir.path().join(format!("{name}.log"));
        let mut process = Process::spawn(&name, &mut command, log)?;
        let input = process.take_stdin();
        let output = process.take_stdout();
        let (sender, lines) = channel();
        // It ends with the program.
        std::thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Program { process, input, lines })
    }
}

fn examples_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/examples")
}

/// A program under test.
struct Program {
    process: Process,
    input: Option<std::process::ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    /// Gives it a line.
    fn post(&mut self, text: &str) -> Result<(), Failed> {
        Ok(writeln!(self.input.as_mut().ok_or("no input")?, "{text}")?)
    }

    /// Its next lines.
    fn say(&mut self, count: usize) -> Result<Vec<String>, Failed> {
        let deadline = Instant::now() + LIMIT;
        let mut said = Vec::new();
        while said.len() < count {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push(line),
                Err(error) => {
                    let name = self.process.name();
                    return Err(format!("{name}: {error} after {} of {count}: {said:#?}", said.len()).into());
                }
            }
        }
        Ok(said)
    }

    /// Ends its input.
    fn hang_up(&mut self) {
        self.input = None;
    }

    /// It has ended well, and said nothing more.
    fn end(mut self) -> Result<(), Failed> {
        let status = self.process.wait(LIMIT)?;
        let more: Vec<String> = self.lines.iter().collect();
        if status.success() && more.is_empty() {
            return Ok(());
        }
        Err(format!("{}: {status}, and still said {more:?}", self.process.name()).into())
    }
}
