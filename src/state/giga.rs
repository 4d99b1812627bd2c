//! What waits for a Giga Meter server. Items leave when the server has them; that a request is about to leave is written down before it
//! does, so that after a power cut nobody takes for new what may have arrived. What is said is the business of `report::giga`.

use crate::base::clock::Time;
use crate::state::{Error, State};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use utoipa::ToSchema;

/// The most speed tests that wait: 150 days of four a day. They are numbers of tests that the meter keeps.
pub const MOST_TESTS: i64 = 600;
/// The most connectivity checks that wait: 93 days of one each quarter of an hour, some 100 bytes each.
pub const MOST_CHECKS: i64 = 9_000;
/// Refused items that are kept for a person to look at.
const MOST_PARKED: i64 = 100;

/// As whom the node speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Our id, or what the server made of it.
    pub user_id: String,
    /// A random id in place of the hardware's.
    pub device: String,
    /// A random address in place of the interface's.
    pub mac: String,
    /// Server and school for which `user_id` is known.
    pub registered: String,
    /// The newest speed test that was queued.
    pub test: i64,
}

/// One thing that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number here.
    pub number: i64,
    /// When it was seen.
    pub made: Time,
    /// What it is.
    pub what: What,
    /// How often it may have arrived already.
    pub asked: i64,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The number of a speed test.
    Test(i64),
    /// Whether the line was there.
    Check(Check),
}

/// A connectivity check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it was.
    pub connected: bool,
    /// There and back, µs.
    pub latency: Option<i64>,
    /// Unique wherever it goes.
    pub id: String,
}

/// Figures for status and pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GigaCount)]
pub struct Count {
    /// Speed tests that wait.
    pub tests: u64,
    /// Connectivity checks that wait.
    pub checks: u64,
    /// When the oldest was made (µs since 1970).
    #[schema(value_type = Option<i64>)]
    pub oldest: Option<Time>,
    /// Refused for good.
    pub parked: u64,
    /// Taken by the server.
    pub delivered: u64,
    /// Dropped since too many waited.
    pub dropped: u64,
    /// Sent twice without an answer and given up, since nobody may look whether they arrived.
    pub unsure: u64,
}

/// Something that the server refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GigaParked)]
pub struct Parked {
    /// When it was made (µs since 1970).
    #[schema(value_type = i64)]
    pub made: Time,
    /// Whether it is a speed test.
    pub is_test: bool,
    /// The server's reason.
    pub why: String,
}

/// The queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Giga(SqlitePool);

impl State {
    /// The queries of what waits for a Giga Meter server.
    pub fn giga(&self) -> Giga {
        Giga(self.pool().clone())
    }
}

impl Giga {
    /// As whom the node speaks; made on the first call, with what is given.
    ///
    /// # Errors
    /// The database's.
    pub async fn mark(&self, fresh: &Mark) -> Result<Mark, Error> {
        sqlx::query("INSERT INTO giga_mark (one, user_id, device, mac, test) VALUES (1, ?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
            .bind(&fresh.user_id)
            .bind(&fresh.device)
            .bind(&fresh.mac)
            .bind(fresh.test)
            .execute(&self.0)
            .await?;
        let row = sqlx::query("SELECT user_id, device, mac, registered, test FROM giga_mark").fetch_one(&self.0).await?;
        Ok(Mark {
            user_id: row.get("user_id"),
            device: row.get("device"),
            mac: row.get("mac"),
            registered: row.get("registered"),
            test: row.get("test"),
        })
    }

    /// The server knows us for this school; or no more (`""`).
    ///
    /// # Errors
    /// The database's.
    pub async fn registered(&self, place: &str, user_id: &str) -> Result<(), Error> {
        sqlx::query("UPDATE giga_mark SET registered = ?1, user_id = ?2").bind(place).bind(user_id).execute(&self.0).await?;
        Ok(())
    }

    /// Queues speed tests (number and moment); those up to `seen` are not looked at again.
    ///
    /// # Errors
    /// The database's; nothing is queued then.
    pub async fn queue_tests(&self, tests: &[(i64, Time)], seen: i64) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        for (test, made) in tests {
            sqlx::query("INSERT INTO giga_item (made, test) VALUES (?1, ?2)").bind(made.micros()).bind(test).execute(&mut *change).await?;
        }
        sqlx::query("UPDATE giga_mark SET test = max(test, ?)").bind(seen).execute(&mut *change).await?;
        room(&mut change, "test IS NOT NULL", MOST_TESTS).await?;
        change.commit().await?;
        Ok(())
    }

