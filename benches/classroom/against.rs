//! A run beside an earlier one: medians of both where both played the same, on the same kind of line, and everything came right. What
//! cannot be held against each other is named with the reason, not left out: a change that breaks a row must not look like one that is gone.

use super::result::{FORMAT, Machine};
use serde::Serialize;
use serde_json::Value;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::Path;

/// One phase of one proxy in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The proxy's.
    pub(crate) proxy: String,
    /// Which phase.
    pub(crate) phase: String,
    /// Its place among the scenario's phases.
    pub(crate) place: u64,
    /// What is compared: `visit_ms` or `more_memory_bytes`.
    pub(crate) what: &'static str,
    /// The median of the earlier run.
    pub(crate) then: Option<f64>,
    /// The median of this one.
    pub(crate) now: Option<f64>,
    /// This one's part of the earlier one's, where they may be compared.
    pub(crate) ratio: Option<f64>,
    /// Why not, where they may not.
    pub(crate) why_not: Option<&'static str>,
}

/// An earlier run's figures, if they are of a machine like this.
///
/// # Errors
/// Of the file; another format, another machine.
pub(crate) fn read(file: &Path) -> Result<Value, String> {
    let broke = |why: &dyn Display| format!("{}: {why}", file.display());
    let text = fs::read_to_string(file).map_err(|error| broke(&error))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| broke(&error))?;
    if value["format"] != FORMAT {
        return Err(broke(&format!("format {} is not {FORMAT}", value["format"])));
    }
    let machine: Machine = serde_json::from_value(value["machine"].clone()).map_err(|error| broke(&error))?;
    if !machine.is_like(&Machine::here()) {
        return Err(broke(&format!("its figures are of another machine ({machine:?}); run both on one")));
    }
    Ok(value)
}

/// Each phase of this run beside the same one of an earlier run.
pub(crate) fn against(now: &Value, then: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for played in list(&now["scenarios"]) {
        let scenario = &played["scenario"];
        let earlier = list(&then["scenarios"]).iter().find(|other| other["scenario"]["name"] == scenario["name"]);
        for proxy in list(&played["proxies"]) {
            let before = earlier.and_then(|other| list(&other["proxies"]).iter().find(|other| other["name"] == proxy["name"]));
            for summary in list(&proxy["summary"]) {
                let same = before.and_then(|other| list(&other["summary"]).iter().find(|other| place(other) == place(summary)));
                let is_hold = !scenario["idle"].is_null() || !scenario["readers"].is_null();
                let value = |summary: &Value| if is_hold { &summary["more_memory_bytes"] } else { &summary["visit"]["median"] }.as_f64();
                let why_not = match (earlier, same) {
                    (Some(_), _) if now["line"] != then["line"] => Some("another kind of line"),
                    (Some(other), Some(_)) if work(&other["scenario"]) != work(scenario) => Some("the scenario has changed"),
                    (Some(_), Some(same)) if !is_right(same) => Some("not everything came right then"),
                    (Some(_), Some(_)) if !is_right(summary) => Some("not everything came right now"),
                    (Some(_), Some(_)) => None,
                    _ => Some("not played then"),
                };
                let (then, now) = (same.and_then(value), value(summary));
                let both = then.zip(now).filter(|(then, _)| why_not.is_none() && *then > 0.0);
                rows.push(Row {
                    scenario: text(&scenario["name"]),
                    proxy: text(&proxy["name"]),
                    phase: text(&summary["phase"]),
                    place: place(summary),
                    what: if is_hold { "more_memory_bytes" } else { "visit_ms" },
                    then,
                    now,
                    ratio: both.map(|(then, now)| now / then),
                    why_not,
                });
            }
        }
    }
    rows
}

/// The same as a part of the card.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n## Against the earlier run\n\n| scenario | proxy | phase | median then | now | ratio |\n|---|---|---|---:|---:|---:|\n",
    );
    for row in rows {
        let said = |value: Option<f64>| match value {
            None => String::from("–"),
            Some(value) if row.what == "visit_ms" => format!("{value:.1} ms"),
            Some(value) => format!("{:.1} MB", value / 1e6),
        };
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}"));
        let last = ratio.unwrap_or_else(|| row.why_not.unwrap_or("–").to_owned());
        writeln!(text, "| {} | {} | {} | {} | {} | {last} |", row.scenario, row.proxy, row.phase, said(row.then), said(row.now))
            .expect("a string grows");
    }
    text
}

/// What is played, without what is only said of it.
fn work(scenario: &Value) -> Value {
    let mut work = scenario.clone();
    if let Some(table) = work.as_object_mut() {
        for said in ["about", "goals", "quick", "rounds"] {
            table.remove(said);
        }
    }
    work
}

fn is_right(summary: &Value) -> bool {
    summary["failed"] == 0 && summary["broken_visits"] == 0
}

fn place(summary: &Value) -> u64 {
    summary["place"].as_u64().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
