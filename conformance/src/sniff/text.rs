//! Messages as lines for people.
//!
//! ```text
//!     2.013450    1 > #12   loadBefore  oid 0000000000000001  before 7fffffffffffffff  62 bytes
//!     2.013622    1 < #12   loadBefore  oid 0000000000000001  serial 040d241b905d6933  data 178  232 bytes  172 us
//! ```
//!
//! Seconds since the start, the connection, who speaks (`>` the client, `<` the server), the id, the method, what it is
//! about, the length of the frame, and the time since the call.

use std::fmt::Write as _;
use std::io::{self, Write};

use zeo_codec::MsgId;
use zeo_codec::session::Direction;

use super::message::{Kind, Message};

/// More oids or tids are counted.
const SHOWN_COUNT: usize = 4;

/// Writes lines.
#[derive(Debug)]
pub struct Lines {
    /// Contents are shown, cut after so many bytes and items.
    pub shown_len: Option<usize>,
    line: String,
}

impl Lines {
    /// With contents cut to this length, or without.
    #[must_use]
    pub const fn new(shown_len: Option<usize>) -> Self {
        Self { shown_len, line: String::new() }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, message: &Message<'_>, out: &mut impl Write) -> io::Result<()> {
        self.line.clear();
        // A string never fails to take text.
        let _ = self.compose(message);
        self.line.push('\n');
        out.write_all(self.line.as_bytes())
    }

    fn compose(&mut self, message: &Message<'_>) -> std::fmt::Result {
        let line = &mut self.line;
        let side = match message.direction {
            Some(Direction::FromClient) => '>',
            Some(Direction::FromServer) => '<',
            None => '-',
        };
        let seconds = message.time.as_secs();
        let micros = message.time.subsec_micros();
        write!(line, "{seconds:>5}.{micros:06} {:>4} {side} ", message.connection)?;
        match (&message.id, message.kind) {
            (_, Kind::OneWay) => write!(line, "{:<7}", "-")?,
            (Some(MsgId::Int(number)), _) => write!(line, "#{number:<6}")?,
            (Some(MsgId::Load(..)), _) => write!(line, "{:<7}", "#load")?,
            (Some(MsgId::Other(value)), _) => write!(line, "#{value:.16} ")?,
            (None, _) => {}
        }
        match message.kind {
            Kind::Call | Kind::OneWay => line.push_str(message.name()),
            Kind::Reply | Kind::Error => {
                let name = message.name();
                line.push_str(if name.is_empty() { "(call not seen)" } else { name });
            }
            kind => line.push_str(kind.name()),
        }
        if let Some(remark) = message.remark {
            write!(line, " {remark}")?;
            if message.kind == Kind::Lost {
                write!(line, ", at byte {} of the stream", message.offset)?;
            }
            return Ok(());
        }
        self.compose_facts(message)?;
        let line = &mut self.line;
        write!(line, "  {} bytes", message.len)?;
        if let Some(latency) = message.latency {
            write!(line, "  {} us", latency.as_micros())?;
        }
        match message.kind {
            Kind::Hello => {}
            Kind::Undecodable => write!(line, "  at byte {} of the stream", message.offset)?,
            _ if self.shown_len.is_none() => return Ok(()),
            _ => {}
        }
        if let Some(seen) = message.seen {
            let len = self.shown_len.unwrap_or(32);
            write!(line, "  {:.len$}", seen.show(message.dialect.as_ref()))?;
        }
        Ok(())
    }

    fn compose_facts(&mut self, message: &Message<'_>) -> std::fmt::Result {
        let (line, facts) = (&mut self.line, message.facts);
        if let Some(class) = &facts.error {
            write!(line, "  error {class}")?;
        } else if message.kind == Kind::Error {
            line.push_str("  error");
        }
        if let Some(storage) = &facts.storage {
            write!(line, "  storage {storage:?}")?;
        }
        if let Some(txn) = facts.txn {
            write!(line, "  txn {txn:x}")?;
        }
        for oid in facts.oids.iter().take(SHOWN_COUNT) {
            write!(line, "  oid {oid}")?;
        }
        if let Some(more) = facts.oids.len().checked_sub(SHOWN_COUNT).filter(|more| *more > 0) {
            write!(line, " and {more} more")?;
        }
        for (role, tid) in facts.tids.iter().take(SHOWN_COUNT) {
            write!(line, "  {} {tid}", role.name())?;
        }
        if facts.conflict_count > 0 {
            write!(line, "  conflicts {}", facts.conflict_count)?;
        }
        if let Some(len) = facts.data_len {
            write!(line, "  data {len}")?;
        }
        if let Some(malformed) = &facts.malformed {
            write!(line, "  malformed: {malformed}")?;
        }
        Ok(())
    }
}
