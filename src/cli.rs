//! The subcommands: parse, call, print. No decisions are made here.
//!
//! Each command is one file with `Args` (clap) and `run(&Context, Args) -> Result<Exit, Failure>`. What holds for all of them,
//! the global flags, the error form and the exit codes, is in this file and in [`failure`].

/// Exit codes and the error form.
pub mod failure;

/// The running node, through its socket.
pub mod local;

pub use failure::{Exit, Failure};

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// What the global flags say; the same for every command.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// One JSON document on stdout, errors too.
    pub json: bool,
    /// Only errors.
    pub quiet: bool,
    /// More of what is going on.
    pub verbose: bool,
    /// No progress bars.
    pub no_progress: bool,
    /// Answer every question with yes.
    pub yes: bool,
    /// Say what would be done, change nothing.
    pub dry_run: bool,
    /// The configuration to use instead of the usual place.
    pub config: Option<PathBuf>,
}

impl Context {
    /// Whether a moving progress bar may be drawn: on a terminal, for a person. Elsewhere: one plain line per 10 s on stderr.
    pub fn progress_bar(&self) -> bool {
        self.progress() && std::io::stderr().is_terminal()
    }

    /// Whether progress is told at all.
    pub fn progress(&self) -> bool {
        !self.no_progress && !self.quiet
    }

    /// Shows a result: the document with `--json`, else the text for people (nothing with `--quiet`).
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn show<T: serde::Serialize>(&self, value: &T, people: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(value)
                .map_err(|error| Failure::new("cli.output", format!("the result cannot be written as JSON ({error})"), "report this"))?;
            self.print(&text);
        } else if !self.quiet {
            self.print(&people());
        }
        Ok(())
    }

    /// Prints a line on stdout. A reader that has gone away (`| head`) is no error.
    pub fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody is left to tell when stdout is closed.
        let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    }
}
