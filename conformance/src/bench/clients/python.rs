//! Python's client, by a script.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use zeo_codec::Oid;

use super::{Contestant, Turn, Workload};
use crate::bench::BenchError;
use crate::bench::data::SMALL;
use crate::peers::Peer;
use crate::script::Script;

pub(super) struct Python(Script);

impl Python {
    pub(super) fn start(peer: &Peer, address: SocketAddr, dir: &Path) -> Result<Self, BenchError> {
        let args = [address.ip().to_string(), address.port().to_string(), SMALL.data_len.to_string()];
        let mut script = Script::start(peer, "client_speed", "client_speed", &args, dir)?;
        script.expect_step("ready")?;
        Ok(Self(script))
    }

    pub(super) fn end(mut self) -> Result<(), BenchError> {
        self.0.tell(&json!(["end"]).to_string())?;
        self.0.finish()?;
        Ok(())
    }
}

impl Contestant for Python {
    fn turn(&mut self, workload: Workload, oids: &[Oid], count: usize) -> Result<Turn, BenchError> {
        let what = match workload {
            Workload::Cold => "cold",
            Workload::Batch => "batch",
            Workload::Warm => "warm",
            Workload::Commits(_) => "commit",
        };
        let oids: Vec<u64> = oids.iter().map(|oid| oid.to_u64()).collect();
        self.0.tell(&json!([what, oids, count]).to_string())?;
        let said = self.0.expect_step(what)?;
        let seconds =
            |name: &str| Duration::from_secs_f64(said.get(name).and_then(Value::as_f64).unwrap_or_default());
        Ok(Turn { op_count: count, time: seconds("seconds"), cpu: seconds("cpu") })
    }
}
