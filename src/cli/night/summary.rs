//! `bulak night summary`: the first line is for the teacher, the rest for whoever looks after the box.

use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::table::table;
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::summary::figures::{Counts, Pack, State};
use crate::prefetch::{Brief, Summary};

/// Which night, and how much of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The date of its evening, as 2026-11-25; nothing: the night that goes on, else the last one
    #[arg(long, value_name = "DATE", conflicts_with = "list")]
    night: Option<String>,
    /// All nights of which there is a summary, a line each
    #[arg(long)]
    list: bool,
}

impl Args {
    /// Where the node tells it.
    fn path(&self) -> Result<String, Failure> {
        let Some(night) = &self.night else { return Ok(String::from("/api/v1/night/summary")) };
        // What is no date needs no node to say so.
        let date: jiff::civil::Date = night.parse().map_err(|_| {
            let remedy = "write the date of its evening: 2026-11-25";
            Failure::new("night.bad_date", format!("{night:?} is no date of a night"), remedy).exit(Exit::Misuse)
        })?;
        Ok(format!("/api/v1/night/summary?night={date}"))
    }
}

/// Tells it.
///
/// # Errors
/// Exit 1 when nothing is known of the night, 2 when it is no date, 4 when the node does not answer.
pub(super) async fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let path = args.path()?;
    let local = Local::connect(context).await?;
    if args.list {
        let document = local.get("/api/v1/night/summaries").await?;
        let nights: Vec<Brief> = read(&document["nights"])?;
        context.show(&document, || list(&nights))?;
        return Ok(Exit::Done);
    }
    let document = local.get(&path).await?;
    let summary: Summary = read(&document)?;
    context.show(&document, || people(&summary))?;
    Ok(if needs_attention(&summary) { Exit::Attention } else { Exit::Done })
}

/// Whether a person should look: something is not here, or did not come.
fn needs_attention(summary: &Summary) -> bool {
    summary.missed.is_some() || (summary.brief.complete && (!summary.brief.ready || summary.brief.counts.failed > 0))
}

fn list(nights: &[Brief]) -> String {
    if nights.is_empty() {
        return String::from("no night has been told yet; the first one is when its window closes");
    }
    let mut table = table(&["night", "packs", "new", "changed", "unchanged", "failed", "left", "over the line", "minutes"]);
    for night in nights {
        let counts = &night.counts;
        table.add_row([
            day(&night.night),
            format!("{} of {}", night.packs_complete, night.packs),
            counts.new.to_string(),
            counts.changed.to_string(),
            counts.unchanged.to_string(),
            counts.failed.to_string(),
            night.left.to_string(),
            Bytes(counts.line_bytes).human(),
            minutes(counts.busy_s),
        ]);
    }
    table.to_string()
}

fn people(summary: &Summary) -> String {
    let brief = &summary.brief;
    let mut out = vec![brief.sentence.clone(), format!("night of {}: {}", day(&brief.night), in_words(&brief.counts))];
    if !summary.each.is_empty() {
        out.push(packs(&summary.each));
    }
    let more = brief.packs.saturating_sub(u64::try_from(summary.each.len()).unwrap_or(u64::MAX));
    if more > 0 {
        out.push(format!("and {more} packs more"));
    }
    for pack in &summary.each {
        if let Some(left) = &pack.left {
            let things = if left.things == 0 { String::from("not begun") } else { format!("{} left", things(left.things)) };
            let size = if left.bytes == 0 { String::new() } else { format!(", about {}", Bytes(left.bytes).human()) };
            out.push(format!("{}: {things}{size}: {}; {}", pack.id, left.told, left.remedy));
        }
        for group in &pack.groups {
            let host = group.host.as_ref().map_or_else(String::new, |host| format!(" ({host})"));
            out.push(format!("{}: {}: {}{host}; {}", pack.id, things(group.many), group.told, group.remedy));
        }
    }
    out.extend(circumstances(summary));
    out.join("\n")
}

fn packs(each: &[Pack]) -> String {
    let mut table =
        table(&["pack", "state", "new", "changed", "unchanged", "failed", "gone", "refused", "too large", "over the line", "min"]);
    for pack in each {
        let counts = &pack.counts;
        let state = match pack.state {
            State::Complete => "complete",
            State::Incomplete => "things missing",
            State::GoesOn => "goes on",
            State::NotBegun => "not begun",
        };
        table.add_row([
            pack.id.clone(),
            state.to_owned(),
            counts.new.to_string(),
            counts.changed.to_string(),
            counts.unchanged.to_string(),
            counts.failed.to_string(),
            counts.gone.to_string(),
            counts.refused.to_string(),
            counts.left_out.to_string(),
            Bytes(counts.line_bytes).human(),
            minutes(counts.busy_s),
        ]);
    }
    table.to_string()
}

