//! One direction of a connection, with what is done to it on purpose. Bytes in, steps out; no sockets, no clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeo_codec::frame::{Deframer, Frame, MacBit};
use zeo_codec::session::{Direction, Observed, Observer};
use zeo_codec::{Limits, Method};

use super::fault::{Armed, Fault, Pick};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait.
    Wait(Duration),
    /// Pass these bytes on.
    Pass(Vec<u8>),
    /// Write down that a fault happened.
    Note(String),
    /// End the connection.
    Cut,
}

/// Both directions of one connection watch it together: a reply is named by its call.
pub type SharedObserver = Arc<Mutex<Observer>>;

/// Decides what becomes of the bytes of one direction.
#[derive(Debug)]
pub struct Shaper {
    direction: Direction,
    armed: Armed,
    /// Only if messages have to be told apart.
    messages: Option<Messages>,
    passed_len: u64,
    chunk_count: u64,
    held_chunk: Option<Vec<u8>>,
    is_cut: bool,
}

#[derive(Debug)]
struct Messages {
    observer: SharedObserver,
    deframer: Deframer,
    count: u64,
    held: Option<Vec<u8>>,
}

/// An observer for the two shapers of a connection.
#[must_use]
pub fn shared_observer() -> SharedObserver {
    Arc::new(Mutex::new(Observer::new(Limits::DEFAULT)))
}

impl Shaper {
    /// With an observer it passes on whole messages only, and can find them; without one, bytes as they come.
    #[must_use]
    pub fn new(direction: Direction, armed: Armed, observer: Option<SharedObserver>) -> Self {
        let messages = observer.map(|observer| Messages {
            observer,
            deframer: Deframer::new(Limits::DEFAULT.frame_bytes, MacBit::Announces),
            count: 0,
            held: None,
        });
        Self { direction, armed, messages, passed_len: 0, chunk_count: 0, held_chunk: None, is_cut: false }
    }

    /// Whether the bytes that one read has brought are to be passed on as they are, at once: that is the fast way.
    /// Otherwise they have to be [pushed](Self::push).
    pub fn lets_pass(&mut self, chunk: &[u8]) -> bool {
        let is_idle = self.messages.is_none() && self.held_chunk.is_none() && !self.is_cut;
        if !is_idle || !self.armed.is_empty() {
            return false;
        }
        self.chunk_count += 1;
        self.passed_len += chunk.len() as u64;
        true
    }

    /// What to do with the bytes that one read has brought.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        self.chunk_count += 1;
        if let Some(held) = self.held_chunk.take() {
            self.take_bytes(chunk, &mut steps);
            self.take_bytes(&held, &mut steps);
            return steps;
        }
        let count = self.chunk_count;
        let is_due = |fault: &Fault| matches!(fault, Fault::SwapChunks { chunk, .. } if *chunk == count);
        if let Some(fault) = self.armed.take(self.direction, is_due) {
            steps.push(Step::Note(fault.to_string()));
            self.held_chunk = Some(chunk.to_vec());
        } else {
            self.take_bytes(chunk, &mut steps);
        }
        steps
    }

    /// The stream has ended: what is still held back goes out.
    pub fn finish(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(held) = self.held_chunk.take() {
            self.take_bytes(&held, &mut steps);
        }
        if let Some(mut messages) = self.messages.take() {
            let incomplete = messages.deframer.buffer().split().to_vec();
            for rest in messages.held.into_iter().chain([incomplete]).filter(|rest| !rest.is_empty()) {
                self.pass(rest, &mut steps);
            }
        }
        steps
    }

    fn take_bytes(&mut self, bytes: &[u8], steps: &mut Vec<Step>) {
        let Some(mut messages) = self.messages.take() else {
            return self.pass(bytes.to_vec(), steps);
        };
        messages.deframer.push(bytes);
        loop {
            match messages.deframer.next_frame() {
                Ok(Some(frame)) => self.take_message(&frame, &mut messages, steps),
                Ok(None) => {
                    self.messages = Some(messages);
                    return;
                }
                Err(error) => {
                    // Not ZEO any more: from here on bytes pass as they come.
                    steps.push(Step::Note(format!("messages cannot be told apart any more: {error}")));
                    let rest = messages.deframer.buffer().split().to_vec();
                    return self.pass(rest, steps);
                }
            }
        }
    }

    fn take_message(&mut self, frame: &Frame, messages: &mut Messages, steps: &mut Vec<Step>) {
        let bytes = frame_bytes(frame);
        let name = messages.name(self.direction, &bytes);
        messages.count += 1;
        let count = messages.count;
        let is_picked = |pick: &Pick| match pick {
            Pick::Number(number) => *number == count,
            Pick::Method(method) => name == Some(*method),
        };
        let is_due = |fault: &Fault| match fault {
            Fault::Drop { message, .. } | Fault::Swap { message, .. } => is_picked(message),
            Fault::Cut { .. } | Fault::Delay { .. } | Fault::SwapChunks { .. } => false,
        };
        if let Some(held) = messages.held.take() {
            self.pass(bytes, steps);
            return self.pass(held, steps);
        }
        match self.armed.take(self.direction, is_due) {
            Some(fault @ Fault::Drop { is_delivered, .. }) => {
                if is_delivered {
                    self.pass(bytes, steps);
                }
                self.cut(&fault, steps);
            }
            Some(fault) => {
                steps.push(Step::Note(fault.to_string()));
                messages.held = Some(bytes);
            }
            None => self.pass(bytes, steps),
        }
    }

    fn pass(&mut self, mut bytes: Vec<u8>, steps: &mut Vec<Step>) {
        if self.is_cut {
            return;
        }
        let delay = self.armed.delay(self.direction);
        if !delay.is_zero() {
            steps.push(Step::Wait(delay));
        }
        let left_len = self.armed.len_until_cut(self.direction, self.passed_len);
        let left_len = left_len.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= bytes.len());
        if let Some(len) = left_len {
            bytes.truncate(len);
        }
        self.passed_len += bytes.len() as u64;
        if !bytes.is_empty() {
            steps.push(Step::Pass(bytes));
        }
        if left_len.is_some() {
            let passed_len = self.passed_len;
            let is_due =
                |fault: &Fault| matches!(fault, Fault::Cut { after_len, .. } if *after_len <= passed_len);
            if let Some(fault) = self.armed.take(self.direction, is_due) {
                self.cut(&fault, steps);
            }
        }
    }

    fn cut(&mut self, fault: &Fault, steps: &mut Vec<Step>) {
        if !self.is_cut {
            self.is_cut = true;
            steps.extend([Step::Note(fault.to_string()), Step::Cut]);
        }
    }
}

