//! Where encrypted items are found, and what goes out in their place.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn encrypted(id: &str) -> Value {
    json!({
        "data": "ZGF0YQ==", "dataSignature": "c2ln", "dataKey": "a2V5",
        "encryptionCertificateId": id, "encryptionCertificateThumbprint": "AB12",
    })
}

fn stored(items: &[Value]) -> Vec<u8> {
    let body = json!({
        "connectionId": "conn-1", "from": "microsoft-oauth2-cc", "payload": {"value": items},
        "providerConfigKey": "graph-cc", "type": "forward",
    });
    canonical::canonical(body.to_string().as_bytes()).unwrap()
}

fn opened(text: &str) -> Fate {
    Fate::Opened(canonical_content(text.as_bytes()).unwrap())
}

fn text(outgoing: &Outgoing) -> &str {
    std::str::from_utf8(&outgoing.body).unwrap()
}

#[test]
fn encrypted_items_are_found_with_their_places_and_parts() {
    let body = stored(&[
        json!({"id": "a"}),
        json!({"id": "b", "tenantId": "11111111-2222-4333-8444-555555555555", "encryptedContent": encrypted("one")}),
        json!({"id": "c", "encryptedContent": null}),
        json!({"id": "d", "EncryptedContent": encrypted("two")}),
        json!({"id": "e", "encryptedContent": {"data": "AA=="}}),
        json!({"id": "f", "encryptedContent": 7}),
    ]);
    let read = RichBody::read(&body).unwrap();
    assert_eq!(read.items(), 6);
    assert_eq!(read.encrypted.iter().map(|item| item.index).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(read.encrypted[0].tenant.unwrap().to_string(), "11111111-2222-4333-8444-555555555555");
    let content = read.encrypted[0].content.as_ref().unwrap();
    assert_eq!(content.encryption_certificate_id, "one");
    assert!(content.is_for("AB12") && content.is_for("ab12") && !content.is_for("AB13"));
    assert_eq!(content.envelope().data, "ZGF0YQ==");
    assert_eq!(read.encrypted[1].content.as_ref().unwrap().encryption_certificate_id, "two");
    assert!(read.encrypted[2].content.is_none() && read.encrypted[3].content.is_none());
}

#[test]
fn without_a_thumbprint_any_certificate_of_the_id_will_do() {
    let mut item = encrypted("one");
    item["encryptionCertificateThumbprint"] = Value::Null;
    let body = stored(&[json!({"encryptedContent": item})]);
    assert!(RichBody::read(&body).unwrap().encrypted[0].content.as_ref().unwrap().is_for("anything"));
}

#[test]
fn an_item_loses_what_was_encrypted_and_gains_what_came_out_in_the_order_of_keys() {
    let body = stored(&[
        json!({"clientState": "s", "encryptedContent": encrypted("one"), "changeType": "created", "id": "1"}),
        json!({"id": "2"}),
        json!({"EncryptedContent": encrypted("one")}),
    ]);
    let read = RichBody::read(&body).unwrap();
    let fates = [opened(r#"{"b":1.50, "a":"é\/"}"#), opened("[ ]")];
    let outgoing = read.outgoing(&fates, "k1,k2,k3");
    assert_eq!(
        text(&outgoing),
        r#"{"connectionId":"conn-1","from":"microsoft-oauth2-cc","payload":{"value":[{"changeType":"created","clientState":"s","decryptedContent":{"a":"é/","b":1.5},"id":"1"},{"id":"2"},{"decryptedContent":[]}]},"providerConfigKey":"graph-cc","type":"forward"}"#
    );
    assert_eq!((outgoing.item_keys.as_str(), outgoing.items), ("k1,k2,k3", 3));
}

#[test]
fn items_that_are_taken_out_take_their_keys_along() {
    let item = |id: &str| json!({"id": id, "encryptedContent": encrypted("one")});
    let body = stored(&[item("a"), json!({"id": "b"}), item("c"), item("d")]);
    let read = RichBody::read(&body).unwrap();
    let outgoing = read.outgoing(&[Fate::TakenOut, opened("1"), Fate::TakenOut], "ka,kb,kc,kd");
    assert!(text(&outgoing).contains(r#""value":[{"id":"b"},{"decryptedContent":1,"id":"c"}]"#));
    assert_eq!((outgoing.item_keys.as_str(), outgoing.items), ("kb,kc", 2));
    let nothing = RichBody::read(&body)
        .unwrap()
        .outgoing(&[Fate::TakenOut, Fate::TakenOut, Fate::TakenOut], "ka,kb,kc,kd");
    assert_eq!((nothing.item_keys.as_str(), nothing.items), ("kb", 1));
}

#[test]
fn what_a_sender_calls_decrypted_content_does_not_pass_for_it() {
    let body = stored(&[json!({"decryptedContent": "forged", "encryptedContent": encrypted("one")})]);
    let outgoing = RichBody::read(&body).unwrap().outgoing(&[opened("\"real\"")], "k");
    assert!(text(&outgoing).contains(r#"[{"decryptedContent":"real"}]"#));
}

#[test]
fn content_can_not_break_out_of_its_member() {
    for content in [r#"1,"id":"forged""#, r#"{"a":1}}"#, "", "{", "\u{feff}1", "1 2"] {
        assert!(canonical_content(content.as_bytes()).is_err(), "{content}");
    }
    let deep = "[".repeat(canonical::MAX_DEPTH) + &"]".repeat(canonical::MAX_DEPTH);
    assert!(canonical_content(deep.as_bytes()).is_err(), "it would not fit into an item");
    let depth = canonical::MAX_DEPTH - DEPTH_OF_CONTENT;
    let deep = "[".repeat(depth) + &"]".repeat(depth);
    let body = stored(&[json!({"z": 1, "encryptedContent": encrypted("one")})]);
    let outgoing = RichBody::read(&body).unwrap().outgoing(&[opened(&deep)], "k");
    assert_eq!(canonical::canonical(&outgoing.body).unwrap(), *outgoing.body);
}

#[test]
fn a_payload_without_its_envelope_is_read_too_and_nothing_else() {
    let body =
        canonical::canonical(json!({"value": [{"encryptedContent": encrypted("x")}]}).to_string().as_bytes());
    assert_eq!(RichBody::read(&body.unwrap()).unwrap().encrypted.len(), 1);
    for wrong in [&b""[..], b"{}", b"[]", br#"{"value":{}}"#, br#"{"payload":{"value":1}}"#, b"\xff"] {
        assert!(RichBody::read(wrong).is_err());
    }
}

/// JSON of some depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_map(|number| serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_goes_out_is_canonical_and_the_same_each_time(
        content in any_json(),
        members in prop::collection::btree_map("[a-f]{0,3}", any_json(), 0..4),
    ) {
        let mut item = Value::Object(members.into_iter().collect());
        item["encryptedContent"] = encrypted("one");
        let body = stored(&[json!({"first": 1}), item.clone(), json!({"last": 1})]);
        let read = RichBody::read(&body).unwrap();
        let fates = [opened(&content.to_string())];
        let outgoing = read.outgoing(&fates, "a,b,c");
        prop_assert_eq!(&canonical::canonical(&outgoing.body).unwrap(), &*outgoing.body);
        prop_assert_eq!(&read.outgoing(&fates, "a,b,c").body, &outgoing.body);
        let mut rest = item;
        rest.as_object_mut().unwrap().remove("encryptedContent");
        rest[DECRYPTED] = json!("here");
        // As text, since numbers don't survive being read.
        let expected = rest.to_string().replacen("\"here\"", &content.to_string(), 1);
        let expected = String::from_utf8(canonical::canonical(expected.as_bytes()).unwrap()).unwrap();
        let expected = format!("[{{\"first\":1}},{expected},{{\"last\":1}}]");
        let found = text(&outgoing).contains(&expected);
        prop_assert!(found);
    }

    #[test]
    fn the_secret_form_is_the_plain_form(content in any_json()) {
        let text = content.to_string();
        let secret = canonical::canonical_secret(text.as_bytes(), 0).unwrap();
        prop_assert_eq!(&*secret, &canonical::canonical(text.as_bytes()).unwrap());
    }
}

#[test]
fn secret_content_never_grows_out_of_its_buffer() {
    for text in ["1e20", "-1e20", "[1e20,1e20,-1e20]", "{\"b\":1e20,\"a\":1e-6}", "\"\\u0007\\ud800\"", "1e9"]
    {
        let secret = canonical::canonical_secret(text.as_bytes(), 0).unwrap();
        assert!(secret.len() <= text.len() * 6, "{text}: {}", secret.len());
    }
}
