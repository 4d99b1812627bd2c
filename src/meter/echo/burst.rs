//! What came of a burst: loss, round trips, jitter. Pure: packets and their moments come in.

use crate::link::estimate::quantile;
use crate::meter::test::Reach;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// An answer after more than this is late: a page would have asked again. Five round trips of a satellite line.
pub const LATE: Duration = Duration::from_secs(3);

/// What is told of a burst: exactly the names of `payload.ping.*` in the report's schema (a test holds each against the other).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ping {
    /// Where the server is.
    pub reach: Reach,
    /// Packets sent.
    pub sent: u64,
    /// Packets answered in time.
    pub received: u64,
    /// Packets answered after their time.
    pub late: u64,
    /// Answers that came once more.
    pub doubled: u64,
    /// Shortest round trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_min_ms: Option<f64>,
    /// Median round trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_median_ms: Option<f64>,
    /// 95th percentile of round trips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_p95_ms: Option<f64>,
    /// Interarrival jitter (RFC 3550 section 6.4.1), there and back; it goes on from burst to burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
}

/// A burst under way.
#[derive(Debug, Default)]
pub struct Burst {
    /// By number: when it was sent, and after how long it was answered.
    packets: Vec<(Instant, Option<Duration>)>,
    doubled: u64,
    /// Round trip of the packet that was answered last.
    last: Option<Duration>,
    /// RFC 3550's J, milliseconds.
    jitter: Option<f64>,
}

impl Burst {
    /// `jitter`: of the burst before, of the same server.
    pub fn new(jitter: Option<f64>) -> Burst {
        Burst { jitter, ..Burst::default() }
    }

    /// The next packet was sent; its number.
    pub fn sent(&mut self, now: Instant) -> u32 {
        self.packets.push((now, None));
        u32::try_from(self.packets.len() - 1).unwrap_or(u32::MAX)
    }

    /// A packet was answered; whether it was one of ours.
    pub fn answered(&mut self, number: u32, now: Instant) -> bool {
        let Some((sent, answer)) = usize::try_from(number).ok().and_then(|number| self.packets.get_mut(number)) else { return false };
        if answer.is_some() {
            self.doubled += 1;
            return true;
        }
        let took = now.saturating_duration_since(*sent);
        *answer = Some(took);
        if took <= LATE {
            // With both stamps of one clock the difference of transit times is that of round trips.
            if let Some(last) = self.last {
                let step = (took.as_secs_f64() - last.as_secs_f64()).abs() * 1000.0;
                let before = self.jitter.unwrap_or(0.0);
                self.jitter = Some(before + (step - before) / 16.0);
            }
            self.last = Some(took);
        }
        true
    }

    /// Whether every packet has its answer.
    pub fn is_whole(&self) -> bool {
        self.packets.iter().all(|(_, answer)| answer.is_some())
    }

    /// The figures.
    pub fn ping(&self, reach: Reach) -> Ping {
        let answers = self.packets.iter().filter_map(|(_, answer)| *answer);
        let (timely, late): (Vec<Duration>, Vec<Duration>) = answers.partition(|took| *took <= LATE);
        let millis: Vec<f64> = timely.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
        let at = |share| quantile(millis.clone(), share);
        Ping {
            reach,
            sent: self.packets.len() as u64,
            received: timely.len() as u64,
            late: late.len() as u64,
            doubled: self.doubled,
            rtt_min_ms: at(0.0),
            rtt_median_ms: at(0.5),
            rtt_p95_ms: at(0.95),
            jitter_ms: self.jitter.filter(|_| millis.len() > 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};
    use crate::report::schema::{FIELDS, complaints};
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn loss_lateness_doubles_and_jitter() {
        let (t, ms) = (Clock::manual(Time::BUILT).steady(), Duration::from_millis);
        let mut burst = Burst::new(None);
        for step in 0..6 {
            assert_eq!(burst.sent(t + ms(100 * step)), u32::try_from(step).expect("small"));
        }
        // 40, 56, lost, 40, late, 72 ms.
        for (number, took) in [(0, 40), (1, 56), (3, 40), (5, 72), (4, 3_500)] {
            assert!(burst.answered(number, t + ms(100 * u64::from(number)) + ms(took)));
        }
        assert!(burst.answered(1, t + ms(900)), "once more");
        assert!(!burst.answered(6, t) && !burst.answered(u32::MAX, t), "none of ours");
        assert!(!burst.is_whole());
        let ping = burst.ping(Reach::Domestic);
        assert_eq!((ping.sent, ping.received, ping.late, ping.doubled), (6, 4, 1, 1));
        assert_eq!((ping.rtt_min_ms, ping.rtt_median_ms, ping.rtt_p95_ms), (Some(40.0), Some(40.0), Some(72.0)));
        // By hand: |16| / 16 = 1; + (16 - 1) / 16 = 1.9375; + (32 - 1.9375) / 16 = 3.8164.
        assert!(ping.jitter_ms.is_some_and(|jitter| (jitter - 3.816_406_25).abs() < 1e-9), "{ping:?}");
        assert!(burst.answered(2, t + ms(9_000)) && burst.is_whole());
    }

    #[test]
    fn nothing_heard_is_no_round_trip() {
        let t = Clock::manual(Time::BUILT).steady();
        let mut burst = Burst::new(Some(2.0));
        burst.sent(t);
        let ping = burst.ping(Reach::Unknown);
        assert_eq!((ping.sent, ping.received, ping.rtt_min_ms, ping.jitter_ms), (1, 0, None, None));
    }

    #[test]
    fn what_leaves_has_the_names_of_the_schema() {
        let some = Some(1.5);
        let ping = Ping {
            reach: Reach::Foreign,
            sent: 10,
            received: 9,
            late: 1,
            doubled: 0,
            rtt_min_ms: some,
            rtt_median_ms: some,
            rtt_p95_ms: some,
            jitter_ms: some,
        };
        let value = json!(ping);
        assert_eq!(complaints(&json!({ "payload": { "ping": value } })), Vec::<String>::new());
        let names: BTreeSet<String> = value.as_object().expect("an object").keys().cloned().collect();
        let list = FIELDS.iter().filter_map(|field| field.path.strip_prefix("payload.ping.").map(str::to_owned));
        assert_eq!(names, list.collect());
    }
}
