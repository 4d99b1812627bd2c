//! The meter as a whole, on lines made of numbers: what is kept, what is counted, what happens to a test that nobody lets finish.

use super::*;
use crate::meter::course::tests::{Numbers, link, numbers};
use crate::meter::ndt7::Way;
use crate::meter::ndt7::client::Error as Refusal;
use crate::meter::schedule::{Schedule, State as SlotState};
use crate::upstream;
use http::StatusCode;

const MANUAL: Order = Order { trigger: Trigger::Manual, full: false, slot: None };

fn settings(servers: &[&str]) -> Settings {
    Settings {
        servers: servers.iter().map(|text| Server::parse(text).expect("a server")).collect(),
        hub: None,
        mlab: None,
        schedule: Schedule { slots: Vec::new(), zone: jiff::tz::TimeZone::UTC, startup: false },
        caps: budget::Caps::default(),
        contract: Contract::default(),
        pages: Vec::new(),
        pupils: None,
    }
}

async fn meter(settings: Settings, carrier: Numbers, clock: &Clock, life: &Life, state: &State) -> Meter {
    let (metrics, link) = (Metrics::default(), link(life));
    let upstream = Upstream::new(upstream::Settings::default(), clock.clone(), link.clone(), life, &metrics).expect("no network");
    let jobs = Jobs::new(clock.clone(), |_| ());
    let parts = Parts { settings, clock: clock.clone(), life: life.clone(), link, upstream, jobs };
    Meter::with(parts, Box::new(carrier), &metrics, state).await.expect("starts")
}

fn clock() -> Clock {
    Clock::manual(Time::BUILT.plus(Duration::from_hours(30 * 24)))
}

#[tokio::test]
async fn a_test_is_kept_paid_for_and_found_again() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let meter = meter(settings(&["wss://a.kz domestic"]), numbers(|_, _, _| 8e6), &clock, &life, &state).await;
    let stop = CancellationToken::new();
    let kept = meter.test(&MANUAL, &stop, &|_| ()).await.expect("runs");
    assert_eq!((kept.number, kept.test.end, kept.test.reach), (1, End::Ok, Reach::Domestic));
    assert_eq!(meter.after(0, 10).await.expect("reads"), std::slice::from_ref(&kept));
    assert!(meter.after(1, 10).await.expect("reads").is_empty());
    let view = meter.view().await.expect("a view");
    assert_eq!(view.spent_today_bytes, kept.test.cost_bytes);
    assert_eq!(view.left_today_bytes, 50_000_000 - kept.test.cost_bytes);
    assert_eq!(view.down_bps, kept.test.estimate(false));
    let record = serde_json::json!({ "payload": { "test": kept.test } });
    assert_eq!(crate::report::schema::complaints(&record), Vec::<String>::new(), "it may leave the school as it is");
    life.stop();
}

#[tokio::test]
async fn one_at_a_time_and_nobody_to_test_with_is_told() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let hangs = Numbers { hangs: Some(3), ..numbers(|_, _, _| 8e6) };
    let meter = meter(settings(&["wss://a.kz"]), hangs, &clock, &life, &state).await;
    let stop = CancellationToken::new();
    let mut first = Box::pin(meter.test(&MANUAL, &stop, &|_| ()));
    while meter.0.turn.try_lock().is_ok() {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(matches!(meter.test(&MANUAL, &stop, &|_| ()).await, Err(Error::Busy)));
    drop(first);
    meter.adopt(settings(&[]));
    let error = meter.test(&MANUAL, &stop, &|_| ()).await.expect_err("nobody");
    assert!(error.to_string().contains("meter.servers"), "{error}");
    assert!(matches!(meter.plan(&MANUAL).await, Err(Error::NoServer)));
    life.stop();
}

#[tokio::test]
async fn a_person_who_breaks_it_off_pays_for_what_it_took() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let hangs = Numbers { hangs: Some(5), ..numbers(|_, _, _| 8e6) };
    let meter = meter(settings(&["wss://a.kz"]), hangs, &clock, &life, &state).await;
    let stop = CancellationToken::new();
    let ends = stop.clone();
    // As soon as half a second is told, somebody has had enough.
    let kept = meter
        .test(&MANUAL, &stop, &|sight: &Sight| {
            if sight.elapsed >= Duration::from_millis(500) {
                ends.cancel();
            }
        })
        .await
        .expect("kept");
    assert_eq!((kept.test.end, kept.test.trouble), (End::Failed, Trouble::Cancelled));
    assert!(kept.test.cost_bytes >= 400_000, "{}", kept.test.cost_bytes);
    assert_eq!(meter.view().await.expect("a view").spent_today_bytes, kept.test.cost_bytes);
    life.stop();
}

