//! How times are written in answers, and read in requests.
//!
//! Our own resources: [`Time`], RFC 3339 in UTC with milliseconds and `Z`, never more and never less. Nango's shapes have
//! spellings of their own, the functions here. A view must not hold a bare `DateTime`: that would be written with as many
//! digits as it happens to have.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::extract::words;

/// A time in UTC, with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T06:00:00.000Z")]
pub(crate) struct Time(DateTime<Utc>);

impl From<DateTime<Utc>> for Time {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&nango(self.0))
    }
}

/// A time as most of Nango's answers write it, and ours: `2026-08-21T18:00:00.000Z`.
pub(crate) fn nango(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time as Nango's connections are read: `2026-08-21T18:00:00.000+00:00`.
pub(crate) fn nango_with_offset(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}

/// Reads a time, if there is one. Of the years that a `DateTime` can have, RFC 3339 writes those of four digits.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    match Option::<DateTime<Utc>>::deserialize(deserializer)? {
        Some(at) if !(0..=9999).contains(&at.year()) => Err(D::Error::custom(words::TIME)),
        at => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_has_four_digits() {
        for (text, is_time) in [
            ("2026-11-22T06:00:00+02:00", true),
            ("9999-12-31T23:59:59Z", true),
            ("+10000-01-01T00:00:00Z", false),
            ("-0001-01-01T00:00:00Z", false),
        ] {
            let json = serde_json::Value::from(text);
            assert_eq!(read(json).is_ok(), is_time, "{text}");
        }
        assert_eq!(read(serde_json::Value::Null).unwrap(), None);
    }

    #[test]
    fn a_time_has_three_digits_of_a_second_whatever_it_was_made_of() {
        for (micros, written) in [
            (1_800_000_000_000_000, "2027-01-15T08:00:00.000Z"),
            (1_800_000_000_120_000, "2027-01-15T08:00:00.120Z"),
            (1_800_000_000_123_999, "2027-01-15T08:00:00.123Z"),
        ] {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(serde_json::to_value(Time::from(at)).unwrap(), written);
            assert_eq!(nango(at), written);
            assert_eq!(nango_with_offset(at), written.replace('Z', "+00:00"));
        }
    }
}
