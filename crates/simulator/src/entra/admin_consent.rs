//! `/login/{tenant}/adminconsent` and `/login/{tenant}/v2.0/adminconsent`: the page on which an administrator lets an
//! application into a tenant.
//!
//! Must not prove anything to the application: what goes back in the address is as good as its bearer.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use chrono::TimeDelta;

use super::{
    authorize::Visitor,
    pages::{self, DECISION, Question},
    problem::EntraProblem,
    scopes::Scopes,
    token::{Form, is_graph},
};
use crate::{faults::Operation, world::World};

/// Which of the two endpoints: only the second knows scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Shows the page of the first endpoint.
pub(crate) async fn show_v1(request: HttpRequest, world: Data<World>, tenant: Path<String>) -> HttpResponse {
    let form = Form::parse(request.query_string().as_bytes());
    visit(&request, &world, (&tenant, Version::V1), &form).await
}

/// Takes the answer of the first endpoint's page.
pub(crate) async fn decide_v1(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
    body: Bytes,
) -> HttpResponse {
    visit(&request, &world, (&tenant, Version::V1), &Form::parse(&body)).await
}

/// Shows the page of the second endpoint.
pub(crate) async fn show_v2(request: HttpRequest, world: Data<World>, tenant: Path<String>) -> HttpResponse {
    let form = Form::parse(request.query_string().as_bytes());
    visit(&request, &world, (&tenant, Version::V2), &form).await
}

/// Takes the answer of the second endpoint's page.
pub(crate) async fn decide_v2(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
    body: Bytes,
) -> HttpResponse {
    visit(&request, &world, (&tenant, Version::V2), &Form::parse(&body)).await
}

async fn visit(
    request: &HttpRequest,
    world: &World,
    (tenant, version): (&str, Version),
    form: &Form,
) -> HttpResponse {
    let work = async {
        let answers = request.method() == actix_web::http::Method::POST;
        let outcome = check(world, tenant, version, form).and_then(|visitor| {
            if answers { settle(world, &visitor, version, form) } else { Ok(ask(world, &visitor, form)) }
        });
        outcome.unwrap_or_else(|problem| pages::refuse(&problem))
    };
    world.perform(request, Operation::AdminConsent, work).await
}

fn check(world: &World, tenant: &str, version: Version, form: &Form) -> Result<Visitor, EntraProblem> {
    let visitor = Visitor::of(world, tenant, form)?;
    if version == Version::V2 {
        let text = form.required("scope")?;
        Scopes::parse(text, |resource| is_graph(world, resource))
            .ok_or_else(|| EntraProblem::wrong_scope(text))?;
    }
    Ok(visitor)
}

fn ask(world: &World, visitor: &Visitor, form: &Form) -> HttpResponse {
    let mut people = world.directory.users(visitor.realm.tenant());
    people.retain(|person| person.admin);
    pages::ask(&Question {
        title: "Permissions requested: review for your organization",
        text: &format!(
            "Application {} would like access to the data of your whole organization.",
            visitor.app
        ),
        people: &people,
        tenants: &world.directory.tenants(),
        hint: form.get("login_hint"),
        carried: form,
    })
}

fn settle(
    world: &World,
    visitor: &Visitor,
    version: Version,
    form: &Form,
) -> Result<HttpResponse, EntraProblem> {
    if form.get(DECISION) != Some("accept") {
        let description = "AADSTS65004: User declined to consent to access the app.";
        return Ok(visitor.back(&[("error", "permission_denied"), ("error_description", description)]));
    }
    let person = visitor.person(world, form)?;
    if !person.admin {
        let text = "The administrator of the tenant has to consent; this user is none.";
        return Err(EntraProblem::new(StatusCode::FORBIDDEN, "access_denied", 90_094, text));
    }
    let delay = TimeDelta::seconds(i64::from(world.behaviour().consent_delay_seconds));
    world.directory.set_consent(visitor.app, person.tenant, Some(world.clock.now() + delay));
    let tenant = person.tenant.to_string();
    let mut parameters = vec![("admin_consent", "True"), ("tenant", tenant.as_str())];
    if version == Version::V2 {
        parameters.push(("scope", form.get("scope").unwrap_or_default()));
    }
    Ok(visitor.back(&parameters))
}
