//! Trying servers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeo_codec::Tid;

use super::Waiter;
use super::socket::{Socket, open};
use crate::address::Address;
use crate::builder::Options;
use crate::engine::{Access, Link, Registration};
use crate::error::ConnectionError;

/// A connection whose server has registered the client.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) address: Address,
    pub(super) socket: Box<dyn Socket>,
    pub(super) link: Link<Waiter>,
    /// The server's last transaction.
    pub(super) tid: Tid,
}

/// Tries all addresses at the same time. The first server that registers the client is taken; if none does, the error
/// is that of the last one. A server behind `known`, the last transaction of the client, will not do (C4), but another
/// one may.
pub(super) async fn first_of(
    addresses: Vec<Address>,
    access: Access,
    known: Option<Tid>,
    options: &Options,
) -> Result<Registered, Arc<ConnectionError>> {
    let mut attempts = JoinSet::new();
    for address in addresses {
        let registration = Registration {
            storage: options.storage.clone(),
            access,
            credentials: options.credentials.clone(),
        };
        let options = options.clone();
        attempts.spawn(async move {
            let limit = options.handshake_timeout;
            let attempt = timeout(limit, register(&address, registration, &options)).await;
            let result = attempt.unwrap_or(Err(ConnectionError::HandshakeTimeout(limit)));
            let result = result.and_then(|registered| match known {
                Some(known) if registered.tid < known => {
                    Err(ConnectionError::ServerBehind { server: registered.tid, known })
                }
                _ => Ok(registered),
            });
            result.map_err(|error| {
                tracing::info!("{address}: {error}");
                Arc::new(error)
            })
        });
    }
    let mut why = Arc::new(ConnectionError::NotYet);
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(registered)) => return Ok(registered),
            Ok(Err(error)) => why = error,
            Err(error) => tracing::error!("an attempt to connect ended by itself: {error}"),
        }
    }
    Err(why)
}

async fn register(
    address: &Address,
    registration: Registration,
    options: &Options,
) -> Result<Registered, ConnectionError> {
    match greet(address, Link::new(registration.clone(), options.limits), options).await {
        Err(ConnectionError::AuthenticatesAsZeo4) => {
            greet(address, Link::of_zeo4(registration, options.limits), options).await
        }
        other => other,
    }
}

async fn greet(
    address: &Address,
    mut link: Link<Waiter>,
    options: &Options,
) -> Result<Registered, ConnectionError> {
    let mut socket = open(address, options.tls.as_ref()).await?;
    loop {
        let registered = link.register()?;
        let session = link.session();
        while !session.output().is_empty() {
            let written_len = socket.write(session.output()).await?;
            session.consume_output(written_len);
        }
        socket.flush().await?;
        if let Some(tid) = registered {
            return Ok(Registered { address: address.clone(), socket, link, tid });
        }
        if socket.read_buf(link.session().receive_buffer()).await? == 0 {
            return Err(ConnectionError::Ended);
        }
    }
}
