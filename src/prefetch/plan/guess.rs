//! From samples to sums, and how far off they may be. Pure.
//!
//! * A sum over things of which some were asked about: what those said, and their mean for the others. The interval is that of the
//!   mean (standard error with the correction for a finite number, Cochran, Sampling Techniques 1977, section 2.6), wide for few samples.
//! * Nothing found in n samples: at most 3/n of all, with 95 % (the rule of three).
//! * What pages need that were not read: read pages name so many things, half of them fewer; the curve through both, `K·n^β` (Heaps'
//!   law; the half by rarefaction, Hurlbert 1971), is followed to all pages. What every page needs gives β = 0, what each has for itself 1.
//! * Time: what the line needs for the bytes, or what the hosts' manners and round trips need, whichever is longer; where both matter
//!   it lies between the longer and the sum.

use crate::prefetch::plan::findings::{Case, Stratum};
use crate::prefetch::plan::sort::Sort;
use serde::{Deserialize, Serialize};

/// A number with its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// The best guess.
    pub mid: f64,
    /// Hardly less.
    pub low: f64,
    /// Hardly more.
    pub high: f64,
}

impl Span {
    /// Known.
    pub fn exact(value: f64) -> Span {
        Span { mid: value, low: value, high: value }
    }

    /// Within a factor.
    pub fn within(mid: f64, factor: f64) -> Span {
        Span { mid, low: mid / factor, high: mid * factor }
    }

    /// The sum of two that go wrong independently of each other.
    #[must_use]
    pub fn plus(self, other: Span) -> Span {
        let mid = self.mid + other.mid;
        let off = |one: f64, two: f64| one.hypot(two);
        Span {
            mid,
            low: mid - off(self.mid - self.low, other.mid - other.low),
            high: mid + off(self.high - self.mid, other.high - other.mid),
        }
    }

    /// So many times.
    #[must_use]
    pub fn times(self, factor: f64) -> Span {
        Span { mid: self.mid * factor, low: self.low * factor, high: self.high * factor }
    }

    /// No bound above this.
    #[must_use]
    pub fn at_most(self, most: f64) -> Span {
        Span { mid: self.mid.min(most), low: self.low.min(most), high: self.high.min(most) }
    }
}

/// What a figure rests on; the later, the weaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanBasis)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The origin said so of each.
    Known,
    /// The lengths of the last run.
    LastRun,
    /// The origin said so of some; the others are taken to be like them.
    Sampled,
    /// A film's playlist: its rate and length.
    Claimed,
    /// What such things were here before.
    Learned,
    /// What such things are on the web at large.
    Guess,
    /// Nothing is known: the pack's cap, which is the most it can be.
    #[default]
    Cap,
}

/// Values that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl Sample {
    /// One more.
    pub fn add(&mut self, value: u64) {
        let value = real(value);
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// Their mean as that of all `of`.
    fn mean(&self, of: f64) -> Option<Span> {
        let count = real(self.count);
        let mid = if self.count == 0 { return None } else { self.sum / count };
        if self.count == 1 {
            return Some(Span::within(mid, 4.0));
        }
        let variance = ((self.squares - self.sum * mid) / (count - 1.0)).max(0.0);
        let error = (variance / count * (1.0 - count / of.max(count))).sqrt();
        // 95 %: two standard errors, and more when the deviation itself is a guess.
        let off = error * (2.0 + 6.0 / count);
        Some(Span { mid, low: (mid - off).max(0.0), high: mid + off })
    }
}

/// Lengths of what is here already, by host and sort.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    pub(super) rows: Vec<(String, Sort, u64, u64)>,
    /// Share of a pack's bytes that came anew in a later night, where one was recorded.
    pub change: Option<f64>,
}

/// Fewer say little of a host; of all hosts together.
const FEW: (u64, u64) = (3, 10);
/// Share of a pack that changes between two nights, before any was seen: most of what schools keep does not.
const CHANGE: Span = Span { mid: 0.05, low: 0.0, high: 0.5 };

