//! Tests on lines made of numbers: what is run, when it ends, what it costs, what it says.

use super::*;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::socket::TcpInfo as Kernel;
use crate::life::Life;
use crate::link::{Sample, Settings as LinkSettings};
use crate::meter::budget::{Caps, Spent};
use crate::meter::carrier::Telling;
use crate::meter::ndt7::client::{Arrived, Cost, Stream, Target};
use crate::meter::ndt7::message::{BbrInfo, TcpInfo};
use crate::meter::test::Method;
use futures_util::future::BoxFuture;

/// bit/s of payload by direction, streams and seconds.
type Rate = fn(Way, u16, f64) -> f64;

/// What a server says instead of a test.
type Refuses = fn(&Target) -> Option<Error>;

/// A line made of numbers.
pub(in crate::meter) struct Numbers {
    /// bit/s of payload by direction, streams and seconds.
    pub(in crate::meter) rate: fn(Way, u16, f64) -> f64,
    /// Round trips, shortest and loaded by streams.
    pub(in crate::meter) rtt: fn(u16) -> (u64, u64),
    pub(in crate::meter) bbr: bool,
    /// Others on the line, bit/s, and whom to tell.
    pub(in crate::meter) cross: Option<(f64, Link)>,
    /// What the server says instead of a test.
    pub(in crate::meter) refuses: fn(&Target) -> Option<Error>,
    /// It never ends after so many looks.
    pub(in crate::meter) hangs: Option<u32>,
}

pub(in crate::meter) fn numbers(rate: fn(Way, u16, f64) -> f64) -> Numbers {
    Numbers { rate, rtt: |_| (40, 200), bbr: true, cross: None, refuses: |_| None, hangs: None }
}

const STEP: Duration = Duration::from_millis(100);

impl Carrier for Numbers {
    fn carry<'a>(&'a self, target: &'a Target, way: Way, limits: &'a Limits, on: Telling<'a>) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            if let Some(error) = (self.refuses)(target) {
                return Err(error);
            }
            let (least, loaded) = (self.rtt)(limits.streams);
            let micros = |millis: u64| millis * 1000;
            let tcp = TcpInfo {
                rtt: Some(micros(loaded)),
                min_rtt: Some(micros(least)),
                bytes_sent: Some(10_000),
                bytes_retrans: Some(100),
                ..TcpInfo::default()
            };
            let bbr_info = self.bbr.then(BbrInfo::default);
            let message = Message { tcp_info: Some(tcp), bbr_info, ..Message::default() };
            let kernel =
                Kernel { rtt: Some(Duration::from_millis(loaded)), min_rtt: Some(Duration::from_millis(least)), ..Kernel::default() };
            let (mut elapsed, mut bytes, mut ended, mut looks) = (Duration::ZERO, 0.0, Ended::Full, 0);
            while elapsed < limits.time {
                elapsed += STEP;
                bytes += (self.rate)(way, limits.streams, elapsed.as_secs_f64()) * STEP.as_secs_f64() / 8.0;
                if let Some((rate, link)) = &self.cross {
                    let bytes = whole(rate * STEP.as_secs_f64() / 8.0);
                    link.observe(Sample::Received { class: Class::Interactive, bytes });
                    link.observe(Sample::Sent { class: Class::Interactive, bytes: bytes / 100 });
                }
                looks += 1;
                if self.hangs.is_some_and(|hangs| looks > hangs) {
                    std::future::pending::<()>().await;
                }
                let moved = whole(bytes);
                if limits.bytes.is_some_and(|most| moved >= most) {
                    ended = Ended::Limit;
                    break;
                }
                let progress = Progress {
                    elapsed,
                    moved,
                    arrived: None,
                    cost: Cost { received: moved, sent: 0 },
                    server: Some(&message),
                    kernel: &[kernel],
                };
                if on(&progress) == Continue::Stop {
                    ended = Ended::Early;
                    break;
                }
            }
            let stream = Stream {
                arrived: Some(Arrived { bytes: whole(bytes), took: elapsed }),
                server: vec![message],
                client: Vec::new(),
                kernel: Some(kernel),
                congestion: Some(String::from(if self.bbr { "bbr" } else { "cubic" })),
                ended,
            };
            let cost = Cost { received: whole(bytes), sent: 0 };
            Ok(Outcome { moved: whole(bytes), took: elapsed, told: true, cost, ended, streams: vec![stream] })
        })
    }
}

fn budget(day: Option<u64>) -> Budget {
    Budget { caps: Caps { day, month: None }, spent: Spent::default(), shares: 3, full: false, capacity: None }
}

pub(in crate::meter) fn link(life: &Life) -> Link {
    Link::new(LinkSettings::default(), Clock::manual(Time::BUILT), life, &Metrics::default())
}

