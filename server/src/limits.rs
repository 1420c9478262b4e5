//! What one client, or all of them, can make the server spend: bounds with names, and how often each was reached.
//!
//! The bounds are in [`LimitOptions`], one key of `<limits>` each, or of `<zeo>`. Reaching one is an error of the call, a
//! wait, or the end of the connection; which of them, README says. [`Reached`] counts it, and whoever asks the server for
//! its status is told (`server_status`, `ruok`, the monitor) as soon as there is something to tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections at the same time.
    Connections,
    /// Time until a client has registered.
    Handshake,
    /// Length of a frame before that.
    EarlyFrame,
    /// Length of a frame afterwards.
    Frame,
    /// Nesting of a message, and values in it.
    Message,
    /// Time in which a client reads nothing.
    Unread,
    /// The same while it holds the commit lock.
    HolderUnread,
    /// Commits left unread.
    UnreadCommits,
    /// Objects in them.
    UnreadObjects,
    /// Time for which a client may hold the commit lock.
    Transaction,
    /// Long questions of one connection under way.
    Questions,
    /// The same of all connections.
    AllQuestions,
    /// Packs under way.
    Packs,
    /// Downloads of blobs of one connection under way.
    Downloads,
    /// Open iterators of one connection.
    Iterators,
    /// Data of one transaction.
    TransactionSize,
    /// Blobs of one transaction.
    TransactionBlobSize,
    /// Size of an answer.
    AnswerSize,
    /// Changes that are looked for for a client that comes back.
    MissedObjects,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Connections,
        Self::Handshake,
        Self::EarlyFrame,
        Self::Frame,
        Self::Message,
        Self::Unread,
        Self::HolderUnread,
        Self::UnreadCommits,
        Self::UnreadObjects,
        Self::Transaction,
        Self::Questions,
        Self::AllQuestions,
        Self::Packs,
        Self::Downloads,
        Self::Iterators,
        Self::TransactionSize,
        Self::TransactionBlobSize,
        Self::AnswerSize,
        Self::MissedObjects,
    ];

    /// Its key in `<limits>` or `<zeo>`; that of messages is no key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshake => "handshake-timeout",
            Self::EarlyFrame => "early-frame-size",
            Self::Frame => "frame-size-limit",
            Self::Message => "message",
            Self::Unread => "read-timeout",
            Self::HolderUnread => "lock-holder-read-timeout",
            Self::UnreadCommits => "unread-commits",
            Self::UnreadObjects => "unread-objects",
            Self::Transaction => "transaction-timeout",
            Self::Questions => "questions",
            Self::AllQuestions => "all-questions",
            Self::Packs => "packs",
            Self::Downloads => "blob-downloads",
            Self::Iterators => "iterators",
            Self::TransactionSize => "transaction-size",
            Self::TransactionBlobSize => "transaction-blob-size",
            Self::AnswerSize => "answer-size",
            Self::MissedObjects => "missed-objects",
        }
    }
}

/// The keys of `<limits>`, a section of this server's own in `<zeo>`. (`frame-size-limit` and `handshake-timeout` are keys of
/// `<zeo>` itself.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOptions {
    /// `connections`, default 10,000: beyond it whoever connects is hung up on.
    pub connection_count: usize,
    /// `early-frame-size`, default 64 KiB: the greatest message, in bytes, of a client that has not registered.
    pub early_frame_bytes: usize,
    /// `read-timeout`, default 300 seconds: how long a client may read nothing of what is sent to it.
    pub read_timeout: Duration,
    /// `lock-holder-read-timeout`, default 10 seconds: the same for one that holds the commit lock.
    pub holder_read_timeout: Duration,
    /// `unread-commits`, default 100,000: commits that a client may leave unread.
    pub unread_commit_count: u64,
    /// `unread-objects`, default 10,000,000: objects in them, if it is more than one.
    pub unread_oid_count: u64,
    /// `questions`, default 4: calls of one connection that may take long and are under way; the next one waits.
    pub question_count: usize,
    /// `all-questions`, default 64: the same of all connections.
    pub all_question_count: usize,
    /// `packs`, default 2: packs of different storages that are under way; the next one waits.
    pub pack_count: usize,
    /// `blob-downloads`, default 16: blobs that one connection is sent at the same time; the next one waits.
    pub download_count: usize,
    /// `iterators`, default 1,000: open iterators of one connection.
    pub iterator_count: usize,
    /// `transaction-size`, default 4 GiB: the data of one transaction, which is in memory until the commit.
    pub transaction_bytes: u64,
    /// `transaction-blob-size`, default 64 GiB: the blobs of one transaction, which are on the disk until the commit.
    pub transaction_blob_bytes: u64,
    /// `answer-size`, default 256 MiB: the answer to a question about the past, roughly as it lies in memory.
    pub answer_bytes: usize,
    /// `missed-objects`, default 1,000,000: changes that `invalidation-age` has looked for.
    pub missed_oid_count: usize,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            connection_count: 10_000,
            early_frame_bytes: 64 << 10,
            read_timeout: Duration::from_secs(300),
            holder_read_timeout: Duration::from_secs(10),
            unread_commit_count: 100_000,
            unread_oid_count: 10_000_000,
            question_count: 4,
            all_question_count: 64,
            pack_count: 2,
            download_count: 16,
            iterator_count: 1000,
            transaction_bytes: 4 << 30,
            transaction_blob_bytes: 64 << 30,
            answer_bytes: 256 << 20,
            missed_oid_count: 1_000_000,
        }
    }
}

/// How often each bound was reached since the start.
#[derive(Debug, Default)]
pub struct Reached([AtomicU64; Limit::ALL.len()]);

impl Reached {
    /// Counts one time.
    pub fn count(&self, limit: Limit) {
        if let Some(counter) = self.0.get(limit as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that were reached at all.
    pub fn all(&self) -> impl Iterator<Item = (Limit, u64)> {
        let counts = Limit::ALL.into_iter().zip(&self.0);
        counts
            .map(|(limit, counter)| (limit, counter.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_by_itself() {
        let reached = Reached::default();
        assert_eq!(reached.all().count(), 0);
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number, "the order of ALL is that of the enum");
            (0..=number).for_each(|_| reached.count(limit));
        }
        let counts: Vec<u64> = reached.all().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=Limit::ALL.len() as u64).collect::<Vec<_>>());
    }
}
