//! Blobs that a server sends: each was asked for, begins, goes on and ends once (protocol reference 7.3 and 8).

use std::collections::HashMap;

use zeo_codec::{Oid, Tid};

use crate::error::ConnectionError;

/// How far a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    /// So many bytes have come.
    Begun(u64),
    Complete,
}

/// The blobs that were asked for and not yet answered. Several may come at the same time.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    stages: HashMap<(Oid, Tid), Stage>,
}

impl Arriving {
    /// Notes that a blob is asked for; `false` if it is already.
    pub(super) fn ask(&mut self, oid: Oid, serial: Tid) -> bool {
        self.stages.insert((oid, serial), Stage::Asked).is_none()
    }

    pub(super) fn begin(&mut self, oid: Oid, serial: Tid) -> Result<(), ConnectionError> {
        match self.stages.get_mut(&(oid, serial)) {
            Some(stage @ Stage::Asked) => {
                *stage = Stage::Begun(0);
                Ok(())
            }
            Some(_) => Err(out_of_order(oid, serial, "it begins twice")),
            None => Err(out_of_order(oid, serial, "it was not asked for")),
        }
    }

    pub(super) fn go_on(
        &mut self,
        oid: Oid,
        serial: Tid,
        piece_len: usize,
        len_max: u64,
    ) -> Result<(), ConnectionError> {
        let Some(Stage::Begun(len)) = self.stages.get_mut(&(oid, serial)) else {
            return Err(out_of_order(
                oid,
                serial,
                "a piece of it came before its beginning or after its end",
            ));
        };
        *len = len.saturating_add(u64::try_from(piece_len).unwrap_or(u64::MAX));
        if *len > len_max {
            return Err(ConnectionError::BlobTooLong { oid, serial, len_max });
        }
        Ok(())
    }

    pub(super) fn end(&mut self, oid: Oid, serial: Tid) -> Result<(), ConnectionError> {
        match self.stages.get_mut(&(oid, serial)) {
            Some(stage @ Stage::Begun(_)) => {
                *stage = Stage::Complete;
                Ok(())
            }
            _ => Err(out_of_order(oid, serial, "it ends without having begun")),
        }
    }

    /// The server says that this is all; whether a blob has come.
    pub(super) fn answered(&mut self, oid: Oid, serial: Tid) -> Result<bool, ConnectionError> {
        match self.stages.remove(&(oid, serial)) {
            Some(Stage::Complete) => Ok(true),
            Some(Stage::Begun(_)) => {
                Err(out_of_order(oid, serial, "the server says that it is there, but not all of it has come"))
            }
            Some(Stage::Asked) | None => Ok(false),
        }
    }

    /// There was an error instead.
    pub(super) fn failed(&mut self, oid: Oid, serial: Tid) {
        self.stages.remove(&(oid, serial));
    }
}

const fn out_of_order(oid: Oid, serial: Tid, what: &'static str) -> ConnectionError {
    ConnectionError::BlobOutOfOrder { oid, serial, what }
}
