//! Which certificates of the other side are trusted, by a server and by a client.
//!
//! Users of ZEO mostly *pin*: the certificate of each peer, issued by itself, stands in the file that
//! `authenticate` names. Such a one is often its own authority as well (those of ZEO's tests say so), which
//! the usual rules of TLS libraries refuse. So there are two ways in:
//!
//! * the peer shows a certificate that is, byte for byte, among those trusted, valid now, and not made for
//!   something else; or
//! * it shows one that an authority among those trusted has issued, under the usual rules.
//!
//! In both cases the handshake proves that the peer owns the key.
//!
//! Which certificates OpenSSL takes as pinned ones and as authorities was found out by connecting with Python 3.11,
//! OpenSSL 3.0 and the context of `ZEO/zconfig.py` (6.2), and is kept here: pinned ones must be of version 3, valid
//! now, and, if they restrict their use, allow `clientAuth` (a server's: `serverAuth`) and signatures (a server's: or
//! key exchange); authorities must say that they are, and that they sign certificates. In one point this is wider: a
//! pinned certificate need not be issued by itself, as in Python 3.13 and newer (`VERIFY_X509_PARTIAL_CHAIN`).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error as RustlsError, OtherError};
use webpki::{EndEntityCert, KeyUsage as Usage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::{self, Decode};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::{TlsError, TlsErrorKind, pem_file};

/// Who shows the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Clients, to a server.
    Client,
    /// Servers, to a client.
    Server,
}

impl Peer {
    const fn usage(self) -> Usage {
        match self {
            Self::Client => Usage::client_auth(),
            Self::Server => Usage::server_auth(),
        }
    }

    /// As OpenSSL's purposes `sslclient` and `sslserver`: what is not restricted is allowed.
    fn may_show(self, certificate: &Certificate) -> Result<bool, der::Error> {
        let certificate = certificate.tbs_certificate();
        let purpose = match self {
            Self::Client => ID_KP_CLIENT_AUTH,
            Self::Server => ID_KP_SERVER_AUTH,
        };
        let is_meant = certificate
            .get_extension::<ExtendedKeyUsage>()?
            .is_none_or(|(_, usage)| usage.0.contains(&purpose));
        let proves = certificate.get_extension::<KeyUsage>()?.is_none_or(|(_, usage)| {
            usage.digital_signature()
                || usage.key_agreement()
                || (self == Self::Server && usage.key_encipherment())
        });
        Ok(is_meant && proves)
    }

    const fn wanted(self) -> &'static str {
        match self {
            Self::Client => "they must be X.509 of version 3 and allow use by clients",
            Self::Server => "they must be X.509 of version 3 and allow use by servers",
        }
    }
}

/// Seconds since 1970, both ends included.
type Validity = RangeInclusive<u64>;

/// The certificates by which peers are recognized.
#[derive(Debug)]
pub struct Trusted {
    peer: Peer,
    pinned: HashMap<CertificateDer<'static>, Validity>,
    authorities: Vec<(TrustAnchor<'static>, Validity)>,
}

impl Trusted {
    fn nothing(peer: Peer) -> Self {
        Self { peer, pinned: HashMap::new(), authorities: Vec::new() }
    }

