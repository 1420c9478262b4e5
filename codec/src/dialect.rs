//! What differs between the versions of the protocol, as data.

use crate::envelope::Flag;
use crate::handshake::{Framing, Version};
use crate::pickle::PickleFlavor;

/// The generation of calls and replies that two peers agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Generation {
    /// `Z200` to `Z308`: methods have a *version* argument (protocol reference 7.7).
    Versions,
    /// `Z309`, `Z310`, `Z3101` and `Z4`.
    Zeo4,
    /// `Z5` and `M5`: ZEO 5 and 6.
    Zeo5,
}

/// How errors travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// A tuple of exception class and instance under flag 0 (protocol reference 6.2).
    ByValue,
    /// A tuple of class name and detail under flag 2 (protocol reference 6.1).
    ByName,
}

/// The rules of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The version that the client chose.
    pub version: Version,
    /// Which calls and replies there are.
    pub generation: Generation,
    /// pickle or msgpack.
    pub framing: Framing,
    /// Whose bytes to write under pickle.
    pub pickle: PickleFlavor,
    /// How errors travel.
    pub errors: ErrorShape,
    /// Flag of one-way calls: ZEO 4 sends the integer 1, ZEO 5 `True` (protocol reference 3).
    pub one_way_flag_is_int: bool,
    /// First number that a client's counter of message ids gives out (protocol reference 3.1).
    pub first_message_id: u32,
    /// Whether `register` answers with the last tid (protocol reference 7.1).
    pub register_returns_tid: bool,
    /// Whether `vote` returns resolved oids and conflicts; otherwise `serialnos` carries them.
    pub vote_returns_results: bool,
    /// Whether `(oid, tid)` serves as message id of `loadBefore`.
    pub load_ids_are_pairs: bool,
}

impl Dialect {
    /// ZEO 5 and 6 on Python 3, pickle.
    pub const Z5: Self = Self {
        version: Version::V5,
        generation: Generation::Zeo5,
        framing: Framing::Pickle,
        pickle: PickleFlavor::Python3,
        errors: ErrorShape::ByName,
        one_way_flag_is_int: false,
        first_message_id: 1,
        register_returns_tid: true,
        vote_returns_results: true,
        load_ids_are_pairs: true,
    };

    /// ZEO 5 and 6 on Python 3, msgpack.
    pub const M5: Self = Self { framing: Framing::Msgpack, ..Self::Z5 };

    /// ZEO 4.1 to 4.3 on Python 3.
    pub const Z4: Self = Self {
        version: Version::V4,
        generation: Generation::Zeo4,
        errors: ErrorShape::ByValue,
        one_way_flag_is_int: true,
        first_message_id: 0,
        register_returns_tid: false,
        vote_returns_results: false,
        load_ids_are_pairs: false,
        ..Self::Z5
    };

    /// The flag of a call.
    #[must_use]
    pub const fn call_flag(&self, is_one_way: bool) -> Flag {
        if is_one_way && self.one_way_flag_is_int { Flag::Int(1) } else { Flag::Bool(is_one_way) }
    }

    /// The same rules in the bytes of another pickler.
    #[must_use]
    pub const fn with_pickle(self, pickle: PickleFlavor) -> Self {
        Self { pickle, ..self }
    }
}
