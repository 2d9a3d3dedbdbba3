//! Reading a request: bodies, queries and path parameters, strictly.
//!
//! What isn't known is refused, with its path: a field that is silently ignored is a setting that silently doesn't
//! hold. Must not know any resource.

pub(crate) mod words;

use std::fmt::{self, Display};
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;

use self::words::issue;
use crate::error::{ApiError, Issue};

/// The largest body of an API request, in bytes.
pub const LARGEST_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A JSON body. `T` should carry `#[serde(deny_unknown_fields)]`. An absent body reads as `{}`.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A JSON list, bare or as lists are given here (`{"data":[…]}`): `T` has the member `data`.
#[derive(Debug)]
pub struct ListBody<T>(pub T);

/// A query. `T` should carry `#[serde(deny_unknown_fields)]`.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// Path parameters by name, percent-decoded; a `T` that doesn't fit is a 404. `T` names only the parameters that it
/// wants, so that a route works below `/admin/environments/{environment}` too.
#[derive(Debug)]
pub struct Path<T>(pub T);

/// The path parameter `id`, parsed; one that doesn't parse is a 404.
#[derive(Debug)]
pub struct Id<T>(pub T);

/// A `T` that is written as an object. A derived struct alone would also take an array, its fields by their order.
#[derive(Debug)]
struct AsObject<T>(T);

#[derive(Deserialize)]
struct IdPart {
    id: String,
}

struct AsObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AsObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AsObjectVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AsObjectVisitor<T> {
    type Value = AsObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<AsObject<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(AsObject)
    }
}

type Reading<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>>>>;

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (is_json, is_compressed) = (content_type_is_json(request), is_compressed(request));
        let payload = payload.take();
        Box::pin(async move {
            if !is_json {
                return Err(ApiError::UnsupportedMediaType);
            }
            if is_compressed {
                return Err(ApiError::CompressedBody);
            }
            let bytes = read(payload, LARGEST_BODY).await?;
            parse_body(&bytes).map(Self)
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for ListBody<T> {
    type Error = ApiError;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = content_type_is_json(request);
        let payload = payload.take();
        Box::pin(async move {
            if !is_json {
                return Err(ApiError::UnsupportedMediaType);
            }
            let bytes = read(payload, LARGEST_BODY).await?;
            if bytes.trim_ascii_start().first() != Some(&b'[') {
                return parse_body(&bytes).map(Self);
            }
            parse_body(&[br#"{"data":"#.as_slice(), &bytes, b"}"].concat()).map(Self)
        })
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse_query(request.query_string()).map(Self))
    }
}

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse_path(request).map(Self))
    }
}

impl<T: FromStr> FromRequest for Id<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let parsed =
            parse_path::<IdPart>(request).and_then(|part| part.id.parse().map_err(|_| unknown_path()));
        ready(parsed.map(Self))
    }
}

fn unknown_path() -> ApiError {
    ApiError::not_found("There is nothing of that id")
}

fn parse_path<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    if request.path().contains("%00") {
        return Err(unknown_path());
    }
    let parsed = web::Path::<T>::from_request(request, &mut Payload::None).now_or_never();
    parsed.and_then(Result::ok).map(web::Path::into_inner).ok_or_else(unknown_path)
}

/// Reads a whole body of at most `limit` bytes, counted, whatever its headers claim.
///
/// # Errors
/// [`ApiError::PayloadTooLarge`], 400 when it breaks off, 408 when it takes too long.
pub async fn read(payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    tokio::time::timeout(BODY_WITHIN, gather(payload, limit)).await.unwrap_or(Err(ApiError::RequestTimeout))
}

async fn gather(mut payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk
            .map_err(|_| ApiError::bad_request("invalid_body", "The body could not be read to its end"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::PayloadTooLarge { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn content_type_is_json(request: &HttpRequest) -> bool {
    let Some(value) = request.headers().get(CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn is_compressed(request: &HttpRequest) -> bool {
    let encoding = request.headers().get(CONTENT_ENCODING);
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    refuse_nul(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let AsObject(parsed) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = segments(error.path());
        let error = error.into_inner();
        if error.classify() == Category::Data {
            let message = error.to_string();
            // The position in the text helps nobody who has the path.
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
            return ApiError::invalid_body(vec![issue(message, path)]);
        }
        // Of a word that is no text, the reader says the same as of a mistake in the JSON.
        let is_json = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        if is_json && error.to_string().starts_with("expected value") {
            let message = "must be of another type".to_owned();
            return ApiError::invalid_body(vec![Issue { code: "invalid_type", message, path }]);
        }
        not_json(&error)
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(parsed)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request("invalid_json", format!("The body is not valid JSON: {error}"))
}

/// The store can't keep U+0000 in a text, so it is refused here, for every field at once.
fn refuse_nul(json: &[u8]) -> Result<(), ApiError> {
    const ESCAPED: &[u8] = br"\u0000";
    if !json.windows(ESCAPED.len()).any(|window| window == ESCAPED) {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(json).map_err(|error| not_json(&error))?;
    if holds_nul(&value) {
        return Err(ApiError::bad_request("invalid_body", "A text must not hold the character U+0000"));
    }
    Ok(())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Reads a query text.
pub(crate) fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    if let Some((name, _)) = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        let name = name.replace('\0', "");
        return Err(ApiError::invalid_query(vec![Issue::at(
            &[&name],
            "invalid_value",
            "it holds the character U+0000",
        )]));
    }
    let pairs = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let path = segments(error.path());
        ApiError::invalid_query(vec![issue(&error.inner().to_string(), path)])
    })
}

/// Reads a field that is an object, if it is there.
pub(crate) fn as_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let object = Option::<AsObject<T>>::deserialize(deserializer)?;
    Ok(object.map(|AsObject(fields)| fields))
}

/// Reads a field of a change, which may be absent but not null: null would say nothing about what shall become of it.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// As [`given`], for a field that is an object.
pub(crate) fn given_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    given(deserializer).map(|object| object.map(|AsObject(fields)| fields))
}

/// Reads a query parameter that must be one of the words that `T` knows.
pub(crate) fn known_word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let word = String::deserialize(deserializer)?;
    word.parse().map(Some).map_err(serde::de::Error::custom)
}

fn segments(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
            serde_path_to_error::Segment::Map { key } => Some(key.clone()),
            serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
            serde_path_to_error::Segment::Unknown => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
