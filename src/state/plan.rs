//! What surveys found and how right plans were; and what the frontier knows of lengths, for whoever reckons with them. Rows only: what
//! they mean is the business of `prefetch::plan`.

use crate::base::clock::Time;
use crate::state::frontier::Wish;
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::time::Duration;

/// Plans that are kept of one pack: a year of weekly nights is too much to look at.
const OF_ONE: i64 = 30;
/// And of all packs.
const OF_ALL: i64 = 1_000;
/// Rows of the frontier that tell lengths, the newest: enough for every host and sort, read in a tenth of a second.
const LENGTHS: i64 = 50_000;

/// A plan beside what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The pack.
    pub pack: String,
    /// The run's number.
    pub run: i64,
    /// When it began.
    pub began: Time,
    /// Whether it was the pack's first.
    pub first: bool,
    /// What the pack held when it began.
    pub here_bytes: u64,
    /// What was planned, as JSON.
    pub planned: String,
    /// Bytes that came.
    pub took_bytes: u64,
    /// Things that were looked at.
    pub took_wishes: u64,
    /// Time at work.
    pub took: Duration,
    /// When it was through.
    pub ended: Option<Time>,
}

/// Something that is here, as the last run left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What.
    pub wish: Wish,
    /// Whether it is here; else it failed.
    pub here: bool,
}

impl State {
    /// Keeps what a survey found, in place of what the one before did.
    pub async fn keep_survey(&self, pack: &str, findings: &str) -> Result<(), Error> {
        let sql = "INSERT INTO survey (pack, findings) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET findings = ?2";
        sqlx::query(sql).bind(pack).bind(findings).execute(self.pool()).await?;
        Ok(())
    }

    /// What the last survey of a pack found.
    pub async fn survey(&self, pack: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT findings FROM survey WHERE pack = ?").bind(pack).fetch_optional(self.pool()).await?;
        Ok(row.map(|row| row.get("findings")))
    }

    /// Notes the plan with which a run begins; the oldest make room.
    pub async fn note_plan(&self, plan: &Planned) -> Result<(), Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT OR REPLACE INTO plan_record (pack, run, began, first, here_bytes, planned, took_bytes, took_wishes, took, ended)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&plan.pack)
        .bind(plan.run)
        .bind(plan.began.micros())
        .bind(plan.first)
        .bind(clip(plan.here_bytes))
        .bind(&plan.planned)
        .bind(clip(plan.took_bytes))
        .bind(clip(plan.took_wishes))
        .bind(i64::try_from(plan.took.as_micros()).unwrap_or(i64::MAX))
        .bind(plan.ended.map(Time::micros))
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM plan_record WHERE pack = ?1 AND run <= ?2 - ?3")
            .bind(&plan.pack)
            .bind(plan.run)
            .bind(OF_ONE)
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM plan_record WHERE began < (SELECT began FROM plan_record ORDER BY began DESC LIMIT 1 OFFSET ?)")
            .bind(OF_ALL - 1)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// What a run has taken by now; `more` time was spent since this was said last, and in all at least `least`.
    pub async fn note_took(
        &self,
        pack: &str,
        run: i64,
        took: (u64, u64),
        more: Duration,
        least: Duration,
        ended: Option<Time>,
    ) -> Result<(), Error> {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let sql =
            "UPDATE plan_record SET took_bytes = ?3, took_wishes = ?4, took = max(took + ?5, ?6), ended = ?7 WHERE pack = ?1 AND run = ?2";
        let update = sqlx::query(sql).bind(pack).bind(run).bind(clip(took.0)).bind(clip(took.1)).bind(micros(more)).bind(micros(least));
        update.bind(ended.map(Time::micros)).execute(self.pool()).await?;
        Ok(())
    }

    /// Plans and what came, the newest first; of one pack or of all.
    pub async fn plan_records(&self, pack: Option<&str>, most: u32) -> Result<Vec<Planned>, Error> {
        let sql = "SELECT * FROM plan_record WHERE ?1 IS NULL OR pack = ?1 ORDER BY began DESC, run DESC LIMIT ?2";
        let rows = sqlx::query(sql).bind(pack).bind(i64::from(most)).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(read_planned).collect())
    }

    /// Lengths of what is here, all packs together: origin, kind, how many, their bytes.
    pub async fn lengths(&self) -> Result<Vec<(String, String, u64, u64)>, Error> {
        let sql = "SELECT origin, kind, count(*) AS many, sum(bytes) AS bytes
             FROM (SELECT queue, kind, bytes FROM wish WHERE state = 2 AND bytes > 0 ORDER BY id DESC LIMIT ?) AS newest
             JOIN queue ON queue.id = newest.queue GROUP BY origin, kind";
        let rows = sqlx::query(sql).bind(LENGTHS).fetch_all(self.pool()).await?;
        let of = |row: &SqliteRow| (row.get("origin"), row.get("kind"), natural(row.get("many")), natural(row.get("bytes")));
        Ok(rows.iter().map(of).collect())
    }

    /// What a run has brought or failed to, behind row `after`, at most `most`: one walk over the table, however long.
    pub async fn known(&self, pack: &str, run: i64, after: i64, most: u32) -> Result<Vec<Known>, Error> {
        let sql =
            "SELECT wish.id AS id, queue.origin || wish.path AS url, kind, depth, state, bytes, fetched, changed, still, print, strikes
             FROM wish CROSS JOIN queue ON queue.id = wish.queue
             WHERE wish.id > ?3 AND queue.pack = ?1 AND wish.run = ?2 AND state IN (2, 4) ORDER BY wish.id LIMIT ?4";
        let rows = sqlx::query(sql).bind(pack).bind(run).bind(after).bind(i64::from(most)).fetch_all(self.pool()).await?;
        let time = |row: &SqliteRow, name| row.get::<Option<i64>, _>(name).map(Time::from_micros);
        let read = |row: &SqliteRow| Known {
            here: row.get::<i64, _>("state") == 2,
            wish: Wish {
                id: row.get("id"),
                bytes: row.get::<Option<i64>, _>("bytes").map(natural),
                fetched: time(row, "fetched"),
                changed: time(row, "changed"),
                still: u32::try_from(row.get::<i64, _>("still")).unwrap_or(0),
                print: row.get("print"),
                strikes: u32::try_from(row.get::<i64, _>("strikes")).unwrap_or(0),
                ..Wish::new(
                    row.get::<String, _>("url"),
                    row.get::<String, _>("kind"),
                    u8::try_from(row.get::<i64, _>("depth")).unwrap_or(0),
                )
            },
        };
        Ok(rows.iter().map(read).collect())
    }
}

