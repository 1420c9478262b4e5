//! What a server has to be told for a scenario.

/// Lines of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// In `<zeo>`.
    pub zeo: &'static [&'static str],
    /// In the section of the storage.
    pub storage: &'static [&'static str],
}

const NOTHING: Needs = Needs { zeo: &[], storage: &[] };

/// What the server of a scenario was told, as `python/captures/` has it.
///
/// # Errors
/// Why nobody can play its clients to a server again.
pub fn needs(scenario: &str) -> Result<Needs, &'static str> {
    let restarted = "its server was started again in the middle";
    Ok(match scenario {
        "client_resolution" | "client_resolution_fails" => {
            Needs { zeo: &["client-conflict-resolution true"], ..NOTHING }
        }
        "verify_too_old" | "verify_dropped" => Needs { zeo: &["invalidation-queue-size 2"], ..NOTHING },
        "timeout" => Needs { zeo: &["transaction-timeout 1"], ..NOTHING },
        "quota" => Needs { storage: &["quota 3000"], ..NOTHING },
        "blobs" | "blobs_undo" | "disconnect_blob" | "z308" | "z309" | "z310" | "z3101" => {
            Needs { storage: &["blob-dir blobs"], ..NOTHING }
        }
        "restart" | "verify_newer" | "read_only" | "fallback" => return Err(restarted),
        "blobs_shared" => return Err("its client handed over files in a shared directory"),
        "digest" => return Err("its client answered a challenge that no server gives again"),
        _ => NOTHING,
    })
}
