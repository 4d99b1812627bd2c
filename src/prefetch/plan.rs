//! What a night will take, before anything large moves: bytes, hours, whether they fit, what is left out. Pure.
//!
//! What was asked of the origins or fetched before counts as it is; what is reckoned says so and says how far off it may be
//! (`guess`). Whoever asks the origins is `survey`; how right it all was is kept by `record`.

/// What a survey meets.
pub mod census;

/// What a survey found.
pub mod findings;

/// From samples to sums.
pub mod guess;

/// Plan against night.
pub mod record;

/// What an address is to a plan.
pub mod sort;

/// The night as one plan.
pub mod tonight;

pub use guess::Basis;

use crate::base::clock::Time;
use crate::base::unit::{BitRate, Bytes};
use crate::prefetch::plan::findings::Findings;
use crate::prefetch::plan::guess::{Errands, Learned, Reckoned, Road, Span, real, whole};
use crate::prefetch::plan::sort::Sort;
use crate::state::frontier::Count;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A number of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanFigure)]
pub struct Figure {
    /// The number.
    pub value: u64,
    /// Whether it is a guess; else it was counted.
    pub guess: bool,
    /// Hardly less.
    pub low: u64,
    /// Hardly more.
    pub high: u64,
}

impl Figure {
    /// A counted number.
    pub fn known(value: u64) -> Figure {
        Figure { value, guess: false, low: value, high: value }
    }

    /// A reckoned one: a guess unless its bounds say that it is none.
    pub fn of(span: Span) -> Figure {
        let (value, low, high) = (whole(span.mid), whole(span.low), whole(span.high));
        Figure { value, guess: low != high, low: low.min(value), high: high.max(value) }
    }

    /// For people: a guess carries a tilde and its bounds, `~12.4 GB (10.1 GB to 14.8 GB)`.
    pub fn told(&self, word: impl Fn(u64) -> String) -> String {
        if self.guess { format!("~{} ({} to {})", word(self.value), word(self.low), word(self.high)) } else { word(self.value) }
    }
}

/// Which night of a pack is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanNight)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Nothing was fetched yet.
    #[default]
    First,
    /// A run is under way: the rest of it.
    UnderWay,
    /// What failed in the last run.
    Failed,
    /// All of it is looked at again.
    Later,
}

/// Things of one sort on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanPart)]
pub struct Part {
    /// The host; empty: many small ones.
    pub host: String,
    /// The sort.
    pub sort: Sort,
    /// How many.
    pub wishes: Figure,
    /// Bytes to come.
    pub bytes: Figure,
    /// What the bytes rest on.
    pub basis: Basis,
}

/// What is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanLeftOut)]
pub struct LeftOut {
    /// Why, for people.
    pub why: String,
    /// How many things, where that is known.
    pub wishes: Option<Figure>,
    /// How many bytes, where that is known.
    pub bytes: Option<Figure>,
    /// Whether it follows in a later night.
    pub later: bool,
}

/// The survey that a plan rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanSurvey)]
pub struct Surveyed {
    /// When it was over (RFC 3339).
    pub at: String,
    /// Requests that it made.
    pub requests: u64,
    /// Bytes that it brought; they need not come again.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: u64,
    /// Pages that it read.
    pub pages_read: u64,
    /// Whether it asked all that it wanted to.
    pub whole: bool,
}

/// A plan for one pack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// The pack.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Which of its nights this is.
    pub night: Which,
    /// Things to fetch or to confirm.
    pub wishes: Figure,
    /// Bytes to come over the line.
    pub bytes: Figure,
    /// Bytes that the pack holds then.
    pub holds: Figure,
    /// What most of `bytes` rests on.
    pub basis: Basis,
    /// The rate reckoned with; unknown before anything was measured.
    pub rate_bits_per_second: Option<u64>,
    /// Where the rate comes from: `last_night`, `line`, `cap` or `unknown`.
    pub rate_basis: String,
    /// What a request takes that brings nothing.
    pub request_milliseconds: u64,
    /// Where that comes from: `survey`, `last_night`, `line` or `guess`.
    pub request_basis: String,
    /// How long it takes at that rate, while nobody else uses the line.
    pub seconds: Option<Figure>,
    /// When the window in question opens (RFC 3339); absent when it is open.
    pub window_opens: Option<String>,
    /// When it closes.
    pub window_closes: Option<String>,
    /// Whether it fits into that window and the caps; unknown without rate or window.
    pub fits: Option<bool>,
    /// Bytes by host and sort, the largest first; forty at most.
    pub parts: Vec<Part>,
    /// What is left out, and why.
    pub left_out: Vec<LeftOut>,
    /// The survey that it rests on; null: none was made, or what it found is no longer true.
    pub survey: Option<Surveyed>,
    /// What is not known, and why.
    pub unknown: Vec<String>,
    /// Seeds of a kind that this version does not fetch.
    pub seeds_not_fetched: u64,
    /// The same in one sentence.
    pub sentence: String,
}

