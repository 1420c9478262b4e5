//! Our client, for threads and as futures.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use zeo_client::cache::FileCache;
use zeo_client::{Builder, Client, Metadata, blocking};
use zeo_codec::{Oid, Tid};

use super::{Contestant, Turn, Workload, check};
use crate::bench::BenchError;
use crate::bench::usage::own_cpu_time;

/// Times what `run` does with so many objects or transactions.
pub(super) fn timed(
    op_count: usize,
    run: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Turn, BenchError> {
    let (began, cpu) = (Instant::now(), own_cpu_time());
    run()?;
    let time = began.elapsed();
    Ok(Turn { op_count, time, cpu: own_cpu_time().saturating_sub(cpu) })
}

fn options(address: SocketAddr) -> Builder {
    Builder::new(address).cache_size(FileCache::SIZE_DEFAULT)
}

fn missing(oid: Oid) -> BenchError {
    BenchError::Wrong(format!("no revision of {oid}"))
}

/// A thread that waits; the connection is on another one.
pub(super) struct Blocking(pub(super) SocketAddr);

impl Contestant for Blocking {
    fn turn(&mut self, workload: Workload, oids: &[Oid], count: usize) -> Result<Turn, BenchError> {
        let client = options(self.0).connect_blocking()?;
        match workload {
            Workload::Cold => timed(count, || load_blocking(&client, oids)),
            Workload::Batch => timed(count, || {
                let answers = client.prefetch(oids.iter().copied(), Tid::MAX);
                for (number, (oid, found)) in answers.enumerate() {
                    check(number, oid, &found?.ok_or_else(|| missing(oid))?.data)?;
                }
                Ok(())
            }),
            Workload::Warm => {
                load_blocking(&client, oids)?;
                timed(count, || load_blocking(&client, oids))
            }
            Workload::Commits(_) => {
                let mut objects: Vec<(Oid, Tid, Bytes)> = Vec::new();
                for &oid in oids {
                    let found = client.load_current(oid)?;
                    objects.push((oid, found.serial, found.data));
                }
                timed(count, || {
                    for _ in 0..count {
                        let mut transaction = client.begin(Metadata::default())?;
                        for (oid, serial, data) in &objects {
                            transaction.store(*oid, *serial, data.clone())?;
                        }
                        let tid = transaction.vote()?.finish()?;
                        objects.iter_mut().for_each(|(_, serial, _)| *serial = tid);
                    }
                    Ok(())
                })
            }
        }
    }
}

pub(super) fn load_blocking(client: &blocking::Client, oids: &[Oid]) -> Result<(), BenchError> {
    for (number, &oid) in oids.iter().enumerate() {
        let found = client.load_before(oid, Tid::MAX)?;
        check(number, oid, &found.ok_or_else(|| missing(oid))?.data)?;
    }
    Ok(())
}

/// Futures, and the connection on the same thread.
pub(super) struct Futures(pub(super) SocketAddr);

pub(super) fn runtime() -> Result<Runtime, BenchError> {
    Ok(RuntimeBuilder::new_current_thread().enable_all().build()?)
}

/// As the work of a program is done: by a task among others. A future that is waited for by `block_on` itself is polled
/// after one more look at the sockets.
pub(super) fn in_a_task<R: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<R, BenchError>> + Send + 'static,
) -> Result<R, BenchError> {
    let ended = runtime.block_on(runtime.spawn(work));
    ended.unwrap_or_else(|error| Err(BenchError::Missing(format!("a task: {error}"))))
}

impl Contestant for Futures {
    fn turn(&mut self, workload: Workload, oids: &[Oid], count: usize) -> Result<Turn, BenchError> {
        let runtime = runtime()?;
        let client = runtime.block_on(options(self.0).connect())?;
        let load = || in_a_task(&runtime, load(client.clone(), oids.into()));
        match workload {
            Workload::Cold => timed(count, load),
            Workload::Batch => timed(count, || in_a_task(&runtime, prefetch(client.clone(), oids.into()))),
            Workload::Warm => {
                load()?;
                timed(count, load)
            }
            Workload::Commits(_) => {
                let objects = in_a_task(&runtime, current(client.clone(), oids.into()))?;
                timed(count, || in_a_task(&runtime, commit(client.clone(), objects, count)))
            }
        }
    }
}

pub(super) async fn load(client: Client, oids: Vec<Oid>) -> Result<(), BenchError> {
    for (number, &oid) in oids.iter().enumerate() {
        let found = client.load_before(oid, Tid::MAX).await?;
        check(number, oid, &found.ok_or_else(|| missing(oid))?.data)?;
    }
    Ok(())
}

async fn prefetch(client: Client, oids: Vec<Oid>) -> Result<(), BenchError> {
    let mut answers = client.prefetch(oids, Tid::MAX);
    let mut number = 0;
    while let Some((oid, found)) = answers.next().await {
        check(number, oid, &found?.ok_or_else(|| missing(oid))?.data)?;
        number += 1;
    }
    Ok(())
}

async fn current(client: Client, oids: Vec<Oid>) -> Result<Vec<(Oid, Tid, Bytes)>, BenchError> {
    let mut objects = Vec::new();
    for oid in oids {
        let found = client.load_current(oid).await?;
        objects.push((oid, found.serial, found.data));
    }
    Ok(objects)
}

async fn commit(client: Client, mut objects: Vec<(Oid, Tid, Bytes)>, count: usize) -> Result<(), BenchError> {
    for _ in 0..count {
        let mut transaction = client.begin(Metadata::default()).await?;
        for (oid, serial, data) in &objects {
            transaction.store(*oid, *serial, data.clone()).await?;
        }
        let tid = transaction.vote().await?.finish().await?;
        objects.iter_mut().for_each(|(_, serial, _)| *serial = tid);
    }
    Ok(())
}
