//! The register over both databases: what belongs together happens together, whatever breaks in between.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::hub::accept::{Fresh, Judged};
use crate::hub::facts::Facts;
use crate::hub::keep::register::{CodeRow, Enrolment, Listed, PersonRow, SchoolRow, SessionRow};
use crate::hub::keep::{Cutoffs, Keep, Postgres, Sqlite, Uptake, cluster};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// 2026-11-24T05:00:00Z.
const NOW: Time = Time::from_secs(1_795_496_400);

fn at(seconds: i64) -> Time {
    Time::from_secs(NOW.secs() + seconds)
}

/// The database, and a second way into it for what no hub does.
struct Stage {
    keep: Arc<dyn Keep>,
    raw: Raw,
}

enum Raw {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Stage {
    async fn sqlite(folder: &Path) -> Stage {
        let file = folder.join("hub.sqlite");
        let keep = Arc::new(Sqlite::open(Some(&file)).await.expect("opens"));
        // One connection: another would not know yet which triggers are gone.
        let raw = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let raw = raw.connect(&format!("sqlite://{}", file.display())).await.expect("opens");
        Stage { keep, raw: Raw::Sqlite(raw) }
    }

    async fn postgres(cluster: &cluster::Cluster) -> Stage {
        let keep = Arc::new(Postgres::open(&cluster.first()).await.expect("opens"));
        let raw = Raw::Postgres(sqlx::PgPool::connect(&cluster.first()).await.expect("connects"));
        let stage = Stage { keep, raw };
        stage.run("CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'power cut'; END $$").await;
        stage
    }

    async fn run(&self, text: &str) {
        let text = sqlx::AssertSqlSafe(text.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => drop(sqlx::raw_sql(text).execute(pool).await.expect("runs")),
            Raw::Postgres(pool) => drop(sqlx::raw_sql(text).execute(pool).await.expect("runs")),
        }
    }

    /// From now on this deed on this row ends its transaction.
    async fn break_at(&self, (deed, table, key, who): (&str, &str, &str, &str)) {
        let row = if deed == "DELETE" { "OLD" } else { "NEW" };
        let what = match self.raw {
            Raw::Sqlite(_) => format!("WHEN {row}.{key} = '{who}' BEGIN SELECT RAISE(ABORT, 'power cut'); END"),
            Raw::Postgres(_) => format!("FOR EACH ROW WHEN ({row}.{key} = '{who}') EXECUTE FUNCTION crash()"),
        };
        self.run(&format!("CREATE TRIGGER crash BEFORE {deed} ON {table} {what}")).await;
    }

    async fn mend(&self, table: &str) {
        let on = if matches!(self.raw, Raw::Sqlite(_)) { String::new() } else { format!(" ON {table}") };
        self.run(&format!("DROP TRIGGER crash{on}")).await;
    }

    async fn code(&self, id: &str, school: &str, replaces: bool) {
        let about = SchoolRow { id: school.into(), name: school.to_uppercase(), ..SchoolRow::default() };
        let code = CodeRow {
            id: id.into(),
            hash: Digest::of(id.as_bytes()).0.to_vec(),
            school: school.into(),
            replaces,
            made: NOW.micros(),
            expires: at(100).micros(),
            used: None,
            node: None,
        };
        self.keep.add_code(&code, &about).await.expect("kept");
    }

    /// A school with a node that enrolled, one of the hub's file, and a code for a box that replaces both.
    async fn school(&self, school: &str) {
        self.code(&format!("{school}-first"), school, false).await;
        self.code(&format!("{school}-code"), school, true).await;
        let old = format!("{school}-old");
        let first = Digest::of(format!("{school}-first").as_bytes());
        self.keep.enrol(first, (&old, "key"), &[], NOW).await.expect("enrolled");
        self.run(&format!("INSERT INTO twin VALUES ('{old}', 1, 1, 1)")).await;
    }

    /// Whether the code was used up, the new box accepted, the enrolled one and the file's revoked, and the copy forgotten.
    async fn state(&self, school: &str) -> [bool; 5] {
        let codes = self.keep.codes().await.expect("reads");
        let nodes = self.keep.nodes().await.expect("reads");
        let out = |node: &str| nodes.iter().any(|row| row.id == format!("{school}-{node}") && row.revoked.is_some());
        let new = nodes.iter().any(|row| row.id == format!("{school}-new") && row.revoked.is_none());
        let twins = self.keep.twins().await.expect("reads");
        [
            codes.iter().any(|code| code.id == format!("{school}-code") && code.used.is_some()),
            new,
            out("old"),
            out("file"),
            twins.iter().all(|twin| twin.node != format!("{school}-old")),
        ]
    }

