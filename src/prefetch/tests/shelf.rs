//! What stays on a pack's shelf, and what leaves it.

use super::*;

#[tokio::test]
async fn a_refresh_asks_about_pages_and_lets_go_of_what_is_gone() {
    let stage = Stage::new(PACK, &site()).await;
    assert_eq!(stage.end().await, End::Done(0));
    stage.set("http://a.kz/d/", html("<link rel=stylesheet href=/s.css>"));
    stage.clock.advance(Duration::from_hours(47));
    assert!(matches!(stage.tick().await, Tick::Idle(_)));
    stage.clock.advance(Duration::from_hours(2));
    stage.world.lock().asked.clear();
    assert_eq!(stage.end().await, End::Done(0));
    let asked = stage.world.lock().asked.clone();
    assert!(asked.contains(&("http://a.kz/d/".into(), true)) && asked.contains(&("http://a.kz/s.css".into(), false)), "{asked:?}");
    stage.clock.advance(Duration::from_hours(49));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.pins(), ["/b.png", "/d/", "/s.css"]);
}

#[tokio::test]
async fn a_page_where_a_list_was_empties_no_shelf() {
    let pack = PACK.replace("url = \"http://a.kz/d/\"", "sitemap = \"http://a.kz/map.xml\"\n[[seed]]\nlist = \"http://a.kz/list.txt\"");
    let map = Page::Text("text/xml", "<urlset><url><loc>/d/1</loc></url></urlset>".into());
    let list = Page::Text("text/plain", "/d/2".into());
    let pages =
        [("http://a.kz/map.xml", map), ("http://a.kz/list.txt", list), ("http://a.kz/d/1", html("1")), ("http://a.kz/d/2", html("2"))];
    let stage = Stage::new(&pack, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    let pins = stage.world.lock().pins.clone();
    assert_eq!(pins.len(), 2);
    // The site is being mended, or a provider's portal answers for it.
    stage.set("http://a.kz/map.xml", Page::Text("text/html", "<p>We are back soon</p>".into()));
    stage.set("http://a.kz/list.txt", Page::Text("text/plain", "<!DOCTYPE html><title>Pay first</title>".into()));
    stage.clock.advance(Duration::from_hours(48));
    assert_eq!(stage.end().await, End::Done(2));
    assert_eq!(stage.world.lock().pins, pins);
}

#[tokio::test]
async fn one_bad_night_empties_no_shelf_and_what_is_gone_for_two_goes() {
    let pages =
        [("http://a.kz/d/", html("<a href=1>1</a><a href=2>2</a>")), ("http://a.kz/d/1", html("1")), ("http://a.kz/d/2", html("2"))];
    let stage = Stage::new(PACK, &pages).await;
    let night = async || {
        stage.clock.advance(Duration::from_hours(48));
        assert_eq!(stage.end().await, End::Done(0));
        stage.pins()
    };
    assert_eq!(night().await, ["/d/", "/d/1", "/d/2"]);
    // The start page comes once without its links; then with them, and its pages answer 404 once.
    stage.set("http://a.kz/d/", html("we are back soon"));
    assert_eq!(night().await.len(), 3);
    stage.set("http://a.kz/d/", pages[0].1.clone());
    assert_eq!(night().await.len(), 3);
    stage.set("http://a.kz/d/1", Page::Status(404));
    stage.set("http://a.kz/d/2", Page::Status(404));
    assert_eq!(night().await.len(), 3);
    stage.set("http://a.kz/d/2", html("2"));
    assert_eq!(night().await, ["/d/", "/d/2"], "gone for two nights");
    stage.set("http://a.kz/d/", html("one page"));
    assert_eq!(night().await.len(), 2);
    assert_eq!(night().await, ["/d/"], "not named for two nights");
    // Hosts that somebody takes out of the pack go with the next run.
    let text = PACK.replace("http://a.kz/d/", "http://cdn.kz/d/").replace("\"a.kz\", ", "");
    std::fs::write(stage.folder.path().join("demo.toml"), text).expect("writes");
    stage.set("http://cdn.kz/d/", html("another"));
    stage.night.reload().await.expect("reads");
    stage.clock.advance(Duration::from_hours(48));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.world.lock().pins.iter().collect::<Vec<_>>(), ["http://cdn.kz/d/"]);
}

