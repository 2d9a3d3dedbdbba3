//! A stored body taken apart into its items, and put together again with other items.
//!
//! A stored body is canonical JSON; whatever is put into it must be so too, and goes where the order of keys wants it, so
//! that the whole stays canonical. What goes out may be secret: it is written once, into a buffer of the right size that
//! is wiped when it is dropped. Must not know what items mean.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::rich::BodyError;

/// A stored body: a `forward` envelope, or a bare payload while there is no connection.
#[derive(Debug)]
pub(super) struct StoredBody<'a> {
    pub(super) body: &'a str,
    /// Where the items stand, without the brackets around them.
    pub(super) value: Range<usize>,
    /// All items, as they stand.
    pub(super) items: Vec<&'a str>,
}

/// What an item gains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// The member's name: ASCII, not a number, and none that the item has.
    pub(super) name: &'a str,
    /// Its value, canonical JSON.
    pub(super) value: &'a [u8],
}

#[derive(Deserialize)]
struct Enveloped<'a> {
    #[serde(borrow)]
    payload: Collection<'a>,
}

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

impl<'a> StoredBody<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let body = std::str::from_utf8(body).map_err(|_| BodyError)?;
        let value = serde_json::from_str::<Enveloped<'a>>(body)
            .map(|enveloped| enveloped.payload.value)
            .or_else(|_| serde_json::from_str::<Collection<'a>>(body).map(|bare| bare.value))
            .map_err(|_| BodyError)?
            .get();
        let items: Vec<&RawValue> = serde_json::from_str(value).map_err(|_| BodyError)?;
        let range = range_in(body, value).ok_or(BodyError)?;
        Ok(Self {
            body,
            value: range.start + 1..range.end - 1,
            items: items.into_iter().map(RawValue::get).collect(),
        })
    }

    /// The body with what each item gains, in the order of the items.
    pub(super) fn with_members(&self, gained: &[Option<Member<'_>>]) -> Zeroizing<Vec<u8>> {
        let gained = |index: usize| gained.get(index).copied().flatten();
        // Two quotes, a colon and a comma go with each.
        let size = |member: Member<'_>| member.name.len() + member.value.len() + 4;
        let more: usize = (0..self.items.len()).filter_map(gained).map(size).sum();
        let mut out = Zeroizing::new(Vec::with_capacity(self.body.len() + more));
        out.extend_from_slice(&self.body.as_bytes()[..self.value.start]);
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match gained(index) {
                Some(member) => member.write_into(item, &mut out),
                None => out.extend_from_slice(item.as_bytes()),
            }
        }
        out.extend_from_slice(&self.body.as_bytes()[self.value.end..]);
        out
    }
}

impl Member<'_> {
    /// Writes `item`, a canonical object, with this member in its place.
    fn write_into(self, item: &str, out: &mut Vec<u8>) {
        let before = end_of_lesser_members(item, self.name).unwrap_or(1);
        let (front, back) = item.split_at(before);
        out.extend_from_slice(front.as_bytes());
        if front.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(self.value);
        if front.len() == 1 && back != "}" {
            out.push(b',');
        }
        out.extend_from_slice(back.as_bytes());
    }
}

/// Where in `item` the last member ends that stands before `name` in the order of keys; `None` when none does.
fn end_of_lesser_members(item: &str, name: &str) -> Option<usize> {
    let Members(members) = serde_json::from_str(item).ok()?;
    let lesser = members.into_iter().take_while(|(key, _)| is_before(key, name)).last();
    let (_, value) = lesser?;
    range_in(item, value.get()).map(|range| range.end)
}

/// Whether `key` comes before `name` in canonical order: array indices first, then by UTF-16.
fn is_before(key: &str, name: &str) -> bool {
    let is_index =
        (key == "0" || !key.starts_with('0')) && key.parse::<u32>().is_ok_and(|index| index != u32::MAX);
    is_index && !key.starts_with('+') || key.encode_utf16().lt(name.encode_utf16())
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Objects;
        impl<'de> Visitor<'de> for Objects {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(member) = map.next_entry()? {
                    found.push(member);
                }
                Ok(Members(found))
            }
        }
        deserializer.deserialize_map(Objects)
    }
}

/// Whether an object has a member of that name.
pub(super) fn has_member(item: &str, name: &str) -> bool {
    serde_json::from_str::<Members<'_>>(item)
        .is_ok_and(|Members(found)| found.iter().any(|(key, _)| key == name))
}

/// Where `part`, a piece of `whole`, stands in it.
fn range_in(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start + part.len();
    (whole.get(range.clone())? == part).then_some(range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canonical::canonical;

    fn with(item: &str, name: &str, value: &str) -> String {
        let body = format!(r#"{{"value":[{item}]}}"#);
        let stored = StoredBody::read(body.as_bytes()).unwrap();
        let member = Member { name, value: value.as_bytes() };
        String::from_utf8(stored.with_members(&[Some(member)]).to_vec()).unwrap()
    }

    #[test]
    fn a_member_goes_where_the_order_of_keys_wants_it() {
        for (item, wanted) in [
            ("{}", r#"{"f":1}"#),
            (r#"{"a":[1,"}"]}"#, r#"{"a":[1,"}"],"f":1}"#),
            (r#"{"g":{}}"#, r#"{"f":1,"g":{}}"#),
            (r#"{"a":1,"g":2}"#, r#"{"a":1,"f":1,"g":2}"#),
            (r#"{"7":1,"01":2,"F":3,"é":4}"#, r#"{"7":1,"01":2,"F":3,"f":1,"é":4}"#),
        ] {
            assert_eq!(with(item, "f", "1"), format!(r#"{{"value":[{wanted}]}}"#));
        }
    }

    #[test]
    fn items_that_gain_nothing_and_what_is_around_them_stay() {
        let body = br#"{"connectionId":"c","payload":{"value":[{"a":1},{"b":"]"},{}]},"type":"forward"}"#;
        let stored = StoredBody::read(body).unwrap();
        assert_eq!(stored.items, [r#"{"a":1}"#, r#"{"b":"]"}"#, "{}"]);
        assert_eq!(*stored.with_members(&[]), body);
        let member = Member { name: "f", value: b"null" };
        let written = stored.with_members(&[None, Some(member), None]);
        let wanted =
            r#"{"connectionId":"c","payload":{"value":[{"a":1},{"b":"]","f":null},{}]},"type":"forward"}"#;
        assert_eq!(std::str::from_utf8(&written).unwrap(), wanted);
        assert!(StoredBody::read(b"[]").is_err() && StoredBody::read(b"{\"value\":1}").is_err());
    }

    proptest! {
        #[test]
        fn a_canonical_body_stays_canonical(
            keys in proptest::collection::btree_set("\\PC{1,4}|[0-9]{1,11}|f[a-z]{0,2}", 0..8),
        ) {
            let members: Vec<String> =
                keys.iter().filter(|key| *key != "fetched").map(|key| format!("{}:1", serde_json::json!(key))).collect();
            let item = String::from_utf8(canonical(format!("{{{}}}", members.join(",")).as_bytes()).unwrap()).unwrap();
            let body = with(&item, "fetched", r#"{"a":[]}"#);
            prop_assert_eq!(canonical(body.as_bytes()).unwrap(), body.as_bytes());
        }
    }
}
