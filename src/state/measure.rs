//! Speed tests through a power cut: their figures, what they cost, when the next are due. What these mean is the business of `meter`.

use crate::base::clock::Time;
use crate::state::{Error, OLD_AT_ONCE, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqlitePool;
use std::time::Duration;

/// Tests are kept for a school year and a bit, as hours are.
const KEEP: Duration = Duration::from_hours(800 * 24);
/// Their messages word by word for as long as a report may wait, and a bit: two kilobytes each.
const KEEP_RAW: Duration = Duration::from_hours(100 * 24);
/// Days of sums and slots that are kept: this month's and the last one's, whatever their length.
const KEEP_DAYS: i64 = 62;
/// The most tests that one question gets: four a day for a year.
const MOST: i64 = 1_500;

/// A slot of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The day at the school.
    pub day: String,
    /// Its number.
    pub slot: i64,
    /// When its test is due.
    pub at: Time,
    /// Tries so far.
    pub tries: u32,
    /// `waiting`, `done`, `skipped`.
    pub state: String,
}

/// The tests' queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Measure(SqlitePool);

impl State {
    /// The tests' queries.
    pub fn measure(&self) -> Measure {
        Measure(self.pool().clone())
    }
}

impl Measure {
    /// Keeps a test; its number. Old ones are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep<T: Serialize + Sync>(&self, start: Time, figures: &T, raw: &str) -> Result<i64, Error> {
        let text = serde_json::to_string(figures)?;
        let mut change = self.0.begin().await?;
        let row = sqlx::query("INSERT INTO meter_test (start, figures, raw) VALUES (?1, ?2, ?3) RETURNING number")
            .bind(start.micros())
            .bind(text)
            .bind(raw)
            .fetch_one(&mut *change)
            .await?;
        for (query, before) in [
            (
                "DELETE FROM meter_test WHERE number IN (SELECT number FROM meter_test WHERE start < ? ORDER BY number LIMIT ?)",
                start.minus(KEEP),
            ),
            (
                "UPDATE meter_test SET raw = '' WHERE number IN
                     (SELECT number FROM meter_test WHERE start < ? AND raw <> '' ORDER BY number LIMIT ?)",
                start.minus(KEEP_RAW),
            ),
        ] {
            sqlx::query(query).bind(before.micros()).bind(OLD_AT_ONCE).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(row.get("number"))
    }

    /// Tests after this number, the oldest first: number, figures, messages. One that a newer program wrote otherwise is left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn after<T: DeserializeOwned>(&self, number: i64, most: u32) -> Result<Vec<(i64, T, String)>, Error> {
        let rows = sqlx::query("SELECT number, figures, raw FROM meter_test WHERE number > ?1 ORDER BY number LIMIT ?2")
            .bind(number)
            .bind(i64::from(most).min(MOST))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.iter().filter_map(read).collect())
    }

    /// The newest tests that began at `since` or later, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest<T: DeserializeOwned>(&self, since: Time, most: u32) -> Result<Vec<(i64, T, String)>, Error> {
        let rows = sqlx::query("SELECT number, figures, raw FROM meter_test WHERE start >= ?1 ORDER BY number DESC LIMIT ?2")
            .bind(since.micros())
            .bind(i64::from(most).min(MOST))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.iter().filter_map(read).collect())
    }

    /// A test is about to take at most so much: should the power fail, it counts as spent.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(&self, day: &str, bytes: u64) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        // Of one whose end could not be written down.
        settle(&mut change).await?;
        sqlx::query("INSERT INTO meter_open (one, day, bytes) VALUES (1, ?1, ?2)")
            .bind(day)
            .bind(whole(bytes))
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// It is over and has taken this.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(&self, day: &str, bytes: u64) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        sqlx::query("DELETE FROM meter_open").execute(&mut *change).await?;
        add(&mut change, day, whole(bytes)).await?;
        change.commit().await?;
        Ok(())
    }

    /// Something beside the tests has taken this.
    ///
    /// # Errors
    /// The database's.
    pub async fn spend(&self, day: &str, bytes: u64) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        add(&mut change, day, whole(bytes)).await?;
        change.commit().await?;
        Ok(())
    }

    /// What a test that a power cut ended may have taken counts as spent. How much.
    ///
    /// # Errors
    /// The database's.
    pub async fn recover(&self) -> Result<u64, Error> {
        let mut change = self.0.begin().await?;
        let bytes = settle(&mut change).await?;
        change.commit().await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// What was spent on a day, and in its month.
    ///
    /// # Errors
    /// The database's.
    pub async fn spent(&self, day: &str) -> Result<(u64, u64), Error> {
        let month = day.get(..7).unwrap_or(day);
        let (today, all): (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT sum(CASE WHEN day = ?1 THEN bytes END), sum(bytes) FROM meter_spent WHERE substr(day, 1, 7) = ?2")
                .bind(day)
                .bind(month)
                .fetch_one(&self.0)
                .await?;
        let natural = |sum: Option<i64>| u64::try_from(sum.unwrap_or(0)).unwrap_or(0);
        Ok((natural(today), natural(all)))
    }

    /// The slots of a day.
    ///
    /// # Errors
    /// The database's.
    pub async fn slots(&self, day: &str) -> Result<Vec<Due>, Error> {
        let rows = sqlx::query("SELECT day, slot, at, tries, state FROM meter_slot WHERE day = ? ORDER BY slot")
            .bind(day)
            .fetch_all(&self.0)
            .await?;
        let due = |row: &sqlx::sqlite::SqliteRow| Due {
            day: row.get("day"),
            slot: row.get("slot"),
            at: Time::from_micros(row.get("at")),
            tries: u32::try_from(row.get::<i64, _>("tries")).unwrap_or(u32::MAX),
            state: row.get("state"),
        };
        Ok(rows.iter().map(due).collect())
    }

    /// Keeps a slot, in place of what was known of it. Those of old days are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_slot(&self, due: &Due) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        sqlx::query(
            "INSERT INTO meter_slot (day, slot, at, tries, state) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET at = ?3, tries = ?4, state = ?5",
        )
        .bind(&due.day)
        .bind(due.slot)
        .bind(due.at.micros())
        .bind(i64::from(due.tries))
        .bind(&due.state)
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM meter_slot WHERE day NOT IN (SELECT DISTINCT day FROM meter_slot ORDER BY day DESC LIMIT ?)")
            .bind(KEEP_DAYS)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }
}

