//! The score card: one page of Markdown, a table for each phase of each scenario, and the goals.
//!
//! Ratios are against the best of the other proxies in the same phase, "none" and variants of ours left out: below 1 is ahead of all of
//! them. A proxy that did not bring everything right is nobody's best, and has no ratio.

use super::peer::Kind;
use super::place::Emulation;
use super::result::{Played, Proxy, Report, Summary, float};
use super::scenario::{Phase, Work};
use bulak::base::unit::Bytes;
use std::fmt::Write as _;

/// The whole card.
pub(crate) fn card(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = String::from("# Classroom: score card\n\n");
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    say(format!(
        "{} · {} cores · {} GiB · Linux {} · TCP with {} · load {} at the start · {}\n",
        machine.processor, machine.cores, machine.memory_gib, machine.kernel, machine.sends, machine.load, report.began
    ));
    let line = serde_json::to_value(report.line).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let sent = if report.line == Emulation::Cable { format!(", origins send with {}", report.origins_send) } else { String::new() };
    say(format!("The line: {line}{sent}. Every byte that a device got was compared with the origin's.\n"));
    for (name, version) in &report.versions {
        say(format!("- {name}: {version}"));
    }
    for (name, why) in &report.left_out {
        say(format!("- {name}: left out, {why}"));
    }
    say(String::new());
    for played in &report.scenarios {
        say(scenario(played));
    }
    say(goals(report));
    text
}

fn scenario(played: &Played) -> String {
    let (scenario, devices) = (&played.scenario, &played.scenario.devices);
    let mut text = format!("## {}\n\n{}\n\n", scenario.name, scenario.about);
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let copy = Bytes(played.one_copy_bytes).human();
    say(&match scenario.work() {
        Work::Pages(_) | Work::Ranges(_) => format!(
            "{} devices with {} connections each on {}; one copy is {copy}, for which the line takes {}. Seed {}.",
            devices.count,
            devices.connections,
            played.line,
            seconds(played.line_ms),
            scenario.seed
        ),
        Work::Idle(idle) => format!("{} connections for {} on {}. Seed {}.", idle.connections, idle.hold, played.line, scenario.seed),
        Work::Readers(readers) => {
            format!("{} readers with {} each, {} on {}. Seed {}.", devices.count, readers.rate, readers.hold, played.line, scenario.seed)
        }
    });
    let holds = matches!(scenario.work(), Work::Idle(_) | Work::Readers(_));
    for (at, &phase) in scenario.phases.iter().enumerate() {
        let rows: Vec<(&Proxy, &Summary)> = played.proxies.iter().filter_map(|proxy| Some((proxy, proxy.summary.get(at)?))).collect();
        let before = scenario.phases[..at].iter().filter(|other| **other == phase).count();
        let again = if before == 0 { String::new() } else { format!(" ({})", before + 1) };
        say("");
        if holds {
            say(&format!("| proxy{again} | more memory | × best peer | failed | CPU ms |\n|---|---:|---:|---:|---:|"));
            for row in &rows {
                say(&hold(row, &rows));
            }
        } else {
            say(&format!(
                "| {}{again} | median | × best peer | p95 | worst | first byte | failed | wrong | × one copy | sent | asked | CPU ms | peak |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
                words(phase)
            ));
            for row in &rows {
                say(&pages(row, &rows));
            }
        }
    }
    for proxy in &played.proxies {
        if let Some(recipe) = proxy.recipe {
            say(&format!("\n{}: {recipe}", proxy.name));
        }
        for turn in &proxy.rounds {
            if let Some(trouble) = &turn.trouble {
                say(&format!("\n{}, round {}, does not count: {}", proxy.name, turn.round + 1, trouble.lines().next().unwrap_or_default()));
            }
        }
        if proxy.name != "none"
            && let Some(example) = proxy.rounds.iter().flat_map(|turn| turn.phases.iter().flat_map(|pass| pass.examples.iter())).next()
        {
            say(&format!("\n{}: {example}, for one", proxy.name));
        }
    }
    text
}

fn pages(row: &(&Proxy, &Summary), all: &[(&Proxy, &Summary)]) -> String {
    let (proxy, summary) = row;
    let least = if summary.broken_visits > 0 { "≥ " } else { "" };
    format!(
        "| {} | {least}{} | {} | {least}{} | {least}{} | {} | {} | {} | {} | {} | {:.0} | {} | {} |",
        proxy.name,
        seconds(summary.visit.median),
        ratio(row, all, |summary| Some(summary.visit.median)),
        seconds(summary.visit.p95),
        seconds(summary.visit.worst),
        seconds(summary.first_byte.median),
        summary.failed,
        summary.wrong,
        format_args!("{:.3}", summary.copies),
        bytes(Some(summary.up_bytes)),
        summary.requests,
        summary.cpu_ms.map_or_else(unknown, |cpu| format!("{cpu:.0}")),
        bytes(summary.peak_memory_bytes)
    )
}

