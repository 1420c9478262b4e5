//! One connection to a live server, and how far it has come.

use std::collections::BTreeSet;
use std::net::TcpStream;

use super::order::Order;
use super::plan::{Course, Said};
use super::translate::Translation;
use crate::decode::Watch;

/// One connection.
pub(super) struct Live {
    pub(super) stream: TcpStream,
    pub(super) watch: Watch,
    /// How much of each course has come, and has to have come.
    pub(super) replies: Progress,
    pub(super) notices: Progress,
    /// Of the captured replies, the first that may be open, and those behind it that are not.
    first_open: usize,
    answered: BTreeSet<usize>,
    pub(super) order: Order,
    /// What the captured server kept to of the same rules.
    pub(super) captured_order: Order,
    pub(super) is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) come: usize,
    pub(super) wanted: usize,
}

impl Live {
    /// Nothing has come yet.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            watch: Watch::new(),
            replies: Progress::default(),
            notices: Progress::default(),
            first_open: 0,
            answered: BTreeSet::new(),
            order: Order::default(),
            captured_order: Order::default(),
            is_over: false,
        }
    }

    pub(super) const fn progress(&mut self, course: Course) -> &mut Progress {
        match course {
            Course::Replies => &mut self.replies,
            Course::Notices => &mut self.notices,
        }
    }

    /// Which of the captured replies this one is: the first that is open and has the same id, otherwise the first that is
    /// open.
    pub(super) fn answer(
        &mut self,
        expected: &[Said],
        text: Option<&str>,
        translation: &Translation,
    ) -> usize {
        let id = |text: &str| text.split_once(": ").map(|(id, _)| id.to_owned());
        while self.answered.remove(&self.first_open) {
            self.first_open += 1;
        }
        let first = self.first_open;
        let own_id = text.and_then(id);
        let is_it = |at: &usize| {
            let captured_id = expected.get(*at).and_then(|said| id(&said.text));
            own_id.is_some() && captured_id.map(|id| translation.apply_to_text(&id)) == own_id
        };
        let mut open = (first..expected.len()).filter(|at| !self.answered.contains(at));
        let found = open.find(is_it).unwrap_or(first);
        self.answered.insert(found);
        found
    }

    pub(super) const fn is_behind(&self) -> bool {
        !self.is_over && (self.replies.come < self.replies.wanted || self.notices.come < self.notices.wanted)
    }
}
