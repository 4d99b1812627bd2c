//! From what runs have shown to the figures of a direction: which run is believed, how the estimate came about, how sure it is. Pure.
//!
//! * `ndt7_bps`: bytes by time over the whole first run, one stream: comparable with everybody's ndt7, slow start included.
//! * `estimate_bps`: the plateau (`settle`) of the run that filled the line, with what others moved, as bits of IP packets: what a
//!   contract and RFC 5136 section 2.3 mean by capacity.
//! * Whether a run filled the line is read off its sender: a full line has a queue, so its round trip grows (the idea of TCP Vegas and of
//!   BBR: Cardwell et al. 2016, "BBR: Congestion-Based Congestion Control"). Loss without a queue is the line's own, not fullness; a sender
//!   that waited for windows was not at the line's limit either (RFC 6349 section 3.3). BBR fills a line by construction, loss or not.

use crate::meter::settle::Plateau;
use crate::meter::test::{Congestion, Figures, Method};
use std::time::Duration;

/// Bits of IP packets for each bit of payload: 1500 against 1448 bytes (heads of IPv4 and TCP with time stamps). TLS and frames add less
/// than a fifth of a percent, IPv6 1.4 percent.
pub const IP_SHARE: f64 = 1500.0 / 1448.0;

/// A queue that makes the round trip longer by so much, seconds and of the shortest, is one.
const QUEUE: (f64, f64) = (0.008, 0.08);

/// A sender that waited for windows or buffers for more than this part of its time was held up by them.
const HELD: f64 = 0.15;

/// Several streams that got less than this more than one show that one was enough.
const MORE: f64 = 0.03;

/// What real fetches have shown beyond a run that did not fill the line, to be believed: more than this much of it ...
const BEYOND: f64 = 1.1;

/// ... but not more than this: a neighbour in the school's own network is no line.
const ABSURD: f64 = 3.0;

/// What a run has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// Its steady part.
    pub plateau: Option<Plateau>,
    /// Bytes by time over all of it, bit/s.
    pub rate: Option<u64>,
    /// Payload.
    pub moved: u64,
    /// In which time.
    pub took: Duration,
    /// Connections at once.
    pub streams: u16,
    /// Who sent.
    pub congestion: Congestion,
    /// Shortest round trip.
    pub rtt_min: Option<Duration>,
    /// The usual round trip during the plateau.
    pub rtt_loaded: Option<Duration>,
    /// Sent again, of what was sent.
    pub retransmitted: Option<f64>,
    /// Of its busy time, the part in which the sender waited for windows or buffers.
    pub held: Option<f64>,
    /// It ended since its figure had settled.
    pub settled: bool,
}

/// Whether a run was at the line's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// It was.
    Full,
    /// Windows or buffers were in the way.
    Held,
    /// No queue grew: what held it back was loss, or it was still growing.
    NoQueue,
    /// Nobody said.
    Unknown,
}

impl Shown {
    /// Whether it was at the line's limit.
    pub fn fill(&self) -> Fill {
        if self.held.is_some_and(|held| held > HELD) {
            return Fill::Held;
        }
        if self.congestion == Congestion::Bbr {
            return Fill::Full;
        }
        match (self.rtt_min, self.rtt_loaded) {
            (Some(least), Some(loaded)) => {
                let (least, loaded) = (least.as_secs_f64(), loaded.as_secs_f64());
                if loaded - least >= QUEUE.0.max(least * QUEUE.1) { Fill::Full } else { Fill::NoQueue }
            }
            _ => Fill::Unknown,
        }
    }
}

/// Streams of a second run, where the first one says little; `None`: one stream was enough. `passive`: what real fetches have shown.
pub fn streams(first: &Shown, passive: Option<u64>) -> Option<u16> {
    let rate = first.plateau.map(|plateau| plateau.rate);
    let beyond = passive.zip(rate).is_some_and(|(passive, rate)| float(passive) > rate * BEYOND);
    let wanted = match first.fill() {
        Fill::Full => false,
        Fill::Held | Fill::NoQueue => true,
        Fill::Unknown => beyond,
    };
    // On a thin line eight first windows at once would only be eight times lost.
    wanted.then(|| if rate.is_some_and(|rate| rate < 2e6) { 4 } else { 8 })
}

/// The figures of a direction. `passive`: the payload of the best seconds of real fetches, bit/s.
pub fn figures(first: &Shown, several: Option<&Shown>, passive: Option<u64>) -> Figures {
    let rate = |shown: &Shown| shown.plateau.map_or(0.0, |plateau| plateau.rate);
    let best = several.filter(|several| rate(several) > rate(first) * (1.0 + MORE)).unwrap_or(first);
    let method = match (best.streams, best.congestion) {
        (2.., _) => Method::Streams,
        (_, Congestion::Bbr) => Method::Bbr,
        _ => Method::Ndt7,
    };
    let both = [Some(first), several].into_iter().flatten();
    let ip = |payload: f64| whole(payload * IP_SHARE);
    let mut figures = Figures {
        ndt7_bps: first.rate,
        estimate_bps: best.plateau.map(|plateau| ip(plateau.rate)),
        low_bps: best.plateau.map(|plateau| ip(plateau.low)),
        high_bps: best.plateau.map(|plateau| ip(plateau.high)),
        method,
        congestion: best.congestion,
        streams: best.streams.into(),
        early: best.settled,
        took_ms: both.clone().map(|shown| shown.took.as_secs_f64() * 1e3).sum(),
        moved_bytes: both.map(|shown| shown.moved).fold(0, u64::saturating_add),
        rtt_min_ms: least(first.rtt_min, several.and_then(|several| several.rtt_min)),
        rtt_loaded_ms: best.rtt_loaded.map(millis),
        retransmitted_ratio: first.retransmitted,
    };
    let unfilled = best.fill() != Fill::Full;
    if let Some(passive) = passive.map(float)
        && unfilled
        && rate(best) > 0.0
        && (rate(best) * BEYOND..=rate(best) * ABSURD).contains(&passive)
    {
        // Real fetches have used more of the line than the test could: the test's own figure is the least that it can be.
        figures.method = Method::Passive;
        figures.low_bps = figures.estimate_bps;
        figures.estimate_bps = Some(ip(passive));
        figures.high_bps = figures.high_bps.max(figures.estimate_bps);
    }
    figures
}