impl Messages {
    /// The method of the message: of a reply, that of its call.
    fn name(&self, direction: Direction, bytes: &[u8]) -> Option<Method> {
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        observer.receive(direction, bytes);
        match observer.poll_event(direction)? {
            Observed::Call { method, .. } | Observed::Reply { method, .. } => method,
            Observed::Hello(_)
            | Observed::KeepAlive
            | Observed::Undecodable { .. }
            | Observed::Lost(_)
            | Observed::BadMac
            | Observed::Skipped(_) => None,
        }
    }
}

/// The frame as it came.
fn frame_bytes(frame: &Frame) -> Vec<u8> {
    let mac: &[u8] = frame.mac.as_ref().map_or(&[], |mac| mac.as_slice());
    let mac_bit = if mac.is_empty() { 0 } else { 1 << 31 };
    // The deframer got the length from four bytes.
    let len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX) | mac_bit;
    [len.to_be_bytes().as_slice(), mac, &frame.payload].concat()
}

#[cfg(test)]
mod tests {
    use Direction::{FromClient, FromServer};

    use super::*;

    const HELLO: &[u8] = b"\0\0\0\x02M5";
    /// `ping` and its reply, as msgpack; number 1.
    const PING: &[u8] = b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90";
    const REPLY: &[u8] = b"\0\0\0\x0b\x94\x01\x00\xa6.reply\xc0";
    /// `vote`, without its argument.
    const VOTE: &[u8] = b"\0\0\0\x09\x94\x02\xc2\xa4vote\x90";

    fn pass(bytes: &[u8]) -> Step {
        Step::Pass(bytes.to_vec())
    }

    fn note(text: &str) -> Step {
        Step::Note(text.to_owned())
    }

