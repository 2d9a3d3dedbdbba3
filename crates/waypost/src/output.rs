//! What people and scripts read: results on standard output, errors on standard error. The only place that
//! prints. Must not decide what is said; logs go through `tracing`.

use std::io::{self, IsTerminal, Write};

/// Writes a result, exactly as it is. A reader that went away has read what it wanted.
///
/// # Errors
///
/// When it can't be written whole, such as to a full disk: then the command has failed.
pub fn print(text: &str) -> io::Result<()> {
    match write_to(&mut io::stdout().lock(), text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Tells of what goes on, a line at a time. Whoever doesn't listen misses it, and nothing else changes.
#[expect(clippy::let_underscore_must_use, reason = "what is told is not the result of anything")]
pub fn tell(text: &str) {
    let _ = print(&format!("{text}\n"));
}

/// Writes why a command failed, as one line.
pub fn error(reason: &str) {
    complain(reason);
}

/// Writes what somebody should know of a command that has not failed, as one line.
pub fn note(text: &str) {
    complain(&format!("note: {text}"));
}

#[expect(clippy::let_underscore_must_use, reason = "nobody is left to be told that nobody reads")]
fn complain(reason: &str) {
    let reason: Vec<&str> = reason.split_whitespace().collect();
    let _ = write_to(&mut io::stderr().lock(), &format!("waypost: {}\n", reason.join(" ")));
}

/// Whether results go to a person rather than into a file or a program.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

fn write_to(stream: &mut dyn Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
