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
    /// Which phase, in the order of the scenario: one may be played more than once.
    pub(crate) phase: String,
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

/// Each phase of each proxy of this run, or of the earlier one where both were asked for it, beside that of the other.
pub(crate) fn against(now: &Value, then: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for played in list(&now["scenarios"]) {
        let scenario = &played["scenario"];
        let earlier = list(&then["scenarios"]).iter().find(|other| other["scenario"]["name"] == scenario["name"]);
        let comparable = match earlier {
            _ if now["line"] != then["line"] => Err("another kind of line"),
            _ if now["origins_send"] != then["origins_send"] => Err("another congestion control of origins"),
            Some(other) if work(&other["scenario"]) != work(scenario) => Err("the scenario has changed"),
            _ => Ok(()),
        };
        let is_hold = !scenario["idle"].is_null() || !scenario["readers"].is_null();
        let value = |summary: &Value| if is_hold { &summary["more_memory_bytes"] } else { &summary["visit"]["median"] }.as_f64();
        for proxy in list(&played["proxies"]) {
            let before = earlier.and_then(|other| list(&other["proxies"]).iter().find(|other| other["name"] == proxy["name"]));
            let (new, old) = (list(&proxy["summary"]), before.map_or(&[][..], |before| list(&before["summary"])));
            for place in 0..new.len().max(old.len()) {
                let (new, old) = (new.get(place), old.get(place));
                let right = match (old, new) {
                    (None, _) => Err("not played then"),
                    (_, None) => Err("not played now"),
                    (Some(old), _) if !is_right(old) => Err("not everything came right then"),
                    (_, Some(new)) if !is_right(new) => Err("not everything came right now"),
                    _ => Ok(()),
                };
                let why_not = right.and(comparable).err();
                let (then, now) = (old.and_then(value), new.and_then(value));
                let both = then.zip(now).filter(|(then, _)| why_not.is_none() && *then > 0.0);
                rows.push(Row {
                    scenario: text(&scenario["name"]),
                    proxy: text(&proxy["name"]),
                    phase: text(&scenario["phases"][place]),
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

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
