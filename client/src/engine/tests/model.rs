//! A cache that a test can look into, and that notes in which order it is used.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use zeo_codec::{Oid, Tid};

use crate::cache::{Cache, Revision};

#[derive(Debug, Clone, Default)]
pub(super) struct Model(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    revisions: BTreeMap<(Oid, Tid), Revision>,
    last: Option<Tid>,
    log: Vec<String>,
    fails: bool,
}

impl Model {
    /// A cache that was filled up to this transaction, with revisions of (oid, serial, end).
    pub(super) fn filled(last: u64, revisions: &[(u64, u64, Option<u64>)]) -> Self {
        let model = Self::filled_without_tid(revisions);
        model.state().last = Some(Tid::from_u64(last));
        model
    }

    /// A cache of which nobody knows how far it goes.
    pub(super) fn filled_without_tid(revisions: &[(u64, u64, Option<u64>)]) -> Self {
        let model = Self::default();
        for (oid, serial, end) in revisions.iter().copied() {
            let key = (Oid::from_u64(oid), Tid::from_u64(serial));
            let revision = Revision { data: data(serial), serial: key.1, end: end.map(Tid::from_u64) };
            model.state().revisions.insert(key, revision);
        }
        model
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What it holds: oid, serial, end.
    pub(super) fn content(&self) -> Vec<(u64, u64, Option<u64>)> {
        let state = self.state();
        let entry = |(key, revision): (&(Oid, Tid), &Revision)| {
            (key.0.to_u64(), key.1.to_u64(), revision.end.map(Tid::to_u64))
        };
        state.revisions.iter().map(entry).collect()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.state().last.map(Tid::to_u64)
    }

    /// What was done since the last look.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    pub(super) fn fail(&self) {
        self.state().fails = true;
    }
}

/// The data of the revision that this transaction wrote.
pub(super) fn data(serial: u64) -> bytes::Bytes {
    format!("data of {serial}").into()
}

impl State {
    fn note(&mut self, what: String) -> io::Result<()> {
        self.log.push(what);
        if self.fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn current(&mut self, oid: Oid) -> Option<&mut Revision> {
        let of_oid = self.revisions.range_mut((oid, Tid::ZERO)..=(oid, Tid::MAX));
        of_oid.map(|(_, revision)| revision).find(|revision| revision.end.is_none())
    }
}

impl Cache for Model {
    fn last_tid(&self) -> Option<Tid> {
        self.state().last
    }

    fn set_last_tid(&mut self, tid: Tid) -> io::Result<()> {
        let mut state = self.state();
        state.last = Some(tid);
        state.note(format!("last {}", tid.to_u64()))
    }

    fn is_empty(&self) -> bool {
        self.state().revisions.is_empty()
    }

    fn load_before(&mut self, oid: Oid, before: Tid) -> io::Result<Option<Revision>> {
        let state = self.state();
        let found = state.revisions.range((oid, Tid::ZERO)..(oid, before)).next_back();
        let found = found.map(|(_, revision)| revision.clone());
        Ok(found.filter(|revision| revision.end.is_none_or(|end| end >= before)))
    }

    fn store(&mut self, oid: Oid, revision: &Revision) -> io::Result<()> {
        let mut state = self.state();
        if revision.end.is_none()
            && let Some(other) = state.current(oid)
        {
            let serial = other.serial;
            if serial >= revision.serial {
                return Ok(());
            }
            state.revisions.remove(&(oid, serial));
        }
        state.revisions.insert((oid, revision.serial), revision.clone());
        state.note(format!("store {} {}", oid.to_u64(), revision.serial.to_u64()))
    }

    fn invalidate(&mut self, oid: Oid, tid: Option<Tid>) -> io::Result<()> {
        let mut state = self.state();
        if let Some(current) = state.current(oid) {
            let serial = current.serial;
            match tid {
                Some(tid) if serial < tid => current.end = Some(tid),
                Some(_) => {}
                None => drop(state.revisions.remove(&(oid, serial))),
            }
        }
        state.note(format!("invalidate {}", oid.to_u64()))
    }

    fn current(&mut self) -> io::Result<Vec<(Oid, Tid)>> {
        let state = self.state();
        let current = state.revisions.iter().filter(|(_, revision)| revision.end.is_none());
        Ok(current.map(|(key, _)| *key).collect())
    }

    fn clear(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.revisions.clear();
        state.note("clear".to_owned())
    }
}
