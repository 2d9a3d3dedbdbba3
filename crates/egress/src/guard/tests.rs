//! The table of addresses, odd spellings of hosts, and what resolvers may say.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

mod fairness;
mod name_server;

/// Gives the answers it was told, in order and then the last one for ever, and counts how often it was asked.
#[derive(Debug)]
pub(crate) struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Lookup for Scripted {
    fn addresses(&self, _host: &str) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(std::future::ready(answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))))
    }
}

#[derive(Debug)]
struct Silent;

impl Lookup for Silent {
    fn addresses(&self, _host: &str) -> Answer {
        Box::pin(std::future::pending())
    }
}

fn policy(allow: &[&str]) -> Policy {
    Policy::new(allow.iter().map(|net| net.parse().unwrap()))
}

fn guard(allow: &[&str], answers: &[&[&str]]) -> (Guard, Arc<Scripted>) {
    let lookup = Scripted::new(answers);
    (Guard::with_lookup(policy(allow), lookup.clone()), lookup)
}

async fn check(guard: &Guard, url: &str) -> Result<(), Refused> {
    guard.check_url(&EndpointUrl::parse(url).unwrap()).await
}

const CLOSED: [&str; 69] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    // The same in IPv6: unspecified, loopback, discard and dummy, unique local, link-local, site-local, multicast.
    "::",
    "::1",
    "100::1",
    "100:0:0:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "1::1",
    // IPv4 inside: mapped, compatible, translated, NAT64, local NAT64 and 6to4.
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:0:1::808:808",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a00:0:100:808:808",
    "64:ff9b:1:1::808:808",
    "64:ff9b:2::808:808",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
];

const OPEN: [&str; 26] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "3ffe:ffff::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::8.8.8.8",
    "2002:808:808::1",
];

#[test]
fn addresses_with_a_special_purpose_are_closed_to_both_transports() {
    for address in CLOSED {
        for transport in [Transport::Tls, Transport::Plain] {
            let verdict = policy(&[]).permits(transport, address.parse().unwrap());
            assert_eq!(verdict, Err(Refused::Network), "{address}");
        }
    }
}

#[test]
fn public_addresses_are_open_to_https_only() {
    for address in OPEN {
        let address = address.parse().unwrap();
        assert_eq!(policy(&[]).permits(Transport::Tls, address), Ok(()), "{address}");
        assert_eq!(policy(&[]).permits(Transport::Plain, address), Err(Refused::Plain), "{address}");
    }
}

#[test]
fn the_allow_list_opens_exactly_its_networks_to_both_transports() {
    let policy = policy(&["10.1.0.0/16", "fd00:1::/32", "8.8.8.0/24"]);
    for transport in [Transport::Tls, Transport::Plain] {
        for open in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00:1::9", "8.8.8.8"] {
            assert_eq!(policy.permits(transport, open.parse().unwrap()), Ok(()), "{open}");
        }
        for closed in
            ["10.0.255.255", "10.2.0.0", "fd00:2::1", "127.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::1"]
        {
            assert_eq!(policy.permits(transport, closed.parse().unwrap()), Err(Refused::Network), "{closed}");
        }
    }
}

#[test]
fn a_network_written_as_mapped_addresses_is_the_network_inside() {
    let policy = policy(&["::ffff:10.1.0.0/112"]);
    assert_eq!(policy.permits(Transport::Plain, "10.1.2.3".parse().unwrap()), Ok(()));
    assert_eq!(policy.permits(Transport::Plain, "10.2.2.3".parse().unwrap()), Err(Refused::Network));
}

#[tokio::test]
async fn every_spelling_of_an_inner_address_is_refused_without_asking_dns() {
    let (guard, lookup) = guard(&[], &[&["8.8.8.8"]]);
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "2130706433",
        "017700000001",
        "0",
        "%31%32%37.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
    ] {
        assert_eq!(check(&guard, &format!("https://{host}/x")).await, Err(Refused::Network), "{host}");
    }
    assert_eq!(lookup.asked(), 0);
}

