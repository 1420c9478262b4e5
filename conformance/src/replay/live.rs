//! Connections to a live server, and the play itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zeo_codec::session::Direction;
use zeo_codec::{Dialect, Method};

use super::compare::{Comparison, Unequal};
use super::connection::Live;
use super::plan::{Course, Said, Step, course};
use super::shared::SharedFile;
use super::text::text;
use super::tolerance::{self, Taken};
use super::wire::{Arrival, frame, receive_from};
use super::{Difference, Plan, ReplayError, Report};
use crate::capture::ServerAct;
use crate::decode::Told;

/// How long a server may say something that it is not to say, after all that it is to say.
const QUIET: Duration = Duration::from_millis(100);

struct Play<'p> {
    plan: &'p Plan,
    /// Of the server, if it is there.
    address: Option<SocketAddr>,
    /// Connections that were begun while it was not.
    waiting: BTreeSet<u32>,
    patience: Duration,
    comparison: Comparison,
    lives: BTreeMap<u32, Live>,
    arrivals: Receiver<Arrival>,
    sender: Sender<Arrival>,
    report: Report,
}

/// Who has the server in hand.
pub(super) trait Host {
    /// Does something to it; where it listens, if it was started.
    fn act(&mut self, act: &ServerAct) -> Result<Option<SocketAddr>, ReplayError>;

    /// Puts a file into its directory of blobs.
    fn share(&mut self, file: &SharedFile) -> Result<(), ReplayError>;
}

/// It is somebody else's: it is there, and stays.
pub(super) struct Stranger;

impl Host for Stranger {
    fn act(&mut self, _: &ServerAct) -> Result<Option<SocketAddr>, ReplayError> {
        Ok(None)
    }

    fn share(&mut self, _: &SharedFile) -> Result<(), ReplayError> {
        Ok(())
    }
}

/// Plays a plan to a server that listens there.
pub(super) fn play(
    plan: &Plan,
    address: SocketAddr,
    patience: Duration,
    host: &mut dyn Host,
) -> Result<Report, ReplayError> {
    let (sender, arrivals) = channel();
    let (comparison, lives, report) = (Comparison::default(), BTreeMap::new(), Report::default());
    let mut play = Play {
        plan,
        address: Some(address),
        waiting: BTreeSet::new(),
        patience,
        comparison,
        lives,
        arrivals,
        sender,
        report,
    };
    let is_first = |step: &&Step| matches!(step, Step::Server(ServerAct::Start(_)));
    // The server is there already.
    let first = plan.steps.iter().position(|step| is_first(&step));
    for (at, step) in plan.steps.iter().enumerate() {
        match step {
            Step::Server(_) if Some(at) == first => {}
            Step::Server(act) => play.act(act, host)?,
            Step::Shared(number) => {
                play.await_wanted();
                plan.shared.get(*number).map_or(Ok(()), |file| host.share(file))?;
            }
            step => play.step(step)?,
        }
    }
    play.await_wanted();
    play.await_quiet();
    Ok(play.report)
}