fn read_planned(row: &SqliteRow) -> Planned {
    Planned {
        pack: row.get("pack"),
        run: row.get("run"),
        began: Time::from_micros(row.get("began")),
        first: row.get("first"),
        here_bytes: natural(row.get("here_bytes")),
        planned: row.get("planned"),
        took_bytes: natural(row.get("took_bytes")),
        took_wishes: natural(row.get("took_wishes")),
        took: Duration::from_micros(natural(row.get("took"))),
        ended: row.get::<Option<i64>, _>("ended").map(Time::from_micros),
    }
}

/// SQLite counts in i64.
fn clip(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::frontier::{Ending, Fate};

    fn plan(pack: &str, run: i64) -> Planned {
        Planned {
            pack: pack.into(),
            run,
            began: Time::from_secs(1_800_000_000 + run),
            first: run == 1,
            here_bytes: 5,
            planned: "{}".into(),
            took_bytes: 0,
            took_wishes: 0,
            took: Duration::ZERO,
            ended: None,
        }
    }

    #[tokio::test]
    async fn plans_are_kept_beside_what_came_and_the_oldest_go() {
        let state = State::open(None).await.expect("opens");
        for run in 1..=35 {
            state.note_plan(&plan("a", run)).await.expect("writes");
        }
        state.note_plan(&plan("b", 1)).await.expect("writes");
        let all = state.plan_records(Some("a"), 100).await.expect("reads");
        assert_eq!((all.len(), all[0].run, all[29].run), (30, 35, 6));
        assert_eq!(state.plan_records(None, 3).await.expect("reads").len(), 3);
        let (second, end) = (Duration::from_secs(1), Time::from_secs(1_800_000_100));
        state.note_took("a", 35, (100, 3), second * 4, second, None).await.expect("writes");
        state.note_took("a", 35, (300, 5), second * 4, second * 9, Some(end)).await.expect("writes");
        let took = state.plan_records(Some("a"), 1).await.expect("reads").remove(0);
        assert_eq!((took.took_bytes, took.took_wishes, took.took, took.ended), (300, 5, second * 9, Some(end)));
        // Nobody planned this one.
        state.note_took("a", 99, (1, 1), second, second, None).await.expect("writes");
        assert_eq!(state.plan_records(Some("a"), 1).await.expect("reads")[0].run, 35);
    }

    #[tokio::test]
    async fn findings_and_lengths() {
        let state = State::open(None).await.expect("opens");
        assert_eq!(state.survey("a").await.expect("reads"), None);
        for text in ["1", "2"] {
            state.keep_survey("a", text).await.expect("writes");
        }
        assert_eq!(state.survey("a").await.expect("reads").as_deref(), Some("2"));
        let now = Time::from_secs(1_800_000_000);
        let wishes = [("http://a.kz/1", "page"), ("http://a.kz/2", "page"), ("http://b.kz/3", "image"), ("http://b.kz/4", "image")];
        let wishes = wishes.map(|(url, kind)| Wish::new(url, kind, 0));
        let run = state.begin_run("p", "d", now, &wishes).await.expect("begins").run;
        for (at, wish) in state.next_wishes("p", run, now, 9).await.expect("reads").into_iter().enumerate() {
            let fate = if at == 3 { Fate::Failed("no".into()) } else { Fate::Done { bytes: 100, at: now } };
            state.end_wishes("p", run, now, &[Ending::new(wish, fate)]).await.expect("writes");
        }
        let mut lengths = state.lengths().await.expect("reads");
        lengths.sort();
        assert_eq!(lengths.iter().map(|row| row.2).sum::<u64>(), 3, "{lengths:?}");
        let known = state.known("p", run, 0, 9).await.expect("reads");
        assert_eq!((known.len(), known.iter().filter(|one| one.here).count()), (4, 3));
        assert_eq!(state.known("p", run, known[2].wish.id, 9).await.expect("reads").len(), 1);
        assert_eq!(state.known("q", run, 0, 9).await.expect("reads"), []);
    }
}
