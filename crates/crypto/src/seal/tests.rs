//! Tests of sealing: that it round-trips, and that nothing altered or moved opens.

use proptest::prelude::*;

use super::*;

/// Made outside this crate, with Python's `cryptography`: key 32 times 0x01, nonce twelve times 0x09.
const GOLDEN: &str = "10026b31090909090909090909090909a3604baaab5efb24ca5d43cd66055fee03ff5efc1b05";
const PLACE: Place<'static> = Place { table: "endpoint_secrets", column: "secret", row: b"row-1" };

fn entry(id: &str, byte: u8) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("{id}:{}", STANDARD.encode([byte; 32]))
}

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(&text.into()).unwrap()
}

fn refusal(text: &str) -> Option<KeyRingError> {
    KeyRing::parse(&text.into()).err()
}

#[test]
fn a_value_sealed_by_this_format_in_the_past_still_opens() {
    let sealed = hex::decode(GOLDEN).unwrap();
    let opened = ring(&entry("k1", 1)).open(PLACE, &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"golden");
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let ring = ring(&entry("k1", 1));
    assert_ne!(ring.seal(PLACE, b"same"), ring.seal(PLACE, b"same"));
}

#[test]
fn an_old_key_still_opens_after_a_new_one_is_put_first() {
    let old = ring(&entry("k1", 1));
    let rotated = ring(&format!("{},{}", entry("k2", 2), entry("k1", 1)));
    let sealed = old.seal(PLACE, b"secret");
    assert!(old.is_current(&sealed));
    assert!(!rotated.is_current(&sealed));
    assert_eq!(rotated.open(PLACE, &sealed).unwrap().as_slice(), b"secret");

    let resealed = rotated.seal(PLACE, b"secret");
    assert_eq!(key_id_of(&resealed), Some("k2"));
    assert!(rotated.is_current(&resealed));
}

#[test]
fn an_unknown_key_is_told_apart_from_a_damaged_value() {
    let sealed = ring(&entry("k1", 1)).seal(PLACE, b"secret");
    let error = ring(&entry("k2", 2)).open(PLACE, &sealed).unwrap_err();
    assert_eq!(error, OpenError::UnknownKey { id: "k1".to_owned() });
    let error = ring(&entry("k1", 2)).open(PLACE, &sealed).unwrap_err();
    assert_eq!(error, OpenError::Refused);
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let ring = ring(&entry("k1", 1));
    let sealed = ring.seal(PLACE, b"secret");
    let elsewhere = [
        Place { table: "endpoints", ..PLACE },
        Place { column: "secre", ..PLACE },
        Place { row: b"row-2", ..PLACE },
        Place { row: b"", ..PLACE },
        // The same bytes in a row, cut at other points.
        Place { table: "endpoint_secretss", column: "ecret", ..PLACE },
        Place { column: "secretrow-1", row: b"", ..PLACE },
    ];
    for place in elsewhere {
        assert_eq!(ring.open(place, &sealed).unwrap_err(), OpenError::Refused, "{place:?}");
    }
}

#[test]
fn what_is_no_sealed_value_is_malformed() {
    let ring = ring(&entry("k1", 1));
    let sealed = ring.seal(PLACE, b"");
    assert_eq!(sealed.len(), 2 + 2 + NONCE_LEN + TAG_LEN);
    for cut in 0..sealed.len() {
        assert_eq!(ring.open(PLACE, &sealed[..cut]).unwrap_err(), OpenError::Malformed, "cut at {cut}");
        assert_eq!(key_id_of(&sealed[..cut]), None);
        assert!(!ring.is_current(&sealed[..cut]));
    }
    for format in [0x00, 0x12, 0x20, 0xff] {
        let mut other = sealed.clone();
        other[0] = format;
        assert_eq!(ring.open(PLACE, &other).unwrap_err(), OpenError::Malformed);
    }
}

#[test]
fn long_text_is_stored_smaller_and_short_text_as_it_is() {
    let ring = ring(&entry("k1", 1));
    let overhead = 2 + 2 + NONCE_LEN + TAG_LEN;
    let long = br#"{"changeType":"updated"}"#.repeat(200);
    let sealed = ring.seal(PLACE, &long);
    assert!(sealed.len() < long.len() / 2);
    assert_eq!(ring.open(PLACE, &sealed).unwrap().as_slice(), long);

    for length in [0, 1, COMPRESS_ABOVE] {
        assert_eq!(ring.seal(PLACE, &vec![b'a'; length]).len(), overhead + length);
    }
    assert!(ring.seal(PLACE, &[b'a'; COMPRESS_ABOVE + 1]).len() < COMPRESS_ABOVE);
}

#[test]
fn what_compression_would_make_larger_is_stored_as_it_is() {
    let ring = ring(&entry("k1", 1));
    let noise: Vec<u8> = (0..64).flat_map(|_| *crate::primitive::random::<32>()).collect();
    let sealed = ring.seal(PLACE, &noise);
    assert_eq!(sealed.len(), 2 + 2 + NONCE_LEN + noise.len() + TAG_LEN);
    assert_eq!(ring.open(PLACE, &sealed).unwrap().as_slice(), noise);
}