impl Play<'_> {
    fn step(&mut self, step: &Step) -> Result<(), ReplayError> {
        match step {
            Step::Open(connection) => {
                self.await_wanted();
                self.open(*connection)?;
            }
            Step::Heard(connection, course) => {
                if let Some(live) = self.lives.get_mut(connection) {
                    live.progress(*course).wanted += 1;
                }
            }
            Step::Say(connection, said) => {
                self.await_wanted();
                self.say(*connection, said);
            }
            // It did not reach the captured server either.
            Step::Lost(..) => {}
            Step::Close(connection) => {
                self.await_wanted();
                self.waiting.remove(connection);
                if let Some(live) = self.lives.get_mut(connection) {
                    // The server may have been first.
                    let _ = live.stream.shutdown(Shutdown::Both);
                    live.is_over = true;
                }
            }
            Step::Ended(connection) => {
                self.await_wanted();
                self.waiting.remove(connection);
                self.await_end(*connection);
            }
            // The host's.
            Step::Server(_) | Step::Shared(_) => {}
        }
        Ok(())
    }

    fn act(&mut self, act: &ServerAct, host: &mut dyn Host) -> Result<(), ReplayError> {
        self.await_wanted();
        if matches!(act, ServerAct::Stop | ServerAct::Kill) {
            self.address = None;
        }
        if let Some(address) = host.act(act)? {
            self.address = Some(address);
            for connection in std::mem::take(&mut self.waiting) {
                self.open(connection)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, connection: u32) -> Result<(), ReplayError> {
        let Some(address) = self.address else {
            self.waiting.insert(connection);
            return Ok(());
        };
        let connect = || {
            let stream = TcpStream::connect(address)?;
            receive_from(&stream, connection, self.sender.clone())?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| ReplayError::Connect { address, source })?;
        self.lives.insert(connection, Live::new(stream));
        Ok(())
    }

    fn say(&mut self, connection: u32, said: &Said) {
        let Some(live) = self.lives.get_mut(&connection).filter(|live| !live.is_over) else { return };
        let is_pack = said.text.contains(Method::Pack.name());
        let payload = self.comparison.translation.apply(&said.payload, is_pack);
        let frame = frame(said, &payload);
        // A server that has hung up is met when its end is waited for.
        let _ = live.stream.write_all(&frame);
        self.report.said_count += 1;
        let (mut live_text, mut told) = (said.text.clone(), Vec::new());
        live.watch.receive(Direction::FromClient, &frame, |dialect, message| match message {
            Told::Message { direction: Direction::FromClient, observed, .. } => {
                live_text = text(&observed, dialect);
            }
            message => told.extend(of_server(dialect, message)),
        });
        // What a client says of its own, tids above all, stands for itself. The two are equal but for what was learnt.
        let _ = self.comparison.compare(connection, &said.text, &live_text);
        for (course, text, payload) in told {
            self.heard(connection, course, &text, payload);
        }
    }

    /// Waits until all has come that had come in the capture.
    fn await_wanted(&mut self) {
        let mut deadline = Instant::now() + self.patience;
        while self.lives.values().any(Live::is_behind) {
            if self.receive(deadline) {
                deadline = Instant::now() + self.patience;
                continue;
            }
            let behind: Vec<u32> =
                self.lives.iter().filter(|(_, live)| live.is_behind()).map(|(number, _)| *number).collect();
            for connection in behind {
                self.miss(connection);
            }
        }
    }

    /// What has not come will not come.
    fn miss(&mut self, connection: u32) {
        for course in [Course::Replies, Course::Notices] {
            let Some(live) = self.lives.get_mut(&connection) else { return };
            let expected = self.plan.expected.get(&connection).map(|all| all.of(course)).unwrap_or_default();
            while live.progress(course).come < live.progress(course).wanted {
                let at = match course {
                    Course::Notices => live.notices.come,
                    Course::Replies => live.answer(expected, None, &self.comparison.translation),
                };
                live.progress(course).come += 1;
                let Some(said) = expected.get(at) else { continue };
                self.report.differences.push(Difference {
                    connection,
                    number: Some(said.number),
                    field: "the message is missing".to_owned(),
                    expected: said.text.clone(),
                    got: "nothing".to_owned(),
                    bytes: (said.payload.clone(), Bytes::new()),
                });
            }
        }
    }

    fn await_end(&mut self, connection: u32) {
        let deadline = Instant::now() + self.patience;
        while self.lives.get(&connection).is_some_and(|live| !live.is_over) {
            if !self.receive(deadline) {
                self.report.differences.push(Difference {
                    connection,
                    number: None,
                    field: "the end of the connection".to_owned(),
                    expected: "the server hangs up".to_owned(),
                    got: "it does not".to_owned(),
                    bytes: (Bytes::new(), Bytes::new()),
                });
                return;
            }
        }
    }

    /// Takes what comes although nothing is wanted any more.
    fn await_quiet(&mut self) {
        let deadline = Instant::now() + QUIET;
        while self.receive(deadline) {}
    }

    /// Takes something from any server; false if there is nothing until then.
    fn receive(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let (connection, bytes) = match self.arrivals.recv_timeout(left) {
            Ok(arrival) => arrival,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        };
        let Some(live) = self.lives.get_mut(&connection) else { return true };
        let Some(bytes) = bytes else {
            let was_over = std::mem::replace(&mut live.is_over, true);
            if !was_over {
                self.miss(connection);
            }
            return true;
        };
        let mut told = Vec::new();
        live.watch.receive(Direction::FromServer, &bytes, |dialect, message| {
            told.extend(of_server(dialect, message));
        });
        for (course, text, payload) in told {
            self.heard(connection, course, &text, payload);
        }
        true
    }

    fn heard(&mut self, connection: u32, course: Course, text: &str, payload: Bytes) {
        let Some(live) = self.lives.get_mut(&connection) else { return };
        let broken = live.order.heard(text);
        let course_expected =
            self.plan.expected.get(&connection).map(|all| all.of(course)).unwrap_or_default();
        let at = match course {
            Course::Notices => live.notices.come,
            Course::Replies => live.answer(course_expected, Some(text), &self.comparison.translation),
        };
        let said = course_expected.get(at);
        let captured = said.map(|said| self.comparison.with_live_oids(&said.text, text));
        let is_old = self.plan.old.contains(&connection);
        let taken = is_old.then(|| tolerance::take(captured.as_deref(), text));
        if taken == Some(Taken::Extra) && broken.is_none() {
            return;
        }
        live.progress(course).come += 1;
        // A rule that the captured server broke as well, as one of ZEO 4 does with empty and copied transactions, is none here.
        let was_broken = said.and_then(|said| live.captured_order.heard(&said.text)).is_some();
        if let Some(rule) = broken.filter(|_| !was_broken) {
            self.report.differences.push(Difference {
                connection,
                number: said.map(|said| said.number),
                field: "the order of messages".to_owned(),
                expected: rule.to_owned(),
                got: text.to_owned(),
                bytes: (Bytes::new(), payload.clone()),
            });
        }
        let Some(said) = said else {
            if !live.is_over && !self.plan.cut.contains(&connection) {
                self.report.differences.push(Difference {
                    connection,
                    number: None,
                    field: "the whole message".to_owned(),
                    expected: "nothing".to_owned(),
                    got: text.to_owned(),
                    bytes: (Bytes::new(), payload),
                });
            }
            return;
        };
        self.report.compared_count += 1;
        let (captured_text, text) = match &taken {
            Some(Taken::Compared(captured, live)) => (captured.as_str(), live.as_str()),
            Some(Taken::Extra) | None => (captured.as_deref().unwrap_or(&said.text), text),
        };
        if let Err(Unequal { field, expected, got }) =
            self.comparison.compare(connection, captured_text, text)
        {
            // What differs besides tids is to be seen.
            let captured = self.comparison.translation.apply(&said.payload, false);
            let bytes = (captured.into(), payload);
            let number = Some(said.number);
            self.report.differences.push(Difference { connection, number, field, expected, got, bytes });
        }
    }
}

/// A message of a server, as it is compared.
fn of_server(dialect: Option<&Dialect>, told: Told) -> Option<(Course, String, Bytes)> {
    match told {
        Told::Message { direction: Direction::FromServer, observed, payload } => {
            Some((course(&observed), text(&observed, dialect), payload))
        }
        _ => None,
    }
}
