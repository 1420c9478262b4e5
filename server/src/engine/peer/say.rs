//! What the server says: replies, errors, and the size of the storage.

use zeo_codec::session::ServerSession;
use zeo_codec::{Dialect, EncodeError, Method, MsgId, RemoteError, Reply, Value};

use super::Closing;
use crate::engine::error::CallError;
use crate::engine::journal::Commit;
use crate::engine::python2;
use crate::engine::served::Served;
use crate::engine::transaction::{Stage, Transaction};
use crate::storage::View;

/// Tells the committer that its transaction is committed: `info`, then the reply (protocol reference 8).
pub(super) fn finished(
    commit: &Commit,
    served: &Served,
    transaction: &mut Option<Transaction>,
    session: &mut ServerSession,
) -> Result<(), Closing> {
    served.stats.active_transactions.subtract();
    let stage = transaction.take().map(|transaction| transaction.stage);
    send_size(&*commit.view, session)?;
    match stage.and_then(Stage::into_finish_reply_to) {
        Some(id) => send(session, &id, &Reply::Tid(commit.tid)),
        None => Ok(()),
    }
}

/// The size of the storage, as `info` tells it.
pub(super) fn size_info(view: &dyn View) -> Value<'static> {
    Value::Dict(vec![
        ("length".into(), view.object_count().into()),
        ("size".into(), view.size_bytes().into()),
    ])
}

/// Sends `info`: the size of the storage.
pub(super) fn send_size(view: &dyn View, session: &mut ServerSession) -> Result<(), Closing> {
    let info = zeo_codec::call::Info { changes: python2::value(size_info(view), session.dialect()) };
    session.notify(Method::Info, &info).map_err(|EncodeError| Closing::UnusableId)
}

/// Writes a reply; what cannot be expressed becomes Python's error for that (protocol reference 5).
pub(super) fn send(session: &mut ServerSession, id: &MsgId<'_>, reply: &Reply<'_>) -> Result<(), Closing> {
    session.reply(id, reply).or_else(|EncodeError| send_unencodable(session, id))
}

pub(super) fn send_error(
    session: &mut ServerSession,
    id: &MsgId<'_>,
    error: &CallError,
) -> Result<(), Closing> {
    let error = error.to_remote(session.dialect());
    session.reply_error(id, &error).or_else(|EncodeError| send_unencodable(session, id))
}

fn send_unencodable(session: &mut ServerSession, id: &MsgId<'_>) -> Result<(), Closing> {
    let error = unencodable(session.dialect());
    session.reply_error(id, &error).map_err(|EncodeError| Closing::UnusableId)
}

pub(super) fn unencodable(dialect: &Dialect) -> RemoteError<'static> {
    CallError::Unencodable.to_remote(dialect)
}
