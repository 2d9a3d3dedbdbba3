//! The order of keys: that of a JavaScript object whose keys were added sorted.
//!
//! Array indices (the canonical decimal of 0 to 2^32 - 2) come first and by number, as every JavaScript
//! object keeps them; the others by their UTF-16 units. Equal keys are equal however they were escaped.

use std::cmp::Ordering;

use super::string::{self, Text};

/// A key as it is ordered.
#[derive(Debug)]
pub(super) struct Key<'raw> {
    index: Option<u32>,
    name: Name<'raw>,
}

#[derive(Debug)]
enum Name<'raw> {
    Utf8(&'raw str),
    /// Only for keys with escapes, which may hold lone surrogates; they are rare.
    Utf16(Vec<u16>),
}

impl<'raw> Key<'raw> {
    pub(super) fn new(text: Text<'raw>) -> Self {
        match text {
            Text::Plain(name) => {
                Self { index: array_index(name.bytes().map(u16::from)), name: Name::Utf8(name) }
            }
            Text::Escaped(body) => {
                let units = string::units(body);
                Self { index: array_index(units.iter().copied()), name: Name::Utf16(units) }
            }
        }
    }

    /// Whether the key says `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.cmp(&Name::Utf8(name)) == Ordering::Equal
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.index, other.index) {
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.name.cmp(&other.name),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl Name<'_> {
    fn cmp(&self, other: &Name<'_>) -> Ordering {
        match (self, other) {
            (Name::Utf8(one), Name::Utf8(other)) => {
                one.bytes().map(utf16_rank).cmp(other.bytes().map(utf16_rank))
            }
            (Name::Utf16(one), Name::Utf16(other)) => one.cmp(other),
            (Name::Utf8(one), Name::Utf16(other)) => one.encode_utf16().cmp(other.iter().copied()),
            (Name::Utf16(one), Name::Utf8(other)) => one.iter().copied().cmp(other.encode_utf16()),
        }
    }
}

/// UTF-8 orders as UTF-16 does but for one thing: characters beyond U+FFFF, which begin with 0xf0 or more,
/// come before U+E000 to U+FFFF, which begin with 0xee or 0xef. So those two bytes rank above all others.
fn utf16_rank(byte: u8) -> u8 {
    if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte }
}

fn array_index(units: impl Iterator<Item = u16>) -> Option<u32> {
    let mut index: Option<u32> = None;
    for unit in units {
        let digit = unit.checked_sub(u16::from(b'0')).filter(|digit| *digit < 10)?;
        index = Some(match index {
            None => u32::from(digit),
            Some(0) => return None,
            Some(head) => head.checked_mul(10)?.checked_add(u32::from(digit))?,
        });
    }
    index.filter(|index| *index != u32::MAX)
}
