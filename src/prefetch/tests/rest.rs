//! When the night does not work, or not on this pack: caps, pauses, a metered line, a wrong clock, the turns of others.

use super::*;
use crate::cache::Seen;
use crate::prefetch::caps::Which;
use crate::state::history::Ran;

/// Twenty pages of 1,000 bytes behind one of 1,000.
fn book() -> Vec<(String, Page)> {
    let links = (0..20).fold(String::new(), |text, n| text + &format!("<img src=/{n:02}.png>"));
    let mut pages: Vec<(String, Page)> =
        (0..20).map(|n| (format!("http://a.kz/{n:02}.png"), Page::Text("image/png", "x".repeat(1000)))).collect();
    pages.push(("http://a.kz/d/".into(), html(&format!("{links:<1000}"))));
    pages
}

async fn staged(pages: &[(String, Page)]) -> Stage {
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    Stage::new(PACK, &pages).await
}

impl Stage {
    /// The node after a power cut: all that it knows is on disk.
    pub(super) async fn cut(mut self) -> Stage {
        self.night = Stage::open(&self.settings, &self.clock, &self.state, &self.world).await;
        self
    }

    async fn set_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.night.take_over(self.settings.clone()).await.expect("taken over");
    }

    async fn idle(&self) -> Time {
        match self.tick().await {
            Tick::Idle(next) => next,
            Tick::Worked(id, end) => panic!("worked on {id}: {end:?}"),
        }
    }

    fn write(&self, id: &str, seed: &str) {
        let text = PACK.replace("\"demo\"", &format!("\"{id}\"")).replace("http://a.kz/d/", seed);
        std::fs::write(self.folder.path().join(format!("{id}.toml")), text).expect("writes");
    }

    /// Waits until this URL is asked for.
    async fn until_asked(&self, url: &str) {
        while self.times(url) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_nights_cap_ends_it_and_the_next_night_goes_on() {
    let mut stage = staged(&book()).await;
    stage.set_settings(|settings| settings.caps = Caps { night: Some(6_000), month: Some(16_000) }).await;
    assert_eq!(stage.end().await, End::Cap(Which::Night));
    let spent = stage.night.status().caps.night_bytes;
    // Two at once: what was under way when the cap was reached has come as well.
    assert!((6_000..=8_000).contains(&spent), "{spent}");
    let mut stage = stage.cut().await;
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.rest.as_deref(), status.caps.night_bytes), ("waiting", Some("cap_night"), spent));
    assert!(status.sentence.contains("night.night_cap of 6.0 kB is reached, opens again 26.11.2026 22:00"), "{}", status.sentence);
    let evening = LATE.plus(Duration::from_mins(23 * 60 + 30));
    assert_eq!(stage.idle().await, evening);
    // What a person asks for waits as well, until noon.
    assert!(stage.night.start("demo").await.expect("known").reason.is_some_and(|why| why.contains("night.night_cap")));
    stage.idle().await;
    stage.state.answer_night("demo").await.expect("writes");
    stage = stage.cut().await;
    stage.clock.advance(evening.since(stage.clock.now()));
    assert_eq!(stage.end().await, End::Cap(Which::Night));
    stage.clock.advance(Duration::from_hours(24));
    assert_eq!(stage.end().await, End::Cap(Which::Month), "the rest of the month");
    let status = stage.night.status();
    assert_eq!((status.rest.as_deref(), status.rest_ends), (Some("cap_month"), Some("2026-11-30T19:00:00.000000Z".into())));
    // A person may allow more.
    stage.set_settings(|settings| settings.caps = Caps::default()).await;
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/"), 1);
}

#[tokio::test]
async fn a_pause_stops_what_is_under_way_and_survives_a_power_cut() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    let (end, ()) = tokio::join!(stage.end(), async {
        stage.until_asked("http://a.kz/s.css").await;
        stage.night.pause(None).await.expect("paused");
    });
    assert_eq!(end, End::Paused);
    let before = stage.asked().len();
    let stage = stage.cut().await;
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.rest.as_deref()), ("paused", Some("paused")));
    assert!(status.sentence.starts_with("paused by a person until \"bulak night resume\""), "{}", status.sentence);
    assert_eq!(stage.night.start("demo").await.expect("known").state, "queued");
    stage.idle().await;
    assert_eq!(stage.night.run_now("demo").await.expect("works"), End::Paused);
    assert_eq!(stage.asked().len(), before);
    stage.set("http://a.kz/s.css", Page::Text("text/css", "a{}".into()));
    stage.night.resume().await.expect("resumed");
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/"), 1, "it went on where it was");
    // Another ends by itself, also in the eyes of a node that was started meanwhile.
    let stage = stage.cut().await;
    let until = stage.night.named("2 h").expect("a time");
    stage.night.pause(Some(until)).await.expect("paused");
    let stage = stage.cut().await;
    assert_eq!(stage.idle().await, until);
    stage.clock.advance(Duration::from_hours(2));
    assert_eq!(stage.night.status().state, "idle");
}

