//! Reports that wait for the hub. A number is given out and its record written in one transaction, so numbers have no gaps and
//! a power cut loses nothing that was queued.
//!
//! What a record says and how it is signed is the business of `report`; here it is bytes with a number.

use crate::base::clock::Time;
use crate::state::{Error, State};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

/// The most records kept: the fullest schedule makes 123 a day (3 tests, 96 pings, 24 hours), so this is more than 160 days of it
/// and two years of hourly reports. Oldest dropped first.
pub const MOST_RECORDS: i64 = 20_000;

/// The most bytes kept: 20,000 records of the 2 kB that an hour takes, and room for larger ones.
pub const MOST_BYTES: i64 = 64 << 20;

/// The outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(SqlitePool);

/// One waiting record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Counts lives of the box's memory: restored from an old copy, it starts a new one.
    pub epoch: i64,
    /// Counts records within the epoch, from 1.
    pub seq: i64,
    /// Signature and record.
    pub sealed: Vec<u8>,
}

/// Figures for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Current epoch.
    pub epoch: i64,
    /// Last number given out in it.
    pub seq: i64,
    /// Records that wait.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// When the oldest of them was made (µs since 1970).
    pub oldest: Option<Time>,
    /// Records that the hub refused for good.
    pub parked: u64,
    /// Records dropped because the outbox was full.
    pub dropped: u64,
    /// Records that the hub has.
    pub delivered: u64,
}

/// A record that the hub refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Its epoch.
    pub epoch: i64,
    /// Its number.
    pub seq: i64,
    /// The hub's reason.
    pub why: String,
}

impl State {
    /// The outbox's queries.
    pub fn outbox(&self) -> Outbox {
        Outbox(self.pool().clone())
    }
}

impl Outbox {
    /// Gives out the next number and keeps the record that `seal` makes of (epoch, number). Oldest records make room.
    /// Survives a power cut once this returns. `epoch` is used when the outbox has none yet.
    ///
    /// # Errors
    /// The database's; nothing is kept and no number used then.
    pub async fn add(
        &self,
        epoch: i64,
        kind: &str,
        made: Time,
        ended: Time,
        seal: impl FnOnce(i64, i64) -> Result<Vec<u8>, Error> + Send,
    ) -> Result<(i64, i64), Error> {
        // IMMEDIATE: two writers must not read the same last number.
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let (epoch, seq): (i64, i64) = sqlx::query_as(
            "INSERT INTO outbox_mark (one, epoch, seq, ended) VALUES (1, ?1, 1, ?2)
             ON CONFLICT DO UPDATE SET seq = seq + 1, ended = max(ended, ?2) RETURNING epoch, seq",
        )
        .bind(epoch)
        .bind(ended.micros())
        .fetch_one(&mut *work)
        .await?;
        let sealed = seal(epoch, seq)?;
        insert(&mut work, epoch, seq, made.micros(), kind, sealed).await?;
        make_room(&mut work).await?;
        work.commit().await?;
        Ok((epoch, seq))
    }