async fn play(carrier: &Numbers, budget: Budget, link: &Link, several: bool) -> (Found, Result<(), Error>) {
    let found = Mutex::new(Found::default());
    let server = Server { several, ..Server::parse("wss://hub.kz").expect("a server") };
    let course = Course { carrier, link, server: &server, budget, known: None, passive: None, tell: &|_| (), found: &found };
    let done = course.run().await;
    (found.into_inner(), done)
}

/// Up to the line's rate by doubling each round trip of 40 ms.
fn grows(rate: f64, at: f64) -> f64 {
    (2_900_000.0 * (at / 0.04).exp2()).min(rate)
}

#[tokio::test]
async fn a_line_is_measured_for_little_and_the_figure_says_so() {
    let life = Life::default();
    let link = link(&life);
    let carrier = numbers(|way, _, at| grows(if way == Way::Download { 19.3e6 } else { 3.86e6 }, at));
    let (found, done) = play(&carrier, budget(None), &link, true).await;
    done.expect("whole");
    let (down, up) = (found.download.expect("a figure"), found.upload.expect("a figure"));
    for (figures, wanted) in [(&down, 20.0), (&up, 4.0)] {
        let estimate = figures.estimate_bps.expect("one");
        assert!((float(estimate) / 1e6 / wanted - 1.0).abs() < 0.02, "{figures:?}");
        assert_eq!((figures.method, figures.congestion, figures.streams, figures.early), (Method::Bbr, Congestion::Bbr, 1, true));
        assert_eq!((figures.rtt_min_ms, figures.rtt_loaded_ms), (Some(40.0), Some(200.0)));
    }
    assert_eq!(down.retransmitted_ratio, Some(0.01));
    assert!(found.spent < 9_000_000, "{} bytes", found.spent);
    assert!(!found.busy && found.trouble == Trouble::None);
    life.stop();
}

#[tokio::test]
async fn a_lossy_line_is_asked_with_several_streams_where_the_server_allows() {
    let life = Life::default();
    let link = link(&life);
    // CUBIC, which takes loss for fullness: one stream gets a bit more than 2 of 8 Mbit/s.
    let carrier = Numbers {
        bbr: false,
        rtt: |streams| (40, if streams > 1 { 240 } else { 43 }),
        ..numbers(|way, streams, _| {
            let line = if way == Way::Download { 7.72e6 } else { 1.54e6 };
            (2.2e6 * f64::from(streams)).min(line)
        })
    };
    let (found, _) = play(&carrier, budget(None), &link, true).await;
    let down = found.download.expect("a figure");
    assert_eq!((down.method, down.streams), (Method::Streams, 8));
    assert!((float(down.estimate_bps.expect("one")) / 8e6 - 1.0).abs() < 0.02, "{down:?}");
    assert!(down.ndt7_bps.expect("one") < 2_300_000, "what one stream got stands beside it");
    let (found, _) = play(&carrier, budget(None), &link, false).await;
    assert_eq!(found.download.expect("a figure").streams, 1, "M-Lab's servers are for one");
    // Where nothing is left for a second run, there is none.
    let (found, _) = play(&carrier, Budget { shares: 1, ..budget(Some(1_500_000)) }, &link, true).await;
    assert_eq!(found.download.expect("a figure").streams, 1);
    assert!(found.spent < 600_000, "{}", found.spent);
    life.stop();
}

#[tokio::test]
async fn the_budget_ends_a_test_and_is_not_exceeded() {
    let life = Life::default();
    let link = link(&life);
    // `is_short`: the upload, which comes last, got no figure of use.
    for (mbit, day, trouble, is_short) in [
        (20.0, 3_000_000, Trouble::Budget, true),
        (20.0, 30_000_000, Trouble::Budget, false),
        (20.0, 60_000_000, Trouble::None, false),
        (150.0, 90_000_000, Trouble::Budget, true),
    ] {
        let rate: Rate = match mbit {
            20.0 => |_, _, at| grows(20e6, at),
            _ => |_, _, at| grows(150e6, at),
        };
        let budget = budget(Some(day));
        let (found, done) = play(&numbers(rate), budget, &link, true).await;
        done.expect("ends");
        assert!(found.spent <= budget.allowance(None), "{mbit} {day}: {} of {}", found.spent, budget.allowance(None));
        let (down, up) = (found.download.expect("told"), found.upload.expect("told"));
        assert!(down.ndt7_bps.is_some() && up.ndt7_bps.is_some(), "what it had got by then: {down:?} {up:?}");
        assert_eq!((found.trouble, found.is_short), (trouble, is_short), "{mbit} {day}");
    }
    life.stop();
}

