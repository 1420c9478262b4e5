//! TLS under a connection: whom the server claims to be, and whom it lets in.
//!
//! Owns certificates, keys and the handshake; what comes out of it is a stream like any other. As in Python's
//! server (`ZEO/zconfig.py`, `ssl_config`, ZEO 6.2) clients must show a certificate: who has none, or none that is
//! trusted, gets no further than the handshake. Files, keys and trust are the same for a client: [`zeo_client::tls`].
//!
//! Nothing is resumed: each connection proves anew that it owns its key, at the price of one handshake for
//! connections that live for days.

mod clients;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::NoServerSessionStorage;

use zeo_client::tls::{Peer, Trusted, certificates, private_key};
pub use zeo_client::tls::{TlsError, TlsErrorKind};

use crate::config::{Authenticate, SslOptions};
use crate::zconfig::Environment;
use clients::Verifier;

/// The server's side of handshakes.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files that `options` name, and the variable with the password from `environment`. They are not
    /// looked at again: a changed certificate needs a new start.
    ///
    /// # Errors
    /// [`TlsError`] says which file is at fault, and why.
    pub fn load(options: &SslOptions, environment: &dyn Environment) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let clients = match &options.authenticate {
            Authenticate::Path(path) => Trusted::from_path(Peer::Client, path),
            Authenticate::Signed => Trusted::from_system(Peer::Client),
        }?;
        let config = server_config(&provider, clients, options, environment)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands. Takes as long as the client likes: the caller sets a limit.
    ///
    /// # Errors
    /// What the client did wrong, or the end of the stream. The client has been told why.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.accept(stream).await.map(TlsStream)
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Trusted,
    options: &SslOptions,
    environment: &dyn Environment,
) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&options.certificate)?;
    let key_path = options.key.as_ref().unwrap_or(&options.certificate);
    let key = private_key(key_path, options.password.as_ref(), environment)?;
    let refused = |source| TlsError::at(key_path, TlsErrorKind::Refused(source));
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let verifier = Arc::new(Verifier::new(clients, provider.signature_verification_algorithms));
    let mut config =
        builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(refused)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A stream after the handshake.
#[derive(Debug)]
pub(crate) struct TlsStream<S>(tokio_rustls::server::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(context, buffer)) {
            // A client that was killed says no goodbye. Frames tell where they end, so nothing can be cut
            // off unnoticed, and this is an end like that of a plain connection.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
