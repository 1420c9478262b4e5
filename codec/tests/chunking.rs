//! However a stream is cut, the same frames come out of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;
use zeo_codec::frame::{self, Deframer, Frame, MacBit};

fn stream(payloads: &[(Option<[u8; 20]>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (mac, payload) in payloads {
        match mac {
            None => frame::write_frame(&mut out, payload),
            Some(mac) => {
                let length = u32::try_from(payload.len()).unwrap() | frame::MAC_BIT;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(mac);
                out.extend_from_slice(payload);
            }
        }
    }
    out
}

fn deframe<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut deframer = Deframer::new(1 << 20, MacBit::Announces);
    let mut frames = Vec::new();
    let mut pushed_len = 0;
    for chunk in chunks {
        deframer.push(chunk);
        pushed_len += chunk.len();
        while let Some(frame) = deframer.next_frame().unwrap() {
            frames.push(frame);
        }
        assert_eq!(deframer.offset() + deframer.buffered_len() as u64, pushed_len as u64);
        assert_ne!(deframer.missing_len(), Some(0));
    }
    assert_eq!(deframer.buffered_len(), 0);
    frames
}

fn expected(payloads: &[(Option<[u8; 20]>, Vec<u8>)]) -> Vec<Frame> {
    payloads.iter().map(|(mac, payload)| Frame { mac: *mac, payload: payload.clone().into() }).collect()
}

#[test]
fn every_two_cuts() {
    let payloads =
        [(None, b"Z5".to_vec()), (None, vec![]), (Some([9; 20]), b"abc".to_vec()), (None, vec![1; 30])];
    let stream = stream(&payloads);
    let expected = expected(&payloads);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let chunks = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(deframe(chunks), expected, "cut at {first} and {second}");
        }
    }
    assert_eq!(deframe(stream.chunks(1)), expected);
}

#[test]
fn frames_of_one_read_share_its_memory() {
    let payloads = [(None, vec![1; 100]), (None, vec![2; 100])];
    let stream = stream(&payloads);
    let mut deframer = Deframer::new(1000, MacBit::IsLength);
    deframer.push(&stream);
    let first = deframer.next_frame().unwrap().unwrap().payload;
    let second = deframer.next_frame().unwrap().unwrap().payload;
    assert_eq!(first.as_ptr() as usize + 104, second.as_ptr() as usize);
}

proptest! {
    #[test]
    fn any_cuts(
        payloads in prop::collection::vec(
            (prop::option::weighted(0.2, any::<[u8; 20]>()), prop::collection::vec(any::<u8>(), 0..200)),
            0..8,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = stream(&payloads);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(deframe(chunks), expected(&payloads));
    }
}