#[tokio::test]
async fn what_people_asked_for_survives_a_power_cut_until_it_is_through() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    stage.clock.advance(Duration::from_hours(14));
    stage.night.start("demo").await.expect("known");
    let stage = stage.cut().await;
    assert_eq!(stage.night.status().queued, ["demo"]);
    // Killed in the middle of it.
    tokio::select! {
        _ = stage.tick() => panic!("it hangs"),
        () = stage.until_asked("http://a.kz/s.css") => {}
    }
    let stage = stage.cut().await;
    stage.set("http://a.kz/s.css", Page::Busy(3_600));
    assert!(matches!(stage.end().await, End::Waiting(_)));
    // A host asked to wait: it keeps its place, and nobody is asked before.
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.rest.as_deref()), ("waiting", Some("window")));
    assert!(status.sentence.contains("2 things wait; next try at "), "{}", status.sentence);
    let stage = stage.cut().await;
    stage.set("http://a.kz/s.css", Page::Text("text/css", "a{}".into()));
    assert_eq!(stage.night.progress("demo").expect("known").state, "paused");
    stage.idle().await;
    stage.clock.advance(Duration::from_hours(1));
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.cut().await.night.status().queued.is_empty());
}

#[tokio::test]
async fn what_waits_for_a_host_is_told_with_its_next_try() {
    let stage = Stage::new(PACK, &[("http://a.kz/d/", Page::Busy(3_600))]).await;
    let End::Waiting(until) = stage.end().await else { panic!("a host that is busy for an hour") };
    stage.idle().await;
    let windows = stage.settings.windows.clone();
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.waiting, status.rest), ("waiting", 1, None), "the window is open");
    let next = format!("1 thing waits; next try {}", windows.soon(until, stage.clock.now()));
    assert!(status.sentence.starts_with(&next) && status.reason == Some(next), "{}", status.sentence);
    let told = format!("no host can be asked before {}", windows.read(until));
    assert_eq!(stage.night.progress("demo").expect("known").reason, Some(told), "in the school's time");
}

#[tokio::test]
async fn a_run_that_waits_again_and_again_stays_one_job() {
    let stage = Stage::new(PACK, &[("http://a.kz/d/", Page::Busy(3_600))]).await;
    for _ in 0..2 {
        let End::Waiting(until) = stage.end().await else { panic!("a host that is busy for an hour") };
        assert_eq!(stage.night.jobs().list()[0].state, crate::life::job::State::Paused);
        stage.clock.advance(until.since(stage.clock.now()));
    }
    stage.set("http://a.kz/d/", html("<p>a lesson"));
    assert_eq!(stage.end().await, End::Done(0));
    let jobs = stage.night.jobs().list();
    assert_eq!((jobs.len(), jobs[0].state), (1, crate::life::job::State::Done), "{jobs:?}");
}

#[tokio::test]
async fn on_a_metered_line_only_what_people_ask_for_is_fetched() {
    let mut stage = Stage::new(PACK, &site()).await;
    stage.set_settings(|settings| settings.metered = true).await;
    stage.idle().await;
    assert!(stage.asked().is_empty());
    assert_eq!(stage.night.status().rest.as_deref(), Some("metered"));
    stage.night.start("demo").await.expect("known");
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.night.status().sentence.contains("night.metered"));
}

#[tokio::test]
async fn a_clock_at_1970_opens_no_window() {
    let stage = Stage::new(PACK, &site()).await;
    stage.clock.raise_floor(LATE);
    stage.clock.jump(-LATE.micros());
    assert!(!stage.clock.trusted());
    stage.idle().await;
    assert_eq!((stage.asked().len(), stage.night.status().rest.as_deref()), (0, Some("clock")));
    stage.clock.jump(LATE.micros());
    assert_eq!(stage.end().await, End::Done(0));
}

