//! The log of outages through a power cut: rows of the node's database, nothing else. What they mean is the business of `link::outage`,
//! who writes them that of `meter`.

use crate::base::clock::Time;
use crate::state::{Error, OLD_AT_ONCE, State};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use std::ops::Range;
use std::time::Duration;

/// Outages are kept for a school year and a bit.
const KEEP: Duration = Duration::from_hours(400 * 24);

/// And never more rows than this: 25 a day for a year, about 1 MB.
const MOST: i64 = 10_000;

/// The most rows that one question gets: all.
const MOST_ROWS: u32 = 10_000;

/// Under which name it stands among the settings that this box has had a default route.
const HAD_WAY: &str = "way_out";

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Grows with every change that is to be told.
    pub number: i64,
    /// What happened.
    pub what: String,
    /// From.
    pub start: Time,
    /// Until, as far as it is known.
    pub end: Time,
    /// How long it really lasted.
    pub seconds: u64,
    /// It is not over.
    pub open: bool,
    /// Short ones that are part of it.
    pub joined: u32,
}

/// The log's queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outages(SqlitePool);

impl State {
    /// The queries of the log of outages.
    pub fn outages(&self) -> Outages {
        Outages(self.pool().clone())
    }
}

impl Outages {
    /// Keeps a row under a new number, in place of the one that `row.number` names, if there is such a one. Old rows are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn put(&self, row: &Row) -> Result<i64, Error> {
        let mut change = self.0.begin().await?;
        sqlx::query("DELETE FROM outage WHERE number = ?").bind(row.number).execute(&mut *change).await?;
        let kept = sqlx::query("INSERT INTO outage (what, start, end, seconds, open, joined) VALUES (?, ?, ?, ?, ?, ?) RETURNING number")
            .bind(&row.what)
            .bind(row.start.micros())
            .bind(row.end.micros())
            .bind(whole(row.seconds))
            .bind(row.open)
            .bind(row.joined)
            .fetch_one(&mut *change)
            .await?;
        let old = "DELETE FROM outage WHERE number IN (SELECT number FROM outage WHERE start < ? ORDER BY number LIMIT ?)";
        sqlx::query(old).bind(row.start.minus(KEEP).micros()).bind(OLD_AT_ONCE).execute(&mut *change).await?;
        sqlx::query("DELETE FROM outage WHERE number <= (SELECT number FROM outage ORDER BY number DESC LIMIT 1 OFFSET ?)")
            .bind(MOST)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(kept.get("number"))
    }

    /// It goes on: its end, seconds and joined ones, under its old number.
    ///
    /// # Errors
    /// The database's.
    pub async fn touch(&self, row: &Row) -> Result<(), Error> {
        sqlx::query("UPDATE outage SET end = ?2, seconds = ?3, joined = ?4 WHERE number = ?1")
            .bind(row.number)
            .bind(row.end.micros())
            .bind(whole(row.seconds))
            .bind(row.joined)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Rows after this number, the lowest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn after(&self, number: i64, most: u32) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query("SELECT * FROM outage WHERE number > ?1 ORDER BY number LIMIT ?2")
            .bind(number)
            .bind(most.min(MOST_ROWS))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.iter().map(read).collect())
    }

    /// Rows of which a part lies in a span, the newest start first.
    ///
    /// # Errors
    /// The database's.
    pub async fn within(&self, span: Range<Time>, most: u32) -> Result<Vec<Row>, Error> {
        let text = "SELECT * FROM outage WHERE (end >= ?1 OR open) AND start < ?2 ORDER BY start DESC, number DESC LIMIT ?3";
        let rows = sqlx::query(text).bind(span.start.micros()).bind(span.end.micros()).bind(most.min(MOST_ROWS)).fetch_all(&self.0).await?;
        Ok(rows.iter().map(read).collect())
    }

    /// What was open when the node's last life ended is over, as of when it was last written down. How many.
    ///
    /// # Errors
    /// The database's.
    pub async fn recover(&self) -> Result<usize, Error> {
        let rows = sqlx::query("SELECT * FROM outage WHERE open ORDER BY number").fetch_all(&self.0).await?;
        for row in &rows {
            self.put(&Row { open: false, ..read(row) }).await?;
        }
        Ok(rows.len())
    }

    /// Whether this box has ever had a default route.
    ///
    /// # Errors
    /// The database's.
    pub async fn had_way(&self) -> Result<bool, Error> {
        let row = sqlx::query("SELECT value FROM setting WHERE name = ?").bind(HAD_WAY).fetch_optional(&self.0).await?;
        Ok(row.is_some())
    }

    /// It has one now, or needs none.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep_way(&self, has: bool) -> Result<(), Error> {
        let change = if has {
            "INSERT INTO setting (name, value) VALUES (?1, 'default') ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM setting WHERE name = ?1"
        };
        sqlx::query(change).bind(HAD_WAY).execute(&self.0).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Row {
    let natural = |name: &str| u64::try_from(row.get::<i64, _>(name)).unwrap_or(0);
    Row {
        number: row.get("number"),
        what: row.get("what"),
        start: Time::from_micros(row.get("start")),
        end: Time::from_micros(row.get("end")),
        seconds: natural("seconds"),
        open: row.get("open"),
        joined: u32::try_from(natural("joined")).unwrap_or(u32::MAX),
    }
}

fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: i64, start: i64, open: bool) -> Row {
        let start = Time::from_secs(start);
        Row { number, what: "line_down".into(), start, end: start.plus(Duration::from_mins(1)), seconds: 60, open, joined: 0 }
    }

    #[tokio::test]
    async fn a_change_takes_a_new_number_and_old_rows_are_forgotten() {
        let outages = State::open(None).await.expect("opens").outages();
        let first = outages.put(&row(0, 1_000, true)).await.expect("keeps");
        outages.put(&row(0, 2_000, false)).await.expect("keeps");
        outages.touch(&Row { seconds: 90, ..row(first, 1_000, true) }).await.expect("touches");
        let told = outages.after(0, 10).await.expect("reads");
        assert_eq!(told.iter().map(|row| (row.number, row.open, row.seconds)).collect::<Vec<_>>(), [(1, true, 90), (2, false, 60)]);
        let last = outages.put(&row(first, 1_000, false)).await.expect("keeps");
        assert_eq!(outages.after(2, 10).await.expect("reads"), [row(last, 1_000, false)], "told once more");
        assert_eq!(outages.after(0, 10).await.expect("reads").len(), 2);
        assert_eq!(outages.within(Time::from_secs(1_900)..Time::MAX, 10).await.expect("reads"), [row(2, 2_000, false)]);
        outages.put(&row(0, 401 * 86_400, false)).await.expect("keeps");
        assert_eq!(outages.after(0, 10).await.expect("reads").len(), 1, "a year later");
        // A clock that is two years ahead for a moment.
        for day in 402..412 {
            outages.put(&row(0, day * 86_400, false)).await.expect("keeps");
        }
        outages.put(&row(0, 1_140 * 86_400, false)).await.expect("keeps");
        let kept = outages.after(0, 20).await.expect("reads").len();
        assert_eq!(kept, 12 - usize::try_from(OLD_AT_ONCE).expect("few"), "one wrong date takes a few of the oldest");
    }

    #[tokio::test]
    async fn what_was_open_at_a_power_cut_is_closed_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.sqlite");
        let state = State::open(Some(&file)).await.expect("opens");
        state.outages().put(&row(0, 1_000, true)).await.expect("keeps");
        state.close().await;
        let outages = State::open(Some(&file)).await.expect("opens again").outages();
        assert_eq!(outages.recover().await.expect("recovers"), 1);
        assert_eq!(outages.after(1, 10).await.expect("reads"), [row(2, 1_000, false)]);
        assert_eq!(outages.recover().await.expect("once"), 0);
    }

    #[tokio::test]
    async fn rows_are_bounded() {
        let outages = State::open(None).await.expect("opens").outages();
        for number in 0..MOST + 5 {
            sqlx::query("INSERT INTO outage (what, start, end, seconds, open, joined) VALUES ('x', ?1, ?1, 0, 0, 0)")
                .bind(number)
                .execute(&outages.0)
                .await
                .expect("keeps");
        }
        outages.put(&row(0, 1_000, false)).await.expect("keeps");
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM outage").fetch_one(&outages.0).await.expect("reads");
        assert_eq!(count, MOST);
    }
}
