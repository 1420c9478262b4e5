//! Two things timed in turns: whatever else the machine does meanwhile meets both alike, so that their ratio
//! holds on a busy machine, too.

use std::time::{Duration, Instant};

const ROUNDS: usize = 60;
const ROUND_TIME: Duration = Duration::from_millis(3);

/// Nanoseconds that one call of each takes: the medians of many short rounds.
pub fn nanoseconds_in_turns(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> [f64; 2] {
    let counts = [calls_in_a_round(&mut ours), calls_in_a_round(&mut theirs)];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(nanoseconds(&mut ours, counts[0]));
        times[1].push(nanoseconds(&mut theirs, counts[1]));
    }
    times.map(|mut of_one| {
        of_one.sort_by(f64::total_cmp);
        of_one[ROUNDS / 2]
    })
}

fn calls_in_a_round(run: &mut impl FnMut()) -> u32 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < ROUND_TIME {
        run();
        count += 1;
    }
    count
}

fn nanoseconds(run: &mut impl FnMut(), count: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        run();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}
