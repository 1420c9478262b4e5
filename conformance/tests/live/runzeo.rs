//! The binary `runzeo` itself, and `zeopasswd` beside it. They belong to another package, so that cargo does not build them for this test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Its path, built on the first call as this program was. The error is the reason why that cannot be done here.
///
/// # Panics
/// If it can, and fails: then something is wrong with `runzeo`.
pub(crate) fn path() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let targets = ["--package", "zeo-server", "--bin", "runzeo", "--bin", "zeopasswd"];
    BUILT.get_or_init(|| build(&targets, "runzeo")).clone()
}

/// Builds programs that cargo does not build for this test; where `name` is, which is one of them. The error is the reason
/// why that cannot be done here.
///
/// # Panics
/// If it can, and fails.
pub(crate) fn build(targets: &[&str], name: &str) -> Result<PathBuf, String> {
    // Cargo sets it for the tests that it runs.
    let cargo = std::env::var_os("CARGO")
        .ok_or_else(|| format!("{name}: no cargo to build it with: CARGO is not set"))?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new(&cargo);
    command.arg("build").args(targets);
    command.args(["--message-format", "json-render-diagnostics", "--manifest-path"]).arg(workspace);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: cannot run {}: {error}", cargo.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} cannot be built: {complaint}");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")? == name;
        message.get("executable").filter(|_| is_it)?.as_str().map(PathBuf::from)
    });
    Ok(executables.next().unwrap_or_else(|| panic!("cargo does not say where {name} is: {messages}")))
}
