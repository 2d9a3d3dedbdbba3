//! What a simulator is started with. Values only; nothing here opens or checks anything.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// Client id of the application that the default configuration registers.
pub const DEMO_CLIENT_ID: Uuid = Uuid::from_u128(0x2a7d_9f3e_51c4_4b0e_9d57_3f0c_88b1_6a01);
/// Secret of that application. It opens nothing but a simulator.
pub const DEMO_CLIENT_SECRET: &str = "simulator-secret";
/// The tenants that the default configuration knows.
pub const DEMO_TENANTS: [Uuid; 2] = [
    Uuid::from_u128(0x84bd_8158_6d4d_4958_8b9f_9d64_4554_2f95),
    Uuid::from_u128(0x1c0b_2f6e_7a35_4d8c_b1f2_60c9_4e7d_a302),
];
/// Their domains, in the same order.
pub const DEMO_DOMAINS: [&str; 2] = ["contoso.example", "fabrikam.example"];

/// The people that the default configuration knows: an administrator and an ordinary one, for each tenant.
pub const DEMO_USERS: [Uuid; 4] = [
    Uuid::from_u128(0x5a1e_0b7c_93d2_4c56_a1f7_22e8_40b9_c101),
    Uuid::from_u128(0x5a1e_0b7c_93d2_4c56_a1f7_22e8_40b9_c102),
    Uuid::from_u128(0x8c44_77f0_1b6d_4e39_b8a3_91d5_0ce2_d201),
    Uuid::from_u128(0x8c44_77f0_1b6d_4e39_b8a3_91d5_0ce2_d202),
];

/// The application id under which Microsoft Graph obtains validation tokens.
const CHANGE_TRACKING_APP_ID: Uuid = Uuid::from_u128(0x0bf3_0f3b_4a52_48df_9a82_2349_10c4_a086);

/// An application registration. More secrets, certificates and redirect addresses come by the control.
#[derive(Debug, Clone)]
pub struct App {
    /// Application (client) id.
    pub client_id: Uuid,
    /// Its first client secret, which has no end.
    pub client_secret: SecretString,
}

/// An Entra tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Directory (tenant) id.
    pub id: Uuid,
    /// Its verified domain, an alias of the id at the sign-in endpoints.
    pub domain: String,
}

/// A person of a tenant, who can sign in and, as an administrator, consent for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Object id.
    pub id: Uuid,
    /// Whose person.
    pub tenant: Uuid,
    /// The name to sign in with.
    pub user_name: String,
    /// The name that people read.
    pub display_name: String,
    /// Whether an administrator.
    #[serde(default)]
    pub admin: bool,
}

/// Everything a simulator is told at its start.
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address clients are told (issuers, next links); the bound address when absent.
    pub public_url: Option<Url>,
    /// Registered applications.
    pub apps: Vec<App>,
    /// Known tenants.
    pub tenants: Vec<Tenant>,
    /// People of these tenants.
    pub users: Vec<User>,
    /// Where the registered applications may let people return.
    pub redirect_uris: Vec<Url>,
    /// Every application has consent in every tenant until it is revoked; otherwise none has until it is given.
    pub consent_given: bool,
    /// Accept `http` notification URLs on the loopback interface. Graph itself takes `https` only.
    pub notification_http_allowed: bool,
    /// Certificate authorities (DER) that the client of notifications trusts; it trusts nobody else.
    pub trusted_roots: Vec<Vec<u8>>,
    /// Life of an access token.
    pub access_token_lifetime: Duration,
    /// Who is named as publisher in validation tokens.
    pub publisher_app_id: Uuid,
    /// What the subscriptions API enforces.
    pub rules: Rules,
    /// How notifications are sent.
    pub delivery: DeliveryPolicy,
    /// Seed of the generator behind fault probabilities.
    pub fault_seed: u64,
    /// Threads that serve HTTP.
    pub workers: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        let tenants = DEMO_TENANTS.iter().zip(DEMO_DOMAINS);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            apps: vec![App { client_id: DEMO_CLIENT_ID, client_secret: DEMO_CLIENT_SECRET.into() }],
            tenants: tenants.map(|(&id, domain)| Tenant { id, domain: domain.to_owned() }).collect(),
            users: demo_users(),
            redirect_uris: Vec::new(),
            consent_given: true,
            notification_http_allowed: false,
            trusted_roots: Vec::new(),
            access_token_lifetime: Duration::from_secs(3599),
            publisher_app_id: CHANGE_TRACKING_APP_ID,
            rules: Rules::default(),
            delivery: DeliveryPolicy::default(),
            fault_seed: 0,
            workers: 2,
        }
    }
}

