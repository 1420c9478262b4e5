//! TLS on either side of the recorder, with keys from PEM files.
//!
//! Towards clients it shows the certificate that it was given, and asks for none. Towards the server it shows one if
//! it has one, and accepts exactly the server's certificate that it was told, or one issued by an authority in the
//! same file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// PEM: the own certificate, then those of its issuers.
    pub certificate: &'a Path,
    /// PEM, not encrypted; the certificate's file if there is none.
    pub key: Option<&'a Path>,
}

impl Identity<'_> {
    fn load(&self) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = certificates(self.certificate)?;
        let path = self.key.unwrap_or(self.certificate);
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| at(path, error))?;
        Ok((chain, key))
    }
}

/// The side that clients connect to.
///
/// # Errors
/// Says which file is at fault, and why.
pub fn acceptor(identity: &Identity<'_>) -> io::Result<TlsAcceptor> {
    let (chain, key) = identity.load()?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| at(identity.certificate, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The side that connects to the server, whose certificate or issuer stands in the file `trusted`.
///
/// # Errors
/// Says which file is at fault, and why.
pub fn connector(trusted: &Path, identity: Option<&Identity<'_>>) -> io::Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Trusted::load(trusted, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.load()?;
            builder.with_client_auth_cert(chain, key).map_err(|error| at(identity.certificate, error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| at(path, error))?;
    let certificates: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| at(path, error))?;
    match certificates.is_empty() {
        true => Err(at(path, "no certificate in it")),
        false => Ok(certificates),
    }
}

fn at(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// Which servers are accepted.
#[derive(Debug)]
struct Trusted {
    /// These very certificates, whatever names and dates they have: they were handed over by file.
    pinned: Vec<CertificateDer<'static>>,
    /// And what these have issued, by the usual rules; `None` if none of them is an authority.
    issued: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Trusted {
    fn load(path: &Path, provider: &Arc<CryptoProvider>) -> io::Result<Self> {
        let pinned = certificates(path)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self { pinned, issued: issued.build().ok(), provider: Arc::clone(provider) })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.iter().any(|certificate| certificate == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || Error::General("not the certificate that was expected".to_owned());
        let issued = self.issued.as_ref().ok_or_else(unknown)?;
        issued.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
