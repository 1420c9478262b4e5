//! Transaction ids as time stamps.
//!
//! A tid's first four bytes count minutes (31-day months, 12-month years, from 1900), its last four the part of
//! the minute that has passed, in units of 60 s / 2^32; UTC (protocol reference 14.3;
//! `persistent/timestamp.py:_makeRaw`, persistent 6). The clock is an argument here.

use zeo_codec::Tid;

const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_DAY: i64 = 24 * 60;
const FIRST_YEAR: i64 = 1900;

/// The tid of a moment, given in microseconds since 1970, UTC. `None` before 1900 and after the year 13,000 or
/// so, where the four bytes of minutes end.
#[must_use]
pub fn tid_from_unix_micros(unix_micros: i64) -> Option<Tid> {
    let unix_minutes = unix_micros.div_euclid(MICROS_PER_MINUTE);
    let (year, month, day) = date_of(unix_minutes.div_euclid(MINUTES_PER_DAY));
    let months = (year - FIRST_YEAR) * 12 + month - 1;
    let minutes = (months * 31 + day - 1) * MINUTES_PER_DAY + unix_minutes.rem_euclid(MINUTES_PER_DAY);
    let high = u32::try_from(minutes).ok()?;
    // Below 60,000,000, so that the shifted number fits and the quotient is below 2^32.
    let micros = u64::try_from(unix_micros.rem_euclid(MICROS_PER_MINUTE)).ok()?;
    let low = (micros << 32) / MICROS_PER_MINUTE.unsigned_abs();
    Some(Tid::from_u64(u64::from(high) << 32 | low))
}

/// The moment that a tid stands for, in microseconds since 1970, UTC, rounded to the nearest. A day that its
/// month does not have counts on into the next month.
#[must_use]
pub fn unix_micros_from_tid(tid: Tid) -> i64 {
    let number = tid.to_u64();
    let (minutes, low) = (number >> 32, number & u64::from(u32::MAX));
    // Both below 2^32, so that nothing here exceeds an i64.
    let minutes = i64::try_from(minutes).unwrap_or(i64::MAX);
    let micros = (low * MICROS_PER_MINUTE.unsigned_abs() + (1 << 31)) >> 32;
    let (unix_days, minutes_of_day) = day_and_minute(minutes);
    let unix_minutes = unix_days * MINUTES_PER_DAY + minutes_of_day;
    unix_minutes * MICROS_PER_MINUTE + i64::try_from(micros).unwrap_or(0)
}

/// The moment that a tid stands for, in seconds since 1970, UTC: the float that Python computes, rounding included
/// (`_timestamp.c:TimeStamp_timeTime`, persistent 6). It counts from 1901 on the way, where floats are coarser.
#[must_use]
pub fn unix_seconds_from_tid(tid: Tid) -> f64 {
    /// Days from 1901-01-01 to 1970-01-01.
    const DAYS_TO_1970: i32 = 25_202;
    const SECONDS_PER_DAY: f64 = 86_400.0;
    let [a, b, c, d, e, f, g, h] = *tid.as_bytes();
    let (minutes, low) = (i64::from(u32::from_be_bytes([a, b, c, d])), u32::from_be_bytes([e, f, g, h]));
    let (unix_days, minutes_of_day) = day_and_minute(minutes);
    // Both are small: 2^32 minutes are less than 3 million days.
    let days = i32::try_from(unix_days + i64::from(DAYS_TO_1970)).unwrap_or(i32::MAX);
    let minutes_of_day = i32::try_from(minutes_of_day).unwrap_or(i32::MAX);
    let seconds = f64::from(low) * (60.0 / 65_536.0 / 65_536.0);
    let since_1901 = f64::from(days) * SECONDS_PER_DAY + f64::from(minutes_of_day) * 60.0 + seconds;
    since_1901 - f64::from(DAYS_TO_1970) * SECONDS_PER_DAY
}

/// The tid for a transaction that begins at `unix_micros`, after `last`: the time, or the number after `last`
/// if the clock is not ahead of it. So tids rise strictly whatever the clock does
/// (`BaseStorage.py:tpc_begin`, `TimeStamp.laterThan`). `None` when all numbers are used up.
#[must_use]
pub fn next_tid(unix_micros: i64, last: Tid) -> Option<Tid> {
    match tid_from_unix_micros(unix_micros) {
        Some(tid) if tid > last => Some(tid),
        Some(_) | None => last.next(),
    }
}

