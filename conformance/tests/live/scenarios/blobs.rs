//! Blobs: what is served, what stays on the disk, and what a pack leaves.

use std::path::Path;

use serde_json::Value;
use zeo_conformance::config::{ServerConfig, blob_dir, blob_section, file_section};
use zeo_conformance::process::ProcessError;
use zeo_conformance::server::free_port;

use super::{same, same_files};
use crate::context::Context;

/// What a `<blobstorage>` is around, if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Around {
    /// The file storage has a `blob-dir` of its own.
    Nothing,
    /// A file storage.
    File,
}

/// A file storage with blobs.
fn with_blobs(context: &Context, file: &Path, blobs: &Path, around: Around) -> ServerConfig {
    let section = match around {
        Around::Nothing => file_section("1", file, &blob_dir(blobs)),
        Around::File => blob_section("1", blobs, &file_section("", file, "")),
    };
    ServerConfig { storage_path: file.to_owned(), storage_section: Some(section), ..context.config() }
}

/// The usual one.
pub(super) fn config(context: &Context, around: Around) -> ServerConfig {
    with_blobs(context, &context.path("Data.fs"), &context.path("blobs"), around)
}

/// Blobs of a file storage, or of a wrapper around one; in the end Python finds them all, and nothing else.
pub(super) fn used(context: &Context, what: &str, around: Around) -> Result<(), ProcessError> {
    let config = config(context, around);
    let server = context.start_server(&config)?;
    let dir = context.path("blobs").display().to_string();
    let said = context.run_client("blobs", &server, &["--blobs", &dir, "--do", what])?;
    server.stop()?;
    let found = context.check_blobs(&config.storage_path, "check")?;
    context.check_file(&config.storage_path, None)?;
    same("revisions", &said, &found)
}

/// Blob directories that Python has written, in both of its layouts.
pub(super) fn served(context: &Context) -> Result<(), ProcessError> {
    for (layout, around) in [("bushy", Around::Nothing), ("lawn", Around::File)] {
        let (dir, file) = (context.path(&format!("blobs-{layout}")), context.path(&format!("{layout}.fs")));
        let config = with_blobs(context, &file, &dir, around);
        let (file, dir) = (file.display().to_string(), dir.display().to_string());
        let options = ["--file", &file, "--blobs", &dir];
        let made = context.run_script("make_blobs", &[&options[..], &["--layout", layout]].concat())?;
        let revisions = made.get("revisions").cloned().unwrap_or_default().to_string();
        let server = context.start_server(&config)?;
        let args = ["--blobs", &dir, "--revisions", &revisions];
        let said = context.run_client("served_blobs", &server, &args)?;
        server.stop()?;
        let found = context.run_script("blobs", &[&options[..], &["--do", "check,python"]].concat())?;
        same("revisions", &said, &found)?;
    }
    Ok(())
}

/// The server is killed while a client commits blobs, several times: what was acknowledged is there, whole, and
/// after the next start there is no other file.
pub(super) fn killed(context: &Context) -> Result<(), ProcessError> {
    let config = config(context, Around::Nothing);
    let dir = context.path("blobs").display().to_string();
    let mut known = 0;
    for commits in [1, 4, 8] {
        let server = context.start_server(&config)?;
        let args = ["--blobs", &dir, "--do", "commit_until_killed"];
        let mut client = context.start_client("blobs", &server, &args)?;
        for _ in 0..commits {
            client.expect_step("committed")?;
        }
        server.kill();
        known += commits;
        drop(client);
        // It tidies up, and must be able to.
        context.start_server(&config)?.stop()?;
        let found = context.check_blobs(&config.storage_path, "check,deterministic")?;
        let count = found.get("count").and_then(Value::as_u64).unwrap_or_default();
        if count < known {
            let what = format!("{count} blobs, but {known} were acknowledged");
            return Err(ProcessError::Unexpected { name: "check".to_owned(), what });
        }
    }
    Ok(())
}

