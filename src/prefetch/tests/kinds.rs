//! Packs of packs, caps of single hosts, and from one pack to the next.

use super::{PACK, Page, Stage, html};
use crate::prefetch::{End, Night, web::Web};
use std::time::Duration;

fn pack(id: &str, path: &str, more: &str) -> String {
    format!(
        "id = \"{id}\"\nversion = \"1\"\nlicence = \"CC0\"\n{more}\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/{path}\"\n[scope]\nhosts = [\"a.kz\"]\n"
    )
}

fn notes<W: Web>(night: &Night<W>, id: &str) -> Option<Vec<String>> {
    night.packs().into_iter().find(|listed| listed.id == id).map(|listed| listed.notes)
}

#[tokio::test]
async fn the_old_pack_stays_until_the_new_one_is_complete_and_goes_in_one_step() {
    let stage = Stage::new(&pack("old", "old", ""), &[("http://a.kz/old", html("o")), ("http://a.kz/new", html("n"))]).await;
    assert_eq!(stage.end().await, End::Done(0));
    let new = stage.folder.path().join("new.toml");
    std::fs::write(&new, pack("new", "new", "replaces = \"old\"")).expect("writes");
    stage.night.reload().await.expect("reads");
    assert!(notes(&stage.night, "old").is_some_and(|notes| notes[0].contains("until \"new\" is complete")));
    assert!(notes(&stage.night, "new").is_some_and(|notes| notes[0].contains("takes the place of \"old\"")));
    assert!(stage.world.lock().let_go.is_empty());

    // The step is taken, and the power goes before the old one's pins went.
    stage.world.lock().full = true;
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(notes(&stage.night, "old"), None, "the old pack is out of force");
    assert!(stage.world.lock().let_go.is_empty());
    let night = Stage::open(&stage.settings, &stage.clock, &stage.state, &stage.world).await;
    for _ in 0..2 {
        assert_eq!(stage.world.lock().let_go, ["old"], "what was left to do is done at the next start, once");
        night.reload().await.expect("reads");
    }
    assert_eq!(stage.state.run("old").await.expect("reads"), None);
    let status = night.status();
    assert_eq!((status.replaced[0].id.as_str(), status.replaced[0].by.as_str(), status.packs.len()), ("old", "new", 1));
    assert_eq!(notes(&night, "new"), Some(Vec::new()));

    // A folder that cannot be read says nothing about what lies in it.
    let mut hidden = stage.settings.clone();
    hidden.own = None;
    hidden.paths = vec![new.join("within-a-file")];
    night.take_over(hidden).await.expect("taken over");
    assert_eq!(night.status().replaced.len(), 1);
    night.take_over(stage.settings.clone()).await.expect("taken over");
    assert_eq!((notes(&night, "old"), notes(&night, "new")), (None, Some(Vec::new())));

    // The new one is taken away again: the old one counts, and is fetched anew.
    std::fs::remove_file(new).expect("removes");
    night.reload().await.expect("reads");
    assert!(notes(&night, "old").is_some() && night.status().replaced.is_empty());
}

#[tokio::test]
async fn a_new_pack_with_failures_replaces_nothing() {
    let stage = Stage::new(&pack("old", "old", ""), &[("http://a.kz/old", html("o")), ("http://a.kz/new", Page::Status(403))]).await;
    assert_eq!(stage.end().await, End::Done(0));
    std::fs::write(stage.folder.path().join("new.toml"), pack("new", "new", "replaces = \"old\"")).expect("writes");
    stage.night.reload().await.expect("reads");
    assert_eq!(stage.end().await, End::Done(1));
    assert!(notes(&stage.night, "old").is_some() && stage.world.lock().let_go.is_empty());
}

