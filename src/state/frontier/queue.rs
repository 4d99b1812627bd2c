//! What may go next: read origin by origin, through indexes that hold only what is open.

use crate::base::clock::Time;
use crate::state::frontier::{Pause, Wish, is, natural};
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::HashMap;

const COLUMNS: &str = "SELECT wish.id, path, kind, depth, tries, bytes, fetched, changed, hops, still, print, strikes FROM wish ";

/// A queue of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its row.
    pub id: i64,
    /// `scheme://host[:port]`.
    pub origin: String,
    /// Nothing may be asked of it before.
    pub until: Time,
}

/// The host of `scheme://host[:port]`.
pub fn host(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or(authority),
    }
}

impl State {
    /// The origins of a pack, whether they have work or not.
    pub async fn origins(&self, pack: &str) -> Result<Vec<Origin>, Error> {
        let rows = sqlx::query("SELECT id, origin, until FROM queue WHERE pack = ? ORDER BY id").bind(pack).fetch_all(self.pool()).await?;
        Ok(rows
            .iter()
            .map(|row| Origin { id: row.get("id"), origin: row.get("origin"), until: Time::from_micros(row.get("until")) })
            .collect())
    }

    /// Asks nothing of an origin for this pack before then (its robots.txt cannot be had).
    pub async fn hold_queue(&self, queue: i64, until: Time) -> Result<(), Error> {
        let query = sqlx::query("UPDATE queue SET until = ? WHERE id = ?").bind(until.micros()).bind(queue);
        query.execute(self.pool()).await?;
        Ok(())
    }

