//! What clients older than ZEO 5 say, and what they are told (protocol reference 7 and 8; `ZEO/StorageServer.py`, 4.3.1).
//!
//! They differ in what is here; all else is the same for everybody:
//!
//! * `register` returns nothing, and may fail once more; errors are exceptions by value; one-way calls that fail do not end
//!   the connection.
//! * A vote tells its result in `serialnos`, before its reply: the new serial of each object, or why an object could not be
//!   stored. For that the tid has to be known at the vote, so that these transactions have the whole storage to themselves.
//!   A conflict is not handed back: such clients cannot resolve any, and raise it.
//! * Caches are verified object by object.
//! * Below `Z310` nothing is shown that could be undone; who calls `undoa` all the same undoes, as with Python's server.
//! * Calls below `Z309` name a version, which has to be empty, and get oids in pairs with one.

use std::borrow::Cow;

use zeo_codec::handshake::Version;
use zeo_codec::session::ServerSession;
use zeo_codec::{
    Body, Call, Emit, EncodeError, Expected, Generation, Limits, MessageError, Method, Oid, RawArgs, Reply,
    ShapeError, Tid, Value,
};

use super::{Attached, Closing, Peer, size_info};
use crate::engine::error::CallError;
use crate::storage::{Current, LoadedRevision, StorageError};

/// Why arguments cannot be used.
#[derive(Debug)]
pub(super) enum Misfit {
    /// They name a version.
    Version(CallError),
    Message(MessageError),
}

impl From<MessageError> for Misfit {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

/// Where a method below `Z309` has its version.
const fn version_place(method: Method) -> Option<usize> {
    use Method as M;
    match method {
        M::History | M::Verify => Some(1),
        M::ZeoVerify => Some(2),
        M::Storea | M::StoreBlobEnd => Some(3),
        M::StoreBlobShared => Some(4),
        _ => None,
    }
}

/// The arguments of a client below `Z309` as newer clients give them: without the version, which has to be empty.
pub(super) fn without_version<'a>(
    method: Method,
    args: RawArgs<'a>,
    limits: &Limits,
) -> Result<RawArgs<'a>, Misfit> {
    let Some(place) = version_place(method) else { return Ok(args) };
    let mut args = args.into_value(limits).map_err(MessageError::from)?;
    if let Value::Tuple(items) | Value::List(items) = &mut args {
        if place < items.len() {
            if !is_no_version(&items.remove(place)) {
                let is_value_error = method == Method::History;
                return Err(Misfit::Version(CallError::Version { is_value_error }));
            }
        } else if method != Method::ZeoVerify {
            let error = ShapeError { index: items.len(), expected: Expected::More };
            return Err(MessageError::Shape(error).into());
        }
    }
    Ok(RawArgs::Value(args))
}

fn is_no_version(version: &Value<'_>) -> bool {
    match version {
        Value::None => true,
        Value::Text(text) => text.is_empty(),
        other => other.as_bytes().is_some_and(<[u8]>::is_empty),
    }
}

/// Stands for a serial where the client does not know the data (`ConflictResolution.py:ResolvedSerial`, ZODB 4.4.5).
pub(super) const RESOLVED: &[u8] = b"rs";

impl Peer {
    /// What a client older than ZEO 5 may call.
    pub(super) fn allows_old(&self, method: Method) -> bool {
        use Method as M;
        if self.attached.is_none() {
            return matches!(method, M::Register | M::GetAuthProtocol);
        }
        match method {
            M::GetSerial
            | M::ZeoLoad
            | M::ModifiedInVersion
            | M::Versions
            | M::VersionEmpty
            | M::CommitVersion
            | M::AbortVersion => self.dialect.generation == Generation::Versions,
            M::AuthGetChallenge | M::AuthResponse | M::Ping | M::NewOid => false,
            other => !other.is_from_server(),
        }
    }

