//! `bulak link test`: has the node test its line, and shows how it goes. The numbers are the API's; whoever breaks it off ends the test,
//! and what it has taken until then is counted.

use crate::base::clock::Clock;
use crate::base::unit::{BitRate, Bytes};
use crate::cli::local::{Local, read};
use crate::cli::{Context, Exit, Failure};
use crate::life::job::{State, View as Job};
use crate::meter::api::Plan;
use crate::meter::test::{End, Figures, Kept, Method, Trouble};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// Where no bar can be drawn, one line each so long: a test is shorter than what else takes long.
const LINE: Duration = Duration::from_secs(2);

/// Looks in a row that may fail.
const SILENCE: u32 = 20;

/// The share of the contract below which a person should do something (ux.md): a statement of service calls that "below".
const PROMISED: f64 = 0.8;

/// Carries it out.
pub(super) async fn run(context: &Context, full: bool) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    if context.dry_run {
        let told = local.get(&format!("/api/v1/link/tests/plan?full={full}")).await?;
        let plan: Plan = read(&told)?;
        context.show(&told, || {
            let Plan { server, allowance_bytes, worth_it } = &plan;
            let most = Bytes(*allowance_bytes).human();
            if *worth_it {
                format!("a test with {server} would take at most {most}; nothing was sent")
            } else {
                format!("nothing is left of today's bytes: a test with {server} would send nothing")
            }
        })?;
        return Ok(Exit::Done);
    }
    let job: Job = read(&local.post("/api/v1/link/tests", &json!({ "full": full })).await?)?;
    let place = format!("/api/v1/jobs/{}", job.id);
    let mut teller = Teller::new(context);
    let over = tokio::select! {
        over = watch(&local, &place, &mut teller) => over?,
        _ = tokio::signal::ctrl_c() => {
            // The node ends it at once; what is left is to see that it has.
            local.delete(&place).await?;
            let over = watch(&local, &place, &mut teller).await?;
            teller.clear();
            if over.state == State::Cancelled {
                eprintln!("the test was ended{}", cost(&local).await);
                return Ok(Exit::Interrupted);
            }
            over
        }
    };
    teller.clear();
    match (over.state, over.problem, over.result) {
        (State::Done, _, Some(result)) => {
            let kept: Kept = read(&result)?;
            let tests = local.get("/api/v1/link/tests").await?;
            context.show(&json!({ "test": result, "today": today(&tests) }), || people(&kept, &tests))?;
            let whole = kept.test.end == End::Ok && !is_below(&kept, &tests);
            Ok(if whole { Exit::Done } else { Exit::Attention })
        }
        (State::Cancelled, ..) => Err(Failure::new("meter.cancelled", "somebody else ended the test", "start it again")),
        (_, Some(problem), _) => Err(Failure::from_document(problem.status, &json!(problem))),
        _ => Err(Failure::new("meter.no_figure", "the test ended without a figure", "see the node's log")),
    }
}

