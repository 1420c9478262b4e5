//! Transactions and the time (protocol reference 14.3).

use jiff::civil::DateTime;
use zeo_codec::Tid;

/// What the low half of a tid counts, in a minute.
const MINUTE: u64 = 1 << 32;
/// The year in which tids begin.
const FIRST_YEAR: i16 = 1900;
const MINUTE_NANOSECONDS: u64 = 60_000_000_000;

/// The time that a tid stands for, in UTC, to the microsecond as in Python. `None` if it stands for none: only the order
/// of tids can be relied on.
pub(super) fn time_of(tid: Tid) -> Option<DateTime> {
    let (minutes, fraction) = (tid.to_u64() / MINUTE, tid.to_u64() % MINUTE);
    let (hours, minute) = (minutes / 60, minutes % 60);
    let (days, hour) = (hours / 24, hours % 24);
    let (months, day) = (days / 31, days % 31 + 1);
    let (years, month) = (months / 12, months % 12 + 1);
    let year = i16::try_from(years).ok()?.checked_add(FIRST_YEAR)?;
    let nanoseconds =
        u64::try_from(u128::from(fraction) * u128::from(MINUTE_NANOSECONDS) / u128::from(MINUTE)).ok()?;
    let microseconds = (nanoseconds + 500) / 1000;
    // What rounds up to the next minute stays in its own.
    let microseconds = microseconds.min(MINUTE_NANOSECONDS / 1000 - 1);
    DateTime::new(
        year,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(microseconds / 1_000_000).ok()?,
        i32::try_from(microseconds % 1_000_000 * 1000).ok()?,
    )
    .ok()
}

/// The first tid of this time, which is in UTC; `None` before tids begin.
pub(super) fn first_tid_of(time: DateTime) -> Option<Tid> {
    let field = |number: i8| u64::try_from(number).ok();
    let years = u64::try_from(time.year().checked_sub(FIRST_YEAR)?).ok()?;
    let days = (years * 12 + field(time.month())? - 1) * 31 + field(time.day())? - 1;
    let minutes = (days * 24 + field(time.hour())?) * 60 + field(time.minute())?;
    let nanoseconds = field(time.second())? * 1_000_000_000 + u64::try_from(time.subsec_nanosecond()).ok()?;
    // Rounded up, or it would be before that time.
    let fraction = (u128::from(nanoseconds) * u128::from(MINUTE)).div_ceil(u128::from(MINUTE_NANOSECONDS));
    let number = minutes.checked_mul(MINUTE)?.checked_add(u64::try_from(fraction).ok()?)?;
    Some(Tid::from_u64(number))
}

/// A tid so many minutes before this one, or the first one.
pub(super) fn minutes_before(tid: Tid, minutes: u64) -> Tid {
    Tid::from_u64(tid.to_u64().saturating_sub(minutes.saturating_mul(MINUTE)))
}

/// As in `2026-11-20 10:26:30.500000Z`; `no time` if the tid stands for none.
pub(super) fn show_time(tid: Tid) -> String {
    time_of(tid).map_or_else(|| "no time".to_owned(), |time| format!("{} {:.6}Z", time.date(), time.time()))
}

/// A tid, as sixteen hexadecimal digits, or a time in UTC, for which the first tid of it stands.
pub(super) fn parse_tid(text: &str) -> Result<Tid, String> {
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return u64::from_str_radix(text, 16).map(Tid::from_u64).map_err(|error| error.to_string());
    }
    let time: Option<DateTime> = text.trim_end_matches('Z').parse().ok();
    time.and_then(first_tid_of).ok_or_else(|| {
        "expected a tid of sixteen hexadecimal digits, or a time in UTC such as 2026-11-20T10:26:30"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of protocol reference 14.3, and Python's `TimeStamp(tid)` of persistent 6.1 for the others; where that says 60 seconds,
    /// which no clock shows, the last microsecond before them.
    #[test]
    fn tids_stand_for_times() {
        for (tid, shown) in [
            ("040d241282222222", "2026-11-20 10:26:30.500000Z"),
            ("0000000000000000", "1900-01-01 00:00:00.000000Z"),
            ("040d2412ffffffff", "2026-11-20 10:26:59.999999Z"),
            ("7fffffffffffffff", "5908-11-23 02:07:59.999999Z"),
        ] {
            let tid = parse_tid(tid).unwrap();
            assert_eq!(show_time(tid), shown);
        }
        // The 31st of February.
        let february = Tid::from_u64(((126 * 12 + 1) * 31 + 30) * 24 * 60 * MINUTE);
        assert_eq!(show_time(february), "no time");
    }

    #[test]
    fn times_are_read_as_the_first_tid_of_them() {
        let half = parse_tid("040d241280000000").unwrap();
        assert_eq!(parse_tid("2026-11-20T10:26:30"), Ok(half));
        assert_eq!(parse_tid("2026-11-20 10:26:30.000Z"), Ok(half));
        assert_eq!(parse_tid("2026-11-20T10:26:30.5"), Ok(Tid::from_u64(0x040d_2412_8222_2223)));
        assert_eq!(parse_tid("2026-11-20"), parse_tid("040d21a000000000"));
        for text in ["", "yesterday", "040d24128222222", "1899-12-31", "+40d241282222222"] {
            assert!(parse_tid(text).is_err(), "{text}");
        }
        assert_eq!(minutes_before(half, 26), parse_tid("040d23f880000000").unwrap());
        assert_eq!(minutes_before(half, u64::MAX), Tid::ZERO);
    }
}
