//! What our server does otherwise than Python's, on purpose: the list that `check` and the tests of replays share.

use crate::config::Framing;
use crate::replay::Difference;
use crate::scenarios::Pair;

/// Something that our server does otherwise on purpose.
#[derive(Debug)]
pub struct Exception {
    scenario: &'static str,
    applies: fn(Pair) -> bool,
    /// In which message that is seen first.
    first: &'static str,
    /// How much differs then, since the captured client goes on as if it had been told something else.
    count: usize,
    /// Why it does.
    pub why: &'static str,
}

impl Exception {
    /// The one that applies to a scenario of this pair.
    #[must_use]
    pub fn find(scenario: &str, pair: Pair) -> Option<&'static Self> {
        EXCEPTIONS.iter().find(|exception| exception.scenario == scenario && (exception.applies)(pair))
    }

    /// Whether these differences, and no others, are what comes of it.
    #[must_use]
    pub fn explains(&self, differences: &[Difference]) -> bool {
        differences.len() == self.count
            && differences.first().is_some_and(|difference| difference.expected.contains(self.first))
    }
}

const fn exception(
    scenario: &'static str,
    applies: fn(Pair) -> bool,
    first: &'static str,
    count: usize,
    why: &'static str,
) -> Exception {
    Exception { scenario, applies, first, count, why }
}

const EXCEPTIONS: &[Exception] = &[
    exception(
        "conflict",
        is_zeo5,
        ": vote -> ",
        1,
        "a conflict that it cannot resolve goes to the client, which can",
    ),
    exception(
        "resolved",
        is_zeo5,
        ": vote -> ",
        7,
        "a conflict that needs the code of a class goes to the client, which has it",
    ),
    exception(
        "resolved",
        is_zeo4,
        "serialnos(",
        7,
        "a conflict that needs the code of a class is one for a client that cannot resolve it",
    ),
    exception("abort", is_zeo4, ": tpc_finish -> ", 1, EMPTY),
    exception("restore", is_new_client_of_zeo4, ": tpc_finish -> ", 1, EMPTY),
    exception(
        "metadata",
        is_old_client_of_zeo4,
        ": vote -> ",
        32,
        "text beyond ASCII in a description is stored",
    ),
    exception("metadata", is_python2_pickle, "info(", 9, EXTENSION),
    exception("metadata", is_python2_msgpack, "info(", 5, EXTENSION),
    exception("restore", is_python2, "info(", 6, EXTENSION),
    exception("quota", is_zeo4, ": vote -> ", 2, "the quota is looked at in the vote, not at each object"),
    exception(
        "z308",
        is_zeo4,
        "invalidateVerify(",
        1,
        "the pair that clients of ZODB 3.8 read, where Python's server sends a pair in a pair",
    ),
    exception(
        "verify_newer",
        |_| true,
        ": new_oids -> ",
        1,
        "a server that was started again does not give out once more what clients may have in hand",
    ),
    // In the other captures the client's next message came together with its greeting.
    exception(
        "refused",
        |pair| pair.to_string() == "5.4.1-5.2.3-pickle",
        "the server hangs up",
        1,
        "it speaks ZEO 4",
    ),
];

const EMPTY: &str = "a transaction without objects is one, with a tid of its own, as since ZODB 5";
const EXTENSION: &str = "extensions are pickled as Python 3 does, in other bytes";

fn is_zeo4(pair: Pair) -> bool {
    pair.server.is_zeo4()
}

fn is_zeo5(pair: Pair) -> bool {
    !is_zeo4(pair)
}

fn is_new_client_of_zeo4(pair: Pair) -> bool {
    is_zeo4(pair) && !pair.client.is_zeo4()
}

fn is_old_client_of_zeo4(pair: Pair) -> bool {
    is_zeo4(pair) && pair.client.is_zeo4()
}

fn is_python2(pair: Pair) -> bool {
    is_zeo5(pair) && pair.server.is_python2()
}

fn is_python2_pickle(pair: Pair) -> bool {
    is_python2(pair) && pair.framing == Framing::Pickle
}

fn is_python2_msgpack(pair: Pair) -> bool {
    is_python2(pair) && pair.framing == Framing::Msgpack
}
