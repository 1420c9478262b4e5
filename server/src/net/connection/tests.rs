//! Time: how long a connection waits, and for what. Simulated, so that minutes pass at once and exactly.
//!
//! The clock stands still while any task has something to do, and jumps to the next deadline when none has.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing_subscriber::layer::SubscriberExt;
use zeo_codec::call::{LoadBefore, Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::session::{ClientEvent, ClientReply, ClientSession};
use zeo_codec::{Call, Method, Oid, Tid, Value};

use super::*;
use crate::engine::EngineOptions;
use crate::limits::Limit;
use crate::net::gates::Gates;
use crate::storage::memory::MemoryStorage;

/// Bytes that are under way between a client and the server at most.
const PIPE_LEN: usize = 1024;
/// More than fits into the pipe.
const LARGE_LEN: usize = 10 * PIPE_LEN;
const LARGE: Oid = Oid::from_u64(1);

fn engine(options: EngineOptions) -> Arc<Engine> {
    Engine::new([("1".to_owned(), Arc::new(MemoryStorage::new("test")) as _)], options, "now").unwrap()
}

fn status(engine: &Engine, key: &str) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&engine.ruok()).unwrap();
    all["1"][key].clone()
}

/// Which limits were reached, one time each.
fn assert_reached(engine: &Engine, limits: &[Limit]) {
    let expected: Vec<_> = limits.iter().map(|limit| (*limit, 1)).collect();
    assert_eq!(engine.reached().all().collect::<Vec<_>>(), expected);
}

/// Everything that is to be released when a connection ends.
fn assert_nothing_is_left(engine: &Engine) {
    assert_eq!(status(engine, "connections"), 0);
    assert_eq!(status(engine, "active_txns"), 0);
    assert_eq!(status(engine, "waiting"), 0);
    assert_eq!(status(engine, "lock_time"), serde_json::Value::Null);
}

/// A client and the server's task for it.
struct Client {
    stream: DuplexStream,
    session: ClientSession,
    server: JoinHandle<Result<(), End>>,
}

impl Client {
    fn connect(engine: &Arc<Engine>, options: ConnectionOptions) -> Self {
        let (stream, far_end) = duplex(PIPE_LEN);
        let connection =
            Connection::new(far_end, "client".to_owned(), Arc::clone(engine), options, Gates::new(&options));
        let server = tokio::spawn(async move { connection.run().await });
        Self { stream, session: ClientSession::new(Limits::DEFAULT), server }
    }

    async fn registered(engine: &Arc<Engine>, options: ConnectionOptions) -> Self {
        let mut client = Self::connect(engine, options);
        while !matches!(client.next_event().await, ClientEvent::Connected(_)) {}
        client.call(&register()).await;
        client
    }

    async fn next_event(&mut self) -> ClientEvent {
        loop {
            self.flush().await;
            if let Some(event) = self.session.poll_event().unwrap() {
                return event;
            }
            let mut bytes = vec![0; PIPE_LEN];
            let len = self.stream.read(&mut bytes).await.unwrap();
            assert_ne!(len, 0, "the server hung up");
            self.session.receive(&bytes[..len]);
        }
    }

    async fn flush(&mut self) {
        let output = self.session.output().to_vec();
        self.stream.write_all(&output).await.unwrap();
        self.session.consume_output(output.len());
    }

    /// Makes a call without reading anything.
    async fn send(&mut self, call: &Call<'_>) {
        self.session.call(call).unwrap();
        self.flush().await;
    }

    async fn call(&mut self, call: &Call<'_>) -> ClientReply {
        self.send(call).await;
        loop {
            if let ClientEvent::Reply(reply) = self.next_event().await {
                return reply;
            }
        }
    }

    /// Asks for more than fits into the pipe, and does not read it.
    async fn get_stuck(&mut self) {
        self.send(&Call::LoadBefore(LoadBefore { oid: LARGE, before: Tid::MAX })).await;
    }

