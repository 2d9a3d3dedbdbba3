//! Canonical JSON: the one text of a document that signatures are made over.
//!
//! It is what JavaScript's `JSON.stringify` gives for the parsed document with the keys of every object
//! sorted, so that a receiver which parses and writes the body again arrives at the same bytes:
//!
//! - no space; strings escaped as `JSON.stringify` does; lone surrogates stay escapes (`string`);
//! - keys in UTF-16 order, but those that are array indices first, by number (`key`); of duplicates the last;
//! - numbers in JavaScript's form when that denotes exactly the same number, else as they came (`number`).
//!
//! One pass over the bytes with a parser of its own: this runs for every event and must keep what
//! `serde_json` does not, number texts and lone surrogates. It knows nothing of events or envelopes; of a
//! document's meaning it only lets the caller drop members of the outermost object.

mod key;
mod number;
mod string;

use std::ops::Range;

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use self::key::Key;

pub use self::string::write_string;

/// How many arrays and objects may stand inside each other: as many as fit a small stack with plenty to spare.
pub const MAX_DEPTH: usize = 512;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{rule} at byte {offset}")]
pub struct CanonicalError {
    offset: usize,
    rule: Rule,
}

/// The rule of JSON (RFC 8259) that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rule {
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// The text ends inside a value.
    #[error("unexpected end")]
    End,
    /// Here a value must begin.
    #[error("expected a value")]
    Value,
    /// The caller needs an object and this is something else.
    #[error("expected an object")]
    Object,
    /// Here a key in quotes must begin.
    #[error("expected a key")]
    Key,
    /// A key must be followed by a colon.
    #[error("expected a colon")]
    Colon,
    /// An element must be followed by a comma or by the end of its array or object.
    #[error("expected a comma or a closing bracket")]
    Separator,
    /// A number must have a digit here.
    #[error("expected a digit")]
    Digit,
    /// A backslash must be followed by one of `"\/bfnrt`, or by `u` and four hexadecimal digits.
    #[error("invalid escape")]
    Escape,
    /// Control characters must be escaped inside strings.
    #[error("unescaped control character")]
    Control,
    /// Too many arrays and objects inside each other, [`MAX_DEPTH`] being allowed.
    #[error("nested too deeply")]
    Depth,
    /// Nothing but space may follow the value.
    #[error("unexpected bytes after the value")]
    Trailing,
}

/// A parser that writes what it reads in canonical form.
struct Canonicalizer<'raw, 'out> {
    raw: &'raw str,
    at: usize,
    depth: usize,
    out: &'out mut Vec<u8>,
    /// The members of all objects still open, those of the innermost last.
    members: Vec<Member<'raw>>,
    /// Where the members of one object stand while they are put in order.
    scratch: Vec<u8>,
}

/// A member of an object, already written.
struct Member<'raw> {
    key: Key<'raw>,
    /// Where `"key":value` stands in the output.
    written: Range<usize>,
}

type Step = Result<(), CanonicalError>;

/// The canonical form of a JSON text.
///
/// # Errors
/// Names the broken rule and its place when `raw` is not JSON.
pub fn canonical(raw: &[u8]) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(raw.len());
    write_canonical(raw, &mut out)?;
    Ok(out)
}

/// Appends the canonical form of a JSON text to `out`.
///
/// # Errors
/// As [`canonical`]; `out` is then as it was.
pub fn write_canonical(raw: &[u8], out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    write_document(raw, None, out)
}

/// Appends the canonical form of a JSON object to `out`, leaving out the members of the outermost object
/// whose key is in `dropped`, however the key is escaped.
///
/// # Errors
/// As [`canonical`], and when the text is JSON but no object; `out` is then as it was.
pub fn canonical_object_without(
    raw: &[u8],
    dropped: &[&str],
    out: &mut Vec<u8>,
) -> Result<(), CanonicalError> {
    write_document(raw, Some(dropped), out)
}

/// The canonical form of a JSON text that is secret, and that will stand inside `depth` arrays and objects: no buffer
/// that held it is left behind unwiped.
///
/// # Errors
/// As [`canonical`].
pub fn canonical_secret(raw: &[u8], depth: usize) -> Result<Zeroizing<Vec<u8>>, CanonicalError> {
    // Large enough to never grow, since growing leaves a copy behind: nothing gets longer but numbers, and these at most
    // sixfold (`1e20`).
    let room = raw.len().saturating_mul(6);
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    let (raw, scratch) = (utf8(raw)?, Vec::with_capacity(room));
    let mut parser = Canonicalizer { raw, at: 0, depth, out: &mut out, members: Vec::new(), scratch };
    let written = parser.document(None);
    parser.scratch.zeroize();
    written.map(|()| out)
}

fn utf8(raw: &[u8]) -> Result<&str, CanonicalError> {
    std::str::from_utf8(raw).map_err(|error| CanonicalError { offset: error.valid_up_to(), rule: Rule::Utf8 })
}

