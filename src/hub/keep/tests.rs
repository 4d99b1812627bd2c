//! The same tests over both databases.

use super::*;
use crate::base::digest::Digest;
use crate::hub::accept::Fresh;
use crate::hub::facts::{self, Frame};
use crate::hub::figures::{Day, Figures};
use crate::hub::keep::register::{CodeRow, Enrolment, Listed, SchoolRow, TokenRow};
use crate::hub::tend;
use serde_json::{Value, json};

/// 2026-11-24T05:00:00Z.
const NOW: Time = Time::from_secs(1_795_496_400);
const HOUR: i64 = 3_600;

/// One test a database.
macro_rules! both {
    ($($(#[$about:meta])* async fn $name:ident($keep:ident: &dyn Keep) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn story($keep: &dyn Keep) $body

            #[tokio::test]
            async fn sqlite() {
                let folder = tempfile::tempdir().expect("a folder");
                let keep = Sqlite::open(Some(&folder.path().join("hub.sqlite"))).await.expect("opens");
                story(&keep).await;
            }

            #[tokio::test]
            async fn postgres() {
                let Some(cluster) = cluster::Cluster::start() else { return };
                let keep = Postgres::open(&cluster.first()).await.expect("opens");
                story(&keep).await;
            }
        }
    )*};
}

fn calendar() -> Calendar {
    Calendar::of("Asia/Almaty").expect("known")
}

fn at(seconds: i64) -> Time {
    Time::from_secs(NOW.secs() + seconds)
}

/// A record of node `n` of school `s`: number, kind, from and until in seconds before or after now, payload.
fn fresh(epoch: i64, (seq, kind, from, until): (i64, &str, i64, i64), payload: &Value) -> Fresh {
    let record = json!({ "kind": kind, "payload": payload, "n": [epoch, seq, from, until] });
    let sealed = [&[0; 64], record.to_string().as_bytes()].concat();
    let (start, end) = (at(from), at(until));
    let frame = Frame { node: "n", school: "s", epoch, seq, start, end, clock_ok: true };
    let facts = facts::read(frame, kind, &record);
    Fresh { seq, kind: kind.into(), start, end, clock_ok: true, digest: Digest::of(&sealed), sealed, facts }
}

fn judged(epoch: i64, fresh: Vec<Fresh>) -> Judged {
    Judged { node: "n".into(), school: "s".into(), epoch, last: 0, fresh, reject: vec![] }
}

async fn take(keep: &dyn Keep, epoch: i64, fresh: Vec<Fresh>, now: Time) -> Taken {
    match keep.take(&judged(epoch, fresh), &calendar(), now.into()).await.expect("takes") {
        Uptake::Taken(taken) => taken,
        Uptake::Revoked => panic!("nobody was revoked"),
    }
}

fn up(seconds: i64) -> Value {
    json!({ "line": { "state": "up", "up_seconds": seconds, "rx_bytes": 1_000, "attempts": 3, "rtt_median_ms": 40.5 } })
}

