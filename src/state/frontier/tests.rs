//! Runs from seed to outdated, in batches; sums against counting; old databases.

use super::*;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

const NOW: Time = Time::from_secs(1_800_000_000);

impl State {
    /// What may go next, over all origins of a pack, one after the other.
    pub(crate) async fn next_wishes(&self, pack: &str, run: i64, now: Time, most: u32) -> Result<Vec<Wish>, Error> {
        let mut wishes = Vec::new();
        for origin in self.origins(pack).await? {
            wishes.extend(self.next_of(&origin, run, now, most).await?.0);
        }
        wishes.truncate(most as usize);
        Ok(wishes)
    }
}

async fn open(state: &State, run: i64, now: Time) -> Vec<Wish> {
    state.next_wishes("p", run, now, 100).await.expect("reads")
}

async fn end(state: &State, run: i64, url: &str, fate: Fate, found: &[Wish]) -> Added {
    let wish = open(state, run, NOW.plus(Duration::from_hours(1))).await.into_iter().find(|wish| wish.url == url).expect(url);
    let cost = Cost { transferred: 10, busy: Duration::from_secs(1) };
    let end = Ending { found: found.to_vec(), cost, ..Ending::new(wish, fate) };
    state.end_wishes("p", run, NOW, &[end]).await.expect("writes")
}

/// The sums, reckoned from the rows.
async fn counted(state: &State, run: i64) -> Count {
    let sql = "SELECT count(*) AS total, coalesce(sum(state >= 2), 0) AS ended, coalesce(sum(state = 2), 0) AS done,
            coalesce(sum(state = 4), 0) AS failed, coalesce(sum(state = 5), 0) AS skipped,
            coalesce(sum(CASE WHEN state = 2 THEN bytes END), 0) AS done_bytes, coalesce(sum(state < 2 AND bytes IS NOT NULL), 0) AS known,
            coalesce(sum(CASE WHEN state < 2 THEN bytes END), 0) AS known_bytes FROM wish WHERE run = ?";
    let row = sqlx::query(sql).bind(run).fetch_one(state.pool()).await.expect("counts");
    let of = |name: &str| natural(row.get(name));
    Count {
        total: of("total"),
        ended: of("ended"),
        done: of("done"),
        failed: of("failed"),
        skipped: of("skipped"),
        done_bytes: of("done_bytes"),
        known: of("known"),
        known_bytes: of("known_bytes"),
    }
}

#[tokio::test]
async fn a_run_from_seed_to_outdated() {
    let state = State::open(None).await.expect("opens");
    let seeds = [Wish::new("http://a/", "page", 0), Wish::new("http://a/old", "page", 0)];
    let run = state.begin_run("p", "d1", NOW, &seeds).await.expect("begins").run;
    let needs = [Wish::new("http://a/x.css", "style", 0), Wish::new("http://a/2", "page", 1)];
    let added = end(&state, run, "http://a/", Fate::Done { bytes: 100, at: NOW }, &needs).await;
    assert_eq!(
        added.queues.iter().map(|(_, origin, rank, depth)| (origin.as_str(), *rank, *depth)).collect::<Vec<_>>(),
        [("http://a", 0, 0)]
    );
    let urls: Vec<String> = open(&state, run, NOW).await.into_iter().map(|wish| wish.url).collect();
    assert_eq!(urls, ["http://a/x.css", "http://a/old", "http://a/2"]);
    let soon = NOW.plus(Duration::from_secs(30));
    end(&state, run, "http://a/x.css", Fate::Later { at: soon, failed: true }, &[]).await;
    assert_eq!(open(&state, run, NOW).await.len(), 2);
    assert_eq!(state.next_try("p", run).await.expect("reads"), Some(Time::from_micros(0)));
    assert_eq!(open(&state, run, soon).await[0].tries, 1, "what has waited goes first");
    for url in ["http://a/x.css", "http://a/old"] {
        end(&state, run, url, Fate::Done { bytes: 50, at: NOW }, &[]).await;
    }
    end(&state, run, "http://a/2", Fate::Failed("500".into()), &[]).await;
    let count = state.count("p", run).await.expect("counts");
    assert_eq!((count.total, count.ended, count.done, count.failed, count.done_bytes), (4, 4, 3, 1, 200));
    assert_eq!(count, counted(&state, run).await);
    assert_eq!(state.next_try("p", run).await.expect("reads"), None);
    assert_eq!(state.finish_run("p", run, NOW).await.expect("finishes"), (1, 1));
    assert_eq!(state.trouble("p", run, 5).await.expect("reads"), [("http://a/2".to_owned(), "500".to_owned())]);

    // What was given up rests for most of a day, then longer.
    state.reopen_failed("p", run, NOW.plus(Duration::from_hours(1))).await.expect("opens again");
    assert!(open(&state, run, NOW).await.is_empty());
    state.reopen_failed("p", run, NOW.plus(Duration::from_hours(12))).await.expect("opens again");
    assert_eq!(open(&state, run, NOW).await.len(), 1);
    assert_eq!(state.run("p").await.expect("reads").and_then(|run| run.finished), None);
    end(&state, run, "http://a/2", Fate::Failed("500".into()), &[]).await;
    state.reopen_failed("p", run, NOW.plus(Duration::from_hours(12))).await.expect("opens again");
    assert!(open(&state, run, NOW).await.is_empty(), "a day now");
    assert_eq!(state.count("p", run).await.expect("counts"), counted(&state, run).await);

    let run = state.begin_run("p", "d2", NOW, &seeds[..1]).await.expect("begins").run;
    end(&state, run, "http://a/", Fate::Gone, &needs).await;
    let known = state.count("p", run).await.expect("counts");
    assert_eq!((known.total, known.known, known.known_bytes), (3, 1, 50));
    assert_eq!(known, counted(&state, run).await);
    let outdated = state.outdated("p", run, 0, 10).await.expect("reads");
    let told: Vec<_> = outdated.iter().map(|one| (one.url.as_str(), one.unnamed, one.twice)).collect();
    assert_eq!(told, [("http://a/", false, false), ("http://a/old", true, false)]);
    state.forget_wishes(run, &outdated).await.expect("forgets");
    assert!(state.outdated("p", run, 0, 10).await.expect("reads").is_empty());
    assert_eq!(state.count("p", run).await.expect("counts"), counted(&state, run).await);
    assert_eq!(state.skip_open("p", run, "enough").await.expect("writes"), 2);
    assert_eq!(state.count("p", run).await.expect("counts"), counted(&state, run).await);
}

