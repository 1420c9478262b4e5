//! Handshakes in memory, with a TLS client of rustls in the place of Python's.

mod clients;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::{Tls, TlsError};
use crate::config::{Authenticate, SslOptions};
use crate::zconfig::Nothing;

/// A certificate and its key.
struct Identity {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

/// What is common to all certificates here: that they say nothing that they need not.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Identity {
    fn of_its_own(name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (params(name), KeyPair::generate().unwrap());
        adjust(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self { params, key, certificate }
    }

    fn issued_by(issuer: &Self, name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (params(name), KeyPair::generate().unwrap());
        adjust(&mut params);
        let issuer = Issuer::from_params(&issuer.params, &issuer.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { params, key, certificate }
    }

    fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// A server that lets in the owners of the certificates in the PEM text `trusted`.
struct Server {
    directory: tempfile::TempDir,
    identity: Identity,
    options: SslOptions,
}

impl Server {
    fn trusting(trusted: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::of_its_own("server", |_| {});
        let write = |name: &str, text: &str| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let both = identity.certificate.pem() + &identity.key.serialize_pem();
        let options = SslOptions {
            certificate: write("server.pem", &both),
            key: None,
            password: None,
            authenticate: Authenticate::Path(write("clients.pem", trusted)),
        };
        Self { directory, identity, options }
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(&self.options, &Nothing)
    }

    /// A client that shows `chain`, if any, and signs with `key`, whether that fits or not.
    fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        shown: Option<(Vec<CertificateDer<'static>>, &KeyPair)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.identity.der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let Some((chain, key)) = shown else { return builder.with_no_client_auth() };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
    }

    /// Whether such a client gets in: with both versions of TLS it must be the same. Why not, otherwise.
    fn admit(&self, shown: Option<(Vec<CertificateDer<'static>>, &KeyPair)>) -> Result<(), String> {
        let results = [&TLS12, &TLS13].map(|version| self.shake_hands(self.client(version, shown.clone())));
        let [old, new] = results;
        assert_eq!(old, new);
        new
    }

    /// Whether one who shows the certificate of `identity` gets in.
    fn admits(&self, identity: &Identity) -> Result<(), String> {
        self.admit(Some((vec![identity.der()], &identity.key)))
    }

    /// One handshake, and some bytes in both directions.
    fn shake_hands(&self, client: ClientConfig) -> Result<(), String> {
        let tls = self.load().unwrap();
        let (near, far) = tokio::io::duplex(1024);
        let server = async {
            let mut stream = tls.accept(near).await.map_err(|error| error.to_string())?;
            stream.write_all(b"greeting").await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            Ok(())
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, far).await.ok()?;
            let mut greeting = Vec::new();
            // With TLS 1.3 a client learns of its refusal when it reads; there must be nothing else to read.
            if stream.read_buf(&mut greeting).await.is_ok() {
                assert_eq!(greeting, b"greeting");
                stream.write_all(b"answer").await.unwrap();
                // Gone without a goodbye, as a killed client goes.
                stream.flush().await.unwrap();
            }
            Some(greeting)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (admitted, greeting) = runtime.block_on(async { tokio::join!(server, client) });
        assert!(admitted.is_ok() || greeting.is_none_or(|greeting| greeting.is_empty()));
        admitted
    }
}
