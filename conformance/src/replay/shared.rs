//! Files that a client put into the directory of blobs which it shared with the server: nothing but their names went over
//! the connection. What was in them is known where somebody fetched the blob afterwards.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeo_codec::session::Observed;
use zeo_codec::{Call, Dialect, Envelope, Limits, MessageError, Method, Oid, Reply, Tid};

/// A file in the shared directory, as the client had left it there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SharedFile {
    pub(super) oid: Oid,
    /// In the directory of the object.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Collects them while a capture is read.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    /// Handed over on a connection, in a transaction that is not finished: their places among all, and objects.
    pending: BTreeMap<u32, Vec<(usize, Oid)>>,
    /// The revisions that they became.
    revisions: BTreeMap<(Oid, Tid), usize>,
    files: Vec<SharedFile>,
}

impl SharedFiles {
    /// Takes a message of either side. The number of a file, if the client hands one over with it.
    pub(super) fn take(
        &mut self,
        connection: u32,
        observed: &Observed,
        dialect: Option<&Dialect>,
    ) -> Option<usize> {
        match observed {
            Observed::Call { method: Some(Method::TpcAbort), .. } => {
                self.pending.remove(&connection);
            }
            Observed::Call { method: Some(method), payload, .. } => match call(*method, payload, dialect?)?
                .ok()?
            {
                Call::StoreBlobShared(stored) => {
                    let number = self.files.len();
                    let name = stored.file_name.into_owned();
                    self.files.push(SharedFile { oid: stored.oid, name, content: Vec::new() });
                    self.pending.entry(connection).or_default().push((number, stored.oid));
                    return Some(number);
                }
                Call::ReceiveBlobChunk(chunk) => {
                    let file =
                        self.revisions.get(&(chunk.oid, chunk.serial)).and_then(|at| self.files.get_mut(*at));
                    file?.content.extend_from_slice(&chunk.chunk);
                }
                _ => {}
            },
            Observed::Reply { method: Some(Method::TpcFinish), is_error: false, payload, .. } => {
                let dialect = dialect?;
                let envelope = Envelope::parse(payload, dialect.framing, &Limits::DEFAULT).ok()?;
                let reply = Reply::parse(Some(Method::TpcFinish), envelope.args, &Limits::DEFAULT).ok()?;
                let Reply::Tid(tid) = reply else { return None };
                for (number, oid) in self.pending.remove(&connection).unwrap_or_default() {
                    self.revisions.insert((oid, tid), number);
                }
            }
            _ => {}
        }
        None
    }

    /// All, by their numbers. One that nobody has fetched is empty.
    pub(super) fn into_files(self) -> Vec<SharedFile> {
        self.files
    }
}

fn call<'a>(method: Method, payload: &'a Bytes, dialect: &Dialect) -> Option<Result<Call<'a>, MessageError>> {
    let is_about_blobs = matches!(method, Method::StoreBlobShared | Method::ReceiveBlobChunk);
    let envelope =
        is_about_blobs.then(|| Envelope::parse(payload, dialect.framing, &Limits::DEFAULT).ok()).flatten()?;
    Some(Call::parse(method, envelope.args, &Limits::DEFAULT))
}
