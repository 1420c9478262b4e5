//! Guessing what was meant by a name that is not known.

use std::fmt;

/// A name near the one that is not known, for the end of a message; or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suggestion(pub Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, "; did you mean {name:?}?"))
    }
}

/// The candidate nearest to `name`, if it is near enough to be meant: at most two letters inserted, left
/// out, exchanged or swapped, and less than half of them.
#[must_use]
pub fn suggest(name: &str, candidates: &[&'static str]) -> Suggestion {
    // Nothing known is that long, and the effort grows with the square of it.
    if name.len() > 64 {
        return Suggestion(None);
    }
    let near = candidates.iter().map(|candidate| (distance(name, candidate), *candidate));
    let near = near.filter(|(distance, candidate)| *distance <= 2 && distance * 2 < candidate.len());
    Suggestion(near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate))
}

/// How many edits lead from one name to the other; a swap of neighbours is one edit.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // Three rows of the table of distances between prefixes: two back, one back, the present one.
    let mut two_back: Vec<usize> = Vec::new();
    let mut one_back: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (row, c) in from.chars().enumerate() {
        let mut present = vec![row + 1];
        for (column, target) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let exchanged = at(&one_back, column) + usize::from(c != *target);
            let inserted = at(&present, column) + 1;
            let left_out = at(&one_back, column + 1) + 1;
            let mut best = exchanged.min(inserted).min(left_out);
            if let Some(before) = column.checked_sub(1)
                && previous == Some(*target)
                && to.get(before) == Some(&c)
            {
                best = best.min(at(&two_back, before).saturating_add(1));
            }
            present.push(best);
        }
        two_back = std::mem::replace(&mut one_back, present);
        previous = Some(c);
    }
    one_back.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let keys = ["path", "read-only", "pack-gc", "create"];
        assert_eq!(suggest("read_only", &keys), Suggestion(Some("read-only")));
        assert_eq!(suggest("paht", &keys), Suggestion(Some("path")));
        assert_eq!(suggest("raed-olny", &keys), Suggestion(Some("read-only")));
        assert_eq!(suggest("compress", &keys), Suggestion(None));
        assert_eq!(suggest("", &keys), Suggestion(None));
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
