use std::io::Write;
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::config::Framing;

/// A shell script in place of a server.
fn shell(script: &str, ready: Ready) -> ServerCommand {
    let template = ["sh", "-c", script].map(OsString::from).to_vec();
    ServerCommand { template, ready, is_python: false }
}

fn config(dir: &Path) -> ServerConfig {
    ServerConfig::new(Framing::Pickle, dir.join("Data.fs"))
}

/// Listens, and greets whoever comes with these bytes.
fn greeter(greeting: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(greeting).unwrap();
        }
    });
    address
}

fn start(script: &str, ready: Ready) -> Result<Server, ProcessError> {
    let dir = tempfile::tempdir().unwrap();
    Server::start("server", &shell(script, ready), &config(dir.path()), dir.path())
}

#[test]
fn only_a_complete_ready_line_counts() {
    let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8100)));
    assert_eq!(parse_ready_line("starting\nready: listening on 127.0.0.1:8100\nmore"), address);
    assert_eq!(parse_ready_line("ready: listening on 127.0.0.1:81"), None);
    assert_eq!(parse_ready_line("not ready: listening on 127.0.0.1:8100\n"), None);
}

#[test]
fn the_config_word_is_replaced() {
    let command = ServerCommand::from_words("runzeo -C {config}").command(Path::new("/a b/c"));
    assert_eq!(command.get_args().collect::<Vec<_>>(), ["-C", "/a b/c"]);
}

#[test]
fn the_ready_line_says_where_the_server_is() {
    let address = greeter(b"\0\0\0\x02Z5");
    let script =
        format!("trap 'exit 0' TERM; echo ready: listening on {address}; while :; do sleep 0.01; done");
    let server = start(&script, Ready::Line).unwrap();
    assert_eq!(server.address(), address);
    server.stop().unwrap();
}

#[test]
fn an_exit_status_after_the_signal_is_an_error() {
    let address = greeter(b"\0\0\0\x02Z5");
    let script =
        format!("trap 'exit 3' TERM; echo ready: listening on {address}; while :; do sleep 0.01; done");
    let error = start(&script, Ready::Line).unwrap().stop().unwrap_err();
    assert!(matches!(&error, ProcessError::Exit { status, .. } if status.code() == Some(3)), "{error}");
}

#[test]
fn another_greeting_is_an_error() {
    let address = greeter(b"\0\0\0\x02M5");
    let error = start(&format!("echo ready: listening on {address}; sleep 10"), Ready::Line).unwrap_err();
    assert!(matches!(error, ProcessError::Unexpected { .. }), "{error}");
}

#[test]
fn a_server_that_ends_early_is_an_error_and_a_refusal() {
    let error = start("exit 1", Ready::Greeting).unwrap_err();
    assert!(matches!(error, ProcessError::Exit { .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let command = shell("exit 1", Ready::Line);
    let status = start_refused("server", &command, &config(dir.path()), dir.path()).unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_server_whose_port_was_taken_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo x >> tries; echo Address already in use >&2; exit 1";
    let command = shell(script, Ready::Greeting);
    let error = Server::start("server", &command, &config(dir.path()), dir.path()).unwrap_err();
    assert!(matches!(error, ProcessError::Exit { .. }), "{error}");
    let tries = fs::read_to_string(dir.path().join("tries")).unwrap();
    assert_eq!(tries.lines().count(), START_ATTEMPTS as usize);
}

/// Beside the tests there is none.
#[test]
fn a_missing_runzeo_is_named_with_where_it_was_looked_for() {
    let runzeo = std::env::current_exe().unwrap().with_file_name("runzeo");
    let error = ServerCommand::chosen(None).unwrap_err().to_string();
    let expected = format!("{}: there is no server: cargo build --bin runzeo makes it", runzeo.display());
    assert!(error.starts_with(&expected), "{error}");
}
