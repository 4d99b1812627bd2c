//! Pages that somebody wished for, what many devices missed, and when the class's things were renewed last. Never who.
//!
//! How a wish fared is told by the run of the pack that wishes make; what may be wished is `prefetch`'s business.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// Under which name the day of the last renewal stands among the settings.
const RENEWED: &str = "renewed";

/// One page that was wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tonight {
    /// Its number.
    pub id: i64,
    /// The page.
    pub url: String,
    /// When somebody wished.
    pub made: Time,
}

/// What at least so many devices missed on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Names it.
    pub id: String,
    /// `page` or `folder`.
    pub kind: String,
    /// The page, or where the folder begins.
    pub url: String,
    /// The day on which it came up first.
    pub first: String,
    /// The last such day.
    pub last: String,
    /// On how many days it came up.
    pub days: u64,
}

impl State {
    /// Adds a wish; `false` when the page is wished for already.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_tonight(&self, url: &str, now: Time) -> Result<bool, Error> {
        let query = sqlx::query("INSERT INTO tonight (url, made) VALUES (?, ?) ON CONFLICT (url) DO NOTHING");
        Ok(query.bind(url).bind(now.micros()).execute(self.pool()).await?.rows_affected() > 0)
    }

    /// All wishes, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn tonight(&self) -> Result<Vec<Tonight>, Error> {
        let rows = sqlx::query("SELECT id, url, made FROM tonight ORDER BY made DESC, id DESC");
        Ok(rows.fetch_all(self.pool()).await?.iter().map(read).collect())
    }

    /// How many wishes were made since.
    ///
    /// # Errors
    /// The database's.
    pub async fn tonight_since(&self, since: Time) -> Result<u64, Error> {
        let row = sqlx::query("SELECT count(*) AS count FROM tonight WHERE made >= ?").bind(since.micros());
        Ok(natural(row.fetch_one(self.pool()).await?.get("count")))
    }

    /// Takes a wish back; its page, if there was one.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove_tonight(&self, id: i64) -> Result<Option<String>, Error> {
        let query = sqlx::query("DELETE FROM tonight WHERE id = ? RETURNING url").bind(id);
        Ok(query.fetch_optional(self.pool()).await?.map(|row| row.get("url")))
    }

    /// Forgets wishes older than that; their pages.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_tonight(&self, before: Time) -> Result<Vec<String>, Error> {
        let query = sqlx::query("DELETE FROM tonight WHERE made < ? RETURNING url").bind(before.micros());
        Ok(query.fetch_all(self.pool()).await?.iter().map(|row| row.get("url")).collect())
    }

    /// Writes down what came up on a day; what a person has decided about stays decided.
    ///
    /// # Errors
    /// The database's.
    pub async fn propose(&self, id: &str, kind: &str, url: &str, day: &str) -> Result<(), Error> {
        let query = sqlx::query(
            "INSERT INTO proposal (id, kind, url, first, last, days, state) VALUES (?1, ?2, ?3, ?4, ?4, 1, 'open')
             ON CONFLICT (id) DO UPDATE SET days = days + (last <> ?4), last = ?4",
        );
        query.bind(id).bind(kind).bind(url).bind(day).execute(self.pool()).await?;
        Ok(())
    }

    /// What waits for a person's decision, the most lasting first; at most `most`.
    ///
    /// # Errors
    /// The database's.
    pub async fn proposals(&self, most: u32) -> Result<Vec<Proposed>, Error> {
        let query = sqlx::query("SELECT * FROM proposal WHERE state = 'open' ORDER BY days DESC, last DESC, id LIMIT ?").bind(most);
        let of = |row: &SqliteRow| Proposed {
            id: row.get("id"),
            kind: row.get("kind"),
            url: row.get("url"),
            first: row.get("first"),
            last: row.get("last"),
            days: natural(row.get("days")),
        };
        Ok(query.fetch_all(self.pool()).await?.iter().map(of).collect())
    }

    /// Decides about a proposal that is open; whether there was one.
    ///
    /// # Errors
    /// The database's.
    pub async fn decide_proposal(&self, id: &str, state: &str) -> Result<bool, Error> {
        let query = sqlx::query("UPDATE proposal SET state = ? WHERE id = ? AND state = 'open'");
        Ok(query.bind(state).bind(id).execute(self.pool()).await?.rows_affected() > 0)
    }

    /// Forgets open proposals that have not come up since that day.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_proposals(&self, before: &str) -> Result<u64, Error> {
        let query = sqlx::query("DELETE FROM proposal WHERE state = 'open' AND last < ?").bind(before);
        Ok(query.execute(self.pool()).await?.rows_affected())
    }

    /// The day of the last renewal.
    ///
    /// # Errors
    /// The database's.
    pub async fn renewed(&self) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT value FROM setting WHERE name = ?").bind(RENEWED).fetch_optional(self.pool()).await?;
        Ok(row.map(|row| row.get("value")))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_renewed(&self, day: &str) -> Result<(), Error> {
        let query = sqlx::query("INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2");
        query.bind(RENEWED).bind(day).execute(self.pool()).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Tonight {
    Tonight { id: row.get("id"), url: row.get("url"), made: Time::from_micros(row.get("made")) }
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    #[tokio::test]
    async fn wishes_come_and_go() {
        let state = State::open(None).await.expect("opens");
        assert!(state.add_tonight("http://a/1", NOW).await.expect("adds"));
        assert!(!state.add_tonight("http://a/1", NOW).await.expect("adds"), "once is enough");
        assert!(state.add_tonight("http://a/2", Time::from_secs(NOW.secs() + 60)).await.expect("adds"));
        assert_eq!(state.tonight_since(Time::from_secs(NOW.secs() + 1)).await.expect("counts"), 1);
        let all = state.tonight().await.expect("reads");
        assert_eq!(all.iter().map(|one| one.url.as_str()).collect::<Vec<_>>(), ["http://a/2", "http://a/1"]);
        assert_eq!(state.remove_tonight(all[0].id).await.expect("removes").as_deref(), Some("http://a/2"));
        assert_eq!(state.remove_tonight(all[0].id).await.expect("removes"), None);
        assert_eq!(state.forget_tonight(Time::from_secs(NOW.secs() + 1)).await.expect("forgets"), ["http://a/1"]);
        assert!(state.tonight().await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn proposals_are_counted_by_day_and_decided_once() {
        let state = State::open(None).await.expect("opens");
        for day in ["2026-11-24", "2026-11-24", "2026-11-26"] {
            state.propose("p1", "page", "http://a/1", day).await.expect("writes");
        }
        state.propose("p2", "folder", "http://a/", "2026-11-24").await.expect("writes");
        let open = state.proposals(9).await.expect("reads");
        assert_eq!((open.len(), open[0].id.as_str(), open[0].days, open[0].first.as_str()), (2, "p1", 2, "2026-11-24"));
        assert!(state.decide_proposal("p1", "dismissed").await.expect("decides"));
        assert!(!state.decide_proposal("p1", "approved").await.expect("decides"), "it has been decided");
        state.propose("p1", "page", "http://a/1", "2026-11-27").await.expect("writes");
        assert_eq!(state.proposals(9).await.expect("reads").len(), 1, "and stays so");
        assert_eq!(state.forget_proposals("2026-11-25").await.expect("forgets"), 1);
        assert!(state.proposals(9).await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn the_day_of_the_last_renewal_is_kept() {
        let state = State::open(None).await.expect("opens");
        assert_eq!(state.renewed().await.expect("reads"), None);
        for day in ["2026-11-24", "2026-11-25"] {
            state.set_renewed(day).await.expect("writes");
            assert_eq!(state.renewed().await.expect("reads").as_deref(), Some(day));
        }
    }
}
