//! What live clients may do in their own way while a captured server is played to them.

use std::borrow::Cow;

use bytes::Bytes;
use zeo_codec::Dialect;

use super::plan::Said;

/// A message of a live client.
pub(super) struct Heard {
    /// In the notation of the protocol reference.
    pub(super) text: String,
    pub(super) payload: Bytes,
    pub(super) dialect: Option<Dialect>,
}

/// The liberty that a client has.
pub(super) trait Liberty {
    /// The captured message and the live one in its place, as they are compared.
    fn take<'m>(
        &mut self,
        connection: u32,
        captured: &'m Said,
        live: &'m Heard,
    ) -> (Cow<'m, str>, Cow<'m, str>);

    /// The answer of the captured server, as it is for the live client.
    fn answer(&mut self, connection: u32, payload: Vec<u8>, dialect: Option<&Dialect>) -> Vec<u8>;
}

/// A client of the same sort as the captured one has none.
pub(super) struct NoLiberty;

impl Liberty for NoLiberty {
    fn take<'m>(&mut self, _: u32, captured: &'m Said, live: &'m Heard) -> (Cow<'m, str>, Cow<'m, str>) {
        (Cow::Borrowed(&captured.text), Cow::Borrowed(&live.text))
    }

    fn answer(&mut self, _: u32, payload: Vec<u8>, _: Option<&Dialect>) -> Vec<u8> {
        payload
    }
}
