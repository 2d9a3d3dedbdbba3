//! The headers of a webhook. Those of the endpoint come first, so that ours replace whatever has the same name.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use secrecy::ExposeSecret as _;
use waypost_core::delivery::{Failure, Message, Target};
use waypost_core::endpoint::{HeaderError, check_header};
use waypost_crypto::signature::standard_webhooks;

use super::Stamp;
use crate::client;

/// The longest `waypost-item-keys`: many servers refuse a request with more than 8 KiB in one header.
const LONGEST_ITEM_KEYS: usize = 8 * 1024;

const NANGO_SIGNATURE: HeaderName = HeaderName::from_static("x-nango-signature");
const NANGO_HMAC: HeaderName = HeaderName::from_static("x-nango-hmac-sha256");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const DELIVERY_ID: HeaderName = HeaderName::from_static("waypost-delivery-id");
const ATTEMPT: HeaderName = HeaderName::from_static("waypost-attempt");
const ITEM_KEYS: HeaderName = HeaderName::from_static("waypost-item-keys");

/// All headers of one attempt, those of HTTP itself excepted.
pub(super) fn headers(target: &Target, message: &Message, stamp: Stamp) -> Result<HeaderMap, Failure> {
    let mut headers = own_headers(target)?;
    let id = message.event.to_string();
    let timestamp = stamp.at.timestamp();
    let nango = target.signing_key.nango(&message.body);
    let signature = standard_webhooks(&target.secrets, &id, timestamp, &message.body);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
    headers.insert(NANGO_SIGNATURE, value(&nango.signature)?);
    headers.insert(NANGO_HMAC, value(&nango.hmac_sha256)?);
    headers.insert(WEBHOOK_ID, value(&id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(WEBHOOK_SIGNATURE, value(&signature)?);
    headers.insert(DELIVERY_ID, value(&stamp.delivery.to_string())?);
    headers.insert(ATTEMPT, HeaderValue::from(stamp.attempt));
    // A help for receivers, never a reason not to deliver.
    if !message.item_keys.is_empty()
        && message.item_keys.len() <= LONGEST_ITEM_KEYS
        && let Ok(keys) = HeaderValue::from_bytes(message.item_keys.as_bytes())
    {
        headers.insert(ITEM_KEYS, keys);
    }
    Ok(headers)
}

/// The headers that the endpoint wants added. Reserved ones were refused when it was saved; should one be there all
/// the same, it is left out, so that it can't change how the request is framed or signed.
fn own_headers(target: &Target) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(target.headers.len() + 16);
    for (name, secret) in &target.headers {
        match check_header(name.as_str(), secret.expose_secret()) {
            Ok(_) => {}
            Err(HeaderError::Reserved) => continue,
            Err(HeaderError::Name | HeaderError::Value) => return Err(Failure::Request),
        }
        let mut value = value(secret.expose_secret())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| Failure::Request)
}
