//! A capture, arranged for our client: what it says otherwise on purpose, each time noted, and where it says it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zeo_codec::{Call, Generation, Method, Value};

use super::super::Plan;
use super::super::plan::{Course, Courses, Said, Step};
use super::parts::{Parts, answered, result};

/// A message of the captured client that ours does not say, or says in another way, on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excuse {
    /// The connection, by its number in the capture.
    pub connection: u32,
    /// The message, as in [`Difference`](super::super::Difference).
    pub number: usize,
    /// What was said in the capture.
    pub captured: String,
    /// What our client is to say; nothing if it is empty.
    pub instead: String,
    /// Why that is as good.
    pub why: &'static str,
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, number, captured, instead, why } = self;
        write!(f, "connection {connection}, message {number}, {captured:.60}: ")?;
        if instead.is_empty() { write!(f, "not said, {why}") } else { write!(f, "instead {instead}, {why}") }
    }
}

const LOST_WITH_THE_CONNECTION: &str = "the transaction has gone with the connection that it began in";
const ENDED_ONE_BY_ONE: &str = "iterators are ended one by one, and not those that were at their end";
const COUNTED: &str = "a number of transactions, in place of the last one";
const TEXT: &str = "the texts of a transaction are text in ZEO 4, those that were copied, too";

/// What is known of a connection so far.
#[derive(Default)]
struct State {
    begun: BTreeSet<u64>,
    /// Iterators, and whether they are at their end.
    iterators: BTreeMap<i64, bool>,
    /// Calls that are not answered yet, and which iterator they are about.
    asked: BTreeMap<String, Asked>,
    reply_count: usize,
}

enum Asked {
    NewIterator,
    Next(i64),
    /// The call is not made.
    LeftOut,
}

/// Arranges a plan.
pub(super) fn arrange(plan: &mut Plan) -> Vec<Excuse> {
    only_with_words(plan);
    let excuses = leave_out(plan);
    gather(plan);
    excuses
}

/// Leaves out connections on which no client has said anything: it was closed while it tried.
fn only_with_words(plan: &mut Plan) {
    let said = |step: &Step| match step {
        Step::Say(connection, _) | Step::Lost(connection, _) => Some(*connection),
        _ => None,
    };
    let with_words: BTreeSet<u32> = plan.steps.iter().filter_map(said).collect();
    plan.steps.retain(|step| match step {
        Step::Open(connection)
        | Step::Say(connection, _)
        | Step::Heard(connection, _)
        | Step::Lost(connection, _)
        | Step::Close(connection)
        | Step::Ended(connection) => with_words.contains(connection),
        // Nobody has a server in hand here, and our client shares a directory by itself.
        Step::Server(_) | Step::Shared(_) => false,
    });
}

fn leave_out(plan: &mut Plan) -> Vec<Excuse> {
    let mut excuses = Vec::new();
    let mut states = BTreeMap::<u32, State>::new();
    let mut left_out = BTreeSet::new();
    let mut arranged = Vec::new();
    for step in std::mem::take(&mut plan.steps) {
        match step {
            Step::Say(connection, said) => {
                let state = states.entry(connection).or_default();
                for said in state.say(connection, said, &mut excuses) {
                    arranged.push(Step::Say(connection, said));
                }
            }
            Step::Heard(connection, Course::Replies) => {
                let state = states.entry(connection).or_default();
                let replies = plan.expected.get(&connection).map(|courses| courses.replies.as_slice());
                let reply = replies.unwrap_or_default().get(state.reply_count);
                let is_wanted = reply.is_none_or(|reply| state.hear(reply));
                if is_wanted {
                    arranged.push(Step::Heard(connection, Course::Replies));
                } else {
                    left_out.insert((connection, state.reply_count));
                }
                state.reply_count += 1;
            }
            other => arranged.push(other),
        }
    }
    for (connection, courses) in &mut plan.expected {
        let mut index = 0;
        courses.replies.retain(|_| {
            index += 1;
            !left_out.contains(&(*connection, index - 1))
        });
    }
    plan.steps = arranged;
    excuses
}

impl State {
    /// What our client says in place of a message.
    fn say(&mut self, connection: u32, said: Said, excuses: &mut Vec<Excuse>) -> Vec<Said> {
        let Some(parts) = Parts::of_said(&said) else { return vec![said] };
        let id = parts.id.to_string();
        let (instead, why) = match &parts.call {
            Call::TpcBegin(begin) => {
                self.begun.insert(begin.id.0);
                let is_zeo4 = said.dialect.is_some_and(|dialect| dialect.generation < Generation::Zeo5);
                let bytes = [&begin.user, &begin.description];
                if !is_zeo4 || !bytes.iter().any(|value| matches!(value, Value::Bytes(_))) {
                    return vec![said];
                }
                let mut text = said.text.clone();
                for value in bytes {
                    let shown = value.as_bytes().and_then(|bytes| str::from_utf8(bytes).ok());
                    let shown = shown.map(|shown| Value::Text(shown.into()).to_string());
                    text = text.replacen(&value.to_string(), &shown.unwrap_or_default(), 1);
                }
                (vec![text], TEXT)
            }
            _ if parts.transaction().is_some_and(|id| !self.begun.contains(&id.0)) => {
                if !parts.is_one_way {
                    self.asked.insert(id, Asked::LeftOut);
                }
                (Vec::new(), LOST_WITH_THE_CONNECTION)
            }
            Call::IteratorStart(_) | Call::IteratorRecordStart(_) => {
                self.asked.insert(id, Asked::NewIterator);
                return vec![said];
            }
            Call::IteratorNext(_, next) => {
                self.asked.insert(id, Asked::Next(next.id));
                return vec![said];
            }
            Call::IteratorGc(gc) => {
                let open = gc.ids.iter().filter(|id| self.iterators.remove(id) == Some(false));
                let list = gc.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let one = |id: &i64| {
                    let shown = said.text.replacen(&format!("[{list}]"), &format!("[{id}]"), 1);
                    shown.replacen(&format!("({list})"), &format!("({id},)"), 1)
                };
                (open.map(one).collect(), ENDED_ONE_BY_ONE)
            }
            Call::UndoLog(undo) if undo.last > 0 => {
                let count = undo.first - undo.last;
                (vec![format!("{id}: undoLog({}, {count})", undo.first)], COUNTED)
            }
            _ => return vec![said],
        };
        if instead != [said.text.as_str()] {
            excuses.push(Excuse {
                connection,
                number: said.number,
                captured: said.text.clone(),
                instead: instead.join(", "),
                why,
            });
        }
        instead.into_iter().map(|text| Said { text, ..said.clone() }).collect()
    }

