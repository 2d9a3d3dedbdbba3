//! `/login/{tenant}/oauth2/v2.0/authorize`: the page on which a person signs in and allows an application something.
//!
//! Must not send a browser to an address that is not registered, whatever else is wrong.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use url::Url;
use uuid::Uuid;

use super::{
    directory::Standing,
    pages::{self, DECISION, PERSON, Question},
    problem::EntraProblem,
    registration::Registration,
    scopes::Scopes,
    sessions::Permit,
    token::{Form, is_graph},
};
use crate::{config::User, faults::Operation, world::World};

/// Which tenants an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Realm {
    One(Uuid),
    /// `common`, `organizations`
    Any,
}

impl Realm {
    pub(crate) fn of(world: &World, name: &str) -> Result<Self, EntraProblem> {
        if matches!(name.to_ascii_lowercase().as_str(), "common" | "organizations") {
            return Ok(Self::Any);
        }
        world.directory.tenant(name).map(Self::One).ok_or_else(|| EntraProblem::unknown_tenant(name))
    }

    pub(crate) fn tenant(self) -> Option<Uuid> {
        match self {
            Self::One(tenant) => Some(tenant),
            Self::Any => None,
        }
    }

    fn holds(self, tenant: Uuid) -> bool {
        self.tenant().is_none_or(|own| own == tenant)
    }
}

/// Who asks, and where the browser may go back to: what must be right before any answer is sent there.
pub(crate) struct Visitor {
    pub(crate) realm: Realm,
    pub(crate) app: Uuid,
    pub(crate) redirect_uri: Url,
    pub(crate) state: Option<String>,
}

impl Visitor {
    pub(crate) fn of(world: &World, tenant: &str, form: &Form) -> Result<Self, EntraProblem> {
        let realm = Realm::of(world, tenant)?;
        let client_id = form.required("client_id")?;
        let unknown = || EntraProblem::unknown_app(client_id, tenant);
        let app = Uuid::parse_str(client_id).map_err(|_| unknown())?;
        let registration = world.directory.app(app).ok_or_else(unknown)?;
        match (registration.home, realm) {
            (Some(_), Realm::Any) => return Err(EntraProblem::single_tenant(app)),
            (Some(home), Realm::One(tenant)) if home != tenant => return Err(unknown()),
            _ => {}
        }
        let redirect_uri = redirect_uri(&registration, form.required("redirect_uri")?, app)?;
        Ok(Self { realm, app, redirect_uri, state: form.get("state").map(str::to_owned) })
    }

    /// Sends the browser back with these parameters and the state.
    pub(crate) fn back(&self, parameters: &[(&str, &str)]) -> HttpResponse {
        let mut url = self.redirect_uri.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        if let Some(state) = &self.state {
            url.query_pairs_mut().append_pair("state", state);
        }
        HttpResponse::Found()
            .insert_header(("location", url.as_str()))
            .insert_header(("cache-control", "no-store"))
            .insert_header(("referrer-policy", "no-referrer"))
            .finish()
    }

    fn refuse(&self, error: &str, description: &str) -> HttpResponse {
        self.back(&[("error", error), ("error_description", description)])
    }

    /// The person that was chosen, if this endpoint knows them.
    pub(crate) fn person(&self, world: &World, form: &Form) -> Result<User, EntraProblem> {
        let chosen = form.get(PERSON).and_then(|id| Uuid::parse_str(id).ok());
        let found = chosen.and_then(|id| world.directory.user(id));
        match found.filter(|(user, _)| self.realm.holds(user.tenant)) {
            Some((user, true)) => Ok(user),
            Some((_, false)) => Err(EntraProblem::invalid_grant(50_057, "The user account is disabled.")),
            None => {
                Err(EntraProblem::invalid_grant(50_034, "The user account does not exist in the directory."))
            }
        }
    }
}

fn redirect_uri(registration: &Registration, text: &str, app: Uuid) -> Result<Url, EntraProblem> {
    let url = Url::parse(text).ok().filter(|url| registration.allows_redirect(url));
    url.ok_or_else(|| {
        let text = format!(
            "The redirect URI '{}' specified in the request does not match the redirect URIs configured for the \
             application '{app}'.",
            text.chars().take(200).collect::<String>()
        );
        EntraProblem::new(StatusCode::BAD_REQUEST, "invalid_request", 50_011, text)
    })
}