    /// Queues a connectivity check.
    ///
    /// # Errors
    /// The database's.
    pub async fn queue_check(&self, made: Time, check: &Check) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        sqlx::query("INSERT INTO giga_item (made, connected, latency, id) VALUES (?1, ?2, ?3, ?4)")
            .bind(made.micros())
            .bind(check.connected)
            .bind(check.latency)
            .bind(&check.id)
            .execute(&mut *change)
            .await?;
        room(&mut change, "test IS NULL", MOST_CHECKS).await?;
        change.commit().await?;
        Ok(())
    }

    /// The oldest tests that wait.
    ///
    /// # Errors
    /// The database's.
    pub async fn tests(&self, most: u32) -> Result<Vec<Item>, Error> {
        self.items("test IS NOT NULL", most).await
    }

    /// The oldest checks that wait: those that were never sent, or those that may have arrived.
    ///
    /// # Errors
    /// The database's.
    pub async fn checks(&self, asked: bool, most: u32) -> Result<Vec<Item>, Error> {
        self.items(if asked { "test IS NULL AND asked > 0" } else { "test IS NULL AND asked = 0" }, most).await
    }

    async fn items(&self, which: &'static str, most: u32) -> Result<Vec<Item>, Error> {
        let query = format!(
            "SELECT number, made, test, connected, latency, id, asked FROM giga_item WHERE parked IS NULL AND {which} ORDER BY number LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(i64::from(most)).fetch_all(&self.0).await?;
        Ok(rows.iter().map(item).collect())
    }

    /// A request with these is about to leave.
    ///
    /// # Errors
    /// The database's; it must not leave then.
    pub async fn asking(&self, numbers: &[i64]) -> Result<(), Error> {
        self.each("UPDATE giga_item SET asked = asked + 1 WHERE number = ?", numbers).await
    }

    /// It did certainly not arrive.
    ///
    /// # Errors
    /// The database's.
    pub async fn unasked(&self, numbers: &[i64]) -> Result<(), Error> {
        self.each("UPDATE giga_item SET asked = max(asked - 1, 0) WHERE number = ?", numbers).await
    }

    async fn each(&self, query: &'static str, numbers: &[i64]) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        for number in numbers {
            sqlx::query(query).bind(number).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// The server has these, as of now.
    ///
    /// # Errors
    /// The database's.
    pub async fn done(&self, numbers: &[i64], now: Time) -> Result<(), Error> {
        self.leave("UPDATE giga_mark SET delivered = delivered + ?1, delivered_at = ?2", numbers, Some(now)).await
    }

    /// When the server last took something.
    ///
    /// # Errors
    /// The database's.
    pub async fn last_delivered(&self) -> Result<Option<Time>, Error> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT delivered_at FROM giga_mark").fetch_optional(&self.0).await?;
        Ok(row.filter(|(moment,)| *moment > 0).map(|(moment,)| Time::from_micros(moment)))
    }

    /// These were sent twice, nobody knows, and that is the end of it.
    ///
    /// # Errors
    /// The database's.
    pub async fn unsure(&self, numbers: &[i64]) -> Result<(), Error> {
        self.leave("UPDATE giga_mark SET unsure = unsure + ?1", numbers, None).await
    }

    /// There is nothing to send for these any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn gone(&self, numbers: &[i64]) -> Result<(), Error> {
        self.leave("UPDATE giga_mark SET dropped = dropped + ?1", numbers, None).await
    }

    async fn leave(&self, count: &'static str, numbers: &[i64], at: Option<Time>) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        let mut left = 0;
        for number in numbers {
            let done = sqlx::query("DELETE FROM giga_item WHERE number = ?").bind(number).execute(&mut *change).await?;
            left += done.rows_affected();
        }
        let count = sqlx::query(count).bind(i64::try_from(left).unwrap_or(i64::MAX));
        let count = if let Some(at) = at { count.bind(at.micros()) } else { count };
        count.execute(&mut *change).await?;
        change.commit().await?;
        Ok(())
    }

    /// The server refused this for good.
    ///
    /// # Errors
    /// The database's.
    pub async fn park(&self, number: i64, why: &str) -> Result<(), Error> {
        let mut change = self.0.begin().await?;
        sqlx::query("UPDATE giga_item SET parked = ?2 WHERE number = ?1").bind(number).bind(why).execute(&mut *change).await?;
        sqlx::query(
            "DELETE FROM giga_item WHERE parked IS NOT NULL AND number NOT IN
             (SELECT number FROM giga_item WHERE parked IS NOT NULL ORDER BY number DESC LIMIT ?)",
        )
        .bind(MOST_PARKED)
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(())
    }

    /// What was refused, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn parked(&self) -> Result<Vec<Parked>, Error> {
        let rows: Vec<(i64, bool, String)> =
            sqlx::query_as("SELECT made, test IS NOT NULL, parked FROM giga_item WHERE parked IS NOT NULL ORDER BY number DESC LIMIT 20")
                .fetch_all(&self.0)
                .await?;
        Ok(rows.into_iter().map(|(made, is_test, why)| Parked { made: Time::from_micros(made), is_test, why }).collect())
    }

    /// Refused things are tried again: a person has mended what was wrong.
    ///
    /// # Errors
    /// The database's.
    pub async fn unpark(&self) -> Result<(), Error> {
        sqlx::query("UPDATE giga_item SET parked = NULL WHERE parked IS NOT NULL").execute(&self.0).await?;
        Ok(())
    }

    /// Figures.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self) -> Result<Count, Error> {
        let (tests, checks, oldest, parked): (i64, i64, Option<i64>, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE parked IS NULL AND test IS NOT NULL), count(*) FILTER (WHERE parked IS NULL AND test IS NULL),
             min(made) FILTER (WHERE parked IS NULL), count(*) FILTER (WHERE parked IS NOT NULL) FROM giga_item",
        )
        .fetch_one(&self.0)
        .await?;
        let mark: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT delivered, dropped, unsure FROM giga_mark").fetch_optional(&self.0).await?;
        let (delivered, dropped, unsure) = mark.unwrap_or_default();
        let natural = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Count {
            tests: natural(tests),
            checks: natural(checks),
            oldest: oldest.map(Time::from_micros),
            parked: natural(parked),
            delivered: natural(delivered),
            dropped: natural(dropped),
            unsure: natural(unsure),
        })
    }
}

