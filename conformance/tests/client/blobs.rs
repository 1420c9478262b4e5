//! Blobs: with a directory of the client's own, one that it shares with Python's client, and the server's.

use std::io::Read as _;
use std::path::Path;

use zeo_client::{Blob, BlobOptions, Client, Error, Metadata, Oid, Tid};
use zeo_conformance::config::{ServerConfig, blob_dir, file_section};
use zeo_conformance::server::free_port;

use crate::world::{Result, World, builder, run};

/// The database record of a blob.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";

/// A file storage with blobs.
fn with_blobs(world: &World) -> ServerConfig {
    let config = world.config();
    let section = file_section("1", &config.storage_path, &blob_dir(&world.path("server-blobs")));
    ServerConfig { storage_section: Some(section), ..config }
}

async fn commit_blob(client: &Client, oid: Oid, serial: Tid, file: &Path, content: &[u8]) -> Result<Tid> {
    std::fs::write(file, content)?;
    let mut transaction = client.begin(Metadata::new("rust", "a blob")).await?;
    transaction.store_blob(oid, serial, RECORD, file).await?;
    Ok(transaction.vote().await?.finish().await?)
}

fn content(blob: &Blob) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    blob.reader().read_to_end(&mut content)?;
    Ok(content)
}

/// Several messages long, and no multiple of anything.
fn large() -> Vec<u8> {
    (0..3_000_017_u32).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

/// Each side stores blobs that the other one loads; what is broken off leaves nothing behind.
pub(crate) fn blobs(world: &World) -> Result {
    let server = world.server(&with_blobs(world))?;
    let mut peer = world.peer_with(&server, &["--blobs", &world.path("peer-blobs").display().to_string()])?;
    let (own, file) = (world.path("blobs"), world.path("file"));
    run(async {
        let client = builder(&server).blobs(BlobOptions::new(&own)).connect().await?;
        assert!(client.server_info().provides("IBlobStorage"));
        let (first, second) = (client.new_oid().await?, client.new_oid().await?);
        let tid = commit_blob(&client, first, Tid::ZERO, &file, &large()).await?;
        assert!(!file.exists());
        assert_eq!(peer.load_blob(first, tid)?.0, large());
        // It is in the cache already.
        assert_eq!(client.load_current(first).await?.data, RECORD);
        assert_eq!(content(&client.load_blob(first, tid).await?)?, large());

        // What the other one has stored is downloaded once, whoever asks.
        let (theirs, _) = peer.store_blob(second, "other text ", 100_000)?;
        let readers: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.load_blob(second, theirs).await })
            })
            .collect();
        for reader in readers {
            let blob = reader.await??;
            assert_eq!(content(&blob)?, b"other text ".repeat(100_000));
            assert_eq!(blob.len()?, 1_100_000);
        }
        // An empty one, over a full one; the older revision stays.
        let empty = commit_blob(&client, first, tid, &file, b"").await?;
        assert_eq!(peer.load_blob(first, empty)?.0, b"");
        assert!(client.load_blob(first, empty).await?.is_empty()?);
        assert_eq!(content(&client.load_blob(first, tid).await?)?, large());

        // Without a directory blobs can be stored, but not loaded; the file stays.
        let without = builder(&server).connect().await?;
        let third = commit_blob(&without, second, theirs, &file, b"without").await?;
        assert!(file.exists());
        assert!(matches!(without.load_blob(second, third).await, Err(Error::NoBlobDirectory)));
        assert_eq!(content(&client.load_blob(second, third).await?)?, b"without");

        // An upload that is given up in the middle spoils its transaction, and nothing else.
        std::fs::write(&file, large().repeat(4))?;
        let mut transaction = without.begin(Metadata::default()).await?;
        let mut upload = Box::pin(transaction.store_blob(second, third, RECORD, &file));
        let mut pieces = 0;
        std::future::poll_fn(|context| {
            pieces += 1;
            let is_over = upload.as_mut().poll(context).is_ready();
            if is_over || pieces > 3 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(upload);
        let refused = transaction.vote().await;
        assert!(matches!(&refused, Err(Error::BrokenUpload(oid)) if *oid == second), "{refused:?}");
        let fourth = commit_blob(&without, second, third, &file, b"after that").await?;
        assert_eq!(content(&client.load_blob(second, fourth).await?)?, b"after that");
        // Aborted: neither the file nor anything else is left.
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store_blob(second, fourth, RECORD, &file).await?;
        transaction.vote().await?.abort().await;
        assert!(!file.exists());
        let missing =
            client.begin(Metadata::default()).await?.store_blob(second, fourth, RECORD, &file).await;
        assert!(matches!(&missing, Err(Error::File { .. })), "{missing:?}");
        let left: Vec<_> = walk(&own)?.into_iter().filter(|name| !name.ends_with(".blob")).collect();
        assert!(left.iter().all(|name| name.ends_with("lock") || name.ends_with(".layout")), "{left:?}");

        // No such blob.
        let unknown = client.load_blob(second, tid).await.unwrap_err();
        assert!(unknown.is_no_such_object() || matches!(unknown, Error::NoBlob { .. }), "{unknown}");
        Ok(())
    })?;
    peer.end()?;
    Ok(server.stop()?)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() { names.extend(walk(&path)?) } else { names.push(path.display().to_string()) }
    }
    Ok(names)
}