fn hold(row: &(&Proxy, &Summary), all: &[(&Proxy, &Summary)]) -> String {
    let (proxy, summary) = row;
    format!(
        "| {} | {} | {} | {} | {} |",
        proxy.name,
        bytes(summary.more_memory_bytes),
        ratio(row, all, |summary| summary.more_memory_bytes),
        summary.failed,
        summary.cpu_ms.map_or_else(unknown, |cpu| format!("{cpu:.0}"))
    )
}

/// A row's value against the best of the others, if both brought everything. Variants of ours are nobody's peers, nor are ours to them.
fn ratio(row: &(&Proxy, &Summary), all: &[(&Proxy, &Summary)], value: impl Fn(&Summary) -> Option<f64>) -> String {
    let name = row.0.name.as_str();
    let is_peer = |other: &str| other != name && other != "none" && !is_variant(other) && !(is_ours(name) && is_ours(other));
    let others = all.iter().filter(|(proxy, summary)| is_peer(&proxy.name) && summary.failed == 0);
    let best = others.filter_map(|(_, summary)| value(summary)).filter(|value| *value > 0.0).reduce(f64::min);
    let mine = value(row.1).filter(|_| row.1.failed == 0);
    mine.zip(best).map_or_else(|| String::from("–"), |(mine, best)| format!("{:.2}", mine / best))
}

fn is_ours(name: &str) -> bool {
    name == Kind::Bulak.name() || is_variant(name)
}

/// Ours with one key changed.
fn is_variant(name: &str) -> bool {
    name.strip_prefix(Kind::Bulak.name()).is_some_and(|rest| rest.starts_with(':'))
}

/// What was asked of the first proxy, and whether it was so.
fn goals(report: &Report) -> String {
    let mut text = String::from("## Goals\n\n| scenario | goal | reached | |\n|---|---|---:|---|\n");
    for played in &report.scenarios {
        let goals = &played.scenario.goals;
        let Some(proxy) = played.proxies.first() else { continue };
        let mut row = |what: &str, limit: String, reached: Option<(f64, String)>, most: f64| {
            let (value, good) =
                reached.map_or_else(|| (unknown(), "unknown"), |(value, said)| (said, if value <= most { "yes" } else { "**no**" }));
            writeln!(text, "| {} | {}: {what} at most {limit} | {value} | {good} |", played.scenario.name, proxy.name)
                .expect("a string grows");
        };
        for (what, goal, phase, part) in [
            ("median page, cold,", goals.cold_median, Phase::Cold, median as fn(&Summary) -> f64),
            ("slowest page, cold,", goals.cold_worst, Phase::Cold, |summary| summary.visit.worst),
            ("median page, warm,", goals.warm_median, Phase::Warm, median),
            ("median page, line down,", goals.down_median, Phase::Down, median),
        ] {
            if let Some(goal) = goal {
                let whole = proxy.phase(phase).filter(|summary| summary.failed == 0).map(part);
                row(what, goal.to_string(), whole.map(|value| (value, seconds(value))), goal.0.as_secs_f64() * 1e3);
            }
        }
        if let Some(goal) = goals.copies {
            let copies = proxy.phase(Phase::Cold).filter(|summary| summary.failed == 0).map(|summary| summary.copies);
            row("copies over the line, cold,", format!("{goal}"), copies.map(|value| (value, format!("{value:.3}"))), goal);
        }
        if let Some(goal) = goals.more_memory {
            let more = proxy.phase(Phase::Cold).filter(|summary| summary.failed == 0).and_then(|summary| summary.more_memory_bytes);
            row("more memory", goal.human(), more.map(|value| (value, bytes(Some(value)))), float(goal.0));
        }
    }
    text
}

fn median(summary: &Summary) -> f64 {
    summary.visit.median
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Cold => "cold",
        Phase::Warm => "warm",
        Phase::Down => "line down",
    }
}

fn seconds(milliseconds: f64) -> String {
    if milliseconds < 100.0 { format!("{milliseconds:.1} ms") } else { format!("{:.2} s", milliseconds / 1e3) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
fn bytes(value: Option<f64>) -> String {
    value.map_or_else(unknown, |value| Bytes(value as u64).human())
}

fn unknown() -> String {
    String::from("unknown")
}
