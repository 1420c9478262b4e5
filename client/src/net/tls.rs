//! TLS around a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use crate::tls::Connector;

/// A socket after the handshake.
#[derive(Debug)]
struct TlsSocket(tokio_rustls::client::TlsStream<Box<dyn Socket>>);

/// Shakes hands with the server at `host`, if its address has one. Takes as long as the server likes: the caller sets
/// a limit.
///
/// # Errors
/// What is wrong with the server, or the end of the stream.
pub(super) async fn secure(
    socket: Box<dyn Socket>,
    connector: &Connector,
    host: Option<&str>,
) -> io::Result<Box<dyn Socket>> {
    let name = connector.server_name(host).map_err(|name| {
        let what = match name.as_str() {
            "" => "the name in the server's certificate is to be checked, but the address has none: say server-hostname".into(),
            name => format!("{name:?} is no name that a certificate can be for"),
        };
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })?;
    let stream = connector.connector().connect(name, socket).await?;
    Ok(Box::new(TlsSocket(stream)))
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(context, buffer)) {
            // A server that was killed says no goodbye. Frames tell where they end, so nothing can be cut off
            // unnoticed, and this is an end like that of a plain connection.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
