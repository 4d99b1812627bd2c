//! Nights over a site in memory: time is moved by the site itself, so a whole night takes milliseconds.

/// Busy, broken and endless hosts; what never changes.
mod manners;

use super::web::{Ask, Reply, What};
use super::*;
use crate::base::target::{Target, UrlKey};
use crate::cache::Expiring;
use crate::store::Error as StoreError;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// Packs of packs, caps of single hosts, from one pack to the next.
mod kinds;

/// Surveys and plans, against what nights then took.
mod plans;

/// Windows, caps, turns, pauses.
mod rest;

/// What stays on a pack's shelf, and what leaves it.
mod shelf;

/// What is told in the morning.
mod summary;

/// What a URL of the site answers.
#[derive(Clone)]
enum Page {
    Text(&'static str, String),
    Moved(&'static str),
    Status(u16),
    Busy(u64),
    /// Never ends.
    Hangs,
    /// Fails so many times, then is a page.
    Fails(u32, What),
}

/// A site in memory, and the log of who asked for what.
#[derive(Default)]
struct World {
    pages: HashMap<String, Page>,
    asked: Vec<(String, bool)>,
    pins: HashSet<String>,
    /// So many fit.
    most_pins: Option<usize>,
    lost: Vec<String>,
    let_go: Vec<String>,
    /// What the class uses and must be asked about.
    stale: Vec<&'static str>,
    /// The store fails once.
    full: bool,
    down: bool,
    /// HEADs, and what all of them are told instead of what is there.
    heads: Vec<String>,
    head: Option<Page>,
    /// These make a page for every address that is not listed.
    endless: bool,
    make: Option<fn(&str) -> Page>,
    flying: usize,
    most: usize,
}

struct Memory {
    world: Arc<Mutex<World>>,
    clock: Clock,
    purse: Purse,
}

impl Web for Memory {
    async fn fetch(&self, ask: Ask) -> Reply {
        let url = ask.target.url().to_owned();
        let page = {
            let mut world = self.world.lock();
            world.asked.push((url.clone(), ask.force));
            world.flying += 1;
            world.most = world.most.max(world.flying);
            let endless = || Page::Text("text/html", format!("<a href='{url}x'>1</a><a href='{url}y/'>2</a><a href='{url}/z'>3</a>"));
            world
                .pages
                .get(&url)
                .cloned()
                .or_else(|| world.make.filter(|_| !url.contains("robots")).map(|make| make(&url)))
                .unwrap_or_else(|| if world.endless && !url.contains("robots") { endless() } else { Page::Status(404) })
        };
        tokio::task::yield_now().await;
        self.clock.advance(Duration::from_millis(100));
        let what = match page {
            Page::Text(_, text) if ask.max_bytes.is_some_and(|most| u64::try_from(text.len()).expect("small") > most) => What::TooLong,
            Page::Text(kind, text) => What::Here {
                length: u64::try_from(text.len()).expect("small"),
                unchanged: ask.force || ask.keep,
                asked: !ask.keep,
                print: None,
                content_type: Some(kind.into()),
                body: Bytes::from(text),
            },
            Page::Moved(to) => What::Moved { to: Target::parse(to).expect("valid"), kept: true },
            Page::Status(404) => What::Gone,
            Page::Status(403) => What::Refused("status 403".into()),
            Page::Status(code) => What::Broken(format!("status {code}")),
            Page::Busy(secs) => What::Busy(Some(Duration::from_secs(secs))),
            Page::Hangs => std::future::pending().await,
            Page::Fails(times, what) => {
                let after = if times > 1 { Page::Fails(times - 1, what.clone()) } else { html("x") };
                self.world.lock().pages.insert(url, after);
                what
            }
        };
        self.world.lock().flying -= 1;
        let transferred = if let What::Here { length, .. } = &what { *length } else { 10 };
        self.purse.spend(transferred);
        Reply { transferred, what }
    }

    async fn pin(&self, _: &str, target: &Target) -> Result<(), StoreError> {
        let mut world = self.world.lock();
        let held = world.pins.contains(target.url());
        if !held && world.most_pins.is_some_and(|most| world.pins.len() >= most) {
            return Err(StoreError::Full);
        }
        world.pins.insert(target.url().into());
        Ok(())
    }

    async fn unpin(&self, _: &str, target: &Target) -> Result<(), StoreError> {
        self.world.lock().pins.remove(target.url());
        Ok(())
    }

    async fn let_go(&self, pack: &str) -> Result<(), StoreError> {
        let mut world = self.world.lock();
        if std::mem::take(&mut world.full) {
            return Err(StoreError::Full);
        }
        world.let_go.push(pack.to_owned());
        Ok(())
    }

    fn shelve(&self, _: Vec<(String, crate::cache::Lies)>) {}

    fn lost(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().lost)
    }

    fn is_down(&self) -> bool {
        self.world.lock().down
    }

    async fn glance(&self, target: &Target, _: aim::Aim, bare: bool) -> Result<crate::cache::Glance, What> {
        plans::glance(self, target, bare).await
    }

    async fn rest(&self, wait: Duration) {
        tokio::task::yield_now().await;
        self.clock.advance(wait);
    }

    fn share(&self) -> f64 {
        0.5
    }

    async fn expiring(&self, key: &UrlKey, _: Time) -> Option<Expiring> {
        let stale = self.world.lock().stale.clone();
        let target = stale.iter().map(|url| Target::parse(url).expect("valid")).find(|target| target.key() == *key)?;
        Some(Expiring { target, headers: http::HeaderMap::new(), source: crate::store::Source::Pack })
    }

    async fn renew(&self, expiring: Expiring, most: u64) -> Reply {
        let ask =
            Ask { target: expiring.target, aim: aim::Aim::List, force: true, keep: false, max_bytes: Some(most), arrived: Arc::default() };
        self.fetch(ask).await
    }
}

/// A node's night over a site.
struct Stage {
    world: Arc<Mutex<World>>,
    clock: Clock,
    folder: tempfile::TempDir,
    settings: Settings,
    state: State,
    night: Night<Memory>,
}

/// 2026-11-25 22:30 in Almaty.
const LATE: Time = Time::from_secs(1_795_627_800);

const PACK: &str = r#"
id = "demo"
version = "1"
licence = "CC0"
refresh = "2 days"
[title]
en = "Demo"
[[seed]]
url = "http://a.kz/d/"
[scope]
hosts = ["a.kz", "cdn.kz"]
prefixes = ["/d/"]
depth = 1
max_bytes = "1 MiB"
"#;

impl Night<Memory> {
    /// Asks for a pack; how far it is.
    async fn start(&self, id: &str) -> Result<Progress, Error> {
        self.ask(id).await?;
        self.progress(id).ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// Fetches a pack as if a person had asked and its turn had come.
    async fn run_now(&self, id: &str) -> Result<End, Error> {
        self.work(id, None).await
    }
}

impl Stage {
    async fn new(pack: &str, pages: &[(&str, Page)]) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("demo.toml"), pack).expect("writes");
        let settings = Settings { own: Some(folder.path().into()), paths: Vec::new(), ..Settings::default() };
        let state = State::open(Some(&folder.path().join("state.sqlite"))).await.expect("opens");
        let clock = Clock::manual(LATE);
        let world = Arc::new(Mutex::new(World::default()));
        world.lock().pages = pages.iter().map(|(url, page)| ((*url).to_owned(), page.clone())).collect();
        let night = Stage::open(&settings, &clock, &state, &world).await;
        Stage { world, clock, folder, settings, state, night }
    }