    /// The oldest waiting records, of one epoch, at most `records` of them and about `bytes` in all (at least one).
    ///
    /// # Errors
    /// The database's.
    pub async fn batch(&self, records: i64, bytes: usize) -> Result<Vec<Waiting>, Error> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT epoch, seq, sealed FROM (
                 SELECT epoch, seq, sealed, sum(length(sealed) + 4) OVER (ORDER BY seq) AS sum FROM (
                     SELECT epoch, seq, sealed FROM outbox WHERE parked IS NULL
                     AND epoch = (SELECT min(epoch) FROM outbox WHERE parked IS NULL) ORDER BY seq LIMIT ?1))
             WHERE sum <= ?2 OR sum = length(sealed) + 4 ORDER BY seq",
        )
        .bind(records)
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await?;
        Ok(rows.into_iter().map(|(epoch, seq, sealed)| Waiting { epoch, seq, sealed }).collect())
    }

    /// The hub has these: forget them.
    ///
    /// # Errors
    /// The database's; resending them is harmless.
    pub async fn delivered(&self, epoch: i64, numbers: &[i64]) -> Result<(), Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let mut gone = 0;
        for seq in numbers {
            let done = sqlx::query("DELETE FROM outbox WHERE epoch = ?1 AND seq = ?2").bind(epoch).bind(seq).execute(&mut *work).await?;
            gone += i64::try_from(done.rows_affected()).unwrap_or(0);
        }
        sqlx::query("UPDATE outbox_mark SET delivered = delivered + ?1").bind(gone).execute(&mut *work).await?;
        work.commit().await?;
        Ok(())
    }

    /// The hub will never take this one: keep it aside with the reason.
    ///
    /// # Errors
    /// The database's.
    pub async fn park(&self, epoch: i64, seq: i64, why: &str) -> Result<(), Error> {
        sqlx::query("UPDATE outbox SET parked = ?3 WHERE epoch = ?1 AND seq = ?2").bind(epoch).bind(seq).bind(why).execute(&self.0).await?;
        Ok(())
    }

    /// Starts `epoch` (or one more than the last, whichever is later) and gives every waiting record a new number in it, sealed
    /// anew by `seal`: this box was restored from a copy, and its numbers had been used. How many.
    ///
    /// # Errors
    /// The database's; nothing is changed then.
    pub async fn begin_epoch(&self, epoch: i64, seal: impl Fn(&[u8], i64, i64) -> Result<Vec<u8>, Error> + Send) -> Result<usize, Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let rows: Vec<(i64, i64, i64, String, Vec<u8>)> =
            sqlx::query_as("SELECT epoch, seq, made, kind, sealed FROM outbox WHERE parked IS NULL ORDER BY epoch, seq")
                .fetch_all(&mut *work)
                .await?;
        let count = rows.len();
        let (epoch,): (i64,) = sqlx::query_as("UPDATE outbox_mark SET epoch = max(epoch + 1, ?1), seq = ?2 RETURNING epoch")
            .bind(epoch)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_one(&mut *work)
            .await?;
        sqlx::query("DELETE FROM outbox WHERE parked IS NULL").execute(&mut *work).await?;
        for ((_, _, made, kind, sealed), seq) in rows.into_iter().zip(1..) {
            let sealed = seal(&sealed, epoch, seq)?;
            insert(&mut work, epoch, seq, made, &kind, sealed).await?;
        }
        work.commit().await?;
        Ok(count)
    }

    /// Figures now.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self) -> Result<Count, Error> {
        let mark: Option<(i64, i64, i64, i64)> =
            sqlx::query_as("SELECT epoch, seq, dropped, delivered FROM outbox_mark").fetch_optional(&self.0).await?;
        let (waiting, bytes, oldest, parked): (i64, i64, Option<i64>, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE parked IS NULL), coalesce(sum(length(sealed)) FILTER (WHERE parked IS NULL), 0),
                    min(made) FILTER (WHERE parked IS NULL), count(parked) FROM outbox",
        )
        .fetch_one(&self.0)
        .await?;
        let (epoch, seq, dropped, delivered) = mark.unwrap_or_default();
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Count {
            epoch,
            seq,
            waiting: whole(waiting),
            waiting_bytes: whole(bytes),
            oldest: oldest.map(Time::from_micros),
            parked: whole(parked),
            dropped: whole(dropped),
            delivered: whole(delivered),
        })
    }

    /// The newest of the records that the hub refused, at most 20.
    ///
    /// # Errors
    /// The database's.
    pub async fn parked(&self) -> Result<Vec<Parked>, Error> {
        let rows: Vec<(i64, i64, String)> =
            sqlx::query_as("SELECT epoch, seq, parked FROM outbox WHERE parked IS NOT NULL ORDER BY epoch DESC, seq DESC LIMIT 20")
                .fetch_all(&self.0)
                .await?;
        Ok(rows.into_iter().map(|(epoch, seq, why)| Parked { epoch, seq, why }).collect())
    }

    /// Until when the newest record reaches; proof that it is at least then.
    ///
    /// # Errors
    /// The database's.
    pub async fn ended(&self) -> Result<Option<Time>, Error> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT ended FROM outbox_mark WHERE ended > 0").fetch_optional(&self.0).await?;
        Ok(row.map(|(ended,)| Time::from_micros(ended)))
    }
}