/// What else the night saw; what did not happen is not told.
fn circumstances(summary: &Summary) -> Vec<String> {
    let brief = &summary.brief;
    let mut out = Vec::new();
    let cuts = [(brief.power_cuts, "power cut"), (summary.restarts, "restart")];
    let cuts: Vec<String> = cuts.into_iter().filter(|(many, _)| *many > 0).map(|(many, what)| plural(many, what)).collect();
    if !cuts.is_empty() {
        out.push(cuts.join(", "));
    }
    if summary.line_down_s >= 60 {
        out.push(format!("the line was down for {} min", minutes(summary.line_down_s)));
    }
    let wishes = &summary.wishes;
    if wishes.fulfilled + wishes.waiting + wishes.failed > 0 {
        out.push(format!("wishes: {} came, {} wait, {} could not be had", wishes.fulfilled, wishes.waiting, wishes.failed));
    }
    if let Some(before) = &summary.before {
        out.push(format!("the night before ({}): {}", day(&before.night), in_words(&before.counts)));
    }
    if summary.brought_bytes > 0 {
        let wasted = Bytes(summary.brought_bytes.saturating_sub(summary.used_bytes)).human();
        let (brought, used) = (Bytes(summary.brought_bytes).human(), Bytes(summary.used_bytes).human());
        out.push(format!("in four weeks: {brought} fetched ahead, {used} used by a device, {wasted} not yet"));
    }
    out
}

fn in_words(counts: &Counts) -> String {
    let Counts { new, changed, unchanged, failed, line_bytes, busy_s, .. } = *counts;
    let bytes = Bytes(line_bytes).human();
    format!("{new} new, {changed} changed, {unchanged} unchanged, {failed} failed; {bytes} over the line in {} min", minutes(busy_s))
}

fn things(many: u64) -> String {
    plural(many, "thing")
}

fn plural(many: u64, what: &str) -> String {
    if many == 1 { format!("1 {what}") } else { format!("{many} {what}s") }
}

/// Whole minutes; what was less than one was something all the same.
fn minutes(seconds: u64) -> String {
    if seconds == 0 || seconds >= 60 { (seconds / 60).to_string() } else { String::from("<1") }
}

/// `2026-11-25` as people write it.
fn day(night: &str) -> String {
    let mut parts = night.split('-').rev();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(day), Some(month), Some(year)) => format!("{day}.{month}.{year}"),
        _ => night.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(value: serde_json::Value) -> (String, bool) {
        let summary: Summary = serde_json::from_value(value).expect("as the node tells it");
        (people(&summary), needs_attention(&summary))
    }

    #[test]
    fn the_teachers_line_comes_first_and_each_trouble_has_its_advice() {
        let counts = json!({ "new": 12, "changed": 1, "unchanged": 3, "failed": 4, "refused": 1, "line_bytes": 4_100_000, "busy_s": 754 });
        let (text, attention) = told(json!({
            "night": "2026-11-25", "complete": true, "ready": false, "packs": 2, "packs_complete": 1, "left": 30, "power_cuts": 1,
            "sentence": "Ready: 1 of 2 packs complete, 1 goes on tonight", "counts": counts, "restarts": 0, "line_down_s": 300,
            "wishes": { "fulfilled": 2, "waiting": 1, "failed": 0 }, "brought_bytes": 9_000_000, "used_bytes": 4_000_000,
            "each": [
                { "id": "phet", "title": { "en": "PhET" }, "state": "complete", "counts": counts, "missing": 0, "groups": [
                    { "kind": "failed", "reason": "failed.server", "told": "the host answered with an error of its own (5xx)",
                      "remedy": "it is tried again in the next nights", "many": 4, "host": "sim.kz" } ] },
                { "id": "films", "title": {}, "state": "goes_on", "counts": {}, "missing": 0, "groups": [],
                  "left": { "things": 30, "bytes": 70_000_000, "reason": "window", "told": "the window closed", "remedy": "a longer window" } },
            ],
            "before": { "night": "2026-11-24", "counts": { "new": 7 } },
        }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Ready: 1 of 2 packs complete, 1 goes on tonight");
        assert_eq!(lines[1], "night of 25.11.2026: 12 new, 1 changed, 3 unchanged, 4 failed; 4.1 MB over the line in 12 min");
        for wanted in [
            "phet: 4 things: the host answered with an error of its own (5xx) (sim.kz); it is tried again in the next nights",
            "films: 30 things left, about 70.0 MB: the window closed; a longer window",
            "1 power cut",
            "the line was down for 5 min",
            "wishes: 2 came, 1 wait, 0 could not be had",
            "the night before (24.11.2026): 7 new,",
            "in four weeks: 9.0 MB fetched ahead, 4.0 MB used by a device, 5.0 MB not yet",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(attention && text.lines().count() <= 24, "{text}");
    }

    #[test]
    fn a_good_night_is_short() {
        let good = json!({ "night": "2026-11-25", "complete": true, "ready": true, "sentence": "Ready: the pack is complete", "packs": 1, "counts": { "busy_s": 5 },
            "each": [ { "id": "a", "title": {}, "state": "complete", "counts": { "unchanged": 9, "busy_s": 5 }, "missing": 0, "groups": [] } ] });
        let (text, attention) = told(good);
        assert_eq!((text.lines().count(), attention), (4, false), "{text}");
        assert!(text.contains("in <1 min"), "{text}");
        let (_, attention) = told(json!({ "night": "2026-11-25", "complete": false, "ready": false, "sentence": "So far" }));
        assert!(!attention, "a night that goes on is nothing to mend");
        let (_, attention) = told(json!({ "complete": true, "ready": true, "missed": "the window was missed" }));
        assert!(attention);
        assert!(list(&[]).contains("no night"));
        assert!(list(&[Brief { night: "2026-11-25".into(), packs: 4, packs_complete: 3, ..Brief::default() }]).contains("3 of 4"));
    }
}