    fn armed(faults: &[&str]) -> Armed {
        Armed::new(faults.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn by_message(direction: Direction, faults: &[&str]) -> Shaper {
        Shaper::new(direction, armed(faults), Some(shared_observer()))
    }

    #[test]
    fn without_faults_everything_passes_as_it_comes() {
        let mut shaper = Shaper::new(FromClient, Armed::default(), None);
        assert_eq!(shaper.push(b"abc"), [pass(b"abc")]);
        assert_eq!(shaper.finish(), []);
        let mut shaper = by_message(FromClient, &[]);
        assert_eq!(shaper.push(&HELLO[..5]), []);
        assert_eq!(shaper.push(&[&HELLO[5..], PING, &VOTE[..3]].concat()), [pass(HELLO), pass(PING)]);
        assert_eq!(shaper.finish(), [pass(&VOTE[..3])], "what is no whole message goes at the end");
    }

    #[test]
    fn the_fast_way_is_open_while_nothing_is_armed_and_counts() {
        let armed = Armed::default();
        let mut shaper = Shaper::new(FromClient, armed.clone(), None);
        assert!(shaper.lets_pass(b"abc"));
        armed.arm("cut client:5".parse().unwrap());
        assert!(!shaper.lets_pass(b"defg"));
        assert_eq!(shaper.push(b"defg"), [pass(b"de"), note("cut client:5"), Step::Cut]);
        assert!(!shaper.lets_pass(b"h"), "it has been cut");
        assert!(!by_message(FromClient, &[]).lets_pass(b"abc"), "only whole messages pass");
    }

    #[test]
    fn a_cut_comes_after_so_many_bytes_of_its_direction_and_once() {
        let armed = armed(&["cut client:5"]);
        let mut other = Shaper::new(FromServer, armed.clone(), None);
        assert_eq!(other.push(b"abcdefgh"), [pass(b"abcdefgh")]);
        let mut shaper = Shaper::new(FromClient, armed.clone(), None);
        assert_eq!(shaper.push(b"abc"), [pass(b"abc")]);
        assert_eq!(shaper.push(b"defgh"), [pass(b"de"), note("cut client:5"), Step::Cut]);
        assert_eq!(shaper.push(b"i"), [], "nothing passes afterwards");
        let mut next = Shaper::new(FromClient, armed, None);
        assert_eq!(next.push(b"abcdefgh"), [pass(b"abcdefgh")], "the next connection is left alone");
    }

    #[test]
    fn a_connection_is_dropped_at_a_message_by_number_or_method() {
        let stream = [HELLO, PING, VOTE].concat();
        let mut shaper = by_message(FromClient, &["drop client:2"]);
        assert_eq!(shaper.push(&stream), [pass(HELLO), note("drop client:2"), Step::Cut]);
        let mut shaper = by_message(FromClient, &["drop client:vote"]);
        let expected = [pass(HELLO), pass(PING), note("drop client:vote"), Step::Cut];
        assert_eq!(shaper.push(&stream), expected);
        let mut shaper = by_message(FromClient, &["drop-after client:ping"]);
        assert_eq!(
            shaper.push(&stream),
            [pass(HELLO), pass(PING), note("drop-after client:ping"), Step::Cut]
        );
    }

    #[test]
    fn a_reply_is_known_by_its_call() {
        let (armed, observer) = (armed(&["drop server:ping"]), shared_observer());
        let mut server = Shaper::new(FromServer, armed.clone(), Some(Arc::clone(&observer)));
        let mut client = Shaper::new(FromClient, armed, Some(observer));
        assert_eq!(server.push(HELLO), [pass(HELLO)]);
        assert_eq!(client.push(&[HELLO, PING].concat()), [pass(HELLO), pass(PING)]);
        assert_eq!(server.push(REPLY), [note("drop server:ping"), Step::Cut]);
    }

    #[test]
    fn messages_and_chunks_change_places() {
        let mut shaper = by_message(FromClient, &["swap client:ping"]);
        let stream = [HELLO, PING, VOTE, PING].concat();
        let expected = [pass(HELLO), note("swap client:ping"), pass(VOTE), pass(PING), pass(PING)];
        assert_eq!(shaper.push(&stream), expected);
        let mut shaper = Shaper::new(FromClient, armed(&["swap-chunks client:2"]), None);
        assert_eq!(shaper.push(b"a"), [pass(b"a")]);
        assert_eq!(shaper.push(b"b"), [note("swap-chunks client:2")]);
        assert_eq!(shaper.push(b"c"), [pass(b"c"), pass(b"b")]);
        let mut shaper = Shaper::new(FromClient, armed(&["swap-chunks client:1"]), None);
        assert_eq!(shaper.push(b"a"), [note("swap-chunks client:1")]);
        assert_eq!(shaper.finish(), [pass(b"a")], "nothing came to change places with");
    }

    #[test]
    fn a_delay_holds_for_everything() {
        let mut shaper = Shaper::new(FromClient, armed(&["delay client:20ms"]), None);
        for _ in 0..2 {
            assert_eq!(shaper.push(b"a"), [Step::Wait(Duration::from_millis(20)), pass(b"a")]);
        }
    }

    #[test]
    fn what_is_not_zeo_passes() {
        let mut shaper = by_message(FromClient, &["drop client:9"]);
        let steps = shaper.push(b"\x7f\xff\xff\xffGET / HTTP/1.0");
        assert!(
            matches!(steps.as_slice(), [Step::Note(_), Step::Pass(bytes)] if bytes.len() == 18),
            "{steps:?}"
        );
        assert_eq!(shaper.push(b"more"), [pass(b"more")]);
    }

    #[test]
    fn messages_with_a_mac_pass_unchanged() {
        let mut shaper = by_message(FromClient, &[]);
        let stream = [b"\0\0\0\x02Z4".as_slice(), b"\x80\0\0\x02", &[7; 20], b"hi"].concat();
        let [hello, message] = shaper.push(&stream).try_into().unwrap();
        assert_eq!((hello, message), (pass(&stream[..6]), pass(&stream[6..])));
    }
}