/// Writes a document, which must be an object when it is to lose members.
fn write_document(raw: &[u8], dropped: Option<&[&str]>, out: &mut Vec<u8>) -> Step {
    let raw = utf8(raw)?;
    let before = out.len();
    let mut parser = Canonicalizer { raw, at: 0, depth: 0, out, members: Vec::new(), scratch: Vec::new() };
    let written = parser.document(dropped);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

impl CanonicalError {
    /// Where the text first breaks the rule, in bytes from its beginning.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }
}

impl<'raw> Canonicalizer<'raw, '_> {
    fn document(&mut self, dropped: Option<&[&str]>) -> Step {
        self.skip_space();
        match dropped {
            None => self.value()?,
            Some(dropped) if self.peek() == Some(b'{') => self.object(dropped)?,
            Some(_) => return Err(self.broken(Rule::Object)),
        }
        self.skip_space();
        if self.at == self.raw.len() { Ok(()) } else { Err(self.broken(Rule::Trailing)) }
    }

    fn value(&mut self) -> Step {
        match self.peek() {
            Some(b'{') => self.object(&[]),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.broken(Rule::Value)),
        }
    }

    fn array(&mut self) -> Step {
        self.enter()?;
        self.out.push(b'[');
        self.skip_space();
        if !self.take(b']') {
            loop {
                self.value()?;
                if self.ends(b']')? {
                    break;
                }
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self, dropped: &[&str]) -> Step {
        self.enter()?;
        self.out.push(b'{');
        let (first, start) = (self.members.len(), self.out.len());
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.member(first, dropped)?;
                if self.ends(b'}')? {
                    break;
                }
            }
        }
        self.put_in_order(first, start);
        self.out.push(b'}');
        self.depth -= 1;
        Ok(())
    }

    /// One member of the object whose members begin at `first`.
    fn member(&mut self, first: usize, dropped: &[&str]) -> Step {
        if self.peek() != Some(b'"') {
            return Err(self.broken(Rule::Key));
        }
        let before = self.out.len();
        if self.members.len() > first {
            self.out.push(b',');
        }
        let start = self.out.len();
        let key = Key::new(self.string()?);
        self.skip_space();
        if !self.take(b':') {
            return Err(self.broken(Rule::Colon));
        }
        self.out.push(b':');
        self.skip_space();
        self.value()?;
        if dropped.iter().any(|name| key.is(name)) {
            self.out.truncate(before);
        } else {
            self.members.push(Member { key, written: start..self.out.len() });
        }
        Ok(())
    }

    /// Sorts what was written from `start` on, the members from `first` on, and keeps the last of those
    /// with the same key. Documents that come in order, as ours do, cost no copy.
    fn put_in_order(&mut self, first: usize, start: usize) {
        let members = &mut self.members[first..];
        if !members.is_sorted_by(|one, next| one.key < next.key) {
            // Stable, so that of equal keys the last written stays last.
            members.sort_by(|one, other| one.key.cmp(&other.key));
            self.scratch.clear();
            self.scratch.extend_from_slice(&self.out[start..]);
            self.out.truncate(start);
            for run in members.chunk_by(|one, next| one.key == next.key) {
                if self.out.len() > start {
                    self.out.push(b',');
                }
                // A run is never empty.
                let Range { start: from, end: to } = run[run.len() - 1].written;
                self.out.extend_from_slice(&self.scratch[from - start..to - start]);
            }
        }
        self.members.truncate(first);
    }

    /// A string, with what it says.
    fn string(&mut self) -> Result<string::Text<'raw>, CanonicalError> {
        match string::rewrite(&self.raw[self.at + 1..], self.out) {
            Ok((text, length)) => {
                self.at += 1 + length;
                Ok(text)
            }
            Err((rule, length)) => {
                self.at += 1 + length;
                Err(self.broken(rule))
            }
        }
    }

    fn number(&mut self) -> Step {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        number::write(&self.raw[start..self.at], self.out);
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Step {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.broken(Rule::Digit)) }
    }

    fn literal(&mut self, name: &str) -> Step {
        for expected in name.bytes() {
            if !self.take(expected) {
                return Err(self.broken(Rule::Value));
            }
        }
        self.out.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// Steps over the bracket that opens an array or an object.
    fn enter(&mut self) -> Step {
        if self.depth == MAX_DEPTH {
            return Err(self.broken(Rule::Depth));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// After an element: whether `closing` ends the array or object here; else steps over the comma.
    fn ends(&mut self, closing: u8) -> Result<bool, CanonicalError> {
        self.skip_space();
        if self.take(closing) {
            return Ok(true);
        }
        if !self.take(b',') {
            return Err(self.broken(Rule::Separator));
        }
        self.skip_space();
        Ok(false)
    }

    fn peek(&self) -> Option<u8> {
        self.raw.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The error for the place reached: `rule`, or that the text ends there.
    fn broken(&self, rule: Rule) -> CanonicalError {
        let rule = if self.at < self.raw.len() { rule } else { Rule::End };
        CanonicalError { offset: self.at, rule }
    }
}

#[cfg(test)]
mod tests;
