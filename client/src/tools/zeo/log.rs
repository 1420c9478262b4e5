//! `zeo log`: transactions, those that were and those that come.

use std::collections::VecDeque;
use std::io::{StdoutLock, Write};

use clap::Args;
use serde_json::json;
use zeo_codec::Tid;
use zeo_codec::call::RecordInfo;

use super::Failure;
use super::server::ServerOptions;
use crate::blocking::Client;
use crate::tools::json::json;
use crate::tools::text::{Shown, complain};
use crate::tools::time::{minutes_before, parse_tid, show_time, time_of};
use crate::{Access, Error, TransactionRecord};

/// How many transactions are shown unless the user says something else.
const COUNT: usize = 10;
/// The first stretch of time, in minutes, in which the last transactions are looked for; the next is so many times as
/// long.
const FIRST_MINUTES: u64 = 60;
const NEXT_FACTOR: u64 = 16;

/// Show transactions, oldest first.
///
/// The last ten, unless the options say which. A line has the transaction, the time that it stands for, user and
/// description; a "p" in front of these says that it was packed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ServerOptions,

    /// From this transaction, or time in UTC, on; a time as in 2026-11-20T10:26:30
    #[arg(long, value_name = "TID", value_parser = parse_tid)]
    since: Option<Tid>,

    /// Up to this transaction, or time in UTC
    #[arg(long, value_name = "TID", value_parser = parse_tid, conflicts_with = "follow")]
    until: Option<Tid>,

    /// Only the last so many
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "since")]
    count: Option<usize>,

    /// Go on with those that come, until somebody ends it; also when the server is restarted
    #[arg(short, long)]
    follow: bool,

    /// Show the records of each transaction, too: object, and length or what else it is
    #[arg(short, long)]
    records: bool,

    /// Print JSON, an object in each line: a transaction, or a record of the one before
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = arguments.server.connect(Access::ReadOnly)?;
    // Before anything is asked: what is committed from now on is announced, if it is not found at once.
    let mut changes = client.invalidations();
    let mut start = match arguments.since {
        Some(since) => Some(since),
        None => start_of_last(&client, arguments.count.unwrap_or(COUNT), arguments.until)?,
    };
    let mut printer = Printer { out: std::io::stdout().lock(), arguments };
    if !arguments.follow {
        show(&client, &mut start, arguments.until, &mut printer)?;
        client.close();
        return Ok(());
    }
    loop {
        while let Err(error) = show(&client, &mut start, None, &mut printer) {
            wait_again(&client, error)?;
        }
        // What was announced has been shown, or is found now.
        if changes.next().is_none() {
            return Err(Error::Closed.into());
        }
    }
}

/// After a lost connection waits for another one, however long that takes. Anything else ends it.
fn wait_again(client: &Client, error: Failure) -> Result<(), Failure> {
    match error.downcast_ref() {
        Some(Error::Disconnected(_)) => complain(format_args!("{}; waiting for the server", Shown(&error))),
        _ => return Err(error),
    }
    while let Err(error) = client.wait() {
        match error {
            Error::Disconnected(_) => complain(format_args!("still {}", Shown(error))),
            other => return Err(other.into()),
        }
    }
    Ok(())
}

/// Where the last `count` transactions up to `until` start; `None` stands for what comes behind them all.
///
/// A server iterates forwards only: what is looked at are longer and longer stretches of time before the last one.
fn start_of_last(client: &Client, count: usize, until: Option<Tid>) -> Result<Option<Tid>, Failure> {
    let last = client.last_transaction();
    if count == 0 || last == Tid::ZERO {
        return Ok(last.next());
    }
    let end = until.map_or(last, |until| until.min(last));
    let mut minutes = FIRST_MINUTES;
    loop {
        let start = minutes_before(end, minutes);
        let mut found = VecDeque::new();
        for transaction in client.iterate(Some(start), Some(end))? {
            if found.len() == count {
                found.pop_front();
            }
            found.push_back(transaction?.info.tid);
        }
        if found.len() == count || start == Tid::ZERO {
            return Ok(found.front().copied().or_else(|| last.next()));
        }
        minutes = minutes.saturating_mul(NEXT_FACTOR);
    }
}

/// Shows the transactions from `start` on; moves that behind each one that was shown. With `None` there can be no more.
fn show(
    client: &Client,
    start: &mut Option<Tid>,
    until: Option<Tid>,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let Some(first) = *start else { return Ok(()) };
    // An iterator costs the server more than this look.
    if client.last_transaction() < first {
        return Ok(());
    }
    let mut transactions = client.iterate(Some(first), until)?;
    while let Some(transaction) = transactions.next() {
        let transaction = transaction?;
        let tid = transaction.info.tid;
        if start.is_none_or(|start| tid < start) || until.is_some_and(|until| tid > until) {
            return Err(format!("the server iterates to transaction {tid}, which is out of order").into());
        }
        printer.transaction(&transaction)?;
        if printer.arguments.records {
            for record in transactions.records(&transaction)? {
                printer.record(&record?)?;
            }
        }
        // If the connection was lost among the records all of them come again.
        *start = tid.next();
        printer.out.flush()?;
    }
    Ok(())
}

/// Writes lines.
struct Printer<'a> {
    out: StdoutLock<'static>,
    arguments: &'a Arguments,
}

impl Printer<'_> {
    fn transaction(&mut self, TransactionRecord { info }: &TransactionRecord) -> Result<(), Failure> {
        let (user, description) = (lossy(&info.user), lossy(&info.description));
        if self.arguments.json {
            let time = time_of(info.tid).map(|time| format!("{time:.6}Z"));
            let line = json!({
                "tid": info.tid.to_string(),
                "time": time,
                "status": info.status,
                "user": user,
                "description": description,
                "extension": json(&info.extension),
            });
            return Ok(writeln!(self.out, "{line}")?);
        }
        write!(self.out, "{}  {}", info.tid, show_time(info.tid))?;
        for text in [info.status.trim(), &user, &description] {
            if !text.is_empty() {
                write!(self.out, "  {}", Shown(text))?;
            }
        }
        Ok(writeln!(self.out)?)
    }

    fn record(&mut self, record: &RecordInfo<'_>) -> Result<(), Failure> {
        let len = record.data.as_ref().map(|data| data.len());
        if self.arguments.json {
            let data_txn = record.data_txn.map(|tid| tid.to_string());
            let line = json!({"oid": record.oid.to_string(), "data_len": len, "data_txn": data_txn});
            return Ok(writeln!(self.out, "{line}")?);
        }
        write!(self.out, "    {}  ", record.oid)?;
        match len {
            Some(len) => write!(self.out, "{len} bytes")?,
            None => write!(self.out, "no more")?,
        }
        match record.data_txn {
            Some(tid) => writeln!(self.out, ", those of {tid}")?,
            None => writeln!(self.out)?,
        }
        Ok(())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
