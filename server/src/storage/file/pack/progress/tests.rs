//! What the log says of a pack, by a clock that goes as the test wants.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::logging::testing::logged;
use crate::storage::{CommitsStopped, Unattended, View};

/// A pack of 100 MB and 1,000 objects: reads 20 MB/s, marks 50 objects/s, copies 5 MB/s.
fn pack(host: &dyn PackHost, is_collecting: bool) {
    let (start, millis) = (Instant::now(), AtomicU64::new(0));
    let clock = || start + Duration::from_millis(millis.load(Ordering::Relaxed));
    let mut progress = Progress::new(host, "Data.fs", is_collecting, &clock);
    // Ten steps in a second: a line may come a few seconds late, as the clock is looked at now and then.
    let go = |progress: &mut Progress<'_>, from: u64, to: u64, total: u64, per_step: u64| {
        for done in (from / per_step..to / per_step).map(|step| (step + 1) * per_step) {
            millis.fetch_add(100, Ordering::Relaxed);
            progress.step(done, total).unwrap();
        }
    };
    const MB: u64 = 1_000_000;
    progress.begin(Part::Read, "looking for the pack time");
    go(&mut progress, 0, 60 * MB, 100 * MB, 2 * MB);
    progress.begin(Part::Read, "looking for undone transactions behind the pack time");
    go(&mut progress, 60 * MB, 100 * MB, 100 * MB, 2 * MB);
    if is_collecting {
        progress.begin(Part::Mark, "marking what can be reached");
        // Fewer can be reached than there are.
        go(&mut progress, 0, 800, 1_000, 5);
    }
    progress.begin(Part::Copy, "copying up to the pack time");
    go(&mut progress, 0, 60 * MB, 100 * MB, MB / 2);
    progress.begin(Part::Copy, "copying what was committed since");
    // Meanwhile there is more.
    go(&mut progress, 60 * MB, 110 * MB, 110 * MB, MB / 2);
}

/// What is said, without the name of the file.
fn lines(log: &str) -> Vec<&str> {
    let said = log.lines().filter_map(|line| line.split("pack: ").nth(1));
    said.map(|line| line.trim_end_matches(" file=\"Data.fs\"")).collect()
}

/// The seconds that are left, of a line.
fn left(line: &str) -> u64 {
    let digits = line.rsplit_once(", in ").unwrap().1.split_once(" s").unwrap().0;
    digits.parse().unwrap()
}

#[test]
fn each_line_says_when_the_whole_pack_ends() {
    let log = logged(|| pack(&Unattended, true));
    let lines = lines(&log);
    // 5 s of reading, 16 of marking, 22 of copying; a line at the end of the first two, and every 5 to 11 s.
    assert!((5..=9).contains(&lines.len()), "{log}");
    // Guessed: 10 s of marking, and 20 of copying, are what is usual.
    assert!(lines[0].starts_with("looking for undone transactions behind the pack time: 100 %, 20 MB/s; "));
    assert!(
        lines[0].contains("; the pack ends about 2") && lines[0].contains(" if marking and copying take")
    );
    assert_eq!(left(lines[0]), 30);
    let marked =
        lines.iter().position(|line| line.starts_with("marking what can be reached: 100 %")).unwrap();
    assert!(
        lines[marked].contains(", 50 objects/s; ")
            && lines[marked].ends_with(" if copying takes what is usual")
    );
    assert_eq!(left(lines[marked]), 20);
    // Measured: 100 MB at 5 MB/s.
    let copying = &lines[marked + 1..];
    assert!(
        !copying.is_empty() && copying.iter().all(|line| line.contains(", 5 MB/s; the pack ends about 2"))
    );
    for line in copying.iter().filter(|line| line.starts_with("copying up to")) {
        let percent: u64 = line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(left(line).abs_diff(20 * (100 - percent) / 100) <= 1, "{line}");
        assert!(line.ends_with(" s"), "{line}");
    }
}

#[test]
fn without_garbage_collection_there_is_no_marking() {
    let log = logged(|| pack(&Unattended, false));
    let lines = lines(&log);
    assert!(lines[0].ends_with(", in 20 s if copying takes what is usual"), "{log}");
    assert!(!log.contains("marking"), "{log}");
}

/// A host that has blobs, and gives the pack up when it is asked for the tenth time.
struct Blobs(AtomicU64);

impl PackHost for Blobs {
    fn is_cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= 10
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        None
    }

    fn packed(&self, _: std::sync::Arc<dyn View>) {}

    fn wants_removed_blobs(&self) -> bool {
        true
    }
}

#[test]
fn blobs_come_later_and_a_pack_can_be_given_up_at_any_step() {
    let host = Blobs(AtomicU64::new(0));
    let log = logged(|| {
        let mut progress = Progress::new(&host, "Data.fs", true, &Instant::now);
        progress.begin(Part::Read, "looking for the pack time");
        for done in 1..=10 {
            progress.step(done, 10).unwrap();
        }
        assert!(matches!(progress.step(10, 10), Err(StorageError::Cancelled)));
        progress.begin(Part::Mark, "marking what can be reached");
    });
    assert!(lines(&log)[0].ends_with("; then the files of blobs that went"), "{log}");
}
