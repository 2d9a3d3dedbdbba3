//! What the pages look like. Everything that comes from elsewhere goes through the template's escaping.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use maud::{DOCTYPE, Markup, html};
use secrecy::ExposeSecret as _;
use url::Url;
use waypost_core::connect::Session;
use waypost_core::integration::Integration;
use waypost_core::provider::catalogue::AuthMode;
use waypost_upstream::connect::problem::ConnectProblem;

use crate::surroundings::Surroundings;

/// Nothing is loaded but our style sheet, nothing is sent but to us, and nobody frames it. Forms lead to a page of ours
/// that leads on, since browsers hold every redirect of a form against this too, and sign-in hosts redirect as they like.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// How often a page that waits is loaded again, in seconds.
const REFRESH: u32 = 3;

/// Makes pages.
pub(super) struct Page<'a> {
    pub(super) surroundings: &'a Surroundings,
    pub(super) request_id: &'a str,
}

/// What can be connected by a link.
pub(super) struct Choice<'a> {
    pub(super) session: &'a Session,
    pub(super) integrations: &'a [Integration],
    /// What shows that the form was sent from this page.
    pub(super) mark: &'a str,
}

/// Headers of every answer to a browser.
pub(super) fn headers(mut answer: HttpResponseBuilder) -> HttpResponseBuilder {
    answer
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"));
    answer
}

impl Page<'_> {
    /// The page of a link.
    pub(super) fn choose(&self, choice: &Choice<'_>) -> HttpResponse {
        let wish = &choice.session.wish;
        let title = match choice.integrations {
            [only] => format!("Connect {}", only.display_name),
            _ => "Choose what to connect".to_owned(),
        };
        let action = self
            .surroundings
            .below_public_url(&format!("connect/{}/start", choice.session.link.expose_secret()));
        let body = html! {
            h1 { (title) }
            @if let Some(name) = wish.end_user_name() {
                p { "You are connecting your organization's Microsoft account for " strong { (name) } "." }
            }
            @if wish.reconnect.is_some() {
                p { "The connection is already there; this renews its sign-in." }
            }
            ul class="choices" {
                @for integration in choice.integrations {
                    li {
                        form method="post" action=(action) {
                            input type="hidden" name="mark" value=(choice.mark);
                            input type="hidden" name="integration" value=(integration.unique_key);
                            (what_happens(integration))
                            button type="submit" {
                                @if choice.integrations.len() == 1 { "Continue with Microsoft" }
                                @else { "Connect " (integration.display_name) }
                            }
                        }
                        @if let Some(docs) = wish.docs.get(&integration.unique_key) {
                            p class="quiet" {
                                a href=(docs) target="_blank" rel="noopener noreferrer" { "Help with " (integration.display_name) }
                            }
                        }
                    }
                }
            }
            p class="quiet" { "Go on only if you came here from a company that you trust. This link works once, for half an hour." }
        };
        self.answer(StatusCode::OK, &title, &html! {}, &body)
    }

    /// The page that leads to the sign-in host.
    pub(super) fn leave(&self, url: &Url) -> HttpResponse {
        let title = "Continuing to Microsoft";
        let head = html! { meta http-equiv="refresh" content=(format!("0;url={url}")); };
        let body = html! {
            h1 { (title) }
            p role="status" { "Your browser is being sent to the sign-in page." }
            p { a class="button" id="continue" href=(url) { "Continue" } }
        };
        self.answer(StatusCode::OK, title, &head, &body)
    }

    /// The page that waits for a consent.
    pub(super) fn wait(&self) -> HttpResponse {
        let title = "Almost done";
        let head = html! { meta http-equiv="refresh" content=(REFRESH); };
        let body = html! {
            h1 { (title) }
            p role="status" { "Thank you. Microsoft is putting your consent into effect; this can take a few minutes." }
            p class="quiet" { "This page looks again by itself. Please leave it open." }
        };
        self.answer(StatusCode::OK, title, &head, &body)
    }

    /// The page at the end.
    pub(super) fn connected(&self, session: &Session) -> HttpResponse {
        let body = html! {
            h1 class="good" id="connected" { "Connected" }
            p role="status" {
                "Your organization is connected"
                @if let Some(name) = session.wish.end_user_name() { " for " strong { (name) } }
                "."
            }
            p { "You can close this window." }
        };
        self.answer(StatusCode::OK, "Connected", &html! {}, &body)
    }

    /// The page that says why it doesn't go on. `open` is the session to begin again with.
    pub(super) fn problem(&self, problem: &ConnectProblem, open: Option<&Session>) -> HttpResponse {
        let again = open.filter(|_| !matches!(problem, ConnectProblem::UnknownLink));
        let body = html! {
            h1 class="bad" id="problem" { (problem.title()) }
            p role="alert" { (problem.advice()) }
            @if let Some(said) = problem.said() {
                p { "Microsoft's page said:" }
                blockquote { (said) }
            }
            @if let Some(session) = again {
                p { a class="button" id="again" href=(self.link(session)) { "Start again" } }
            }
            p class="quiet" {
                @if let Some(number) = problem.number() { "Microsoft's number: AADSTS" (number) ". " }
                "Reference: " (problem.word()) " " (self.request_id)
            }
        };
        self.answer(status_of(problem), problem.title(), &html! {}, &body)
    }

    /// The page for what must not happen.
    pub(super) fn failure(&self) -> HttpResponse {
        let title = "This didn't work just now";
        let body = html! {
            h1 class="bad" id="problem" { (title) }
            p role="alert" { "The fault is on our side. Please load this page again in a minute, or begin again." }
            p class="quiet" { "Reference: " (self.request_id) }
        };
        self.answer(StatusCode::SERVICE_UNAVAILABLE, title, &html! {}, &body)
    }

    fn link(&self, session: &Session) -> String {
        self.surroundings.below_public_url(&format!("connect/{}", session.link.expose_secret()))
    }

    fn answer(&self, status: StatusCode, title: &str, head: &Markup, body: &Markup) -> HttpResponse {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    (head)
                    title { (title) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(self.surroundings.below_public_url("connect/assets/connect.css"));
                }
                body { main { (body) } }
            }
        };
        headers(HttpResponse::build(status))
            .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(page.into_string())
    }
}

/// What a person is about to do.
fn what_happens(integration: &Integration) -> Markup {
    match integration.provider.auth_mode() {
        AuthMode::Delegated => html! {
            p { "You sign in with your work or school account, and allow access in your name." }
        },
        AuthMode::ClientCredentials | AuthMode::Certificate => html! {
            p { "You sign in with a work account of your organization. An administrator then allows access for the whole organization." }
        },
    }
}

const fn status_of(problem: &ConnectProblem) -> StatusCode {
    match problem {
        ConnectProblem::UnknownLink => StatusCode::NOT_FOUND,
        ConnectProblem::SessionExpired | ConnectProblem::SessionUsed => StatusCode::GONE,
        ConnectProblem::OtherBrowser => StatusCode::FORBIDDEN,
        ConnectProblem::Unreachable | ConnectProblem::Misconfigured { .. } => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    }
}
