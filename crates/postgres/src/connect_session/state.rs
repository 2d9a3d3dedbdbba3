//! States: what browsers take to the sign-in host and bring back, once.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::connect::{MOST_STATES, PROOF_EVERY, Session, SignInSecrets, State, Step};
use waypost_core::id::TenantId;
use waypost_core::integration::UniqueKey;
use waypost_crypto::token::{LookupHash, Purpose};
use zeroize::Zeroizing;

use super::row::SessionRow;
use crate::{Store, StoreError, TenantStore};

/// A state that is about to be left with.
#[derive(Debug)]
pub struct NewState<'a> {
    /// The session.
    pub session: Uuid,
    /// What the browser takes along; for a proof, what it will never have to show.
    pub state: &'a SecretString,
    /// The cookie of the browser.
    pub browser: &'a SecretString,
    /// The integration that is being connected.
    pub integration: &'a UniqueKey,
    /// How far it has come.
    pub step: &'a Step,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// What came of beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The browser may leave.
    Done,
    /// The session is used up, over or gone.
    SessionOver,
}

/// What a state stood for that was brought back. It is used up, whatever follows.
#[derive(Debug)]
pub enum Taken {
    /// Whoever brings it left with it.
    Known(Box<(Session, State)>),
    /// Another browser left with it.
    OtherBrowser,
    /// It was brought too late.
    Late(Box<Session>),
    /// Nobody left with it, or it was used before.
    Unknown,
}

/// A state's row with its session's.
struct StateRow {
    hash: Vec<u8>,
    unique_key: String,
    browser_hash: Vec<u8>,
    step: String,
    secrets: Option<Vec<u8>>,
    tenant_id: Option<Uuid>,
    state_expires_at: DateTime<Utc>,
    id: Uuid,
    environment_id: Uuid,
    link: Vec<u8>,
    wish: serde_json::Value,
    expires_at: DateTime<Utc>,
    connected_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct SecretsToSeal<'a> {
    verifier: &'a str,
    nonce: &'a str,
}

impl StateRow {
    fn into_parts(self, store: &Store) -> Result<(Session, State), StoreError> {
        let broken = |column| StoreError::inconsistent("connect_states", column, hex_of(&self.hash));
        let tenant = || self.tenant_id.map(TenantId::from_uuid).ok_or_else(|| broken("tenant_id"));
        let step = match self.step.as_str() {
            "sign_in" => {
                let sealed = self.secrets.as_deref().ok_or_else(|| broken("secrets"))?;
                let plain = store.open("connect_states", "secrets", &self.hash, sealed)?;
                let secrets: SignInSecrets = serde_json::from_slice(&plain).map_err(|_| broken("secrets"))?;
                Step::SignIn(secrets)
            }
            "consent" => Step::Consent(tenant()?),
            "proof" => Step::Proof(tenant()?),
            _ => return Err(broken("step")),
        };
        let integration = UniqueKey::parse(self.unique_key.as_str()).map_err(|_| broken("unique_key"))?;
        let session = SessionRow {
            id: self.id,
            environment_id: self.environment_id,
            link: self.link,
            wish: self.wish,
            expires_at: self.expires_at,
            connected_at: self.connected_at,
        };
        let expires_at = self.state_expires_at;
        Ok((session.into_session(store)?, State { integration, step, expires_at }))
    }
}

