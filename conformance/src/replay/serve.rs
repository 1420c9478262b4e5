//! The server of a capture, played to live clients.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zeo_codec::session::Direction;

use super::compare::{Comparison, Unequal};
use super::liberty::{Heard, Liberty};
use super::plan::{Course, Said, Step};
use super::wire::{Arrival, frame, receive_from};
use super::{Difference, Plan, ReplayError, Report};
use crate::capture::ServerAct;
use crate::decode::{Told, Watch};

/// A client that has come.
struct Guest {
    stream: TcpStream,
    watch: Watch,
    /// What it has said and nobody has looked at yet.
    said: VecDeque<Heard>,
    /// How much of each course it has been told.
    reply_count: usize,
    notice_count: usize,
    is_over: bool,
}

struct Play<'p, L> {
    plan: &'p Plan,
    listener: &'p TcpListener,
    patience: Duration,
    /// What a script wants to be done to the server.
    acts: Option<&'p Receiver<ServerAct>>,
    liberty: L,
    comparison: Comparison,
    guests: BTreeMap<u32, Guest>,
    arrivals: Receiver<Arrival>,
    sender: Sender<Arrival>,
    report: Report,
}

/// Plays the server of the capture to clients that come to `listener`, one connection after the other in the order of the
/// capture. `liberty` says what they may do in their own way.
pub(super) fn play(
    plan: &Plan,
    listener: &TcpListener,
    patience: Duration,
    acts: Option<&Receiver<ServerAct>>,
    liberty: impl Liberty,
) -> Result<Report, ReplayError> {
    listener.set_nonblocking(true)?;
    let (sender, arrivals) = channel();
    let (comparison, guests, report) = (Comparison::default(), BTreeMap::new(), Report::default());
    let mut play =
        Play { plan, listener, patience, acts, liberty, comparison, guests, arrivals, sender, report };
    for step in &plan.steps {
        if !play.step(step)? {
            // Whatever comes now answers something else.
            break;
        }
    }
    Ok(play.report)
}

