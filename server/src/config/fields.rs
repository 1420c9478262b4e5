//! A section checked against its schema: known keys, each at most once.

use std::collections::HashMap;

use super::schema::{Schema, check_supported};
use super::{ConfigError, ErrorKind};
use crate::zconfig::value::{ValueError, basic_key};
use crate::zconfig::{Entry, Position, Section, suggest};

/// The keys of a section.
pub(super) struct Fields<'d> {
    section: &'d Section,
    entries: HashMap<String, &'d Entry>,
}

impl<'d> Fields<'d> {
    /// Checks the names of the keys and sections in `section`. The content of its sections is not looked at.
    pub(super) fn new(section: &'d Section, schema: &Schema) -> Result<Self, ConfigError> {
        let mut entries: HashMap<String, &Entry> = HashMap::new();
        for entry in section.entries() {
            let key = basic_key(&entry.key).ok().filter(|key| schema.keys.contains(&key.as_str()));
            let Some(key) = key else {
                let suggestion = suggest(&entry.key.to_lowercase(), schema.keys);
                let (key, section) = (entry.key.clone(), describe(section));
                return Err(ConfigError::at(&entry.at, ErrorKind::UnknownKey { key, section, suggestion }));
            };
            // A key without a value is as good as absent where absence is possible.
            if !entry.value.is_empty() {
                check_supported(&section.kind, &key, &entry.at)?;
            }
            if let Some(first) = entries.get(&key) {
                let first = first.at.clone();
                return Err(ConfigError::at(&entry.at, ErrorKind::RepeatedKey { key, first }));
            }
            entries.insert(key, entry);
        }
        check_sections(section, schema)?;
        Ok(Self { section, entries })
    }

    /// The line of `key`, if there is one.
    pub(super) fn entry(&self, key: &'static str) -> Option<&'d Entry> {
        self.entries.get(key).copied()
    }

    /// The line of `key`, or an error that says that there should be one with a value.
    pub(super) fn required(&self, key: &'static str) -> Result<&'d Entry, ConfigError> {
        self.entry(key).filter(|entry| !entry.value.is_empty()).ok_or_else(|| {
            let section = describe(self.section);
            ConfigError::at(&self.section.at, ErrorKind::MissingKey { key, section })
        })
    }

    /// The value of `key`, if there is one, converted.
    pub(super) fn convert<T>(
        &self,
        key: &'static str,
        conversion: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, ConfigError> {
        self.entry(key).map(|entry| convert(entry, key, conversion)).transpose()
    }
}

/// The value of `entry`, converted.
pub(super) fn convert<T>(
    entry: &Entry,
    key: &'static str,
    conversion: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<T, ConfigError> {
    conversion(&entry.value).map_err(|source| ConfigError::at(&entry.at, ErrorKind::Value { key, source }))
}

/// An error that says what the value of `entry` should have been.
pub(super) fn range(entry: &Entry, key: &'static str, expected: &'static str) -> ConfigError {
    let value = entry.value.clone();
    ConfigError::at(&entry.at, ErrorKind::Range { key, value, expected })
}

fn check_sections(section: &Section, schema: &Schema) -> Result<(), ConfigError> {
    let mut kinds: HashMap<&str, &Position> = HashMap::new();
    let mut names: HashMap<&str, &Position> = HashMap::new();
    for inner in section.sections() {
        let Some(known) = schema.sections.iter().find(|known| known.kind == inner.kind) else {
            let candidates: Vec<&'static str> = schema.sections.iter().map(|known| known.kind).collect();
            let suggestion = suggest(&inner.kind, &candidates);
            let (kind, section) = (inner.kind.clone(), describe(section));
            return Err(ConfigError::at(&inner.at, ErrorKind::UnknownSection { kind, section, suggestion }));
        };
        check_supported(&section.kind, &format!("<{}>", known.kind), &inner.at)?;
        if let Some(first) = kinds.insert(known.kind, &inner.at).filter(|_| !known.may_repeat) {
            let (kind, first) = (inner.kind.clone(), first.clone());
            return Err(ConfigError::at(&inner.at, ErrorKind::RepeatedSection { kind, first }));
        }
        let Some(name) = &inner.name else { continue };
        if matches!(name.as_str(), "*" | "+") {
            return Err(ConfigError::at(&inner.at, ErrorKind::ReservedName { name: name.clone() }));
        }
        if let Some(first) = names.insert(name, &inner.at) {
            let (name, first) = (name.clone(), first.clone());
            return Err(ConfigError::at(&inner.at, ErrorKind::RepeatedName { name, first }));
        }
    }
    Ok(())
}

/// How messages call a section.
pub(super) fn describe(section: &Section) -> String {
    match (section.kind.as_str(), &section.name) {
        ("", _) => "the configuration outside of sections".into(),
        (kind, None) => format!("<{kind}>"),
        (kind, Some(name)) => format!("<{kind} {name}>"),
    }
}