#[tokio::test]
async fn without_bytes_nothing_is_sent_and_the_test_says_so() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let none = Settings { caps: budget::Caps { day: Some(0), month: None }, ..settings(&["wss://a.kz"]) };
    let forbidden = Numbers { refuses: |_| panic!("something was sent"), ..numbers(|_, _, _| 8e6) };
    let meter = meter(none, forbidden, &clock, &life, &state).await;
    let kept = meter.test(&MANUAL, &CancellationToken::new(), &|_| ()).await.expect("kept");
    assert_eq!((kept.test.end, kept.test.trouble, kept.test.cost_bytes), (End::Passive, Trouble::Budget, 0));
    life.stop();
}

#[tokio::test]
async fn bytes_that_run_out_leave_the_figure_and_its_reason() {
    let life = Life::default();
    // On a line of 20 Mbit/s: before anything is steady, before anything is sure, and when it is.
    for (day, end, trouble) in
        [(1_500_000, End::Partial, Trouble::Budget), (12_000_000, End::Partial, Trouble::Budget), (50_000_000, End::Ok, Trouble::None)]
    {
        let (clock, state) = (clock(), State::open(None).await.expect("opens"));
        let caps = budget::Caps { day: Some(day), month: Some(day) };
        let meter = meter(Settings { caps, ..settings(&["wss://a.kz"]) }, numbers(|_, _, _| 20e6), &clock, &life, &state).await;
        for round in 0..4 {
            let kept = meter.test(&MANUAL, &CancellationToken::new(), &|_| ()).await.expect("kept");
            if round == 0 {
                assert_eq!((kept.test.end, kept.test.trouble), (end, trouble), "{day} {:?}", kept.test);
                assert!(kept.test.download.expect("told").ndt7_bps.is_some(), "{day}");
            }
        }
        let view = meter.view().await.expect("a view");
        assert!(view.spent_today_bytes <= day && view.spent_today_bytes > 0, "{} of {day}", view.spent_today_bytes);
    }
    life.stop();
}

#[tokio::test]
async fn a_server_that_will_not_is_passed_by() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let carrier = Numbers {
        refuses: |target| (target.download.host_str() == Some("a.kz")).then_some(Refusal::Refused(StatusCode::NOT_FOUND)),
        ..numbers(|way, _, _| if way == Way::Download { 8e6 } else { 2e6 })
    };
    let meter = meter(settings(&["wss://a.kz", "wss://b.kz foreign"]), carrier, &clock, &life, &state).await;
    let kept = meter.test(&MANUAL, &CancellationToken::new(), &|_| ()).await.expect("kept");
    assert_eq!((kept.test.end, kept.test.trouble, kept.test.reach), (End::Ok, Trouble::None, Reach::Foreign));
    assert_eq!(kept.server, "wss://b.kz");
    life.stop();
}

#[tokio::test]
async fn a_clock_that_jumps_during_a_test_moves_nothing() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let meter = meter(settings(&["wss://a.kz"]), numbers(|_, _, _| 8e6), &clock, &life, &state).await;
    let (jumping, begun) = (clock.clone(), clock.now());
    let kept = meter
        .test(&MANUAL, &CancellationToken::new(), &|sight: &Sight| {
            if sight.elapsed == Duration::from_millis(300) {
                jumping.jump(3_600_000_000);
            }
        })
        .await
        .expect("kept");
    assert_eq!(kept.test.end, End::Ok);
    assert!(kept.finish >= kept.start && kept.finish.since(kept.start) < Duration::from_secs(60));
    assert!(kept.start.since(begun) >= Duration::from_hours(1), "dated by the clock that was set last");
    life.stop();
}

