//! Certificates and handshakes, over a real TLS server.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::test_server::Server;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

fn serve(certified: &CertifiedKey<KeyPair>) -> Server {
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream: TcpStream| {
        Some(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).ok()?, stream))
    };
    Server::over(wrap, |stream, _| stream.write_all(OK).is_ok())
}

fn trusting(certified: &CertifiedKey<KeyPair>) -> WebhookClient {
    client(&Config { extra_roots: vec![certified.cert.der().to_vec()], ..Config::default() })
}

fn url(server: &Server) -> String {
    format!("https://127.0.0.1:{}/hook", server.address().port())
}

#[tokio::test]
async fn a_trusted_certificate_of_the_right_name_is_accepted() {
    let certified = certificate("127.0.0.1");
    let server = serve(&certified);
    assert_eq!(answered(send(&trusting(&certified), &url(&server)).await).0, 200);
    assert_eq!(server.request().body, BODY);
}

#[tokio::test]
async fn a_self_signed_certificate_is_a_tls_failure() {
    let server = serve(&certificate("127.0.0.1"));
    let outcome = send(&trusting(&certificate("127.0.0.1")), &url(&server)).await;
    assert_eq!(outcome, Outcome::Failed(Failure::Tls));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_name_is_a_tls_failure() {
    let certified = certificate("other.example");
    let server = serve(&certified);
    assert_eq!(send(&trusting(&certified), &url(&server)).await, Outcome::Failed(Failure::Tls));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_or_hangs_up_on_the_handshake_is_a_tls_failure() {
    let plain = Server::over(
        |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            Some(stream)
        },
        |_, _| false,
    );
    assert_eq!(send(&client(&short()), &url(&plain)).await, Outcome::Failed(Failure::Tls));
    let closing = Server::over(
        |stream: TcpStream| {
            // All of the hello is read before the end, so that the end is no reset.
            let mut header = [0; 5];
            std::io::Read::read_exact(&mut &stream, &mut header).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            std::io::Read::read_exact(&mut &stream, &mut hello).unwrap();
            None::<TcpStream>
        },
        |_, _| false,
    );
    assert_eq!(send(&client(&short()), &url(&closing)).await, Outcome::Failed(Failure::Tls));
}

#[tokio::test]
async fn a_handshake_that_hangs_is_left_at_the_deadline() {
    let server = Server::start(|_, _| false);
    assert_eq!(send(&client(&short()), &url(&server)).await, Outcome::Failed(Failure::Timeout));
}

#[test]
fn a_malformed_extra_root_is_refused_when_the_client_is_made() {
    let config = Config { extra_roots: vec![b"nonsense".to_vec()], ..Config::default() };
    assert!(WebhookClient::new(loopback_open(), &config).is_err());
}