    /// Open wishes of one origin that may be tried now: those that waited, then requisites before pages, near before far; and when
    /// the next of those that still wait may be tried.
    pub async fn next_of(&self, origin: &Origin, run: i64, now: Time, most: u32) -> Result<(Vec<Wish>, Option<Time>), Error> {
        let later = format!("{COLUMNS} WHERE queue = ? AND run = ? AND state = 1 AND next_try <= ? ORDER BY next_try LIMIT ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(later)).bind(origin.id).bind(run).bind(now.micros()).bind(most);
        let mut wishes: Vec<Wish> = query.fetch_all(self.pool()).await?.iter().map(|row| read_wish(row, &origin.origin)).collect();
        let open = format!("{COLUMNS} WHERE queue = ? AND run = ? AND state = 0 ORDER BY rank, depth, id LIMIT ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(open)).bind(origin.id).bind(run).bind(most);
        wishes.extend(query.fetch_all(self.pool()).await?.iter().map(|row| read_wish(row, &origin.origin)));
        wishes.truncate(most as usize);
        let next = sqlx::query("SELECT min(next_try) AS next FROM wish WHERE queue = ? AND run = ? AND state = 1 AND next_try > ?");
        let next: Option<i64> = next.bind(origin.id).bind(run).bind(now.micros()).fetch_one(self.pool()).await?.get("next");
        Ok((wishes, next.map(Time::from_micros)))
    }

    /// When the next open wish may be tried, pauses of its host counted; `None` when none is open.
    pub async fn next_try(&self, pack: &str, run: i64) -> Result<Option<Time>, Error> {
        let rows = sqlx::query(
            "SELECT origin, until, EXISTS (SELECT 1 FROM wish WHERE queue = queue.id AND run = ?2 AND state = 0) AS ready,
                    (SELECT min(next_try) FROM wish WHERE queue = queue.id AND run = ?2 AND state = 1) AS later
             FROM queue WHERE pack = ?1",
        )
        .bind(pack)
        .bind(run)
        .fetch_all(self.pool())
        .await?;
        let pauses: HashMap<String, Time> = self.pauses().await?.into_iter().map(|pause| (pause.host, pause.until)).collect();
        let moment = |row: &SqliteRow| {
            let later: Option<i64> = row.get("later");
            let first = if row.get::<i64, _>("ready") != 0 { Some(0) } else { later }.map(Time::from_micros)?;
            let first = first.max(Time::from_micros(row.get("until")));
            Some(pauses.get(host(row.get("origin"))).map_or(first, |until| first.max(*until)))
        };
        Ok(rows.iter().filter_map(moment).min())
    }

    /// What went wrong in a run, or is not whole: address and reason, at most `most`. Patterns that were cut short come first.
    pub async fn trouble(&self, pack: &str, run: i64, most: u32) -> Result<Vec<(String, String)>, Error> {
        let mut told = Vec::new();
        let query = sqlx::query("SELECT left_out, finished FROM run WHERE pack = ? AND run = ?").bind(pack).bind(run);
        let Some(row) = query.fetch_optional(self.pool()).await? else { return Ok(told) };
        let (left_out, finished): (i64, Option<i64>) = (row.get("left_out"), row.get("finished"));
        if left_out > 0 {
            told.push((
                String::from("all addresses"),
                format!("more than a pack may hold: {left_out} were left out; split the pack or narrow its scope"),
            ));
        }
        let origins = self.origins(pack).await?;
        let counts = |pause: &Pause| finished.is_none_or(|finished| pause.until.micros() > finished);
        for pause in self.pauses().await?.into_iter().filter(counts) {
            if let Some(origin) = origins.iter().find(|one| host(&one.origin) == pause.host) {
                told.push((origin.origin.clone(), format!("left alone until {}: {}", pause.until.to_rfc3339(), pause.why)));
            }
        }
        let query = sqlx::query(
            "SELECT pattern, held, refused FROM alike WHERE pack = ? AND run = ? AND refused > 0 ORDER BY refused DESC LIMIT ?",
        );
        for row in query.bind(pack).bind(run).bind(most).fetch_all(self.pool()).await? {
            let (held, refused): (i64, i64) = (row.get("held"), row.get("refused"));
            let why = format!(
                "looks endless: {held} addresses of this pattern were taken, further ones were left out {refused} times; a list or sitemap may name them"
            );
            told.push((row.get("pattern"), why));
        }
        // What failed, what was left out, what is not whole; a statement for each, which stops as soon as it has enough.
        for state in [is::FAILED, is::SKIPPED, is::DONE] {
            let rows = sqlx::query(
                "SELECT origin || path AS url, why FROM queue JOIN wish ON wish.queue = queue.id
                 WHERE queue.pack = ? AND run = ? AND state = ? AND why IS NOT NULL LIMIT ?",
            );
            let rows = rows.bind(pack).bind(run).bind(state).bind(most).fetch_all(self.pool()).await?;
            told.extend(rows.iter().map(|row| (row.get("url"), row.get("why"))));
        }
        told.truncate(most as usize);
        Ok(told)
    }
}

fn read_wish(row: &SqliteRow, origin: &str) -> Wish {
    let small = |name: &str| row.get::<i64, _>(name);
    Wish {
        id: row.get("id"),
        url: origin.to_owned() + row.get::<&str, _>("path"),
        kind: row.get("kind"),
        depth: u8::try_from(small("depth")).unwrap_or(u8::MAX),
        tries: u32::try_from(small("tries")).unwrap_or(u32::MAX),
        bytes: row.get::<Option<i64>, _>("bytes").map(natural),
        fetched: row.get::<Option<i64>, _>("fetched").map(Time::from_micros),
        changed: row.get::<Option<i64>, _>("changed").map(Time::from_micros),
        hops: u8::try_from(small("hops")).unwrap_or(u8::MAX),
        still: u32::try_from(small("still")).unwrap_or(u32::MAX),
        print: row.get("print"),
        strikes: u32::try_from(small("strikes")).unwrap_or(u32::MAX),
        alike: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_origin() {
        for (origin, wanted) in
            [("http://a.kz", "a.kz"), ("https://a.kz:8443", "a.kz"), ("http://[::1]:80", "[::1]"), ("http://[::1]", "[::1]")]
        {
            assert_eq!(host(origin), wanted);
        }
    }
}
