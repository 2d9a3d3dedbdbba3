//! The ring of encryption keys: reading it from its setting, and the cipher under one key.
//!
//! Knows nothing of the format of a sealed value beyond the id of the key; errors name an entry by its
//! position and rule and never repeat its text, which may be a key.

use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey, Tag};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;
const MAX_ID_LEN: usize = 32;

/// The encryption keys of an installation: the first one seals, every one opens. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<[Key]>);

/// Why a list of encryption keys is refused. Entries count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyRingError {
    /// The list holds nothing at all.
    #[error("there is no encryption key: give at least one as id:base64 of 32 bytes")]
    Empty,
    /// There is nothing between two commas, or at an end.
    #[error("entry {entry} of the encryption keys is empty")]
    EmptyEntry {
        /// Which entry.
        entry: usize,
    },
    /// The entry has no colon after an id.
    #[error("entry {entry} of the encryption keys has no id: the form is id:base64")]
    MissingId {
        /// Which entry.
        entry: usize,
    },
    /// The id is not one.
    #[error("the id of entry {entry} of the encryption keys is not 1 to 32 of A-Z a-z 0-9 _ -")]
    BadId {
        /// Which entry.
        entry: usize,
    },
    /// An earlier entry has that id.
    #[error("entry {entry} of the encryption keys repeats the id \"{id}\"")]
    DuplicateId {
        /// Which entry.
        entry: usize,
        /// The id both have.
        id: String,
    },
    /// The key is not padded standard base64.
    #[error("entry {entry} of the encryption keys (\"{id}\") is not standard base64 with padding")]
    BadBase64 {
        /// Which entry.
        entry: usize,
        /// Its id.
        id: String,
    },
    /// The key is not 32 bytes long.
    #[error("entry {entry} of the encryption keys (\"{id}\") holds {length} bytes, a key has 32")]
    WrongLength {
        /// Which entry.
        entry: usize,
        /// Its id.
        id: String,
        /// How many bytes it decodes to.
        length: usize,
    },
}

/// One key and its id.
pub(super) struct Key {
    id: String,
    id_len: u8,
    cipher: RandomizedNonceKey,
}

impl KeyRing {
    /// The text of a ring with one fresh key, for installations that set themselves up.
    #[must_use]
    pub fn generate_text(id: &str) -> SecretString {
        let key = crate::primitive::random::<KEY_LEN>();
        SecretString::from(format!("{id}:{}", STANDARD.encode(key.as_slice())))
    }

    /// Reads the list `id:base64(32 bytes),id2:…`. Space around an entry does not matter.
    ///
    /// # Errors
    /// Names the entry and the rule it breaks.
    pub fn parse(text: &SecretString) -> Result<Self, KeyRingError> {
        let text = text.expose_secret().trim();
        if text.is_empty() {
            return Err(KeyRingError::Empty);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (text, entry) in text.split(',').zip(1..) {
            let key = Key::parse(text.trim(), entry)?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyRingError::DuplicateId { entry, id: key.id });
            }
            keys.push(key);
        }
        Ok(Self(keys.into()))
    }

    /// The key that seals.
    pub(super) fn first(&self) -> &Key {
        // `parse` is the only way to a ring and never makes an empty one.
        &self.0[0]
    }

    /// The key under that id.
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")?;
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    fn parse(text: &str, entry: usize) -> Result<Self, KeyRingError> {
        if text.is_empty() {
            return Err(KeyRingError::EmptyEntry { entry });
        }
        let (id, encoded) = text.split_once(':').ok_or(KeyRingError::MissingId { entry })?;
        if !is_id(id) {
            return Err(KeyRingError::BadId { entry });
        }
        let id = id.to_owned();
        let Ok(bytes) = STANDARD.decode(encoded).map(Zeroizing::new) else {
            return Err(KeyRingError::BadBase64 { entry, id });
        };
        let id_len = u8::try_from(id.len()).map_err(|_| KeyRingError::BadId { entry })?;
        match RandomizedNonceKey::new(&AES_256_GCM, &bytes) {
            Ok(cipher) if bytes.len() == KEY_LEN => Ok(Self { id, id_len, cipher }),
            _ => Err(KeyRingError::WrongLength { entry, id, length: bytes.len() }),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn id_len(&self) -> u8 {
        self.id_len
    }

    /// Encrypts `body` where it stands, bound to `bound`; gives the nonce it drew and the tag.
    #[expect(clippy::expect_used, reason = "fails only above 64 GiB, more than the process can hold sealed")]
    pub(super) fn seal_in_place(&self, bound: &[u8], body: &mut [u8]) -> ([u8; NONCE_LEN], Tag) {
        let sealed = self.cipher.seal_in_place_separate_tag(Aad::from(bound), body);
        let (nonce, tag) = sealed.expect("the body is within the limit of AES-GCM");
        (*nonce.as_ref(), tag)
    }

    /// Decrypts `body`, ciphertext and tag, where it stands; gives the length of the plaintext at its front.
    pub(super) fn open_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        bound: &[u8],
        body: &mut [u8],
    ) -> Option<usize> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.cipher.open_in_place(nonce, Aad::from(bound), body).ok().map(|plaintext| plaintext.len())
    }
}

/// Whether `id` may name a key.
pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
