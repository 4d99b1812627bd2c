//! Nights among hosts that are busy, broken, endless or just the same as ever.

use super::*;

fn trouble(all: &[(String, String)], what: &str) -> bool {
    all.iter().any(|(_, why)| why.contains(what))
}

/// Breaks off once, then is a page.
pub(super) fn breaks() -> Page {
    Page::Fails(1, What::Lost("it broke off".into()))
}

#[tokio::test]
async fn what_this_machine_lacks_is_no_hosts_error() {
    let many = (0..9).map(|n| format!("<img src='/{n}.png'>")).collect::<Vec<_>>().concat();
    // More often than a thing is tried.
    let ours = || Page::Fails(9, What::Ours("no socket free".into()));
    let mut pages: Vec<(String, Page)> = (0..9).map(|n| (format!("http://a.kz/{n}.png"), ours())).collect();
    pages.push(("http://a.kz/d/".into(), html(&many)));
    pages.push(("http://a.kz/robots.txt".into(), ours()));
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    let times = |url: &str| stage.world.lock().asked.iter().filter(|(asked, _)| asked == url).count();
    assert_eq!((times("http://a.kz/0.png"), times("http://a.kz/robots.txt")), (10, 10));
    assert!(stage.state.stopped_hosts("2026-11-25", 1).await.expect("reads").is_empty());
}

#[tokio::test]
async fn an_hour_of_refusals_costs_one_request_also_over_a_restart_and_nobody_else_waits() {
    let two = PACK.replace("[scope]", "[[seed]]\nurl = \"http://cdn.kz/d/a\"\n[[seed]]\nurl = \"http://cdn.kz/d/b\"\n[scope]");
    let pages = [("http://a.kz/d/", Page::Busy(3600)), ("http://cdn.kz/d/a", html("a")), ("http://cdn.kz/d/b", html("b"))];
    let stage = Stage::new(&two, &pages).await;
    let End::Waiting(until) = stage.end().await else { panic!("the host's hour is longer than a crawl's patience") };
    assert_eq!((stage.times("http://a.kz/d/"), stage.times("http://cdn.kz/d/a"), stage.times("http://cdn.kz/d/b")), (1, 1, 1));
    assert!(trouble(&stage.night.trouble("demo", 9).await.expect("reads"), "too busy"));
    assert!(matches!(stage.tick().await, Tick::Idle(_)), "the schedule knows, too");
    let night = Stage::open(&stage.settings, &stage.clock, &stage.state, &stage.world).await;
    assert!(matches!(night.run_now("demo").await.expect("works"), End::Waiting(_)));
    assert_eq!(stage.times("http://a.kz/d/"), 1);
    stage.set("http://a.kz/d/", html("x"));
    stage.clock.advance(until.since(stage.clock.now()));
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.state.pauses().await.expect("reads").is_empty(), "forgiven");
}

#[tokio::test]
async fn a_robots_file_that_fails_for_a_month_counts_as_missing_and_one_kept_is_not_asked_for_again() {
    let failing = [("http://a.kz/robots.txt", Page::Status(500)), ("http://a.kz/d/", html("x"))];
    let stage = Stage::new(&PACK.replace("2 days", "90 days"), &failing).await;
    let mut days = 0;
    while stage.times("http://a.kz/d/") == 0 {
        for _ in 0..12 {
            stage.tick().await;
            stage.clock.advance(Duration::from_hours(2));
        }
        days += 1;
        assert!(days < 40, "never");
        if days == 3 {
            assert!(trouble(&stage.night.trouble("demo", 9).await.expect("reads"), "robots.txt cannot be had"));
        }
    }
    assert!(days >= 30, "after {days} days");

    let stage = Stage::new(PACK, &site()).await;
    assert_eq!(stage.end().await, End::Done(0));
    let robots = |stage: &Stage| stage.world.lock().asked.iter().filter(|(url, _)| url.ends_with("/robots.txt")).count();
    assert_eq!(robots(&stage), 2);
    let night = Stage::open(&stage.settings, &stage.clock, &stage.state, &stage.world).await;
    assert_eq!(night.run_now("demo").await.expect("works"), End::Done(0));
    assert_eq!(robots(&stage), 2, "kept over a restart");
    stage.clock.advance(Duration::from_hours(25));
    assert_eq!(night.run_now("demo").await.expect("works"), End::Done(0));
    assert_eq!(robots(&stage), 4, "for a day");
}