/// An administrator and an ordinary person in each tenant.
fn demo_users() -> Vec<User> {
    let tenants = DEMO_TENANTS.iter().zip(DEMO_DOMAINS).zip(DEMO_USERS.chunks(2));
    tenants
        .flat_map(|((&tenant, domain), ids)| {
            let names = [("Adele Vance", "adele", true), ("Alex Wilber", "alex", false)];
            ids.iter().zip(names).map(move |(&id, (display_name, name, admin))| User {
                id,
                tenant,
                user_name: format!("{name}@{domain}"),
                display_name: display_name.to_owned(),
                admin,
            })
        })
        .collect()
}

/// The numbers behind the subscriptions API's refusals.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Subscriptions on one page of the list.
    pub list_page_size: usize,
    /// Active subscriptions that one application may hold in one tenant.
    pub quota_per_app_and_tenant: usize,
    /// Active subscriptions in one mailbox, of all applications together.
    pub quota_per_mailbox: usize,
    /// Active subscriptions to users and groups that one application may hold in one tenant.
    pub quota_of_directory: usize,
    /// Active subscriptions to all that is of Teams in one tenant, of all applications together.
    pub quota_of_teams: usize,
    /// Active subscriptions of the whole simulator; bounds its memory.
    pub max_subscriptions: usize,
    /// Answer 429 above the published call rates.
    pub throttling: bool,
    /// Accept resources that Graph offers to delegated callers only (presence, to-do lists, …) from app-only ones too.
    pub delegated_resources_allowed: bool,
    /// Refuse a second subscription of one application for the same resource and change types.
    pub duplicates_refused: bool,
    /// Ceilings in minutes that replace those of the table, by kind of resource (`message`, `chatMessage`, …).
    pub ceilings: BTreeMap<String, u32>,
    /// How long an endpoint may take to answer the handshake.
    pub handshake_limit: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            list_page_size: 100,
            quota_per_app_and_tenant: 1_000,
            quota_per_mailbox: 1_000,
            quota_of_directory: 100,
            quota_of_teams: 10_000,
            max_subscriptions: 100_000,
            throttling: true,
            delegated_resources_allowed: false,
            duplicates_refused: true,
            ceilings: BTreeMap::new(),
            handshake_limit: Duration::from_secs(10),
        }
    }
}

/// How notifications are sent, in the machine's time (not in that of the injected clock: these are waits on sockets).
#[derive(Debug, Clone)]
pub struct DeliveryPolicy {
    /// Limit of the first try; an answer past it counts as slow.
    pub first_limit: Duration,
    /// Limit of every further try; reaching it counts towards the drop state.
    pub retry_limit: Duration,
    /// Wait before the first retry; it doubles with each.
    pub first_backoff: Duration,
    /// Longest wait between two tries.
    pub max_backoff: Duration,
    /// No try starts later than this after the first one.
    pub window: Duration,
    /// The stretch of time over which an endpoint's answers are judged.
    pub judged_over: Duration,
    /// How long the slow and the drop state last before the endpoint is judged anew.
    pub hold: Duration,
    /// Fewer answers than this are no ground for a judgement.
    pub minimum_answers: usize,
    /// Requests at one time.
    pub max_in_flight: usize,
    /// Deliveries not yet settled; more are refused.
    pub max_outstanding: usize,
    /// Delivery records kept; the oldest settled ones go first.
    pub max_records: usize,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            first_limit: Duration::from_secs(3),
            retry_limit: Duration::from_secs(10),
            first_backoff: Duration::from_secs(10),
            max_backoff: Duration::from_mins(15),
            window: Duration::from_hours(4),
            judged_over: Duration::from_mins(10),
            hold: Duration::from_mins(10),
            minimum_answers: 10,
            max_in_flight: 256,
            max_outstanding: 50_000,
            max_records: 50_000,
        }
    }
}

impl DeliveryPolicy {
    /// The same policy with all waits between tries divided by `factor`; the limits of a try stay, as the receiver is
    /// as fast as it is.
    #[must_use]
    pub fn faster(self, factor: u32) -> Self {
        let factor = factor.max(1);
        Self {
            first_backoff: self.first_backoff / factor,
            max_backoff: self.max_backoff / factor,
            window: self.window / factor,
            judged_over: self.judged_over / factor,
            hold: self.hold / factor,
            ..self
        }
    }
}