fn read<T: DeserializeOwned>(row: &sqlx::sqlite::SqliteRow) -> Option<(i64, T, String)> {
    let figures = serde_json::from_str(row.get("figures")).ok()?;
    Some((row.get("number"), figures, row.get("raw")))
}

/// Counts what an open test may have taken as spent; how much.
async fn settle(change: &mut sqlx::Transaction<'_, sqlx::Sqlite>) -> Result<i64, Error> {
    let open = sqlx::query("DELETE FROM meter_open RETURNING day, bytes").fetch_optional(&mut **change).await?;
    let Some(row) = open else { return Ok(0) };
    let (day, bytes): (String, i64) = (row.get("day"), row.get("bytes"));
    add(change, &day, bytes).await?;
    Ok(bytes)
}

async fn add(change: &mut sqlx::Transaction<'_, sqlx::Sqlite>, day: &str, bytes: i64) -> Result<(), Error> {
    sqlx::query("INSERT INTO meter_spent (day, bytes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = bytes + ?2")
        .bind(day)
        .bind(bytes)
        .execute(&mut **change)
        .await?;
    sqlx::query("DELETE FROM meter_spent WHERE day NOT IN (SELECT day FROM meter_spent ORDER BY day DESC LIMIT ?)")
        .bind(KEEP_DAYS)
        .execute(&mut **change)
        .await?;
    Ok(())
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tests_are_numbered_and_their_messages_fade() {
        let measure = State::open(None).await.expect("opens").measure();
        let day = |day: u64| Time::BUILT.plus(Duration::from_hours(24 * day));
        for (at, figure) in [(0, 1_u32), (1, 2), (101, 3)] {
            measure.keep(day(at), &figure, "raw").await.expect("keeps");
        }
        assert_eq!(measure.after::<u32>(1, 10).await.expect("reads"), [(2, 2, "raw".into()), (3, 3, "raw".into())]);
        measure.keep(day(102), &"no number", "raw").await.expect("keeps");
        let newest = measure.newest::<u32>(day(0), 10).await.expect("reads");
        assert_eq!(newest, [(3, 3, "raw".into()), (2, 2, String::new()), (1, 1, String::new())]);
        measure.keep(day(801), &5_u32, "").await.expect("keeps");
        assert_eq!(measure.after::<u32>(0, 10).await.expect("reads").len(), 3, "the first is forgotten");
        for at in 802..812 {
            measure.keep(day(at), &7_u32, "raw").await.expect("keeps");
        }
        let count = async || {
            let all = measure.after::<u32>(0, 50).await.expect("reads");
            (all.len(), all.iter().filter(|kept| !kept.2.is_empty()).count())
        };
        let before = count().await;
        measure.keep(day(9_000), &8_u32, "raw").await.expect("keeps");
        let (few, after) = (usize::try_from(OLD_AT_ONCE).expect("few"), count().await);
        assert!(before.0 + 1 - after.0 <= few && before.1 + 1 - after.1 <= 2 * few, "one wrong date: {before:?} {after:?}");
    }

    #[tokio::test]
    async fn what_a_test_may_take_counts_until_it_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.sqlite");
        let state = State::open(Some(&file)).await.expect("opens");
        let measure = state.measure();
        assert_eq!(measure.recover().await.expect("nothing"), 0);
        measure.open("2026-11-27", 900).await.expect("opens");
        measure.close("2026-11-27", 300).await.expect("closes");
        measure.open("2026-11-28", 900).await.expect("opens");
        // The power fails.
        state.close().await;
        let measure = State::open(Some(&file)).await.expect("opens again").measure();
        assert_eq!(measure.spent("2026-11-28").await.expect("reads"), (0, 300));
        assert_eq!(measure.recover().await.expect("recovers"), 900);
        assert_eq!(measure.recover().await.expect("once"), 0);
        assert_eq!(measure.spent("2026-11-28").await.expect("reads"), (900, 1_200));
        // One whose end could not be written down is paid for by the next.
        measure.open("2026-11-28", 50).await.expect("opens");
        measure.open("2026-11-29", 7).await.expect("opens");
        assert_eq!(measure.spent("2026-11-28").await.expect("reads"), (950, 1_250));
        assert_eq!(measure.spent("2026-12-01").await.expect("reads"), (0, 0), "a month of its own");
    }

    #[tokio::test]
    async fn slots_are_replaced_and_old_days_forgotten() {
        let measure = State::open(None).await.expect("opens").measure();
        let due = |day: String, slot, tries| Due { day, slot, at: Time::from_secs(7), tries, state: "waiting".into() };
        for tries in 0..3 {
            measure.put_slot(&due("2026-11-27".into(), 1, tries)).await.expect("keeps");
        }
        assert_eq!(measure.slots("2026-11-27").await.expect("reads"), [due("2026-11-27".into(), 1, 2)]);
        for day in 0..70 {
            measure.put_slot(&due(format!("3000-{day:02}"), 0, 0)).await.expect("keeps");
        }
        assert!(measure.slots("2026-11-27").await.expect("reads").is_empty());
    }
}