impl Learned {
    /// So many things of this sort on this host have so many bytes.
    pub fn add(&mut self, host: &str, sort: Sort, many: u64, bytes: u64) {
        self.rows.push((host.to_owned(), sort, many, bytes));
    }

    /// The mean length of such things, and what that rests on.
    pub fn mean(&self, host: &str, sort: Sort) -> (Span, Basis) {
        let sum = |on: Option<&str>| {
            let rows = self.rows.iter().filter(|row| row.1 == sort && on.is_none_or(|host| host == row.0));
            rows.fold((0, 0), |sum, row| (sum.0 + row.2, sum.1 + row.3))
        };
        let (here, all) = (sum(Some(host)), sum(None));
        let mean = |(many, bytes): (u64, u64)| real(bytes) / real(many);
        if here.0 >= FEW.0 {
            return (Span::within(mean(here), 2.0), Basis::Learned);
        }
        if all.0 >= FEW.1 {
            return (Span::within(mean(all), 3.0), Basis::Learned);
        }
        let (usual, factor) = sort.usual();
        (Span::within(usual, factor), Basis::Guess)
    }

    /// The share of a pack's bytes that comes anew, and what that rests on.
    pub fn change(&self) -> (Span, Basis) {
        match self.change {
            Some(share) => (Span { mid: share, low: share / 3.0, high: (share * 3.0).clamp(0.01, 1.0) }, Basis::Learned),
            None => (CHANGE, Basis::Guess),
        }
    }
}

/// What one stratum comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reckoned {
    /// Things.
    pub things: Span,
    /// Of them, requests that go out.
    pub requests: Span,
    /// Bytes over the line.
    pub bytes: Span,
    /// Bytes that it holds when they are here.
    pub holds: Span,
    /// What the bytes rest on.
    pub basis: Basis,
}

/// Reckons one stratum. `anew`: a person asks, so that also what rests is asked about.
pub fn stratum(stratum: &Stratum, learned: &Learned, anew: bool) -> Reckoned {
    let known = real(stratum.known);
    let things = Span { mid: real(stratum.more), low: real(stratum.more_low), high: real(stratum.more_high) };
    let things = Span { mid: known + things.mid, low: known + things.low, high: known + things.high };
    let rest =
        Span { mid: things.mid - real(stratum.asked), low: things.low - real(stratum.asked), high: things.high - real(stratum.asked) };
    let rest = Span { mid: rest.mid.max(0.0), low: rest.low.max(0.0), high: rest.high.max(0.0) };
    let last = if known > 0.0 { real(stratum.last_bytes) / known } else { 0.0 };
    let requests = match stratum.case {
        Case::Kept if !anew => Span::default(),
        // What is fresh is asked about by nobody.
        _ if stratum.asked > 0 => things.times(1.0 - real(stratum.fresh) / real(stratum.asked)),
        _ => things,
    };
    let (mean, basis) = match stratum.case {
        Case::Kept => (Span { mid: 0.0, low: 0.0, high: if anew { last * 0.02 } else { 0.0 } }, Basis::LastRun),
        Case::New => one_new(stratum, learned, things.mid),
        Case::Again | Case::Changed => one_again(stratum, learned, last, known),
    };
    let ratio = stratum.ratio();
    let said = real(stratum.coming) * ratio;
    let mean = mean.times(ratio);
    let bytes = Span { mid: said + mean.mid * rest.mid, low: said + mean.low * rest.low, high: said + mean.high * rest.high };
    let holds = match stratum.case {
        Case::New => {
            let each = mean.times(1.0 / ratio.max(0.01));
            let said = real(stratum.lengths);
            Span { mid: said + each.mid * rest.mid, low: said + each.low * rest.low, high: said + each.high * rest.high }
        }
        _ => Span::exact(real(stratum.last_bytes)),
    };
    let basis = if rest.high <= 0.0 { Basis::Known } else { basis };
    Reckoned { things, requests, bytes, holds, basis }
}

