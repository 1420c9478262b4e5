use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;
use zeo_codec::session::Direction::FromClient;

use super::super::tls::{Identity, acceptor, connector};
use super::*;
use crate::capture::{CaptureError, file};

/// What was recorded of one connection, joined: (who, what) without times.
type Story = Vec<(char, String)>;

/// The records of a capture, of one connection; what was sent in one direction without a break is joined.
fn story(path: &Path, number: u32) -> Result<Story, CaptureError> {
    let mut reader = file::open(path)?;
    let mut story = Story::new();
    while let Some(record) = reader.next_record()? {
        if record.connection != number {
            continue;
        }
        let (who, what) = match record.event {
            Event::Opened(_) => ('O', String::new()),
            Event::Note(text) => ('N', text.into_owned()),
            Event::Bytes { direction, bytes } => (
                if direction == FromClient { 'C' } else { 'S' },
                String::from_utf8_lossy(&bytes).into_owned(),
            ),
            Event::Ended { direction, end } => {
                (if direction == FromClient { 'c' } else { 's' }, end.text().to_owned())
            }
        };
        match story.last_mut() {
            Some((last, text)) if *last == who && (who == 'C' || who == 'S') => text.push_str(&what),
            _ => story.push((who, what)),
        }
    }
    Ok(story)
}

fn line(who: char, what: &str) -> (char, String) {
    (who, what.to_owned())
}

fn proxy(server: &str) -> Proxy {
    Proxy {
        server: server.parse().unwrap(),
        client_tls: None,
        server_tls: None,
        faults: Armed::default(),
        is_by_message: false,
        is_by_threads: false,
        server_wait: Duration::ZERO,
        complain: |_, _| {},
    }
}

fn any_port() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

fn target(dir: &TempDir) -> PathBuf {
    dir.path().join("a.zeocap")
}

/// A server for one connection: greets, then answers everything with the same, until the client ends.
fn echo(listener: TcpListener) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"hi")?;
        let mut buffer = [0; 100];
        loop {
            let len = stream.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..len])?;
        }
    })
}

fn greeted(address: &Address) -> TcpStream {
    let mut client = TcpStream::connect(address.to_string()).unwrap();
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hi");
    client
}

#[test]
fn both_streams_and_both_ends_are_written_down_in_order() {
    [false, true].into_iter().for_each(both_streams);
}

fn both_streams(is_by_threads: bool) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy { is_by_threads, ..proxy(&listener.local_addr().unwrap().to_string()) };
    let server = echo(listener);
    let metadata = Metadata { scenario: "echo".to_owned(), ..Metadata::default() };
    let running = Background::start(proxy, any_port(), &target(&dir), metadata).unwrap();
    let mut client = greeted(running.address());
    for word in ["one", "two"] {
        client.write_all(word.as_bytes()).unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, word.as_bytes());
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the end of the server is passed on");
    server.join().unwrap().unwrap();
    running.stop().unwrap();
    let expected = [
        ('O', ""),
        ('S', "hi"),
        ('C', "one"),
        ('S', "one"),
        ('C', "two"),
        ('S', "two"),
        ('c', ""),
        ('s', ""),
    ];
    assert_eq!(story(&target(&dir), 1).unwrap(), expected.map(|(who, what)| line(who, what)));
    let reader = file::open(&target(&dir)).unwrap();
    assert_eq!(reader.metadata().scenario, "echo");
    assert!(reader.metadata().started.ends_with('Z'), "{:?}", reader.metadata());
}

#[test]
fn a_reset_is_written_down_as_such_and_passed_on() {
    [false, true].into_iter().for_each(reset);
}