    /// The certificates in a file; or in a directory, where they are found by names as OpenSSL gives them (eight
    /// hexadecimal digits, a dot and a number), as Python's peers find them. What has another name, a
    /// certificate that was put aside for example, is not trusted.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used, or nothing there can be trusted.
    pub fn from_path(peer: Peer, path: &Path) -> Result<Self, TlsError> {
        let mut trusted = Self::nothing(peer);
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| TlsError::at(path, error.into()))?;
            let mut is_hashed = false;
            for entry in entries {
                let entry = entry.map_err(|error| TlsError::at(path, error.into()))?;
                if entry.file_name().to_str().is_some_and(is_hash_name) {
                    is_hashed = true;
                    trusted.add_file(&entry.path())?;
                }
            }
            if !is_hashed {
                return Err(TlsError::at(path, TlsErrorKind::NotHashed));
            }
        } else {
            trusted.add_file(path)?;
        }
        if trusted.is_empty() {
            return Err(TlsError::at(path, TlsErrorKind::NothingTrusted(peer.wanted())));
        }
        Ok(trusted)
    }

    /// The authorities that this system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded, as by OpenSSL.
    ///
    /// # Errors
    /// [`TlsErrorKind::NothingTrusted`] if there are none.
    pub fn from_system(peer: Peer) -> Result<Self, TlsError> {
        let mut trusted = Self::nothing(peer);
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be read is one authority less.
            let _ = trusted.add_authority(&certificate);
        }
        if trusted.is_empty() {
            let kind = TlsErrorKind::NothingTrusted("it takes authorities that this system trusts");
            return Err(TlsError::nowhere(kind));
        }
        Ok(trusted)
    }

    fn is_empty(&self) -> bool {
        self.pinned.is_empty() && self.authorities.is_empty()
    }

    fn add_file(&mut self, path: &Path) -> Result<(), TlsError> {
        let pems = pem_file::read(path)?;
        if pems.iter().any(|pem| pem.tag() == "X509 CRL") {
            return Err(TlsError::at(path, TlsErrorKind::Revocations));
        }
        let found: Vec<_> = pems.into_iter().filter_map(pem_file::certificate).collect();
        if found.is_empty() {
            return Err(TlsError::at(path, TlsErrorKind::NoCertificate));
        }
        for (certificate, number) in found.into_iter().zip(1_usize..) {
            let Err(reason) = self.add(&certificate) else { continue };
            let path = path.display();
            // By the names of Python's loggers.
            match self.peer {
                Peer::Client => {
                    tracing::warn!(target: "ZEO.asyncio.server", "certificate {number} in {path} lets nobody in: {reason}");
                }
                Peer::Server => {
                    tracing::warn!(target: "ZEO.asyncio.client", "certificate {number} in {path} makes no server trusted: {reason}");
                }
            }
        }
        Ok(())
    }

    /// Trusts `certificate` in all ways that it is good for.
    fn add(&mut self, certificate: &CertificateDer<'static>) -> Result<(), String> {
        let is_authority = self.add_authority(certificate)?;
        let parsed = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        if self.peer.may_show(&parsed).map_err(|error| error.to_string())? {
            self.pinned.insert(certificate.clone(), validity(&parsed));
            return Ok(());
        }
        let made_for = match self.peer {
            Peer::Client => "it is not made for TLS clients",
            Peer::Server => "it is not made for TLS servers",
        };
        if is_authority { Ok(()) } else { Err(made_for.into()) }
    }

    /// Trusts what `certificate` has issued, if it is an authority.
    fn add_authority(&mut self, certificate: &CertificateDer<'static>) -> Result<bool, String> {
        // What cannot be read here cannot be read at the handshake either.
        EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
        let parsed = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let is_authority = is_authority(&parsed).map_err(|error| error.to_string())?;
        if is_authority {
            let anchor = anchor_from_trusted_cert(certificate).map_err(|error| error.to_string())?;
            self.authorities.push((anchor.to_owned(), validity(&parsed)));
        }
        Ok(is_authority)
    }

    /// Whether a peer that shows this certificate, with `intermediates` up to an authority, is trusted at this time.
    /// That it owns the key is for the handshake to prove.
    ///
    /// # Errors
    /// Why not, as the peer is told.
    pub fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), RustlsError> {
        if let Some(validity) = self.pinned.get(end_entity) {
            return verify_pinned(validity, now.as_secs());
        }
        let is_valid = |validity: &Validity| validity.contains(&now.as_secs());
        let authorities = self.authorities.iter().filter(|(_, validity)| is_valid(validity));
        let anchors: Vec<TrustAnchor<'_>> = authorities.map(|(anchor, _)| anchor.clone()).collect();
        let verified = EndEntityCert::try_from(end_entity).and_then(|certificate| {
            let usage = self.peer.usage();
            certificate
                .verify_for_usage(algorithms.all, &anchors, intermediates, now, usage, None, None)
                .map(drop)
        });
        match verified {
            Ok(()) => Ok(()),
            // An unknown certificate that is its own authority, as many of those that are pinned are.
            Err(webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            Err(webpki::Error::CertExpired { .. }) => Err(CertificateError::Expired.into()),
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }
}

fn verify_pinned(validity: &Validity, now: u64) -> Result<(), RustlsError> {
    if now < *validity.start() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > *validity.end() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn is_hash_name(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn validity(certificate: &Certificate) -> Validity {
    let validity = certificate.tbs_certificate().validity();
    validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs()
}

/// As OpenSSL 3 with `X509_V_FLAG_X509_STRICT`: what is not said is denied.
fn is_authority(certificate: &Certificate) -> Result<bool, der::Error> {
    let certificate = certificate.tbs_certificate();
    let is_authority =
        certificate.get_extension::<BasicConstraints>()?.is_some_and(|(_, constraints)| constraints.ca);
    let signs_certificates =
        certificate.get_extension::<KeyUsage>()?.is_some_and(|(_, usage)| usage.key_cert_sign());
    Ok(is_authority && signs_certificates)
}
