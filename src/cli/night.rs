//! `bulak night`: what the night is doing; what the last one brought; a pause, and its end.

/// What a night brought.
mod summary;

use crate::base::clock::Clock;
use crate::cli::local::Local;
use crate::cli::table::{bytes, moment, pairs, text};
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::Error;
use crate::prefetch::window::Windows;
use clap::Subcommand;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// What to do with the night.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak night show\n  bulak night pause 14:00")]
pub(super) enum NightCommand {
    /// What it is doing: windows, caps, queue, pause
    #[command(after_help = "Examples:\n  bulak night show\n  bulak night show --json")]
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
    #[command(after_help = "Examples:\n  bulak night resume\n  bulak night resume --dry-run")]
    Resume,
}

/// Carries the command out.
///
/// # Errors
/// Exit 2 when the time is none, 4 when the node does not answer.
pub(super) async fn run(context: &Context, command: NightCommand) -> Result<Exit, Failure> {
    let command = match command {
        NightCommand::Summary(args) => return summary::run(context, &args).await,
        other => other,
    };
    let local = Local::connect(context).await?;
    let would = match &command {
        NightCommand::Pause { until: None } => Some(String::from("pause the night until \"bulak night resume\"")),
        NightCommand::Pause { until: Some(until) } if context.dry_run => Some(format!("pause the night until {}", named(context, until)?)),
        NightCommand::Resume => Some(String::from("end the pause of the night")),
        NightCommand::Show | NightCommand::Summary(_) | NightCommand::Pause { until: Some(_) } => None,
    };
    if let Some(would) = would
        && context.would(&would)?
    {
        return Ok(Exit::Done);
    }
    let document = match &command {
        NightCommand::Show | NightCommand::Summary(_) => local.get("/api/v1/night").await?,
        NightCommand::Pause { until } => local.post("/api/v1/night/pause", &json!({ "until": until })).await?,
        NightCommand::Resume => local.post("/api/v1/night/resume", &json!({})).await?,
    };
    context.show(&document, || match command {
        NightCommand::Show | NightCommand::Summary(_) => people(&document, &context.zone()),
        NightCommand::Pause { .. } => format!("night: {}\nnext: bulak night resume", text(&document["sentence"])),
        NightCommand::Resume => format!("night: {}\nnext: bulak night show", text(&document["sentence"])),
    })?;
    Ok(Exit::Done)
}

/// The moment that a person means, as the node would take it.
fn named(context: &Context, text: &str) -> Result<String, Failure> {
    let windows = Windows::new(Vec::new(), context.zone());
    windows.named(text, Clock::system().now()).map(|moment| windows.read(moment)).ok_or_else(|| {
        let problem = serde_json::to_value(Error::Moment(text.to_owned()).problem()).unwrap_or_default();
        Failure::from_document(400, &problem)
    })
}

fn people(document: &Value, zone: &TimeZone) -> String {
    let caps = &document["caps"];
    let of = |spent: &str, cap: &str| match caps[cap].as_u64() {
        Some(_) => format!("{} of {}", bytes(&caps[spent]), bytes(&caps[cap])),
        None => format!("{}, no cap", bytes(&caps[spent])),
    };
    let word = |name: &str| document[name].as_str().map(str::to_owned);
    let at = |value: &Value| value.as_str().map(|stamp| moment(zone, stamp));
    let list = |name: &str| {
        let list: Vec<&str> = document[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!list.is_empty()).then(|| list.join(", "))
    };
    let rows = [
        ("night", Some(text(&document["sentence"]))),
        ("window closes", at(&document["window_closes"])),
        ("window opens", at(&document["window_opens"])),
        ("no school today", word("holiday")),
        ("this night", Some(of("night_bytes", "night_cap_bytes"))),
        ("this month", Some(of("month_bytes", "month_cap_bytes"))),
        ("cap opens", at(&caps["opens"])),
        ("metered", (document["metered"] == true).then(|| "yes: only what people ask for is fetched".to_owned())),
        ("fetching", word("running")),
        ("asked for", list("queued")),
        ("paused since", at(&document["paused_since"])),
        ("missed", document["missed"]["sentence"].as_str().map(str::to_owned)),
    ];
    pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?)))).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_takes_the_moments_that_the_node_takes() {
        let context = Context::default();
        assert!(named(&context, "2999-12-31 14:00").is_ok_and(|told| told == "31.12.2999 14:00"));
        let bad = named(&context, "yesterday").expect_err("no moment");
        assert_eq!((bad.id.as_str(), bad.exit), ("night.bad_time", Exit::Misuse));
    }

    #[test]
    fn what_does_not_hold_is_not_shown() {
        let plain = people(
            &json!({ "sentence": "nothing is due", "caps": { "night_bytes": 0, "month_bytes": 1_200_000_000_u64 } }),
            &TimeZone::UTC,
        );
        assert_eq!(plain.lines().count(), 3, "{plain}");
        assert!(plain.contains("this month  1.2 GB, no cap"), "{plain}");
        let full = people(
            &json!({
                "sentence": "night.month_cap of 20.0 GB is reached", "caps": { "month_bytes": 20_000_000_000_u64, "month_cap_bytes": 20_000_000_000_u64,
                "opens": "2026-12-01" }, "queued": ["a", "b"], "metered": true, "missed": { "sentence": "missed" }, "holiday": "winter", "window_opens": "2026-11-26T17:00:00Z",
            }),
            &TimeZone::UTC,
        );
        for wanted in ["20.0 GB of 20.0 GB", "cap opens", "a, b", "metered", "winter", "26.11.2026 17:00", "01.12.2026"] {
            assert!(full.contains(wanted), "{full}");
        }
    }
}
