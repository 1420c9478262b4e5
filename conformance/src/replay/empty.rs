//! Whether there is room for a play.

use std::net::SocketAddr;

use zeo_client::{Builder, Tid};

/// Whether the storage `1` of the server there is empty, as the client of this project sees it.
///
/// # Errors
/// If it does not let the client in.
pub fn is_empty(address: SocketAddr) -> Result<bool, zeo_client::Error> {
    let client = Builder::new(address).label("zeo-conformance").no_cache().connect_blocking()?;
    let info = client.server_info();
    Ok(client.last_transaction() == Tid::ZERO && info.object_count == 0)
}
