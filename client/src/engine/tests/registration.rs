//! Greeting and registration (protocol reference 9.1).

use zeo_codec::{Limits, Method, Reply, Tid, Value};

use super::{Pair, Server, greet, info, registration, sent};
use crate::cache::Cache;
use crate::engine::{Access, Engine, Link};
use crate::error::ConnectionError;

const READ_ONLY: &str = "ZODB.POSException.ReadOnlyError";

#[test]
fn registers_for_what_it_wants() {
    for (access, args) in [
        (Access::ReadWrite, "(\"1\", False)"),
        (Access::ReadOnly, "(\"1\", True)"),
        (Access::PreferWrite, "(\"1\", False)"),
    ] {
        let (link, register) = greet(&mut Server::new(), access);
        assert_eq!((register.method, &*register.args), (Method::Register, args));
        assert_eq!(link.is_read_only(), access == Access::ReadOnly);
    }
}

#[test]
fn falls_back_to_reading_on_the_same_connection() {
    let mut server = Server::new();
    let (mut link, register) = greet(&mut server, Access::PreferWrite);
    server.refuse(&register, READ_ONLY, Vec::new());
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), None);
    let asked = server.take(&sent(&mut link));
    assert_eq!(asked[0].args, "(\"1\", True)");
    server.reply(&asked[0], &Reply::Tid(Tid::from_u64(5)));
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), Some(Tid::from_u64(5)));
    assert!(link.is_read_only());
}

#[test]
fn a_refusal_is_told() {
    // Whoever wants to write does not fall back, and nobody does twice.
    for (access, class) in [(Access::ReadWrite, READ_ONLY), (Access::PreferWrite, "builtins.ValueError")] {
        let mut server = Server::new();
        let (mut link, register) = greet(&mut server, access);
        server.refuse(&register, class, vec!["unknown storage: 1".into()]);
        link.session().receive(&server.said());
        let Err(ConnectionError::Refused(error)) = link.register() else { panic!("not refused") };
        assert_eq!(error.class, class);
    }
}

/// Storages that do not tell their last transaction when they register are asked for it, as Python does.
#[test]
fn a_storage_without_a_tid_is_asked_for_it() {
    for (answer, tid) in [(Reply::Tid(Tid::from_u64(6)), 6), (Reply::None, 0)] {
        let mut server = Server::new();
        let (mut link, register) = greet(&mut server, Access::ReadWrite);
        server.reply(&register, &Reply::None);
        link.session().receive(&server.said());
        assert_eq!(link.register().unwrap(), None);
        let asked = server.take(&sent(&mut link));
        assert_eq!(asked[0].method, Method::LastTransaction);
        server.reply(&asked[0], &answer);
        link.session().receive(&server.said());
        assert_eq!(link.register().unwrap(), Some(Tid::from_u64(tid)));
    }
}

#[test]
fn no_other_protocol_will_do() {
    let mut link = Link::<u32>::new(registration(Access::ReadWrite), Limits::DEFAULT);
    // ZEO 3.10.
    link.session().receive(b"\0\0\0\x04Z310");
    assert!(matches!(link.register(), Err(ConnectionError::Session(_))));
    // It stays closed.
    link.session().receive(b"\0\0\0\x02Z5");
    assert!(link.register().is_err());
}

/// The label follows `get_info`, where Python's clients send it.
#[test]
fn says_its_label_and_learns_what_the_server_is() {
    let mut server = Server::new();
    let link = super::registered(&mut server, 3);
    let engine = Engine::new(Limits::DEFAULT, Some("reports".to_owned()), None::<Box<dyn Cache>>);
    let mut pair = Pair { engine, server, cache: super::Model::default() };
    pair.engine.adopt(link, Tid::from_u64(3)).unwrap();
    let asked = pair.asked();
    assert_eq!((asked[0].method, asked[1].method), (Method::GetInfo, Method::SetClientLabel));
    assert_eq!(asked[1].args, "(\"reports\",)");
    pair.server.reply(&asked[0], &info());
    let changes = Value::Dict(vec![("length".into(), 8_u64.into()), ("size".into(), 4096_u64.into())]);
    pair.server.0.notify(Method::Info, &Value::Tuple(vec![changes])).unwrap();
    pair.deliver().unwrap();
    let found = pair.engine.info();
    assert_eq!((found.name.as_str(), found.object_count, found.size_len), ("Data.fs", 8, 4096));
}
