//! Everything below `/v1.0` that has no route of its own: find what the path means, prove the caller, read or change.
//!
//! Must not hold rules: what a path means, what a query means and what a change does is told elsewhere.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode},
    web::{Bytes, Data, Payload},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    ChangeError,
    address::{Action, Address, Flavour, View},
    announce::announce,
    content, delta,
    query::Query,
    store::Entry,
};
use crate::{
    ChangeType,
    faults::Operation,
    graph::{
        call::{Authorized, Call, Problem},
        subscriptions,
    },
    server::MAX_BODY,
    world::World,
};

/// A call whose path and caller are known.
struct Visit<'a> {
    world: &'a World,
    call: &'a Call,
    request: &'a HttpRequest,
    tenant: Uuid,
    authorized: Authorized,
    /// Whether the caller prefers ids that survive a move.
    immutable: bool,
}

/// The route.
pub(crate) async fn route(request: HttpRequest, world: Data<World>, payload: Payload) -> HttpResponse {
    let path = path_of(&request);
    // Who `me` is shows only when the caller is known; what kind of call it is shows already.
    let Some(operation) = Address::parse(&path, None).and_then(|found| operation(request.method(), &found))
    else {
        return subscriptions::unknown(&request, &world);
    };
    let call = Call::of(&request, &world);
    let work = async {
        let authorized = Authorized::of(&request, &world)?;
        let user = authorized.caller.user;
        if user.is_none() && path.split('/').next() == Some("me") {
            let message = "/me request is only valid with delegated authentication flow.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "BadRequest", message));
        }
        let address = Address::parse(&path, user).ok_or_else(Problem::not_found)?;
        let immutable =
            prefer(&request).is_some_and(|prefer| prefer.to_ascii_lowercase().contains("immutableid"));
        let writes = !matches!(
            operation,
            Operation::GetItem | Operation::ListItems | Operation::Delta | Operation::ReadContent
        );
        authorized.require(address.areas(), writes)?;
        let tenant = authorized.caller.tenant;
        let visit = Visit { world: &world, call: &call, request: &request, tenant, authorized, immutable };
        visit.perform(address, payload).await
    };
    world.perform(&request, operation, async { call.answer(work.await) }).await
}

fn operation(method: &Method, address: &Address) -> Option<Operation> {
    Some(match (method.as_str(), address) {
        ("GET", Address::Collection(_)) => Operation::ListItems,
        ("GET", Address::Delta(_)) => Operation::Delta,
        ("GET", Address::Item(..) | Address::Root(_)) => Operation::GetItem,
        ("GET", Address::Content(..)) => Operation::ReadContent,
        ("PUT", Address::Content(..)) => Operation::WriteContent,
        ("POST", Address::Collection(_)) => Operation::CreateItem,
        ("PATCH", Address::Item(..)) => Operation::UpdateItem,
        ("DELETE", Address::Item(..)) => Operation::DeleteItem,
        ("POST", Address::Act(..) | Address::Send(_)) => Operation::Act,
        _ => return None,
    })
}

