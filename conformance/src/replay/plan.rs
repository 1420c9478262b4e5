//! What was said in a capture, as something that can be said again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use zeo_codec::Dialect;
use zeo_codec::session::{Direction, Observed};

use super::ReplayError;
use super::shared::{SharedFile, SharedFiles};
use super::text::text;
use crate::capture::{End, ServerAct, file};
use crate::decode::{Told, each_message};

/// A capture, message by message.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) scenario: String,
    pub(super) steps: Vec<Step>,
    /// What each connection's server said.
    pub(super) expected: BTreeMap<u32, Courses>,
    /// What these servers said last was lost: the recorder had ended the connection.
    pub(super) cut: BTreeSet<u32>,
    /// Those whose server was one of ZEO 4.
    pub(super) old: BTreeSet<u32>,
    /// Files that clients have put into the server's directory of blobs.
    pub(super) shared: Vec<SharedFile>,
}

/// One thing after the other.
#[derive(Debug)]
pub(super) enum Step {
    /// A client connects.
    Open(u32),
    /// A client says something.
    Say(u32, Said),
    /// By now the server had said one message more of this course.
    Heard(u32, Course),
    /// The client said something that the recorder did not pass on; a message of this method.
    Lost(u32, String),
    /// The client ends the connection, or what was between them did.
    Close(u32),
    /// The server ended it.
    Ended(u32),
    /// Something was done to the server.
    Server(ServerAct),
    /// A client has put this one of the files into the server's directory of blobs.
    Shared(usize),
}

/// What a server says in a fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    Replies,
    Notices,
}

/// What one server said on one connection.
#[derive(Debug, Default)]
pub(super) struct Courses {
    pub(super) replies: Vec<Said>,
    pub(super) notices: Vec<Said>,
}

impl Courses {
    pub(super) fn of(&self, course: Course) -> &[Said] {
        match course {
            Course::Replies => &self.replies,
            Course::Notices => &self.notices,
        }
    }
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// On its connection, from 1.
    pub(super) number: usize,
    pub(super) text: String,
    /// Without its length.
    pub(super) payload: Bytes,
    /// It is no frame, but what a stranger said.
    pub(super) is_raw: bool,
    /// How it is to be read; none before the greeting.
    pub(super) dialect: Option<Dialect>,
}

/// Which of the two courses a message of a server belongs to.
pub(super) const fn course(observed: &Observed) -> Course {
    match observed {
        Observed::Call { .. } => Course::Notices,
        _ => Course::Replies,
    }
}

impl Plan {
    /// Reads a capture.
    ///
    /// # Errors
    /// [`ReplayError`] if it is damaged, or its clients prove who they are by a key that it does not hold.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        let mut reader = file::open(path)?;
        let mut plan = Self { scenario: reader.metadata().scenario.clone(), ..Self::default() };
        let mut numbers = BTreeMap::<u32, usize>::new();
        let mut is_closed = BTreeMap::<u32, bool>::new();
        let mut unsayable = None;
        let mut shared = SharedFiles::default();
        each_message(&mut reader, |connection, dialect, told| match told {
            Told::Opened(_) => plan.steps.push(Step::Open(connection)),
            Told::Note(note) => {
                if let Some(method) = note.strip_prefix("drop client:") {
                    plan.steps.push(Step::Lost(connection, method.to_owned()));
                } else if let (0, Ok(act)) = (connection, note.parse()) {
                    plan.steps.push(Step::Server(act));
                }
            }
            Told::Message { direction, observed, payload } => {
                let number = numbers.entry(connection).or_default();
                *number += 1;
                if matches!(observed, Observed::Skipped(_)) {
                    unsayable = Some((connection, "it has no beginning".to_owned()));
                }
                if let Some(number) = shared.take(connection, &observed, dialect) {
                    plan.steps.push(Step::Shared(number));
                }
                let is_raw = matches!(observed, Observed::Lost(_));
                let text = text(&observed, dialect);
                let said = Said { number: *number, text, payload, is_raw, dialect: dialect.copied() };
                if direction == Direction::FromClient {
                    plan.steps.push(Step::Say(connection, said));
                    return;
                }
                let courses = plan.expected.entry(connection).or_default();
                if courses.replies.is_empty() && said.text == "\"Z4\"" {
                    plan.old.insert(connection);
                }
                let course = course(&observed);
                match course {
                    Course::Replies => courses.replies.push(said),
                    Course::Notices => courses.notices.push(said),
                }
                plan.steps.push(Step::Heard(connection, course));
            }
            Told::Ended { direction, end, .. } => {
                if end == End::Cut {
                    plan.cut.insert(connection);
                }
                // Whoever is second has only taken note of it.
                if !is_closed.insert(connection, true).unwrap_or_default() {
                    let is_servers = direction == Direction::FromServer && end != End::Cut;
                    plan.steps.push(if is_servers {
                        Step::Ended(connection)
                    } else {
                        Step::Close(connection)
                    });
                }
            }
        })?;
        plan.shared = shared.into_files();
        match unsayable {
            Some((connection, what)) => Err(ReplayError::Unsayable { connection, what }),
            None => Ok(plan),
        }
    }

    /// A server of the capture greeted with msgpack's letter.
    pub(super) fn greets_in_msgpack(&self) -> bool {
        let mut greetings = self.expected.values().filter_map(|courses| courses.replies.first());
        greetings.any(|greeting| greeting.text.starts_with("\"M"))
    }
}