/// The oldest make room.
async fn room(change: &mut sqlx::Transaction<'_, sqlx::Sqlite>, which: &'static str, most: i64) -> Result<(), Error> {
    let query = format!(
        "DELETE FROM giga_item WHERE parked IS NULL AND {which} AND number NOT IN
         (SELECT number FROM giga_item WHERE parked IS NULL AND {which} ORDER BY number DESC LIMIT ?)"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(query)).bind(most).execute(&mut **change).await?;
    let dropped = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
    sqlx::query("UPDATE giga_mark SET dropped = dropped + ?").bind(dropped).execute(&mut **change).await?;
    Ok(())
}

fn item(row: &SqliteRow) -> Item {
    let test: Option<i64> = row.get("test");
    let check =
        || Check { connected: row.get::<Option<bool>, _>("connected").unwrap_or(false), latency: row.get("latency"), id: row.get("id") };
    Item {
        number: row.get("number"),
        made: Time::from_micros(row.get("made")),
        what: test.map_or_else(|| What::Check(check()), What::Test),
        asked: row.get("asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: usize) -> Check {
        Check { connected: id.is_multiple_of(2), latency: None, id: format!("{id}") }
    }

    #[tokio::test]
    async fn what_may_have_arrived_is_known_after_a_power_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.sqlite");
        let state = State::open(Some(&file)).await.expect("opens");
        let giga = state.giga();
        let fresh = Mark { user_id: "a".into(), device: "b".into(), mac: "c".into(), registered: String::new(), test: 4 };
        assert_eq!(giga.mark(&fresh).await.expect("made"), fresh);
        assert_eq!(giga.mark(&Mark { user_id: "z".into(), ..fresh.clone() }).await.expect("kept"), fresh, "made once");
        giga.registered("https://a.kz 1", "server's").await.expect("writes");
        giga.queue_tests(&[(5, Time::from_secs(50)), (7, Time::from_secs(70))], 8).await.expect("queues");
        for number in 0..3 {
            giga.queue_check(Time::from_secs(number), &check(1)).await.expect("queues");
        }
        let tests = giga.tests(10).await.expect("reads");
        assert_eq!(tests.iter().map(|item| (item.what.clone(), item.asked)).collect::<Vec<_>>(), [(What::Test(5), 0), (What::Test(7), 0)]);
        giga.asking(&[tests[0].number]).await.expect("writes");
        // The power fails.
        state.close().await;
        let giga = State::open(Some(&file)).await.expect("opens again").giga();
        assert_eq!(giga.tests(10).await.expect("reads").iter().map(|item| item.asked).collect::<Vec<_>>(), [1, 0]);
        let mark = giga.mark(&fresh).await.expect("kept");
        assert_eq!((mark.user_id.as_str(), mark.registered.as_str(), mark.test), ("server's", "https://a.kz 1", 8));
        giga.unasked(&[tests[0].number]).await.expect("writes");
        assert_eq!(giga.last_delivered().await.expect("reads"), None);
        giga.done(&[tests[0].number], Time::from_secs(90)).await.expect("writes");
        giga.done(&[tests[0].number], Time::from_secs(91)).await.expect("is gone already");
        assert_eq!(giga.last_delivered().await.expect("reads"), Some(Time::from_secs(91)));
        giga.park(tests[1].number, "no such school").await.expect("writes");
        let count = giga.count().await.expect("reads");
        let wanted = Count { checks: 3, oldest: Some(Time::from_secs(0)), parked: 1, delivered: 1, ..Count::default() };
        assert_eq!(count, wanted);
        assert_eq!(
            giga.parked().await.expect("reads"),
            [Parked { made: Time::from_secs(70), is_test: true, why: "no such school".into() }]
        );
        giga.unpark().await.expect("writes");
        assert_eq!(giga.tests(10).await.expect("reads").len(), 1);
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let giga = State::open(None).await.expect("opens").giga();
        giga.mark(&Mark::default()).await.expect("made");
        let many: Vec<(i64, Time)> = (0..MOST_TESTS + 5).map(|number| (number, Time::from_secs(number))).collect();
        giga.queue_tests(&many, 0).await.expect("queues");
        let tests = giga.tests(2).await.expect("reads");
        assert_eq!((tests.len(), &tests[0].what), (2, &What::Test(5)));
        assert_eq!(giga.count().await.expect("reads").dropped, 5);
    }
}
