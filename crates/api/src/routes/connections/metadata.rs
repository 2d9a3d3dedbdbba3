//! The customer's own data on connections.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use waypost_core::connection::ConnectionId;
use waypost_core::integration::UniqueKey;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::{MetadataChange, MetadataOutcome};

use crate::error::ApiError;

/// The most connections that one request changes.
const MOST: usize = 1000;

/// Metadata for one connection or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MetadataChange)]
pub(super) struct MetadataBody {
    pub(super) connection_id: OneOrMore,
    pub(super) provider_config_key: String,
    #[schema(value_type = Object)]
    pub(super) metadata: Map<String, Value>,
}

/// One id or a list of them.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "must be an id or a list of ids")]
pub(super) enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// What was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metadata)]
pub(super) struct MetadataEcho {
    metadata: Map<String, Value>,
    connection_id: OneOrMore,
    provider_config_key: String,
}

/// Changes metadata and gives back what was sent.
pub(super) async fn change(
    tenant: &TenantStore,
    body: MetadataBody,
    how: MetadataChange,
) -> Result<MetadataEcho, ApiError> {
    let ids = match &body.connection_id {
        OneOrMore::One(id) => std::slice::from_ref(id),
        OneOrMore::More(ids) => ids.as_slice(),
    };
    if !(1..=MOST).contains(&ids.len()) {
        return Err(ApiError::invalid_field(&["connection_id"], format!("1 to {MOST} ids are wanted")));
    }
    let unknown = |id: &str| unknown_connection(id, &body.provider_config_key, ids.len());
    let parsed = ids.iter().map(|id| ConnectionId::parse(id.as_str()).map_err(|_| unknown(id)));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let key = UniqueKey::parse(body.provider_config_key.as_str()).map_err(|_| unknown(&ids[0]))?;
    match tenant.change_metadata(&key, &parsed, &body.metadata, how).await? {
        MetadataOutcome::Unknown(id) => Err(unknown(id.as_str())),
        MetadataOutcome::Done => Ok(MetadataEcho {
            metadata: body.metadata,
            connection_id: body.connection_id,
            provider_config_key: body.provider_config_key,
        }),
    }
}

fn unknown_connection(id: &str, key: &str, asked: usize) -> ApiError {
    let mut message = format!(
        "Connection with connection id {id} and provider config key {key} not found. Please make sure the connection \
         exists in the Nango dashboard"
    );
    if asked > 1 {
        message.push_str(". No actions were taken on any of the connections as a result of this failure.");
    }
    ApiError::NotFound { code: "unknown_connection", message }
}