both! {
    async fn each_record_once_and_the_newest_shown(keep: &dyn Keep) {
        let hour = |epoch, seq, mark: &str| fresh(epoch, (seq, "hour", -HOUR, 0), &json!({ "mark": mark }));
        let take = async |epoch, fresh, now| take(keep, epoch, fresh, at(now)).await.fates;
        assert_eq!(take(1, vec![hour(1, 1, "a"), hour(1, 2, "b")], 10).await, [Fate::Stored, Fate::Stored]);
        assert_eq!(take(1, vec![hour(1, 2, "b"), hour(1, 3, "c")], 20).await, [Fate::Known, Fate::Stored]);
        assert_eq!(take(1, vec![hour(1, 3, "other")], 30).await, [Fate::Used]);
        assert_eq!(take(2, vec![hour(2, 1, "d")], 40).await, [Fate::Stored]);
        assert_eq!(take(1, vec![hour(1, 9, "late")], 50).await, [Fate::Stored]);
        assert_eq!(take(2, vec![hour(2, 1, "d")], 60).await, [Fate::Known]);
        assert_eq!(take(2, vec![hour(2, 2, "twice"), hour(2, 2, "twice")], 35).await, [Fate::Stored, Fate::Known]);
        let latest = keep.latest().await.expect("reads");
        assert_eq!((latest.len(), latest[0].node.as_str(), latest[0].heard, latest[0].records), (1, "n", at(40), 6));
        let mark = |text: &String| serde_json::from_str::<Value>(text).expect("JSON")["payload"]["mark"].as_str().map(String::from);
        let recent: Vec<String> = keep.recent("n", 4).await.expect("reads").iter().filter_map(mark).collect();
        assert_eq!(recent, ["twice", "d", "late", "c"]);
        assert!(keep.recent("other", 3).await.expect("reads").is_empty());
        // A ping is a sign of life, and the hour before it stays the one that is shown.
        assert_eq!(take(2, vec![fresh(2, (5, "ping", 0, 2), &json!({ "ping": { "sent": 20, "received": 20 } }))], 90).await, [Fate::Stored]);
        let (latest, told) = (keep.latest().await.expect("reads"), keep.told(&["n".into(), "other".into()]).await.expect("reads"));
        assert_eq!((latest[0].heard, latest[0].glance.is_some()), (at(90), true));
        assert_eq!(told.iter().map(|(_, record)| mark(record)).collect::<Vec<_>>(), [Some("twice".to_owned())]);
    }

    async fn records_become_columns_and_days_once(keep: &dyn Keep) {
        let test = json!({ "test": { "trigger": "daily", "end": "ok", "busy": false, "cost_bytes": 9, "download": {
            "estimate_bps": 8_000_000, "low_bps": u64::MAX, "method": "streams", "early": true, "took_ms": 4_000, "rtt_min_ms": 41 } } });
        let ping = json!({ "ping": { "reach": "domestic", "sent": 20, "received": 19, "rtt_median_ms": 40 } });
        let down = |seconds: u64, open: bool| json!({ "event": { "what": "line_down", "seconds": seconds, "open": open } });
        let records = || vec![
            fresh(1, (1, "hour", -2 * HOUR, -HOUR), &up(3_600)),
            fresh(1, (2, "hour", -HOUR, 0), &up(3_000)),
            fresh(1, (3, "speedtest", -900, -890), &test),
            fresh(1, (4, "ping", -600, -598), &ping),
            fresh(1, (5, "event", -500, -400), &down(100, true)),
            fresh(1, (6, "event", -500, -200), &down(300, false)),
            fresh(1, (7, "poem", -500, -200), &json!({})),
        ];
        assert!(take(keep, 1, records(), NOW).await.fates.iter().all(|fate| *fate == Fate::Stored));
        let stale = keep.stale(10).await.expect("reads");
        assert_eq!(stale.iter().map(|stale| (stale.school.as_str(), stale.day)).collect::<Vec<_>>(), [("s", calendar().day(NOW))]);
        // The same again, and an old word about the outage after the new one.
        take(keep, 1, records(), NOW).await;
        take(keep, 1, vec![fresh(1, (8, "event", -500, -450), &down(50, true))], NOW).await;
        let (from, until) = calendar().span(calendar().day(NOW));
        let kept = keep.kept("s", from, until).await.expect("reads");
        assert_eq!((kept.hours.len(), kept.tests.len(), kept.pings.len(), kept.outages.len()), (2, 1, 1, 1));
        assert_eq!((kept.hours[0].figures.rtt_median_ms, kept.hours[0].figures.rx_bytes), (Some(40.5), 1_000));
        assert_eq!((kept.outages[0].seconds, kept.outages[0].open, kept.outages[0].clock_ok), (300, false, true));
        let test = &kept.tests[0];
        assert_eq!((test.download_bps, test.download_low_bps, test.upload_bps), (Some(8_000_000), Some(1 << 53), None));
        assert_eq!((test.download_early, test.busy, test.download_took_ms, test.download_method.as_deref()), (Some(true), false, Some(4_000.0), Some("streams")));
        assert!(keep.kept("other", from, until).await.expect("reads").hours.is_empty());
        let asked = |school| Asked { school, from, until, most: 10 };
        assert_eq!(keep.tests(asked(Some("s"))).await.expect("reads"), keep.tests(asked(None)).await.expect("reads"));
        assert!(keep.outages(asked(Some("other"))).await.expect("reads").is_empty());
        assert_eq!(keep.outages(asked(None)).await.expect("reads").len(), 1);
    }

    async fn a_day_is_done_only_when_nothing_came_meanwhile(keep: &dyn Keep) {
        take(keep, 1, vec![fresh(1, (1, "hour", -HOUR, 0), &up(3_600))], NOW).await;
        let before = keep.stale(10).await.expect("reads");
        take(keep, 1, vec![fresh(1, (2, "hour", 0, HOUR), &up(3_600))], NOW).await;
        let figures = Figures { up_seconds: 7, rtt_min_ms: Some(0.5), ..Figures::default() };
        let day = |school: &str, day| Day { school: school.into(), day, figures: figures.clone(), ..Day::default() };
        keep.put_days(&[day("s", 5), day("t", 5), day("t", 6)], &before).await.expect("writes");
        let now = keep.stale(10).await.expect("reads");
        assert_eq!((now.len(), now[0].mark), (1, before[0].mark + 1));
        keep.put_days(&[], &now).await.expect("writes");
        assert!(keep.stale(10).await.expect("reads").is_empty());
        let changed = Day { records: 9, ..day("t", 6) };
        keep.put_days(std::slice::from_ref(&changed), &[]).await.expect("writes");
        assert_eq!(keep.days(None, 5, 6).await.expect("reads"), [day("s", 5), day("t", 5), changed.clone()]);
        let after = async |after, most| keep.days_after(after, (5, 6), most).await.expect("reads");
        assert_eq!(after(("", i32::MIN), 2).await, [day("s", 5), day("t", 5)]);
        assert_eq!(after(("t", 5), 2).await, std::slice::from_ref(&changed));
        assert!(after(("t", 6), 2).await.is_empty());
        assert_eq!(keep.days(Some(&["t".into(), "x".into()]), 6, 9).await.expect("reads"), [changed]);
        assert!(keep.days(Some(&[]), 0, 9).await.expect("reads").is_empty());
    }

    async fn a_day_whose_pings_are_gone_keeps_what_they_said(keep: &dyn Keep) {
        let ping = json!({ "ping": { "reach": "domestic", "sent": 20, "received": 19, "rtt_median_ms": 40 } });
        take(keep, 1, vec![fresh(1, (1, "hour", -HOUR, 0), &up(3_600)), fresh(1, (2, "ping", -600, -598), &ping)], NOW).await;
        let day = calendar().day(at(-600));
        let make = async |pings| tend::make(keep, &calendar(), (day - 9, pings)).await.expect("makes");
        make(at(-9 * HOUR)).await;
        let gone = Cutoffs { ahead: Time::MAX, records: NOW, pings: at(HOUR), hours: at(-9 * HOUR), codes: NOW, sessions: (NOW, NOW) };
        while keep.prune(gone).await.expect("prunes") {}
        take(keep, 1, vec![fresh(1, (3, "hour", 0, HOUR), &up(3_600))], NOW).await;
        make(calendar().span(day).1).await;
        let days = keep.days(None, day, day).await.expect("reads");
        let told = (days[0].figures.up_seconds, days[0].pings_sent, days[0].pings_received, days[0].ping_median_ms);
        assert_eq!(told, (7_200, 20, 19, Some(40.0)));
    }

    async fn what_a_clock_that_was_ahead_has_dated_is_put_right(keep: &dyn Keep) {
        let years = 5 * 365 * 24 * HOUR;
        let hour = |seq, end| fresh(1, (seq, "hour", end - HOUR, end), &up(3_600));
        let ahead = |told| Moment { now: at(years), told };
        let upload = async |fresh, moment: Moment| keep.take(&judged(1, vec![fresh]), &calendar(), moment).await.expect("takes");
        upload(hour(1, 0), ahead(NOW)).await;
        upload(hour(2, HOUR), ahead(NOW)).await;
        assert_eq!(keep.latest().await.expect("reads")[0].heard, at(years));
        assert_eq!(keep.kept("s", at(-HOUR), at(HOUR)).await.expect("reads").hours.len(), 2, "dated all the same");
        upload(hour(3, 2 * HOUR), at(2 * HOUR).into()).await;
        assert_eq!(keep.latest().await.expect("reads")[0].heard, at(2 * HOUR));
        // Records that came by that clock leave as if they had come now.
        let cutoffs = Cutoffs { ahead: at(3 * HOUR), records: at(HOUR), pings: at(HOUR), hours: at(-HOUR), codes: NOW, sessions: (NOW, NOW) };
        while keep.prune(cutoffs).await.expect("prunes") {}
        assert_eq!(keep.recent("n", 9).await.expect("reads").len(), 3);
    }

    async fn a_cloned_card_is_told_and_a_restored_box_is_not(keep: &dyn Keep) {
        let epoch = NOW.secs();
        let hour = |epoch, seq, until| fresh(epoch, (seq, "hour", until - HOUR, until), &up(3_600));
        let take = async |epoch, fresh, now| take(keep, epoch, fresh, at(now)).await;
        assert_eq!(take(5, vec![hour(5, 1, -HOUR)], -HOUR).await, Taken { fates: vec![Fate::Stored], twin: false });
        // Restored from a copy: a used number, then a new epoch; what waited from before the copy may still come.
        assert_eq!(take(5, vec![hour(5, 1, 0)], 0).await, Taken { fates: vec![Fate::Used], twin: false });
        assert_eq!(take(epoch, vec![hour(epoch, 2, 0)], 10).await, Taken { fates: vec![Fate::Stored], twin: false });
        assert_eq!(take(5, vec![hour(5, 2, 0)], 20).await, Taken { fates: vec![Fate::Stored], twin: false });
        assert!(keep.twins().await.expect("reads").is_empty());
        // But the old life goes on beside the new one.
        assert_eq!(take(5, vec![hour(5, 3, HOUR)], HOUR).await, Taken { fates: vec![Fate::Stored], twin: true });
        assert_eq!(take(epoch, vec![hour(epoch, 3, HOUR)], HOUR).await, Taken { fates: vec![Fate::Stored], twin: false });
        assert_eq!(take(5, vec![hour(5, 3, HOUR)], HOUR).await, Taken { fates: vec![Fate::Known], twin: false });
        assert!(take(5, vec![hour(5, 4, 2 * HOUR)], 2 * HOUR).await.twin);
        let twins = keep.twins().await.expect("reads");
        assert_eq!(twins, [Twin { node: "n".into(), found: at(HOUR).micros(), seen: at(2 * HOUR).micros(), times: 2 }]);
        assert_eq!(keep.recent("n", 10).await.expect("reads").len(), 6, "nothing was overwritten");
        // A copy that speaks with the numbers of the other is told so, and what was told first stays as it was told.
        let told = keep.recent("n", 10).await.expect("reads");
        let (news, days) = (keep.latest().await.expect("reads"), keep.stale(99).await.expect("reads"));
        let other = fresh(epoch, (3, "hour", 0, 2 * HOUR), &up(7_200));
        assert_eq!(take(epoch, vec![other], 3 * HOUR).await, Taken { fates: vec![Fate::Used], twin: false });
        assert_eq!(keep.recent("n", 10).await.expect("reads"), told);
        assert_eq!((keep.latest().await.expect("reads"), keep.stale(99).await.expect("reads")), (news, days));
    }

    async fn what_is_too_old_goes_and_the_rest_stays(keep: &dyn Keep) {
        let day = 24 * HOUR;
        for back in [0_i64, 10, 30, 61, 120] {
            let then = -back * day;
            let ping = json!({ "ping": { "sent": 20, "received": 20 } });
            let records = vec![fresh(1, (1_000 - back, "hour", then - HOUR, then), &up(3_600)), fresh(1, (2_000 - back, "ping", then, then), &ping)];
            take(keep, 1, records, at(then)).await;
        }
        let before = |days: i64| at(-days * day);
        let cutoffs = Cutoffs { ahead: Time::MAX, records: before(60), pings: before(25), hours: before(90), codes: before(90), sessions: (NOW, NOW) };
        let mut steps = 0;
        while keep.prune(cutoffs).await.expect("prunes") {
            steps += 1;
            assert!(steps < 100, "it comes to an end");
        }
        let kept = keep.kept("s", before(400), at(day)).await.expect("reads");
        // A partition goes as a whole, so a few days more may stay, never fewer.
        assert!(keep.recent("n", 99).await.expect("reads").len() >= 3 && keep.recent("n", 99).await.expect("reads").len() < 5);
        assert!(kept.pings.len() >= 2 && kept.pings.len() < 4, "{}", kept.pings.len());
        assert_eq!(kept.hours.len(), 4);
        // An upload of the time that is gone is no trouble.
        take(keep, 1, vec![fresh(1, (1, "ping", -99 * day, -99 * day), &json!({}))], NOW).await;
        assert!(keep.weigh().await.expect("weighs").iter().any(|weight| weight.table == "record" && weight.bytes > 0));
    }

    async fn a_code_enrols_one_node(keep: &dyn Keep) {
        let code = |id: &str, replaces, school: &str| CodeRow {
            id: id.into(), hash: Digest::of(id.as_bytes()).0.to_vec(), school: school.into(), replaces,
            made: NOW.micros(), expires: at(100).micros(), used: None, node: None,
        };
        let school = |id: &str, name: &str| SchoolRow { id: id.into(), name: name.into(), provider: "P".into(), contract_bps: Some(8) };
        for (code, school) in [(code("one", false, "s"), school("s", "S")), (code("two", true, "s"), school("s", "")), (code("three", false, "t"), school("t", "T"))] {
            keep.add_code(&code, &school).await.expect("kept");
        }
        let enrol = async |code: &str, node: &str, of_file: Option<&str>, now| {
            let file: Vec<Listed> = of_file.into_iter().map(|school| Listed { node: node.into(), school: school.into() }).collect();
            keep.enrol(Digest::of(code.as_bytes()), (node, "key"), &file, at(now)).await.expect("answers")
        };
        let done = |replaces| Enrolment::Done { school: school("s", "S"), replaces };
        assert_eq!(enrol("nine", "n1", None, 0).await, Enrolment::NoCode);
        assert_eq!(enrol("one", "n1", None, 100).await, Enrolment::NoCode, "expired");
        assert_eq!(enrol("one", "n1", Some("t"), 0).await, Enrolment::Taken("t".into()), "the file says otherwise");
        assert_eq!(enrol("one", "n1", None, 1).await, done(false));
        assert_eq!(enrol("one", "n1", None, 500).await, done(false), "an answer that was lost");
        assert_eq!(enrol("one", "n2", None, 2).await, Enrolment::NoCode, "used up");
        assert_eq!(enrol("three", "n1", None, 3).await, Enrolment::Taken("s".into()), "one key, one school");
        assert_eq!(keep.codes().await.expect("reads").iter().filter(|code| code.used.is_some()).count(), 1, "a refusal uses no code up");
        assert_eq!(enrol("two", "n2", None, 4).await, done(true));
        let rows = keep.nodes().await.expect("reads");
        assert_eq!(rows.iter().map(|row| (row.id.as_str(), row.revoked.is_some())).collect::<Vec<_>>(), [("n1", true), ("n2", false)]);
        assert_eq!(enrol("one", "n1", None, 5).await, Enrolment::NoCode, "a used code brings nobody back");
        assert!(keep.revoke("n2", "s", at(6)).await.expect("revokes") && !keep.revoke("n2", "s", at(7)).await.expect("revokes"));
        assert!(keep.revoke("of the file", "s", at(6)).await.expect("revokes"));
        let nodes = keep.nodes().await.expect("reads");
        assert_eq!(nodes.iter().find(|row| row.id == "n2").expect("there").revoked, Some(at(6).micros()));
        assert!(keep.drop_code("three").await.expect("drops") && !keep.drop_code("one").await.expect("drops"));
        assert_eq!(keep.schools().await.expect("reads"), [school("s", "S"), school("t", "T")]);
    }

    async fn tokens_are_kept_by_name(keep: &dyn Keep) {
        let token = |id: &str, name: &str| TokenRow {
            id: id.into(), name: name.into(), role: "viewer".into(), hash: vec![1, 2], created: 5, expires: Some(9), used: None,
        };
        assert!(keep.add_token(&token("a", "Ministry")).await.expect("kept"));
        assert!(!keep.add_token(&token("b", "Ministry")).await.expect("taken"));
        keep.token_used("a", at(0)).await.expect("noted");
        let kept = keep.token("a").await.expect("reads").expect("there");
        assert_eq!(kept, TokenRow { used: Some(NOW.micros()), ..token("a", "Ministry") });
        assert_eq!(keep.tokens().await.expect("reads"), std::slice::from_ref(&kept));
        assert_eq!(keep.drop_token("Ministry").await.expect("drops"), Some(kept));
        assert_eq!(keep.drop_token("Ministry").await.expect("drops"), None);
    }

    async fn uploads_of_one_node_at_once_are_one_after_the_other(keep: &dyn Keep) {
        let all = (0..8_i64).map(async |number| {
            let records = (1..40).map(|seq| fresh(1, (seq, "hour", seq * HOUR, (seq + 1) * HOUR), &json!({ "by": number / 4 }))).collect();
            take(keep, 1, records, NOW).await.fates
        });
        let fates: Vec<Fate> = futures_util::future::join_all(all).await.concat();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Stored).count(), 39);
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Used).count(), 39 * 4);
        assert_eq!(keep.latest().await.expect("reads")[0].records, 39);
    }
}

