//! What `waypost dev` tells the person who runs it: one line a fact, in colour on a terminal.

use std::time::Duration;

use clap::builder::styling::{AnsiColor, Effects, Style};

use crate::output;

/// Writes lines for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    colours: bool,
}

/// How a line is meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Good,
    Bad,
    Refused,
    Quiet,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { colours: output::is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn toned(self, tone: Tone, text: &str) -> String {
        let colour = match tone {
            Tone::Good => AnsiColor::Green,
            Tone::Bad => AnsiColor::Red,
            Tone::Refused => AnsiColor::Yellow,
            Tone::Quiet => return self.paint(Style::new().effects(Effects::DIMMED), text),
        };
        self.paint(colour.on_default(), text)
    }

    fn bold(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub(super) fn title(self, text: &str) {
        output::tell(&self.bold(text));
    }

    pub(super) fn section(self, text: &str) {
        output::tell(&format!("\n{}", self.bold(text)));
    }

    /// A part that runs now.
    pub(super) fn started(self, part: &str, what: &str) {
        output::tell(&format!(
            "  {} {part:<11} {}",
            self.toned(Tone::Good, "up"),
            self.toned(Tone::Quiet, what)
        ));
    }

    /// Something that was made or done.
    pub(super) fn done(self, what: &str, detail: &str) {
        output::tell(&format!(
            "  {} {what}  {}",
            self.toned(Tone::Good, "ok"),
            self.toned(Tone::Quiet, detail)
        ));
    }

    /// A page that the customer's administrator sees.
    pub(super) fn browsed(self, title: &str, place: &str) {
        output::tell(&format!("     browser: {title}  {}", self.toned(Tone::Quiet, place)));
    }

    /// What ingress answered to a notification.
    pub(super) fn posted(self, name: &str, status: Option<u16>, expected: u16, took: Duration) {
        let tone = if status == Some(expected) { Tone::Good } else { Tone::Bad };
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let took = self.toned(Tone::Quiet, &millis(took));
        output::tell(&format!("  Graph → Waypost   {}  {name}  {took}", self.toned(tone, &status)));
    }

    /// Something that became of it.
    pub(super) fn fate(self, tone: Tone, text: &str) {
        output::tell(&format!("                    {}", self.toned(tone, text)));
    }

    /// The end.
    pub(super) fn verdict(self, good: bool, text: &str) {
        let tone = if good { Tone::Good } else { Tone::Bad };
        output::tell(&format!("\n{}", self.toned(tone, &self.bold(text))));
    }

    /// Where to go on.
    pub(super) fn staying(self, ways: &Ways) {
        self.section("Waypost stays up. Ctrl-C ends it.");
        for (what, value) in &ways.values {
            output::tell(&format!("  {what:<14} {value}"));
        }
        output::tell("\n  Try:");
        for command in &ways.commands {
            output::tell(&format!("    {}", self.toned(Tone::Quiet, command)));
        }
    }
}

/// Where a person can go on.
#[derive(Debug)]
pub(super) struct Ways {
    /// What it is, and its address or value.
    pub(super) values: Vec<(&'static str, String)>,
    /// For a shell.
    pub(super) commands: Vec<String>,
}

/// A time in milliseconds, for people.
pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