async fn insert(work: &mut Transaction<'_, Sqlite>, epoch: i64, seq: i64, made: i64, kind: &str, sealed: Vec<u8>) -> Result<(), Error> {
    sqlx::query("INSERT INTO outbox (epoch, seq, made, kind, sealed) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(epoch)
        .bind(seq)
        .bind(made)
        .bind(kind)
        .bind(sealed)
        .execute(&mut **work)
        .await?;
    Ok(())
}

/// Drops the oldest while there are too many or they are too large.
async fn make_room(work: &mut Transaction<'_, Sqlite>) -> Result<(), Error> {
    let done = sqlx::query(
        "DELETE FROM outbox WHERE (epoch, seq) IN (
             SELECT epoch, seq FROM (
                 SELECT epoch, seq, count(*) OVER newer AS records, sum(length(sealed)) OVER newer AS bytes FROM outbox
                 WINDOW newer AS (ORDER BY epoch DESC, seq DESC))
             WHERE records > ?1 OR bytes > ?2)
         AND (SELECT count(*) > ?1 OR sum(length(sealed)) > ?2 FROM outbox)",
    )
    .bind(MOST_RECORDS)
    .bind(MOST_BYTES)
    .execute(&mut **work)
    .await?;
    if done.rows_affected() > 0 {
        let dropped = i64::try_from(done.rows_affected()).unwrap_or(0);
        sqlx::query("UPDATE outbox_mark SET dropped = dropped + ?1").bind(dropped).execute(&mut **work).await?;
        tracing::warn!(dropped, "the outbox is full, the oldest reports were dropped");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_795_478_400);

    async fn add(outbox: &Outbox, size: usize) -> (i64, i64) {
        outbox.add(7, "hour", NOW, NOW, |_, seq| Ok(vec![u8::try_from(seq % 256).expect("small"); size])).await.expect("adds")
    }

    #[tokio::test]
    async fn numbers_go_on_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.sqlite");
        let state = State::open(Some(&file)).await.expect("opens");
        assert_eq!(add(&state.outbox(), 10).await, (7, 1));
        assert_eq!(add(&state.outbox(), 10).await, (7, 2));
        let failed = state.outbox().add(7, "hour", NOW, NOW, |_, _| Err(Error::Database(sqlx::Error::RowNotFound))).await;
        assert!(failed.is_err());
        // Not closed: the write-ahead log is all there is, as after a power cut.
        let again = State::open(Some(&file)).await.expect("opens again");
        let outbox = again.outbox();
        assert_eq!(add(&outbox, 10).await, (7, 3), "a failed record uses no number");
        let waiting: Vec<i64> = outbox.batch(10, 1_000).await.expect("reads").into_iter().map(|record| record.seq).collect();
        assert_eq!(waiting, [1, 2, 3]);
        assert_eq!(outbox.ended().await.expect("reads"), Some(NOW));
    }

    #[tokio::test]
    async fn batches_are_bounded_and_what_is_delivered_or_parked_is_not_sent_again() {
        let state = State::open(None).await.expect("opens");
        let outbox = state.outbox();
        for _ in 0..5 {
            add(&outbox, 96).await;
        }
        let numbers = async |records, bytes| -> Vec<i64> {
            outbox.batch(records, bytes).await.expect("reads").into_iter().map(|record| record.seq).collect()
        };
        assert_eq!(numbers(2, 1_000).await, [1, 2]);
        assert_eq!(numbers(10, 300).await, [1, 2, 3]);
        assert_eq!(numbers(10, 1).await, [1], "at least one");
        outbox.delivered(7, &[1, 3]).await.expect("forgets");
        outbox.park(7, 2, "schema").await.expect("parks");
        assert_eq!(numbers(10, 1_000).await, [4, 5]);
        let count = outbox.count().await.expect("counts");
        assert_eq!((count.waiting, count.waiting_bytes, count.parked, count.delivered, count.seq), (2, 192, 1, 2, 5));
        assert_eq!(outbox.parked().await.expect("reads"), [Parked { epoch: 7, seq: 2, why: "schema".into() }]);
    }

    #[tokio::test]
    async fn a_full_outbox_drops_the_oldest_and_says_so() {
        let state = State::open(None).await.expect("opens");
        let outbox = state.outbox();
        for _ in 0..5 {
            add(&outbox, 16 << 20).await;
        }
        let waiting: Vec<i64> = outbox.batch(10, usize::MAX).await.expect("reads").into_iter().map(|record| record.seq).collect();
        assert_eq!(waiting, [2, 3, 4, 5]);
        assert_eq!(outbox.count().await.expect("counts").dropped, 1);
    }

    #[tokio::test]
    async fn a_restored_box_numbers_anew_in_a_later_epoch() {
        let state = State::open(None).await.expect("opens");
        let outbox = state.outbox();
        for _ in 0..3 {
            add(&outbox, 4).await;
        }
        outbox.delivered(7, &[1]).await.expect("forgets");
        let seal = |old: &[u8], epoch: i64, seq: i64| Ok(format!("{}-{epoch}-{seq}", old[0]).into_bytes());
        assert_eq!(outbox.begin_epoch(5, seal).await.expect("renumbers"), 2);
        let waiting = outbox.batch(10, 1_000).await.expect("reads");
        let told: Vec<(i64, i64, &[u8])> = waiting.iter().map(|record| (record.epoch, record.seq, record.sealed.as_slice())).collect();
        assert_eq!(told, [(8, 1, b"2-8-1".as_slice()), (8, 2, b"3-8-2".as_slice())]);
        assert_eq!(add(&outbox, 4).await, (8, 3));
    }
}