/// A file of the first release: as its program left it.
#[tokio::test]
async fn a_file_of_an_older_program_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("opens");
    let mut first = sqlx::migrate!("src/hub/migrations/sqlite");
    first.migrations.to_mut().truncate(1);
    first.run(&pool).await.expect("the first release");
    let record = json!({ "end": at(0).to_rfc3339(), "clock_ok": true, "payload": { "line": { "state": "down" } } }).to_string();
    sqlx::query("INSERT INTO record VALUES ('n', 5, 1, 's', 'hour', 1, 2, 1, 3, x'00', x'00')").execute(&pool).await.expect("a record");
    sqlx::query("INSERT INTO latest VALUES ('n', 5, 1, 3, 1, ?1)").bind(&record).execute(&pool).await.expect("news");
    pool.close().await;

    let keep = Sqlite::open(Some(&file)).await.expect("opens");
    let latest = keep.latest().await.expect("reads");
    assert_eq!((latest[0].records, latest[0].glance.as_ref().map(|glance| glance.state.as_str())), (1, Some("down")));
    assert_eq!(keep.told(&["n".into()]).await.expect("reads"), [("n".to_owned(), record)]);
    take(&keep, 5, vec![fresh(5, (2, "hour", -HOUR, 0), &up(3_600))], NOW).await;
    let latest = keep.latest().await.expect("reads");
    assert_eq!((latest[0].records, latest[0].glance.as_ref().map(|glance| glance.state.as_str())), (2, Some("up")));
}

