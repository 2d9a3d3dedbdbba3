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
    call::{Authorized, Call, Caller, Problem},
    handshake,
    rules::Judge,
    store::Window,
};
use crate::{config::Rules, faults::Operation, world::World};

/// A body, or why it could not be read: it is too long, or the client went away.
type Body = Result<Bytes, actix_web::Error>;

impl World {
    /// The rules, with what the present behaviour puts in their place.
    fn rules(&self) -> Rules {
        let behaviour = self.behaviour();
        let rules = self.config.rules.clone();
        Rules {
            duplicates_refused: behaviour.duplicates_refused.unwrap_or(rules.duplicates_refused),
            list_page_size: behaviour.list_page_size.unwrap_or(rules.list_page_size),
            ..rules
        }
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            rules: &self.config.rules,
            http_allowed: self.config.notification_http_allowed,
            now: self.clock.now(),
            grant_seconds: self.faults.grant_seconds(),
        }
    }

    /// Proves the caller and counts the call.
    fn authorized(&self, request: &HttpRequest, operation: Operation) -> Result<Authorized, Problem> {
        let authorized = Authorized::of(request, self)?;
        self.throttle.admit(authorized.caller, operation)?;
        Ok(authorized)
    }

    fn caller(&self, request: &HttpRequest, operation: Operation) -> Result<Caller, Problem> {
        self.authorized(request, operation).map(|authorized| authorized.caller)
    }
}

/// `POST /v1.0/subscriptions`
pub(crate) async fn create(request: HttpRequest, world: Data<World>, body: Body) -> HttpResponse {
    let operation = Operation::CreateSubscription;
    let call = Call::of(&request, &world);
    let work = async {
        let authorized = world.authorized(&request, operation)?;
        let prefer = request.headers().get("prefer").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let wish = world.judge().create(&whole(body)?, authorized.caller, prefer)?;
        authorized.require(wish.kind.areas(), false)?;
        let rules = &world.rules();
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
        let start = page_start(request.query_string())?;
        let (behaviour, now) = (world.behaviour(), world.clock.now());
        let (page, more) = match start {
            Start::Beginning if behaviour.list_starts_empty => (Vec::new(), true),
            start => {
                let window = Window {
                    after: start.after(),
                    size: world.rules().list_page_size,
                    stale: behaviour.list_is_stale,
                };
                world.subscriptions.page(caller, &window, now)
            }
        };
        let graph = &world.urls.base;
        let mut answer = json!({
            "@odata.context": format!("{graph}/v1.0/$metadata#subscriptions"),
            "value": page.iter().map(super::store::Subscription::listed).collect::<Vec<Value>>(),
        });
        if more {
            // An empty page leads to the first of all.
            let last = page.last().map_or(Uuid::nil(), |last| last.id);
            let token = URL_SAFE_NO_PAD.encode(last);
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
pub(crate) fn unknown(request: &HttpRequest, world: &World) -> HttpResponse {
    let segment: String = request.path().rsplit('/').next().unwrap_or_default().chars().take(100).collect();
    let message = format!("Resource not found for the segment '{segment}'.");
    Call::of(request, world).problem(&Problem::new(StatusCode::BAD_REQUEST, "BadRequest", message))
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

/// Where a page of the list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Beginning,
    After(Uuid),
}

impl Start {
    fn after(self) -> Option<Uuid> {
        match self {
            Self::Beginning => None,
            Self::After(id) => Some(id),
        }
    }
}

/// Reads the only query option that there is: the one of a next link.
fn page_start(query: &str) -> Result<Start, Problem> {
    let mut start = Start::Beginning;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let token = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
        let token = token.and_then(|bytes| Uuid::from_slice(&bytes).ok());
        match (name.as_ref(), token) {
            ("$skiptoken", Some(id)) => start = Start::After(id),
            _ => {
                return Err(Problem::invalid(
                    "Query options are not supported on the list of subscriptions.",
                ));
            }
        }
    }
    Ok(start)
}
