//! Servers that want to know who a client is: the digest authentication of ZEO 4.

use std::time::Duration;

use zeo_client::{Credentials, Error, Invalidation, Tid};
use zeo_conformance::config::ServerConfig;
use zeo_conformance::server::{Server, free_port};

use crate::world::{Result, World, builder, commit_all, next, record, run};

const REALM: &str = "zeo realm";

/// Why nobody comes in.
async fn refused(server: &Server, credentials: Option<Credentials>) -> Result<String> {
    let mut builder = builder(server).wait_timeout(Duration::from_millis(700));
    if let Some(credentials) = credentials {
        builder = builder.credentials(credentials);
    }
    match builder.connect().await {
        Ok(_) => Err("somebody came in".into()),
        Err(Error::Disconnected(why)) => Ok(why.to_string()),
        Err(error) => Err(error.into()),
    }
}

/// Who has the password comes in, and comes in again after a restart; every message has a MAC that covers all before it.
/// Python test: `auth_digest` of ZEO 4.3.1, `ZEO/tests/testAuth.py`.
pub(crate) fn digest(world: &World) -> Result {
    let passwords = world.path("passwords");
    let mut database = zeo_server::auth::PasswordDatabase::open(&passwords, Some(REALM))?;
    database.add("foo", "secret pw")?;
    database.save()?;
    let keys = format!(
        "  authentication-protocol digest\n  authentication-database {}\n  authentication-realm {REALM}\n",
        passwords.display()
    );
    let config = ServerConfig { keys, port: Some(free_port()), ..world.config() };
    let server = world.server(&config)?;
    run(async {
        let right = || Credentials::new("foo", "secret pw").realm(REALM);
        let client = builder(&server).credentials(right()).connect().await?;
        let other = builder(&server).credentials(Credentials::new("foo", "secret pw")).connect().await?;
        let mut told = other.invalidations();
        let oid = client.new_oid().await?;
        let mut serial = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        for text in ["second", "third", "fourth"] {
            serial = commit_all(&client, &[(oid, serial, text)]).await?;
            while next(&mut told).await?.tid() < serial {}
            let revision = other.load_current(oid).await?;
            assert_eq!((&*revision.data, revision.serial), (&*record(text), serial));
        }

        let wrong = refused(&server, Some(Credentials::new("foo", "wrong"))).await?;
        let nobody = refused(&server, Some(Credentials::new("nobody", "secret pw"))).await?;
        assert_eq!(wrong, "the server does not accept the user and the password");
        // Python's tells who has a password and who has none.
        assert!(nobody == wrong || world.is_zeo4() && nobody.contains("No such user: nobody"), "{nobody}");
        let without = refused(&server, None).await?;
        let expected = if world.is_zeo4() {
            "the server wants a user and a password"
        } else {
            "Client was never authenticated with server!"
        };
        assert!(without.contains(expected), "{without}");
        let elsewhere = refused(&server, Some(right().realm("another realm"))).await?;
        assert!(elsewhere.contains("another realm"), "{elsewhere}");

        // With another connection comes another session key.
        server.stop()?;
        let server = world.server(&config)?;
        client.wait().await?;
        other.wait().await?;
        let last = commit_all(&other, &[(oid, serial, "after the restart")]).await?;
        let mut told = client.invalidations();
        if client.last_transaction() < last {
            assert!(matches!(next(&mut told).await?, Invalidation::Changed { tid, .. } if tid == last));
        }
        assert_eq!(client.load_current(oid).await?.data, record("after the restart"));
        Ok(server.stop()?)
    })
}
