//! Reading what changed, for notifications that bring no data: with the connection's token, anew at each attempt.
//!
//! Two resources are read one by one, more of them in batches. What may pass by itself (throttling, an outage, a failed
//! sign-in) is told beside the errors that stand for it, so that the caller can wait instead; how long it is worth
//! waiting is the caller's to say. Must not keep what it reads, nor log it.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use waypost_core::clock::SharedClock;
use waypost_core::id::{ConnectionKey, EnvironmentId};
use waypost_core::provider::graph::error::{Meaning, Trouble};
use waypost_core::provider::graph::fetch::{FetchError, Found, Select, Target, Version};
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::resources::{Answer, LARGEST_RESOURCE, MOST_PARTS};
use waypost_egress::graph::subscriptions::At;

use crate::tokens::{Access, Freshness, TokenError, Tokens};

/// From so many resources on, one batch is cheaper than a call for each.
const BATCH_FROM: usize = 3;
/// The most that the resources of one event may hold together.
const LARGEST_EVENT: usize = 4 * LARGEST_RESOURCE;
/// How long to wait when nothing says how long.
const USUAL_WAIT: TimeDelta = TimeDelta::seconds(30);
/// How long to wait after a sign-in was refused.
const REFUSED_WAIT: TimeDelta = TimeDelta::seconds(60);
/// How long to wait when the store fails.
const STORE_WAIT: TimeDelta = TimeDelta::seconds(5);

/// Whose resources are read, and which.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The environment of the connection.
    pub environment: EnvironmentId,
    /// The connection.
    pub connection: ConnectionKey,
    /// What is read, each once.
    pub targets: &'a [Target],
    /// The properties to ask for.
    pub select: Option<&'a Select>,
}

/// What came of reading.
pub struct Read {
    /// What came of each target.
    pub found: Vec<Found>,
    /// What kept some of them from being read that may be read later.
    pub setback: Option<Setback>,
}

/// Something that may pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setback {
    /// How long to wait.
    pub wait: TimeDelta,
    /// What it is, for logs.
    pub reason: &'static str,
    /// Whether Graph asked to wait: whatever is asked of it meanwhile makes it worse.
    pub throttled: bool,
}

/// Reads resources. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    tokens: Tokens,
    client: TrustedClient,
    clock: SharedClock,
}

/// What an answer comes to.
enum Judged {
    Settled(Found),
    Passing(FetchError, Setback),
    /// The token is refused.
    Token,
}

/// One event's reading, while it goes on.
struct Reading<'a> {
    fetcher: &'a Fetcher,
    wanted: Wanted<'a>,
    until: Instant,
    found: Vec<Option<Found>>,
    /// How much more content fits.
    room: usize,
    setback: Option<Setback>,
}

impl Fetcher {
    /// Reads with the tokens of `tokens`, over `client`.
    #[must_use]
    pub fn new(tokens: Tokens, client: TrustedClient, clock: SharedClock) -> Self {
        Self { tokens, client, clock }
    }

    /// Reads resources, within `limit`.
    pub async fn read(&self, wanted: Wanted<'_>, limit: Duration) -> Read {
        let started = Instant::now();
        let mut reading = Reading {
            fetcher: self,
            wanted,
            until: started + limit,
            found: wanted.targets.iter().map(|_| None).collect(),
            room: LARGEST_EVENT,
            setback: None,
        };
        reading.run().await;
        metrics::histogram!("waypost_fetch_seconds").record(started.elapsed().as_secs_f64());
        reading.finish()
    }
}

