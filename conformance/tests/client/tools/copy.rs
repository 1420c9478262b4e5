//! `zeo copy`, between servers and out of files.

use zeo_client::blocking::Client;
use zeo_client::{BlobOptions, Metadata, Oid, Tid, Value};
use zeo_codec::call::{RecordInfo, TransactionInfo};
use zeo_conformance::config::{ServerConfig, blob_dir, file_section};

use super::{Said, revise, said};
use crate::world::{Result, World, builder, record};

/// The database record of a blob.
const BLOB_RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";

type All = Vec<(TransactionInfo<'static>, Vec<RecordInfo<'static>>)>;

/// All transactions with their records. Records that are there twice in a row, as Python has those of blobs, count once.
fn everything(client: &Client) -> Result<All> {
    let mut all = Vec::new();
    let mut transactions = client.iterate(None, None)?;
    while let Some(found) = transactions.next() {
        let found = found?;
        let records = transactions.records(&found)?;
        let mut records: Vec<RecordInfo<'static>> = records.collect::<std::result::Result<_, _>>()?;
        records.dedup();
        all.push((found.info, records));
    }
    Ok(all)
}

/// Odd metadata, changes, an undo, a deletion.
fn fill(world: &World, client: &Client) -> Result {
    revise(client, 3)?;
    let oid = client.new_oid()?;
    // ZEO 4 takes ASCII only.
    let user = if world.is_zeo4() { "Zoe" } else { "Zo\u{eb}" };
    let extension = Value::Dict(vec![("reason".into(), "a test".into())]);
    let metadata = Metadata { extension, ..Metadata::new(user, "two\nlines") };
    let mut transaction = client.begin(metadata)?;
    transaction.store(oid, Tid::ZERO, record("first"))?;
    let first = transaction.vote()?.finish()?;
    let mut transaction = client.begin(Metadata::new("me", "changes"))?;
    transaction.store(oid, first, record("second"))?;
    transaction.vote()?.finish()?;
    let log = client.undo_log(0, 1)?;
    let mut transaction = client.begin(Metadata::new("me", "undoes"))?;
    transaction.undo(&log[0].id)?;
    let undone = transaction.vote()?.finish()?;
    let mut transaction = client.begin(Metadata::new("me", "deletes"))?;
    transaction.delete(oid, undone)?;
    transaction.vote()?.finish()?;
    revise(client, 2)
}