    /// Why the server ends the connection, and after which time.
    async fn end(self) -> (String, Duration) {
        let since = Instant::now();
        let ended =
            timeout(Duration::from_secs(86_400), self.server).await.expect("the server never ends it");
        (ended.unwrap().unwrap_err().to_string(), since.elapsed())
    }
}

fn register() -> Call<'static> {
    Call::Register(Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None })
}

/// Begins a transaction that stores `data` and votes.
fn until_vote(id: u64, oid: Oid, data: &[u8]) -> [Call<'_>; 3] {
    let id = TxnId(id);
    let begin = TpcBegin {
        id,
        user: Value::Bytes(b""[..].into()),
        description: Value::Bytes(b""[..].into()),
        extension: Value::Dict(vec![]),
        tid: None,
        status: " ".into(),
    };
    [
        Call::TpcBegin(begin),
        Call::Storea(Storea { oid, serial: Tid::ZERO, data: data.into(), id }),
        Call::Transaction(Method::Vote, TransactionRef { id }),
    ]
}

/// Commits one new object, by a peer without a connection: simulated time knows one thread only, and commits want
/// another one.
fn commit(engine: &Arc<Engine>, oid: Oid, data: &[u8]) {
    let mut peer = engine.connect("committer".to_owned(), Box::new(|| {}));
    let mut server = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
    let mut client = ClientSession::new(Limits::DEFAULT);
    let finish = Call::Transaction(Method::TpcFinish, TransactionRef { id: TxnId(1) });
    let calls = std::iter::once(register()).chain(until_vote(1, oid, data)).chain([finish]);
    client.receive(server.output());
    while client.poll_event().unwrap().is_some() {}
    calls.for_each(|call| drop(client.call(&call).unwrap()));
    server.receive(client.output());
    while let Some(event) = server.poll_event().unwrap() {
        let ServerEvent::Message(message) = event else { continue };
        assert_eq!(peer.on_message(&message, &mut server).unwrap(), Flow::Done);
    }
    let before = status(engine, "commits").as_u64().unwrap();
    let Some(Job::Commit(job)) = peer.take_job() else { panic!("no commit") };
    job.run();
    assert_eq!(status(engine, "commits"), before + 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_greet_and_register_is_expelled_and_nobody_else() {
    let engine = engine(EngineOptions::default());
    let options = ConnectionOptions::default();
    let mut guest = Client::registered(&engine, options).await;
    let silent: Vec<Client> = (0..1_000).map(|_| Client::connect(&engine, options)).collect();
    let mut greeted = Client::connect(&engine, options);
    greeted.stream.write_all(b"\0\0\0\x02Z5").await.unwrap();
    // One byte a second: always busy, never done.
    let mut slow = Client::connect(&engine, options);
    let mut session = ClientSession::new(Limits::DEFAULT);
    session.receive(b"\0\0\0\x02Z5");
    while session.poll_event().unwrap().is_some() {}
    session.call(&register()).unwrap();
    let request = session.output();
    assert!(request.len() > 30, "long enough to be late: {}", request.len());
    for byte in request.iter().take(29) {
        slow.stream.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        guest.call(&Call::Plain(Method::Ping)).await;
    }
    let left = Duration::from_secs(1);
    assert_eq!(slow.end().await, ("no registration in time".to_owned(), left));
    assert_eq!(greeted.end().await.0, "no registration in time");
    for client in silent {
        assert_eq!(client.end().await, ("no handshake in time".to_owned(), Duration::ZERO));
    }
    assert_eq!(status(&engine, "connections"), 1);
    // Who has registered may take its time.
    sleep(Duration::from_secs(86_400)).await;
    guest.call(&Call::Plain(Method::Ping)).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_expelled() {
    let engine = engine(EngineOptions::default());
    commit(&engine, LARGE, &[0; LARGE_LEN]);
    let options = ConnectionOptions::default();
    let mut client = Client::registered(&engine, options).await;
    client.get_stuck().await;
    // Reading a little is reading: the clock starts again.
    sleep(options.write_timeout - Duration::from_secs(1)).await;
    client.stream.read_exact(&mut [0; 10]).await.unwrap();
    assert_eq!(client.end().await, ("the client reads nothing".to_owned(), options.write_timeout));
    assert_nothing_is_left(&engine);
    assert_reached(&engine, &[Limit::Unread]);
}

/// While its output is stuck a client is not read, so whatever it does next goes unseen: only time tells.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_while_others_wait_is_expelled_sooner() {
    let engine = engine(EngineOptions::default());
    commit(&engine, LARGE, &[0; LARGE_LEN]);
    let options = ConnectionOptions::default();
    assert!(options.holder_write_timeout < options.write_timeout);
    let mut holder = Client::registered(&engine, options).await;
    for call in until_vote(2, Oid::from_u64(2), b"data") {
        holder.send(&call).await;
    }
    holder.get_stuck().await;
    let mut next = Client::registered(&engine, options).await;
    for call in until_vote(2, Oid::from_u64(3), b"data") {
        next.send(&call).await;
    }
    sleep(options.holder_write_timeout - Duration::from_secs(1)).await;
    assert_eq!(status(&engine, "waiting"), 1);
    assert_eq!(holder.end().await, ("the client reads nothing".to_owned(), Duration::from_secs(1)));
    assert_reached(&engine, &[Limit::HolderUnread]);
    assert!(
        matches!(next.next_event().await, ClientEvent::Reply(reply) if reply.method == Some(Method::Vote))
    );
}

/// Nothing is written for it meanwhile: what it costs are the commits themselves, and there is a limit on these.
#[tokio::test(start_paused = true)]
async fn who_leaves_too_many_commits_unread_is_expelled() {
    let engine = engine(EngineOptions { unread_commit_count: 3, ..EngineOptions::default() });
    commit(&engine, LARGE, &[0; LARGE_LEN]);
    let options = ConnectionOptions::default();
    let mut reader = Client::registered(&engine, options).await;
    let mut client = Client::registered(&engine, options).await;
    client.get_stuck().await;
    for number in 1..=4 {
        sleep(Duration::from_secs(1)).await;
        assert!(!client.server.is_finished(), "expelled with {} commits left unread", number - 1);
        commit(&engine, Oid::from_u64(1 + number), b"data");
    }
    assert_eq!(client.end().await, ("4 commits left unread".to_owned(), Duration::ZERO));
    assert_reached(&engine, &[Limit::UnreadCommits]);
    // The others have seen all of them, though they did not look either.
    for _ in 0..4 {
        assert!(matches!(reader.next_event().await, ClientEvent::Call(_)));
    }
    assert_eq!(status(&engine, "connections"), 1);
}

/// Large commits count more than small ones, but for a single one, which may be larger than everything allowed.
#[tokio::test(start_paused = true)]
async fn who_leaves_too_many_objects_unread_is_expelled() {
    let engine = engine(EngineOptions { unread_oid_count: 2, ..EngineOptions::default() });
    commit(&engine, LARGE, &[0; LARGE_LEN]);
    let mut client = Client::registered(&engine, ConnectionOptions::default()).await;
    client.get_stuck().await;
    for number in 1..=3 {
        sleep(Duration::from_secs(1)).await;
        assert!(!client.server.is_finished(), "expelled with {} objects left unread", number - 1);
        commit(&engine, Oid::from_u64(1 + number), b"data");
    }
    assert_eq!(client.end().await.0, "commits with 3 objects left unread");
    assert_reached(&engine, &[Limit::UnreadObjects]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_keeps_no_room_of_large_messages() {
    let (stream, far_end) = duplex(PIPE_LEN);
    let connection = Connection::new(
        far_end,
        "client".to_owned(),
        engine(EngineOptions::default()),
        ConnectionOptions::default(),
        Gates::new(&ConnectionOptions::default()),
    );
    let serving = Arc::clone(&connection);
    let server = tokio::spawn(async move { serving.run().await });
    let mut client = Client { stream, session: ClientSession::new(Limits::DEFAULT), server };
    while !matches!(client.next_event().await, ClientEvent::Connected(_)) {}
    client.call(&register()).await;
    let data = vec![0; 4 * READ_LEN_KEPT];
    let [begin, store, vote] = until_vote(1, LARGE, &data);
    for call in [begin, store] {
        client.send(&call).await;
    }
    client.call(&vote).await;
    client.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id: TxnId(1) })).await;
    client.call(&Call::Plain(Method::Ping)).await;
    let kept_len = connection.core().session.receive_buffer().capacity();
    assert!(kept_len <= READ_LEN_KEPT, "{kept_len} bytes");
}

/// A client with room for everything that is said.
async fn talkative(engine: &Arc<Engine>) -> (Client, Arc<AtomicUsize>) {
    let (stream, far_end) = duplex(16 << 20);
    let (far_end, read_len) = Counting::new(far_end);
    let options = ConnectionOptions::default();
    let gates = Gates::new(&options);
    let connection = Connection::new(far_end, "client".to_owned(), Arc::clone(engine), options, gates);
    let server = tokio::spawn(async move { connection.run().await });
    let mut client = Client { stream, session: ClientSession::new(Limits::DEFAULT), server };
    while !matches!(client.next_event().await, ClientEvent::Connected(_)) {}
    client.call(&register()).await;
    (client, read_len)
}

/// A stream that counts the bytes that are read from it.
struct Counting {
    stream: DuplexStream,
    read_len: Arc<AtomicUsize>,
}

impl Counting {
    fn new(stream: DuplexStream) -> (Self, Arc<AtomicUsize>) {
        let read_len = Arc::<AtomicUsize>::default();
        (Self { stream, read_len: Arc::clone(&read_len) }, read_len)
    }
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read_len.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Makes so many calls at once, and tells how many are answered before another task has its turn. The others are answered
/// all the same.
async fn answered_in_a_turn(client: Client, call_count: usize, call: &Call<'_>) -> usize {
    let mut client = client;
    for _ in 0..call_count {
        client.session.call(call).unwrap();
    }
    client.flush().await;
    // There is one thread: the server has its turn now, and then this task.
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 16 << 20];
        let len = client.stream.read(&mut bytes).await.unwrap();
        client.session.receive(&bytes[..len]);
        client
    });
    let mut client = reading.await.unwrap();
    let mut reply_count = 0;
    while client.session.poll_event().unwrap().is_some() {
        reply_count += 1;
    }
    for _ in reply_count..call_count {
        client.next_event().await;
    }
    reply_count
}

