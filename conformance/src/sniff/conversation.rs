//! One connection: bytes in, messages out.

use std::sync::Arc;
use std::time::Duration;

use zeo_codec::digest::SessionKey;
use zeo_codec::session::{Direction, Observed, Observer};
use zeo_codec::{Dialect, Envelope, Limits, Method, MsgId};
use zeo_server::auth::PasswordDatabase;

use super::facts::Facts;
use super::keys::Exchange;
use super::message::{Kind, Message};
use super::pending::Pending;
use super::printable;

/// Takes messages. An error ends everything.
pub type Show<'s> = dyn FnMut(&Message<'_>) -> std::io::Result<()> + 's;

/// The first frame of either side is a greeting of a few bytes; what announces more, or nothing, is not ZEO.
const GREETING_LEN_MAX: u32 = 1024;

/// One connection.
#[derive(Debug)]
pub struct Conversation {
    number: u32,
    observer: Observer,
    limits: Limits,
    client: Stream,
    server: Stream,
    pending: Pending,
    facts: Facts,
    last_heard: u64,
    /// With it MACs are checked.
    passwords: Option<Arc<PasswordDatabase>>,
    exchange: Exchange,
}

/// What is known of one direction.
#[derive(Debug, Default)]
struct Stream {
    received_len: u64,
    /// Where the next message begins.
    offset: u64,
    /// The first bytes, until they are known to be a greeting's. `None` once they are, or nobody can tell.
    start: Option<Vec<u8>>,
    is_alien: bool,
    has_ended: bool,
}

impl Conversation {
    /// A connection from its first byte on, or one that is joined later. Messages longer than
    /// [`Limits::frame_bytes`] are passed over.
    #[must_use]
    pub fn new(number: u32, is_whole: bool, limits: Limits) -> Self {
        // Calls are remembered here, with their times.
        let observer_limits = Limits { pending_count: 0, ..limits };
        let observer = match is_whole {
            true => Observer::new(observer_limits),
            false => Observer::joined(observer_limits),
        };
        let stream = || Stream { start: is_whole.then(Vec::new), ..Stream::default() };
        Self {
            number,
            observer,
            limits,
            client: stream(),
            server: stream(),
            pending: Pending::default(),
            facts: Facts::default(),
            last_heard: 0,
            passwords: None,
            exchange: Exchange::default(),
        }
    }

    /// Checks the MACs of sessions of these users.
    pub fn set_passwords(&mut self, passwords: Arc<PasswordDatabase>) {
        self.passwords = Some(passwords);
    }

    /// The tick at which it was heard of last, for its owner.
    #[must_use]
    pub const fn last_heard(&self) -> u64 {
        self.last_heard
    }

    /// Notes that it was heard of.
    pub const fn set_last_heard(&mut self, tick: u64) {
        self.last_heard = tick;
    }

