//! Deleting at Graph what nobody here wants any more, with the credentials that it was left with.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use waypost_core::provider::graph::error::Meaning;
use waypost_core::provider::graph::resource::Resource;
use waypost_crypto::token::Purpose;
use waypost_egress::graph::subscriptions::{CallError, GraphSubscription};
use waypost_postgres::StoreError;
use waypost_postgres::subscription::deletion::DueDeletion;

use super::line::Line;
use super::{SubscriptionError, Subscriptions};

/// For how long one note is somebody's.
const LEASE: TimeDelta = TimeDelta::minutes(3);
/// How many are taken at a time, and worked on at once.
const BATCH: i64 = 32;
const AT_ONCE: usize = 8;
/// How long a create that was in flight may still appear in Graph's list.
const MAY_APPEAR_FOR: TimeDelta = TimeDelta::minutes(15);

impl Subscriptions {
    /// Deletes at Graph what is due, or `only` one; tells how many there were. What fails is tried again later.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn clean(&self, only: Option<Uuid>) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let due = self.store().take_graph_deletions_across_environments(BATCH, LEASE, only).await?;
            let taken = due.len();
            futures_util::stream::iter(due)
                .for_each_concurrent(AT_ONCE, async |note| {
                    if let Err(error) = self.clean_one(&note).await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "what must be deleted at Graph could not be looked after; it is tried again"
                        );
                    }
                })
                .await;
            count += taken;
            if i64::try_from(taken).is_ok_and(|taken| taken < BATCH) {
                return Ok(count);
            }
        }
    }

    async fn clean_one(&self, note: &DueDeletion) -> Result<(), StoreError> {
        let store = self.store();
        if note.give_up_at <= self.now() {
            tracing::info!(environment = %note.environment, "a subscription ended at Graph before it was deleted");
            return store.finish_graph_deletion_across_environments(note.id).await;
        }
        match self.delete_at_graph(note).await {
            Ok(true) => store.finish_graph_deletion_across_environments(note.id).await,
            Ok(false) => self.postpone(note, &SubscriptionError::Unclear).await,
            Err(SubscriptionError::Store(error)) => Err(error),
            Err(error) => self.postpone(note, &error).await,
        }
    }

    async fn postpone(&self, note: &DueDeletion, error: &SubscriptionError) -> Result<(), StoreError> {
        tracing::info!(environment = %note.environment, %error, "a subscription is not yet deleted at Graph");
        let (due_at, kept) = (next_try(note, self.now()), error.as_last_error(self.now()));
        self.store().postpone_graph_deletion_across_environments(note.id, due_at, &kept).await
    }

    /// Whether it is gone for good.
    async fn delete_at_graph(&self, note: &DueDeletion) -> Result<bool, SubscriptionError> {
        let mut line = if note.connection_lives {
            Line::open(self, note.environment, note.connection).await?
        } else {
            let sign_in = note.sign_in(self.store())?;
            Line::with(self, self.inner.parts.tokens.access_once(note.environment, &sign_in).await?)
        };
        if let Some(id) = note.graph_id {
            self.delete_unwanted(&mut line, id).await?;
            return Ok(true);
        }
        // Its create was in flight: whether there is anything to delete, the list tells, late at times.
        for listed in line.list().await?.iter().filter(|listed| may_be(listed, note)) {
            match line.get(listed.id).await {
                Ok(found) if self.is(&found, note) => {
                    self.delete_unwanted(&mut line, found.id).await?;
                    return Ok(true);
                }
                Ok(_) => {}
                Err(CallError::Refused(trouble)) if trouble.meaning == Meaning::Gone => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.now() - note.created_at > MAY_APPEAR_FOR)
    }

    /// Deletes one at Graph, unless it was adopted since: then it is wanted again. Nobody adopts it while the note is
    /// taken.
    async fn delete_unwanted(&self, line: &mut Line<'_>, id: Uuid) -> Result<(), SubscriptionError> {
        if self.store().find_holder_across_environments(id).await?.is_none() {
            line.delete(id).await?;
        }
        Ok(())
    }

    fn is(&self, found: &GraphSubscription, note: &DueDeletion) -> bool {
        let state = found.client_state.as_ref().map(SecretString::expose_secret);
        let hash = |state: &str| self.store().hash_key().hash(Purpose::ClientState, state.as_bytes());
        state.is_some_and(|state| hash(state) == note.state)
    }
}

fn may_be(listed: &GraphSubscription, note: &DueDeletion) -> bool {
    let resource = listed.resource.as_deref().and_then(|text| Resource::parse(text).ok());
    listed.notification_url == note.notification_url
        && resource.as_ref().map(Resource::key) == note.resource_key.as_deref()
}

/// Half a minute, doubling to an hour.
fn next_try(note: &DueDeletion, now: DateTime<Utc>) -> DateTime<Utc> {
    let doubled = TimeDelta::seconds(30) * (1 << (note.tries - 1).clamp(0, 7));
    now + doubled.min(TimeDelta::hours(1))
}
