//! The course of a test, from the first byte to the figures: download, then upload; each with one stream, and where that does not fill the
//! line with several; each until its figure has settled or its bytes are used up.
//!
//! What is found is noted as it is found ([`Found`]): a test that is dropped in the middle is told and paid for as far as it came.

use crate::link::{Class, Link};
use crate::meter::budget::{Budget, off_the_wire, on_the_wire};
use crate::meter::carrier::Carrier;
use crate::meter::estimate::{self, Shown};
use crate::meter::ndt7::Way;
use crate::meter::ndt7::client::{Continue, Ended, Error, Limits, Outcome, Progress, TELL};
use crate::meter::ndt7::message::Message;
use crate::meter::segments::Arrived;
use crate::meter::settings::Server;
use crate::meter::settle::{Say, Series};
use crate::meter::test::{Congestion, Figures, Trouble};
use crate::upstream;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;

/// A class that takes more than this part of the line is using it.
pub(super) const BUSY: f64 = 0.2;

/// Left of a direction's bytes, a run of several streams is worth it from so many seconds of what one stream got on.
const WORTH: f64 = 1.0;

/// How a test goes, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) way: Way,
    pub(super) streams: u16,
    pub(super) elapsed: Duration,
    /// bit/s of late.
    pub(super) rate: u64,
    /// What the test has taken from the line so far.
    pub(super) spent: u64,
    /// What it may.
    pub(super) allowance: u64,
}

/// What a test has found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) download: Option<Figures>,
    pub(super) upload: Option<Figures>,
    /// The server's id of the test.
    pub(super) id: Option<String>,
    /// The last messages by direction.
    pub(super) raw: serde_json::Map<String, Value>,
    /// What it has taken from the line.
    pub(super) spent: u64,
    /// What others moved meanwhile: received, sent.
    pub(super) cross: (u64, u64),
    /// A class used the line.
    pub(super) busy: bool,
    /// The best half second, bit/s.
    pub(super) seen: u64,
    /// What cut it short.
    pub(super) trouble: Trouble,
    /// The bytes were used up before a direction's figure was of use.
    pub(super) is_short: bool,
}

/// A test that is to be run.
pub(super) struct Course<'a> {
    pub(super) carrier: &'a dyn Carrier,
    pub(super) link: &'a Link,
    pub(super) server: &'a Server,
    pub(super) budget: Budget,
    /// Both directions' capacity as last seen, bit/s.
    pub(super) known: Option<(u64, u64)>,
    /// The payload of the best seconds of real fetches, bit/s, downloads.
    pub(super) passive: Option<u64>,
    pub(super) tell: &'a (dyn Fn(&Sight) + Send + Sync),
    pub(super) found: &'a Mutex<Found>,
}

/// Why a run was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Settled,
    Budget,
}

