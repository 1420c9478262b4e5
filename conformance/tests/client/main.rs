//! The Rust client against real servers, Python's and ours, with Python's client beside it.
//!
//! Each server x framing x scenario is one trial, for example `client::6.2::msgpack::commit`. A trial whose Python
//! cannot be had is *ignored*, with the reason, and never passed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a trial fails by panicking")]

mod blobs;
mod cached;
mod commit;
mod configured;
mod connecting;
mod digest;
mod fate;
mod past;
mod reading;
mod relay;
mod servers;
mod threads;
mod tls;
mod together;
mod tools;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{OldVersion, PeerVersion};

use crate::world::{Result, Subject, World};

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

/// The first argument that makes this program one of the client's programs; the next is its name.
const TOOL_ARGUMENT: &str = "--tool";

/// If set, a trial that would be ignored fails: for machines where Python must be at hand.
const REQUIRE_VARIABLE: &str = "ZEO_TEST_REQUIRE";

/// If set, every scenario is played with every server in both framings.
const ALL_VARIABLE: &str = "ZEO_TEST_ALL";

/// A name, and what is done.
type Scenario = (&'static str, fn(&World) -> Result);

/// Scenarios whose messages differ most between versions and framings; the others are played with Python's servers
/// once.
const EVERYWHERE: &[&str] = &["blobs", "commit", "conflict", "iterate", "reading", "relay", "undo"];

/// Scenarios that are not played with servers of ZEO 4, which leave no conflicts to their clients, and have no TLS, no
/// `<clientstorage>` to serve, and no order between an answer and the announcement of what was committed before.
const NOT_OF_ZEO4: &[&str] = &["conflict_resolved", "conflict_to_a_thread", "relay_conflict", "sync", "tls"];

/// Scenarios that are played with ours and servers of ZEO 4 only: ZEO 5 has no such authentication.
const NOT_OF_ZEO5: &[&str] = &["digest"];

/// Scenarios with a client, a tool or a script in Python beside, which is not made for Python 2, or speaks another way there.
const WITH_A_PEER: &[&str] = &[
    "blobs",
    "blobs_bounded",
    "blobs_one_cache",
    "blobs_shared",
    "cache_trace",
    "commit",
    "configured",
    "relay",
    "restart",
    "tls",
    "tool_nagios",
    "tool_zeo_status",
    "tool_zeopack",
];

/// All scenarios.
const SCENARIOS: &[Scenario] = &[
    ("access", connecting::access),
    ("another_mode", connecting::another_mode),
    ("blobs", blobs::blobs),
    ("blobs_bounded", blobs::bounded),
    ("blobs_one_cache", blobs::one_cache),
    ("cache_file", cached::cache_file),
    ("cache_corrected", cached::corrected),
    ("cache_trace", cached::trace),
    ("blobs_shared", blobs::shared),
    ("blocked_reader", servers::blocked_reader),
    ("check_current", commit::check_current),
    ("commit", commit::commit),
    ("commit_lock", together::commit_lock),
    ("concurrent_updates", together::concurrent_updates),
    ("configured", configured::configured),
    ("conflict", commit::conflict),
    ("conflict_resolved", commit::conflict_resolved),
    ("conflict_to_a_thread", threads::conflict_to_a_thread),
    ("copy", past::copy),
    ("digest", digest::digest),
    ("dropped", commit::dropped),
    ("fate", fate::fate),
    ("fate_hidden", fate::hidden_fate),
    ("fate_late", fate::late_fate),
    ("fate_packed", fate::packed_fate),
    ("from_a_thread", threads::from_a_thread),
    ("from_threads", threads::from_threads),
    ("iterate", past::iterate),
    ("iterate_in_parallel", together::iterate_in_parallel),
    ("new_address", connecting::new_address),
    ("prefetch", reading::prefetch),
    ("read_only_fallback", servers::read_only_fallback),
    ("reading", reading::reading),
    ("relay", relay::relay),
    ("relay_conflict", relay::conflict),
    ("relay_restart", relay::restart),
    ("restart", servers::restart),
    ("several_servers", connecting::several_servers),
    ("sync", connecting::sync),
    ("threads_store", together::threads_store),
    ("tls", tls::tls),
    ("tool_nagios", tools::nagios),
    ("tool_zeo_check", tools::zeo::check),
    ("tool_zeo_copy", tools::copy::copy),
    ("tool_zeo_copy_blobs", tools::copy::copy_blobs),
    ("tool_zeo_copy_empty", tools::copy::copy_empty),
    ("tool_zeo_load", tools::zeo::load),
    ("tool_zeo_log", tools::zeo::log),
    ("tool_zeo_status", tools::zeo::status),
    ("tool_zeo_wait", tools::zeo::wait),
    ("tool_zeopack", tools::zeopack),
    ("undo", past::undo),
    ("verification", connecting::verification),
    ("torn_tail", servers::torn_tail),
    ("unknown_storage", servers::unknown_storage),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    if first.is_some_and(|first| first == TOOL_ARGUMENT) {
        return tools::run(args);
    }
    let mut arguments = Arguments::from_args();
    // Trials mostly wait for other processes.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(processors + 1);
    let is_all = std::env::var_os(ALL_VARIABLE).is_some();
    let mut trials = Vec::new();
    for subject in Subject::ALL {
        for framing in Framing::ALL {
            let is_first = match subject {
                Subject::Ours | Subject::Old(OldVersion::Zeo431) => true,
                Subject::Python(version) => version == PeerVersion::Zeo62 && framing == Framing::Pickle,
                Subject::Old(_) => false,
            };
            let can_be = |name| match subject {
                // With msgpack our server speaks the protocol of ZEO 5 alone.
                Subject::Ours => framing == Framing::Pickle || !NOT_OF_ZEO5.contains(name),
                Subject::Python(_) => !NOT_OF_ZEO5.contains(name),
                Subject::Old(version) => {
                    let is_spoken = if version.is_zeo4() {
                        framing == Framing::Pickle && !NOT_OF_ZEO4.contains(name)
                    } else {
                        !NOT_OF_ZEO5.contains(name)
                    };
                    is_spoken && (!version.is_python2() || !WITH_A_PEER.contains(name))
                }
            };
            let wanted = |name| can_be(name) && (is_all || is_first || EVERYWHERE.contains(name));
            for (name, run) in SCENARIOS.iter().filter(|(name, _)| wanted(name)) {
                let title = format!("client::{}::{}::{name}", subject.name(), framing.name());
                trials.push(Trial::ignorable_test(title, move || run_trial(subject, framing, *run)));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run_trial(
    subject: Subject,
    framing: Framing,
    run: fn(&World) -> Result,
) -> std::result::Result<Completion, Failed> {
    let world = match World::new(subject, framing) {
        Ok(world) => world,
        Err(reason) if std::env::var_os(REQUIRE_VARIABLE).is_none() => {
            return Ok(Completion::ignored_with(reason));
        }
        Err(reason) => return Err(reason.into()),
    };
    run(&world).map_err(|error| Failed::from(format!("{error}\n{}", world.logs())))?;
    Ok(Completion::Completed)
}
