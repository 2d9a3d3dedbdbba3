//! Connecting a customer in a browser, step by step.
//!
//! Who may connect which tenant is decided like this. First the person signs in, by authorization code with PKCE and a
//! nonce, and the ID token proves the tenant of their account: the only thing in the whole flow that does. For an app that
//! acts on a user's behalf that is all. For one that acts by itself, an administrator of exactly that tenant is then asked
//! for consent. What comes back from there is an address that anybody could have typed, so it is taken as no more than the
//! time to look: the tenant in it must be the proven one, and a token for that tenant must really be granted. (The other
//! way round, consent first, the tenant would be anybody's word until the very end, and a person who then signs in with the
//! wrong account would have consented in vain.) Whether the person is an administrator, Entra decides on its page; where
//! the app registration puts roles into ID tokens (the optional claim `wids`), who is none is turned away here as well.
//! Where it doesn't, a consent only counts that nobody had given before the person was sent for it: else there would be
//! nothing left for an administrator to decide, and anybody of the organization could connect it (unless the integration
//! allows just that).
//!
//! Each request to the sign-in host takes a single-use state along, which counts only in the browser that left with it.
//! Must not: keep anything between two steps but in the store.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;
use waypost_core::clock::SharedClock;
use waypost_core::cloud::Clouds;
use waypost_core::connect::id_token::{self, Expected, IdTokenError, Person};
use waypost_core::connect::{self, PROOF_LIFE, STATE_LIFE, Session, SignInSecrets, State, Step, Visit};
use waypost_core::connection::ClientCredentials;
use waypost_core::id::TenantId;
use waypost_core::integration::{Integration, UniqueKey};
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::provider::graph::sign_in::Granted;
use waypost_crypto::token::random_secret;
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::sign_in::CodeExchange;
use waypost_postgres::connect_session::{Begun, Finished, NewState, Taken};
use waypost_postgres::connection::Upserted;
use waypost_postgres::{Actor, ActorKind, Store, TenantStore};

use super::problem::{ConnectError, ConnectProblem};
use super::scene::{Scene, told};
use super::{app, consent};
use crate::key_sets::KeyBook;
use crate::tokens::{TokenError, Tokens};

/// What onboarding works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The way to the sign-in hosts.
    pub client: TrustedClient,
    /// The tokens of connections.
    pub tokens: Tokens,
    /// The clouds.
    pub clouds: Clouds,
    /// Their key sets.
    pub keys: KeyBook,
    /// The time.
    pub clock: SharedClock,
    /// Where browsers come back to: `{public_url}/oauth/callback`.
    pub redirect_uri: Url,
    /// After which the notice of a connection is given up.
    pub max_age: TimeDelta,
}

/// Connects customers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Onboarding {
    parts: Parts,
}

/// A browser, and the request that it makes.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Its cookie, if it has one.
    pub browser: Option<SecretString>,
    /// The request.
    pub request_id: String,
}

/// What a browser brings back from the sign-in host. All of it may be anybody's.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The state.
    pub state: Option<SecretString>,
    /// The code of a sign-in.
    pub code: Option<SecretString>,
    /// What stopped it.
    pub error: Option<String>,
    /// The same, for people.
    pub error_description: Option<String>,
    /// Whether an administrator consented.
    pub admin_consent: Option<String>,
    /// The tenant that is said to have consented.
    pub tenant: Option<String>,
}

/// Where it goes on.
#[derive(Debug)]
pub enum Next {
    /// At the sign-in host.
    Leave(Url),
    /// Here: a consent is being tried out.
    Wait,
    /// Nowhere: it is done.
    Connected(Box<Done>),
}

/// A session that has its connection.
#[derive(Debug)]
pub struct Done {
    /// The session.
    pub session: Session,
    /// The connection; `None` when it was made by an earlier request.
    pub upserted: Option<Upserted>,
}

/// Why it doesn't go on, and the session, as far as it is known to belong to this browser.
#[derive(Debug)]
pub struct Stopped {
    /// Why.
    pub error: ConnectError,
    /// The session.
    pub session: Option<Box<Session>>,
}

/// A person who signed in.
struct SignedIn {
    person: Person,
    granted: Granted,
}

