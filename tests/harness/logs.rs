//! What the applications of this process log, kept so that a test can look for what must not be in it.
//!
//! Set `WAYPOST_TEST_LOG` to see it on standard error as well.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static KEPT: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    // Everything that Waypost itself says, however quietly; of its libraries what is worth a word.
    let filter = EnvFilter::new(
        "info,waypost=trace,waypost_api=trace,waypost_worker=trace,waypost_postgres=trace,waypost_egress=trace",
    );
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).finish();
    // Somebody else's subscriber would keep the lines from us, and tests on them would hold for no reason.
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber of the process");
    log
});

/// Begins to keep what is logged.
pub(crate) fn keep() {
    LazyLock::force(&KEPT);
}

/// What was logged so far.
pub(crate) fn text() -> String {
    let bytes = KEPT.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::env::var_os("WAYPOST_TEST_LOG").is_some() {
            io::stderr().write_all(bytes)?;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
