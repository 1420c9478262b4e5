//! From the tids and oids of a capture to those of a live server, in bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// What stands in front of an oid, in messages and in the references of records: the opcodes of short strings, of Python 3 and
/// Python 2, and those of msgpack.
const OID_PREFIXES: [&[u8]; 4] = [b"C\x08", b"U\x08", b"\xc4\x08", b"\xa8"];

/// Known tids, the captured ones first, and new oids that are others. Tids beside them, one more or less, are known as well.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// By what stands in a message.
    words: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By the captured tid.
    tids: BTreeMap<u64, u64>,
    /// New oids that are others, by the captured one.
    oids: BTreeMap<[u8; 8], [u8; 8]>,
    /// All that were handed out: then, and by the live server.
    handed_out: [BTreeSet<[u8; 8]>; 2],
}

impl Translation {
    pub(super) fn learn(&mut self, captured: u64, live: u64) {
        if self.tids.insert(captured, live).is_some() {
            return;
        }
        for offset in [0, 1, u64::MAX] {
            let words = [captured, live].map(|tid| tid.wrapping_add(offset).to_be_bytes().to_vec());
            let [from, to] = words;
            if offset == 0 {
                self.words.insert(from, to);
            } else {
                self.words.entry(from).or_insert(to);
            }
        }
        let [from, to] = [captured, live].map(|tid| BASE64_STANDARD.encode(tid.to_be_bytes()).into_bytes());
        self.words.insert(from, to);
    }

    /// The live server has handed out these oids where the captured one had handed out those. What either of them had handed
    /// out before stays what it was.
    pub(super) fn learn_oids(&mut self, captured: &[[u8; 8]], live: &[[u8; 8]]) {
        let [then, now] = &mut self.handed_out;
        for (captured, live) in captured.iter().zip(live) {
            let are_new = [then.insert(*captured), now.insert(*live)];
            if are_new == [true, true] && captured != live {
                self.oids.insert(*captured, *live);
            }
        }
    }

    /// The message with live tids and oids in place of captured ones: of the same length. With `is_pack`, times are between the
    /// same transactions.
    pub(super) fn apply(&self, payload: &[u8], is_pack: bool) -> Vec<u8> {
        let mut out = payload.to_vec();
        if !self.oids.is_empty() {
            self.apply_to_oids(&mut out);
        }
        let mut at = 0;
        while at < out.len() {
            let found = [8, 12].into_iter().find_map(|len| {
                let word = self.words.get(out.get(at..at + len)?)?;
                Some((len, word))
            });
            match found {
                Some((len, word)) => {
                    if let Some(place) = out.get_mut(at..at + len) {
                        place.copy_from_slice(word);
                    }
                    at += len;
                }
                None => at += 1,
            }
        }
        if is_pack {
            self.apply_to_times(&mut out);
        }
        out
    }

    /// A text in which byte strings are hexadecimal, with live tids and oids in place of captured ones.
    pub(super) fn apply_to_text(&self, text: &str) -> String {
        let text = self.apply_oids_to_text(text);
        replace_bytes(&text, |bytes| {
            let live = self.words.get(bytes).filter(|_| bytes.len() == 8)?;
            Some(live.clone())
        })
    }

    /// The same for oids only: those that are named, and those that records refer to.
    pub(super) fn apply_oids_to_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.oids.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(replace_bytes(text, |bytes| {
            if let Ok(oid) = <[u8; 8]>::try_from(bytes) {
                return self.oids.get(&oid).map(|live| live.to_vec());
            }
            let mut record = bytes.to_vec();
            self.apply_to_oids(&mut record);
            Some(record)
        }))
    }

    fn apply_to_oids(&self, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            let (head, rest) = out.split_at_mut(at);
            let is_oid = OID_PREFIXES.iter().any(|prefix| head.ends_with(prefix));
            if is_oid
                && let Some(place) = rest.first_chunk_mut()
                && let Some(live) = self.oids.get(place)
            {
                *place = *live;
                at += place.len();
            } else {
                at += 1;
            }
        }
    }

    /// Times are doubles behind `G`, in a pickle, or `cb`, in msgpack.
    fn apply_to_times(&self, out: &mut [u8]) {
        for at in 1..out.len().saturating_sub(7) {
            let is_number = matches!(out.get(at - 1), Some(b'G' | 0xcb));
            if let Some(place) = out.get_mut(at..at + 8).filter(|_| is_number)
                && let Ok(bytes) = <[u8; 8]>::try_from(&*place)
                && let Some(time) = self.time(f64::from_be_bytes(bytes))
            {
                place.copy_from_slice(&time.to_be_bytes());
            }
        }
    }

    /// The live time that stands to live transactions as this one to captured ones.
    fn time(&self, captured: f64) -> Option<f64> {
        if !(1e9..1e10).contains(&captured) {
            return None;
        }
        let mut before = None;
        for (from, to) in &self.tids {
            let (from, to) = (seconds(*from)?, seconds(*to)?);
            match before {
                Some((_, live)) if from > captured => return Some(f64::midpoint(live, to)),
                None if from > captured => return Some(to - (from - captured)),
                _ => before = Some((from, to)),
            }
        }
        before.map(|(from, live)| live + (captured - from))
    }
}

