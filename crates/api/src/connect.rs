//! The pages by which customers connect: a link's page, the way to the sign-in host and back, and waiting for a consent.
//!
//! For people in a browser, without credentials of ours: the link is what lets them in, a cookie ties them to it. Pages are
//! plain HTML, work without scripts, and may load nothing but their style sheet. Nothing that a query says is believed, and
//! nothing of it is shown but escaped. What is decided here: nothing; `waypost_upstream::connect` does.

mod browser;
mod page;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError as _, get, post, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::IntoParams;
use waypost_core::clock::SharedClock;
use waypost_core::connect::Session;
use waypost_core::integration::UniqueKey;
use waypost_crypto::token::constant_time_eq;
use waypost_postgres::Store;
use waypost_upstream::connect::onboarding::{Answer, Done, Next, Onboarding, Stopped, Visitor, check_open};
use waypost_upstream::connect::problem::{ConnectError, ConnectProblem};

use crate::error::{ApiError, chain};
use crate::extract::Path;
use crate::routes::routes;
use crate::surroundings::Surroundings;
use crate::trace::request_id;

use browser::Browser;
use page::{Choice, Page};

/// The style sheet of the pages.
const STYLE: &str = include_str!("connect/connect.css");
/// The largest form that is read.
const LARGEST_FORM: usize = 4096;
/// The longest value of a query that is read.
const LONGEST_VALUE: usize = 8192;

/// Names a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Link {
    /// The last part of the link.
    link: String,
}

/// What a page's form sends.
#[derive(Debug, Default)]
struct Form {
    integration: String,
    mark: String,
}

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            match name.as_ref() {
                "integration" => form.integration = value.into_owned(),
                "mark" => form.mark = value.into_owned(),
                _ => {}
            }
        }
        form
    }
}

/// What a handler works with: who is there, and how to answer.
struct Desk {
    request_id: String,
    browser: Browser,
    store: web::Data<Store>,
    onboarding: web::Data<Onboarding>,
    clock: web::Data<SharedClock>,
    surroundings: web::Data<Surroundings>,
}

impl FromRequest for Desk {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let desk = || {
            let surroundings = request.app_data::<web::Data<Surroundings>>()?.clone();
            let secure = surroundings.settings.public_url.scheme() == "https";
            Some(Self {
                request_id: request_id(request),
                browser: Browser::of(request.headers(), secure),
                store: request.app_data::<web::Data<Store>>()?.clone(),
                onboarding: request.app_data::<web::Data<Onboarding>>()?.clone(),
                clock: request.app_data::<web::Data<SharedClock>>()?.clone(),
                surroundings,
            })
        };
        ready(desk().ok_or_else(|| ApiError::internal("a part is missing from the application's data")))
    }
}

impl Desk {
    fn visitor(&self) -> Visitor {
        Visitor { browser: self.browser.known().cloned(), request_id: self.request_id.clone() }
    }

    fn page(&self) -> Page<'_> {
        Page { surroundings: &self.surroundings, request_id: &self.request_id }
    }

    fn see(&self, path: &str) -> HttpResponse {
        redirect(&self.surroundings.below_public_url(path))
    }

    /// Wakes whoever waits for the connection that was just made.
    fn tell(&self, done: &Done) {
        if done.upserted.is_some() {
            self.surroundings.connection_written(true);
        }
    }

    /// The session of a link, as long as it may be begun with.
    async fn open_session(&self, link: Link) -> Result<Session, ConnectError> {
        let link = SecretString::from(link.link);
        let session = self.store.connect_session_by_link_across_environments(&link).await?;
        let session = session.ok_or(ConnectProblem::UnknownLink)?;
        check_open(&session, self.clock.now())?;
        Ok(session)
    }

    /// What a form on the page of `session` holds when it was made for this browser.
    fn mark(&self, session: &Session, browser: &SecretString) -> String {
        URL_SAFE_NO_PAD.encode(self.store.connect_form_mark(session.id, browser).as_bytes())
    }

    /// A page that says why it doesn't go on, and leads back to the link where that helps.
    fn stopped(&self, error: &ConnectError, session: Option<&Session>) -> HttpResponse {
        match error {
            ConnectError::Problem(problem) => {
                let open = session.filter(|session| check_open(session, self.clock.now()).is_ok());
                self.page().problem(problem, open)
            }
            ConnectError::Store(error) => {
                tracing::error!(error = chain(error), "a page of somebody who connects failed");
                self.page().failure()
            }
        }
    }
}

fn redirect(url: &str) -> HttpResponse {
    page::headers(HttpResponse::SeeOther()).insert_header((LOCATION, url)).finish()
}

/// The page of a link
///
/// Offers what the session allows. HTML, for people.
#[utoipa::path(
    tag = "Connect",
    security(()),
    params(Link),
    responses(
        (status = 200, description = "What can be connected", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such link", body = String, content_type = "text/html"),
        (status = 410, description = "The link has expired, or was used", body = String, content_type = "text/html"),
    )
)]
#[get("/connect/{link}")]
async fn show_link(mut desk: Desk, link: Path<Link>) -> HttpResponse {
    let session = match desk.open_session(link.0).await {
        Ok(session) => session,
        Err(error) => return desk.stopped(&error, None),
    };
    let integrations = match desk.onboarding.offered(&session).await {
        Ok(integrations) => integrations,
        Err(error) => return desk.stopped(&error, None),
    };
    if integrations.is_empty() {
        return desk.stopped(&ConnectProblem::NotReady.into(), None);
    }
    let browser = desk.browser.settle().clone();
    let mark = desk.mark(&session, &browser);
    let choice = Choice { session: &session, integrations: &integrations, mark: &mark };
    desk.browser.keep(desk.page().choose(&choice))
}

