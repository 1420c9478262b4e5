use super::pair::Pair;

/// Something that can be played.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, which is that of its function in `python/captures/` and of its captures.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// What is done to the connections when the script says so; options of the recorder.
    pub faults: &'static [&'static str],
    /// Who can play it.
    pub by: By,
}

/// Who can play a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Every pair that talks to each other.
    Everybody,
    /// Those with a client and a server of ZEO 5 or 6.
    Zeo5,
    /// Those with a client and a server of ZEO 4.
    Zeo4,
    /// Those with a server of ZEO 4.
    Zeo4Server,
    /// Those that do not talk to each other.
    Strangers,
}

impl Scenario {
    /// Whether this pair can play it.
    #[must_use]
    pub fn suits(&self, pair: Pair) -> bool {
        match self.by {
            By::Strangers => !pair.interoperates(),
            _ if !pair.interoperates() => false,
            By::Everybody => true,
            By::Zeo5 => !pair.server.is_zeo4(),
            By::Zeo4 => pair.client.is_zeo4(),
            By::Zeo4Server => pair.server.is_zeo4(),
        }
    }
}

const fn scenario(name: &'static str, by: By, about: &'static str) -> Scenario {
    Scenario { name, about, faults: &[], by }
}

/// One in which a connection ends at a message.
const fn ended(name: &'static str, faults: &'static [&'static str], about: &'static str) -> Scenario {
    Scenario { name, about, faults, by: By::Everybody }
}

/// All scenarios.
#[must_use]
pub const fn all() -> &'static [Scenario] {
    ALL
}

#[rustfmt::skip] // A table, one line each.
const ALL: &[Scenario] = &[
    scenario("commit", By::Everybody, "a root is made and changed; another client is told, and reads it"),
    scenario("abort", By::Everybody, "given up after stores and after the vote; a commit of nothing"),
    scenario("conflict", By::Everybody, "a conflict that nobody resolves"),
    scenario("resolved", By::Everybody, "a conflict that the server resolves"),
    scenario("client_resolution", By::Zeo5, "a conflict that the client resolves"),
    scenario("client_resolution_fails", By::Zeo5, "a conflict that the client is given, and cannot resolve"),
    scenario("check_current", By::Everybody, "what a transaction has only read has to be current; it is not"),
    scenario("lock", By::Everybody, "a vote waits until another transaction is finished, or aborted"),
    scenario("order", By::Everybody, "phases of a commit out of order"),
    scenario("metadata", By::Everybody, "user, description and extension of every kind, and too long"),
    scenario("undo", By::Everybody, "undo log and info; undone, done again, and not to be undone"),
    scenario("history", By::Everybody, "history, old revisions, and what is unknown"),
    scenario("iteration", By::Everybody, "iterators from and to, given up, and current records one by one"),
    scenario("pack", By::Everybody, "a pack with garbage, and what is gone afterwards"),
    scenario("restore", By::Everybody, "a file is copied: stores, an undo, a deletion, with their tids"),
    scenario("delete", By::Everybody, "an object is deleted; and what cannot be deleted"),
    scenario("btrees", By::Everybody, "BTrees of thousands of keys, changed, and read by another client"),
    scenario("big_objects", By::Everybody, "objects of up to 1.2 MB, written and read"),
    scenario("prefetch", By::Zeo5, "objects are asked for before they are needed"),
    scenario("quota", By::Everybody, "the storage takes no more"),
    scenario("status", By::Everybody, "the server's status, and calls that clients do not make by themselves"),
    scenario("blobs", By::Everybody, "blobs are sent in pieces, and fetched"),
    scenario("blobs_shared", By::Everybody, "a client shares the server's directory of blobs"),
    scenario("blobs_undo", By::Everybody, "the content of a blob is undone"),
    scenario("read_only", By::Everybody, "a client that only reads; a server that only reads"),
    scenario("fallback", By::Everybody, "a client reads while the server is read-only, and writes when it no longer is"),
    scenario("unknown_storage", By::Everybody, "a storage that the server does not have"),
    scenario("timeout", By::Everybody, "a client holds the lock too long, and is disconnected"),
    scenario("verify_current", By::Everybody, "a cache that is up to date"),
    scenario("verify_quick", By::Everybody, "a cache that misses a few commits"),
    scenario("verify_too_old", By::Everybody, "a cache that misses more than the server remembers"),
    scenario("verify_dropped", By::Zeo4, "the same; the client drops it"),
    scenario("verify_newer", By::Everybody, "a cache that knows more than the server"),
    scenario("restart", By::Everybody, "the server is started again, and killed, under a client that goes on"),
    scenario("heartbeat", By::Everybody, "keep-alives"),
    ended("disconnect_begin", &["drop client:tpc_begin"], "the connection ends before the beginning of a commit arrives"),
    ended("disconnect_store", &["drop client:storea"], "before a store arrives"),
    ended("disconnect_vote", &["drop client:vote"], "before the vote arrives"),
    ended("disconnect_voted", &["drop server:vote"], "before the answer to the vote arrives"),
    ended("disconnect_finish", &["drop client:tpc_finish"], "before the finish arrives: nothing is committed"),
    ended("disconnect_finished", &["drop server:tpc_finish"], "before the answer to the finish arrives: it is committed"),
    ended("disconnect_abort", &["drop client:tpc_abort"], "before an abort arrives"),
    ended("disconnect_lock", &["drop client:tpc_finish"], "of two who wait for the lock one goes, then the one who has it"),
    ended("disconnect_load", &["drop server:loadBefore"], "before an object arrives"),
    ended("disconnect_blob", &["drop client:storeBlobChunk"], "amid a blob"),
    ended("disconnect_invalidation", &["drop server:invalidateTransaction"], "before an invalidation arrives"),
    scenario("ruok", By::Everybody, "ZEO's probe of an empty server, and of another"),
    scenario("refused", By::Everybody, "greetings that a server does not take"),
    scenario("strangers", By::Strangers, "a client and a server that do not understand each other"),
    scenario("digest", By::Zeo4, "authentication with user and password: right, wrong, none"),
    scenario("older_calls", By::Zeo4, "calls that clients of ZEO 4 make no longer"),
    scenario("z308", By::Zeo4, "a client that speaks Z308"),
    scenario("z309", By::Zeo4Server, "a client that speaks Z309"),
    scenario("z310", By::Zeo4Server, "a client that speaks Z310"),
    scenario("z3101", By::Zeo4Server, "a client that speaks Z3101"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_somebody_to_play_it() {
        for (index, scenario) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(index + 1).all(|other| other.name != scenario.name), "{}", scenario.name);
            assert!(Pair::all().into_iter().any(|pair| scenario.suits(pair)), "{}", scenario.name);
            for fault in scenario.faults {
                assert!(fault.parse::<crate::record::fault::Fault>().is_ok(), "{fault}");
            }
        }
    }
}