#[tokio::test]
async fn other_settings_end_what_the_schedule_began() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    let never = Settings { windows: Windows { list: Vec::new(), ..stage.settings.windows.clone() }, ..stage.settings.clone() };
    let (end, ()) = tokio::join!(stage.end(), async {
        stage.until_asked("http://a.kz/s.css").await;
        stage.night.take_over(never).await.expect("taken over");
    });
    assert_eq!(end, End::Asked);
    stage.idle().await;
    assert_eq!(stage.night.status().sentence, "there is no window (night.windows)");
}

#[tokio::test]
async fn a_large_pack_gives_others_their_turn_and_goes_first_the_next_night() {
    let mut pages = site();
    pages.push(("http://a.kz/d/b", html("small")));
    pages.push(("http://a.kz/d/c", html("new")));
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    stage.write("small", "http://a.kz/d/b");
    stage.night.reload().await.expect("reads");
    assert_eq!(stage.tick().await, Tick::Worked("demo".into(), End::Turn));
    assert_eq!(stage.clock.now(), LATE.plus(Duration::from_mins(20)));
    let stage = stage.cut().await;
    assert_eq!(stage.tick().await, Tick::Worked("small".into(), End::Done(0)), "also after a power cut");
    stage.clock.advance(Duration::from_mins(8 * 60 + 5));
    assert_eq!(stage.tick().await, Tick::Worked("demo".into(), End::Window));
    assert_eq!(stage.clock.now(), LATE.plus(Duration::from_mins(8 * 60 + 30)));
    stage.write("another", "http://a.kz/d/c");
    stage.night.reload().await.expect("reads");
    stage.clock.advance(Duration::from_hours(16));
    assert_eq!(stage.tick().await, Tick::Worked("demo".into(), End::Turn), "what was not finished goes first");
    assert_eq!(stage.tick().await, Tick::Worked("another".into(), End::Done(0)));
}

#[tokio::test]
async fn a_missed_window_is_told_and_not_made_up_for_by_day() {
    let stage = Stage::new(PACK, &site()).await;
    let history = stage.state.history();
    let ran = Ran { start: LATE.minus(Duration::from_hours(60)), seen: LATE.minus(Duration::from_hours(3)), clock_ok: true };
    history.ran("a", ran).await.expect("writes");
    // 08:00 on the next morning.
    stage.clock.advance(Duration::from_mins(9 * 60 + 30));
    assert_eq!(stage.idle().await, LATE.plus(Duration::from_mins(23 * 60 + 30)));
    let status = stage.night.status();
    assert_eq!(status.missed.as_ref().map(|missed| missed.ran_s), Some(0));
    assert!(status.sentence.contains("the window from 25.11.2026 22:00 to 26.11.2026 07:00 was missed"), "{}", status.sentence);
    // Shown until the next window is over.
    history
        .ran("b", Ran { start: stage.clock.now(), seen: stage.clock.now().plus(Duration::from_hours(24)), clock_ok: true })
        .await
        .expect("writes");
    stage.clock.advance(Duration::from_hours(15));
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.night.status().missed.is_some());
    stage.clock.advance(Duration::from_hours(9));
    stage.idle().await;
    assert_eq!(stage.night.status().missed, None);
}

#[tokio::test]
async fn the_api_pauses_and_resumes() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let stage = Stage::new(PACK, &site()).await;
    let routes = api::routes(stage.night.clone());
    let ask = async |method: &str, path: &str, body: &str| {
        let body = axum::body::Body::from(body.to_owned());
        let request = http::Request::builder().method(method).uri(path).body(body).expect("a request");
        let (head, body) = routes.clone().oneshot(request).await.expect("infallible").into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        (head.status.as_u16(), serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default())
    };
    let (status, night) = ask("GET", "/api/v1/night", "").await;
    assert_eq!((status, &night["state"], &night["metered"]), (200, &"idle".into(), &false.into()));
    let table = [
        ("", 200, serde_json::Value::Null),
        ("{\"until\": null}", 200, serde_json::Value::Null),
        ("{\"until\": \"07:30\"}", 200, "2026-11-26T02:30:00.000000Z".into()),
        ("{\"until\": \"2 h\"}", 200, "2026-11-25T19:30:00.000000Z".into()),
        ("{\"until\": \"someday\"}", 400, serde_json::Value::Null),
        ("{\"til\": \"07:30\"}", 400, serde_json::Value::Null),
    ];
    for (body, wanted, until) in table {
        let (status, night) = ask("POST", "/api/v1/night/pause", body).await;
        assert_eq!((status, &night["rest_ends"]), (wanted, &until), "{body}");
        assert_eq!(night["id"] == "night.bad_time", wanted == 400, "{body}");
    }
    let (status, night) = ask("POST", "/api/v1/night/resume", "").await;
    assert_eq!((status, &night["state"]), (200, &"idle".into()));
}

