//! A scenario's script in front of a server that is played from a capture.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use zeo_codec::frame::write_frame;
use zeo_codec::session::Direction;

use super::Program;
use super::stage::Said;
use crate::capture::{ServerAct, file};
use crate::decode::{Told, each_message};
use crate::peers::Peer;
use crate::process::read_lossy;
use crate::replay::{Report, serve_script};
use crate::script::Script;

/// Why the script of a scenario cannot be played by this client to the server of a capture.
///
/// # Errors
/// The reason.
pub fn can_be_guests(scenario: &str, client: Program) -> Result<(), &'static str> {
    match scenario {
        "digest" => Err("its client answers a challenge that is another one each time"),
        "status" | "older_calls" if client.is_zeo4() => {
            Err("how far the client comes that connects again before its program ends is chance")
        }
        "blobs_shared" => Err("its client shares a directory with the server"),
        "lock" | "disconnect_lock" => Err("its script asks the server, past the recorder, who waits"),
        _ => Ok(()),
    }
}

/// Plays the server of the capture to the clients of a scenario, run by this Python.
///
/// # Errors
/// If the capture cannot be played, or the script ends badly although it was answered as in the capture.
pub fn entertain(
    client: &Peer,
    scenario: &str,
    capture: &Path,
    patience: Duration,
) -> Result<Report, Box<dyn Error>> {
    let dir = tempfile::TempDir::with_prefix("zeo-guest-")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, door) = (listener.local_addr()?, doorkeeper(greeting(capture)?)?);
    let place = dir.path().display().to_string();
    let args = [scenario.to_owned(), address.to_string(), door.to_string(), place];
    let mut script = Script::start(client, "captures/play", "script", &args, dir.path())?;
    let id = script.id();
    let report = std::thread::scope(|scope| {
        let (wanted, acts) = channel();
        let script = &mut script;
        let going_on = scope.spawn(move || accompany(script, &wanted).map_err(|error| error.to_string()));
        let report = serve_script(capture, &listener, patience, &acts);
        let is_over = report.as_ref().map_or(true, |report| !report.differences.is_empty());
        if is_over && let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // Nobody answers it any more. It may have ended already.
            let _ = kill_process(id, Signal::KILL);
        }
        let ended = going_on.join().map_err(|_| "the thread of the script panicked")?;
        match (report?, ended) {
            (report, Err(error)) if report.differences.is_empty() => {
                Err(format!("{error}\n{}", read_lossy(&dir.path().join("script.log"))).into())
            }
            (report, _) => Ok::<_, Box<dyn Error>>(report),
        }
    });
    // Before the directory, in which it may still write.
    drop(script);
    fs::remove_dir_all(dir.path())?;
    report
}

/// What the captured server says to whoever comes, as a frame.
fn greeting(capture: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut greeting = Vec::new();
    each_message(&mut file::open(capture)?, |_, _, told| match told {
        Told::Message { direction: Direction::FromServer, payload, .. } if greeting.is_empty() => {
            write_frame(&mut greeting, &payload);
        }
        _ => {}
    })?;
    Ok(greeting)
}

/// Greets those who come past the recorder, to look which server this is. It goes with the process.
fn doorkeeper(greeting: Vec<u8>) -> std::io::Result<SocketAddr> {
    let door = TcpListener::bind("127.0.0.1:0")?;
    let address = door.local_addr()?;
    std::thread::Builder::new().name("doorkeeper".into()).spawn(move || {
        let mut guests = Vec::new();
        for mut guest in door.incoming().flatten() {
            // Who is gone does not want to know.
            let _ = guest.write_all(&greeting);
            guests.push(guest);
        }
    })?;
    Ok(address)
}

/// Has the script go on whatever it asks for: the play learns what it wants of the server, and faults are in the capture.
fn accompany(script: &mut Script, wanted: &Sender<ServerAct>) -> Result<(), Box<dyn Error>> {
    loop {
        let said = Said::deserialize(script.next_step()?)?;
        if let Some(act) = said.act() {
            // The play may be over.
            let _ = wanted.send(act);
            script.tell("ok")?;
            continue;
        }
        match said.step.as_str() {
            "faults" | "fault" => script.tell("ok")?,
            "" if said.result => break,
            _ => return Err(format!("the script says {said:?}").into()),
        }
    }
    Ok(script.expect_end()?)
}