/// The day, counted from 1970-01-01, and the minute of the day of a tid's count of minutes.
const fn day_and_minute(minutes: i64) -> (i64, i64) {
    let days = minutes / MINUTES_PER_DAY;
    let (months, day) = (days / 31, days % 31 + 1);
    (days_before(FIRST_YEAR + months / 12, months % 12 + 1) + day - 1, minutes % MINUTES_PER_DAY)
}

/// Days from 1970-01-01 to the first of `month` (1 to 12) of `year`, in the Gregorian calendar.
///
/// Years are taken to start in March, so that the leap day is the last: then the lengths of months follow
/// (153 m + 2) / 5, and 400 years have 146,097 days.
const fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_from_march = (month + 9) % 12;
    let days_of_months = (153 * months_from_march + 2) / 5;
    let days_of_years = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 0000-03-01 lies 719,468 days before 1970.
    days_of_years + days_of_months - 719_468
}

/// Year, month and day of the month of a day counted from 1970-01-01; the inverse of [`days_before`].
const fn date_of(unix_days: i64) -> (i64, i64, i64) {
    let days = unix_days + 719_468;
    let (century_group, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_in_group = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_in_group + year_in_group / 4 - year_in_group / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let month = (months_from_march + 2) % 12 + 1;
    let year = century_group * 400 + year_in_group + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_year - (153 * months_from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From Python: `TimeStamp(*time.gmtime(micros // 10**6)[:5] + (micros % (60 * 10**6) / 1e6,)).raw()`, with
    /// persistent of ZODB 6.4; see `server/tests/data/make_tids.py`.
    const PYTHON: &[(i64, u64)] = &include!("../../tests/data/tids.in");

    #[test]
    fn agrees_with_python() {
        assert!(PYTHON.len() > 100);
        for (micros, tid) in PYTHON {
            assert_eq!(tid_from_unix_micros(*micros), Some(Tid::from_u64(*tid)), "{micros}");
            assert_eq!(unix_micros_from_tid(Tid::from_u64(*tid)), *micros, "{tid:x}");
        }
    }

    /// From Python: `TimeStamp(tid).timeTime()`, the float's bits, with persistent of ZODB 6.4; see
    /// `server/tests/data/make_times.py`.
    const PYTHON_TIMES: &[(u64, u64)] = &include!("../../tests/data/times.in");

    #[test]
    fn seconds_are_pythons_to_the_last_bit() {
        assert!(PYTHON_TIMES.len() > 200);
        for (tid, bits) in PYTHON_TIMES {
            let seconds = unix_seconds_from_tid(Tid::from_u64(*tid));
            assert_eq!(seconds.to_bits(), *bits, "{tid:x}: {seconds}, Python {}", f64::from_bits(*bits));
        }
    }

    #[test]
    fn the_example_of_the_reference() {
        // 2026-11-20 10:26:30.5
        assert_eq!(tid_from_unix_micros(1_795_170_390_500_000), Some(Tid::from_u64(0x040d_2412_8222_2222)));
    }

    #[test]
    fn outside_the_range_there_is_none() {
        assert_eq!(tid_from_unix_micros(-2_208_988_800_000_000), Some(Tid::ZERO));
        assert_eq!(tid_from_unix_micros(-2_208_988_800_000_001), None);
        assert_eq!(tid_from_unix_micros(i64::MIN), None);
        assert_eq!(tid_from_unix_micros(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn there_and_back(micros in -2_208_988_800_000_000_i64..200_000_000_000_000_000) {
            let tid = tid_from_unix_micros(micros).unwrap();
            prop_assert_eq!(unix_micros_from_tid(tid), micros);
        }

        #[test]
        fn time_order_is_tid_order(one in 0_i64..10_000_000_000_000_000, other in 0_i64..10_000_000_000_000_000) {
            prop_assert_eq!(tid_from_unix_micros(one).cmp(&tid_from_unix_micros(other)), one.cmp(&other));
        }

        /// Guarantees, fault 21: the clock stepped to and fro.
        #[test]
        fn tids_rise_whatever_the_clock_does(clock in prop::collection::vec(any::<i64>(), 1..50)) {
            let mut last = Tid::ZERO;
            for micros in clock {
                let tid = next_tid(micros, last).unwrap();
                prop_assert!(tid > last);
                last = tid;
            }
        }

        #[test]
        fn no_tid_is_without_a_time(tid: u64) {
            let _micros = unix_micros_from_tid(Tid::from_u64(tid));
        }
    }

    #[test]
    fn the_last_tid_has_no_successor() {
        assert_eq!(next_tid(0, Tid::from_u64(u64::MAX)), None);
    }
}
