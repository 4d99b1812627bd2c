//! One test from the first packet to the outcome: opens its streams, lets them flow, tells how it goes, and puts together what came of it.

use crate::base::clock::Clock;
use crate::base::socket::{self, TcpInfo};
use crate::meter::ndt7::client::open::{Opened, open};
use crate::meter::ndt7::client::{Arrived, Continue, Cost, Ended, Error, Limits, MOST_STREAMS, Outcome, Progress, Stream, Target};
use crate::meter::ndt7::flow::{self, Closed, Plan, Role, Seen};
use crate::meter::ndt7::message::{ConnectionInfo, Message};
use crate::meter::ndt7::{Dialect, GRACE, Way};
use crate::upstream::{LineMeter, Upstream};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

/// How often whoever asked is told.
pub const TELL: Duration = Duration::from_millis(150);

/// A test that the other side ended this late (share of its time) was a whole one.
const WHOLE: f64 = 0.9;

/// A server that tells of more than this many times what our kernel saw acknowledged is not believed.
const BELIEVED: f64 = 1.5;

/// Runs one direction of a test. `on` is told every 150 ms while bytes flow and may end it; what passes is counted as
/// `link::Class::Measure`. May be dropped at any await: the connections are closed then.
///
/// # Errors
/// See [`Error`]; whatever has a figure is an [`Outcome`].
pub async fn run(
    upstream: &Upstream,
    clock: &Clock,
    target: &Target,
    way: Way,
    limits: &Limits,
    mut on: impl FnMut(&Progress<'_>) -> Continue + Send,
) -> Result<Outcome, Error> {
    let url = match way {
        Way::Download => &target.download,
        Way::Upload => &target.upload,
    };
    let test = Test::new(way, limits, url);
    let stop = CancellationToken::new();
    let flows = join_all(test.ones.iter().map(|one| test.one(one, upstream, clock, url, &stop)));
    let told = async {
        let mut tick = tokio::time::interval(TELL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tick.tick().await;
            if test.tell(clock, &mut on) == Continue::Stop {
                stop.cancel();
            }
        }
        std::future::pending::<()>().await;
    };
    let results = tokio::select! {
        results = flows => results,
        () = told => Vec::new(),
    };
    test.outcome(results)
}

/// A test under way.
struct Test<'a> {
    way: Way,
    limits: &'a Limits,
    plan: Plan,
    /// Joins the streams of one test (throughput1).
    more: Vec<(&'static str, String)>,
    ones: Vec<One>,
}

/// One stream of it.
#[derive(Default)]
struct One {
    seen: Mutex<Seen>,
    /// Since when bytes may flow, and what has passed.
    line: Mutex<Option<(Instant, LineMeter)>>,
}

impl<'a> Test<'a> {
    fn new(way: Way, limits: &'a Limits, url: &Url) -> Test<'a> {
        let dialect = Dialect::of(url.path());
        let streams = limits.streams.clamp(1, MOST_STREAMS);
        let more = match dialect {
            Dialect::Ndt7 => Vec::new(),
            Dialect::Throughput1 => vec![
                ("mid", Uuid::new_v4().to_string()),
                ("streams", streams.to_string()),
                ("duration", limits.time.as_millis().to_string()),
            ],
        };
        let plan = Plan {
            role: Role::Client,
            way,
            dialect,
            time: limits.time,
            end: limits.time + GRACE,
            io: limits.io,
            bytes: limits.bytes,
            acked: None,
            info: ConnectionInfo::default(),
        };
        Test { way, limits, plan, more, ones: (0..streams).map(|_| One::default()).collect() }
    }

    /// One stream, from its first packet to its end. A stream that opens late joins the others.
    async fn one(&self, one: &One, upstream: &Upstream, clock: &Clock, url: &Url, stop: &CancellationToken) -> Result<Closed, Error> {
        let Opened { stream, first, meter } = open(upstream, url, &self.more, self.limits).await?;
        if let (Some(hold), Some(name), Way::Upload) = (meter.hold(), self.limits.congestion, self.way)
            && let Err(error) = socket::set_congestion(hold, name)
        {
            tracing::debug!(%error, name, "the kernel's usual congestion control is used");
        }
        let hold = meter.hold().and_then(|hold| socket::Hold::on(hold).ok());
        *one.line.lock() = Some((clock.steady(), meter));
        let closed = flow::run(stream, &first, hold.as_ref(), &self.plan, stop, clock, &one.seen).await;
        closed.map_err(|wrong| Error::Protocol(wrong.to_string()))
    }

    /// Since the first stream may flow.
    fn start(&self) -> Option<Instant> {
        self.ones.iter().filter_map(|one| one.line.lock().as_ref().map(|(start, _)| *start)).min()
    }

    fn tell(&self, clock: &Clock, on: &mut impl FnMut(&Progress<'_>) -> Continue) -> Continue {
        let Some(start) = self.start() else { return Continue::On };
        let kernel: Vec<TcpInfo> =
            self.ones.iter().filter_map(|one| one.line.lock().as_ref().and_then(|(_, meter)| meter.kernel())).collect();
        let moved = self.moved(start);
        let sure = match self.way {
            Way::Download => Some(moved),
            Way::Upload => self.told(),
        };
        let acked = || kernel.iter().map(|info| info.bytes_acked).sum::<Option<u64>>().filter(|_| !kernel.is_empty());
        let server: Option<Message> = self.ones.iter().filter_map(|one| one.seen.lock().server.newest().cloned()).next_back();
        let progress = Progress {
            elapsed: clock.steady().saturating_duration_since(start),
            moved: if self.way == Way::Upload { acked().unwrap_or(moved.bytes) } else { moved.bytes },
            arrived: sure,
            cost: self.cost(),
            server: server.as_ref(),
            kernel: &kernel,
        };
        let over = self.limits.bytes.is_some_and(|most| moved.bytes >= most);
        if on(&progress) == Continue::Stop || over { Continue::Stop } else { Continue::On }
    }

    /// What we have counted.
    fn moved(&self, start: Instant) -> Arrived {
        let mut all = Arrived::default();
        for one in &self.ones {
            let Some(begun) = one.line.lock().as_ref().map(|(begun, _)| *begun) else { continue };
            let seen = one.seen.lock();
            all.bytes += seen.moved;
            all.took = all.took.max(begun.saturating_duration_since(start) + seen.last);
        }
        all
    }

    /// What the servers have told of what arrived, once all of them have, and as far as they are believed.
    fn told(&self) -> Option<Arrived> {
        let mut all = Arrived::default();
        for one in &self.ones {
            let line = one.line.lock();
            let Some((_, meter)) = line.as_ref() else { continue };
            let (told, last) = {
                let seen = one.seen.lock();
                (seen.told?, seen.last)
            };
            if !is_believed(told, last, meter.kernel().and_then(|info| info.bytes_acked)) {
                return None;
            }
            all.bytes += told.bytes;
            all.took = all.took.max(told.took);
        }
        Some(all).filter(|all| !all.took.is_zero())
    }

    fn cost(&self) -> Cost {
        let passed = self.ones.iter().filter_map(|one| one.line.lock().as_ref().map(|(_, meter)| meter.passed()));
        passed.fold(Cost::default(), |sum, (received, sent)| Cost { received: sum.received + received, sent: sum.sent + sent })
    }

    fn outcome(&self, results: Vec<Result<Closed, Error>>) -> Result<Outcome, Error> {
        let cost = self.cost();
        let mut streams = Vec::new();
        let (mut failed, mut broke) = (None, None);
        let told = if self.way == Way::Upload { self.told() } else { None };
        for (one, result) in self.ones.iter().zip(results) {
            match result {
                Ok(closed) => {
                    broke = broke.or(Some(closed));
                    streams.push(self.stream(one, closed));
                }
                // Whoever does not do as agreed is not believed in anything.
                Err(error @ Error::Protocol(_)) => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Some(start) = self.start().filter(|_| !streams.is_empty()) else {
            return Err(failed.unwrap_or_else(|| Error::Cut("it was ended before it began".into())));
        };
        let counted = self.moved(start);
        let acked = || {
            let kernel = streams.iter().map(|stream| stream.kernel.and_then(|info| info.bytes_acked)).sum::<Option<u64>>();
            Arrived { bytes: kernel.unwrap_or(counted.bytes), took: counted.took }
        };
        let arrived = match self.way {
            Way::Download => counted,
            Way::Upload => told.unwrap_or_else(acked),
        };
        if counted.bytes == 0 {
            return Err(match broke {
                Some(Closed::Stalled) => Error::Stalled(self.limits.io),
                Some(Closed::Theirs) => Error::Cut("the server closed it at once".into()),
                _ => Error::Cut("nothing was heard".into()),
            });
        }
        let ended = streams.iter().map(|stream| stream.ended).find(|ended| *ended != Ended::Full).unwrap_or(Ended::Full);
        let told = self.way == Way::Download || told.is_some();
        Ok(Outcome { moved: arrived.bytes, took: arrived.took, told, cost, ended, streams })
    }

    fn stream(&self, one: &One, closed: Closed) -> Stream {
        let line = one.line.lock();
        let hold = line.as_ref().and_then(|(_, meter)| meter.hold());
        let mut seen = one.seen.lock();
        let whole = seen.last >= self.limits.time.mul_f64(WHOLE);
        let over = self.limits.bytes.is_some_and(|most| seen.moved >= most);
        let ended = match closed {
            Closed::Time => Ended::Full,
            Closed::Theirs | Closed::Broke if whole => Ended::Full,
            Closed::Theirs => Ended::Server,
            Closed::Broke => Ended::Cut,
            Closed::Limit => Ended::Limit,
            Closed::Stopped if over => Ended::Limit,
            Closed::Stopped => Ended::Early,
            Closed::Stalled => Ended::Stalled,
        };
        let counted = Arrived { bytes: seen.moved, took: seen.last };
        Stream {
            arrived: if self.way == Way::Download { Some(counted) } else { seen.told },
            server: seen.server.take(),
            client: seen.client.take(),
            kernel: seen.kernel,
            congestion: hold.and_then(|hold| socket::congestion(hold).ok()),
            ended,
        }
    }
}

/// Whether what a server tells of an upload can be: not much faster than our kernel saw it acknowledged.
fn is_believed(told: Arrived, last: Duration, acked: Option<u64>) -> bool {
    let Some(acked) = acked else { return true };
    let rate = |bytes: u64, time: Duration| {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let bytes = bytes as f64;
        bytes / time.as_secs_f64().max(0.001)
    };
    told.bytes <= acked.saturating_add(acked / 2) && (last < TELL || rate(told.bytes, told.took) <= BELIEVED * rate(acked, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_believed_within_reason() {
        let secs = Duration::from_secs;
        let table = [
            ("what was acknowledged", 1_000_000, secs(10), true),
            ("less: something on the way acknowledges in its place", 300_000, secs(10), true),
            ("a little more in less time: its clock began later", 1_050_000, secs(9), true),
            ("twice as much", 2_000_000, secs(10), false),
            ("in half the time", 1_000_000, secs(5), false),
            ("in no time", 1_000_000, Duration::ZERO, false),
        ];
        for (what, bytes, took, wanted) in table {
            assert_eq!(is_believed(Arrived { bytes, took }, secs(10), Some(1_000_000)), wanted, "{what}");
        }
        assert!(is_believed(Arrived { bytes: 9, took: secs(1) }, secs(10), None), "a kernel that says nothing contradicts nobody");
    }
}
