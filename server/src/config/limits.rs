//! `<limits>`: this server's own section in `<zeo>`.

use std::time::Duration;

use super::ConfigError;
use super::fields::{Fields, convert, range};
use super::schema::LIMITS;
use crate::limits::LimitOptions;
use crate::zconfig::Section;
use crate::zconfig::value::{ValueError, byte_size, integer, time_interval};

/// What the section says. Nothing can be limited to nothing.
pub(super) fn limits(section: &Section) -> Result<LimitOptions, ConfigError> {
    let fields = &Fields::new(section, &LIMITS)?;
    let default = LimitOptions::default();
    Ok(LimitOptions {
        connection_count: count(fields, "connections")?.unwrap_or(default.connection_count),
        early_frame_bytes: size(fields, "early-frame-size")?.unwrap_or(default.early_frame_bytes),
        read_timeout: time(fields, "read-timeout")?.unwrap_or(default.read_timeout),
        holder_read_timeout: time(fields, "lock-holder-read-timeout")?.unwrap_or(default.holder_read_timeout),
        unread_commit_count: count(fields, "unread-commits")?.unwrap_or(default.unread_commit_count),
        unread_oid_count: count(fields, "unread-objects")?.unwrap_or(default.unread_oid_count),
        question_count: count(fields, "questions")?.unwrap_or(default.question_count),
        all_question_count: count(fields, "all-questions")?.unwrap_or(default.all_question_count),
        pack_count: count(fields, "packs")?.unwrap_or(default.pack_count),
        download_count: count(fields, "blob-downloads")?.unwrap_or(default.download_count),
        iterator_count: count(fields, "iterators")?.unwrap_or(default.iterator_count),
        transaction_bytes: size(fields, "transaction-size")?.unwrap_or(default.transaction_bytes),
        transaction_blob_bytes: size(fields, "transaction-blob-size")?
            .unwrap_or(default.transaction_blob_bytes),
        answer_bytes: size(fields, "answer-size")?.unwrap_or(default.answer_bytes),
        missed_oid_count: count(fields, "missed-objects")?.unwrap_or(default.missed_oid_count),
    })
}

fn count<T: TryFrom<i64>>(fields: &Fields<'_>, key: &'static str) -> Result<Option<T>, ConfigError> {
    number(fields, key, integer, 1, "a number, 1 or more")
}

fn size<T: TryFrom<i64>>(fields: &Fields<'_>, key: &'static str) -> Result<Option<T>, ConfigError> {
    number(fields, key, byte_size, 1 << 10, "a size, 1KB or more")
}

fn time(fields: &Fields<'_>, key: &'static str) -> Result<Option<Duration>, ConfigError> {
    let seconds = number(fields, key, time_interval, 1, "a time, one second or more")?;
    Ok(seconds.map(Duration::from_secs))
}

fn number<T: TryFrom<i64>>(
    fields: &Fields<'_>,
    key: &'static str,
    conversion: fn(&str) -> Result<i64, ValueError>,
    least: i64,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(entry) = fields.entry(key) else { return Ok(None) };
    let number = Some(convert(entry, key, conversion)?).filter(|number| *number >= least);
    let number = number.and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| range(entry, key, expected))
}
