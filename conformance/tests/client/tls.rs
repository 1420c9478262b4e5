//! TLS, with the certificates of ZEO's own tests (`ZEO/tests/testssl.py`, 6.2).

use std::path::PathBuf;
use std::time::Duration;

use zeo_client::tls::{Identity, Password, Servers, TlsOptions};
use zeo_client::{ConnectionError, Error, Metadata, Tid};
use zeo_conformance::config::ServerConfig;

use crate::world::{Result, World, builder, record, run};

/// Both sides show certificates, the client also one whose key is encrypted; what does not fit is refused by whoever it
/// does not fit.
pub(crate) fn tls(world: &World) -> Result {
    let directory = world.path("tls");
    world.script("tls_files", &["--directory", &directory.display().to_string()])?;
    let path = |name: &str| -> PathBuf { directory.join(name) };
    // Two clients are let in.
    let both = std::fs::read_to_string(path("client.pem"))? + &std::fs::read_to_string(path("serverpw.pem"))?;
    std::fs::write(path("clients.pem"), both)?;
    let ssl = format!(
        "certificate {}\nkey {}\nauthenticate {}\n",
        path("server.pem").display(),
        path("server_key.pem").display(),
        path("clients.pem").display()
    );
    let server = world.server(&ServerConfig { ssl, ..world.config() })?;
    let options = TlsOptions {
        identity: Some(Identity {
            certificate: path("client.pem"),
            key: Some(path("client_key.pem")),
            password: None,
        }),
        servers: Servers::Path(path("server.pem")),
        check_hostname: true,
        server_hostname: Some("zodb.org".into()),
    };
    run(async {
        let client = builder(&server).tls(options.clone()).connect().await?;
        let oid = client.new_oid().await?;
        let large = record(&"large ".repeat(500_000));
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, large.clone()).await?;
        let tid = transaction.vote().await?.finish().await?;

        let identity = Identity {
            certificate: path("serverpw.pem"),
            key: Some(path("serverpw_key.pem")),
            password: Some(Password::File(path("password"))),
        };
        let encrypted = TlsOptions { identity: Some(identity), check_hostname: false, ..options.clone() };
        let other = builder(&server).tls(encrypted).connect().await?;
        let revision = other.load_current(oid).await?;
        assert_eq!((revision.serial, &*revision.data), (tid, &*large));

        let refusal = async |options: TlsOptions| {
            let impatient = builder(&server).tls(options).wait_timeout(Duration::from_millis(500));
            match impatient.connect().await {
                Err(Error::Disconnected(why)) => Ok(why),
                other => Err(format!("{other:?}")),
            }
        };
        let why = refusal(TlsOptions { server_hostname: Some("zope.dev".into()), ..options.clone() }).await?;
        assert!(why.to_string().contains("NotValidForName"), "{why}");
        let why =
            refusal(TlsOptions { servers: Servers::Path(path("client.pem")), ..options.clone() }).await?;
        assert!(why.to_string().contains("invalid peer certificate"), "{why}");
        // The server wants to see a certificate, and one that it knows.
        let server_as_client =
            Identity { certificate: path("server.pem"), key: Some(path("server_key.pem")), password: None };
        for identity in [None, Some(server_as_client)] {
            let why = refusal(TlsOptions { identity, ..options.clone() }).await?;
            assert!(matches!(&*why, ConnectionError::Io(_) | ConnectionError::Ended), "{why:?}");
        }
        // Without TLS there is nothing that both understand.
        let plain = builder(&server).wait_timeout(Duration::from_millis(500)).connect().await;
        assert!(matches!(&plain, Err(Error::Disconnected(_))), "{plain:?}");
        Ok(())
    })?;
    Ok(server.stop()?)
}