/// What one new thing brings that nobody asked about.
fn one_new(stratum: &Stratum, learned: &Learned, of: f64) -> (Span, Basis) {
    if let Some(mean) = stratum.seen.mean(of) {
        return (mean, Basis::Sampled);
    }
    if stratum.claimed > 0 && stratum.claimed_of > 0 {
        // What a playlist calls its rate is the highest, mostly.
        let mid = real(stratum.claimed) / real(stratum.claimed_of);
        return (Span { mid: mid * 0.9, low: mid * 0.5, high: mid * 1.1 }, Basis::Claimed);
    }
    learned.mean(&stratum.host, stratum.sort)
}

/// What one thing brings that is here already and may have changed.
fn one_again(stratum: &Stratum, learned: &Learned, last: f64, known: f64) -> (Span, Basis) {
    match stratum.seen.mean(known) {
        // None of so many.
        Some(mean) if mean.mid == 0.0 => (Span { high: last * (3.0 / real(stratum.seen.count)).min(1.0), ..mean }, Basis::Sampled),
        Some(mean) => (mean, Basis::Sampled),
        // The sitemap says that it has changed.
        None if stratum.case == Case::Changed => (Span { mid: last, low: last * 0.5, high: last * 1.5 }, Basis::LastRun),
        None => {
            let (change, basis) = learned.change();
            (change.times(last), basis)
        }
    }
}

/// How many further things pages name that were not read. `marks`: of each thing, how many of the `read` pages name it; `pages`: all.
pub fn growth(marks: &[u32], read: u32, pages: f64) -> Span {
    let seen = real(marks.len() as u64);
    let n = f64::from(read);
    if marks.is_empty() || read == 0 || pages <= n {
        return Span::default();
    }
    let follow = |beta: f64| seen * ((pages / n).powf(beta.clamp(0.0, 1.0)) - 1.0);
    if read == 1 {
        return Span { mid: follow(0.5), low: 0.0, high: follow(1.0) };
    }
    let half = read / 2;
    // The share of halves that miss a thing which `count` pages name: C(n - count, half) / C(n, half).
    let misses = |count: u32| (0..half).map(|at| (n - f64::from(count) - f64::from(at)).max(0.0) / (n - f64::from(at))).product::<f64>();
    let in_half: f64 = marks.iter().map(|count| 1.0 - misses(*count)).sum();
    let beta = (seen / in_half.max(1e-9)).ln() / (n / f64::from(half)).ln();
    Span { mid: follow(beta), low: follow(beta - 0.25), high: follow(beta + 0.25) }
}

/// What a host is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errands {
    /// Requests.
    pub requests: f64,
    /// Of them, pages that wait their turn.
    pub held: f64,
    /// Seconds from one such page to the next.
    pub pause: f64,
}

/// The way to the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Road {
    /// Bytes a second; unknown before anything was measured.
    pub rate: Option<f64>,
    /// Seconds that a request takes which brings nothing.
    pub wait: f64,
    /// Whether that was measured.
    pub measured: bool,
    /// Transfers at once.
    pub transfers: f64,
    /// And to one host.
    pub connections: f64,
}

/// Seconds for these bytes and requests; `None` while the rate is unknown and there is something to bring.
pub fn seconds(bytes: Span, hosts: &[Errands], road: &Road) -> Option<Span> {
    let lanes = road.transfers.min(road.connections * real(hosts.len() as u64)).max(1.0);
    let requests: f64 = hosts.iter().map(|host| host.requests).sum();
    let pace = hosts.iter().map(|host| (host.held - 1.0).max(0.0) * host.pause).fold(0.0, f64::max);
    let trips = requests * road.wait / lanes;
    // One host's own trips: it lets in only so many at a time.
    let lane = hosts.iter().map(|host| host.requests * road.wait / road.connections.max(1.0)).fold(trips, f64::max);
    let line = match road.rate.filter(|rate| *rate > 0.0) {
        Some(rate) => bytes.times(1.0 / rate),
        None if bytes.high <= 0.0 => Span::default(),
        None => return None,
    };
    let longer = |line: f64| line.max(lane).max(pace);
    let sum = |line: f64| (line + lane).max(pace);
    // Whoever waits for one host lets others load: mostly nearer to the longer of both than to their sum.
    let mid = longer(line.mid) + (sum(line.mid) - longer(line.mid)) / 3.0;
    // Rates of a line vary by a tenth from night to night, whatever else is known.
    let slack = if road.measured { 1.1 } else { 1.5 };
    Some(Span { mid, low: longer(line.low) / slack, high: sum(line.high) * slack })
}

