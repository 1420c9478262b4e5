//! Clients in Rust and in Python on one database whose server is killed: short runs of `zeo_conformance::serial`.
//!
//! `zeo-serial` makes long ones.

use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::serial::check::check;
use zeo_conformance::serial::journal::{Committed, Entry, Outcome, read_lines};
use zeo_conformance::serial::{Plan, Report, run};
use zeo_conformance::server::{Ready, ServerCommand};

use crate::{SERVE_ARGUMENT, is_required};

/// Our server in both framings, and Python's.
pub(crate) fn trials() -> Vec<Trial> {
    let runs = [
        ("ours::pickle", Framing::Pickle, false),
        ("ours::msgpack", Framing::Msgpack, false),
        ("6.2::pickle", Framing::Pickle, true),
    ];
    let trial = |(name, framing, is_python): (&str, Framing, bool)| {
        Trial::ignorable_test(format!("live::serial::{name}"), move || play(framing, is_python))
    };
    runs.map(trial).into()
}

fn play(framing: Framing, is_python: bool) -> Result<Completion, Failed> {
    let peer = match Peer::ensure(PeerVersion::Zeo62) {
        Ok(peer) => peer,
        Err(reason) if is_required() => return Err(reason.to_string().into()),
        Err(reason) => return Ok(Completion::ignored_with(reason.to_string())),
    };
    let server = if is_python {
        let template = vec![peer.runzeo().into(), "-C".into(), "{config}".into()];
        ServerCommand { template, ready: Ready::Greeting, is_python }
    } else {
        let template =
            vec![std::env::current_exe()?.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
        ServerCommand { template, ready: Ready::Line, is_python }
    };
    let dir = tempfile::TempDir::with_prefix("zeo-serial-")?;
    let plan = Plan {
        server,
        framing,
        peer,
        dir: dir.path().to_owned(),
        rust_count: 2,
        python_count: 2,
        object_count: 24,
        time: Duration::from_secs(8),
        server_life: Duration::from_millis(1_500),
        seed: 1,
    };
    let Report { verdict, kill_count, opened_counts, commit_counts } = run(&plan)?;
    if !verdict.findings.is_empty() {
        return Err(verdict.findings.join("\n").into());
    }
    // Enough of everything, or the run has shown nothing.
    let counts = (commit_counts, opened_counts, kill_count);
    assert!(commit_counts.0 > 50 && commit_counts.1 > 20, "{counts:?} {verdict:?}");
    assert!(opened_counts.0 > 2 && opened_counts.1 > 2 && kill_count > 1, "{counts:?}");
    assert!(verdict.read_count > 500 && verdict.conflict_count > 10, "{verdict:?}");
    assert!(verdict.serializable_count > 50 && verdict.reader_count > 50, "{verdict:?}");
    altered(&plan)?;
    Ok(Completion::Completed)
}

/// One line of a journal that is altered is found: a read of what was superseded, and a commit that was none.
fn altered(plan: &Plan) -> Result<(), Failed> {
    let file: Vec<Committed> = read_lines(&plan.dir.join("history"))?;
    for name in ["rust.journal", "python-0.journal"] {
        let entries: Vec<Entry> = read_lines(&plan.dir.join(name))?;
        let findings = |entries: &[Entry]| {
            let findings = check(entries, &file).findings;
            // The journals of the others are missing here.
            findings.into_iter().filter(|finding| !finding.contains("nobody's")).count()
        };
        assert_eq!(findings(&entries), 0, "{name}");
        let mut stale = entries.clone();
        let reads = stale.iter_mut().rev().flat_map(|entry| &mut entry.reads);
        let first = file.first().ok_or("no history")?;
        let read = reads.into_iter().find(|read| read.serial > first.tid).ok_or("no read")?;
        let older = first.writes.iter().find(|write| write.oid == read.oid).ok_or("no such object")?;
        (read.serial, read.value, read.end) = (first.tid, older.value, None);
        assert!(findings(&stale) > 0, "{name}");
        let mut denied = entries;
        let committed = denied.iter_mut().find(|entry| matches!(entry.outcome, Outcome::Committed(_)));
        committed.ok_or("no commit")?.outcome = Outcome::Refused;
        assert_eq!(findings(&denied), 1, "{name}");
    }
    Ok(())
}