/// Grafana's role reads the views and nothing else.
#[tokio::test]
async fn a_reader_reads_the_views_alone() {
    let Some(cluster) = cluster::Cluster::start() else { return };
    let keep = Postgres::open(&cluster.first()).await.expect("opens");
    let test = json!({ "test": { "end": "ok", "download": { "estimate_bps": 8_000_000 } } });
    take(&keep, 1, vec![fresh(1, (3, "speedtest", -900, -890), &test)], NOW).await;
    let owner = sqlx::PgPool::connect(&cluster.first()).await.expect("connects");
    sqlx::query("CREATE ROLE grafana LOGIN IN ROLE bulak_reader").execute(&owner).await.expect("a reader");
    let reader = sqlx::PgPool::connect(&cluster.url("grafana", "postgres")).await.expect("connects");
    let (school, rate): (String, i64) = sqlx::query_as("SELECT school, download_bps FROM v_test").fetch_one(&reader).await.expect("reads");
    assert_eq!((school.as_str(), rate), ("s", 8_000_000));
    for view in ["v_school_day", "v_outage"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM {view}"))).fetch_all(&reader).await.expect("reads");
    }
    for deed in [
        "SELECT * FROM record",
        "SELECT * FROM token",
        "SELECT * FROM node",
        "DELETE FROM v_test",
        "INSERT INTO v_outage (school) VALUES ('x')",
    ] {
        let refused = sqlx::query(deed).execute(&reader).await.expect_err(deed);
        assert_eq!(refused.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(), Some("42501"), "{deed}: {refused}");
    }
}

