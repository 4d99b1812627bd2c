//! Log setup and levels; the only place that formats log lines. Everything goes to stderr: stdout belongs to results.
//!
//! Lines are English with ids and hold no path, query or person (`base::redact`).

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets up the process's log once; later calls change nothing. `levels` is a level or levels by module (`info,bulak::link=debug`);
/// with `json` each line is one JSON object.
///
/// # Errors
/// When `levels` cannot be read.
pub fn init(levels: &str, json: bool) -> Result<(), tracing_subscriber::filter::ParseError> {
    let levels: Targets = levels.parse()?;
    let base = tracing_subscriber::registry().with(levels);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // A second call in one process (tests) finds a log in place, which is as good.
    let _ = if json { base.with(lines.json()).try_init() } else { base.with(lines).try_init() };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_cannot_be_read_are_told() {
        assert!(init("info,bulak::link=debug", false).is_ok());
        assert!(init("loud=very", true).is_err());
    }
}