/// Parts that are told.
const PARTS: usize = 40;

/// What a plan is made of.
#[derive(Clone)]
pub struct Given<'a> {
    /// The run under way, or the last one.
    pub count: Count,
    /// Whether a run is under way.
    pub under_way: bool,
    /// Bytes that it has brought.
    pub transferred: u64,
    /// Whether only what failed is tried again.
    pub failed: bool,
    /// Seeds to start from when there is no run.
    pub seeds: u64,
    /// The pack's cap.
    pub max_bytes: u64,
    /// Caps of its hosts: the name that a host goes by, and its cap.
    pub sites: &'a (dyn Fn(&str) -> Option<(String, u64)> + Sync),
    /// What a survey found that is still true.
    pub findings: Option<&'a Findings>,
    /// Lengths of what is here.
    pub learned: &'a Learned,
    /// A person asks: everything is looked at.
    pub anew: bool,
    /// The way to the hosts.
    pub road: Road,
    /// The window: opens (absent: is open), closes.
    pub window: Option<(Option<Time>, Time)>,
    /// Now.
    pub now: Time,
    /// Bytes that the caps leave for that window, and the cap's name.
    pub left: Option<(u64, &'static str)>,
    /// Bytes that packs may still keep.
    pub room: Option<u64>,
}

/// Sums on their way into a plan.
#[derive(Clone, Debug, Default)]
struct Total {
    wishes: Span,
    bytes: Span,
    holds: Span,
    basis: Basis,
    parts: Vec<Part>,
    errands: Vec<Errands>,
    left_out: Vec<LeftOut>,
}

/// The plan; `id`, `version`, `rate_basis` and what needs a clock or a zone are the caller's.
pub fn plan(given: &Given<'_>) -> Plan {
    let night = match (given.under_way, given.failed, given.count.done) {
        (true, ..) => Which::UnderWay,
        (false, true, _) => Which::Failed,
        (false, false, 0) => Which::First,
        (false, false, _) => Which::Later,
    };
    let mut total = match (night, given.findings) {
        (Which::UnderWay, found) => under_way(given, found),
        (Which::Failed, _) => failed(given),
        (Which::First | Which::Later, Some(found)) => surveyed(given, found),
        (Which::Later, None) => last_run(given),
        (Which::First, None) => unknown(given),
    };
    cap(given, night, &mut total);
    let seconds = guess::seconds(total.bytes, &total.errands, &given.road);
    let fits = fit(given, &total.bytes, seconds, &mut total.left_out);
    total.parts.sort_by_key(|part| std::cmp::Reverse((part.bytes.value, part.wishes.value)));
    total.parts.truncate(PARTS);
    let (wishes, bytes, seconds) = (Figure::of(total.wishes), Figure::of(total.bytes), seconds.map(Figure::of));
    let rate = given.road.rate.map(|rate| BitRate(whole(rate * 8.0)));
    Plan {
        night,
        sentence: sentence(night, &bytes, total.basis, rate, seconds.as_ref(), fits),
        wishes,
        bytes,
        holds: Figure::of(total.holds),
        basis: total.basis,
        rate_bits_per_second: rate.map(|rate| rate.0),
        seconds,
        window_opens: given.window.and_then(|(opens, _)| opens).map(Time::to_rfc3339),
        window_closes: given.window.map(|(_, closes)| closes.to_rfc3339()),
        fits,
        parts: total.parts,
        left_out: total.left_out,
        ..Plan::default()
    }
}

