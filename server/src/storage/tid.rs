//! Transaction identifiers as time stamps (protocol reference 14.3).

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeo_codec::Tid;

use super::StorageError;

/// The time stamp of `time`, in steps of 60 / 2^32 seconds. `None` before 1900 or beyond what fits.
///
/// The high word counts minutes since 1900 with months of 31 days; the low word is the fraction of the
/// minute (persistent/timestamp.py 6.9).
#[must_use]
pub fn tid_of(time: SystemTime) -> Option<Tid> {
    let utc = Timestamp::try_from(time).ok()?.to_zoned(TimeZone::UTC);
    let years = u64::try_from(i32::from(utc.year()) - 1900).ok()?;
    let field = |value: i8| u64::try_from(value).ok();
    let months = years * 12 + field(utc.month())? - 1;
    let days = months * 31 + field(utc.day())? - 1;
    let minutes = (days * 24 + field(utc.hour())?) * 60 + field(utc.minute())?;
    let nanoseconds = field(utc.second())? * 1_000_000_000 + u64::try_from(utc.subsec_nanosecond()).ok()?;
    let fraction = (u128::from(nanoseconds) << 32) / 60_000_000_000;
    let high = u64::from(u32::try_from(minutes).ok()?) << 32;
    Some(Tid::from_u64(high | u64::try_from(fraction).ok()?))
}

/// The tid of a new transaction: the time, or the number after `last` if the clock is not beyond that.
///
/// # Errors
/// [`StorageError::TidsExhausted`] if `last` is the greatest tid that can be asked for.
pub fn next_tid(now: SystemTime, last: Tid) -> Result<Tid, StorageError> {
    match tid_of(now) {
        Some(tid) if tid > last => Ok(tid),
        _ => last.next().filter(|tid| *tid < Tid::MAX).ok_or(StorageError::TidsExhausted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn agrees_with_pythons_time_stamps() {
        // persistent.TimeStamp.TimeStamp(...).raw() and .timeTime(), persistent 6.9
        for (micros, tid) in [
            (0, 0x023c_2b00_0000_0000),
            (1_795_170_390_500_000, 0x040d_2412_8222_2222),
            (1_795_246_267_123_456, 0x040d_2903_1e64_b6aa),
            (951_868_799_999_999, 0x0332_b37f_ffff_ffb8),
        ] {
            let time = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(tid_of(time), Some(Tid::from_u64(tid)));
        }
    }

    #[test]
    fn tids_rise_whatever_the_clock_does() {
        let last = Tid::from_u64(0x040d_2412_8222_2222);
        assert_eq!(next_tid(UNIX_EPOCH, last).unwrap(), last.next().unwrap());
        assert!(next_tid(UNIX_EPOCH + Duration::from_secs(1_900_000_000), last).unwrap() > last);
        assert!(next_tid(UNIX_EPOCH, Tid::MAX).is_err());
    }
}
