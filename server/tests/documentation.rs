//! The configurations and command lines of Python's documentation, and our own examples: each starts, or is refused
//! for the reason that Python gives, too, or that says what this server cannot do.
//!
//! `data/documentation/` has them as they were written, except that what stands around them is left out:
//! `readme*` from the README of ZEO 4.0 and 5.1, `howto_3_3` from the how-to of ZODB 3.3, `options_*` from
//! `ZEO/tests/zdoptions.test` (6.2), `fan_out` after `ZEO/tests/zeo-fan-out.test`, `instance*` after what
//! `mkzeoinstance` and recipes of buildout write. A test puts a free port and a directory of its own in their
//! places.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rcgen::{CertificateParams, KeyPair};

/// What comes of a configuration.
enum Outcome {
    /// It starts.
    Starts,
    /// It is refused with exit status 2, and with these words among others.
    Refused(&'static str),
}
use Outcome::{Refused, Starts};

const EXAMPLES: &[(&str, Outcome)] = &[
    ("fan_out", Starts),
    ("howto_3_3", Starts),
    ("instance", Starts),
    ("instance_blobs", Starts),
    ("options_named_twice", Refused("zeo.conf:6: the name \"1\" is given twice")),
    ("options_none", Refused("there is no section for a storage")),
    ("options_several", Starts),
    ("options_two_unnamed", Refused("zeo.conf:6: no more than one storage may be unnamed")),
    ("options_unnamed", Starts),
    ("options_unnamed_and_1", Refused("zeo.conf:4: an unnamed storage is called '1'")),
    ("readme", Starts),
    // Python's server refuses it as well since `authenticate` is required.
    ("readme_ssl", Refused("zeo.conf:3: <ssl> needs a key \"authenticate\"")),
    ("readme_ssl_authenticate", Starts),
];

fn runzeo(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runzeo"));
    command.current_dir(directory).stdin(Stdio::null());
    for variable in ["ZEO_MSGPACK", "INSTANCE_HOME", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

/// Starts a server with the configuration `text`, adapted to this place, which stops at once.
fn start(text: &str, directory: &Path, variables: &[(&str, &str)]) -> Output {
    let here = directory.display().to_string();
    let text = text
        .replace("zeo.example.com:8090", "127.0.0.1:0")
        .replace("zeo.example.com:8091", "127.0.0.1:0")
        .replace("address 8100", "address 127.0.0.1:0")
        // There is no server behind it, nor shall it wait for one.
        .replace("server 8200", "server 8200\nwait off")
        .replace("/var/tmp", &here)
        .replace("/data", &here);
    fs::write(directory.join("zeo.conf"), text).unwrap();
    let mut command = runzeo(directory);
    command.args(["-C", "zeo.conf", "--test"]).envs(variables.iter().copied());
    command.output().unwrap()
}

fn check(name: &str, output: &Output, outcome: &Outcome) {
    let said = String::from_utf8_lossy(&output.stderr);
    match outcome {
        Starts => assert_eq!(output.status.code(), Some(0), "{name}: {said}"),
        Refused(words) => {
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
        }
    }
}

/// The files that the examples with `<ssl>` name.
fn write_certificates(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    for name in ["server_certificate.pem", "client_certificate.pem"] {
        fs::write(directory.join(name), certificate.pem()).unwrap();
    }
    fs::write(directory.join("server_certificate_key.pem"), key.serialize_pem()).unwrap();
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/documentation")
}

#[test]
fn configurations_of_the_documentation_start_or_say_why_not() {
    for (name, outcome) in EXAMPLES {
        let directory = tempfile::tempdir().unwrap();
        write_certificates(directory.path());
        let text = fs::read_to_string(data().join(format!("{name}.conf"))).unwrap();
        check(name, &start(&text, directory.path(), &[]), outcome);
    }
    let files = fs::read_dir(data()).unwrap().count();
    assert_eq!(files, EXAMPLES.len(), "each example is tried");
}

#[test]
fn the_command_line_of_the_guide_starts() {
    // "python ZEO/runzeo.py -a /tmp/zeosocket -f /tmp/test.fs", ZODB programming guide.
    let directory = tempfile::tempdir().unwrap();
    let (socket, file) = (directory.path().join("zeosocket"), directory.path().join("test.fs"));
    let mut command = runzeo(directory.path());
    command.arg("-a").arg(&socket).arg("-f").arg(&file).arg("--test");
    let output = command.output().unwrap();
    check("guide", &output, &Starts);
    assert!(file.exists() && !socket.exists());
}

#[test]
fn the_configuration_for_containers_starts_with_its_variables() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/zeo-container.conf")).unwrap();
    let variables = [
        ("ZEO_PORT", "127.0.0.1:0"),
        ("ZEO_READ_ONLY", "false"),
        ("ZEO_INVALIDATION_QUEUE_SIZE", "100"),
        ("ZEO_PACK_KEEP_OLD", "true"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let output = start(&text, directory.path(), &variables);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(log.contains("INFO ZEO.StorageServer StorageServer created RW with storages: 1:RW:"), "{log}");
    assert!(directory.path().join("Data.fs").exists() && directory.path().join("blobstorage/tmp").is_dir());
    let output = start(&text, directory.path(), &variables[..3]);
    check("without a variable", &output, &Refused("environment variable \"ZEO_PACK_KEEP_OLD\" is not set"));
}

#[test]
fn what_ssl_names_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(data().join("readme_ssl_authenticate.conf")).unwrap();
    let output = start(&text, directory.path(), &[]);
    check("no certificates", &output, &Refused("client_certificate.pem: cannot be read"));
    let log = fs::read_to_string(directory.path().join("zeo.log")).unwrap();
    assert!(log.contains("client_certificate.pem: cannot be read"), "{log}");
    assert!(!directory.path().join("Data.fs").exists(), "nothing is opened");
}
