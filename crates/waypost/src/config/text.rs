//! How values are written: everything is text or can be read as such, so that a file and a variable follow
//! the same rules. Must not put a secret's text into an error.

use std::{fmt, fs, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use url::Url;
use uuid::Uuid;
use waypost_crypto::seal::KeyRing;

const KIB: u64 = 1024;
/// Units of [`ByteSize`], the largest first.
const UNITS: [(&str, u64); 4] = [("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB), ("B", 1)];
/// Units of durations, the largest first, in milliseconds.
const PERIODS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The longest duration, some ten years: what is longer is a slip, and could leave the calendar when added to a date.
const LONGEST: Duration = Duration::from_hours(3650 * 24);
/// In front of the path of the file that holds a secret.
const FILE: &str = "file:";

/// A number of bytes: "4 MiB", or the plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = UNITS.iter().find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        let (unit, size) = fitting.copied().unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0 / size)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

impl LogFormat {
    /// As it is written in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

/// A duration as this program writes it: whole numbers of the largest unit that fits.
pub(super) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let fitting =
        PERIODS.iter().find(|(_, length)| milliseconds != 0 && milliseconds.is_multiple_of(*length));
    let (unit, length) = fitting.copied().unwrap_or(("s", 1_000));
    format!("{}{unit}", milliseconds / length)
}

/// A value that can be read from text.
pub(super) trait Text: Sized {
    /// What it should be, in words that help who wrote something else.
    const WANTED: &'static str;

    fn read(text: &str) -> Option<Self>;
}

impl Text for SocketAddr {
    const WANTED: &'static str = "an address and a port; write one such as 0.0.0.0:8080 or [::]:8080";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Text for Url {
    const WANTED: &'static str = "an http or https URL; write one such as https://relay.example.com";

    fn read(text: &str) -> Option<Self> {
        let url: Self = text.parse().ok()?;
        let plain = url.query().is_none() && url.fragment().is_none();
        (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
    }
}

impl Text for Uuid {
    const WANTED: &'static str = "a UUID";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Text for u32 {
    const WANTED: &'static str = "a whole number that is not negative";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Text for Duration {
    const WANTED: &'static str =
        "a duration of at most 3650d; write a number with its unit, such as 2500ms, 15s, 5m, 24h or 14d";

    fn read(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST)
    }
}

impl Text for ByteSize {
    const WANTED: &'static str =
        "a size; write a number of bytes, or one with B, KiB, MiB or GiB, such as \"4 MiB\"";

    fn read(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        let size = match unit {
            "" => 1,
            named => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(named))?.1,
        };
        number.parse::<u64>().ok()?.checked_mul(size).map(Self)
    }
}

impl Text for String {
    const WANTED: &'static str = "a text that is not empty";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Text for PathBuf {
    const WANTED: &'static str = "the path of a file";

    fn read(text: &str) -> Option<Self> {
        let path = text.strip_prefix(FILE).unwrap_or(text);
        (!path.is_empty()).then(|| Self::from(path))
    }
}

impl Text for IpNet {
    const WANTED: &'static str = "a network; write one such as 10.0.0.0/8 or fd00::/8";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Text for LogFormat {
    const WANTED: &'static str = "a log format; write pretty or json";

    fn read(text: &str) -> Option<Self> {
        [Self::Pretty, Self::Json].into_iter().find(|format| format.name() == text)
    }
}

/// One value.
pub(super) fn value<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

/// One value; an empty text is none.
pub(super) fn optional<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { parse(&text).map(Some) }
}

/// A list of values, as a comma list or as an array.
pub(super) fn list<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = deserializer.deserialize_any(Texts)?;
    texts.iter().map(|text| parse(text)).collect()
}

/// A secret, as it is or read from the file it names; an empty text is none.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let Some(path) = text.strip_prefix(FILE) else {
        return Ok((!text.is_empty()).then(|| text.into()));
    };
    let content = fs::read_to_string(path).map_err(|error| {
        Error::custom(format!(
            "the file {path} cannot be read ({error}); correct the path or its permissions"
        ))
    })?;
    let content = content.strip_suffix('\n').unwrap_or(&content);
    let content = content.strip_suffix('\r').unwrap_or(content);
    if content.is_empty() {
        return Err(Error::custom(format!("the file {path} is empty; put the secret into it")));
    }
    Ok(Some(content.into()))
}

/// The keys that seal what is stored.
pub(super) fn key_ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyRing>, D::Error> {
    let keys = secret(deserializer)?;
    keys.map(|text| KeyRing::parse(&text)).transpose().map_err(Error::custom)
}

fn parse<T: Text, E: Error>(text: &str) -> Result<T, E> {
    T::read(text.trim()).ok_or_else(|| E::custom(format!("{text:?} is not {}", T::WANTED)))
}

/// Takes a comma list or an array of texts.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a comma list or an array of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let parts = text.split(',').map(str::trim);
        Ok(if text.trim().is_empty() { Vec::new() } else { parts.map(str::to_owned).collect() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = array.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}