impl Reading<'_> {
    async fn run(&mut self) {
        let Some(access) = self.access(Freshness::Cached).await else { return };
        self.read_open(&access).await;
        if self.is_throttled() || self.found.iter().all(Option::is_some) {
            return;
        }
        // The token was refused: it may have been withdrawn before its end. Another one is tried, once.
        let Some(access) = self.access(Freshness::Instead(access.mark)).await else { return };
        self.read_open(&access).await;
        if self.found.iter().any(Option::is_none) {
            self.give_up(&FetchError::answered(401, "", ""), Setback::of("token", REFUSED_WAIT));
        }
    }

    async fn access(&mut self, freshness: Freshness) -> Option<Access> {
        let Wanted { environment, connection, .. } = self.wanted;
        let asking = self.fetcher.tokens.access(environment, connection, freshness);
        match tokio::time::timeout(self.left(), asking).await {
            Ok(Ok(access)) => Some(access),
            Ok(Err(error)) => {
                let failure =
                    FetchError::own("notSignedIn", "the connection has no access token at the moment");
                match self.wait_for(&error) {
                    Some(wait) => self.give_up(&failure, Setback::of("token", wait)),
                    None => self.fill(|| Found::Failed(failure.clone())),
                }
                None
            }
            Err(_) => {
                self.late();
                None
            }
        }
    }

    /// How long to wait for a token; `None` when there won't be one.
    fn wait_for(&self, error: &TokenError) -> Option<TimeDelta> {
        match error {
            TokenError::UnknownConnection => None,
            TokenError::CoolingDown { until, .. } => {
                Some((*until - self.fetcher.clock.now()).min(REFUSED_WAIT))
            }
            TokenError::Unreachable { .. } => Some(USUAL_WAIT),
            TokenError::Store(_) => Some(STORE_WAIT),
            TokenError::NoTenant | TokenError::NoCredentials | TokenError::Refused { .. } => {
                Some(REFUSED_WAIT)
            }
        }
    }

    /// Reads what was not read yet, until Graph asks to wait or the time is up.
    async fn read_open(&mut self, access: &Access) {
        for version in [Version::V1, Version::Beta] {
            let targets = self.wanted.targets.iter().enumerate();
            let open: Vec<usize> = targets
                .filter(|(n, target)| target.version() == version && self.found[*n].is_none())
                .map(|(n, _)| n)
                .collect();
            let at_once = if open.len() < BATCH_FROM { 1 } else { MOST_PARTS };
            for some in open.chunks(at_once) {
                if self.is_throttled() {
                    return;
                }
                if self.left().is_zero() {
                    return self.late();
                }
                self.read_some(access, some).await;
            }
        }
    }

    async fn read_some(&mut self, access: &Access, some: &[usize]) {
        let Fetcher { client, clock, .. } = self.fetcher;
        let at = At { graph: &access.cloud.graph_url, token: &access.token, now: clock.now() };
        let (select, left) = (self.wanted.select, self.left());
        let targets: Vec<&Target> = some.iter().map(|n| &self.wanted.targets[*n]).collect();
        let batch = match targets.len() {
            1 => None,
            _ => client.read_resources(at, &targets, select, left).await,
        };
        if let Some(answers) = batch {
            for (n, answer) in some.iter().zip(answers) {
                self.take(*n, answer);
            }
            return;
        }
        for (n, target) in some.iter().zip(targets) {
            if self.is_throttled() {
                return;
            }
            let answer = client.read_resource(at, target, select, self.left()).await;
            self.take(*n, answer);
        }
    }

    fn take(&mut self, n: usize, answer: Answer) {
        match judged(answer) {
            Judged::Settled(Found::Content(content)) if content.len() > self.room => {
                self.found[n] = Some(Found::Failed(too_large()));
            }
            Judged::Settled(found) => {
                if let Found::Content(content) = &found {
                    self.room -= content.len();
                }
                self.found[n] = Some(found);
            }
            Judged::Passing(error, setback) => {
                self.found[n] = Some(Found::Failed(error));
                self.hold_back(setback);
            }
            Judged::Token => {}
        }
    }

    /// Whether Graph asked to wait: then nothing more is asked of it.
    fn is_throttled(&self) -> bool {
        self.setback.is_some_and(|setback| setback.throttled)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn late(&mut self) {
        self.give_up(&FetchError::own("timeout", "reading took too long"), Setback::of("slow", USUAL_WAIT));
    }

    /// What is not read yet isn't read any more.
    fn give_up(&mut self, error: &FetchError, setback: Setback) {
        self.fill(|| Found::Failed(error.clone()));
        self.hold_back(setback);
    }

    fn fill(&mut self, with: impl Fn() -> Found) {
        for open in self.found.iter_mut().filter(|found| found.is_none()) {
            *open = Some(with());
        }
    }

    /// Of several setbacks the longest counts.
    fn hold_back(&mut self, new: Setback) {
        let longer =
            self.setback.is_none_or(|known| (known.throttled, known.wait) < (new.throttled, new.wait));
        if longer {
            self.setback = Some(new);
        }
    }

    fn finish(mut self) -> Read {
        // They would have come after Graph asked to wait.
        self.fill(|| Found::Failed(FetchError::answered(429, "", "")));
        let found: Vec<Found> = self.found.into_iter().flatten().collect();
        for one in &found {
            metrics::counter!("waypost_fetches_total", "outcome" => outcome(one)).increment(1);
        }
        Read { found, setback: self.setback }
    }
}

