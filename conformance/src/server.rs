//! A server under test: started by command from a configuration file, known by its address.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::config::ServerConfig;
pub use crate::ports::free_port;
use crate::process::{Process, ProcessError, poll_until};

/// Longest time from the start of a server until it greets.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longest time from SIGTERM until the server has ended.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// After this time SIGTERM is sent again to a server that is known to lose one.
const SECOND_SIGNAL: Duration = Duration::from_secs(3);
/// How often a server that lost the race for its port is started again.
const START_ATTEMPTS: u32 = 5;

/// The subcommand of `zeo-conformance` that is our server, with the command line of `runzeo` behind it.
pub const RUNZEO: &str = "runzeo";

/// How a server tells that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It binds the port that the system gives it and says so in a line on standard output; see
    /// [`parse_ready_line`].
    Line,
    /// It greets on the port that was chosen for it.
    Greeting,
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// Program and arguments; `{config}` in them stands for the path of the configuration file.
    pub template: Vec<OsString>,
    /// How it tells that it is ready.
    pub ready: Ready,
    /// It is Python's server, whose known weaknesses are tolerated; a trial says which.
    pub is_python: bool,
}

impl ServerCommand {
    /// A command given by the user: words separated by blanks. The program may be a path relative to the current directory,
    /// although servers are started in directories of their own.
    #[must_use]
    pub fn from_words(words: &str) -> Self {
        let mut template: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        if let Some(program) = template.first_mut().filter(|program| program.to_string_lossy().contains('/'))
            && let Ok(absolute) = std::path::absolute(&*program)
        {
            *program = absolute.into();
        }
        Self { template, ready: Ready::Greeting, is_python: false }
    }

    /// The server of this project as a part of the program `zeo-conformance`, which calls this: the program itself, with
    /// [`RUNZEO`] as its first argument.
    ///
    /// # Errors
    /// If the program does not know where it is.
    pub fn ours() -> io::Result<Self> {
        let template = vec![std::env::current_exe()?.into(), RUNZEO.into(), "-C".into(), "{config}".into()];
        Ok(Self { template, ready: Ready::Line, is_python: false })
    }

    /// The server of an option: these words, or the `runzeo` beside the program that runs.
    ///
    /// # Errors
    /// If there is no `runzeo`: says where it was looked for, and how to make it.
    pub fn chosen(words: Option<&str>) -> io::Result<Self> {
        match words {
            Some(words) => Ok(Self::from_words(words)),
            None => {
                let runzeo = std::env::current_exe()?.with_file_name("runzeo");
                if !runzeo.is_file() {
                    let path = runzeo.display();
                    let help = "cargo build --bin runzeo makes it, with --release if this program was; or --server names a server";
                    return Err(io::Error::new(
                        ErrorKind::NotFound,
                        format!("{path}: there is no server: {help}"),
                    ));
                }
                let template = vec![runzeo.into(), "-C".into(), "{config}".into()];
                Ok(Self { template, ready: Ready::Line, is_python: false })
            }
        }
    }

    fn command(&self, config: &Path) -> Command {
        let mut words = self.template.iter().map(|word| match word.to_str() {
            Some(text) => OsString::from(text.replace("{config}", &config.display().to_string())),
            None => word.clone(),
        });
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

/// What a server is started with.
#[derive(Clone, Copy)]
pub struct Startup<'a> {
    /// The text of its configuration, for a server that is to listen on this port; 0 for any.
    pub text: &'a dyn Fn(u16) -> String,
    /// The port to use; without one any is good.
    pub port: Option<u16>,
    /// What its first frame has to be, if that can be seen.
    pub greeting: Option<&'a str>,
}

impl std::fmt::Debug for Startup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Startup").field("port", &self.port).finish_non_exhaustive()
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    is_python: bool,
    ready: Ready,
}

impl Server {
    /// Starts a server with its files `NAME.*` in `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// [`ProcessError::Exit`] if it ends instead, [`ProcessError::Deadline`] if it is not ready in time, and
    /// [`ProcessError::Unexpected`] if it greets wrongly.
    pub fn start(
        name: &str,
        server_command: &ServerCommand,
        config: &ServerConfig,
        dir: &Path,
    ) -> Result<Self, ProcessError> {
        let startup = Startup {
            text: &|port| config.text(port),
            port: config.port,
            // With TLS it says nothing before it is spoken to.
            greeting: config.ssl.is_empty().then(|| config.framing.greeting()),
        };
        Self::start_with(name, server_command, &startup, dir)
    }