#[test]
fn a_value_that_claims_to_expand_without_bound_is_refused() {
    for length in [MAX_OPENED + 1, u32::MAX as usize] {
        let mut content = u32::try_from(length).unwrap().to_le_bytes().to_vec();
        content.extend_from_slice(&[0x10, b'a']);
        assert!(expanded(&content).is_none());
    }
    assert!(expanded(b"abc").is_none(), "too short for a length");
    assert!(expanded(&[5, 0, 0, 0, 0x10, b'a']).is_none(), "shorter than it claims");
}

#[test]
fn what_is_too_large_to_be_expanded_again_is_not_compressed() {
    assert!(compressed(&vec![0; MAX_OPENED]).is_some());
    assert!(compressed(&vec![0; MAX_OPENED + 1]).is_none());
}

#[test]
fn a_refused_key_list_names_the_entry_and_the_rule() {
    let good = entry("k1", 1);
    let id = |id: &str| id.to_owned();
    assert_eq!(refusal(""), Some(KeyRingError::Empty));
    assert_eq!(refusal(" \n"), Some(KeyRingError::Empty));
    assert_eq!(refusal(&format!("{good},")), Some(KeyRingError::EmptyEntry { entry: 2 }));
    assert_eq!(refusal(&format!(",{good}")), Some(KeyRingError::EmptyEntry { entry: 1 }));
    assert_eq!(refusal(&good[3..]), Some(KeyRingError::MissingId { entry: 1 }));
    assert_eq!(refusal(&entry("", 1)), Some(KeyRingError::BadId { entry: 1 }));
    assert_eq!(refusal(&entry("k 1", 1)), Some(KeyRingError::BadId { entry: 1 }));
    assert_eq!(refusal(&entry("schlüssel", 1)), Some(KeyRingError::BadId { entry: 1 }));
    assert_eq!(refusal(&entry(&"k".repeat(33), 1)), Some(KeyRingError::BadId { entry: 1 }));
    assert_eq!(
        refusal(&format!("{good},{}", entry("k1", 2))),
        Some(KeyRingError::DuplicateId { entry: 2, id: id("k1") })
    );
    assert_eq!(
        refusal(&format!("{good},k2:not base64!")),
        Some(KeyRingError::BadBase64 { entry: 2, id: id("k2") })
    );
    let short = KeyRingError::WrongLength { entry: 2, id: id("k2"), length: 16 };
    assert_eq!(refusal(&format!("{good},k2:AAAAAAAAAAAAAAAAAAAAAA==")), Some(short));
    assert_eq!(refusal("k2:"), Some(KeyRingError::WrongLength { entry: 1, id: id("k2"), length: 0 }));
}

#[test]
fn a_key_list_may_be_spaced_and_end_in_a_line_break() {
    let text = format!(" {} ,\n {}\n", entry(&"K".repeat(32), 1), entry("2026-01_b", 2));
    let ring = ring(&text);
    assert_eq!(key_id_of(&ring.seal(PLACE, b"x")), Some("K".repeat(32).as_str()));
}

#[test]
fn neither_debug_output_nor_an_error_holds_a_key() {
    let shown = format!("{:?}", ring(&format!("{},{}", entry("k1", 1), entry("k2", 2))));
    assert_eq!(shown, r#"KeyRing["k1", "k2"]"#);
    let keyless = entry("k1", 1).split_off(3);
    let error = refusal(&keyless).unwrap();
    assert!(!format!("{error} {error:?}").contains(&keyless[..8]));
}

fn plaintext() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(any::<u8>(), 1000..1100),
        (prop::collection::vec(any::<u8>(), 1..20), 1_usize..300)
            .prop_map(|(part, times)| part.repeat(times)),
    ]
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again(
        plaintext in plaintext(),
        row in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        let ring = ring(&entry("k1", 1));
        let place = Place { row: &row, ..PLACE };
        let sealed = ring.seal(place, &plaintext);
        prop_assert_eq!(ring.open(place, &sealed).unwrap().to_vec(), plaintext);
    }

    #[test]
    fn a_value_with_any_bit_flipped_does_not_open(
        plaintext in plaintext(),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let ring = ring(&format!("{},{}", entry("k1", 1), entry("k0", 2)));
        let mut sealed = ring.seal(PLACE, &plaintext);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(ring.open(PLACE, &sealed).is_err());
    }

    #[test]
    fn another_row_does_not_open(
        row in prop::collection::vec(any::<u8>(), 0..20),
        other in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(row != other);
        let ring = ring(&entry("k1", 1));
        let sealed = ring.seal(Place { row: &row, ..PLACE }, b"secret");
        prop_assert_eq!(ring.open(Place { row: &other, ..PLACE }, &sealed).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn bytes_from_anywhere_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(ring(&entry("k1", 1)).open(PLACE, &bytes).is_err());
    }

    #[test]
    fn broken_compressed_content_is_refused_without_a_panic(
        length in 0_u32..5000,
        block in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let content = [&length.to_le_bytes()[..], &block].concat();
        if let Some(plaintext) = expanded(&content) {
            prop_assert_eq!(plaintext.len(), length as usize);
        }
    }
}
