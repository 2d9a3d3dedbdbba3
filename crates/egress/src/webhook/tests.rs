//! Attempts over real sockets on loopback.

mod addressing;
mod answers;
mod headers;
mod tls;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use chrono::{TimeZone as _, Utc};
use http::HeaderName;
use waypost_core::endpoint::{EndpointStatus, EndpointUrl};
use waypost_core::id::{EndpointId, EventId};
use waypost_crypto::signature::{EndpointSecret, SigningKey};

use super::*;
use crate::guard::Policy;

const BODY: &[u8] = br#"{"connectionId":"conn-1","payload":{"value":[1.0,"\u00e4"]},"type":"forward"}"#;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Short enough for tests of what hangs.
fn short() -> Config {
    let limit = Duration::from_millis(300);
    Config { timeout: limit, connect_timeout: limit, ..Config::default() }
}

fn loopback_open() -> Guard {
    Guard::new(Policy::new(["127.0.0.0/8".parse().unwrap()]))
}

fn client(config: &Config) -> WebhookClient {
    WebhookClient::new(loopback_open(), config).unwrap()
}

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
}

fn target(url: &str) -> Target {
    Target {
        endpoint: EndpointId::at(noon()),
        url: EndpointUrl::parse(url).unwrap(),
        headers: Vec::new(),
        secrets: vec![EndpointSecret::generate()],
        signing_key: SigningKey::new("11111111-2222-4333-8444-555555555555".to_owned()),
        status: EndpointStatus::Enabled,
    }
}

fn with_header(mut target: Target, name: &'static str, value: &str) -> Target {
    target.headers.push((HeaderName::from_static(name), value.to_owned().into()));
    target
}

fn message() -> Message {
    Message {
        event: EventId::at(noon()),
        body: Bytes::from_static(BODY),
        item_keys: "key-1,key-2".into(),
        rich: false,
        fetch: None,
    }
}

fn stamp_at(at: DateTime<Utc>) -> Stamp {
    Stamp { delivery: DeliveryId::at(noon()), attempt: 3, at }
}

async fn send(client: &WebhookClient, url: &str) -> Outcome {
    client.send(&target(url), &message(), stamp_at(noon())).await.unwrap()
}

fn answered(outcome: Outcome) -> (u16, Response) {
    let Outcome::Answered { status, response, .. } = outcome else { panic!("no answer: {outcome:?}") };
    (status, response)
}

#[test]
fn of_several_retry_afters_the_longest_usable_one_counts() {
    let read = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, http::HeaderValue::from_static(value));
        }
        retry_after(&headers, DateTime::UNIX_EPOCH)
    };
    assert_eq!(read(&["5", "120", "1.5", "0"]), Some(TimeDelta::seconds(120)));
    assert_eq!(read(&["soon", "0"]), Some(TimeDelta::seconds(1)));
    assert_eq!(read(&["soon"]), None);
}