impl Visit<'_> {
    async fn perform(&self, address: Address, payload: Payload) -> Result<HttpResponse, Problem> {
        match (self.request.method().as_str(), address) {
            ("GET", Address::Collection(view)) => self.list(&view),
            ("GET", Address::Delta(view)) => self.delta(&view),
            ("GET", Address::Item(view, id)) => self.get(&view, &id),
            ("GET", Address::Root(view)) => Ok(self.call.json(StatusCode::OK, &root(&view))),
            ("GET", Address::Content(path, _)) => self.read(&path),
            ("PUT", Address::Content(path, _)) => self.write(&path, payload).await,
            ("POST", Address::Collection(view)) => self.create(&view, object(payload).await?),
            ("PATCH", Address::Item(view, id)) => self.update(&view, &id, object(payload).await?),
            ("DELETE", Address::Item(view, id)) => self.delete(&view, &id),
            ("POST", Address::Act(view, id, Action::Move)) => {
                self.relocate(&view, &id, &object(payload).await?)
            }
            ("POST", Address::Send(user)) => self.send(&user, object(payload).await?),
            _ => Err(Problem::not_found()),
        }
    }

    fn list(&self, view: &View) -> Result<HttpResponse, Problem> {
        let query = Query::parse(self.request.query_string())?.with_offset()?;
        let entries = self.world.items.list(self.tenant, view);
        let items: Vec<Value> = entries.iter().map(|entry| entry.told(self.immutable)).collect();
        let size = query.page_size(prefer(self.request), self.world.behaviour().item_page_size);
        let (all, page, next) = query.page(&items, size);
        let mut answer =
            self.collection(&page.into_iter().map(|item| query.selected(item)).collect::<Vec<_>>());
        if query.count {
            answer["@odata.count"] = json!(all);
        }
        if let Some(token) = next {
            answer["@odata.nextLink"] = json!(self.link(&query.following("$skiptoken", &token)));
        }
        Ok(self.call.json(StatusCode::OK, &answer))
    }

    fn delta(&self, view: &View) -> Result<HttpResponse, Problem> {
        let query = Query::parse(self.request.query_string())?;
        let goes_on = query.skip_token.is_some() || query.delta_token.is_some();
        if !goes_on && self.request.path().to_ascii_lowercase().contains("/calendarview") && !query.has_span {
            let message = "This request requires a time window specified by the query string parameters \
                           StartDateTime and EndDateTime.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "ErrorInvalidParameter", message));
        }
        let size = query.page_size(prefer(self.request), self.world.behaviour().item_page_size);
        let ask = delta::Ask { view, query: &query, size, immutable: self.immutable };
        let page = delta::page(&self.world.items, self.authorized.caller, &ask)?;
        let mut answer = self.collection(&page.items);
        answer[page.link.0] = json!(self.link(&page.link.1));
        Ok(self.call.json(StatusCode::OK, &answer))
    }

    fn get(&self, view: &View, id: &str) -> Result<HttpResponse, Problem> {
        let query = Query::parse(self.request.query_string())?;
        let entry = self.world.items.get(self.tenant, view, id).ok_or_else(|| gone(view))?;
        Ok(self.entity(StatusCode::OK, &query.selected(&entry.told(self.immutable))))
    }

    fn create(&self, view: &View, value: Map<String, Value>) -> Result<HttpResponse, Problem> {
        let mut value = value;
        // The service names what it makes.
        value.remove("id");
        let (entry, _) = self
            .world
            .items
            .put(self.tenant, view, value, self.world.clock.now())
            .map_err(|error| problem(&error))?;
        self.announce(view, &entry, ChangeType::Created);
        Ok(self.entity(StatusCode::CREATED, &entry.told(self.immutable)))
    }

    fn update(&self, view: &View, id: &str, patch: Map<String, Value>) -> Result<HttpResponse, Problem> {
        self.precondition(view, id)?;
        let (patch, now) = (Value::Object(patch), self.world.clock.now());
        let entry = self.world.items.patch(self.tenant, (view, id), &patch, now).ok_or_else(|| gone(view))?;
        self.announce(view, &entry, ChangeType::Updated);
        Ok(self.entity(StatusCode::OK, &entry.told(self.immutable)))
    }

    fn delete(&self, view: &View, id: &str) -> Result<HttpResponse, Problem> {
        self.precondition(view, id)?;
        let entry = self.world.items.remove(self.tenant, view, id).ok_or_else(|| gone(view))?;
        self.announce(view, &entry, ChangeType::Deleted);
        Ok(self.call.empty())
    }

    /// A change that is bound to an etag must find just that.
    fn precondition(&self, view: &View, id: &str) -> Result<(), Problem> {
        let wanted = self.request.headers().get("if-match").and_then(|value| value.to_str().ok());
        let Some(wanted) = wanted.filter(|wanted| *wanted != "*") else { return Ok(()) };
        let entry = self.world.items.get(self.tenant, view, id).ok_or_else(|| gone(view))?;
        if entry.value["@odata.etag"] == json!(wanted) {
            return Ok(());
        }
        let message =
            "The change key passed in the request does not match the current change key for the item.";
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, "ErrorIrresolvableConflict", message))
    }

    fn relocate(&self, view: &View, id: &str, body: &Map<String, Value>) -> Result<HttpResponse, Problem> {
        let folder = body.get("destinationId").and_then(Value::as_str);
        let folder = folder.ok_or_else(|| Problem::invalid("destinationId is a required property."))?;
        let now = self.world.clock.now();
        let moved = self.world.items.relocate(self.tenant, (view, id), folder, now);
        let (old, new) = moved.ok_or_else(|| gone(view))?;
        self.announce(view, &old, ChangeType::Deleted);
        self.announce(view, &new, ChangeType::Created);
        Ok(self.entity(StatusCode::CREATED, &new.told(self.immutable)))
    }

    /// A message that is sent comes to lie in the folder of those that were.
    fn send(&self, user: &str, mut body: Map<String, Value>) -> Result<HttpResponse, Problem> {
        let Some(Value::Object(message)) = body.remove("message") else {
            return Err(Problem::invalid("message is a required property."));
        };
        let path = format!("users/{user}/mailFolders/sentitems/messages");
        let Some(Address::Collection(view)) = Address::parse(&path, None) else {
            return Err(Problem::not_found());
        };
        let (entry, _) = self
            .world
            .items
            .put(self.tenant, &view, message, self.world.clock.now())
            .map_err(|error| problem(&error))?;
        self.announce(&view, &entry, ChangeType::Created);
        Ok(self.call.start(StatusCode::ACCEPTED).finish())
    }

    fn read(&self, path: &str) -> Result<HttpResponse, Problem> {
        let content = self.world.items.content(self.tenant, path).ok_or_else(Problem::not_found)?;
        let range = self.request.headers().get("range").and_then(|value| value.to_str().ok());
        content::answer(self.call, content, range)
    }

    async fn write(&self, path: &str, payload: Payload) -> Result<HttpResponse, Problem> {
        let sent_type = self.request.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content = content::take(payload, sent_type).await?;
        let size = content.view().length;
        self.world.items.put_content(self.tenant, path, content);
        // The content of a file makes the file; that of anything else belongs to what is there already.
        let Some(Address::Item(view, id)) = Address::parse(path, None) else { return Ok(self.call.empty()) };
        if view.flavour != Flavour::Drive {
            return Ok(self.call.empty());
        }
        let known = self.world.items.get(self.tenant, &view, &id).map(|entry| entry.value);
        let mut value = known.unwrap_or_else(|| json!({"id": id, "name": id, "file": {}}));
        value["size"] = json!(size);
        let Value::Object(value) = value else { return Err(Problem::not_found()) };
        let put = self.world.items.put(self.tenant, &view, value, self.world.clock.now());
        let (entry, fresh) = put.map_err(|error| problem(&error))?;
        self.announce(&view, &entry, if fresh { ChangeType::Created } else { ChangeType::Updated });
        let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
        Ok(self.entity(status, &entry.told(false)))
    }

    fn announce(&self, view: &View, entry: &Entry, change: ChangeType) {
        if !self.world.behaviour().writes_notify {
            return;
        }
        if let Err(error) = announce(self.world, self.tenant, view, entry, change) {
            tracing::warn!(%error, "a change could not be told");
        }
    }

    fn collection(&self, items: &[Value]) -> Value {
        let path = self.request.path().trim_start_matches("/v1.0/");
        json!({
            "@odata.context": format!("{}/v1.0/$metadata#{path}", self.world.urls.base),
            "value": items,
        })
    }

    fn entity(&self, status: StatusCode, item: &Value) -> HttpResponse {
        let mut item = item.clone();
        item["@odata.context"] = json!(format!("{}/v1.0/$metadata#entity", self.world.urls.base));
        let mut response = self.call.start(status);
        if let Some(etag) = item["@odata.etag"].as_str() {
            response.insert_header(("etag", etag));
        }
        if self.immutable {
            response.insert_header(("preference-applied", "IdType=\"ImmutableId\""));
        }
        response.json(item)
    }

    /// This path with another query.
    fn link(&self, query: &str) -> String {
        format!("{}{}?{query}", self.world.urls.base, self.request.path())
    }
}

