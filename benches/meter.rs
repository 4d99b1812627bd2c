//! The table of the line: true capacity, what ndt7 said, what our estimate says, what that cost; on emulated lines, by one command.
//!
//! `cargo bench --bench meter` (all 45 lines of the classroom, both directions, and lines in use; some 20 minutes; needs root).
//!
//! - `BULAK_METER`: `short` is a third of the lines (under 6 minutes), `smoke` two of them.
//! - `BULAK_METER_LINES`: other lines, `8/2 Mbit/s, 250 ms, 1 %; 20/20 Mbit/s, 40 ms`.
//! - `BULAK_LINE_CONGESTION`: what plain senders use instead of CUBIC. `-- --json` prints JSON.
//!
//! A line has a node's meter at one end and the hub's server at the other, which sends with BBR where the kernel has it. `true` is the
//! line's rate in bits of IP packets; a payload is at most 1448 of 1500 bytes of that, which is why ndt7, whose figure is payload from
//! the first byte on, says less even on a clean line. `plain` is what one CUBIC stream gets: what a server without BBR would say.
//! `cost` is what the meter counted, `wire` what the line carried meanwhile: the budget is counted and not assumed.

#[path = "line/mod.rs"]
mod line;

/// The parts of this bench.
mod meter {
    /// A node's meter and the hub's server at the ends of a line.
    #[path = "ends.rs"]
    pub(crate) mod ends;
}

use bulak::meter::budget::{DAY, DAY_MOST};
use bulak::meter::test::{Figures, Kept, Method};
use line::{Cable, Line, gauge};
use meter::ends::{Ends, School};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Tests of a default day: three slots and one after a start.
const TESTS: u64 = 4;

/// The part of a line that a class takes where one does.
const CLASS: f64 = 0.5;

/// What a line is tried with beside itself.
#[derive(Clone, Debug)]
struct Case {
    line: Line,
    class: bool,
    plain: bool,
}

/// One direction of one line.
#[derive(Debug, Serialize)]
struct Row {
    line: String,
    way: &'static str,
    class: bool,
    true_bps: u64,
    plain_bps: Option<u64>,
    ndt7_bps: Option<u64>,
    estimate_bps: Option<u64>,
    low_bps: Option<u64>,
    high_bps: Option<u64>,
    off: Option<f64>,
    allowed: Option<f64>,
    method: Option<Method>,
    streams: Option<u64>,
    early: Option<bool>,
    took_ms: Option<f64>,
    true_rtt_ms: f64,
    rtt_min_ms: Option<f64>,
    rtt_loaded_ms: Option<f64>,
    trouble: Option<String>,
}

/// A test's cost.
#[derive(Debug, Serialize)]
struct Cost {
    line: String,
    counted_bytes: u64,
    wire_bytes: u64,
}

