//! The commands as programs: what they say of files and servers that are not as they should be.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use zeo_conformance::capture::{Metadata, file};

use crate::{SERVE_ARGUMENT, capture, served};

type Run = fn() -> Result<(), Failed>;

const TRIALS: &[(&str, Run)] = &[
    ("a_damaged_capture_does_not_end_the_others", a_damaged_capture_does_not_end_the_others),
    ("errors_name_what_they_are_about", errors_name_what_they_are_about),
    ("a_server_is_reached_by_name_and_not_overwritten", a_server_is_reached_by_name_and_not_overwritten),
    ("a_capture_that_says_nothing_of_itself_is_played", a_capture_that_says_nothing_of_itself_is_played),
    ("our_server_is_part_of_the_program", our_server_is_part_of_the_program),
    ("what_is_on_purpose_is_no_failure_of_ours", what_is_on_purpose_is_no_failure_of_ours),
];

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    TRIALS.iter().map(|(name, run)| Trial::test(format!("commands::{name}"), run))
}

/// What a program said, and whether it ended well.
struct Said {
    out: String,
    complaint: String,
    is_good: bool,
}

fn run(program: impl AsRef<Path>, args: &[&str]) -> Result<Said, Failed> {
    let output = Command::new(program.as_ref()).args(args).stdin(Stdio::null()).output()?;
    Ok(Said {
        out: String::from_utf8(output.stdout)?,
        complaint: String::from_utf8(output.stderr)?,
        is_good: output.status.success(),
    })
}

fn conformance(args: &[&str]) -> Result<Said, Failed> {
    run(env!("CARGO_BIN_EXE_zeo-conformance"), args)
}

