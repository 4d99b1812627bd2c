//! When a test knows enough: the samples of a test, the steady part of them, and how sure its mean is. Pure: elapsed time and byte
//! counts come in, a `Plateau` comes out.
//!
//! * Where the steady part begins (slow start, the burst of a token bucket, a stall at the beginning are left out): the marginal
//!   standard error rule, which drops as many samples from the front as make the error of the mean of the rest smallest
//!   (White 1997, "An effective truncation heuristic for bias reduction in simulation output"; White, Cobb and Spratt 2000).
//! * How sure the mean is: Student's interval over the means of batches that are long against the memory of the process, here the round
//!   trip (batch means: Schmeiser 1982; Law and Kelton, "Simulation Modeling and Analysis", section 9.5.3).
//! * What others moved meanwhile is added sample by sample, so a class that comes or goes leaves the sum as it is.
//!
//! # Why a trend is asked for beside the interval
//! A window that grows by three percent a second (CUBIC on its way back, a long fat line) has a narrow interval and no plateau.
//!
//! # What it cannot see
//! A shaper that lets a burst pass which is longer than the whole test. Who wants to know runs a full test (`bulak link test --full`).

use std::time::Duration;

/// Samples kept: a minute of them ten times a second. A test takes ten seconds.
const MOST: usize = 600;

/// A batch, seconds: what ndt7 takes for a sample, and half a round trip on long lines, whose windows come in bursts of that length.
const BATCH: f64 = 0.25;

/// Batches of a plateau at least: two say nothing of their spread.
const LEAST: usize = 3;

/// A plateau this long, seconds and round trips, may end a test.
const ENOUGH: (f64, f64) = (1.5, 3.0);

/// On a line below [`FAST`] this many seconds: there they cost little, and a shaper's burst is seen to end.
const ENOUGH_THIN: f64 = 2.0;

/// bit/s.
const FAST: f64 = 25e6;

/// Half the interval, of the mean, below which a figure has settled; between the halves of the plateau there may be as much.
const SURE: f64 = 0.03;

/// The same where the bytes have run out: less sure, but a figure.
const USEFUL: f64 = 0.15;

/// What counts as of late, seconds.
const LATEST: f64 = 0.5;

/// A tail that is slower than this part of the whole run is a stall (a lost window on a long line), which is steadier than anything
/// else and no rate of the line. Shapers that let a burst pass fall less deep.
const STALL: f64 = 0.25;

/// A batch's own grain: packets come whole, timers tick. Without it a flat series would be cut anywhere.
const GRAIN: f64 = 0.01;

/// What a test has moved, as it goes on.
#[derive(Clone, Debug, Default)]
pub struct Series {
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    own: f64,
    cross: f64,
}

/// The steady part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// Where it begins and ends, seconds since the test began.
    pub span: (f64, f64),
    /// What passed in it, test and others together, bit/s of payload.
    pub rate: f64,
    /// Of which the test alone.
    pub own: f64,
    /// 95 of 100 such intervals hold the mean.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// How far its second half lies above its first, of the mean.
    pub trend: f64,
}

/// What a test may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Nothing is sure yet.
    More,
    /// The figure has settled: what came on top would only cost.
    Settled,
}

impl Series {
    /// So much had passed after `at`, of the test and of others, counted from the beginning. What goes back in time or count is left out.
    #[expect(clippy::cast_precision_loss, reason = "bytes of some seconds")]
    pub fn push(&mut self, at: Duration, own: u64, cross: u64) {
        let point = Point { at: at.as_secs_f64(), own: own as f64, cross: cross as f64 };
        let goes_on = self.points.last().is_none_or(|last| point.at > last.at && point.own >= last.own && point.cross >= last.cross);
        if goes_on && self.points.len() < MOST {
            if self.points.is_empty() && point.at > 0.0 {
                self.points.push(Point { at: 0.0, own: 0.0, cross: 0.0 });
            }
            self.points.push(point);
        }
    }

    /// The rate of the last half second, bit/s, others included; 0 before there is one.
    pub fn latest(&self) -> u64 {
        let Some(last) = self.points.last().filter(|last| last.at >= LATEST) else { return 0 };
        let before = self.at(last.at - LATEST);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate; a cast from a float saturates")]
        {
            ((last.own + last.cross - before.own - before.cross) * 8.0 / LATEST).round() as u64
        }
    }

    /// Whether the test may end. `rtt`: the shortest round trip known.
    pub fn say(&self, rtt: Option<Duration>) -> Say {
        if self.plateau(rtt).is_some_and(|plateau| plateau.is_settled(rtt)) { Say::Settled } else { Say::More }
    }

