//! Storages, opened as their sections say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{self, StorageConfig, StorageKind};
use crate::storage::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use crate::storage::demo::DemoStorage;
use crate::storage::file::{FileStorage, FileStorageOptions, create_folders, paths};
use crate::storage::memory::MemoryStorage;
use crate::storage::relay::RelayStorage;
use crate::storage::{Storage, StorageError};

/// Which storage cannot be opened, and why.
#[derive(Debug, thiserror::Error)]
#[error("{at}cannot open storage '{name}': {source}")]
pub(super) struct CannotOpen {
    at: String,
    name: String,
    source: OpenError,
}

/// Why a storage cannot be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("cannot create the directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// A storage, under its name.
type Named = (String, Arc<dyn Storage>);

/// Opens all of them.
pub(super) fn all(configs: &[StorageConfig]) -> Result<Vec<Named>, CannotOpen> {
    configs.iter().map(open).collect()
}

fn open(config: &StorageConfig) -> Result<Named, CannotOpen> {
    let StorageConfig { name, kind, at } = config;
    let pid = std::process::id();
    tracing::info!(target: "ZEO.runzeo", "({pid}) opening storage '{name}' using {}", kind.opener());
    match open_kind(kind) {
        Ok(storage) => Ok((name.clone(), storage)),
        Err(source) => {
            let at = at.as_ref().map_or_else(String::new, |at| format!("{at}: "));
            Err(CannotOpen { at, name: name.clone(), source })
        }
    }
}

/// Opens a storage, and those within it.
fn open_kind(kind: &StorageKind) -> Result<Arc<dyn Storage>, OpenError> {
    Ok(match kind {
        StorageKind::Mapping { name } => Arc::new(MemoryStorage::new(name)),
        StorageKind::File(file) => open_file(file)?,
        StorageKind::Client { config, .. } => Arc::new(RelayStorage::open(config)?),
        StorageKind::Blob { blob_dir, base } => {
            let base = open_kind(base)?;
            let options = BlobDirectoryOptions { create: false, read_only: base.is_read_only() };
            Arc::new(BlobStorage::new(base, BlobDirectory::open(blob_dir, options)?)?)
        }
        StorageKind::Demo { name, base, changes } => {
            let memory = || Arc::new(MemoryStorage::new(MemoryStorage::DEFAULT_NAME));
            let base = match base {
                Some(base) => open_kind(base)?,
                None => memory(),
            };
            Arc::new(match changes {
                Some(changes) => DemoStorage::new(name.as_deref(), base, open_kind(changes)?),
                None => DemoStorage::temporary(name.as_deref(), base)?,
            })
        }
    })
}

fn open_file(file: &config::FileStorageOptions) -> Result<Arc<dyn Storage>, OpenError> {
    if file.create_directory
        && let Some(directory) = file.path.parent()
    {
        create_folders(directory, paths::sync)
            .map_err(|source| OpenError::Directory { path: directory.to_owned(), source })?;
    }
    let options = FileStorageOptions {
        create: file.create,
        read_only: file.read_only,
        quota_bytes: file.quota_bytes,
        keep_garbage: !file.pack_gc,
        discard_old: !file.pack_keep_old,
    };
    // A file of which nobody knows anything can begin with small oids.
    let is_new = file.create || !std::fs::metadata(&file.path).is_ok_and(|metadata| metadata.len() > 0);
    let name = file.name.clone().unwrap_or_else(|| file.path.display().to_string());
    let storage = Arc::new(FileStorage::open_as(&file.path, name, options)?);
    if !is_new {
        storage.skip_issued_oids(SystemTime::now());
    }
    Ok(match &file.blob_dir {
        None => storage,
        Some(blob_dir) => {
            let options = BlobDirectoryOptions { create: file.create, read_only: file.read_only };
            Arc::new(BlobStorage::new(storage, BlobDirectory::open(blob_dir, options)?)?.keeping_old())
        }
    })
}