/// Python's client and this one use the same directory at the same time: what one has, the other one does not load
/// again. Python test: `ClientStorageSharedBlobsTests` has no such case; `ZEO/tests/zeo_blob_cache.test` comes nearest.
pub(crate) fn one_cache(world: &World) -> Result {
    let server_config = ServerConfig { port: Some(free_port()), ..with_blobs(world) };
    let server = world.server(&server_config)?;
    let (own, file) = (world.path("blobs"), world.path("file"));
    // Python's client comes first, and makes the directory.
    let mut peer = world.peer_with(&server, &["--blobs", &own.display().to_string()])?;
    run(async {
        let client = builder(&server).blobs(BlobOptions::new(&own)).connect().await?;
        let oid = client.new_oid().await?;
        let tid = commit_blob(&client, oid, Tid::ZERO, &file, b"ours").await?;
        let (found, path, was_there) = peer.load_blob(oid, tid)?;
        assert_eq!((&*found, was_there), (&b"ours"[..], true));
        assert_eq!(path, client.load_blob(oid, tid).await?.path());
        let (theirs, path) = peer.store_blob(oid, "theirs", 1)?;
        assert!(path.exists());
        let blob = client.load_blob(oid, theirs).await?;
        assert_eq!((content(&blob)?, blob.path()), (b"theirs".to_vec(), &*path));
        // Gone from under both: loaded by this client, found by the other one.
        std::fs::remove_file(&path)?;
        drop(blob);
        assert_eq!(content(&client.load_blob(oid, theirs).await?)?, b"theirs");
        assert!(peer.load_blob(oid, theirs)?.2);
        // And the other way.
        std::fs::remove_file(&path)?;
        assert!(!peer.load_blob(oid, theirs)?.2);
        server.stop()?;
        // Without a server what is there can be read.
        assert_eq!(content(&client.load_blob(oid, theirs).await?)?, b"theirs");
        assert_eq!(content(&client.load_blob(oid, tid).await?)?, b"ours");
        Ok(())
    })?;
    peer.end()
}

