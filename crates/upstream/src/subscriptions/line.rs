//! A line to Graph: as whom it is called, with one fresh token where the first is refused.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId, TenantId};
use waypost_core::provider::graph::error::Meaning;
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::subscriptions::{At, CallError, GraphSubscription, Patch};

use super::{SubscriptionError, Subscriptions};
use crate::tokens::{Access, Freshness, TokenError};

/// Calls Graph as one connection.
#[derive(Debug)]
pub(super) struct Line<'a> {
    subscriptions: &'a Subscriptions,
    /// Whose token can be had anew; `None` for one that is gone.
    renewable: Option<(EnvironmentId, ConnectionKey)>,
    pub(super) access: Access,
    /// Why there was no other token when one was refused.
    no_other: Option<TokenError>,
}

/// Calls Graph, and once more with another token when the first is refused.
macro_rules! authorized {
    ($line:ident . $call:ident ( $($argument:expr),* )) => {{
        let first = $line.client().$call($line.at(), $($argument),*).await;
        if $line.gets_another_token(first.as_ref().err()).await {
            $line.client().$call($line.at(), $($argument),*).await
        } else {
            first
        }
    }};
}

impl<'a> Line<'a> {
    /// A line as `connection`.
    pub(super) async fn open(
        subscriptions: &'a Subscriptions,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<Self, TokenError> {
        let tokens = &subscriptions.inner.parts.tokens;
        let access = tokens.access(environment, connection, Freshness::Cached).await?;
        Ok(Self { subscriptions, renewable: Some((environment, connection)), access, no_other: None })
    }

    /// A line with a token that can't be had again.
    pub(super) const fn with(subscriptions: &'a Subscriptions, access: Access) -> Self {
        Self { subscriptions, renewable: None, access, no_other: None }
    }

    /// The tenant that Graph is called in.
    pub(super) fn tenant(&self) -> Result<TenantId, SubscriptionError> {
        self.access.tenant.ok_or(SubscriptionError::Token(TokenError::NoTenant))
    }

    pub(super) async fn create(
        &mut self,
        body: &Map<String, Value>,
        prefer: &[String],
    ) -> Result<GraphSubscription, CallError> {
        let created = authorized!(self.create_subscription(body, prefer));
        let outcome = match &created {
            Ok(_) => "created",
            Err(error) if error.leaves_unclear() => "unclear",
            Err(CallError::Unreachable(_)) => "unreachable",
            Err(_) => "refused",
        };
        metrics::counter!("waypost_subscription_creates_total", "outcome" => outcome).increment(1);
        created
    }

    pub(super) async fn patch(
        &mut self,
        id: Uuid,
        patch: &Patch<'_>,
    ) -> Result<GraphSubscription, CallError> {
        authorized!(self.patch_subscription(id, patch))
    }

    /// Deletes one; that it is gone already is as good.
    pub(super) async fn delete(&mut self, id: Uuid) -> Result<(), CallError> {
        let deleted = match authorized!(self.delete_subscription(id)) {
            Err(CallError::Refused(trouble)) if trouble.meaning == Meaning::Gone => Ok(()),
            outcome => outcome,
        };
        let outcome = if deleted.is_ok() { "deleted" } else { "failed" };
        metrics::counter!("waypost_subscription_deletes_total", "outcome" => outcome).increment(1);
        deleted
    }

    pub(super) async fn get(&mut self, id: Uuid) -> Result<GraphSubscription, CallError> {
        authorized!(self.get_subscription(id))
    }

    pub(super) async fn list(&mut self) -> Result<Vec<GraphSubscription>, CallError> {
        authorized!(self.list_subscriptions())
    }

    /// Why a call failed: where its token was refused and there is no other, why there is none.
    pub(super) fn why(&mut self, error: CallError) -> SubscriptionError {
        match (error, self.no_other.take()) {
            (CallError::Refused(trouble), Some(no_other)) if trouble.meaning == Meaning::Token => {
                no_other.into()
            }
            (error, _) => error.into(),
        }
    }

    fn client(&self) -> &TrustedClient {
        &self.subscriptions.inner.parts.client
    }

    fn at(&self) -> At<'_> {
        At { graph: &self.access.cloud.graph_url, token: &self.access.token, now: self.now() }
    }

    fn now(&self) -> DateTime<Utc> {
        self.subscriptions.now()
    }

    async fn gets_another_token(&mut self, error: Option<&CallError>) -> bool {
        let refused = matches!(error, Some(CallError::Refused(trouble)) if trouble.meaning == Meaning::Token);
        let (true, Some((environment, connection))) = (refused, self.renewable) else { return false };
        let tokens = &self.subscriptions.inner.parts.tokens;
        match tokens.access(environment, connection, Freshness::Instead(self.access.mark)).await {
            Ok(access) => {
                self.access = access;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "no other token is to be had");
                self.no_other = Some(error);
                false
            }
        }
    }
}

impl From<CallError> for SubscriptionError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(trouble) => Self::Graph(trouble),
            CallError::Unreachable(_) => Self::Unreachable,
            CallError::Unclear(_) => Self::Unclear,
        }
    }
}
