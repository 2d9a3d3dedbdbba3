//! `POST /$batch`: up to 20 calls in one. Each part is made as a call of its own over the loopback interface, with the
//! token of the whole, so that each is judged, counted, throttled and struck by faults by itself.
//!
//! Must not know what a part is about.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    faults::Operation,
    graph::call::{Authorized, Call, Problem},
    world::World,
};

const MAX_PARTS: usize = 20;

#[derive(Debug, Deserialize)]
struct Batch {
    requests: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    id: String,
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    depends_on: Vec<String>,
}

/// The route.
pub(crate) async fn route(
    request: HttpRequest,
    world: Data<World>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let call = Call::of(&request, &world);
    let work = async {
        Authorized::of(&request, &world)?;
        let body = body.map_err(|_| refused("The body could not be read."))?;
        let batch: Batch =
            serde_json::from_slice(&body).map_err(|_| refused("Invalid batch payload format."))?;
        check(&batch)?;
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let responses = run(&world, token.unwrap_or_default(), &batch.requests).await;
        Ok::<_, Problem>(call.json(StatusCode::OK, &json!({"responses": responses})))
    };
    world.perform(&request, Operation::Batch, async { call.answer(work.await) }).await
}

fn check(batch: &Batch) -> Result<(), Problem> {
    if batch.requests.is_empty() || batch.requests.len() > MAX_PARTS {
        return Err(refused("The number of requests in a batch must be from 1 to 20."));
    }
    let mut seen = BTreeSet::new();
    for part in &batch.requests {
        if part.depends_on.iter().any(|id| !seen.contains(id.as_str())) {
            return Err(refused("dependsOn must name requests that come before."));
        }
        if part.id.is_empty() || !seen.insert(part.id.as_str()) {
            return Err(refused("Each request must have an id of its own."));
        }
        if !part.url.starts_with('/') || part.url.to_ascii_lowercase().starts_with("/$batch") {
            return Err(refused("Each url must be relative, and not a batch."));
        }
    }
    Ok(())
}

/// Runs the parts: at once if they are independent, else in order; one whose forerunner failed is not made.
async fn run(world: &World, token: &str, parts: &[Part]) -> Vec<Value> {
    if parts.iter().all(|part| part.depends_on.is_empty()) {
        return future::join_all(parts.iter().map(|part| one(world, token, part))).await;
    }
    let mut answers: Vec<Value> = Vec::new();
    for part in parts {
        let failed = |id: &String| {
            answers.iter().any(|answer| answer["id"] == json!(id) && answer["status"].as_u64() >= Some(400))
        };
        let answer = if part.depends_on.iter().any(failed) {
            failure(&part.id, StatusCode::FAILED_DEPENDENCY, "FailedDependency")
        } else {
            one(world, token, part).await
        };
        answers.push(answer);
    }
    answers
}

async fn one(world: &World, token: &str, part: &Part) -> Value {
    let unanswered = || failure(&part.id, StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    let Ok(method) = part.method.to_ascii_uppercase().parse::<reqwest::Method>() else {
        return failure(&part.id, StatusCode::BAD_REQUEST, "BadRequest");
    };
    // The address that is bound, not the one that clients are told: a proxy may stand before the simulator.
    let url = format!("http://{}/v1.0{}", world.address, part.url);
    let mut request = world.handshakes.request(method, url).header("authorization", token);
    for (name, value) in &part.headers {
        if !["authorization", "content-length", "host"].contains(&name.to_ascii_lowercase().as_str()) {
            request = request.header(name, value);
        }
    }
    request = match &part.body {
        None => request,
        Some(Value::String(text)) => {
            request.body(STANDARD.decode(text).unwrap_or_else(|_| text.clone().into()))
        }
        Some(json) => request.body(json.to_string()),
    };
    let Ok(response) = request.send().await else { return unanswered() };
    let status = response.status().as_u16();
    let headers: BTreeMap<String, String> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "content-length" && *name != "date" && *name != "transfer-encoding")
        .filter_map(|(name, value)| Some((header_name(name.as_str()), value.to_str().ok()?.to_owned())))
        .collect();
    let Ok(body) = response.bytes().await else { return unanswered() };
    let mut answer = json!({"id": part.id, "status": status, "headers": headers});
    if !body.is_empty() {
        answer["body"] = serde_json::from_slice(&body).unwrap_or_else(|_| json!(STANDARD.encode(&body)));
    }
    answer
}

/// `retry-after` as `Retry-After`: the names inside a batch keep their capitals.
fn header_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}

fn failure(id: &str, status: StatusCode, code: &str) -> Value {
    json!({"id": id, "status": status.as_u16(), "headers": {}, "body": {"error": {"code": code, "message": code}}})
}

fn refused(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "BadRequest", message)
}
