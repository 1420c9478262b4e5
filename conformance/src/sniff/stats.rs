//! What a conversation comes to: calls, latencies, bytes, the commit lock.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use zeo_codec::Method;
use zeo_codec::session::Direction;

use super::filter::Filter;
use super::lock::{Lock, Locks};
use super::message::{Kind, Message};

/// Latencies beyond an hour count as one.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Figures of messages. The memory that it takes does not grow with their number.
#[derive(Debug, Default)]
pub struct Stats {
    methods: BTreeMap<Option<Method>, Figures>,
    locks: Locks,
    waits: Times,
    holds: Times,
    client_bytes: u64,
    server_bytes: u64,
    message_count: u64,
    connection_count: u64,
    trouble_count: u64,
    first: Option<Duration>,
    last: Duration,
}

#[derive(Debug, Default)]
struct Figures {
    call_count: u64,
    error_count: u64,
    call_bytes: u64,
    reply_bytes: u64,
    latencies: Times,
}

#[derive(Debug, Default)]
struct Times(Option<Box<Histogram<u64>>>);

impl Times {
    fn add(&mut self, time: Duration) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_max(LATENCY_MAX_NS, 3).ok().map(Box::new);
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.len())
    }

    fn quantile(&self, quantile: f64) -> Duration {
        self.0
            .as_ref()
            .map_or(Duration::ZERO, |histogram| Duration::from_nanos(histogram.value_at_quantile(quantile)))
    }

    fn json(&self) -> Value {
        let us = |quantile| self.quantile(quantile).as_secs_f64() * 1e6;
        json!({ "count": self.count(), "p50_us": us(0.5), "p90_us": us(0.9), "p99_us": us(0.99), "max_us": us(1.0) })
    }
}

impl Stats {
    /// Hears any message, and counts those that the filter accepts.
    ///
    /// Who waits for whom shows only when all is heard that anybody says. So the commit lock's figures are those of the chosen
    /// connections, whatever else the filter leaves out.
    pub fn hear(&mut self, message: &Message<'_>, filter: &Filter) {
        if filter.accepts(message) {
            self.add(message);
        }
        let lock = self.locks.hear(message).filter(|_| filter.accepts_connection(message.connection));
        match lock {
            Some(Lock::Got(waited)) => self.waits.add(waited),
            Some(Lock::Released(held)) => self.holds.add(held),
            None => {}
        }
    }

    fn add(&mut self, message: &Message<'_>) {
        let Message { time, direction, kind, method, len, latency, .. } = message;
        self.first.get_or_insert(*time);
        self.last = self.last.max(*time);
        match direction {
            Some(Direction::FromClient) => self.client_bytes += len,
            Some(Direction::FromServer) => self.server_bytes += len,
            None => {}
        }
        match kind {
            Kind::Opened => self.connection_count += 1,
            Kind::Call | Kind::OneWay => {
                let figures = self.methods.entry(*method).or_default();
                figures.call_count += 1;
                figures.call_bytes += len;
            }
            Kind::Reply | Kind::Error => {
                let figures = self.methods.entry(*method).or_default();
                figures.error_count += u64::from(*kind == Kind::Error);
                figures.reply_bytes += len;
                if let Some(latency) = latency {
                    figures.latencies.add(*latency);
                }
            }
            Kind::Undecodable | Kind::Lost => self.trouble_count += 1,
            Kind::Hello | Kind::KeepAlive | Kind::Note | Kind::Ended => {}
        }
        self.message_count += u64::from(*len > 0);
    }

    /// The figures as an object.
    #[must_use]
    pub fn json(&self) -> Value {
        let methods: serde_json::Map<String, Value> = self.methods.iter().map(|(method, figures)| {
            let Figures { call_count, error_count, call_bytes, reply_bytes, latencies } = figures;
            let value = json!({
                "calls": call_count, "errors": error_count, "call_bytes": call_bytes, "reply_bytes": reply_bytes,
                "latency": latencies.json(),
            });
            (name(*method).to_owned(), value)
        }).collect();
        json!({
            "seconds": self.elapsed().as_secs_f64(),
            "connections": self.connection_count,
            "messages": self.message_count,
            "client_bytes": self.client_bytes,
            "server_bytes": self.server_bytes,
            "lost": self.trouble_count,
            "methods": methods,
            "commit_lock": { "waited": self.waits.json(), "held": self.holds.json() },
        })
    }

    fn elapsed(&self) -> Duration {
        self.last.saturating_sub(self.first.unwrap_or_default())
    }
}

fn name(method: Option<Method>) -> &'static str {
    method.map_or("(unknown)", Method::name)
}

/// A duration in at most seven characters.
struct Short(Duration);

impl Display for Short {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let us = self.0.as_secs_f64() * 1e6;
        let text = match us {
            ..1e3 => format!("{us:.0} us"),
            ..1e6 => format!("{:.1} ms", us / 1e3),
            _ => format!("{:.1} s", us / 1e6),
        };
        f.pad(&text)
    }
}

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} messages on {} connections in {:.3} s; {} bytes of clients, {} of servers; {} places not read",
            self.message_count,
            self.connection_count,
            self.elapsed().as_secs_f64(),
            self.client_bytes,
            self.server_bytes,
            self.trouble_count,
        )?;
        writeln!(
            f,
            "{:<32} {:>9} {:>7} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9}",
            "method", "calls", "errors", "bytes", "reply bytes", "p50", "p90", "p99", "max"
        )?;
        for (method, figures) in &self.methods {
            let Figures { call_count, error_count, call_bytes, reply_bytes, latencies } = figures;
            let name = name(*method);
            write!(f, "{name:<32} {call_count:>9} {error_count:>7} {call_bytes:>13} {reply_bytes:>13}")?;
            times(f, latencies)?;
        }
        for (what, times_of) in
            [("waiting for the commit lock", &self.waits), ("commit lock held", &self.holds)]
        {
            write!(f, "{what:<32} {:>9} {:>7} {:>13} {:>13}", times_of.count(), "", "", "")?;
            times(f, times_of)?;
        }
        Ok(())
    }
}

fn times(f: &mut Formatter<'_>, times: &Times) -> fmt::Result {
    if times.count() > 0 {
        for quantile in [0.5, 0.9, 0.99, 1.0] {
            write!(f, " {:>9}", Short(times.quantile(quantile)))?;
        }
    }
    writeln!(f)
}
