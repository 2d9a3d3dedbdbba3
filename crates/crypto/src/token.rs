//! Secrets that are looked up or compared: their keyed hashes, and making new ones.
//!
//! A presented token is hashed with the installation's [`HashKey`] and found by that hash, so a copy of the
//! database alone does not let anybody test guesses. It stores nothing and decides nothing about access.

use std::{array::TryFromSliceError, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::primitive;

/// The key of all lookup hashes of an installation: 32 bytes, made once and never replaced.
#[derive(Clone)]
pub struct HashKey(Zeroizing<[u8; 32]>);

/// What a hashed secret is for. The same text hashes differently for each, so that a hash of one kind is
/// never found among those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An API key presented by a caller.
    ApiKey,
    /// The `clientState` that Graph echoes for a subscription.
    ClientState,
    /// The webhook secret of an integration.
    WebhookSecret,
    /// What a sign-in at the provider is made with.
    SignIn,
    /// The token of a connect session.
    ConnectToken,
    /// The link of a connect session.
    ConnectLink,
    /// The `state` that a browser takes to the sign-in host and back.
    ConnectState,
    /// The cookie of a browser that connects.
    ConnectBrowser,
    /// What shows that a form was sent from our own page.
    ConnectForm,
}

/// The keyed hash of a secret, as stored and looked up.
///
/// Equality takes the same time wherever the difference is. There is no order on purpose: comparing by
/// order would tell how much of a guess is right.
#[derive(Clone, Copy)]
pub struct LookupHash([u8; 32]);

impl HashKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate() -> Self {
        Self(primitive::random())
    }

    /// Takes a key as it was stored, after unsealing.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for storing them sealed.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash under which `secret` is stored and found for `purpose`.
    #[must_use]
    pub fn hash(&self, purpose: Purpose, secret: &[u8]) -> LookupHash {
        // No label holds a zero byte, so label and secret cannot be mistaken for another pair.
        LookupHash(primitive::hmac_sha256(self.0.as_slice(), &[purpose.label(), &[0], secret]))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey([redacted])")
    }
}

impl Purpose {
    /// Part of every stored hash: changing one of these loses all hashes of that kind.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"waypost/api-key",
            Self::ClientState => b"waypost/client-state",
            Self::WebhookSecret => b"waypost/webhook-secret",
            Self::SignIn => b"waypost/sign-in",
            Self::ConnectToken => b"waypost/connect-token",
            Self::ConnectLink => b"waypost/connect-link",
            Self::ConnectState => b"waypost/connect-state",
            Self::ConnectBrowser => b"waypost/connect-browser",
            Self::ConnectForm => b"waypost/connect-form",
        }
    }
}

impl LookupHash {
    /// Takes a hash as it was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a query.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for LookupHash {
    type Error = TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl PartialEq for LookupHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for LookupHash {}

impl fmt::Debug for LookupHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupHash([redacted])")
    }
}

/// A new secret for a token: 32 random bytes as 43 characters of base64url.
#[must_use]
pub fn random_secret() -> SecretString {
    URL_SAFE_NO_PAD.encode(primitive::random::<32>()).into()
}

/// Whether two secrets are equal, in a time that depends on their lengths only.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    const PURPOSES: [Purpose; 9] = [
        Purpose::ApiKey,
        Purpose::ClientState,
        Purpose::WebhookSecret,
        Purpose::SignIn,
        Purpose::ConnectToken,
        Purpose::ConnectLink,
        Purpose::ConnectState,
        Purpose::ConnectBrowser,
        Purpose::ConnectForm,
    ];
    /// Computed outside this crate, with Python's `hmac`.
    const GOLDEN: [&str; 9] = [
        "000e9711e288455e77a36dbaf44184ae6e8e78772951bb6f42964521d427f2d0",
        "f7483a02a5d6f21206d1effc2fd040afc3b866b13f8a14d5048ce1e86e34a2f0",
        "cf3eccae5aab909073fa12aab83f2ba76d137327dac5ede4e3dfa0de14146fa2",
        "c71ba4a0648e5dd87341dfb09788d884d00647de8fdac3e341a0724414b4436c",
        "0ba3ba2f988596328e971e46e1f51b666c8802a15a58f20a5c1e66a270f87a8f",
        "2a91399a7945ccfa29ae260c62511ed9e819deadc53e7ae68bffc4bff740f318",
        "5255deb66cb1c91fbb56e2d330bb14b09bf7b0986082b86fa6f1925fc53cb42e",
        "99e5f9ca58775d550517f64a52d2e329be0ab7fd306121ea708538f7f6d1e454",
        "636d02c713158054df4a647698358bfb33475625810c5176f582f4f4fc17fe98",
    ];

    #[test]
    fn a_hash_never_changes_from_one_release_to_the_next() {
        let key = HashKey::from_bytes([7; 32]);
        let hashes = PURPOSES.map(|purpose| hex::encode(key.hash(purpose, b"s3cret").as_bytes()));
        assert_eq!(hashes, GOLDEN);
    }

    #[test]
    fn the_same_secret_hashes_differently_for_each_purpose() {
        let key = HashKey::generate();
        let hashes = PURPOSES.map(|purpose| key.hash(purpose, b"s3cret"));
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[1], hashes[2]);
        assert_ne!(hashes[0], hashes[2]);
    }

    #[test]
    fn another_key_gives_another_hash_and_a_stored_key_the_same() {
        let key = HashKey::generate();
        let hash = key.hash(Purpose::ApiKey, b"s3cret");
        assert_eq!(HashKey::from_bytes(*key.expose_bytes()).hash(Purpose::ApiKey, b"s3cret"), hash);
        assert_ne!(HashKey::generate().hash(Purpose::ApiKey, b"s3cret"), hash);
    }

    #[test]
    fn a_stored_hash_is_read_back_only_at_its_exact_length() {
        let hash = HashKey::generate().hash(Purpose::ClientState, b"state");
        assert_eq!(LookupHash::try_from(hash.as_bytes().as_slice()).unwrap(), hash);
        assert_eq!(LookupHash::from_bytes(*hash.as_bytes()), hash);
        assert!(LookupHash::try_from(&hash.as_bytes()[..31]).is_err());
    }

    #[test]
    fn a_random_secret_is_43_characters_of_base64url_and_new_each_time() {
        let (one, other) = (random_secret(), random_secret());
        assert_eq!(one.expose_secret().len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(one.expose_secret()).unwrap().len(), 32);
        assert_ne!(one.expose_secret(), other.expose_secret());
    }

    #[test]
    fn debug_output_holds_no_key_and_no_hash() {
        let key = HashKey::from_bytes([7; 32]);
        assert_eq!(format!("{key:?}"), "HashKey([redacted])");
        assert_eq!(format!("{:?}", key.hash(Purpose::ApiKey, b"x")), "LookupHash([redacted])");
    }

    proptest! {
        #[test]
        fn constant_time_equality_agrees_with_ordinary_equality(
            a in prop::collection::vec(0_u8..3, 0..6),
            b in prop::collection::vec(0_u8..3, 0..6),
        ) {
            prop_assert_eq!(constant_time_eq(&a, &b), a == b);
            prop_assert!(constant_time_eq(&a, &a));
        }

        #[test]
        fn different_secrets_have_different_hashes(a in ".{0,20}", b in ".{0,20}") {
            let key = HashKey::from_bytes([1; 32]);
            let same = key.hash(Purpose::ApiKey, a.as_bytes()) == key.hash(Purpose::ApiKey, b.as_bytes());
            prop_assert_eq!(same, a == b);
        }
    }
}
