//! As much of an HTTP/1.1 server as a receiver needs: small, and free to break the rules.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::record::Received;
use super::reply::{First, Manner, Reply};

/// The largest head that is read.
const LARGEST_HEAD: usize = 1 << 20;
/// The pause between two pieces of a body that never ends.
const DRIP: Duration = Duration::from_millis(20);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let tasks = TaskTracker::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        // A sender that goes away in the middle is nothing that a receiver minds.
        tasks.spawn(async move {
            let _gone = converse(stream, &shared).await;
        });
    }
}

async fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(received) = read(&mut stream).await? {
        let reply = shared.take(received);
        match &reply.first {
            First::Nothing => {}
            First::Delay(delay) => tokio::time::sleep(*delay).await,
            First::Gate(gate) => gate.opened().await,
        }
        match reply.manner {
            Manner::Proper => stream.write_all(&head(&reply, reply.body.len())).await?,
            Manner::Hang => std::future::pending().await,
            Manner::Drip => drip(&mut stream, &reply).await?,
            Manner::Reset => return reset(&stream.into_inner()),
            Manner::Cut => {
                stream.write_all(&head(&reply, 1000)).await?;
                stream.write_all(b"not a thousand bytes").await?;
                stream.flush().await?;
                return reset(&stream.into_inner());
            }
        }
        stream.write_all(&reply.body).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Closing with unsent data discarded is what sends a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

async fn drip(stream: &mut BufReader<TcpStream>, reply: &Reply) -> io::Result<()> {
    stream.write_all(&head(reply, usize::MAX >> 8)).await?;
    loop {
        stream.write_all(&[b'.'; 64]).await?;
        stream.flush().await?;
        tokio::time::sleep(DRIP).await;
    }
}

fn head(reply: &Reply, length: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} As Told\r\ncontent-length: {length}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Received>> {
    let Some(head) = read_head(stream).await? else { return Ok(None) };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").ok_or(io::ErrorKind::InvalidData)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| io::ErrorKind::InvalidData)?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| io::ErrorKind::InvalidData)?);
    }
    let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(Some(Received { at: Instant::now(), method, path, headers, body }))
}

/// Reads until the empty line; nothing when the connection was closed before a request began.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
        if head.len() > LARGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}
