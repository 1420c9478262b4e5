//! C7: the connection is lost in the middle of `tpc_finish`, before or after the server has done it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use zeo_client::{Begun, Client, Error, Fate, LostCommit, Metadata, Oid, Tid, Transaction, Value};

use crate::world::{Result, World, at, builder, commit_all, record, run};

/// Lets all through.
const OPEN: u8 = 0;
/// Hangs up on the next word of the client, which the server does not hear.
const CUT_CALL: u8 = 1;
/// Lets the client speak, and hangs up on what the server answers.
const CUT_ANSWER: u8 = 2;
/// Hangs up on the next word of the client, which the server hears when this is over.
const HOLD_CALL: u8 = 3;
/// While a word is held.
const HELD: u8 = 4;

/// Stands between a client and a server.
struct Proxy {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let mode = Arc::new(AtomicU8::new(OPEN));
        let modes = Arc::clone(&mode);
        // It ends with the process, or with the server.
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = TcpStream::connect(server) else { return };
                let [both, back] = [(&client, &server), (&server, &client)]
                    .map(|(from, to)| from.try_clone().and_then(|from| Ok((from, to.try_clone()?))));
                let (Ok((from, to)), Ok((answer_from, answer_to))) = (both, back) else { return };
                let (modes, answer_modes) = (Arc::clone(&modes), Arc::clone(&modes));
                std::thread::spawn(move || pass(from, to, &modes, CUT_CALL));
                std::thread::spawn(move || pass(answer_from, answer_to, &answer_modes, CUT_ANSWER));
            }
        });
        Ok(Self { address, mode })
    }
}