#[tokio::test]
async fn what_has_come_is_written_down_when_a_person_ends_it() {
    let pages = [
        ("http://a.kz/d/", html("<img src=/1.png><img src=/2.png><img src=/3.png>")),
        ("http://a.kz/1.png", Page::Text("image/png", "1".repeat(500))),
        ("http://a.kz/2.png", Page::Hangs),
        ("http://a.kz/3.png", Page::Text("image/png", "3".repeat(500))),
    ];
    let stage = Stage::new(PACK, &pages).await;
    let (end, ()) = tokio::join!(stage.end(), async {
        // All but one have landed, and the second has not passed after which they are written anyway.
        while stage.times("http://a.kz/3.png") == 0 || stage.world.lock().flying > 1 {
            tokio::task::yield_now().await;
        }
        stage.night.0.halt.call(End::Paused);
    });
    assert_eq!(end, End::Paused);
    let run = stage.state.run("demo").await.expect("reads").expect("a run");
    assert_eq!(stage.state.count("demo", run.run).await.expect("counts").done, 3);
    let shown = stage.night.progress("demo").expect("known");
    assert_eq!((shown.done, shown.transferred, shown.state.as_str()), (3, run.transferred, "paused"));
    // The rest follows, and every byte was counted once.
    stage.set("http://a.kz/2.png", Page::Text("image/png", "2".into()));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!((stage.times("http://a.kz/1.png"), stage.times("http://a.kz/3.png")), (1, 1));
    assert_eq!(stage.night.status().bytes, stage.night.status().caps.night_bytes);
}

#[tokio::test]
async fn packs_read_anew_take_back_nothing_that_a_person_has_just_ordered() {
    let stage = Stage::new(PACK, &site()).await;
    stage.night.start("demo").await.expect("known");
    stage.night.pause(None).await.expect("paused");
    // As if memory were a moment ahead of the disk.
    stage.state.answer_night("demo").await.expect("writes");
    stage.state.set_night_pause(None).await.expect("writes");
    stage.night.reload().await.expect("reads");
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.queued.as_slice()), ("paused", ["demo".to_owned()].as_slice()));
}

#[tokio::test]
async fn how_a_wish_fares_is_told() {
    let stage = Stage::new(PACK, &[("http://w.kz/", html("w"))]).await;
    let mut told = stage.night.feed().watch(None).expect("a seat");
    let mut changes = async || -> Vec<(String, String)> {
        stage.night.tell(Event::Resumed {});
        let mut all = Vec::new();
        loop {
            for one in told.next().await.expect("in time") {
                match &one.event {
                    Event::WishChanged { wish, state } => all.push((wish.clone(), state.clone())),
                    Event::Resumed {} => return all,
                    _ => {}
                }
            }
        }
    };
    let pair = |url: &str, state: &str| (url.to_owned(), state.to_owned());
    stage.night.wish("http://w.kz/none", None).await.expect("adds");
    assert_eq!(stage.tick().await, Tick::Worked("tonight".into(), End::Done(0)));
    assert_eq!(changes().await, [pair("http://w.kz/none", "gone")]);
    stage.night.wish("http://w.kz/", None).await.expect("adds");
    let id = stage.night.wishes().await.expect("reads")[0].id;
    assert!(stage.night.unwish(id).await.expect("removes"));
    assert_eq!(changes().await, [pair("http://w.kz/", "taken_back")]);
    stage.clock.advance(Duration::from_hours(15 * 24));
    stage.tick().await;
    assert_eq!(changes().await, [pair("http://w.kz/none", "let_go")]);
}

#[tokio::test]
async fn a_run_whose_end_cannot_be_written_down_ends_as_a_job() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    let (end, ()) = tokio::join!(stage.night.tick(LATE), async {
        stage.until_asked("http://a.kz/s.css").await;
        stage.state.close().await;
        stage.night.0.halt.call(End::Paused);
    });
    assert!(end.is_err());
    let states: Vec<_> = stage.night.jobs().list().into_iter().map(|job| job.state).collect();
    assert!(!states.contains(&crate::life::job::State::Running), "{states:?}");
    assert_eq!(stage.night.progress("demo").expect("known").state, "paused");
}

