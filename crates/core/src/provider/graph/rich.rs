//! The encrypted items of a stored event, and the body that goes out once they are opened.
//!
//! An event's body is fixed and canonical; only its encrypted items change on the way out. An item loses
//! `encryptedContent` and gains `decryptedContent`, which stands where the order of keys puts it, so that the whole body
//! stays canonical and the same on every attempt. Items that failed their proof are taken out, with their keys.
//!
//! Plaintext passes through buffers that are wiped when they are dropped and never grow, so that no copy is left behind.
//! Must not: decrypt, decide what is believed, or put plaintext into an error.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use waypost_crypto::envelope::Envelope;
use zeroize::Zeroizing;

use super::notification::Item;
use super::stored::StoredBody;
use crate::canonical;
use crate::id::TenantId;

/// What encrypted content is called in an item; the second is an older spelling.
const ENCRYPTED: [&str; 2] = ["encryptedContent", "EncryptedContent"];
/// What takes its place.
pub const DECRYPTED: &str = "decryptedContent";
/// Inside how many arrays and objects content stands on its way out: envelope, payload, `value`, item.
pub(super) const DEPTH_OF_CONTENT: usize = 4;

/// A body that isn't a collection as Waypost stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored body is no collection of notifications")]
pub struct BodyError;

/// A plaintext that is no JSON, though its MAC was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decrypted content is no JSON")]
pub struct ContentError;

/// A stored body with encrypted items.
#[derive(Debug)]
pub struct RichBody<'a> {
    body: &'a str,
    /// Where the items stand, without the brackets around them.
    value: Range<usize>,
    /// All items, as they stand.
    items: Vec<&'a str>,
    /// The encrypted ones.
    pub encrypted: Vec<EncryptedItem<'a>>,
}

/// An encrypted item.
#[derive(Debug)]
pub struct EncryptedItem<'a> {
    /// Its place among all items, from 0.
    pub index: usize,
    /// The tenant that it names.
    pub tenant: Option<TenantId>,
    /// What is encrypted; `None` when parts are missing.
    pub content: Option<EncryptedContent<'a>>,
}

/// The parts of `encryptedContent`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptedContent<'a> {
    /// Which certificate it is encrypted for.
    #[serde(borrow)]
    pub encryption_certificate_id: Cow<'a, str>,
    /// That certificate's thumbprint.
    #[serde(borrow, default)]
    pub encryption_certificate_thumbprint: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    data_key: Cow<'a, str>,
    #[serde(borrow)]
    data_signature: Cow<'a, str>,
}

/// What becomes of an encrypted item on the way out.
pub enum Fate {
    /// It goes out with this content, as [`canonical_content`] made it.
    Opened(Zeroizing<Vec<u8>>),
    /// It is taken out.
    TakenOut,
}

/// A body on its way out.
pub struct Outgoing {
    /// The bytes.
    pub body: Zeroizing<Vec<u8>>,
    /// The keys of the items that are left, separated by commas.
    pub item_keys: String,
    /// How many items are left.
    pub items: usize,
}

#[derive(Deserialize)]
struct Encrypted<'a> {
    #[serde(borrow, rename = "encryptedContent")]
    now: Option<&'a RawValue>,
    #[serde(borrow, rename = "EncryptedContent")]
    once: Option<&'a RawValue>,
}

impl EncryptedContent<'_> {
    /// What is to be opened.
    #[must_use]
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope { data_key: &self.data_key, data: &self.data, data_signature: &self.data_signature }
    }

    /// Whether a certificate of that thumbprint is the one it is encrypted for. Any will do when it names none.
    #[must_use]
    pub fn is_for(&self, thumbprint: &str) -> bool {
        let named = self.encryption_certificate_thumbprint.as_deref().filter(|named| !named.is_empty());
        named.is_none_or(|named| named.eq_ignore_ascii_case(thumbprint))
    }
}

