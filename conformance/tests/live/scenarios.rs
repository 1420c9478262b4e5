//! The scenarios: which servers and scripts each of them runs, and in which order.
//!
//! What is right is decided in the scripts of `python/`, by Python. Here is what they cannot do themselves:
//! starting and ending servers, and looking at files between two runs.

mod blobs;
mod demo;

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use zeo_conformance::config::{Framing, ServerConfig};
use zeo_conformance::process::ProcessError;
use zeo_conformance::server::free_port;

use self::blobs::Around;
use crate::context::Context;

/// Steps on each storage in one run of `differential`; `zeo-differential` makes longer ones.
const DIFFERENTIAL_STEPS: u32 = 40;

/// One scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// It depends on the framing.
    pub(crate) has_messages: bool,
    pub(crate) run: fn(&Context) -> Result<(), ProcessError>,
}

impl Scenario {
    const fn new(name: &'static str, run: fn(&Context) -> Result<(), ProcessError>) -> Self {
        Self { name, has_messages: true, run }
    }
}

/// All scenarios.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("abort_paths", |context| one_script(context, "abort_paths")),
    Scenario::new("application", application),
    Scenario::new("basic", basic),
    Scenario::new("blobs", |context| blobs::used(context, "use", Around::Nothing)),
    Scenario::new("blobs_copied", blobs::copied),
    Scenario::new("blobs_killed", blobs::killed),
    Scenario::new("blobs_packed", blobs::packed),
    Scenario::new("blobs_reconnect", blobs::reconnect),
    Scenario::new("blobs_served", blobs::served),
    Scenario::new("blobs_shared", |context| blobs::used(context, "use,shared", Around::Nothing)),
    Scenario::new("blobs_undo", blobs::undone),
    Scenario::new("blobs_wrapped", |context| blobs::used(context, "use", Around::File)),
    Scenario::new("conflict", |context| one_script(context, "conflict")),
    Scenario::new("conflict_client_resolution", conflict_client_resolution),
    Scenario::new("copy_transactions", copy_transactions),
    Scenario::new("counters", counters),
    Scenario::new("delete", |context| one_script(context, "delete")),
    Scenario::new("demo", demo::over_a_file),
    Scenario::new("demo_blobs", demo::with_blobs),
    Scenario::new("demo_default", demo::in_memory),
    Scenario::new("demo_mixed", demo::in_memory_over_a_file),
    Scenario::new("differential", differential),
    Scenario::new("history", history),
    Scenario::new("invalidations", |context| one_script(context, "invalidations")),
    Scenario { name: "lock", has_messages: false, run: lock },
    Scenario::new("metadata_too_long", |context| one_script(context, "metadata_too_long")),
    Scenario::new("methods", methods),
    Scenario::new("pack", |context| one_script(context, "pack")),
    Scenario::new("pack_undo", |context| one_script(context, "pack_undo")),
    Scenario::new("races", |context| one_script(context, "races")),
    Scenario::new("read_conflict", |context| one_script(context, "read_conflict")),
    Scenario::new("read_only", read_only),
    Scenario::new("reconnect", reconnect),
    Scenario::new("repozo", repozo),
    Scenario::new("restored", restored),
    Scenario::new("served_file", served_file),
    Scenario::new("tls", tls),
];

/// One script in front of one server; what it leaves behind must be in order.
fn one_script(context: &Context, name: &str) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    context.run_client(name, &server, &[])?;
    server.stop()?;
    context.check_file(&config.storage_path, None)?;
    Ok(())
}

/// An application of several processes goes on while its server is restarted, and killed in the end.
fn application(context: &Context) -> Result<(), ProcessError> {
    let config = ServerConfig { port: Some(free_port()), ..context.config() };
    through_restarts(context, &config, "application")
}

/// The same with Zope: two instances, and blobs.
pub(crate) fn zope(context: &Context) -> Result<(), ProcessError> {
    let config = blobs::config(context, Around::Nothing);
    through_restarts(context, &ServerConfig { port: Some(free_port()), ..config }, "zope_site")?;
    context.check_blobs(&context.path("Data.fs"), "check,files")?;
    Ok(())
}

/// A script works, while the server is restarted twice and killed once.
fn through_restarts(context: &Context, config: &ServerConfig, script: &str) -> Result<(), ProcessError> {
    let mut server = context.start_server(config)?;
    let mut client = context.start_client(script, &server, &[])?;
    for is_killed in [false, false, true] {
        client.expect_step("working")?;
        if is_killed {
            drop(server);
        } else {
            server.stop()?;
        }
        server = context.start_server(config)?;
        client.tell("restarted")?;
    }
    client.finish()?;
    server.stop()?;
    context.check_file(&config.storage_path, None)?;
    Ok(())
}

