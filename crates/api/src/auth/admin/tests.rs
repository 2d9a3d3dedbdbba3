//! Which admin tokens are let in.

use std::sync::Mutex;

use chrono::{DateTime, TimeZone as _, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use waypost_core::clock::Clock;

use super::*;

const NOW: i64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of the operator, long enough";

#[derive(Debug)]
struct Stopped(Mutex<DateTime<Utc>>);

impl Clock for Stopped {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

fn verifier() -> SharedSecret {
    let clock = Arc::new(Stopped(Mutex::new(Utc.timestamp_opt(NOW, 0).unwrap())));
    let secret = SecretString::from(std::str::from_utf8(SECRET).unwrap());
    SharedSecret::new(&secret, "waypost-admin", clock)
}

fn claims() -> Value {
    json!({ "sub": "ada", "role": "operator", "aud": "waypost-admin", "exp": NOW + 3600 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn sign(claims: &Value, algorithm: Algorithm, secret: &[u8]) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn check(claims: &Value) -> Result<Person, Refusal> {
    verifier().check(&sign(claims, Algorithm::HS256, SECRET))
}

#[test]
fn a_token_tells_who_its_bearer_is_and_what_he_may() {
    assert_eq!(check(&claims()), Ok(Person { subject: "ada".to_owned(), role: Role::Operator }));
    assert_eq!(check(&with("role", json!("viewer"))).unwrap().role, Role::Viewer);
}

#[test]
fn a_token_holds_until_its_end_and_half_a_minute_longer() {
    assert!(check(&with("exp", json!(NOW - 29))).is_ok());
    assert!(check(&with("nbf", json!(NOW + 29))).is_ok());
    for claims in [with("exp", json!(NOW - 30)), with("nbf", json!(NOW + 31)), with("exp", json!(i64::MIN))] {
        assert_eq!(check(&claims), Err(Refusal::NotValid), "{claims}");
    }
}

#[test]
fn a_token_that_lacks_something_is_refused() {
    for claims in [
        without("sub"),
        without("exp"),
        without("aud"),
        with("aud", json!("somebody-else")),
        with("sub", json!(" ")),
        with("sub", json!(7)),
        with("sub", json!("a\0b")),
        with("sub", json!("x".repeat(LONGEST_SUBJECT + 1))),
        with("exp", json!("soon")),
    ] {
        assert_eq!(check(&claims), Err(Refusal::NotValid), "{claims}");
    }
}

#[test]
fn a_token_without_a_known_role_is_told_apart() {
    let unknown =
        [json!("root"), json!("Operator"), json!(["operator"]), Value::Null].map(|role| with("role", role));
    for claims in unknown.into_iter().chain([without("role")]) {
        assert_eq!(check(&claims), Err(Refusal::UnknownRole), "{claims}");
    }
}

#[test]
fn only_hs256_with_the_right_secret_is_a_signature() {
    let verifier = verifier();
    let right = sign(&claims(), Algorithm::HS256, SECRET);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", right.split('.').nth(1).unwrap());
    for token in [
        sign(&claims(), Algorithm::HS256, b"another secret, as long as the right one"),
        sign(&claims(), Algorithm::HS384, SECRET),
        sign(&claims(), Algorithm::HS512, SECRET),
        unsigned,
        "nonsense".to_owned(),
        String::new(),
    ] {
        assert_eq!(verifier.check(&token), Err(Refusal::NotValid), "{token}");
    }
}

#[actix_web::test]
async fn without_a_verifier_nobody_gets_in() {
    let token = sign(&claims(), Algorithm::HS256, SECRET);
    let refusal = Verifiers::default().verify(&token).await.unwrap_err();
    assert_eq!(refusal.code(), "admin_not_configured");
    let verifiers = Verifiers::new([Arc::new(verifier()) as Arc<dyn Verifier>]);
    assert_eq!(verifiers.verify(&token).await.unwrap().subject, "ada");
    assert_eq!(verifiers.verify("nonsense").await.unwrap_err().code(), "invalid_token");
    let rootly = sign(&with("role", json!("root")), Algorithm::HS256, SECRET);
    assert_eq!(verifiers.verify(&rootly).await.unwrap_err().code(), "forbidden");
}

#[test]
fn a_viewer_sees_everything_but_secrets_and_changes_nothing() {
    for scope in Scope::ALL {
        assert!(Role::Operator.may(*scope));
        assert_eq!(Role::Viewer.may(*scope), scope.is_viewing());
    }
}
