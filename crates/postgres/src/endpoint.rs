//! Endpoints as people see and change them.
//!
//! `primary` and `secondary` are rows from the start; without a URL they are no endpoint to anybody. An override belongs
//! to its connection and signs with the secret of `primary`. Moving what is on its way to an endpoint is the business of
//! [`crate::holding`]: here its own row is changed first, then that is called.

mod row;
mod secret;
mod switch;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use waypost_core::endpoint::{Endpoint, EndpointKind, EndpointUrl};
use waypost_core::filter::Filter;
use waypost_core::id::EndpointId;
use waypost_core::page::{Listed, Page};
use zeroize::Zeroizing;

pub(crate) use row::EndpointRow;
pub use secret::{Rotated, Rotation};

use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::{Store, StoreError, TenantStore};

/// The most custom endpoints that an environment may have: each event of it is routed past all of them.
pub const MOST_ENDPOINTS: i64 = 1000;

/// Why an endpoint can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The environment has [`MOST_ENDPOINTS`] custom endpoints.
    #[error("an environment has at most {MOST_ENDPOINTS} endpoints of its own making")]
    TooMany,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// An endpoint that is about to be made.
#[derive(Debug)]
pub struct NewEndpoint {
    /// Where to.
    pub url: EndpointUrl,
    /// What people write about it.
    pub description: String,
    /// Headers to add: names and values.
    pub headers: Vec<(String, SecretString)>,
    /// What it wants.
    pub filter: Filter,
}

/// What of an endpoint is changed; `None` leaves a part as it is.
#[derive(Debug, Default)]
pub struct EndpointChanges {
    /// Where to.
    pub url: Option<EndpointUrl>,
    /// What people write about it.
    pub description: Option<String>,
    /// Headers to add, in place of those before; one without a value keeps the value that it has.
    pub headers: Option<Vec<(String, Option<SecretString>)>>,
    /// What it wants.
    pub filter: Option<Filter>,
}

/// What came of changing an endpoint.
#[derive(Debug)]
pub enum Update {
    /// This is it now.
    Done(Box<Endpoint>),
    /// There is none of that id.
    Unknown,
    /// It has no header of that name whose value could be kept.
    NoSuchHeader(String),
}

/// What becomes of a URL that may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlChange {
    /// It is this one now.
    Set(EndpointUrl),
    /// There is none any more.
    Clear,
}

impl UrlChange {
    /// The new URL, if there is one.
    pub(crate) const fn url(&self) -> Option<&EndpointUrl> {
        match self {
            Self::Set(url) => Some(url),
            Self::Clear => None,
        }
    }
}

/// What becomes of deliveries that were held when their endpoint is enabled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// They go out.
    Deliver,
    /// They end.
    Discard,
}