fn reset(is_by_threads: bool) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy { is_by_threads, ..proxy(&listener.local_addr().unwrap().to_string()) };
    let server = echo(listener);
    let running = Background::start(proxy, any_port(), &target(&dir), Metadata::default()).unwrap();
    let client = greeted(running.address());
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        client.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(client).unwrap().set_zero_linger().unwrap();
    });
    let error = server.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the server sees it, too");
    running.stop().unwrap();
    assert_eq!(story(&target(&dir), 1).unwrap(), [line('O', ""), line('S', "hi"), line('c', "reset")]);
}

#[test]
fn a_fault_ends_the_connection_and_the_next_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = proxy(&listener.local_addr().unwrap().to_string());
    proxy.faults.arm("cut client:4".parse().unwrap());
    let servers = [listener.try_clone().unwrap(), listener].map(echo);
    let running = Background::start(proxy, any_port(), &target(&dir), Metadata::default()).unwrap();
    for (number, expected) in [(1, "abcd"), (2, "abcdef")] {
        let mut client = greeted(running.address());
        client.write_all(b"abcdef").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // The first may end with a reset: two bytes were not read by anybody.
        let ended = client.read_to_end(&mut answer);
        assert!(number == 1 || (ended.is_ok() && answer == expected.as_bytes()), "{ended:?}");
    }
    // So may the server's side of that one: its last answer was not read, either.
    let errors = servers.into_iter().filter_map(|server| server.join().unwrap().err());
    let kinds: Vec<ErrorKind> = errors.map(|error| error.kind()).collect();
    assert!(matches!(kinds.as_slice(), [] | [ErrorKind::ConnectionReset]), "{kinds:?}");
    running.stop().unwrap();
    let first = story(&target(&dir), 1).unwrap();
    let expected = [('O', ""), ('S', "hi"), ('C', "abcd"), ('N', "cut client:4"), ('c', "cut"), ('s', "cut")];
    assert_eq!(first, expected.map(|(who, what)| line(who, what)));
    let second = story(&target(&dir), 2).unwrap();
    let expected = [('O', ""), ('S', "hi"), ('C', "abcdef"), ('c', ""), ('S', "abcdef"), ('s', "")];
    // The end of the client and the answer come from two sides at the same time.
    let sorted = |mut story: Story| {
        story.sort();
        story
    };
    assert_eq!(sorted(second), sorted(expected.map(|(who, what)| line(who, what)).to_vec()));
}

#[test]
fn unix_sockets_work_and_each_connection_may_have_its_file() {
    [false, true].into_iter().for_each(unix_sockets);
}

fn unix_sockets(is_by_threads: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (inner, outer) = (dir.path().join("inner"), dir.path().join("outer"));
    let listener = UnixListener::bind(&inner).unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hi").unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    let listen = Address::Unix(outer.clone());
    let path = dir.path().join("{connection}.zeocap.gz");
    let proxy = Proxy { is_by_threads, ..proxy(inner.to_str().unwrap()) };
    let running = Background::start(proxy, listen, &path, Metadata::default()).unwrap();
    for word in ["one", "two"] {
        let mut client = UnixStream::connect(&outer).unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        client.write_all(word.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    server.join().unwrap();
    running.stop().unwrap();
    for (number, word) in [(1, "one"), (2, "two")] {
        let path = dir.path().join(format!("{number}.zeocap.gz"));
        let expected = [line('O', ""), line('S', "hi"), line('C', word), line('c', ""), line('s', "")];
        assert_eq!(story(&path, number).unwrap(), expected);
    }
    assert!(!outer.exists(), "the socket is removed");
}

#[test]
fn without_a_server_the_capture_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = proxy(&dir.path().join("nobody").display().to_string());
    let running = Background::start(proxy, any_port(), &target(&dir), Metadata::default()).unwrap();
    let mut client = TcpStream::connect(running.address().to_string()).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    running.stop().unwrap();
    let story = story(&target(&dir), 1).unwrap();
    let [_, (kind, note), ends @ ..] = &story[..] else { panic!("{story:?}") };
    assert!(*kind == 'N' && note.starts_with("connecting to the server at "), "{story:?}");
    assert_eq!(ends, [line('s', "not connected"), line('c', "not connected")]);
}

/// A certificate for itself, with its key, in one file.
fn identity_file(dir: &TempDir, name: &str) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    path
}

