//! Bearer tokens of the API: rows of the node's database, nothing else. What a role may do is the business of `admin`; a token itself
//! is never here, only its hash.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

/// Most tokens of a node: one for each colleague and each script of a district, many times over.
pub const MOST: i64 = 256;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its visible part.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do, by name.
    pub role: String,
    /// blake3 of the whole token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Time,
    /// From when on it does not count.
    pub expires: Option<Time>,
    /// When it was last used, to the minute.
    pub used: Option<Time>,
}

/// What became of a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is kept, and survives a power cut.
    Kept,
    /// There is one of this name (or id).
    Taken,
    /// There are [`MOST`] already.
    Full,
}

/// The tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenTable(SqlitePool);

impl State {
    /// The tokens' queries.
    pub fn tokens(&self) -> TokenTable {
        TokenTable(self.pool().clone())
    }
}

impl TokenTable {
    /// Keeps a new token. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// The database's.
    pub async fn add(&self, row: &Row) -> Result<Added, Error> {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM token").fetch_one(&self.0).await?;
        if count >= MOST {
            return Ok(Added::Full);
        }
        let query = sqlx::query(
            "INSERT INTO token (id, name, role, hash, created, expires, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        );
        let query = query.bind(&row.id).bind(&row.name).bind(&row.role).bind(row.hash.as_slice()).bind(row.created.micros());
        let done = query.bind(row.expires.map(Time::micros)).bind(row.used.map(Time::micros)).execute(&self.0).await?;
        Ok(if done.rows_affected() == 0 { Added::Taken } else { Added::Kept })
    }

    /// All that are kept, by name. A row that cannot be read (a newer program's) is left out: that token does not count.
    ///
    /// # Errors
    /// The database's.
    pub async fn all(&self) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query("SELECT id, name, role, hash, created, expires, used FROM token ORDER BY name").fetch_all(&self.0).await?;
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Forgets a token for good; whether there was one.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove(&self, id: &str) -> Result<bool, Error> {
        Ok(sqlx::query("DELETE FROM token WHERE id = ?1").bind(id).execute(&self.0).await?.rows_affected() > 0)
    }

    /// Notes when a token was last used.
    ///
    /// # Errors
    /// The database's.
    pub async fn used(&self, id: &str, at: Time) -> Result<(), Error> {
        sqlx::query("UPDATE token SET used = ?2 WHERE id = ?1").bind(id).bind(at.micros()).execute(&self.0).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Option<Row> {
    let time = |name: &str| row.try_get::<Option<i64>, _>(name).ok().map(|micros| micros.map(Time::from_micros));
    Some(Row {
        id: row.try_get("id").ok()?,
        name: row.try_get("name").ok()?,
        role: row.try_get("role").ok()?,
        hash: row.try_get::<Vec<u8>, _>("hash").ok()?.try_into().ok()?,
        created: Time::from_micros(row.try_get("created").ok()?),
        expires: time("expires")?,
        used: time("used")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str) -> Row {
        Row {
            id: id.into(),
            name: name.into(),
            role: "read".into(),
            hash: [7; 32],
            created: Time::from_secs(10),
            expires: Some(Time::from_secs(20)),
            used: None,
        }
    }

    #[tokio::test]
    async fn tokens_are_kept_used_and_removed() {
        let tokens = State::open(None).await.expect("opens").tokens();
        assert_eq!(tokens.add(&row("a", "one")).await.expect("writes"), Added::Kept);
        for taken in [row("b", "one"), row("a", "two")] {
            assert_eq!(tokens.add(&taken).await.expect("writes"), Added::Taken, "{taken:?}");
        }
        tokens.used("a", Time::from_secs(15)).await.expect("writes");
        assert_eq!(tokens.all().await.expect("reads"), [Row { used: Some(Time::from_secs(15)), ..row("a", "one") }]);
        sqlx::query("UPDATE token SET hash = x'00'").execute(&tokens.0).await.expect("writes");
        assert!(tokens.all().await.expect("reads").is_empty(), "what cannot be read does not count");
        assert!(tokens.remove("a").await.expect("writes") && !tokens.remove("a").await.expect("writes"));
        for number in 0..MOST {
            assert_eq!(tokens.add(&row(&number.to_string(), &number.to_string())).await.expect("writes"), Added::Kept);
        }
        assert_eq!(tokens.add(&row("more", "more")).await.expect("writes"), Added::Full);
    }
}
