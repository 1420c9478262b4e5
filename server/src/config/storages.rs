//! The storages of a configuration, those within others, and their names.

use std::path::PathBuf;

use super::fields::{Fields, convert, describe, range};
use super::schema::{BLOBSTORAGE, DEMOSTORAGE, FILESTORAGE, MAPPINGSTORAGE, STORAGES};
use super::{ClientConfig, ConfigError, ErrorKind, FileStorageOptions, StorageConfig, StorageKind};
use crate::zconfig::value::{boolean, byte_size, existing_dirpath};
use crate::zconfig::{Environment, Position, Section};

/// The name of a storage without a name.
const UNNAMED: &str = "1";
/// The name of the section in `<demostorage>` that takes the changes (`ZODB/config.py`, `DemoStorage.open`).
const CHANGES: &str = "changes";

/// The storages among the sections of `root`, in order.
pub(super) fn from_sections(
    root: &Section,
    environment: &dyn Environment,
) -> Result<Vec<StorageConfig>, ConfigError> {
    let mut storages = Vec::new();
    let mut unnamed: Option<&Position> = None;
    for section in sections(root) {
        let kind = storage(section, environment)?;
        if section.name.is_none()
            && let Some(first) = unnamed.replace(&section.at)
        {
            let first = first.clone();
            return Err(ConfigError::at(&section.at, ErrorKind::SeveralUnnamed { first }));
        }
        let name = section.name.clone().unwrap_or_else(|| UNNAMED.into());
        storages.push(StorageConfig { name, kind, at: Some(section.at.clone()) });
    }
    check_unnamed(root, unnamed)?;
    Ok(storages)
}

/// The storages of the option `-f`: named by their number, with all other options as they are by default.
pub(super) fn from_filenames(filenames: Vec<PathBuf>) -> Vec<StorageConfig> {
    let numbered = filenames.into_iter().zip(1_usize..);
    let storage = |(path, number): (PathBuf, usize)| StorageConfig {
        name: number.to_string(),
        kind: StorageKind::File(FileStorageOptions::new(path)),
        at: None,
    };
    numbered.map(storage).collect()
}

/// The sections of storages in `section`.
fn sections(section: &Section) -> impl Iterator<Item = &Section> {
    section.sections().filter(|inner| STORAGES.iter().any(|storage| storage.kind == inner.kind))
}

/// Named sections have different names already; but an unnamed one will be called `1`.
fn check_unnamed(root: &Section, unnamed: Option<&Position>) -> Result<(), ConfigError> {
    let Some(unnamed) = unnamed else { return Ok(()) };
    let is_one = |section: &&Section| section.name.as_deref() == Some(UNNAMED);
    match sections(root).find(is_one) {
        None => Ok(()),
        Some(named) => {
            let named = named.at.clone();
            Err(ConfigError::at(unnamed, ErrorKind::UnnamedAndOne { named }))
        }
    }
}

/// The storage that `section` describes. Storages nest as deep as sections may.
fn storage(section: &Section, environment: &dyn Environment) -> Result<StorageKind, ConfigError> {
    match section.kind.as_str() {
        "filestorage" => file_storage(section, environment).map(StorageKind::File),
        "mappingstorage" => mapping_storage(section),
        "blobstorage" => blob_storage(section, environment),
        "demostorage" => demo_storage(section, environment),
        "clientstorage" | "zeoclient" => client_storage(section, environment),
        kind => {
            let what = format!("<{kind}>");
            Err(ConfigError::at(&section.at, ErrorKind::NotSupportedYet { what }))
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
    let blob_dir = fields.required("blob-dir")?.value.clone().into();
    let mut base = None;
    for inner in sections(section) {
        only_one(&mut base, inner, section, environment)?;
    }
    check_not_client(base.as_ref(), section)?;
    let Some((base, _)) = base else {
        let section_name = describe(section);
        return Err(ConfigError::at(&section.at, ErrorKind::MissingStorage { section: section_name }));
    };
    Ok(StorageKind::Blob { blob_dir, base: Box::new(base) })
}

fn client_storage(section: &Section, environment: &dyn Environment) -> Result<StorageKind, ConfigError> {
    let config = ClientConfig::from_section(section, environment).map_err(|error| {
        let zeo_client::config::ConfigError { at, kind } = error;
        ConfigError::at(&at, ErrorKind::Client(kind))
    })?;
    Ok(StorageKind::Client { config: Box::new(config), is_zeoclient: section.kind == "zeoclient" })
}

/// A server behind changes by itself, which storages around it do not expect.
fn check_not_client(found: Option<&(StorageKind, &Position)>, outer: &Section) -> Result<(), ConfigError> {
    match found {
        Some((StorageKind::Client { .. }, at)) => {
            let what = format!("another server's storage in {}", describe(outer));
            Err(ConfigError::at(at, ErrorKind::NotSupported { what, reason: OF_ANOTHER_SERVER }))
        }
        _ => Ok(()),
    }
}

const OF_ANOTHER_SERVER: &str = "it changes by itself; give it a section of its own, or make it the base of a \
                                 <demostorage>, which shows it as it was at the start";

fn demo_storage(section: &Section, environment: &dyn Environment) -> Result<StorageKind, ConfigError> {
    let fields = Fields::new(section, &DEMOSTORAGE)?;
    let name = fields.entry("name").map(|entry| entry.value.clone()).filter(|name| !name.is_empty());
    let (mut base, mut changes) = (None, None);
    for inner in sections(section) {
        let place = if inner.name.as_deref() == Some(CHANGES) { &mut changes } else { &mut base };
        only_one(place, inner, section, environment)?;
    }
    check_not_client(changes.as_ref(), section)?;
    let boxed = |found: Option<(StorageKind, _)>| found.map(|(storage, _)| Box::new(storage));
    Ok(StorageKind::Demo { name, base: boxed(base), changes: boxed(changes) })
}

/// Puts the storage of `inner` into `place`, where there must not be another one.
fn only_one<'d>(
    place: &mut Option<(StorageKind, &'d Position)>,
    inner: &'d Section,
    outer: &Section,
    environment: &dyn Environment,
) -> Result<(), ConfigError> {
    if let Some((_, first)) = place {
        let (section, first) = (describe(outer), first.clone());
        return Err(ConfigError::at(&inner.at, ErrorKind::TooManyStorages { section, first }));
    }
    *place = Some((storage(inner, environment)?, &inner.at));
    Ok(())
}
