//! What `runzeo` prints for somebody who just tries it: pasted into Python as it stands, it works.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Completion, Failed, Trial};
use zeo_conformance::peers::{Peer, PeerVersion};

use crate::{VERSIONS, is_required, runzeo};

/// One trial for each version.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |version: PeerVersion| {
        Trial::ignorable_test(format!("live::{}::first_steps", version.name()), move || play(version))
    };
    VERSIONS.map(trial).into()
}

fn play(version: PeerVersion) -> Result<Completion, Failed> {
    let peer = Peer::ensure(version).map_err(|error| error.to_string());
    let (peer, program) = match (peer, runzeo::path()) {
        (Ok(peer), Ok(program)) => (peer, program),
        (Err(reason), _) | (_, Err(reason)) if !is_required() => return Ok(Completion::ignored_with(reason)),
        (Err(reason), _) | (_, Err(reason)) => return Err(reason.into()),
    };
    let dir = tempfile::tempdir()?;
    // The default of all is one port: one trial after the other, and none where it is taken.
    static PORT: Mutex<()> = Mutex::new(());
    let _port = PORT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = TcpListener::bind("127.0.0.1:8100") {
        return Ok(Completion::ignored_with(format!("the port 8100: {error}")));
    }
    let mut server = Command::new(program);
    server.current_dir(dir.path());
    server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Killed(server.spawn()?);
    let mut output = BufReader::new(server.0.stdout.take().ok_or("no output")?).lines();
    let printed: Vec<String> = output.by_ref().take(5).collect::<Result<_, _>>()?;
    let [ready, _, lines @ ..] = &printed[..] else { return Err(format!("{printed:?}").into()) };
    assert_eq!(ready, "ready: listening on 127.0.0.1:8100");

    let say = |script: &str| -> Result<String, Failed> {
        let mut python = Command::new(peer.interpreter());
        python.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn()?;
        python.stdin.take().ok_or("no input")?.write_all(script.as_bytes())?;
        let output = python.wait_with_output()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("{}: {script}", output.status).into())
        }
    };
    say(&(lines.join("\n") + "\n"))?;
    let found = say("import ZEO\nprint(ZEO.DB(('127.0.0.1', 8100)).open().root.greeting)\n")?;
    if found == "Hello from Rust\n" { Ok(Completion::Completed) } else { Err(format!("{found:?}").into()) }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
