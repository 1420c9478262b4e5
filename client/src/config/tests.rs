//! What the keys mean; that Python's client takes the same sections is tried in `zeo-conformance`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ClientConfig, ConfigError};
use crate::address::Address;
use crate::blob::BlobOptions;
use crate::builder::Access;
use crate::credentials::Credentials;
use crate::tls::{Identity, Password, Servers, TlsOptions};
use crate::zconfig::{Environment, Nothing, parse};

/// Every directory exists.
struct Everywhere;

impl Environment for Everywhere {
    fn read(&self, path: &Path, len_max: usize) -> std::io::Result<Vec<u8>> {
        Nothing.read(path, len_max)
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }
}

fn read(text: &str) -> Result<ClientConfig, ConfigError> {
    ClientConfig::from_document(&parse(text)?.root, &Everywhere)
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.into(), port }
}

/// The defaults of `ZEO/component.xml`.
fn default() -> ClientConfig {
    ClientConfig {
        addresses: vec![tcp("127.0.0.1", 8100)],
        storage: "1".into(),
        name: None,
        access: Access::ReadWrite,
        cache_len: 20 * 1024 * 1024,
        cache_path: None,
        blobs: None,
        server_sync: false,
        wait_timeout: Duration::from_secs(30),
        waits: true,
        disconnect_poll: None,
        disconnect_poll_max: None,
        label: None,
        tls: None,
        credentials: None,
        drops_cache: false,
    }
}

#[test]
fn everything_but_the_server_has_a_default() {
    for kind in ["clientstorage", "zeoclient"] {
        assert_eq!(read(&format!("<{kind}>\nserver 8100\n</{kind}>")).unwrap(), default());
    }
    // As Python's `wait_timeout or 30`.
    let config = read("<clientstorage>\nserver :8100\nwait-timeout 0\nname\n</clientstorage>").unwrap();
    assert_eq!((config.display_name(), config), ("127.0.0.1:8100".into(), default()));
}

#[test]
fn all_keys_of_clientstorage() {
    let text = "%import ZEO\n<zodb main>\n<clientstorage main>
        server zeo.example.com:8100\nserver /var/zeo.sock\nserver [::1]:8101
        storage other\nname shown\ncache-size 1GB\ncache-path /var/cache.zec
        blob-dir /var/blobs\nshared-blob-dir no\nblob-cache-size 10MB\nblob-cache-size-check 20
        read-only true\nread-only-fallback on\nserver-sync yes\nwait-timeout 5\nclient-label reports
        <ssl>
            certificate /etc/client.pem\nkey /etc/key.pem\npassword-file /etc/password
            authenticate /etc/servers\ncheck-hostname off\nserver-hostname zeo.example.com
        </ssl>
        </clientstorage>\n</zodb>";
    let config = read(text).unwrap();
    let blobs = BlobOptions { len_max: Some(10 << 20), check_percent: 20, ..BlobOptions::new("/var/blobs") };
    let identity = Identity {
        certificate: "/etc/client.pem".into(),
        key: Some("/etc/key.pem".into()),
        password: Some(Password::File("/etc/password".into())),
    };
    let tls = TlsOptions {
        identity: Some(identity),
        servers: Servers::Path("/etc/servers".into()),
        check_hostname: false,
        server_hostname: Some("zeo.example.com".into()),
    };
    assert_eq!(
        config,
        ClientConfig {
            addresses: vec![
                tcp("zeo.example.com", 8100),
                Address::Unix("/var/zeo.sock".into()),
                tcp("::1", 8101)
            ],
            storage: "other".into(),
            name: Some("shown".into()),
            access: Access::PreferWrite,
            cache_len: 1 << 30,
            cache_path: Some("/var/cache.zec".into()),
            blobs: Some(blobs),
            server_sync: true,
            wait_timeout: Duration::from_secs(5),
            label: Some("reports".into()),
            tls: Some(tls),
            ..default()
        }
    );
    assert_eq!(config.display_name(), "shown");
    // The simplest form of TLS in ZEO's documentation.
    let config = read("<clientstorage>\nserver 8100\n<ssl>\n</ssl>\n</clientstorage>").unwrap();
    assert_eq!(config, ClientConfig { tls: Some(TlsOptions::default()), ..default() });
}

#[test]
fn all_keys_of_zeoclient() {
    let text =
        "<zeoclient>\nserver 8100\nclient app\nvar /var/app\nmin-disconnect-poll 5\nmax-disconnect-poll 300
        wait off\nread-only on\nusername me\npassword secret\nrealm here\ndrop-cache-rather-verify on
        </zeoclient>";
    let expected = ClientConfig {
        access: Access::ReadOnly,
        cache_path: Some("/var/app/app-1.zec".into()),
        waits: false,
        disconnect_poll: Some(Duration::from_secs(5)),
        disconnect_poll_max: Some(Duration::from_secs(300)),
        credentials: Some(Credentials::new("me", "secret").realm("here")),
        drops_cache: true,
        ..default()
    };
    assert_eq!(read(text).unwrap(), expected);
    assert!(!format!("{expected:?}").contains("secret"));
    // Without a user there is nobody to authenticate.
    let config = read("<zeoclient>\nserver 8100\npassword secret\nrealm here\n</zeoclient>").unwrap();
    assert_eq!(config, default());
    let config = read("<zeoclient>\nserver 8100\nclient app\nstorage main\n</zeoclient>").unwrap();
    assert_eq!(config.cache_path, Some(PathBuf::from("app-main.zec")));
}

#[test]
fn mistakes_are_named_with_their_lines() {
    let section = |lines: &str| format!("<clientstorage>\nserver 8100\n{lines}\n</clientstorage>");
    for (text, expected) in [
        ("", "<text>: there is no section <clientstorage> or <zeoclient>"),
        ("<clientstorage>\n</clientstorage>", "<text>:1: <clientstorage> needs a key \"server\""),
        (
            "<clientstorage>\nserver host\n</clientstorage>",
            "<text>:2: server: \"host\" is refused; expected an address with a port",
        ),
        (
            &section("blobdir x"),
            "<text>:3: unknown key \"blobdir\" in <clientstorage>; did you mean \"blob-dir\"?",
        ),
        (&section("client x"), "<text>:3: unknown key \"client\" in <clientstorage>"),
        (
            &section("storage a\nstorage b"),
            "<text>:4: \"storage\" is given twice, for the first time in <text>:3",
        ),
        (
            &section("wait-timeout -1"),
            "<text>:3: wait-timeout: \"-1\" is refused; expected a number that is not negative",
        ),
        (&section("cache-size much"), "<text>:3: cache-size: \"much\" is not a size"),
        (
            &section("blob-cache-size-check 100"),
            "<text>:3: blob-cache-size-check: \"100\" is refused; expected a percentage below 100",
        ),
        (&section("<tls>\n</tls>"), "<text>:3: unknown section <tls> in <clientstorage>"),
        (
            &section("<ssl>\n</ssl>\n<ssl>\n</ssl>"),
            "<text>:5: <ssl> is given twice, for the first time in <text>:3",
        ),
        (&section("<ssl>\npassword-function a.b\n</ssl>"), "<text>:4: password-function names Python code"),
        (&section("<ssl>\nauthenticate DYNAMIC\n</ssl>"), "<text>:4: authenticate: \"DYNAMIC\" is refused"),
        (
            &section("<ssl>\npassword-file a\npassword-env b\n</ssl>"),
            "<text>:5: password-env: \"b\" is refused",
        ),
        (
            &(section("") + "\n<zeoclient>\nserver 1\n</zeoclient>"),
            "<text>:5: there is more than one section",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}
