//! Every claim of a token, right and wrong, and what several tokens mean for several items.

use std::sync::LazyLock;

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::*;
use crate::cloud::{CloudName, Clouds};
use crate::provider::graph::key_set::{KeySet, KnownKey};

/// Of no use to anybody: it is published in this project.
const KEY: &str = include_str!("../../../../../crypto/tests/openssl/key.pem");
const KID: &str = "kid-1";
const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";
const APP: &str = "aaaaaaaa-0000-4000-8000-00000000000b";
const OTHER_APP: &str = "bbbbbbbb-0000-4000-8000-00000000000b";
const PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
const NOW: i64 = 1_800_000_000;

static CLOUD: LazyLock<Cloud> = LazyLock::new(|| Clouds::default().named(CloudName::Global));
static SIGNER: LazyLock<EncodingKey> = LazyLock::new(|| EncodingKey::from_rsa_pem(KEY.as_bytes()).unwrap());
static NUMBERS: LazyLock<(String, String)> = LazyLock::new(|| {
    let key = RsaPrivateKey::from_pkcs8_pem(KEY).unwrap();
    (URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()), URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()))
});

fn published(issuer: Option<&str>) -> PublishedKey {
    let (modulus, exponent) = NUMBERS.clone();
    PublishedKey { kid: KID.into(), issuer: issuer.map(Into::into), modulus, exponent }
}

fn set(issuer: Option<&str>) -> KeySet {
    let known = KnownKey { key: published(issuer), gone_since: None };
    KeySet { keys: vec![known], fetched_at: Some(at(NOW)) }
}

fn keys() -> KeySets {
    KeySets {
        v1: set(Some("https://sts.windows.net/{tenantid}/")),
        v2: set(Some("https://login.microsoftonline.com/{tenantid}/v2.0")),
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn expected() -> Expected<'static> {
    Expected { cloud: &CLOUD, publisher: PUBLISHER, received_at: at(NOW) }
}

fn v1() -> Value {
    json!({
        "aud": APP, "iss": format!("https://sts.windows.net/{TENANT}/"), "iat": NOW - 60, "nbf": NOW - 60,
        "exp": NOW + 8 * 3600, "appid": PUBLISHER, "appidacr": "2", "tid": TENANT, "ver": "1.0",
    })
}

fn v2() -> Value {
    json!({
        "aud": APP, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": NOW - 60,
        "nbf": NOW - 60, "exp": NOW + 8 * 3600, "azp": PUBLISHER, "azpacr": "2", "tid": TENANT, "ver": "2.0",
    })
}

/// With a member changed; null takes it away.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.into(), value)
    };
    claims
}

