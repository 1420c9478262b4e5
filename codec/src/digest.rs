//! The digest authentication of ZEO 4 (protocol reference 13; `ZEO/auth/auth_digest.py`, `ZEO/zrpc/smac.py`, 4.3.1).
//!
//! It tells who the client is, and that nobody changed a message on its way. It hides nothing: whoever reads along reads
//! everything, and can try passwords on what was said. Where that matters, use TLS.
//!
//! ```text
//!   C  getAuthProtocol()                              S  "digest"
//!   C  auth_get_challenge()                           S  (realm, challenge, key nonce)
//!   C  auth_response((user, challenge, response))     S  True        from here on both sides add MACs
//! ```
//!
//! Nothing of this is secret but the [`Secret`], which is as good as the password; a server keeps one for each user.

use alloc::string::String;
use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

use crate::frame::MAC_LEN;

/// Length of SHA-1 in hexadecimal digits.
pub const HEX_LEN: usize = 40;

/// What a server knows of a password: the digest of user, realm and password, 40 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; HEX_LEN]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret of a user.
    #[must_use]
    pub fn new(user: &str, realm: &str, password: &str) -> Self {
        Self(hex_sha1(&[user.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()]))
    }

    /// A secret as it stands in a file; `None` if it is not 40 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let digits: [u8; HEX_LEN] = digits.as_bytes().try_into().ok()?;
        let is_hex = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then_some(Self(digits))
    }

    /// Its digits, for a file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        text(&self.0)
    }

    /// What a client answers to `challenge`, 40 digits.
    #[must_use]
    pub fn response(&self, challenge: &str) -> String {
        text(&self.response_digits(challenge))
    }

    fn response_digits(&self, challenge: &str) -> [u8; HEX_LEN] {
        hex_sha1(&[&self.0, b":", challenge.as_bytes()])
    }

    /// Whether this is what a client answers that knows the secret. How long it takes does not depend on where it
    /// differs.
    #[must_use]
    pub fn is_response(&self, challenge: &str, response: &str) -> bool {
        let expected = self.response_digits(challenge);
        let response = response.as_bytes();
        response.len() == HEX_LEN
            && expected.iter().zip(response).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }

    /// The key of both directions' MACs.
    #[must_use]
    pub fn session_key(&self, key_nonce: &str) -> SessionKey {
        let mut key = [0; MAC_LEN + HEX_LEN];
        let (digest, secret) = key.split_at_mut(MAC_LEN);
        digest.copy_from_slice(&sha1(&[&self.0, b":", key_nonce.as_bytes()]));
        // Python takes 44 of the 40 digits.
        secret.copy_from_slice(&self.0);
        SessionKey::from_bytes(&key)
    }
}

/// Length of a block of SHA-1, to which HMAC fills keys up with zeros.
const BLOCK_LEN: usize = 64;

/// The key of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey([u8; BLOCK_LEN]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

impl SessionKey {
    /// A key of a scheme of one's own, of any length; beyond 64 bytes HMAC takes its digest.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut block = [0; BLOCK_LEN];
        let digest;
        let key = if bytes.len() > BLOCK_LEN {
            digest = sha1(&[bytes]);
            digest.as_slice()
        } else {
            bytes
        };
        block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
        Self(block)
    }

    /// The key, filled up with zeros; as secret as the conversation.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BLOCK_LEN] {
        &self.0
    }

    /// The MACs of one direction, before its first message.
    #[must_use]
    pub fn macs(&self) -> Macs {
        Macs { hmac: Hmac::new(&self.0.into()) }
    }
}

/// The MACs of one direction. Each covers all payloads up to its own: the state is never reset.
#[derive(Clone)]
pub struct Macs {
    hmac: Hmac<Sha1>,
}

impl fmt::Debug for Macs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Macs(..)")
    }
}

impl Macs {
    /// The MAC of the next message.
    #[must_use]
    pub fn next(&mut self, payload: &[u8]) -> [u8; MAC_LEN] {
        self.hmac.update(payload);
        self.hmac.clone().finalize().into_bytes().into()
    }