impl TenantStore {
    /// Endpoints with a URL, the oldest first.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn list_endpoints(
        &self,
        page: &Page<EndpointId>,
    ) -> Result<Listed<Endpoint, EndpointId>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = EndpointRow::page(&mut tx, self.environment, page).await?;
        tx.commit().await?;
        let endpoints = rows.into_iter().map(EndpointRow::into_endpoint).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(endpoints, page.limit, |endpoint| endpoint.id))
    }

    /// One endpoint; `None` when there is none of that id, or it has no URL.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let mut tx = self.begin().await?;
        let row = EndpointRow::find(&mut tx, self.environment, id).await?;
        tx.commit().await?;
        row.map(EndpointRow::into_endpoint).transpose()
    }

    /// Makes an endpoint, with a new signing secret.
    ///
    /// # Errors
    /// [`EndpointError::TooMany`] when there are as many as there may be; when the store fails.
    pub async fn create_endpoint(&self, new: NewEndpoint) -> Result<Endpoint, EndpointError> {
        let mut tx = self.begin().await?;
        if self.custom_endpoints(&mut tx).await? >= MOST_ENDPOINTS {
            return Err(EndpointError::TooMany);
        }
        let made = self.insert_endpoint(&mut tx, &new).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(made)
    }

    /// How many custom endpoints there are. Holds up others who make one here, so that the count stays true.
    async fn custom_endpoints(&self, tx: &mut PgConnection) -> Result<i64, StoreError> {
        sqlx::query!("SELECT id FROM environments WHERE id = $1 FOR NO KEY UPDATE", self.environment.uuid())
            .fetch_optional(&mut *tx)
            .await?;
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM endpoints WHERE environment_id = $1 AND kind = 'custom'"#,
            self.environment.uuid(),
        );
        Ok(count.fetch_one(tx).await?)
    }

    async fn insert_endpoint(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        new: &NewEndpoint,
    ) -> Result<Endpoint, StoreError> {
        let now = self.store.clock().now();
        let id = EndpointId::at(now);
        sqlx::query!(
            "INSERT INTO endpoints (id, environment_id, kind, url, description, headers, header_names, filter,
                                    created_at, updated_at)
             VALUES ($1, $2, 'custom', $3, $4, $5, $6, $7, $8, $8)",
            id.uuid(),
            self.environment.uuid(),
            new.url.as_str(),
            new.description,
            self.sealed_headers(id, &new.headers),
            &header_names(&new.headers),
            filter_value(&new.filter),
            now,
        )
        .execute(&mut **tx)
        .await?;
        self.insert_secret(tx, id).await?;
        let detail = json!({
            "url": new.url.as_str(),
            "description": new.description,
            "headers": header_names(&new.headers),
            "filter": new.filter.spec(),
        });
        self.record(tx, Change { action: "endpoint.create", object: &id.to_string(), detail }).await?;
        self.existing(tx, id).await
    }

    /// Changes an endpoint. One that its URL had disabled is enabled by another URL, and what was held goes out.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn update_endpoint(
        &self,
        id: EndpointId,
        changes: EndpointChanges,
    ) -> Result<Update, StoreError> {
        let (update, enabled) = retry_conflicts(|| self.try_update_endpoint(id, &changes)).await?;
        if enabled {
            self.release_deliveries(id).await?;
        }
        Ok(update)
    }

    async fn try_update_endpoint(
        &self,
        id: EndpointId,
        changes: &EndpointChanges,
    ) -> Result<(Update, bool), StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = EndpointRow::lock(&mut tx, self.environment, id).await? else {
            return Ok((Update::Unknown, false));
        };
        let headers = match &changes.headers {
            Some(headers) => match self.merged_headers(&mut tx, id, headers).await? {
                Ok(merged) => Some(merged),
                Err(missing) => return Ok((Update::NoSuchHeader(missing), false)),
            },
            None => None,
        };
        let enabled = match &changes.url {
            Some(url) => self.enable_for_new_url(&mut tx, id, url).await?,
            None => false,
        };
        self.write_changes(&mut tx, id, changes, headers.as_deref()).await?;
        if let (Some(connection), Some(url)) = (row.connection, &changes.url) {
            self.write_override(&mut tx, connection, Some(url.as_str())).await?;
        }
        let mut detail = serde_json::Map::new();
        let mut note = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                detail.insert(name.to_owned(), value);
            }
        };
        note("url", changes.url.as_ref().map(|url| json!(url.as_str())));
        note("description", changes.description.as_ref().map(|text| json!(text)));
        note("headers", headers.as_ref().map(|headers| json!(header_names(headers))));
        note("filter", changes.filter.as_ref().map(|filter| json!(filter.spec())));
        let detail = Value::Object(detail);
        self.record(&mut tx, Change { action: "endpoint.update", object: &id.to_string(), detail }).await?;
        let endpoint = self.existing(&mut tx, id).await?;
        tx.commit().await?;
        Ok((Update::Done(Box::new(endpoint)), enabled))
    }

    async fn write_changes(
        &self,
        tx: &mut PgConnection,
        id: EndpointId,
        changes: &EndpointChanges,
        headers: Option<&[(String, SecretString)]>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE endpoints SET
                 url = coalesce($3, url), description = coalesce($4, description), filter = coalesce($5, filter),
                 headers = CASE WHEN $6 THEN $7 ELSE headers END,
                 header_names = CASE WHEN $6 THEN $8 ELSE header_names END,
                 updated_at = $9
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            changes.url.as_ref().map(EndpointUrl::as_str),
            changes.description,
            changes.filter.as_ref().map(filter_value),
            headers.is_some(),
            headers.and_then(|headers| self.sealed_headers(id, headers)),
            &headers.map(header_names).unwrap_or_default(),
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Deletes an endpoint and ends what is on its way to it. Of `primary` and `secondary` the URL goes, of an override
    /// the connection's wish as well. False when there is none of that id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_endpoint(&self, id: EndpointId) -> Result<bool, StoreError> {
        let deleted = retry_conflicts(|| self.try_delete_endpoint(id)).await?;
        if deleted {
            self.discard_deliveries(id).await?;
        }
        Ok(deleted)
    }

    async fn try_delete_endpoint(&self, id: EndpointId) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = EndpointRow::lock(&mut tx, self.environment, id).await? else { return Ok(false) };
        match row.kind()? {
            EndpointKind::Primary | EndpointKind::Secondary => self.clear_url(&mut tx, id).await?,
            EndpointKind::Override | EndpointKind::Custom => self.delete_row(&mut tx, id).await?,
        }
        if let Some(connection) = row.connection {
            self.write_override(&mut tx, connection, None).await?;
        }
        let detail = json!({ "kind": row.kind()?.as_str(), "url": row.url });
        self.record(&mut tx, Change { action: "endpoint.delete", object: &id.to_string(), detail }).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes the URL of `primary` or `secondary` away; whatever had disabled it goes with it.
    pub(crate) async fn clear_url(&self, tx: &mut PgConnection, id: EndpointId) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE endpoints SET url = NULL, status = 'enabled', disabled_reason = NULL, disabled_at = NULL, updated_at = $3
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_row(&self, tx: &mut PgConnection, id: EndpointId) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM endpoints WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid()
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Keeps a connection's `webhook_url_override` true to the endpoint that stands for it.
    async fn write_override(
        &self,
        tx: &mut PgConnection,
        connection: i64,
        url: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE connections SET webhook_url_override = $3, updated_at = $4 WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            connection,
            url,
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// The endpoint of a row that this transaction has written.
    async fn existing(&self, tx: &mut PgConnection, id: EndpointId) -> Result<Endpoint, StoreError> {
        let row = EndpointRow::find(tx, self.environment, id).await?;
        row.ok_or_else(|| StoreError::inconsistent("endpoints", "id", id))?.into_endpoint()
    }

    /// The headers that `wanted` comes to, or the name of one that has no value to keep.
    async fn merged_headers(
        &self,
        tx: &mut PgConnection,
        id: EndpointId,
        wanted: &[(String, Option<SecretString>)],
    ) -> Result<Result<Vec<(String, SecretString)>, String>, StoreError> {
        let mut kept = BTreeMap::new();
        if wanted.iter().any(|(_, value)| value.is_none()) {
            let sealed = sqlx::query_scalar!(
                "SELECT headers FROM endpoints WHERE environment_id = $1 AND id = $2",
                self.environment.uuid(),
                id.uuid(),
            );
            if let Some(sealed) = sealed.fetch_one(tx).await? {
                kept.extend(open_headers(&self.store, id, &sealed)?);
            }
        }
        let merged = wanted.iter().map(|(name, value)| {
            let value = value.clone().or_else(|| kept.get(name).cloned()).ok_or_else(|| name.clone())?;
            Ok((name.clone(), value))
        });
        Ok(merged.collect())
    }

    fn sealed_headers(&self, id: EndpointId, headers: &[(String, SecretString)]) -> Option<Vec<u8>> {
        let pairs: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        let text = Zeroizing::new(json!(pairs).to_string());
        (!pairs.is_empty())
            .then(|| self.store.seal("endpoints", "headers", id.uuid().as_bytes(), text.as_bytes()))
    }
}

/// Headers as [`TenantStore::sealed_headers`] has sealed them.
pub(crate) fn open_headers(
    store: &Store,
    id: EndpointId,
    sealed: &[u8],
) -> Result<Vec<(String, SecretString)>, StoreError> {
    let plain = store.open("endpoints", "headers", id.uuid().as_bytes(), sealed)?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::inconsistent("endpoints", "headers", id))
}

fn header_names(headers: &[(String, SecretString)]) -> Vec<String> {
    headers.iter().map(|(name, _)| name.clone()).collect()
}

fn filter_value(filter: &Filter) -> Value {
    json!(filter.spec())
}
