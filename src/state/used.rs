//! On which days anything stored was used, and what became of the bytes that the night brought. By address alone: who used
//! it is known nowhere, and nothing is written when somebody does; whoever counts in memory brings it here now and then.

use crate::base::target::UrlKey;
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::ops::RangeInclusive;

/// Most addresses whose days are known: some 10 MB. More than a class uses in a month; beyond, those longest unused go.
const MOST: i64 = 200_000;
/// Days that are told apart.
const SPAN: u32 = 31;

/// Bytes that came over the line for one address of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The pack.
    pub pack: String,
    /// The address.
    pub key: UrlKey,
    /// Bytes.
    pub bytes: u64,
}

/// What a night's week came to, for one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Week {
    /// The pack.
    pub pack: String,
    /// Weeks since 1970, from Monday on.
    pub week: i64,
    /// Bytes over the line.
    pub bytes: u64,
    /// Of these, for what a device has used since.
    pub used: u64,
}

impl State {
    /// Writes down that these were used on this day (days since 1970), in one transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn mark_used(&self, day: i64, keys: &[UrlKey]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut change = self.pool().begin().await?;
        for key in keys {
            // A shift by more than SQLite's 64 bits gives 0, so a clock that jumped costs old days and nothing else. What is told a
            // day late is of that day; a last day further ahead was a clock's that was ahead, and never was.
            sqlx::query(
                "INSERT INTO use_day (key, last, days) VALUES (?1, ?2, 1) ON CONFLICT (key) DO UPDATE SET
                     days = (CASE WHEN last > ?2 + 1 THEN (days >> (last - ?2)) | 1
                                  WHEN last >= ?2 THEN days | (1 << (last - ?2))
                                  ELSE (days << (?2 - last)) | 1 END) & 0x7fffffff,
                     last = CASE WHEN last > ?2 + 1 THEN ?2 ELSE max(last, ?2) END",
            )
            .bind(&key.0[..])
            .bind(day)
            .execute(&mut *change)
            .await?;
            sqlx::query("UPDATE brought SET used = 1 WHERE key = ? AND used = 0").bind(&key.0[..]).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// What was used on at least `least` of the last `within` days, the most used first; at most `most`.
    ///
    /// # Errors
    /// The database's.
    pub async fn used_again(&self, day: i64, within: u32, least: u32, most: usize) -> Result<Vec<UrlKey>, Error> {
        let rows = sqlx::query("SELECT key, last, days FROM use_day WHERE last > ? AND last <= ?");
        let rows = rows.bind(day - i64::from(within)).bind(day).fetch_all(self.pool()).await?;
        let mut found: Vec<(u32, UrlKey)> = rows
            .iter()
            .filter_map(|row| {
                let days = days(row.get("days"), day - row.get::<i64, _>("last"), within);
                Some((days, key(row)?)).filter(|(days, _)| *days >= least)
            })
            .collect();
        found.sort_by_key(|(days, key)| (std::cmp::Reverse(*days), *key));
        Ok(found.into_iter().take(most).map(|(_, key)| key).collect())
    }

    /// Forgets what was not used for a month, and what is too much.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_uses(&self, day: i64) -> Result<u64, Error> {
        let mut gone = sqlx::query("DELETE FROM use_day WHERE last <= ?").bind(day - i64::from(SPAN)).execute(self.pool()).await?;
        let row = sqlx::query("SELECT count(*) AS count FROM use_day").fetch_one(self.pool()).await?;
        let above = row.get::<i64, _>("count") - MOST;
        if above > 0 {
            let query = sqlx::query("DELETE FROM use_day WHERE key IN (SELECT key FROM use_day ORDER BY last LIMIT ?)").bind(above);
            gone.extend([query.execute(self.pool()).await?]);
        }
        Ok(gone.rows_affected())
    }

    /// Adds what came over the line in a week.
    ///
    /// # Errors
    /// The database's.
    pub async fn bring(&self, week: i64, all: &[Brought]) -> Result<(), Error> {
        if all.is_empty() {
            return Ok(());
        }
        let mut change = self.pool().begin().await?;
        for one in all {
            add(&mut change, week, one).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// What came over the line in these weeks, by pack and week, and what of it was used.
    ///
    /// # Errors
    /// The database's.
    pub async fn brought(&self, weeks: RangeInclusive<i64>) -> Result<Vec<Week>, Error> {
        let rows = sqlx::query(
            "SELECT pack, week, sum(bytes) AS bytes, sum(used) AS used FROM (
                 SELECT pack, week, bytes, bytes * used AS used FROM brought WHERE week BETWEEN ?1 AND ?2
                 UNION ALL SELECT pack, week, bytes, used FROM brought_week WHERE week BETWEEN ?1 AND ?2)
             GROUP BY pack, week ORDER BY pack, week",
        );
        let of = |row: &SqliteRow| Week {
            pack: row.get("pack"),
            week: row.get("week"),
            bytes: natural(row.get("bytes")),
            used: natural(row.get("used")),
        };
        Ok(rows.bind(*weeks.start()).bind(*weeks.end()).fetch_all(self.pool()).await?.iter().map(of).collect())
    }

    /// Keeps of the weeks before this one only their sums.
    ///
    /// # Errors
    /// The database's.
    pub async fn fold_brought(&self, before: i64) -> Result<u64, Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query(
            "INSERT INTO brought_week (pack, week, bytes, used)
             SELECT pack, week, sum(bytes), sum(bytes * used) FROM brought WHERE week < ? GROUP BY pack, week
             ON CONFLICT (pack, week) DO UPDATE SET bytes = bytes + excluded.bytes, used = used + excluded.used",
        )
        .bind(before)
        .execute(&mut *change)
        .await?;
        let gone = sqlx::query("DELETE FROM brought WHERE week < ?").bind(before).execute(&mut *change).await?;
        change.commit().await?;
        Ok(gone.rows_affected())
    }
}

