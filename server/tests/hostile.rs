//! Clients that want more than they may, in both framings: `guarantees.md` 2, points 26 to 28, and what iterators and
//! answers may cost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use support::{Client, TestServer, base64, begin};
use tempfile::TempDir;
use zeo_codec::call::{
    History, IteratorGc, IteratorNext, IteratorRecordStart, IteratorStart, Register, Storea, TxnId, UndoInfo,
    UndoLog, Undoa,
};
use zeo_codec::handshake::Protocol;
use zeo_codec::{Call, Flag, Method, MsgId, Oid, Tid, Value, write_message};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

const PROTOCOLS: [Protocol; 2] = [Protocol::Z5, Protocol::M5];
const READ_ONLY: &str = "ZODB.POSException.ReadOnlyError";
/// A pack time behind everything, in the year 2128.
const LATER: f64 = 5e9;

/// A server with everything that can be changed: a file, and blobs.
struct Served {
    server: TestServer,
    folder: TempDir,
}

impl Served {
    fn start(announced: Protocol, engine: EngineOptions) -> Self {
        Self::again(TempDir::new().unwrap(), announced, engine, false)
    }

    fn again(folder: TempDir, announced: Protocol, engine: EngineOptions, read_only: bool) -> Self {
        let options = FileStorageOptions { read_only, ..FileStorageOptions::default() };
        let file = FileStorage::open(folder.path().join("Data.fs"), options).unwrap();
        let blobs = BlobDirectory::open(
            &folder.path().join("blobs"),
            BlobDirectoryOptions { read_only, ..BlobDirectoryOptions::default() },
        );
        let storage = BlobStorage::new(Arc::new(file), blobs.unwrap()).unwrap();
        let connections = ConnectionOptions { announced, ..ConnectionOptions::default() };
        Self { server: TestServer::serving(Arc::new(storage), engine, connections), folder }
    }

    /// Ends the server and gives its files back.
    fn end(self) -> TempDir {
        let Self { server, folder } = self;
        drop(server);
        folder
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("Data.fs")
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Nothing has been changed, and nothing stays of what was tried.
    fn assert_untouched(&self, before: &[u8]) {
        assert_eq!(self.file(), before);
        assert_eq!(fs::read_dir(self.folder.path().join("blobs/tmp")).unwrap().count(), 0);
        for key in ["active_txns", "waiting", "stores", "commits"] {
            self.server.wait_for_status(key, 0);
        }
        assert_eq!(self.server.status("lock_time"), serde_json::Value::Null);
    }
}

/// Arguments that the method takes, for transaction 7 if it is about one.
fn arguments(method: Method) -> Value<'static> {
    use Method as M;
    let eight = || Value::Bytes(vec![0; 8].into());
    let data = || Value::Bytes(b"data"[..].into());
    let id = || Value::Int(7);
    let items = match method {
        M::Register => vec!["1".into(), Value::Bool(false)],
        M::TpcBegin => {
            let text = || Value::Bytes(b""[..].into());
            vec![id(), text(), text(), Value::Dict(vec![]), Value::None, " ".into()]
        }
        M::Storea => vec![eight(), eight(), data(), id()],
        M::Restorea => vec![eight(), eight(), data(), Value::None, id()],
        M::DeleteObject | M::CheckCurrentSerialInTransaction => vec![eight(), eight(), id()],
        M::Undoa => vec![Value::Bytes(b"AAAAAAAAAAA="[..].into()), id()],
        M::StoreBlobChunk => vec![data()],
        M::StoreBlobEnd => vec![eight(), eight(), data(), id()],
        M::StoreBlobShared => vec![eight(), eight(), data(), "x.tmp".into(), id()],
        M::Vote | M::TpcFinish | M::TpcAbort => vec![id()],
        M::LoadBefore | M::LoadSerial => vec![eight(), eight()],
        M::GetTid | M::GetInvalidations => vec![eight()],
        M::Pack => vec![Value::Float(LATER), Value::Bool(true)],
        M::SetClientLabel => vec!["label".into()],
        _ => vec![],
    };
    Value::Tuple(items)
}

