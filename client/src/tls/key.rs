//! Private keys: their forms, and what they are encrypted with.
//!
//! PKCS #8 is decrypted by the crate `pkcs8`. OpenSSL's older form, a PEM block with a header `DEK-Info`, is what
//! ZEO's own tests use (`ZEO/tests/serverpw_key.pem`); no kept crate reads it, so it is done here, by hand
//! except for the ciphers.

use std::path::{Path, PathBuf};

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use tokio_rustls::rustls::pki_types::{
    PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::{TlsError, TlsErrorKind, pem_file};
use crate::zconfig::Environment;

#[cfg(test)]
mod tests;

/// Where a password is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// `password-file`: all of the file, except for a newline at its end.
    File(PathBuf),
    /// `password-env`: the value of an environment variable.
    Variable(String),
}

/// The password itself. A newline at the end of a file does not belong to it.
fn password(password: &Password, environment: &dyn Environment) -> Result<Vec<u8>, TlsError> {
    match password {
        Password::File(path) => {
            let mut bytes = std::fs::read(path).map_err(|error| TlsError::at(path, error.into()))?;
            for end in [b'\n', b'\r'] {
                if bytes.last() == Some(&end) {
                    bytes.pop();
                }
            }
            Ok(bytes)
        }
        Password::Variable(name) => match environment.variable(name) {
            Some(value) => Ok(value.into_bytes()),
            None => Err(TlsError::nowhere(TlsErrorKind::NoVariable(name.clone()))),
        },
    }
}

/// The first private key in a PEM file, decrypted if it is encrypted.
///
/// # Errors
/// [`TlsError`] says which file or variable is at fault, and why.
pub fn private_key(
    path: &Path,
    password: Option<&Password>,
    environment: &dyn Environment,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let password = password.map(|kept| self::password(kept, environment)).transpose()?;
    private_key_with(path, password.as_deref())
}

fn private_key_with(path: &Path, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let found = pem_file::read(path)?.into_iter().find(|pem| pem.tag().ends_with("PRIVATE KEY"));
    let Some(pem) = found else { return Err(TlsError::at(path, TlsErrorKind::NoKey)) };
    decrypted(pem, password).map_err(|kind| TlsError::at(path, kind))
}

fn decrypted(pem: Pem, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsErrorKind> {
    let der = match pem.headers().get("DEK-Info") {
        Some(info) => decrypt_traditional(info, pem.contents(), password.ok_or(TlsErrorKind::NoPassword)?)?,
        None => pem.contents().to_vec(),
    };
    match pem.tag() {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der).into()),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.ok_or(TlsErrorKind::NoPassword)?;
            let other = || TlsErrorKind::UnknownEncryption("a scheme other than PBES2".to_owned());
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(&*der).map_err(|_| other())?;
            encrypted.encryption_algorithm.pbes2().ok_or_else(other)?;
            let document = encrypted.decrypt(password).map_err(|_| TlsErrorKind::Decrypt)?;
            Ok(PrivatePkcs8KeyDer::from(document.as_bytes().to_vec()).into())
        }
        _ => Err(TlsErrorKind::NoKey),
    }
}

/// Decrypts the older form; `info` is the value of its header: the cipher and the initial vector in hexadecimal
/// digits, as in `DES-EDE3-CBC,769B900D03925712` (OpenSSL, `PEM_get_EVP_CIPHER_INFO`).
fn decrypt_traditional(info: &str, bytes: &[u8], password: &[u8]) -> Result<Vec<u8>, TlsErrorKind> {
    let (cipher, iv) = info.split_once(',').ok_or(TlsErrorKind::Decrypt)?;
    let iv = hexadecimal(iv.trim()).ok_or(TlsErrorKind::Decrypt)?;
    // The first half of a long vector is also the salt.
    let salt = iv.get(..8).ok_or(TlsErrorKind::Decrypt)?;
    let key = |len| derive_key(password, salt, len);
    match cipher.trim() {
        "DES-EDE3-CBC" => decrypt_cbc::<cbc::Decryptor<des::TdesEde3>>(&key(24), &iv, bytes),
        "AES-128-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes128>>(&key(16), &iv, bytes),
        "AES-192-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes192>>(&key(24), &iv, bytes),
        "AES-256-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes256>>(&key(32), &iv, bytes),
        other => Err(TlsErrorKind::UnknownEncryption(other.to_owned())),
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: each 16 bytes hash the 16 before, the password and the salt.
fn derive_key(password: &[u8], salt: &[u8], len: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::with_capacity(32);
    let mut last: Vec<u8> = Vec::new();
    while key.len() < len {
        last = Md5::new().chain_update(&last).chain_update(password).chain_update(salt).finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(len);
    key
}

fn decrypt_cbc<C: BlockModeDecrypt + KeyIvInit>(
    key: &[u8],
    iv: &[u8],
    bytes: &[u8],
) -> Result<Vec<u8>, TlsErrorKind> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| TlsErrorKind::Decrypt)?;
    cipher.decrypt_padded_vec::<Pkcs7>(bytes).map_err(|_| TlsErrorKind::Decrypt)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