/// The path behind the version, with its escapes undone.
fn path_of(request: &HttpRequest) -> String {
    let path = request.path().trim_start_matches("/v1.0").trim_start_matches('/');
    // The form decoder undoes escapes; what means something to it alone is escaped first.
    let form = path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(form.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

fn prefer(request: &HttpRequest) -> Option<&str> {
    request.headers().get("prefer").and_then(|value| value.to_str().ok())
}

/// The JSON object of a body.
async fn object(payload: Payload) -> Result<Map<String, Value>, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BadRequest", "The request body is too large.");
    let whole = payload.to_bytes_limited(MAX_BODY).await.map_err(|_| too_large())?;
    let bytes: Bytes = whole.map_err(|_| Problem::invalid("The request body could not be read."))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "BadRequest", "Unable to read JSON request payload.")),
    }
}

/// What stands for a whole drive or list.
fn root(view: &View) -> Value {
    let owner = view.kept_in.split('/').nth_back(1).unwrap_or_default();
    json!({"id": "root", "name": "root", "root": {}, "parentReference": {"driveId": owner}})
}

/// The services name an absence differently.
fn gone(view: &View) -> Problem {
    let (code, message) = match view.flavour {
        Flavour::Outlook => ("ErrorItemNotFound", "The specified object was not found in the store."),
        Flavour::Drive => ("itemNotFound", "The resource could not be found."),
        Flavour::Directory => ("Request_ResourceNotFound", "Resource does not exist, or is not accessible."),
        Flavour::Chat | Flavour::Plain => ("NotFound", "The resource was not found."),
    };
    Problem::new(StatusCode::NOT_FOUND, code, message)
}

fn problem(error: &ChangeError) -> Problem {
    let status = match error {
        ChangeError::Full => StatusCode::INSUFFICIENT_STORAGE,
        ChangeError::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, "BadRequest", error.to_string())
}
