//! Conversations as text that can be compared.

use std::collections::BTreeMap;

use zeo_codec::Dialect;
use zeo_codec::session::{Direction, Observed};

use super::Told;
use super::names::Names;
use super::runs::{Line, Runs};
use crate::capture::End;

/// How much of strings is shown, in bytes, and of sequences, in items.
const PRECISION: usize = 24;

/// A conversation as lines: `1 C 3: vote(X1)` is the connection, who speaks, and what.
///
/// Tids (`T1`), ids of transactions (`X1`) and times, which are others each time, are numbered, and data is cut: two
/// recordings of peers that do the same make the same lines.
#[derive(Debug, Default)]
pub struct Transcript {
    names: Names,
    lines: Vec<(Course, Line)>,
    /// Numbers of the connections on which something was said: there may be any number of others, of peers that knock
    /// while nobody is there.
    numbers: BTreeMap<u32, usize>,
    /// Who closed a connection first.
    closed: BTreeMap<usize, Direction>,
}

/// What a peer says on a connection in a fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Course {
    /// Calls.
    Client(usize),
    /// Replies.
    Replies(usize),
    /// Invalidations and such, which come when they come.
    Notices(usize),
    /// What was done to the connection.
    Fate(usize),
    /// How it ended otherwise: who is first to close it, and whether the other sees a reset, is chance.
    End,
}

impl Transcript {
    /// Adds what was told of a connection.
    pub fn add(&mut self, connection: u32, dialect: Option<&Dialect>, told: &Told) {
        if let Told::Message { direction, observed, .. } = told {
            let next = self.numbers.len() + 1;
            let number = *self.numbers.entry(connection).or_insert(next);
            let shown = format!("{:.PRECISION$}", observed.show(dialect));
            let text = format!("{number} {} {}", letter(*direction), self.names.replace(connection, &shown));
            let course = match (direction, observed) {
                (Direction::FromClient, _) => Course::Client(number),
                (Direction::FromServer, Observed::Call { .. }) => Course::Notices(number),
                (Direction::FromServer, _) => Course::Replies(number),
            };
            let line = Line { key: format!("{number} {}", key(*direction, observed)), text };
            return self.lines.push((course, line));
        }
        let Some(number) = self.numbers.get(&connection) else { return };
        match told {
            Told::Opened(_) | Told::Message { .. } => {}
            Told::Ended { direction, end: End::Closed, rest_len: 0 } => {
                self.closed.entry(*number).or_insert(*direction);
            }
            Told::Ended { direction, end, rest_len } => {
                let how = if end.text().is_empty() { "closed" } else { end.text() };
                let rest =
                    if *rest_len > 0 { format!(", {rest_len} bytes into a message") } else { String::new() };
                let side = letter(*direction).to_ascii_lowercase();
                let course = if *end == End::Cut { Course::Fate(*number) } else { Course::End };
                self.lines.push((course, Line::single(format!("{number} {side} {how}{rest}"))));
            }
            Told::Note(text) => {
                self.lines.push((Course::Fate(*number), Line::single(format!("{number} - {text}"))));
            }
        }
    }

    /// All lines in their order, without the insides of runs of the same calls, and who closed which connection
    /// first.
    #[must_use]
    pub fn text(&self) -> String {
        let mut runs = Runs::default();
        self.lines.iter().for_each(|(_, line)| runs.add(line.clone()));
        let mut text = runs.text();
        for (number, direction) in &self.closed {
            let side = match direction {
                Direction::FromClient => "client",
                Direction::FromServer => "server",
            };
            text.push_str(&format!("{number} closed by the {side}\n"));
        }
        text
    }

    /// What does not depend on who was a little faster: the calls, replies and notices of each connection in their own
    /// order. In two recordings of the same it is the same.
    #[must_use]
    pub fn essence(&self) -> String {
        let mut lines: Vec<_> = self.lines.iter().filter(|(course, _)| *course != Course::End).collect();
        lines.sort_by_key(|(course, _)| *course);
        lines.iter().map(|(_, line)| format!("{}\n", line.text)).collect()
    }
}

const fn letter(direction: Direction) -> char {
    match direction {
        Direction::FromClient => 'C',
        Direction::FromServer => 'S',
    }
}

/// What lines of a kind have in common.
fn key(direction: Direction, observed: &Observed) -> String {
    let what = match observed {
        Observed::Call { method, .. } => format!("call {method:?}"),
        Observed::Reply { method, is_error, .. } => format!("reply {method:?} {is_error}"),
        Observed::KeepAlive => "keep-alive".to_owned(),
        _ => "other".to_owned(),
    };
    format!("{} {what}", letter(direction))
}
