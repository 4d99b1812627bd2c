//! `bulak night`: what the night is doing; what the last one brought; a pause, and its end.

/// What a night brought.
mod summary;

use crate::cli::local::Local;
use crate::cli::table::{bytes, pairs, text};
use crate::cli::{Context, Exit, Failure};
use clap::Subcommand;
use serde_json::{Value, json};

/// What to do with the night.
#[derive(Debug, Subcommand)]
pub(super) enum NightCommand {
    /// What it is doing: windows, caps, queue, pause
    Show,
    /// What it brought: whether everything is ready for the class, then figures, then what did not come and what to do
    #[command(after_help = "Examples:\n  bulak night summary\n  bulak night summary --night 2026-11-25\n  bulak night summary --list")]
    Summary(summary::Args),
    /// Leave the line alone: what is under way stops at once and goes on later
    #[command(after_help = "Examples:\n  bulak night pause\n  bulak night pause 14:00\n  bulak night pause \"2 h\"")]
    Pause {
        /// Until when, in the school's time: 14:00, "2 h", "2026-12-31 14:00"; nothing: until "bulak night resume"
        until: Option<String>,
    },
    /// End a pause
    Resume,
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when the time is none, 4 when the node does not answer.
pub(super) async fn run(context: &Context, command: NightCommand) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    let command = match command {
        NightCommand::Summary(args) => return summary::run(context, &local, &args).await,
        other => other,
    };
    let document = match &command {
        NightCommand::Pause { until } if !context.dry_run => local.post("/api/v1/night/pause", &json!({ "until": until })).await?,
        NightCommand::Resume if !context.dry_run => local.post("/api/v1/night/resume", &json!({})).await?,
        _ => local.get("/api/v1/night").await?,
    };
    context.show(&document, || match command {
        NightCommand::Show | NightCommand::Summary(_) => people(&document),
        NightCommand::Pause { .. } => format!("night: {}\nnext: bulak night resume", text(&document["sentence"])),
        NightCommand::Resume => format!("night: {}\nnext: bulak night show", text(&document["sentence"])),
    })?;
    Ok(Exit::Done)
}

fn people(document: &Value) -> String {
    let caps = &document["caps"];
    let of = |spent: &str, cap: &str| match caps[cap].as_u64() {
        Some(_) => format!("{} of {}", bytes(&caps[spent]), bytes(&caps[cap])),
        None => format!("{}, no cap", bytes(&caps[spent])),
    };
    let moment = |name: &str| document[name].as_str().map(str::to_owned);
    let list = |name: &str| {
        let list: Vec<&str> = document[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!list.is_empty()).then(|| list.join(", "))
    };
    let rows = [
        ("night", Some(text(&document["sentence"]))),
        ("window closes", moment("window_closes")),
        ("window opens", moment("window_opens")),
        ("no school today", moment("holiday")),
        ("this night", Some(of("night_bytes", "night_cap_bytes"))),
        ("this month", Some(of("month_bytes", "month_cap_bytes"))),
        ("cap opens", caps["opens"].as_str().map(str::to_owned)),
        ("metered", (document["metered"] == true).then(|| "yes: only what people ask for is fetched".to_owned())),
        ("fetching", moment("running")),
        ("asked for", list("queued")),
        ("paused since", moment("paused_since")),
        ("missed", document["missed"]["sentence"].as_str().map(str::to_owned)),
    ];
    pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?)))).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_not_shown() {
        let plain = people(&json!({ "sentence": "nothing is due", "caps": { "night_bytes": 0, "month_bytes": 1_200_000_000_u64 } }));
        assert_eq!(plain.lines().count(), 3, "{plain}");
        assert!(plain.contains("this month  1.2 GB, no cap"), "{plain}");
        let full = people(&json!({
            "sentence": "night.month_cap of 20.0 GB is reached", "caps": { "month_bytes": 20_000_000_000_u64, "month_cap_bytes": 20_000_000_000_u64,
            "opens": "2026-12-01" }, "queued": ["a", "b"], "metered": true, "missed": { "sentence": "missed" }, "holiday": "winter",
        }));
        for wanted in ["20.0 GB of 20.0 GB", "cap opens", "a, b", "metered", "winter"] {
            assert!(full.contains(wanted), "{full}");
        }
    }
}
