//! What a night will take, before a byte moves: bytes, hours, and whether they fit.
//!
//! What is known from the last run counts as it is; what is not known yet is reckoned with the mean of what is, or, before the
//! first run, with the pack's own cap, and the plan says which.

use crate::base::clock::Time;
use crate::base::unit::{BitRate, Bytes};
use crate::state::frontier::Count;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the bytes of a plan rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanBasis)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The lengths of an earlier run.
    LastRun,
    /// Partly lengths, partly their mean.
    Mixed,
    /// Nothing was fetched yet: the pack's cap, which is the most it can be.
    #[default]
    Cap,
}

/// A plan for one pack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// The pack.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Things still to fetch or to confirm, as far as they are known.
    pub wishes: u64,
    /// Bytes still to come, at most.
    pub bytes: u64,
    /// What `bytes` rests on.
    pub basis: Basis,
    /// The rate reckoned with; unknown before anything was measured.
    pub rate_bits_per_second: Option<u64>,
    /// Where the rate comes from: `last_night`, `line`, `cap` or `unknown`.
    pub rate_basis: String,
    /// How long it takes at that rate.
    pub seconds: Option<u64>,
    /// When the window in question opens (RFC 3339); absent when it is open.
    pub window_opens: Option<String>,
    /// When it closes.
    pub window_closes: Option<String>,
    /// Whether it fits into that window; unknown without rate or window.
    pub fits: Option<bool>,
    /// Seeds of a kind that this version does not fetch.
    pub seeds_not_fetched: u64,
    /// The same in one sentence.
    pub sentence: String,
}

/// What a plan is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// The run under way, or the last one.
    pub count: Count,
    /// Whether a run is under way.
    pub under_way: bool,
    /// Seeds to start from when none is.
    pub seeds: u64,
    /// The pack's cap.
    pub max_bytes: u64,
    /// The rate, if any is known.
    pub rate: Option<BitRate>,
    /// The window: opens (absent: is open), closes.
    pub window: Option<(Option<Time>, Time)>,
    /// Now.
    pub now: Time,
}

/// Wishes and bytes still to come, and what they rest on.
pub fn left(given: &Given) -> (u64, u64, Basis) {
    let count = given.count;
    let cap = given.max_bytes.saturating_sub(if given.under_way { count.done_bytes } else { 0 });
    if given.under_way {
        let open = count.total.saturating_sub(count.ended);
        let unknown = open.saturating_sub(count.known);
        let seen = count.done + count.known;
        if unknown == 0 {
            return (open, count.known_bytes.min(cap), Basis::LastRun);
        }
        if seen == 0 {
            return (open, cap, Basis::Cap);
        }
        let mean = (count.done_bytes + count.known_bytes) / seen;
        return (open, count.known_bytes.saturating_add(mean.saturating_mul(unknown)).min(cap), Basis::Mixed);
    }
    if count.done == 0 {
        return (given.seeds, cap, Basis::Cap);
    }
    // A refresh: at most everything again; what is unchanged costs one conditional request.
    (count.total, count.done_bytes.min(cap), Basis::LastRun)
}

/// Time for `bytes` at `rate`.
pub fn time(bytes: u64, rate: Option<BitRate>) -> Option<Duration> {
    let per_second = rate?.bytes_per_second();
    (per_second > 0).then(|| Duration::from_secs(bytes.div_ceil(per_second)))
}

/// The plan; `id`, `version`, `rate_basis` and the texts of times are the caller's.
pub fn plan(given: &Given) -> Plan {
    let (wishes, bytes, basis) = left(given);
    let seconds = time(bytes, given.rate);
    let room = given.window.map(|(opens, closes)| closes.since(opens.unwrap_or(given.now)));
    let fits = seconds.zip(room).map(|(seconds, room)| seconds <= room);
    Plan {
        wishes,
        bytes,
        basis,
        rate_bits_per_second: given.rate.map(|rate| rate.0),
        seconds: seconds.map(|wait| wait.as_secs()),
        window_opens: given.window.and_then(|(opens, _)| opens).map(Time::to_rfc3339),
        window_closes: given.window.map(|(_, closes)| closes.to_rfc3339()),
        fits,
        sentence: sentence(bytes, basis, given.rate, seconds, fits),
        ..Plan::default()
    }
}

fn sentence(bytes: u64, basis: Basis, rate: Option<BitRate>, seconds: Option<Duration>, fits: Option<bool>) -> String {
    let most = if basis == Basis::Cap { "at most " } else { "" };
    let size = Bytes(bytes).human();
    let time = match (rate, seconds) {
        (Some(rate), Some(seconds)) => format!("{} at {}", clock(seconds), rate.human()),
        _ => String::from("how long is unknown until the line was measured"),
    };
    let verdict = match fits {
        Some(true) => ": fits before the window closes",
        Some(false) => ": does not fit, the rest follows in the next window",
        None => "",
    };
    format!("{most}{size}, {time}{verdict}")
}

/// `3 h 20 min`.
fn clock(wait: Duration) -> String {
    let minutes = wait.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_what_they_rest_on() {
        let count = |total, ended, done, done_bytes, known, known_bytes| Count {
            total,
            ended,
            done,
            done_bytes,
            known,
            known_bytes,
            ..Count::default()
        };
        let table = [
            // nothing fetched yet
            (count(0, 0, 0, 0, 0, 0), false, (3, 1000, Basis::Cap)),
            // a finished run: all again at most
            (count(9, 9, 8, 800, 0, 0), false, (9, 800, Basis::LastRun)),
            // half way, the rest known
            (count(4, 2, 2, 200, 2, 300), true, (2, 300, Basis::LastRun)),
            // half way, the rest unknown: the mean of 100
            (count(4, 2, 2, 200, 0, 0), true, (2, 200, Basis::Mixed)),
            // the cap holds
            (count(40, 2, 2, 200, 0, 0), true, (38, 800, Basis::Mixed)),
            // begun, nothing done
            (count(2, 0, 0, 0, 0, 0), true, (2, 1000, Basis::Cap)),
        ];
        for (count, under_way, wanted) in table {
            let given = Given { count, under_way, seeds: 3, max_bytes: 1000, ..Given::default() };
            assert_eq!(left(&given), wanted, "{count:?}");
        }
    }

    #[test]
    fn a_plan_says_whether_it_fits() {
        let now = Time::from_secs(0);
        let count = Count { total: 10, ended: 10, done: 10, done_bytes: 12_400_000_000, ..Count::default() };
        let window = |hours: u64| Some((None, now.plus(Duration::from_secs(hours * 3600))));
        let given = Given { count, max_bytes: u64::MAX, rate: Some(BitRate(8_100_000)), window: window(9), now, ..Given::default() };
        let good = plan(&given);
        assert_eq!((good.fits, good.sentence.as_str()), (Some(true), "12.4 GB, 3 h 25 min at 8.1 Mbit/s: fits before the window closes"));
        assert_eq!(plan(&Given { window: window(3), ..given }).fits, Some(false));
        let unknown = plan(&Given { rate: None, ..given });
        assert_eq!((unknown.fits, unknown.seconds), (None, None));
        assert!(unknown.sentence.contains("unknown"));
    }
}
