//! The notifications that are sent: basic ones of exactly 1 kB, as Graph writes them, each for a connection drawn at
//! random, each with a number of its own by which the receiver knows it again. All that differs between two requests has
//! a fixed width, so that a request is made by writing into the last one.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{ledger::Ledger, load::Source};

/// The unique key of the integration that every environment has.
pub(crate) const INTEGRATION: &str = "graph";
/// The change that endpoints want, and one that none wants: the same work up to the choice of endpoints.
pub(crate) const WANTED: &str = "created";
pub(crate) const UNWANTED: &str = "deleted";

const BODY_BYTES: usize = 1_000;
const MARK: &str = "waypost-bench-";
const DIGITS: usize = 12;
const UUID_LENGTH: usize = 36;
const ENVIRONMENT: &str = "00000000-0000-4000-8000-00000000000e";
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-00000000000b";
const CLIENT_STATE: &str = "00000000-0000-4000-8000-00000000000c";
const TENANT: &str = "00000000-0000-4000-8000-00000000000d";

/// Whom notifications are for.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// The environments.
    pub(crate) environments: Vec<Environment>,
}

/// One environment, as a sender of notifications knows it.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Its id, as in the URL.
    pub(crate) id: String,
    /// The webhook secret, which Graph repeats as `clientState`.
    pub(crate) client_state: String,
    /// The customers' connections.
    pub(crate) connections: Vec<Connection>,
}

/// One customer.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its Entra tenant.
    pub(crate) tenant: String,
    /// The Graph subscription that notifies for it.
    pub(crate) subscription: String,
}

/// A request to be written into, and where.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    environment: usize,
    subscription: usize,
    client_state: usize,
    tenant: usize,
    number: usize,
}

/// The requests of one connection of the load.
#[derive(Debug)]
pub(crate) struct Notifications {
    template: Template,
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    random: Random,
    current: usize,
}

impl Notifications {
    /// Notifications of `change` for the fleet, from a stream of random numbers of its own.
    pub(crate) fn new(
        address: SocketAddr,
        change: &str,
        fleet: &Arc<Fleet>,
        ledger: &Arc<Ledger>,
        stream: usize,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            fleet.environments.iter().all(|environment| !environment.connections.is_empty()),
            "the fleet has an environment without connections"
        );
        anyhow::ensure!(!fleet.environments.is_empty(), "the fleet has no environments");
        Ok(Self {
            template: Template::new(address, change)?,
            fleet: Arc::clone(fleet),
            ledger: Arc::clone(ledger),
            random: Random::new(stream),
            current: 0,
        })
    }
}

impl Source for Notifications {
    fn next(&mut self, due: Instant) -> Option<&[u8]> {
        let environment = &self.fleet.environments[self.random.below(self.fleet.environments.len())];
        let connection = &environment.connections[self.random.below(environment.connections.len())];
        self.current = self.ledger.send(due)?;
        self.template.write(environment, connection, self.current);
        Some(&self.template.bytes)
    }

    fn answered(&mut self, status: u16) {
        self.ledger.answered(self.current, status);
    }
}

impl Template {
    fn new(address: SocketAddr, change: &str) -> anyhow::Result<Self> {
        let body = body(change)?;
        let text = format!(
            "POST /webhook/{ENVIRONMENT}/{INTEGRATION} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json; \
             charset=utf-8\r\naccept: */*\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let place = |wanted: &str| {
            text.find(wanted).ok_or_else(|| anyhow::anyhow!("the notification lacks {wanted}"))
        };
        Ok(Self {
            environment: place(ENVIRONMENT)?,
            subscription: place(SUBSCRIPTION)?,
            client_state: place(CLIENT_STATE)?,
            tenant: place(TENANT)?,
            number: place(MARK)? + MARK.len(),
            bytes: text.into_bytes(),
        })
    }

    fn write(&mut self, environment: &Environment, connection: &Connection, number: usize) {
        for (place, value) in [
            (self.environment, &environment.id),
            (self.subscription, &connection.subscription),
            (self.client_state, &environment.client_state),
            (self.tenant, &connection.tenant),
        ] {
            self.bytes[place..place + UUID_LENGTH].copy_from_slice(value.as_bytes());
        }
        let mut rest = number;
        for place in (self.number..self.number + DIGITS).rev() {
            self.bytes[place] = b"0123456789"[rest % 10];
            rest /= 10;
        }
    }
}