#[tokio::test]
async fn only_two_complete_runs_of_different_nights_say_what_is_outdated() {
    let state = State::open(None).await.expect("opens");
    let seeds = ["http://a/", "http://a/dead", "http://a/old"].map(|url| Wish::new(url, "page", 0));
    let day = |days: u64| NOW.plus(Duration::from_hours(24 * days));
    let here = Fate::Done { bytes: 1, at: NOW };
    // Begins a run with some of the seeds; what is said of each that is outdated when it has ended so.
    let night = async |at: Time, seeds: &[Wish], fates: &[(&str, Fate)]| {
        let run = state.begin_run("p", "d", at, seeds).await.expect("begins").run;
        for (url, fate) in fates {
            end(&state, run, url, fate.clone(), &[]).await;
        }
        state.finish_run("p", run, at).await.expect("finishes");
        let outdated = state.outdated("p", run, 0, 10).await.expect("reads");
        outdated.into_iter().map(|one| (one.url, one.twice)).collect::<Vec<_>>()
    };
    let told = |twice: bool| vec![("http://a/dead".to_owned(), twice), ("http://a/old".to_owned(), twice)];
    let all = [("http://a/", here.clone()), ("http://a/dead", here.clone()), ("http://a/old", here.clone())];
    let some = [("http://a/", here.clone()), ("http://a/dead", Fate::Gone)];
    let failed = [("http://a/", Fate::Failed("500".into())), ("http://a/dead", Fate::Gone)];
    assert_eq!(night(day(0), &seeds, &all).await, []);
    assert_eq!(night(day(1), &seeds[..2], &failed).await, told(false));
    assert_eq!(night(day(2), &seeds[..2], &some).await, told(false), "a run with failures is no word");
    assert_eq!(night(day(2).plus(Duration::from_hours(1)), &seeds[..2], &some).await, told(false), "the same night");
    assert_eq!(night(day(3), &seeds[..2], &some).await, told(true));
    let back = all.map(|(url, _)| (url, Fate::Done { bytes: 1, at: day(4) }));
    assert_eq!(night(day(4), &seeds, &back).await, [], "both are back");
    assert_eq!(night(day(5), &seeds[..2], &some).await, told(false), "and it begins anew");
}

#[tokio::test]
async fn runs_that_follow_closely_have_their_say_after_half_a_day() {
    let state = State::open(None).await.expect("opens");
    let seeds = ["http://a/", "http://a/dead", "http://a/old"].map(|url| Wish::new(url, "page", 0));
    let mut told = Vec::new();
    for (number, hours) in [0, 6, 12, 18, 24].into_iter().enumerate() {
        let at = NOW.plus(Duration::from_hours(hours));
        let first = number == 0;
        let run = state.begin_run("p", "d", at, if first { &seeds } else { &seeds[..2] }).await.expect("begins").run;
        let here = Fate::Done { bytes: 1, at };
        end(&state, run, "http://a/", here.clone(), &[]).await;
        end(&state, run, "http://a/dead", if first { here.clone() } else { Fate::Gone }, &[]).await;
        if first {
            end(&state, run, "http://a/old", here, &[]).await;
        }
        state.finish_run("p", run, at).await.expect("finishes");
        told.push(state.outdated("p", run, 0, 10).await.expect("reads").iter().map(|one| one.twice).collect::<Vec<_>>());
    }
    assert_eq!(told, [vec![], vec![false, false], vec![false, false], vec![true, true], vec![true, true]]);
}