#[tokio::test]
async fn redirects_in_circles_and_without_end_are_told() {
    let pack = PACK.replace("[scope]", "[[seed]]\nurl = \"http://a.kz/d/self\"\n[[seed]]\nurl = \"http://a.kz/d/n\"\n[scope]");
    let mut pages = vec![
        ("http://a.kz/d/".to_owned(), Page::Moved("http://a.kz/d/b")),
        ("http://a.kz/d/b".to_owned(), Page::Moved("http://a.kz/d/")),
        ("http://a.kz/d/self".to_owned(), Page::Moved("http://a.kz/d/self")),
    ];
    let far = ["/d/n", "/d/n1", "/d/n2", "/d/n3", "/d/n4", "/d/n5", "/d/n6", "/d/n7", "/d/n8", "/d/n9", "/d/na", "/d/nb", "/d/nc"];
    let far: Vec<&'static str> = far.iter().map(|path| &*format!("http://a.kz{path}").leak()).collect();
    pages.extend(far.windows(2).map(|pair| (pair[0].to_owned(), Page::Moved(pair[1]))));
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    let stage = Stage::new(&pack, &pages).await;
    assert_eq!(stage.end().await, End::Done(3));
    let told = stage.night.trouble("demo", 9).await.expect("reads");
    for what in ["in a circle", "to itself", "too many times"] {
        assert!(trouble(&told, what), "{what}: {told:?}");
    }
    assert_eq!((stage.times("http://a.kz/d/"), stage.times("http://a.kz/d/na"), stage.times("http://a.kz/d/nb")), (1, 1, 0));
}

#[tokio::test]
async fn a_calendar_without_end_is_bounded_and_told() {
    let stage = Stage::new(&PACK.replace("depth = 1", "depth = 3").replace("1 MiB", "1 GiB"), &[("http://a.kz/d/x", html("x"))]).await;
    stage.world.lock().make = Some(|_| {
        let links =
            (1..=60).map(|month| format!("<a href='/d/cal/{}/{}'>m</a>", 1990 + month, month % 12 + 1)).collect::<Vec<_>>().concat();
        let days =
            (1..=60).map(|day| format!("<a href='/d/day?date={}-{:02}-{:02}&view=list'>d</a>", 1990 + day, day % 12 + 1, day % 28 + 1));
        let more = (1..=30).map(|shift| format!("<a href='/d/cal?year=20{shift:02}&month={shift}&n={shift}'>d</a>"));
        html(&(links + &days.chain(more).collect::<Vec<_>>().concat() + "<a href='/d/x'>lessons</a>"))
    });
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/x"), 1, "the rest goes on");
    assert!(stage.asked().len() <= 160, "{}", stage.asked().len());

    // Ever new days, until the bound of their pattern.
    stage.world.lock().make = Some(|url| {
        let seed = url.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let links = (0..40_u32).map(|step| {
            let day = seed.wrapping_mul(2_654_435_761).wrapping_add(step.wrapping_mul(40_503)) % 100_000;
            format!("<a href='/d/cal/{}-{:02}-{:02}'>d</a>", 1900 + day % 200, day / 200 % 12 + 1, day / 2_400 % 28 + 1)
        });
        html(&links.collect::<Vec<_>>().concat())
    });
    stage.world.lock().asked.clear();
    assert_eq!(stage.night.run_now("demo").await.expect("works"), End::Done(0));
    let days = stage.asked().iter().filter(|url| url.contains("/cal/")).count();
    assert_eq!(days, 400);
    let told = stage.night.trouble("demo", 9).await.expect("reads");
    assert!(told.iter().any(|(pattern, why)| pattern == "http://a.kz/d/cal/@" && why.contains("looks endless: 400")), "{told:?}");
}

#[tokio::test]
async fn what_never_changes_is_asked_about_more_and_more_rarely() {
    let stage = Stage::new(PACK, &site()).await;
    assert_eq!(stage.end().await, End::Done(0));
    let mut asked = Vec::new();
    for _ in 0..16 {
        stage.clock.advance(Duration::from_hours(49));
        stage.world.lock().asked.clear();
        let now = LATE.plus(Duration::from_secs(stage.clock.now().since(LATE).as_secs() / 86_400 * 86_400 + 86_400));
        stage.clock.advance(now.since(stage.clock.now()));
        assert_eq!(stage.end().await, End::Done(0));
        asked.push(stage.world.lock().asked.iter().filter(|(_, force)| *force).count());
        assert_eq!(stage.world.lock().pins.len(), 6, "nothing is let go for not being asked about");
    }
    let (first, last): (usize, usize) = (asked[..4].iter().sum(), asked[12..].iter().sum());
    assert!(asked[0] == 2 && first >= 5 && last <= first / 2, "{asked:?}");
    assert!(asked[8..].iter().sum::<usize>() >= 2, "bounded: {asked:?}");
}

