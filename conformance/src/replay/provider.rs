//! Where the servers come from that captures are played to.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use zeo_server::config::{Config, Overrides, StorageKind};
use zeo_server::process::Hosted;
use zeo_server::zconfig::{self, System};

use crate::process::ProcessError;
use crate::server::{Server, ServerCommand, Startup};

/// How a server comes to be.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Ours, inside of this program. A capture whose server was ended and started again needs one that can be killed: this
    /// command starts it.
    Inside(ServerCommand),
    /// By this command.
    Command(ServerCommand),
}

/// A server that was started for a capture.
pub(super) enum Running {
    Inside(Hosted, SocketAddr),
    Process(Server),
}

impl Provider {
    /// These words, or ours.
    ///
    /// # Errors
    /// If this program does not know where it is.
    pub fn chosen(words: Option<&str>) -> std::io::Result<Self> {
        match words {
            Some(words) => Ok(Self::Command(ServerCommand::from_words(words))),
            None => ServerCommand::ours().map(Self::Inside),
        }
    }

    /// In words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Inside(_) => "ours, inside of this program".to_owned(),
            Self::Command(command) => {
                let words = command.template.iter().map(|word| word.to_string_lossy().into_owned());
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// Starts one with its files in `dir`; `text` makes its configuration for a port.
    pub(super) fn start(
        &self,
        name: &str,
        text: &dyn Fn(u16) -> String,
        is_restarted: bool,
        dir: &Path,
    ) -> Result<Running, ProcessError> {
        match self {
            Self::Inside(_) if !is_restarted => inside(&text(0), dir).map_err(|error| unexpected(&*error)),
            Self::Inside(command) | Self::Command(command) => {
                let startup = Startup { text, port: None, greeting: None };
                Ok(Running::Process(Server::start_with(name, command, &startup, dir)?))
            }
        }
    }
}

fn unexpected(error: &dyn Error) -> ProcessError {
    ProcessError::Unexpected { name: "the server".to_owned(), what: error.to_string() }
}

fn inside(text: &str, dir: &Path) -> Result<Running, Box<dyn Error>> {
    let document = zconfig::parse(text)?;
    let mut config = Config::from_document(&document, Overrides::default(), &System)?;
    for storage in &mut config.storages {
        move_to(&mut storage.kind, dir);
    }
    let server = Hosted::start(&config)?;
    let address = server.address().ok_or("a server without a port")?;
    Ok(Running::Inside(server, address))
}

/// Paths are meant from where a process would have been started.
fn move_to(kind: &mut StorageKind, dir: &Path) {
    match kind {
        StorageKind::File(file) => {
            file.name = Some(file.path.display().to_string());
            file.path = dir.join(&file.path);
            file.blob_dir = file.blob_dir.take().map(|blob_dir| dir.join(blob_dir));
        }
        StorageKind::Blob { blob_dir, base } => {
            *blob_dir = dir.join(&*blob_dir);
            move_to(base, dir);
        }
        StorageKind::Demo { base, changes, .. } => {
            for inner in [base, changes].into_iter().flatten() {
                move_to(inner, dir);
            }
        }
        StorageKind::Mapping { .. } | StorageKind::Client { .. } => {}
    }
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Inside(_, address) => *address,
            Self::Process(server) => server.address(),
        }
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<(), ProcessError> {
        match self {
            Self::Inside(server, _) => server.stop().map_err(|error| unexpected(&error)),
            Self::Process(server) => server.stop(),
        }
    }

    /// Ends it as a crash would, which only a process can.
    pub(super) fn kill(self) {
        drop(self);
    }
}
