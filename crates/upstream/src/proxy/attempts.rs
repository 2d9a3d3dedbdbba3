//! The attempts of one call: a token, a request, and what its answer means for the next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use waypost_core::proxy::{Repeats, Seen};
use waypost_core::token::{Freshness, TokenMark};
use waypost_egress::graph::proxy::{Answer, Call, Content, Unanswered};

use super::{Plan, Proxy, ProxyError, Timing};

/// How long all attempts and the waits between them may take, until the head of the answer that is passed on.
const ALL_WITHIN: Duration = Duration::from_mins(15);
/// How long one attempt may take until the head of its answer.
const ONE_WITHIN: Duration = Duration::from_mins(2);
/// The same where the body arrives while it is sent.
const STREAMED_WITHIN: Duration = Duration::from_mins(10);

const UNAUTHORIZED: u16 = 401;

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    proxy: &'a Proxy,
    plan: &'a Plan,
    call: Call,
    content: Option<Content>,
    repeats: Repeats,
    /// The token that was used last.
    mark: Option<TokenMark>,
    renewed: bool,
    started: Instant,
    timing: Timing,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(proxy: &'a Proxy, plan: &'a Plan, content: Content) -> Self {
        Self {
            proxy,
            plan,
            call: plan.call.clone(),
            content: Some(content),
            repeats: Repeats::new(plan.retries, plan.retry_on.clone()),
            mark: None,
            renewed: false,
            started: Instant::now(),
            timing: Timing::default(),
        }
    }

    /// For a call that must not take effect twice.
    pub(super) fn once_only(self) -> Self {
        Self { repeats: self.repeats.once_only(), ..self }
    }

    /// Where the time went.
    pub(super) const fn timing(&self) -> Timing {
        self.timing
    }

    /// Gets the token, which [`Self::run`] does as well where this was not called.
    pub(super) async fn sign_in(&mut self) -> Result<(), ProxyError> {
        if self.plan.with_token && self.mark.is_none() {
            self.authorize(Freshness::Cached).await?;
        }
        Ok(())
    }

    /// Makes attempts until one is final; its answer is the result, whatever it says.
    pub(super) async fn run(&mut self) -> Result<Answer, ProxyError> {
        self.sign_in().await?;
        loop {
            let Some(content) = self.next_content() else { return Err(ProxyError::CutOff) };
            let result = self.attempt(content).await;
            if self.content.is_none() {
                // The body is spent, so this was the only attempt.
                return Ok(result?);
            }
            if let Ok(answer) = &result
                && answer.status().as_u16() == UNAUTHORIZED
                && self.renew().await?
            {
                continue;
            }
            let Some(wait) = self.wait_after(&result) else { return Ok(result?) };
            drop(result);
            tokio::time::sleep(wait).await;
            self.timing.waiting += wait;
        }
    }

    /// The body for one attempt; it is kept for the next where it can be sent again.
    fn next_content(&mut self) -> Option<Content> {
        match self.content.take()? {
            Content::Empty => {
                self.content = Some(Content::Empty);
                Some(Content::Empty)
            }
            Content::Whole(bytes) => {
                self.content = Some(Content::Whole(Bytes::clone(&bytes)));
                Some(Content::Whole(bytes))
            }
            Content::Streamed(upload) => Some(Content::Streamed(upload)),
        }
    }

    async fn attempt(&mut self, content: Content) -> Result<Answer, Unanswered> {
        let limit = if matches!(content, Content::Streamed(_)) { STREAMED_WITHIN } else { ONE_WITHIN };
        let began = Instant::now();
        let result = self.proxy.client.send(&self.call, content, limit.min(self.left())).await;
        self.timing.upstream += began.elapsed();
        self.timing.attempts += 1;
        result
    }

    /// Replaces a token that was refused, once; false when it was replaced already, or there is no other. Then the
    /// provider's refusal is the answer, unless the sign-in host has said why: that is what must be mended.
    async fn renew(&mut self) -> Result<bool, ProxyError> {
        let Some(mark) = self.mark.filter(|_| !self.renewed) else { return Ok(false) };
        self.renewed = true;
        match self.authorize(Freshness::Instead(mark)).await {
            Ok(()) => Ok(self.mark != Some(mark)),
            Err(ProxyError::Token(error)) if error.failure().is_some() => Err(error.into()),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no other token is to be had");
                Ok(false)
            }
        }
    }

    async fn authorize(&mut self, freshness: Freshness) -> Result<(), ProxyError> {
        let owner = self.plan.owner;
        let access = self.proxy.tokens.access(owner.environment, owner.connection, freshness).await?;
        let text = zeroize::Zeroizing::new(format!("Bearer {}", access.token.expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| crate::tokens::TokenError::NoCredentials)?;
        value.set_sensitive(true);
        self.call.headers.insert(AUTHORIZATION, value);
        self.mark = Some(access.mark);
        Ok(())
    }

    /// How long to wait before the next attempt; `None` when there is none, or it would come too late.
    fn wait_after(&mut self, result: &Result<Answer, Unanswered>) -> Option<Duration> {
        let now = self.proxy.clock.now();
        let seen = match result {
            Ok(answer) => Seen::Answer(answer.status().as_u16(), answer.retry_after(now)),
            Err(_) => Seen::Nothing,
        };
        let wait = self.repeats.next(seen, &mut rand::rng())?.to_std().ok()?;
        (wait < self.left()).then_some(wait)
    }

    fn left(&self) -> Duration {
        ALL_WITHIN.saturating_sub(self.started.elapsed())
    }
}