/// Until it is over.
async fn watch(local: &Local, place: &str, teller: &mut Teller) -> Result<Job, Failure> {
    let mut silent = 0;
    loop {
        match local.get(place).await.and_then(|told| read::<Job>(&told)) {
            Ok(job) if job.state.is_over() => return Ok(job),
            Ok(job) => {
                silent = 0;
                teller.tell(&job);
            }
            Err(failure) => {
                silent += 1;
                if silent > SILENCE {
                    return Err(failure);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the newest test has cost, for a sentence.
async fn cost(local: &Local) -> String {
    let told = local.get("/api/v1/link/tests").await.unwrap_or(Value::Null);
    let number = |path: &str| told.pointer(path).and_then(Value::as_u64);
    match (number("/tests/0/test/cost_bytes"), number("/left_today_bytes")) {
        (Some(cost), Some(left)) => format!("; it took {}, {} are left today", Bytes(cost).human(), Bytes(left).human()),
        _ => String::new(),
    }
}

fn today(tests: &Value) -> Value {
    let names = ["spent_today_bytes", "left_today_bytes", "day_bytes", "spent_month_bytes", "month_bytes", "next"];
    names.into_iter().map(|name| (name.to_owned(), tests[name].clone())).collect()
}

/// A test in plain words; `tests`: the document of budget and contract.
pub(super) fn people(kept: &Kept, tests: &Value) -> String {
    let test = &kept.test;
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{name:<14}{value}");
        }
    };
    line("download", test.download.as_ref().map(direction).unwrap_or_default());
    line("upload", test.upload.as_ref().map(direction).unwrap_or_default());
    line("latency", test.download.as_ref().map(latency).unwrap_or_default());
    let cross = test.cross_rx_bytes.saturating_add(test.cross_tx_bytes);
    let busy = if test.busy { "a class used the line; " } else { "" };
    line("others", format!("{busy}{} moved meanwhile, which the figures include", Bytes(cross).human()));
    let left = tests["left_today_bytes"].as_u64().unwrap_or(test.left_today_bytes);
    line("cost", format!("{}, {} are left today", Bytes(test.cost_bytes).human(), Bytes(left).human()));
    let against = |upload: bool, name: &str| {
        let (has, promised) = (test.estimate(upload)?, tests[name].as_u64().filter(|promised| *promised > 0)?);
        Some(format!("{:.0} % of {}", share(has, promised) * 100.0, BitRate(promised).human()))
    };
    let promised = [(false, "contract_down_bps", "towards the school"), (true, "contract_up_bps", "towards the world")];
    let promised: Vec<String> =
        promised.iter().filter_map(|(upload, name, words)| Some(format!("{} {words}", against(*upload, name)?))).collect();
    line("contract", promised.join(", "));
    let benchmark = against(false, "benchmark_bps").map(|text| format!("{text}, which ITU and UN want for every school by 2030"));
    line("benchmark", benchmark.unwrap_or_default());
    if test.trouble != Trouble::None {
        let (what, remedy) = test.trouble.words();
        line("cut short", if remedy.is_empty() { what.to_owned() } else { format!("{what}; {remedy}") });
    }
    page
}

/// `19.8 Mbit/s (19.5 to 20.1), ndt7 says 18.9 Mbit/s; 2.4 s, BBR`.
pub(super) fn direction(figures: &Figures) -> String {
    let Some(estimate) = figures.estimate_bps else {
        return figures.ndt7_bps.map_or_else(
            || String::from("no figure"),
            |ndt7| format!("no sure figure, ndt7 says {} after {:.1} s", BitRate(ndt7).human(), figures.took_ms / 1e3),
        );
    };
    let mut text = BitRate(estimate).human();
    // Writing to memory cannot fail.
    if let (Some(low), Some(high)) = (figures.low_bps, figures.high_bps) {
        let _ = write!(text, " ({} to {})", BitRate(low).human(), BitRate(high).human());
    }
    if let Some(ndt7) = figures.ndt7_bps {
        let _ = write!(text, ", ndt7 says {}", BitRate(ndt7).human());
    }
    let how = match figures.method {
        Method::Ndt7 => "one stream".to_owned(),
        Method::Bbr => "one stream, BBR".to_owned(),
        Method::Streams => format!("{} streams, since one did not fill the line", figures.streams),
        Method::Passive => "by what real fetches have shown".to_owned(),
    };
    let early = if figures.early { ", settled" } else { "" };
    if figures.took_ms > 0.0 {
        let _ = write!(text, "; {:.1} s{early}", figures.took_ms / 1e3);
    }
    let _ = write!(text, "; {how}");
    text
}

fn latency(figures: &Figures) -> String {
    let Some(least) = figures.rtt_min_ms else { return String::from("unknown") };
    match figures.rtt_loaded_ms {
        Some(loaded) => format!("{least:.0} ms, {loaded:.0} ms while the line is full"),
        None => format!("{least:.0} ms"),
    }
}

/// Whether it stays below what was promised.
fn is_below(kept: &Kept, tests: &Value) -> bool {
    [(false, "contract_down_bps"), (true, "contract_up_bps")].into_iter().any(|(upload, name)| {
        let promised = tests[name].as_u64().filter(|promised| *promised > 0);
        kept.test.estimate(upload).zip(promised).is_some_and(|(has, promised)| share(has, promised) < PROMISED)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(has: u64, of: u64) -> f64 {
    has as f64 / of as f64
}

/// A bar on a terminal, a plain line now and then elsewhere.
struct Teller {
    bar: Option<ProgressBar>,
    plain: bool,
    clock: Clock,
    said: Option<Instant>,
}

impl Teller {
    fn new(context: &Context) -> Teller {
        let bar = context.progress_bar().then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = ProgressStyle::with_template("{prefix:8} {bar:24} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Teller { plain: bar.is_none() && context.progress(), bar, clock: Clock::system(), said: None }
    }

    fn tell(&mut self, job: &Job) {
        let now = self.clock.steady();
        if let Some(bar) = &self.bar {
            bar.set_prefix(job.phase.clone());
            bar.set_length(job.total.max(1));
            bar.set_position(job.done.min(job.total));
            bar.set_message(sentence(job));
        } else if self.plain && self.said.is_none_or(|said| now.saturating_duration_since(said) >= LINE) {
            self.said = Some(now);
            eprintln!("{} {}", job.phase, sentence(job));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `7.8 Mbit/s after 1.5 s; 2.1 MB taken of at most 12.5 MB`.
fn sentence(job: &Job) -> String {
    let Some(current) = &job.current else { return String::from("looks for its server") };
    format!("{current}; {} taken of at most {}", Bytes(job.done).human(), Bytes(job.total).human())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let figures = json!({
            "ndt7_bps": 18_900_000, "estimate_bps": 19_800_000, "low_bps": 19_500_000, "high_bps": 20_100_000, "method": "bbr",
            "congestion": "bbr", "streams": 1, "early": true, "took_ms": 2400.0, "moved_bytes": 5_600_000, "rtt_min_ms": 41.2,
            "rtt_loaded_ms": 180.0, "retransmitted_ratio": 0.0,
        });
        let mut up = figures.clone();
        up["estimate_bps"] = json!(2_500_000);
        up["method"] = json!("streams");
        up["streams"] = json!(8);
        serde_json::from_value(json!({
            "number": 1, "start": "2026-11-27T05:00:00Z", "finish": "2026-11-27T05:00:09Z", "clock_ok": true, "server": "wss://hub.kz",
            "test": { "id": "0123abcd", "trigger": "manual", "end": "ok", "trouble": "none", "reach": "domestic", "busy": true,
                "cross_rx_bytes": 1_200_000, "cross_tx_bytes": 0, "cost_bytes": 6_600_000, "left_today_bytes": 1,
                "download": figures, "upload": up },
        }))
        .expect("a test")
    }

    #[test]
    fn a_test_in_plain_words() {
        let tests = json!({ "left_today_bytes": 43_400_000, "contract_down_bps": 20_000_000, "contract_up_bps": 4_000_000, "benchmark_bps": 20_000_000 });
        let page = people(&kept(), &tests);
        for wanted in [
            "19.8 Mbit/s (19.5 Mbit/s to 20.1 Mbit/s), ndt7 says 18.9 Mbit/s; 2.4 s, settled; one stream, BBR",
            "8 streams, since one did not fill the line",
            "41 ms, 180 ms while the line is full",
            "a class used the line; 1.2 MB moved meanwhile",
            "6.6 MB, 43.4 MB are left today",
            "99 % of 20.0 Mbit/s towards the school, 62 % of 4.0 Mbit/s towards the world",
            "99 % of 20.0 Mbit/s, which ITU and UN want",
        ] {
            assert!(page.contains(wanted), "{wanted} in\n{page}");
        }
        assert!(is_below(&kept(), &tests));
        assert!(!is_below(&kept(), &json!({ "contract_down_bps": 20_000_000 })));
        let unknown = people(&kept(), &Value::Null);
        assert!(!unknown.contains("contract") && !unknown.contains("benchmark"), "{unknown}");
    }

    #[test]
    fn progress_in_a_sentence() {
        let job = Job { current: Some("7.8 Mbit/s after 1.5 s".into()), done: 2_100_000, total: 12_500_000, ..Job::default() };
        assert_eq!(sentence(&job), "7.8 Mbit/s after 1.5 s; 2.1 MB taken of at most 12.5 MB");
        assert_eq!(sentence(&Job::default()), "looks for its server");
    }
}
