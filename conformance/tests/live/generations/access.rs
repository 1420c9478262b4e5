//! Who is let in: passwords, schemes of one's own, protocols.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use zeo_conformance::peers::OldVersion;
use zeo_conformance::process::poll_until;
use zeo_conformance::server::{Server, free_port};

use super::client::{Client, NEW, Who, ZEO4, ZEO4_PYTHON2, server};

/// Who has the password comes in, and nobody else.
pub(super) fn digest(dir: &Path, old: OldVersion) -> Result<(), Failed> {
    let passwords = dir.join("passwords");
    let mut database = zeo_server::auth::PasswordDatabase::open(&passwords, Some("zeo realm"))?;
    database.add("foo", "secret pw")?;
    database.save()?;
    let keys = format!(
        "  authentication-protocol digest\n  authentication-database {}\n  authentication-realm zeo realm\n",
        passwords.display()
    );
    let server = server(dir, &keys, None)?;
    let right = json!({"username": "foo", "password": "secret pw", "realm": "zeo realm"});
    let mut client = Client::start(Who::Old(old), "right", dir)?;
    client.open(server.address(), right)?;
    let mut serial = NEW.to_owned();
    // Many messages in both directions: each MAC covers all before it.
    for round in 0..20 {
        serial = client.commit(3, &serial, &format!("round {round}"))?;
    }
    let mut other = Client::start(Who::Old(old), "other", dir)?;
    other
        .open(server.address(), json!({"username": "foo", "password": "secret pw", "realm": "zeo realm"}))?;
    assert_eq!(other.ask(json!(["load", 3]))?, json!(["round 19", serial]));
    serial = other.commit(3, &serial, "by the other")?;
    client.ask(json!(["told", 3, serial]))?;
    for (name, username, password) in [("wrong", "foo", "wrong"), ("nobody", "nobody", "secret pw")] {
        let options = json!({"username": username, "password": password, "realm": "zeo realm"});
        is_refused(
            dir,
            Who::Old(old),
            name,
            &server,
            options,
            &format!("refused authentication as {username}"),
        )?;
    }
    // ZEO 5 has no way to authenticate.
    is_refused(dir, Who::New, "new", &server, json!({}), "Client was never authenticated with server!")?;
    assert_eq!(client.ask(json!(["load", 3]))?, json!(["by the other", serial]));
    server.stop()?;
    Ok(())
}

/// A client that does not get in, for a reason that the server's log tells.
fn is_refused(
    dir: &Path,
    who: Who,
    name: &str,
    server: &Server,
    options: Value,
    reason: &str,
) -> Result<(), Failed> {
    let mut options = options;
    options["wait"] = false.into();
    options["wait_timeout"] = 1.into();
    let log = || std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
    let told_count = || log().matches(reason).count();
    let before_count = told_count();
    let mut client = Client::start(who, name, dir)?;
    client.open(server.address(), options)?;
    poll_until(Duration::from_secs(15), || (told_count() > before_count).then_some(()))
        .ok_or_else(|| format!("{name}: the server does not say {reason:?}"))?;
    assert_eq!(client.fails(json!(["load", 3]))?, "ClientDisconnected");
    Ok(())
}

/// A server that is told to speak `Z5` only, as Python's.
pub(super) fn from_z5_on(dir: &Path) -> Result<(), Failed> {
    let server = server(dir, "  min-protocol Z5\n", None)?;
    Client::connected(Who::New, "new", dir, server.address())?;
    is_refused(dir, Who::Old(ZEO4), "old", &server, json!({}), "unacceptable protocol in the handshake")?;
    server.stop()?;
    Ok(())
}

/// The file that one side's `zeopasswd` writes the other's goes on with.
pub(super) fn zeopasswd(dir: &Path) -> Result<(), Failed> {
    let ours = zeopasswd_path()?;
    let path = dir.join("passwords");
    let file = path.display().to_string();
    let run = |command: &mut Command, args: &[&str]| -> Result<(bool, String), Failed> {
        let output = command.args(["-f", &file, "-p", "digest", "-r", "zeo realm"]).args(args).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let pythons = |version: OldVersion, args: &[&str]| {
        let peer = Who::Old(version).peer()?;
        let mut command = peer.python();
        run(command.args(["-c", "from ZEO.zeopasswd import main; main()"]), args)
    };
    let expect = |(is_done, text): (bool, String)| if is_done { Ok(()) } else { Err(Failed::from(text)) };
    expect(pythons(ZEO4, &["foo", "secret pw"])?)?;
    let by_python = std::fs::read_to_string(&path)?;
    std::fs::remove_file(&path)?;
    expect(run(&mut Command::new(&ours), &["foo", "secret pw"])?)?;
    assert_eq!(std::fs::read_to_string(&path)?, by_python);
    expect(pythons(ZEO4_PYTHON2, &["bar", "other"])?)?;
    expect(run(&mut Command::new(&ours), &["baz", "third"])?)?;
    let (is_done, text) = run(&mut Command::new(&ours), &["baz", "third"])?;
    assert!(!is_done && text.contains("exists"), "{text}");
    expect(run(&mut Command::new(&ours), &["-d", "foo"])?)?;
    expect(pythons(ZEO4, &["-d", "baz"])?)?;
    let left = std::fs::read_to_string(&path)?;
    let bar = zeo_codec::digest::Secret::new("bar", "zeo realm", "other").to_hex();
    assert_eq!(left, format!("realm zeo realm\nbar: {bar}\n"));
    Ok(())
}

/// The example of a scheme of one's own, with the clients of Python that have it in their tests.
pub(super) fn scheme(dir: &Path) -> Result<(), Failed> {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut example = Command::new(env!("CARGO"));
    example.args(["run", "--quiet", "--package", "zeo-server", "--example", "auth_scheme", "--"]);
    // Killed with its group: cargo stands between.
    let mut example = example.arg(port.to_string()).stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut line = String::new();
    BufReader::new(example.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let run = || {
        let mut serial = NEW.to_owned();
        for old in [ZEO4, ZEO4_PYTHON2] {
            let mut client = Client::start(Who::Old(old), old.name(), dir)?;
            client.ask(json!(["learn", "ZEO.tests.auth_plaintext"]))?;
            client.open(address, json!({"username": "alice", "password": "wonder", "realm": "the realm"}))?;
            for round in 0..3 {
                serial = client.commit(1, &serial, &format!("{round}"))?;
            }
        }
        Ok(())
    };
    let result = run();
    kill_process_group(Pid::from_child(&example), Signal::KILL)?;
    example.wait()?;
    result
}

/// The program beside the server's.
fn zeopasswd_path() -> Result<PathBuf, Failed> {
    Ok(crate::runzeo::path()?.with_file_name("zeopasswd"))
}