    /// Executes a call that ZEO 5 does not have, or has in another way; `None` if it is none of these.
    pub(super) fn execute_old(
        &mut self,
        call: &Call<'_>,
        session: &mut ServerSession,
    ) -> Result<Option<Reply<'static>>, CallError> {
        use Method as M;
        let has_versions = self.dialect.generation == Generation::Versions;
        let reply = match call {
            Call::Plain(M::GetAuthProtocol) => {
                let name = self.engine.scheme.as_ref().map(|scheme| scheme.name().to_owned());
                name.map_or(Reply::None, |name| Reply::Value(name.into()))
            }
            Call::Plain(M::GetInfo) => Reply::Value(self.old_info(session)?),
            Call::Plain(M::GetSizeInfo) => Reply::Value(size_info(self.attached()?.cursor.view())),
            // They could not undo what they see (`setup_delegation`).
            Call::UndoLog(_) | Call::UndoInfo(_) if session.dialect().version < Version::V310 => {
                Reply::Value(Value::Tuple(Vec::new()))
            }
            Call::Plain(M::GetExtensionMethods) => Reply::Value(self.extension_methods()?),
            Call::Plain(M::ServerStatus) => {
                Reply::Value(self.attached()?.served.status(&self.engine.reached).into_old_value())
            }
            Call::Verify(method, args) => {
                let is_current = self.is_current(args.oid, &args.serial)?;
                if *method == M::ZeoVerify && !self.is_verifying {
                    self.is_verifying = true;
                    self.attached()?.served.stats.verifying.add();
                }
                if !is_current {
                    let is_pair = has_versions || *method == M::ZeoVerify;
                    let args = InvalidateVerify { oid: args.oid, is_pair };
                    session
                        .notify(M::InvalidateVerify, &args)
                        .map_err(|EncodeError| CallError::Unencodable)?;
                }
                Reply::None
            }
            Call::Plain(M::EndZeoVerify) => {
                if std::mem::take(&mut self.is_verifying) {
                    self.attached()?.served.stats.verifying.subtract();
                }
                let nothing = Value::Tuple(Vec::new());
                session.notify(M::EndVerify, &nothing).map_err(|EncodeError| CallError::Unencodable)?;
                Reply::None
            }
            Call::Untyped(method, args) => {
                let (Value::Tuple(args) | Value::List(args)) = args else {
                    return Err(wrong(0, Expected::Sequence));
                };
                self.untyped(*method, args)?
            }
            Call::GetInvalidations(args) if has_versions => match self.get_invalidations(*args)? {
                Reply::Invalidations(found) => Reply::Value(Value::Tuple(vec![
                    found.tid.into(),
                    Value::List(found.oids.into_iter().map(pair).collect()),
                ])),
                other => other,
            },
            _ => return Ok(None),
        };
        Ok(Some(reply))
    }

    /// Calls whose arguments are as they came.
    fn untyped(&self, method: Method, args: &[Value<'_>]) -> Result<Reply<'static>, CallError> {
        use Method as M;
        let text = |text: &'static str| Reply::Value(text.into());
        let none = Value::None;
        Ok(match method {
            M::Load | M::LoadEx | M::ZeoLoad => {
                let (data, serial) = self.current_data(method, args)?;
                let mut items = vec![Value::Bytes(Cow::Owned(data)), serial.into()];
                match method {
                    M::ZeoLoad => items.extend(["".into(), none.clone(), none]),
                    M::LoadEx if self.dialect.generation == Generation::Versions => items.push("".into()),
                    _ => {}
                }
                Reply::Value(Value::Tuple(items))
            }
            M::GetSerial => Reply::Tid(self.current_data(method, args)?.1),
            M::ModifiedInVersion => text(""),
            M::Versions => Reply::Value(Value::Tuple(Vec::new())),
            M::VersionEmpty => Reply::Value(true.into()),
            M::AnswerToTheUltimateQuestion => Reply::Value(42_i64.into()),
            // `undo`, and what concerns versions that are not empty.
            _ => return Err(CallError::NotImplemented),
        })
    }

    /// The newest revision of the object that the arguments name; behind it they may have a version.
    fn current_data(&self, method: Method, args: &[Value<'_>]) -> Result<(Vec<u8>, Tid), CallError> {
        let (oid, version) = match args {
            [oid] => (oid, None),
            [oid, version] if matches!(method, Method::Load | Method::LoadEx) => (oid, Some(version)),
            [] => return Err(wrong(0, Expected::More)),
            _ => return Err(wrong(1, Expected::End)),
        };
        if version.is_some_and(|version| !is_no_version(version)) {
            return Err(CallError::Version { is_value_error: false });
        }
        let oid = oid.as_bytes().and_then(Oid::from_slice).ok_or_else(|| wrong(0, Expected::EightBytes))?;
        let Attached { served, cursor } = self.attached()?;
        served.stats.loads.add();
        let mut revision = LoadedRevision::default();
        if cursor.view().load_before(oid, Tid::MAX, &mut revision)? {
            return Ok((revision.data, revision.serial));
        }
        Err(StorageError::NoSuchObject(oid).into())
    }

    /// Whether what the client has of an object is the newest that there is.
    fn is_current(&self, oid: Oid, serial: &Value<'_>) -> Result<bool, CallError> {
        let current = self.attached()?.cursor.view().current(oid)?;
        let current = current.and_then(|Current { serial, is_deleted }| (!is_deleted).then_some(serial));
        let cached = serial.as_bytes().and_then(Tid::from_slice);
        Ok(current.is_some() && current == cached)
    }

    fn extension_methods(&self) -> Result<Value<'static>, CallError> {
        let schemes = self.engine.scheme.iter().flat_map(|scheme| scheme.methods());
        let mut methods: Vec<_> =
            schemes.map(|name| (Value::from((*name).to_owned()), Value::None)).collect();
        if self.attached()?.served.storage.features().python_class == "FileStorage" {
            // FileStorage.py:getExtensionMethods, ZODB 4.4.5.
            methods.push((Method::AnswerToTheUltimateQuestion.name().into(), Value::None));
        }
        Ok(Value::Dict(methods))
    }

    fn old_info(&self, session: &ServerSession) -> Result<Value<'static>, CallError> {
        let Attached { served, cursor } = self.attached()?;
        let Value::Dict(mut items) = served.info(cursor.view()) else { return Err(CallError::Unencodable) };
        let Some(at) = items.iter().position(|(key, _)| *key == "supportsUndo".into()) else {
            return Ok(Value::Dict(items));
        };
        if let Some((_, supports_undo)) = items.get_mut(at)
            && session.dialect().version < Version::V310
        {
            *supports_undo = false.into();
        }
        items.insert(at + 1, ("extensionMethods".into(), self.extension_methods()?));
        Ok(Value::Dict(items))
    }
}

