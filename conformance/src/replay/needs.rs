//! What a server has to be told for a scenario, and whether it has to be started again.

use super::Plan;
use super::plan::Step;
use crate::capture::{ServerAct, ServerLines};

/// What it takes to play a capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of the server, at first.
    pub lines: ServerLines,
    /// It is ended and started again in the middle.
    pub is_restarted: bool,
}

impl Plan {
    /// What the server of the capture was told, and what was done to it: as the capture says, or, where it is one that does
    /// not, as `python/captures/` has it.
    ///
    /// # Errors
    /// Why nobody can play its clients to a server again.
    pub fn needs(&self) -> Result<Needs, &'static str> {
        can_be_played(&self.scenario)?;
        let mut acts = self.steps.iter().filter_map(|step| match step {
            Step::Server(act) => Some(act),
            _ => None,
        });
        Ok(match acts.next() {
            Some(ServerAct::Start(lines)) => {
                Needs { lines: lines.clone(), is_restarted: acts.next().is_some() }
            }
            Some(_) => return Err("its server was there before the recorder"),
            None => Needs { lines: told(&self.scenario), is_restarted: false },
        })
    }
}

/// Whether the clients of a scenario can be played to a server again.
///
/// # Errors
/// Why not.
pub fn can_be_played(scenario: &str) -> Result<(), &'static str> {
    match scenario {
        "digest" => Err("its client answered a challenge that no server gives again"),
        _ => Ok(()),
    }
}

/// What the server of a scenario was told.
fn told(scenario: &str) -> ServerLines {
    let (zeo, storage): (&[&str], &[&str]) = match scenario {
        "client_resolution" | "client_resolution_fails" => (&["client-conflict-resolution true"], &[]),
        "verify_too_old" | "verify_dropped" => (&["invalidation-queue-size 2"], &[]),
        "timeout" => (&["transaction-timeout 1"], &[]),
        "quota" => (&[], &["quota 3000"]),
        "blobs" | "blobs_shared" | "blobs_undo" | "disconnect_blob" | "z308" | "z309" | "z310" | "z3101" => {
            (&[], &["blob-dir blobs"])
        }
        _ => (&[], &[]),
    };
    let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    ServerLines { zeo: owned(zeo), storage: owned(storage) }
}