/// As a real number.
#[expect(clippy::cast_precision_loss, reason = "bytes of a plan, not of a ledger")]
pub fn real(number: u64) -> f64 {
    number as f64
}

/// Back to a whole one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and nothing here is negative")]
pub fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(known: u64, lengths: &[u64]) -> Stratum {
        let mut one = Stratum { host: "a.kz".into(), sort: Sort::Page, known, ..Stratum::default() };
        for length in lengths {
            one.asked += 1;
            one.coming += length;
            one.lengths += length;
            one.seen.add(*length);
        }
        one
    }

    fn bytes(one: &Stratum) -> (u64, u64, u64, Basis) {
        let reckoned = stratum(one, &Learned::default(), false);
        (whole(reckoned.bytes.mid), whole(reckoned.bytes.low), whole(reckoned.bytes.high), reckoned.basis)
    }

    #[test]
    fn what_was_asked_is_known_and_the_rest_is_like_it() {
        assert_eq!(bytes(&new(3, &[10, 20, 30])), (60, 60, 60, Basis::Known));
        assert_eq!(bytes(&new(30, &[10, 10, 10])), (300, 300, 300, Basis::Sampled), "all alike");
        let (mid, low, high, _) = bytes(&new(100, &[10, 20, 30, 40]));
        assert_eq!(mid, 2500);
        assert!(low < 1700 && low > 100 && high > 3300 && high < 5000, "{low} {high}");
        let (mid, low, high, _) = bytes(&new(100, &[1000]));
        assert_eq!((mid, low, high), (100_000, 1000 + 99 * 250, 1000 + 99 * 4000), "one says little");
        let (mid, low, high, basis) = bytes(&new(100, &[]));
        assert_eq!((mid, low, high, basis), (4_000_000, 1_000_000, 16_000_000, Basis::Guess));
    }

    #[test]
    fn more_samples_make_it_surer() {
        let wide = |count: u64| {
            let lengths: Vec<u64> = (0..count).map(|n| 1000 + n % 5 * 100).collect();
            let (_, low, high, _) = bytes(&new(1000, &lengths));
            high - low
        };
        assert!(wide(4) > wide(16) && wide(16) > wide(64));
    }

    #[test]
    fn what_is_here_is_not_fetched_again_and_codings_count() {
        // Two samples were fetched, one of them; both as half of their length.
        let one = Stratum { coming: 0, sent: 100, plain: 200, ..new(4, &[100, 100]) };
        assert_eq!(bytes(&one).0, 100);
        assert_eq!(whole(stratum(&one, &Learned::default(), false).holds.mid), 400);
    }

    #[test]
    fn later_nights() {
        let again = |case, asked, changed: &[u64]| {
            let mut one = Stratum { case, last_bytes: 100_000, ..new(100, changed) };
            for _ in changed.len()..asked {
                one.asked += 1;
                one.seen.add(0);
            }
            one
        };
        assert_eq!(bytes(&again(Case::Again, 100, &[])).3, Basis::Known);
        // None of thirty: at most a tenth.
        assert_eq!(bytes(&again(Case::Again, 30, &[])), (0, 0, 7000, Basis::Sampled));
        // One in ten: so the others.
        assert_eq!(bytes(&again(Case::Again, 10, &[1000])).0, 1000 + 90 * 100);
        // Nobody was asked: the sitemap's word, else the usual.
        assert_eq!(bytes(&again(Case::Changed, 0, &[])), (100_000, 50_000, 150_000, Basis::LastRun));
        assert_eq!(bytes(&again(Case::Again, 0, &[])), (5000, 0, 50_000, Basis::Guess));
        let kept = again(Case::Kept, 0, &[]);
        assert_eq!(stratum(&kept, &Learned::default(), false).requests, Span::default());
        assert_eq!(whole(stratum(&kept, &Learned::default(), true).requests.mid), 100);
        let known = Learned { change: Some(0.2), ..Learned::default() };
        assert_eq!(whole(stratum(&again(Case::Again, 0, &[]), &known, false).bytes.mid), 20_000);
    }

    #[test]
    fn a_film_by_its_playlist() {
        let film = Stratum { sort: Sort::Media, claimed: 1000, claimed_of: 10, ..new(10, &[]) };
        assert_eq!(bytes(&film), (900, 500, 1100, Basis::Claimed));
    }

    #[test]
    fn learned_lengths_count_from_near_to_far() {
        let mut learned = Learned::default();
        learned.add("a.kz", Sort::Page, 10, 1000);
        learned.add("b.kz", Sort::Page, 1, 100_000);
        assert_eq!(learned.mean("a.kz", Sort::Page), (Span::within(100.0, 2.0), Basis::Learned));
        assert_eq!(whole(learned.mean("b.kz", Sort::Page).0.mid), 9182);
        assert_eq!(learned.mean("a.kz", Sort::Font).1, Basis::Guess);
    }

    #[test]
    fn what_unread_pages_need() {
        let table: [(&str, &[u32], u32, f64, u64); 6] = [
            ("every page the same", &[8, 8, 8], 8, 100.0, 0),
            ("each its own", &[1; 8], 8, 80.0, 72),
            ("all read", &[1; 8], 8, 8.0, 0),
            ("none read", &[], 0, 8.0, 0),
            ("one read", &[1; 4], 1, 4.0, 4),
            // Half of them: between nothing and all.
            ("shared by some", &[2; 8], 8, 80.0, 10),
        ];
        for (name, marks, read, pages, wanted) in table {
            let more = growth(marks, read, pages);
            assert_eq!(whole(more.mid), wanted, "{name}: {more:?}");
            assert!(more.low <= more.mid && more.mid <= more.high, "{name}: {more:?}");
        }
    }

    #[test]
    fn time_is_the_lines_or_the_manners() {
        let road = Road { rate: Some(1000.0), wait: 0.1, measured: true, transfers: 4.0, connections: 2.0 };
        let host = |requests, held, pause| Errands { requests, held, pause };
        let mid = |bytes, hosts: &[Errands], road: &Road| whole(seconds(Span::exact(bytes), hosts, road).expect("a rate").mid);
        assert_eq!(mid(100_000.0, &[host(1.0, 0.0, 0.0)], &road), 100, "the line");
        assert_eq!(mid(1000.0, &[host(100.0, 100.0, 1.0)], &road), 99, "one page a second");
        assert_eq!(mid(0.0, &[host(200.0, 0.0, 0.0)], &road), 10, "round trips, two at a time");
        assert_eq!(mid(0.0, &[host(100.0, 0.0, 0.0); 4], &road), 10, "four at a time");
        assert_eq!(mid(6000.0, &[host(120.0, 0.0, 0.0)], &road), 8, "both");
        let unknown = Road { rate: None, ..road };
        assert_eq!(seconds(Span::exact(1.0), &[host(1.0, 0.0, 0.0)], &unknown), None);
        assert_eq!(mid(0.0, &[host(20.0, 0.0, 0.0)], &unknown), 1);
    }

    #[test]
    fn sums_of_independent_guesses_are_surer_than_their_parts() {
        let one = Span { mid: 10.0, low: 7.0, high: 14.0 };
        let sum = one.plus(one);
        assert!(whole(sum.mid) == 20 && sum.low > 14.0 && sum.high < 28.0, "{sum:?}");
        assert_eq!(Span::exact(1.0).plus(Span::exact(2.0)), Span::exact(3.0));
    }
}
