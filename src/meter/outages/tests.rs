//! The log of outages on a scripted line and clock.

use super::*;
use crate::link::{self, Sample};
use crate::report::schema::{EVENTS, FIELDS, complaints};
use crate::state::history::Ran;
use serde_json::json;
use std::net::SocketAddr;

struct Place {
    life: Life,
    clock: Clock,
    link: Link,
    state: State,
    outages: Outages,
}

const START: Time = Time::BUILT;

async fn place(clock: Clock, state: State) -> Place {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
    // Nobody probes: the tale says what is seen.
    life.stop();
    let outages = Outages::open(&clock, &life, &link, &metrics, &state).await.expect("opens");
    Place { life, clock, link, state, outages }
}

async fn fresh() -> Place {
    place(Clock::manual(START.plus(Duration::from_hours(24 * 30))), State::open(None).await.expect("opens")).await
}

impl Place {
    fn answered(&self, host: &str) {
        // Each has an address of its own.
        let addr = SocketAddr::from(([192, 0, 2, host.as_bytes()[0]], 443));
        self.link.observe(Sample::Connected { host: host.into(), addr, took: Duration::from_millis(40) });
    }

    fn silent(&self, host: &str) {
        self.link.observe(Sample::Failed { host: host.into(), addr: None });
    }

    /// So long passes, with a look every two seconds.
    async fn passes(&self, seconds: u64) {
        for _ in 0..seconds / 2 {
            self.clock.advance(Duration::from_secs(2));
            self.outages.look(false).await.expect("looks");
        }
    }

    /// So many looks at a box without a cable, on which nothing answers.
    async fn without_cable(&self, looks: u32) {
        for _ in 0..looks {
            self.clock.advance(Duration::from_secs(2));
            self.silent("a.kz");
            self.outages.look_at(false, Some(&school())).await.expect("looks");
        }
    }

    async fn told(&self) -> Vec<(What, u64, bool)> {
        let all = self.outages.within(Time::from_secs(0)..Time::MAX, 100).await.expect("reads");
        all.iter().rev().map(|kept| (kept.event.what, kept.event.seconds, kept.event.open)).collect()
    }
}

#[tokio::test]
async fn causes_are_told_apart_kept_and_told_by_number() {
    let place = fresh().await;
    for host in ["a.kz", "b.kz", "c.kz"] {
        place.answered(host);
    }
    // One host is silent, others answer.
    for _ in 0..10 {
        place.silent("a.kz");
        place.answered("b.kz");
        place.passes(2).await;
    }
    assert_eq!(place.told().await, [(What::OriginDown, 20, true)]);
    let first = place.outages.after(0, 10).await.expect("reads");
    assert_eq!(first.iter().map(|kept| kept.event.open).collect::<Vec<_>>(), [true], "an opening is written down at once");
    place.answered("a.kz");
    place.passes(60).await;
    // Then all are.
    for host in ["b.kz", "c.kz", "a.kz"] {
        place.silent(host);
    }
    place.clock.advance(Duration::from_secs(6));
    place.silent("a.kz");
    place.silent("b.kz");
    assert_eq!(place.link.state(), link::State::Down);
    place.passes(600).await;
    place.answered("a.kz");
    place.passes(10).await;
    // Names are silent, addresses answer.
    place.link.observe(Sample::Names { heard: false });
    place.answered("a.kz");
    place.passes(20).await;
    place.link.observe(Sample::Names { heard: true });
    place.passes(10).await;
    assert_eq!(place.told().await, [(What::OriginDown, 22, false), (What::LineDown, 608, false), (What::NamesDown, 22, false)]);
    // Written down at the latest five minutes later, each under a number of its own.
    place.passes(302).await;
    let last = place.outages.after(first[0].number, 10).await.expect("reads");
    assert_eq!(last.iter().map(|kept| kept.event.what).collect::<Vec<_>>(), [What::OriginDown, What::LineDown, What::NamesDown]);
    assert!(last.iter().all(|kept| !kept.event.open) && last.windows(2).all(|pair| pair[0].number < pair[1].number), "{last:?}");
    let page = place.state.outages().within(Time::from_secs(0)..Time::MAX, 10).await.expect("reads");
    assert_eq!(page.len(), 3);
    let text = format!("{page:?}{}", serde_json::to_string(&last).expect("JSON"));
    assert!(!text.contains(".kz") && !text.contains("192.0.2"), "no host is named: {text}");
    place.life.stop();
}