#[tokio::test]
async fn a_pattern_and_a_pack_hold_only_so_much() {
    let state = State::open(None).await.expect("opens");
    let run = state.begin_run("p", "d", NOW, &[Wish::new("http://a/", "page", 0)]).await.expect("begins").run;
    let alike = Alike { key: 7, most: 3, pattern: "http://a/day/#".into() };
    let days: Vec<Wish> =
        (0..9).map(|day| Wish { alike: vec![alike.clone()], ..Wish::new(format!("http://a/day/{day}"), "page", 1) }).collect();
    end(&state, run, "http://a/", Fate::Done { bytes: 1, at: NOW }, &days[..2]).await;
    end(&state, run, "http://a/day/0", Fate::Done { bytes: 1, at: NOW }, &days).await;
    assert_eq!(state.count("p", run).await.expect("counts").total, 4);
    let (pattern, why) = state.trouble("p", run, 9).await.expect("reads").remove(0);
    assert!(pattern == "http://a/day/#" && why.contains("3 addresses") && why.contains("6 times"), "{why}");
    // The next run counts anew.
    let run = state.begin_run("p", "d", NOW, &days[5..]).await.expect("begins").run;
    assert_eq!(state.count("p", run).await.expect("counts").total, 3);

    let hosts: Vec<Wish> = (0..MAX_ORIGINS + 5).map(|host| Wish::new(format!("http://h{host}.a/"), "page", 1)).collect();
    end(&state, run, "http://a/day/5", Fate::Done { bytes: 1, at: NOW }, &hosts).await;
    assert_eq!(state.origins("p").await.expect("reads").len(), usize::try_from(MAX_ORIGINS).expect("small"));
    assert!(state.trouble("p", run, 9).await.expect("reads")[0].1.contains("6 were left out"));
}

#[tokio::test]
async fn hosts_are_counted_by_day_and_pauses_outlive_the_node() {
    let state = State::open(None).await.expect("opens");
    for wanted in 1..=3 {
        assert_eq!(state.host_error("a.kz", "2026-11-25").await.expect("counts"), wanted);
    }
    assert_eq!(state.stopped_hosts("2026-11-25", 3).await.expect("reads"), ["a.kz"]);
    assert_eq!(state.host_error("a.kz", "2026-11-26").await.expect("counts"), 1);
    assert!(state.stopped_hosts("2026-11-25", 1).await.expect("reads").is_empty());

    let run = state.begin_run("p", "d", NOW, &[Wish::new("http://a.kz:81/", "page", 0)]).await.expect("begins").run;
    let until = NOW.plus(Duration::from_hours(1));
    assert_eq!(state.pause_host("a.kz", until, true, "busy").await.expect("writes"), 1);
    assert_eq!(state.pause_host("a.kz", NOW, true, "busy").await.expect("writes"), 2, "a shorter pause does not end a longer one");
    assert_eq!(state.next_try("p", run).await.expect("reads"), Some(until));
    state.forgive_host("a.kz").await.expect("writes");
    assert_eq!(state.next_try("p", run).await.expect("reads"), Some(Time::from_micros(0)));

    let file = RobotsFile { until, since: Some(NOW), fails: 2, body: None };
    state.keep_robots("http://a.kz", &file).await.expect("writes");
    assert_eq!(state.robots("http://a.kz").await.expect("reads"), Some(file));
}

#[tokio::test]
async fn an_older_nodes_frontier_is_carried_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.sqlite");
    let mut old =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file).create_if_missing(true)).await.expect("opens");
    // As the version before left it: its migrations, by sqlx's own hand, then rows.
    sqlx::migrate!("src/state/migrations").run_to(39, &mut old).await.expect("migrates");
    for sql in [
        "INSERT INTO wish (pack, url, kind, rank, depth, run, state, bytes) VALUES ('p', 'http://a.kz/?q=1', 'page', 2, 1, 3, 'done', 70)",
        "INSERT INTO wish (pack, url, kind, rank, depth, run, state, bytes) VALUES ('p', 'http://a.kz:81/b', 'page', 2, 1, 3, 'open', 30)",
        "INSERT INTO wish (pack, url, kind, rank, depth, run, state) VALUES ('p', 'https://b.kz/c/d.css', 'style', 0, 0, 3, 'open')",
        "INSERT INTO wish (pack, url, kind, rank, depth, run, state, why) VALUES ('p', 'http://a.kz/x', 'page', 2, 0, 3, 'failed', 'no')",
        "INSERT INTO run (pack, run, digest, started, transferred) VALUES ('p', 3, 'd', 5, 99)",
    ] {
        sqlx::query(sql).execute(&mut old).await.expect("writes");
    }
    old.close().await.expect("closes");
    let state = State::open(Some(&file)).await.expect("opens and migrates");
    let count = state.count("p", 3).await.expect("counts");
    assert_eq!((count.total, count.done, count.failed, count.done_bytes, count.known_bytes), (4, 1, 1, 70, 30));
    assert_eq!(count, counted(&state, 3).await);
    let mut urls: Vec<String> = open(&state, 3, NOW).await.into_iter().map(|wish| wish.url).collect();
    urls.sort();
    assert_eq!(urls, ["http://a.kz:81/b", "https://b.kz/c/d.css"]);
    assert_eq!(state.run("p").await.expect("reads").map(|run| run.transferred), Some(99));
    state.close().await;
}
