//! The password file of `zeopasswd`: a text file with a line for each user (`ZEO/auth/base.py:Database`, 4.3.1).
//!
//! ```text
//! realm zeo realm
//! foo: 9b9dfd53017eb18582c5a90fb6f835c26aa8d7f3
//! ```
//!
//! The digits are as good as the password. A file that is made here can be read by its owner only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zeo_codec::digest::Secret;

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any password file.
    #[error("{}: more than {LEN_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// A line that is none of such a file.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The realm that was asked for is not the file's.
    #[error("{}: the realm is '{found}', not '{wanted}'", path.display())]
    Realm {
        /// The file.
        path: PathBuf,
        /// Its realm.
        found: String,
        /// The one that was asked for.
        wanted: String,
    },
    /// No user has this name.
    #[error("no such user: {0}")]
    NoSuchUser(String),
    /// There is such a user.
    #[error("user {0} exists already")]
    UserExists(String),
    /// A name that a line cannot hold.
    #[error("a {0} must not be empty, have line breaks, or blanks around it, and that of a user no colon")]
    BadName(&'static str),
}

const LEN_MAX: u64 = 16 << 20;

/// The users of a realm, and what proves who they are.
#[derive(Debug, Clone)]
pub struct PasswordDatabase {
    path: PathBuf,
    realm: Option<String>,
    users: BTreeMap<String, Secret>,
}

impl PasswordDatabase {
    /// Reads the file; one that does not exist is empty, and has the realm asked for.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub fn open(path: impl Into<PathBuf>, realm: Option<&str>) -> Result<Self, DatabaseError> {
        let path = path.into();
        let mut database = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > LEN_MAX => return Err(DatabaseError::TooLarge(path)),
            Ok(_) => {
                let text = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
                Self::parse(path, &text)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self { path, realm: None, users: BTreeMap::new() }
            }
            Err(source) => return Err(io_error(&path, source)),
        };
        if let Some(wanted) = realm.filter(|realm| !realm.is_empty()) {
            if !is_name(wanted) {
                return Err(DatabaseError::BadName("realm"));
            }
            match &database.realm {
                Some(found) if found != wanted => {
                    let (found, wanted) = (found.clone(), wanted.to_owned());
                    return Err(DatabaseError::Realm { path: database.path, found, wanted });
                }
                Some(_) => {}
                None => database.realm = Some(wanted.to_owned()),
            }
        }
        Ok(database)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, DatabaseError> {
        let mut lines = text.lines().enumerate().peekable();
        let realm = lines.next_if(|(_, line)| line.starts_with("realm "));
        let realm = realm.and_then(|(_, line)| line.trim().strip_prefix("realm ")).map(str::to_owned);
        let mut users = BTreeMap::new();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let bad = |what| DatabaseError::Line { path: path.clone(), line: at + 1, what };
            let (user, digits) = line.trim().split_once(':').ok_or_else(|| bad("no colon"))?;
            let secret = Secret::from_hex(digits.trim());
            let secret = secret.ok_or_else(|| bad("what follows the colon is no digest of 40 digits"))?;
            users.insert(user.to_owned(), secret);
        }
        Ok(Self { path, realm, users })
    }

    /// The realm; empty if the file names none.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or_default()
    }

    /// What a user's password proves itself with.
    #[must_use]
    pub fn secret(&self, user: &str) -> Option<&Secret> {
        self.users.get(user)
    }

    /// Number of users.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`DatabaseError::UserExists`], [`DatabaseError::BadName`]
    pub fn add(&mut self, user: &str, password: &str) -> Result<(), DatabaseError> {
        if self.users.contains_key(user) {
            return Err(DatabaseError::UserExists(user.to_owned()));
        }
        self.put(user, password)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// [`DatabaseError::NoSuchUser`]
    pub fn change(&mut self, user: &str, password: &str) -> Result<(), DatabaseError> {
        if !self.users.contains_key(user) {
            return Err(DatabaseError::NoSuchUser(user.to_owned()));
        }
        self.put(user, password)
    }

    fn put(&mut self, user: &str, password: &str) -> Result<(), DatabaseError> {
        if !is_name(user) || user.contains(':') || (self.realm.is_none() && user.starts_with("realm ")) {
            return Err(DatabaseError::BadName("name of a user"));
        }
        let secret = Secret::new(user, self.digest_realm(), password);
        self.users.insert(user.to_owned(), secret);
        Ok(())
    }

    /// Python forgets to turn a missing realm into an empty one (`auth_digest.py:_store_password`).
    fn digest_realm(&self) -> &str {
        self.realm.as_deref().unwrap_or("None")
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`DatabaseError::NoSuchUser`]
    pub fn delete(&mut self, user: &str) -> Result<(), DatabaseError> {
        match self.users.remove(user) {
            Some(_) => Ok(()),
            None => Err(DatabaseError::NoSuchUser(user.to_owned())),
        }
    }

    /// Writes the file, as a whole or not at all.
    ///
    /// # Errors
    /// [`DatabaseError::Io`]
    pub fn save(&self) -> Result<(), DatabaseError> {
        let directory = match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let write = || {
            // Nobody else may read it.
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(self.text().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            fs::File::open(directory)?.sync_all()
        };
        write().map_err(|source| io_error(&self.path, source))
    }

    fn text(&self) -> String {
        let realm = self.realm.iter().map(|realm| format!("realm {realm}\n"));
        let users = self.users.iter().map(|(user, secret)| format!("{user}: {}\n", secret.to_hex()));
        realm.chain(users).collect()
    }
}

/// Whether it stays as it is in a line by itself.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(['\n', '\r'])
}

