//! The routes of `/v1.0/subscriptions`: prove the caller, judge, prove the endpoint, store, answer.
//!
//! Must not hold rules of its own.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    call::{Call, Caller, Problem},
    handshake,
    rules::Judge,
};
use crate::{faults::Operation, world::World};

/// A body, or why it could not be read: it is too long, or the client went away.
type Body = Result<Bytes, actix_web::Error>;

impl World {
    fn judge(&self) -> Judge<'_> {
        Judge {
            rules: &self.config.rules,
            http_allowed: self.config.notification_http_allowed,
            now: self.clock.now(),
            grant_seconds: self.faults.grant_seconds(),
        }
    }

    /// Proves the caller and counts the call.
    fn caller(&self, request: &HttpRequest, operation: Operation) -> Result<Caller, Problem> {
        let caller = Caller::of(request, self)?;
        self.throttle.admit(caller, operation)?;
        Ok(caller)
    }
}

/// `POST /v1.0/subscriptions`
pub(crate) async fn create(request: HttpRequest, world: Data<World>, body: Body) -> HttpResponse {
    let operation = Operation::CreateSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let prefer = request.headers().get("prefer").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let wish = world.judge().create(&whole(body)?, caller, prefer)?;
        let rules = &world.config.rules;
        world.subscriptions.admits(&wish, rules, world.clock.now())?;
        let lifecycle = wish.lifecycle_url.as_ref();
        handshake::prove(&world.handshakes, &wish.notification_url, lifecycle, rules.handshake_limit).await?;
        let entity = wish.entity(&world.urls.base);
        world.subscriptions.add(wish, rules, world.clock.now())?;
        Ok::<_, Problem>(call.json(StatusCode::CREATED, &entity))
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// `GET /v1.0/subscriptions`
pub(crate) async fn list(request: HttpRequest, world: Data<World>) -> HttpResponse {
    let operation = Operation::ListSubscriptions;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let after = page_start(request.query_string())?;
        let size = world.config.rules.list_page_size;
        let (page, more) = world.subscriptions.page(caller, after, size, world.clock.now());
        let graph = &world.urls.base;
        let mut answer = json!({
            "@odata.context": format!("{graph}/v1.0/$metadata#subscriptions"),
            "value": page.iter().map(super::store::Subscription::listed).collect::<Vec<Value>>(),
        });
        if let (true, Some(last)) = (more, page.last()) {
            let token = URL_SAFE_NO_PAD.encode(last.id);
            answer["@odata.nextLink"] = json!(format!("{graph}/v1.0/subscriptions?$skiptoken={token}"));
        }
        Ok::<_, Problem>(call.json(StatusCode::OK, &answer))
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// `GET /v1.0/subscriptions/{id}`
pub(crate) async fn get(request: HttpRequest, world: Data<World>, id: Path<String>) -> HttpResponse {
    let operation = Operation::GetSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let found = world.subscriptions.owned(parse_id(&id)?, caller, world.clock.now())?;
        Ok::<_, Problem>(call.json(StatusCode::OK, &found.entity(&world.urls.base)))
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// `PATCH /v1.0/subscriptions/{id}`
pub(crate) async fn update(
    request: HttpRequest,
    world: Data<World>,
    id: Path<String>,
    body: Body,
) -> HttpResponse {
    let operation = Operation::UpdateSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let current = world.subscriptions.owned(parse_id(&id)?, caller, world.clock.now())?;
        let update = world.judge().update(&whole(body)?, &current)?;
        if let Some(url) = &update.notification_url {
            let limit = world.config.rules.handshake_limit;
            handshake::prove(&world.handshakes, url, current.lifecycle_url.as_ref(), limit).await?;
        }
        let now = world.clock.now();
        let changed = world.subscriptions.change(current.id, caller, now, |found| update.apply(found))?;
        Ok::<_, Problem>(call.json(StatusCode::OK, &changed.entity(&world.urls.base)))
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// `DELETE /v1.0/subscriptions/{id}`
pub(crate) async fn delete(request: HttpRequest, world: Data<World>, id: Path<String>) -> HttpResponse {
    let operation = Operation::DeleteSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let found = world.subscriptions.owned(parse_id(&id)?, caller, world.clock.now())?;
        world.subscriptions.remove(found.id).ok_or_else(Problem::not_found)?;
        Ok::<_, Problem>(call.empty())
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// `POST /v1.0/subscriptions/{id}/reauthorize`
pub(crate) async fn reauthorize(request: HttpRequest, world: Data<World>, id: Path<String>) -> HttpResponse {
    let operation = Operation::ReauthorizeSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let caller = world.caller(&request, operation)?;
        let now = world.clock.now();
        world.subscriptions.change(parse_id(&id)?, caller, now, |found| found.reauthorizations += 1)?;
        Ok::<_, Problem>(call.empty())
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

/// A method that the collection or the entity does not have.
pub(crate) async fn wrong_method(request: HttpRequest, world: Data<World>) -> HttpResponse {
    let message = "Specified HTTP method is not allowed for the request target.";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "BadRequest", message);
    Call::of(&request, &world).problem(&problem)
}

/// Everything else below `/v1.0`.
pub(crate) async fn unknown(request: HttpRequest, world: Data<World>) -> HttpResponse {
    let segment: String = request.path().rsplit('/').next().unwrap_or_default().chars().take(100).collect();
    let message = format!("Resource not found for the segment '{segment}'.");
    Call::of(&request, &world).problem(&Problem::new(StatusCode::BAD_REQUEST, "BadRequest", message))
}

fn whole(body: Body) -> Result<Bytes, Problem> {
    body.map_err(|error| {
        let status = error.as_response_error().status_code();
        Problem::new(status, "BadRequest", "The request body could not be read, or is too large.")
    })
}

/// An id that is no GUID names nothing.
fn parse_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text).map_err(|_| Problem::not_found())
}

/// Reads the only query option that there is: the one of a next link.
fn page_start(query: &str) -> Result<Option<Uuid>, Problem> {
    let mut after = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let token = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
        let token = token.and_then(|bytes| Uuid::from_slice(&bytes).ok());
        match (name.as_ref(), token) {
            ("$skiptoken", Some(id)) => after = Some(id),
            _ => {
                return Err(Problem::invalid(
                    "Query options are not supported on the list of subscriptions.",
                ));
            }
        }
    }
    Ok(after)
}
