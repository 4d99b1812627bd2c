//! What is remembered of packs beside their files: the newest version of each publisher's, and which pack took another's place.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;

/// A pack from outside as it was last taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The key that signed it.
    pub publisher: String,
    /// Its version.
    pub version: String,
    /// Where it lay.
    pub file: String,
    /// The text that was signed.
    pub text: String,
    /// When it was first seen.
    pub taken: Time,
}

/// A pack whose place another has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The old one.
    pub id: String,
    /// The new one.
    pub by: String,
    /// When.
    pub at: Time,
    /// Whether its content was let go.
    pub let_go: bool,
}

impl State {
    /// All packs from outside as they were last taken.
    ///
    /// # Errors
    /// The database's.
    pub async fn kept_packs(&self) -> Result<Vec<Kept>, Error> {
        let rows = sqlx::query("SELECT id, publisher, version, file, text, taken FROM pack_kept ORDER BY id, publisher");
        let kept = rows.fetch_all(self.pool()).await?.into_iter().map(|row| Kept {
            id: row.get("id"),
            publisher: row.get("publisher"),
            version: row.get("version"),
            file: row.get("file"),
            text: row.get("text"),
            taken: Time::from_micros(row.get("taken")),
        });
        Ok(kept.collect())
    }

    /// Remembers packs as they were taken now, all or none.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep_packs(&self, packs: &[Kept]) -> Result<(), Error> {
        let mut change = self.pool().begin().await?;
        for pack in packs {
            sqlx::query(
                "INSERT INTO pack_kept (id, publisher, version, file, text, taken) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET version = ?3, file = ?4, text = ?5, taken = ?6",
            )
            .bind(&pack.id)
            .bind(&pack.publisher)
            .bind(&pack.version)
            .bind(&pack.file)
            .bind(&pack.text)
            .bind(pack.taken.micros())
            .execute(&mut *change)
            .await?;
        }
        Ok(change.commit().await?)
    }

    /// Which packs were replaced, by which.
    ///
    /// # Errors
    /// The database's.
    pub async fn replaced_packs(&self) -> Result<Vec<Replaced>, Error> {
        let rows = sqlx::query("SELECT id, by, at, let_go FROM pack_replaced ORDER BY id").fetch_all(self.pool()).await?;
        let replaced = rows.into_iter().map(|row| Replaced {
            id: row.get("id"),
            by: row.get("by"),
            at: Time::from_micros(row.get("at")),
            let_go: row.get::<i64, _>("let_go") != 0,
        });
        Ok(replaced.collect())
    }

    /// The one step from an old pack to the new one: durable when this returns.
    ///
    /// # Errors
    /// The database's.
    pub async fn replace_pack(&self, id: &str, by: &str, now: Time) -> Result<(), Error> {
        let query = sqlx::query(
            "INSERT INTO pack_replaced (id, by, at) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET by = ?2, at = ?3, let_go = 0",
        );
        query.bind(id).bind(by).bind(now.micros()).execute(self.pool()).await?;
        Ok(())
    }

    /// The old pack's content is no longer kept for it.
    ///
    /// # Errors
    /// The database's.
    pub async fn let_go_pack(&self, id: &str) -> Result<(), Error> {
        sqlx::query("UPDATE pack_replaced SET let_go = 1 WHERE id = ?").bind(id).execute(self.pool()).await?;
        Ok(())
    }

    /// The pack counts again: nobody takes its place any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn restore_pack(&self, id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM pack_replaced WHERE id = ?").bind(id).execute(self.pool()).await?;
        Ok(())
    }

    /// Bytes that a run holds by origin (`https://a.kz`).
    ///
    /// # Errors
    /// The database's.
    pub async fn bytes_by_origin(&self, pack: &str, run: i64) -> Result<Vec<(String, u64)>, Error> {
        let rows = sqlx::query(
            "SELECT queue.origin AS origin, coalesce(sum(wish.bytes), 0) AS bytes FROM wish JOIN queue ON queue.id = wish.queue
             WHERE queue.pack = ? AND wish.run = ? AND wish.state = 2 GROUP BY queue.id",
        );
        let rows = rows.bind(pack).bind(run).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| (row.get("origin"), u64::try_from(row.get::<i64, _>("bytes")).unwrap_or(0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn versions_and_places_are_remembered() {
        let state = State::open(None).await.expect("opens");
        let now = Time::from_secs(1_800_000_000);
        let kept = |publisher: &str, version: &str| Kept {
            id: "a".into(),
            publisher: publisher.into(),
            version: version.into(),
            file: "/a.toml".into(),
            text: "x".into(),
            taken: now,
        };
        state.keep_packs(&[kept("K", "1"), kept("L", "9")]).await.expect("writes");
        state.keep_packs(&[kept("K", "2")]).await.expect("writes");
        assert_eq!(state.kept_packs().await.expect("reads"), [kept("K", "2"), kept("L", "9")]);
        state.replace_pack("old", "new", now).await.expect("writes");
        let row = |let_go| Replaced { id: "old".into(), by: "new".into(), at: now, let_go };
        assert_eq!(state.replaced_packs().await.expect("reads"), [row(false)]);
        state.let_go_pack("old").await.expect("writes");
        assert_eq!(state.replaced_packs().await.expect("reads"), [row(true)]);
        state.restore_pack("old").await.expect("writes");
        assert!(state.replaced_packs().await.expect("reads").is_empty());
    }
}
