//! The storages of a configuration, and their names.

use std::path::PathBuf;

use super::fields::{Fields, convert, range};
use super::schema::{BLOBSTORAGE, FILESTORAGE, MAPPINGSTORAGE};
use super::{ConfigError, ErrorKind, FileStorageOptions, StorageConfig, StorageKind};
use crate::zconfig::value::{boolean, byte_size, existing_dirpath};
use crate::zconfig::{Environment, Position, Section};

/// The name of a storage without a name.
const UNNAMED: &str = "1";

/// The storages among the sections of `root`, in order.
pub(super) fn from_sections(
    root: &Section,
    environment: &dyn Environment,
) -> Result<Vec<StorageConfig>, ConfigError> {
    let mut storages = Vec::new();
    let mut unnamed: Option<&Position> = None;
    for section in root.sections() {
        let Some(kind) = storage(section, environment)? else { continue };
        if section.name.is_none()
            && let Some(first) = unnamed.replace(&section.at)
        {
            let first = first.clone();
            return Err(ConfigError::at(&section.at, ErrorKind::SeveralUnnamed { first }));
        }
        let name = section.name.clone().unwrap_or_else(|| UNNAMED.into());
        storages.push(StorageConfig { name, kind });
    }
    check_unnamed(root, unnamed)?;
    Ok(storages)
}

/// What `section` says, if it is that of a storage.
fn storage(section: &Section, environment: &dyn Environment) -> Result<Option<StorageKind>, ConfigError> {
    Ok(Some(match section.kind.as_str() {
        "filestorage" => StorageKind::File(file_storage(section, environment)?),
        "mappingstorage" => mapping_storage(section)?,
        "blobstorage" => blob_storage(section, environment)?,
        _ => return Ok(None),
    }))
}

/// The storages of the option `-f`: named by their number, with all other options as they are by default.
pub(super) fn from_filenames(filenames: Vec<PathBuf>) -> Vec<StorageConfig> {
    let numbered = filenames.into_iter().zip(1_usize..);
    let storage = |(path, number): (PathBuf, usize)| StorageConfig {
        name: number.to_string(),
        kind: StorageKind::File(FileStorageOptions::new(path)),
    };
    numbered.map(storage).collect()
}

/// Named sections have different names already; but an unnamed one will be called `1`.
fn check_unnamed(root: &Section, unnamed: Option<&Position>) -> Result<(), ConfigError> {
    let Some(unnamed) = unnamed else { return Ok(()) };
    let is_storage = |section: &&Section| section.kind.ends_with("storage");
    let is_one = |section: &&Section| section.name.as_deref() == Some(UNNAMED);
    match root.sections().filter(is_storage).find(is_one) {
        None => Ok(()),
        Some(named) => {
            let named = named.at.clone();
            Err(ConfigError::at(unnamed, ErrorKind::UnnamedAndOne { named }))
        }
    }
}

fn file_storage(section: &Section, environment: &dyn Environment) -> Result<FileStorageOptions, ConfigError> {
    let fields = Fields::new(section, &FILESTORAGE)?;
    let dirpath = |path: &str| existing_dirpath(path, environment).map(PathBuf::from);
    let default = FileStorageOptions::new(convert(fields.required("path")?, "path", dirpath)?);
    let blob_dir = fields.convert("blob-dir", dirpath)?;
    Ok(FileStorageOptions {
        blob_dir: blob_dir.filter(|path| !path.as_os_str().is_empty()),
        create: fields.convert("create", boolean)?.unwrap_or(default.create),
        read_only: fields.convert("read-only", boolean)?.unwrap_or(default.read_only),
        quota_bytes: quota(&fields)?,
        pack_gc: fields.convert("pack-gc", boolean)?.unwrap_or(default.pack_gc),
        pack_keep_old: fields.convert("pack-keep-old", boolean)?.unwrap_or(default.pack_keep_old),
        ..default
    })
}

fn quota(fields: &Fields<'_>) -> Result<Option<u64>, ConfigError> {
    let key = "quota";
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let quota = u64::try_from(convert(entry, key, byte_size)?);
    quota.map(Some).map_err(|_| range(entry, key, "a number of bytes, 0 or more"))
}

fn mapping_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let fields = Fields::new(section, &MAPPINGSTORAGE)?;
    let name = fields.entry("name").map_or("Mapping Storage", |entry| &entry.value);
    Ok(StorageKind::Mapping { name: name.into() })
}

fn blob_storage(section: &Section, environment: &dyn Environment) -> Result<StorageKind, ConfigError> {
    let fields = Fields::new(section, &BLOBSTORAGE)?;
    // Unlike that of a file storage, the path is taken as it is.
    let blob_dir = PathBuf::from(&fields.required("blob-dir")?.value);
    let mut inner = section.sections();
    let Some(base) = inner.next() else {
        return Err(ConfigError::at(&section.at, ErrorKind::NoStorageInside));
    };
    if let Some(second) = inner.next() {
        let first = base.at.clone();
        return Err(ConfigError::at(&second.at, ErrorKind::SeveralStoragesInside { first }));
    }
    // The schema lets only storages in.
    let base = storage(base, environment)?
        .ok_or_else(|| ConfigError::at(&section.at, ErrorKind::NoStorageInside))?;
    Ok(StorageKind::Blob { blob_dir, base: Box::new(base) })
}
