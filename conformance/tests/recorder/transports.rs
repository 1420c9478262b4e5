//! Our client and our server with the recorder between them, over TCP, TLS and Unix sockets on either side: what was said
//! stands in the capture in the clear, whole, with the transport.

use std::path::Path;

use rustix::process::Signal;
use zeo_client::tls::{Identity, Servers, TlsOptions};
use zeo_codec::Method;
use zeo_codec::session::Observed;
use zeo_conformance::capture::file;
use zeo_conformance::config::ServerConfig;
use zeo_conformance::decode::{Told, each_message, rewrite};

use crate::world::{Result, World, builder, run, visit};

/// Every message can be read and written again; those of a visit are there.
fn expect_visit(path: &Path, transport: &str) -> Result {
    let mut reader = file::open(path)?;
    assert_eq!(reader.metadata().transport, transport);
    let (mut calls, mut replies) = (Vec::new(), Vec::new());
    let mut problems = Vec::new();
    each_message(&mut reader, |_, dialect, told| match told {
        Told::Message { observed, payload, .. } => {
            match &observed {
                Observed::Call { method, .. } => calls.extend(*method),
                Observed::Reply { method, .. } => replies.extend(*method),
                _ => {}
            }
            match rewrite(&payload, &observed, dialect) {
                Ok(again) if again == payload => {}
                other => problems.push(format!("{other:?}: {observed:?}")),
            }
        }
        // How much of the end was recorded depends on who was faster.
        Told::Opened(_) | Told::Ended { rest_len: 0, .. } => {}
        other => problems.push(format!("{other:?}")),
    })?;
    assert_eq!(problems, [""; 0]);
    let expected = [
        Method::Register,
        Method::NewOids,
        Method::TpcBegin,
        Method::Storea,
        Method::Vote,
        Method::TpcFinish,
        Method::LoadBefore,
    ];
    for method in expected {
        assert!(calls.contains(&method), "{method:?} in {calls:?}");
        assert!(method.is_one_way() || replies.contains(&method), "{method:?} in {replies:?}");
    }
    Ok(())
}

/// A certificate for itself, with its key, in one file.
fn identity(world: &World, name: &str) -> Result<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let path = world.path(name);
    std::fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem())?;
    Ok(path.display().to_string())
}

pub(crate) fn plain_and_tls_on_either_side() -> Result {
    let world = World::new()?;
    let [server_pem, proxy_pem, client_pem] =
        ["server.pem", "proxy.pem", "client.pem"].map(|name| identity(&world, name));
    let (server_pem, proxy_pem, client_pem) = (server_pem?, proxy_pem?, client_pem?);
    let identity = Identity { certificate: (&client_pem).into(), key: None, password: None };
    let options = TlsOptions {
        identity: Some(identity),
        servers: Servers::Path((&proxy_pem).into()),
        check_hostname: true,
        server_hostname: Some("localhost".into()),
    };
    for (number, (to_client, to_server)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let ssl = match to_server {
            true => format!("certificate {server_pem}\nauthenticate {proxy_pem}\n"),
            false => String::new(),
        };
        let server = world.server(&ServerConfig { ssl, ..world.config() })?;
        let (to, capture) = (server.address().to_string(), format!("{number}.zeocap"));
        let mut args = vec!["record", "127.0.0.1:0", &to, "-o", &capture];
        if to_client {
            args.extend(["--client-tls", &proxy_pem]);
        }
        if to_server {
            args.extend(["--server-tls", &server_pem, "--server-tls-cert", &proxy_pem]);
            args.extend(["--server-name", "localhost"]);
        }
        let mut recorder = world.tool(&args)?;
        let builder = builder(&recorder.address(true)?)?;
        run(visit(if to_client { builder.tls(options.clone()) } else { builder }))?;
        assert!(recorder.stop(Signal::TERM)?.success());
        let transport = if to_client || to_server { "tls" } else { "tcp" };
        expect_visit(&world.path(&capture), transport)?;
        server.stop()?;
    }
    Ok(())
}

pub(crate) fn unix_sockets_on_either_side() -> Result {
    let world = World::new()?;
    let socket = world.path("server.sock");
    for (number, (is_unix_to_client, is_unix_to_server)) in
        [(true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let (tcp, unix) = match is_unix_to_server {
            true => (None, Some(world.server_at(&socket)?)),
            false => (Some(world.server(&world.config())?), None),
        };
        let to =
            tcp.as_ref().map_or_else(|| socket.display().to_string(), |server| server.address().to_string());
        let outer = world.path("outer.sock").display().to_string();
        let listen = if is_unix_to_client { outer.as_str() } else { "127.0.0.1:0" };
        let capture = format!("{number}.zeocap.gz");
        let mut recorder = world.tool(&["record", listen, &to, "-o", &capture])?;
        let address = recorder.address(true)?;
        assert!(address == outer || !is_unix_to_client);
        run(visit(builder(&address)?))?;
        assert!(recorder.stop(Signal::TERM)?.success());
        assert!(!Path::new(&outer).exists(), "the socket is removed");
        // Of both sides that of the clients counts.
        expect_visit(&world.path(&capture), if is_unix_to_client { "unix" } else { "tcp" })?;
        if let Some(mut server) = unix {
            server.terminate()?;
            server.wait(crate::world::SOON)?;
        }
        tcp.map_or(Ok(()), zeo_conformance::server::Server::stop)?;
    }
    Ok(())
}