#[tokio::test]
async fn a_sitemaps_word_on_changes_wins_both_ways() {
    let pack = PACK.replace("url = \"http://a.kz/d/\"", "sitemap = \"http://a.kz/map.xml\"");
    let map = |one: &str| {
        Page::Text(
            "text/xml",
            format!(
                "<urlset><url><loc>/d/1</loc><lastmod>{one}</lastmod></url><url><loc>/d/2</loc><lastmod>2020-01-01</lastmod></url></urlset>"
            ),
        )
    };
    let stage =
        Stage::new(&pack, &[("http://a.kz/map.xml", map("2020-01-01")), ("http://a.kz/d/1", html("1")), ("http://a.kz/d/2", html("2"))])
            .await;
    assert_eq!(stage.end().await, End::Done(0));
    let mut asked = 0;
    for night in 0..6 {
        stage.clock.advance(Duration::from_hours(72));
        if night == 3 {
            stage.set("http://a.kz/map.xml", map("2026-12-04"));
        }
        stage.world.lock().asked.clear();
        assert_eq!(stage.end().await, End::Done(0));
        let forced: Vec<String> =
            stage.world.lock().asked.iter().filter(|(url, force)| *force && url.contains("/d/")).map(|(url, _)| url.clone()).collect();
        assert!(night != 3 || forced.contains(&"http://a.kz/d/1".to_owned()), "changed: {forced:?}");
        asked += forced.len();
    }
    assert!(asked <= 3, "{asked} of 12");
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_put_off_is_due_when_it_is_set_right() {
    const YEARS: Duration = Duration::from_hours(5 * 365 * 24);
    let back = -i64::try_from(YEARS.as_micros()).expect("fits");
    // A host is busy, another's robots.txt cannot be had, a pack was through: all by a clock that is years ahead.
    let seeds = "[[seed]]\nurl = \"http://a.kz/d/\"\n[[seed]]\nurl = \"http://cdn.kz/d/\"\n";
    let pack = PACK.replace("[[seed]]\nurl = \"http://a.kz/d/\"\n", seeds);
    let pages = [("http://a.kz/d/", Page::Busy(7_200)), ("http://cdn.kz/robots.txt", Page::Status(500)), ("http://cdn.kz/d/", html("x"))];
    for restarted in [false, true] {
        let stage = Stage::new(&pack, &pages).await;
        let small = PACK.replace("\"demo\"", "\"small\"").replace("a.kz", "b.kz");
        std::fs::write(stage.folder.path().join("small.toml"), small).expect("writes");
        stage.set("http://b.kz/d/", html("b"));
        stage.night.reload().await.expect("reads");
        stage.clock.advance(YEARS);
        stage.night.ask("small").await.expect("known");
        stage.night.ask("demo").await.expect("known");
        assert_eq!(stage.end().await, End::Done(0));
        assert!(matches!(stage.end().await, End::Waiting(_)));
        assert!(matches!(stage.tick().await, Tick::Idle(_)), "all wait");
        // Set right: an evening of today.
        stage.clock.jump(back);
        let now = stage.clock.now();
        stage.clock.jump(i64::try_from(LATE.plus(Duration::from_hours(24)).since(now).as_micros()).expect("fits"));
        stage.set("http://a.kz/d/", html("a"));
        stage.set("http://cdn.kz/robots.txt", Page::Status(404));
        let stage = if restarted { stage.cut().await } else { stage };
        let before = stage.asked().len();
        assert_eq!(stage.tick().await, Tick::Worked("demo".into(), End::Done(0)), "restarted: {restarted}");
        assert_eq!(stage.tick().await, Tick::Worked("small".into(), End::Done(0)), "restarted: {restarted}");
        let mut asked = stage.asked().split_off(before);
        asked.sort();
        assert_eq!(asked, ["http://a.kz/d/", "http://b.kz/d/", "http://cdn.kz/d/"]);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_right_ends_the_window_that_it_was_in() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    let back = Duration::from_hours(48);
    stage.clock.advance(back);
    let (end, ()) = tokio::join!(stage.end(), async {
        while stage.times("http://a.kz/s.css") == 0 {
            tokio::task::yield_now().await;
        }
        stage.clock.jump(-i64::try_from(back.as_micros()).expect("fits"));
    });
    assert_eq!(end, End::Asked);
}
