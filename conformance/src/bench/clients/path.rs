//! What a call costs beside the round trip: loads one at a time, and bare messages of the same lengths.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use zeo_client::Builder;
use zeo_codec::Oid;
use zeo_codec::handshake::Protocol;

use super::Turn;
use super::ours::{in_a_task, load, load_blocking, runtime, timed};
use crate::bench::data::SMALL;
use crate::bench::loads::{Requests, reply_frame_len};
use crate::bench::{BenchError, echo};
use crate::config::Framing;

/// What messages go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// A socket and nothing else, to a server that answers with zeros.
    Bare,
    /// Our client as futures, without a cache.
    Futures,
    /// Our client for threads, without a cache.
    Blocking,
}

impl Path {
    /// All, the bare one first.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Futures, Self::Blocking];

    /// As many round trips as there are objects.
    pub(super) fn measure(
        self,
        server: SocketAddr,
        echo: SocketAddr,
        framing: Framing,
        oids: &[Oid],
    ) -> Result<Turn, BenchError> {
        match self {
            Self::Bare => {
                let protocol = match framing {
                    Framing::Pickle => Protocol::Z5,
                    Framing::Msgpack => Protocol::M5,
                };
                let request = vec![0; Requests::new(protocol, SMALL, 0)?.frame_len()];
                let mut reply = vec![0; reply_frame_len(protocol, SMALL)?];
                let mut stream = echo::connect(echo, request.len(), reply.len())?;
                timed(oids.len(), || {
                    for _ in oids {
                        stream.write_all(&request)?;
                        stream.read_exact(&mut reply)?;
                    }
                    Ok(())
                })
            }
            Self::Futures => {
                let runtime = runtime()?;
                let client = runtime.block_on(Builder::new(server).no_cache().connect())?;
                timed(oids.len(), || in_a_task(&runtime, load(client.clone(), oids.into())))
            }
            Self::Blocking => {
                let client = Builder::new(server).no_cache().connect_blocking()?;
                timed(oids.len(), || load_blocking(&client, oids))
            }
        }
    }
}