#[tokio::test]
async fn a_client_that_asks_without_pause_lets_others_have_their_turn() {
    let (client, _) = talkative(&engine(EngineOptions::default())).await;
    let reply_count = answered_in_a_turn(client, 5_000, &Call::Plain(Method::Ping)).await;
    assert!((1..=TURN_LEN).contains(&reply_count), "{reply_count} replies");
}

#[tokio::test]
async fn a_client_that_asks_for_much_lets_others_have_their_turn() {
    const LEN: usize = 128 << 10;
    let engine = engine(EngineOptions::default());
    commit(&engine, LARGE, &[0; LEN]);
    let (client, _) = talkative(&engine).await;
    let load = Call::LoadBefore(LoadBefore { oid: LARGE, before: Tid::MAX });
    let reply_count = answered_in_a_turn(client, 40, &load).await;
    assert!((1..=TURN_LEN * PIECE_LEN / LEN + 1).contains(&reply_count), "{reply_count} replies");
}

#[tokio::test]
async fn a_client_that_sends_much_lets_others_have_their_turn() {
    const COUNT: usize = 8;
    let (mut client, read_len) = talkative(&engine(EngineOptions::default())).await;
    let data = vec![0; 1 << 20];
    let [begin, store, vote] = until_vote(1, LARGE, &data);
    client.session.call(&begin).unwrap();
    for _ in 0..COUNT {
        client.session.call(&store).unwrap();
    }
    let before = read_len.load(Ordering::Relaxed);
    client.flush().await;
    // As above.
    let counting = Arc::clone(&read_len);
    let counted = tokio::spawn(async move { counting.load(Ordering::Relaxed) });
    let turn_len = counted.await.unwrap() - before;
    assert!((1..=TURN_LEN * PIECE_LEN + 2 * data.len()).contains(&turn_len), "{turn_len} bytes");
    client.call(&vote).await;
    assert!(read_len.load(Ordering::Relaxed) - before > COUNT * data.len());
}

