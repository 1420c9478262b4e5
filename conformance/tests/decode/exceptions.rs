//! What is not written again to the same bytes, and why. A line that nothing needs any more is an error, too.

use zeo_conformance::config::Framing;
use zeo_conformance::scenarios::Pair;

/// A message that is not written again as it came.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) message: String,
}

/// A known problem.
struct Exception {
    name: &'static str,
    /// Why it is so, and whether it will stay.
    reason: &'static str,
    holds: fn(Pair, &str, &Problem) -> bool,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "said by a stranger",
        reason: "in the scenario `refused` strangers say things that are no messages",
        holds: |_, scenario, problem| {
            scenario == "refused"
                && problem.what.starts_with("undecodable")
                && problem.message.ends_with("h'6e6f7468696e67'")
        },
    },
    Exception {
        name: "Python 2: bytes beside strings",
        reason: "an oid from a record is `zodbpickle.binary` there, and is pickled as bytes, one from the storage as a \
                 string; types know one kind in a message",
        holds: |pair, _, problem| {
            is_zeo5_python2(pair) && problem.message.contains("h'") && problem.message.contains("s2'")
        },
    },
    Exception {
        name: "Python 2: text beside strings",
        reason: "the name of a blob's file is text there if its directory is",
        holds: |pair, _, problem| pair.client.is_python2() && problem.message.starts_with("storeBlobShared("),
    },
    Exception {
        name: "Python 2: the order of keys",
        reason: "a conflict for the client is a dict in the order of hashes there; types write it as Python 3 does",
        holds: |pair, scenario, problem| {
            pair.client.is_python2()
                && scenario.starts_with("client_resolution")
                && problem.message.contains(": vote -> ")
        },
    },
    Exception {
        name: "ZEO 4: errors by value",
        reason: "an error is a result of two values there, class and instance, which the codec does not type yet",
        holds: |pair, _, problem| pair.speaks_zeo4() && problem.message.contains(" -> (<"),
    },
    Exception {
        name: "ZEO 4: no serial",
        reason: "the root of a new database is stored with the serial None there; types make it the zero serial",
        holds: |pair, _, problem| {
            pair.speaks_zeo4() && problem.message.contains("'0000000000000000', None, ")
        },
    },
    Exception {
        name: "Z308: version arguments",
        reason: "these methods have one argument more there, which the codec does not type yet",
        holds: |pair, scenario, problem| {
            let name = problem.what.strip_suffix(" values but more were given");
            let name = name.and_then(|what| what.split_once(": takes ")).map_or("", |(name, _)| name);
            pair.speaks_zeo4()
                && scenario == "z308"
                && ["storea", "history", "zeoVerify", "verify"].contains(&name)
        },
    },
    Exception {
        name: "Z308: versions in invalidations",
        reason: "each oid is in a pair with a version there, which the codec does not type yet",
        holds: |pair, scenario, problem| {
            pair.speaks_zeo4()
                && scenario == "z308"
                && problem.what == "invalidateTransaction: value 1 must be 8 bytes"
        },
    },
];

/// The protocol of Python 3 in other bytes, in pickles, which tell bytes and strings apart.
fn is_zeo5_python2(pair: Pair) -> bool {
    pair.client.is_python2() && !pair.speaks_zeo4() && pair.framing == Framing::Pickle
}

/// Which exceptions were needed.
#[derive(Debug, Default)]
pub(crate) struct Uses(Vec<&'static str>);

impl Uses {
    /// Whether a problem is known.
    pub(crate) fn excuse(&mut self, pair: Pair, scenario: &str, problem: &Problem) -> bool {
        let found = EXCEPTIONS.iter().find(|exception| (exception.holds)(pair, scenario, problem));
        self.0.extend(found.map(|exception| exception.name));
        found.is_some()
    }

    /// A complaint about each exception that was not needed.
    pub(crate) fn idle(&self) -> Vec<String> {
        let idle = EXCEPTIONS.iter().filter(|exception| !self.0.contains(&exception.name));
        idle.map(|exception| format!("not needed any more: {} ({})", exception.name, exception.reason))
            .collect()
    }
}
