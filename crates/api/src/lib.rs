//! The only HTTP handlers of Waypost: ingress, environment API, admin API, health and metrics.
//!
//! A handler is: extract, one call, respond. How to write a route:
//!
//! - A resource is one file in `routes/`, with its handlers, its views (what it shows, `Serialize + ToSchema`) and its
//!   inputs (`Deserialize + ToSchema`, `#[serde(deny_unknown_fields)]`). It ends with `routes![list, create, …];`, and
//!   stands in one of the two lists of [`mod@routes`]; that is all it takes to be served, documented and guarded. Handlers'
//!   names are the document's operation ids, so they are unique in the whole API.
//! - A handler has `#[utoipa::path(tag = …, security(("api_key" = [])), responses(…))]` above its actix attribute
//!   (`#[get("/things/{id}")]`), and returns `Result<HttpResponse, ApiError>`. Errors in the document: [`error::ErrorBody`].
//! - The first parameter says who may: [`auth::Authorized`]`<scope::EventsRead>` (gives `tenant`, and `caller.may(…)`),
//!   or [`auth::Viewer`] / [`auth::Operator`] in the admin API.
//! - The rest reads the request: [`extract::Body`], [`extract::Query`], [`extract::Path`] (a struct with the path's names),
//!   [`extract::Id`] (the parameter `id`), [`page::Paged`] (with `params(PageParams, …)`); [`page::Listed::of`] shows a list.
//! - What handlers need beside the store is a field of [`server::Parts`], put into the application's data.
//!
//! Must not: hold SQL, open connections to elsewhere, or decide what the domain can decide.

pub mod auth;
#[expect(unused_qualifications, reason = "the code that utoipa::path writes is not ours to shorten")]
mod connect;
pub mod error;
pub mod extract;
pub mod health;
pub mod ingress;
pub mod metrics;
pub mod openapi;
pub mod page;
#[expect(unused_qualifications, reason = "the code that utoipa::path writes is not ours to shorten")]
pub mod routes;
pub mod server;
pub mod surroundings;

mod credentials;
mod head;
mod nango;
mod time;
mod trace;

pub use error::ApiError;
pub use server::{Addresses, Api, Config, Handle, Parts};
pub use surroundings::Settings;