fn signed(header: &Value, claims: &Value) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = crypto::sign(message.as_bytes(), &SIGNER, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

fn token(claims: &Value) -> String {
    signed(&json!({"typ": "JWT", "alg": "RS256", "kid": KID}), claims)
}

fn examined(tokens: &[String], keys: &KeySets) -> Findings {
    let raw = serde_json::to_vec(tokens).unwrap();
    examine(Some(&raw), expected(), keys)
}

fn outcome(token: String) -> Outcome {
    examined(&[token], &keys()).all()[0].outcome
}

fn apps(apps: &[&str]) -> Vec<String> {
    apps.iter().map(|&app| app.to_owned()).collect()
}

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

#[test]
fn tokens_of_both_versions_are_good() {
    for claims in [v1(), v2()] {
        let findings = examined(&[token(&claims)], &keys());
        assert_eq!(findings.verdict(&apps(&[APP]), Some(tenant(TENANT))), Verdict::Proven);
        assert!(findings.are_final());
    }
}

#[test]
fn each_claim_is_held_against_what_it_must_be() {
    use Forgery::{Issuer, Malformed, Publisher, Time, Version};
    let bad = Outcome::Bad;
    let table: Vec<(&str, Value, Outcome)> = vec![
        (
            "iss of another tenant",
            with(v1(), "iss", json!(format!("https://sts.windows.net/{OTHER_TENANT}/"))),
            bad(Issuer),
        ),
        (
            "v1 iss without slash",
            with(v1(), "iss", json!(format!("https://sts.windows.net/{TENANT}"))),
            bad(Issuer),
        ),
        ("v2 iss in a v1 token", with(v1(), "iss", v2()["iss"].clone()), bad(Issuer)),
        ("v1 iss in a v2 token", with(v2(), "iss", v1()["iss"].clone()), bad(Issuer)),
        (
            "v2 iss with slash",
            with(v2(), "iss", json!(format!("https://login.microsoftonline.com/{TENANT}/v2.0/"))),
            bad(Issuer),
        ),
        (
            "iss of another host",
            with(v2(), "iss", json!(format!("https://evil.example/{TENANT}/v2.0"))),
            bad(Issuer),
        ),
        ("tid of another tenant", with(v1(), "tid", json!(OTHER_TENANT)), bad(Issuer)),
        ("tid that is no GUID", with(v1(), "tid", json!("common")), bad(Malformed)),
        ("no tid", with(v1(), "tid", Value::Null), bad(Malformed)),
        ("another publisher", with(v1(), "appid", json!(OTHER_APP)), bad(Publisher)),
        (
            "publisher in azp of a v1 token",
            with(with(v1(), "appid", Value::Null), "azp", json!(PUBLISHER)),
            bad(Publisher),
        ),
        (
            "publisher in appid of a v2 token",
            with(with(v2(), "azp", Value::Null), "appid", json!(PUBLISHER)),
            bad(Publisher),
        ),
        ("no publisher", with(v2(), "azp", Value::Null), bad(Publisher)),
        ("publisher in capitals", with(v2(), "azp", json!(PUBLISHER.to_uppercase())), Outcome::Good),
        ("unknown version", with(v1(), "ver", json!("3.0")), bad(Version)),
        ("no version", with(v1(), "ver", Value::Null), bad(Malformed)),
        ("ended just within the leeway", with(v1(), "exp", json!(NOW - 299)), Outcome::Good),
        ("ended", with(v1(), "exp", json!(NOW - 300)), bad(Time)),
        ("begins just within the leeway", with(v1(), "nbf", json!(NOW + 300)), Outcome::Good),
        ("begins later", with(v1(), "nbf", json!(NOW + 301)), bad(Time)),
        ("issued later", with(v2(), "iat", json!(NOW + 301)), bad(Time)),
        ("times out of bounds", with(v1(), "exp", json!(i64::MIN)), bad(Time)),
        ("no end", with(v1(), "exp", Value::Null), bad(Malformed)),
        ("no beginning", with(v1(), "nbf", Value::Null), bad(Malformed)),
        ("times that are no numbers", with(v1(), "exp", json!("tomorrow")), bad(Malformed)),
        ("several audiences", with(v1(), "aud", json!([APP, OTHER_APP])), bad(Malformed)),
    ];
    for (what, claims, expected) in table {
        assert_eq!(outcome(token(&claims)), expected, "{what}");
    }
}

#[test]
fn only_rs256_by_a_published_key_counts_and_the_header_offers_in_vain() {
    let header = |alg: &str| json!({"alg": alg, "kid": KID});
    for alg in ["none", "HS256", "RS384", "PS256", "ES256", "rs256", ""] {
        assert_eq!(outcome(signed(&header(alg), &v1())), Outcome::Bad(Forgery::Algorithm), "{alg}");
    }
    // Signed with the public key as a shared secret, which careless verifiers take.
    let secret = EncodingKey::from_secret(KEY.as_bytes());
    let confused =
        jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::HS256), &v1(), &secret).unwrap();
    assert_eq!(outcome(confused), Outcome::Bad(Forgery::Algorithm));
    let offered = json!({
        "alg": "RS256", "kid": "mine", "jku": "https://evil.example/keys", "x5u": "https://evil.example/x",
        "jwk": {"kty": "RSA", "n": NUMBERS.0, "e": NUMBERS.1}, "x5c": ["MIIB"],
    });
    assert_eq!(outcome(signed(&offered, &v1())), Outcome::Open(Doubt::UnknownKey));
    let without_kid = json!({"alg": "RS256"});
    assert_eq!(outcome(signed(&without_kid, &v1())), Outcome::Open(Doubt::UnknownKey));
}

