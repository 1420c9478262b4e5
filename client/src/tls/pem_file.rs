//! PEM files.

use std::path::Path;

use pem::Pem;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{TlsError, TlsErrorKind};

/// The tags of certificates; the latter two are OpenSSL's.
const CERTIFICATE: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// Everything between the lines `-----BEGIN` and `-----END` in the file.
pub(super) fn read(path: &Path) -> Result<Vec<Pem>, TlsError> {
    let bytes = std::fs::read(path).map_err(|error| TlsError::at(path, error.into()))?;
    pem::parse_many(bytes).map_err(|error| TlsError::at(path, error.into()))
}

/// The certificates among them, in order; there is at least one.
///
/// # Errors
/// [`TlsError`] says why there is none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<CertificateDer<'static>> = read(path)?.into_iter().filter_map(certificate).collect();
    if found.is_empty() {
        return Err(TlsError::at(path, TlsErrorKind::NoCertificate));
    }
    Ok(found)
}

/// What `pem` certifies, if it does.
pub(super) fn certificate(pem: Pem) -> Option<CertificateDer<'static>> {
    CERTIFICATE.contains(&pem.tag()).then(|| CertificateDer::from(pem.into_contents()))
}
