//! `bulak doctor`: what is wrong here, and what to do about it. Looks in at most ten seconds, changes nothing, fetches nothing
//! large; works with and without a running node.

/// What was found, judged: causes before consequences. Pure.
mod verdict;

/// The looks themselves.
mod look;

/// Those at names.
mod names;

/// Those at what devices are told.
mod devices;

/// Those at hub and Giga Meter server.
mod region;

/// The looks at https: CA, consent, listeners, the mirror's certificate.
mod https;

use crate::cli::{Context, Exit, Failure};
use std::time::Duration;
use verdict::{Finding, State, settle};

/// `bulak doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak doctor\n  bulak doctor --json --config school.toml")]
pub(crate) struct Args {}

/// All looks together; each single one gives up earlier.
const LIMIT: Duration = Duration::from_secs(9);

pub(crate) async fn run(context: &Context, _args: Args) -> Result<Exit, Failure> {
    let (findings, allowed) = tokio::time::timeout(LIMIT, Box::pin(look::all(context))).await.unwrap_or_else(|_| {
        let message = format!("the looks did not end within {} s", LIMIT.as_secs());
        (vec![Finding::new("doctor", None, State::Failed, message, "look at the machine's load and disk")], true)
    });
    let report = settle(findings);
    context.show(&report, || report.people())?;
    Ok(if allowed { report.exit() } else { Exit::NotAllowed })
}