/// Sends a call as no session would: any method, with or without an answer.
fn send(client: &mut Client, one_way: bool, name: &str, args: &Value<'_>) {
    let mut frame = Vec::new();
    let dialect = *client.session.dialect();
    write_message(&mut frame, &dialect, &MsgId::Int(1_000), Flag::Bool(one_way), name, args).unwrap();
    client.flush();
    client.stream.write_all(&frame).unwrap();
}

/// Makes a call that waits for its answer, whether clients do that or not.
fn ask(client: &mut Client, method: Method) -> String {
    client.call(&Call::Other { name: method.name().as_bytes().into(), args: arguments(method) })
}

#[test]
fn nothing_before_register_has_an_effect() {
    for announced in PROTOCOLS {
        let served = Served::start(announced, EngineOptions::default());
        let before = served.file();
        for method in Method::ALL.iter().filter(|method| **method != Method::Register) {
            for one_way in [false, true] {
                let mut client = served.server.connect();
                send(&mut client, one_way, method.name(), &arguments(*method));
                // What comes behind it is not looked at.
                send(&mut client, false, "register", &arguments(Method::Register));
                client.assert_closed(method.name());
            }
        }
        served.assert_untouched(&before);
        served.server.wait_for_status("connections", 0);
        served.server.register().commit(1, 1);
    }
}

/// Registers for reading only.
fn reader(server: &TestServer) -> Client {
    let mut client = server.connect();
    let register = Register { storage: "1".into(), read_only: Value::Bool(true), credentials: None };
    assert!(client.call(&Call::Register(register)).starts_with("Tid"));
    client
}

/// Whether a method changes something, or would.
fn is_change(method: Method) -> bool {
    method.is_transactional() || method == Method::NewOids
}

fn assert_only_reads(served: &Served, why: &str) {
    let before = served.file();
    let mut client = reader(&served.server);
    for method in Method::ALL.iter().copied().filter(|method| is_change(*method)) {
        let answer = ask(&mut client, method);
        // These name no transaction, and without one they do nothing; `storeBlobEnd` is what counts.
        let is_preparation = matches!(method, Method::StoreBlobStart | Method::StoreBlobChunk);
        assert_eq!(answer == READ_ONLY, !is_preparation, "{why}: {method} answered {answer}");
        if !method.is_only_asking() {
            let mut client = reader(&served.server);
            send(&mut client, true, method.name(), &arguments(method));
            if is_preparation {
                assert_eq!(client.plain(Method::Ping), "None", "{why}: {method}");
            } else {
                client.assert_closed(method.name());
            }
        }
    }
    // Python's servers have no such method, or one that raises.
    assert_eq!(ask(&mut client, Method::NewOid), "builtins.AttributeError");
    assert_eq!(client.plain(Method::Ping), "None");
    drop(client);
    let mut client = reader(&served.server);
    send(&mut client, false, "undo", &arguments(Method::Undoa));
    client.assert_closed("undo");
    assert_eq!(served.file(), before, "{why}");
    for key in ["active_txns", "waiting", "commits"] {
        served.server.wait_for_status(key, 0);
    }
}

/// Storages that are read-only themselves refuse packs, as FileStorage does (ZODB 6.4).
#[test]
fn who_may_only_read_changes_nothing() {
    for announced in PROTOCOLS {
        let served = Served::start(announced, EngineOptions::default());
        let mut writer = served.server.register();
        for (id, oid) in [(1, 0), (2, 1)] {
            writer.store(id, oid, Tid::ZERO, b"\x80\x03cmodule\nname\n.\x80\x03N.");
            assert_eq!(writer.transaction(Method::Vote, id), "Voted([])");
            assert!(writer.transaction(Method::TpcFinish, id).starts_with("Tid"));
        }
        drop(writer);
        let folder = served.end();

        let served = Served::again(folder, announced, EngineOptions::default(), false);
        assert_only_reads(&served, "client");
        let folder = served.end();

        let read_only = EngineOptions { read_only: true, ..EngineOptions::default() };
        let served = Served::again(folder, announced, read_only, false);
        assert_eq!(ask(&mut served.server.connect(), Method::Register), READ_ONLY);
        assert_only_reads(&served, "server");
        assert_eq!(ask(&mut reader(&served.server), Method::Pack), "None");
        // Nothing refers to object 1.
        assert_eq!(served.server.status("commits"), 0);
        let packed = served.file();
        let folder = served.end();

        let served = Served::again(folder, announced, EngineOptions::default(), true);
        assert_eq!(ask(&mut served.server.connect(), Method::Register), READ_ONLY);
        assert_only_reads(&served, "storage");
        assert_eq!(ask(&mut reader(&served.server), Method::Pack), READ_ONLY);
        assert_eq!(served.file(), packed);
    }
}

