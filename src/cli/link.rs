//! `bulak link`: what the node knows of its line, and a test of it.

/// `bulak link test`.
mod test;

/// What of the line was out.
mod outages;

/// Names, TLS, hosts near and far, pings.
mod passive;

/// Days and months.
mod history;

/// `bulak link statement`.
mod statement;

/// `bulak link show --csv`.
mod sheet;

use crate::base::unit::{BitRate, Bytes};
use crate::cli::local::Local;
use crate::cli::table::moment;
use crate::cli::{Context, Exit, Failure};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::fmt::Write;

/// The line: how it is now and how it was.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak link show\n  bulak link show --json")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with the line.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// How the line is now, and the last 24 hours.
    #[command(
        after_help = "Examples:\n  bulak link show\n  bulak link show --months --json\n  bulak link show --csv tests --month 2026-10 --out tests.csv"
    )]
    Show {
        /// The last 31 days instead, a line each
        #[arg(long, conflicts_with_all = ["months", "csv"])]
        days: bool,
        /// The last 12 months instead, a line each
        #[arg(long, conflicts_with = "csv")]
        months: bool,
        /// One table, for a spreadsheet
        #[command(flatten)]
        table: sheet::Args,
    },
    /// Test it now: download and upload, until the figures have settled
    #[command(after_help = "Examples:\n  bulak link test\n  bulak link test --dry-run")]
    Test {
        /// The whole ten seconds each way, and up to all that is left of the day's bytes
        #[arg(long)]
        full: bool,
    },
    /// One page to print: contract against measurements, the 2030 target, outages; signed by the node
    #[command(
        after_help = "Examples:\n  bulak link statement --month 2026-10 --lang ru --out october.html\n  bulak link statement --check october.html\n\nPrint the page with any browser, on paper or as PDF."
    )]
    Statement(statement::Args),
}

/// Asks the running node.
///
/// # Errors
/// When no node answers.
pub async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.what {
        What::Show { table, .. } if table.is_wanted() => sheet::run(context, &table).await,
        What::Show { days, months, .. } if days || months => {
            let local = Local::connect(context).await?;
            let span = if months { "by=month&most=12" } else { "by=day&most=31" };
            let told = local.get(&format!("/api/v1/link/history?{span}")).await?;
            context.show(&told, || history::page(&told, months))?;
            Ok(Exit::Done)
        }
        What::Show { .. } => {
            let local = Local::connect(context).await?;
            let mut told = local.get("/api/v1/link").await?;
            told["tests"] = local.get("/api/v1/link/tests").await?;
            told["outages"] = local.get("/api/v1/link/outages").await?;
            told["pings"] = local.get("/api/v1/link/pings").await?;
            let zone = context.zone();
            context.show(&told, || {
                people(&told, &zone) + &passive::page(&told) + &outages::page(&told["outages"], &zone) + &tested(&told["tests"], &zone)
            })?;
            Ok(Exit::Done)
        }
        What::Test { full } => test::run(context, full).await,
        What::Statement(args) => statement::run(context, args).await,
    }
}

/// The document as a page of text.
fn people(told: &Value, zone: &TimeZone) -> String {
    let now = &told["now"];
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<20}{value}");
    };
    line("line", now["state"].as_str().unwrap_or("unknown").to_owned());
    line("since", now["since"].as_str().map_or_else(unknown, |stamp| moment(zone, stamp)));
    line("speed seen", now["download"].as_str().map_or_else(unknown, str::to_owned));
    line("connect", milliseconds(now["rtt_seconds"].as_f64()));
    line("first byte", milliseconds(now["first_byte_seconds"].as_f64()));
    let day = &told["recent"]["day"];
    let spans = [
        ("up", "up_seconds"),
        ("slow", "slow_seconds"),
        ("down", "down_seconds"),
        ("nothing tried", "no_data_seconds"),
        ("box off", "off_seconds"),
        ("clock wrong", "clock_seconds"),
    ];
    line(
        "last 24 h",
        spans
            .iter()
            .filter_map(|(name, key)| Some(format!("{name} {}", span(day[*key].as_u64().filter(|count| *count > 0)?))))
            .collect::<Vec<_>>()
            .join(", "),
    );
    line("received", Bytes(day["rx_bytes"].as_u64().unwrap_or(0)).human());
    line("failed", format!("{} of {} connections", day["failures"].as_u64().unwrap_or(0), day["attempts"].as_u64().unwrap_or(0)));
    for hour in told["recent"]["hours"].as_array().into_iter().flatten() {
        let start = hour["start"].as_str().map_or_else(|| "–".to_owned(), |stamp| moment(zone, stamp));
        let down = hour["down_seconds"].as_u64().unwrap_or(0);
        let told = format!(
            "{} received, {}, down {}",
            Bytes(hour["rx_bytes"].as_u64().unwrap_or(0)).human(),
            rate(hour["download_p95_bps"].as_u64()),
            span(down)
        );
        line(&format!("  {start}"), told);
    }
    page
}