/// Undo brings contents back and takes creations away; conflicts beside blobs are resolved, or not.
pub(super) fn undone(context: &Context) -> Result<(), ProcessError> {
    for around in [Around::Nothing, Around::File] {
        let name = format!("{around:?}");
        let (file, dir) = (context.path(&format!("{name}.fs")), context.path(&format!("blobs-{name}")));
        let server = context.start_server(&with_blobs(context, &file, &dir, around))?;
        let (file_name, dir) = (file.display().to_string(), dir.display().to_string());
        let said = context.run_client("blobs_undo", &server, &["--blobs", &dir])?;
        server.stop()?;
        // Python's wrapper leaves what it undoes writable.
        let what = if context.on_python_server() { "check,undone,python" } else { "check,undone" };
        let args = ["--file", &file_name, "--blobs", &dir, "--do", what];
        let found = context.run_script("blobs", &args)?;
        context.check_file(&file, None)?;
        same("revisions", &said, &found)?;
    }
    Ok(())
}

/// A client with a blob cache lives through a restart, while somebody else changes one of its blobs.
pub(super) fn reconnect(context: &Context) -> Result<(), ProcessError> {
    let elsewhere = config(context, Around::Nothing);
    let home = ServerConfig { port: Some(free_port()), ..elsewhere.clone() };
    let server = context.start_server(&home)?;
    let mut client = context.start_client("blobs_reconnect", &server, &["--do", "stay"])?;
    client.expect_step("connected")?;
    server.stop()?;
    client.expect_step("disconnected")?;
    // On another port, so that the client cannot come back too soon.
    let server = context.start_server(&elsewhere)?;
    context.run_client("blobs_reconnect", &server, &["--do", "change"])?;
    server.stop()?;
    let server = context.start_server(&home)?;
    let said = client.finish()?;
    server.stop()?;
    let found = context.check_blobs(&home.storage_path, "check")?;
    same("revisions", &said, &found)
}

/// Python copies all transactions with their blobs out of the server: into the same file, the same blobs.
pub(super) fn copied(context: &Context) -> Result<(), ProcessError> {
    let config = config(context, Around::Nothing);
    let (blobs, copy) = (context.path("blobs").display().to_string(), context.path("copy.fs"));
    let (file, copy_name) = (config.storage_path.display().to_string(), copy.display().to_string());
    context.run_script("make_blobs", &["--file", &file, "--blobs", &blobs, "--layout", "bushy"])?;
    let server = context.start_server(&config)?;
    context.run_client("blobs_copied", &server, &["--blobs", &blobs, "--copy", &copy_name])?;
    server.stop()?;
    same_files(&config.storage_path, &copy)
}

/// The same history, packed by the server and by Python's own storages: the same files stay.
pub(super) fn packed(context: &Context) -> Result<(), ProcessError> {
    for kind in ["keep-old", "no-old", "wrapped", "mapping"] {
        let path = |name: &str| context.path(&format!("{kind}-{name}"));
        let (file, blobs, twin) = (path("Data.fs"), path("blobs"), path("twin"));
        let keep_old = |value| format!("{}  pack-keep-old {value}\n", blob_dir(&blobs));
        let section = match kind {
            "keep-old" => file_section("1", &file, &keep_old("true")),
            "no-old" => file_section("1", &file, &keep_old("false")),
            "wrapped" => blob_section("1", &blobs, &file_section("", &file, "")),
            _ => blob_section("1", &blobs, "<mappingstorage>\n</mappingstorage>\n"),
        };
        let config =
            ServerConfig { storage_path: file.clone(), storage_section: Some(section), ..context.config() };
        let server = context.start_server(&config)?;
        let (blobs, twin_name) = (blobs.display().to_string(), twin.display().to_string());
        let args = ["--kind", kind, "--blobs", &blobs, "--twin", &twin_name];
        context.run_client("blobs_pack", &server, &args)?;
        server.stop()?;
    }
    Ok(())
}
