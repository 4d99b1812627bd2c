//! What leaves a pack's shelf: what it names no more, what its origin has no more, and what it has no room for any more.

use crate::base::clock::Time;
use crate::state::frontier::{is, natural};
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::time::Duration;

/// What was given up so many times in a row, and never came or not for a month, has failed for good.
const FOR_GOOD: i64 = 3;
const MONTH: Duration = Duration::from_hours(24 * 30);

/// Something that a pack may no longer want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// Its row.
    pub id: i64,
    /// Its address.
    pub url: String,
    /// What it is, as in [`crate::state::frontier::Wish::kind`].
    pub kind: String,
    /// This run has not named it.
    pub unnamed: bool,
    /// Two complete runs in a row say so, this one and the one before.
    pub twice: bool,
    /// Why this run left it out, though it is here from an earlier one.
    pub left_out: Option<String>,
}

impl State {
    /// Marks the run as through; gives how many of its wishes failed, and how many of those are doubtful. What fails for good is not: a
    /// page that never came has named nothing, so nothing is missed for it, and one that came is believed to come again for a month.
    pub async fn finish_run(&self, pack: &str, run: i64, now: Time) -> Result<(u64, u64), Error> {
        let row = sqlx::query(
            "UPDATE run SET finished = ?3, through = min(coalesce(through, ?3), ?3), doubtful = (
                 SELECT count(*) FROM queue CROSS JOIN wish ON wish.queue = queue.id
                 WHERE queue.pack = ?1 AND wish.run = ?2 AND state = 4 AND why IS NOT NULL AND (strikes < ?4 OR fetched > ?5))
             WHERE pack = ?1 AND run = ?2 RETURNING failed, doubtful",
        )
        .bind(pack)
        .bind(run)
        .bind(now.micros())
        .bind(FOR_GOOD)
        .bind(now.minus(MONTH).micros())
        .fetch_optional(self.pool())
        .await?;
        Ok(row.map_or((0, 0), |row| (natural(row.get("failed")), natural(row.get("doubtful")))))
    }

    /// Why wishes of a run were left out, and how many for each reason.
    pub async fn skips(&self, pack: &str, run: i64) -> Result<Vec<(String, u64)>, Error> {
        let query = sqlx::query(
            "SELECT why, count(*) AS many FROM queue CROSS JOIN wish ON wish.queue = queue.id
             WHERE queue.pack = ? AND wish.run = ? AND state = 5 AND why IS NOT NULL GROUP BY why",
        );
        let rows = query.bind(pack).bind(run).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| (row.get("why"), natural(row.get("many")))).collect())
    }

    /// Notes for how many wishes of a run there was no room.
    pub async fn note_no_room(&self, pack: &str, run: i64, many: u64) -> Result<(), Error> {
        let query = sqlx::query("UPDATE run SET no_room = ? WHERE pack = ? AND run = ?");
        query.bind(i64::try_from(many).unwrap_or(i64::MAX)).bind(pack).bind(run).execute(self.pool()).await?;
        Ok(())
    }

    /// What the pack may no longer want: known from earlier runs but not named in this one, or gone at the origin, and whether the
    /// complete run before says the same; or left out in this run and here from an earlier one. At most `most`, those after row `after`:
    /// one walk over the table, however long (a cross join is one that SQLite does not turn round).
    pub async fn outdated(&self, pack: &str, run: i64, after: i64, most: u32) -> Result<Vec<Outdated>, Error> {
        let rows = sqlx::query(
            "SELECT wish.id AS id, origin || path AS url, kind, wish.run < ?2 AS unnamed,
                    wish.run < run.whole OR (state = 3 AND wish.gone BETWEEN 1 AND run.whole) AS twice,
                    iif(wish.run = ?2 AND state = 5, why, NULL) AS left_out
             FROM wish CROSS JOIN queue ON queue.id = wish.queue CROSS JOIN run ON run.pack = queue.pack
             WHERE wish.id > ?3 AND queue.pack = ?1 AND (wish.run < ?2 OR state = 3 OR (state = 5 AND bytes IS NOT NULL))
             ORDER BY wish.id LIMIT ?4",
        )
        .bind(pack)
        .bind(run)
        .bind(after)
        .bind(most)
        .fetch_all(self.pool())
        .await?;
        let outdated = |row: &SqliteRow| Outdated {
            id: row.get("id"),
            url: row.get("url"),
            kind: row.get("kind"),
            unnamed: row.get::<i64, _>("unnamed") != 0,
            twice: row.get::<i64, _>("twice") != 0,
            left_out: row.get("left_out"),
        };
        Ok(rows.iter().map(outdated).collect())
    }

    /// Forgets wishes of earlier runs. Those of this run that are gone or were left out stay counted, but are no longer outdated.
    pub async fn forget_wishes(&self, run: i64, gone: &[Outdated]) -> Result<(), Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        for one in gone {
            sqlx::query("DELETE FROM wish WHERE id = ? AND run < ?").bind(one.id).bind(run).execute(&mut *change).await?;
            sqlx::query("UPDATE wish SET state = ? WHERE id = ? AND state = 3").bind(is::LET_GO).bind(one.id).execute(&mut *change).await?;
            let left_out = sqlx::query("UPDATE wish SET bytes = NULL, fetched = NULL, print = NULL WHERE id = ? AND state = 5");
            left_out.bind(one.id).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }
}
