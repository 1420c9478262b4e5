//! Writes a new object, and reads it back: `cargo run -p zeo-client --example hello 127.0.0.1:8100`

use zeo_client::{Address, Builder, Metadata, Tid};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: Address = std::env::args().nth(1).as_deref().unwrap_or("8100").parse()?;
    let client = Builder::new(address).label("hello").connect().await?;
    println!("connected to {:?}, last transaction {}", client.server_info().name, client.last_transaction());

    // The record of an empty PersistentMapping, as ZODB writes one: its class, then its state.
    let record = b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\0\0\0data}s.";
    let oid = client.new_oid().await?;
    let mut transaction = client.begin(Metadata::new("hello", "says hello")).await?;
    transaction.store(oid, Tid::ZERO, record.as_slice()).await?;
    let tid = transaction.vote().await?.finish().await?;
    println!("committed object {oid} as {tid}");

    let revision = client.load_current(oid).await?;
    assert_eq!((&*revision.data, revision.serial), (record.as_slice(), tid));
    println!("read it back: {} bytes", revision.data.len());
    Ok(())
}
