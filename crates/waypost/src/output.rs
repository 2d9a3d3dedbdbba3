//! What people and scripts read: results on standard output, errors on standard error. The only place that
//! prints. Must not decide what is said; logs go through `tracing`.

use std::io::{self, IsTerminal, Write};

/// Writes a result, exactly as it is. A reader that went away is not an error.
pub fn print(text: &str) {
    write_to(&mut io::stdout().lock(), text);
}

/// Writes a line of a result.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes why a command failed, as one line.
pub fn error(reason: &str) {
    let reason: Vec<&str> = reason.split_whitespace().collect();
    write_to(&mut io::stderr().lock(), &format!("waypost: {}\n", reason.join(" ")));
}

/// Whether results go to a person rather than into a file or a program.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

#[expect(clippy::let_underscore_must_use, reason = "nobody is left to be told that nobody reads")]
fn write_to(stream: &mut dyn Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
