//! A server for tests: real sockets on loopback, answers written byte by byte, so that it can misbehave.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a client and a server can talk over.
pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The first line.
    pub(crate) line: String,
    /// Names (as written) and values, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The bytes of the body.
    pub(crate) body: Vec<u8>,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
}

impl Request {
    /// All values of `name`.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let mine = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        mine.map(|(_, value)| value.as_str()).collect()
    }
}

/// Ends when the test does: what an answer waits on while it pretends to be slow.
pub(crate) struct TestEnd(Receiver<()>);

impl TestEnd {
    /// Waits until the test is over.
    pub(crate) fn wait(&self) {
        assert!(self.0.recv().is_err());
    }

    /// Waits for `time`; false once the test is over.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

/// A listening server. Takes one connection after the other, each until its answer says so.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _end: std::sync::mpsc::Sender<()>,
}

impl Server {
    /// Answers each request by writing `answer`'s bytes; the connection stays open for the next.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |stream, _| stream.write_all(&answer).is_ok())
    }

    /// Lets `answer` deal with each request. It says whether the connection goes on.
    pub(crate) fn start(answer: impl Fn(&mut TcpStream, &TestEnd) -> bool + Send + 'static) -> Self {
        Self::over(Some, answer)
    }

    /// The same over what `wrap` makes of a connection (`None` drops it).
    pub(crate) fn over<S: Stream>(
        wrap: impl Fn(TcpStream) -> Option<S> + Send + 'static,
        answer: impl Fn(&mut S, &TestEnd) -> bool + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = channel();
        let (seen, end) = (Arc::clone(&requests), TestEnd(receiver));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let Some(mut stream) = wrap(stream.unwrap()) else { continue };
                let requests = std::iter::from_fn(|| {
                    let request = read_request(&mut stream, connection)?;
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                    answer(&mut stream, &end).then_some(())
                });
                requests.for_each(drop);
            }
        });
        Self { address, requests, _end: sender }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL that leads to it, without TLS.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request so far.
    pub(crate) fn request(&self) -> Request {
        let [request] = self.requests().try_into().expect("exactly one request");
        request
    }
}

/// A listener that nobody may connect to.
pub(crate) struct Forbidden(TcpListener);

impl Forbidden {
    /// Listens on `address`.
    pub(crate) fn listen(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Fails when somebody connected. The kernel takes a connection before anyone accepts it, so none can be missed.
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.0.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

fn read_request(stream: &mut impl Read, connection: usize) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(Request { line, headers, body, connection })
}