/// Begin to connect
///
/// Sends the browser to the sign-in host. HTML, for people.
#[utoipa::path(
    tag = "Connect",
    security(()),
    params(Link),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that leads on", body = String, content_type = "text/html"),
        (status = 403, description = "The form was not sent from the link's page in this browser", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such link", body = String, content_type = "text/html"),
        (status = 410, description = "The link has expired, or was used", body = String, content_type = "text/html"),
    )
)]
#[post("/connect/{link}/start")]
async fn start_connecting(desk: Desk, link: Path<Link>, payload: web::Payload) -> HttpResponse {
    let session = match desk.open_session(link.0).await {
        Ok(session) => session,
        Err(error) => return desk.stopped(&error, None),
    };
    let form = match crate::extract::read(payload.into_inner(), LARGEST_FORM).await {
        Ok(bytes) => Form::parse(&bytes),
        Err(error) => return error.error_response(),
    };
    match begun(&desk, &session, form).await {
        Ok(url) => desk.page().leave(&url),
        // The link was just shown, so whoever holds it may be led back to it.
        Err(error) => desk.stopped(&error, Some(&session)),
    }
}

async fn begun(desk: &Desk, session: &Session, form: Form) -> Result<url::Url, ConnectError> {
    let browser = desk.browser.known().ok_or(ConnectProblem::OtherBrowser)?;
    if !constant_time_eq(desk.mark(session, browser).as_bytes(), form.mark.as_bytes()) {
        return Err(ConnectProblem::OtherBrowser.into());
    }
    let integration = UniqueKey::parse(form.integration).map_err(|_| ConnectProblem::NotOffered)?;
    desk.onboarding.begin(&desk.visitor(), session, &integration).await
}

/// Come back from the sign-in host
///
/// The redirect URI of app registrations: `{public_url}/oauth/callback`. HTML, for people.
#[utoipa::path(
    tag = "Connect",
    security(()),
    responses(
        (status = 303, description = "It goes on, at the sign-in host or at `/connect/progress`"),
        (status = 400, description = "It stopped; the page says why", body = String, content_type = "text/html"),
        (status = 403, description = "The sign-in began in another browser", body = String, content_type = "text/html"),
    )
)]
#[get("/oauth/callback")]
async fn come_back(desk: Desk, request: HttpRequest) -> HttpResponse {
    match desk.onboarding.returned(&desk.visitor(), &answer(request.query_string())).await {
        Ok(Next::Leave(url)) => redirect(url.as_str()),
        Ok(Next::Wait) => desk.see("connect/progress"),
        // Said on a page of its own, so that nothing of the way stays in the address.
        Ok(Next::Connected(done)) => {
            desk.tell(&done);
            desk.see("connect/progress")
        }
        Err(Stopped { error, session }) => desk.stopped(&error, session.as_deref()),
    }
}

/// Reads what a browser brought. A parameter that stands there twice counts as absent.
fn answer(query: &str) -> Answer {
    let value = |wanted: &str| {
        let mut found = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
        let (_, value) = found.next()?;
        (found.next().is_none() && value.len() <= LONGEST_VALUE).then(|| value.into_owned())
    };
    Answer {
        state: value("state").map(SecretString::from),
        code: value("code").map(SecretString::from),
        error: value("error"),
        error_description: value("error_description"),
        admin_consent: value("admin_consent"),
        tenant: value("tenant"),
    }
}

/// See how far it is
///
/// Tries out a consent, and says when the connection is there. HTML, for people.
#[utoipa::path(
    tag = "Connect",
    security(()),
    responses(
        (status = 200, description = "It goes on, or is done", body = String, content_type = "text/html"),
        (status = 400, description = "It stopped; the page says why", body = String, content_type = "text/html"),
        (status = 403, description = "Nothing began in this browser", body = String, content_type = "text/html"),
    )
)]
#[get("/connect/progress")]
async fn show_progress(desk: Desk) -> HttpResponse {
    match desk.onboarding.progress(&desk.visitor()).await {
        Ok(Next::Wait) => desk.page().wait(),
        Ok(Next::Leave(url)) => redirect(url.as_str()),
        Ok(Next::Connected(done)) => {
            desk.tell(&done);
            desk.page().connected(&done.session)
        }
        Err(Stopped { error, session }) => desk.stopped(&error, session.as_deref()),
    }
}

/// The pages' style sheet
#[utoipa::path(
    tag = "Connect",
    security(()),
    responses((status = 200, description = "The style sheet", body = String, content_type = "text/css"))
)]
#[get("/connect/assets/connect.css")]
async fn show_style() -> HttpResponse {
    HttpResponse::build(StatusCode::OK)
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(STYLE)
}

// What has a name of its own stands before the links, which take any.
routes![show_style, show_progress, come_back, start_connecting, show_link];

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn what_stands_twice_or_is_endless_counts_as_absent() {
        let found = answer("state=a&state=b&code=c%20d&error_description=%3Cb%3E&tenant=t");
        assert!(found.state.is_none());
        assert_eq!(found.code.unwrap().expose_secret(), "c d");
        assert_eq!(found.error_description.as_deref(), Some("<b>"));
        assert_eq!(found.tenant.as_deref(), Some("t"));
        assert!(found.error.is_none());
        assert!(answer(&format!("state={}", "a".repeat(LONGEST_VALUE + 1))).state.is_none());
    }
}