#[tokio::test]
async fn the_schedule_runs_a_slot_and_writes_it_down() {
    let (life, state) = (Life::default(), State::open(None).await.expect("opens"));
    let clock = clock();
    let day = Schedule { slots: vec!["00:00-24:00".parse().expect("a slot")], zone: jiff::tz::TimeZone::UTC, startup: false };
    let today = day.day(clock.now());
    let meter = meter(Settings { schedule: day, ..settings(&["wss://a.kz"]) }, numbers(|_, _, _| 8e6), &clock, &life, &state).await;
    let row = Row { day: today.clone(), slot: 0, at: clock.now(), tries: 0, state: SlotState::Waiting };
    meter.0.measure.put_slot(&clerk::due(&row)).await.expect("kept");
    let mut worker = clerk::Clerk::new(meter.clone());
    while meter.after(0, 1).await.expect("reads").is_empty() {
        worker.step().await;
    }
    let rows = meter.rows(&today).await.expect("reads");
    assert_eq!((rows[0].state, rows[0].tries), (SlotState::Done, 1));
    assert_eq!(meter.after(0, 9).await.expect("reads")[0].test.trigger, Trigger::Daily);
    life.stop();
}

#[tokio::test]
async fn a_fast_line_s_day_is_larger_for_pings_as_well() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let meter = meter(settings(&["wss://a.kz"]), numbers(|_, _, _| 100e6), &clock, &life, &state).await;
    let kept = meter.test(&MANUAL, &CancellationToken::new(), &|_| ()).await.expect("kept");
    assert!(kept.test.estimate(false).is_some_and(|bps| bps > 50_000_000), "{:?}", kept.test);
    let spent = kept.test.cost_bytes;
    meter.spend(60_000_000).await.expect("spends");
    assert!(meter.may_spend(20_000).await.expect("reads"), "a slow line's day is spent, this one's is not");
    meter.spend(140_000_000 - spent.min(140_000_000)).await.expect("spends");
    assert!(!meter.may_spend(20_000_000).await.expect("reads"));
    life.stop();
}

#[tokio::test]
async fn a_cut_in_a_test_costs_what_the_line_could_have_carried() {
    let (life, clock, state) = (Life::default(), clock(), State::open(None).await.expect("opens"));
    let line = meter(settings(&["wss://a.kz"]), numbers(|_, _, _| 4e6), &clock, &life, &state).await;
    let spent = line.test(&MANUAL, &CancellationToken::new(), &|_| ()).await.expect("kept").test.cost_bytes;
    let hangs = Numbers { hangs: Some(3), ..numbers(|_, _, _| 4e6) };
    let again = meter(settings(&["wss://a.kz"]), hangs, &clock, &life, &state).await;
    let nobody = CancellationToken::new();
    let mut cut = Box::pin(again.test(&MANUAL, &nobody, &|_| ()));
    assert!(tokio::time::timeout(Duration::from_millis(300), cut.as_mut()).await.is_err(), "under way");
    // The power fails: nothing is closed.
    drop(cut);
    let recovered = state.measure().recover().await.expect("recovers");
    assert!(recovered > 0 && recovered <= 50_000_000 / 3, "{recovered} of a day of 50 MB, after {spent}");
    life.stop();
}

#[tokio::test]
async fn the_test_after_a_start_runs_though_the_clock_was_set_since() {
    let (life, state) = (Life::default(), State::open(None).await.expect("opens"));
    let clock = Clock::manual(Time::from_secs(0));
    clock.raise_floor(Time::BUILT);
    let day = Schedule { slots: Vec::new(), zone: jiff::tz::TimeZone::UTC, startup: true };
    let meter = meter(Settings { schedule: day, ..settings(&["wss://a.kz"]) }, numbers(|_, _, _| 8e6), &clock, &life, &state).await;
    let mut worker = clerk::Clerk::new(meter.clone());
    worker.step().await;
    clock.advance(Duration::from_mins(2));
    clock.jump(Time::BUILT.micros() + 40 * 86_400_000_000);
    for _ in 0..40 {
        worker.step().await;
        clock.advance(Duration::from_secs(30));
    }
    let triggers: Vec<Trigger> = meter.after(0, 9).await.expect("reads").iter().map(|kept| kept.test.trigger).collect();
    assert_eq!(triggers, [Trigger::Startup]);
    life.stop();
}
