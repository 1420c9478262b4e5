//! What a pickle has set aside for later use.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::NodeId;

/// Picklers number their entries one after the other, from 0 or 1, so that a list has nearly all of them. Others are
/// taken as well: a number is never a reason to take memory for all below it.
#[derive(Debug, Default)]
pub(super) struct Memo {
    first_index: u32,
    /// Those from `first_index` on.
    in_order: Vec<NodeId>,
    others: BTreeMap<u32, NodeId>,
}

impl Memo {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    pub(super) fn get(&self, index: u32) -> Option<NodeId> {
        self.place(index)
            .and_then(|place| self.in_order.get(place))
            .or_else(|| self.others.get(&index))
            .copied()
    }

    pub(super) fn put(&mut self, index: u32, id: NodeId) {
        if self.in_order.is_empty() {
            self.first_index = index;
        }
        let place = self.place(index);
        if let Some(entry) = place.and_then(|place| self.in_order.get_mut(place)) {
            *entry = id;
        } else if place == Some(self.in_order.len()) && !self.others.contains_key(&index) {
            self.in_order.push(id);
        } else {
            self.others.insert(index, id);
        }
    }

    fn place(&self, index: u32) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first_index)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(entries in prop::collection::vec((0..12_u32, any::<NodeId>()), 0..40)) {
            let (mut memo, mut map) = (Memo::default(), BTreeMap::new());
            for (index, id) in entries {
                memo.put(index, id);
                map.insert(index, id);
                prop_assert_eq!(memo.len(), map.len());
                for index in 0..13 {
                    prop_assert_eq!(memo.get(index), map.get(&index).copied());
                }
            }
        }
    }
}