/// A commit lock may be held for a minute, by whoever has it, counted from when it was got.
#[tokio::test(start_paused = true)]
async fn the_clock_of_the_commit_lock_starts_with_the_lock_and_ends_with_it() {
    let limit = Duration::from_secs(60);
    let engine = engine(EngineOptions { transaction_timeout: Some(limit), ..EngineOptions::default() });
    let options = ConnectionOptions::default();
    let mut first = Client::registered(&engine, options).await;
    let mut second = Client::registered(&engine, options).await;
    for call in until_vote(1, LARGE, b"data") {
        first.send(&call).await;
    }
    while !matches!(first.next_event().await, ClientEvent::Reply(_)) {}
    for call in until_vote(1, LARGE, b"data") {
        second.send(&call).await;
    }
    // It waits in the queue for longer than the limit would allow it to hold the lock after that.
    sleep(Duration::from_secs(50)).await;
    assert_eq!(status(&engine, "waiting"), 1);
    let aborted = first.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id: TxnId(1) })).await;
    assert_eq!(aborted.method, Some(Method::TpcAbort));
    while !matches!(second.next_event().await, ClientEvent::Reply(_)) {}
    let (why, after) = second.end().await;
    assert_eq!((why.as_str(), after), ("Transaction timeout after 60 seconds", limit));
    assert_reached(&engine, &[Limit::Transaction]);
    // The first one has nothing any more that could be taken from it.
    sleep(Duration::from_secs(600)).await;
    assert!(!first.server.is_finished());
}

