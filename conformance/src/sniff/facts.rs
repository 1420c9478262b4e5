//! What a message is about, in the terms that its methods share.

use zeo_codec::{
    Call, Conflict, Dialect, Envelope, ErrorShape, Generation, Limits, Method, MsgId, Oid, RawArgs,
    RemoteError, Reply, Tid, Value, VoteItem,
};

/// What a tid stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A transaction.
    Tid,
    /// The revision of an object.
    Serial,
    /// A bound: revisions older than it.
    Before,
    /// When a revision ended.
    End,
    /// The first of a range.
    Start,
    /// The last of a range.
    Stop,
}

impl Role {
    /// How it is called where messages are shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tid => "tid",
            Self::Serial => "serial",
            Self::Before => "before",
            Self::End => "end",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// The oids, tids and sizes in a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Its objects; of a reply, with those of its call in front.
    pub oids: Vec<Oid>,
    /// Its tids.
    pub tids: Vec<(Role, Tid)>,
    /// Length of the record, or of the part of a blob, in it.
    pub data_len: Option<usize>,
    /// The client's number for its transaction.
    pub txn: Option<u64>,
    /// Which storage a `register` asks for.
    pub storage: Option<String>,
    /// Class of the error in a reply.
    pub error: Option<String>,
    /// Objects whose conflict a `vote` has left to the client: it has not got the commit lock.
    pub conflict_count: usize,
    /// What is wrong with the arguments or the result, if they are not what the method needs.
    pub malformed: Option<String>,
}

