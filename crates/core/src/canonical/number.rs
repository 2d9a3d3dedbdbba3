//! Numbers in canonical form: JavaScript's, but only when it denotes exactly the number that was sent.
//!
//! JavaScript has doubles only. A number whose shortest double text is another decimal (a long id, `1e400`)
//! keeps its text: receivers that read exact numbers get the one that was sent.

/// Integers of so many digits are exact in a double and written by JavaScript as they are.
const PLAIN_DIGITS: usize = 15;

/// A decimal number: 0.`digits` times ten to the power of `point`, `digits` ending in neither kind of zero.
struct Decimal<'t> {
    negative: bool,
    /// Significant digits, with perhaps a full stop among them. Empty for zero.
    digits: &'t str,
    point: i64,
}

/// Appends the number `text`, which follows the grammar of JSON.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    if text.len() <= PLAIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let exact = Decimal::of(text);
    if exact.digits.is_empty() {
        // Minus zero too, as JSON.stringify has it.
        out.push(b'0');
        return;
    }
    let mut buffer = ryu_js::Buffer::new();
    let kept = match text.parse::<f64>() {
        Ok(double) if double.is_finite() => {
            let script = buffer.format_finite(double);
            if Decimal::of(script).is(&exact) { script } else { text }
        }
        _ => text,
    };
    out.extend_from_slice(kept.as_bytes());
}

impl<'t> Decimal<'t> {
    fn of(text: &'t str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // An exponent beyond i64 belongs to no double, so its exact value does not matter.
        let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
        let from_first = mantissa.trim_start_matches(['0', '.']);
        let first = mantissa.len() - from_first.len();
        let stop = mantissa.find('.').unwrap_or(mantissa.len());
        // For a zero there is no first digit, and its point says nothing.
        let shift = if first < stop { count(stop - first) } else { -count(first.saturating_sub(stop + 1)) };
        Self {
            negative,
            digits: from_first.trim_end_matches(['0', '.']),
            point: exponent.saturating_add(shift),
        }
    }

    fn is(&self, other: &Decimal<'_>) -> bool {
        self.negative == other.negative && self.point == other.point && self.plain().eq(other.plain())
    }

    fn plain(&self) -> impl Iterator<Item = u8> {
        self.digits.bytes().filter(|byte| *byte != b'.')
    }
}

fn count(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(i64::MAX)
}
