//! The configuration of a server, from what a script asks for.

use super::pair::Pair;
use crate::capture::ServerLines;
use crate::config::Framing;

/// The file, for a server that is started in its directory, with the lines that were asked for.
pub(super) fn text(pair: Pair, port: u16, asked: &ServerLines) -> String {
    let mut text = format!("<zeo>\n  address 127.0.0.1:{port}\n");
    // ZEO 4 does not know the key.
    if pair.framing == Framing::Msgpack {
        text.push_str("  msgpack true\n");
    }
    push_lines(&mut text, &asked.zeo);
    // The path is known to clients: it is the same wherever this happens.
    text.push_str("</zeo>\n\n<filestorage 1>\n  path Data.fs\n");
    push_lines(&mut text, &asked.storage);
    text.push_str("</filestorage>\n");
    text
}

fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_what_was_asked_for() {
        let asked = r#"{"zeo": ["read-only true"], "storage": ["blob-dir blobs"]}"#;
        let asked: ServerLines = serde_json::from_str(asked).unwrap();
        let expected = "<zeo>\n  address 127.0.0.1:8100\n  msgpack true\n  read-only true\n</zeo>\n\n<filestorage 1>\n  \
                        path Data.fs\n  blob-dir blobs\n</filestorage>\n";
        let pair = "6.2-6.2-msgpack".parse().unwrap();
        assert_eq!(text(pair, 8100, &asked), expected);
        let plain = text("4.3.1-4.3.1-pickle".parse().unwrap(), 1, &ServerLines::default());
        assert!(!plain.contains("msgpack"), "{plain}");
    }
}