/// A province on one page: what it asks is answered by an index, whatever there is of other schools and of raw rows.
#[tokio::test]
async fn the_region_asks_for_its_days_by_an_index() {
    let schools: Vec<String> = (0..60).map(|number| format!("s{number:02}")).collect();
    let days: Vec<Day> =
        schools.iter().flat_map(|school| (0..40).map(|day| Day { school: school.clone(), day, ..Day::default() })).collect();
    let asked = serde_json::to_string(&schools[..9]).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.sqlite");
    Sqlite::open(Some(&file)).await.expect("opens").put_days(&days, &[]).await.expect("writes");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.expect("opens");
    let text = format!("EXPLAIN QUERY PLAN {}", statement::days(statement::Dialect::Sqlite));
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(10).bind(39).bind(&asked).fetch_all(&pool).await.expect("explains");
    let lines: Vec<&str> = plan.iter().map(|(.., line)| line.as_str()).collect();
    assert!(lines.contains(&"SEARCH day USING PRIMARY KEY (school=? AND day>? AND day<?)"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("SCAN day")), "{lines:?}");

    let Some(cluster) = cluster::Cluster::start() else { return };
    Postgres::open(&cluster.first()).await.expect("opens").put_days(&days, &[]).await.expect("writes");
    let mut desk = <sqlx::PgConnection as sqlx::Connection>::connect(&cluster.first()).await.expect("connects");
    // A table of a few pages is read as a whole by choice; of a province it would be a gigabyte.
    sqlx::raw_sql("ANALYZE; SET enable_seqscan = off").execute(&mut desk).await.expect("set");
    let text = format!("EXPLAIN {}", statement::days(statement::Dialect::Postgres));
    let plan: Vec<(String,)> =
        sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(10).bind(39).bind(&asked).fetch_all(&mut desk).await.expect("explains");
    let lines: Vec<&str> = plan.iter().map(|(line,)| line.trim()).collect();
    assert!(lines.iter().any(|line| line.contains("Index Scan") && line.contains("day")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("Index Cond") && line.contains("school") && line.contains("day >=")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("Seq Scan")), "{lines:?}");
}

