//! From the tids of a capture to those of a live server, in bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// Known tids, the captured ones first. Those beside them, one more or less, are known as well.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// By what stands in a message.
    words: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By the captured tid.
    tids: BTreeMap<u64, u64>,
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

    /// The message with live tids in place of captured ones: of the same length. With `is_pack`, times are between the same
    /// transactions.
    pub(super) fn apply(&self, payload: &[u8], is_pack: bool) -> Vec<u8> {
        let mut out = payload.to_vec();
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

    /// A text in which byte strings are hexadecimal, with live tids in place of captured ones.
    pub(super) fn apply_to_text(&self, text: &str) -> String {
        let piece = |piece: &str| {
            let tid = (piece.len() == 16).then(|| u64::from_str_radix(piece, 16).ok()).flatten()?;
            let live = self.words.get(&tid.to_be_bytes()[..])?.first_chunk()?;
            Some(format!("{:016x}", u64::from_be_bytes(*live)))
        };
        let pieces: Vec<String> =
            text.split('\'').map(|text| piece(text).unwrap_or_else(|| text.to_owned())).collect();
        pieces.join("'")
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
