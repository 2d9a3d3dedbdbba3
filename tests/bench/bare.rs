//! The limit of the HTTP part: an actix-web server that reads a body and answers 202, as a process of its own with as
//! many workers as Waypost has. Must not do anything else.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;

/// As Waypost has them for its public listener, on machines with so many cores.
pub(crate) const WORKERS: usize = 4;

/// A bare server that ends with this value.
#[derive(Debug)]
pub(crate) struct BareServer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl BareServer {
    /// Starts this program again, as a bare server.
    pub(crate) fn start(workers: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let mut child = Command::new(program)
            .arg(format!("--bare-server={workers}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the bare server cannot be started")?;
        let output = child.stdout.take().context("the bare server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the bare server did not say where it listens")?;
        Ok(Self { child, address })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // Already gone is fine; anything else shows in the next figures.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// Serves until standard input closes: the kernel does that however the benchmark ends.
pub(crate) fn serve(workers: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(|| App::new().default_service(web::to(take)))
            .workers(workers)
            .disable_signals()
            .listen(listener)?
            .run();
        writeln!(std::io::stdout(), "{address}")?;
        let caller_is_gone =
            actix_web::rt::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
        tokio::select! {
            ended = server => ended.context("the bare server failed"),
            _ = caller_is_gone => Ok(()),
        }
    })
}

async fn take(body: web::Bytes) -> HttpResponse {
    // Looked at, so that reading it cannot be left out.
    if body.is_empty() { HttpResponse::BadRequest().finish() } else { HttpResponse::Accepted().finish() }
}
