//! From a capture to what our clients do, one step after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use zeo_client::cache::FileCache;
use zeo_client::{Access, BlobOptions, Builder, Invalidations, Tid};
use zeo_codec::{Call, Method};

use super::super::plan::{Course, Said, Step};
use super::super::{Difference, Plan};
use super::ahead::{Ahead, Resolved};
use super::guest::{Act, Guest, Pending};
use super::parts::{Parts, answered, result};

/// Nobody is to wait until a client tries again.
const POLL: Duration = Duration::from_millis(5);
const NEVER: Duration = Duration::from_secs(3600);

/// A call that the captured server answers.
struct Asked {
    pending: Pending,
    method: Option<Method>,
    text: String,
}

/// One of our clients and what it has been told.
struct Player {
    guest: Guest,
    invalidations: Invalidations,
    label: Option<String>,
    is_connected: bool,
}

/// Drives our clients through a plan.
pub(super) struct Driver<'p> {
    plan: &'p Plan,
    ahead: Ahead<'p>,
    address: SocketAddr,
    scenario: &'p str,
    dir: &'p Path,
    patience: Duration,
    players: Vec<Player>,
    /// Which of them has which connection.
    owners: BTreeMap<u32, usize>,
    /// Connections that are in use.
    ready: BTreeSet<u32>,
    asked: BTreeMap<(u32, String), Asked>,
    /// How much of each course was heard.
    heard: BTreeMap<(u32, bool), usize>,
    /// Steps that our client takes by itself with an earlier one.
    included: BTreeSet<usize>,
    /// What our client has made of answers that it should not have.
    pub(super) mistakes: Vec<Difference>,
}

