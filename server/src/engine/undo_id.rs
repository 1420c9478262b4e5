//! The ids by which `undoLog` names transactions: base64 of the tid, which `undoa` gives back.
//!
//! An id is looked up as a tid and as nothing else, whatever its bytes are. What counts as base64 is what Python's
//! `binascii.a2b_base64` takes when it is not strict: bytes outside of the alphabet are skipped
//! (`FileStorage.py:undo`, ZODB 6.4; `Modules/binascii.c`, CPython 3.11).

use zeo_codec::Tid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why bytes are no undo id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUndoId {
    /// The last group of four characters is not complete.
    #[error("Incorrect padding")]
    Padding,
    /// One character alone is no byte.
    #[error(
        "Invalid base64-encoded string: number of data characters ({0}) cannot be 1 more than a multiple of 4"
    )]
    OneTooMany(usize),
    /// They are not eight bytes.
    #[error("undo id is not base64 of eight bytes")]
    NoTid,
}

/// The id of a transaction: eleven characters and one of padding.
pub(crate) fn encode(tid: Tid) -> Vec<u8> {
    let mut bits = u128::from(tid.to_u64()) << 2;
    let mut id = vec![b'='; 12];
    for place in id.iter_mut().take(11).rev() {
        let sextet = usize::try_from(bits & 0x3f).unwrap_or_default();
        *place = ALPHABET.get(sextet).copied().unwrap_or_default();
        bits >>= 6;
    }
    id
}

/// The tid in an id.
///
/// # Errors
/// Why it is none.
pub(crate) fn decode(id: &[u8]) -> Result<Tid, BadUndoId> {
    let bytes = decode_base64(id)?;
    Tid::from_slice(&bytes).ok_or(BadUndoId::NoTid)
}

/// Decodes at most the first bytes that could matter: what is longer than a tid is none.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, BadUndoId> {
    const BYTES_MAX: usize = 16;
    let mut bytes = Vec::new();
    let mut character_count = 0_usize;
    let mut pad_count = 0;
    let mut bits = 0_u32;
    for byte in text {
        if *byte == b'=' {
            pad_count += 1;
            if character_count % 4 >= 2 && character_count % 4 + pad_count >= 4 {
                // A complete group: what follows is not looked at.
                return Ok(bytes);
            }
            continue;
        }
        let Some(sextet) = ALPHABET.iter().position(|character| character == byte) else { continue };
        pad_count = 0;
        bits = (bits << 6 | u32::try_from(sextet).unwrap_or_default()) & 0xffff;
        let [.., high, low] = bits.to_be_bytes();
        let whole = u16::from_be_bytes([high, low]);
        let complete = match character_count % 4 {
            0 => None,
            1 => Some(whole >> 4),
            2 => Some(whole >> 2),
            _ => Some(whole),
        };
        if let Some(number) = complete
            && bytes.len() < BYTES_MAX
        {
            let [_, byte] = number.to_be_bytes();
            bytes.push(byte);
        }
        character_count += 1;
    }
    match character_count % 4 {
        0 => Ok(bytes),
        1 => Err(BadUndoId::OneTooMany(character_count)),
        _ => Err(BadUndoId::Padding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = Result<&'static [u8], BadUndoId>;

    /// From Python 3.11: `base64.decodebytes(id + b'\n')`, as `FileStorage.undo` calls it.
    const PYTHON: &[(&[u8], Decoded)] = &include!("../../tests/data/undo_ids.in");

    #[test]
    fn agrees_with_python() {
        assert!(PYTHON.len() > 100);
        for (id, expected) in PYTHON {
            let is_tid = matches!(expected, Ok(bytes) if bytes.len() == 8);
            let decoded = decode_base64(id);
            match expected {
                // Longer results are cut, and are no tids in any case.
                Ok(bytes) => assert_eq!(decoded.as_deref(), Ok(&bytes[..bytes.len().min(16)]), "{id:?}"),
                Err(error) => assert_eq!(decoded, Err(*error), "{id:?}"),
            }
            assert_eq!(decode(id).is_ok(), is_tid);
        }
    }

    #[test]
    fn the_example_of_the_reference() {
        // Appendix A.5 of the protocol reference.
        assert_eq!(encode(Tid::from_bytes([3; 8])), b"AwMDAwMDAwM=");
        // As a client sends it that cuts the padding off.
        assert_eq!(decode(b"AwMDAwMDAwM"), Err(BadUndoId::Padding));
    }

    proptest! {
        #[test]
        fn there_and_back(tid: u64) {
            let tid = Tid::from_u64(tid);
            prop_assert_eq!(decode(&encode(tid)), Ok(tid));
        }

        #[test]
        fn any_bytes_are_a_tid_or_an_error(id: Vec<u8>) {
            let _ = decode(&id);
        }
    }
}
