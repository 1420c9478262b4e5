//! Messages as tshark sees them with the dissector of this repository, and as the sniffer does, in the same words.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use zeo_conformance::sniff::input::{self, Reading};
use zeo_conformance::sniff::{Bounds, Kind, Message, Sniffer};

use crate::root;

/// What either tells of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: String,
    /// Of a reply, that of its call; empty if that is not known.
    pub(crate) method: String,
    pub(crate) error: String,
    /// In no order: the fields of a packet are grouped by name.
    oids: Vec<String>,
    tids: Vec<String>,
}

impl Seen {
    fn of(message: &Message<'_>) -> Option<Self> {
        match message.kind {
            Kind::Opened | Kind::Ended | Kind::Note | Kind::Lost => return None,
            Kind::Hello
            | Kind::Call
            | Kind::OneWay
            | Kind::Reply
            | Kind::Error
            | Kind::KeepAlive
            | Kind::Undecodable => {}
        }
        let facts = message.facts;
        Some(
            Self {
                kind: message.kind.name().to_owned(),
                method: message.name().to_owned(),
                error: facts.error.clone().unwrap_or_default(),
                oids: facts.oids.iter().map(ToString::to_string).collect(),
                tids: facts.tids.iter().map(|(_, tid)| tid.to_string()).collect(),
            }
            .sorted(),
        )
    }

    /// The fields of a frame, which may lie below others; `None` if it is no message.
    fn of_fields(fields: &Value) -> Option<Self> {
        let mut seen = Self::default();
        seen.take(fields);
        // A reply whose call was not seen.
        if seen.method == "?" {
            seen.method.clear();
        }
        (!seen.kind.is_empty()).then(|| seen.sorted())
    }

    fn take(&mut self, fields: &Value) {
        let Value::Object(fields) = fields else { return };
        for (name, value) in fields {
            for value in items(value) {
                match (name.as_str(), value) {
                    ("zeo.kind", Value::String(text)) => self.kind.clone_from(text),
                    ("zeo.method", Value::String(text)) => self.method.clone_from(text),
                    ("zeo.error", Value::String(text)) => self.error.clone_from(text),
                    ("zeo.oid", Value::String(text)) => self.oids.push(text.clone()),
                    ("zeo.tid", Value::String(text)) => self.tids.push(text.clone()),
                    (_, below) => self.take(below),
                }
            }
        }
    }

    fn sorted(mut self) -> Self {
        self.oids.sort();
        self.tids.sort();
        self
    }
}

/// One value, or those of fields with the same name.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

/// What the sniffer sees, and what it could not read.
pub(crate) fn sniffed(path: &Path) -> (Vec<Seen>, Vec<String>) {
    let mut sniffer = Sniffer::new(Bounds::default());
    let (mut messages, mut lost) = (Vec::new(), Vec::new());
    let source = input::open(path, None).unwrap();
    input::read(source, &Reading::default(), &mut |_| Ok(()), &mut |record| {
        sniffer.hear(record, &mut |message| {
            if let Kind::Lost | Kind::Undecodable = message.kind {
                lost.push(message.remark.unwrap_or("undecodable").to_owned());
            }
            messages.extend(Seen::of(message));
            Ok(())
        })
    })
    .unwrap();
    (messages, lost)
}

/// What tshark prints of a file, with the dissector.
pub(crate) fn tshark(path: &Path, options: &[&str]) -> String {
    let script = format!("lua_script:{}", root().join("conformance/wireshark/zeo.lua").display());
    let mut command = Command::new("tshark");
    command.args(["-X", &script, "-r"]).arg(path).args(options);
    let output = command.output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !errors.contains("Lua: "), "{}: {errors}", path.display());
    text.into_owned()
}

/// What the dissector sees.
pub(crate) fn dissected(path: &Path, options: &[&str]) -> Vec<Seen> {
    let json = ["-Y", "zeo", "-T", "json", "-J", "zeo", "--no-duplicate-keys"];
    let text = tshark(path, &[options, &json].concat());
    assert!(!text.contains("Lua Error"), "{}: {text}", path.display());
    let packets: Vec<Value> = serde_json::from_str(&text).unwrap();
    packets
        .iter()
        .filter_map(|packet| packet.pointer("/_source/layers/zeo"))
        .flat_map(items)
        .filter_map(Seen::of_fields)
        .collect()
}

/// Where the two differ for the first time, with what comes before; `None` if nowhere.
pub(crate) fn difference(dissected: &[Seen], sniffed: &[Seen]) -> Option<String> {
    let len = dissected.len().max(sniffed.len());
    let at = (0..len).find(|at| dissected.get(*at) != sniffed.get(*at))?;
    let (theirs, ours) = (dissected.get(at), sniffed.get(at));
    let before = sniffed.get(at.saturating_sub(2)..at).unwrap_or_default();
    Some(format!("message {at} of {len}: tshark {theirs:?}\nsniff {ours:?}\nbefore: {before:?}"))
}