impl Onboarding {
    /// Connects with these parts.
    #[must_use]
    pub const fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// The integrations that a session offers, and that can be connected.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn offered(&self, session: &Session) -> Result<Vec<Integration>, ConnectError> {
        let all = self.tenant(session, "").list_integrations().await?;
        Ok(all.into_iter().filter(|one| session.wish.allows(&one.unique_key)).collect())
    }

    /// Begins: where the browser goes to sign in.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn begin(
        &self,
        visitor: &Visitor,
        session: &Session,
        integration: &UniqueKey,
    ) -> Result<Url, ConnectError> {
        check_open(session, self.parts.clock.now())?;
        let scene = self.scene(visitor, session, integration).await?;
        let secrets = SignInSecrets { verifier: random_secret(), nonce: random_secret() };
        let state = random_secret();
        let page = {
            let visit = self.visit(&scene, &state);
            connect::sign_in_page(visit, &secrets, &scene.scope(), &scene.defaults)
        };
        self.leave(&scene, &state, Step::SignIn(secrets)).await?;
        Ok(page)
    }

    /// Goes on with what a browser brings back from the sign-in host.
    ///
    /// # Errors
    /// [`Stopped`]; the state is used up all the same.
    pub async fn returned(&self, visitor: &Visitor, answer: &Answer) -> Result<Next, Stopped> {
        match self.taken(visitor, answer).await {
            Ok((session, state)) => match self.go_on(visitor, &session, &state, answer).await {
                Ok(Goes::Leave(url)) => Ok(Next::Leave(url)),
                Ok(Goes::Wait) => Ok(Next::Wait),
                Ok(Goes::Made(upserted)) => {
                    Ok(Next::Connected(Box::new(Done { session, upserted: Some(*upserted) })))
                }
                Err(error) => Err(Stopped { error, session: Some(Box::new(session)) }),
            },
            Err(stopped) => Err(stopped),
        }
    }

    async fn taken(&self, visitor: &Visitor, answer: &Answer) -> Result<(Session, State), Stopped> {
        let unnamed = |error| Stopped { error, session: None };
        let Some(shown) = &answer.state else {
            return Err(unnamed(ConnectProblem::StateUsed.into()));
        };
        let store = &self.parts.store;
        let taken = store.take_connect_state_across_environments(shown, visitor.browser.as_ref()).await;
        match taken.map_err(|error| unnamed(error.into()))? {
            Taken::Known(known) => Ok(*known),
            Taken::OtherBrowser => Err(unnamed(ConnectProblem::OtherBrowser.into())),
            Taken::Late(session) => {
                Err(Stopped { error: ConnectProblem::StateExpired.into(), session: Some(session) })
            }
            Taken::Unknown => {
                let session = self.session_of(visitor).await.map_err(unnamed)?;
                Err(Stopped { error: ConnectProblem::StateUsed.into(), session: session.map(Box::new) })
            }
        }
    }

    async fn session_of(&self, visitor: &Visitor) -> Result<Option<Session>, ConnectError> {
        let Some(browser) = &visitor.browser else { return Ok(None) };
        Ok(self.parts.store.connect_session_of_browser_across_environments(browser).await?)
    }

    async fn go_on(
        &self,
        visitor: &Visitor,
        session: &Session,
        state: &State,
        answer: &Answer,
    ) -> Result<Goes, ConnectError> {
        if session.connected_at.is_some() {
            return Err(ConnectProblem::SessionUsed.into());
        }
        let scene = self.scene(visitor, session, &state.integration).await?;
        if let Some(error) = &answer.error {
            let description = answer.error_description.as_deref().unwrap_or_default();
            return Err(ConnectProblem::of_answer(error, description).into());
        }
        match &state.step {
            Step::SignIn(secrets) => self.signed_in(&scene, secrets, answer).await,
            Step::Consent(tenant) => self.consented(&scene, *tenant, answer).await,
            Step::Proof(_) => Err(ConnectProblem::StateUsed.into()),
        }
    }

    async fn signed_in(
        &self,
        scene: &Scene<'_>,
        secrets: &SignInSecrets,
        answer: &Answer,
    ) -> Result<Goes, ConnectError> {
        let code = answer.code.as_ref().ok_or(ConnectProblem::Unproven)?;
        let SignedIn { person, granted } = self.exchange(scene, secrets, code).await?;
        if connect::is_personal(person.tenant) {
            return Err(ConnectProblem::PersonalAccount.into());
        }
        if scene.defaults.tenant.is_some_and(|wanted| wanted != person.tenant) {
            return Err(ConnectProblem::OtherOrganization.into());
        }
        if scene.integration.provider.auth_mode() == AuthMode::Delegated {
            return self.finish(scene, person.tenant, self.credentials(granted)?).await;
        }
        if person.administrator == Some(false) {
            return Err(ConnectProblem::NeedsAdministrator.into());
        }
        if person.administrator.is_none() {
            consent::check_proves(&self.parts, scene, person.tenant).await?;
        }
        let state = random_secret();
        let page = connect::consent_page(self.visit(scene, &state), person.tenant);
        self.leave(scene, &state, Step::Consent(person.tenant)).await?;
        Ok(Goes::Leave(page))
    }

    /// Takes the code to the token endpoint, and proves who signed in.
    async fn exchange(
        &self,
        scene: &Scene<'_>,
        secrets: &SignInSecrets,
        code: &SecretString,
    ) -> Result<SignedIn, ConnectError> {
        let now = self.parts.clock.now();
        let url = scene.cloud.token_url(&connect::authority(scene.defaults.tenant));
        let app = app::proof(&scene.app, &url, now)?;
        let exchange = CodeExchange {
            url: &url,
            app: &app,
            code,
            redirect_uri: &self.parts.redirect_uri,
            verifier: &secrets.verifier,
            scope: &scene.scope(),
            id: &Uuid::new_v4().to_string(),
            now,
        };
        let granted =
            self.parts.client.exchange_code(exchange).await.map_err(|trouble| told(scene, &trouble))?;
        let token = granted.id_token.as_ref().ok_or(ConnectProblem::Unproven)?;
        let person = self.proven(scene, token, &secrets.nonce).await?;
        Ok(SignedIn { person, granted })
    }

    async fn proven(
        &self,
        scene: &Scene<'_>,
        token: &SecretString,
        nonce: &SecretString,
    ) -> Result<Person, ConnectError> {
        let now = self.parts.clock.now();
        let expected = Expected { cloud: &scene.cloud, client_id: &scene.app.client_id, nonce, now };
        let sets = self.parts.keys.of(&scene.cloud).await?;
        let mut verdict = id_token::verify(token, expected, &sets.v2);
        if verdict == Err(IdTokenError::UnknownKey) {
            // Keys roll: one that is new since the last look is fetched.
            let sets = self.parts.keys.renewed(&scene.cloud).await?;
            verdict = id_token::verify(token, expected, &sets.v2);
        }
        verdict.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                integration = %scene.integration.unique_key,
                "a sign-in of somebody who connects could not be proven"
            );
            ConnectProblem::Unproven.into()
        })
    }

    async fn consented(
        &self,
        scene: &Scene<'_>,
        tenant: TenantId,
        answer: &Answer,
    ) -> Result<Goes, ConnectError> {
        if !answer.admin_consent.as_deref().is_some_and(|said| said.eq_ignore_ascii_case("true")) {
            return Err(ConnectProblem::Declined.into());
        }
        if answer.tenant.as_deref().and_then(|text| text.parse().ok()) != Some(tenant) {
            return Err(ConnectProblem::TenantSwapped.into());
        }
        self.leave(scene, &random_secret(), Step::Proof(tenant)).await?;
        Ok(Goes::Wait)
    }

    /// Tries out the consent that a browser waits for: whether a token for the tenant is granted now.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn progress(&self, visitor: &Visitor) -> Result<Next, Stopped> {
        let unnamed = |error| Stopped { error, session: None };
        let browser = visitor.browser.as_ref().ok_or_else(|| unnamed(ConnectProblem::OtherBrowser.into()))?;
        let found = self.parts.store.connect_proof_across_environments(browser).await;
        let Some((session, state, due)) = found.map_err(|error| unnamed(error.into()))? else {
            return match self.session_of(visitor).await.map_err(unnamed)? {
                Some(session) if session.connected_at.is_some() => {
                    Ok(Next::Connected(Box::new(Done { session, upserted: None })))
                }
                session => Err(Stopped {
                    error: ConnectProblem::StateExpired.into(),
                    session: session.map(Box::new),
                }),
            };
        };
        if !due {
            return Ok(Next::Wait);
        }
        match self.tried(visitor, &session, &state).await {
            Ok(Goes::Made(upserted)) => {
                Ok(Next::Connected(Box::new(Done { session, upserted: Some(*upserted) })))
            }
            Ok(Goes::Wait) => Ok(Next::Wait),
            Ok(Goes::Leave(url)) => Ok(Next::Leave(url)),
            // Another load of the same page was faster.
            Err(ConnectError::Problem(ConnectProblem::SessionUsed)) => {
                Ok(Next::Connected(Box::new(Done { session, upserted: None })))
            }
            Err(error) => Err(Stopped { error, session: Some(Box::new(session)) }),
        }
    }

    async fn tried(&self, visitor: &Visitor, session: &Session, state: &State) -> Result<Goes, ConnectError> {
        let Step::Proof(tenant) = state.step else { return Err(ConnectProblem::StateUsed.into()) };
        let now = self.parts.clock.now();
        if state.expires_at <= now {
            return Err(ConnectProblem::NotInTime.into());
        }
        let scene = self.scene(visitor, session, &state.integration).await?;
        match consent::is_given(&self.parts, &scene, tenant).await {
            Ok(true) => self.finish(&scene, tenant, ClientCredentials::default()).await,
            // What passes by itself is waited for as well: there is time.
            Ok(false) | Err(ConnectProblem::Unreachable) => Ok(Goes::Wait),
            Err(problem) => Err(problem.into()),
        }
    }

    fn credentials(&self, granted: Granted) -> Result<ClientCredentials, ConnectProblem> {
        // Without one the connection would end within the hour.
        let refresh_token = granted.refresh_token.ok_or(ConnectProblem::Misconfigured { number: None })?;
        let life = TimeDelta::seconds(granted.expires_in.clamp(0, 24 * 3600));
        Ok(ClientCredentials {
            token: Some(granted.access_token),
            expires_at: Some(self.parts.clock.now() + life),
            refresh_token: Some(refresh_token),
            ..ClientCredentials::default()
        })
    }

    async fn finish(
        &self,
        scene: &Scene<'_>,
        tenant: TenantId,
        credentials: ClientCredentials,
    ) -> Result<Goes, ConnectError> {
        let new = scene.connection(tenant, credentials).await?;
        let environment = scene.session.environment;
        // It has just worked: what failed before, for others who sign in alike, must not hold the new one up.
        noted(self.parts.tokens.forget_failure(environment, &scene.sign_in(&new)).await);
        match scene.tenant.finish_connect(scene.session.id, new, self.parts.max_age).await? {
            Finished::Connected(upserted) => {
                noted(self.parts.tokens.note_credentials(environment, upserted.connection.key).await);
                Ok(Goes::Made(upserted))
            }
            Finished::SessionOver => Err(ConnectProblem::SessionUsed.into()),
            Finished::UnknownIntegration => Err(ConnectProblem::NotOffered.into()),
        }
    }

    async fn leave(&self, scene: &Scene<'_>, state: &SecretString, step: Step) -> Result<(), ConnectError> {
        let life = if matches!(step, Step::Proof(_)) { PROOF_LIFE } else { STATE_LIFE };
        let begun = scene
            .tenant
            .begin_connect(NewState {
                session: scene.session.id,
                state,
                browser: scene.browser,
                integration: &scene.integration.unique_key,
                step: &step,
                expires_at: self.parts.clock.now() + life,
            })
            .await?;
        match begun {
            Begun::Done => Ok(()),
            Begun::SessionOver => Err(ConnectProblem::SessionExpired.into()),
        }
    }

    fn visit<'a>(&'a self, scene: &'a Scene<'_>, state: &'a SecretString) -> Visit<'a> {
        Visit {
            cloud: &scene.cloud,
            client_id: &scene.app.client_id,
            redirect_uri: &self.parts.redirect_uri,
            state,
        }
    }

    fn tenant(&self, session: &Session, request_id: &str) -> TenantStore {
        let name = session.wish.end_user_id().unwrap_or("unknown").to_owned();
        let actor = Actor { kind: ActorKind::EndUser, name, request_id: request_id.to_owned() };
        self.parts.store.tenant(session.environment, actor)
    }

    async fn scene<'a>(
        &self,
        visitor: &'a Visitor,
        session: &'a Session,
        key: &UniqueKey,
    ) -> Result<Scene<'a>, ConnectError> {
        let browser = visitor.browser.as_ref().ok_or(ConnectProblem::OtherBrowser)?;
        if !session.wish.allows(key) {
            return Err(ConnectProblem::NotOffered.into());
        }
        let tenant = self.tenant(session, &visitor.request_id);
        let integration = tenant.find_integration(key).await?.ok_or(ConnectProblem::NotOffered)?;
        let app = integration.credentials.clone().ok_or(ConnectProblem::NotReady)?;
        if app.client_secret.is_none() && app.certificate.is_none() {
            return Err(ConnectProblem::NotReady.into());
        }
        let cloud = self.parts.clouds.named(integration.provider.cloud());
        let defaults = session.wish.defaults_of(key);
        Ok(Scene { session, tenant, integration, app, cloud, defaults, browser })
    }
}

/// Where a step goes on.
enum Goes {
    Leave(Url),
    Wait,
    Made(Box<Upserted>),
}

/// The first use of the connection makes up for it.
fn noted(result: Result<(), TokenError>) {
    if let Err(error) = result {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the sign-in of a new connection could not be noted");
    }
}

/// Whether a session may be begun with.
///
/// # Errors
/// Why not: it was used, or is over.
pub fn check_open(session: &Session, now: DateTime<Utc>) -> Result<(), ConnectProblem> {
    if session.connected_at.is_some() {
        Err(ConnectProblem::SessionUsed)
    } else if session.expires_at <= now {
        Err(ConnectProblem::SessionExpired)
    } else {
        Ok(())
    }
}
