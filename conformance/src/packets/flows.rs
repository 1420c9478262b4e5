//! All TCP connections in a file of packets, in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::flow::{Flow, Take};
use super::read::Packet;
use super::segment::{Leftover, Segment, segment};

/// Connections that are remembered; beyond that, the one that was silent for longest is given out and forgotten.
const FLOW_COUNT_MAX: usize = 4096;
/// Bytes that wait in all of them for others that are missing, or to be understood.
const HELD_LEN_MAX: usize = 64 << 20;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only connections to these ports. Without any, all connections.
    pub server_ports: Vec<u16>,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Flows {
    options: Options,
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
    held_len: usize,
    count: u32,
    tick: u64,
    started: Option<Duration>,
    now: Duration,
    packet_count: u64,
    fragment_count: u64,
    unknown_link: Option<i32>,
}

impl Flows {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// When the first packet was captured, since 1970.
    #[must_use]
    pub const fn started(&self) -> Option<Duration> {
        self.started
    }

    /// What of the packets was left out, in words; `None` if nothing of it can have been ZEO.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        if let Some(link) = self.unknown_link {
            return Some(format!("packets of link type {link} were left out: nobody here can read them"));
        }
        let count = self.fragment_count;
        (count > 0).then(|| format!("{count} packets were left out: they are fragments of larger ones"))
    }

    /// Takes a packet.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn packet(&mut self, packet: Packet<'_>, take: &mut Take<'_>) -> io::Result<()> {
        self.packet_count += 1;
        let started = *self.started.get_or_insert(packet.time);
        // Several interfaces may have clocks of their own; time does not go back.
        self.now = self.now.max(packet.time.saturating_sub(started));
        match segment(packet.linktype, packet.data) {
            Ok(segment) => self.segment(&segment, take),
            Err(Leftover::Other) => Ok(()),
            Err(Leftover::Fragment) => {
                self.fragment_count += 1;
                Ok(())
            }
            Err(Leftover::Link(link)) => {
                self.unknown_link = Some(link);
                Ok(())
            }
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, take: &mut Take<'_>) -> io::Result<()> {
        let Segment { source, target, .. } = *segment;
        let ports = &self.options.server_ports;
        if !ports.is_empty() && !ports.contains(&source.port()) && !ports.contains(&target.port()) {
            return Ok(());
        }
        self.tick += 1;
        let (key, sender_is_first) =
            if source <= target { ((source, target), true) } else { ((target, source), false) };
        if self.flows.get(&key).is_some_and(|flow| flow.is_succeeded_by(segment)) {
            self.forget(key, take)?;
        }
        if !self.flows.contains_key(&key) {
            // Of connections that were made before, or are over, only data tells.
            if !segment.is_syn && segment.data.is_empty() && segment.cut_len == 0 {
                return Ok(());
            }
            self.make_room(take)?;
            self.count = self.count.wrapping_add(1).max(1);
            let mut flow = Flow::new(self.count, segment, &self.options.server_ports);
            // Its first side is the one whose address comes first.
            if !sender_is_first {
                flow.swap_sides();
            }
            flow.open(self.now, take)?;
            self.flows.insert(key, flow);
        }
        let Entry::Occupied(mut entry) = self.flows.entry(key) else { return Ok(()) };
        let flow = entry.get_mut();
        flow.set_last_seen(self.tick);
        let before = flow.held_len();
        let outcome = flow.segment(self.now, usize::from(!sender_is_first), segment, take);
        let after = flow.held_len();
        self.held_len = self.held_len.saturating_sub(before).saturating_add(after);
        outcome?;
        self.stay_within_bounds(take)
    }

    fn forget(&mut self, key: (SocketAddr, SocketAddr), take: &mut Take<'_>) -> io::Result<()> {
        let Some(mut flow) = self.flows.remove(&key) else { return Ok(()) };
        self.held_len = self.held_len.saturating_sub(flow.held_len());
        flow.finish(self.now, take)
    }

    fn make_room(&mut self, take: &mut Take<'_>) -> io::Result<()> {
        if self.flows.len() < FLOW_COUNT_MAX {
            return Ok(());
        }
        let silent = self.flows.iter().min_by_key(|(_, flow)| flow.last_seen()).map(|(key, _)| *key);
        silent.map_or(Ok(()), |key| self.forget(key, take))
    }

    fn stay_within_bounds(&mut self, take: &mut Take<'_>) -> io::Result<()> {
        while self.held_len > HELD_LEN_MAX {
            let Some(flow) = self.flows.values_mut().max_by_key(|flow| flow.held_len()) else { break };
            let before = flow.held_len();
            let outcome = flow.give_up(self.now, take);
            self.held_len = self.held_len.saturating_sub(before).saturating_add(flow.held_len());
            outcome?;
        }
        Ok(())
    }

    /// The file has ended: gives out what is held.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn finish(&mut self, take: &mut Take<'_>) -> io::Result<()> {
        let mut flows: Vec<Flow> = self.flows.drain().map(|(_, flow)| flow).collect();
        flows.sort_by_key(Flow::number);
        self.held_len = 0;
        flows.iter_mut().try_for_each(|flow| flow.finish(self.now, take))
    }

    /// Bytes that are held.
    #[must_use]
    pub const fn held_len(&self) -> usize {
        self.held_len
    }
}