/// Passes on what is said, until the mode is `cut`.
fn pass(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8, cut: u8) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if cut == CUT_CALL
            && mode.compare_exchange(HOLD_CALL, HELD, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            let _ = from.shutdown(Shutdown::Both);
            while mode.load(Ordering::SeqCst) == HELD {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let _ = to.write_all(&buffer[..len]);
            break;
        }
        if mode.compare_exchange(cut, OPEN, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            break;
        }
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Changes objects, and loses the connection in the middle of the commit.
async fn lose(client: &Client, objects: &[(Oid, Tid)], proxy: &Proxy, mode: u8) -> Result<LostCommit> {
    let mut transaction = client.begin(Metadata::new("rust", "to be lost")).await?;
    for (oid, serial) in objects {
        transaction.store(*oid, *serial, record("lost")).await?;
    }
    lose_begun(transaction, proxy, mode).await
}

/// Votes, and loses the connection in the middle of the commit.
async fn lose_begun(transaction: Transaction<Begun>, proxy: &Proxy, mode: u8) -> Result<LostCommit> {
    let transaction = transaction.vote().await?;
    proxy.mode.store(mode, Ordering::SeqCst);
    match transaction.finish().await {
        Err(Error::OutcomeUnknown(lost)) => Ok(*lost),
        other => Err(format!("{other:?}").into()),
    }
}

pub(crate) fn fate(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let proxy = Proxy::start(server.address())?;
    run(async {
        let client = at(proxy.address.into()).connect().await?;
        let other = builder(&server).connect().await?;
        let (one, two) = (client.new_oid().await?, client.new_oid().await?);
        let first = commit_all(&client, &[(one, Tid::ZERO, "first"), (two, Tid::ZERO, "first")]).await?;

        let lost = lose(&client, &[(one, first), (two, first)], &proxy, CUT_CALL).await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::NotCommitted);
        assert_eq!(other.tid_of(one).await?, first);

        let lost = lose(&client, &[(one, first), (two, first)], &proxy, CUT_ANSWER).await?;
        let Fate::Committed(tid) = client.fate_of(&lost).await? else { return Err("not committed".into()) };
        assert_eq!((other.tid_of(one).await?, other.tid_of(two).await?), (tid, tid));
        // It is found below what has been committed since.
        let newer = commit_all(&other, &[(one, tid, "newer")]).await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::Committed(tid));

        // New objects: there is nothing.
        let three = client.new_oid().await?;
        let lost = lose(&client, &[(three, Tid::ZERO), (two, tid)], &proxy, CUT_CALL).await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::NotCommitted);

        // The same bytes in another transaction, of one of the objects only.
        let lost = lose(&client, &[(one, newer), (two, tid)], &proxy, CUT_CALL).await?;
        commit_all(&other, &[(one, newer, "lost")]).await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::NotCommitted);
        // The commit lock is free.
        commit_all(&other, &[(two, tid, "free")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// What is left behind looks like nothing: deleted since, or by it, undone, packed away, copied.
pub(crate) fn hidden_fate(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let proxy = Proxy::start(server.address())?;
    run(async {
        let client = at(proxy.address.into()).connect().await?;
        let other = builder(&server).connect().await?;
        let [one, two, three] = [client.new_oid().await?, client.new_oid().await?, client.new_oid().await?];
        let first = commit_all(&client, &[(one, Tid::ZERO, "first"), (two, Tid::ZERO, "first")]).await?;

        // One object is stored, the other one deleted.
        let begin = || client.begin(Metadata::new("rust", "to be lost"));
        let mut transaction = begin().await?;
        transaction.store(one, first, record("beside a deletion")).await?;
        transaction.delete(two, first).await?;
        let lost = lose_begun(transaction, &proxy, CUT_ANSWER).await?;
        let serial = other.tid_of(one).await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::Committed(serial));

        // A new object, which somebody deletes at once.
        let lost = lose(&client, &[(three, Tid::ZERO)], &proxy, CUT_ANSWER).await?;
        let created = other.tid_of(three).await?;
        let mut transaction = other.begin(Metadata::default()).await?;
        transaction.delete(three, created).await?;
        transaction.vote().await?.finish().await?;
        assert_eq!(client.fate_of(&lost).await?, Fate::Committed(created));

        // Nothing but an undo, nothing but a deletion; made, and not made.
        let four = client.new_oid().await?;
        let created = commit_all(&client, &[(four, Tid::ZERO, "first")]).await?;
        let mut serial = commit_all(&client, &[(four, created, "second")]).await?;
        for mode in [CUT_CALL, CUT_ANSWER] {
            let undo_id = other.undo_log(0, 1).await?.remove(0).id;
            let mut transaction = begin().await?;
            transaction.undo(&undo_id).await?;
            let lost = lose_begun(transaction, &proxy, mode).await?;
            let fate = client.fate_of(&lost).await?;
            let before = std::mem::replace(&mut serial, other.tid_of(four).await?);
            let is_made = serial != before;
            assert_eq!(fate, if is_made { Fate::Committed(serial) } else { Fate::NotCommitted });
            assert_eq!(is_made, mode == CUT_ANSWER);
        }
        for mode in [CUT_CALL, CUT_ANSWER] {
            let mut transaction = begin().await?;
            transaction.delete(four, serial).await?;
            let lost = lose_begun(transaction, &proxy, mode).await?;
            let fate = client.fate_of(&lost).await?;
            let is_gone = other.tid_of(four).await.is_err();
            assert_eq!(matches!(fate, Fate::Committed(_)), is_gone, "{fate:?}");
            assert_eq!(is_gone, mode == CUT_ANSWER);
        }

        // A copy has a tid of its own.
        let after = Tid::from_u64(other.tid_of(one).await?.to_u64() + (1 << 36));
        for mode in [CUT_CALL, CUT_ANSWER] {
            let mut transaction = client.begin_copy(Metadata::new("rust", "a copy"), after, " ").await?;
            transaction.restore(one, after, Some(record("copied").into()), None).await?;
            let lost = lose_begun(transaction, &proxy, mode).await?;
            let is_made = other.tid_of(one).await? == after;
            let expected = if is_made { Fate::Committed(after) } else { Fate::NotCommitted };
            assert_eq!(client.fate_of(&lost).await?, expected);
            assert_eq!(other.tid_of(one).await? == after, mode == CUT_ANSWER);
        }
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// Where a pack may have taken it away nobody says that it was not made.
pub(crate) fn packed_fate(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let proxy = Proxy::start(server.address())?;
    run(async {
        let client = at(proxy.address.into()).connect().await?;
        let other = builder(&server).connect().await?;
        let oid = Oid::ZERO;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        let lost = lose(&client, &[(oid, first)], &proxy, CUT_ANSWER).await?;
        let made = other.tid_of(oid).await?;
        commit_all(&other, &[(oid, made, "newer")]).await?;
        other.pack(std::time::SystemTime::now(), true).await?;
        match client.fate_of(&lost).await {
            Err(Error::CannotTell) => {}
            other => return Err(format!("{other:?}, and it was packed away").into()),
        }
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// The finish arrives when the client has long been looking for what became of it.
pub(crate) fn late_fate(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let proxy = Proxy::start(server.address())?;
    run(async {
        let client = at(proxy.address.into()).connect().await?;
        let other = builder(&server).connect().await?;
        let (one, two) = (client.new_oid().await?, client.new_oid().await?);
        let first = commit_all(&client, &[(one, Tid::ZERO, "first"), (two, Tid::ZERO, "first")]).await?;
        let lost = lose(&client, &[(one, first), (two, first)], &proxy, HOLD_CALL).await?;
        let release = async {
            // It waits for the transaction that the server thinks is still to be finished.
            while waiting_count(&other).await? == 0 {
                tokio::task::yield_now().await;
            }
            proxy.mode.store(OPEN, Ordering::SeqCst);
            Result::Ok(())
        };
        let (fate, released) = tokio::join!(client.fate_of(&lost), release);
        released?;
        assert_eq!(fate?, Fate::Committed(other.tid_of(one).await?));
        assert_ne!(other.tid_of(one).await?, first);
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// How many votes wait for others.
async fn waiting_count(client: &Client) -> Result<i128> {
    let status = client.server_status().await?;
    Ok(status.get("waiting").and_then(Value::as_int).ok_or("no number of those who wait")?)
}