#[tokio::test]
async fn a_literal_public_address_is_open_to_https_and_closed_to_http() {
    let (guard, lookup) = guard(&[], &[]);
    assert_eq!(check(&guard, "https://8.8.8.8/").await, Ok(()));
    assert_eq!(check(&guard, "http://8.8.8.8/").await, Err(Refused::Plain));
    assert_eq!(lookup.asked(), 0);
}

#[tokio::test]
async fn a_name_is_judged_by_its_addresses() {
    for (url, answer, wanted) in [
        ("https://hooks.example.com/", ["8.8.8.8", "2606:4700::1111"], Ok(())),
        ("https://hooks.example.com./", ["8.8.8.8", "8.8.4.4"], Ok(())),
        ("https://münchen.example/", ["8.8.8.8", "8.8.4.4"], Ok(())),
        ("http://hooks.example.com/", ["8.8.8.8", "8.8.4.4"], Err(Refused::Plain)),
        ("https://localhost/", ["127.0.0.1", "::1"], Err(Refused::Network)),
        ("https://a.localhost./", ["127.0.0.1", "::1"], Err(Refused::Network)),
        ("https://printer.local/", ["192.168.1.2", "fe80::1"], Err(Refused::Network)),
    ] {
        let (guard, lookup) = guard(&[], &[&answer]);
        assert_eq!(check(&guard, url).await, wanted, "{url}");
        assert_eq!(lookup.asked(), 1);
    }
}

#[tokio::test]
async fn one_forbidden_address_refuses_the_whole_answer_wherever_it_stands() {
    for answer in [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1111", "::1"]] {
        let (guard, _) = guard(&[], &[&answer]);
        assert_eq!(check(&guard, "https://hooks.example.com/").await, Err(Refused::Network));
    }
    // One that only http may not reach refuses http.
    let (guard, _) = guard(&["10.0.0.0/8"], &[&["10.0.0.1", "8.8.8.8"]]);
    assert_eq!(check(&guard, "http://hooks.example.com/").await, Err(Refused::Plain));
    assert_eq!(check(&guard, "https://hooks.example.com/").await, Ok(()));
}

#[tokio::test]
async fn a_name_without_addresses_or_with_too_many_is_refused() {
    let many: Vec<String> = (0..=MOST_ADDRESSES).map(|last| format!("8.8.4.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (answers, wanted) in [
        (&[][..], Err(Refused::Unresolved)),
        (&[&[][..]][..], Err(Refused::Unresolved)),
        (&[&many[..MOST_ADDRESSES]][..], Ok(())),
        (&[&many[..]][..], Err(Refused::Crowded)),
    ] {
        let (guard, _) = guard(&[], answers);
        assert_eq!(check(&guard, "https://hooks.example.com/").await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_is_given_up() {
    let started = tokio::time::Instant::now();
    let guard = Guard::with_lookup(Policy::default(), Arc::new(Silent));
    assert_eq!(check(&guard, "https://hooks.example.com/").await, Err(Refused::Slow));
    assert_eq!(started.elapsed().as_secs(), LOOKUP_LIMIT.as_secs());
}

#[tokio::test]
async fn the_system_resolver_knows_localhost_and_the_guard_refuses_it() {
    let guard = Guard::new(Policy::default());
    assert_eq!(check(&guard, "https://localhost/").await, Err(Refused::Network));
    let guard = Guard::new(policy(&["127.0.0.0/8", "::1/128"]));
    assert_eq!(check(&guard, "http://localhost:9/").await, Ok(()));
}

#[test]
fn no_reason_tells_an_address_or_a_name() {
    for refused in [Refused::Network, Refused::Plain, Refused::Unresolved, Refused::Slow] {
        let text = refused.to_string();
        assert!(!text.bytes().any(|byte| byte.is_ascii_digit()), "{text}");
    }
}