impl Setback {
    const fn of(reason: &'static str, wait: TimeDelta) -> Self {
        Self { wait, reason, throttled: false }
    }
}

fn judged(answer: Answer) -> Judged {
    match answer {
        Answer::Found(content) => Judged::Settled(Found::content(content.bytes())),
        Answer::TooLarge => Judged::Settled(Found::Failed(too_large())),
        Answer::None => Judged::Passing(
            FetchError::own("unreachable", "the provider gave no answer"),
            Setback::of("unreachable", USUAL_WAIT),
        ),
        Answer::Refused(trouble) => judged_refusal(&trouble),
    }
}

fn judged_refusal(trouble: &Trouble) -> Judged {
    let said = &trouble.said;
    let error = FetchError::answered(said.status, &said.code, &said.message);
    let wait = trouble.meaning.wait();
    match trouble.meaning {
        Meaning::Token => Judged::Token,
        Meaning::Throttled(wait) => {
            Judged::Passing(error, Setback { wait, reason: "throttled", throttled: true })
        }
        Meaning::Outage(Some(wait)) => {
            Judged::Passing(error, Setback { wait, reason: "outage", throttled: true })
        }
        Meaning::Outage(None) | Meaning::StaleMailbox => {
            Judged::Passing(error, Setback::of("outage", wait.unwrap_or(USUAL_WAIT)))
        }
        _ => Judged::Settled(Found::Failed(error)),
    }
}

fn too_large() -> FetchError {
    FetchError::own("tooLarge", "the resource is larger than what goes along with a notification")
}

/// The word for it in metrics: a bounded set, whatever Graph's codes are.
fn outcome(found: &Found) -> &'static str {
    match found {
        Found::Content(_) => "fetched",
        Found::Failed(error) => match error.status() {
            Some(404 | 410) => "gone",
            Some(401 | 403) => "forbidden",
            Some(429 | 503 | 504 | 509) => "throttled",
            Some(500..=599) => "outage",
            Some(_) => "refused",
            None => match error.code() {
                "tooLarge" | "notJson" => "unusable",
                "notSignedIn" => "token",
                _ => "unreachable",
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use waypost_core::provider::graph::error::classify;

    use super::*;

    fn refused(status: u16, retry_after: Option<&str>, body: &str) -> Judged {
        judged(Answer::Refused(Box::new(classify(
            status,
            retry_after,
            body.as_bytes(),
            chrono::DateTime::UNIX_EPOCH,
        ))))
    }

    #[test]
    fn what_is_gone_or_forbidden_is_final() {
        for status in [400, 403, 404, 409, 410, 302] {
            assert!(matches!(refused(status, None, ""), Judged::Settled(Found::Failed(_))), "{status}");
        }
    }

    #[test]
    fn what_may_pass_is_a_setback_and_throttling_says_how_long() {
        let setback = |status, retry_after| match refused(status, retry_after, "") {
            Judged::Passing(_, setback) => setback,
            _ => panic!("{status} may pass"),
        };
        for status in [429, 503, 509] {
            let setback = setback(status, Some("7"));
            assert_eq!((setback.wait, setback.throttled), (TimeDelta::seconds(7), true), "{status}");
        }
        for status in [500, 502, 504] {
            assert_eq!(setback(status, None), Setback::of("outage", USUAL_WAIT), "{status}");
        }
        assert!(matches!(judged(Answer::None), Judged::Passing(..)));
    }

    #[test]
    fn a_refused_token_is_no_verdict_on_the_resource() {
        assert!(matches!(refused(401, None, ""), Judged::Token));
    }
}