#[tokio::test]
async fn of_two_programs_on_one_database_one_looks_after_it_and_both_take_records() {
    let Some(cluster) = cluster::Cluster::start() else { return };
    let open = async || Postgres::open(&cluster.first()).await.expect("opens");
    let (one, two) = (open().await, open().await);
    let leads = async |keep: &Postgres| keep.leads().await.expect("answers");
    assert_eq!((leads(&one).await, leads(&two).await, leads(&one).await, leads(&two).await), (true, false, true, false));
    let ping = |seq, then| fresh(1, (seq, "ping", then, then), &json!({ "ping": { "sent": 20, "received": 20 } }));
    let old = -400 * 24 * HOUR;
    take(&two, 1, vec![ping(1, old)], NOW).await;
    let cutoffs = Cutoffs { ahead: Time::MAX, records: at(old), pings: NOW, hours: at(old), codes: NOW, sessions: (NOW, NOW) };
    while one.prune(cutoffs).await.expect("prunes") {}
    // The other does not know that the partition is gone.
    assert_eq!(take(&two, 1, vec![ping(2, old)], NOW).await.fates, [Fate::Stored]);
    // The database ends the connection that holds the lock, as it does when it is restarted: what was ours may be another's.
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'").execute(&two.pool).await.expect("ends it");
    becomes(|| leads(&two)).await;
    assert!(!leads(&one).await);
    drop(two);
    becomes(|| leads(&one)).await;
}