    /// Whether `mac` is that of the next message. How long it takes does not depend on where it differs. After a wrong
    /// one nothing of this direction can be trusted.
    #[must_use]
    pub fn is_next(&mut self, payload: &[u8], mac: &[u8; MAC_LEN]) -> bool {
        self.hmac.update(payload);
        self.hmac.clone().verify_slice(mac).is_ok()
    }
}

/// The digest of these parts, 40 hexadecimal digits. Of what only one server and one moment have (the client's address,
/// the time, and a secret of the server's) it is a challenge that nobody can foresee (RFC 2069, as Python's).
#[must_use]
pub fn nonce(parts: &[&[u8]]) -> String {
    text(&hex_sha1(parts))
}

fn sha1(parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hex_sha1(parts: &[&[u8]]) -> [u8; HEX_LEN] {
    let mut digits = [0; HEX_LEN];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(sha1(parts)) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    }
}

fn text(digits: &[u8]) -> String {
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const SECRET: &str = "9b9dfd53017eb18582c5a90fb6f835c26aa8d7f3";
    const CHALLENGE: &str = "ca16928a0dd98c7ed0b27d7e7f58508f45a045e1";
    const RESPONSE: &str = "e4a0e1bf9b660cd98a6a436b4c44db1d4722102b";

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Protocol reference A.6, a session of ZEO 4.3.1.
    #[test]
    fn a_session_of_pythons() {
        let secret = Secret::new("foo", "zeo realm", "secret pw");
        assert_eq!(secret.to_hex(), SECRET);
        assert_eq!(Secret::from_hex(SECRET), Some(secret.clone()));
        assert_eq!(secret.response(CHALLENGE), RESPONSE);
        assert!(secret.is_response(CHALLENGE, RESPONSE));
        let key = secret.session_key(CHALLENGE);
        assert_eq!(key.as_bytes()[..20], bytes(RESPONSE));
        assert_eq!(&key.as_bytes()[20..60], SECRET.as_bytes());

        let mut from_client = key.macs();
        for (mac, payload) in [
            (
                "545bc887b22566e7979e813bfc3b771489e03fbb",
                "8003284b0389580800000072656769737465725801000000314b0086742e",
            ),
            (
                "f9b46b34405e3d927378429f8ea306d1ef2cb67b",
                "8003284b0489580f0000006c6173745472616e73616374696f6e29742e",
            ),
        ] {
            assert_eq!(from_client.next(&bytes(payload)).to_vec(), bytes(mac));
        }
        let mut from_server = key.macs();
        let mac = bytes("e1d2529e1b50de886383810485c170ad138aa6c1").try_into().unwrap();
        assert!(from_server.is_next(&bytes("8003284b034b0058060000002e7265706c794e742e"), &mac));
        assert!(
            !from_server.is_next(&bytes("8003284b034b0058060000002e7265706c794e742e"), &mac),
            "it covers more now"
        );
    }

    /// RFC 2202, cases 2 and 6.
    #[test]
    fn keys_of_any_length_are_hmacs() {
        for (key, message, mac) in [
            (&b"Jefe"[..], &b"what do ya want for nothing?"[..], "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(SessionKey::from_bytes(key).macs().next(message).to_vec(), bytes(mac));
        }
    }

    #[test]
    fn everything_else_is_no_response() {
        let secret = Secret::from_hex(SECRET).unwrap();
        let one_more = [RESPONSE, "0"].concat();
        for other in ["", CHALLENGE, &RESPONSE[1..], &one_more, &RESPONSE.to_uppercase()] {
            assert!(!secret.is_response(CHALLENGE, other), "{other}");
        }
        for other in ["", &SECRET[1..], &SECRET.to_uppercase(), "9b9dfd53017eb18582c5a90fb6f835c26aa8d7fg"] {
            assert_eq!(Secret::from_hex(other), None, "{other}");
        }
    }
}
