//! A section whose keys are all known.

use std::collections::HashMap;

use super::error::{ConfigError, ErrorKind};
use crate::zconfig::value::{ValueError, basic_key};
use crate::zconfig::{Entry, Section, suggest};

/// The keys of a section.
pub(super) struct Fields<'d> {
    section: &'d Section,
    entries: HashMap<String, Vec<&'d Entry>>,
}

impl<'d> Fields<'d> {
    /// Checks the names of keys. Those that `may_repeat` may occur several times.
    pub(super) fn new(
        section: &'d Section,
        known: &[&'static str],
        may_repeat: &[&str],
    ) -> Result<Self, ConfigError> {
        let mut entries: HashMap<String, Vec<&Entry>> = HashMap::new();
        for entry in section.entries() {
            let key = basic_key(&entry.key).ok().filter(|key| known.contains(&key.as_str()));
            let Some(key) = key else {
                let suggestion = suggest(&entry.key.to_lowercase(), known);
                let (key, section) = (entry.key.clone(), section.kind.clone());
                return Err(ConfigError::at(&entry.at, ErrorKind::UnknownKey { key, section, suggestion }));
            };
            let found = entries.entry(key.clone()).or_default();
            if let Some(first) = found.first()
                && !may_repeat.contains(&key.as_str())
            {
                let (what, first) = (format!("{key:?}"), first.at.clone());
                return Err(ConfigError::at(&entry.at, ErrorKind::Repeated { what, first }));
            }
            found.push(entry);
        }
        Ok(Self { section, entries })
    }

    /// All lines of a key; there is at least one.
    pub(super) fn all(&self, key: &'static str) -> Result<&[&'d Entry], ConfigError> {
        self.entries.get(key).map(Vec::as_slice).ok_or_else(|| {
            let section = self.section.kind.clone();
            ConfigError::at(&self.section.at, ErrorKind::MissingKey { key, section })
        })
    }

    /// The line of a key that has a value.
    pub(super) fn entry(&self, key: &'static str) -> Option<&'d Entry> {
        self.entries.get(key).and_then(|found| found.first()).copied().filter(|entry| !entry.value.is_empty())
    }

    /// The value of a key.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.entry(key).map(|entry| entry.value.clone())
    }

    /// The value of a key, converted.
    pub(super) fn convert<T>(
        &self,
        key: &'static str,
        conversion: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, ConfigError> {
        self.entry(key).map(|entry| convert(entry, key, conversion)).transpose()
    }

    /// The value of a key, converted to a number that is not negative.
    pub(super) fn number(
        &self,
        key: &'static str,
        conversion: impl FnOnce(&str) -> Result<i64, ValueError>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        let number = u64::try_from(convert(entry, key, conversion)?);
        number.map(Some).map_err(|_| range(entry, key, "a number that is not negative"))
    }
}

/// The value of a line, converted.
pub(super) fn convert<T>(
    entry: &Entry,
    key: &'static str,
    conversion: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<T, ConfigError> {
    conversion(&entry.value).map_err(|source| ConfigError::at(&entry.at, ErrorKind::Value { key, source }))
}

/// An error that says what the value of a line should have been.
pub(super) fn range(entry: &Entry, key: &'static str, expected: &'static str) -> ConfigError {
    ConfigError::at(&entry.at, ErrorKind::Range { key, value: entry.value.clone(), expected })
}
