//! Who a client of ZEO 4 is: its authentication before `register` (protocol reference 13).
//!
//! A client asks `getAuthProtocol` for the name of the scheme, and then makes the scheme's own calls until one of them
//! says that it is authenticated. [`DigestScheme`] is the one that ZEO 4 brings along; others are made by implementing
//! [`Scheme`] and [`Exchange`] (`server/examples/auth_scheme.rs` is one) and given to
//! [`Engine::with_authentication`](crate::engine::Engine::with_authentication).
//!
//! ZEO 5 knows nothing of this. A server that asks for it refuses clients of ZEO 5: their way is TLS with client
//! certificates.

mod database;
mod digest;

use std::fmt;

use zeo_codec::Value;
use zeo_codec::digest::SessionKey;

pub use database::{DatabaseError, PasswordDatabase};
pub use digest::DigestScheme;

/// A way to find out who a client is. Shared by all connections.
pub trait Scheme: Send + Sync + fmt::Debug {
    /// Its name, as `getAuthProtocol` tells it: Python's client looks for a module of that name in `ZEO.auth`.
    fn name(&self) -> &str;

    /// The methods that an [`Exchange`] has. Names of the protocol's own methods do not get there, but for
    /// `auth_get_challenge` and `auth_response`.
    fn methods(&self) -> &[&str];

    /// Begins with a client; `address` is the one that it comes from, as the log names it.
    fn begin(&self, address: &str) -> Box<dyn Exchange>;
}

/// One client's authentication.
pub trait Exchange: Send + fmt::Debug {
    /// Answers a call of one of the scheme's methods. The arguments come from a stranger: any number of them, of any
    /// type.
    ///
    /// # Errors
    /// [`SchemeError`], which the client gets as an exception. It may go on.
    fn call(&mut self, method: &str, args: &[Value<'_>]) -> Result<Step, SchemeError>;
}

/// What came of a call.
#[derive(Debug)]
pub enum Step {
    /// The exchange goes on.
    Goes(Value<'static>),
    /// It is who it says; it may register now.
    Passed {
        /// Who, for the log.
        user: String,
        /// What the call returns.
        answer: Value<'static>,
        /// The key of the MACs that all later messages have, if there is one.
        key: Option<SessionKey>,
    },
    /// It is not.
    Refused {
        /// Who it said to be, for the log.
        user: String,
        /// What the call returns.
        answer: Value<'static>,
    },
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SchemeError {
    /// Python's class, `builtins.ValueError` for example.
    pub class: &'static str,
    /// The exception's only argument.
    pub text: String,
}

impl SchemeError {
    /// A `ValueError`.
    #[must_use]
    pub fn value_error(text: impl Into<String>) -> Self {
        Self { class: "builtins.ValueError", text: text.into() }
    }
}
