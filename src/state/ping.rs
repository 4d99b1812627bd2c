//! Bursts of pings: rows of the node's database, nothing else. What they mean is the business of `meter::echo`.

use crate::base::clock::Time;
use crate::state::{Error, OLD_AT_ONCE, State};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use std::time::Duration;

/// Bursts are kept for a school year and a bit: 38,000 of them, 4 MB.
const KEEP: Duration = Duration::from_hours(400 * 24);

/// The most rows that one question gets: ten days.
const MOST: u32 = 1_000;

/// A burst.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Counts up; 0 before it is kept.
    pub number: i64,
    /// When it began.
    pub start: Time,
    /// When it was over.
    pub finish: Time,
    /// Whether these can be believed.
    pub clock_ok: bool,
    /// Where the server is.
    pub reach: String,
    /// Sent, received, late, doubled.
    pub counts: [u64; 4],
    /// Shortest, median and 95th percentile of round trips, and jitter, milliseconds.
    pub times: [Option<f64>; 4],
}

/// The bursts' queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pings(SqlitePool);

impl State {
    /// The bursts' queries.
    pub fn pings(&self) -> Pings {
        Pings(self.pool().clone())
    }
}

impl Pings {
    /// Keeps a burst; its number. Old ones are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep(&self, row: &Row) -> Result<i64, Error> {
        let mut change = self.0.begin().await?;
        let mut query = sqlx::query(
            "INSERT INTO ping (start, finish, clock_ok, reach, sent, received, late, doubled, rtt_min, rtt_median, rtt_p95, jitter)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        )
        .bind(row.start.micros())
        .bind(row.finish.micros())
        .bind(row.clock_ok)
        .bind(&row.reach);
        for count in row.counts {
            query = query.bind(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for time in row.times {
            query = query.bind(time);
        }
        let kept = query.fetch_one(&mut *change).await?;
        let old = "DELETE FROM ping WHERE number IN (SELECT number FROM ping WHERE start < ? ORDER BY number LIMIT ?)";
        sqlx::query(old).bind(row.start.minus(KEEP).micros()).bind(OLD_AT_ONCE).execute(&mut *change).await?;
        change.commit().await?;
        Ok(kept.get("number"))
    }

    /// Bursts after this number, the lowest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn after(&self, number: i64, most: u32) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query("SELECT * FROM ping WHERE number > ?1 ORDER BY number LIMIT ?2")
            .bind(number)
            .bind(most.min(MOST))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.iter().map(read).collect())
    }

    /// Bursts that began at `since` or later, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest(&self, since: Time, most: u32) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query("SELECT * FROM ping WHERE start >= ?1 ORDER BY number DESC LIMIT ?2")
            .bind(since.micros())
            .bind(most.min(MOST))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.iter().map(read).collect())
    }
}

fn read(row: &SqliteRow) -> Row {
    Row {
        number: row.get("number"),
        start: Time::from_micros(row.get("start")),
        finish: Time::from_micros(row.get("finish")),
        clock_ok: row.get("clock_ok"),
        reach: row.get("reach"),
        counts: ["sent", "received", "late", "doubled"].map(|name| u64::try_from(row.get::<i64, _>(name)).unwrap_or(0)),
        times: ["rtt_min", "rtt_median", "rtt_p95", "jitter"].map(|name| row.get(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bursts_are_numbered_read_back_and_forgotten() {
        let pings = State::open(None).await.expect("opens").pings();
        let row = |number, day: i64| Row {
            number,
            start: Time::from_secs(day * 86_400),
            finish: Time::from_secs(day * 86_400 + 2),
            clock_ok: true,
            reach: "domestic".into(),
            counts: [10, 9, 1, 0],
            times: [Some(40.0), Some(41.5), None, Some(0.25)],
        };
        for day in 1..=3 {
            assert_eq!(pings.keep(&row(0, day)).await.expect("keeps"), day);
        }
        assert_eq!(pings.after(1, 10).await.expect("reads"), [row(2, 2), row(3, 3)]);
        assert_eq!(pings.newest(Time::from_secs(2 * 86_400), 10).await.expect("reads"), [row(3, 3), row(2, 2)]);
        pings.keep(&row(0, 402)).await.expect("keeps");
        assert_eq!(pings.after(0, 10).await.expect("reads"), [row(2, 2), row(3, 3), row(4, 402)], "the first is forgotten");
        for day in 403..409 {
            pings.keep(&row(0, day)).await.expect("keeps");
        }
        let before = pings.after(0, 20).await.expect("reads").len();
        pings.keep(&row(0, 2_000)).await.expect("keeps");
        let after = pings.after(0, 20).await.expect("reads").len();
        assert_eq!(before + 1 - after, usize::try_from(OLD_AT_ONCE).expect("few"), "one wrong date takes a few of the oldest");
    }
}
