//! Where a server is, or is to be, on the command line: `HOST:PORT`, with a name or a number as the host.

use std::error::Error;
use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;

use super::about;

/// How long a host may take to answer on one of its addresses.
const REACH_LIMIT: Duration = Duration::from_secs(5);

/// A TCP address by name. `localhost` may stand for several, of which a server has one.
#[derive(Debug, Clone)]
pub struct Place {
    text: String,
    addresses: Vec<SocketAddr>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err("expected HOST:PORT".to_owned());
        }
        let addresses: Vec<_> = text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
        if addresses.is_empty() {
            return Err("the host has no address".to_owned());
        }
        Ok(Self { text: text.to_owned(), addresses })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Place {
    /// The first of its addresses on which somebody listens.
    ///
    /// # Errors
    /// Names the place, and says what the system said of its last address.
    pub fn reach(&self) -> Result<SocketAddr, Box<dyn Error>> {
        let mut refused = String::new();
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, REACH_LIMIT) {
                Ok(_) => return Ok(*address),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(about(self, refused))
    }

    /// Listens there.
    ///
    /// # Errors
    /// Names the place, and says what the system said.
    pub fn bind(&self) -> Result<TcpListener, Box<dyn Error>> {
        TcpListener::bind(self.addresses.as_slice()).map_err(|error| about(self, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_good_as_numbers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let place: Place = format!("{host}:{port}").parse().unwrap();
            assert_eq!(place.reach().unwrap(), listener.local_addr().unwrap(), "{host}");
        }
        let taken: Place = format!("127.0.0.1:{port}").parse().unwrap();
        assert!(taken.bind().unwrap_err().to_string().starts_with(&format!("127.0.0.1:{port}: ")));
        drop(listener);
        let place: Place = format!("localhost:{port}").parse().unwrap();
        assert!(place.reach().unwrap_err().to_string().starts_with(&format!("localhost:{port}: ")));
    }

    #[test]
    fn a_port_is_needed() {
        for text in ["localhost", "localhost:", "localhost:http", ""] {
            assert_eq!(text.parse::<Place>().unwrap_err(), "expected HOST:PORT", "{text}");
        }
    }
}