    /// False if our client has not asked for this.
    fn hear(&mut self, reply: &Said) -> bool {
        let Some(id) = answered(reply) else { return true };
        match self.asked.remove(&id.to_string()) {
            Some(Asked::LeftOut) => return false,
            Some(Asked::NewIterator) => {
                if let Ok(id) = result(reply).parse() {
                    self.iterators.insert(id, false);
                }
            }
            Some(Asked::Next(id)) if result(reply) == "None" => {
                self.iterators.insert(id, true);
            }
            Some(Asked::Next(_)) | None => {}
        }
        true
    }
}

/// Puts messages where our client says them, or has to be told them:
///
/// * what nobody answers right before the next message of the connection that somebody does: that is when our client writes
///   it, and the server does nothing about it before the vote;
/// * the label behind `get_info`;
/// * the answer to `get_info`, and the end of a verification, right behind what asks for them: our client waits for these,
///   Python's clients of ZEO 4 do not.
fn gather(plan: &mut Plan) {
    let mut gathered = Gathered::default();
    for step in std::mem::take(&mut plan.steps) {
        gathered.add(step, &plan.expected);
    }
    let waiting = std::mem::take(&mut gathered.waiting);
    for (connection, rest) in waiting {
        gathered.steps.extend(rest.into_iter().map(|said| Step::Say(connection, said)));
    }
    plan.steps = gathered.steps;
}

#[derive(Default)]
struct Gathered {
    steps: Vec<Step>,
    /// What nobody answers, and labels, until it is their turn.
    waiting: BTreeMap<u32, Vec<Said>>,
    labels: BTreeMap<u32, Said>,
    described: BTreeSet<u32>,
    /// How much the server has said, and how much of it was put further to the front.
    heard: BTreeMap<(u32, bool), (usize, usize)>,
}

impl Gathered {
    fn add(&mut self, step: Step, expected: &BTreeMap<u32, Courses>) {
        let (connection, parts) = match &step {
            Step::Open(_) | Step::Server(_) | Step::Shared(_) => return self.steps.push(step),
            Step::Heard(connection, course) => {
                let (count, early) = self.heard.entry((*connection, *course == Course::Replies)).or_default();
                if *early == 0 {
                    *count += 1;
                    self.steps.push(step);
                } else {
                    *early -= 1;
                }
                return;
            }
            Step::Say(connection, said) => (*connection, Parts::of_said(said)),
            Step::Lost(connection, _) | Step::Close(connection) | Step::Ended(connection) => {
                (*connection, None)
            }
        };
        let method = parts.as_ref().and_then(Parts::method);
        let is_one_way = parts.is_some_and(|parts| parts.is_one_way);
        match step {
            Step::Say(_, said)
                if method == Some(Method::SetClientLabel) && !self.described.contains(&connection) =>
            {
                self.labels.insert(connection, said);
                return;
            }
            Step::Say(_, said) if is_one_way && method != Some(Method::EndZeoVerify) => {
                self.waiting.entry(connection).or_default().push(said);
                return;
            }
            step => {
                let before = self.waiting.remove(&connection).unwrap_or_default();
                self.steps.extend(before.into_iter().map(|said| Step::Say(connection, said)));
                self.steps.push(step);
            }
        }
        let courses = expected.get(&connection);
        match method {
            Some(Method::EndZeoVerify) => self.hear_until(connection, Course::Notices, courses, "endVerify("),
            Some(Method::GetInfo) if self.described.insert(connection) => {
                self.hear_until(connection, Course::Replies, courses, ": get_info -> ");
                self.waiting.entry(connection).or_default().extend(self.labels.remove(&connection));
            }
            _ => {}
        }
    }

    /// Has the server say what it says next, up to this, now.
    fn hear_until(&mut self, connection: u32, course: Course, courses: Option<&Courses>, last: &str) {
        let (count, early) = self.heard.entry((connection, course == Course::Replies)).or_default();
        let next = courses.and_then(|courses| courses.of(course).get(*count..)).unwrap_or_default();
        let Some(index) = next.iter().position(|said| said.text.contains(last)) else { return };
        *count += index + 1;
        *early += index + 1;
        self.steps.extend((0..=index).map(|_| Step::Heard(connection, course)));
    }
}
