//! What an endpoint answered, as `attempts.response` keeps it: sealed JSON, its values in base 64 because neither
//! headers nor bodies need be text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use waypost_core::delivery::Response;
use waypost_core::id::AttemptId;

use crate::{Store, StoreError};

const TABLE: &str = "attempts";
const COLUMN: &str = "response";

#[derive(Serialize, Deserialize)]
struct Kept {
    headers: Vec<(String, String)>,
    body: String,
    truncated: bool,
}

/// Seals an answer for the row of `attempt`.
pub(crate) fn seal_response(store: &Store, attempt: AttemptId, response: &Response) -> Vec<u8> {
    let headers =
        response.headers.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value))).collect();
    let kept = Kept { headers, body: STANDARD.encode(&response.body), truncated: response.truncated };
    let plain = serde_json::json!(kept).to_string();
    store.seal(TABLE, COLUMN, attempt.uuid().as_bytes(), plain.as_bytes())
}

/// Opens what [`seal_response`] made.
pub(crate) fn open_response(
    store: &Store,
    attempt: AttemptId,
    sealed: &[u8],
) -> Result<Response, StoreError> {
    let plain = store.open(TABLE, COLUMN, attempt.uuid().as_bytes(), sealed)?;
    let wrong = || StoreError::inconsistent(TABLE, COLUMN, attempt);
    let kept: Kept = serde_json::from_slice(&plain).map_err(|_| wrong())?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| wrong());
    let headers = kept.headers.into_iter().map(|(name, value)| Ok((name, decode(&value)?)));
    Ok(Response {
        headers: headers.collect::<Result<_, StoreError>>()?,
        body: decode(&kept.body)?,
        truncated: kept.truncated,
    })
}