/// A transaction as it stands in a file at `pos`, which deletes object 1, and says that it is committed
/// (`fspack.py`, `format.py`, ZODB 6.4).
fn forged(tid: u64, pos: u64) -> Vec<u8> {
    let len: u64 = 23 + 42 + 8;
    let header = [&tid.to_be_bytes()[..], &len.to_be_bytes(), b" \0\0\0\0\0\0"].concat();
    let record = [1, tid, 0, pos].map(u64::to_be_bytes).concat();
    [&header[..], &record, &[0; 2 + 8 + 8], &len.to_be_bytes()].concat()
}

/// Where `needle` stands.
fn position(file: &[u8], needle: &[u8]) -> u64 {
    file.windows(needle.len()).position(|window| window == needle).unwrap() as u64
}

/// Neither bytes that mean nothing, nor positions in the file, nor transactions inside of a record: an id is looked up
/// as a tid among the transactions (`guarantees.md` 2, point 28).
#[test]
fn undo_ids_are_tids_and_nothing_else() {
    assert_eq!(base64(&[3; 8]), b"AwMDAwMDAwM=");
    for announced in PROTOCOLS {
        let served = Served::start(announced, EngineOptions::default());
        let mut client = served.server.register();
        client.commit(1, 1);
        let first = client.current(1).to_u64();
        // Between the first commit and the last one, as the clock goes.
        let forged_tid = first + 1;
        let forged_pos = position(&served.file(), &first.to_be_bytes()) + 1_000;
        let data = [vec![b'x'; 900], forged(forged_tid, forged_pos), forged(forged_tid, 4)].concat();
        client.store(2, 2, Tid::ZERO, &data);
        assert_eq!(client.transaction(Method::Vote, 2), "Voted([])");
        assert!(client.transaction(Method::TpcFinish, 2).starts_with("Tid"));
        client.commit(3, 3);
        let (second, third) = (client.current(2).to_u64(), client.current(3).to_u64());
        assert!(first < forged_tid && forged_tid < second);
        let file = served.file();
        let inner_pos = position(&file, &forged(forged_tid, forged_pos));

        const NO_SUCH: &str = "ZODB.POSException.UndoError";
        const NO_TID: &str = "builtins.AssertionError";
        const NO_BASE64: &str = "binascii.Error";
        let mut ids: Vec<(Vec<u8>, &str)> = [forged_tid, inner_pos, 4, 0, u64::MAX, third + 1, second - 1]
            .map(|number| (base64(&number.to_be_bytes()), NO_SUCH))
            .into();
        // As ZODB 3 named them: the tid and a position.
        ids.push((base64(&[first.to_be_bytes(), inner_pos.to_be_bytes()].concat()), NO_TID));
        ids.push((base64(&inner_pos.to_be_bytes()[2..]), NO_TID));
        ids.push((vec![], NO_TID));
        ids.push((b"AAAA".repeat(100_000), NO_TID));
        ids.push((first.to_be_bytes()[..0].to_vec(), NO_TID));
        ids.push((b"\0\xff \n=".repeat(10), NO_TID));
        ids.push((b"A".to_vec(), NO_BASE64));
        ids.push((base64(&first.to_be_bytes())[..11].to_vec(), NO_BASE64));
        for (undo_id, class) in ids {
            client.send(&begin(7));
            client.send(&Call::Undoa(Undoa { undo_id: undo_id.as_slice().into(), id: TxnId(7) }));
            let shown = String::from_utf8_lossy(&undo_id[..undo_id.len().min(50)]).into_owned();
            assert_eq!(client.transaction(Method::Vote, 7), class, "{shown:?}");
            assert_eq!(client.transaction(Method::TpcAbort, 7), "None");
        }
        // Of random bytes Python would say one of these three, too.
        let mut seed = 1_u64;
        for len in 0..200 {
            let random = |_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed.to_be_bytes()[0]
            };
            let undo_id: Vec<u8> = (0..len).map(random).collect();
            client.send(&begin(7));
            client.send(&Call::Undoa(Undoa { undo_id: undo_id.as_slice().into(), id: TxnId(7) }));
            let class = client.transaction(Method::Vote, 7);
            assert!([NO_SUCH, NO_TID, NO_BASE64].contains(&class.as_str()), "{undo_id:?}: {class}");
        }
        assert_eq!(served.file(), file);
        // The real one is found.
        client.send(&begin(8));
        let undo_id = base64(&third.to_be_bytes());
        client.send(&Call::Undoa(Undoa { undo_id: undo_id.as_slice().into(), id: TxnId(8) }));
        assert!(client.transaction(Method::Vote, 8).starts_with("Voted([Resolved("));
        assert!(client.transaction(Method::TpcFinish, 8).starts_with("Tid"));
        assert_eq!(client.current(3), Tid::ZERO);
        assert_eq!(served.server.status("active_txns"), 0);
    }
}