    /// Bytes that wait for the rest of their message.
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.observer.buffered_len(Direction::FromClient) + self.observer.buffered_len(Direction::FromServer)
    }

    /// Whether both sides have ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.client.has_ended && self.server.has_ended
    }

    const fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::FromClient => &mut self.client,
            Direction::FromServer => &mut self.server,
        }
    }

    /// Takes bytes that went this way.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn receive(
        &mut self,
        time: Duration,
        direction: Direction,
        bytes: &[u8],
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        let stream = self.stream(direction);
        stream.received_len = stream.received_len.saturating_add(bytes.len() as u64);
        if stream.is_alien {
            return Ok(());
        }
        if stream.is_alien_now(bytes) {
            let start = hex(stream.start.take().unwrap_or_default().as_slice());
            self.observer.skip(direction);
            return self.remark(time, direction, 0, &format!("not ZEO: it begins with {start}"), show);
        }
        self.observer.receive(direction, bytes);
        self.drain(time, show)
    }

    /// Bytes that went this way are missing here.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn miss(
        &mut self,
        time: Duration,
        direction: Direction,
        len: Option<u64>,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        self.drain(time, show)?;
        let buffered_len = self.observer.buffered_len(direction);
        let stream = self.stream(direction);
        stream.start = None;
        let offset = stream.received_len;
        stream.received_len = stream.received_len.saturating_add(len.unwrap_or(0));
        let cut = match buffered_len {
            0 => String::new(),
            len => format!(", with the beginning of a message, {len} bytes"),
        };
        let text = match len {
            Some(len) => format!("{len} bytes were not captured{cut}"),
            None if offset == 0 => "the beginning was not captured".to_owned(),
            None => format!("some bytes were not captured{cut}"),
        };
        self.remark(time, direction, offset, &text, show)?;
        self.observer.skip(direction);
        Ok(())
    }

    /// Drops the message under way in both directions, to be small again.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn give_up(&mut self, time: Duration, show: &mut Show<'_>) -> std::io::Result<()> {
        for direction in [Direction::FromClient, Direction::FromServer] {
            let len = self.observer.buffered_len(direction);
            if len > 0 {
                let offset = self.stream(direction).offset;
                self.remark(
                    time,
                    direction,
                    offset,
                    &format!("{len} bytes of a message are too many"),
                    show,
                )?;
                self.observer.skip(direction);
            }
        }
        Ok(())
    }

    /// One side has ended.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn end(
        &mut self,
        time: Duration,
        direction: Direction,
        how: &str,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        self.drain(time, show)?;
        self.leave(time, direction, show)?;
        self.stream(direction).has_ended = true;
        let offset = self.stream(direction).received_len;
        let text = if how.is_empty() { "closed" } else { how };
        self.show_remark(time, Some(direction), Kind::Ended, offset, text, show)
    }

    /// Nothing more is known of it: what is left that was not understood is told.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn finish(&mut self, time: Duration, show: &mut Show<'_>) -> std::io::Result<()> {
        self.drain(time, show)?;
        for direction in [Direction::FromClient, Direction::FromServer] {
            if !self.stream(direction).has_ended {
                self.leave(time, direction, show)?;
            }
        }
        Ok(())
    }

    /// Tells what came last in this direction, if it is no message.
    fn leave(&mut self, time: Duration, direction: Direction, show: &mut Show<'_>) -> std::io::Result<()> {
        let buffered_len = self.observer.buffered_len(direction) as u64;
        let searched_len = self.observer.searched_len(direction).map(|len| len.saturating_add(buffered_len));
        let stream = self.stream(direction);
        let (is_alien, offset) = (stream.is_alien, stream.offset);
        if is_alien {
            return Ok(());
        }
        let text = match searched_len {
            Some(0) => return Ok(()),
            Some(len) => format!("no message in the last {len} bytes"),
            None if buffered_len == 0 => return Ok(()),
            None => {
                format!("the stream ends within a message, of which {buffered_len} bytes have come")
            }
        };
        self.remark(time, direction, offset, &text, show)
    }

    /// Shows something that is no message.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn note(
        &mut self,
        time: Duration,
        kind: Kind,
        text: &str,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        self.show_remark(time, None, kind, 0, text, show)
    }

    fn remark(
        &mut self,
        time: Duration,
        direction: Direction,
        offset: u64,
        text: &str,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        self.show_remark(time, Some(direction), Kind::Lost, offset, text, show)
    }

    fn show_remark(
        &mut self,
        time: Duration,
        direction: Option<Direction>,
        kind: Kind,
        offset: u64,
        text: &str,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        self.facts.clear();
        let text = printable(text);
        show(&Message {
            remark: Some(&text),
            ..message(self.number, time, direction, kind, offset, &self.facts)
        })
    }

    fn drain(&mut self, time: Duration, show: &mut Show<'_>) -> std::io::Result<()> {
        // The client's first: its greeting tells how the server's messages are to be read.
        for direction in [Direction::FromClient, Direction::FromServer] {
            while let Some(seen) = self.observer.poll_event(direction) {
                self.see(time, direction, seen, show)?;
            }
        }
        Ok(())
    }

    fn see(
        &mut self,
        time: Duration,
        direction: Direction,
        mut seen: Observed,
        show: &mut Show<'_>,
    ) -> std::io::Result<()> {
        let buffered_len = self.observer.buffered_len(direction) as u64;
        let dialect = self.observer.dialect().copied();
        let limits = self.limits;
        let stream = self.stream(direction);
        let end = stream.received_len.saturating_sub(buffered_len);
        let offset = std::mem::replace(&mut stream.offset, end);
        self.facts.clear();
        let mut shown = ShownParts::default();
        let framing = dialect.map_or(zeo_codec::handshake::Framing::Pickle, |dialect| dialect.framing);
        let kind = match &mut seen {
            Observed::Hello(_) => Kind::Hello,
            Observed::KeepAlive => Kind::KeepAlive,
            // One every four bytes, where there are only zeros.
            Observed::Undecodable { payload, .. } if payload.is_empty() => {
                self.remark(time, direction, offset, "an empty frame, which is no message", show)?;
                self.observer.skip(direction);
                return Ok(());
            }
            Observed::Undecodable { .. } => Kind::Undecodable,
            Observed::Lost(error) => {
                let text = error.to_string();
                self.remark(time, direction, offset, &text, show)?;
                self.observer.skip(direction);
                return Ok(());
            }
            Observed::Skipped(len) => {
                let text = format!("{len} bytes before the next message");
                return self.remark(time, direction, offset, &text, show);
            }
            Observed::BadMac => {
                return self.remark(
                    time,
                    direction,
                    offset,
                    "the next message has a wrong MAC, or none",
                    show,
                );
            }
            Observed::Call { payload, method } => {
                let Ok(envelope) = Envelope::parse(payload, framing, &limits) else { return Ok(()) };
                let is_one_way = envelope.is_one_way();
                let id = envelope.id.clone().into_owned();
                if *method == Some(Method::AuthResponse)
                    && let Ok(args) = envelope.args.clone().into_value(&limits)
                {
                    self.exchange.call(Method::AuthResponse, &args);
                }
                match *method {
                    Some(method) => {
                        let dialect = dialect.unwrap_or(Dialect::Z5);
                        self.facts.add_call(method, envelope, &dialect, &limits);
                    }
                    None => shown.other_name = Some(printable_name(&envelope.name)),
                }
                if !is_one_way && direction == Direction::FromClient {
                    let (oid, txn) = (self.facts.oids.first().copied(), self.facts.txn);
                    self.pending.insert(&id, time, *method, oid, txn);
                }
                (shown.id, shown.method) = (Some(id), *method);
                if is_one_way { Kind::OneWay } else { Kind::Call }
            }
            Observed::Reply { payload, method, is_error } => {
                let Ok(envelope) = Envelope::parse(payload, framing, &limits) else { return Ok(()) };
                let id = envelope.id.clone().into_owned();
                // Only servers answer; whatever else says so is shown, but answers nothing.
                let waiting = (direction == Direction::FromServer).then(|| self.pending.take(&id)).flatten();
                if let Some(waiting) = waiting {
                    *method = waiting.method;
                    self.facts.oids.extend(waiting.oid);
                    self.facts.txn = waiting.txn;
                    shown.latency = Some(time.saturating_sub(waiting.time));
                }
                if let Some(method @ (Method::AuthGetChallenge | Method::AuthResponse)) = *method
                    && let Some(passwords) = &self.passwords
                    && let Ok(result) = envelope.args.clone().into_value(&limits)
                {
                    shown.passed = self.exchange.reply(method, &result, passwords);
                }
                if let Some(dialect) = &dialect
                    && (method.is_some() || *is_error)
                {
                    self.facts.add_reply(*method, envelope, dialect, &limits);
                }
                (shown.id, shown.method) = (Some(id), *method);
                if *is_error || self.facts.error.is_some() { Kind::Error } else { Kind::Reply }
            }
        };
        let ShownParts { id, method, other_name, latency, passed } = shown;
        show(&Message {
            id,
            method,
            other_name,
            latency,
            len: end.saturating_sub(offset),
            seen: Some(&seen),
            dialect,
            ..message(self.number, time, Some(direction), kind, offset, &self.facts)
        })?;
        match passed {
            None => Ok(()),
            Some((user, Some(key))) => {
                self.observer.set_key(&key);
                let text = format!("from here on MACs are checked, with the key of {user}");
                self.show_remark(time, Some(direction), Kind::Note, end, &text, show)
            }
            Some((user, None)) => {
                let text = format!("MACs are not checked: no password of {user}");
                self.show_remark(time, Some(direction), Kind::Note, end, &text, show)
            }
        }
    }
}

