//! The same random operations on our server and on Python's: one run.
//!
//! What is done, and what must be equal, is decided in `python/differential.py`. Here is what it cannot do itself: two
//! servers with the same storages, in directories of their own, which are started again in the middle and ended before
//! their files are compared.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Framing, ServerConfig, blob_dir, blob_section, file_section};
use crate::peers::Peer;
use crate::process::ProcessError;
use crate::script::Script;
use crate::server::{Ready, Server, ServerCommand, free_port};

/// How often a server is started on another port.
const START_ATTEMPTS: u32 = 3;

/// What a run does.
#[derive(Debug)]
pub struct Plan<'p> {
    /// Whose clients, and whose server as the other one.
    pub peer: &'p Peer,
    /// How messages are encoded.
    pub framing: Framing,
    /// The server under test.
    pub server: &'p ServerCommand,
    /// Where everything goes; empty.
    pub dir: &'p Path,
    /// The same number gives the same operations.
    pub seed: u64,
    /// Number of steps on each storage.
    pub step_count: u32,
}

/// One of the two servers.
struct Side {
    name: &'static str,
    command: ServerCommand,
    config: ServerConfig,
    files: PathBuf,
}

impl Side {
    fn new(plan: &Plan<'_>, name: &'static str, command: ServerCommand) -> Self {
        let files = plan.dir.join(name);
        let config = ServerConfig {
            storage_section: Some(storages(&files)),
            // Small enough that some clients ask for more.
            invalidation_queue_size: Some(20),
            // Python's server merges by itself, or has its clients do it.
            client_conflict_resolution: plan.seed.is_multiple_of(2),
            ..ServerConfig::new(plan.framing, files.clone())
        };
        Self { name, command, config, files }
    }

    /// The first start; the port is kept for the next one.
    fn start_anywhere(&mut self, plan: &Plan<'_>) -> Result<Server, ProcessError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.config.port = Some(free_port());
            match self.start(plan) {
                // Somebody else may have taken the port meanwhile.
                Err(ProcessError::Exit { .. }) if attempts < START_ATTEMPTS => {}
                started => return started,
            }
        }
    }

    fn start(&self, plan: &Plan<'_>) -> Result<Server, ProcessError> {
        Server::start(self.name, &self.command, &self.config, plan.dir)
    }
}

/// Runs both servers and the script between them; returns what it has counted.
///
/// # Errors
/// [`ProcessError`] if anything differs, or a program fails.
pub fn run(plan: &Plan<'_>) -> Result<Value, ProcessError> {
    let python = ServerCommand {
        template: vec![plan.peer.runzeo().into(), "-C".into(), "{config}".into()],
        ready: Ready::Greeting,
        is_python: true,
    };
    let mut sides = [Side::new(plan, "ours", plan.server.clone()), Side::new(plan, "python", python)];
    let [ours, theirs] = &sides;
    make_bases(plan, &ours.files, &theirs.files)?;
    let mut servers =
        sides.iter_mut().map(|side| side.start_anywhere(plan)).collect::<Result<Vec<_>, _>>()?;

    let [ours, theirs] = &sides;
    let [address, reference] = [&ours.config, &theirs.config].map(|config| {
        let port = config.port.unwrap_or_default();
        format!("127.0.0.1:{port}")
    });
    let [files, reference_files] = [ours, theirs].map(|side| side.files.display().to_string());
    let (seed, steps) = (plan.seed.to_string(), plan.step_count.to_string());
    let mut args = vec!["--address", &address, "--greeting", plan.framing.greeting()];
    args.extend(["--reference", &reference, "--files", &files, "--reference-files", &reference_files]);
    args.extend(["--seed", &seed, "--steps", &steps]);
    if ours.config.client_conflict_resolution {
        args.extend(["--clients-resolve", "yes"]);
    }
    let mut script = Script::start(plan.peer, "differential", "differential", &args, plan.dir)?;
    script.expect_step("restart")?;
    servers.drain(..).try_for_each(Server::stop)?;
    servers = sides.iter().map(|side| side.start(plan)).collect::<Result<Vec<_>, _>>()?;
    script.tell("restarted")?;
    script.expect_step("stop")?;
    servers.drain(..).try_for_each(Server::stop)?;
    script.tell("stopped")?;
    script.finish()
}

/// The storages that `differential.py` knows.
fn storages(files: &Path) -> String {
    let path = |name: &str| files.join(name);
    let file = |name, file: &str, keys: &str| file_section(name, &path(file), keys);
    let with_blobs = |name, of: &str, blobs: &str| file(name, of, &blob_dir(&path(blobs)));
    [
        with_blobs("file", "file.fs", "file-blobs"),
        file("plain", "plain.fs", "  pack-gc false\n  pack-keep-old false\n"),
        "<demostorage demo>\n".to_owned(),
        with_blobs("base", "base.fs", "base-blobs"),
        with_blobs("changes", "changes.fs", "changes-blobs"),
        "</demostorage>\n<demostorage memory>\n</demostorage>\n<mappingstorage mapping>\n</mappingstorage>\n"
            .to_owned(),
        blob_section("wrapped", &path("wrapped-blobs"), "<mappingstorage>\n</mappingstorage>\n"),
    ]
    .concat()
}

/// The same file with a past on both sides, below the demo storages.
fn make_bases(plan: &Plan<'_>, ours: &Path, theirs: &Path) -> Result<(), ProcessError> {
    let io_error = |source| ProcessError::Io { name: plan.dir.display().to_string(), source };
    for files in [ours, theirs] {
        fs::create_dir_all(files).map_err(io_error)?;
    }
    let base = ours.join("base.fs");
    let args = ["--file", &base.display().to_string(), "--transactions", "40"];
    Script::start(plan.peer, "make_data", "make_data", &args, plan.dir)?.finish()?;
    for suffix in ["", ".index"] {
        let name = format!("base.fs{suffix}");
        fs::copy(ours.join(&name), theirs.join(&name)).map_err(io_error)?;
    }
    Ok(())
}
