//! Where what lies behind the pack time lies in the new file.

/// All of it moves by the same distance, but for records whose length changes and what comes after them.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Where the rest begins, in the old file and in the new one.
    pack_pos: u64,
    packed_len: u64,
    /// The records whose length changed, by their old position, and what all changes up to there come to.
    grown: Vec<(u64, i64)>,
}

impl Moves {
    pub(super) const fn new(pack_pos: u64, packed_len: u64) -> Self {
        Self { pack_pos, packed_len, grown: Vec::new() }
    }

    /// Where the rest begins in the old file.
    pub(super) const fn pack_pos(&self) -> u64 {
        self.pack_pos
    }

    /// Where it begins in the new one.
    pub(super) const fn packed_len(&self) -> u64 {
        self.packed_len
    }

    /// Where the record is now that was at `pos`; `None` before the pack time.
    pub(super) fn new_pos(&self, pos: u64) -> Option<u64> {
        let distance = pos.checked_sub(self.pack_pos)?;
        let before = self.grown.partition_point(|(grown_pos, _)| *grown_pos < pos);
        let grown = before.checked_sub(1).and_then(|at| self.grown.get(at)).map_or(0, |(_, sum)| *sum);
        Some(self.packed_len.saturating_add(distance).saturating_add_signed(grown))
    }

    /// Takes note that the record at `pos`, behind all others so far, has become longer or shorter.
    pub(super) fn grew(&mut self, pos: u64, from_len: u64, to_len: u64) {
        let before = self.grown.last().map_or(0, |(_, sum)| *sum);
        // Lengths are below 2^63: positions are.
        self.grown.push((pos, before.saturating_add_unsigned(to_len).saturating_sub_unsigned(from_len)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_a_longer_record_moves_further() {
        let mut moves = Moves::new(100, 40);
        assert_eq!([99, 100, 150].map(|pos| moves.new_pos(pos)), [None, Some(40), Some(90)]);
        moves.grew(150, 8, 30);
        moves.grew(200, 8, 1);
        let moved = [100, 150, 151, 200, 201, 1000].map(|pos| moves.new_pos(pos).unwrap());
        assert_eq!(moved, [40, 90, 113, 162, 156, 955]);
    }
}
