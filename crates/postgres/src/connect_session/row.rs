//! Rows of `connect_sessions`, and what they mean.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use waypost_core::connect::{Session, Wish};
use waypost_core::id::EnvironmentId;

use crate::{Store, StoreError};

/// A session's row, its link still sealed.
#[derive(Debug)]
pub(super) struct SessionRow {
    pub(super) id: Uuid,
    pub(super) environment_id: Uuid,
    pub(super) link: Vec<u8>,
    pub(super) wish: Value,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) connected_at: Option<DateTime<Utc>>,
}

impl SessionRow {
    pub(super) fn into_session(self, store: &Store) -> Result<Session, StoreError> {
        let wish: Wish = serde_json::from_value(self.wish)
            .map_err(|_| StoreError::inconsistent("connect_sessions", "wish", self.id))?;
        Ok(Session {
            id: self.id,
            environment: EnvironmentId::from_uuid(self.environment_id),
            link: store.open_text("connect_sessions", "link", self.id.as_bytes(), &self.link)?,
            wish,
            expires_at: self.expires_at,
            connected_at: self.connected_at,
        })
    }
}

/// A wish as it is stored.
pub(super) fn kept(wish: &Wish) -> Result<Value, StoreError> {
    serde_json::to_value(wish).map_err(|_| StoreError::inconsistent("connect_sessions", "wish", "(new)"))
}
