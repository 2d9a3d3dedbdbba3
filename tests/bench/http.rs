//! The cheapest client that can measure a server on the same machine: one kept-alive connection, one request at a time,
//! requests made elsewhere as bytes. Understands exactly the answers that Waypost and the bare server give: a status
//! line, headers, and a body of a stated length. Must not be used for anything but measuring.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const END_OF_HEADERS: &[u8] = b"\r\n\r\n";
const FIRST_BUFFER: usize = 4 * 1024;
/// Far above what is ever answered here.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, still in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

struct Head {
    status: u16,
    body: usize,
    end: usize,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; FIRST_BUFFER] })
    }

    /// Sends one request, given as all of its bytes, and reads the answer whole. After an error the connection is of
    /// no more use.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= LARGEST_ANSWER {
                    return Err(io::Error::other("the answer is too long"));
                }
                self.buffer.resize(filled * 2, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(head) = Head::parse(&self.buffer[..filled])?
                && filled >= head.end
            {
                return Ok(Answer { status: head.status, body: &self.buffer[head.body..head.end] });
            }
        }
    }
}

impl Head {
    /// Reads the head of an answer; `None` when it is not complete yet.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(END_OF_HEADERS.len()).position(|window| window == END_OF_HEADERS)
        else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer has no status"))?;
        let mut length = 0;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("the answer has no stated length"));
            }
        }
        let body = end + END_OF_HEADERS.len();
        Ok(Some(Self { status, body, end: body + length }))
    }
}

/// The bytes of a request with a JSON body, or without one where `body` is empty.
pub(crate) fn request(method: &str, path: &str, bearer: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = bearer.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}{kind}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let head = Head::parse(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nokXX").unwrap().unwrap();
        assert_eq!((head.status, head.body, head.end), (202, 44, 46));
    }

    #[test]
    fn half_a_head_is_not_an_answer_yet() {
        assert!(Head::parse(b"HTTP/1.1 202 Accepted\r\ncontent-le").unwrap().is_none());
    }

    #[test]
    fn an_answer_without_a_length_has_no_body() {
        let head = Head::parse(b"HTTP/1.1 202 Accepted\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.body, head.end);
    }
}
