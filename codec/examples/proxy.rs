//! Stands between ZEO clients and a server, and rewrites what they say: a storage goes by another name.
//!
//! ```sh
//! cargo run -p zeo-codec --example proxy LISTEN-ADDRESS SERVER-ADDRESS NAME SERVERS-NAME
//! cargo run -p zeo-codec --example proxy 127.0.0.1:8101 127.0.0.1:8100 1 main
//! ```
//!
//! What the server says passes byte by byte. Of what a client says, the greeting tells the dialect; each call is parsed, and
//! `register` is written anew with the other name. All other messages pass as they came. (To look at messages without
//! changing them, an `Observer` is enough: see `sniff`.)

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use zeo_codec::call::Register;
use zeo_codec::frame::{Deframer, MacBit, write_frame};
use zeo_codec::handshake::{Framing, Hello};
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, write_message};

/// Two names of a storage.
#[derive(Clone)]
struct Names {
    client: String,
    server: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let [listen, server, client_name, server_name] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: proxy LISTEN-ADDRESS SERVER-ADDRESS NAME SERVERS-NAME".into());
    };
    let names = Names { client: client_name.clone(), server: server_name.clone() };
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}, for {server}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, upstream) = (client?, TcpStream::connect(server)?);
        let (mut from_server, mut to_client) = (upstream.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            // Whatever ends it, the client is told that nothing more comes.
            let _ = io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        let names = names.clone();
        thread::spawn(move || {
            if let Err(error) = pass(&client, &upstream, &names) {
                eprintln!("{client:?}: {error}");
            }
            let _ = upstream.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Passes on what a client says, until it says no more.
fn pass(mut client: &TcpStream, mut server: &TcpStream, names: &Names) -> Result<(), Box<dyn Error>> {
    server.set_nodelay(true)?;
    let mut deframer = Deframer::new(Limits::DEFAULT.frame_bytes, MacBit::IsLength);
    let mut dialect = None;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = client.read(&mut buffer)?;
        let Some(bytes @ [_, ..]) = buffer.get(..len) else { return Ok(()) };
        deframer.push(bytes);
        let mut out = Vec::new();
        while let Some(frame) = deframer.next_frame()? {
            match dialect {
                None => {
                    let Hello::Zeo(protocol) = Hello::parse(&frame.payload) else {
                        return Err("no greeting".into());
                    };
                    let is_pickle = protocol.framing == Framing::Pickle;
                    dialect = Some(if is_pickle { Dialect::Z5 } else { Dialect::M5 });
                    write_frame(&mut out, &frame.payload);
                }
                Some(dialect) => rewrite(&frame.payload, &dialect, names, &mut out)?,
            }
        }
        server.write_all(&out)?;
    }
}

fn rewrite(
    payload: &[u8],
    dialect: &Dialect,
    names: &Names,
    out: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    let limits = Limits::DEFAULT;
    let message = Envelope::parse(payload, dialect.framing, &limits)?;
    if message.name != Method::Register.name().as_bytes() {
        write_frame(out, payload);
        return Ok(());
    }
    let Call::Register(asked) = Call::parse(Method::Register, message.args, &limits)? else { return Ok(()) };
    let storage = if asked.storage == names.client { names.server.as_str().into() } else { asked.storage };
    let register = Call::Register(Register { storage, ..asked });
    Ok(write_message(out, dialect, &message.id, message.flag, Method::Register.name(), &register)?)
}