#[test]
fn a_token_that_is_none_is_malformed() {
    for text in ["", ".", "..", "a.b.c", "eyJhbGciOiJSUzI1NiJ9.e30", "eyJhbGciOiJSUzI1NiJ9..", "ä.ö.ü"] {
        assert_eq!(outcome(text.to_owned()), Outcome::Bad(Forgery::Malformed), "{text}");
    }
    for raw in [&b"{}"[..], b"\"a.b.c\"", b"[1]", b"[null]", b"[[]]", b"["] {
        let findings = examine(Some(raw), expected(), &keys());
        assert_eq!(findings.forgery(), Some(Forgery::Malformed), "{}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn a_post_without_tokens_proves_nothing() {
    for raw in [None, Some(&b"[]"[..])] {
        let findings = examine(raw, expected(), &keys());
        let verdict = findings.verdict(&apps(&[APP]), Some(tenant(TENANT)));
        assert_eq!(verdict, Verdict::Forged(Forgery::Missing));
        assert!(findings.are_final());
    }
    let words = Forgery::Missing.to_string();
    assert!(words.contains("appRoleAssignmentRequired") && words.contains("for the item's app and tenant"));
}

#[test]
fn as_long_as_keys_are_missing_nothing_is_decided() {
    let findings = examined(&[token(&v1())], &KeySets::default());
    assert_eq!(
        findings.verdict(&apps(&[APP]), Some(tenant(TENANT))),
        Verdict::Unknown(Doubt::KeysUnavailable)
    );
    assert!(findings.want_keys() && !findings.are_final());
    let other = signed(&json!({"alg": "RS256", "kid": "rolled"}), &v2());
    let findings = examined(&[other], &keys());
    assert_eq!(findings.verdict(&apps(&[APP]), Some(tenant(TENANT))), Verdict::Unknown(Doubt::UnknownKey));
    // Wrong claims need no key.
    let forged = examined(&[token(&with(v1(), "appid", json!(OTHER_APP)))], &KeySets::default());
    assert!(forged.are_final());
}

#[test]
fn a_key_that_sets_of_a_later_fetch_do_not_hold_either_was_made_up() {
    let unknown = signed(&json!({"alg": "RS256", "kid": "made-up"}), &v1());
    let (minute, day) = (60, 24 * 3600);
    for (fetched, forged) in [
        (NOW - minute, false),
        (NOW + 4 * minute, false),
        (NOW + 5 * minute, true),
        (NOW + day, true),
        // By now it may have left the set.
        (NOW + day + minute, false),
    ] {
        let mut keys = keys();
        keys.v1.fetched_at = Some(at(fetched));
        let findings = examined(std::slice::from_ref(&unknown), &keys);
        let verdict =
            if forged { Verdict::Forged(Forgery::NoSuchKey) } else { Verdict::Unknown(Doubt::UnknownKey) };
        assert_eq!(findings.verdict(&apps(&[APP]), Some(tenant(TENANT))), verdict, "{}", fetched - NOW);
        assert_eq!(findings.are_final(), forged);
    }
}

#[test]
fn a_key_that_has_rolled_vouches_for_what_came_before_it_left() {
    let mut rolled = keys();
    for (gone_since, good) in [(NOW - 1800, true), (NOW - 3601, false)] {
        rolled.v1.keys[0].gone_since = Some(at(gone_since));
        let findings = examined(&[token(&v1())], &rolled);
        let expected = if good { Outcome::Good } else { Outcome::Open(Doubt::UnknownKey) };
        assert_eq!(findings.all()[0].outcome, expected);
    }
}

#[test]
fn a_key_vouches_for_its_own_issuer_alone() {
    let mut fixed = keys();
    fixed.v1 = set(Some(&format!("https://sts.windows.net/{OTHER_TENANT}/")));
    assert_eq!(examined(&[token(&v1())], &fixed).all()[0].outcome, Outcome::Bad(Forgery::Issuer));
    fixed.v1 = set(None);
    assert_eq!(examined(&[token(&v1())], &fixed).all()[0].outcome, Outcome::Good);
    // Each version has its own set.
    fixed.v2 = KeySet { keys: Vec::new(), fetched_at: Some(at(NOW)) };
    assert_eq!(examined(&[token(&v2())], &fixed).all()[0].outcome, Outcome::Open(Doubt::UnknownKey));
}

#[test]
fn each_item_needs_the_token_of_its_own_app_and_tenant() {
    let second = with(
        with(v2(), "tid", json!(OTHER_TENANT)),
        "iss",
        json!(format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0")),
    );
    let findings = examined(&[token(&v1()), token(&with(second, "aud", json!(OTHER_APP)))], &keys());
    let table = [
        (APP, TENANT, Verdict::Proven),
        (OTHER_APP, OTHER_TENANT, Verdict::Proven),
        (APP, OTHER_TENANT, Verdict::Forged(Forgery::Audience)),
        (OTHER_APP, TENANT, Verdict::Forged(Forgery::Audience)),
        (APP, "77777777-2222-4333-8444-555555555555", Verdict::Forged(Forgery::Tenant)),
    ];
    for (app, of, expected) in table {
        assert_eq!(findings.verdict(&apps(&[app]), Some(tenant(of))), expected, "{app} {of}");
    }
    assert_eq!(findings.verdict(&apps(&["x", &APP.to_uppercase()]), Some(tenant(TENANT))), Verdict::Proven);
    assert_eq!(findings.verdict(&apps(&[APP]), None), Verdict::Forged(Forgery::Tenant));
    assert_eq!(findings.verdict(&[], Some(tenant(TENANT))), Verdict::Unknown(Doubt::NoApp));
}

#[test]
fn one_bad_token_makes_the_whole_post_suspect_and_an_open_one_does_not() {
    let forged = token(&with(v1(), "appid", json!(OTHER_APP)));
    let findings = examined(&[token(&v1()), forged], &keys());
    let verdict = findings.verdict(&apps(&[APP]), Some(tenant(TENANT)));
    assert_eq!(verdict, Verdict::Forged(Forgery::Publisher));

    let unknown = signed(&json!({"alg": "RS256", "kid": "rolled"}), &with(v1(), "aud", json!(OTHER_APP)));
    let findings = examined(&[token(&v1()), unknown], &keys());
    assert_eq!(findings.verdict(&apps(&[APP]), Some(tenant(TENANT))), Verdict::Proven);
    assert_eq!(
        findings.verdict(&apps(&[OTHER_APP]), Some(tenant(TENANT))),
        Verdict::Unknown(Doubt::UnknownKey)
    );
    assert!(!findings.are_final());
}

#[test]
fn a_token_that_is_sent_often_is_examined_once_and_too_many_are_refused() {
    let same = vec![token(&v1()); 3000];
    assert_eq!(examined(&same, &keys()).all().len(), 1);
    let many: Vec<String> = (0..=MOST_TOKENS).map(|n| format!("{n}.b.c")).collect();
    assert_eq!(examined(&many, &keys()).forgery(), Some(Forgery::TooMany));
}

#[test]
fn findings_read_back_as_they_were_written() {
    let forged = token(&with(v1(), "appid", json!(OTHER_APP)));
    let unknown = signed(&json!({"alg": "RS256", "kid": "rolled"}), &v1());
    let findings = examined(&[token(&v1()), forged, unknown], &keys());
    let text = serde_json::to_string(&findings).unwrap();
    assert_eq!(serde_json::from_str::<Findings>(&text).unwrap(), findings, "{text}");
}

proptest! {
    #[test]
    fn a_change_of_any_character_never_leaves_a_good_token(at in any::<prop::sample::Index>(), by in 1_u8..64) {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let good = token(&v2());
        let mut changed = good.clone().into_bytes();
        let at = at.index(changed.len());
        let place = ALPHABET.iter().position(|letter| *letter == changed[at]).unwrap_or_default();
        changed[at] = ALPHABET[(place + usize::from(by)) % ALPHABET.len()];
        let changed = String::from_utf8(changed).unwrap();
        prop_assume!(changed != good);
        // The last character of a part holds bits that stand for nothing; a strict reader refuses them as well.
        prop_assert_ne!(outcome(changed), Outcome::Good);
    }

    #[test]
    fn nothing_that_comes_in_can_make_it_fail(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let findings = examine(Some(&raw), expected(), &keys());
        prop_assert_ne!(findings.verdict(&apps(&[APP]), Some(tenant(TENANT))), Verdict::Proven);
    }

    #[test]
    fn a_token_is_good_exactly_while_it_was_valid(offset in -1_000_i64..40_000) {
        let received_at = at(NOW - 60 + offset);
        let raw = serde_json::to_vec(&[token(&v1())]).unwrap();
        let findings = examine(Some(&raw), Expected { received_at, ..expected() }, &keys());
        let valid = (-300..8 * 3600 + 60 + 300).contains(&offset);
        prop_assert_eq!(findings.all()[0].outcome == Outcome::Good, valid);
    }
}