#[test]
fn iterators_are_bounded_and_come_back() {
    let served = Served::start(Protocol::M5, EngineOptions::default());
    let mut client = served.server.register();
    client.commit(1, 1);
    let tid = client.current(1);
    let start = Call::IteratorStart(IteratorStart { start: None, stop: None });
    for id in 0..999 {
        assert_eq!(client.call(&start), format!("IteratorId({id})"));
    }
    let next = Call::IteratorNext(Method::IteratorNext, IteratorNext { id: 0 });
    assert!(client.call(&next).starts_with("Transaction("));
    // Those over records count, too.
    let records = Call::IteratorRecordStart(IteratorRecordStart { id: 0, tid });
    assert_eq!(client.call(&records), "IteratorId(999)");
    for one_too_many in [&start, &records, &start] {
        assert_eq!(client.call(one_too_many), "ZODB.POSException.StorageError");
    }
    assert_eq!(client.call(&next), "None", "one ends with its last transaction");
    assert!(client.call(&start).starts_with("IteratorId("));
    assert_eq!(client.call(&start), "ZODB.POSException.StorageError");
    client.send(&Call::IteratorGc(IteratorGc { ids: vec![1, 2, 999, 5_000] }));
    for _ in 0..3 {
        assert!(client.call(&start).starts_with("IteratorId("));
    }
    assert_eq!(client.call(&start), "ZODB.POSException.StorageError");
    // Nobody else has less for it.
    assert_eq!(served.server.register().call(&start), "IteratorId(0)");
}

/// What is asked for may be all that a database has kept; a part of it would look like all.
#[test]
fn answers_that_would_be_too_large_are_errors() {
    const TOO_LARGE: &str = "ZODB.POSException.StorageError";
    for announced in PROTOCOLS {
        let options = EngineOptions { answer_bytes: 20_000, ..EngineOptions::default() };
        let served = Served::start(announced, options);
        let mut client = served.server.register();
        let mut serial = Tid::ZERO;
        for id in 1..=100 {
            client.send(&begin(id));
            let (data, oid) = (b"data"[..].into(), Oid::ZERO);
            client.send(&Call::Storea(Storea { oid, serial, data, id: TxnId(id) }));
            assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
            assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
            serial = client.current(0);
        }
        let history = |count| {
            let oid = Value::Bytes(vec![0; 8].into());
            Call::History(History { oid, size: Some(Value::Int(count)) })
        };
        let info = |last| Call::UndoInfo(UndoInfo { first: 0, last, specification: Value::None });
        let log = |last| Call::UndoLog(UndoLog { first: 0, last });
        for call in [history(100), history(1 << 40), log(-100), log(i64::MAX), info(-100), info(i64::MIN)] {
            assert_eq!(client.call(&call), TOO_LARGE, "{call:?}");
        }
        for call in [history(3), log(-3), info(3)] {
            assert_eq!(client.call(&call).matches("user_name").count(), 3);
        }
    }
}
