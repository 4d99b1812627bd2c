//! Reports that wait for the hub. A number is given out and its record written in one transaction, so numbers have no gaps and
//! a power cut loses nothing that was queued.
//!
//! What a record says and how it is signed is the business of `report`; here it is bytes with a number.

use crate::base::clock::Time;
use crate::state::{Error, State};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

/// The most records kept: the usual schedule makes 133 a day (24 hours, 96 pings, 3 tests, some ten events), so this is 150 days of it.
pub const MOST_RECORDS: i64 = 20_000;

/// The most bytes kept, as they lie: packed, the usual schedule takes 30 kB a day, so this is six years of it, and 1,000 records of the
/// largest size.
pub const MOST_BYTES: i64 = 64 << 20;

/// The outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(SqlitePool);

/// A signed record as it lies here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How it is packed; 0: as it travels.
    pub coding: i32,
    /// Its length as it travels.
    pub size: usize,
    /// Packed.
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// As it travels.
    pub fn plain(bytes: Vec<u8>) -> Sealed {
        Sealed { coding: 0, size: bytes.len(), bytes }
    }
}

/// What a record is, apart from what it says.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// `hour` and others.
    pub kind: &'a str,
    /// When it was made.
    pub made: Time,
    /// It was dated by a clock that could not be believed.
    pub blind: bool,
}