fn io_error(path: &Path, source: io::Error) -> DatabaseError {
    DatabaseError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `zeopasswd -f FILE -p digest -r 'zeo realm' foo 'secret pw'` of 4.3.1 writes it.
    const PYTHONS: &str = "realm zeo realm\nfoo: 9b9dfd53017eb18582c5a90fb6f835c26aa8d7f3\n";

    #[test]
    fn the_file_is_pythons() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let mut database = PasswordDatabase::open(&path, Some("zeo realm")).unwrap();
        database.add("foo", "secret pw").unwrap();
        database.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), PYTHONS);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut again = PasswordDatabase::open(&path, None).unwrap();
        assert_eq!((again.realm(), again.user_count()), ("zeo realm", 1));
        assert_eq!(again.secret("foo"), Some(&Secret::new("foo", "zeo realm", "secret pw")));
        assert!(matches!(again.add("foo", "x"), Err(DatabaseError::UserExists(_))));
        again.change("foo", "x").unwrap();
        assert_eq!(again.secret("foo"), Some(&Secret::new("foo", "zeo realm", "x")));
        again.delete("foo").unwrap();
        assert!(matches!(again.delete("foo"), Err(DatabaseError::NoSuchUser(_))));
        assert!(matches!(again.change("foo", "x"), Err(DatabaseError::NoSuchUser(_))));
    }

    #[test]
    fn what_is_no_password_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            PasswordDatabase::open(&path, Some("zeo realm")).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refused("realm other\n").ends_with("the realm is 'other', not 'zeo realm'"));
        assert!(refused("realm zeo realm\nfoo\n").ends_with("line 2: no colon"));
        assert!(refused("foo: 1234\n").contains("line 1: what follows the colon"));
        let other = refused("\u{fffd}\n");
        assert!(other.contains("line 1"), "{other}");
        let mut database = PasswordDatabase::open(directory.path().join("new"), Some("r")).unwrap();
        for name in ["", " a", "a:b", "a\nb"] {
            assert!(matches!(database.add(name, "x"), Err(DatabaseError::BadName(_))), "{name:?}");
        }
    }
}
