//! Strings in canonical form: escaped as `JSON.stringify` does and no more.
//!
//! Short escapes where there is one, `\u00xx` for other control characters, `\udxxx` for a lone surrogate,
//! everything else as itself in UTF-8. Knows strings only, not where they stand.

use super::Rule;

/// The bytes that end a run which may be copied as it is, in JSON text as well as in plain text.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a string says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text<'raw> {
    /// It holds no escape.
    Plain(&'raw str),
    /// Its body with escapes, each of them valid.
    Escaped(&'raw str),
}

/// Appends `text` to `out` as a canonical JSON string, with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| SPECIAL[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..at]);
        write_special(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Rewrites the JSON string that begins `raw`, whose opening quote was stepped over, in canonical form.
///
/// Gives what it says and the length up to behind the closing quote, or the broken rule and where it is.
pub(super) fn rewrite<'raw>(raw: &'raw str, out: &mut Vec<u8>) -> Result<(Text<'raw>, usize), (Rule, usize)> {
    let bytes = raw.as_bytes();
    let (mut at, mut escaped) = (0, false);
    out.push(b'"');
    loop {
        let run = bytes[at..].iter().position(|byte| SPECIAL[usize::from(*byte)]);
        let run = run.ok_or((Rule::End, bytes.len()))?;
        out.extend_from_slice(&bytes[at..at + run]);
        at += run;
        match bytes[at] {
            b'"' => break,
            b'\\' => {
                escaped = true;
                at += rewrite_escape(&bytes[at..], out).map_err(|offset| (Rule::Escape, at + offset))?;
            }
            _ => return Err((Rule::Control, at)),
        }
    }
    out.push(b'"');
    let body = &raw[..at];
    Ok((if escaped { Text::Escaped(body) } else { Text::Plain(body) }, at + 1))
}

/// The UTF-16 units that the body of a JSON string with valid escapes says.
pub(super) fn units(body: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\')
        && let Ok((unit, length)) = read_escape(&rest.as_bytes()[at..])
    {
        units.extend(rest[..at].encode_utf16());
        units.push(unit);
        rest = &rest[at + length..];
    }
    units.extend(rest.encode_utf16());
    units
}

/// Rewrites the escape that begins `bytes`, and the one behind it when the two are a surrogate pair. Gives
/// how long they are, or where the escape is broken.
fn rewrite_escape(bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, usize> {
    let (unit, length) = read_escape(bytes)?;
    if let Some(character) = char::from_u32(u32::from(unit)) {
        write_char(character, out);
        return Ok(length);
    }
    if let Ok((next, next_length)) = read_escape(&bytes[length..])
        && let Some(Ok(character)) = char::decode_utf16([unit, next]).next()
    {
        write_char(character, out);
        return Ok(length + next_length);
    }
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 0xf)]);
    }
    Ok(length)
}

/// Reads the escape that begins `bytes` if one does. Gives its UTF-16 unit and its length, or where it is
/// broken.
fn read_escape(bytes: &[u8]) -> Result<(u16, usize), usize> {
    if bytes.first() != Some(&b'\\') {
        return Err(0);
    }
    let unit = match bytes.get(1).ok_or(1_usize)? {
        b'u' => return read_unit(&bytes[2..]).map(|unit| (unit, 6)).map_err(|offset| 2 + offset),
        same @ (b'"' | b'\\' | b'/') => *same,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return Err(1),
    };
    Ok((u16::from(unit), 2))
}

/// Reads four hexadecimal digits, or tells which is none.
fn read_unit(bytes: &[u8]) -> Result<u16, usize> {
    (0..4).try_fold(0, |unit, at| {
        let digit = bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        digit.and_then(|digit| u16::try_from(digit).ok()).map(|digit| unit << 4 | digit).ok_or(at)
    })
}

fn write_char(character: char, out: &mut Vec<u8>) {
    match u8::try_from(character) {
        Ok(byte) if SPECIAL[usize::from(byte)] => write_special(byte, out),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes one of the [`SPECIAL`] bytes, escaped.
fn write_special(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 0xf].map(|digit| HEX[usize::from(digit)]));
            return;
        }
    };
    out.extend([b'\\', short]);
}