#[tokio::test]
async fn a_power_cut_closes_what_was_open_and_is_an_entry_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.sqlite");
    let place = place(Clock::manual(START.plus(Duration::from_hours(48))), State::open(Some(&file)).await.expect("opens")).await;
    let begun = place.clock.now();
    place.silent("a.kz");
    place.silent("a.kz");
    place.passes(400).await;
    let heartbeat = Ran { start: begun, seen: place.clock.now(), clock_ok: true };
    place.state.history().ran("boot", heartbeat).await.expect("writes");
    assert_eq!(place.told().await, [(What::LineDown, 400, true)]);
    place.state.close().await;
    // Two hours without power; a machine's clock of that time begins with its boot.
    let clock = Clock::manual(place.clock.now().plus(Duration::from_hours(2)));
    let place = self::place(clock, State::open(Some(&file)).await.expect("opens again")).await;
    place.passes(4).await;
    let told = place.told().await;
    assert_eq!(told.len(), 2, "{told:?}");
    let (line, off) = (told[0], told[1]);
    // As of when it was last written down: at most five minutes less than it was.
    assert!(line.0 == What::LineDown && !line.2 && (100..=400).contains(&line.1), "{line:?}");
    assert_eq!(off, (What::BoxOff, 7_200, false));
    // The same node once more, at once: nothing more to tell.
    place.state.history().ran("boot2", Ran { start: begun, seen: place.clock.now(), clock_ok: true }).await.expect("writes");
    place.state.close().await;
    let clock = Clock::manual(place.clock.now().plus(Duration::from_secs(5)));
    let place = self::place(clock, State::open(Some(&file)).await.expect("opens again")).await;
    place.passes(4).await;
    assert_eq!(place.told().await.len(), 2);
}

#[tokio::test]
async fn a_clock_that_jumps_stretches_nothing_and_is_told() {
    let place = fresh().await;
    place.silent("a.kz");
    place.silent("a.kz");
    place.passes(60).await;
    place.clock.jump(-3_600_000_000 * 5);
    place.passes(60).await;
    place.answered("a.kz");
    place.passes(2).await;
    let mut told = place.told().await;
    told.sort_by_key(|entry| entry.0);
    let seconds: u64 = told.iter().filter(|entry| entry.0 == What::LineDown).map(|entry| entry.1).sum();
    assert!((118..=124).contains(&seconds), "{told:?}");
    assert_eq!(told.last(), Some(&(What::ClockWrong, 0, false)));
    // And on, over a day.
    place.clock.jump(3_600_000_000 * 29);
    place.passes(2).await;
    assert!(place.told().await.iter().all(|entry| entry.1 < 100), "{:?}", place.told().await);
}

#[tokio::test]
async fn before_the_clock_is_right_nothing_is_written_and_then_it_is_dated() {
    let state = State::open(None).await.expect("opens");
    let alive = START.plus(Duration::from_hours(24));
    state.history().ran("boot", Ran { start: START, seen: alive, clock_ok: true }).await.expect("writes");
    let clock = Clock::manual(Time::from_secs(0));
    clock.raise_floor(alive);
    let place = place(clock, state).await;
    place.silent("a.kz");
    place.silent("a.kz");
    place.passes(60).await;
    assert!(place.outages.after(0, 10).await.expect("reads").is_empty(), "nobody knows when that is");
    assert_eq!(place.outages.open_now().len(), 2, "and still it is told");
    // Three days were lost.
    let now = alive.plus(Duration::from_hours(72));
    place.clock.jump(now.micros() - 60_000_000);
    place.answered("a.kz");
    place.passes(2).await;
    let all = place.outages.after(0, 10).await.expect("reads");
    let of = |what| all.iter().find(|kept| kept.event.what == what).expect("told").clone();
    let (wrong, line, off) = (of(What::ClockWrong), of(What::LineDown), of(What::BoxOff));
    assert!(wrong.end.since(now) < Duration::from_secs(5) && (58..=64).contains(&wrong.event.seconds), "{wrong:?}");
    assert!(line.start >= wrong.start.minus(Duration::from_secs(3)) && line.end <= wrong.end, "{line:?}");
    assert_eq!((off.start, off.event.seconds / 60), (alive, 72 * 60 - 1), "{off:?}");
}