/// One waiting record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Counts lives of the box's memory: restored from an old copy, it starts a new one.
    pub epoch: i64,
    /// Counts records within the epoch, from 1.
    pub seq: i64,
    /// Signature and record.
    pub sealed: Sealed,
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
    /// Gives out the next number and keeps the record that `seal` makes of (epoch, number). Others make room, see [`MOST_RECORDS`].
    /// Survives a power cut once this returns. `epoch` is used when the outbox has none yet; `ended` is until where hours reach now.
    ///
    /// # Errors
    /// The database's; nothing is kept and no number used then.
    pub async fn add(
        &self,
        epoch: i64,
        label: Label<'_>,
        ended: Time,
        seal: impl FnOnce(i64, i64) -> Result<Sealed, Error> + Send,
    ) -> Result<(i64, i64), Error> {
        // IMMEDIATE: two writers must not read the same last number.
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let (epoch, seq) = number(&mut work, epoch, 1).await?;
        sqlx::query("UPDATE outbox_mark SET ended = ?1").bind(ended.micros()).execute(&mut *work).await?;
        let sealed = seal(epoch, seq)?;
        insert(&mut work, epoch, seq, label, &sealed).await?;
        make_room(&mut work).await?;
        work.commit().await?;
        Ok((epoch, seq))
    }

    /// The same for what a source has kept after the number `from`, as far as `until`: all of it and the cursor, or nothing. How many
    /// were kept: none when somebody else was here meanwhile.
    ///
    /// # Errors
    /// The database's, or `seal`'s; nothing is kept and no number used then.
    pub async fn add_lot(
        &self,
        epoch: i64,
        (from, until): (i64, i64),
        kind: &str,
        labels: &[Label<'_>],
        mut seal: impl FnMut(usize, i64, i64) -> Result<Sealed, Error> + Send,
    ) -> Result<usize, Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let before: Option<(i64,)> =
            sqlx::query_as("SELECT number FROM outbox_cursor WHERE kind = ?1").bind(kind).fetch_optional(&mut *work).await?;
        if before.map_or(0, |(number,)| number) != from {
            return Ok(0);
        }
        sqlx::query("INSERT INTO outbox_cursor (kind, number) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET number = ?2")
            .bind(kind)
            .bind(until)
            .execute(&mut *work)
            .await?;
        if !labels.is_empty() {
            let (epoch, last) = number(&mut work, epoch, labels.len()).await?;
            let first = last + 1 - i64::try_from(labels.len()).unwrap_or(i64::MAX);
            for ((at, label), seq) in labels.iter().enumerate().zip(first..) {
                let sealed = seal(at, epoch, seq)?;
                insert(&mut work, epoch, seq, *label, &sealed).await?;
            }
            make_room(&mut work).await?;
        }
        work.commit().await?;
        Ok(labels.len())
    }

    /// Up to which number everything that a source of this kind has kept is here.
    ///
    /// # Errors
    /// The database's.
    pub async fn cursor(&self, kind: &str) -> Result<i64, Error> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT number FROM outbox_cursor WHERE kind = ?1").bind(kind).fetch_optional(&self.0).await?;
        Ok(row.map_or(0, |(number,)| number))
    }

    /// The oldest waiting records, of one epoch, at most `records` of them and about `bytes` in all (at least one).
    ///
    /// # Errors
    /// The database's.
    pub async fn batch(&self, records: i64, bytes: usize) -> Result<Vec<Waiting>, Error> {
        let rows: Vec<(i64, i64, i32, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT epoch, seq, coding, size, sealed FROM (
                 SELECT epoch, seq, coding, size, sealed, sum(size + 4) OVER (ORDER BY seq) AS sum FROM (
                     SELECT epoch, seq, coding, size, sealed FROM outbox WHERE parked IS NULL
                     AND epoch = (SELECT min(epoch) FROM outbox WHERE parked IS NULL) ORDER BY seq LIMIT ?1))
             WHERE sum <= ?2 OR sum = size + 4 ORDER BY seq",
        )
        .bind(records)
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await?;
        let waiting = |(epoch, seq, coding, size, bytes): (i64, i64, i32, i64, Vec<u8>)| Waiting {
            epoch,
            seq,
            sealed: Sealed { coding, size: usize::try_from(size).unwrap_or(usize::MAX), bytes },
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// These are about to be sent: from now on the hub may have them.
    ///
    /// # Errors
    /// The database's.
    pub async fn try_until(&self, epoch: i64, seq: i64) -> Result<(), Error> {
        sqlx::query("UPDATE outbox SET tried = 1 WHERE epoch = ?1 AND seq <= ?2 AND tried = 0 AND blind = 1")
            .bind(epoch)
            .bind(seq)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Gives records that were dated by a wrong clock, and that no hub can have, what `seal` makes of them (`None`: it stays as it is);
    /// and what `ended` makes of the moment until where hours reach. How many.
    ///
    /// # Errors
    /// The database's, or `seal`'s; nothing is changed then.
    pub async fn redate(
        &self,
        ended: impl FnOnce(Time) -> Time + Send,
        mut seal: impl FnMut(&Sealed) -> Result<Option<Sealed>, Error> + Send,
    ) -> Result<usize, Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let rows: Vec<(i64, i64, i32, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT epoch, seq, coding, size, sealed FROM outbox WHERE blind = 1 AND tried = 0 AND parked IS NULL ORDER BY epoch, seq",
        )
        .fetch_all(&mut *work)
        .await?;
        let mut count = 0;
        for (epoch, seq, coding, size, bytes) in rows {
            let old = Sealed { coding, size: usize::try_from(size).unwrap_or(usize::MAX), bytes };
            let Some(new) = seal(&old)? else { continue };
            sqlx::query("UPDATE outbox SET coding = ?3, size = ?4, sealed = ?5, blind = 0 WHERE epoch = ?1 AND seq = ?2")
                .bind(epoch)
                .bind(seq)
                .bind(new.coding)
                .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
                .bind(new.bytes)
                .execute(&mut *work)
                .await?;
            count += 1;
        }
        let mark: Option<(i64,)> = sqlx::query_as("SELECT ended FROM outbox_mark WHERE ended > 0").fetch_optional(&mut *work).await?;
        if let Some((before,)) = mark {
            let after = ended(Time::from_micros(before)).micros();
            sqlx::query("UPDATE outbox_mark SET ended = ?1").bind(after).execute(&mut *work).await?;
        }
        work.commit().await?;
        Ok(count)
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

    /// A waiting record in other words, under its number: the hub has not taken it as it was.
    ///
    /// # Errors
    /// The database's.
    pub async fn reword(&self, epoch: i64, seq: i64, sealed: &Sealed) -> Result<(), Error> {
        sqlx::query("UPDATE outbox SET coding = ?3, size = ?4, sealed = ?5 WHERE epoch = ?1 AND seq = ?2")
            .bind(epoch)
            .bind(seq)
            .bind(sealed.coding)
            .bind(i64::try_from(sealed.size).unwrap_or(i64::MAX))
            .bind(&sealed.bytes)
            .execute(&self.0)
            .await?;
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
    pub async fn begin_epoch(&self, epoch: i64, seal: impl Fn(&Sealed, i64, i64) -> Result<Sealed, Error> + Send) -> Result<usize, Error> {
        let mut work = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let rows: Vec<(i64, String, bool, i32, i64, Vec<u8>)> =
            sqlx::query_as("SELECT made, kind, blind, coding, size, sealed FROM outbox WHERE parked IS NULL ORDER BY epoch, seq")
                .fetch_all(&mut *work)
                .await?;
        let count = rows.len();
        let (epoch,): (i64,) = sqlx::query_as("UPDATE outbox_mark SET epoch = max(epoch + 1, ?1), seq = ?2 RETURNING epoch")
            .bind(epoch)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_one(&mut *work)
            .await?;
        sqlx::query("DELETE FROM outbox WHERE parked IS NULL").execute(&mut *work).await?;
        for ((made, kind, blind, coding, size, bytes), seq) in rows.into_iter().zip(1..) {
            let old = Sealed { coding, size: usize::try_from(size).unwrap_or(usize::MAX), bytes };
            let sealed = seal(&old, epoch, seq)?;
            insert(&mut work, epoch, seq, Label { kind: &kind, made: Time::from_micros(made), blind }, &sealed).await?;
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

    /// Until when hours reach; what tests and others tell of is no matter here.
    ///
    /// # Errors
    /// The database's.
    pub async fn ended(&self) -> Result<Option<Time>, Error> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT ended FROM outbox_mark WHERE ended > 0").fetch_optional(&self.0).await?;
        Ok(row.map(|(ended,)| Time::from_micros(ended)))
    }
}

/// Takes the next `count` numbers: (epoch, the last of them).
async fn number(work: &mut Transaction<'_, Sqlite>, epoch: i64, count: usize) -> Result<(i64, i64), Error> {
    Ok(sqlx::query_as(
        "INSERT INTO outbox_mark (one, epoch, seq) VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET seq = seq + ?2 RETURNING epoch, seq",
    )
    .bind(epoch)
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .fetch_one(&mut **work)
    .await?)
}

async fn insert(work: &mut Transaction<'_, Sqlite>, epoch: i64, seq: i64, label: Label<'_>, sealed: &Sealed) -> Result<(), Error> {
    sqlx::query("INSERT INTO outbox (epoch, seq, made, kind, blind, coding, size, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        .bind(epoch)
        .bind(seq)
        .bind(label.made.micros())
        .bind(label.kind)
        .bind(label.blind)
        .bind(sealed.coding)
        .bind(i64::try_from(sealed.size).unwrap_or(i64::MAX))
        .bind(sealed.bytes.as_slice())
        .execute(&mut **work)
        .await?;
    Ok(())
}

/// Lets go of what is worth least while there are too many or they are too large.
async fn make_room(work: &mut Transaction<'_, Sqlite>) -> Result<(), Error> {
    let (records, bytes): (i64, i64) = sqlx::query_as("SELECT records, bytes FROM outbox_sum").fetch_one(&mut **work).await?;
    if records <= MOST_RECORDS && bytes <= MOST_BYTES {
        return Ok(());
    }
    // Who goes first: what was refused for good, then pings (hours tell of the line as well), then hours, then tests and events, which
    // nothing else tells. Of each the oldest.
    let done = sqlx::query(
        "DELETE FROM outbox WHERE (epoch, seq) IN (
             SELECT epoch, seq FROM (
                 SELECT epoch, seq, count(*) OVER better AS records, sum(length(sealed)) OVER better AS bytes FROM outbox
                 WINDOW better AS (ORDER BY
                     CASE WHEN parked IS NOT NULL THEN 0 WHEN kind = 'ping' THEN 1 WHEN kind = 'hour' THEN 2 ELSE 3 END DESC,
                     epoch DESC, seq DESC))
             WHERE records > ?1 OR bytes > ?2)",
    )
    .bind(MOST_RECORDS)
    .bind(MOST_BYTES)
    .execute(&mut **work)
    .await?;
    let dropped = i64::try_from(done.rows_affected()).unwrap_or(0);
    sqlx::query("UPDATE outbox_mark SET dropped = dropped + ?1").bind(dropped).execute(&mut **work).await?;
    tracing::warn!(dropped, "the outbox is full, the oldest reports were dropped");
    Ok(())
}

#[cfg(test)]
mod tests;