/// The tests of late, and what they may still cost.
fn tested(tests: &Value, zone: &TimeZone) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<20}{value}");
    };
    let size = |name: &str| tests[name].as_u64().map_or_else(unknown, |bytes| Bytes(bytes).human());
    if tests["has_server"] == false {
        line("tests", "there is no server to test with; set hub.url, or name one in meter.servers".to_owned());
    }
    line("tests today", format!("{} of {}", size("spent_today_bytes"), size("day_bytes")));
    line("this month", format!("{} of {}", size("spent_month_bytes"), size("month_bytes")));
    line("next test", tests["next"].as_str().map_or_else(|| "–".to_owned(), |stamp| moment(zone, stamp)));
    let contract = [("contract_down_bps", "down"), ("contract_up_bps", "up")];
    let contract: Vec<String> =
        contract.iter().filter_map(|(name, word)| Some(format!("{} {word}", BitRate(tests[name].as_u64()?).human()))).collect();
    if !contract.is_empty() {
        line("contract", contract.join(", "));
    }
    for kept in tests["tests"].as_array().into_iter().flatten() {
        let start = kept["start"].as_str().map_or_else(|| "–".to_owned(), |stamp| moment(zone, stamp));
        let test = &kept["test"];
        let of = |way: &str| rate(test[way]["estimate_bps"].as_u64());
        let least = test["download"]["rtt_min_ms"].as_f64().map(|millis| format!(", {millis:.0} ms")).unwrap_or_default();
        let (end, trouble) = (test["end"].as_str().unwrap_or("–"), test["trouble"].as_str().unwrap_or("–"));
        let end = match (end, trouble) {
            ("ok", _) => String::new(),
            (end, trouble) => format!(", {end} ({trouble})"),
        };
        let busy = if test["busy"] == true { ", in use" } else { "" };
        let cost = Bytes(test["cost_bytes"].as_u64().unwrap_or(0)).human();
        line(&format!("  {start}"), format!("{} down, {} up{least}, {cost}{busy}{end}", of("download"), of("upload")));
    }
    page
}

/// A single fact that is not known is said so; only columns of many have a dash.
fn unknown() -> String {
    String::from("unknown")
}

fn rate(bits: Option<u64>) -> String {
    bits.map_or_else(|| "–".to_owned(), |bits| BitRate(bits).human())
}

fn milliseconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(unknown, |seconds| format!("{:.0} ms", seconds * 1_000.0))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)) / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_for_people_holds_the_figures() {
        let told = json!({
            "now": {"state": "slow", "since": "2026-11-24T00:00:00Z", "rtt_seconds": 0.61, "download": "4 Mbit/s"},
            "recent": {"day": {"up_seconds": 7200, "off_seconds": 300, "rx_bytes": 5_000_000, "attempts": 9, "failures": 1},
                       "hours": [{"start": "2026-11-24T05:00:00.000000Z", "rx_bytes": 1_000_000, "down_seconds": 60, "download_p95_bps": 8_000_000}]},
        });
        let almaty = TimeZone::get("Asia/Almaty").expect("a zone");
        let page = people(&told, &almaty);
        for wanted in [
            "slow",
            "610 ms",
            "4 Mbit/s",
            "up 2.0 h, box off 5 min",
            "5.0 MB",
            "1 of 9",
            "24.11.2026 10:00  1.0 MB",
            "24.11.2026 05:00\n",
            "8.0 Mbit/s",
            "down 60 s",
        ] {
            assert!(page.contains(wanted), "{wanted} in\n{page}");
        }
        let nothing = people(&Value::Null, &almaty);
        assert!(
            ["line", "since", "speed seen", "connect", "first byte"].iter().all(|name| nothing.contains(&format!("{name:<20}unknown\n")))
        );
        let tests = json!({
            "has_server": true, "spent_today_bytes": 6_600_000, "day_bytes": 50_000_000, "spent_month_bytes": 90_000_000,
            "month_bytes": 1_500_000_000_u64, "next": "2026-11-24T09:00:00Z", "contract_down_bps": 8_000_000,
            "tests": [{"start": "2026-11-24T05:00:00.000000Z", "test": {"end": "partial", "trouble": "budget", "busy": true,
                       "cost_bytes": 6_600_000, "download": {"estimate_bps": 7_900_000, "rtt_min_ms": 41.2}}}],
        });
        let page = tested(&tests, &almaty);
        for wanted in [
            "6.6 MB of 50.0 MB",
            "90.0 MB of 1.5 GB",
            "24.11.2026 14:00",
            "8.0 Mbit/s down",
            "7.9 Mbit/s down, – up, 41 ms, 6.6 MB, in use, partial (budget)",
        ] {
            assert!(page.contains(wanted), "{wanted} in\n{page}");
        }
        assert!(tested(&json!({"has_server": false}), &almaty).contains("meter.servers"));
    }
}