/// A notification of exactly the wanted size: a long message id fills it up, as Graph's ids do.
fn body(change: &str) -> anyhow::Result<String> {
    let with = |id: &str| {
        let user = "6a3b0c1e-3f0b-4c54-9a64-2d0d7d1c9b11";
        format!(
            r##"{{"value":[{{"subscriptionId":"{SUBSCRIPTION}","subscriptionExpirationDateTime":"2026-11-30T18:23:45.9356913Z","clientState":"{CLIENT_STATE}","changeType":"{change}","resource":"Users/{user}/Messages/{MARK}{:0DIGITS$}","tenantId":"{TENANT}","resourceData":{{"@odata.type":"#Microsoft.Graph.Message","@odata.id":"Users/{user}/Messages/{id}","@odata.etag":"W/\"CQAAABYAAADZ8+8nNbCfRr4hPpRFiJ0mAAABjTqV\"","id":"{id}"}}}}]}}"##,
            0
        )
    };
    let missing = BODY_BYTES.checked_sub(with("").len());
    let missing = missing.ok_or_else(|| anyhow::anyhow!("the notification is too long"))?;
    // The id stands there twice; an odd byte goes into white space, which JSON permits.
    let id: String = "AAMkAGUwNjQ4ZjIxLTQ3Y2YtNDViMi1iZjc4LTMw".chars().cycle().take(missing / 2).collect();
    let mut body = with(&id);
    body.push_str(&" ".repeat(missing % 2));
    Ok(body)
}

/// The number of the notification that a delivery's body holds.
pub(crate) fn number_in(body: &[u8]) -> Option<usize> {
    let mark = MARK.as_bytes();
    let start = body.windows(mark.len()).position(|window| window == mark)? + mark.len();
    std::str::from_utf8(body.get(start..start + DIGITS)?).ok()?.parse().ok()
}

/// A random connection, as ids go.
pub(crate) fn random_connection() -> Connection {
    Connection { tenant: Uuid::new_v4().to_string(), subscription: Uuid::new_v4().to_string() }
}

/// A plain source of even random numbers (`SplitMix64`): the load's own cost has to stay small.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(stream: usize) -> Self {
        let seed = u64::try_from(stream).unwrap_or_default();
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x5eed))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(bound).unwrap_or(1).max(1);
        usize::try_from(mixed % bound).unwrap_or_default()
    }
}

/// The load of the bare server: the same bytes again and again.
#[derive(Debug, Clone)]
pub(crate) struct Same(Vec<u8>);

impl Same {
    /// A notification that is never written into.
    pub(crate) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self(Template::new(address, WANTED)?.bytes))
    }
}

impl Source for Same {
    fn next(&mut self, _due: Instant) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn answered(&mut self, _status: u16) {}
}

/// How many notifications a run may hold at most: more than this machine can take in that time.
pub(crate) fn capacity(duration: Duration) -> usize {
    const MOST_PER_SECOND: u64 = 150_000;
    usize::try_from((duration.as_secs() + 1) * MOST_PER_SECOND).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{BODY_BYTES, Environment, Template, number_in, random_connection};

    #[test]
    fn a_notification_has_its_size_and_is_found_again_by_its_number() {
        let mut template = Template::new(SocketAddr::from(([127, 0, 0, 1], 80)), "created").unwrap();
        let id = "3c5e3f5a-9d6b-4f6e-8f0a-1b2c3d4e5f60".to_owned();
        let environment = Environment { id: id.clone(), client_state: id.clone(), connections: Vec::new() };

        template.write(&environment, &random_connection(), 4_711);

        let text = String::from_utf8(template.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("POST /webhook/{id}/graph ")));
        assert_eq!(body.len(), BODY_BYTES);
        assert_eq!(number_in(body.as_bytes()), Some(4_711));
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["value"][0]["clientState"], id.as_str());
    }

    #[test]
    fn a_body_without_a_number_is_nobodys() {
        assert_eq!(number_in(b"{}"), None);
        assert_eq!(number_in(b"waypost-bench-12"), None);
    }
}
