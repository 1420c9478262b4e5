//! The key of a session that digest authentication begins, for whoever has the password file (protocol reference 13).

use zeo_codec::digest::SessionKey;
use zeo_codec::{Method, Value};
use zeo_server::auth::PasswordDatabase;

/// What was said so far of who the client is.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    key_nonce: Option<String>,
    user: Option<String>,
}

impl Exchange {
    /// Takes the arguments of a call, if it is one of the exchange.
    pub(super) fn call(&mut self, method: Method, args: &Value<'_>) {
        if method == Method::AuthResponse
            && let Some([Value::Tuple(items)]) = args.as_sequence()
        {
            self.user = items.first().and_then(text);
        }
    }

    /// Takes the result of a call. If the client is let in with it, that is who it is and the key, for users of
    /// `passwords`.
    pub(super) fn reply(
        &mut self,
        method: Method,
        result: &Value<'_>,
        passwords: &PasswordDatabase,
    ) -> Option<(String, Option<SessionKey>)> {
        match (method, result) {
            (Method::AuthGetChallenge, Value::Tuple(items)) => {
                self.key_nonce = items.get(2).and_then(text);
                None
            }
            (Method::AuthResponse, Value::Bool(true) | Value::Int(1)) => {
                let (user, key_nonce) = (self.user.take()?, self.key_nonce.take()?);
                let key = passwords.secret(&user).map(|secret| secret.session_key(&key_nonce));
                Some((user, key))
            }
            _ => None,
        }
    }
}

/// Text of Python 3, or a string of Python 2.
fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone().into_owned()),
        other => std::str::from_utf8(other.as_bytes()?).ok().map(str::to_owned),
    }
}
