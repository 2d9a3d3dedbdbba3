//! Connect sessions: made, found by what browsers and programs show, and used up by the connection that they bring.
//!
//! Whoever shows a link, a token or a state is in no environment yet, so these are looked up across environments, by
//! keyed hashes of secrets that nobody guesses. Everything that is written goes by [`TenantStore`].

mod finish;
mod row;
mod state;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_core::connect::{MOST_SESSIONS, SESSION_LIFE, Session, TOKEN_PREFIX, Wish};
use waypost_core::id::uuid_at;
use waypost_crypto::token::{LookupHash, Purpose};

pub use finish::Finished;
pub use state::{Begun, NewState, Taken};

use crate::audit::Change;
use crate::{Store, StoreError, TenantStore};
use row::SessionRow;

/// A session that is about to be made.
#[derive(Debug)]
pub struct NewSession {
    /// Its token, whole.
    pub token: SecretString,
    /// The last part of its link.
    pub link: SecretString,
    /// What it asks for.
    pub wish: Wish,
}

impl Store {
    /// The keyed hash of a secret that connecting works with.
    fn connect_hash(&self, purpose: Purpose, secret: &SecretString) -> LookupHash {
        self.hash_key().hash(purpose, secret.expose_secret().as_bytes())
    }

    /// The session of a link, whether it is still open or not.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn connect_session_by_link_across_environments(
        &self,
        link: &SecretString,
    ) -> Result<Option<Session>, StoreError> {
        let hash = self.connect_hash(Purpose::ConnectLink, link);
        let row = sqlx::query_as!(
            SessionRow,
            "SELECT s.id, s.environment_id, s.link, s.wish, s.expires_at, s.connected_at
             FROM connect_sessions s JOIN environments e ON e.id = s.environment_id AND e.deleted_at IS NULL
             WHERE s.link_hash = $1",
            hash.as_bytes(),
        )
        .fetch_optional(self.requests())
        .await?;
        row.map(|row| row.into_session(self)).transpose()
    }

    /// The open session of a token.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn connect_session_by_token_across_environments(
        &self,
        token: &SecretString,
    ) -> Result<Option<Session>, StoreError> {
        let hash = self.connect_hash(Purpose::ConnectToken, token);
        let row = sqlx::query_as!(
            SessionRow,
            "SELECT s.id, s.environment_id, s.link, s.wish, s.expires_at, s.connected_at
             FROM connect_sessions s JOIN environments e ON e.id = s.environment_id AND e.deleted_at IS NULL
             WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.connected_at IS NULL",
            hash.as_bytes(),
            self.clock().now(),
        )
        .fetch_optional(self.requests())
        .await?;
        row.map(|row| row.into_session(self)).transpose()
    }

    /// The session that a browser last began to sign in by.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn connect_session_of_browser_across_environments(
        &self,
        browser: &SecretString,
    ) -> Result<Option<Session>, StoreError> {
        let hash = self.connect_hash(Purpose::ConnectBrowser, browser);
        let row = sqlx::query_as!(
            SessionRow,
            "SELECT s.id, s.environment_id, s.link, s.wish, s.expires_at, s.connected_at
             FROM connect_sessions s JOIN environments e ON e.id = s.environment_id AND e.deleted_at IS NULL
             WHERE s.browser_hash = $1
             ORDER BY s.id DESC LIMIT 1",
            hash.as_bytes(),
        )
        .fetch_optional(self.requests())
        .await?;
        row.map(|row| row.into_session(self)).transpose()
    }

    /// What a form on our page holds to show that it was sent from there, by the browser that the page was made for.
    #[must_use]
    pub fn connect_form_mark(&self, session: Uuid, browser: &SecretString) -> LookupHash {
        let whole = SecretString::from(format!("{session} {}", browser.expose_secret()));
        self.connect_hash(Purpose::ConnectForm, &whole)
    }

    /// Forgets sessions that ended before `before`, with their states. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_connect_sessions_across_environments(
        &self,
        before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!("DELETE FROM connect_sessions WHERE expires_at < $1", before)
            .execute(self.requests())
            .await?;
        Ok(forgotten.rows_affected())
    }
}

impl TenantStore {
    /// Makes a session; tells when it ends. `None` when the environment has as many open ones as it may.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_connect_session(&self, new: NewSession) -> Result<Option<DateTime<Utc>>, StoreError> {
        let now = self.store.clock().now();
        let (id, ends) = (uuid_at(now), now + SESSION_LIFE);
        let token = self.store.connect_hash(Purpose::ConnectToken, &new.token);
        let link = self.store.connect_hash(Purpose::ConnectLink, &new.link);
        let mut tx = self.begin().await?;
        let made = sqlx::query!(
            "INSERT INTO connect_sessions (id, environment_id, token_hash, link_hash, link, wish, created_at, expires_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8
             WHERE (SELECT count(*) FROM connect_sessions
                    WHERE environment_id = $2 AND expires_at > $7 AND connected_at IS NULL) < $9",
            id,
            self.environment.uuid(),
            token.as_bytes(),
            link.as_bytes(),
            self.store.seal("connect_sessions", "link", id.as_bytes(), new.link.expose_secret().as_bytes()),
            row::kept(&new.wish)?,
            now,
            ends,
            MOST_SESSIONS,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if made == 0 {
            return Ok(None);
        }
        let detail = session_detail(&new.wish);
        let change = Change { action: "connect_session.create", object: &id.to_string(), detail };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Some(ends))
    }

    /// Ends a session: its link and its states lead nowhere from then on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_connect_session(&self, id: Uuid) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!(
            "DELETE FROM connect_sessions WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if deleted > 0 {
            let change =
                Change { action: "connect_session.delete", object: &id.to_string(), detail: json!({}) };
            self.record(&mut tx, change).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// What the audit log keeps of a session: whom it is for is personal, but for the id.
fn session_detail(wish: &Wish) -> Value {
    json!({
        "end_user": wish.end_user_id(),
        "allowed_integrations": wish.allowed,
        "reconnect": wish.reconnect,
        "token": format!("{TOKEN_PREFIX}***"),
    })
}