/// Half of it, then the rest; then what has come since; out of a file to the same end. What is no copy is refused.
pub(crate) fn copy(world: &World) -> Result {
    let copy = |args: &[&str]| said(world.tool("zeo")?.arg("copy").args(args));
    let own = |name: &str| ServerConfig { storage_path: world.path(name), ..world.config() };
    let source = world.server(&world.config())?;
    let client = builder(&source).connect_blocking()?;
    fill(world, &client)?;
    let from = source.address().to_string();
    let expected = everything(&client)?;
    let half = expected[4].0.tid.to_string();

    let target = world.server(&own("Copy.fs"))?;
    let to = target.address().to_string();
    let copied = builder(&target).connect_blocking()?;
    let first = copy(&[&from, &to, "--until", &half])?;
    assert_eq!((first.code, &*first.stderr), (Some(0), ""), "{first:?}");
    assert!(first.stdout.starts_with("copied 5 transactions, 5 records, 0 blobs"), "{first:?}");
    assert_eq!(everything(&copied)?, expected[..5]);
    for rest in [expected.len() - 5, 0] {
        let second = copy(&[&from, &to])?;
        assert!(second.stdout.starts_with(&format!("copied {rest} transactions")), "{second:?}");
        assert_eq!(everything(&copied)?, expected);
    }
    revise(&client, 1)?;
    assert_eq!(copy(&[&from, &to])?.code, Some(0));
    let expected = everything(&client)?;
    assert_eq!(everything(&copied)?, expected);

    // Out of the file that is being served.
    let path = world.config().storage_path.display().to_string();
    let from_file = world.server(&own("FromFile.fs"))?;
    let to_from_file = from_file.address().to_string();
    assert_eq!(copy(&[&path, &to_from_file, "--until", &half])?.code, Some(0));
    let rest = copy(&[&path, &to_from_file])?;
    assert_eq!((rest.code, &*rest.stderr), (Some(0), ""), "{rest:?}");
    assert_eq!(everything(&builder(&from_file).connect_blocking()?)?, expected);

    // Into a file that is not there yet, and on.
    let runzeo = world.runzeo()?.display().to_string();
    let own_file = world.path("own file.fs").display().to_string();
    let into = |from: &str, more: &[&str]| {
        let args = [&[from, &own_file, "--runzeo", &runzeo], more].concat();
        copy(&args)
    };
    let first = into(&from, &["--until", &half])?;
    assert!(first.stdout.starts_with("copied 5 transactions, 5 records"), "{first:?}");
    let rest = into(&path, &[])?;
    assert_eq!((rest.code, &*rest.stderr), (Some(0), ""), "{rest:?}");
    let served = world.server(&own("own file.fs"))?;
    assert_eq!(everything(&builder(&served).connect_blocking()?)?, expected);
    let locked = into(&from, &[])?;
    assert!(locked.code == Some(1) && locked.stderr.contains("its server has ended"), "{locked:?}");
    served.stop()?;

    // Somebody has written to the copy; another database; no server for a file.
    let refused = |args: &[&str], expected: &str| -> Result<Said> {
        let said = copy(args)?;
        assert!(said.code == Some(1) && said.stderr.contains(expected), "{said:?}");
        Ok(said)
    };
    revise(&copied, 1)?;
    let before = everything(&copied)?;
    refused(&[&from, &to], "none of the source")?;
    refused(&[&path, &to], "none of the source")?;
    assert_eq!(everything(&copied)?, before);
    refused(&[&from, "./new.fs", "--runzeo", "./no-such-program"], "cannot be started")?;
    refused(&["./nothing.fs", &to_from_file], "No such file")?;
    // The same tid, but not the same transaction.
    let other = world.server(&own("Other.fs"))?;
    let forger = builder(&other).connect_blocking()?;
    let last = expected.last().ok_or("nothing")?.0.tid;
    let mut transaction = forger.begin_copy(Metadata::new("rust", "revises"), last, " ")?;
    transaction.restore(Oid::ZERO, last, Some(record("another").into()), None)?;
    transaction.vote()?.finish()?;
    refused(&[&from, &other.address().to_string()], "differs from the source's")?;
    for server in [other, from_file, target, source] {
        server.stop()?;
    }
    Ok(())
}

