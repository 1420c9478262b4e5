//! A capture, arranged for our client: what it says otherwise on purpose, each time noted, and where it says it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zeo_codec::{Call, Method};

use super::super::Plan;
use super::super::plan::{Course, Said, Step};
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
        if instead.is_empty() {
            write!(f, "not said, {why}")
        } else {
            write!(f, "instead {instead}, {why}")
        }
    }
}

const LOST_WITH_THE_CONNECTION: &str = "the transaction has gone with the connection that it began in";
const ENDED_ONE_BY_ONE: &str = "iterators are ended one by one, and not those that were at their end";
const COUNTED: &str = "a number of transactions, in place of the last one";

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
    let excuses = leave_out(plan);
    gather(plan);
    excuses
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
                return vec![said];
            }
            Call::Transaction(Method::TpcAbort, call) if !self.begun.contains(&call.id.0) => {
                self.asked.insert(id, Asked::LeftOut);
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
                let bracket = |id: &i64| {
                    if said.text.contains('[') { format!("[{id}]") } else { format!("({id},)") }
                };
                (open.map(|id| format!("iterator_gc({})", bracket(id))).collect(), ENDED_ONE_BY_ONE)
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

/// Puts what nobody answers right before the next message of the connection that somebody does. That is when our client
/// writes it, and the server does nothing about it before the vote. The label comes behind `get_info`.
fn gather(plan: &mut Plan) {
    let mut arranged = Vec::new();
    let mut waiting = BTreeMap::<u32, Vec<Said>>::new();
    let mut labels = BTreeMap::<u32, Said>::new();
    let mut described = BTreeSet::new();
    for step in std::mem::take(&mut plan.steps) {
        let (connection, is_one_way, method) = match &step {
            Step::Say(connection, said) => {
                let parts = Parts::of_said(said);
                let is_one_way = parts.as_ref().is_some_and(|parts| parts.is_one_way);
                (*connection, is_one_way, parts.and_then(|parts| parts.method()))
            }
            Step::Lost(connection, _) | Step::Close(connection) | Step::Ended(connection) => {
                (*connection, false, None)
            }
            Step::Open(_) | Step::Heard(..) => {
                arranged.push(step);
                continue;
            }
        };
        match step {
            Step::Say(_, said)
                if method == Some(Method::SetClientLabel) && !described.contains(&connection) =>
            {
                labels.insert(connection, said);
            }
            Step::Say(_, said) if is_one_way => waiting.entry(connection).or_default().push(said),
            step => {
                let before = waiting.remove(&connection).unwrap_or_default();
                arranged.extend(before.into_iter().map(|said| Step::Say(connection, said)));
                arranged.push(step);
                if method == Some(Method::GetInfo) {
                    described.insert(connection);
                    waiting.entry(connection).or_default().extend(labels.remove(&connection));
                }
            }
        }
    }
    for (connection, rest) in waiting {
        arranged.extend(rest.into_iter().map(|said| Step::Say(connection, said)));
    }
    plan.steps = arranged;
}
