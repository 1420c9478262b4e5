//! A message of a capture, taken apart.

use zeo_codec::call::TxnId;
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, MsgId};

use super::super::plan::Said;

/// A call: its id, and what it is about.
pub(super) struct Parts<'m> {
    pub(super) id: MsgId<'static>,
    pub(super) is_one_way: bool,
    pub(super) call: Call<'m>,
}

impl<'m> Parts<'m> {
    /// What a payload holds; none if it is no call that the codec has a type for.
    pub(super) fn of(payload: &'m [u8], dialect: Option<&Dialect>) -> Option<Self> {
        let limits = Limits::DEFAULT;
        let envelope = Envelope::parse(payload, dialect?.framing, &limits).ok()?;
        if envelope.is_reply() {
            return None;
        }
        let is_one_way = envelope.is_one_way();
        let id = envelope.id.into_owned();
        let call = match Method::from_name(&envelope.name) {
            Some(method) => Call::parse(method, envelope.args, &limits).ok()?,
            None => Call::Other { name: envelope.name, args: envelope.args.into_value(&limits).ok()? },
        };
        Some(Self { id, is_one_way, call })
    }

    pub(super) fn of_said(said: &'m Said) -> Option<Self> {
        Self::of(&said.payload, said.dialect.as_ref())
    }

    pub(super) fn method(&self) -> Option<Method> {
        self.call.method()
    }

    /// The transaction that it belongs to.
    pub(super) fn transaction(&self) -> Option<TxnId> {
        Some(match &self.call {
            Call::TpcBegin(call) => call.id,
            Call::Storea(call) => call.id,
            Call::Restorea(call) => call.id,
            Call::DeleteObject(call) => call.id,
            Call::CheckCurrentSerial(call) => call.id,
            Call::Undoa(call) => call.id,
            Call::StoreBlobEnd(call) => call.id,
            Call::StoreBlobShared(call) => call.id,
            Call::Transaction(_, call) => call.id,
            _ => return None,
        })
    }
}

/// The id of the call that a message of a server answers.
pub(super) fn answered(said: &Said) -> Option<MsgId<'static>> {
    let envelope = Envelope::parse(&said.payload, said.dialect?.framing, &Limits::DEFAULT).ok()?;
    envelope.is_reply().then(|| envelope.id.into_owned())
}

/// The result in a reply, in the notation of the protocol reference.
pub(super) fn result(said: &Said) -> &str {
    said.text.split_once(" -> ").map_or("", |(_, result)| result)
}
