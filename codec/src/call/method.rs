//! The names of all methods, each spelt once.

use core::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A method of the protocol, by its Python name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

        }
    };
}

mod table {
    methods! {
        // Session
        Register = "register",
        GetInfo = "get_info",
        LastTransaction = "lastTransaction",
        GetInvalidations = "getInvalidations",
        SetClientLabel = "set_client_label",
        Ping = "ping",
        ServerStatus = "server_status",
        GetAuthProtocol = "getAuthProtocol",
        AuthGetChallenge = "auth_get_challenge",
        AuthResponse = "auth_response",
        GetExtensionMethods = "getExtensionMethods",
        // Cache verification of ZEO 4
        Verify = "verify",
        ZeoVerify = "zeoVerify",
        EndZeoVerify = "endZeoVerify",
        // Reading
        LoadBefore = "loadBefore",
        LoadSerial = "loadSerial",
        GetTid = "getTid",
        History = "history",
        Load = "load",
        LoadEx = "loadEx",
        RecordIternext = "record_iternext",
        IteratorStart = "iterator_start",
        IteratorNext = "iterator_next",
        IteratorRecordStart = "iterator_record_start",
        IteratorRecordNext = "iterator_record_next",
        IteratorGc = "iterator_gc",
        SendBlob = "sendBlob",
        UndoLog = "undoLog",
        UndoInfo = "undoInfo",
        // Committing
        NewOids = "new_oids",
        NewOid = "new_oid",
        TpcBegin = "tpc_begin",
        Storea = "storea",
        Restorea = "restorea",
        DeleteObject = "deleteObject",
        CheckCurrentSerialInTransaction = "checkCurrentSerialInTransaction",
        Undoa = "undoa",
        Undo = "undo",
        StoreBlobStart = "storeBlobStart",
        StoreBlobChunk = "storeBlobChunk",
        StoreBlobEnd = "storeBlobEnd",
        StoreBlobShared = "storeBlobShared",
        Vote = "vote",
        TpcFinish = "tpc_finish",
        TpcAbort = "tpc_abort",
        // Before `Z309` (protocol reference 7.7)
        GetSerial = "getSerial",
        ZeoLoad = "zeoLoad",
        ModifiedInVersion = "modifiedInVersion",
        Versions = "versions",
        VersionEmpty = "versionEmpty",
        CommitVersion = "commitVersion",
        AbortVersion = "abortVersion",
        // Administration
        GetSizeInfo = "get_size_info",
        AnswerToTheUltimateQuestion = "answer_to_the_ultimate_question",
        Pack = "pack",
        // Server to client
        InvalidateTransaction = "invalidateTransaction",
        Info = "info",
        ReceiveBlobStart = "receiveBlobStart",
        ReceiveBlobChunk = "receiveBlobChunk",
        ReceiveBlobStop = "receiveBlobStop",
        Serialnos = "serialnos",
        InvalidateVerify = "invalidateVerify",
        BeginVerify = "beginVerify",
        EndVerify = "endVerify",
    }
}

pub use table::Method;

/// Entries of [`BY_NAME`]: a power of two, at least twice the number of methods.
const SLOT_COUNT: usize = 256;

/// Methods by [`slot`] of their names, and in the next free slot where several meet.
static BY_NAME: [Option<Method>; SLOT_COUNT] = by_name();

/// Where to look for a name.
const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    // `as` because `usize::from` is not `const`; it only widens.
    (name.len() * 7 + (*first as usize) * 3 + (*last as usize) * 5) % SLOT_COUNT
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which rejects a wrong index")]
const fn by_name() -> [Option<Method>; SLOT_COUNT] {
    assert!(Method::ALL.len() * 2 <= SLOT_COUNT);
    let mut slots = [None; SLOT_COUNT];
    let mut index = 0;
    while index < Method::ALL.len() {
        let mut at = slot(Method::ALL[index].name().as_bytes());
        while slots[at].is_some() {
            at = (at + 1) % SLOT_COUNT;
        }
        slots[at] = Some(Method::ALL[index]);
        index += 1;
    }
    slots
}

impl Method {
    /// The method of this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let mut at = slot(name);
        // Half of the slots are free, so this ends.
        while let Some(method) = BY_NAME.get(at).copied().flatten() {
            if method.name().as_bytes() == name {
                return Some(method);
            }
            at = (at + 1) % SLOT_COUNT;
        }
        None
    }

    /// Whether servers send it to clients.
    #[must_use]
    pub const fn is_from_server(self) -> bool {
        matches!(
            self,
            Self::InvalidateTransaction
                | Self::Info
                | Self::ReceiveBlobStart
                | Self::ReceiveBlobChunk
                | Self::ReceiveBlobStop
                | Self::Serialnos
                | Self::InvalidateVerify
                | Self::BeginVerify
                | Self::EndVerify
        )
    }

    /// Whether peers call it without waiting for a reply (protocol reference 7 and 8).
    #[must_use]
    pub const fn is_one_way(self) -> bool {
        self.is_from_server()
            || matches!(
                self,
                Self::SetClientLabel
                    | Self::Verify
                    | Self::ZeoVerify
                    | Self::EndZeoVerify
                    | Self::IteratorGc
                    | Self::TpcBegin
                    | Self::Storea
                    | Self::Restorea
                    | Self::DeleteObject
                    | Self::CheckCurrentSerialInTransaction
                    | Self::Undoa
                    | Self::StoreBlobStart
                    | Self::StoreBlobChunk
                    | Self::StoreBlobEnd
                    | Self::StoreBlobShared
            )
    }
}

impl Method {
    /// Whether all that it does is to answer: a call without a reply is pointless.
    #[must_use]
    pub const fn is_only_asking(self) -> bool {
        !self.is_one_way() && !self.is_transactional() && !matches!(self, Self::Register | Self::AuthResponse)
    }

    /// Whether it concerns the connection's transaction, which is one at a time.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        matches!(
            self,
            Self::TpcBegin
                | Self::Storea
                | Self::Restorea
                | Self::DeleteObject
                | Self::CheckCurrentSerialInTransaction
                | Self::Undoa
                | Self::StoreBlobStart
                | Self::StoreBlobChunk
                | Self::StoreBlobEnd
                | Self::StoreBlobShared
                | Self::Vote
                | Self::TpcFinish
                | Self::TpcAbort
        )
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_method() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name().as_bytes()), Some(*method));
        }
        for unknown in ["_private", "", "loadbefore", "loadBeforE", "storea ", "\u{e9}"] {
            assert_eq!(Method::from_name(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