impl<L: Liberty> Play<'_, L> {
    /// False if there is nobody any more to go on with.
    fn step(&mut self, step: &Step) -> Result<bool, ReplayError> {
        match step {
            Step::Open(connection) => self.admit(*connection),
            Step::Say(connection, said) => Ok(self.listen(*connection, said)),
            Step::Heard(connection, course) => {
                self.answer(*connection, *course);
                Ok(true)
            }
            Step::Lost(connection, method) => Ok(self.lose(*connection, method)),
            Step::Close(connection) if self.plan.cut.contains(connection) => {
                self.hang_up(*connection);
                Ok(true)
            }
            Step::Close(connection) => {
                self.await_end(*connection);
                Ok(true)
            }
            Step::Ended(connection) => {
                self.hang_up(*connection);
                Ok(true)
            }
            Step::Server(act) => Ok(self.await_act(act)),
            // The client does that.
            Step::Shared(_) => Ok(true),
        }
    }

    /// A client is not to find the server gone, or there again, before its script has wanted that.
    fn await_act(&mut self, act: &ServerAct) -> bool {
        let Some(acts) = self.acts else { return true };
        let got = acts.recv_timeout(self.patience);
        if got.as_ref() == Ok(act) {
            return true;
        }
        let got = got.map_or_else(|_| "nothing".to_owned(), |act| act.to_string());
        let what = "what the script wants of the server";
        self.differ(0, None, what, &act.to_string(), &got, (Bytes::new(), Bytes::new()));
        false
    }

    fn admit(&mut self, connection: u32) -> Result<bool, ReplayError> {
        let deadline = Instant::now() + self.patience;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        self.differ(
                            connection,
                            None,
                            "the connection",
                            "a client comes",
                            "nobody does",
                            (Bytes::new(), Bytes::new()),
                        );
                        return Ok(false);
                    }
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        };
        stream.set_nonblocking(false)?;
        receive_from(&stream, connection, self.sender.clone())?;
        self.guests.insert(
            connection,
            Guest {
                stream,
                watch: Watch::new(),
                said: VecDeque::new(),
                reply_count: 0,
                notice_count: 0,
                is_over: false,
            },
        );
        Ok(true)
    }

    /// The client's next message.
    fn listen(&mut self, connection: u32, expected: &Said) -> bool {
        let deadline = Instant::now() + self.patience;
        loop {
            let Some(guest) = self.guests.get_mut(&connection) else { return false };
            if let Some(heard) = guest.said.pop_front() {
                self.compare(connection, expected, heard);
                return true;
            }
            if guest.is_over || !self.receive(deadline) {
                let got = if self.guests.get(&connection).is_some_and(|guest| guest.is_over) {
                    "the client hangs up"
                } else {
                    "nothing"
                };
                let bytes = (expected.payload.clone(), Bytes::new());
                self.differ(
                    connection,
                    Some(expected.number),
                    "the message is missing",
                    &expected.text,
                    got,
                    bytes,
                );
                return false;
            }
        }
    }

    /// The client's next message, of which nothing but its method is known.
    fn lose(&mut self, connection: u32, method: &str) -> bool {
        let deadline = Instant::now() + self.patience;
        loop {
            let Some(guest) = self.guests.get_mut(&connection) else { return false };
            let got = match guest.said.pop_front() {
                Some(Heard { text, .. }) if text.contains(&format!("{method}(")) => return true,
                Some(Heard { text, .. }) => text,
                None if !guest.is_over && self.receive(deadline) => continue,
                None => "nothing".to_owned(),
            };
            self.differ(
                connection,
                None,
                "the message that was lost",
                method,
                &got,
                (Bytes::new(), Bytes::new()),
            );
            return false;
        }
    }

    fn compare(&mut self, connection: u32, expected: &Said, heard: Heard) {
        self.report.compared_count += 1;
        let (captured, live) = self.liberty.take(connection, expected, &heard);
        if let Err(Unequal { field, expected: shown, got }) =
            self.comparison.compare(connection, &captured, &live)
        {
            let bytes = (self.comparison.translation.apply(&expected.payload, false).into(), heard.payload);
            self.differ(connection, Some(expected.number), &field, &shown, &got, bytes);
        }
    }

    /// Says what the server said, with the tids that the live client has chosen in place of the captured one's.
    fn answer(&mut self, connection: u32, course: Course) {
        let Some(guest) = self.guests.get_mut(&connection) else { return };
        let count = match course {
            Course::Replies => &mut guest.reply_count,
            Course::Notices => &mut guest.notice_count,
        };
        let said = self.plan.expected.get(&connection).and_then(|courses| courses.of(course).get(*count));
        *count += 1;
        let Some(said) = said else { return };
        let payload = self.comparison.translation.apply(&said.payload, false);
        let payload = self.liberty.answer(connection, payload, guest.watch.dialect());
        let frame = frame(said, &payload);
        // A client that has gone is met when it is listened to.
        let _ = guest.stream.write_all(&frame);
        self.report.said_count += 1;
        let mut told = Vec::new();
        guest.watch.receive(Direction::FromServer, &frame, |dialect, message| {
            told.extend(of_client(dialect, message))
        });
        guest.said.extend(told);
    }

    fn hang_up(&mut self, connection: u32) {
        if let Some(guest) = self.guests.get_mut(&connection) {
            // The client may have been first.
            let _ = guest.stream.shutdown(Shutdown::Both);
            guest.is_over = true;
        }
    }

    /// The client goes, and says nothing before that.
    fn await_end(&mut self, connection: u32) {
        let deadline = Instant::now() + self.patience;
        while self.guests.get(&connection).is_some_and(|guest| !guest.is_over) {
            if !self.receive(deadline) {
                self.differ(
                    connection,
                    None,
                    "the end of the connection",
                    "the client hangs up",
                    "it does not",
                    (Bytes::new(), Bytes::new()),
                );
                break;
            }
        }
        let left = self.guests.get_mut(&connection).map(|guest| std::mem::take(&mut guest.said));
        for Heard { text, payload, .. } in left.unwrap_or_default() {
            self.differ(connection, None, "the whole message", "nothing", &text, (Bytes::new(), payload));
        }
    }

    /// Takes something from any client; false if there is nothing until then.
    fn receive(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let (connection, bytes) = match self.arrivals.recv_timeout(left) {
            Ok(arrival) => arrival,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        };
        let Some(guest) = self.guests.get_mut(&connection) else { return true };
        match bytes {
            None => guest.is_over = true,
            Some(bytes) => {
                let mut told = Vec::new();
                guest.watch.receive(Direction::FromClient, &bytes, |dialect, message| {
                    told.extend(of_client(dialect, message));
                });
                guest.said.extend(told);
            }
        }
        true
    }

    fn differ(
        &mut self,
        connection: u32,
        number: Option<usize>,
        field: &str,
        expected: &str,
        got: &str,
        bytes: (Bytes, Bytes),
    ) {
        let (field, expected, got) = (field.to_owned(), expected.to_owned(), got.to_owned());
        self.report.differences.push(Difference { connection, number, field, expected, got, bytes });
    }
}

/// A message of a client, as it is compared.
fn of_client(dialect: Option<&zeo_codec::Dialect>, told: Told) -> Option<Heard> {
    match told {
        Told::Message { direction: Direction::FromClient, observed, payload } => {
            Some(Heard { text: observed.show(dialect).to_string(), payload, dialect: dialect.copied() })
        }
        _ => None,
    }
}
