//! The server itself.

use std::time::{Duration, SystemTime};

use zeo_codec::call::Pack;
use zeo_codec::{Call, Method, Reply, Value};

use super::{Client, unexpected};
use crate::engine::Answer;
use crate::error::Error;

impl Client {
    /// Returns when everything that was committed before is known here (`server-sync`); at once, unless
    /// [`Builder::server_sync`](crate::Builder::server_sync) is set.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn sync(&self) -> Result<(), Error> {
        if self.shared().options.server_sync { self.ping().await } else { Ok(()) }
    }

    /// A round trip: whatever the server has announced before is known here afterwards.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.shared().call(&Call::Plain(Method::Ping)).await.map(drop)
    }

    /// Removes what was superseded before `time`. With `waits`, returns when that is done.
    ///
    /// # Errors
    /// What the server meets.
    pub async fn pack(&self, time: SystemTime, waits: bool) -> Result<(), Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let call = Call::Pack(Pack { time: since.as_secs_f64(), wait: Some(waits.into()) });
        self.shared().call(&call).await.map(drop)
    }

    /// The server's counters of this storage (protocol reference 2.4): a dict.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn server_status(&self) -> Result<Value<'static>, Error> {
        match self.shared().call(&Call::Plain(Method::ServerStatus)).await? {
            Answer::Reply(Reply::Value(status @ Value::Dict(_))) => Ok(status),
            _ => Err(unexpected(Method::ServerStatus)),
        }
    }
}
