//! Packets between Python peers, captured by tshark (`fixtures/pcap/README.md`): the sniffer reads them, and so does
//! Wireshark with the dissector of this repository, and both see the same messages.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Trial};
use zeo_conformance::sniff::input::{self, Reading};
use zeo_conformance::sniff::{Bounds, Kind, Sniffer};

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

/// Kind and method of each message, and what could not be read.
fn sniffed(name: &str) -> (Vec<String>, Vec<String>) {
    let mut sniffer = Sniffer::new(Bounds::default());
    let (mut messages, mut lost) = (Vec::new(), Vec::new());
    let source = input::open(&root().join("fixtures/pcap").join(name), None).unwrap();
    input::read(source, &Reading::default(), &mut |_| Ok(()), &mut |record| {
        sniffer.hear(record, &mut |message| {
            match message.kind {
                Kind::Call | Kind::OneWay | Kind::Reply | Kind::Error => {
                    messages.push(format!("{} {}", message.kind.name(), message.name()));
                }
                Kind::Lost | Kind::Undecodable => {
                    lost.push(message.remark.unwrap_or("undecodable").to_owned())
                }
                _ => {}
            }
            Ok(())
        })
    })
    .unwrap();
    (messages, lost)
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

/// Kind and method of each message, as tshark sees them with the dissector.
fn dissected(name: &str) -> Vec<String> {
    let script = format!("lua_script:{}", root().join("conformance/wireshark/zeo.lua").display());
    let mut command = Command::new("tshark");
    command.args(["-X", &script, "-r"]).arg(root().join("fixtures/pcap").join(name));
    command.args(["-Y", "zeo", "-T", "fields", "-E", "aggregator=,"]);
    command.args(["-e", "zeo.kind", "-e", "zeo.method", "-e", "_ws.expert.message"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut messages = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (kinds, methods) = (fields.next().unwrap(), fields.next().unwrap());
        assert!(!line.contains("Cannot be read") && !line.contains("ends within"), "{name}: {line}");
        let both = kinds.split(',').zip(methods.split(','));
        messages.extend(
            both.filter(|(kind, _)| !kind.is_empty()).map(|(kind, method)| format!("{kind} {method}")),
        );
    }
    messages
}

fn wireshark_sees_the_same_messages_with_the_dissector() {
    for name in WHOLE {
        assert_eq!(dissected(name), sniffed(name).0, "{name}");
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
    trials.push(Trial::ignorable_test("wireshark_sees_the_same_messages_with_the_dissector", || {
        match Command::new("tshark").arg("--version").output() {
            Err(error) if std::env::var_os(REQUIRE_VARIABLE).is_none() => {
                Ok(Completion::ignored_with(format!("tshark: {error}")))
            }
            Err(error) => Err(format!("tshark: {error}").into()),
            Ok(_) => {
                wireshark_sees_the_same_messages_with_the_dissector();
                Ok(Completion::Completed)
            }
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