impl Course<'_> {
    /// Both directions. May be dropped at any await: what was found until then is in `found`.
    pub(super) async fn run(&self) -> Result<(), Error> {
        for way in [Way::Download, Way::Upload] {
            let figures = self.direction(way).await;
            let mut found = self.found.lock();
            match figures {
                Ok(figures) => {
                    if way == Way::Download {
                        found.download = Some(figures);
                    } else {
                        found.upload = Some(figures);
                    }
                }
                Err(error) => {
                    found.trouble = trouble(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn direction(&self, way: Way) -> Result<Figures, Error> {
        let passive = self.passive.filter(|_| way == Way::Download);
        let (first, stop) = self.one(way, 1).await?;
        if stop == Some(Stop::Budget) && !first.plateau.is_some_and(|plateau| plateau.is_useful()) {
            self.found.lock().is_short = true;
            return Ok(estimate::figures(&first, None, passive));
        }
        let wanted = estimate::streams(&first, passive).filter(|_| self.server.several && self.is_worth(way, &first));
        let several = match wanted {
            // A server that has no room for several has said what one can do.
            Some(streams) => self.one(way, streams).await.inspect_err(|error| tracing::debug!(%error, streams, "only one stream")).ok(),
            None => None,
        };
        Ok(estimate::figures(&first, several.as_ref().map(|(shown, _)| shown), passive))
    }

    /// Whether what is left is enough for another run.
    fn is_worth(&self, way: Way, first: &Shown) -> bool {
        let (seen, spent) = {
            let found = self.found.lock();
            (found.seen, found.spent)
        };
        let left = self.limit(way, Some(seen)).saturating_sub(spent);
        float(left) * 8.0 > first.plateau.map_or(0.0, |plateau| plateau.rate) * WORTH
    }

    /// What may have been spent when this direction is over, on a line that has shown so much.
    fn limit(&self, way: Way, seen: Option<u64>) -> u64 {
        let allowance = self.budget.allowance(seen);
        if way == Way::Download { self.budget.download(allowance, self.known) } else { allowance }
    }

    /// One run.
    async fn one(&self, way: Way, streams: u16) -> Result<(Shown, Option<Stop>), Error> {
        let before = self.found.lock().spent;
        let cross = self.link.beside(Class::Measure);
        let limits = Limits {
            streams,
            // The calls below hold the budget; this one holds where a line is so fast that a tenth of a second is much. It counts
            // payload, and what is around that has to fit in as well.
            bytes: Some(off_the_wire(self.limit(way, Some(u64::MAX)).saturating_sub(before))),
            ..Limits::default()
        };
        let target = self.server.target(streams);
        let mut watch = Watch::default();
        let mut on = |progress: &Progress<'_>| self.watch(way, streams, before, &mut watch, progress);
        let outcome = self.carrier.carry(&target, way, &limits, &mut on).await;
        let now = self.link.beside(Class::Measure);
        let mut found = self.found.lock();
        found.cross.0 += now.0.saturating_sub(cross.0);
        found.cross.1 += now.1.saturating_sub(cross.1);
        let outcome = outcome?;
        found.spent = found.spent.max(before + on_the_wire(outcome.cost.received.saturating_add(outcome.cost.sent)));
        if streams == 1 {
            if found.id.is_none() {
                found.id = outcome.uuid().map(str::to_owned);
            }
            found.raw.insert(way.as_str().to_owned(), raw(&outcome));
        }
        let shown = watch.shown(way, streams, &outcome);
        found.busy |= shown.plateau.is_some_and(|plateau| plateau.cross_share() > BUSY);
        let stop = if outcome.ended == Ended::Limit { Some(Stop::Budget) } else { watch.stop };
        if stop == Some(Stop::Budget) {
            found.trouble = Trouble::Budget;
        }
        if matches!(outcome.ended, Ended::Cut | Ended::Stalled) && found.trouble == Trouble::None && way == Way::Download {
            found.trouble = if outcome.ended == Ended::Cut { Trouble::Line } else { Trouble::Stalled };
        }
        Ok((shown, stop))
    }

    /// Looks at a run under way.
    fn watch(&self, way: Way, streams: u16, before: u64, watch: &mut Watch, progress: &Progress<'_>) -> Continue {
        let beside = self.link.beside(Class::Measure);
        let beside = if way == Way::Download { beside.0 } else { beside.1 };
        let cross = beside - *watch.beside.get_or_insert(beside);
        let arrived = watch.arrived.take(way, progress);
        watch.series.push(progress.elapsed, arrived, cross);
        watch.note(way, progress);
        // A line that was fast towards the school has a fast line's budget towards the world, too.
        let mean = rate(progress.moved, progress.elapsed);
        let seen = {
            let mut found = self.found.lock();
            found.seen = found.seen.max(watch.series.latest());
            found.seen
        };
        let rate = watch.recent(progress);
        // What is on its way when we hang up still comes; of an upload it is counted already.
        let trip = watch.rtt.last().filter(|_| way == Way::Download).map_or(0.0, |(_, rtt)| rtt.as_secs_f64());
        let with = |bits: u64, seconds: f64| {
            let ahead = whole(float(bits) / 8.0 * seconds);
            before + on_the_wire(progress.cost.received.saturating_add(progress.cost.sent).saturating_add(ahead))
        };
        let spent = with(mean, trip);
        // And the next look comes only after so much more.
        let by_then = with(rate.max(mean), trip + TELL.as_secs_f64());
        // A line that goes so fast now has the bytes for it, before half a second could show it.
        let limit = self.limit(way, Some(seen.max(rate)));
        self.found.lock().spent = spent;
        (self.tell)(&Sight { way, streams, elapsed: progress.elapsed, rate, spent, allowance: self.budget.allowance(Some(seen)) });
        watch.stop = if !self.budget.full && watch.series.say(watch.rtt_min) == Say::Settled {
            Some(Stop::Settled)
        } else if by_then >= limit {
            Some(Stop::Budget)
        } else {
            return Continue::On;
        };
        Continue::Stop
    }
}

/// What is seen of a run under way.
#[derive(Default)]
struct Watch {
    series: Series,
    arrived: Arrived,
    /// Bytes of others when it began.
    beside: Option<u64>,
    /// The sender's round trips, with seconds since the beginning.
    rtt: Vec<(f64, Duration)>,
    rtt_min: Option<Duration>,
    last: Option<(Duration, u64)>,
    stop: Option<Stop>,
}

/// Round trips kept of a run.
const MOST: usize = 600;

impl Watch {
    fn note(&mut self, way: Way, progress: &Progress<'_>) {
        let (rtt, least) = match way {
            // The sender knows: on a download the server ...
            Way::Download => {
                let told = progress.server.and_then(|message| message.tcp_info);
                let micros = |value: Option<u64>| value.map(Duration::from_micros);
                (told.and_then(|tcp| micros(tcp.rtt)), told.and_then(|tcp| micros(tcp.min_rtt)))
            }
            // ... and on an upload our own kernel.
            Way::Upload => {
                let rtts = progress.kernel.iter().filter_map(|tcp| tcp.rtt);
                (rtts.max(), progress.kernel.iter().filter_map(|tcp| tcp.min_rtt).min())
            }
        };
        self.rtt_min = [self.rtt_min, least.filter(|rtt| !rtt.is_zero())].into_iter().flatten().min();
        if let Some(rtt) = rtt.filter(|rtt| !rtt.is_zero() && self.rtt.len() < MOST) {
            self.rtt.push((progress.elapsed.as_secs_f64(), rtt));
        }
    }

    /// bit/s since the last look.
    fn recent(&mut self, progress: &Progress<'_>) -> u64 {
        let (at, moved) = self.last.replace((progress.elapsed, progress.moved)).unwrap_or_default();
        rate(progress.moved.saturating_sub(moved), progress.elapsed.saturating_sub(at))
    }

    fn shown(&self, way: Way, streams: u16, outcome: &Outcome) -> Shown {
        let plateau = self.series.plateau(self.rtt_min);
        let from = plateau.map_or(0.0, |plateau| plateau.span.0);
        let mut loaded: Vec<Duration> = self.rtt.iter().filter(|(at, _)| *at >= from).map(|(_, rtt)| *rtt).collect();
        loaded.sort();
        let sender = sender(way, outcome);
        Shown {
            plateau,
            rate: outcome.rate(),
            moved: outcome.moved,
            took: outcome.took,
            streams,
            congestion: sender.congestion,
            rtt_min: self.rtt_min,
            rtt_loaded: loaded.get(loaded.len() / 2).copied(),
            retransmitted: sender.retransmitted,
            held: sender.held,
            settled: self.stop == Some(Stop::Settled),
        }
    }
}

/// What the sender of a run says of itself.
#[derive(Default)]
struct Sender {
    congestion: Congestion,
    retransmitted: Option<f64>,
    held: Option<f64>,
}

fn sender(way: Way, outcome: &Outcome) -> Sender {
    let Some(stream) = outcome.streams.first() else { return Sender::default() };
    match way {
        Way::Download => {
            let of = |message: &Message| message.bbr_info.is_some();
            let congestion = if stream.server.iter().any(of) { Congestion::Bbr } else { Congestion::Other };
            let Some(tcp) = stream.server.iter().rev().find_map(|message| message.tcp_info) else {
                return Sender { congestion, ..Sender::default() };
            };
            let held = tcp.rwnd_limited.zip(tcp.snd_buf_limited).map(|(window, buffer)| window.saturating_add(buffer));
            Sender { congestion, retransmitted: share(tcp.bytes_retrans, tcp.bytes_sent), held: share(held, tcp.busy_time) }
        }
        Way::Upload => {
            let congestion = match stream.congestion.as_deref() {
                Some("bbr") => Congestion::Bbr,
                Some("cubic") => Congestion::Cubic,
                _ => Congestion::Other,
            };
            let Some(tcp) = stream.kernel else { return Sender { congestion, ..Sender::default() } };
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let held = tcp.window_limited.zip(tcp.buffer_limited).map(|(window, buffer)| micros(window.saturating_add(buffer)));
            Sender { congestion, retransmitted: share(tcp.bytes_retransmitted, tcp.bytes_sent), held: share(held, tcp.busy.map(micros)) }
        }
    }
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let whole = whole.filter(|whole| *whole > 0)?;
    // Four decimals: what a figure of some thousand segments can carry.
    Some((float(part?) / float(whole) * 1e4).round().min(1e4) / 1e4)
}

/// The last message of either side, without addresses.
fn raw(outcome: &Outcome) -> Value {
    let bare = |message: Option<&Message>| {
        let mut message = message.cloned()?;
        if let Some(info) = &mut message.connection_info {
            info.client.clear();
            info.server.clear();
        }
        serde_json::to_value(message).ok()
    };
    let stream = outcome.streams.first();
    let newest = |messages: &[Message]| {
        let mut newest = messages.last()?.clone();
        // Who speaks with whom is said once, and the last message need not repeat it.
        newest.connection_info = newest.connection_info.or_else(|| messages.iter().find_map(|message| message.connection_info.clone()));
        Some(newest)
    };
    json!({
        "server": bare(stream.and_then(|stream| newest(&stream.server)).as_ref()),
        "client": bare(stream.and_then(|stream| newest(&stream.client)).as_ref()),
    })
}

/// In the words of the report.
pub(super) fn trouble(error: &Error) -> Trouble {
    match error {
        Error::Reach(upstream::Error::DnsError(..) | upstream::Error::DnsTimeout(_)) => Trouble::Name,
        Error::Reach(upstream::Error::Refused(_) | upstream::Error::Prohibited(_)) => Trouble::Refused,
        Error::Reach(error) if error.is_ours() => Trouble::Exhausted,
        Error::Reach(error) if error.is_line() => Trouble::Line,
        Error::Refused(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Trouble::BusyServer,
        Error::Refused(_) | Error::Address(..) => Trouble::Refused,
        Error::Reach(_) | Error::Protocol(_) => Trouble::Protocol,
        Error::Stalled(_) => Trouble::Stalled,
        Error::Cut(_) => Trouble::Line,
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros();
    u64::try_from(u128::from(bytes) * 8_000_000 / micros.max(1)).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "bytes and rates fit a double")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes; a cast from a float saturates")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
pub(super) mod tests;