/// Waits until it is so.
async fn becomes<F: Future<Output = bool>>(so: impl Fn() -> F) {
    for _ in 0..500 {
        if so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it does not come to be so");
}

/// What Grafana's panels were built on: these columns stay, in both databases.
#[tokio::test]
async fn the_views_keep_their_columns() {
    use sqlx::{Column, Executor};
    let sqlite = sqlx::SqlitePool::connect("sqlite::memory:").await.expect("opens");
    sqlx::migrate!("src/hub/migrations/sqlite").run(&sqlite).await.expect("makes");
    let wanted = [
        (
            "SELECT * FROM v_school_day",
            48,
            ["school", "day", "up_seconds", "down_seconds", "download_bps", "pings_sent", "outages"].as_slice(),
        ),
        (
            "SELECT * FROM v_test",
            38,
            ["school", "node", "started", "outcome", "busy", "download_bps", "upload_bps", "cost_bytes"].as_slice(),
        ),
        ("SELECT * FROM v_outage", 8, ["school", "node", "what", "started", "ended", "seconds", "open", "clock_ok"].as_slice()),
    ];
    let mut all = Vec::new();
    for (text, count, names) in wanted {
        let told = sqlite.describe(sqlx::SqlStr::from_static(text)).await.expect("describes");
        let columns: Vec<String> = told.columns().iter().map(|column| column.name().to_owned()).collect();
        assert!(columns.len() >= count && names.iter().all(|name| columns.iter().any(|column| column == name)), "{text}: {columns:?}");
        all.push(columns);
    }
    let Some(cluster) = cluster::Cluster::start() else { return };
    let keep = sqlx::PgPool::connect(&cluster.first()).await.expect("opens");
    sqlx::migrate!("src/hub/migrations/postgres").run(&keep).await.expect("makes");
    for ((text, ..), columns) in wanted.into_iter().zip(all) {
        let told = keep.describe(sqlx::SqlStr::from_static(text)).await.expect("describes");
        assert_eq!(told.columns().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>(), columns, "{text}");
    }
}

/// What Grafana is given to import: each question is one that both databases answer.
#[tokio::test]
async fn grafanas_questions_are_answered() {
    let files = [include_str!("../../../config/grafana/hub.json"), include_str!("../../../config/grafana/hub-alerts.json")];
    let mut asked = Vec::new();
    for file in files {
        questions(&serde_json::from_str(file).expect("JSON"), &mut asked);
    }
    assert!(asked.len() > 15, "{} questions", asked.len());
    for view in ["v_school_day", "v_test", "v_outage"] {
        assert!(asked.iter().any(|question| question.contains(view)), "{view}");
    }
    let sqlite = sqlx::SqlitePool::connect("sqlite::memory:").await.expect("opens");
    sqlx::migrate!("src/hub/migrations/sqlite").run(&sqlite).await.expect("makes");
    // What SQLite has no word for.
    for question in asked.iter().filter(|question| !question.contains("percentile_cont")) {
        let told = sqlx::query(sqlx::AssertSqlSafe(question.clone())).fetch_all(&sqlite).await;
        assert!(told.is_ok(), "{question}: {:?}", told.err());
    }
    let Some(cluster) = cluster::Cluster::start() else { return };
    let keep = sqlx::PgPool::connect(&cluster.first()).await.expect("opens");
    sqlx::migrate!("src/hub/migrations/postgres").run(&keep).await.expect("makes");
    for question in &asked {
        let told = sqlx::query(sqlx::AssertSqlSafe(question.clone())).fetch_all(&keep).await;
        assert!(told.is_ok(), "{question}: {:?}", told.err());
    }
    let wrong = asked[0].replacen("v_school_day", "v_school_days", 1);
    assert!(sqlx::query(sqlx::AssertSqlSafe(wrong)).fetch_all(&keep).await.is_err(), "a view that is not there is found");
}

/// Every `rawSql` and every query of a variable in a document, with Grafana's own words replaced as Grafana does.
fn questions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if text.starts_with("SELECT") && matches!(name.as_str(), "rawSql" | "query") => into.push(replaced(text)),
                    _ => questions(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| questions(item, into)),
        _ => {}
    }
}

fn replaced(text: &str) -> String {
    let text = text.replace("$school", "'s', 't'").replace("$__timeFilter(day)", "day IS NOT NULL");
    let text = text.replace("$__timeFilter(started)", "started IS NOT NULL");
    assert!(!text.contains('$'), "{text}");
    text
}
