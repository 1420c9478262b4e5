//! Clients by their sections: Python's client and this one read the same file to the same end.

use serde_json::json;
use zeo_client::{Access, ClientConfig};

use crate::world::{Result, World, run};

/// Both read every key of `<clientstorage>`, and connect; then `<zeoclient>`, ZEO 4's.
pub(crate) fn configured(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let address = server.address();
    let common = format!(
        "server {address}\nstorage 1\nname shown\ncache-size 3MB\nblob-dir {}\nshared-blob-dir off\n\
         blob-cache-size 2MB\nblob-cache-size-check 30\nread-only on\nclient-label reports\n",
        world.path("blobs").display(),
    );
    let (cache, var) = (world.path("own.zec"), world.path("var"));
    std::fs::create_dir(&var)?;
    let sections = [
        format!(
            "%import ZEO\n<clientstorage>\n{common}cache-path {}\nserver-sync yes\nwait-timeout 7\n</clientstorage>\n",
            cache.display()
        ),
        format!(
            "<zeoclient>\n{common}client app\nvar {}\nwait on\nmin-disconnect-poll 1\nmax-disconnect-poll 2\n</zeoclient>\n",
            var.display()
        ),
    ];
    for (number, text) in sections.iter().enumerate() {
        let file = world.path(&format!("client-{number}.conf"));
        std::fs::write(&file, text)?;
        let said = world.script_step("client_config", &["--file", &file.display().to_string()], "opened")?;
        let config = ClientConfig::load(&file)?;
        let blobs = config.blobs.clone().ok_or("no blob directory")?;
        let len_max = blobs.len_max.ok_or("no bound")?;
        let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        let ours = json!({
            "step": "opened",
            "addresses": addresses,
            "storage": config.storage,
            "shown": config.display_name(),
            "cache_size": config.cache_len,
            "cache_path": config.cache_path,
            "blob_dir": blobs.path,
            "shared": blobs.is_shared,
            "blob_cache_size": len_max,
            "blob_cache_check": len_max * u64::from(blobs.check_percent) / 100,
            "read_only": config.access == Access::ReadOnly,
            "server_sync": config.server_sync,
            "wait_timeout": config.wait_timeout.as_secs(),
            "label": config.label,
        });
        assert_eq!(said, ours, "{text}");
        run(async {
            let client = config.builder().connect().await?;
            assert!(client.is_read_only() && client.is_connected());
            client.ping().await?;
            Ok(())
        })?;
    }
    Ok(server.stop()?)
}
