//! The client's side of handshakes: what it shows, and what it wants to see.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, SignatureScheme,
};
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{
    Identity, Peer, Servers, TlsError, TlsErrorKind, TlsOptions, Trusted, certificates, private_key,
};
use crate::zconfig::Environment;

/// The name in handshakes with servers whose name does not matter: an address, since these are not told to the server.
const NO_NAME: &str = "127.0.0.1";

/// What it takes to connect.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    /// In place of the host in the address.
    server_hostname: Option<String>,
    check_hostname: bool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("server_hostname", &self.server_hostname).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files that the options name. They are not looked at again.
    pub(crate) fn load(options: &TlsOptions, environment: &dyn Environment) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let trusted = match &options.servers {
            Servers::Path(path) => Trusted::from_path(Peer::Server, path),
            Servers::System => Trusted::from_system(Peer::Server),
        }?;
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { trusted, algorithms, check_hostname: options.check_hostname };
        let refused = |source| TlsError::nowhere(TlsErrorKind::Refused(source));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, password }) => {
                let chain = certificates(certificate)?;
                let key_path = key.as_ref().unwrap_or(certificate);
                let key = private_key(key_path, password.as_ref(), environment)?;
                let refused = |source| TlsError::at(key_path, TlsErrorKind::Refused(source));
                builder.with_client_auth_cert(chain, key).map_err(refused)?
            }
        };
        // Each connection proves anew who is on both of its ends.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            server_hostname: options.server_hostname.clone(),
            check_hostname: options.check_hostname,
        })
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// The name that the server's certificate must be for; `host` is that of the address, if it has one.
    ///
    /// # Errors
    /// The text that is no name; or nothing, if there must be one and is none.
    pub(crate) fn server_name(&self, host: Option<&str>) -> Result<ServerName<'static>, String> {
        let name = self.server_hostname.as_deref().or(host);
        let name = if self.check_hostname { name } else { Some(name.unwrap_or(NO_NAME)) };
        let name = name.unwrap_or_default();
        ServerName::try_from(name.to_owned()).map_err(|_| name.to_owned())
    }
}

/// Looks at the server's certificate.
#[derive(Debug)]
struct Verifier {
    trusted: Trusted,
    algorithms: WebPkiSupportedAlgorithms,
    check_hostname: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.trusted.verify(end_entity, intermediates, now, &self.algorithms)?;
        if self.check_hostname && !is_for(end_entity, server_name) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    // The two proofs that the server owns the key of its certificate: whatever else is trusted, these decide.

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

/// Whether the certificate is for a server of this name: by its alternative names or, if there is no host among these,
/// by its common name, as OpenSSL does it for Python (`X509_check_host`). That is how the certificates of ZEO's own
/// tests are.
fn is_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok(end_entity) = EndEntityCert::try_from(certificate) else { return false };
    if end_entity.verify_is_valid_for_subject_name(name).is_ok() {
        return true;
    }
    let (ServerName::DnsName(name), Ok(parsed)) = (name, Certificate::from_der(certificate)) else {
        return false;
    };
    let certificate = parsed.tbs_certificate();
    let has_host = match certificate.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0.iter().any(|name| matches!(name, GeneralName::DnsName(_))),
        Ok(None) => false,
        Err(_) => true,
    };
    let common_name = certificate.subject().common_name().ok().flatten();
    !has_host && common_name.is_some_and(|common| common.value().eq_ignore_ascii_case(name.as_ref()))
}