#[tokio::test]
async fn a_host_holds_no_more_than_its_share() {
    let text = pack("demo", "d/", "") + "[scope.sites]\n\"a.kz\" = 100\n";
    let long = Box::leak("x".repeat(60).into_boxed_str());
    let list = "http://a.kz/1\nhttp://a.kz/2\nhttp://a.kz/3\n";
    let pages = [
        ("http://a.kz/list", Page::Text("text/plain", list.into())),
        ("http://a.kz/1", html(long)),
        ("http://a.kz/2", html(long)),
        ("http://a.kz/3", html("short")),
    ];
    let stage = Stage::new(&text.replace("url = \"http://a.kz/d/\"", "list = \"http://a.kz/list\""), &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    let trouble = stage.night.trouble("demo", 9).await.expect("reads");
    assert!(!trouble.is_empty() && trouble.iter().all(|(_, why)| why.contains("scope.sites")), "{trouble:?}");
    let held = stage.night.progress("demo").expect("known").bytes_done;
    assert!(held <= 100, "{held} bytes");
}

#[tokio::test]
async fn a_shelf_fetches_what_its_parts_name() {
    let stage = Stage::new(&pack("one", "one", ""), &[("http://a.kz/one", html("1")), ("http://a.kz/two", html("2"))]).await;
    let shelf = "id = \"shelf\"\nversion = \"1\"\nlicence = \"CC0\"\npriority = 9\n[title]\nen = \"T\"\n[[seed]]\npack = \"one\"\n[[seed]]\npack = \"two\"\n";
    std::fs::write(stage.folder.path().join("shelf.toml"), shelf).expect("writes");
    stage.night.reload().await.expect("reads");
    assert!(notes(&stage.night, "shelf").is_some_and(|notes| notes[0].contains("\"two\" is not here")));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.asked(), ["http://a.kz/one"]);
    // Its missing part comes: the shelf has changed, and is fetched again.
    std::fs::write(stage.folder.path().join("two.toml"), pack("two", "two", "")).expect("writes");
    stage.night.reload().await.expect("reads");
    stage.clock.advance(Duration::from_secs(5));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/two"), 1);
}

#[tokio::test]
async fn a_full_host_leaves_out_thousands_in_steps() {
    let text = pack("demo", "list", "") + "[scope.sites]\n\"a.kz\" = 100\n";
    let names: Vec<String> = (0..2_000).map(|page| format!("http://a.kz/{page}")).collect();
    let pages = [("http://a.kz/list", Page::Text("text/plain", names.join("\n"))), ("http://a.kz/0", html(&"x".repeat(1_000)))];
    // A little is left over: it is not asked for two thousand times.
    let text = text
        .replace("url = \"http://a.kz/list\"", "list = \"http://a.kz/list\"")
        .replace("= 100", &format!("= {}", 1_050 + names.join("\n").len()));
    let stage = Stage::new(&text, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    let progress = stage.night.progress("demo").expect("known");
    assert_eq!((progress.done, progress.skipped, stage.asked().len()), (2_001, 1_999, 2));
}

#[tokio::test]
async fn what_flies_side_by_side_takes_the_room_that_is_left_once() {
    let images = (0..4).map(|n| format!("<img src=/{n}.png>")).collect::<Vec<_>>().concat();
    let most = u64::try_from(images.len()).expect("small") + 1_000;
    let image = Page::Text("image/png", "x".repeat(600));
    let names: Vec<String> = (0..4).map(|n| format!("http://a.kz/{n}.png")).collect();
    let mut pages: Vec<(&str, Page)> = names.iter().map(|name| (name.as_str(), image.clone())).collect();
    pages.push(("http://a.kz/d/", html(&images)));
    let stage = Stage::new(&PACK.replace("\"1 MiB\"", &most.to_string()), &pages).await;
    for night in 0..2 {
        assert_eq!(stage.end().await, End::Done(0), "night {night}");
        let progress = stage.night.progress("demo").expect("known");
        assert!(progress.bytes_done <= most, "night {night}: {} bytes of {most}", progress.bytes_done);
        assert_eq!((progress.done, progress.skipped), (5, 3), "night {night}");
        stage.clock.advance(Duration::from_hours(48));
    }
}
