//! Time as an argument: seconds since 1970, handed in by whoever has a clock.

/// A moment, in Unix seconds. The core has no clock; every call that judges by time takes one.
///
/// Sums saturate, at [`Time::END`]. A moment before [`Time::EARLIEST`] cannot be now: a device whose clock was never set
/// says so with it, and nothing is judged by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u32);

impl Time {
    /// The clock was never set. Nothing is handed out, sent or declared dead by it.
    pub const UNSET: Self = Self(0);
    /// 2020-01-01. A clock that shows less was never set.
    pub const EARLIEST: Self = Self(1_577_836_800);
    /// 2106-02-07, the end of time: whatever is later counts as this moment. A time takes half the room so, and a phase is
    /// mostly times.
    pub const END: Self = Self(u32::MAX);

    /// The moment `seconds` after 1970-01-01T00:00:00Z; [`Time::END`] where that is earlier.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        Self(if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0 as u64
    }

    pub(crate) const fn seconds(self) -> u32 {
        self.0
    }

    /// Whether this can be the present: not before [`Time::EARLIEST`].
    #[must_use]
    pub const fn is_set(self) -> bool {
        self.0 >= Self::EARLIEST.0
    }

    pub(crate) const fn is_unset(self) -> bool {
        self.0 == Self::UNSET.0
    }

    /// This moment and `seconds` more.
    #[must_use]
    pub const fn plus(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// `seconds` before this moment.
    #[must_use]
    pub const fn minus(self, seconds: u32) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this moment; none where the clock stepped back between the two.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`; RFC 9110 §5.6.7, the form that senders must use), as the
    /// `Date` and `Retry-After` headers bring it. `None` for anything else.
    #[must_use]
    pub fn from_http_date(text: &str) -> Option<Self> {
        let (_, rest) = text.trim_ascii().split_once([','])?;
        let mut parts = rest.strip_prefix(' ')?.split([' ']);
        let day: u32 = digits(parts.next()?, 2)?;
        let month = month(parts.next()?)?;
        let year = digits(parts.next()?, 4)?;
        let mut clock = parts.next()?.split([':']);
        let (hour, minute, second) =
            (digits(clock.next()?, 2)?, digits(clock.next()?, 2)?, digits(clock.next()?, 2)?);
        let in_range = (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61 && year >= 1970;
        if parts.next() != Some("GMT") || parts.next().is_some() || clock.next().is_some() || !in_range {
            return None;
        }
        let days = days_since_1970(year, month, day)?;
        let seconds = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
        Some(Self(days.saturating_mul(86_400).saturating_add(seconds)))
    }
}

/// A decimal number of exactly `width` digits.
fn digits(text: &str, width: usize) -> Option<u32> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn month(name: &str) -> Option<u32> {
    let (names, _) = b"JanFebMarAprMayJunJulAugSepOctNovDec".as_chunks::<3>();
    let at = names.iter().position(|known| known == name.as_bytes())?;
    u32::try_from(at).ok()?.checked_add(1)
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that a leap day is the last.
fn days_since_1970(year: u32, month: u32, day: u32) -> Option<u32> {
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before_month = month.checked_mul(153)?.checked_add(2)? / 5;
    year.checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(before_month)?
        .checked_add(day)?
        .checked_sub(719_469)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    extern crate std;
    use std::format;

    use super::Time;

    #[test]
    fn http_dates_are_read_and_nothing_else_is() {
        assert_eq!(Time::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Time(784_111_777)));
        assert_eq!(Time::from_http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(Time(1_709_164_800)));
        assert_eq!(Time::from_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Time(0)));
        assert_eq!(Time::from_http_date("Fri, 31 Dec 9999 23:59:60 GMT"), Some(Time::END));
        assert_eq!(Time::from_http_date("Sat, 31 Dec 2016 23:59:60 GMT"), Some(Time(1_483_228_800)));
        for wrong in [
            "",
            "120",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
        ] {
            assert_eq!(Time::from_http_date(wrong), None, "{wrong}");
        }
    }

    /// The first and the last day of each month, one behind the other as on the wall, until the end of time.
    #[test]
    fn each_month_of_the_calendar_follows_the_one_before() {
        const NAMES: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let mut before = 0;
        for year in 1970..2106 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            for (month, days) in NAMES.iter().zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for day in [1, days] {
                    let text = format!("Day, {day:02} {month} {year} 01:02:03 GMT");
                    let midnight = before + (day - 1) * 86_400;
                    assert_eq!(Time::from_http_date(&text), Some(Time(midnight + 3_723)), "{text}");
                }
                before += days * 86_400;
            }
        }
    }

    #[test]
    fn a_time_is_its_seconds_up_to_the_end_of_time() {
        for seconds in [0, 1, 2, 1_800_000_000, u64::from(u32::MAX)] {
            assert_eq!(
                (Time::from_unix(seconds).unix(), Time::from_unix(seconds).is_unset()),
                (seconds, seconds == 0)
            );
        }
        assert_eq!(Time::from_unix(1 << 32), Time::END);
        assert!(Time::EARLIEST.is_set() && !Time::EARLIEST.minus(1).is_set());
    }

    #[test]
    fn sums_saturate_and_a_clock_that_stepped_back_counts_as_no_time() {
        assert_eq!(Time::from_unix(u64::MAX).plus(1), Time::END);
        assert_eq!(Time(9).minus(5), Time(4));
        assert_eq!(Time(5).minus(9), Time::UNSET);
        assert_eq!(Time(9).since(Time(5)), 4);
        assert_eq!(Time(5).since(Time(9)), 0);
        assert_eq!(Time::END.since(Time(0)), u32::MAX);
    }
}
