//! What a captured client says later: some calls of ours take several of its messages together.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeo_client::{Oid, Tid};
use zeo_codec::{Call, Method, MsgId};

use super::super::Plan;
use super::super::plan::{Said, Step};
use super::parts::Parts;

/// A plan, to look ahead in.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'p>(pub(super) &'p Plan);

/// How conflicts of a vote were resolved, by votes that follow upon it.
pub(super) struct Resolved {
    pub(super) records: BTreeMap<Oid, Bytes>,
    /// The id of the last of these votes.
    pub(super) last: MsgId<'static>,
    /// The steps up to that.
    pub(super) included: Vec<usize>,
}

impl<'p> Ahead<'p> {
    fn steps(self, index: usize) -> &'p [Step] {
        self.0.steps.get(index..).unwrap_or_default()
    }

    /// What a connection says from a step on, and in which steps.
    pub(super) fn of(self, index: usize, connection: u32) -> impl Iterator<Item = (usize, &'p Said)> {
        self.steps(index).iter().enumerate().filter_map(move |(offset, step)| match step {
            Step::Say(of, said) if *of == connection => Some((index + offset, said)),
            _ => None,
        })
    }

    /// How many loads of revisions before this tid follow upon each other, with nothing in between.
    pub(super) fn loads(self, index: usize, connection: u32, before: Tid) -> usize {
        let is_load = |step: &&Step| match step {
            Step::Say(of, said) if *of == connection => {
                let call = Parts::of_said(said).map(|parts| parts.call);
                matches!(call, Some(Call::LoadBefore(load)) if load.before == before)
            }
            _ => false,
        };
        self.steps(index).iter().take_while(is_load).count()
    }

    /// The content of a blob that begins at a step, as far as it is known.
    pub(super) fn blob(self, index: usize, connection: u32) -> Vec<u8> {
        let mut content = Vec::new();
        for (_, said) in self.of(index + 1, connection) {
            match Parts::of_said(said).map(|parts| parts.call) {
                Some(Call::StoreBlobChunk(chunk)) => content.extend_from_slice(&chunk.chunk),
                Some(Call::StoreBlobEnd(_)) => return content,
                _ => break,
            }
        }
        // It was broken off: there was more.
        content.push(b'.');
        content
    }

    /// What conflicts of the vote at a step were resolved to.
    pub(super) fn resolved(self, index: usize, connection: u32, id: MsgId<'static>) -> Resolved {
        let mut resolved = Resolved { records: BTreeMap::new(), last: id, included: Vec::new() };
        let (mut records, mut steps) = (BTreeMap::new(), Vec::new());
        for (at, said) in self.of(index + 1, connection) {
            let Some(parts) = Parts::of_said(said) else { break };
            steps.push(at);
            match &parts.call {
                Call::LoadSerial(_) => {}
                Call::Storea(call) => {
                    records.insert(call.oid, Bytes::copy_from_slice(&call.data));
                }
                Call::Transaction(Method::Vote, _) => {
                    resolved.last = parts.id;
                    resolved.included.append(&mut steps);
                    resolved.records.append(&mut records);
                }
                _ => break,
            }
        }
        resolved
    }
}
