//! From the greeting to the registration (protocol reference 9.1 and 13).
//!
//! ```text
//!   ZEO 5, 6:  register ------------------------------------------------> the last tid
//!   ZEO 4:     getAuthProtocol --> None ------------> register --> None
//!                              `-> "digest"           ^             |
//!                                   auth_get_challenge|             v
//!                                   auth_response ----'      lastTransaction --> the last tid
//! ```

use zeo_codec::call::Register;
use zeo_codec::handshake::Framing;
use zeo_codec::session::{ClientEvent, ClientReply};
use zeo_codec::{Call, Generation, Method, Reply, Tid, Value};

use super::Access;
use super::link::{Link, Waiting};
use crate::error::{ConnectionError, ServerError, ServerErrorKind};

/// The scheme that is known, by its name in `getAuthProtocol`.
const DIGEST: &str = "digest";

/// What one who is not authenticated gets from a server that asks for it.
const AUTH_ERROR: &str = "ZEO.Exceptions.AuthError";

impl<T> Link<T> {
    /// Goes on with greeting and registration as far as the bytes reach; the server's last transaction once it has
    /// registered the client. Then the link is for [`Engine::adopt`](super::Engine::adopt).
    ///
    /// # Errors
    /// If this will never become a connection.
    pub fn register(&mut self) -> Result<Option<Tid>, ConnectionError> {
        while self.registered.is_none() {
            match self.session.poll_event()? {
                None => return Ok(None),
                Some(ClientEvent::Connected(_)) if self.is_older() => self.ask(Method::GetAuthProtocol)?,
                Some(ClientEvent::Connected(_)) => self.call_register()?,
                Some(ClientEvent::Reply(reply)) => self.on_registration(&reply)?,
                Some(ClientEvent::Call(message)) => self.keep_early(&message)?,
            }
        }
        Ok(self.registered)
    }

    /// Whether the server is one of ZEO 4.
    pub(super) fn is_older(&self) -> bool {
        self.session.dialect().generation < Generation::Zeo5
    }

    fn ask(&mut self, method: Method) -> Result<(), ConnectionError> {
        Ok(self.call(&Call::Plain(method), Waiting::Nobody)?)
    }

    fn call_register(&mut self) -> Result<(), ConnectionError> {
        let storage = self.registration.storage.clone().into();
        let read_only = Value::Bool(self.is_read_only);
        let call = Call::Register(Register { storage, read_only, credentials: None });
        Ok(self.call(&call, Waiting::Nobody)?)
    }

    fn on_registration(&mut self, reply: &ClientReply) -> Result<(), ConnectionError> {
        let method = reply.method.unwrap_or(Method::Register);
        self.take(reply)?;
        let result = reply.result(&self.limits);
        let result = result.map_err(|error| ConnectionError::malformed(Some(method), error))?;
        match (method, result.map_err(ServerError::from)) {
            (Method::GetAuthProtocol, Ok(Reply::None)) => self.call_register(),
            (Method::GetAuthProtocol, Ok(Reply::Value(scheme))) => self.authenticate(&scheme),
            (Method::AuthGetChallenge, Ok(Reply::Value(challenge))) => self.respond(&challenge),
            (Method::AuthResponse, Ok(Reply::Value(accepted))) => self.on_accepted(&accepted),
            (Method::GetAuthProtocol | Method::AuthGetChallenge | Method::AuthResponse, Ok(_)) => {
                Err(ConnectionError::NoResult(method))
            }
            (_, Ok(Reply::Tid(tid))) => {
                self.registered = Some(tid);
                Ok(())
            }
            // A server of ZEO 4, or a storage that does not tell its last transaction; Python asks in another way.
            (Method::Register, Ok(_)) => self.ask(Method::LastTransaction),
            (_, Ok(_)) => {
                self.registered = Some(Tid::ZERO);
                Ok(())
            }
            (_, Err(error)) => self.on_refusal(error),
        }
    }

    /// Registers once more to only read, if that will do. A server that authenticates does so in the protocol of ZEO 4.
    fn on_refusal(&mut self, error: ServerError) -> Result<(), ConnectionError> {
        let dialect = self.session.dialect();
        let could_authenticate = dialect.generation == Generation::Zeo5
            && dialect.framing == Framing::Pickle
            && self.registration.credentials.is_some();
        if could_authenticate && error.class == AUTH_ERROR {
            return Err(ConnectionError::AuthenticatesAsZeo4);
        }
        let may_fall_back = self.registration.access == Access::PreferWrite && !self.is_read_only;
        if !may_fall_back || error.kind() != ServerErrorKind::ReadOnly {
            return Err(ConnectionError::Refused(error));
        }
        self.is_read_only = true;
        self.call_register()
    }

    fn authenticate(&mut self, scheme: &Value<'_>) -> Result<(), ConnectionError> {
        match scheme.as_text() {
            Some(DIGEST) if self.registration.credentials.is_some() => self.ask(Method::AuthGetChallenge),
            Some(DIGEST) => Err(ConnectionError::NoCredentials),
            // What a server sends may be long.
            _ => Err(ConnectionError::UnknownScheme(format!("{scheme:.80}"))),
        }
    }

    fn respond(&mut self, challenge: &Value<'_>) -> Result<(), ConnectionError> {
        let Some([realm, challenge, key_nonce]) = challenge.as_sequence().and_then(texts) else {
            return Err(ConnectionError::BadChallenge);
        };
        let credentials = self.registration.credentials.clone().ok_or(ConnectionError::NoCredentials)?;
        let secret = credentials.secret(realm).ok_or_else(|| ConnectionError::OtherRealm {
            server: realm.chars().take(80).collect(),
            own: credentials.own_realm().to_owned(),
        })?;
        let response = secret.response(challenge);
        let parts = [credentials.user(), challenge, &response];
        let parts = parts.into_iter().map(|part| self.text(part.as_bytes().to_vec())).collect();
        let args = Value::Tuple(vec![Value::Tuple(parts)]);
        self.call(&Call::Untyped(Method::AuthResponse, args), Waiting::Nobody)?;
        self.key = Some(secret.session_key(key_nonce));
        Ok(())
    }

    fn on_accepted(&mut self, accepted: &Value<'_>) -> Result<(), ConnectionError> {
        match (self.key.take(), accepted.as_int()) {
            (Some(key), Some(1)) => {
                self.session.set_key(&key);
                self.call_register()
            }
            _ => Err(ConnectionError::NotAccepted),
        }
    }
}

fn texts<'v>(values: &'v [Value<'_>]) -> Option<[&'v str; 3]> {
    let [first, second, third] = values else { return None };
    Some([first.as_text()?, second.as_text()?, third.as_text()?])
}