#[derive(Default)]
struct ShownParts {
    /// Who was let in, with the key of the session if its password is known.
    passed: Option<(String, Option<SessionKey>)>,
    id: Option<MsgId<'static>>,
    method: Option<Method>,
    other_name: Option<String>,
    latency: Option<Duration>,
}

const fn message(
    connection: u32,
    time: Duration,
    direction: Option<Direction>,
    kind: Kind,
    offset: u64,
    facts: &Facts,
) -> Message<'_> {
    Message {
        time,
        connection,
        direction,
        kind,
        id: None,
        method: None,
        other_name: None,
        offset,
        len: 0,
        latency: None,
        facts,
        seen: None,
        dialect: None,
        remark: None,
    }
}

impl Stream {
    /// Whether these bytes show that the stream is not ZEO. Kept are only those that show it.
    fn is_alien_now(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = &mut self.start else { return false };
        start.extend(bytes.iter().take(16_usize.saturating_sub(start.len())));
        let Some(length) = start.first_chunk::<4>() else { return false };
        // The top bit announces a MAC, also for greetings (protocol reference 1).
        let len = u32::from_be_bytes(*length) & !zeo_codec::frame::MAC_BIT;
        self.is_alien = len == 0 || len > GREETING_LEN_MAX;
        if !self.is_alien {
            self.start = None;
        }
        self.is_alien
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn printable_name(name: &[u8]) -> String {
    const SHOWN_COUNT: usize = 64;
    let shown: String = String::from_utf8_lossy(name).chars().take(SHOWN_COUNT).collect();
    printable(&shown)
}
