//! What counts as the same when our client is in the place of Python's.
//!
//! * The ids of messages are the client's own choice: one stands for the other until the call is answered. (Those of a
//!   `loadBefore` that a script made by itself are numbers, ours are pairs.)
//! * The ids of transactions are the client's own choice, too: they are mapped one to one, as those of two captures.
//! * A flag is true or false, whether as a number or not; Python's client passes on what its caller has said.
//! * ZEO 4 writes `None` for the serial of a new object.
//! * Which of the objects in a cache is verified first does not matter.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use zeo_codec::{Dialect, Envelope, Limits, Method, MsgId, REPLY, Value, write_message_behind};

use super::super::Plan;
use super::super::liberty::{Heard, Liberty};
use super::super::plan::{Said, Step};
use super::parts::Parts;

/// Ids of transactions from here on are told apart from other numbers.
const ID_MIN: u64 = 1_000_000_000;
/// What is added to smaller ones.
const ID_OFFSET: u64 = 1_000_000_000_000;

/// How the verification of an object begins.
const VERIFY: &str = "verify(";

/// The liberty of our client.
#[derive(Default)]
pub(super) struct OurLiberty {
    /// The ids of calls that are not answered yet, by the connection and the captured id.
    ids: BTreeMap<(u32, String), MsgId<'static>>,
    /// What is still to be verified on each connection.
    verifying: BTreeMap<u32, BTreeSet<String>>,
}

impl OurLiberty {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut liberty = Self::default();
        for step in &plan.steps {
            if let Step::Say(connection, said) = step
                && said.text.starts_with(VERIFY)
            {
                liberty.verifying.entry(*connection).or_default().insert(said.text.clone());
            }
        }
        liberty
    }
}

impl Liberty for OurLiberty {
    fn take<'m>(
        &mut self,
        connection: u32,
        captured: &'m Said,
        live: &'m Heard,
    ) -> (Cow<'m, str>, Cow<'m, str>) {
        let whole = (Cow::Borrowed(captured.text.as_str()), Cow::Borrowed(live.text.as_str()));
        if captured.text.starts_with(VERIFY)
            && self.verifying.get_mut(&connection).is_some_and(|left| left.remove(&live.text))
        {
            return (Cow::Borrowed(&live.text), Cow::Borrowed(&live.text));
        }
        let (Some(one), Some(other)) =
            (Parts::of_said(captured), Parts::of(&live.payload, live.dialect.as_ref()))
        else {
            return whole;
        };
        if one.is_one_way != other.is_one_way {
            return whole;
        }
        let texts = (in_one_form(&captured.text, &one).into(), in_one_form(&live.text, &other).into());
        if !one.is_one_way {
            if self.ids.iter().any(|((of, _), id)| *of == connection && *id == other.id) {
                // Nobody could tell which of the two is answered.
                return whole;
            }
            self.ids.insert((connection, one.id.to_string()), other.id);
        }
        texts
    }

    fn answer(&mut self, connection: u32, payload: Vec<u8>, dialect: Option<&Dialect>) -> Vec<u8> {
        let limits = Limits::DEFAULT;
        let Some(dialect) = dialect else { return payload };
        let Ok(envelope) = Envelope::parse(&payload, dialect.framing, &limits) else { return payload };
        if !envelope.is_reply() {
            return payload;
        }
        let live = self.ids.remove(&(connection, envelope.id.to_string()));
        let Some(live) = live.filter(|live| *live != envelope.id) else { return payload };
        readdressed(&envelope, &live, dialect).unwrap_or_else(|| payload.clone())
    }
}

/// The reply as one to another id.
fn readdressed(envelope: &Envelope<'_>, id: &MsgId<'_>, dialect: &Dialect) -> Option<Vec<u8>> {
    let result: Value<'_> = envelope.args.clone().into_value(&Limits::DEFAULT).ok()?;
    let dialect = dialect.with_pickle(envelope.flavor);
    let mut frame = Vec::new();
    write_message_behind(&mut frame, &dialect, envelope.abandoned, id, envelope.flag, REPLY, &result).ok()?;
    frame.get(zeo_codec::frame::LENGTH_LEN..).map(<[u8]>::to_vec)
}

/// The text without the id of the message, and with ids of transactions that can be told apart from other numbers.
fn in_one_form(text: &str, parts: &Parts<'_>) -> String {
    let text = text.strip_prefix(&format!("{}: ", parts.id)).unwrap_or(text);
    let text = match parts.method() {
        Some(Method::Register | Method::Pack) => text.replace(", False)", ", 0)").replace(", True)", ", 1)"),
        Some(Method::Storea | Method::StoreBlobEnd | Method::StoreBlobShared) => {
            text.replacen(", None, ", ", h'0000000000000000', ", 1)
        }
        _ => text.to_owned(),
    };
    let Some(id) = parts.transaction().map(|id| id.0).filter(|id| *id < ID_MIN) else { return text };
    let shown = id + ID_OFFSET;
    if parts.method() == Some(Method::TpcBegin) {
        text.replacen(&format!("({id}, "), &format!("({shown}, "), 1)
    } else {
        text.strip_suffix(&format!("{id})")).map_or_else(|| text.clone(), |head| format!("{head}{shown})"))
    }
}