    async fn open(settings: &Settings, clock: &Clock, state: &State, world: &Arc<Mutex<World>>) -> Night<Memory> {
        let purse = Purse::new(clock.clone(), settings.windows.clone(), settings.caps);
        let web = Memory { world: Arc::clone(world), clock: clock.clone(), purse: purse.clone() };
        let night = Night::over(settings.clone(), clock.clone(), purse, &Metrics::default(), state.clone(), web, None, drop);
        night.recall().await.expect("reads");
        night.reload().await.expect("reads");
        night.know_wishes().await.expect("reads");
        night
    }

    async fn tick(&self) -> Tick {
        self.night.tick(self.clock.now()).await.expect("the database works")
    }

    async fn end(&self) -> End {
        match self.tick().await {
            Tick::Worked(_, end) => end,
            Tick::Idle(next) => panic!("idle until {next:?}"),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.world.lock().asked.iter().map(|(url, _)| url.clone()).filter(|url| !url.ends_with("/robots.txt")).collect()
    }

    fn times(&self, url: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == url).count()
    }

    /// What is kept, without the usual host.
    fn pins(&self) -> Vec<String> {
        let mut pins: Vec<String> = self.world.lock().pins.iter().map(|url| url.replace("http://a.kz", "")).collect();
        pins.sort();
        pins
    }