impl<'a> RichBody<'a> {
    /// Finds the encrypted items of a body: of a `forward` envelope, or of a bare payload while there is no connection.
    ///
    /// # Errors
    /// [`BodyError`] when it is neither.
    pub fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let StoredBody { body, value, items } = StoredBody::read(body)?;
        let encrypted =
            items.iter().enumerate().filter_map(|(index, raw)| EncryptedItem::read(index, raw)).collect();
        Ok(Self { body, value, items, encrypted })
    }

    /// How many items it has, encrypted or not.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// The body that goes out: `fates` are those of the encrypted items, in their order; `item_keys` those of all items.
    #[must_use]
    pub fn outgoing(&self, fates: &[Fate], item_keys: &str) -> Outgoing {
        let mut keys = item_keys.split(',');
        let mut fates = self.encrypted.iter().map(|item| item.index).zip(fates).peekable();
        let mut written: Vec<Zeroizing<Vec<u8>>> = Vec::with_capacity(self.items.len());
        let mut kept_keys: Vec<&str> = Vec::with_capacity(self.items.len());
        for (index, raw) in self.items.iter().enumerate() {
            let key = keys.next().unwrap_or_default();
            let item = match fates.next_if(|(at, _)| *at == index) {
                Some((_, Fate::TakenOut)) => continue,
                Some((_, Fate::Opened(content))) => opened_item(raw, content),
                None => Zeroizing::new(raw.as_bytes().to_vec()),
            };
            written.push(item);
            kept_keys.push(key);
        }
        let (front, back) = (&self.body[..self.value.start], &self.body[self.value.end..]);
        let size = front.len() + back.len() + written.iter().map(|item| item.len() + 1).sum::<usize>();
        let mut body = Zeroizing::new(Vec::with_capacity(size));
        body.extend_from_slice(front.as_bytes());
        for (index, item) in written.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item);
        }
        body.extend_from_slice(back.as_bytes());
        Outgoing { body, item_keys: kept_keys.join(","), items: written.len() }
    }
}

impl<'a> EncryptedItem<'a> {
    /// The item when it is encrypted, by the same rule that judged it when it came.
    fn read(index: usize, raw: &'a str) -> Option<Self> {
        let item = Item::read(raw).ok().filter(|item| item.rich)?;
        // Should there be both, the order of keys puts this one last, and the last is what counted.
        let found = serde_json::from_str::<Encrypted<'a>>(raw).ok();
        let content = found.and_then(|found| found.now.or(found.once));
        let content = content.and_then(|content| serde_json::from_str(content.get()).ok());
        Some(Self { index, tenant: item.tenant, content })
    }
}

/// Plaintext in canonical form.
///
/// # Errors
/// [`ContentError`] when it is no JSON.
pub fn canonical_content(plaintext: &[u8]) -> Result<Zeroizing<Vec<u8>>, ContentError> {
    canonical::canonical_secret(plaintext, DEPTH_OF_CONTENT).map_err(|_| ContentError)
}

/// The item without what was encrypted and with what came out of it.
fn opened_item(raw: &str, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut rest = Vec::with_capacity(raw.len());
    let dropped = [ENCRYPTED[0], ENCRYPTED[1], DECRYPTED];
    // A stored item is canonical JSON: it is an object, or it would not have been read as an item.
    if canonical::canonical_object_without(raw.as_bytes(), &dropped, &mut rest).is_err() {
        rest.extend_from_slice(b"{}");
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(rest.len() + content.len() + DECRYPTED.len() + 4));
    whole.extend_from_slice(b"{\"");
    whole.extend_from_slice(DECRYPTED.as_bytes());
    whole.extend_from_slice(b"\":");
    whole.extend_from_slice(content);
    if rest.len() > 2 {
        whole.push(b',');
    }
    whole.extend_from_slice(&rest[1..]);
    // Puts the new member in its place. Both parts are canonical and not too deep, so this does not fail.
    canonical::canonical_secret(&whole, DEPTH_OF_CONTENT - 1).unwrap_or(whole)
}

#[cfg(test)]
mod tests;
