//! `/admin/accounts`: accounts and the environments that they own.

use actix_web::{HttpResponse, get, post, web};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::account::{Account, Name};
use waypost_core::id::AccountId;
use waypost_postgres::Store;
use waypost_postgres::account::NewEnvironment;

use crate::auth::{Operator, Viewer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Id};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::environments::EnvironmentView;
use crate::routes::routes;
use crate::time::Time;

/// A new account or environment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// What people call it: 1 to 255 characters.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    name: Name,
}

/// A company that uses this Waypost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountView {
    #[schema(value_type = String, example = "acc_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: AccountId,
    #[schema(value_type = String)]
    name: Name,
    created_at: Time,
}

/// A new environment, with what is shown once only.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewEnvironment)]
pub(crate) struct NewEnvironmentView {
    #[serde(flatten)]
    environment: EnvironmentView,
    /// Its first API key, for everything in it. Shown this once.
    secret_key: String,
    /// The key that its webhooks are signed with. Shown this once.
    webhook_signing_key: String,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self { id: account.id, name: account.name, created_at: account.created_at.into() }
    }
}

impl From<NewEnvironment> for NewEnvironmentView {
    fn from(made: NewEnvironment) -> Self {
        Self {
            environment: made.environment.into(),
            secret_key: made.secret_key.expose_secret().to_owned(),
            webhook_signing_key: made.signing_key.expose().to_owned(),
        }
    }
}

/// Make an account
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    request_body = Named,
    responses(
        (status = 201, description = "The account", body = AccountView),
        (status = 400, description = "The name can't be one", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
    )
)]
#[post("/accounts")]
async fn create_account(
    operator: Operator,
    wanted: Body<Named>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let account = store.create_account(wanted.0.name, &operator.actor).await?;
    Ok(HttpResponse::Created().json(AccountView::from(account)))
}

/// List the accounts
///
/// The oldest first.
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(PageParams),
    responses(
        (status = 200, description = "A page of accounts", body = Listed<AccountView>),
        (status = 400, description = "The page can't be one", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
    )
)]
#[get("/accounts")]
async fn list_accounts(
    _viewer: Viewer,
    query: Paged<AccountId>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let listed = store.accounts(query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, AccountView::from)))
}

/// Get an account
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The account", body = AccountView),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 404, description = "No such account", body = ErrorBody),
    )
)]
#[get("/accounts/{id}")]
async fn get_account(
    _viewer: Viewer,
    id: Id<AccountId>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let account = existing(&store, id.0).await?;
    Ok(HttpResponse::Ok().json(AccountView::from(account)))
}

/// Make an environment
///
/// With a signing key and an API key, both shown this once, and the endpoints `primary` and `secondary`, without a URL yet.
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(("id" = String, Path, description = "The account's id")),
    request_body = Named,
    responses(
        (status = 201, description = "The environment and its keys", body = NewEnvironmentView),
        (status = 400, description = "The name can't be one", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
        (status = 404, description = "No such account", body = ErrorBody),
        (status = 409, description = "The account has an environment of that name", body = ErrorBody),
    )
)]
#[post("/accounts/{id}/environments")]
async fn create_environment(
    operator: Operator,
    id: Id<AccountId>,
    wanted: Body<Named>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let account = existing(&store, id.0).await?;
    let made = store.create_environment(account.id, wanted.0.name, &operator.actor).await?;
    Ok(HttpResponse::Created().json(NewEnvironmentView::from(made)))
}

/// List an account's environments
///
/// By name.
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(("id" = String, Path, description = "The account's id"), PageParams),
    responses(
        (status = 200, description = "A page of environments", body = Listed<EnvironmentView>),
        (status = 400, description = "The page can't be one", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 404, description = "No such account", body = ErrorBody),
    )
)]
#[get("/accounts/{id}/environments")]
async fn list_environments(
    _viewer: Viewer,
    id: Id<AccountId>,
    query: Paged<String>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let account = existing(&store, id.0).await?;
    let listed = store.environments(account.id, query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, EnvironmentView::from)))
}

async fn existing(store: &Store, id: AccountId) -> Result<Account, ApiError> {
    store.account(id).await?.ok_or_else(|| ApiError::not_found("There is no such account"))
}

routes![create_account, list_accounts, get_account, create_environment, list_environments];
