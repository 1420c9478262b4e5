//! Whether a client has shown who it is ([`crate::auth`]).

use zeo_codec::session::ServerSession;
use zeo_codec::{Envelope, Generation, Value};

use super::{Answer, Closing, Flow, Method, Peer, Reply};
use crate::auth::{Exchange, Step};
use crate::engine::error::CallError;
use crate::engine::printable::{NAME_LEN, printable};

/// Where a client stands.
#[derive(Debug, Default)]
pub(super) struct Authentication {
    exchange: Option<Box<dyn Exchange>>,
    is_passed: bool,
    refused_count: u32,
}

/// How often a client may be wrong; then it has to come again.
const REFUSED_MAX: u32 = 3;

impl Peer {
    /// Whether a call is one of the scheme's. Only before `register`, and never for a client that cannot authenticate.
    pub(super) fn is_authenticating(&self, name: &[u8]) -> bool {
        let is_time = self.attached.is_none()
            && self.dialect.generation != Generation::Zeo5
            && !self.authentication.is_passed;
        let scheme = self.engine.scheme.as_ref();
        is_time
            && scheme.is_some_and(|scheme| scheme.methods().iter().any(|method| method.as_bytes() == name))
    }

    /// Lets the scheme answer.
    pub(super) fn authenticate(
        &mut self,
        envelope: Envelope<'_>,
        session: &mut ServerSession,
    ) -> Result<Flow, Closing> {
        let Some(scheme) = self.engine.scheme.clone() else { return Ok(Flow::Done) };
        let name = String::from_utf8_lossy(&envelope.name).into_owned();
        let reply_to = if envelope.is_one_way() { None } else { Some(envelope.id.clone()) };
        let args = envelope.args.into_value(&self.limits)?;
        let (Value::Tuple(args) | Value::List(args)) = args else {
            return Err(Closing::InvalidMethod(name));
        };
        let address = &self.address;
        let exchange = self.authentication.exchange.get_or_insert_with(|| scheme.begin(address));
        let (answer, key) = match exchange.call(&name, &args) {
            Ok(Step::Goes(answer)) => (Ok(answer), None),
            Ok(Step::Passed { user, answer, key }) => {
                let user = printable(&user, NAME_LEN);
                tracing::info!(target: "ZEO.StorageServer", "({}) authenticated as {user}", self.label);
                self.authentication.is_passed = true;
                (Ok(answer), key)
            }
            Ok(Step::Refused { user, answer }) => {
                let user = printable(&user, NAME_LEN);
                tracing::warn!(target: "ZEO.StorageServer", "({}) refused authentication as {user}", self.label);
                self.authentication.refused_count += 1;
                (Ok(answer), None)
            }
            Err(error) => {
                self.authentication.refused_count += 1;
                (Err(CallError::Scheme(error)), None)
            }
        };
        // Named by a method of the protocol, since these errors are not everyday.
        let answer = answer.map(|answer| Answer::Reply(Reply::Value(answer)));
        self.answer(Method::AuthResponse, reply_to.as_ref(), answer, session)?;
        if let Some(key) = key {
            // The answer is the last message without a MAC.
            session.set_key(&key);
        }
        self.check_patience()?;
        Ok(Flow::Done)
    }

    /// Whether the client may go on trying.
    pub(super) const fn check_patience(&self) -> Result<(), Closing> {
        match self.authentication.refused_count {
            REFUSED_MAX.. => Err(Closing::Refused),
            _ => Ok(()),
        }
    }

    /// Whether the client may register. One who may not has tried once more.
    pub(super) fn check_authenticated(&mut self) -> Result<(), CallError> {
        if self.engine.scheme.is_some() && !self.authentication.is_passed {
            self.authentication.refused_count += 1;
            return Err(CallError::Unauthenticated);
        }
        Ok(())
    }
}
