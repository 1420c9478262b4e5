//! Blobs on their way from the server to a file.
//!
//! The task of the connection hands their pieces to a thread that writes them. While more than [`BACKLOG_LEN_MAX`]
//! bytes wait for the disk, nothing is read from the server.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use zeo_codec::{Oid, Tid};

use super::{Shared, State, Waiter, outcome};
use crate::blob::Incoming;
use crate::error::Error;

/// Bytes of blobs that may wait for the disk.
const BACKLOG_LEN_MAX: usize = 8 * 1024 * 1024;

/// What waits for the disk.
#[derive(Debug)]
pub(super) struct Backlog {
    len: AtomicUsize,
    /// Of the task of the connection.
    bell: Arc<Notify>,
}

impl Backlog {
    pub(super) const fn new(bell: Arc<Notify>) -> Self {
        Self { len: AtomicUsize::new(0), bell }
    }

    /// Whether nothing more should be read; whoever asks will hear the bell when that has changed.
    pub(super) fn is_full(&self) -> bool {
        self.len.load(Ordering::Acquire) > BACKLOG_LEN_MAX
    }

    fn add(&self, len: usize) {
        self.len.fetch_add(len, Ordering::AcqRel);
    }

    fn remove(&self, len: usize) {
        let before = self.len.fetch_sub(len, Ordering::AcqRel);
        if before > BACKLOG_LEN_MAX && before - len <= BACKLOG_LEN_MAX {
            self.bell.notify_one();
        }
    }
}

impl State {
    /// Hands the pieces that have come to those who write them.
    pub(super) fn hand_out_pieces(&mut self, backlog: &Backlog) {
        while let Some(piece) = self.engine.poll_piece() {
            let len = piece.bytes.len();
            // Without a writer the download was given up, and its outcome will be nobody's.
            let Some(writer) = self.arriving.get(&(piece.oid, piece.serial)) else { continue };
            backlog.add(len);
            if writer.send(piece.bytes).is_err() {
                backlog.remove(len);
            }
        }
    }
}

/// Ends the writer when there will be no more pieces, whatever becomes of the task that waits for them.
struct Arriving<'s> {
    shared: &'s Shared,
    key: (Oid, Tid),
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.shared.look(|state| state.arriving.remove(&self.key));
    }
}

impl Shared {
    /// Loads a blob, as soon as there is a connection. What has come is complete when this returns.
    pub(crate) async fn download(
        &self,
        oid: Oid,
        serial: Tid,
        incoming: Incoming,
    ) -> Result<Incoming, Error> {
        let (asked, pieces) = loop {
            let made = self.act(|state| {
                state.engine.is_ready().then(|| {
                    let (sender, receiver) = oneshot::channel();
                    state.engine.load_blob(oid, serial, Waiter::One(sender))?;
                    let (writer, pieces) = mpsc::unbounded_channel();
                    state.arriving.insert((oid, serial), writer);
                    Ok::<_, Error>((receiver, pieces))
                })
            });
            match made {
                Some(made) => break made?,
                None => self.ready().await?,
            }
        };
        let arriving = Arriving { shared: self, key: (oid, serial) };
        let backlog = Arc::clone(&self.backlog);
        let written = spawn_blocking(move || write(incoming, pieces, &backlog));
        let answered = outcome(asked).await;
        // All pieces have been handed out before the outcome.
        drop(arriving);
        let (incoming, written) = written.await.map_err(|_| Error::Closed)?;
        answered?;
        written.map_err(|error| Error::file(incoming.path(), error))?;
        Ok(incoming)
    }
}

/// Writes pieces until there are no more. After an error they are only taken.
fn write(
    mut incoming: Incoming,
    mut pieces: mpsc::UnboundedReceiver<Bytes>,
    backlog: &Backlog,
) -> (Incoming, io::Result<()>) {
    let mut result = Ok(());
    while let Some(piece) = pieces.blocking_recv() {
        if result.is_ok()
            && let Some(file) = incoming.file()
        {
            result = file.write_all(&piece);
        }
        backlog.remove(piece.len());
    }
    (incoming, result)
}

/// Does something that may wait for the disk.
pub(crate) async fn blocking<R: Send + 'static>(
    act: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    // Only a runtime that ends gives it up.
    spawn_blocking(act).await.map_err(|_| Error::Closed)
}
