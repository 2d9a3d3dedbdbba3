//! What works at the provider, put together: signing in, subscriptions, proofs, connecting, the proxy.
//!
//! Must not decide anything: it gives each part what it takes.

use std::sync::Arc;

use anyhow::Context as _;
use url::Url;
use waypost_core::cloud::Clouds;
use waypost_core::hand_off::HandOff;
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::proxy::ProxyClient;
use waypost_upstream::certificates::Certificates;
use waypost_upstream::connect::Connector;
use waypost_upstream::connect::onboarding::{self, Onboarding};
use waypost_upstream::fetch::Fetcher;
use waypost_upstream::key_sets::KeyBook;
use waypost_upstream::proofs::{self, Prover};
use waypost_upstream::proxy::Proxy;
use waypost_upstream::subscriptions::{self, Subscriptions};
use waypost_upstream::tokens::{self, Tokens};

use super::foundation::Foundation;
use super::parts;
use crate::config::Settings;

/// What deliveries need of the provider: there before who takes deliveries is.
#[derive(Clone)]
pub(super) struct SignIn {
    pub(super) tokens: Tokens,
    pub(super) prover: Prover,
}

/// What else works there: it hands deliveries over.
pub(super) struct Upstream {
    pub(super) subscriptions: Subscriptions,
    pub(super) certificates: Certificates,
    pub(super) connector: Connector,
    pub(super) onboarding: Onboarding,
    pub(super) proxy: Proxy,
}

impl SignIn {
    pub(super) fn new(settings: &Settings, base: &Foundation) -> anyhow::Result<Self> {
        // The deliverer needs tokens, and whoever gets tokens only has to wake it.
        let hand_off: Arc<dyn HandOff> = Arc::new(base.bell.clone());
        let tokens = Tokens::new(tokens::Parts {
            store: base.store.clone(),
            client: TrustedClient::new(&[])?,
            clouds: clouds(settings),
            clock: Arc::clone(&base.clock),
            hand_off,
            max_age: parts::delta(settings.delivery.max_age),
        });
        let config = proofs::Config {
            publisher: settings.graph.publisher_app_id.to_string(),
            clouds: clouds(settings),
            max_age: parts::delta(settings.delivery.max_age),
        };
        let prover = Prover::new(base.store.clone(), key_book(base)?, Arc::clone(&base.clock), config);
        Ok(Self { tokens, prover })
    }

    /// Reads what changed.
    pub(super) fn fetcher(&self, base: &Foundation) -> anyhow::Result<Fetcher> {
        Ok(Fetcher::new(self.tokens.clone(), TrustedClient::new(&[])?, Arc::clone(&base.clock)))
    }
}

impl Upstream {
    pub(super) fn new(
        settings: &Settings,
        base: &Foundation,
        sign_in: &SignIn,
        hand_off: &Arc<dyn HandOff>,
    ) -> anyhow::Result<Self> {
        let certificates = Certificates::new(base.store.clone(), Arc::clone(&base.clock));
        let config = subscriptions::Config {
            public_url: settings.server.public_url.clone(),
            max_age: parts::delta(settings.delivery.max_age),
        };
        let tokens = &sign_in.tokens;
        let needed = subscriptions::Parts {
            store: base.store.clone(),
            tokens: tokens.clone(),
            certificates: certificates.clone(),
            client: TrustedClient::new(&[])?,
            clock: Arc::clone(&base.clock),
            hand_off: Arc::clone(hand_off),
        };
        let subscriptions = Subscriptions::new(config, needed);
        let client = ProxyClient::new(base.guard.clone(), &[])?;
        let (followed, clock) = (subscriptions.clone(), Arc::clone(&base.clock));
        let proxy = Proxy::new(client, tokens.clone(), followed, clouds(settings), clock);
        let connector = Connector::new(TrustedClient::new(&[])?, settings.graph.login_url.clone());
        let onboarding = onboarding(settings, base, tokens)?;
        Ok(Self { subscriptions, certificates, connector, onboarding, proxy })
    }
}

fn onboarding(settings: &Settings, base: &Foundation, tokens: &Tokens) -> anyhow::Result<Onboarding> {
    Ok(Onboarding::new(onboarding::Parts {
        store: base.store.clone(),
        client: TrustedClient::new(&[])?,
        tokens: tokens.clone(),
        clouds: clouds(settings),
        keys: key_book(base)?,
        clock: Arc::clone(&base.clock),
        redirect_uri: callback(settings)?,
        max_age: parts::delta(settings.delivery.max_age),
    }))
}

/// The redirect URI of app registrations.
fn callback(settings: &Settings) -> anyhow::Result<Url> {
    let base = settings.server.public_url.as_str().trim_end_matches('/');
    Url::parse(&format!("{base}/oauth/callback")).context("server.public_url can't be extended")
}

fn clouds(settings: &Settings) -> Clouds {
    Clouds::new(settings.graph.login_url.clone(), settings.graph.base_url.clone())
}

fn key_book(base: &Foundation) -> anyhow::Result<KeyBook> {
    Ok(KeyBook::new(base.store.clone(), TrustedClient::new(&[])?, Arc::clone(&base.clock)))
}
