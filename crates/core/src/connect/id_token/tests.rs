//! Every claim of an ID token, right and wrong.

use std::sync::LazyLock;

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::*;
use crate::cloud::{CloudName, Clouds};
use crate::provider::graph::key_set::KnownKey;

/// Of no use to anybody: it is published in this project.
const KEY: &str = include_str!("../../../../crypto/tests/openssl/key.pem");
const KID: &str = "kid-1";
const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";
const APP: &str = "aaaaaaaa-0000-4000-8000-00000000000b";
const NONCE: &str = "nonce-of-this-request";
const NOW: i64 = 1_800_000_000;

static CLOUD: LazyLock<Cloud> = LazyLock::new(|| Clouds::default().named(CloudName::Global));
static SIGNER: LazyLock<EncodingKey> = LazyLock::new(|| EncodingKey::from_rsa_pem(KEY.as_bytes()).unwrap());
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let key = RsaPrivateKey::from_pkcs8_pem(KEY).unwrap();
    let key = PublishedKey {
        kid: KID.into(),
        issuer: Some("https://login.microsoftonline.com/{tenantid}/v2.0".into()),
        modulus: URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
        exponent: URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
    };
    KeySet { keys: vec![KnownKey { key, gone_since: None }], fetched_at: Some(at(NOW)) }
});

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn claims() -> Value {
    json!({
        "aud": APP, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": NOW - 5, "nbf": NOW - 5,
        "exp": NOW + 3600, "tid": TENANT, "ver": "2.0", "nonce": NONCE, "sub": "somebody",
    })
}

/// With a member changed; null takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.into(), value)
    };
    claims
}

fn signed(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = crypto::sign(message.as_bytes(), &SIGNER, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

fn token(claims: &Value) -> String {
    signed(&json!({"typ": "JWT", "alg": "RS256", "kid": KID}), claims)
}

fn verified(token: &str) -> Result<Person, IdTokenError> {
    let nonce = SecretString::from(NONCE);
    let expected = Expected { cloud: &CLOUD, client_id: APP, nonce: &nonce, now: at(NOW) };
    verify(&SecretString::from(token), expected, &KEYS)
}

#[test]
fn a_good_token_tells_the_tenant() {
    let person = Person { tenant: TENANT.parse().unwrap(), administrator: None };
    assert_eq!(verified(&token(&claims())), Ok(person));
}

#[test]
fn every_wrong_claim_is_refused_for_its_own_reason() {
    use IdTokenError::{Audience, Issuer, Malformed, Nonce, Time};
    let table = [
        ("aud", json!("bbbbbbbb-0000-4000-8000-00000000000b"), Audience),
        ("aud", json!([APP]), Malformed),
        ("iss", json!(format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0")), Issuer),
        ("iss", json!(format!("https://sts.windows.net/{TENANT}/")), Issuer),
        ("tid", json!(OTHER_TENANT), Issuer),
        ("tid", json!("contoso.example"), Malformed),
        ("tid", Value::Null, Malformed),
        ("ver", json!("1.0"), Issuer),
        ("nonce", json!("nonce-of-another-request"), Nonce),
        ("nonce", Value::Null, Nonce),
        ("exp", json!(NOW - 301), Time),
        ("exp", Value::Null, Malformed),
        ("nbf", json!(NOW + 301), Time),
        ("iat", json!(NOW + 301), Time),
    ];
    for (name, value, error) in table {
        assert_eq!(verified(&token(&with(name, value.clone()))), Err(error), "{name}: {value}");
    }
}

#[test]
fn other_algorithms_unknown_keys_and_nonsense_are_refused() {
    for alg in ["none", "HS256", "PS256", "rs256"] {
        let forged = signed(&json!({"alg": alg, "kid": KID}), &claims());
        assert_eq!(verified(&forged), Err(IdTokenError::Algorithm), "{alg}");
    }
    let unknown = signed(&json!({"alg": "RS256", "kid": "kid-2"}), &claims());
    assert_eq!(verified(&unknown), Err(IdTokenError::UnknownKey));
    for nonsense in ["", ".", "..", "a.b.c", "a.b"] {
        assert_eq!(verified(nonsense), Err(IdTokenError::Malformed), "{nonsense}");
    }
    assert_eq!(verified(&"a".repeat(LONGEST + 1)), Err(IdTokenError::Malformed));
}

#[test]
fn roles_count_where_the_token_tells_them() {
    for (roles, administrator) in [
        (json!(["b79fbf4d-3ef9-4689-8143-76b194e85509"]), false),
        (json!([]), false),
        (json!(["b79fbf4d-3ef9-4689-8143-76b194e85509", "62E90394-69f5-4237-9190-012177145e10"]), true),
    ] {
        let found = verified(&token(&with("wids", roles.clone()))).unwrap();
        assert_eq!(found.administrator, Some(administrator), "{roles}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_token_with_any_letter_changed_is_refused(place in 0_usize..2000, letter in "[A-Za-z0-9_-]") {
        let token = token(&claims());
        let place = place % token.len();
        let mut forged = token.clone();
        forged.replace_range(place..=place, &letter);
        prop_assume!(forged != token);
        // The last letter of a part may hold bits that stand for nothing; then it is refused as unreadable.
        prop_assert!(verified(&forged).is_err());
    }
}