/// By what a survey found.
fn surveyed(given: &Given<'_>, found: &Findings) -> Total {
    let mut total = Total { basis: Basis::Known, ..Total::default() };
    let mut hosts: BTreeMap<&str, Errands> = BTreeMap::new();
    let mut bases: BTreeMap<Basis, f64> = BTreeMap::new();
    for stratum in &found.strata {
        let Reckoned { things, requests, bytes, holds, basis } = guess::stratum(stratum, given.learned, given.anew);
        total.wishes = total.wishes.plus(things);
        total.bytes = total.bytes.plus(bytes);
        total.holds = total.holds.plus(holds);
        // Where little is expected, what it may be at most counts.
        *bases.entry(basis).or_default() += bytes.mid + (bytes.high - bytes.low) / 4.0;
        let host = hosts.entry(&stratum.host).or_default();
        host.requests += requests.mid;
        if matches!(stratum.sort, Sort::Page | Sort::List) {
            host.held += requests.mid;
        }
        let part = Part { host: stratum.host.clone(), sort: stratum.sort, wishes: Figure::of(things), bytes: Figure::of(bytes), basis };
        match total.parts.iter_mut().find(|known| known.host == part.host && known.sort == part.sort) {
            Some(known) => join(known, &part),
            None => total.parts.push(part),
        }
        total.left_out.extend(left_of(stratum));
    }
    if found.unread > 0 {
        // There is more, and nobody knows how much.
        let most = unknown(given);
        let things = found.strata.iter().any(|one| one.sort != Sort::List);
        if !things {
            return Total { left_out: total.left_out, ..most };
        }
        (total.bytes.high, total.holds.high) = (total.bytes.high.max(most.bytes.high), total.holds.high.max(most.holds.high));
        total.wishes.high = total.wishes.high.max(most.wishes.high);
    }
    let most = bases.into_iter().max_by(|one, two| one.1.total_cmp(&two.1));
    total.basis = most.filter(|(_, weight)| *weight > 0.0).map_or(Basis::Known, |(basis, _)| basis);
    for (host, errands) in &mut hosts {
        errands.pause = found.paces.iter().find(|pace| pace.host == **host).map_or(0.0, |pace| pace.pause);
        if errands.pause <= 0.0 {
            errands.held = 0.0;
        }
    }
    total.errands = hosts.into_values().collect();
    let known = |(why, many): &(String, u64)| LeftOut { why: why.clone(), wishes: Some(Figure::known(*many)), bytes: None, later: false };
    total.left_out.extend(found.left_out.iter().map(known));
    total
}

fn join(known: &mut Part, more: &Part) {
    let sum = |one: Figure, two: Figure| Figure {
        value: one.value + two.value,
        guess: one.guess || two.guess,
        low: one.low + two.low,
        high: one.high + two.high,
    };
    (known.wishes, known.bytes) = (sum(known.wishes, more.wishes), sum(known.bytes, more.bytes));
    known.basis = known.basis.max(more.basis);
}

/// What of a stratum is left out, by those asked about.
fn left_of(stratum: &findings::Stratum) -> Vec<LeftOut> {
    let table = [
        (stratum.forbidden, "robots.txt forbids them"),
        (stratum.refused, "the origin refuses them, or they may not be kept"),
        (stratum.too_long, "longer than scope.max_bytes lets in"),
    ];
    let told = |(part, why): (u64, &str)| {
        let all = stratum.scaled(part);
        let guess = stratum.asked < stratum.known + stratum.more;
        LeftOut {
            why: format!("{} on {}: {why}", stratum.sort.plural(), stratum.host),
            wishes: Some(Figure { value: all, guess, low: part, high: if guess { stratum.known + stratum.more } else { all } }),
            bytes: None,
            later: false,
        }
    };
    table.into_iter().filter(|(part, _)| *part > 0).map(told).collect()
}

