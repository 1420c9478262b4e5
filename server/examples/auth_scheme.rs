//! A scheme of one's own for clients of ZEO 4: the password as it is, as in the test suite of ZEO 4.3.1
//! (`ZEO/tests/auth_plaintext.py`). It shows how; whoever reads along has the password.
//!
//! `cargo run -p zeo-server --example auth_scheme` serves an empty storage at 127.0.0.1:8100. A client of ZEO 4.3.1:
//!
//! ```python
//! import ZEO.tests.auth_plaintext
//! from ZEO.ClientStorage import ClientStorage
//! ClientStorage(("127.0.0.1", 8100), username="alice", password="wonder", realm="the realm")
//! ```

use std::sync::Arc;

use zeo_codec::Value;
use zeo_codec::digest::{SessionKey, nonce};
use zeo_server::auth::{Exchange, Scheme, SchemeError, Step};
use zeo_server::config::Address;
use zeo_server::engine::{Engine, EngineOptions};
use zeo_server::net::{ConnectionOptions, Listener};
use zeo_server::storage::memory::MemoryStorage;

/// Knows one user.
#[derive(Debug)]
struct Plaintext;

impl Scheme for Plaintext {
    fn name(&self) -> &str {
        "plaintext"
    }

    fn methods(&self) -> &[&str] {
        &["auth"]
    }

    fn begin(&self, _address: &str) -> Box<dyn Exchange> {
        Box::new(Asked)
    }
}

#[derive(Debug)]
struct Asked;

impl Exchange for Asked {
    fn call(&mut self, _method: &str, args: &[Value<'_>]) -> Result<Step, SchemeError> {
        let [user, password] = args else {
            return Err(SchemeError::value_error("auth takes a user name and a password"));
        };
        let (user, password) = (text(user), text(password));
        let user_name = user.to_owned();
        Ok(if (user, password) == ("alice", "wonder") {
            // All messages that follow have MACs; without a key they would have none.
            let key = nonce(&[b"alice:the realm:wonder"]);
            let key = Some(SessionKey::from_bytes(key.as_bytes()));
            Step::Passed { user: user_name, answer: true.into(), key }
        } else {
            Step::Refused { user: user_name, answer: false.into() }
        })
    }
}

/// Text of Python 3, or a string of Python 2.
fn text<'v>(value: &'v Value<'_>) -> &'v str {
    let string = || std::str::from_utf8(value.as_bytes()?).ok();
    value.as_text().or_else(string).unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8100), |port| port.parse())?;
    let storages = [("1".to_owned(), Arc::new(MemoryStorage::new("example")) as _)];
    let scheme = Some(Arc::new(Plaintext) as _);
    let engine = Engine::with_authentication(storages, EngineOptions::default(), "now", scheme)?;
    let listener = Listener::bind(&Address::Tcp { host: "127.0.0.1".to_owned(), port }).await?;
    println!("listening on {:?}", listener.bound()?);
    listener.run(engine, ConnectionOptions::default()).await;
    Ok(())
}