/// The text with the hexadecimal strings in quotation marks as `replace` has them, if it has.
fn replace_bytes(text: &str, replace: impl Fn(&[u8]) -> Option<Vec<u8>>) -> String {
    let piece = |text: &str| {
        let is_hexadecimal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let bytes = is_hexadecimal.then(|| hex::decode(text).ok()).flatten()?;
        replace(&bytes).map(hex::encode)
    };
    let pieces: Vec<String> =
        text.split('\'').map(|text| piece(text).unwrap_or_else(|| text.to_owned())).collect();
    pieces.join("'")
}

/// The oids of an answer to `new_oids`, as the codec renders it; none if it is something else.
pub(super) fn new_oids(text: &str) -> Vec<[u8; 8]> {
    let Some((_, answer)) = text.split_once(": new_oids -> ") else { return Vec::new() };
    let oid = |text: &str| <[u8; 8]>::try_from(hex::decode(text).ok()?).ok();
    answer.split('\'').filter_map(oid).collect()
}

/// The time of a tid, in seconds since 1970 (protocol reference 14.3).
fn seconds(tid: u64) -> Option<f64> {
    let (minutes, fraction) = (tid >> 32, tid & u64::from(u32::MAX));
    let part = |divisor: u64, modulus: u64| i8::try_from(minutes / divisor % modulus).ok();
    let year = i16::try_from(minutes / (60 * 24 * 31 * 12)).ok()?.checked_add(1900)?;
    let day = date(year, part(60 * 24 * 31, 12)? + 1, 1).at(part(60, 24)?, part(1, 60)?, 0, 0);
    let start = day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    let days = i64::from(part(60 * 24, 31)?);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    Some((start + days * 86_400) as f64 + fraction as f64 * 60.0 / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tids_go_one_for_the_other_wherever_they_stand() {
        let mut translation = Translation::default();
        translation.learn(0x0400_0000_0000_0001, 0x0400_0000_1111_1111);
        let message =
            b"C\x08\x04\0\0\0\0\0\0\x01q C\x08\x04\0\0\0\0\0\0\x02 BAAAAAAAAAE= \x04\0\0\0\0\0\0\x05";
        let expected = b"C\x08\x04\0\0\0\x11\x11\x11\x11q C\x08\x04\0\0\0\x11\x11\x11\x12 BAAAABERERE= \x04\0\0\0\0\0\0\x05";
        assert_eq!(translation.apply(message, false), expected);
    }

    #[test]
    fn tids_go_one_for_the_other_in_texts() {
        let mut translation = Translation::default();
        translation.learn(0x0400_0000_0000_0001, 0x0400_0000_1111_1111);
        let text = "(h'0000000000000001', h'0400000000000002'): a -> h'0400000000000005'";
        let expected = "(h'0000000000000001', h'0400000011111112'): a -> h'0400000000000005'";
        assert_eq!(translation.apply_to_text(text), expected);
    }

    #[test]
    fn a_pack_is_between_the_same_transactions() {
        let mut translation = Translation::default();
        // A minute, then an hour, between the two.
        translation.learn(0x0400_0000_0000_0000, 0x0401_0000_0000_0000);
        translation.learn(0x0400_0001_0000_0000, 0x0401_003c_0000_0000);
        let first = seconds(0x0400_0000_0000_0000).unwrap();
        let live = seconds(0x0401_0000_0000_0000).unwrap();
        let pack = |time: f64| {
            let mut message = b"G".to_vec();
            message.extend(time.to_be_bytes());
            let out = translation.apply(&message, true);
            f64::from_be_bytes(out[1..].try_into().unwrap()) - live
        };
        assert_eq!(pack(first + 10.0), 1800.0);
        assert_eq!(pack(first + 70.0), 3610.0);
        assert_eq!(pack(first - 5.0), -5.0);
    }
}
