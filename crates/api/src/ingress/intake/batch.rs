//! One batch: requests judged together, stored in one commit, and answered.
//!
//! The steps are methods of [`Batch`], in their order; each asks the store at most once, whatever the batch's size.
//! Must not answer anybody before the commit, nor let one environment's look-ups reach another's request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use metrics::histogram;
use waypost_core::id::{EnvironmentId, IntegrationId};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::graph::Collection;
use waypost_core::provider::{
    Answer, Draft, Facts, IntegrationFacts, Judgement, Reading, Request, Routes, Wants,
};
use waypost_core::rejection::Rejection;
use waypost_postgres::resolve::{Found, WantsByIntegration};
use waypost_postgres::{Store, StoreError};

use super::placing::{Placed, Placing};
use super::{FlushError, Flusher};

/// What is stored of several requests in one commit at most: a body is there once for each connection of its tenant.
const MOST_BYTES: usize = 32 * 1024 * 1024;

type Resolved = HashMap<(EnvironmentId, UniqueKey), Found>;

/// What became of a batch that is on disk: an answer for each request, in their order, and what follows from it.
pub(super) struct Stored {
    pub(super) answers: Vec<Answer>,
    pub(super) rejections: Vec<RefusedParts>,
    pub(super) placed: Placed,
}

/// What was refused of one request.
pub(in crate::ingress) struct RefusedParts {
    pub(in crate::ingress) environment: EnvironmentId,
    pub(in crate::ingress) integration: IntegrationId,
    pub(in crate::ingress) received_at: DateTime<Utc>,
    pub(in crate::ingress) rejections: Vec<Rejection>,
}

/// A batch on its way into the store.
pub(super) struct Batch<'a> {
    flusher: &'a Flusher,
    requests: &'a [&'a Request],
    now: DateTime<Utc>,
}

/// A request after reading.
enum Read<'a> {
    /// To be judged.
    Known(&'a IntegrationFacts, Reading<'a>),
    /// The provider could not read it.
    Unreadable(&'a IntegrationFacts, Judgement),
    /// It is for nobody that is known.
    Stray(Answer),
}

/// A request after judging: what is to be stored of it, and for whom.
struct Judged<'a> {
    request: &'a Request,
    integration: Option<&'a IntegrationFacts>,
    judgement: Judgement,
}

