//! Who is let in. What is expected here is what Python 3.11 with OpenSSL 3.0 does with such certificates and the
//! context of `ZEO/zconfig.py` (6.2), tried out there with certificates made by `openssl`.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd,
};

use super::{Identity, Server};
use crate::config::Authenticate;

const AUTHORITY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

fn authority(params: &mut CertificateParams) {
    params.is_ca = AUTHORITY;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
}

/// Whether one who shows a certificate that is trusted itself gets in.
fn pinned(adjust: impl FnOnce(&mut CertificateParams)) -> Result<(), String> {
    let client = Identity::of_its_own("client", adjust);
    let server = Server::trusting(&client.certificate.pem());
    match server.load() {
        Ok(_) => server.admits(&client),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn pinned_certificates_let_their_owners_in() {
    assert_eq!(pinned(|_| {}), Ok(()));
    assert_eq!(pinned(|params| params.is_ca = IsCa::ExplicitNoCa), Ok(()));
    // As `openssl req -x509` makes them, and as those of ZEO's tests are.
    assert_eq!(pinned(|params| params.is_ca = AUTHORITY), Ok(()));
    assert_eq!(pinned(authority), Ok(()));
    assert_eq!(pinned(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]), Ok(()));
    let client_auth = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    assert_eq!(pinned(client_auth), Ok(()));
}

#[test]
fn pinned_certificates_made_for_something_else_do_not() {
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any] {
        let refused = pinned(|params| params.extended_key_usages = vec![purpose]).unwrap_err();
        assert!(refused.contains("contains no certificate that can be trusted"), "{refused}");
    }
    let refused = pinned(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]).unwrap_err();
    assert!(refused.contains("contains no certificate that can be trusted"), "{refused}");
    let signs_only = |params: &mut CertificateParams| {
        params.is_ca = AUTHORITY;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    pinned(signs_only).unwrap_err();
}

#[test]
fn pinned_certificates_expire() {
    let refused = pinned(|params| params.not_after = date_time_ymd(2020, 1, 1)).unwrap_err();
    assert!(refused.contains("Expired"), "{refused}");
    let refused = pinned(|params| params.not_before = date_time_ymd(3000, 1, 1)).unwrap_err();
    assert!(refused.contains("NotValidYet"), "{refused}");
}

#[test]
fn nobody_gets_in_with_the_certificate_of_somebody_else() {
    let (client, thief) = (Identity::of_its_own("client", |_| {}), Identity::of_its_own("client", |_| {}));
    let server = Server::trusting(&client.certificate.pem());
    assert_eq!(server.admits(&client), Ok(()));
    let refused = server.admit(Some((vec![client.der()], &thief.key))).unwrap_err();
    assert!(refused.contains("BadSignature"), "{refused}");
    // The same name is not the same certificate.
    let refused = server.admits(&thief).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // Nor does a trusted one help anywhere but at the front.
    server.admit(Some((vec![thief.der(), client.der()], &thief.key))).unwrap_err();
}

#[test]
fn nobody_gets_in_without_a_certificate() {
    let client = Identity::of_its_own("client", |_| {});
    let refused = Server::trusting(&client.certificate.pem()).admit(None).unwrap_err();
    assert_eq!(refused, "peer sent no certificates");
}

#[test]
fn an_authority_lets_in_whom_it_has_certified() {
    let root = Identity::of_its_own("root", authority);
    let middle = Identity::issued_by(&root, "middle", authority);
    let near = Identity::issued_by(&root, "near", |_| {});
    let far = Identity::issued_by(&middle, "far", |_| {});
    let server = Server::trusting(&root.certificate.pem());
    assert_eq!(server.admits(&near), Ok(()));
    assert_eq!(server.admit(Some((vec![far.der(), middle.der()], &far.key))), Ok(()));
    // The middle is missing.
    server.admits(&far).unwrap_err();
    let for_servers = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    };
    server.admits(&Identity::issued_by(&root, "other", for_servers)).unwrap_err();
    let old = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let refused = server.admits(&Identity::issued_by(&root, "old", old)).unwrap_err();
    assert!(refused.contains("Expired"), "{refused}");
}

