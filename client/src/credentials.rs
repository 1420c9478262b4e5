//! Who a client says it is, to servers of ZEO 4 that ask.

use std::fmt;

use zeo_codec::digest::Secret;

/// A user and a password, for the digest authentication of ZEO 4 (protocol reference 13).
///
/// The password itself is never sent, and messages cannot be forged; but everybody on the way can read them, and try
/// passwords on what was said. Servers of ZEO 5 ask for none of this: they go by certificates.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
    realm: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// A user with a password, in whatever realm the server has.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into(), realm: None }
    }

    /// Only for servers of this realm: others are told nothing.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// The name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What proves to a server of this realm that the password is known; `None` if it is another realm than ours.
    pub(crate) fn secret(&self, realm: &str) -> Option<Secret> {
        let is_ours = self.realm.as_ref().is_none_or(|own| own == realm);
        is_ours.then(|| Secret::new(&self.user, realm, &self.password))
    }

    /// The realm that a server must have.
    pub(crate) fn own_realm(&self) -> &str {
        self.realm.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown_and_other_realms_get_nothing() {
        let any = Credentials::new("foo", "secret pw");
        assert!(!format!("{any:?}").contains("secret"));
        assert!(any.secret("elsewhere").is_some());
        let bound = any.realm("zeo realm");
        assert!(bound.secret("elsewhere").is_none());
        // Protocol reference A.6.
        let secret = bound.secret("zeo realm").unwrap();
        assert_eq!(secret.to_hex(), "9b9dfd53017eb18582c5a90fb6f835c26aa8d7f3");
    }
}
