//! Sealing of secrets and payloads for storage: AES-256-GCM under a ring of keys.
//!
//! The first key of the ring seals, every key opens, so a key is replaced by putting a new one first. A
//! sealed value is bound to its [`Place`], so that a value copied to another row, column or table does not
//! open there. What is sealed and when it is sealed anew is decided elsewhere.
//!
//! A sealed value is, in this order:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | format: the high half is the version, 1; of the low half only bit 0 is used: compressed |
//! | 1 | length of the key id |
//! | 1 to 32 | key id |
//! | 12 | nonce, random |
//! | rest | ciphertext, then the tag of 16 bytes |
//!
//! The tag also covers everything before the nonce and the place. A compressed plaintext is its length (four
//! bytes, little endian) and one LZ4 block.

mod key_ring;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size, uncompressed_size};
use thiserror::Error;
use zeroize::Zeroizing;

pub use key_ring::{KeyRing, KeyRingError};

use key_ring::{NONCE_LEN, TAG_LEN};

const PLAIN: u8 = 0x10;
const COMPRESSED: u8 = 0x11;
/// Shorter plaintexts are left as they are: little to win, and most of those are secrets.
const COMPRESS_ABOVE: usize = 1024;
/// What a compressed value may grow to when it is opened.
const MAX_OPENED: usize = 64 * 1024 * 1024;

/// Where a sealed value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The key of the row, in one fixed form.
    pub row: &'a [u8],
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The bytes are not a sealed value of a known format.
    #[error("not a sealed value")]
    Malformed,
    /// It was sealed with a key the ring does not hold.
    #[error("sealed with the key \"{id}\", which is not among the encryption keys")]
    UnknownKey {
        /// The id the value names.
        id: String,
    },
    /// The key is there, but the value was changed, belongs to another place, or the key under that id is
    /// another one now.
    #[error("the sealed value does not open: changed, moved, or sealed with another key of the same id")]
    Refused,
    /// It opened, but holds no compressed text that may be expanded.
    #[error("the sealed value opens, but its compressed content is broken or too large")]
    Content,
}

/// The parts of a sealed value.
struct Parts<'a> {
    header: &'a [u8],
    id: &'a str,
    nonce: [u8; NONCE_LEN],
    body: &'a [u8],
}

impl KeyRing {
    /// Seals `plaintext` for `place` with the first key.
    #[must_use]
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Vec<u8> {
        let compressed = compressed(plaintext);
        let (format, content) = match &compressed {
            Some(smaller) => (COMPRESSED, smaller.as_slice()),
            None => (PLAIN, plaintext),
        };
        let key = self.first();
        let header_len = 2 + key.id().len();
        let mut sealed = Vec::with_capacity(header_len + NONCE_LEN + content.len() + TAG_LEN);
        sealed.push(format);
        sealed.push(key.id_len());
        sealed.extend_from_slice(key.id().as_bytes());
        let bound = place.bound_to(&sealed);
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(content);
        let (front, body) = sealed.split_at_mut(header_len + NONCE_LEN);
        let (nonce, tag) = key.seal_in_place(&bound, body);
        front[header_len..].copy_from_slice(&nonce);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a value that was sealed for `place`.
    ///
    /// # Errors
    /// Tells an unknown key from a value that is damaged or in the wrong place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = Parts::of(sealed).ok_or(OpenError::Malformed)?;
        let key = self.find(parts.id).ok_or_else(|| OpenError::UnknownKey { id: parts.id.to_owned() })?;
        let mut body = Zeroizing::new(parts.body.to_vec());
        let bound = place.bound_to(parts.header);
        let opened_len = key.open_in_place(parts.nonce, &bound, &mut body).ok_or(OpenError::Refused)?;
        body.truncate(opened_len);
        if parts.header[0] == COMPRESSED { expanded(&body).ok_or(OpenError::Content) } else { Ok(body) }
    }

    /// Whether the value was sealed with the first key; if not, it is due to be sealed anew.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        key_id_of(sealed) == Some(self.first().id())
    }
}

/// The id of the key a value was sealed with, or nothing when it is no sealed value. Only opening tells
/// whether that is true.
#[must_use]
pub fn key_id_of(sealed: &[u8]) -> Option<&str> {
    Parts::of(sealed).map(|parts| parts.id)
}

impl Place<'_> {
    /// What the tag covers besides the ciphertext. Each part stands behind its length, so that no two
    /// places share an encoding.
    fn bound_to(&self, header: &[u8]) -> Vec<u8> {
        let parts = [header, self.table.as_bytes(), self.column.as_bytes(), self.row];
        let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + size_of::<u64>()).sum());
        for part in parts {
            bound.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bound.extend_from_slice(part);
        }
        bound
    }
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Option<Self> {
        let [PLAIN | COMPRESSED, id_len, ..] = *sealed else { return None };
        let (header, rest) = sealed.split_at_checked(2 + usize::from(id_len))?;
        let id = std::str::from_utf8(&header[2..]).ok().filter(|id| key_ring::is_id(id))?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        (body.len() >= TAG_LEN).then_some(Self { header, id, nonce: *nonce, body })
    }
}

/// The plaintext behind its length and compressed, if that is worth it and can be opened again.
fn compressed(plaintext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if plaintext.len() <= COMPRESS_ABOVE || plaintext.len() > MAX_OPENED {
        return None;
    }
    let length = u32::try_from(plaintext.len()).ok()?.to_le_bytes();
    let mut block = Zeroizing::new(vec![0; length.len() + get_maximum_output_size(plaintext.len())]);
    block[..length.len()].copy_from_slice(&length);
    let written = compress_into(plaintext, &mut block[length.len()..]).ok()?;
    block.truncate(length.len() + written);
    (block.len() < plaintext.len()).then_some(block)
}

fn expanded(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (length, block) = uncompressed_size(content).ok()?;
    if length > MAX_OPENED {
        return None;
    }
    let mut plaintext = Zeroizing::new(vec![0; length]);
    let written = decompress_into(block, &mut plaintext).ok()?;
    (written == length).then_some(plaintext)
}

#[cfg(test)]
mod tests;
