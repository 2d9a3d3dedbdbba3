//! A DNS server on loopback, and what the system's look-up makes of its answers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use futures_util::future::join_all;

use super::*;

/// The record type of IPv4 addresses.
const A: [u8; 2] = [0, 1];

/// Answers questions for IPv4 addresses from a table; a name that isn't in it gets no answer at all.
pub(super) struct NameServer {
    address: SocketAddr,
    table: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
}

impl NameServer {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let table: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>> = Arc::default();
        let known = Arc::clone(&table);
        // Ends with the test's process.
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if let Some(answer) = answer(&packet[..length], &known.lock().unwrap()) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, table }
    }

    pub(super) fn set(&self, name: &str, addresses: &[[u8; 4]]) {
        let addresses = addresses.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
        self.table.lock().unwrap().insert(format!("{name}."), addresses);
    }

    pub(super) fn guard(&self, policy: Policy) -> Guard {
        Guard::with_lookup(policy, Arc::new(SystemLookup::asking(vec![self.address])))
    }
}

fn answer(question: &[u8], table: &HashMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = String::new();
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push_str(&String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        name.push('.');
        at = end;
    }
    let asked = &question[at + 1..at + 5];
    let addresses = table.get(&name)?;
    let addresses = if asked[..2] == A { addresses.as_slice() } else { &[] };
    // The same id; an answer with recursion; one question; the answers; nothing else.
    let mut packet = question[..2].to_vec();
    packet.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    packet.extend(&question[12..at + 5]);
    for address in addresses {
        // A pointer to the question's name; A, IN; an hour to live; four bytes.
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        packet.extend(address.octets());
    }
    Some(packet)
}

#[tokio::test]
async fn a_name_is_looked_up_at_the_name_server_and_judged() {
    let server = NameServer::start();
    server.set("hooks.example.com", &[[8, 8, 8, 8], [8, 8, 4, 4]]);
    server.set("my_hooks.example.com", &[[8, 8, 8, 8]]);
    server.set("inner.example.com", &[[8, 8, 8, 8], [10, 0, 0, 1]]);
    server.set("nothing.example.com", &[]);
    let guard = server.guard(Policy::default());
    assert_eq!(check(&guard, "https://hooks.example.com/").await, Ok(()));
    assert_eq!(check(&guard, "https://Hooks.Example.com./").await, Ok(()));
    assert_eq!(check(&guard, "https://my_hooks.example.com/").await, Ok(()));
    assert_eq!(check(&guard, "https://inner.example.com/").await, Err(Refused::Network));
    assert_eq!(check(&guard, "https://nothing.example.com/").await, Err(Refused::Unresolved));
}

#[tokio::test]
async fn no_answer_is_kept_however_long_it_says_it_lives() {
    let server = NameServer::start();
    server.set("rebind.example.com", &[[8, 8, 8, 8]]);
    let guard = server.guard(Policy::default());
    assert_eq!(check(&guard, "https://rebind.example.com/").await, Ok(()));
    server.set("rebind.example.com", &[[127, 0, 0, 1]]);
    assert_eq!(check(&guard, "https://rebind.example.com/").await, Err(Refused::Network));
    server.set("rebind.example.com", &[]);
    assert_eq!(check(&guard, "https://rebind.example.com/").await, Err(Refused::Unresolved));
    server.set("rebind.example.com", &[[8, 8, 8, 8]]);
    assert_eq!(check(&guard, "https://rebind.example.com/").await, Ok(()));
}

#[tokio::test]
async fn two_hundred_names_without_an_answer_do_not_hold_up_another() {
    let server = NameServer::start();
    server.set("hooks.example.com", &[[8, 8, 8, 8]]);
    let guard = server.guard(Policy::default());
    let urls: Vec<_> = (0..200).map(|number| format!("https://n{number}.slow.example/")).collect();
    let slow = join_all(urls.iter().map(|url| check(&guard, url)));
    let fast = async {
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(1), check(&guard, "https://hooks.example.com/")).await
    };
    tokio::select! {
        verdicts = slow => panic!("a name server that is silent has answered: {verdicts:?}"),
        verdict = fast => assert_eq!(verdict, Ok(Ok(()))),
    }
}