/// What is asked for, once it is sure whom to answer.
struct Wish {
    scopes: Scopes,
    challenge: String,
    nonce: Option<String>,
}

impl Wish {
    fn of(world: &World, form: &Form) -> Result<Self, (&'static str, String)> {
        let invalid = |text: &str| Err(("invalid_request", text.to_owned()));
        if form.get("state").is_none() {
            return invalid("AADSTS900144: The request must contain the following parameter: 'state'.");
        }
        if form.get("response_type") != Some("code") {
            let text = "AADSTS700054: The response_type is not enabled for the application.";
            return Err(("unsupported_response_type", text.to_owned()));
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return invalid("AADSTS70007: The value of 'response_mode' is not supported.");
        }
        if form.get("code_challenge_method") != Some("S256") {
            return invalid("AADSTS501491: The code_challenge_method must be S256.");
        }
        let challenge = form.get("code_challenge").filter(|challenge| is_challenge(challenge));
        let Some(challenge) = challenge else {
            return invalid("AADSTS501481: The code_challenge is missing or malformed.");
        };
        if form.get("prompt") == Some("none") {
            let text = "AADSTS50058: A silent sign-in request was sent but no user is signed in.";
            return Err(("login_required", text.to_owned()));
        }
        let text = form.get("scope").unwrap_or_default();
        let scopes = Scopes::parse(text, |resource| is_graph(world, resource)).ok_or_else(|| {
            (
                "invalid_scope",
                "AADSTS70011: The provided value for the input parameter 'scope' is not valid.".into(),
            )
        })?;
        Ok(Self { scopes, challenge: challenge.to_owned(), nonce: form.get("nonce").map(str::to_owned) })
    }
}

/// A SHA-256 in base64url.
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Shows the page.
pub(crate) async fn show(request: HttpRequest, world: Data<World>, tenant: Path<String>) -> HttpResponse {
    let work = async {
        let form = Form::parse(request.query_string().as_bytes());
        let visitor = match Visitor::of(&world, &tenant, &form) {
            Ok(visitor) => visitor,
            Err(problem) => return pages::refuse(&problem),
        };
        match Wish::of(&world, &form) {
            Ok(wish) => pages::ask(&Question {
                title: "Permissions requested",
                text: &format!("Application {} would like to: {}", visitor.app, wish.scopes.told()),
                people: &world.directory.users(visitor.realm.tenant()),
                tenants: &world.directory.tenants(),
                hint: form.get("login_hint"),
                carried: &form,
            }),
            Err((error, description)) => visitor.refuse(error, &description),
        }
    };
    world.perform(&request, Operation::Authorize, work).await
}

/// Takes the answer. All that the page carried is judged again: it came from the browser.
pub(crate) async fn decide(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
    body: Bytes,
) -> HttpResponse {
    let work = async {
        let form = Form::parse(&body);
        let visitor = match Visitor::of(&world, &tenant, &form) {
            Ok(visitor) => visitor,
            Err(problem) => return pages::refuse(&problem),
        };
        match Wish::of(&world, &form) {
            Ok(wish) => settle(&world, &visitor, wish, &form),
            Err((error, description)) => visitor.refuse(error, &description),
        }
    };
    world.perform(&request, Operation::Authorize, work).await
}

fn settle(world: &World, visitor: &Visitor, wish: Wish, form: &Form) -> HttpResponse {
    if form.get(DECISION) != Some("accept") {
        return visitor.back(&[
            ("error", "access_denied"),
            ("error_subcode", "cancel"),
            ("error_description", "AADSTS65004: User declined to consent to access the app."),
        ]);
    }
    let user = match visitor.person(world, form) {
        Ok(user) => user,
        Err(problem) => return pages::refuse(&problem),
    };
    let now = world.clock.now();
    if world.directory.standing(visitor.app, user.tenant, now) == Standing::Disabled {
        return pages::refuse(&EntraProblem::app_disabled(visitor.app));
    }
    let permit = Permit {
        app: visitor.app,
        tenant: user.tenant,
        user: user.id,
        scopes: wish.scopes,
        nonce: wish.nonce,
    };
    // As it was written: the token endpoint compares texts.
    let redirect_uri = form.get("redirect_uri").unwrap_or_default().to_owned();
    let code = world.sessions.allow(permit, redirect_uri, wish.challenge, now);
    visitor.back(&[("code", &code), ("session_state", &Uuid::new_v4().to_string())])
}