impl<'p> Driver<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        address: SocketAddr,
        scenario: &'p str,
        dir: &'p Path,
        patience: Duration,
    ) -> Self {
        Self {
            plan,
            ahead: Ahead(plan),
            address,
            scenario,
            dir,
            patience,
            players: Vec::new(),
            owners: BTreeMap::new(),
            ready: BTreeSet::new(),
            asked: BTreeMap::new(),
            heard: BTreeMap::new(),
            included: BTreeSet::new(),
            mistakes: Vec::new(),
        }
    }

    /// Takes all steps; false if our client cannot take one. That shows in what the server misses, too.
    pub(super) async fn run(&mut self) -> bool {
        let plan: &'p Plan = self.plan;
        for (index, step) in plan.steps.iter().enumerate() {
            if !self.included.contains(&index)
                && let Err(what) = self.step(index, step).await
            {
                self.fail(step, what);
                return false;
            }
        }
        true
    }

    async fn step(&mut self, index: usize, step: &'p Step) -> Result<(), String> {
        match step {
            Step::Open(connection) => self.open(index, *connection)?,
            Step::Say(connection, said) => self.say(index, *connection, said).await?,
            Step::Heard(connection, course) => self.hear(*connection, *course).await?,
            Step::Lost(connection, method) => self.lose(*connection, method).await?,
            Step::Close(connection) if !self.plan.cut.contains(connection) => self.close(*connection),
            Step::Close(connection) | Step::Ended(connection) => self.part(*connection),
            // Left out before.
            Step::Server(_) | Step::Shared(_) => {}
        }
        Ok(())
    }

    fn fail(&mut self, step: &Step, what: String) {
        let (connection, said) = match step {
            Step::Say(connection, said) => (*connection, Some(said)),
            Step::Open(connection)
            | Step::Heard(connection, _)
            | Step::Lost(connection, _)
            | Step::Close(connection)
            | Step::Ended(connection) => (*connection, None),
            Step::Server(_) | Step::Shared(_) => (0, None),
        };
        self.mistakes.push(Difference {
            connection,
            number: said.map(|said| said.number),
            field: "what our client does".to_owned(),
            expected: said.map_or("what the captured one did", |said| &said.text).to_owned(),
            got: what,
            bytes: (said.map(|said| said.payload.clone()).unwrap_or_default(), Bytes::new()),
        });
    }

    /// A new client, or one that has lost its connection and comes again.
    fn open(&mut self, index: usize, connection: u32) -> Result<(), String> {
        let (mut label, mut storage, mut read_only) = (None, "1".to_owned(), false);
        let (mut is_refused, mut is_shared) = (true, false);
        for (_, said) in self.ahead.of(index, connection) {
            match Parts::of_said(said).map(|parts| parts.call) {
                Some(Call::Register(register)) => {
                    read_only = register.is_read_only();
                    storage = register.storage.into_owned();
                }
                Some(Call::SetClientLabel(call)) => label = Some(call.label.into_owned()),
                Some(Call::Plain(Method::GetInfo)) => is_refused = false,
                Some(Call::StoreBlobShared(_)) => is_shared = true,
                _ => {}
            }
        }
        let returning = self.players.iter().position(|player| !player.is_connected && player.label == label);
        if let Some(player) = returning {
            self.owners.insert(connection, player);
            if let Some(player) = self.players.get_mut(player) {
                player.is_connected = true;
            }
            return Ok(());
        }
        let number = self.players.len();
        let dir = self.dir.join(format!("client{number}"));
        let blobs = BlobOptions { is_shared, ..BlobOptions::new(dir.join("blobs")) };
        std::fs::create_dir_all(if is_shared { &blobs.path } else { &dir })
            .map_err(|error| error.to_string())?;
        let mut builder = Builder::new(self.address)
            .storage(storage)
            .access(if read_only { Access::ReadOnly } else { Access::ReadWrite })
            .wait_timeout(self.patience)
            // The one that is not let in has given up by then.
            .disconnect_poll(if is_refused { NEVER } else { POLL })
            .disconnect_poll_max(if is_refused { NEVER } else { POLL })
            .no_cache()
            .drop_cache_rather_verify(self.scenario == "verify_dropped")
            .blobs(blobs);
        if let Some(label) = &label {
            builder = builder.label(label);
        } else if self.scenario.starts_with("verify_") && (number > 0 || self.scenario != "verify_newer") {
            // One that goes and comes again, as the script has it.
            builder = builder.cache_file(self.dir.join("cache"), FileCache::SIZE_DEFAULT);
        }
        let client = builder.start().map_err(|error| error.to_string())?;
        let invalidations = client.invalidations();
        let guest = Guest::new(client, &dir);
        self.players.push(Player { guest, invalidations, label, is_connected: true });
        self.owners.insert(connection, number);
        Ok(())
    }

    fn player(&mut self, connection: u32) -> Result<&mut Player, String> {
        let owner = self.owners.get(&connection).and_then(|owner| self.players.get_mut(*owner));
        owner.ok_or_else(|| format!("nobody has connection {connection}"))
    }

    async fn say(&mut self, index: usize, connection: u32, said: &'p Said) -> Result<(), String> {
        let Some(parts) = Parts::of_said(said) else { return Ok(()) };
        // What belongs to the beginning of a connection, and a label, a client says by itself.
        if !self.ready.contains(&connection) || parts.method() == Some(Method::SetClientLabel) {
            return Ok(());
        }
        let (act, id) = match &parts.call {
            Call::LoadBefore(load) if self.ahead.loads(index, connection, load.before) > 1 => {
                return self.prefetch(index, connection, load.before);
            }
            // What is in the file does not show.
            Call::StoreBlobShared(_) => (Act::Blob(b"shared".into()), parts.id),
            Call::Plain(Method::StoreBlobStart) => (Act::Blob(self.ahead.blob(index, connection)), parts.id),
            Call::StoreBlobChunk(_) | Call::StoreBlobEnd(_) => return Ok(()),
            Call::Transaction(Method::Vote, _) => {
                let Resolved { records, last, included } =
                    self.ahead.resolved(index, connection, parts.id.clone());
                self.included.extend(included);
                (Act::Vote(records), last)
            }
            call => (Act::Call(call), parts.id.clone()),
        };
        let patience = self.patience;
        let acting = self.player(connection)?.guest.act(act);
        let acted = timeout(patience, acting).await.map_err(|_| "it does not come to it".to_owned())?;
        if let Some(pending) = acted.map_err(|error| error.to_string())? {
            let asked = Asked { pending, method: parts.call.method(), text: said.text.clone() };
            self.asked.insert((connection, id.to_string()), asked);
        }
        Ok(())
    }

    fn prefetch(&mut self, index: usize, connection: u32, before: Tid) -> Result<(), String> {
        let count = self.ahead.loads(index, connection, before);
        let (mut oids, mut asked) = (Vec::new(), Vec::new());
        for (at, said) in self.ahead.of(index, connection).take(count) {
            if let Some(Parts { id, call: Call::LoadBefore(load), .. }) = Parts::of_said(said) {
                oids.push(load.oid);
                asked.push((at, id.to_string(), said.text.clone()));
            }
        }
        let pending = self.player(connection)?.guest.prefetch(&oids, before);
        for ((at, id, text), pending) in asked.into_iter().zip(pending) {
            self.included.insert(at);
            let asked = Asked { pending, method: Some(Method::LoadBefore), text };
            self.asked.insert((connection, id), asked);
        }
        Ok(())
    }

    async fn hear(&mut self, connection: u32, course: Course) -> Result<(), String> {
        let count = self.heard.entry((connection, course == Course::Replies)).or_default();
        let said = self.plan.expected.get(&connection).and_then(|courses| courses.of(course).get(*count));
        *count += 1;
        let Some(said) = said else { return Ok(()) };
        match course {
            Course::Replies => self.hear_reply(connection, said).await,
            Course::Notices => self.hear_notice(connection, said).await,
        }
    }

    async fn hear_reply(&mut self, connection: u32, said: &Said) -> Result<(), String> {
        let patience = self.patience;
        if !self.ready.contains(&connection) {
            if said.text.contains(": get_info -> ") {
                let guest = &mut self.player(connection)?.guest;
                let next = timeout(patience, guest.client.next_connection(guest.generation)).await;
                let next = next.map_err(|_| "our client does not use the connection".to_owned())?;
                guest.generation = next.ok_or("our client was closed")?;
                self.ready.insert(connection);
            }
            return Ok(());
        }
        let Some(id) = answered(said) else { return Ok(()) };
        let Some(asked) = self.asked.remove(&(connection, id.to_string())) else { return Ok(()) };
        let made = match asked.pending {
            Pending::Done(made) => made,
            Pending::Waits(handle) => {
                let made = timeout(patience, handle).await;
                let made = made.map_err(|_| format!("{}: our client waits for more", asked.text))?;
                made.map_err(|error| error.to_string())?
            }
        };
        let is_error = [" -> error ", " -> (<"].iter().any(|mark| said.text.contains(mark));
        // Servers of ZEO 4 say elsewhere what became of a vote.
        let is_told = asked.method != Some(Method::Vote) || is_error;
        match made {
            Ok(iterator) if !is_error => {
                if let (Some(iterator), Ok(id)) = (iterator, result(said).parse::<i64>()) {
                    self.player(connection)?.guest.keep(id, iterator);
                }
            }
            Ok(_) => self.mistaken(connection, said, "no error"),
            Err(error) if !is_error && is_told => self.mistaken(connection, said, &format!("error: {error}")),
            Err(_) => {}
        }
        Ok(())
    }

    fn mistaken(&mut self, connection: u32, said: &Said, got: &str) {
        self.mistakes.push(Difference {
            connection,
            number: Some(said.number),
            field: "what our client makes of the answer".to_owned(),
            expected: said.text.chars().take(200).collect(),
            got: got.to_owned(),
            bytes: (said.payload.clone(), Bytes::new()),
        });
    }

    /// An invalidation: what comes next may depend on it.
    async fn hear_notice(&mut self, connection: u32, said: &Said) -> Result<(), String> {
        let told = said.text.strip_prefix("invalidateTransaction(").and_then(|rest| rest.split('\'').nth(1));
        let Some(tid) = told.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Tid::from_u64)
        else {
            return Ok(());
        };
        let patience = self.patience;
        let is_ready = self.ready.contains(&connection);
        let player = self.player(connection)?;
        let catching_up = async {
            while is_ready && player.guest.client.last_transaction() < tid {
                if player.invalidations.next().await.is_none() {
                    break;
                }
            }
        };
        let caught_up = timeout(patience, catching_up).await;
        caught_up.map_err(|_| format!("our client does not tell of {}", said.text))
    }

    /// A message of which nothing but its method is known.
    async fn lose(&mut self, connection: u32, method: &str) -> Result<(), String> {
        let method = Method::from_name(method.as_bytes());
        let patience = self.patience;
        let lost = self.player(connection)?.guest.lost(method);
        timeout(patience, lost).await.map_err(|_| "it does not come to it".to_owned())
    }

    /// The client goes. One that was not let in has gone by itself, or will.
    fn close(&mut self, connection: u32) {
        if !self.ready.contains(&connection) {
            return;
        }
        self.asked.retain(|(of, _), _| *of != connection);
        if let Ok(player) = self.player(connection) {
            player.guest.client.close();
            player.guest.forget();
        }
        self.owners.remove(&connection);
    }

    /// The client loses its connection.
    fn part(&mut self, connection: u32) {
        self.asked.retain(|(of, _), _| *of != connection);
        if let Ok(player) = self.player(connection) {
            player.guest.forget();
            player.is_connected = false;
        }
        self.owners.remove(&connection);
    }
}