/// The beginning of a hash, to name a row by.
fn hex_of(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().take(4).fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

impl Store {
    /// Takes a state that a browser brings back, and so uses it up.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn take_connect_state_across_environments(
        &self,
        state: &SecretString,
        browser: Option<&SecretString>,
    ) -> Result<Taken, StoreError> {
        let hash = self.connect_hash(Purpose::ConnectState, state);
        // A proof is found by its browser alone: nobody was ever given its state.
        let row = sqlx::query_as!(
            StateRow,
            "DELETE FROM connect_states t USING connect_sessions s, environments e
             WHERE t.hash = $1 AND t.step <> 'proof' AND s.id = t.session_id
               AND e.id = t.environment_id AND e.deleted_at IS NULL
             RETURNING t.hash, t.unique_key, t.browser_hash, t.step, t.secrets, t.tenant_id,
                       t.expires_at AS state_expires_at, s.id, s.environment_id, s.link, s.wish, s.expires_at, s.connected_at",
            hash.as_bytes(),
        )
        .fetch_optional(self.requests())
        .await?;
        let Some(row) = row else { return Ok(Taken::Unknown) };
        let shown = browser.map(|browser| self.connect_hash(Purpose::ConnectBrowser, browser));
        if shown.is_none() || shown != LookupHash::try_from(row.browser_hash.as_slice()).ok() {
            return Ok(Taken::OtherBrowser);
        }
        let late = row.state_expires_at <= self.clock().now();
        let (session, state) = row.into_parts(self)?;
        if late { Ok(Taken::Late(Box::new(session))) } else { Ok(Taken::Known(Box::new((session, state)))) }
    }

    /// The consent that a browser waits for, and whether it is time to try it: then nobody else tries for a while.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn connect_proof_across_environments(
        &self,
        browser: &SecretString,
    ) -> Result<Option<(Session, State, bool)>, StoreError> {
        let now = self.clock().now();
        let hash = self.connect_hash(Purpose::ConnectBrowser, browser);
        let row = sqlx::query_as!(
            StateRow,
            "SELECT t.hash, t.unique_key, t.browser_hash, t.step, t.secrets, t.tenant_id, t.expires_at AS state_expires_at,
                    s.id, s.environment_id, s.link, s.wish, s.expires_at, s.connected_at
             FROM connect_states t
             JOIN connect_sessions s ON s.id = t.session_id
             JOIN environments e ON e.id = t.environment_id AND e.deleted_at IS NULL
             WHERE t.browser_hash = $1 AND t.step = 'proof'
             ORDER BY t.created_at DESC LIMIT 1",
            hash.as_bytes(),
        )
        .fetch_optional(self.requests())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let due = sqlx::query!(
            "UPDATE connect_states SET tried_at = $2 WHERE hash = $1 AND (tried_at IS NULL OR tried_at <= $3)",
            row.hash,
            now,
            now - PROOF_EVERY,
        )
        .execute(self.requests())
        .await?
        .rows_affected()
            > 0;
        let (session, state) = row.into_parts(self)?;
        Ok(Some((session, state, due)))
    }
}

impl TenantStore {
    /// Writes down that a browser leaves. A sign-in, which is what everything begins with, needs an open session; later
    /// steps only one that isn't used up, since people may take their time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_connect(&self, new: NewState<'_>) -> Result<Begun, StoreError> {
        let now = self.store.clock().now();
        let browser = self.store.connect_hash(Purpose::ConnectBrowser, new.browser);
        let begins = matches!(new.step, Step::SignIn(_));
        let mut tx = self.begin().await?;
        let open = sqlx::query!(
            "UPDATE connect_sessions SET browser_hash = $3
             WHERE environment_id = $1 AND id = $2 AND connected_at IS NULL AND (expires_at > $4 OR NOT $5)",
            self.environment.uuid(),
            new.session,
            browser.as_bytes(),
            now,
            begins,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if open == 0 {
            return Ok(Begun::SessionOver);
        }
        self.insert_state(&mut tx, &new, (browser, now)).await?;
        sqlx::query!(
            "DELETE FROM connect_states t WHERE t.environment_id = $1 AND t.hash IN (
                 SELECT hash FROM connect_states WHERE environment_id = $1 AND session_id = $2
                 ORDER BY created_at DESC, hash OFFSET $3)",
            self.environment.uuid(),
            new.session,
            MOST_STATES,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Begun::Done)
    }

    async fn insert_state(
        &self,
        tx: &mut PgConnection,
        new: &NewState<'_>,
        (browser, now): (LookupHash, DateTime<Utc>),
    ) -> Result<(), StoreError> {
        let hash = self.store.connect_hash(Purpose::ConnectState, new.state);
        let (step, tenant, secrets) = match new.step {
            Step::SignIn(secrets) => ("sign_in", None, Some(secrets)),
            Step::Consent(tenant) => ("consent", Some(*tenant), None),
            Step::Proof(tenant) => ("proof", Some(*tenant), None),
        };
        sqlx::query!(
            "INSERT INTO connect_states (hash, environment_id, session_id, unique_key, browser_hash, step, secrets, tenant_id,
                                         created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            hash.as_bytes(),
            self.environment.uuid(),
            new.session,
            new.integration.as_str(),
            browser.as_bytes(),
            step,
            secrets.map(|secrets| self.sealed(&hash, secrets)).transpose()?,
            tenant.map(TenantId::uuid) as Option<Uuid>,
            now,
            new.expires_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    fn sealed(&self, hash: &LookupHash, secrets: &SignInSecrets) -> Result<Vec<u8>, StoreError> {
        let plain = serde_json::to_vec(&SecretsToSeal {
            verifier: secrets.verifier.expose_secret(),
            nonce: secrets.nonce.expose_secret(),
        });
        let plain = plain.map_err(|_| StoreError::inconsistent("connect_states", "secrets", "(new)"))?;
        Ok(self.store.seal("connect_states", "secrets", hash.as_bytes(), &Zeroizing::new(plain)))
    }
}
