//! Downloads whose server does what the test tells it to.

use std::io::Read as _;
use std::path::Path;

use tempfile::TempDir;
use zeo_client::{Blob, BlobOptions, Error, Oid, Tid};
use zeo_codec::call::{ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop};
use zeo_codec::{Method, MsgId, Reply};

use crate::support::{Connection, Listener};

const OID: Oid = Oid::from_u64(7);
const SERIAL: Tid = Tid::from_u64(5);
/// More than may wait for the disk.
const CHUNK_COUNT: usize = 300;

async fn begin(connection: &mut Connection, chunk_count: usize) -> MsgId<'static> {
    let id = connection.expect(Method::SendBlob).await;
    let args = ReceiveBlobStart { oid: OID, serial: SERIAL };
    connection.notify(Method::ReceiveBlobStart, &args).await;
    for _ in 0..chunk_count {
        let args = ReceiveBlobChunk { oid: OID, serial: SERIAL, chunk: (&[b'x'; 59_000][..]).into() };
        connection.notify(Method::ReceiveBlobChunk, &args).await;
    }
    id
}

async fn send(connection: &mut Connection) {
    let id = begin(connection, CHUNK_COUNT).await;
    let args = ReceiveBlobStop { oid: OID, serial: SERIAL };
    connection.notify(Method::ReceiveBlobStop, &args).await;
    connection.reply(&id, &Reply::None).await;
}

fn check(blob: &Blob) {
    let mut content = Vec::new();
    blob.reader().read_to_end(&mut content).unwrap();
    assert!(content.len() == CHUNK_COUNT * 59_000 && content.iter().all(|byte| *byte == b'x'));
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("7")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whoever asks while it comes waits for the same download; what is lost on the way leaves nothing, and can be had
/// again.
#[tokio::test]
async fn a_blob_is_loaded_once_and_again_after_a_loss() {
    let directory = TempDir::new().unwrap();
    let listener = Listener::bind();
    let builder = listener.client().blobs(BlobOptions::new(directory.path()));
    let (client, mut connection) = tokio::join!(builder.connect(), listener.accept_ready(7));
    let client = client.unwrap();

    let lost = async {
        begin(&mut connection, 3).await;
        drop(connection);
    };
    let (one, other, ()) = tokio::join!(client.load_blob(OID, SERIAL), client.load_blob(OID, SERIAL), lost);
    for result in [one, other] {
        assert!(matches!(&result, Err(Error::Disconnected(_))), "{result:?}");
    }
    assert_eq!(files(directory.path()), [".lock"]);

    let sent = async {
        let mut connection = listener.accept_ready(7).await;
        send(&mut connection).await;
        connection
    };
    // The first one does not wait for the end, and the download goes on.
    let mut given_up = Box::pin(client.load_blob(OID, SERIAL));
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(given_up.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(given_up);
    let (one, other, mut connection) =
        tokio::join!(client.load_blob(OID, SERIAL), client.load_blob(OID, SERIAL), sent);
    check(&one.unwrap());
    check(&other.unwrap());
    assert_eq!(files(directory.path()), [".lock", "0.0000000000000005.blob"]);
    // It was asked for once.
    let (answered, ()) = tokio::join!(client.ping(), async {
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
    });
    answered.unwrap();
}

/// A server that never stops sending is hung up on, and what it has sent is removed.
#[tokio::test]
async fn a_blob_without_an_end_is_given_up() {
    let directory = TempDir::new().unwrap();
    let listener = Listener::bind();
    let options = BlobOptions { blob_len_max: 100_000, ..BlobOptions::new(directory.path()) };
    let builder = listener.client().blobs(options);
    let (client, mut connection) = tokio::join!(builder.connect(), listener.accept_ready(7));
    let client = client.unwrap();
    let (loaded, ()) = tokio::join!(client.load_blob(OID, SERIAL), async {
        begin(&mut connection, 3).await;
        assert!(connection.next().await.is_none(), "it was not hung up on");
    });
    let error = loaded.unwrap_err();
    assert!(error.to_string().contains("is longer than 100000 bytes"), "{error}");
    assert_eq!(files(directory.path()), [".lock"]);
}
