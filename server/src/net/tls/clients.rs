//! Which client certificates are trusted.
//!
//! Users of ZEO mostly *pin*: the certificate of each client, issued by itself, stands in the file that
//! `authenticate` names. Such a one is often its own authority as well (those of ZEO's tests say so), which
//! the usual rules of TLS libraries refuse. So there are two ways in:
//!
//! * the client shows a certificate that is, byte for byte, among those trusted, valid now, and not made for
//!   something else; or
//! * it shows one that an authority among those trusted has issued, under the usual rules.
//!
//! In both cases the handshake proves that the client owns the key.
//!
//! Which certificates OpenSSL takes as pinned ones and as authorities was found out by connecting with Python 3.11,
//! OpenSSL 3.0 and the context of `ZEO/zconfig.py` (6.2), and is kept here: pinned ones must be of version 3, valid
//! now, and, if they restrict their use, allow `clientAuth` and signatures; authorities must say that they are,
//! and that they sign certificates. In one point this is wider: a pinned certificate need not be issued by
//! itself, as in Python 3.13 and newer (`VERIFY_X509_PARTIAL_CHAIN`).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError, OtherError,
    SignatureScheme,
};
use webpki::{EndEntityCert, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use x509_cert::der::{self, Decode};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::{TlsError, TlsErrorKind, pem_file};

/// Seconds since 1970, both ends included.
type Validity = RangeInclusive<u64>;

/// The certificates by which clients are let in.
#[derive(Debug, Default)]
pub(super) struct TrustedClients {
    pinned: HashMap<CertificateDer<'static>, Validity>,
    authorities: Vec<(TrustAnchor<'static>, Validity)>,
}

impl TrustedClients {
    /// The certificates in a file; or in a directory, where they are found by names as OpenSSL gives them (eight
    /// hexadecimal digits, a dot and a number), as Python's server finds them. What has another name, a
    /// certificate that was put aside for example, is not trusted.
    pub(super) fn from_path(path: &Path) -> Result<Self, TlsError> {
        let mut trusted = Self::default();
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
            let kind =
                TlsErrorKind::NothingTrusted("they must be X.509 of version 3 and allow use by clients");
            return Err(TlsError::at(path, kind));
        }
        Ok(trusted)
    }

    /// The authorities that this system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded, as by OpenSSL.
    pub(super) fn from_system() -> Result<Self, TlsError> {
        let mut trusted = Self::default();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be read is one authority less.
            let _ = trusted.add_authority(&certificate);
        }
        if trusted.is_empty() {
            let kind = TlsErrorKind::NothingTrusted("SIGNED needs authorities that this system trusts");
            return Err(TlsError::nowhere(kind));
        }
        Ok(trusted)
    }

    pub(super) fn verifier(self, algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        Verifier { trusted: self, algorithms }
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
            if let Err(reason) = self.add(&certificate) {
                let path = path.display();
                tracing::warn!(target: "ZEO.asyncio.server", "certificate {number} in {path} lets nobody in: {reason}");
            }
        }
        Ok(())
    }

    /// Trusts `certificate` in all ways that it is good for.
    fn add(&mut self, certificate: &CertificateDer<'static>) -> Result<(), String> {
        let is_authority = self.add_authority(certificate)?;
        let parsed = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        if is_for_clients(&parsed).map_err(|error| error.to_string())? {
            self.pinned.insert(certificate.clone(), validity(&parsed));
            return Ok(());
        }
        if is_authority { Ok(()) } else { Err("it is not made for TLS clients".into()) }
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

/// As OpenSSL's purpose `sslclient`: what is not restricted is allowed.
fn is_for_clients(certificate: &Certificate) -> Result<bool, der::Error> {
    let certificate = certificate.tbs_certificate();
    let is_client = certificate
        .get_extension::<ExtendedKeyUsage>()?
        .is_none_or(|(_, usage)| usage.0.contains(&ID_KP_CLIENT_AUTH));
    let signs = certificate
        .get_extension::<KeyUsage>()?
        .is_none_or(|(_, usage)| usage.digital_signature() || usage.key_agreement());
    Ok(is_client && signs)
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

/// Applies the rules at a handshake.
#[derive(Debug)]
pub(super) struct Verifier {
    trusted: TrustedClients,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verify_pinned(validity: &Validity, now: u64) -> Result<ClientCertVerified, RustlsError> {
        if now < *validity.start() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > *validity.end() {
            return Err(CertificateError::Expired.into());
        }
        Ok(ClientCertVerified::assertion())
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Python's server does not tell either whom it trusts.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        if let Some(validity) = self.trusted.pinned.get(end_entity) {
            return Self::verify_pinned(validity, now.as_secs());
        }
        let is_valid = |validity: &Validity| validity.contains(&now.as_secs());
        let authorities = self.trusted.authorities.iter().filter(|(_, validity)| is_valid(validity));
        let anchors: Vec<TrustAnchor<'_>> = authorities.map(|(anchor, _)| anchor.clone()).collect();
        let verified = EndEntityCert::try_from(end_entity).and_then(|certificate| {
            let usage = webpki::KeyUsage::client_auth();
            certificate
                .verify_for_usage(self.algorithms.all, &anchors, intermediates, now, usage, None, None)
                .map(drop)
        });
        match verified {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            // An unknown certificate that is its own authority, as many of those that are pinned are.
            Err(webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            Err(webpki::Error::CertExpired { .. }) => Err(CertificateError::Expired.into()),
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }

    // The two proofs that the client owns the key of its certificate: whatever else is trusted, these decide.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
