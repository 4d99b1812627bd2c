//! What the night remembers through a power cut: the bytes of nights and months, the turns of packs, what people asked for, a
//! pause. What these mean is the business of `prefetch`.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;
use std::collections::BTreeMap;
use std::time::Duration;

/// Sums that are kept: a year of nights and their months.
const MOST_SUMS: i64 = 400;

/// A pack that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub pack: String,
    /// Not before: a host asked to wait.
    pub not_before: Time,
}

/// A person wants the line left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: Time,
    /// Until when; `None`: until somebody resumes it.
    pub until: Option<Time>,
}

impl State {
    /// Bytes by night and month.
    pub async fn night_sums(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows = sqlx::query("SELECT period, bytes FROM night_sum ORDER BY period").fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| (row.get("period"), natural(row.get("bytes")))).collect())
    }

    /// Writes sums down; one that is on disk never shrinks. The oldest are forgotten.
    pub async fn add_night_sums(&self, sums: &[(String, u64)]) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        for (period, bytes) in sums {
            let known = "INSERT INTO night_sum (period, bytes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = max(bytes, ?2)";
            sqlx::query(known).bind(period).bind(i64::try_from(*bytes).unwrap_or(i64::MAX)).execute(&mut *change).await?;
        }
        sqlx::query("DELETE FROM night_sum WHERE period NOT IN (SELECT period FROM night_sum ORDER BY period DESC LIMIT ?)")
            .bind(MOST_SUMS)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// How long each pack was worked on in a night.
    pub async fn night_turns(&self, night: &str) -> Result<BTreeMap<String, Duration>, Error> {
        let rows = sqlx::query("SELECT pack, busy FROM night_turn WHERE night = ?").bind(night).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| (row.get("pack"), Duration::from_micros(natural(row.get("busy"))))).collect())
    }

    /// A pack was worked on for so long. Other nights are forgotten.
    pub async fn add_night_turn(&self, night: &str, pack: &str, busy: Duration) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        sqlx::query("DELETE FROM night_turn WHERE night <> ?").bind(night).execute(&mut *change).await?;
        sqlx::query("INSERT INTO night_turn (night, pack, busy) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET busy = busy + ?3")
            .bind(night)
            .bind(pack)
            .bind(i64::try_from(busy.as_micros()).unwrap_or(i64::MAX))
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// What people asked for, in order.
    pub async fn night_queue(&self) -> Result<Vec<Asked>, Error> {
        let rows = sqlx::query("SELECT pack, not_before FROM night_queue ORDER BY place").fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| Asked { pack: row.get("pack"), not_before: Time::from_micros(row.get("not_before")) }).collect())
    }

    /// A person asked for a pack: it comes last, or keeps its place and waits no longer.
    pub async fn ask_night(&self, pack: &str) -> Result<(), Error> {
        let query = sqlx::query("INSERT INTO night_queue (pack) VALUES (?) ON CONFLICT (pack) DO UPDATE SET not_before = 0");
        query.bind(pack).execute(self.pool()).await?;
        Ok(())
    }

    /// It has to wait until then.
    pub async fn put_off_night(&self, pack: &str, not_before: Time) -> Result<(), Error> {
        let query = sqlx::query("UPDATE night_queue SET not_before = ? WHERE pack = ?");
        query.bind(not_before.micros()).bind(pack).execute(self.pool()).await?;
        Ok(())
    }

    /// Who waits longer than until then waits no more: no host asks for so much, so a clock was ahead.
    pub async fn hurry_night(&self, most: Time) -> Result<u64, Error> {
        let query = sqlx::query("UPDATE night_queue SET not_before = 0 WHERE not_before > ?");
        Ok(query.bind(most.micros()).execute(self.pool()).await?.rows_affected())
    }

    /// It is through.
    pub async fn answer_night(&self, pack: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM night_queue WHERE pack = ?").bind(pack).execute(self.pool()).await?;
        Ok(())
    }

    /// The pause, if there is one.
    pub async fn night_pause(&self) -> Result<Option<Pause>, Error> {
        let row = sqlx::query("SELECT since, until FROM night_pause").fetch_optional(self.pool()).await?;
        Ok(row.map(|row| Pause {
            since: Time::from_micros(row.get("since")),
            until: row.get::<Option<i64>, _>("until").map(Time::from_micros),
        }))
    }

    /// Begins, changes or ends a pause.
    pub async fn set_night_pause(&self, pause: Option<Pause>) -> Result<(), Error> {
        let query = match pause {
            Some(pause) => sqlx::query(
                "INSERT INTO night_pause (one, since, until) VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET since = ?1, until = ?2",
            )
            .bind(pause.since.micros())
            .bind(pause.until.map(Time::micros)),
            None => sqlx::query("DELETE FROM night_pause"),
        };
        query.execute(self.pool()).await?;
        Ok(())
    }
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sums_and_turns() {
        let state = State::open(None).await.expect("opens");
        let sum = |period: &str, bytes| (period.to_owned(), bytes);
        state.add_night_sums(&[sum("2026-11", 5), sum("2026-11-25", 7)]).await.expect("writes");
        state.add_night_sums(&[sum("2026-11", 9), sum("2026-11-25", 6)]).await.expect("writes");
        assert_eq!(state.night_sums().await.expect("reads"), [sum("2026-11", 9), sum("2026-11-25", 7)]);
        let many: Vec<_> = (0..450).map(|n| sum(&format!("3000-{n:04}"), 1)).collect();
        state.add_night_sums(&many).await.expect("writes");
        assert_eq!(state.night_sums().await.expect("reads").len(), 400);

        for (night, pack, secs) in [("a", "x", 5), ("a", "y", 1), ("a", "x", 2)] {
            state.add_night_turn(night, pack, Duration::from_secs(secs)).await.expect("writes");
        }
        let turns = state.night_turns("a").await.expect("reads");
        assert_eq!(turns, BTreeMap::from([("x".into(), Duration::from_secs(7)), ("y".into(), Duration::from_secs(1))]));
        state.add_night_turn("b", "x", Duration::from_secs(1)).await.expect("writes");
        assert!(state.night_turns("a").await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn queue_and_pause() {
        let state = State::open(None).await.expect("opens");
        for pack in ["x", "y", "x", "z"] {
            state.ask_night(pack).await.expect("writes");
        }
        let packs = async || state.night_queue().await.expect("reads").into_iter().map(|asked| asked.pack).collect::<Vec<_>>();
        assert_eq!(packs().await, ["x", "y", "z"]);
        state.put_off_night("x", Time::from_secs(9)).await.expect("writes");
        state.answer_night("y").await.expect("writes");
        state.ask_night("y").await.expect("writes");
        assert_eq!(packs().await, ["x", "z", "y"]);
        assert_eq!(state.night_queue().await.expect("reads")[0].not_before, Time::from_secs(9));
        state.ask_night("x").await.expect("writes");
        assert_eq!(state.night_queue().await.expect("reads")[0].not_before, Time::from_secs(0));

        assert_eq!(state.night_pause().await.expect("reads"), None);
        for pause in
            [Pause { since: Time::from_secs(1), until: Some(Time::from_secs(5)) }, Pause { since: Time::from_secs(2), until: None }]
        {
            state.set_night_pause(Some(pause)).await.expect("writes");
            assert_eq!(state.night_pause().await.expect("reads"), Some(pause));
        }
        state.set_night_pause(None).await.expect("writes");
        assert_eq!(state.night_pause().await.expect("reads"), None);
    }
}