#[tokio::test]
async fn what_the_disk_lost_of_a_pack_is_fetched_again_and_nothing_else() {
    let stage = Stage::new(PACK, &site()).await;
    assert_eq!(stage.end().await, End::Done(0));
    let before = stage.asked().len();
    stage.world.lock().lost = vec!["http://a.kz/b.png".into(), "http://a.kz/strange".into()];
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.asked()[before..], ["http://a.kz/b.png"]);
    assert!(matches!(stage.tick().await, Tick::Idle(_)), "once");
    // By day it is noted, and fetched in the night, also by a node that was started meanwhile.
    stage.clock.advance(Duration::from_hours(12));
    stage.world.lock().lost = vec!["http://a.kz/s.css".into()];
    assert!(matches!(stage.tick().await, Tick::Idle(_)));
    stage.clock.advance(Duration::from_hours(12));
    let night = Stage::open(&stage.settings, &stage.clock, &stage.state, &stage.world).await;
    assert_eq!(night.tick(stage.clock.now()).await.expect("works"), Tick::Worked("demo".into(), End::Done(0)));
    assert_eq!(stage.times("http://a.kz/s.css"), 2);
    assert_eq!(stage.asked().len(), before + 2);
}

#[tokio::test]
async fn what_fails_for_good_keeps_nothing_on_the_shelf_and_what_it_named_stays_for_a_month() {
    let pages = [
        ("http://a.kz/d/", html("<a href=never>1</a><a href=old>2</a><a href=2>3</a>")),
        ("http://a.kz/d/never", Page::Status(403)),
        ("http://a.kz/d/old", html("<img src=/old.png>")),
        ("http://a.kz/old.png", Page::Text("image/png", "png".into())),
        ("http://a.kz/d/2", html("2")),
    ];
    let stage = Stage::new(PACK, &pages).await;
    let night = async |failed: u64| {
        assert_eq!(stage.end().await, End::Done(failed));
        stage.clock.advance(Duration::from_hours(72));
        stage.pins().len()
    };
    assert_eq!(night(1).await, 4);
    stage.set("http://a.kz/d/", html("<a href=never>1</a><a href=old>2</a>"));
    let mut nights = 1;
    while night(1).await > 3 {
        nights += 1;
        assert!(nights < 9, "an address that never came keeps a page that is named no more: {:?}", stage.pins());
    }
    assert!(nights > 2, "it went after {nights} nights");
    assert_eq!(stage.pins(), ["/d/", "/d/old", "/old.png"]);
    // What came is refused: what it named may be named still.
    stage.set("http://a.kz/d/old", Page::Status(403));
    for late in 0..9 {
        assert_eq!(night(2).await, 3, "{} days", 3 * late);
    }
    for _ in 0..5 {
        night(2).await;
    }
    assert_eq!(stage.pins(), ["/d/", "/d/old"]);
}

#[tokio::test]
async fn what_is_left_out_for_a_cap_gives_its_room_back() {
    let pages = [
        ("http://a.kz/d/", html("<img src=/a.png><img src=/b.png>")),
        ("http://a.kz/a.png", Page::Text("image/png", "a".repeat(600))),
        ("http://a.kz/b.png", Page::Text("image/png", "b".repeat(600))),
    ];
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.pins().len(), 3);
    std::fs::write(stage.folder.path().join("demo.toml"), PACK.replace("1 MiB", "1 KiB")).expect("writes");
    stage.night.reload().await.expect("reads");
    for _ in 0..2 {
        stage.clock.advance(Duration::from_hours(72));
        assert_eq!(stage.end().await, End::Done(0));
        assert_eq!(stage.pins(), ["/a.png", "/d/"], "a cap holds for what was here before, too");
    }
}