    /// The steady part as of now; `None` while there is too little.
    pub fn plateau(&self, rtt: Option<Duration>) -> Option<Plateau> {
        let width = rtt.map_or(BATCH, |rtt| (rtt.as_secs_f64() / 2.0).max(BATCH));
        let end = self.points.last()?.at;
        let batches = self.batches(end, width);
        let from = steady(&batches)?;
        let kept = &batches[from..];
        let count = number(kept.len());
        let (rate, spread) = moments(kept.iter().map(|batch| batch.0 + batch.1));
        let half = student(kept.len() - 1) * spread / count.sqrt();
        let middle = kept.len() / 2;
        let part = |list: &[(f64, f64)]| moments(list.iter().map(|batch| batch.0 + batch.1)).0;
        let (first, second) = (part(&kept[..middle]), part(&kept[kept.len() - middle..]));
        Some(Plateau {
            span: (end - count * width, end),
            rate,
            own: moments(kept.iter().map(|batch| batch.0)).0,
            low: (rate - half).max(0.0),
            high: rate + half,
            trend: if rate > 0.0 { (second - first) / rate } else { 0.0 },
        })
    }

    /// Rates of whole batches, bit/s, the oldest first; counted from the end, so that the piece left over is of slow start.
    fn batches(&self, end: f64, width: f64) -> Vec<(f64, f64)> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive count")]
        let count = (end / width + 1e-9) as usize;
        let edges: Vec<Point> = (0..=count).rev().map(|back| self.at((end - number(back) * width).max(0.0))).collect();
        let rate = |from: f64, to: f64| (to - from) * 8.0 / width;
        edges.windows(2).map(|pair| (rate(pair[0].own, pair[1].own), rate(pair[0].cross, pair[1].cross))).collect()
    }

    /// What had passed by then, in proportion between two samples.
    fn at(&self, moment: f64) -> Point {
        let next = self.points.partition_point(|point| point.at < moment);
        let (Some(before), after) = (self.points.get(next.saturating_sub(1)), self.points.get(next)) else {
            return Point { at: moment, own: 0.0, cross: 0.0 };
        };
        let after = after.unwrap_or(before);
        let gap = after.at - before.at;
        let share = if gap > 0.0 { ((moment - before.at) / gap).clamp(0.0, 1.0) } else { 1.0 };
        let between = |from: f64, to: f64| from + (to - from) * share;
        Point { at: moment, own: between(before.own, after.own), cross: between(before.cross, after.cross) }
    }
}

impl Plateau {
    /// How long it is, seconds.
    pub fn length(&self) -> f64 {
        self.span.1 - self.span.0
    }

    /// Whether its mean can be believed for good.
    fn is_settled(&self, rtt: Option<Duration>) -> bool {
        let long = if self.rate < FAST { ENOUGH_THIN } else { ENOUGH.0 };
        let long = long.max(rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * ENOUGH.1));
        self.length() + 1e-9 >= long && self.half() <= SURE && self.trend.abs() <= SURE
    }

    /// Whether it is a figure at all where no more bytes may be spent.
    pub fn is_useful(&self) -> bool {
        self.half() <= USEFUL && self.trend.abs() <= USEFUL
    }

    /// Half the interval, of the mean.
    fn half(&self) -> f64 {
        if self.rate > 0.0 { (self.high - self.low) / 2.0 / self.rate } else { f64::INFINITY }
    }

    /// What others took of it, 0 to 1.
    pub fn cross_share(&self) -> f64 {
        if self.rate > 0.0 { ((self.rate - self.own) / self.rate).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Where the steady part begins: the cut that makes the marginal standard error smallest, the earliest of equals. A stall is none.
fn steady(batches: &[(f64, f64)]) -> Option<usize> {
    let last = batches.len().checked_sub(LEAST)?;
    let of = |from: usize| moments(batches[from..].iter().map(|batch| batch.0 + batch.1));
    let (whole, _) = of(0);
    let error = |from: usize| {
        let (mean, spread) = of(from);
        let error = (spread * spread + (mean * GRAIN).powi(2)) / number(batches.len() - from);
        (mean >= whole * STALL).then_some((from, error))
    };
    (0..=last).filter_map(error).reduce(|best, next| if next.1 < best.1 { next } else { best }).map(|(from, _)| from)
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = number(values.clone().count());
    if count == 0.0 {
        return (0.0, 0.0);
    }
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

/// The 97.5th percentile of Student's distribution by degrees of freedom.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101,
        2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    TABLE.get(freedom.max(1) - 1).copied().unwrap_or(2.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of some hundred")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