#[tokio::test]
async fn a_day_of_tests_stays_within_its_bytes() {
    let life = Life::default();
    let link = link(&life);
    let lines: [(Rate, u64); 4] = [
        (|_, _, at| grows(1e6, at), 50_000_000),
        (|_, _, at| grows(20e6, at), 50_000_000),
        (|way, _, at| grows(if way == Way::Download { 150e6 } else { 30e6 }, at), 200_000_000),
        (|_, _, at| grows(150e6, at), 200_000_000),
    ];
    for (number, (rate, most)) in lines.into_iter().enumerate() {
        let (mut spent, mut capacity) = (Spent::default(), None);
        // One after a start, three slots, two by a person.
        for shares in [4, 3, 2, 1, 1, 1] {
            let budget = Budget { spent, shares, capacity, ..budget(None) };
            if !budget.suffices(None) {
                continue;
            }
            let (found, _) = play(&numbers(rate), budget, &link, true).await;
            spent = Spent { today: spent.today + found.spent, month: spent.month + found.spent };
            capacity = capacity.max(found.download.and_then(|figures| figures.estimate_bps));
        }
        assert!(spent.today <= Caps::default().day(capacity).max(most), "line {number}: {} bytes", spent.today);
        assert!(capacity.is_some(), "line {number}");
    }
    life.stop();
}

#[tokio::test]
async fn a_class_on_the_line_is_added_and_told() {
    let life = Life::default();
    let link = link(&life);
    let carrier = Numbers { cross: Some((9.65e6, link.clone())), ..numbers(|_, _, at| grows(9.65e6, at)) };
    let (found, _) = play(&carrier, budget(None), &link, true).await;
    let down = found.download.expect("a figure");
    assert!((float(down.estimate_bps.expect("one")) / 20e6 - 1.0).abs() < 0.05, "{down:?}");
    assert!(down.ndt7_bps.expect("one") < 10_000_000, "ndt7 knows nothing of others");
    assert!(found.busy && found.cross.0 > 1_000_000 && found.cross.1 > 10_000, "{:?}", found.cross);
    life.stop();
}

#[tokio::test]
async fn what_was_found_before_a_test_is_broken_off_stays() {
    let life = Life::default();
    let link = link(&life);
    let carrier = Numbers { hangs: Some(60), ..numbers(|_, _, at| grows(19.3e6, at)) };
    let found = Mutex::new(Found::default());
    let server = Server::parse("wss://hub.kz").expect("a server");
    // The figure of the download is there at some time within its first seconds; the full test then hangs in the seventh.
    let budget = Budget { full: true, ..budget(None) };
    let course =
        Course { carrier: &carrier, link: &link, server: &server, budget, known: None, passive: None, tell: &|_| (), found: &found };
    let mut run = Box::pin(course.run());
    assert!(futures_util::poll!(&mut run).is_pending());
    drop(run);
    assert!(found.lock().spent > 10_000_000, "what it took is known");
    life.stop();
}

#[tokio::test]
async fn troubles_in_the_reports_words() {
    let table: [(Refuses, Trouble); 7] = [
        (|_| Some(Error::Refused(StatusCode::SERVICE_UNAVAILABLE)), Trouble::BusyServer),
        (|_| Some(Error::Refused(StatusCode::NOT_FOUND)), Trouble::Refused),
        (|_| Some(Error::Protocol("no".into())), Trouble::Protocol),
        (|_| Some(Error::Stalled(STEP)), Trouble::Stalled),
        (|_| Some(Error::Reach(upstream::Error::DnsTimeout("hub.kz".into()))), Trouble::Name),
        (|_| Some(Error::Reach(upstream::Error::Exhausted("hub.kz".into(), "EMFILE".into()))), Trouble::Exhausted),
        (|_| Some(Error::Reach(upstream::Error::ConnectTimeout("hub.kz".into(), STEP))), Trouble::Line),
    ];
    let life = Life::default();
    let link = link(&life);
    for (refuses, trouble) in table {
        let carrier = Numbers { refuses, ..numbers(|_, _, _| 1e6) };
        let (found, done) = play(&carrier, budget(None), &link, true).await;
        assert!(done.is_err() && found.trouble == trouble && found.download.is_none(), "{trouble:?}");
    }
    life.stop();
}

#[test]
fn messages_are_kept_without_addresses() {
    let info = crate::meter::ndt7::message::ConnectionInfo {
        client: "203.0.113.7:5000".into(),
        server: "198.51.100.1:443".into(),
        uuid: "0123abcd".into(),
        start_time: String::new(),
    };
    let first = Message { connection_info: Some(info), ..Message::default() };
    let last = Message { tcp_info: Some(TcpInfo { min_rtt: Some(4), ..TcpInfo::default() }), ..Message::default() };
    let stream =
        Stream { arrived: None, server: vec![first, last], client: Vec::new(), kernel: None, congestion: None, ended: Ended::Full };
    let outcome = Outcome { moved: 0, took: STEP, told: true, cost: Cost::default(), ended: Ended::Full, streams: vec![stream] };
    let text = raw(&outcome).to_string();
    assert!(text.contains("0123abcd") && text.contains("MinRTT"), "{text}");
    assert!(!text.contains("203.0.113") && !text.contains("198.51"), "{text}");
    assert_eq!(outcome.uuid(), Some("0123abcd"));
}
