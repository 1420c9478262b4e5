//! All connections, in bounded memory.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use zeo_codec::Limits;
use zeo_server::auth::PasswordDatabase;

use super::conversation::{Conversation, Show};
use super::message::{Kind, MissingNote};
use crate::capture::{Event, Record};

/// How much a sniffer may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Longest message that is read, in bytes; longer ones are passed over.
    pub message_bytes: usize,
    /// Bytes of incomplete messages, of all connections.
    pub buffered_bytes: usize,
    /// Connections; beyond that, the one that was silent for longest is forgotten, and joined anew if it speaks again.
    pub connection_count: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { message_bytes: 64 << 20, buffered_bytes: 256 << 20, connection_count: 1024 }
    }
}

/// Bytes of all connections in, messages out.
#[derive(Debug)]
pub struct Sniffer {
    conversations: HashMap<u32, Conversation>,
    bounds: Bounds,
    /// Bytes of incomplete messages.
    buffered_len: usize,
    tick: u64,
    /// Of the last record.
    time: Duration,
    passwords: Option<Arc<PasswordDatabase>>,
}

impl Sniffer {
    /// Nothing was heard yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            conversations: HashMap::new(),
            bounds,
            buffered_len: 0,
            tick: 0,
            time: Duration::ZERO,
            passwords: None,
        }
    }

    /// Checks the MACs of sessions of ZEO 4 that these users begin by digest authentication.
    pub fn set_passwords(&mut self, passwords: Arc<PasswordDatabase>) {
        self.passwords = Some(passwords);
    }

    /// Takes one record of a capture, and shows what it completes.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn hear(&mut self, record: &Record<'_>, show: &mut Show<'_>) -> io::Result<()> {
        let (time, number) = (record.time, record.connection);
        self.tick += 1;
        self.time = time;
        if let Event::Opened(endpoints) = &record.event {
            let mut conversation = Conversation::new(number, true, self.limits());
            if let Some(passwords) = &self.passwords {
                conversation.set_passwords(Arc::clone(passwords));
            }
            let text = match (endpoints.client.as_str(), endpoints.server.as_str()) {
                ("", "") => String::new(),
                (client, "") => format!("from {client}"),
                (client, server) => format!("from {client} to {server}"),
            };
            conversation.set_last_heard(self.tick);
            self.insert(number, conversation);
            return self.with(number, |conversation| conversation.note(time, Kind::Opened, &text, show));
        }
        if let Event::Note(text) = &record.event
            && number == 0
        {
            let mut nobody = Conversation::new(0, false, self.limits());
            return nobody.note(time, Kind::Note, text, show);
        }
        if !self.conversations.contains_key(&number) {
            self.insert(number, Conversation::new(number, false, self.limits()));
        }
        let tick = self.tick;
        self.with(number, |conversation| {
            conversation.set_last_heard(tick);
            match &record.event {
                Event::Bytes { direction, bytes } => conversation.receive(time, *direction, bytes, show),
                Event::Ended { direction, end } => conversation.end(time, *direction, end.text(), show),
                Event::Note(text) => match MissingNote::parse(text) {
                    Some(note) => conversation.miss(time, note.direction, note.len, show),
                    None => conversation.note(time, Kind::Note, text, show),
                },
                Event::Opened(_) => Ok(()),
            }
        })?;
        self.stay_within_bounds(time, show)
    }

    /// The capture is over: what was not understood of connections that have not ended is told.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn finish(&mut self, show: &mut Show<'_>) -> io::Result<()> {
        let mut left: Vec<_> = self.conversations.drain().collect();
        left.sort_by_key(|(number, _)| *number);
        self.buffered_len = 0;
        let time = self.time;
        left.iter_mut().try_for_each(|(_, conversation)| conversation.finish(time, show))
    }

    fn limits(&self) -> Limits {
        Limits { frame_bytes: self.bounds.message_bytes, ..Limits::DEFAULT }
    }

    /// Does something with a connection, and keeps the account of what it holds.
    fn with<T>(
        &mut self,
        number: u32,
        act: impl FnOnce(&mut Conversation) -> io::Result<T>,
    ) -> io::Result<()> {
        let Some(conversation) = self.conversations.get_mut(&number) else { return Ok(()) };
        let before = conversation.buffered_len();
        let outcome = act(conversation);
        let after = conversation.buffered_len();
        if conversation.is_over() {
            self.conversations.remove(&number);
            self.buffered_len = self.buffered_len.saturating_sub(before);
        } else {
            self.buffered_len = self.buffered_len.saturating_sub(before).saturating_add(after);
        }
        outcome.map(|_| ())
    }

    fn insert(&mut self, number: u32, conversation: Conversation) {
        if self.conversations.len() >= self.bounds.connection_count
            && let Some(silent) = self
                .conversations
                .iter()
                .min_by_key(|(_, other)| other.last_heard())
                .map(|(number, _)| *number)
        {
            self.forget(silent);
        }
        self.forget(number);
        self.conversations.insert(number, conversation);
    }

    fn forget(&mut self, number: u32) {
        if let Some(gone) = self.conversations.remove(&number) {
            self.buffered_len = self.buffered_len.saturating_sub(gone.buffered_len());
        }
    }

    fn stay_within_bounds(&mut self, time: Duration, show: &mut Show<'_>) -> io::Result<()> {
        while self.buffered_len > self.bounds.buffered_bytes {
            let largest = self.conversations.iter().max_by_key(|(_, other)| other.buffered_len());
            let Some(number) = largest.map(|(number, _)| *number) else { return Ok(()) };
            self.with(number, |conversation| conversation.give_up(time, show))?;
        }
        Ok(())
    }

    /// Bytes of incomplete messages that are held.
    #[must_use]
    pub const fn buffered_len(&self) -> usize {
        self.buffered_len
    }
}
