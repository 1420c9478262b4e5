//! Handshakes in memory, with a TLS server of rustls in the place of Python's. What is expected is what Python 3.11 with
//! OpenSSL 3.0 and the context of `ZEO/zconfig.py` (6.2, `client_ssl`) does with such certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Connector, Identity, Password, Servers, TlsOptions};
use crate::zconfig::Nothing;

/// A certificate and its key.
struct Certified {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

fn params(hosts: &[&str]) -> CertificateParams {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "common.example.com");
    params
}

impl Certified {
    fn by_itself(hosts: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (params(hosts), KeyPair::generate().unwrap());
        adjust(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self { params, key, certificate }
    }

    fn by(issuer: &Self, hosts: &[&str]) -> Self {
        let (params, key) = (params(hosts), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&issuer.params, &issuer.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { params, key, certificate }
    }
}

/// A client that trusts this certificate, in a file.
struct Client {
    directory: tempfile::TempDir,
    options: TlsOptions,
}

impl Client {
    fn trusting(trusted: &Certified) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servers.pem");
        std::fs::write(&path, trusted.certificate.pem()).unwrap();
        let options = TlsOptions { servers: Servers::Path(path), ..TlsOptions::default() };
        Self { directory, options }
    }

    /// Shakes hands with a server that shows this, at an address with this host; why not, otherwise.
    fn meets(&self, server: &Certified, host: Option<&str>) -> Result<(), String> {
        let connector = Connector::load(&self.options, &Nothing).map_err(|error| error.to_string())?;
        let name = connector.server_name(host)?;
        let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.certificate.der().clone()], key)
            .unwrap();
        let (near, far) = tokio::io::duplex(4096);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let served = async {
                let mut stream = TlsAcceptor::from(Arc::new(config)).accept(far).await.ok()?;
                stream.write_all(b"greeting").await.ok()?;
                stream.flush().await.ok()
            };
            let connected = async {
                let mut stream = connector.connector().connect(name, near).await?;
                let mut greeting = [0; 8];
                stream.read_exact(&mut greeting).await?;
                Ok::<_, std::io::Error>(greeting)
            };
            let (_, greeting) = tokio::join!(served, connected);
            assert_eq!(&greeting.map_err(|error| error.to_string())?, b"greeting");
            Ok(())
        })
    }
}

#[test]
fn a_pinned_server_is_trusted_under_its_names() {
    let server = Certified::by_itself(&["zeo.example.com", "127.0.0.1"], |_| {});
    let client = Client::trusting(&server);
    for host in ["zeo.example.com", "ZEO.example.com", "127.0.0.1"] {
        assert_eq!(client.meets(&server, Some(host)), Ok(()), "{host}");
    }
    // The common name does not count beside others.
    for host in ["example.com", "127.0.0.2", "common.example.com"] {
        let refused = client.meets(&server, Some(host)).unwrap_err();
        assert!(refused.contains("NotValidForName"), "{host}: {refused}");
    }
    // A Unix socket has no host.
    assert_eq!(client.meets(&server, None), Err(String::new()));
}

/// As ZEO's own certificates are, whose only name is `zodb.org`.
#[test]
fn a_certificate_without_hosts_is_for_its_common_name() {
    let server = Certified::by_itself(&[], |_| {});
    let client = Client::trusting(&server);
    assert_eq!(client.meets(&server, Some("Common.example.com")), Ok(()));
    assert!(client.meets(&server, Some("other.example.com")).is_err());
    let addressed = Certified::by_itself(&["127.0.0.1"], |_| {});
    assert_eq!(Client::trusting(&addressed).meets(&addressed, Some("common.example.com")), Ok(()));
}

#[test]
fn another_name_may_be_expected_or_none() {
    let server = Certified::by_itself(&["zeo.example.com"], |_| {});
    let mut client = Client::trusting(&server);
    client.options.server_hostname = Some("zeo.example.com".into());
    assert_eq!(client.meets(&server, Some("127.0.0.1")), Ok(()));
    assert_eq!(client.meets(&server, None), Ok(()));
    client.options.server_hostname = Some("other.example.com".into());
    assert!(client.meets(&server, Some("zeo.example.com")).is_err());
    client.options.check_hostname = false;
    assert_eq!(client.meets(&server, Some("127.0.0.1")), Ok(()));
    client.options.server_hostname = None;
    assert_eq!(client.meets(&server, None), Ok(()));
    // Whoever it is called, it must be trusted.
    let stranger = Certified::by_itself(&["zeo.example.com"], |_| {});
    let refused = client.meets(&stranger, None).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[test]
fn authorities_vouch_for_servers_and_files_of_a_directory_are_found_by_their_hashes() {
    let authority = Certified::by_itself(&[], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let server = Certified::by(&authority, &["localhost"]);
    let mut client = Client::trusting(&authority);
    assert_eq!(client.meets(&server, Some("localhost")), Ok(()));
    let other = Certified::by_itself(&["localhost"], |_| {});
    let refused = client.meets(&other, Some("localhost")).unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");

    let directory = client.directory.path().join("trusted");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("authority.pem"), authority.certificate.pem()).unwrap();
    client.options.servers = Servers::Path(directory.clone());
    assert!(client.meets(&server, Some("localhost")).unwrap_err().contains("openssl rehash"));
    std::fs::write(directory.join("0a1b2c3d.0"), authority.certificate.pem()).unwrap();
    assert_eq!(client.meets(&server, Some("localhost")), Ok(()));
}

#[test]
fn certificates_that_are_over_or_for_something_else_are_refused() {
    let expired = Certified::by_itself(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let refused = Client::trusting(&expired).meets(&expired, Some("localhost")).unwrap_err();
    assert!(refused.contains("Expired") || refused.contains("expired"), "{refused}");
    let for_clients = Certified::by_itself(&["localhost"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let refused = Client::trusting(&for_clients).meets(&for_clients, Some("localhost")).unwrap_err();
    assert!(refused.contains("contains no certificate that can be trusted"), "{refused}");
    let for_servers = Certified::by_itself(&["localhost"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    });
    assert_eq!(Client::trusting(&for_servers).meets(&for_servers, Some("localhost")), Ok(()));
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testdata").join(name)
}

#[test]
fn the_own_key_must_be_readable_and_fit() {
    let server = Certified::by_itself(&["localhost"], |_| {});
    let mut client = Client::trusting(&server);
    let load = |client: &Client| Connector::load(&client.options, &Nothing).map(drop);
    let password = client.directory.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let identity = |key: &str, password| Identity {
        certificate: testdata("certificate.pem"),
        key: Some(testdata(key)),
        password,
    };
    client.options.identity = Some(identity("pkcs8-aes256.pem", Some(Password::File(password.clone()))));
    load(&client).unwrap();
    client.options.identity = Some(identity("pkcs8-aes256.pem", None));
    assert!(load(&client).unwrap_err().to_string().contains("password-file"));
    client.options.identity = Some(identity("plain.pem", None));
    load(&client).unwrap();
    let other = client.directory.path().join("other.pem");
    std::fs::write(&other, server.key.serialize_pem()).unwrap();
    client.options.identity =
        Some(Identity { certificate: testdata("certificate.pem"), key: Some(other), password: None });
    assert!(load(&client).unwrap_err().to_string().contains("KeyMismatch"));
    client.options.identity =
        Some(Identity { certificate: testdata("plain.pem"), key: None, password: None });
    assert!(load(&client).unwrap_err().to_string().contains("contains no certificate"));
}