fn main() -> ExitCode {
    // Before other programs, with all that it starts: on a busy machine it would measure them.
    let _allowed = rustix::process::setpriority_process(None, -10);
    let json = std::env::args().any(|word| word == "--json");
    let mode = std::env::var("BULAK_METER").unwrap_or_default();
    let cases = match cases(&mode) {
        Ok(cases) => cases,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    if !json {
        println!("{}", head());
    }
    let (mut rows, mut costs, mut outside) = (Vec::new(), Vec::new(), 0);
    for case in cases {
        match measure(&case) {
            Ok((found, cost)) => {
                for row in &found {
                    let bad = row.off.zip(row.allowed).is_some_and(|(off, allowed)| off.abs() > allowed) || row.estimate_bps.is_none();
                    outside += usize::from(bad && row.allowed.is_some());
                    if !json {
                        println!("{}", text(row, bad, &cost));
                    }
                }
                rows.extend(found);
                costs.push(cost);
            }
            Err(why) => {
                eprintln!("{}: {why}", case.line);
                return ExitCode::FAILURE;
            }
        }
    }
    if json {
        println!("{}", serde_json::json!({ "rows": rows, "costs": costs, "outside": outside, "tests_a_day": TESTS }));
    } else {
        println!("\n{outside} figures outside of what is allowed (marked !); '–': nothing is promised there. {}", day(&costs));
    }
    ExitCode::SUCCESS
}

/// The lines of a mode.
fn cases(mode: &str) -> Result<Vec<Case>, String> {
    let of = |text: &str| text.trim().parse::<Line>();
    if let Ok(chosen) = std::env::var("BULAK_METER_LINES") {
        let lines = chosen.split(';').map(of).collect::<Result<Vec<Line>, String>>()?;
        return Ok(lines.into_iter().map(|line| Case { line, class: false, plain: true }).collect());
    }
    let lines = match mode {
        "smoke" => vec![of("8/1.6 Mbit/s, 40 ms")?, of("8/1.6 Mbit/s, 40 ms, 1 %")?],
        "short" => Line::classroom().into_iter().filter(in_short).collect(),
        _ => Line::classroom(),
    };
    let plain = mode != "short";
    let mut cases: Vec<Case> = lines.into_iter().map(|line| Case { line, class: false, plain }).collect();
    if mode != "smoke" {
        for text in ["4/0.8 Mbit/s, 40 ms", "20/4 Mbit/s, 40 ms", "8/1.6 Mbit/s, 250 ms"] {
            cases.push(Case { line: of(text)?, class: true, plain: false });
        }
    }
    Ok(cases)
}

/// A third of them: every rate, each round trip and each loss somewhere.
fn in_short(line: &Line) -> bool {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0, 1 or 3")]
    let percent = (line.loss * 100.0).round() as u32;
    match (line.down.0 / 1_000_000, line.rtt.as_millis()) {
        (1 | 8 | 150, 40) | (20, 250) => percent != 1,
        (4, 40 | 600) | (20, 600) => percent == 0,
        (20, 40) => percent < 3,
        (8, 250) => percent != 3,
        _ => false,
    }
}

/// One line: both directions, and what they cost.
fn measure(case: &Case) -> Result<(Vec<Row>, Cost), String> {
    let broke = |error: &dyn std::fmt::Display| error.to_string();
    let cable = Cable::lay(&case.line).map_err(|error| format!("no namespaces and TUN devices here: {error}; root is needed"))?;
    let plain = if case.plain && !case.class {
        let warm = Duration::from_secs(2) + case.line.rtt * 6;
        let time = Duration::from_secs(3);
        let bulk = |rate: std::io::Result<f64>| rate.ok().map(whole);
        (bulk(gauge::bulk_down(&cable, warm, time)), bulk(gauge::bulk_up(&cable, warm, time)))
    } else {
        (None, None)
    };
    let ends = Ends::start(&cable).map_err(|error| broke(&error))?;
    let class = case.class.then(|| ends.class(&cable, CLASS)).transpose().map_err(|error| broke(&error))?;
    let before = (cable.down().bytes + cable.up().bytes, class.as_ref().map_or(0, School::moved));
    let kept = ends.test().map_err(|error| broke(&error))?;
    // What was on its way when the test ended still comes.
    std::thread::sleep(Duration::from_secs(1) + case.line.rtt * 2);
    let after = (cable.down().bytes + cable.up().bytes, class.as_ref().map_or(0, School::moved));
    drop(class);
    let wire = (after.0 - before.0).saturating_sub(after.1 - before.1);
    let cost = Cost { line: case.line.to_string(), counted_bytes: kept.test.cost_bytes, wire_bytes: wire };
    let trouble = cable.trouble();
    let rows = vec![
        row(case, "down", case.line.down.0, plain.0, kept.test.download.as_ref(), &kept, trouble.clone()),
        row(case, "up", case.line.up.0, plain.1, kept.test.upload.as_ref(), &kept, trouble),
    ];
    Ok((rows, cost))
}

fn row(
    case: &Case,
    way: &'static str,
    truth: u64,
    plain_bps: Option<u64>,
    figures: Option<&Figures>,
    kept: &Kept,
    trouble: Option<String>,
) -> Row {
    let estimate = figures.and_then(|figures| figures.estimate_bps);
    Row {
        line: case.line.to_string(),
        way,
        class: case.class,
        true_bps: truth,
        plain_bps,
        ndt7_bps: figures.and_then(|figures| figures.ndt7_bps),
        estimate_bps: estimate,
        low_bps: figures.and_then(|figures| figures.low_bps),
        high_bps: figures.and_then(|figures| figures.high_bps),
        off: estimate.map(|estimate| float(estimate) / float(truth) - 1.0),
        allowed: allowed(case),
        method: figures.map(|figures| figures.method),
        streams: figures.map(|figures| figures.streams),
        early: figures.map(|figures| figures.early),
        took_ms: figures.map(|figures| figures.took_ms),
        true_rtt_ms: case.line.rtt.as_secs_f64() * 1e3,
        rtt_min_ms: figures.and_then(|figures| figures.rtt_min_ms),
        rtt_loaded_ms: figures.and_then(|figures| figures.rtt_loaded_ms),
        trouble: trouble.or_else(|| (kept.test.trouble != bulak::meter::test::Trouble::None).then(|| format!("{:?}", kept.test.trouble))),
    }
}

/// How far an estimate may be off.
fn allowed(case: &Case) -> Option<f64> {
    let (far, fast) = (case.line.rtt > Duration::from_millis(250), case.line.down.0 > 20_000_000);
    match (case.class, case.line.loss > 0.0) {
        (true, _) => Some(0.15),
        (false, true) if far => None,
        (false, true) => Some(0.2),
        (false, false) => Some(if far || fast { 0.1 } else { 0.05 }),
    }
}

fn head() -> String {
    format!(
        "{:<28}{:<6}{:>8}{:>8}{:>8}{:>10}{:>18}{:>8}  {:<9}{:>6}{:>8}{:>8}{:>8}{:>9}{:>9}",
        "line",
        "way",
        "true",
        "plain",
        "ndt7",
        "estimate",
        "interval",
        "off",
        "method",
        "s",
        "RTT",
        "least",
        "loaded",
        "cost MB",
        "wire MB"
    )
}

fn text(row: &Row, bad: bool, cost: &Cost) -> String {
    let mbit = |bits: Option<u64>| bits.map_or_else(|| String::from("–"), |bits| format!("{:.2}", float(bits) / 1e6));
    let millis = |millis: Option<f64>| millis.map_or_else(|| String::from("–"), |millis| format!("{millis:.0}"));
    let off = row.off.map_or_else(|| String::from("–"), |off| format!("{:+.1} %", off * 100.0));
    let mark = if bad && row.allowed.is_some() {
        "!"
    } else if row.allowed.is_none() {
        "–"
    } else {
        ""
    };
    let method = row.method.map_or("none", |method| match method {
        Method::Ndt7 => "ndt7",
        Method::Streams => "streams",
        Method::Bbr => "bbr",
        Method::Passive => "passive",
    });
    let streams = row.streams.filter(|streams| *streams > 1).map(|streams| format!(" {streams}")).unwrap_or_default();
    let how = format!("{method}{streams}");
    let interval = format!("{} to {}", mbit(row.low_bps), mbit(row.high_bps));
    let megabytes = |bytes: u64| if row.way == "down" { format!("{:.2}", float(bytes) / 1e6) } else { String::new() };
    format!(
        "{:<28}{:<6}{:>8}{:>8}{:>8}{:>10}{:>18}{:>8}{:<2}{:<9}{:>6}{:>8}{:>8}{:>8}{:>9}{:>9}  {}",
        if row.class { format!("{} in use", row.line) } else { row.line.clone() },
        row.way,
        mbit(Some(row.true_bps)),
        mbit(row.plain_bps),
        mbit(row.ndt7_bps),
        mbit(row.estimate_bps),
        interval,
        off,
        mark,
        how,
        row.took_ms.map_or_else(|| String::from("–"), |took| format!("{:.1}", took / 1e3)),
        millis(Some(row.true_rtt_ms)),
        millis(row.rtt_min_ms),
        millis(row.rtt_loaded_ms),
        megabytes(cost.counted_bytes),
        megabytes(cost.wire_bytes),
        row.trouble.clone().unwrap_or_default()
    )
}

/// What a default day would cost on the dearest line of each kind; the budget lets no day have more than its bytes.
fn day(costs: &[Cost]) -> String {
    let dearest = |fast: bool, most: u64| {
        costs
            .iter()
            .filter(|cost| cost.line.starts_with("150/") == fast)
            .map(|cost| cost.counted_bytes.max(cost.wire_bytes))
            .max()
            .map_or_else(
                || String::from("–"),
                |bytes| format!("{:.1} MB of {:.0} MB", float((bytes * TESTS).min(most)) / 1e6, float(most) / 1e6),
            )
    };
    let (slow, fast) = (dearest(false, DAY), dearest(true, DAY_MOST));
    format!("A day of {TESTS} tests like the dearest of these: {slow} up to 20 Mbit/s, {fast} at 150 Mbit/s.")
}

#[expect(clippy::cast_precision_loss, reason = "printed")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
fn whole(value: f64) -> u64 {
    value as u64
}
