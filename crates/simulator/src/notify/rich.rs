//! What makes a notification rich: the encrypted resource, and the tokens that prove the publisher.
//!
//! Must not reuse a symmetric key: the scheme is safe for one message per key only.

use aws_lc_rs::{
    cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    hmac,
    iv::FixedLength,
    rand,
    rsa::OAEP_SHA1_MGF1SHA1,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Tamper, Tokens};
use crate::{
    entra::keys::CryptoFailure,
    graph::{call::Caller, certificate::Certificate},
    world::{Urls, World},
};

const KEY_LENGTH: usize = 32;
/// Graph's tokens live about this long.
const TOKEN_LIFETIME: i64 = 8 * 3600;

/// The `encryptedContent` of an item.
pub(crate) fn encrypted_content(
    certificate: &Certificate,
    certificate_id: &str,
    content: &Value,
) -> Result<Value, CryptoFailure> {
    let mut key = [0_u8; KEY_LENGTH];
    rand::fill(&mut key).map_err(|_| CryptoFailure)?;
    let (vector, _) = key.split_first_chunk::<16>().ok_or(CryptoFailure)?;
    let mut data = content.to_string().into_bytes();
    UnboundCipherKey::new(&AES_256, &key)
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .and_then(|cipher| {
            cipher.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(vector)))
        })
        .map_err(|_| CryptoFailure)?;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &data);
    let mut sealed_key = vec![0; certificate.key.ciphertext_size()];
    let sealed_key = certificate
        .key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &key, &mut sealed_key, None)
        .map_err(|_| CryptoFailure)?;
    Ok(json!({
        "data": STANDARD.encode(&data),
        "dataSignature": STANDARD.encode(signature),
        "dataKey": STANDARD.encode(sealed_key),
        "encryptionCertificateId": certificate_id,
        "encryptionCertificateThumbprint": certificate.thumbprint,
    }))
}

/// Alters an `encryptedContent` in one place.
pub(crate) fn tamper(encrypted: &mut Value, how: Tamper) {
    let member = match how {
        Tamper::Data => "data",
        Tamper::Signature => "dataSignature",
        Tamper::Key => "dataKey",
        Tamper::CertificateId => {
            encrypted["encryptionCertificateId"] = json!("nobody's");
            return;
        }
    };
    let bytes = encrypted[member].as_str().and_then(|text| STANDARD.decode(text).ok());
    let mut bytes = bytes.unwrap_or_default();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    encrypted[member] = json!(STANDARD.encode(bytes));
}

/// The token that tells one application and tenant of a batch that Graph is speaking.
pub(crate) fn validation_token(world: &World, owner: Caller, kind: Tokens) -> Result<String, CryptoFailure> {
    let tenant = if kind == Tokens::WrongTenant { Uuid::new_v4() } else { owner.tenant };
    let audience = if kind == Tokens::WrongAudience { Uuid::new_v4() } else { owner.app };
    let publisher =
        if kind == Tokens::WrongPublisher { Uuid::new_v4() } else { world.config.publisher_app_id };
    let shift = match kind {
        Tokens::Expired => -(TOKEN_LIFETIME + 3600),
        Tokens::Early => 3900,
        _ => 0,
    };
    let issued = world.clock.now().timestamp() + shift;
    let mut claims = json!({
        "aud": audience,
        "iat": issued,
        "nbf": issued - 300,
        "exp": issued + TOKEN_LIFETIME,
        "aio": Uuid::new_v4().simple().to_string(),
        "sub": Uuid::new_v4(),
        "tid": tenant,
        "uti": Uuid::new_v4().simple().to_string(),
    });
    if is_second_version(world, owner, kind) {
        claims["iss"] = json!(world.urls.issuer_v2(tenant));
        claims["azp"] = json!(publisher);
        claims["azpacr"] = json!("2");
        claims["ver"] = json!("2.0");
    } else {
        claims["iss"] = json!(Urls::issuer_v1(tenant));
        claims["appid"] = json!(publisher);
        claims["appidacr"] = json!("2");
        claims["idp"] = json!(Urls::issuer_v1(tenant));
        claims["ver"] = json!("1.0");
    }
    if kind == Tokens::WrongIssuer {
        claims["iss"] = json!(format!("https://sts.example/{tenant}/"));
    }
    let key = world.keys.current();
    match kind {
        Tokens::Forged => world.keys.stranger().sign_as(&claims, &key),
        Tokens::UnknownKey => world.keys.stranger().sign(&claims),
        _ => key.sign(&claims),
    }
}

fn is_second_version(world: &World, owner: Caller, kind: Tokens) -> bool {
    match kind {
        Tokens::V1 => false,
        Tokens::V2 => true,
        _ => world.directory.app(owner.app).is_some_and(|app| app.second_version),
    }
}
