//! Rich notifications: certificates that are taken, items that open again, tokens that prove the publisher.

use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    encoding::{AsDer as _, Pkcs8V1Der},
    hmac,
    iv::FixedLength,
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::{Stage, answer, error};
use crate::{
    ChangeType, DEMO_CLIENT_ID, DEMO_TENANTS, Item, Notification, Tamper, Tokens, config::SimulatorConfig,
};

/// A self-signed certificate (DER) and its private key.
fn certificate(size: KeySize) -> (Vec<u8>, PrivateDecryptingKey) {
    let key = PrivateDecryptingKey::generate(size).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pkcs8 = KeyPair::from_pkcs8_der_and_sign_algo(&der.as_ref().into(), &PKCS_RSA_SHA256).unwrap();
    (self_signed(&pkcs8), key)
}

fn self_signed(key: &KeyPair) -> Vec<u8> {
    CertificateParams::new(vec!["relay.example".to_owned()]).unwrap().self_signed(key).unwrap().der().to_vec()
}

/// The outline of a certificate around an RSA key of so many bits, which nobody holds.
fn with_modulus(bits: usize) -> Vec<u8> {
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length: &[u8] = match length {
            [0, short @ 0..0x80] => &[short],
            [0, long] => &[0x81, long],
            [high, low] => &[0x82, high, low],
        };
        [&[tag], length, content].concat()
    }
    let sequence = |parts: &[Vec<u8>]| element(0x30, &parts.concat());
    let mut modulus = vec![0xc5; bits / 8];
    modulus.insert(0, 0);
    let key = sequence(&[element(2, &modulus), element(2, &[1, 0, 1])]);
    let rsa = element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]);
    let key = sequence(&[sequence(&[rsa, element(5, &[])]), element(3, &[&[0], key.as_slice()].concat())]);
    let empty = sequence(&[]);
    let names = [empty.clone(), empty.clone(), empty.clone(), empty.clone()].concat();
    let signed = sequence(&[element(2, &[1]), names, key]);
    sequence(&[signed, empty, element(3, &[0])])
}

fn rich_wish(stage: &Stage, certificate: &[u8]) -> Value {
    let mut wish = stage.wish("a");
    wish["resource"] = json!("chats/getAllMessages");
    wish["includeResourceData"] = json!(true);
    wish["encryptionCertificate"] = json!(STANDARD.encode(certificate));
    wish["encryptionCertificateId"] = json!("tenant/2026-03/1");
    wish
}

fn bytes(content: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(content[name].as_str().unwrap()).unwrap()
}

/// Opens an item as a receiver does.
fn open(content: &Value, key: PrivateDecryptingKey) -> Value {
    let private = OaepPrivateDecryptingKey::new(key).unwrap();
    let mut buffer = vec![0; private.min_output_size()];
    let data_key = bytes(content, "dataKey");
    let symmetric = private.decrypt(&OAEP_SHA1_MGF1SHA1, &data_key, &mut buffer, None).unwrap();
    assert_eq!(symmetric.len(), 32);
    let mut data = bytes(content, "data");
    let mac = hmac::Key::new(hmac::HMAC_SHA256, symmetric);
    hmac::verify(&mac, &data, &bytes(content, "dataSignature")).unwrap();
    let vector = FixedLength::<16>::try_from(&symmetric[..16]).unwrap();
    let cipher =
        PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, symmetric).unwrap()).unwrap();
    let plain = cipher.decrypt(&mut data, DecryptionContext::Iv128(vector)).unwrap();
    serde_json::from_slice(plain).unwrap()
}

#[tokio::test]
async fn a_rich_item_opens_with_the_private_key_and_holds_what_was_sent() {
    let stage = Stage::set().await;
    let (certificate, key) = certificate(KeySize::Rsa3072);
    let id = stage.subscribe(DEMO_TENANTS[0], rich_wish(&stage, &certificate)).await;
    let content = json!({"id": "1", "body": {"content": "Grüße — ✓"}});
    let item = Item::change(id, ChangeType::Created).holding(content.clone());
    stage.control.notify(&Notification::of([item])).unwrap();
    stage.control.wait_settled().await;
    let body = stage.receiver.notifications()[0].json();
    let encrypted = &body["value"][0]["encryptedContent"];
    assert_eq!(encrypted["encryptionCertificateId"], "tenant/2026-03/1");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    assert_eq!(encrypted["encryptionCertificateThumbprint"], json!(hex::encode_upper(digest)));
    assert_eq!(open(encrypted, key), content);
    stage.strike().await;
}