#[tokio::test]
async fn a_clock_that_was_behind_when_the_power_came_back_hides_no_outage() {
    let state = State::open(None).await.expect("opens");
    let alive = START.plus(Duration::from_hours(24));
    state.history().ran("boot", Ran { start: START, seen: alive, clock_ok: true }).await.expect("writes");
    // A box without a battery goes on where its system wrote down the time, and that can be believed.
    let place = place(Clock::manual(alive.plus(Duration::from_secs(10))), state).await;
    place.passes(60).await;
    assert_eq!(place.told().await, [(What::BoxOff, 10, false)]);
    place.clock.jump(3_600_000_000 * 6);
    place.passes(2).await;
    let mut told = place.told().await;
    told.sort_by_key(|entry| entry.0);
    assert_eq!(told, [(What::BoxOff, 10, false), (What::BoxOff, 6 * 3_600, false), (What::ClockWrong, 0, false)]);
    // Long after the start it is the clock alone.
    place.clock.advance(Duration::from_hours(2));
    place.passes(2).await;
    place.clock.jump(3_600_000_000);
    place.passes(2).await;
    assert_eq!(place.told().await.iter().filter(|entry| entry.0 == What::BoxOff).count(), 2);
}

#[tokio::test]
async fn sleep_is_time_in_which_the_box_was_off() {
    let place = fresh().await;
    place.passes(10).await;
    place.clock.sleep(Duration::from_hours(8));
    place.passes(2).await;
    assert_eq!(place.told().await, [(What::BoxOff, 8 * 3_600, false)]);
}

#[tokio::test]
async fn no_interface_explains_everything() {
    let place = fresh().await;
    place.answered("a.kz");
    place.outages.look_at(false, Some(&wired())).await.expect("looks");
    place.without_cable(10).await;
    let open = place.outages.open_now();
    assert_eq!(open.iter().map(|kept| kept.event.what).collect::<Vec<_>>(), [What::InterfaceLost]);
}

#[tokio::test]
async fn a_box_that_starts_without_its_cable_says_so_and_one_that_never_had_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.sqlite");
    let open = async |clock: Clock| place(clock, State::open(Some(&file)).await.expect("opens")).await;
    // No default route, as far as it has lived: its way out may be a route to one network, and the line is what is dead.
    let first = open(Clock::manual(START.plus(Duration::from_hours(24)))).await;
    first.without_cable(10).await;
    assert_eq!(first.outages.open_now().iter().map(|kept| kept.event.what).collect::<Vec<_>>(), [What::LineDown]);
    first.answered("a.kz");
    first.outages.look_at(false, Some(&wired())).await.expect("looks");
    let clock = Clock::manual(first.clock.now().plus(Duration::from_hours(1)));
    first.state.close().await;
    // The power fails, and somebody has pulled the cable.
    let second = open(clock).await;
    second.outages.look_at(false, Some(&school())).await.expect("looks");
    assert!(second.outages.open_now().is_empty(), "nobody has tried anything yet");
    second.without_cable(10).await;
    let told = second.outages.open_now();
    assert_eq!(told.iter().map(|kept| kept.event.what).collect::<Vec<_>>(), [What::InterfaceLost]);
    second.answered("a.kz");
    second.clock.advance(Duration::from_secs(2));
    second.outages.look_at(false, Some(&wired())).await.expect("looks");
    assert!(second.outages.open_now().is_empty());
}

/// The school's own network, and nothing else.
fn school() -> Ways {
    Ways { any: ["wlan0".to_owned()].into(), ..Ways::default() }
}

/// And a cable.
fn wired() -> Ways {
    Ways { default: ["eth0".to_owned()].into(), any: ["eth0".to_owned(), "wlan0".to_owned()].into() }
}

#[test]
fn the_real_tables_can_be_read() {
    // Any machine has a loopback, and what is left of it is no way out.
    assert!(!ways().expect("a table of routes").any.contains("lo"));
}

#[test]
fn what_leaves_has_the_names_of_the_schema() {
    assert_eq!(What::ALL.map(What::word).as_slice(), EVENTS);
    let event = json!(Event { what: What::NamesDown, seconds: 90, open: true });
    let record = json!({ "payload": { "event": event } });
    assert_eq!(complaints(&record), Vec::<String>::new());
    let names: BTreeSet<String> = event.as_object().expect("an object").keys().cloned().collect();
    let list = FIELDS.iter().filter_map(|field| field.path.strip_prefix("payload.event.").map(str::to_owned));
    assert_eq!(names, list.collect());
}
