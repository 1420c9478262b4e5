//! The scheme that ZEO 4 brings along.

use std::time::{SystemTime, UNIX_EPOCH};

use zeo_codec::Value;
use zeo_codec::digest::{Secret, nonce};

use super::{Exchange, PasswordDatabase, Scheme, SchemeError, Step};

/// `digest`: the client answers a challenge with what only the password gives (`ZEO/auth/auth_digest.py`, 4.3.1). From
/// then on each message has a MAC.
///
/// It keeps the password from who listens, and messages from who would change them. It does not keep anything else from
/// who listens.
#[derive(Debug)]
pub struct DigestScheme {
    database: std::sync::Arc<PasswordDatabase>,
    /// Nobody but this server knows it, so nobody can tell the next challenge.
    key: [u8; 32],
}

impl DigestScheme {
    /// Lets in the users of `database`.
    ///
    /// # Errors
    /// What the system says when it is asked for random bytes.
    pub fn new(database: PasswordDatabase) -> std::io::Result<Self> {
        let mut key = [0; 32];
        let mut filled_len = 0;
        while let Some(rest) = key.get_mut(filled_len..).filter(|rest| !rest.is_empty()) {
            filled_len += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self { database: database.into(), key })
    }
}

impl Scheme for DigestScheme {
    fn name(&self) -> &str {
        "digest"
    }

    fn methods(&self) -> &[&str] {
        &["auth_get_challenge", "auth_response"]
    }

    fn begin(&self, address: &str) -> Box<dyn Exchange> {
        Box::new(DigestExchange {
            database: std::sync::Arc::clone(&self.database),
            key: self.key,
            address: address.to_owned(),
            count: 0,
            challenge: None,
        })
    }
}

#[derive(Debug)]
struct DigestExchange {
    database: std::sync::Arc<PasswordDatabase>,
    key: [u8; 32],
    address: String,
    /// Of nonces that were made.
    count: u64,
    /// The challenge and the nonce of the key that were given out; good for one response.
    challenge: Option<(String, String)>,
}

impl DigestExchange {
    fn nonce(&mut self) -> String {
        self.count += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        nonce(&[
            self.address.as_bytes(),
            &time.as_nanos().to_be_bytes(),
            &self.count.to_be_bytes(),
            &self.key,
        ])
    }

    fn response(&mut self, args: &[Value<'_>]) -> Result<Step, SchemeError> {
        // A replayed one finds none.
        let (challenge, key_nonce) = self.challenge.take().unwrap_or_default();
        let [Value::Tuple(items)] = args else { return Err(bad_arguments()) };
        let [user, sent, response] = items.as_slice() else { return Err(bad_arguments()) };
        let (Some(user), Some(sent), Some(response)) = (text(user), text(sent), text(response)) else {
            return Err(bad_arguments());
        };
        if challenge.is_empty() || sent != challenge {
            return Err(SchemeError::value_error("invalid challenge"));
        }
        // A user who does not exist takes as long as one whose password is wrong, and gets the same answer.
        let nobody = Secret::new("", "", "");
        let known = self.database.secret(user);
        let secret = known.unwrap_or(&nobody);
        let is_right = secret.is_response(&challenge, response) && known.is_some();
        let user = user.to_owned();
        Ok(if is_right {
            Step::Passed { user, answer: true.into(), key: Some(secret.session_key(&key_nonce)) }
        } else {
            Step::Refused { user, answer: false.into() }
        })
    }
}

impl Exchange for DigestExchange {
    fn call(&mut self, method: &str, args: &[Value<'_>]) -> Result<Step, SchemeError> {
        match (method, args) {
            ("auth_get_challenge", []) => {
                let (challenge, key_nonce) = (self.nonce(), self.nonce());
                self.challenge = Some((challenge.clone(), key_nonce.clone()));
                let realm = self.database.realm().to_owned();
                Ok(Step::Goes(Value::Tuple(vec![realm.into(), challenge.into(), key_nonce.into()])))
            }
            ("auth_response", args) => self.response(args),
            _ => Err(bad_arguments()),
        }
    }
}

/// Text, as Python 2 and 3 write it.
fn text<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Text(text) => Some(text),
        other => std::str::from_utf8(other.as_bytes()?).ok(),
    }
}

fn bad_arguments() -> SchemeError {
    SchemeError { class: "builtins.TypeError", text: "wrong arguments".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme() -> DigestScheme {
        let mut database = PasswordDatabase::open("/nowhere/that/exists", Some("zeo realm")).unwrap();
        database.add("foo", "secret pw").unwrap();
        DigestScheme::new(database).unwrap()
    }

    fn challenge(exchange: &mut dyn Exchange) -> (String, String) {
        let Ok(Step::Goes(Value::Tuple(items))) = exchange.call("auth_get_challenge", &[]) else {
            panic!("no challenge")
        };
        let [realm, challenge, key_nonce] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(text(realm), Some("zeo realm"));
        (text(challenge).unwrap().to_owned(), text(key_nonce).unwrap().to_owned())
    }

    fn respond(
        exchange: &mut dyn Exchange,
        user: &str,
        challenge: &str,
        response: &str,
    ) -> Result<Step, SchemeError> {
        let items = [user, challenge, response].map(|item| Value::from(item.to_owned()));
        exchange.call("auth_response", &[Value::Tuple(items.to_vec())])
    }

    #[test]
    fn the_password_is_proved_once() {
        let mut exchange = scheme().begin("here");
        let secret = Secret::new("foo", "zeo realm", "secret pw");
        let (sent, key_nonce) = challenge(&mut *exchange);
        let response = secret.response(&sent);
        let Ok(Step::Passed { user, key, .. }) = respond(&mut *exchange, "foo", &sent, &response) else {
            panic!("refused")
        };
        assert_eq!((&*user, key), ("foo", Some(secret.session_key(&key_nonce))));
        let replayed = respond(&mut *exchange, "foo", &sent, &response);
        assert_eq!(replayed.unwrap_err(), SchemeError::value_error("invalid challenge"));
    }

    #[test]
    fn everything_else_is_refused_alike() {
        let mut exchange = scheme().begin("here");
        let mut answer = |user: &str, password: &str| {
            let (sent, _) = challenge(&mut *exchange);
            let response = Secret::new(user, "zeo realm", password).response(&sent);
            match respond(&mut *exchange, user, &sent, &response) {
                Ok(Step::Refused { answer, .. }) => answer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer("foo", "wrong"), answer("nobody", "secret pw"));
        // Not even who has no secret can come in with the one that stands in for it.
        let (sent, _) = challenge(&mut *exchange);
        let stand_in = Secret::new("", "", "").response(&sent);
        assert!(matches!(respond(&mut *exchange, "nobody", &sent, &stand_in), Ok(Step::Refused { .. })));
        let other = respond(&mut *exchange, "foo", "another challenge", "x");
        assert_eq!(other.unwrap_err(), SchemeError::value_error("invalid challenge"));
        assert!(exchange.call("auth_response", &[Value::None]).is_err());
        assert!(exchange.call("auth_get_challenge", &[Value::None]).is_err());
    }

    #[test]
    fn no_challenge_comes_twice() {
        let scheme = scheme();
        let mut all = std::collections::HashSet::new();
        for _ in 0..100 {
            let mut exchange = scheme.begin("here");
            for _ in 0..10 {
                let (challenge, key_nonce) = challenge(&mut *exchange);
                assert!(all.insert(challenge) && all.insert(key_nonce));
            }
        }
    }
}
