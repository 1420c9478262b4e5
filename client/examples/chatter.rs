//! A chat of many processes through one server, in Rust and in Python (`chatter.py`):
//! `cargo run -p zeo-client --example chatter 127.0.0.1:8100 NAME`
//!
//! Lines of the input are posted, and everybody's are printed, each once and in the same order. It ends with its input.
//!
//! The chat is a `PersistentList` of pairs (name, text), which the root has under `chat`. Who posts writes the list anew,
//! over the revision that was read: of several who do so at once the server takes one, and the others try again.

use std::io::BufRead as _;

use zeo_client::blocking::Client;
use zeo_client::{Address, Builder, Error, Metadata, Oid, Tid, Value};
use zeo_codec::{Global, Limits, record};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let address: Address = arguments.next().ok_or("no address")?.parse()?;
    let name = arguments.next().ok_or("no name")?;
    let client = Builder::new(address).label(format!("chatter {name}")).connect_blocking()?;
    let chat = find_or_create(&client)?;
    let printer = client.clone();
    let printing = std::thread::spawn(move || print_all(&printer, chat));
    for line in std::io::stdin().lock().lines() {
        post(&client, chat, &name, &line?)?;
    }
    client.close();
    printing.join().map_err(|_| "the printer panicked")?
}

/// Prints the messages that are there, and those that come, until the client is closed.
fn print_all(client: &Client, chat: Oid) -> Result {
    let mut printed_count = 0;
    // Subscribed first: what is committed after the list was read is among the changes.
    let mut changes = client.invalidations();
    loop {
        let record = match client.load_current(chat) {
            Err(Error::Closed) => return Ok(()),
            Err(error) if error.is_transient() => continue,
            loaded => loaded?.data,
        };
        let messages = messages_of(&record)?;
        for message in messages.iter().skip(printed_count) {
            if let Some([name, text]) = message.as_sequence() {
                println!("{}: {}", name.as_text().unwrap_or("?"), text.as_text().unwrap_or("?"));
            }
        }
        printed_count = messages.len();
        if changes.next().is_none() {
            return Ok(());
        }
    }
}

/// Posts a message, however often it has to be tried.
fn post(client: &Client, chat: Oid, name: &str, text: &str) -> Result {
    let mut own_count = None;
    loop {
        let revision = match client.load_current(chat) {
            Err(error) if error.is_transient() => continue,
            loaded => loaded?,
        };
        let mut messages = messages_of(&revision.data)?;
        // Nobody else has this name. If there are more than at first, then a commit whose answer was lost went through;
        // and if it still comes after this, it changes the list, and what is tried here is refused.
        let count = messages.iter().filter(|message| is_by(name, message)).count();
        if count > *own_count.get_or_insert(count) {
            return Ok(());
        }
        messages.push(Value::Tuple(vec![name.into(), text.into()]));
        match commit(client, &[(chat, revision.serial, list_of(messages)?)]) {
            Err(error) if may_be_tried_again(&error) => {}
            committed => return Ok(committed?),
        }
    }
}

fn is_by(name: &str, message: &Value<'_>) -> bool {
    let by = message.as_sequence().and_then(<[_]>::first);
    by.is_some_and(|by| by.as_text() == Some(name))
}

/// The object that the root has under `chat`; whoever comes first puts it there, and the root, too, if it has to.
fn find_or_create(client: &Client) -> Result<Oid> {
    loop {
        let (serial, root) = match client.load_current(Oid::ZERO) {
            Ok(revision) => (revision.serial, revision.data),
            Err(error) if error.is_no_such_object() => (
                Tid::ZERO,
                record::encode(
                    &class("persistent.mapping", "PersistentMapping"),
                    &data(Value::Dict(Vec::new())),
                )?
                .into(),
            ),
            Err(error) => return Err(error.into()),
        };
        let [root_class, state] = record::decode(&root, &Limits::DEFAULT)?;
        let Some(Value::Dict(mut items)) = state.get("data").cloned() else {
            return Err("a strange root".into());
        };
        if let Some((_, found)) = items.iter().find(|(key, _)| key.is_name("chat")) {
            let Value::Persistent(reference) = found else { return Err("the chat is no object".into()) };
            let oid = reference.as_sequence().and_then(<[_]>::first).and_then(Value::as_bytes);
            return Ok(oid.and_then(Oid::from_slice).ok_or("a strange reference")?);
        }
        let oid = client.new_oid()?;
        let reference = Value::Tuple(vec![oid.into(), class("persistent.list", "PersistentList")]);
        items.push(("chat".into(), Value::Persistent(Box::new(reference))));
        let root = record::encode(&root_class, &data(Value::Dict(items)))?;
        match commit(client, &[(Oid::ZERO, serial, root), (oid, Tid::ZERO, list_of(Vec::new())?)]) {
            Err(error) if !may_be_tried_again(&error) => return Err(error.into()),
            _ => {}
        }
    }
}

/// Commits records, each over the revision that was read.
fn commit(client: &Client, records: &[(Oid, Tid, Vec<u8>)]) -> std::result::Result<(), Error> {
    let mut transaction = client.begin(Metadata::new("chatter", "a message"))?;
    for (oid, serial, record) in records {
        transaction.store(*oid, *serial, record.clone())?;
    }
    transaction.vote()?.finish().map(drop)
}

fn may_be_tried_again(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::OutcomeUnknown(_))
}

/// What a record of a `PersistentList` holds.
fn messages_of(record: &[u8]) -> Result<Vec<Value<'_>>> {
    let [_, state] = record::decode(record, &Limits::DEFAULT)?;
    match state.get("data") {
        Some(Value::List(messages)) => Ok(messages.clone()),
        _ => Err("the chat is no list".into()),
    }
}

/// The record of a `PersistentList`.
fn list_of(messages: Vec<Value<'_>>) -> Result<Vec<u8>> {
    Ok(record::encode(&class("persistent.list", "PersistentList"), &data(Value::List(messages)))?)
}

/// The state of both persistent collections: what they hold, under `data`.
fn data(held: Value<'_>) -> Value<'_> {
    Value::Dict(vec![("data".into(), held)])
}

fn class(module: &'static str, name: &'static str) -> Value<'static> {
    Value::Global(Global { module: module.into(), name: name.into() })
}