/// This program as the server of an option.
fn server() -> Result<String, Failed> {
    Ok(format!("{} {SERVE_ARGUMENT} -C {{config}}", std::env::current_exe()?.display()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn a_damaged_capture_does_not_end_the_others() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let good = capture("6.2-6.2-pickle", "commit");
    let [damaged, absent] = ["damaged.zeocap.gz", "absent.zeocap"].map(|name| dir.path().join(name));
    let whole = fs::read(&good)?;
    fs::write(&damaged, whole.get(..whole.len() / 2).unwrap_or_default())?;
    let [good, damaged, absent] = [&good, &damaged, &absent].map(|path| shown(path));
    let said = conformance(&["replay", "--server", &server()?, &damaged, &absent, &good])?;
    let lines: Vec<&str> = said.out.lines().collect();
    let [first, second, third] = lines[..] else { return Err(said.out.into()) };
    assert!(first.starts_with(&format!("{damaged}: failed: offset ")), "{first}");
    assert!(
        second.starts_with(&format!("{absent}: failed: ")) && second.contains("No such file"),
        "{second}"
    );
    assert!(third.starts_with(&format!("{good}: the same (")), "{third}");
    assert!(!said.is_good);
    let said = conformance(&["replay", "--client", "ours", &absent])?;
    assert!(said.out.starts_with(&format!("{absent}: failed: ")) && !said.is_good, "{}", said.out);
    Ok(())
}

fn errors_name_what_they_are_about() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let commit = shown(&capture("6.2-6.2-pickle", "commit"));
    let absent = shown(&dir.path().join("absent"));
    let [report, packets] = ["report", "a.pcapng"].map(|name| format!("{absent}/{name}"));
    let server = server()?;
    for (args, complaint) in [
        (vec!["replay", "--to", "127.0.0.1:1", &commit], "127.0.0.1:1: Connection refused"),
        (vec!["check", "127.0.0.1:1"], "127.0.0.1:1: Connection refused"),
        (vec!["replay", "--to", "127.0.0.1", &commit], "expected HOST:PORT"),
        (vec!["check", "--server", &server, "--captures", &absent], &*format!("{absent}: no directory")),
        (vec!["check", "--server", &server, "--html", &report], &*format!("{report}: No such file")),
        (vec!["check", "--server", &server, "--json", &report], &*format!("{report}: No such file")),
        (vec!["check", "--server", &server, "--junit", &report], &*format!("{report}: No such file")),
        (vec!["convert", &commit, &packets], &*format!("{packets}: No such file")),
        (vec!["convert", &commit, &absent], &*format!("{absent}: the name has to end with")),
        (vec!["matrix", &absent], &*format!("{absent}: No such file")),
    ] {
        let said = conformance(&args)?;
        assert!(!said.is_good && said.complaint.contains(complaint), "{args:?}: {}", said.complaint);
        assert_eq!(said.out, "", "{args:?}: nothing was played before");
    }
    // A capture that is not there is the failure of one cell.
    let args = ["--captures", &shown(dir.path()), "--pair", "6.2-6.2-pickle", "--scenario", "commit"];
    let said = conformance(&[&["check", "--server", &server][..], &args].concat())?;
    let path = shown(&dir.path().join("6.2-6.2-pickle/commit.zeocap.gz"));
    assert!(said.out.contains(&format!("6.2-6.2-pickle: {path}: ")) && !said.is_good, "{}", said.out);
    // One that is damaged further on, too; what is wrong with a server is not about a capture.
    let whole = fs::read(capture("6.2-6.2-pickle", "commit"))?;
    fs::create_dir(dir.path().join("6.2-6.2-pickle"))?;
    fs::write(&path, whole.get(..whole.len() / 2).unwrap_or_default())?;
    let said = conformance(&[&["check", "--server", &server][..], &args].concat())?;
    assert!(said.out.contains(&format!("6.2-6.2-pickle: {path}: offset ")), "{}", said.out);
    Ok(())
}

fn a_server_is_reached_by_name_and_not_overwritten() -> Result<(), Failed> {
    let (_dir, server) = served("1")?;
    let place = format!("localhost:{}", server.address().port());
    let commit = shown(&capture("6.2-6.2-pickle", "commit"));
    let first = conformance(&["replay", "--to", &place, &commit])?;
    assert!(first.is_good && first.out.contains(": the same ("), "{}{}", first.out, first.complaint);
    let second = conformance(&["replay", "--to", &place, &commit])?;
    let refused = format!("{commit}: failed: the storage at {} is not empty; --not-empty", server.address());
    assert!(second.out.starts_with(&refused) && !second.is_good, "{}", second.out);
    let third = conformance(&["replay", "--to", &place, "--not-empty", "--patience", "1", &commit])?;
    assert!(third.out.contains(": differs ("), "{}", third.out);
    let args = ["--pair", "6.2-6.2-pickle", "--scenario", "undo", "--scenario", "commit"];
    let checked = conformance(&[&["check", &place][..], &args].concat())?;
    server.stop()?;
    let reason = "    2 not played: the storage is not empty, and --reset does not say how it is emptied\n";
    assert!(checked.out.starts_with(&format!("nothing could be played\n{reason}")), "{}", checked.out);
    assert!(!checked.is_good);
    Ok(())
}

/// As the recorder makes them, which is not told what is spoken.
fn a_capture_that_says_nothing_of_itself_is_played() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    for pair in ["6.2-6.2-msgpack", "6.2-6.2-pickle"] {
        let path = dir.path().join(format!("{pair}.zeocap"));
        let mut reader = file::open(&capture(pair, "commit"))?;
        let mut writer = file::create(&path, &Metadata::default())?;
        while let Some(record) = reader.next_record()? {
            writer.write(&record)?;
        }
        writer.finish()?.close()?;
        let said = conformance(&["replay", &shown(&path)])?;
        assert!(said.is_good && said.out.contains(": the same ("), "{pair}: {}{}", said.out, said.complaint);
    }
    Ok(())
}

fn our_server_is_part_of_the_program() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("zeo-conformance");
    if fs::hard_link(env!("CARGO_BIN_EXE_zeo-conformance"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_zeo-conformance"), &program)?;
    }
    let commit = shown(&capture("6.2-6.2-pickle", "commit"));
    // The second one ends the server and starts it again.
    let restart = shown(&capture("6.2-6.2-pickle", "restart"));
    for args in [
        &["replay", &commit, &restart][..],
        &["check", "--pair", "6.2-6.2-*", "--scenario", "commit", "--scenario", "conflict"],
    ] {
        let said = run(&program, args)?;
        assert!(said.is_good, "{args:?}: {}{}", said.out, said.complaint);
    }
    Ok(())
}

fn what_is_on_purpose_is_no_failure_of_ours() -> Result<(), Failed> {
    let server = server()?;
    let args = ["check", "--server", &server, "--pair", "6.2-6.2-pickle", "--scenario", "conflict"];
    let plain = conformance(&args)?;
    assert!(plain.out.contains("1 differs") && !plain.is_good, "{}", plain.out);
    let ours = conformance(&[&args[..], &["--ours"]].concat())?;
    assert!(ours.out.contains("1 on purpose\n    6.2-6.2-pickle: a conflict that it cannot"), "{}", ours.out);
    assert!(ours.is_good);
    Ok(())
}