    fn set(&self, url: &str, page: Page) {
        self.world.lock().pages.insert(url.into(), page);
    }
}

fn html(text: &str) -> Page {
    Page::Text("text/html", text.into())
}

fn site() -> Vec<(&'static str, Page)> {
    vec![
        (
            "http://a.kz/d/",
            html(
                "<link rel=stylesheet href=/s.css><script src='//cdn.kz/x.js'></script><img src='http://other.kz/i.png'><a href=2>2</a><a href=/out>o</a>",
            ),
        ),
        ("http://a.kz/s.css", Page::Text("text/css", "a{b:url(b.png)}".into())),
        ("http://a.kz/b.png", Page::Text("image/png", "png".into())),
        ("http://cdn.kz/x.js", Page::Text("text/javascript", "import './y.js'".into())),
        ("http://cdn.kz/y.js", Page::Text("text/javascript", "1".into())),
        ("http://a.kz/d/2", html("<a href=3>3</a><img src=/b.png>")),
        ("http://a.kz/d/3", html("too deep")),
    ]
}

#[tokio::test]
async fn a_page_is_fetched_with_all_it_needs_and_no_further_than_the_scope() {
    let stage = Stage::new(PACK, &site()).await;
    assert_eq!(stage.end().await, End::Done(0));
    let mut asked = stage.asked();
    asked.sort();
    let wanted =
        ["http://a.kz/b.png", "http://a.kz/d/", "http://a.kz/d/2", "http://a.kz/s.css", "http://cdn.kz/x.js", "http://cdn.kz/y.js"];
    assert_eq!(asked, wanted);
    assert_eq!(stage.world.lock().pins.len(), 6);
    assert!(stage.world.lock().most <= 2);
    let progress = stage.night.progress("demo").expect("known");
    assert_eq!((progress.state.as_str(), progress.done, progress.total, progress.errors), ("done", 6, 6, 0));
    assert_eq!(progress.bytes_done, progress.bytes_total);
    let status = stage.night.status();
    assert_eq!((status.state.as_str(), status.fetched, status.unchanged, status.failed, status.waiting), ("idle", 6, 0, 0, 0));
    assert!(status.bytes >= progress.bytes_done);
    assert!(matches!(stage.tick().await, Tick::Idle(_)));
    let plan = stage.night.plan("demo", false).await.expect("a plan");
    let wanted = (plan::Which::Later, 6, progress.bytes_done, plan::Basis::Guess);
    assert_eq!((plan.night, plan.wishes.value, plan.bytes.high, plan.basis), wanted, "all of it may have changed");
}

