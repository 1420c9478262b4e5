//! Why there is no TLS.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls;

/// A file that cannot be used, and why.
#[derive(Debug)]
pub struct TlsError {
    /// The file or directory; none for what the system itself trusts and for variables.
    pub path: Option<PathBuf>,
    /// What is wrong with it.
    pub kind: TlsErrorKind,
}

impl TlsError {
    /// `kind` is wrong with the file or directory `path`.
    #[must_use]
    pub fn at(path: &Path, kind: TlsErrorKind) -> Self {
        Self { path: Some(path.to_owned()), kind }
    }

    /// What is wrong is in no file.
    #[must_use]
    pub fn nowhere(kind: TlsErrorKind) -> Self {
        Self { path: None, kind }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "<ssl>: {}: {}", path.display(), self.kind),
            None => write!(f, "<ssl>: {}", self.kind),
        }
    }
}

impl std::error::Error for TlsError {}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is not PEM, the text form of certificates and keys.
    #[error("is no PEM file: {0}")]
    Pem(#[from] pem::PemError),
    /// No `BEGIN CERTIFICATE` in it.
    #[error("contains no certificate")]
    NoCertificate,
    /// No certificate in it by which the other side could be recognized.
    #[error("contains no certificate that can be trusted; {0}")]
    NothingTrusted(&'static str),
    /// A list of revoked certificates, which Python's peers honour and these do not.
    #[error("contains a revocation list; checking these is not supported yet")]
    Revocations,
    /// A directory without any name as OpenSSL looks for.
    #[error(
        "contains no file with a name such as 1a2b3c4d.0, by which certificates are found in a directory; \
         run \"openssl rehash\" on it"
    )]
    NotHashed,
    /// No `BEGIN ... PRIVATE KEY` in it.
    #[error("contains no private key")]
    NoKey,
    /// The key is encrypted.
    #[error("the private key is encrypted; say password-file or password-env in <ssl>")]
    NoPassword,
    /// The variable with the password is not set.
    #[error("the environment variable {0}, which password-env names, is not set")]
    NoVariable(String),
    /// The password does not fit, or the key is damaged.
    #[error("the private key cannot be decrypted: the password does not fit, or the key is damaged")]
    Decrypt,
    /// An encryption that is not known here.
    #[error(
        "the private key is encrypted with {0}, which is not supported; \"openssl pkcs8 -topk8 -v2 aes-256-cbc\" converts it"
    )]
    UnknownEncryption(String),
    /// Certificate and key do not fit together, or are of a kind that TLS does not use.
    #[error("{0}")]
    Refused(rustls::Error),
}
