//! Proof that the scenarios can fail: Python's server with one thing wrong must make one of them fail, and for
//! that reason.

use libtest_mimic::{Completion, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::PeerVersion;

use crate::context::{Context, Subject};
use crate::scenarios::SCENARIOS;

/// Something wrong with a server, and what must come of it.
#[derive(Clone, Copy)]
struct Fault {
    /// Its name in `python/broken_server.py`.
    name: &'static str,
    /// The scenario that must fail.
    scenario: &'static str,
    /// What must be said then, by Rust or by Python.
    complaint: &'static str,
}

const fn fault(name: &'static str, scenario: &'static str, complaint: &'static str) -> Fault {
    Fault { name, scenario, complaint }
}

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    fault("abort_commits", "abort_paths", "load of an aborted object"),
    fault("lock_kept_after_disconnection", "abort_paths", "commits after the holder is gone"),
    fault("extension_lost", "basic", "extension of commit"),
    fault("exit_status_1", "basic", "exit status after SIGTERM"),
    fault("large_record_damaged", "basic", "content in the other process"),
    fault("conflict_without_class_name", "conflict", "class name: None"),
    fault("resolution_takes_the_last", "conflict", "conflict on plain"),
    fault("conflicts_overlooked", "conflict_client_resolution", "conflict on plain"),
    fault("conflicts_overlooked", "counters", "the sum on the plain object"),
    fault("deletion_ignored", "delete", "stale deletion"),
    fault("invalidations_out_of_order", "invalidations", "AssertionError: invalidations"),
    fault("invalidations_without_new_objects", "invalidations", "AssertionError: invalidations"),
    fault("file_not_locked", "lock", "opening a file in use"),
    fault("metadata_cut", "metadata_too_long", "user name too long"),
    fault("end_of_revisions_lost", "methods", "AssertionError: loadBefore"),
    fault("new_oids_repeat", "methods", "AssertionError: new oids"),
    fault("unknown_object_is_key_error", "methods", "KeyError"),
    fault("stale_reads_overlooked", "read_conflict", "stale read"),
    fault("stored_though_read_only", "read_only", "new_oids: expected ReadOnlyError"),
    fault("verification_never_possible", "reconnect", "AssertionError: cache verification"),
    fault("verification_says_nothing_changed", "reconnect", "commits during the absence are not seen"),
    fault("end_of_revisions_lost", "served_file", "AssertionError: loadBefore"),
    fault("certificates_not_required", "tls", "no certificate: expected ClientDisconnected"),
];

/// One trial for each fault.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |&fault: &Fault| {
        let name = format!("live-faults::{}::{}", fault.scenario, fault.name);
        Trial::ignorable_test(name, move || run(fault))
    };
    FAULTS.iter().map(trial).collect()
}

fn run(fault: Fault) -> Result<Completion, Failed> {
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == fault.scenario) else {
        return Err(format!("no scenario {}", fault.scenario).into());
    };
    let context = match Context::new(&Subject::Broken(fault.name), PeerVersion::Zeo62, Framing::Pickle) {
        Ok(context) => context,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let Err(error) = (scenario.run)(&context) else {
        return Err("passed in spite of the fault".into());
    };
    let said = format!("{error}\n{}", context.logs());
    if said.contains(fault.complaint) {
        return Ok(Completion::Completed);
    }
    Err(format!("failed, but nobody said {:?}: {said}", fault.complaint).into())
}
