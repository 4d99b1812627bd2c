//! `bulak store stat`: the node's cheap counters, or with `--by` an exact survey.

use crate::cli::store::{Reach, here, job};
use crate::cli::table::{bytes, count, pairs, table, text};
use crate::cli::{Context, Exit, Failure};
use crate::store::bundle::Step;
use crate::store::{By, Row, Survey};
use serde_json::{Value, json};

/// Rows that a person sees; programs get up to a thousand.
const ROWS: usize = 30;

/// `bulak store stat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak store stat\n  bulak store stat --by pack --json")]
pub(super) struct Args {
    /// Exact figures by pack, codec, segment, host or type; reads every footer, and for pack, host and type every answer
    #[arg(long, value_enum)]
    by: Option<Rows>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rows {
    Pack,
    Codec,
    Segment,
    Host,
    Type,
}

impl From<Rows> for By {
    fn from(rows: Rows) -> By {
        match rows {
            Rows::Pack => By::Pack,
            Rows::Codec => By::Codec,
            Rows::Segment => By::Segment,
            Rows::Host => By::Host,
            Rows::Type => By::Type,
        }
    }
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let reach = Reach::find(context, false).await?;
    let through = reach.name();
    if let Some(by) = args.by.map(By::from) {
        let left = "nothing was changed; run it again";
        let survey: Survey = match &reach {
            Reach::Node(local) => job(context, local, "/api/v1/store/survey", &json!({ "by": by }), left).await?,
            Reach::Files(store) => {
                here(context, left, async |teller| {
                    let told = |done, total| teller.tell(&Step { phase: "counting".into(), done, total, current: String::new() });
                    store.survey(Some(by), told).await
                })
                .await?
            }
        };
        let mut document = json!(survey);
        document["through"] = json!(through);
        context.show(&document, || exact(&survey, through))?;
        return Ok(Exit::Done);
    }
    let mut stat = match &reach {
        Reach::Node(local) => local.get("/api/v1/store").await?,
        Reach::Files(store) => json!(store.stat()),
    };
    stat["through"] = json!(through);
    context.show(&stat, || people(&stat))?;
    // Whether a stopped node would take new content is not known.
    let takes = through == "files" || stat["admitting"] != false && stat["writable"] != false;
    let well = takes && stat["damaged"].as_u64().unwrap_or_default() == 0;
    Ok(if well { Exit::Done } else { Exit::Attention })
}

fn source(through: &str) -> &'static str {
    if through == "files" { "read from the files of a stopped node, nothing was changed" } else { "as the running node counts" }
}

fn people(stat: &Value) -> String {
    let through = stat["through"].as_str().unwrap_or_default();
    let mut out = pairs([
        ("on disk", format!("{} of {}", bytes(&stat["disk_bytes"]), bytes(&stat["quota_bytes"]))),
        (
            "answers",
            format!("{} ({}), {} kept by packs", count(&stat["entries"]), bytes(&stat["entry_bytes"]), count(&stat["pinned_entries"])),
        ),
        ("objects", format!("{} ({})", count(&stat["objects"]), bytes(&stat["object_bytes"]))),
        (
            "spared",
            format!(
                "{} by keeping equal bodies once, {} by zstd, {} by dictionaries, {} by older versions",
                bytes(&stat["spared"]["dedup_bytes"]),
                bytes(&stat["spared"]["zstd_bytes"]),
                bytes(&stat["spared"]["dict_bytes"]),
                bytes(&stat["spared"]["delta_bytes"])
            ),
        ),
        ("in memory", bytes(&stat["hot_bytes"])),
        ("index", text(&stat["index"])),
        ("damaged", format!("{} records since start", count(&stat["damaged"]))),
        ("source", source(through).to_owned()),
    ]);
    for (codec, pair) in stat["codecs"].as_object().into_iter().flatten() {
        out.push(format!("  {codec}: {} objects, {}", count(&pair[0]), bytes(&pair[1])));
    }
    let health = match (through, &stat["writable"], &stat["admitting"]) {
        ("files", ..) => "the node is stopped",
        (_, Value::Bool(false), _) => "cannot be written: nothing new is kept",
        (_, _, Value::Bool(false)) => "full: nothing new is kept",
        (_, Value::Bool(true), Value::Bool(true)) => "takes new content",
        _ => "unknown",
    };
    out.push(format!("health: {health}"));
    out.join("\n")
}

fn exact(survey: &Survey, through: &str) -> String {
    let size = |bytes: u64| crate::base::unit::Bytes(bytes).human();
    let spared = &survey.spared;
    let mut out = pairs([
        ("on disk", format!("{} in all, {} of it bodies", size(survey.disk_bytes), size(survey.stored_bytes))),
        ("answers", format!("{} ({} decoded), {} of them in part", survey.answers, size(survey.raw_bytes), survey.partial_answers)),
        ("objects", format!("{} ({} decoded)", survey.objects, size(survey.decoded_bytes))),
        (
            "spared",
            format!(
                "{} by keeping equal bodies once, {} by zstd, {} by dictionaries, {} by older versions",
                size(spared.dedup_bytes),
                size(spared.zstd_bytes),
                size(spared.dict_bytes),
                size(spared.delta_bytes)
            ),
        ),
        ("source", format!("exact; {}", source(through))),
    ]);
    let segments = survey.by == Some(By::Segment);
    let mut rows = if segments {
        table(&["segment", "made", "age", "live", "dead", "answers", "objects"])
    } else {
        table(&["", "answers", "objects", "decoded", "on disk"])
    };
    for row in survey.rows.iter().take(ROWS) {
        rows.add_row(cells(row, size));
    }
    out.push(rows.to_string());
    if survey.rows.len() > ROWS {
        out.push(format!("and {} more; --json shows them", survey.rows.len() as u64 - ROWS as u64 + survey.others.saturating_sub(1)));
    }
    out.join("\n")
}

fn cells(row: &Row, size: impl Fn(u64) -> String) -> Vec<String> {
    let Row { name, answers, objects, decoded_bytes, stored_bytes, .. } = row;
    match &row.segment {
        Some(of) => {
            let name = if of.sealed { name.clone() } else { format!("{name} (open)") };
            let (made, age) = (of.made.get(..10).unwrap_or_default().to_owned(), age(of.age_seconds));
            vec![name, made, age, size(of.live_bytes), size(of.dead_bytes), answers.to_string(), objects.to_string()]
        }
        None => vec![name.clone(), answers.to_string(), objects.to_string(), size(*decoded_bytes), size(*stored_bytes)],
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Spared, Stat};

    #[test]
    fn figures_are_shown_as_the_store_gives_them() {
        let stat = Stat {
            disk_bytes: 2_000_000,
            quota_bytes: 4_000_000,
            writable: true,
            admitting: false,
            index: "ready".into(),
            spared: Spared { dedup_bytes: 1_000, zstd_bytes: 2_000, dict_bytes: 3_000, delta_bytes: 4_000 },
            ..Stat::default()
        };
        let mut stat = serde_json::to_value(stat).expect("JSON");
        stat["through"] = json!("node");
        let text = people(&stat);
        assert!(text.contains("2.0 MB of 4.0 MB") && text.ends_with("health: full: nothing new is kept"), "{text}");
        let spared = "1.0 kB by keeping equal bodies once, 2.0 kB by zstd, 3.0 kB by dictionaries, 4.0 kB by older versions";
        assert!(text.contains(spared), "{text}");
        stat["through"] = json!("files");
        assert!(people(&stat).contains("nothing was changed"));
        assert_eq!([age(300), age(7200), age(259_200)], ["5 min", "2 h", "3 days"]);
    }
}