#[tokio::test]
async fn a_batch_has_one_token_per_tenant_in_either_version() {
    let stage = Stage::set().await;
    let (certificate, _) = certificate(KeySize::Rsa2048);
    let mut items = Vec::new();
    for tenant in DEMO_TENANTS {
        let id = stage.subscribe(tenant, rich_wish(&stage, &certificate)).await;
        items.extend([Item::change(id, ChangeType::Created), Item::change(id, ChangeType::Updated)]);
    }
    let login = stage.simulator.login_url().to_string();
    let publisher = json!(SimulatorConfig::default().publisher_app_id);
    for (kind, path, who, issuer) in [
        (Tokens::V1, "common/discovery/keys", "appid", "https://sts.windows.net/{}/".to_owned()),
        (Tokens::V2, "common/discovery/v2.0/keys", "azp", format!("{login}/{{}}/v2.0")),
    ] {
        let prepared = stage.control.prepare(&Notification { items: items.clone(), tokens: kind }).unwrap();
        let body: Value = serde_json::from_slice(&prepared[0].body).unwrap();
        let (_, keys) = answer(stage.client.get(format!("{login}/{path}"))).await;
        let tokens = body["validationTokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 2);
        for (token, tenant) in tokens.iter().zip(DEMO_TENANTS) {
            let claims = verify(token.as_str().unwrap(), &keys).unwrap();
            assert_eq!(claims["tid"], json!(tenant));
            assert_eq!(claims[who], publisher);
            assert_eq!(claims["iss"], json!(issuer.replace("{}", &tenant.to_string())));
        }
    }
    stage.strike().await;
}

/// The claims, if a published key signed the token for the demo application.
fn verify(token: &str, keys: &Value) -> Option<Value> {
    let set: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_audience(&[DEMO_CLIENT_ID]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).ok().map(|token| token.claims)
}

#[tokio::test]
async fn wrong_tokens_are_wrong_in_just_the_way_that_was_asked_for() {
    let stage = Stage::set().await;
    let (certificate, _) = certificate(KeySize::Rsa2048);
    let id = stage.subscribe(DEMO_TENANTS[0], rich_wish(&stage, &certificate)).await;
    let keys = format!("{}/common/discovery/keys", stage.simulator.login_url());
    let (_, keys) = answer(stage.client.get(keys)).await;
    let token = |tokens| {
        let items = vec![Item::change(id, ChangeType::Created)];
        let prepared = stage.control.prepare(&Notification { items, tokens }).unwrap();
        let body: Value = serde_json::from_slice(&prepared[0].body).unwrap();
        body["validationTokens"][0].as_str().map(str::to_owned)
    };
    assert_eq!(token(Tokens::Missing), None);
    assert_eq!(token(Tokens::FirstMissing), None);
    let unknown = jsonwebtoken::decode_header(token(Tokens::UnknownKey).unwrap()).unwrap().kid.unwrap();
    assert!(!keys.to_string().contains(&unknown));
    assert_eq!(verify(&token(Tokens::Forged).unwrap(), &keys), None);
    assert_eq!(verify(&token(Tokens::WrongAudience).unwrap(), &keys), None);
    let claims = |tokens| verify(&token(tokens).unwrap(), &keys).unwrap();
    let good = claims(Tokens::V1);
    assert_ne!(claims(Tokens::WrongPublisher)["appid"], good["appid"]);
    assert_ne!(claims(Tokens::WrongTenant)["tid"], good["tid"]);
    assert_ne!(claims(Tokens::WrongIssuer)["iss"], good["iss"]);
    assert!(claims(Tokens::Early)["nbf"].as_i64().unwrap() > good["iat"].as_i64().unwrap());
    assert_eq!(claims(Tokens::Right)["ver"], "1.0");
    stage.control.set_second_token_version(DEMO_CLIENT_ID, true);
    assert_eq!(claims(Tokens::Right)["ver"], "2.0");
    assert!(claims(Tokens::Expired)["exp"].as_i64().unwrap() < good["iat"].as_i64().unwrap());
    stage.strike().await;
}

#[tokio::test]
async fn tampering_changes_just_the_member_that_was_named() {
    let stage = Stage::set().await;
    let (certificate, key) = certificate(KeySize::Rsa2048);
    let id = stage.subscribe(DEMO_TENANTS[0], rich_wish(&stage, &certificate)).await;
    let encrypted = |item: Item| {
        let prepared = stage.control.prepare(&Notification::of([item])).unwrap();
        let body: Value = serde_json::from_slice(&prepared[0].body).unwrap();
        body["value"][0]["encryptedContent"].clone()
    };
    let private = OaepPrivateDecryptingKey::new(key).unwrap();
    let mut buffer = vec![0; private.min_output_size()];
    let mut verdict = |content: &Value| {
        let opened = private.decrypt(&OAEP_SHA1_MGF1SHA1, &bytes(content, "dataKey"), &mut buffer, None);
        let Ok(symmetric) = opened else { return "sealed" };
        let mac = hmac::Key::new(hmac::HMAC_SHA256, symmetric);
        match hmac::verify(&mac, &bytes(content, "data"), &bytes(content, "dataSignature")) {
            Ok(()) => "right",
            Err(_) => "forged",
        }
    };
    let change = || Item::change(id, ChangeType::Created);
    assert_eq!(verdict(&encrypted(change())), "right");
    assert_eq!(verdict(&encrypted(change().tampered(Tamper::Data))), "forged");
    assert_eq!(verdict(&encrypted(change().tampered(Tamper::Signature))), "forged");
    assert_eq!(verdict(&encrypted(change().tampered(Tamper::Key))), "sealed");
    let relabelled = encrypted(change().tampered(Tamper::CertificateId));
    assert_eq!((verdict(&relabelled), &relabelled["encryptionCertificateId"]), ("right", &json!("nobody's")));
    stage.strike().await;
}

#[tokio::test]
async fn a_retired_key_is_gone_from_the_set_and_the_new_one_is_there() {
    let stage = Stage::set().await;
    let url = format!("{}/common/discovery/v2.0/keys", stage.simulator.login_url());
    let names = async || {
        let (_, keys) = answer(stage.client.get(&url)).await;
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.into_iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = names().await;
    stage.control.roll_keys(false).unwrap();
    let both = names().await;
    assert!(both.len() == 2 && both.contains(&first[0]));
    stage.control.roll_keys(true).unwrap();
    let last = names().await;
    assert!(last.len() == 1 && !both.contains(&last[0]));
    stage.strike().await;
}

#[tokio::test]
async fn certificates_that_graph_refuses_are_refused() {
    let stage = Stage::set().await;
    let (good, key) = certificate(KeySize::Rsa2048);
    let elliptic = self_signed(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&good));
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let trailing = [good.as_slice(), &[0]].concat();
    for (name, certificate) in [
        ("PEM lines", pem),
        ("private key", STANDARD.encode(private.as_ref())),
        ("too small a key", STANDARD.encode(with_modulus(1024))),
        ("too large a key", STANDARD.encode(with_modulus(4104))),
        ("elliptic curve", STANDARD.encode(elliptic)),
        ("bytes behind", STANDARD.encode(trailing)),
        ("cut off", STANDARD.encode(&good[..good.len() / 2])),
    ] {
        let mut wish = rich_wish(&stage, &good);
        wish["encryptionCertificate"] = json!(certificate);
        let (status, body) = stage.graph("POST", "", Some(wish)).await;
        assert_eq!(status, 400, "{name}");
        let message = error(&body).1;
        assert!(message.starts_with("Certificate validation error: "), "{name}: {body}");
        assert_eq!(message.contains("2048 to 4096 bits"), name.ends_with("a key"), "{name}: {body}");
    }
    for missing in ["encryptionCertificate", "encryptionCertificateId"] {
        let mut wish = rich_wish(&stage, &good);
        wish[missing] = Value::Null;
        assert_eq!(stage.graph("POST", "", Some(wish)).await.0, 400, "{missing}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn resources_without_a_rich_form_are_refused_and_outlook_has_a_ceiling_of_a_day() {
    let stage = Stage::set().await;
    let (certificate, _) = certificate(KeySize::Rsa2048);
    let mut wish = rich_wish(&stage, &certificate);
    wish["resource"] = json!("users/a");
    wish["changeType"] = json!("updated");
    let (status, body) = stage.graph("POST", "", Some(wish)).await;
    let expected = "Azure Active Directory workload is not enabled for rich notifications.";
    assert_eq!((status, error(&body).1), (400, expected));
    let mut wish = rich_wish(&stage, &certificate);
    wish["resource"] = json!("users/a/messages?$select=subject");
    wish["expirationDateTime"] = json!(stage.minutes(1_441));
    let (status, body) = stage.graph("POST", "", Some(wish.clone())).await;
    assert_eq!(status, 400);
    assert!(error(&body).1.contains("can only be 1440 minutes"));
    wish["expirationDateTime"] = json!(stage.minutes(1_440));
    assert_eq!(stage.graph("POST", "", Some(wish)).await.0, 201);
    stage.strike().await;
}

#[tokio::test]
async fn a_certificate_is_rotated_by_an_update() {
    let stage = Stage::set().await;
    let (old, _) = certificate(KeySize::Rsa2048);
    let (new, key) = certificate(KeySize::Rsa2048);
    let id = stage.subscribe(DEMO_TENANTS[0], rich_wish(&stage, &old)).await;
    let update = json!({"encryptionCertificate": STANDARD.encode(&new), "encryptionCertificateId": "tenant/2026-04/1"});
    assert_eq!(stage.graph("PATCH", &format!("/{id}"), Some(update)).await.0, 200);
    let notification = Notification::of([Item::change(id, ChangeType::Created)]);
    let prepared = stage.control.prepare(&notification).unwrap();
    let body: Value = serde_json::from_slice(&prepared[0].body).unwrap();
    let encrypted = &body["value"][0]["encryptedContent"];
    assert_eq!(encrypted["encryptionCertificateId"], "tenant/2026-04/1");
    assert_eq!(open(encrypted, key)["messageType"], "message");
    stage.strike().await;
}
