//! Packets between Python peers, captured by tshark (`fixtures/pcap/README.md`): the sniffer reads them, and so does
//! Wireshark with the dissector of this repository, and both see the same messages.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Trial};

use crate::dissected::{difference, dissected};

mod cases;
mod dissected;
mod fixtures;

/// If set, a test that cannot take place fails.
const REQUIRE_VARIABLE: &str = "ZEO_TEST_REQUIRE";

/// Captured from the first packet to the last, in whole.
const WHOLE: [&str; 4] = [
    "5.4.1-msgpack-sll2.pcapng.gz",
    "5.4.1-pickle-any.pcap.gz",
    "6.2-msgpack.pcapng.gz",
    "6.2-pickle-ipv6.pcapng.gz",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn pcap(name: &str) -> PathBuf {
    root().join("fixtures/pcap").join(name)
}

/// Kind and method of each message, and what could not be read.
fn sniffed(name: &str) -> (Vec<String>, Vec<String>) {
    let (messages, lost) = dissected::sniffed(&pcap(name));
    let messages =
        messages.iter().filter(|seen| !matches!(&*seen.kind, "hello" | "undecodable" | "keep-alive"));
    (messages.map(|seen| format!("{} {}", seen.kind, seen.method)).collect(), lost)
}

fn conversations_are_read_on_every_device_and_in_both_families() {
    for name in WHOLE {
        let (messages, lost) = sniffed(name);
        assert_eq!(lost, [""; 0], "{name}");
        // What conversation.py does: two clients, six transactions of which one fails, a blob, an undo.
        let count = |wanted: &str| messages.iter().filter(|message| *message == wanted).count();
        assert_eq!(count("reply register"), 2, "{name}");
        assert_eq!(count("one-way storeBlobEnd"), 1, "{name}");
        assert_eq!(count("one-way undoa"), 1, "{name}");
        assert_eq!(count("reply undoInfo") + count("reply undoLog"), 1, "{name}");
        assert_eq!(count("call tpc_finish"), count("reply tpc_finish"), "{name}");
        assert!(count("error loadBefore") >= 1, "{name}");
    }
}

fn a_conversation_without_its_beginning_is_read_from_the_first_whole_message() {
    let (whole, _) = sniffed("6.2-msgpack.pcapng.gz");
    let (joined, lost) = sniffed("6.2-msgpack-joined.pcapng.gz");
    assert!(lost.iter().any(|text| text == "the beginning was not captured"), "{lost:?}");
    // The second client's connection was made before as well: only what came before is missing.
    assert!(joined.len() > whole.len() / 2, "{} of {}", joined.len(), whole.len());
    let last = |messages: &[String]| messages.iter().rev().take(20).cloned().collect::<Vec<_>>();
    assert_eq!(last(&joined), last(&whole));
}

fn packets_of_which_only_the_beginning_was_captured_tell_what_is_missing() {
    let (messages, lost) = sniffed("6.2-msgpack-short.pcapng.gz");
    assert!(lost.iter().any(|text| text.contains("bytes were not captured")), "{lost:?}");
    assert!(messages.iter().any(|message| message == "call tpc_finish"), "{messages:?}");
}

fn wireshark_sees_the_same_messages_with_the_dissector() {
    for name in WHOLE {
        let difference = difference(&dissected(&pcap(name), &[]), &dissected::sniffed(&pcap(name)).0);
        assert_eq!(difference, None, "{name}");
    }
}

fn main() -> ExitCode {
    let reading: [(&str, fn()); 3] = [
        (
            "conversations_are_read_on_every_device_and_in_both_families",
            conversations_are_read_on_every_device_and_in_both_families,
        ),
        (
            "a_conversation_without_its_beginning_is_read_from_the_first_whole_message",
            a_conversation_without_its_beginning_is_read_from_the_first_whole_message,
        ),
        (
            "packets_of_which_only_the_beginning_was_captured_tell_what_is_missing",
            packets_of_which_only_the_beginning_was_captured_tell_what_is_missing,
        ),
    ];
    let mut trials: Vec<Trial> = reading
        .map(|(name, run)| {
            Trial::test(name, move || {
                run();
                Ok(())
            })
        })
        .into();
    let dissecting: [(&str, fn()); 7] = [
        (
            "wireshark_sees_the_same_messages_with_the_dissector",
            wireshark_sees_the_same_messages_with_the_dissector,
        ),
        ("a_conversation_is_joined_within_a_message", cases::a_conversation_is_joined_within_a_message),
        (
            "a_client_port_of_another_protocol_costs_the_beginning_at_most",
            cases::a_client_port_of_another_protocol_costs_the_beginning_at_most,
        ),
        ("lines_read_well", cases::lines_read_well),
        ("a_second_pass_shows_what_one_shows", cases::a_second_pass_shows_what_one_shows),
        ("ports_are_used_again", cases::ports_are_used_again),
        ("long_lists_and_dicts_of_msgpack_are_read", cases::long_lists_and_dicts_of_msgpack_are_read),
    ];
    trials.extend(dissecting.map(|(name, run)| with_tshark(name, run)));
    trials.extend(fixtures::by_pair().into_iter().map(|(pair, captures)| {
        with_tshark(&format!("wireshark_tells_what_sniff_tells::{pair}"), move || {
            fixtures::wireshark_tells_what_sniff_tells(&captures);
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn with_tshark(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(name, || match Command::new("tshark").arg("--version").output() {
        Err(error) if std::env::var_os(REQUIRE_VARIABLE).is_none() => {
            Ok(Completion::ignored_with(format!("tshark: {error}")))
        }
        Err(error) => Err(format!("tshark: {error}").into()),
        Ok(_) => {
            run();
            Ok(Completion::Completed)
        }
    })
}
