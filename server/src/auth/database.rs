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
    /// It names no realm.
    #[error("{}: no realm; `zeopasswd -r` gives a new file one", .0.display())]
    NoRealm(PathBuf),
    /// No user has this name.
    #[error("no such user: {0}")]
    NoSuchUser(String),
    /// There is such a user.
    #[error("user {0} exists already")]
    UserExists(String),
    /// A name that a line cannot hold.
    #[error("a {what} must not {why}")]
    BadName {
        /// Of what.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
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
    /// Reads a file that is there, and names its realm, which has to be the one asked for.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub fn load(path: impl Into<PathBuf>, realm: Option<&str>) -> Result<Self, DatabaseError> {
        let path = path.into();
        fs::metadata(&path).map_err(|source| io_error(&path, source))?;
        let database = Self::open(path, None)?;
        let found = database.realm.clone().ok_or_else(|| DatabaseError::NoRealm(database.path.clone()))?;
        database.check_realm(&found, realm)?;
        Ok(database)
    }

    fn check_realm(&self, found: &str, wanted: Option<&str>) -> Result<(), DatabaseError> {
        match wanted.filter(|wanted| !wanted.is_empty() && *wanted != found) {
            Some(wanted) => {
                let (found, wanted) = (found.to_owned(), wanted.to_owned());
                Err(DatabaseError::Realm { path: self.path.clone(), found, wanted })
            }
            None => Ok(()),
        }
    }

    /// Reads the file, to change it; one that does not exist is empty, and has the realm asked for.
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
            check_name("realm", wanted)?;
            match &database.realm {
                Some(found) => database.check_realm(found, realm)?,
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
        const WHAT: &str = "name of a user";
        check_name(WHAT, user)?;
        if user.contains(':') {
            return Err(DatabaseError::BadName { what: WHAT, why: "have a colon" });
        }
        if self.realm.is_none() && user.starts_with("realm ") {
            let why = "begin like the line of the realm in a file that has none";
            return Err(DatabaseError::BadName { what: WHAT, why });
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

    /// Writes the file, as a whole or not at all. One that is there keeps its owner and its mode, and stays where a link
    /// leads; of a new one nobody else may read anything.
    ///
    /// # Errors
    /// [`DatabaseError::Io`]
    pub fn save(&self) -> Result<(), DatabaseError> {
        self.write().map_err(|source| io_error(&self.path, source))
    }

    fn write(&self) -> io::Result<()> {
        let (path, before) = match fs::canonicalize(&self.path) {
            Ok(path) => {
                let metadata = fs::metadata(&path)?;
                (path, Some(metadata))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (self.path.clone(), None),
            Err(error) => return Err(error),
        };
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        if let Some(before) = before {
            keep_owner(file.as_file(), &before)?;
            file.as_file().set_permissions(before.permissions())?;
        }
        file.write_all(self.text().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        fs::File::open(directory)?.sync_all()
    }

    fn text(&self) -> String {
        let realm = self.realm.iter().map(|realm| format!("realm {realm}\n"));
        let users = self.users.iter().map(|(user, secret)| format!("{user}: {}\n", secret.to_hex()));
        realm.chain(users).collect()
    }
}

/// Whether it stays as it is in a line by itself.
fn check_name(what: &'static str, name: &str) -> Result<(), DatabaseError> {
    let why = match name {
        "" => "be empty",
        name if name.trim() != name => "have blanks around it",
        name if name.contains(['\n', '\r']) => "have line breaks",
        _ => return Ok(()),
    };
    Err(DatabaseError::BadName { what, why })
}

/// Gives a file the owner of the one that it is to replace, which only root can, if that is somebody else.
fn keep_owner(file: &fs::File, before: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (before.uid(), before.gid()) {
        return Ok(());
    }
    fchown(file, Some(before.uid()), Some(before.gid()))
}

fn io_error(path: &Path, source: io::Error) -> DatabaseError {
    DatabaseError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

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
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
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
            assert!(matches!(database.add(name, "x"), Err(DatabaseError::BadName { .. })), "{name:?}");
        }
        let mut without = PasswordDatabase::open(directory.path().join("new"), None).unwrap();
        let error = without.add("realm x", "x").unwrap_err().to_string();
        assert!(
            error.ends_with("must not begin like the line of the realm in a file that has none"),
            "{error}"
        );
    }

    /// Who runs the server may be somebody else than who keeps its passwords.
    #[test]
    fn a_file_that_is_there_keeps_its_mode_its_owner_and_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("passwords"), directory.path().join("link"));
        fs::write(&path, PYTHONS).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root may.
        let is_root = std::os::unix::fs::chown(&path, Some(4711), Some(4712)).is_ok();
        std::os::unix::fs::symlink("passwords", &link).unwrap();
        let mut database = PasswordDatabase::open(&link, None).unwrap();
        database.add("bar", "x").unwrap();
        database.save().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        assert!(!is_root || (metadata.uid(), metadata.gid()) == (4711, 4712));
        assert_eq!(PasswordDatabase::load(&path, None).unwrap().user_count(), 2);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_server_wants_a_file_that_is_there_and_names_its_realm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let refused = |realm| PasswordDatabase::load(&path, realm).map(|_| ()).unwrap_err().to_string();
        assert!(refused(Some("zeo realm")).contains("No such file"));
        fs::write(&path, "foo: 9b9dfd53017eb18582c5a90fb6f835c26aa8d7f3\n").unwrap();
        assert!(refused(Some("zeo realm")).contains("no realm"));
        fs::write(&path, PYTHONS).unwrap();
        assert!(refused(Some("other")).ends_with("the realm is 'zeo realm', not 'other'"));
        assert!(PasswordDatabase::load(&path, Some("zeo realm")).is_ok());
        assert!(PasswordDatabase::load(&path, None).is_ok());
    }
}