/// An application writes, another process reads the same, and so does Python from the file.
fn basic(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    let journal = context.path("journal.json");
    context.run_client("basic", &server, &["--journal", &journal.display().to_string()])?;
    server.stop()?;
    context.check_file(&config.storage_path, Some(&journal))?;
    Ok(())
}

/// The client resolves conflicts because the server is told to let it.
fn conflict_client_resolution(context: &Context) -> Result<(), ProcessError> {
    let config = ServerConfig { client_conflict_resolution: true, ..context.config() };
    let server = context.start_server(&config)?;
    context.run_client("conflict", &server, &[])?;
    server.stop()
}

/// Four processes increment the same two objects; each increment is one transaction in the file.
fn counters(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    let said = context.run_client("counters", &server, &[])?;
    server.stop()?;
    let found = context.check_file(&config.storage_path, None)?;
    same("commits", &said, &found)
}

/// Undo, history, iteration, restore, beside a FileStorage that is told the same; the files are the same bytes.
fn history(context: &Context) -> Result<(), ProcessError> {
    for seed in ["1", "2"] {
        let twin = context.path(&format!("twin{seed}.fs"));
        let storage_path = context.path(&format!("Data{seed}.fs"));
        let config = ServerConfig { storage_path, ..context.config() };
        let server = context.start_server(&config)?;
        context.run_client("history", &server, &["--twin", &twin.display().to_string(), "--seed", seed])?;
        server.stop()?;
        same_files(&config.storage_path, &twin)?;
    }
    Ok(())
}

/// Random operations on this server and on Python's: the same answers, the same files. With a seed that is always the
/// same, and one that is new each time.
fn differential(context: &Context) -> Result<(), ProcessError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Conflicts are resolved in one way with odd seeds, in the other with even ones.
    let known = if context.framing() == Framing::Pickle { 1 } else { 2 };
    for seed in [known, u64::from(now.subsec_nanos())] {
        context.differential(seed, DIFFERENTIAL_STEPS)?;
    }
    Ok(())
}

/// A client copies a file with a past, transaction by transaction, to the server; and to a file.
fn copy_transactions(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let [source, twin] = ["source.fs", "twin.fs"].map(|name| context.path(name));
    context.run_script("make_data", &["--file", &source.display().to_string()])?;
    let server = context.start_server(&config)?;
    let [source, twin_name] = [&source, &twin].map(|path| path.display().to_string());
    context.run_client("copy_transactions", &server, &["--source", &source, "--twin", &twin_name])?;
    server.stop()?;
    same_files(&config.storage_path, &twin)
}

/// Both files must hold the same bytes.
fn same_files(one: &Path, other: &Path) -> Result<(), ProcessError> {
    let [one, other] = [one, other].map(|path| {
        let name = path.display().to_string();
        std::fs::read(path)
            .map(|bytes| (name.clone(), bytes))
            .map_err(|source| ProcessError::Io { name, source })
    });
    let ((name, one), (other_name, other)) = (one?, other?);
    if one == other {
        return Ok(());
    }
    let at = one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or_else(|| one.len().min(other.len()));
    let what = format!("differs from {other_name} at byte {at} of {} and {}", one.len(), other.len());
    Err(ProcessError::Unexpected { name, what })
}

/// Each method by itself, below the client's own checks and cache.
fn methods(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    context.run_client("methods", &server, &["--file", &config.storage_path.display().to_string()])?;
    server.stop()?;
    context.check_file(&config.storage_path, None)?;
    Ok(())
}

/// A writable server, then a read-only one on the same file.
fn read_only(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    context.run_client("read_only", &server, &["--server", "writable"])?;
    server.stop()?;
    let server = context.start_server(&ServerConfig { read_only: true, ..config })?;
    context.run_client("read_only", &server, &["--server", "read-only"])?;
    server.stop()
}

/// A client with a cache file lives through two restarts; others commit while it is away.
fn reconnect(context: &Context) -> Result<(), ProcessError> {
    const QUEUE_SIZE: u32 = 10;
    let elsewhere = ServerConfig { invalidation_queue_size: Some(QUEUE_SIZE), ..context.config() };
    let home = ServerConfig { port: Some(free_port()), ..elsewhere.clone() };
    let cache = context.path("cache.zec").display().to_string();

    let mut server = context.start_server(&home)?;
    let mut client = context.start_client("reconnect", &server, &["--cache", &cache])?;
    for absent_commits in ["5", "30"] {
        client.expect_step("connected")?;
        server.stop()?;
        client.expect_step("disconnected")?;
        // On another port, so that the client cannot come back too soon.
        server = context.start_server(&elsewhere)?;
        context.run_client("commits", &server, &["--count", absent_commits])?;
        server.stop()?;
        server = context.start_server(&home)?;
    }
    let said = client.finish()?;
    let found = context.run_client("commits", &server, &["--count", "1"])?;
    server.stop()?;
    context.check_file(&home.storage_path, None)?;
    let before = found.get("before").cloned().unwrap_or_default();
    same("value", &said, &json!({ "value": before }))
}

