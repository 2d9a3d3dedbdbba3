//! `waypost healthcheck`: asks the process on this machine whether it is ready. Must not need anything of
//! the program but a socket, so that a container can call it every few seconds.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(3);
const PATH: &str = "/health/ready";
/// More than the answer ever has.
const LONGEST_ANSWER: u64 = 8 * 1024;

/// Fails unless the admin listener says that the process is ready.
pub(super) async fn run(admin_listen: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(admin_listen);
    let answer = timeout(PATIENCE, ask(address))
        .await
        .with_context(|| format!("no answer from http://{address}{PATH} within {} s", PATIENCE.as_secs()))?
        .with_context(|| format!("no Waypost answers at http://{address}{PATH}"))?;
    let status = answer.split_whitespace().nth(1).unwrap_or("no status");
    if status != "200" {
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        bail!("not ready: {status} from http://{address}{PATH} {body}");
    }
    Ok(())
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where to reach a listener from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_util::task::TaskTracker;

    use super::run;

    async fn against(answer: &'static str) -> anyhow::Result<()> {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let result = run(address).await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn a_ready_process_is_healthy() {
        against("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_not_ready_is_not_healthy_and_says_why() {
        let error =
            against("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"database\":\"down\"}").await.unwrap_err();

        assert!(error.to_string().contains("503") && error.to_string().contains("down"), "{error}");
    }

    #[tokio::test]
    async fn no_process_is_not_healthy() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();

        assert!(run(address).await.unwrap_err().to_string().contains("no Waypost answers"));
    }
}