/// The figures of a direction in which nothing was sent.
pub fn passive(best: u64) -> Figures {
    Figures {
        ndt7_bps: None,
        estimate_bps: Some(whole(float(best) * IP_SHARE)),
        low_bps: None,
        high_bps: None,
        method: Method::Passive,
        congestion: Congestion::Other,
        streams: 0,
        early: false,
        took_ms: 0.0,
        moved_bytes: 0,
        rtt_min_ms: None,
        rtt_loaded_ms: None,
        retransmitted_ratio: None,
    }
}

fn least(one: Option<Duration>, other: Option<Duration>) -> Option<f64> {
    [one, other].into_iter().flatten().min().map(millis)
}

/// With three decimals: what a kernel says, in whole microseconds.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate; a cast from a float saturates")]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "rates fit a double")]
fn float(rate: u64) -> f64 {
    rate as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mbit: f64, streams: u16, congestion: Congestion, rtts: Option<(u64, u64)>) -> Shown {
        let rate = mbit * 1e6;
        Shown {
            plateau: Some(Plateau { span: (1.0, 3.0), rate, own: rate, low: rate * 0.98, high: rate * 1.02, trend: 0.0 }),
            rate: Some(whole(rate * 0.9)),
            moved: whole(rate / 8.0 * 3.0),
            took: Duration::from_secs(3),
            streams,
            congestion,
            rtt_min: rtts.map(|(least, _)| Duration::from_millis(least)),
            rtt_loaded: rtts.map(|(_, loaded)| Duration::from_millis(loaded)),
            retransmitted: Some(0.01),
            held: Some(0.0),
            settled: true,
        }
    }

    #[test]
    fn a_full_line_has_a_queue_or_bbr_and_nobody_who_waits_for_windows() {
        use Congestion::{Bbr, Cubic, Other};
        let table = [
            ("a queue", run(8.0, 1, Cubic, Some((40, 300))), Fill::Full, None),
            ("loss, no queue", run(2.0, 1, Cubic, Some((40, 42))), Fill::NoQueue, Some(8)),
            ("loss, no queue, thin", run(1.0, 1, Cubic, Some((40, 42))), Fill::NoQueue, Some(4)),
            ("BBR needs no queue", run(8.0, 1, Bbr, Some((40, 42))), Fill::Full, None),
            ("BBR held up by windows", Shown { held: Some(0.6), ..run(8.0, 1, Bbr, Some((600, 610))) }, Fill::Held, Some(8)),
            ("a satellite's jitter is no queue", run(8.0, 1, Cubic, Some((600, 630))), Fill::NoQueue, Some(8)),
            ("nobody says", run(8.0, 1, Other, None), Fill::Unknown, None),
        ];
        for (name, shown, fill, more) in table {
            assert_eq!((shown.fill(), streams(&shown, None)), (fill, more), "{name}");
        }
        assert_eq!(streams(&run(8.0, 1, Other, None), Some(9_500_000)), Some(8), "real fetches have shown more");
        assert_eq!(streams(&run(8.0, 1, Other, None), Some(8_500_000)), None);
    }

    #[test]
    fn several_streams_are_believed_where_they_got_more() {
        use Congestion::{Bbr, Cubic};
        let one = run(2.0, 1, Cubic, Some((40, 42)));
        let eight = run(7.72, 8, Cubic, Some((40, 200)));
        let told = figures(&one, Some(&eight), None);
        assert_eq!((told.method, told.streams, told.ndt7_bps), (Method::Streams, 8, Some(1_800_000)));
        assert!((7_990_000..8_010_000).contains(&told.estimate_bps.expect("one")), "{told:?}");
        assert!(told.low_bps < told.estimate_bps && told.estimate_bps < told.high_bps);
        assert_eq!((told.took_ms, told.rtt_min_ms, told.rtt_loaded_ms), (6_000.0, Some(40.0), Some(200.0)));
        assert_eq!(told.moved_bytes, one.moved + eight.moved);

        let told = figures(&one, Some(&run(2.04, 8, Cubic, Some((40, 42)))), None);
        assert_eq!((told.method, told.streams), (Method::Ndt7, 1), "two percent more are nothing");
        assert_eq!(figures(&run(7.0, 1, Bbr, None), None, None).method, Method::Bbr);
    }

    #[test]
    fn real_fetches_speak_where_no_run_filled_the_line() {
        let one = run(2.0, 1, Congestion::Cubic, Some((40, 42)));
        let told = figures(&one, None, Some(4_000_000));
        assert_eq!((told.method, told.estimate_bps), (Method::Passive, Some(4_143_646)));
        assert_eq!(told.low_bps, Some(2_071_823), "the test itself is the least");
        let full = run(2.0, 1, Congestion::Cubic, Some((40, 400)));
        assert_eq!(figures(&full, None, Some(4_000_000)).method, Method::Ndt7, "a full line is what it is");
        assert_eq!(figures(&one, None, Some(90_000_000)).method, Method::Ndt7, "that was no line");
        assert_eq!(figures(&Shown::default(), None, Some(4_000_000)).estimate_bps, None);
        assert_eq!(passive(1_448_000).estimate_bps, Some(1_500_000));
    }
}
