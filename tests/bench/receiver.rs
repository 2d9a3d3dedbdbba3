//! The customers' backend: reads each delivery, notes its number and the time, and answers 200. Fast, so that it is not
//! what is measured; checks no signatures.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use anyhow::Context;

use crate::{ledger::Ledger, notification};

/// One is enough for more than can be delivered to it here.
const WORKERS: usize = 1;
const BACKLOG: u32 = 4_096;

/// The ledger of the run that is under way.
type Current = Arc<Mutex<Option<Arc<Ledger>>>>;

/// A receiver, in this process so that it shares the ledger with the load.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    current: Current,
    handle: ServerHandle,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Receiver {
    /// Starts it on a free port.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("the receiver has no port")?;
        let address = listener.local_addr()?;
        let current = Current::default();
        let shared = web::Data::new(Arc::clone(&current));
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || -> anyhow::Result<()> {
            actix_web::rt::System::new().block_on(async move {
                let app = move || App::new().app_data(shared.clone()).default_service(web::to(take));
                let server = HttpServer::new(app)
                    .workers(WORKERS)
                    .backlog(BACKLOG)
                    .disable_signals()
                    .listen(listener)?
                    .run();
                tell.send(server.handle()).context("nobody wants the receiver")?;
                server.await.context("the receiver failed")
            })
        });
        let handle = told.recv().context("the receiver did not start")?;
        Ok(Self { address, current, handle, thread: Some(thread) })
    }

    /// From now on deliveries are noted in `ledger`.
    pub(crate) fn note_in(&self, ledger: Arc<Ledger>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(ledger);
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.handle.stop(false).await;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => anyhow::bail!("the receiver panicked"),
            None => Ok(()),
        }
    }
}

async fn take(body: web::Bytes, current: web::Data<Current>) -> HttpResponse {
    let ledger = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(ledger) = ledger {
        ledger.arrived(notification::number_in(&body));
    }
    HttpResponse::Ok().finish()
}