/// The rest of a run: what is open, and what is still to be found.
fn under_way(given: &Given<'_>, found: Option<&Findings>) -> Total {
    let count = given.count;
    let open = count.total.saturating_sub(count.ended);
    if let Some(found) = found {
        // What was foreseen, less what is here.
        let all = surveyed(given, found);
        let part = (1.0 - real(count.ended) / all.wishes.mid.max(1.0)).clamp(0.0, 1.0);
        let rest = |span: Span, less: f64, least: f64| Span {
            mid: (span.mid - less).max(least),
            low: (span.low - less).max(least),
            high: (span.high - less).max(least),
        };
        let bytes = rest(all.bytes, real(given.transferred), 0.0);
        let errands = all.errands.iter().map(|one| Errands { requests: one.requests * part, held: one.held * part, ..*one });
        return Total { wishes: rest(all.wishes, real(count.ended), real(open)), bytes, errands: errands.collect(), ..all };
    }
    let (done, unknown, seen) = (real(count.done_bytes), open.saturating_sub(count.known), count.done + count.known);
    let known = Span::exact(real(count.known_bytes));
    let (bytes, basis) = match (unknown, seen) {
        (0, _) => (known, Basis::LastRun),
        (_, 0) => (Span { mid: real(given.max_bytes), low: 0.0, high: real(given.max_bytes) }, Basis::Cap),
        _ => {
            let mean = (done + known.mid) / real(seen);
            (known.plus(Span::within(mean, 2.0).times(real(unknown))), Basis::Sampled)
        }
    };
    let holds = bytes.plus(Span::exact(done));
    Total { wishes: Span::exact(real(open)), bytes, holds, basis, errands: vec![plain(real(open))], ..Total::default() }
}

/// What failed is tried again; how long it is nobody knows.
fn failed(given: &Given<'_>) -> Total {
    let count = given.count;
    let mean = real(count.done_bytes) / real(count.done).max(1.0);
    let (each, basis) = if count.done > 0 { (Span::within(mean, 4.0), Basis::Learned) } else { given.learned.mean("", Sort::Page) };
    let bytes = Span { low: 0.0, ..each.times(real(count.failed)) };
    let holds = bytes.plus(Span::exact(real(count.done_bytes)));
    Total { wishes: Span::exact(real(count.failed)), bytes, holds, basis, errands: vec![plain(real(count.failed))], ..Total::default() }
}

/// A refresh that nobody surveyed: everything may have changed, most has not.
fn last_run(given: &Given<'_>) -> Total {
    let here = real(given.count.done_bytes);
    let (change, basis) = given.learned.change();
    let bytes = Span { mid: here * change.mid, low: 0.0, high: here };
    let wishes = Span { low: 0.0, ..Span::exact(real(given.count.total)) };
    Total { wishes, bytes, holds: Span::exact(here), basis, errands: vec![plain(wishes.mid)], ..Total::default() }
}

/// Before anything is known: the pack's cap is the most it can be.
fn unknown(given: &Given<'_>) -> Total {
    let most = Span { mid: real(given.max_bytes), low: 0.0, high: real(given.max_bytes) };
    let wishes = Span { high: f64::INFINITY, ..Span::exact(real(given.seeds)) };
    let wishes = wishes.at_most(real(given.seeds).max(1e6));
    Total { wishes, bytes: most, holds: most, basis: Basis::Cap, errands: vec![plain(wishes.mid)], ..Total::default() }
}

fn plain(requests: f64) -> Errands {
    Errands { requests, ..Errands::default() }
}

/// The pack's own caps, those of its hosts, and the store's room.
fn cap(given: &Given<'_>, night: Which, total: &mut Total) {
    if let Some(found) = given.findings.filter(|_| night == Which::First) {
        let mut by: BTreeMap<String, (Span, u64)> = BTreeMap::new();
        for stratum in &found.strata {
            if let Some((name, most)) = (given.sites)(&stratum.host) {
                let sum = by.entry(name).or_insert((Span::default(), most));
                sum.0 = sum.0.plus(guess::stratum(stratum, given.learned, given.anew).holds);
            }
        }
        for (name, (holds, most)) in by {
            cut(night, total, holds, most, format!("{name} may hold {} (scope.sites)", Bytes(most).human()));
        }
    }
    if total.basis == Basis::Cap {
        return;
    }
    let holds = total.holds;
    cut(night, total, holds, given.max_bytes, format!("the pack may hold {} (scope.max_bytes)", Bytes(given.max_bytes).human()));
    if let Some(room) = given.room
        && let Some(beyond) = beyond(total.bytes, real(room))
    {
        let why = format!("packs may keep {} more (store.pinned_share, store.quota)", Bytes(room).human());
        total.left_out.push(LeftOut { why, wishes: None, bytes: Some(Figure::of(beyond)), later: false });
    }
}