/// Python's backup program copies a file that the server is writing to.
fn repozo(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let server = context.start_server(&config)?;
    let [file, directory] =
        [&config.storage_path, &context.path("backups")].map(|path| path.display().to_string());
    context.run_client("repozo_backups", &server, &["--file", &file, "--directory", &directory])?;
    server.stop()?;
    Ok(())
}

/// A server is given an old copy of its file: a client that knows more stays away.
fn restored(context: &Context) -> Result<(), ProcessError> {
    let config = ServerConfig { port: Some(free_port()), ..context.config() };
    let [backup, cache] = [context.path("backup.fs"), context.path("cache.zec")];
    let server = context.start_server(&config)?;
    let mut client = context.start_client("restored", &server, &["--cache", &cache.display().to_string()])?;
    client.expect_step("backed up")?;
    server.stop()?;
    context.copy_file(&config.storage_path, &backup)?;
    let server = context.start_server(&config)?;
    client.tell("go on")?;
    client.expect_step("ahead")?;
    server.stop()?;
    // The index stays, as it would: it is that of another file now.
    context.copy_file(&backup, &config.storage_path)?;
    let server = context.start_server(&config)?;
    client.tell("restored")?;
    client.finish()?;
    server.stop()?;
    context.check_file(&config.storage_path, None)?;
    Ok(())
}

/// A file that Python wrote, with a past, is served as Python itself would.
fn served_file(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let copy = context.path("copy.fs");
    context.run_script("make_data", &["--file", &config.storage_path.display().to_string()])?;
    context.copy_file(&config.storage_path, &copy)?;
    let server = context.start_server(&config)?;
    context.run_client("served", &server, &["--copy", &copy.display().to_string()])?;
    server.stop()?;
    context.check_file(&config.storage_path, None)?;
    Ok(())
}

/// Certificates decide who may talk; the server's key is in the open, then encrypted.
fn tls(context: &Context) -> Result<(), ProcessError> {
    let directory = context.path("tls");
    let path = |name: &str| directory.join(name).display().to_string();
    context.run_script("tls_files", &["--directory", &directory.display().to_string()])?;
    // Python's server and ours get passwords in different ways.
    let password = match context.on_python_server() {
        true => "password-function ZEO.tests.testssl.pwfunc".to_owned(),
        false => format!("password-file {}", path("password")),
    };
    for (name, password) in [("server", String::new()), ("serverpw", password)] {
        let (certificate, key, client) =
            (path(&format!("{name}.pem")), path(&format!("{name}_key.pem")), path("client.pem"));
        let ssl = format!("certificate {certificate}\nkey {key}\nauthenticate {client}\n{password}\n");
        let config = ServerConfig { ssl, ..context.config() };
        let server = context.start_server(&config)?;
        let directory = directory.display().to_string();
        context.run_client(
            "tls",
            &server,
            &["--directory", &directory, "--server", &format!("{name}.pem")],
        )?;
        server.stop()?;
        context.check_file(&config.storage_path, None)?;
    }
    Ok(())
}

/// A file has one user at a time, whichever of the two came first.
fn lock(context: &Context) -> Result<(), ProcessError> {
    let config = context.config();
    let file = config.storage_path.display().to_string();
    let server = context.start_server(&config)?;
    context.run_script("lock", &["--file", &file, "--expect", "locked"])?;
    server.stop()?;

    let mut holder = context.start_script("lock", &["--file", &file])?;
    holder.expect_step("held")?;
    let status = context.start_server_refused(&config)?;
    if status.success() {
        let what = "refused to start, but with exit status 0".to_owned();
        return Err(ProcessError::Unexpected { name: "server".to_owned(), what });
    }
    holder.tell("let go")?;
    holder.finish()?;
    context.start_server(&config)?.stop()
}

/// Two scripts must agree about `key`.
fn same(key: &str, said: &Value, found: &Value) -> Result<(), ProcessError> {
    match (said.get(key), found.get(key)) {
        (Some(said), Some(found)) if said == found => Ok(()),
        (said, found) => Err(ProcessError::Unexpected {
            name: key.to_owned(),
            what: format!("one script says {said:?}, the other {found:?}"),
        }),
    }
}
