//! A server that is right but for one thing is found out, and the thing is named.
//!
//! A proxy changes one message of our server on its way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use libtest_mimic::{Failed, Trial};
use zeo_conformance::replay::play;

use crate::{IMPATIENCE, capture, served};

/// Takes a payload of the server; those that go on in its place.
type Tamper = Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send>;

struct Case {
    name: &'static str,
    tamper: fn() -> Tamper,
    /// What of a difference names it.
    told: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "a_byte_of_a_record",
        tamper: || replaced(b"\x05\0\0\0valueq\x02K\x01", b"\x05\0\0\0valueq\x02K\x03"),
        told: "result[0]",
    },
    Case {
        name: "the_class_of_an_error",
        tamper: || replaced(b"POSKeyError", b"POSKeyErros"),
        told: "result[0]",
    },
    Case { name: "a_tid_told_otherwise", tamper: serial, told: "T2, None)\n  got" },
    Case { name: "a_key", tamper: || replaced(b"length", b"lenght"), told: "result[0]" },
    Case { name: "an_invalidation_told_twice", tamper: twice, told: "S3" },
    Case { name: "an_invalidation_left_out", tamper: left_out, told: "the message is missing" },
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial =
        |case: &'static Case| Trial::test(format!("replay::tampered::{}", case.name), move || noticed(case));
    CASES.iter().map(trial).collect()
}

fn noticed(case: &Case) -> Result<(), Failed> {
    let (_dir, server) = served("1")?;
    let changes = Arc::new(Mutex::new(0_u32));
    let proxy = start(server.address(), (case.tamper)(), Arc::clone(&changes))?;
    let report = play(&capture("6.2-6.2-pickle", "commit"), proxy, IMPATIENCE)?;
    server.stop()?;
    assert!(*changes.lock().unwrap() > 0, "nothing was changed");
    let shown: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    // The client's next messages depend on what it was told, and may differ as well.
    if shown.first().is_some_and(|difference| difference.contains(case.told)) {
        Ok(())
    } else {
        Err(format!("{shown:#?}").into())
    }
}

/// Between any number of connections and the server; how often a message was changed is counted.
fn start(server: SocketAddr, tamper: Tamper, changes: Arc<Mutex<u32>>) -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tamper = Arc::new(Mutex::new(tamper));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(behind) = TcpStream::connect(server) else { return };
            let (Ok(from_client), Ok(to_server)) = (client.try_clone(), behind.try_clone()) else { return };
            std::thread::spawn(move || {
                let (mut from, mut to) = (from_client, to_server);
                // Whatever ends it.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (tamper, changes) = (Arc::clone(&tamper), Arc::clone(&changes));
            std::thread::spawn(move || pass_on(behind, client, &tamper, &changes));
        }
    });
    Ok(address)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, tamper: &Mutex<Tamper>, changes: &Mutex<u32>) {
    let mut len = [0; 4];
    while from.read_exact(&mut len).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes(len) as usize];
        if from.read_exact(&mut payload).is_err() {
            break;
        }
        let passed = (tamper.lock().unwrap())(payload.clone());
        *changes.lock().unwrap() += u32::from(passed != [payload]);
        for payload in passed {
            let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
            if to.write_all(&[&len[..], &payload].concat()).is_err() {
                return;
            }
        }
    }
    // Already gone is fine.
    let _ = to.shutdown(Shutdown::Both);
}

fn find(payload: &[u8], what: &[u8]) -> Option<usize> {
    payload.windows(what.len()).position(|window| window == what)
}

/// The first message that holds `from` holds `to` instead.
fn replaced(from: &'static [u8], to: &'static [u8]) -> Tamper {
    let mut is_done = false;
    Box::new(move |mut payload| {
        if let Some(at) = find(&payload, from).filter(|_| !is_done) {
            payload.splice(at..at + from.len(), to.iter().copied());
            is_done = true;
        }
        vec![payload]
    })
}

/// The serial of the first record that is loaded is another one than the tid of its commit.
fn serial() -> Tamper {
    let mut is_done = false;
    Box::new(move |mut payload| {
        // A byte string of eight bytes, the first of which all tids of these decades have.
        let place = payload.windows(3).rposition(|window| window == b"C\x08\x04");
        if find(&payload, b"persistent").is_some()
            && let Some(last) = place.and_then(|at| payload.get_mut(at + 9)).filter(|_| !is_done)
        {
            *last ^= 0x40;
            is_done = true;
        }
        vec![payload]
    })
}

fn twice() -> Tamper {
    let mut is_done = false;
    Box::new(move |payload| {
        let is_it =
            find(&payload, b"invalidateTransaction").is_some() && !std::mem::replace(&mut is_done, true);
        if is_it { vec![payload.clone(), payload] } else { vec![payload] }
    })
}

fn left_out() -> Tamper {
    Box::new(
        |payload| if find(&payload, b"invalidateTransaction").is_some() { vec![] } else { vec![payload] },
    )
}