/// Blobs come with their records, from a server and from a blob directory; a target that keeps none is told.
pub(crate) fn copy_blobs(world: &World) -> Result {
    let copy = |args: &[&str]| said(world.tool("zeo")?.arg("copy").args(args));
    let with_blobs = |name: &str| {
        let keys = blob_dir(&world.path(&format!("{name}.blobs")));
        let section = file_section("1", &world.path(name), &keys);
        ServerConfig { storage_section: Some(section), ..world.config() }
    };
    let source = world.server(&with_blobs("Data.fs"))?;
    let client = builder(&source).connect_blocking()?;
    let oid = client.new_oid()?;
    let mut serial = Tid::ZERO;
    let mut serials = Vec::new();
    for content in ["first ".repeat(50_000), "second".to_owned()] {
        std::fs::write(world.path("content"), &content)?;
        let mut transaction = client.begin(Metadata::new("me", "a blob"))?;
        transaction.store_blob(oid, serial, BLOB_RECORD, world.path("content"))?;
        serial = transaction.vote()?.finish()?;
        serials.push((serial, content));
    }
    let expected = everything(&client)?;
    let from = source.address().to_string();
    let file = world.path("Data.fs").display().to_string();
    let blobs = world.path("Data.fs.blobs").display().to_string();
    let own_file = world.path("Own.fs").display().to_string();
    let own_blobs = world.path("Own.fs.blobs").display().to_string();
    let runzeo = world.runzeo()?.display().to_string();
    let into = &[&*from, &own_file, "--to-blob-dir", &own_blobs, "--runzeo", &runzeo];
    assert_eq!(copy(into)?.code, Some(0));
    let ways = [("Copy.fs", &[&*from][..]), ("FromFile.fs", &[&file, "--blob-dir", &blobs]), ("Own.fs", &[])];
    for (name, args) in ways {
        let target = world.server(&with_blobs(name))?;
        let to = target.address().to_string();
        if !args.is_empty() {
            let done = copy(&[args, &["--", &to]].concat())?;
            assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
            assert!(done.stdout.contains(" 2 blobs"), "{done:?}");
        }
        let own = BlobOptions::new(world.path(&format!("{name}.own")));
        let copied = builder(&target).blobs(own).connect_blocking()?;
        assert_eq!(everything(&copied)?, expected);
        for (serial, content) in &serials {
            let blob = copied.load_blob(oid, *serial)?;
            assert_eq!(std::fs::read_to_string(blob.path())?, *content);
        }
        target.stop()?;
    }
    let plain = world.server(&ServerConfig { storage_path: world.path("Plain.fs"), ..world.config() })?;
    let to = plain.address().to_string();
    let refused = copy(&[&from, &to])?;
    assert!(refused.code == Some(1) && refused.stderr.contains("--without-blobs"), "{refused:?}");
    let refused = copy(&[&file, &to])?;
    assert!(refused.code == Some(1) && refused.stderr.contains("--blob-dir"), "{refused:?}");
    assert_eq!(copy(&[&from, &to, "--without-blobs"])?.code, Some(0));
    assert_eq!(everything(&builder(&plain).connect_blocking()?)?, expected);
    plain.stop()?;
    Ok(source.stop()?)
}

/// A transaction without records, which a data file can have, stops nothing; Python's servers do not keep it.
pub(crate) fn copy_empty(world: &World) -> Result {
    let copy = |args: &[&str]| said(world.tool("zeo")?.arg("copy").args(args));
    let config = world.config();
    let source = world.server(&config)?;
    let client = builder(&source).connect_blocking()?;
    revise(&client, 2)?;
    let empty = client.last_transaction().next().ok_or("no next")?;
    client.close();
    source.stop()?;
    // Protocol reference 14.1: the length is without itself at the end; no user, description and extension.
    let mut bytes = std::fs::read(&config.storage_path)?;
    let len = 23_u64.to_be_bytes();
    bytes.extend([&empty.to_u64().to_be_bytes(), &len, &b" \0\0\0\0\0\0"[..], &len].concat());
    std::fs::write(&config.storage_path, bytes)?;
    let source = world.server(&config)?;
    let client = builder(&source).connect_blocking()?;
    revise(&client, 1)?;
    let mut expected = everything(&client)?;
    assert_eq!(expected.iter().map(|(info, _)| info.tid).nth(2), Some(empty));
    let target = world.server(&ServerConfig { storage_path: world.path("Copy.fs"), ..world.config() })?;
    let to = target.address().to_string();
    let path = config.storage_path.display().to_string();
    let from = source.address().to_string();
    // Half of it, out of the file; then the rest.
    for args in [&[&*path, &to, "--until", &empty.to_string()][..], &[&from, &to]] {
        let done = copy(args)?;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stderr.contains("left out"), world.is_zeo4(), "{done:?}");
    }
    let mut copied = everything(&builder(&target).connect_blocking()?)?;
    for all in [&mut expected, &mut copied] {
        all.retain(|(_, records)| !records.is_empty());
    }
    assert_eq!((copied.len(), copied), (3, expected));
    target.stop()?;
    Ok(source.stop()?)
}
