//! What connections say, told to another thread while they say it.
//!
//! Nobody who speaks waits for the thread that listens, and what waits for it is bounded: when the bound is reached, bytes
//! are left out until half of it has been taken, and stand as [missing](MissingNote) in what is told afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, mem};

use zeo_codec::session::Direction;

use crate::capture::{Event, Record};
use crate::sniff::MissingNote;

/// What a record counts beside its bytes.
const RECORD_LEN: usize = 256;

/// Two ends of a queue that holds about so many bytes; of events without bytes it takes twice as much.
#[must_use]
pub fn queue(len_max: usize) -> (Teller, Listener) {
    let queue = Queue {
        records: VecDeque::new(),
        len: 0,
        len_max,
        is_full: false,
        missing: BTreeMap::new(),
        left_out_count: 0,
        is_over: false,
        is_deaf: false,
    };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), has_more: Condvar::new() });
    (Teller(Arc::clone(&shared)), Listener(shared))
}

/// The end of those who speak. Dropping it ends what is told.
#[derive(Debug)]
pub struct Teller(Arc<Shared>);

/// The end of the one who listens. Once it is dropped, nothing is kept any more.
#[derive(Debug)]
pub struct Listener(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    has_more: Condvar,
}

#[derive(Debug)]
struct Queue {
    records: VecDeque<Record<'static>>,
    len: usize,
    len_max: usize,
    /// Bytes are left out until half is taken.
    is_full: bool,
    /// Of connections that are open: how many bytes of the client and of the server were left out.
    missing: BTreeMap<u32, [u64; 2]>,
    /// Events without bytes that were left out.
    left_out_count: u64,
    is_over: bool,
    is_deaf: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Teller {
    /// Tells it, or leaves it out.
    pub fn tell(&self, record: &Record<'_>) {
        self.0.lock().push(record);
        self.0.has_more.notify_one();
    }

    /// A connection is over: nothing of it is missing any more.
    pub fn close(&self, connection: u32) {
        self.0.lock().missing.remove(&connection);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.has_more.notify_one();
    }
}

impl Listener {
    /// The next that was told; waits for it, after it has called `pause`. `None` at the end.
    ///
    /// # Errors
    /// Those of `pause`.
    pub fn next(&self, mut pause: impl FnMut() -> io::Result<()>) -> io::Result<Option<Record<'static>>> {
        let mut has_paused = false;
        let mut queue = self.0.lock();
        loop {
            if let Some(record) = queue.pop() {
                return Ok(Some(record));
            }
            if queue.is_over {
                return Ok(None);
            }
            if has_paused {
                queue = self.0.has_more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                // It may take its time: those who speak are not to wait.
                drop(queue);
                pause()?;
                has_paused = true;
                queue = self.0.lock();
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_deaf = true;
        queue.records = VecDeque::new();
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Record<'static>> {
        let record = self.records.pop_front()?;
        self.len = self.len.saturating_sub(len_of(&record));
        self.is_full &= self.len > self.len_max / 2;
        Some(record)
    }

    fn push(&mut self, record: &Record<'_>) {
        if self.is_deaf {
            return;
        }
        let len = self.len.saturating_add(len_of(record));
        if let Event::Bytes { direction, bytes } = &record.event {
            self.is_full |= len > self.len_max;
            if self.is_full {
                let [client, server] = self.missing.entry(record.connection).or_default();
                let missing_len = match direction {
                    Direction::FromClient => client,
                    Direction::FromServer => server,
                };
                *missing_len += bytes.len() as u64;
                return;
            }
        } else if len > self.len_max.saturating_mul(2) {
            self.left_out_count += 1;
            return;
        }
        self.tell_missing(record.time, record.connection);
        self.keep(record.clone().into_owned());
    }

    /// Says what is missing before the next record of a connection.
    fn tell_missing(&mut self, time: Duration, connection: u32) {
        let count = mem::take(&mut self.left_out_count);
        if count > 0 {
            let text = format!("{count} events were left out: more came than could be shown");
            self.keep(Record { time, connection: 0, event: Event::Note(text.into()) });
        }
        let [client, server] = self.missing.remove(&connection).unwrap_or_default();
        for (direction, len) in [(Direction::FromClient, client), (Direction::FromServer, server)] {
            if len > 0 {
                let note = MissingNote { direction, len: Some(len) };
                self.keep(Record { time, connection, event: Event::Note(note.to_string().into()) });
            }
        }
    }

    fn keep(&mut self, record: Record<'static>) {
        self.len = self.len.saturating_add(len_of(&record));
        self.records.push_back(record);
    }
}

fn len_of(record: &Record<'_>) -> usize {
    let len = match &record.event {
        Event::Bytes { bytes, .. } => bytes.len(),
        Event::Note(text) => text.len(),
        _ => 0,
    };
    len.saturating_add(RECORD_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{End, Endpoints};

    fn record(connection: u32, event: Event<'_>) -> Record<'_> {
        Record { time: Duration::ZERO, connection, event }
    }

    fn bytes(connection: u32, len: usize) -> Record<'static> {
        record(connection, Event::Bytes { direction: Direction::FromServer, bytes: vec![b'x'; len].into() })
    }

    fn ended() -> Event<'static> {
        Event::Ended { direction: Direction::FromServer, end: End::Closed }
    }

    /// Takes what there is, in words.
    fn taken(listener: &Listener) -> Vec<String> {
        let mut queue = listener.0.lock();
        std::iter::from_fn(|| queue.pop())
            .map(|record| match record.event {
                Event::Bytes { bytes, .. } => format!("{} {}", record.connection, bytes.len()),
                Event::Note(text) => format!("{} {text}", record.connection),
                _ => format!("{} -", record.connection),
            })
            .collect()
    }

    #[test]
    fn what_is_told_is_heard_in_order_and_the_end_too() {
        let (teller, listener) = queue(1 << 20);
        teller.tell(&record(1, Event::Opened(Box::<Endpoints>::default())));
        teller.tell(&bytes(1, 3));
        let mut pauses = 0;
        let mut next = || {
            listener.next(|| {
                pauses += 1;
                Ok(())
            })
        };
        assert!(matches!(next().unwrap().unwrap().event, Event::Opened(_)));
        assert_eq!(next().unwrap(), Some(bytes(1, 3)));
        let waiting = std::thread::spawn(move || {
            teller.tell(&bytes(2, 4));
        });
        assert_eq!(next().unwrap(), Some(bytes(2, 4)));
        waiting.join().unwrap();
        assert_eq!(next().unwrap(), None);
    }

    #[test]
    fn who_listens_is_called_before_it_has_to_wait() {
        let (teller, listener) = queue(1 << 20);
        let error = listener.next(|| Err(io::Error::other("no terminal"))).unwrap_err();
        assert_eq!(error.to_string(), "no terminal");
        teller.tell(&bytes(1, 3));
        assert!(listener.next(|| Err(io::Error::other("not called"))).unwrap().is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_is_left_out_is_told_with_its_length() {
        let (teller, listener) = queue(10_000);
        for _ in 0..20 {
            teller.tell(&bytes(1, 2_000));
            teller.tell(&bytes(2, 100));
        }
        // Three fit.
        let heard = taken(&listener);
        assert_eq!(heard.iter().filter(|text| *text == "1 2000").count(), 3, "{heard:?}");
        teller.tell(&bytes(1, 7));
        let missing = format!("1 missing server:{}", 17 * 2_000);
        assert_eq!(taken(&listener), [missing, "1 7".to_owned()]);
        teller.tell(&record(2, ended()));
        assert_eq!(taken(&listener), [format!("2 missing server:{}", 17 * 100), "2 -".to_owned()]);
    }

    #[test]
    fn once_full_bytes_are_left_out_until_half_is_taken() {
        let (teller, listener) = queue(10_000);
        for _ in 0..10 {
            teller.tell(&bytes(1, 1_744));
        }
        let mut lens = Vec::new();
        for _ in 0..6 {
            let next = listener.0.lock().pop();
            lens.extend(next.map(|record| len_of(&record)));
            teller.tell(&bytes(1, 100));
        }
        // Five were kept; the first that was told behind the gap came when two of them were left.
        assert_eq!(lens[..5], [2_000; 5]);
        assert_eq!(lens[5], RECORD_LEN + "missing server:8920".len());
    }

    #[test]
    fn events_without_bytes_are_bounded_too_and_counted() {
        let (teller, listener) = queue(2_560);
        for _ in 0..100 {
            teller.tell(&record(1, ended()));
        }
        assert_eq!(taken(&listener).len(), 20);
        teller.tell(&record(3, ended()));
        assert_eq!(taken(&listener), ["0 80 events were left out: more came than could be shown", "3 -"]);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let (teller, listener) = queue(10_000);
        let shared = Arc::clone(&listener.0);
        drop(listener);
        teller.tell(&bytes(1, 3));
        assert!(shared.lock().records.is_empty());
        teller.close(1);
    }
}
