//! Times as the log writes them, and the clock that callers pass in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Date, Month, OffsetDateTime, UtcOffset};

/// An instant in milliseconds, shown as `2026-01-15T10:30:00.000Z`.
///
/// The text form is exact: UTC, three fractional digits, a capital `Z` (RFC 3339). Parsing with
/// [`FromStr`] accepts nothing else; [`Timestamp::from_rfc3339`] takes any RFC 3339 text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 in UTC with three fractional digits, like 2026-01-15T10:30:00.000Z")]
pub struct NotATime;

/// The largest instant that four digits of a year can show.
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// An instant between the years 1970 and 9999.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        if millis >= 0 && millis <= MAX_MILLIS { Some(Self(millis)) } else { None }
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0 / 1000
    }

    /// The instant `millis` later (or earlier, if negative), kept within the years 1970 to 9999.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis).clamp(0, MAX_MILLIS))
    }

    /// Milliseconds from `earlier` to this instant; negative if `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// Reads any RFC 3339 time, with an offset and any number of fractional digits.
    pub fn from_rfc3339(text: &str) -> Result<Self, NotATime> {
        let parsed = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
            .map_err(|_| NotATime)?;
        let millis = parsed.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).ok().and_then(Self::from_millis).ok_or(NotATime)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.seconds()).map_err(|_| fmt::Error)?;
        let (year, month, day) = moment.to_calendar_date();
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: usize, mut value: u32| {
            for place in (at..at + digits).rev() {
                text[place] = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        };
        put(0, 4, year.unsigned_abs());
        put(5, 2, u8::from(month).into());
        put(8, 2, day.into());
        put(11, 2, moment.hour().into());
        put(14, 2, moment.minute().into());
        put(17, 2, moment.second().into());
        put(20, 3, u32::try_from(self.0 % 1000).unwrap_or(0));
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let bytes: &[u8; 24] = text.as_bytes().try_into().map_err(|_| NotATime)?;
        let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
        let fits = bytes.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            literal => byte == literal,
        });
        if !fits {
            return Err(NotATime);
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
        };
        let small = |from, to| u8::try_from(number(from, to)).map_err(|_| NotATime);
        let month = Month::try_from(small(5, 7)?).map_err(|_| NotATime)?;
        let year = i32::try_from(number(0, 4)).map_err(|_| NotATime)?;
        let millis = u16::try_from(number(20, 23)).map_err(|_| NotATime)?;
        let moment = Date::from_calendar_date(year, month, small(8, 10)?)
            .and_then(|date| {
                date.with_hms_milli(small2(bytes, 11), small2(bytes, 14), small2(bytes, 17), millis)
            })
            .map_err(|_| NotATime)?
            .assume_offset(UtcOffset::UTC);
        let total = moment.unix_timestamp() * 1000 + i64::from(millis);
        Self::from_millis(total).ok_or(NotATime)
    }
}

fn small2(bytes: &[u8; 24], at: usize) -> u8 {
    (bytes[at] - b'0') * 10 + (bytes[at + 1] - b'0')
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from: passed in, so that tests own it.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Milliseconds since some fixed moment, never set back and counting sleep
    /// (`CLOCK_BOOTTIME` where there is one).
    fn steady_millis(&self) -> i64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in
            ["1970-01-01T00:00:00.000Z", "2026-01-15T10:30:00.123Z", "9999-12-31T23:59:59.999Z"]
        {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn only_the_exact_form_is_a_time() {
        for text in [
            "2026-01-15T10:30:00Z",
            "2026-01-15T10:30:00.0000Z",
            "2026-01-15t10:30:00.000Z",
            "2026-13-15T10:30:00.000Z",
            "2026-02-30T10:30:00.000Z",
            "2026-01-15T24:30:00.000Z",
            "2026-01-15T10:30:60.000Z",
            "1969-12-31T23:59:59.999Z",
            "+026-01-15T10:30:00.000Z",
            "",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn other_offsets_are_brought_to_utc() {
        let local = Timestamp::from_rfc3339("2026-01-15T12:30:00.5+02:00").map(|t| t.to_string());
        assert_eq!(local, Ok("2026-01-15T10:30:00.500Z".to_owned()));
    }
}
