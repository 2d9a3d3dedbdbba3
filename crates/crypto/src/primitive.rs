//! The two primitives every module here needs: random bytes and HMAC-SHA256.
//!
//! Private on purpose: callers outside get purposes ("sign", "hash a token"), never a bare MAC.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Fresh bytes from the cryptographic generator of AWS-LC, wiped when dropped.
#[expect(
    clippy::expect_used,
    reason = "AWS-LC ends the process itself when the system has no entropy to give"
)]
pub(crate) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).expect("the generator gives bytes");
    bytes
}

/// HMAC-SHA256 over the concatenation of `parts`; the caller makes the concatenation unambiguous.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length, so this constructor cannot fail")]
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key is taken");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
