//! How many encrypted notifications one core opens, and how close that is to the bare RSA operation that bounds it.
//!
//! One thread, nothing but processor work: from the stored body to the bytes that go out. Beside it the same private key
//! used by aws-lc-rs alone. Must not touch a network or a database.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waypost_core::canonical::canonical;
use waypost_core::provider::graph::rich::{Fate, RichBody, canonical_content};
use waypost_crypto::certificate::{CertifiedKey, KeySize, Saying};
use waypost_crypto::envelope::OpeningKey;

use crate::{report, settings::Settings};

/// About as large as a chat message.
const CONTENT: usize = 1300;
const SYMMETRIC: [u8; 32] = [7; 32];

/// What is opened, and with what.
struct Case {
    size: KeySize,
    pkcs8: Vec<u8>,
    wrapped: Vec<u8>,
    body: Vec<u8>,
}

/// Measures and prints.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<()> {
    report::progress("opened notifications per second on one core, and the bare RSA operation of aws-lc-rs");
    for size in [KeySize::Rsa2048, KeySize::Rsa4096] {
        let case = Case::make(size)?;
        let mut runs: Vec<(f64, f64)> = Vec::new();
        for _ in 0..settings.runs {
            let limit = Duration::from_secs(settings.seconds);
            runs.push((case.opened(limit)?, case.bare(limit)?));
        }
        runs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (opened, bare) = runs[runs.len() / 2];
        report::progress(&format!(
            "RSA-{}: {opened:>8.0} opened/s   {bare:>8.0} bare/s   ratio {:.2}",
            size.bits(),
            opened / bare
        ));
    }
    Ok(())
}

impl Case {
    fn make(size: KeySize) -> anyhow::Result<Self> {
        let saying = Saying { common_name: "bench", not_before: 0, not_after: 1 };
        let certified = CertifiedKey::make(size, saying)?;
        let pkcs8 = certified.key().to_pkcs8()?.to_vec();
        let public = PrivateDecryptingKey::from_pkcs8(&pkcs8)?.public_key();
        let public = OaepPublicEncryptingKey::new(public)?;
        let mut room = vec![0; public.ciphertext_size()];
        let wrapped = public.encrypt(&OAEP_SHA1_MGF1SHA1, &SYMMETRIC, &mut room, None)?.to_vec();
        let mut data = json!({"id": "1", "body": {"content": "x".repeat(CONTENT)}}).to_string().into_bytes();
        let vector = FixedLength::<16>::try_from(&SYMMETRIC[..16]).context("the vector is 16 bytes")?;
        PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &SYMMETRIC)?)?
            .less_safe_encrypt(&mut data, EncryptionContext::Iv128(vector))?;
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SYMMETRIC), &data);
        let body = json!({
            "connectionId": "conn-1", "from": "microsoft-oauth2-cc", "providerConfigKey": "graph-cc", "type": "forward",
            "payload": {"value": [{
                "subscriptionId": "038842db-7ca0-4de5-b8a8-fa69c1411cae", "changeType": "created",
                "tenantId": "11111111-2222-4333-8444-555555555555", "clientState": "state",
                "resource": "chats('19:x')/messages('1')", "resourceData": {"id": "1"},
                "encryptedContent": {
                    "data": STANDARD.encode(&data), "dataSignature": STANDARD.encode(signature),
                    "dataKey": STANDARD.encode(&wrapped), "encryptionCertificateId": "bench",
                    "encryptionCertificateThumbprint": certified.certificate().thumbprint(),
                },
            }]},
        });
        Ok(Self { size, pkcs8, wrapped, body: canonical(body.to_string().as_bytes())? })
    }

    /// From the stored body to the bytes that go out.
    fn opened(&self, limit: Duration) -> anyhow::Result<f64> {
        let key = OpeningKey::from_pkcs8(&self.pkcs8)?;
        let open = || -> anyhow::Result<()> {
            let body = RichBody::read(&self.body)?;
            let item = body.encrypted.first().and_then(|item| item.content.as_ref());
            let plaintext = key.open(item.context("the body has an encrypted item")?.envelope())?;
            let fates = [Fate::Opened(canonical_content(&plaintext)?)];
            black_box(body.outgoing(&fates, "key"));
            Ok(())
        };
        rate(limit, open)
    }

    /// The private operation alone.
    fn bare(&self, limit: Duration) -> anyhow::Result<f64> {
        let key = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(&self.pkcs8)?)?;
        let mut room = vec![0; self.size.bits() / 8];
        rate(limit, || {
            black_box(key.decrypt(&OAEP_SHA1_MGF1SHA1, &self.wrapped, &mut room, None)?);
            Ok(())
        })
    }
}

/// How often a second something is done.
fn rate(limit: Duration, mut once: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    once()?;
    let started = Instant::now();
    let mut done = 0_u32;
    while started.elapsed() < limit {
        once()?;
        done += 1;
    }
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}
