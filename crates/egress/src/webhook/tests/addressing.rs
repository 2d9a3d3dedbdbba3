//! Where an attempt may go: proven by listeners that must see nothing.

use std::process::Command;

use super::*;
use crate::guard::tests::Scripted;
use crate::test_server::{Forbidden, Server};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FORBIDDEN: Outcome = Outcome::Failed(Failure::Forbidden);

#[tokio::test]
async fn a_literal_inner_address_is_refused_and_sees_no_connection() {
    let listener = Forbidden::listen(LOOPBACK);
    let closed = WebhookClient::new(Guard::new(Policy::default()), &short()).unwrap();
    for scheme in ["http", "https"] {
        for host in
            ["127.0.0.1", "2130706433", "0x7f.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "0", "localhost"]
        {
            let url = format!("{scheme}://{host}:{}/", listener.port());
            assert_eq!(send(&closed, &url).await, FORBIDDEN, "{url}");
        }
    }
    listener.assert_untouched();
}

#[tokio::test]
async fn a_name_that_turns_inwards_after_it_was_saved_is_refused_at_connect() {
    let listener = Forbidden::listen(LOOPBACK);
    let lookup = Scripted::new(&[&["8.8.8.8"], &["127.0.0.1"]]);
    let guard = Guard::with_lookup(Policy::default(), lookup.clone());
    let url = format!("https://rebind.example:{}/", listener.port());
    assert_eq!(guard.check_url(&EndpointUrl::parse(&url).unwrap()).await, Ok(()));
    let client = WebhookClient::new(guard, &short()).unwrap();
    assert_eq!(send(&client, &url).await, FORBIDDEN);
    assert_eq!(lookup.asked(), 2);
    listener.assert_untouched();
}

#[tokio::test]
async fn an_answer_with_one_inner_address_is_refused_at_connect() {
    let listener = Forbidden::listen(LOOPBACK);
    let lookup = Scripted::new(&[&["127.0.0.1", "10.0.0.1"]]);
    let policy = Policy::new(["127.0.0.0/8".parse().unwrap()]);
    let client = WebhookClient::new(Guard::with_lookup(policy, lookup), &short()).unwrap();
    assert_eq!(send(&client, &format!("http://mixed.example:{}/", listener.port())).await, FORBIDDEN);
    listener.assert_untouched();
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_connected_to() {
    let server = Server::answering(OK);
    let lookup = Scripted::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let policy = Policy::new(["127.0.0.0/8".parse().unwrap()]);
    let client = WebhookClient::new(Guard::with_lookup(policy, lookup.clone()), &short()).unwrap();
    let url = format!("http://once.example:{}/hook", server.address().port());
    assert_eq!(answered(send(&client, &url).await).0, 200);
    assert_eq!(lookup.asked(), 1);
    assert_eq!(server.request().values("host"), [format!("once.example:{}", server.address().port())]);
}

#[tokio::test]
async fn once_a_connection_has_aged_out_the_name_is_looked_up_and_judged_again() {
    let server = Server::answering(OK);
    let lookup = Scripted::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let policy = Policy::new(["127.0.0.0/8".parse().unwrap()]);
    let config = Config { idle_timeout: Duration::from_nanos(1), ..short() };
    let client = WebhookClient::new(Guard::with_lookup(policy, lookup.clone()), &config).unwrap();
    let url = format!("http://moved.example:{}/hook", server.address().port());
    assert_eq!(answered(send(&client, &url).await).0, 200);
    assert_eq!(send(&client, &url).await, FORBIDDEN);
    assert_eq!(lookup.asked(), 2);
}

#[tokio::test]
async fn http_to_a_public_address_is_refused_at_connect() {
    let client = WebhookClient::new(loopback_open(), &short()).unwrap();
    assert_eq!(send(&client, "http://8.8.8.8/").await, FORBIDDEN);
    let lookup = Scripted::new(&[&["8.8.8.8"]]);
    let client = WebhookClient::new(Guard::with_lookup(Policy::default(), lookup), &short()).unwrap();
    assert_eq!(send(&client, "http://hooks.example.com/").await, FORBIDDEN);
}

#[tokio::test]
async fn a_name_without_addresses_is_a_dns_failure() {
    let client =
        WebhookClient::new(Guard::with_lookup(Policy::default(), Scripted::new(&[])), &short()).unwrap();
    assert_eq!(send(&client, "https://nowhere.example/").await, Outcome::Failed(Failure::Dns));
}

/// Runs itself again as a process whose environment names a proxy, since a process can't safely change its own.
#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    const TARGET: &str = "WAYPOST_TEST_TARGET";
    if let Ok(url) = std::env::var(TARGET) {
        assert_eq!(answered(send(&client(&Config::default()), &url).await).0, 200);
        return;
    }
    let (proxy, server) = (Forbidden::listen(LOOPBACK), Server::answering(OK));
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "webhook::tests::addressing::a_proxy_of_the_environment_is_not_used"]);
    child.env(TARGET, server.url()).env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, format!("http://127.0.0.1:{}", proxy.port()));
    }
    assert!(child.output().unwrap().status.success());
    assert_eq!(server.requests().len(), 1);
    proxy.assert_untouched();
}