#[test]
fn only_authorities_certify() {
    // Each of them may come in itself, which is why it is trusted.
    let adjustments: [fn(&mut CertificateParams); 4] = [
        |_| {},
        |params| params.is_ca = IsCa::ExplicitNoCa,
        // Does not say that it signs certificates: those of ZEO's tests.
        |params| params.is_ca = AUTHORITY,
        |params| {
            authority(params);
            params.not_after = date_time_ymd(2020, 1, 1);
        },
    ];
    for adjust in adjustments {
        let issuer = Identity::of_its_own("issuer", adjust);
        let client = Identity::issued_by(&issuer, "client", |_| {});
        let server = Server::trusting(&issuer.certificate.pem());
        let refused = server.admits(&client).unwrap_err();
        assert!(refused.contains("UnknownIssuer"), "{refused}");
        server.admit(Some((vec![client.der(), issuer.der()], &client.key))).unwrap_err();
    }
}

#[test]
fn a_pinned_certificate_need_not_be_its_own_issuer() {
    let root = Identity::of_its_own("root", authority);
    let client = Identity::issued_by(&root, "client", |_| {});
    let other = Identity::issued_by(&root, "other", |_| {});
    let server = Server::trusting(&client.certificate.pem());
    assert_eq!(server.admits(&client), Ok(()));
    server.admits(&other).unwrap_err();
}

#[test]
fn a_file_holds_many_certificates_and_remarks() {
    let clients = [1, 2, 3].map(|number| Identity::of_its_own(&format!("client {number}"), |_| {}));
    let text: String =
        clients.iter().map(|client| format!("a client:\n{}\n", client.certificate.pem())).collect();
    let server = Server::trusting(&text);
    for client in &clients {
        assert_eq!(server.admits(client), Ok(()));
    }
}

#[test]
fn a_directory_holds_certificates_under_their_hashes() {
    let (client, other) = (Identity::of_its_own("client", |_| {}), Identity::of_its_own("other", |_| {}));
    let mut server = Server::trusting("");
    let directory = server.directory.path().join("clients");
    std::fs::create_dir(&directory).unwrap();
    server.options.authenticate = Authenticate::Path(directory.clone());
    // Put there, but not hashed: OpenSSL does not find it.
    std::fs::write(directory.join("other.pem"), other.certificate.pem()).unwrap();
    let error = server.load().unwrap_err().to_string();
    assert!(error.contains("openssl rehash"), "{error}");
    std::fs::write(directory.join("7dc80d26.0"), client.certificate.pem()).unwrap();
    assert_eq!(server.admits(&client), Ok(()));
    server.admits(&other).unwrap_err();
}

#[test]
fn files_without_use_are_refused_at_the_start() {
    let error = |text: &str| Server::trusting(text).load().unwrap_err().to_string();
    assert!(error("").contains("clients.pem: contains no certificate"), "{}", error(""));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(error(broken).contains("is no PEM file"), "{}", error(broken));
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(error(empty).contains("can be trusted"), "{}", error(empty));
    let client = Identity::of_its_own("client", |_| {});
    let revoked = client.certificate.pem() + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert!(error(&revoked).contains("revocation"), "{}", error(&revoked));
    let mut server = Server::trusting("");
    server.options.authenticate = Authenticate::Path("no/such/file".into());
    let error = server.load().unwrap_err().to_string();
    assert!(error.starts_with("<ssl>: no/such/file: cannot be read"), "{error}");
}

#[test]
fn bytes_that_are_not_tls_end_the_handshake() {
    let client = Identity::of_its_own("client", |_| {});
    let tls = Server::trusting(&client.certificate.pem()).load().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for bytes in [&b"\0\0\0\x02Z5\0\0\0\x05hello"[..], b"ruok", b"GET / HTTP/1.1\r\n\r\n"] {
        let (near, mut far) = tokio::io::duplex(1024);
        let refused = runtime.block_on(async {
            use tokio::io::AsyncWriteExt;
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
            tls.accept(near).await.err()
        });
        assert!(refused.is_some(), "{bytes:?}");
    }
}

#[test]
fn a_key_that_does_not_fit_the_certificate_is_refused() {
    let client = Identity::of_its_own("client", |_| {});
    let mut server = Server::trusting(&client.certificate.pem());
    let key = server.directory.path().join("other.pem");
    std::fs::write(&key, client.key.serialize_pem()).unwrap();
    server.options.key = Some(key.clone());
    let error = server.load().unwrap_err().to_string();
    assert!(error.contains("KeyMismatch"), "{error}");
    server.options.certificate = key;
    assert!(server.load().unwrap_err().to_string().contains("contains no certificate"));
}