impl<'a> Batch<'a> {
    pub(super) fn new(flusher: &'a Flusher, requests: &'a [&'a Request]) -> Self {
        Self { flusher, requests, now: flusher.clock.now() }
    }

    /// Takes the batch through all steps.
    pub(super) async fn store(&self) -> Result<Stored, FlushError> {
        let resolved = timed("resolve", self.resolve()).await?;
        let read: Vec<Read<'_>> = self.requests.iter().map(|request| read(request, &resolved)).collect();
        let routes = timed("route", self.find_routes(&read)).await?;
        let judged = self.judge(read, &routes)?;
        let placed = timed("place", self.place(&judged)).await?;
        timed("append", self.store_handle().append_across_environments(&placed.batch)).await?;
        let answers = judged.iter().map(|judged| judged.judgement.answer.clone()).collect();
        Ok(Stored {
            answers,
            rejections: judged.into_iter().filter_map(Judged::into_refused).collect(),
            placed,
        })
    }

    async fn resolve(&self) -> Result<Resolved, StoreError> {
        let named: BTreeSet<_> =
            self.requests.iter().map(|request| (request.environment, request.unique_key.clone())).collect();
        self.store_handle().find_integrations_across_environments(&named, self.now).await
    }

    async fn find_routes(&self, read: &[Read<'_>]) -> Result<HashMap<IntegrationId, Routes>, StoreError> {
        let mut wants: BTreeMap<_, Wants> = WantsByIntegration::new();
        for read in read {
            if let Read::Known(integration, reading) = read {
                let all = wants.entry((integration.environment, integration.id)).or_default();
                let more = reading.wants();
                all.subscriptions.extend(more.subscriptions);
                all.tenants.extend(more.tenants);
                all.connections.extend(more.connections);
            }
        }
        for wants in wants.values_mut() {
            sort_out(&mut wants.subscriptions);
            sort_out(&mut wants.tenants);
            sort_out(&mut wants.connections);
        }
        self.store_handle().find_routes_across_environments(&wants).await
    }

    /// Judges all requests, unless what is to be stored of them is too much for one batch of several.
    fn judge<'b>(
        &self,
        read: Vec<Read<'b>>,
        routes: &HashMap<IntegrationId, Routes>,
    ) -> Result<Vec<Judged<'b>>, FlushError>
    where
        'a: 'b,
    {
        let nothing = Routes::default();
        let hash_key = self.store_handle().hash_key();
        let judge_one = |(request, read): (&'a Request, Read<'b>)| match read {
            Read::Known(integration, reading) => {
                let routes = routes.get(&integration.id).unwrap_or(&nothing);
                let judgement = reading.judge(Facts { integration, routes, hash_key });
                Judged { request, integration: Some(integration), judgement }
            }
            Read::Unreadable(integration, judgement) => {
                Judged { request, integration: Some(integration), judgement }
            }
            Read::Stray(answer) => {
                Judged { request, integration: None, judgement: Judgement::refused(answer, Vec::new()) }
            }
        };
        let (mut all, mut bytes) = (Vec::with_capacity(self.requests.len()), 0);
        for judged in self.requests.iter().copied().zip(read).map(judge_one) {
            bytes += judged.judgement.drafts.iter().map(|draft| draft.payload.len()).sum::<usize>();
            all.push(judged);
            if bytes > MOST_BYTES && self.requests.len() > 1 {
                return Err(FlushError::TooMuch);
            }
        }
        Ok(all)
    }

    async fn place(&self, judged: &[Judged<'_>]) -> Result<Placed, StoreError> {
        let forwarded = || {
            let all = judged
                .iter()
                .flat_map(|judged| judged.parts().map(move |(facts, draft)| (judged, facts, draft)));
            all.filter(|(_, facts, draft)| draft.forwarded && facts.forward_webhooks)
        };
        let with_connection =
            || forwarded().filter_map(|(_, facts, draft)| Some((facts, draft.connection.as_ref()?)));
        let environments: BTreeSet<_> = with_connection().map(|(facts, _)| facts.environment).collect();
        let overrides =
            with_connection().filter_map(|(_, connection)| connection.override_endpoint).collect();
        let endpoints = if environments.is_empty() {
            HashMap::new()
        } else {
            self.store_handle()
                .find_endpoints_across_environments(&environments, &overrides, self.now)
                .await?
        };
        let mut placing = Placing::new(self.flusher, &endpoints, self.flusher.clock.now());
        for judged in judged {
            for (integration, draft) in judged.parts() {
                placing.add(judged.request.received_at, integration, draft);
            }
            if judged.judgement.copies_wait {
                placing.leave_copies();
            }
        }
        Ok(placing.finish())
    }

    fn store_handle(&self) -> &'a Store {
        &self.flusher.store
    }
}

impl<'a> Judged<'a> {
    /// The drafts, each with the integration that it came through.
    fn parts(&self) -> impl Iterator<Item = (&'a IntegrationFacts, &Draft)> {
        self.integration
            .into_iter()
            .flat_map(|facts| self.judgement.drafts.iter().map(move |draft| (facts, draft)))
    }

    fn into_refused(self) -> Option<RefusedParts> {
        let integration = self.integration?;
        let rejections = self.judgement.rejections;
        (!rejections.is_empty()).then_some(RefusedParts {
            environment: integration.environment,
            integration: integration.id,
            received_at: self.request.received_at,
            rejections,
        })
    }
}

fn read<'a>(request: &'a Request, resolved: &'a Resolved) -> Read<'a> {
    // Looked up by the request's own address, so it can only meet what stands at that address.
    let stray = match resolved.get(&(request.environment, request.unique_key.clone())) {
        Some(Found::Integration(facts)) => {
            let facts: &IntegrationFacts = Arc::as_ref(facts);
            return match Reading::of(facts.provider, request) {
                Ok(reading) => Read::Known(facts, reading),
                Err(judgement) => Read::Unreadable(facts, judgement),
            };
        }
        Some(Found::UnknownIntegration) => Answer::UnknownIntegration,
        Some(Found::UnknownEnvironment) | None => Answer::UnknownEnvironment,
    };
    // A malformed body is told before an unknown address; without an integration only Graph's form is known.
    match Collection::check(&request.body) {
        Ok(()) => Read::Stray(stray),
        Err(fault) => Read::Stray(fault.into_judgement().answer),
    }
}

fn sort_out<T: Ord>(keys: &mut Vec<T>) {
    keys.sort_unstable();
    keys.dedup();
}

async fn timed<T>(step: &'static str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    histogram!("waypost_intake_flush_seconds", "step" => step).record(started.elapsed().as_secs_f64());
    done
}