#[tokio::test]
async fn what_the_class_uses_is_asked_about_within_caps_and_pauses() {
    const STALE: [&str; 4] = ["http://c.kz/1", "http://b.kz/1", "http://d.kz/1", "http://d.kz/2"];
    // 06:30 in Almaty.
    let dawn = LATE.plus(Duration::from_hours(8));
    let staged = async || {
        let pages = [
            ("http://d.kz/1", Page::Text("text/plain", "1".repeat(700))),
            ("http://d.kz/2", Page::Text("text/plain", "2".repeat(700))),
            ("http://b.kz/1", Page::Busy(7_200)),
        ];
        let stage = Stage::new(PACK, &pages).await;
        let keys = STALE.map(|url| Target::parse(url).expect("valid").key());
        let day = stage.night.day_number(dawn);
        for back in 0..2 {
            stage.state.mark_used(day - back, &keys).await.expect("writes");
        }
        stage.world.lock().stale = STALE.to_vec();
        stage.clock.advance(dawn.since(LATE));
        stage.state.pause_host("c.kz", dawn.plus(Duration::from_hours(3)), false, "it asked for it").await.expect("writes");
        stage
    };
    let stage = staged().await;
    stage.tick().await;
    let mut asked = stage.asked();
    asked.sort();
    assert_eq!(asked, ["http://b.kz/1", "http://d.kz/1", "http://d.kz/2"], "not whom a pause protects");
    let pauses = stage.state.pauses().await.expect("reads");
    assert!(pauses.iter().any(|pause| pause.host == "b.kz" && pause.until > dawn.plus(Duration::from_hours(1))), "{pauses:?}");
    // At a cap they end: the first answer reaches it.
    let mut stage = staged().await;
    stage.set_settings(|settings| settings.caps = Caps { night: Some(10), month: None }).await;
    stage.tick().await;
    assert!(stage.times("http://d.kz/1") + stage.times("http://d.kz/2") <= 1, "{:?}", stage.asked());
    // A person's pause drops what is under way.
    let stage = staged().await;
    stage.set("http://d.kz/1", Page::Hangs);
    stage.set("http://d.kz/2", Page::Hangs);
    let (_, ()) = tokio::join!(stage.tick(), async {
        while stage.times("http://d.kz/1") + stage.times("http://d.kz/2") == 0 {
            tokio::task::yield_now().await;
        }
        stage.night.pause(None).await.expect("paused");
    });
    assert_eq!(stage.state.renewed().await.expect("reads"), None, "it goes on when the pause is over");
}

#[tokio::test]
async fn who_ends_a_run_in_the_moment_before_it_begins_is_heard() {
    let stage = Stage::new(PACK, &site()).await;
    // By day, when the schedule leaves nothing alone because nothing is due.
    stage.clock.advance(Duration::from_hours(14));
    let job = stage.night.ask("demo").await.expect("known").id;
    // A step has chosen the pack, and waits for the one before it to end.
    let turn = stage.night.0.turn.acquire().await.expect("open");
    let (end, ()) = tokio::join!(stage.night.run_now("demo"), async {
        stage.night.jobs().cancel(&job).await;
        drop(turn);
    });
    assert_eq!(end.expect("works"), End::Cancelled);
    assert!(stage.asked().is_empty());
    assert_eq!(stage.night.jobs().look(&job).expect("kept").state, crate::life::job::State::Cancelled);
    // Who asks anew means it.
    stage.night.ask("demo").await.expect("known");
    assert_eq!(stage.end().await, End::Done(0));
}

#[tokio::test]
async fn an_approval_that_a_power_cut_forgot_is_repeated() {
    let stage = Stage::new(PACK, &[]).await;
    let target = Target::parse("http://m.kz/lesson").expect("valid");
    for device in 1..=5 {
        let client = std::net::IpAddr::from([10, 0, 0, device]);
        let status = http::StatusCode::GATEWAY_TIMEOUT;
        stage.night.saw(&Seen { client, target: &target, page: true, reads: true, why: None, status, missing: true });
    }
    let id = stage.night.proposals().await.expect("reads")[0].id.clone();
    let written = stage.night.approve(&id).await.expect("written");
    sqlx::query("UPDATE proposal SET state = 'open'").execute(stage.state.pool()).await.expect("writes");
    stage.clock.advance(Duration::from_hours(24));
    assert_eq!(stage.night.approve(&id).await.expect("once more"), written);
    assert!(stage.night.packs().iter().any(|listed| listed.id == written.0));
    assert!(stage.night.proposals().await.expect("reads").is_empty());
}
