//! C7: the connection is lost in the middle of `tpc_finish`, before or after the server has done it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use zeo_client::{Client, Error, Fate, LostCommit, Metadata, Oid, Tid};

use crate::world::{Result, World, at, builder, commit_all, record, run};

/// Lets all through.
const OPEN: u8 = 0;
/// Hangs up on the next word of the client, which the server does not hear.
const CUT_CALL: u8 = 1;
/// Lets the client speak, and hangs up on what the server answers.
const CUT_ANSWER: u8 = 2;

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
        let lost = LostCommit { sample: None, ..lost };
        assert!(matches!(client.fate_of(&lost).await, Err(Error::CannotTell)));
        // The commit lock is free.
        commit_all(&other, &[(two, tid, "free")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}