#[test]
fn tls_on_both_sides_is_recorded_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let [server_pem, proxy_pem] = ["server.pem", "proxy.pem"].map(|name| identity_file(&dir, name));
    let identity = |certificate| Identity { certificate, key: None };
    let name = || ServerName::try_from("localhost").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let mut proxy = proxy(&listener.local_addr().unwrap().to_string());
    proxy.client_tls = Some(acceptor(&identity(&proxy_pem)).unwrap());

    for (trusted, is_right) in [(&server_pem, true), (&proxy_pem, false)] {
        let proxy = Proxy {
            server_tls: Some((connector(trusted, Some(&identity(&proxy_pem))).unwrap(), name())),
            ..proxy.clone()
        };
        let running = Background::start(proxy, any_port(), &target(&dir), Metadata::default()).unwrap();
        runtime.block_on(async {
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor(&identity(&server_pem)).unwrap().accept(stream).await else {
                    return;
                };
                stream.write_all(b"secret").await.unwrap();
                stream.shutdown().await.unwrap();
            };
            let client = async {
                let stream = tokio::net::TcpStream::connect(running.address().to_string()).await.unwrap();
                let connector = connector(&proxy_pem, None).unwrap();
                let mut stream = connector.connect(name(), stream).await.unwrap();
                let mut all = Vec::new();
                // Without a server there is no polite end.
                let _ = stream.read_to_end(&mut all).await;
                assert_eq!(all, if is_right { b"secret".as_slice() } else { b"" });
            };
            tokio::join!(server, client);
        });
        running.stop().unwrap();
        let story = story(&target(&dir), 1).unwrap();
        let second = story.get(1).cloned().unwrap_or_default();
        let expected = if is_right { ('S', "secret") } else { ('N', "TLS with the server: ") };
        assert!(second.0 == expected.0 && second.1.starts_with(expected.1), "{story:?}");
    }
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", crate::server::free_port());
    let proxy = Proxy { server_wait: Duration::from_secs(60), ..proxy(&address) };
    let running = Background::start(proxy, any_port(), &target(&dir), Metadata::default()).unwrap();
    let mut client = TcpStream::connect(running.address().to_string()).unwrap();
    let server = echo(TcpListener::bind(&address).unwrap());
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.join().unwrap().unwrap();
    running.stop().unwrap();
    assert_eq!(&greeting, b"hi");
    assert_eq!(story(&target(&dir), 1).unwrap()[..2], [line('O', ""), line('S', "hi")]);
}

/// Nobody says anything, and nobody hangs up.
#[test]
fn connections_that_stand_still_are_given_up_in_the_end() {
    for is_by_threads in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { is_by_threads, ..proxy(&listener.local_addr().unwrap().to_string()) };
        let server = echo(listener);
        let recording = Arc::new(Recording::create(&target(&dir), Metadata::default()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, stopped) = oneshot::channel();
        let (addresses, address) = mpsc::channel();
        let running = thread::spawn(move || {
            runtime.block_on(async move {
                let listener = Listener::bind(&any_port()).await?;
                addresses.send(listener.address()?).unwrap();
                let stop = async { stopped.await.unwrap_or(()) };
                proxy.run(listener, recording, stop, Duration::ZERO).await
            })
        });
        let mut client = greeted(&address.recv().unwrap());
        sender.send(()).unwrap();
        running.join().unwrap().unwrap();
        let ended = client.read(&mut [0]);
        assert!(matches!(&ended, Ok(0)), "{ended:?}");
        server.join().unwrap().unwrap();
        // Neither of them has ended it.
        assert_eq!(story(&target(&dir), 1).unwrap(), [line('O', ""), line('S', "hi")]);
    }
}