async fn add(change: &mut SqliteConnection, week: i64, one: &Brought) -> Result<(), Error> {
    // Brought anew it has to be used anew.
    let query = sqlx::query(
        "INSERT INTO brought (key, pack, week, bytes) VALUES (?, ?, ?, ?)
         ON CONFLICT (key, pack, week) DO UPDATE SET bytes = bytes + excluded.bytes, used = 0",
    );
    let bytes = i64::try_from(one.bytes).unwrap_or(i64::MAX);
    query.bind(&one.key.0[..]).bind(&one.pack).bind(week).bind(bytes).execute(change).await?;
    Ok(())
}

/// On how many of the last `within` days the bits say so, the newest of which is `ago` days past.
fn days(bits: i64, ago: i64, within: u32) -> u32 {
    let ago = u32::try_from(ago).unwrap_or(u32::MAX);
    let seen = within.saturating_sub(ago).min(SPAN);
    (u64::try_from(bits).unwrap_or(0) & ((1 << seen) - 1)).count_ones()
}

fn key(row: &SqliteRow) -> Option<UrlKey> {
    Some(UrlKey(row.get::<Vec<u8>, _>("key").try_into().ok()?))
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> Vec<UrlKey> {
        numbers.iter().map(|number| UrlKey([*number; 16])).collect()
    }

    #[tokio::test]
    async fn days_of_use_are_counted_and_forgotten() {
        let state = State::open(None).await.expect("opens");
        // 1 on three days, one of them told late; 2 twice on one day; 3 on two days far apart.
        for (day, used) in [(100, &[1, 2, 3][..]), (102, &[1]), (101, &[1]), (100, &[2]), (120, &[3])] {
            state.mark_used(day, &keys(used)).await.expect("writes");
        }
        let again = async |day, within, least| state.used_again(day, within, least, 9).await.expect("reads");
        assert_eq!(again(102, 14, 2).await, keys(&[1]));
        assert_eq!(again(102, 14, 3).await, keys(&[1]));
        assert_eq!(again(102, 14, 1).await, keys(&[1, 2]), "used later than today is none of today's");
        assert_eq!(again(120, 14, 2).await, [], "20 days apart");
        assert_eq!(again(120, 25, 2).await, keys(&[1, 3]));
        assert_eq!(again(102, 2, 2).await, keys(&[1]), "today and yesterday");
        assert_eq!(state.used_again(120, 25, 1, 1).await.expect("reads").len(), 1);
        // A clock that was twenty days ahead for a while: what came before it counts again once it is right.
        for day in [140, 121] {
            state.mark_used(day, &keys(&[4])).await.expect("writes");
        }
        assert_eq!(again(121, 14, 1).await, keys(&[3, 4]));
        state.mark_used(122, &keys(&[4])).await.expect("writes");
        assert_eq!(again(122, 14, 2).await, keys(&[4]));
        assert_eq!(state.forget_uses(131).await.expect("forgets"), 1, "2 was not used for a month");
        assert_eq!(state.forget_uses(133).await.expect("forgets"), 1, "1 neither");
    }

    #[tokio::test]
    async fn what_was_brought_is_used_or_not() {
        let state = State::open(None).await.expect("opens");
        let of = |pack: &str, key: u8, bytes| Brought { pack: pack.into(), key: UrlKey([key; 16]), bytes };
        state.bring(10, &[of("a", 1, 100), of("a", 2, 50), of("b", 1, 100)]).await.expect("writes");
        state.bring(10, &[of("a", 2, 25)]).await.expect("writes");
        state.mark_used(70, &keys(&[1])).await.expect("writes");
        state.bring(11, &[of("a", 1, 7)]).await.expect("writes");
        let week = |pack: &str, week, bytes, used| Week { pack: pack.into(), week, bytes, used };
        let all = [week("a", 10, 175, 100), week("a", 11, 7, 0), week("b", 10, 100, 100)];
        assert_eq!(state.brought(0..=20).await.expect("reads"), all);
        assert_eq!(state.fold_brought(11).await.expect("folds"), 3);
        assert_eq!(state.brought(0..=20).await.expect("reads"), all, "sums stay");
        state.mark_used(77, &keys(&[1])).await.expect("writes");
        assert_eq!(state.brought(11..=11).await.expect("reads"), [week("a", 11, 7, 7)]);
    }
}