#[tokio::test]
async fn where_packs_keep_as_much_as_they_may_a_run_goes_on_and_makes_room() {
    let page = |names: &str| html(&format!("<a href={}>1</a>", names.replace(' ', ">1</a><a href=")));
    let pages = [("http://a.kz/d/", page("1 2")), ("http://a.kz/d/1", html("1")), ("http://a.kz/d/2", html("2"))];
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    stage.world.lock().most_pins = Some(3);
    stage.set("http://a.kz/d/", page("3 4 1"));
    stage.set("http://a.kz/d/3", html("3"));
    stage.set("http://a.kz/d/4", html("4"));
    let night = async || {
        stage.clock.advance(Duration::from_hours(72));
        stage.world.lock().asked.clear();
        assert_eq!(stage.end().await, End::Done(0));
        stage.asked()
    };
    let asked = night().await;
    assert!(asked.contains(&"http://a.kz/d/1".to_owned()), "what is here is renewed: {asked:?}");
    let fresh = asked.iter().filter(|url| url.ends_with('3') || url.ends_with('4')).count();
    assert_eq!(fresh, 1, "that there is no room is found out once: {asked:?}");
    let trouble = stage.night.trouble("demo", 9).await.expect("reads");
    assert!(trouble.iter().any(|(_, why)| why == "packs keep as much as they may"), "{trouble:?}");
    night().await;
    assert_eq!(stage.pins(), ["/d/", "/d/1"], "what is named no more went");
    night().await;
    assert_eq!(stage.pins(), ["/d/", "/d/1", "/d/3"]);
}

#[tokio::test]
async fn one_address_that_fails_for_ever_keeps_no_pack_from_being_renewed() {
    let pages = [("http://a.kz/d/", html("<a href=never>1</a><a href=2>2</a>")), ("http://a.kz/d/never", Page::Status(403))];
    for (refresh, days) in [("7 days", 7), ("1 day", 1)] {
        let stage = Stage::new(&PACK.replace("2 days", refresh), &pages).await;
        stage.set("http://a.kz/d/2", html("2"));
        assert_eq!(stage.end().await, End::Done(1));
        // Every night at half past ten, where the last one ended some seconds later.
        let mut asked = Vec::new();
        for night in 1..=20_u64 {
            stage.clock.advance(LATE.plus(Duration::from_hours(24 * night)).since(stage.clock.now()));
            let before = stage.times("http://a.kz/d/");
            while let Tick::Worked(..) = stage.tick().await {}
            if stage.times("http://a.kz/d/") > before {
                asked.push(night);
            }
        }
        let gaps: Vec<u64> = std::iter::once(&0).chain(&asked).zip(&asked).map(|(before, night)| night - before).collect();
        assert!(asked.len() > 1 && gaps.iter().all(|gap| (days..=days + 1).contains(gap)), "{refresh}: {asked:?}");
    }
}

#[tokio::test]
async fn what_the_store_takes_at_no_time_is_left_out_and_told() {
    let pages = [
        ("http://a.kz/d/", html("<a href=film>1</a><a href=2>2</a>")),
        ("http://a.kz/d/film", Page::Fails(9, What::Oversized(10 << 30))),
        ("http://a.kz/d/2", html("2")),
    ];
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.pins(), ["/d/", "/d/2"]);
    let trouble = stage.night.trouble("demo", 9).await.expect("reads");
    assert_eq!(trouble, [("http://a.kz/d/film".into(), "longer than the store takes in one piece (10 GiB)".into())]);
    stage.night.begin_night().await.expect("writes");
    let summary = stage.night.summary(None).await.expect("told");
    assert_eq!(summary.each[0].no_room, 1);
    assert!(summary.brief.sentence.ends_with("the pack is complete, but for 1 thing for which there is no room"), "{summary:?}");
}

#[tokio::test]
async fn whoever_the_store_takes_nothing_of_lets_others_go_first() {
    let stage = Stage::new(PACK, &[("http://a.kz/d/", Page::Fails(9, What::Full("it admits nothing more".into())))]).await;
    let other = PACK.replace("\"demo\"", "\"other\"").replace("http://a.kz/d/", "http://cdn.kz/d/");
    std::fs::write(stage.folder.path().join("other.toml"), other).expect("writes");
    stage.set("http://cdn.kz/d/", html("small"));
    stage.night.reload().await.expect("reads");
    let mut ends = Vec::new();
    for _ in 0..3 {
        let Tick::Worked(id, end) = stage.tick().await else { break };
        ends.push((id, end));
        stage.clock.advance(Duration::from_mins(1));
    }
    let full = End::Full("it admits nothing more".into());
    let wanted = [("demo".to_owned(), full.clone()), ("other".to_owned(), End::Done(0)), ("demo".to_owned(), full)];
    assert_eq!(ends, wanted, "and where nobody else is due it is tried again each minute");
}
