//! What is told of a night in the morning: counted once, through power cuts, said once, kept.

use super::*;
use crate::prefetch::event::Watcher;
use crate::prefetch::summary::figures::{Counts, State as Stands};
use crate::state::history::Ran;

/// 07:00 on the next morning, and the noon after.
const MORNING: Time = Time::from_secs(LATE.secs() + 8 * 3600 + 1800);
const NOON: Time = Time::from_secs(LATE.secs() + 13 * 3600 + 1800);

impl Stage {
    async fn told(&self, night: Option<&str>) -> Summary {
        self.night.summary(night).await.expect("known")
    }

    async fn at(&self, moment: Time) {
        self.clock.advance(moment.since(self.clock.now()));
        assert!(matches!(self.tick().await, Tick::Idle(_)));
    }
}

/// The nights that were told since this was asked last.
async fn nights(stage: &Stage, watcher: &mut Watcher) -> Vec<Brief> {
    stage.night.tell(Event::Resumed {});
    let mut all = Vec::new();
    loop {
        for one in watcher.next().await.expect("in time") {
            match &one.event {
                Event::Summary { brief } => all.push(brief.clone()),
                Event::Resumed {} => return all,
                _ => {}
            }
        }
    }
}

fn groups(summary: &Summary) -> Vec<(&str, u64, Option<&str>)> {
    summary.each[0].groups.iter().map(|group| (group.reason.as_str(), group.many, group.host.as_deref())).collect()
}

#[tokio::test]
async fn a_night_in_which_everything_came_is_told_once_when_it_is_done() {
    let stage = Stage::new(PACK, &site()).await;
    let mut watcher = stage.night.feed().watch(None).expect("a seat");
    let before = stage.told(None).await;
    assert_eq!((before.brief.sentence.as_str(), before.brief.complete), ("So far: the pack is not complete, it goes on now", false));
    assert_eq!(stage.end().await, End::Done(0));
    assert!(nights(&stage, &mut watcher).await.is_empty(), "the pack is through, and whether the night is shows at the next look");
    stage.at(stage.clock.now()).await;
    let told = nights(&stage, &mut watcher).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].sentence.as_str(), told[0].ready, told[0].night.as_str()), ("Ready: the pack is complete", true, "2026-11-25"));
    let summary = stage.told(None).await;
    let counts = summary.each[0].counts;
    let run = stage.state.run("demo").await.expect("reads").expect("a run");
    let count = stage.state.count("demo", run.run).await.expect("counts");
    assert_eq!((counts.new, counts.line_bytes), (6, run.transferred));
    assert_eq!((counts.new, counts.body_bytes, summary.each[0].state), (count.done, count.done_bytes, Stands::Complete));
    assert_eq!(summary.brief, told[0]);
    assert_eq!(stage.night.last_night().as_ref(), Some(&told[0]));
    assert_eq!((stage.night.morning(), stage.night.status().last_night.map(|night| night.packs)), (Some((1, 1)), Some(1)));

    // The window closes, the noon comes, the node starts again: it is told no second time, and stays as it was.
    stage.at(MORNING).await;
    stage.at(NOON).await;
    let night = Stage::open(&stage.settings, &stage.clock, &stage.state, &stage.world).await;
    night.begin_night().await.expect("reads");
    assert_eq!(night.last_night().map(|brief| brief.counts.new), Some(6));
    assert!(nights(&stage, &mut watcher).await.is_empty());
    assert_eq!(stage.told(None).await.brief, told[0], "the night that begins has nothing to tell yet");
    assert_eq!(stage.told(Some("2026-11-25")).await.brief, told[0]);
    assert!(stage.told(Some("2026-11-26")).await.each[0].counts == Counts::default());
    assert_eq!(stage.night.nights().await.expect("reads"), told);
    for (text, problem) in [("2026-11-24", "night.untold"), ("2026-02-30", "night.bad_date"), ("x", "night.bad_date")] {
        assert_eq!(stage.night.summary(Some(text)).await.expect_err("not known").problem().id, problem, "{text}");
    }

    // Two days later the pack is due: what it brings is compared with what was there.
    stage.clock.advance(Duration::from_mins(58 * 60 + 30));
    assert_eq!(stage.end().await, End::Done(0));
    let second = stage.told(None).await;
    let Counts { new, changed, unchanged, .. } = second.each[0].counts;
    assert_eq!((new, changed + unchanged, unchanged > 0), (0, 6, true));
    assert_eq!(second.before.map(|before| before.night).as_deref(), Some("2026-11-25"));
    // A box that is off for days says nothing of the time before.
    stage.clock.advance(Duration::from_hours(72));
    assert_eq!(stage.night.morning(), None);
}

