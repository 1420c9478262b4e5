//! What counts as the same when our client is in the place of Python's.
//!
//! * The ids of messages are the client's own choice: one stands for the other until the call is answered. (Those of a
//!   `loadBefore` that a script made by itself are numbers, ours are pairs.)
//! * The ids of transactions are the client's own choice, too: they are mapped one to one, as those of two captures.
//! * A flag is true or false, whether as a number or not; Python's client passes on what its caller has said.
//! * ZEO 4 writes `None` for the serial of a new object.
//! * What comes in place of a message of Python 2 is taken as one, which does not tell text from bytes.
//! * Which of the objects in a cache is verified first does not matter.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use zeo_codec::{Dialect, Envelope, Limits, Method, MsgId, REPLY, Value, write_message_behind};

use super::super::Plan;
use super::super::liberty::{Heard, Liberty};
use super::super::plan::{Said, Step};
use super::super::text::{in_python2, is_of_python2};
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
        let is_of_python2 = is_of_python2(&captured.payload, captured.dialect.as_ref());
        let shown = live.dialect.as_ref().filter(|_| is_of_python2);
        let shown = shown.and_then(|dialect| in_python2(&live.payload, dialect));
        let shown = shown.as_ref().unwrap_or(&live.text);
        let texts = (in_one_form(&captured.text, &one).into(), in_one_form(shown, &other).into());
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
            let kind = if text.contains("(s2'") { "s2" } else { "h" };
            text.replacen(", None, ", &format!(", {kind}'0000000000000000', "), 1)
        }
        _ => text.to_owned(),
    };
    let Some(id) = parts.transaction().map(|id| id.0).filter(|id| *id < ID_MIN) else { return text };
    let shown = id + ID_OFFSET;
    if parts.method() == Some(Method::TpcBegin) {
        text.replacen(&format!("({id}, "), &format!("({shown}, "), 1)
    } else {
        // A tuple of one item has a comma behind it, where it is shown as such.
        let ends = [")", ",)"].into_iter();
        let found = ends.filter_map(|end| Some((text.strip_suffix(&format!("{id}{end}"))?, end))).next();
        found.map_or_else(|| text.clone(), |(head, end)| format!("{head}{shown}{end}"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zeo_codec::call::{TpcBegin, TransactionRef, TxnId};
    use zeo_codec::{Call, Flag, Oid, Reply, Tid, write_message};

    use super::*;

    fn payload(id: &MsgId<'_>, is_one_way: bool, call: &Call<'_>) -> Bytes {
        let (mut frame, name) = (Vec::new(), call.method().unwrap().name());
        write_message(&mut frame, &Dialect::Z5, id, Flag::Bool(is_one_way), name, call).unwrap();
        Bytes::from(frame).slice(4..)
    }

    /// Whether the captured call, and the live one in its place, are compared as the same.
    fn is_same(
        liberty: &mut OurLiberty,
        captured: (i64, &Call<'_>, &str),
        live: (i64, &Call<'_>, &str),
    ) -> bool {
        let dialect = Some(Dialect::Z5);
        let message = |(id, call, text): (i64, &Call<'_>, &str)| {
            (text.to_owned(), payload(&MsgId::Int(id), id == 0, call))
        };
        let (text, payload) = message(captured);
        let captured = Said { number: 1, text, payload, is_raw: false, dialect };
        let (text, payload) = message(live);
        let (one, other) = {
            let live = Heard { text, payload, dialect };
            let (one, other) = liberty.take(1, &captured, &live);
            (one.into_owned(), other.into_owned())
        };
        let mut comparison = super::super::super::compare::Comparison::default();
        comparison.compare(1, &one, &other).is_ok()
    }

    #[test]
    fn an_answer_goes_to_the_call_in_the_place_of_the_captured_one() {
        let mut liberty = OurLiberty::default();
        let ping = Call::Plain(Method::Ping);
        assert!(is_same(&mut liberty, (7, &ping, "7: ping()"), (3, &ping, "3: ping()")));
        let taken = (8, &ping, "8: ping()");
        assert!(!is_same(&mut liberty, taken, (3, &ping, "3: ping()")), "it waits for another answer");
        let answer = |id| {
            let mut frame = Vec::new();
            write_message(&mut frame, &Dialect::Z5, &MsgId::Int(id), Flag::RESULT, REPLY, &Reply::None)
                .unwrap();
            frame.split_off(4)
        };
        assert_eq!(liberty.answer(2, answer(7), Some(&Dialect::Z5)), answer(7), "another connection");
        assert_eq!(liberty.answer(1, answer(7), Some(&Dialect::Z5)), answer(3));
        assert!(is_same(&mut liberty, taken, (3, &ping, "3: ping()")), "it is free again");
    }

    #[test]
    fn transactions_are_one_for_the_other() {
        let begin = |id: u64, tid| {
            Call::TpcBegin(TpcBegin {
                id: TxnId(id),
                user: Value::Bytes(b"".into()),
                description: Value::Bytes(b"".into()),
                extension: Value::Dict(Vec::new()),
                tid,
                status: " ".into(),
            })
        };
        let text = |id: u64| format!("tpc_begin({id}, h'', h'', {{}}, None, \" \")");
        let large = 140_660_099_705_040;
        let mut liberty = OurLiberty::default();
        let captured = begin(large, None);
        assert!(is_same(&mut liberty, (0, &captured, &text(large)), (0, &begin(1, None), &text(1))));
        let vote = |id: u64| Call::Transaction(Method::Vote, TransactionRef { id: TxnId(id) });
        let (captured, live) = (vote(large), vote(1));
        let shown = format!("3: vote({large})");
        assert!(is_same(&mut liberty, (3, &captured, &shown), (4, &live, "4: vote(1)")));
        let abort = Call::Transaction(Method::TpcAbort, TransactionRef { id: TxnId(1) });
        assert!(!is_same(&mut liberty, (5, &captured, &shown), (5, &abort, "5: tpc_abort(1)")));
    }

    #[test]
    fn what_is_compared_is_the_rest() {
        let mut liberty = OurLiberty::default();
        let call = |tid| {
            Call::LoadSerial(zeo_codec::call::LoadSerial { oid: Oid::ZERO, serial: Tid::from_u64(tid) })
        };
        let text = |id, tid| format!("{id}: loadSerial(h'0000000000000000', h'000000000000000{tid}')");
        let captured = (1, &call(1), &*text(1, 1));
        assert!(is_same(&mut liberty, captured, (2, &call(1), &text(2, 1))));
        assert!(!is_same(&mut liberty, captured, (3, &call(2), &text(3, 2))));
    }
}