#[tokio::test]
async fn nothing_is_fetched_outside_the_window_and_its_end_drops_what_is_under_way() {
    let mut pages = site();
    pages.push(("http://a.kz/s.css", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    let noon = LATE.plus(Duration::from_hours(14));
    assert_eq!(stage.night.tick(noon).await.expect("works"), Tick::Idle(LATE.plus(Duration::from_mins(23 * 60 + 30))));
    assert!(stage.asked().is_empty());
    stage.clock.advance(Duration::from_mins(8 * 60 + 25));
    assert_eq!(stage.end().await, End::Window);
    // 07:00 in Almaty, sharp.
    assert_eq!(stage.clock.now(), LATE.plus(Duration::from_mins(8 * 60 + 30)));
    assert_eq!(stage.night.status().state, "waiting");
    // The next night goes on: what is here is not asked for again.
    stage.set("http://a.kz/s.css", Page::Text("text/css", "a{}".into()));
    stage.clock.advance(Duration::from_hours(16));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/"), 1);
    assert_eq!(stage.times("http://a.kz/s.css"), 2);
}

#[tokio::test]
async fn a_killed_night_goes_on_where_it_was() {
    let mut pages = site();
    pages.push(("http://cdn.kz/y.js", Page::Hangs));
    let stage = Stage::new(PACK, &pages).await;
    {
        let work = stage.night.tick(LATE);
        tokio::pin!(work);
        // Poll until the hanging transfer is all that is left, then drop the future as a kill would.
        for _ in 0..100_000 {
            tokio::select! {
                biased;
                done = &mut work => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
            if stage.times("http://cdn.kz/y.js") > 0 && stage.times("http://a.kz/d/2") > 0 && stage.times("http://a.kz/b.png") > 0 {
                break;
            }
        }
    }
    let before = stage.asked();
    stage.state.close().await;
    stage.set("http://cdn.kz/y.js", Page::Text("text/javascript", "1".into()));
    let state = State::open(Some(&stage.folder.path().join("state.sqlite"))).await.expect("opens again");
    let night = Stage::open(&stage.settings, &stage.clock, &state, &stage.world).await;
    assert_eq!(night.progress("demo").expect("known").state, "paused");
    let ended = night.tick(stage.clock.now()).await.expect("works");
    assert_eq!(ended, Tick::Worked("demo".into(), End::Done(0)));
    let again: Vec<String> = stage.asked().split_off(before.len());
    assert!(again.contains(&"http://cdn.kz/y.js".to_owned()));
    assert!(!again.contains(&"http://a.kz/d/".to_owned()) && !again.contains(&"http://a.kz/s.css".to_owned()), "{again:?}");
    assert_eq!(stage.world.lock().pins.len(), 6);
}

#[tokio::test]
async fn robots_are_heeded_even_with_permission() {
    let mut pages = site();
    pages.push(("http://a.kz/robots.txt", Page::Text("text/plain", "User-agent: *\nDisallow: /d/2\n".into())));
    let stage = Stage::new(&PACK.replace("licence", "permission = \"yes\"\nlicence"), &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/2"), 0);
    let progress = stage.night.progress("demo").expect("known");
    assert_eq!((progress.skipped, progress.errors), (1, 0));
    assert_eq!(stage.night.trouble("demo", 9).await.expect("reads"), [("http://a.kz/d/2".into(), "robots.txt forbids it".into())]);

    let stage = Stage::new(PACK, &[("http://a.kz/robots.txt", Page::Status(500)), ("http://a.kz/d/", html("x"))]).await;
    assert!(matches!(stage.end().await, End::Waiting(_)));
    assert_eq!(stage.times("http://a.kz/d/"), 0);
}

#[tokio::test]
async fn traps_are_bounded() {
    let stage = Stage::new(&PACK.replace("depth = 1", "depth = 3").replace("1 MiB", "20 kB"), &[]).await;
    stage.world.lock().endless = true;
    assert_eq!(stage.end().await, End::Done(0));
    // 1 + 3 + 9 + 27 pages at depth 3, fewer where the cap or an address that repeats itself ends it.
    assert!((5..=40).contains(&stage.asked().len()), "{}", stage.asked().len());
    let progress = stage.night.progress("demo").expect("known");
    assert!(progress.bytes_done <= 20_000);
    assert_eq!(progress.done, progress.total);
}

#[tokio::test]
async fn pages_wait_a_second_and_requisites_do_not() {
    let pages = [
        ("http://a.kz/d/", html("<a href=2>2</a><a href=3>3</a><img src=/1.png><img src=/2.png><img src=/3.png>")),
        ("http://a.kz/d/2", html("2")),
        ("http://a.kz/d/3", html("3")),
        ("http://a.kz/1.png", html("")),
        ("http://a.kz/2.png", html("")),
        ("http://a.kz/3.png", html("")),
    ];
    let slow = Stage::new(PACK, &pages).await;
    assert_eq!(slow.end().await, End::Done(0));
    assert!(slow.clock.now() >= LATE.plus(Duration::from_secs(2)));
    let free = Stage::new(&PACK.replace("licence", "permission = \"yes\"\nlicence"), &pages).await;
    assert_eq!(free.end().await, End::Done(0));
    assert!(free.clock.now() < LATE.plus(Duration::from_secs(2)), "{:?}", free.clock.now());
}

#[tokio::test]
async fn failures_are_tried_again_and_a_host_is_left_alone_after_five() {
    let stage = Stage::new(PACK, &[("http://a.kz/d/", html("<a href=2>2</a>")), ("http://a.kz/d/2", Page::Status(500))]).await;
    assert_eq!(stage.end().await, End::Done(1));
    assert_eq!(stage.times("http://a.kz/d/2"), 4);
    assert_eq!(stage.night.progress("demo").expect("known").errors, 1);
    // The next night takes up what failed, and only that.
    stage.set("http://a.kz/d/2", html("2"));
    stage.clock.advance(Duration::from_hours(24));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!((stage.times("http://a.kz/d/"), stage.times("http://a.kz/d/2")), (1, 5));
    // A site that is broken as a whole empties no shelf.
    stage.set("http://a.kz/d/", Page::Status(404));
    stage.clock.advance(Duration::from_hours(48));
    assert_eq!(stage.end().await, End::Done(0));
    assert_eq!(stage.world.lock().pins.len(), 2);

    let many = (0..9).fold(String::new(), |text, n| text + &format!("<img src=/{n}.png>"));
    let mut pages: Vec<(String, Page)> = (0..9).map(|n| (format!("http://a.kz/{n}.png"), Page::Status(502))).collect();
    pages.push(("http://a.kz/d/".into(), html(&many)));
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    let stage = Stage::new(PACK, &pages).await;
    assert!(matches!(stage.end().await, End::Waiting(_)));
    // Two at once: the sixth may have been under way when the fifth failed.
    assert!(stage.asked().len() <= 1 + 6, "{:?}", stage.asked());
}

#[tokio::test]
async fn what_breaks_off_once_is_nobodys_error_and_tried_again_soon() {
    let many = (0..9).map(|n| format!("<img src='/{n}.png'>")).collect::<Vec<_>>().concat();
    let mut pages: Vec<(String, Page)> = (0..9).map(|n| (format!("http://a.kz/{n}.png"), manners::breaks())).collect();
    pages.push(("http://a.kz/d/".into(), html(&many)));
    pages.push(("http://a.kz/robots.txt".into(), manners::breaks()));
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    let stage = Stage::new(PACK, &pages).await;
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.clock.now() < LATE.plus(Duration::from_mins(1)));
    assert!(stage.state.stopped_hosts("2026-11-25", 1).await.expect("reads").is_empty());
}

#[tokio::test]
async fn one_asks_for_robots_and_the_others_wait_for_it() {
    let mut pages = site();
    let two = PACK.replace("[scope]", "[[seed]]\nurl = \"http://a.kz/d/2\"\n[scope]");
    pages.push(("http://a.kz/robots.txt", Page::Status(500)));
    let stage = Stage::new(&two, &pages).await;
    assert!(matches!(stage.end().await, End::Waiting(_)));
    assert_eq!(stage.world.lock().asked.iter().filter(|(url, _)| url.ends_with("/robots.txt")).count(), 1);
    assert!(stage.state.stopped_hosts("2026-11-25", 2).await.expect("reads").is_empty(), "one failure, however many wait");
    assert_eq!(stage.state.stopped_hosts("2026-11-25", 1).await.expect("reads"), ["a.kz"]);
}

#[tokio::test]
async fn a_busy_host_is_left_alone_as_long_as_it_asks() {
    let stage = Stage::new(PACK, &[("http://a.kz/d/", Page::Busy(300))]).await;
    let world = Arc::clone(&stage.world);
    let (ended, ()) = tokio::join!(stage.end(), async move {
        while world.lock().asked.len() < 2 {
            tokio::task::yield_now().await;
        }
        world.lock().pages.insert("http://a.kz/d/".into(), html("x"));
    });
    assert_eq!(ended, End::Done(0));
    assert_eq!(stage.times("http://a.kz/d/"), 2);
    assert!(stage.clock.now() >= LATE.plus(Duration::from_mins(5)));
}

#[tokio::test]
async fn a_line_that_is_down_costs_no_errors() {
    let stage = Stage::new(PACK, &site()).await;
    stage.world.lock().down = true;
    stage.clock.advance(Duration::from_mins(8 * 60 + 25));
    assert_eq!(stage.end().await, End::Window);
    assert!(stage.asked().is_empty());
    stage.world.lock().down = false;
    stage.clock.advance(Duration::from_hours(16));
    assert_eq!(stage.end().await, End::Done(0));
    assert!(stage.state.stopped_hosts("2026-11-26", 1).await.expect("reads").is_empty());
}

#[tokio::test]
async fn sitemaps_lists_and_redirects_are_followed() {
    let pack = PACK.replace("url = \"http://a.kz/d/\"", "sitemap = \"http://a.kz/map.xml\"\n[[seed]]\nlist = \"http://a.kz/list.txt\"");
    let stage = Stage::new(
        &pack,
        &[
            ("http://a.kz/map.xml", Page::Text("text/xml", "<urlset><url><loc>/d/1</loc></url><url><loc>/x/</loc></url></urlset>".into())),
            ("http://a.kz/list.txt", Page::Text("text/plain", "/d/2\nhttp://elsewhere.kz/d/".into())),
            ("http://a.kz/d/1", Page::Moved("http://a.kz/d/1/")),
            ("http://a.kz/d/1/", html("1")),
            ("http://a.kz/d/2", Page::Moved("http://elsewhere.kz/")),
        ],
    )
    .await;
    assert_eq!(stage.end().await, End::Done(0));
    let mut pins: Vec<String> = stage.world.lock().pins.iter().cloned().collect();
    pins.sort();
    assert_eq!(pins, ["http://a.kz/d/1", "http://a.kz/d/1/", "http://a.kz/d/2"]);
    assert_eq!(stage.times("http://elsewhere.kz/"), 0);
}

#[tokio::test]
async fn a_person_may_ask_outside_the_window_and_hears_how_far_it_is() {
    let stage = Stage::new(PACK, &site()).await;
    let noon = LATE.plus(Duration::from_hours(14));
    stage.clock.advance(Duration::from_hours(14));
    assert!(matches!(stage.night.start("nobody").await, Err(Error::Unknown(_))));
    assert_eq!(stage.night.start("demo").await.expect("known").state, "queued");
    assert_eq!(stage.night.tick(noon).await.expect("works"), Tick::Worked("demo".into(), End::Done(0)));
    let changed = PACK.replace("version = \"1\"", "version = \"2\"");
    std::fs::write(stage.folder.path().join("demo.toml"), changed).expect("writes");
    stage.night.reload().await.expect("reads");
    let mut told = stage.night.feed().watch(None).expect("a seat");
    assert_eq!(stage.night.run_now("demo").await.expect("works"), End::Done(0));
    let told = told.next().await.expect("in time");
    assert!(told.iter().any(|one| matches!(one.event, Event::RunProgress { .. })), "{told:?}");
    let progress = stage.night.progress("demo").expect("known");
    assert_eq!((progress.done, progress.total), (6, 6));
}

#[tokio::test]
async fn the_api_lists_plans_and_starts() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let stage = Stage::new(PACK, &site()).await;
    std::fs::write(stage.folder.path().join("bad.toml"), "id = 1").expect("writes");
    stage.night.reload().await.expect("reads");
    let routes = api::routes(stage.night.clone());
    let ask = async |method: &str, path: &str| {
        let request = http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).expect("a request");
        let response = routes.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        (head.status.as_u16(), serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default())
    };
    let (status, list) = ask("GET", "/api/v1/packs").await;
    assert_eq!((status, &list["packs"][0]["id"], &list["packs"][0]["progress"]["state"]), (200, &"demo".into(), &"idle".into()));
    assert!(list["refused"][0]["why"].as_array().is_some_and(|why| why.len() > 2));
    assert_eq!((&list["refused"][0]["file"], &list["packs"][0]["file"]), (&"bad.toml".into(), &"demo.toml".into()), "no folders");
    let (status, plan) = ask("GET", "/api/v1/packs/demo/plan").await;
    assert_eq!(
        (status, &plan["basis"], &plan["bytes"]["value"], &plan["bytes"]["guess"]),
        (200, &"cap".into(), &1_048_576.into(), &true.into())
    );
    let (status, job) = ask("POST", "/api/v1/packs/demo/plan").await;
    assert_eq!((status, &job["what"], &job["state"]), (202, &"pack.survey".into(), &"queued".into()));
    assert_eq!(ask("POST", "/api/v1/packs/demo/plan").await.1["id"], job["id"], "who asks twice gets the same one");
    let (status, tonight) = ask("GET", "/api/v1/plan").await;
    assert_eq!((status, &tonight["due"][0], &tonight["plans"][0]["id"]), (200, &"demo".into(), &"demo".into()));
    let (status, job) = ask("POST", "/api/v1/packs/demo/fetch").await;
    assert_eq!((status, &job["what"], &job["subject"], &job["state"]), (202, &"pack.fetch".into(), &"demo".into(), &"queued".into()));
    let (_, again) = ask("POST", "/api/v1/packs/demo/fetch").await;
    assert_eq!(again["job"], job["job"], "who asks twice gets the same job");
    assert_eq!(stage.end().await, End::Done(0));
    let (status, shown) = ask("GET", "/api/v1/packs/demo").await;
    assert_eq!((status, &shown["progress"]["state"], &shown["progress"]["done"]), (200, &"done".into(), &6.into()));
    let (status, problem) = ask("GET", "/api/v1/packs/none/plan").await;
    assert_eq!((status, &problem["id"]), (404, &"pack.unknown".into()));
}
