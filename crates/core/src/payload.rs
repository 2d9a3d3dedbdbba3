//! An event's payload as people see it: as it is forwarded, with every `clientState` masked.
//!
//! Works on the stored text, so that numbers and lone surrogates look as they are sent. Must not open encrypted items.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// What stands in place of a `clientState`.
pub const MASK: &str = "********";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The payload inside a `forward` envelope; `None` when the body isn't one.
#[must_use]
pub fn of_envelope(body: &[u8]) -> Option<&[u8]> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    Some(envelope.payload.get().as_bytes())
}

/// `payload` with the `clientState` of each item masked; a payload without items stays as it is. `None` when it isn't
/// JSON.
#[must_use]
pub fn masked(payload: &[u8]) -> Option<Box<RawValue>> {
    let whole: &RawValue = serde_json::from_slice(payload).ok()?;
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(whole.get()) else {
        return Some(whole.to_owned());
    };
    let Some(items) =
        fields.get("value").and_then(|value| serde_json::from_str::<Vec<&RawValue>>(value.get()).ok())
    else {
        return Some(whole.to_owned());
    };
    let items: Vec<Box<RawValue>> = items.into_iter().map(masked_item).collect::<Option<_>>()?;
    let value = to_raw_value(&items).ok()?;
    fields.insert("value".to_owned(), &value);
    to_raw_value(&fields).ok()
}

fn masked_item(item: &RawValue) -> Option<Box<RawValue>> {
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(item.get()) else {
        // A key that no text can hold: without its clientState rather than with it.
        let mut without = Vec::new();
        crate::canonical::canonical_object_without(item.get().as_bytes(), &["clientState"], &mut without)
            .ok()?;
        return RawValue::from_string(String::from_utf8(without).ok()?).ok();
    };
    let mask = to_raw_value(MASK).ok()?;
    if let Some(state) = fields.get_mut("clientState") {
        *state = &mask;
    }
    to_raw_value(&fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &str) -> String {
        masked(payload.as_bytes()).unwrap().get().to_owned()
    }

    #[test]
    fn the_state_of_every_item_is_masked_and_nothing_else_changes() {
        assert_eq!(
            shown(
                r#"{"value":[{"clientState":"secret","n":1e400,"resourceData":{"clientState":"inner"}},{"a":"\ud800"}]}"#
            ),
            r#"{"value":[{"clientState":"********","n":1e400,"resourceData":{"clientState":"inner"}},{"a":"\ud800"}]}"#
        );
    }

    #[test]
    fn an_item_with_a_key_that_is_no_text_loses_its_state() {
        assert_eq!(
            shown(r#"{"value":[{"\ud800":1,"clientState":"secret"}]}"#),
            r#"{"value":[{"\ud800":1}]}"#
        );
    }

    #[test]
    fn a_payload_without_items_is_shown_as_it_is() {
        for payload in [r#"{"type":"auth","operation":"creation"}"#, "[1]", r#"{"value":"x"}"#] {
            assert_eq!(shown(payload), payload);
        }
    }

    #[test]
    fn a_payload_is_found_inside_its_envelope() {
        let body = br#"{"connectionId":"c","from":"f","payload":{"value":[]},"providerConfigKey":"k","type":"forward"}"#;
        assert_eq!(of_envelope(body), Some(br#"{"value":[]}"#.as_slice()));
        assert_eq!(of_envelope(b"{}"), None);
    }
}
