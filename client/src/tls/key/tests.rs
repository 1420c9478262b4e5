//! Private keys in the forms that OpenSSL writes; how they were made is in `testdata/make.sh`.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::crypto::ring;

use super::super::TlsErrorKind;
use super::{Password, password, private_key_with};
use crate::zconfig::Nothing;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testdata").join(name)
}

/// The public key that belongs to a private one, or why there is none.
fn public_key(name: &str, password: Option<&[u8]>) -> Result<Vec<u8>, TlsErrorKind> {
    let key = private_key_with(&testdata(name), password).map_err(|error| error.kind)?;
    let key = ring::default_provider().key_provider.load_private_key(key).map_err(TlsErrorKind::Refused)?;
    Ok(key.public_key().unwrap().to_vec())
}

const ENCRYPTED: [&str; 8] = [
    "traditional-des3.pem",
    "traditional-aes128.pem",
    "traditional-aes192.pem",
    "traditional-aes256.pem",
    "pkcs8-aes256.pem",
    "pkcs8-aes128-sha1.pem",
    "pkcs8-des3.pem",
    "pkcs8-scrypt.pem",
];

#[test]
fn all_forms_hold_the_same_key() {
    let expected = public_key("plain.pem", None).unwrap();
    assert_eq!(public_key("pkcs8-plain.pem", None).unwrap(), expected);
    for name in ENCRYPTED {
        assert_eq!(public_key(name, Some(b"secret")).unwrap(), expected, "{name}");
    }
}

#[test]
fn a_key_that_is_not_encrypted_needs_no_password() {
    assert!(public_key("plain.pem", Some(b"anything")).is_ok());
}

#[test]
fn encrypted_keys_need_the_right_password() {
    for name in ENCRYPTED {
        assert!(matches!(public_key(name, None), Err(TlsErrorKind::NoPassword)), "{name}");
        // One wrong password in 256 leaves a valid padding behind; then the key makes no sense.
        let wrong = public_key(name, Some(b"wrong"));
        assert!(matches!(wrong, Err(TlsErrorKind::Decrypt | TlsErrorKind::Refused(_))), "{name}: {wrong:?}");
    }
}

#[test]
fn other_encryptions_are_named() {
    let error = public_key("traditional-camellia256.pem", Some(b"secret")).unwrap_err();
    assert!(error.to_string().contains("CAMELLIA-256-CBC"), "{error}");
    let error = public_key("pkcs8-pbes1.pem", Some(b"secret")).unwrap_err();
    assert!(error.to_string().contains("openssl pkcs8 -topk8"), "{error}");
}

#[test]
fn a_file_without_a_key_is_refused() {
    let error = public_key("certificate.pem", None).unwrap_err();
    assert!(matches!(error, TlsErrorKind::NoKey), "{error}");
}

#[test]
fn passwords_come_from_files_and_variables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    for (content, expected) in
        [("secret", "secret"), ("secret\n", "secret"), ("a b \r\n", "a b "), ("\n\n", "\n")]
    {
        std::fs::write(&path, content).unwrap();
        assert_eq!(password(&Password::File(path.clone()), &Nothing).unwrap(), expected.as_bytes());
    }
    let missing = password(&Password::Variable("NO_SUCH_VARIABLE".into()), &Nothing).unwrap_err();
    assert!(missing.to_string().contains("NO_SUCH_VARIABLE"), "{missing}");
}