    /// The same once nothing changes any more: what was given up may still be on its way into the database while this asks.
    async fn settled(&self, school: &str) -> [bool; 5] {
        let mut before = self.state(school).await;
        loop {
            let now = self.state(school).await;
            if now == before {
                return now;
            }
            before = now;
        }
    }
}

fn file_of(school: &str) -> [Listed; 2] {
    let elsewhere = Listed { node: "elsewhere".into(), school: "other".into() };
    [Listed { node: format!("{school}-file"), school: school.into() }, elsewhere]
}

/// One test a database.
macro_rules! both {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: Stage) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn story($stage: Stage) $body

            #[tokio::test]
            async fn sqlite() {
                let folder = tempfile::tempdir().expect("a folder");
                story(Stage::sqlite(folder.path()).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                let Some(cluster) = cluster::Cluster::start() else { return };
                story(Stage::postgres(&cluster).await).await;
            }
        }
    )*};
}

both! {
    /// Whichever step breaks, the one that accepts the new box or one that revokes an old one, the school is as it was.
    async fn a_transaction_that_breaks_leaves_the_old_state_whole(stage: Stage) {
        stage.school("s").await;
        let file = file_of("s");
        let enrol = async || stage.keep.enrol(Digest::of(b"s-code"), ("s-new", "key"), &file, at(1)).await;
        let steps = [
            ("UPDATE", "code", "id", "s-code"),
            ("INSERT", "node", "id", "s-new"),
            ("UPDATE", "node", "id", "s-old"),
            ("INSERT", "node", "id", "s-file"),
            ("DELETE", "twin", "node", "s-old"),
        ];
        for step in steps {
            stage.break_at(step).await;
            let told = enrol().await;
            assert!(told.as_ref().is_err_and(|error| error.to_string().contains("power cut")), "{step:?}: {told:?}");
            assert_eq!(stage.state("s").await, [false; 5], "{step:?}");
            stage.mend(step.1).await;
        }
        assert!(matches!(enrol().await, Ok(Enrolment::Done { replaces: true, .. })));
        assert_eq!(stage.state("s").await, [true; 5]);
        // An answer that was lost is asked for again; it revokes nobody who came later.
        stage.code("later", "s", false).await;
        stage.keep.enrol(Digest::of(b"later"), ("s-later", "key"), &file, at(2)).await.expect("enrolled");
        assert!(matches!(enrol().await, Ok(Enrolment::Done { replaces: false, .. })));
        let nodes = stage.keep.nodes().await.expect("reads");
        assert!(nodes.iter().all(|row| row.revoked.is_some() == ["s-old", "s-file"].contains(&row.id.as_str())), "{nodes:?}");
    }

    /// A hub that ends at any moment of the enrolment: all of it has happened, or nothing.
    async fn an_enrolment_that_is_cut_off_anywhere_is_all_or_nothing(stage: Stage) {
        let mut whole = false;
        let mut undone = 0;
        // Asked again and again without waiting to be woken: so there are many moments, however quick the database is. On a busy machine
        // it may be through within a few: then there is another round.
        let rounds = (0..100).flat_map(|round| (0..40).map(move |doubled| (round, 1_u64 << doubled)));
        for (round, polls) in rounds {
            let school = format!("s{round}-{polls}");
            stage.school(&school).await;
            let (file, code, new) = (file_of(&school), Digest::of(format!("{school}-code").as_bytes()), format!("{school}-new"));
            let done = {
                let mut work = pin!(stage.keep.enrol(code, (&new, "key"), &file, at(1)));
                let mut left = polls;
                poll_fn(|cx| {
                    if left == 0 {
                        return Poll::Ready(None);
                    }
                    left -= 1;
                    cx.waker().wake_by_ref();
                    work.as_mut().poll(cx).map(Some)
                })
                .await
            };
            let state = stage.settled(&school).await;
            assert!(state == [true; 5] || state == [false; 5], "cut off after {polls}: {state:?}");
            undone += usize::from(state == [false; 5]);
            if let Some(done) = done {
                assert!(matches!(done, Ok(Enrolment::Done { replaces: true, .. })) && state == [true; 5], "{done:?}");
                whole = true;
                if undone > 1 {
                    break;
                }
            }
        }
        assert!(whole && undone > 1, "{undone} were cut off before their end");
    }

    /// Two boxes with two codes want to replace each other: one of them reports afterwards.
    async fn of_two_that_replace_each_other_one_is_left(stage: Stage) {
        for round in 0..10 {
            let school = format!("r{round}");
            stage.code(&format!("{school}-a"), &school, true).await;
            stage.code(&format!("{school}-b"), &school, true).await;
            let ask = async |letter: &str| {
                let (code, node) = (Digest::of(format!("{school}-{letter}").as_bytes()), format!("{school}-{letter}"));
                stage.keep.enrol(code, (&node, "key"), &[], at(1)).await
            };
            let (a, b) = tokio::join!(ask("a"), ask("b"));
            assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
            let nodes = stage.keep.nodes().await.expect("reads");
            let left = nodes.iter().filter(|row| row.school == school && row.revoked.is_none()).count();
            assert_eq!(left, 1, "{nodes:?}");
        }
    }

    /// An upload that was judged before a revocation and comes to the database after it.
    async fn nothing_is_kept_of_a_node_once_it_is_revoked(stage: Stage) {
        stage.school("s").await;
        let record = |seq| Fresh {
            seq, kind: "boot".into(), start: NOW, end: NOW, clock_ok: true, digest: Digest::of(&[1]), sealed: vec![0; 65], facts: Facts::None,
        };
        let upload = |node: &str, seq| Judged { node: node.into(), school: "s".into(), epoch: 1, last: seq, fresh: vec![record(seq)], reject: vec![] };
        let calendar = Calendar::default();
        for node in ["s-old", "s-file"] {
            let told = stage.keep.take(&upload(node, 1), &calendar, NOW.into()).await.expect("takes");
            assert!(matches!(told, Uptake::Taken(_)), "{node}");
        }
        stage.keep.enrol(Digest::of(b"s-code"), ("s-new", "key"), &file_of("s"), NOW).await.expect("enrolled");
        for node in ["s-old", "s-file"] {
            assert_eq!(stage.keep.take(&upload(node, 2), &calendar, NOW.into()).await.expect("answers"), Uptake::Revoked, "{node}");
        }
        let records: Vec<i64> = stage.keep.latest().await.expect("reads").iter().map(|latest| latest.records).collect();
        assert_eq!(records, [1, 1], "what came before stays");
    }

    async fn people_have_sessions_until_they_end(stage: Stage) {
        let person = |password: &str| PersonRow { name: "aigul".into(), role: "viewer".into(), password: password.into(), changed: 5 };
        let session = |number: u8, seen: i64| SessionRow { hash: vec![number; 32], person: "aigul".into(), begun: at(0).micros(), seen: at(seen).micros() };
        let keep = &stage.keep;
        assert!(!keep.add_session(&session(0, 0), "one", 3).await.expect("asked"), "nobody is there yet");
        keep.put_person(&person("one")).await.expect("kept");
        for number in 0..5 {
            assert!(keep.add_session(&session(number, number.into()), "one", 3).await.expect("kept"));
        }
        let there = async |number: u8| keep.session(&[number; 32]).await.expect("reads");
        assert_eq!(there(4).await, Some((session(4, 4), "viewer".into())));
        assert!(there(1).await.is_none() && there(2).await.is_some(), "of five the oldest two are over");
        assert!(!keep.add_session(&session(9, 0), "two", 3).await.expect("asked"), "the password is another meanwhile");
        keep.session_seen(&[2; 32], at(50)).await.expect("noted");
        assert_eq!(there(2).await.map(|(session, _)| session.seen), Some(at(50).micros()));
        keep.drop_session(&[3; 32]).await.expect("ended");
        assert!(there(3).await.is_none());
        let cutoffs = Cutoffs { ahead: Time::MAX, records: at(-9), pings: at(-9), hours: at(-9), codes: at(-9), sessions: (at(40), at(-9)) };
        keep.prune(cutoffs).await.expect("prunes");
        assert!(there(4).await.is_none() && there(2).await.is_some(), "idle ones go");
        keep.prune(Cutoffs { sessions: (at(40), at(1)), ..cutoffs }).await.expect("prunes");
        assert!(there(2).await.is_none(), "and old ones");
        assert!(keep.add_session(&session(7, 0), "one", 3).await.expect("kept"));
        keep.put_person(&PersonRow { role: "admin".into(), ..person("two") }).await.expect("kept");
        assert!(there(7).await.is_none(), "with the password its sessions go");
        assert!(keep.add_session(&session(8, 0), "two", 3).await.expect("kept"));
        assert_eq!(there(8).await.map(|(_, role)| role), Some("admin".into()));
        assert_eq!(keep.people().await.expect("reads").len(), 1);
        assert!(keep.drop_person("aigul").await.expect("ended") && !keep.drop_person("aigul").await.expect("asked"));
        assert!(there(8).await.is_none() && keep.person("aigul").await.expect("reads").is_none());
        let told = format!("{:?}", person("secret"));
        assert!(!told.contains("secret") && !told.contains("aigul"), "{told}");
    }

    async fn codes_are_forgotten_after_their_time(stage: Stage) {
        stage.school("s").await;
        let sizes = stage.keep.sizes().await.expect("counts");
        assert_eq!((sizes.codes, sizes.nodes, sizes.schools, sizes.tokens, sizes.people), (2, 1, 1, 0, 0));
        let cutoffs = |codes| Cutoffs { ahead: Time::MAX, records: at(-9), pings: at(-9), hours: at(-9), codes, sessions: (at(-9), at(-9)) };
        stage.keep.prune(cutoffs(at(100))).await.expect("prunes");
        assert_eq!(stage.keep.sizes().await.expect("counts").codes, 2);
        stage.keep.prune(cutoffs(at(101))).await.expect("prunes");
        assert_eq!(stage.keep.sizes().await.expect("counts").codes, 0);
        assert_eq!(stage.keep.nodes().await.expect("reads").len(), 1, "who enrolled by one stays");
    }
}
