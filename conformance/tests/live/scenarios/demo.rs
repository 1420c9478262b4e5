//! Demo storages: changes before a base that stays as it is.

use zeo_conformance::config::{ServerConfig, blob_dir, file_section};
use zeo_conformance::process::ProcessError;

use super::{same, same_files};
use crate::context::Context;

/// `<demostorage>` with these sections in it.
fn config(context: &Context, inner: &str) -> ServerConfig {
    let section = format!("<demostorage 1>\n{inner}</demostorage>\n");
    ServerConfig { storage_section: Some(section), ..context.config() }
}

/// A file that Python wrote as the base, and a file for the changes: whatever is asked, Python's DemoStorage on the
/// same files gives the same answer; before a pack and after it.
pub(super) fn over_a_file(context: &Context) -> Result<(), ProcessError> {
    let [base, copy, changes, twin] =
        ["base.fs", "copy.fs", "changes.fs", "twin.fs"].map(|name| context.path(name));
    context.run_script("make_data", &["--file", &base.display().to_string()])?;
    context.copy_file(&base, &copy)?;
    let sections = file_section("base", &base, "") + &file_section("changes", &changes, "");
    let server = context.start_server(&config(context, &sections))?;
    let [base_name, changes_name, twin_name] =
        [&base, &changes, &twin].map(|path| path.display().to_string());
    let args = ["--base", &base_name, "--changes", &changes_name, "--twin", &twin_name];
    context.run_client("demo", &server, &args)?;
    server.stop()?;
    same_files(&base, &copy)?;
    // What the server's pack left, and Python's of the same file.
    same_files(&changes, &twin)
}

/// A file that Python wrote as the base, and the changes in memory: Python's DemoStorage with the same transactions gives
/// the same history of every object.
pub(super) fn in_memory_over_a_file(context: &Context) -> Result<(), ProcessError> {
    let base = context.path("base.fs");
    let name = base.display().to_string();
    context.run_script("make_data", &["--file", &name])?;
    let sections = file_section("base", &base, "") + "<mappingstorage changes>\n</mappingstorage>\n";
    let server = context.start_server(&config(context, &sections))?;
    context.run_client("demo_mixed", &server, &["--base", &name])?;
    server.stop()
}

/// Base and changes have blobs, and both are served.
pub(super) fn with_blobs(context: &Context) -> Result<(), ProcessError> {
    let [base, copy, changes] = ["base.fs", "copy.fs", "changes.fs"].map(|name| context.path(name));
    let [base_dir, changes_dir] = ["base-blobs", "changes-blobs"].map(|name| context.path(name));
    let (base_name, base_dir_name) = (base.display().to_string(), base_dir.display().to_string());
    let args = ["--file", &base_name, "--blobs", &base_dir_name, "--layout", "bushy"];
    let made = context.run_script("make_blobs", &args)?;
    context.copy_file(&base, &copy)?;
    let sections = file_section("base", &base, &blob_dir(&base_dir))
        + &file_section("changes", &changes, &blob_dir(&changes_dir));
    let server = context.start_server(&config(context, &sections))?;
    let revisions = made.get("revisions").cloned().unwrap_or_default().to_string();
    let said = context.run_client("demo_blobs", &server, &["--do", "change", "--revisions", &revisions])?;
    server.stop()?;
    same_files(&base, &copy)?;
    let (changes, changes_dir) = (changes.display().to_string(), changes_dir.display().to_string());
    let found = context.run_script(
        "demo_blobs",
        &[
            "--do",
            "check",
            "--base",
            &base_name,
            "--base-blobs",
            &base_dir_name,
            "--changes",
            &changes,
            "--changes-blobs",
            &changes_dir,
        ],
    )?;
    same("revisions", &said, &found)
}

/// Without sections everything is in memory, blobs too, and gone with the server.
pub(super) fn in_memory(context: &Context) -> Result<(), ProcessError> {
    let config = config(context, "");
    for _ in 0..2 {
        let server = context.start_server(&config)?;
        context.run_client("demo_default", &server, &[])?;
        server.stop()?;
    }
    Ok(())
}