/// `guarantees.md` 2, point 21. Simulated time passes, and the time of day does not: it has been put back.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_put_back_is_told_to_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zeo.log");
    let (layer, _) = crate::logging::open(&crate::logging::LogConfig::to_file(&path)).unwrap();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let engine = engine(EngineOptions::default());
    let mut client = Client::registered(&engine, ConnectionOptions::default()).await;
    for id in 1..=3 {
        for call in until_vote(id, LARGE, b"data") {
            client.send(&call).await;
        }
        while !matches!(client.next_event().await, ClientEvent::Reply(_)) {}
        client.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id: TxnId(id) })).await;
        // Only once.
        sleep(Duration::from_secs(if id == 1 { 86_400 } else { 0 })).await;
    }
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("clock")).collect();
    let [line] = lines.as_slice() else { panic!("{log}") };
    assert!(line.contains("WARNING ZEO.StorageServer ('1') the clock was put back by 8"), "{line}");
}

/// The two tasks of a connection wait for each other, and one of them may wait for a disk. That must not keep the
/// thread on which others are served; here it is the only one.
#[test]
fn who_waits_for_the_other_task_keeps_no_other_connection() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (_near, far) = duplex(PIPE_LEN);
    let connection = Connection::new(
        far,
        "client".to_owned(),
        engine(EngineOptions::default()),
        ConnectionOptions::default(),
        Gates::new(&ConnectionOptions::default()),
    );
    let held = connection.core.lock().unwrap();
    let (started, is_started) = std::sync::mpsc::channel();
    let waiting = runtime.spawn({
        let connection = Arc::clone(&connection);
        async move {
            started.send(()).unwrap();
            drop(connection.core());
        }
    });
    is_started.recv().unwrap();
    let (served, is_served) = std::sync::mpsc::channel();
    let _other = runtime.spawn(async move { served.send(()).unwrap() });
    is_served.recv_timeout(Duration::from_secs(10)).expect("another connection has to wait");
    drop(held);
    runtime.block_on(waiting).unwrap();
}