/// Takes off what is beyond a cap on what is held.
fn cut(night: Which, total: &mut Total, holds: Span, most: u64, why: String) {
    let Some(beyond) = beyond(holds, real(most)) else { return };
    total.left_out.push(LeftOut { why, wishes: None, bytes: Some(Figure::of(beyond)), later: false });
    // What is held may have come packed.
    let ratio = if night == Which::First { (total.bytes.mid / total.holds.mid.max(1.0)).min(1.0) } else { 1.0 };
    total.bytes = less(total.bytes, beyond.times(ratio));
    total.holds = less(total.holds, beyond);
}

/// What is beyond a bound, if anything is likely to be.
fn beyond(span: Span, most: f64) -> Option<Span> {
    let over = |value: f64| (value - most).max(0.0);
    (span.mid > most).then(|| Span { mid: over(span.mid), low: over(span.low), high: over(span.high) })
}

/// One without another that is part of it.
fn less(span: Span, part: Span) -> Span {
    let mid = (span.mid - part.mid).max(0.0);
    Span { mid, low: (span.low - part.low).clamp(0.0, mid), high: (span.high - part.high).max(mid) }
}

/// Whether it fits into the window and the caps; what does not is told as left for later.
fn fit(given: &Given<'_>, bytes: &Span, seconds: Option<Span>, left_out: &mut Vec<LeftOut>) -> Option<bool> {
    let mut fits = None;
    let later = |bytes: Span, why: String| LeftOut { why, wishes: None, bytes: Some(Figure::of(bytes)), later: true };
    if let Some((seconds, (opens, closes))) = seconds.zip(given.window) {
        let room = closes.since(opens.unwrap_or(given.now)).as_secs_f64();
        fits = Some(seconds.mid <= room);
        if seconds.mid > room {
            left_out
                .extend(beyond(*bytes, bytes.mid * room / seconds.mid).map(|rest| later(rest, String::from("the window closes before"))));
        }
    }
    if let Some((left, name)) = given.left
        && let Some(rest) = beyond(*bytes, real(left))
    {
        fits = Some(false);
        left_out.push(later(rest, format!("night.{name} leaves {}", Bytes(left).human())));
    }
    fits
}

fn sentence(night: Which, bytes: &Figure, basis: Basis, rate: Option<BitRate>, seconds: Option<&Figure>, fits: Option<bool>) -> String {
    let size = match basis {
        Basis::Cap => format!("at most {}, nothing is known yet", Bytes(bytes.value).human()),
        _ => bytes.told(|bytes| Bytes(bytes).human()),
    };
    let time = match (rate, seconds) {
        (Some(rate), Some(seconds)) => format!("{} at {}", seconds.told(|secs| clock(Duration::from_secs(secs))), rate.human()),
        (None, Some(seconds)) => seconds.told(|secs| clock(Duration::from_secs(secs))),
        (_, None) => String::from("how long is unknown until the line was measured"),
    };
    let verdict = match fits {
        Some(true) => ": fits before the window closes",
        Some(false) => ": does not fit, the rest follows in the next window",
        None => "",
    };
    let what = match night {
        Which::First => "",
        Which::UnderWay => "still ",
        Which::Failed => "what failed: ",
        Which::Later => "what has changed: ",
    };
    format!("{what}{size}, {time}{verdict}")
}

/// `3 h 20 min`, `40 s`.
pub fn clock(wait: Duration) -> String {
    if wait < Duration::from_secs(100) {
        return format!("{} s", wait.as_secs());
    }
    let minutes = wait.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

/// Whether findings still tell something: they are of this pack's text, and of its next run or the one under way.
pub fn is_current(found: &Findings, digest: &str, run: i64) -> bool {
    found.digest == digest && found.run == run
}

#[cfg(test)]
mod tests;
