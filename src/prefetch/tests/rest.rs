//! When the night does not work, or not on this pack: caps, pauses, a metered line, a wrong clock, the turns of others.

use super::*;
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
    async fn cut(mut self) -> Stage {
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
    assert_eq!(stage.night.run_now("demo", drop).await.expect("works"), End::Paused);
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