#[tokio::test]
async fn what_did_not_come_is_grouped_by_reason_with_an_example() {
    let mut pages = site();
    pages.retain(|(url, _)| !["http://cdn.kz/y.js", "http://a.kz/d/2", "http://a.kz/b.png", "http://a.kz/s.css"].contains(url));
    pages.push(("http://a.kz/robots.txt", Page::Text("text/plain", "User-agent: *\nDisallow: /d/2\n".into())));
    pages.push(("http://a.kz/b.png", Page::Status(403)));
    pages.push(("http://a.kz/s.css", Page::Text("text/css", "a{b:url(b.png) url(c.png) url(/none.png)}".into())));
    pages.push(("http://a.kz/c.png", Page::Status(403)));
    pages.push(("http://cdn.kz/y.js", Page::Status(500)));
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(3));
    let summary = stage.told(None).await;
    let wanted = [("failed.refused", 2, Some("a.kz")), ("failed.server", 1, Some("cdn.kz")), ("refused.robots", 1, Some("a.kz"))];
    assert_eq!(groups(&summary), wanted);
    let counts = summary.each[0].counts;
    assert_eq!((counts.new, counts.failed, counts.refused, counts.gone), (3, 3, 1, 1));
    assert_eq!((summary.each[0].state, summary.each[0].missing), (Stands::Incomplete, 3));
    // A person has it fetched again in the same night, and one of them works now.
    stage.set("http://cdn.kz/y.js", Page::Text("text/javascript", "1".into()));
    stage.night.start("demo").await.expect("known");
    assert_eq!(stage.end().await, End::Done(2));
    let again = stage.told(None).await;
    assert_eq!(groups(&again), [("failed.refused", 2, Some("a.kz")), ("refused.robots", 1, Some("a.kz"))]);
    assert_eq!((again.each[0].counts.new, again.each[0].counts.failed), (4, 2), "each counts once");
    stage.at(stage.clock.now()).await;
    let sentence = stage.told(None).await.brief.sentence;
    assert_eq!(sentence, "Ready: the pack is complete, but for 2 things that could not be fetched");
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_is_on_disk_and_is_counted() {
    let links = (0..20).fold(String::new(), |text, n| text + &format!("<img src=/{n:02}.png>"));
    let mut pages: Vec<(String, Page)> =
        (0..20).map(|n| (format!("http://a.kz/{n:02}.png"), Page::Text("image/png", "x".repeat(1000)))).collect();
    pages.push(("http://a.kz/d/".into(), html(&links)));
    pages.push(("http://a.kz/19.png".into(), Page::Hangs));
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    let mut stage = Stage::new(PACK, &pages).await;
    stage.night.begin_night().await.expect("writes");
    // The power goes in the middle of it.
    let done = async || {
        let run = stage.state.run("demo").await.expect("reads");
        let count = stage.state.count("demo", run.map_or(0, |run| run.run)).await.expect("counts");
        count.done
    };
    let (world, state) = (Arc::clone(&stage.world), stage.state.clone());
    let cut = async {
        while world.lock().asked.len() < 12 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = stage.tick() => panic!("it was to be cut"),
        () = cut => {}
    }
    stage.night = Stage::open(&stage.settings, &stage.clock, &state, &stage.world).await;
    stage.night.begin_night().await.expect("writes");
    // What was being written is there or not by now: that night's write came after it.
    let kept = done().await;
    assert!((1..20).contains(&kept), "{kept}");
    let summary = stage.told(None).await;
    assert_eq!((summary.each[0].counts.new, summary.brief.power_cuts), (kept, 1));
    assert_eq!(summary.each[0].left.as_ref().map(|left| left.reason.as_str()), Some("power"));
    // The rest follows until the window closes; one thing never ends.
    assert_eq!(stage.end().await, End::Window);
    let mut watcher = stage.night.feed().watch(None).expect("a seat");
    stage.at(stage.clock.now()).await;
    let told = nights(&stage, &mut watcher).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].sentence, "Not ready: the pack is not complete, it goes on tonight");
    let summary = stage.told(None).await;
    assert_eq!((summary.each[0].counts.new, summary.brief.left), (20, 1));
    let left = summary.each[0].left.as_ref().expect("something is left");
    assert_eq!((left.things, left.reason.as_str()), (1, "window"));
    assert_eq!(summary.opened, Some(LATE.minus(Duration::from_mins(30)).to_rfc3339()));
    assert!(summary.each[0].counts.busy_s >= 8 * 3600, "something was under way all the while: {}", summary.each[0].counts.busy_s);
}

#[tokio::test]
async fn wishes_that_came_are_told() {
    let stage =
        Stage::new(PACK, &[("http://w.kz/", html("<img src=1.png>")), ("http://w.kz/1.png", Page::Text("image/png", "1".into()))]).await;
    for url in ["http://w.kz/", "http://w.kz/none"] {
        stage.night.wish(url, None).await.expect("adds");
    }
    let wishes = |summary: Summary| (summary.wishes.fulfilled, summary.wishes.waiting, summary.wishes.failed);
    assert_eq!(wishes(stage.told(None).await), (0, 2, 0));
    while matches!(stage.tick().await, Tick::Worked(..)) {}
    // What is in memory only is not in the store: how a wish fares is asked of the run.
    let (fulfilled, waiting, _) = wishes(stage.told(None).await);
    assert_eq!((fulfilled, waiting), (1, 0), "what a page needs is no wish");
}

#[tokio::test]
async fn a_box_that_was_off_tells_of_it_and_a_new_one_of_nothing() {
    let stage = Stage::new(PACK, &site()).await;
    let mut watcher = stage.night.feed().watch(None).expect("a seat");
    stage.at(MORNING).await;
    assert!(nights(&stage, &mut watcher).await.is_empty(), "it was not there");
    assert!(stage.night.nights().await.expect("reads").is_empty());

    let stage = Stage::new(PACK, &site()).await;
    let mut watcher = stage.night.feed().watch(None).expect("a seat");
    let ran = Ran { start: LATE.minus(Duration::from_hours(60)), seen: LATE.minus(Duration::from_hours(3)), clock_ok: true };
    stage.state.history().ran("a", ran).await.expect("writes");
    stage.at(MORNING).await;
    let told = nights(&stage, &mut watcher).await;
    assert!(told[0].sentence.ends_with("was missed: this box was off"), "{}", told[0].sentence);
    assert!(stage.told(None).await.missed.is_some());

    // A wrong clock counts nothing, for nobody knows in which night.
    let stage = Stage::new(PACK, &site()).await;
    stage.clock.raise_floor(LATE.plus(Duration::from_hours(24 * 400)));
    assert!(!stage.clock.trusted());
    stage.night.work("demo", None).await.expect("runs");
    assert!(stage.state.open_nights().await.expect("reads").is_empty());
}