impl Facts {
    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        let Self { oids, tids, data_len, txn, storage, error, conflict_count, malformed } = self;
        oids.clear();
        tids.clear();
        (*data_len, *txn, *storage, *error, *conflict_count, *malformed) = (None, None, None, None, 0, None);
    }

    fn tid(&mut self, role: Role, tid: Tid) {
        self.tids.push((role, tid));
    }

    /// Adds what is in a call.
    pub fn add_call(&mut self, method: Method, envelope: Envelope<'_>, dialect: &Dialect, limits: &Limits) {
        let args = envelope.args.clone();
        match Call::parse(method, envelope.args, limits) {
            Ok(call) => self.take_call(call),
            Err(error) => match args.into_value(limits) {
                Ok(Value::Tuple(args)) if dialect.generation == Generation::Versions => {
                    self.take_old_call(method, &args);
                }
                _ => self.malformed = Some(error.to_string()),
            },
        }
    }

    /// A call with a *version* argument (protocol reference 7.7): what is in front of that is as later.
    fn take_old_call(&mut self, method: Method, args: &[Value<'_>]) {
        let mut ids = args.iter().map_while(bytes);
        if method == Method::InvalidateTransaction {
            self.tids.extend(ids.next().and_then(Tid::from_slice).map(|tid| (Role::Tid, tid)));
            return;
        }
        self.oids.extend(ids.next().and_then(Oid::from_slice));
        self.tids.extend(ids.next().and_then(Tid::from_slice).map(|tid| (Role::Serial, tid)));
        if method == Method::Storea {
            self.data_len = args.get(2).and_then(bytes).map(<[u8]>::len);
        }
    }

    fn take_call(&mut self, call: Call<'_>) {
        match call {
            Call::Register(args) => self.storage = Some(args.storage.chars().take(64).collect()),
            Call::GetInvalidations(args) => self.tid(Role::Tid, args.tid),
            Call::LoadBefore(args) => {
                self.oids.push(args.oid);
                self.tid(Role::Before, args.before);
            }
            Call::LoadSerial(args) => self.revision(args.oid, args.serial),
            Call::GetTid(args) => self.oids.push(args.oid),
            Call::History(args) => self.oids.extend(oid(&args.oid)),
            Call::Verify(_, args) => self.oids.push(args.oid),
            Call::RecordIternext(args) => self.oids.extend(args.start),
            Call::IteratorStart(args) => {
                self.tids.extend(args.start.map(|tid| (Role::Start, tid)));
                self.tids.extend(args.stop.map(|tid| (Role::Stop, tid)));
            }
            Call::IteratorRecordStart(args) => self.tid(Role::Tid, args.tid),
            Call::TpcBegin(args) => {
                self.txn = Some(args.id.0);
                self.tids.extend(args.tid.map(|tid| (Role::Tid, tid)));
            }
            Call::Storea(args) => {
                self.revision(args.oid, args.serial);
                (self.data_len, self.txn) = (Some(args.data.len()), Some(args.id.0));
            }
            Call::Restorea(args) => {
                self.revision(args.oid, args.serial);
                (self.data_len, self.txn) = (args.data.map(|data| data.len()), Some(args.id.0));
            }
            Call::DeleteObject(args) => {
                self.revision(args.oid, args.serial);
                self.txn = Some(args.id.0);
            }
            Call::CheckCurrentSerial(args) => {
                self.revision(args.oid, args.serial);
                self.txn = Some(args.id.0);
            }
            Call::Undoa(args) => {
                self.tids.extend(Tid::from_slice(&args.undo_id).map(|tid| (Role::Tid, tid)));
                self.txn = Some(args.id.0);
            }
            Call::Transaction(_, args) => self.txn = Some(args.id.0),
            Call::StoreBlobChunk(args) => self.data_len = Some(args.chunk.len()),
            Call::StoreBlobEnd(args) => {
                self.revision(args.oid, args.serial);
                (self.data_len, self.txn) = (Some(args.data.len()), Some(args.id.0));
            }
            Call::StoreBlobShared(args) => {
                self.revision(args.oid, args.serial);
                (self.data_len, self.txn) = (Some(args.data.len()), Some(args.id.0));
            }
            Call::SendBlob(args) => self.revision(args.oid, args.serial),
            Call::InvalidateTransaction(args) => {
                self.tid(Role::Tid, args.tid);
                self.oids.extend(args.oids);
            }
            Call::ReceiveBlobStart(args) => self.revision(args.oid, args.serial),
            Call::ReceiveBlobChunk(args) => {
                self.revision(args.oid, args.serial);
                self.data_len = Some(args.chunk.len());
            }
            Call::ReceiveBlobStop(args) => self.revision(args.oid, args.serial),
            // ZEO 4's, whose first argument is the object.
            Call::Untyped(Method::Load | Method::LoadEx, Value::Tuple(args)) => {
                self.oids.extend(args.first().and_then(oid));
            }
            // Nothing here that is a name of anything, or nothing that we know.
            _ => {}
        }
    }

    fn revision(&mut self, oid: Oid, serial: Tid) {
        self.oids.push(oid);
        self.tid(Role::Serial, serial);
    }

    /// Adds what is in a reply.
    pub fn add_reply(
        &mut self,
        method: Option<Method>,
        envelope: Envelope<'_>,
        dialect: &Dialect,
        limits: &Limits,
    ) {
        if let MsgId::Load(oid, _) = envelope.id
            && !self.oids.contains(&oid)
        {
            self.oids.push(oid);
        }
        let parsed = match dialect.errors {
            ErrorShape::ByName if envelope.flag.is_set() => {
                RemoteError::parse(envelope.args, limits).map(|error| self.take_error(&error))
            }
            ErrorShape::ByName => {
                Reply::parse(method, envelope.args, limits).map(|reply| self.take_reply(method, reply))
            }
            // In ZEO 4 only the value tells an error from a result.
            ErrorShape::ByValue => match envelope.args.into_value(limits) {
                Err(error) => Err(error.into()),
                Ok(value) => match RemoteError::from_zeo4(&value) {
                    Some(error) => {
                        self.take_error(&error);
                        Ok(())
                    }
                    None => Reply::parse(method, RawArgs::Value(value), limits)
                        .map(|reply| self.take_reply(method, reply)),
                },
            },
        };
        if let Err(error) = parsed {
            self.malformed = Some(error.to_string());
        }
    }

    fn take_error(&mut self, error: &RemoteError<'_>) {
        self.error = Some(error.class.chars().filter(|c| !c.is_control()).take(100).collect());
    }

    fn take_reply(&mut self, method: Option<Method>, reply: Reply<'_>) {
        match reply {
            Reply::Tid(tid) if method == Some(Method::GetTid) => self.tid(Role::Serial, tid),
            Reply::Tid(tid) => self.tid(Role::Tid, tid),
            Reply::Loaded(loaded) => {
                self.tid(Role::Serial, loaded.serial);
                self.tids.extend(loaded.end.map(|tid| (Role::End, tid)));
                self.data_len = Some(loaded.data.len());
            }
            Reply::Data(data) => self.data_len = Some(data.len()),
            Reply::Invalidations(invalidations) => {
                self.tid(Role::Tid, invalidations.tid);
                self.oids.extend(invalidations.oids);
            }
            Reply::Oids(oids) => self.oids.extend(oids),
            Reply::Voted(items) => {
                for item in items {
                    match item {
                        VoteItem::Resolved(oid) => self.oids.push(oid),
                        VoteItem::Conflict(Conflict { oid, committed, .. }) => {
                            self.revision(oid, committed);
                            self.conflict_count += 1;
                        }
                    }
                }
            }
            Reply::Transaction(transaction) => self.tid(Role::Tid, transaction.tid),
            Reply::Record(record) => {
                self.oids.push(record.oid);
                self.tid(Role::Tid, record.tid);
                self.data_len = record.data.map(|data| data.len());
            }
            Reply::CurrentRecord(record) => {
                self.revision(record.oid, record.serial);
                self.data_len = Some(record.data.len());
            }
            // Dicts for people; a number of an iterator; nothing; what came after this was written.
            _ => {}
        }
    }
}

fn bytes<'v>(value: &'v Value<'_>) -> Option<&'v [u8]> {
    match value {
        Value::Bytes(bytes) | Value::Native(bytes) => Some(bytes),
        _ => None,
    }
}

fn oid(value: &Value<'_>) -> Option<Oid> {
    Oid::from_slice(bytes(value)?)
}
