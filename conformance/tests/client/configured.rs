//! Clients by their sections: Python's client and this one read the same file to the same end.

use serde_json::json;
use zeo_client::{Access, ClientConfig};

use crate::world::{Result, World, run};

/// Both read every key of `<clientstorage>`, and connect; then `<zeoclient>`, ZEO 4's, which is all that ZEO 4 has.
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
    for (number, text) in sections.iter().enumerate().skip(usize::from(world.is_zeo4())) {
        let file = world.path(&format!("client-{number}.conf"));
        std::fs::write(&file, text)?;
        let said = world.script_step("client_config", &["--file", &file.display().to_string()], "opened")?;
        let config = ClientConfig::load(&file)?;
        let blobs = config.blobs.clone().ok_or("no blob directory")?;
        let len_max = blobs.len_max.ok_or("no bound")?;
        let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        let mut ours = json!({
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
            "label": config.label,
        });
        if world.is_zeo4() {
            let polls = [config.disconnect_poll, config.disconnect_poll_max];
            ours["polls"] = json!(polls.map(|poll| poll.map(|poll| poll.as_secs())));
        } else {
            ours["server_sync"] = json!(config.server_sync);
            ours["wait_timeout"] = json!(config.wait_timeout.as_secs());
        }
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
