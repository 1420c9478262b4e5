//! Prints each message of a captured connection.
//!
//! ```sh
//! cargo run -p zeo-codec --example sniff < fixtures/sessions/z5.txt
//! tshark -r capture.pcap -q -z follow,tcp,raw,0 | cargo run -p zeo-codec --example sniff
//! ```
//!
//! The capture is tshark's: hexadecimal lines in the order in which the bytes went over the wire, what the server
//! sent after a tab. `tap` writes the same. Lines of other text are left out. Records and lists are cut to 32;
//! another number may be given.

use std::error::Error;
use std::io::{BufRead as _, Write as _, stdin, stdout};

use zeo_codec::Limits;
use zeo_codec::session::{Direction, Observer};

fn main() -> Result<(), Box<dyn Error>> {
    let shown_len: usize = std::env::args().nth(1).map_or(Ok(32), |number| number.parse())?;
    let mut out = stdout().lock();
    let mut observer = Observer::new(Limits::DEFAULT);
    for line in stdin().lock().lines() {
        let line = line?;
        let (direction, digits) = match line.strip_prefix('\t') {
            Some(digits) => (Direction::FromServer, digits),
            None => (Direction::FromClient, line.as_str()),
        };
        let Some(bytes) = unhex(digits) else { continue };
        observer.receive(direction, &bytes);
        // The client's first: its greeting tells how the server's messages are to be read.
        for (direction, side) in [(Direction::FromClient, 'C'), (Direction::FromServer, 'S')] {
            while let Some(seen) = observer.poll_event(direction) {
                let shown = seen.show(observer.dialect());
                if writeln!(out, "{side} {shown:.shown_len$}").is_err() {
                    // Whoever reads has seen enough.
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The bytes, if that is what the line holds.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2))
        .collect()
}