    /// The same, with any configuration.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(
        name: &str,
        server_command: &ServerCommand,
        startup: &Startup<'_>,
        dir: &Path,
    ) -> Result<Self, ProcessError> {
        let io_error = |source| ProcessError::Io { name: name.to_owned(), source };
        let config_path = dir.join(format!("{name}.conf"));
        let stdout_path = dir.join(format!("{name}.out"));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = match (startup.port, server_command.ready) {
                (Some(port), _) => port,
                (None, Ready::Line) => 0,
                (None, Ready::Greeting) => free_port(),
            };
            fs::write(&config_path, (startup.text)(port)).map_err(io_error)?;
            let stdout = fs::File::create(&stdout_path).map_err(io_error)?;
            let mut command = server_command.command(&config_path);
            // Python's server resolves conflicts of the classes that it can import.
            command.current_dir(dir).env("PYTHONPATH", crate::script::scripts_dir());
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command.stdin(Stdio::null()).stdout(stdout);
            let mut process = Process::spawn(name, &mut command, dir.join(format!("{name}.log")))?;
            match wait_until_ready(&mut process, server_command.ready, port, &stdout_path) {
                Ok(address) => {
                    if let Some(greeting) = startup.greeting {
                        expect_greeting(name, address, greeting)?;
                    }
                    let ServerCommand { is_python, ready, .. } = *server_command;
                    return Ok(Self { process, address, is_python, ready });
                }
                // Between the choice of the port and its use by the server somebody else took it.
                Err(ProcessError::Exit { .. })
                    if startup.port.is_none()
                        && attempts < START_ATTEMPTS
                        && process.log_text().contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number in the system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash would, with SIGKILL.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends it as an operator would, with SIGTERM.
    ///
    /// # Errors
    /// [`ProcessError::Deadline`] if it goes on, [`ProcessError::Exit`] if its exit status is not 0; a server that is not ours
    /// may be ended by the signal itself.
    pub fn stop(mut self) -> Result<(), ProcessError> {
        self.process.terminate()?;
        let mut ended = None;
        if self.is_python {
            // Python's server loses a SIGTERM that arrives while it writes to its log.
            ended = self.process.wait(SECOND_SIGNAL).ok();
            if ended.is_none() {
                self.process.terminate()?;
            }
        }
        let status = match ended {
            Some(status) => status,
            None => self.process.wait(STOP_LIMIT)?,
        };
        // Others may serve before they catch the signal, as Python's does, and be ended by it.
        let is_ended_by_it = self.ready == Ready::Greeting && status.signal() == Some(Signal::TERM.as_raw());
        if status.success() || is_ended_by_it {
            return Ok(());
        }
        let name = self.process.name().to_owned();
        Err(ProcessError::Exit { name, what: "exit status after SIGTERM".to_owned(), status })
    }
}

/// Starts a server that must refuse to run, and returns how it ended.
///
/// # Errors
/// [`ProcessError::Deadline`] if it goes on running.
pub fn start_refused(
    name: &str,
    server_command: &ServerCommand,
    config: &ServerConfig,
    dir: &Path,
) -> Result<ExitStatus, ProcessError> {
    match Server::start(name, server_command, config, dir) {
        Err(ProcessError::Exit { status, .. }) => Ok(status),
        Err(error) => Err(error),
        Ok(server) => Err(ProcessError::Unexpected {
            name: name.to_owned(),
            what: format!("it should have refused to start, but listens on {}", server.address()),
        }),
    }
}

fn wait_until_ready(
    process: &mut Process,
    ready: Ready,
    port: u16,
    stdout_path: &Path,
) -> Result<SocketAddr, ProcessError> {
    let answer = poll_until(START_LIMIT, || {
        let found = match ready {
            Ready::Line => fs::read_to_string(stdout_path).ok().and_then(|text| parse_ready_line(&text)),
            Ready::Greeting => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                TcpStream::connect(address).is_ok().then_some(address)
            }
        };
        // Asked after the address, so that a stranger on a dead server's port is not taken for it.
        match process.try_wait() {
            Ok(Some(status)) => Some(Err(ProcessError::Exit {
                name: process.name().to_owned(),
                what: "it ended before it was ready".to_owned(),
                status,
            })),
            Ok(None) => found.map(Ok),
            Err(error) => Some(Err(error)),
        }
    });
    answer.unwrap_or_else(|| {
        let name = process.name().to_owned();
        Err(ProcessError::Deadline { name, what: "getting ready".to_owned(), limit: START_LIMIT })
    })
}

/// The address in a line `ready: listening on 127.0.0.1:8100`, which must be complete.
#[must_use]
pub fn parse_ready_line(text: &str) -> Option<SocketAddr> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find_map(|line| line.strip_prefix("ready: listening on ")?.trim_end().parse().ok())
}

/// Reads the first frame that the server sends, without answering.
fn expect_greeting(name: &str, address: SocketAddr, greeting: &str) -> Result<(), ProcessError> {
    let io_error = |source| ProcessError::Io { name: name.to_owned(), source };
    let mut stream = TcpStream::connect(address).map_err(io_error)?;
    stream.set_read_timeout(Some(START_LIMIT)).map_err(io_error)?;
    let mut expected = Vec::new();
    zeo_codec::frame::write_frame(&mut expected, greeting.as_bytes());
    let mut frame = vec![0; expected.len()];
    stream.read_exact(&mut frame).map_err(io_error)?;
    if frame == expected {
        return Ok(());
    }
    let what = format!("greeting {frame:02x?}, expected {expected:02x?}");
    Err(ProcessError::Unexpected { name: name.to_owned(), what })
}

pub mod data;
#[cfg(test)]
mod tests;