const fn wrong(index: usize, expected: Expected) -> CallError {
    CallError::BadArguments(ShapeError { index, expected })
}

/// An oid with its version.
fn pair(oid: Oid) -> Value<'static> {
    Value::Tuple(vec![oid.into(), "".into()])
}

/// `invalidateVerify(oid)`, or `invalidateVerify((oid, ""))`.
struct InvalidateVerify {
    oid: Oid,
    is_pair: bool,
}

impl Body for InvalidateVerify {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| {
            if self.is_pair {
                out.tuple(2, |out| {
                    out.oid(self.oid);
                    out.text("");
                });
            } else {
                out.oid(self.oid);
            }
        });
        Ok(())
    }
}

/// Sends `serialnos`.
pub(super) fn send_serials(
    serials: Vec<(Oid, Value<'static>)>,
    session: &mut ServerSession,
) -> Result<(), Closing> {
    session.notify(Method::Serialnos, &Serials(serials)).map_err(|EncodeError| Closing::UnusableId)
}

struct Serials(Vec<(Oid, Value<'static>)>);

impl Body for Serials {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(1, |out| {
            out.list(self.0.iter(), |out, (oid, serial)| {
                out.tuple(2, |out| {
                    out.oid(*oid);
                    // In the form of the client's Python.
                    match serial {
                        Value::Bytes(serial) => out.bytes(serial),
                        other => result = result.and_then(|()| out.value(other)),
                    }
                });
            });
        });
        result
    }
}
