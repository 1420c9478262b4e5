//! A server inside of another program; a test of its own, since its way to wait for a disk is that of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use zeo_client::{Builder, Metadata, Oid, Tid};
use zeo_server::config::{Address, Config, Overrides};
use zeo_server::process::Hosted;
use zeo_server::zconfig::System;

#[test]
fn what_was_committed_is_there_when_it_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = Overrides {
        listen: Some(Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }),
        filenames: vec![dir.path().join("Data.fs")],
        ..Overrides::default()
    };
    let config = Config::from_overrides(overrides, &System).unwrap();
    let mut tid = Tid::ZERO;
    for number in 0..3 {
        let server = Hosted::start(&config).unwrap();
        let client = Builder::new(server.address().unwrap()).connect_blocking().unwrap();
        assert_eq!(client.last_transaction(), tid);
        let mut transaction = client.begin(Metadata::default()).unwrap();
        transaction.store(Oid::ZERO, tid, format!("{number}").into_bytes()).unwrap();
        tid = transaction.vote().unwrap().finish().unwrap();
        assert!(Hosted::start(&config).is_err(), "the file is locked");
        server.stop().unwrap();
    }
}