/// The directory stays about as small as it should, what is in use stays, and what has gone is loaded again. Python
/// test: `ZEO/tests/zeo_blob_cache.test`.
pub(crate) fn bounded(world: &World) -> Result {
    let server = world.server(&with_blobs(world))?;
    let (own, file) = (world.path("blobs"), world.path("file"));
    let mut peer = world.peer_with(&server, &["--blobs", &world.path("peer-blobs").display().to_string()])?;
    run(async {
        let bounded = BlobOptions { len_max: Some(300_000), ..BlobOptions::new(&own) };
        let client = builder(&server).blobs(bounded).connect().await?;
        let mut made = Vec::new();
        for number in 0..20_u8 {
            let oid = client.new_oid().await?;
            let content = vec![number; 50_000];
            // By both, so that there are uploads and downloads.
            let tid = if number % 2 == 0 {
                commit_blob(&client, oid, Tid::ZERO, &file, &content).await?
            } else {
                peer.store_blob(oid, "\u{1}", 1)?;
                let tid = peer.store_blob(oid, std::str::from_utf8(&content)?, 1)?.0;
                client.load_blob(oid, tid).await?;
                tid
            };
            made.push((oid, tid, content));
        }
        // Nobody says when it has been looked at.
        let is_small = || Ok::<_, Box<dyn std::error::Error>>(size(&own)? <= 300_000);
        while !is_small()? {
            tokio::task::yield_now().await;
        }
        let held = client.load_blob(made[0].0, made[0].1).await?;
        for _ in 0..2 {
            for (oid, tid, expected) in &made {
                assert_eq!(&content(&client.load_blob(*oid, *tid).await?)?, expected);
            }
        }
        assert!(held.path().exists());
        while !is_small()? {
            tokio::task::yield_now().await;
        }
        assert!(held.path().exists());
        Ok(())
    })?;
    peer.end()?;
    Ok(server.stop()?)
}

/// Bytes of all blobs in the directory.
fn size(root: &Path) -> Result<u64> {
    let mut len = 0;
    for name in walk(root)?.iter().filter(|name| name.ends_with(".blob")) {
        // What goes meanwhile takes nothing.
        len += std::fs::metadata(name).map_or(0, |metadata| metadata.len());
    }
    Ok(len)
}

/// Nothing is transferred: client and server, and Python's client, share the server's directory. Python test:
/// `SharedBlobTests` of `ZEO/tests/testZEO.py`.
pub(crate) fn shared(world: &World) -> Result {
    let server = world.server(&with_blobs(world))?;
    let directory = world.path("server-blobs");
    let file = world.path("file");
    let mut peer = world.peer_with(&server, &["--shared-blobs", &directory.display().to_string()])?;
    run(async {
        let shared = BlobOptions { is_shared: true, ..BlobOptions::new(&directory) };
        let client = builder(&server).blobs(shared).connect().await?;
        let oid = client.new_oid().await?;
        let tid = commit_blob(&client, oid, Tid::ZERO, &file, &large()).await?;
        assert!(!file.exists());
        let (found, path, was_there) = peer.load_blob(oid, tid)?;
        assert_eq!((found, was_there), (large(), true));
        let blob = client.load_blob(oid, tid).await?;
        assert_eq!((content(&blob)?, blob.path()), (large(), &*path));
        assert!(path.starts_with(&directory), "{}", path.display());
        let (theirs, path) = peer.store_blob(oid, "theirs", 1)?;
        let blob = client.load_blob(oid, theirs).await?;
        assert_eq!((content(&blob)?, blob.path()), (b"theirs".to_vec(), &*path));
        // What is not there is nowhere.
        let missing = client.load_blob(oid, Tid::from_u64(7)).await;
        assert!(matches!(&missing, Err(Error::NoBlob { .. })), "{missing:?}");
        // Aborted before the vote and behind it.
        for is_voted in [false, true] {
            std::fs::write(&file, "aborted")?;
            let mut transaction = client.begin(Metadata::default()).await?;
            transaction.store_blob(oid, theirs, RECORD, &file).await?;
            if is_voted { transaction.vote().await?.abort().await } else { transaction.abort().await }
        }
        let committed = walk(&directory)?.iter().filter(|name| name.ends_with(".blob")).count();
        assert_eq!(committed, 2);
        Ok(())
    })?;
    peer.end()?;
    Ok(server.stop()?)
}
