//! Prints commits as they happen: `cargo run -p zeo-client --example watch 127.0.0.1:8100`

use zeo_client::{Access, Address, Builder, Invalidation};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: Address = std::env::args().nth(1).as_deref().unwrap_or("8100").parse()?;
    let client = Builder::new(address).label("watch").access(Access::ReadOnly).connect().await?;
    let mut invalidations = client.invalidations();
    println!("watching from transaction {}", client.last_transaction());
    while let Some(invalidation) = invalidations.next().await {
        match invalidation {
            Invalidation::Changed { tid, oids, .. } => {
                let oids: Vec<String> = oids.iter().map(ToString::to_string).collect();
                println!("{tid} changed {}", oids.join(" "));
            }
            Invalidation::Everything { tid } => println!("{tid}: anything may have changed"),
        }
    }
    Ok(())
}
