//! What a cache file has, by the protocol reference, section 16, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

/// When a revision ended, 0 while it is current, and its data.
pub(super) type Ending = (u64, Vec<u8>);

/// What a file has, read from the protocol reference; and, as a cache may forget, what a cache may still have.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) last: u64,
    /// By object and serial. Several only if a file has several, or if a cache may have forgotten one.
    pub(super) revisions: BTreeMap<(u64, u64), Vec<Ending>>,
    pub(super) count: usize,
    /// A revision that has ended is there twice. Of these the cache knows one.
    pub(super) is_ambiguous: bool,
    pub(super) has_free: bool,
    /// Behind each record is its object once more.
    pub(super) is_sound: bool,
    /// Where the blocks end.
    pub(super) end: u64,
}

impl Contents {
    /// What is within `size`; `None` if that is no cache.
    pub(super) fn of(image: &[u8], size: u64) -> Option<Self> {
        let size = usize::try_from(size).unwrap();
        let mut contents = Self { is_sound: true, end: 12, ..Self::default() };
        if image.is_empty() {
            return Some(contents);
        }
        if image.get(..4)? != b"ZEC3" {
            return None;
        }
        contents.last = number(image, 4)?;
        let mut current = BTreeSet::new();
        let mut at = 12;
        while at < image.len().min(size) {
            let status = image[at];
            let len = match status {
                b'a' | b'f' => length(image, at + 1)?,
                b'1'..=b'4' => usize::from(status - b'0'),
                _ => return None,
            };
            let is_within = at + len <= size;
            if status == b'a' {
                let (oid, start, end) =
                    (number(image, at + 5)?, number(image, at + 13)?, number(image, at + 21)?);
                let (version, data_len) = (image.get(at + 29..at + 31)?, length(image, at + 31)?);
                if version != [0, 0] || len != data_len + 43 || (end != 0 && end <= start) {
                    return None;
                }
                if is_within {
                    contents.is_sound &= number(image, at + 35 + data_len)? == oid;
                    if end == 0 && !current.insert(oid) {
                        return None;
                    }
                    let endings = contents.revisions.entry((oid, start)).or_default();
                    endings.push((end, image[at + 35..at + 35 + data_len].to_vec()));
                    contents.is_ambiguous |= endings.iter().filter(|(end, _)| *end != 0).count() > 1;
                    contents.count += 1;
                }
            } else if len == 0 {
                return None;
            } else {
                contents.has_free = true;
            }
            at = if is_within { at + len } else { size };
        }
        contents.end = at as u64;
        Some(contents)
    }

    fn of_oid(&mut self, oid: u64) -> impl Iterator<Item = (u64, &mut Vec<Ending>)> {
        self.revisions.range_mut((oid, 0)..=(oid, u64::MAX)).map(|((_, start), endings)| (*start, endings))
    }

    pub(super) fn has(&self, key: (u64, u64), ending: &Ending) -> bool {
        self.revisions.get(&key).is_some_and(|endings| endings.contains(ending))
    }

    /// No revision older than that is current any more.
    pub(super) fn forget_current(&mut self, oid: u64, before: u64) {
        for (_, endings) in self.of_oid(oid).take_while(|(start, _)| *start < before) {
            endings.retain(|(end, _)| *end != 0);
        }
    }

    /// Those older than that, which may be current, end there.
    pub(super) fn end_current(&mut self, oid: u64, tid: u64) {
        for (_, endings) in self.of_oid(oid).take_while(|(start, _)| *start < tid) {
            endings.iter_mut().filter(|(end, _)| *end == 0).for_each(|(end, _)| *end = tid);
        }
    }

    /// Whether a current revision of this serial would have to stay.
    pub(super) fn leaves_room_for(&mut self, oid: u64, serial: u64) -> bool {
        self.of_oid(oid).all(|(start, endings)| {
            let is_older = |(end, _): &Ending| *end != u64::MAX && start < serial;
            endings.iter().all(is_older)
        })
    }
}

fn number(image: &[u8], at: usize) -> Option<u64> {
    image.get(at..at + 8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

fn length(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at + 4)?.try_into().unwrap();
    Some(usize::try_from(u32::from_be_bytes(bytes)).unwrap())
}
