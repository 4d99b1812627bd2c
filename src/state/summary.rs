//! What came of each night: counted in the same transaction as the wishes' own ends, so that a power cut takes nothing from it that it
//! leaves in the frontier; and the whole of it as it was told, for a school year.
//!
//! A wish counts once a night, as what it was last: who is asked for a second time does not look like two. Which words there are, and
//! what they mean, is the business of `prefetch`; three of them are known here, since what came stays what came.

use crate::base::clock::Time;
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::BTreeMap;
use std::time::Duration;

/// It was not here before.
pub const NEW: &str = "new";
/// It was here with other content.
pub const CHANGED: &str = "changed";
/// It is here as it was.
pub const SAME: &str = "unchanged";

/// Nights that are kept: a school year and the summer.
const MOST: u32 = 400;
/// Under which name it stands among the settings whether the node runs, or ended in order.
const RAN: &str = "night_ran";
/// While it runs, and so after a power cut.
const UP: &str = "up";
/// After an orderly end.
const DOWN: &str = "down";

/// In which night something counts, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// [`number`] of the night.
    pub night: i64,
    /// As what.
    pub word: &'static str,
}

/// Why many wishes end at once.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// For people.
    pub why: &'a str,
    /// For the night's summary.
    pub counted: Option<Counted>,
}

impl<'a> From<&'a str> for Told<'a> {
    fn from(why: &'a str) -> Told<'a> {
        Told { why, counted: None }
    }
}

/// What became of some of a pack's wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// As what they count.
    pub word: String,
    /// How many.
    pub many: u64,
    /// Lengths of their bodies.
    pub bytes: u64,
    /// The host of one of them, for what did not come.
    pub host: Option<String>,
}

/// A pack's night.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackNight {
    /// Bytes over the line.
    pub line: u64,
    /// Time in which something was under way.
    pub busy: Duration,
    /// How work on it ended last, in a word.
    pub ended: Option<String>,
    /// What became of its wishes.
    pub came: Vec<Came>,
}

/// A night in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By pack.
    pub packs: BTreeMap<String, PackNight>,
    /// Starts after a power cut or a kill.
    pub cuts: u64,
    /// Starts after an orderly end.
    pub starts: u64,
    /// When it was said to be complete.
    pub told: Option<Time>,
}

/// The number of a night `2026-11-25`: 20261125. `None` for what is no date.
pub fn number(night: &str) -> Option<i64> {
    let digits = |part: &str, length| (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())).then_some(());
    let mut parts = night.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    digits(year, 4).and(digits(month, 2)).and(digits(day, 2))?;
    parts.next().is_none().then(|| format!("{year}{month}{day}").parse().ok())?
}

/// The night of a number.
pub fn name(night: i64) -> String {
    format!("{:04}-{:02}-{:02}", night / 10_000, night / 100 % 100, night % 100)
}

/// Sums of a transaction, until it is written.
#[derive(Debug, Default)]
pub(super) struct Sums {
    words: BTreeMap<(i64, String), Sum>,
    costs: BTreeMap<i64, i64>,
}

#[derive(Debug, Default)]
struct Sum {
    many: i64,
    bytes: i64,
    host: Option<String>,
}

impl Sums {
    /// A wish counts as `counted`; `before`: as what it counts in the same night already, with so many bytes. As what it counts now.
    pub(super) fn count(&mut self, counted: Counted, before: Option<(String, i64)>, bytes: i64, host: &str) -> String {
        let came = |word: &str| matches!(word, NEW | CHANGED);
        let word = match &before {
            // It came tonight: that a second look finds it unchanged takes nothing from that.
            Some((word, _)) if came(word) && matches!(counted.word, SAME | CHANGED) => word.clone(),
            _ => counted.word.to_owned(),
        };
        if let Some((word, had)) = before {
            let sum = self.words.entry((counted.night, word)).or_default();
            (sum.many, sum.bytes) = (sum.many - 1, sum.bytes - had);
        }
        self.add(counted.night, &word, (1, bytes), Some(host));
        word
    }

    /// So many more in one step.
    pub(super) fn add(&mut self, night: i64, word: &str, (many, bytes): (i64, i64), host: Option<&str>) {
        let sum = self.words.entry((night, word.to_owned())).or_default();
        (sum.many, sum.bytes) = (sum.many + many, sum.bytes + bytes);
        if sum.host.is_none() && !is_here(word) {
            sum.host = host.map(str::to_owned);
        }
    }

    /// A fetch took so many bytes of the line.
    pub(super) fn pay(&mut self, night: i64, line: i64) {
        let cost = self.costs.entry(night).or_default();
        *cost = cost.saturating_add(line);
    }

    /// Into the database; the transaction is the caller's to commit.
    pub(super) async fn write(self, change: &mut SqliteConnection, pack: &str) -> Result<(), Error> {
        for ((night, word), sum) in self.words {
            sqlx::query(
                "INSERT INTO night_came (night, pack, word, many, bytes, host) VALUES (?1, ?2, ?3, max(?4, 0), max(?5, 0), ?6)
                 ON CONFLICT DO UPDATE SET many = max(many + ?4, 0), bytes = max(bytes + ?5, 0), host = coalesce(host, ?6)",
            )
            .bind(night)
            .bind(pack)
            .bind(word)
            .bind(sum.many)
            .bind(sum.bytes)
            .bind(sum.host)
            .execute(&mut *change)
            .await?;
        }
        for (night, line) in self.costs.into_iter().filter(|(_, line)| *line != 0) {
            let sql = "INSERT INTO night_pack (night, pack, line) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET line = line + ?3";
            sqlx::query(sql).bind(night).bind(pack).bind(line).execute(&mut *change).await?;
        }
        Ok(())
    }
}

/// Whether what counts so lies in the store.
pub fn is_here(word: &str) -> bool {
    matches!(word, NEW | CHANGED | SAME)
}

impl State {
    /// Something of a pack was under way for so long.
    ///
    /// # Errors
    /// The database's.
    pub async fn pay_night(&self, night: i64, pack: &str, busy: Duration) -> Result<(), Error> {
        let sql = "INSERT INTO night_pack (night, pack, busy) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET busy = busy + ?3";
        let busy = i64::try_from(busy.as_micros()).unwrap_or(i64::MAX);
        sqlx::query(sql).bind(night).bind(pack).bind(busy).execute(self.pool()).await?;
        Ok(())
    }

    /// How work on a pack ended last in a night.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_night_pack(&self, night: i64, pack: &str, ended: &str) -> Result<(), Error> {
        let sql = "INSERT INTO night_pack (night, pack, ended) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET ended = ?3";
        sqlx::query(sql).bind(night).bind(pack).bind(ended).execute(self.pool()).await?;
        Ok(())
    }

    /// The node has started, in the work of this night or outside of any; it counts unless it is the first start ever.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_nights(&self, night: Option<i64>) -> Result<(), Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let before = sqlx::query("SELECT value FROM setting WHERE name = ?").bind(RAN).fetch_optional(&mut *change).await?;
        let before: Option<String> = before.map(|row| row.get("value"));
        if let (Some(night), Some(before)) = (night, before) {
            let column = if before == UP { "cuts" } else { "starts" };
            let sql =
                format!("INSERT INTO night_summary (night, {column}) VALUES (?, 1) ON CONFLICT DO UPDATE SET {column} = {column} + 1");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(night).execute(&mut *change).await?;
        }
        set_ran(&mut change, UP).await?;
        change.commit().await?;
        Ok(())
    }

    /// The node ends in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_nights(&self) -> Result<(), Error> {
        let mut connection = self.pool().acquire().await?;
        set_ran(&mut connection, DOWN).await
    }

    /// A night in figures.
    ///
    /// # Errors
    /// The database's.
    pub async fn night_figures(&self, night: i64) -> Result<Figures, Error> {
        let row = sqlx::query("SELECT cuts, starts, told FROM night_summary WHERE night = ?").bind(night);
        let mut figures = row.fetch_optional(self.pool()).await?.map_or_else(Figures::default, |row| Figures {
            cuts: natural(row.get("cuts")),
            starts: natural(row.get("starts")),
            told: row.get::<Option<i64>, _>("told").map(Time::from_micros),
            ..Figures::default()
        });
        let packs = sqlx::query("SELECT pack, line, busy, ended FROM night_pack WHERE night = ?").bind(night);
        for row in packs.fetch_all(self.pool()).await? {
            let pack = figures.packs.entry(row.get("pack")).or_default();
            (pack.line, pack.busy) = (natural(row.get("line")), Duration::from_micros(natural(row.get("busy"))));
            pack.ended = row.get("ended");
        }
        let came = sqlx::query("SELECT pack, word, many, bytes, host FROM night_came WHERE night = ? AND many > 0 ORDER BY pack, word");
        for row in came.bind(night).fetch_all(self.pool()).await? {
            let one =
                Came { word: row.get("word"), many: natural(row.get("many")), bytes: natural(row.get("bytes")), host: row.get("host") };
            figures.packs.entry(row.get("pack")).or_default().came.push(one);
        }
        Ok(figures)
    }

    /// Nights with figures that are not closed, the oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_nights(&self) -> Result<Vec<i64>, Error> {
        let rows = sqlx::query(
            "SELECT night FROM night_summary WHERE closed = 0 UNION SELECT night FROM night_pack UNION SELECT night FROM night_came ORDER BY night",
        );
        Ok(rows.fetch_all(self.pool()).await?.iter().map(|row| row.get("night")).collect())
    }

    /// Keeps a summary as it is told: `closed` when the night is past, and then its figures go and the oldest summaries with them.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_summary(&self, night: i64, told: Time, closed: bool, text: &str) -> Result<(), Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO night_summary (night, told, closed, text) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET told = coalesce(told, ?2), closed = ?3, text = ?4",
        )
        .bind(night)
        .bind(told.micros())
        .bind(closed)
        .bind(text)
        .execute(&mut *change)
        .await?;
        if closed {
            for sql in ["DELETE FROM night_came WHERE night <= ?", "DELETE FROM night_pack WHERE night <= ?"] {
                sqlx::query(sql).bind(night).execute(&mut *change).await?;
            }
            let oldest = "DELETE FROM night_summary WHERE night NOT IN (SELECT night FROM night_summary ORDER BY night DESC LIMIT ?)";
            sqlx::query(oldest).bind(MOST).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// The summary of a night as it was told last; `None` when it was not.
    ///
    /// # Errors
    /// The database's.
    pub async fn summary(&self, night: i64) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT text FROM night_summary WHERE night = ?").bind(night).fetch_optional(self.pool()).await?;
        Ok(row.and_then(|row| row.get("text")))
    }

    /// The last summaries before a night, the newest first; at most `most`.
    ///
    /// # Errors
    /// The database's.
    pub async fn summaries(&self, before: i64, most: u32) -> Result<Vec<String>, Error> {
        let sql = "SELECT text FROM night_summary WHERE night < ? AND text IS NOT NULL ORDER BY night DESC LIMIT ?";
        let rows = sqlx::query(sql).bind(before).bind(most).fetch_all(self.pool()).await?;
        Ok(rows.iter().map(|row| row.get("text")).collect())
    }

    /// How many wishes of a pack with these addresses came new in a night.
    ///
    /// # Errors
    /// The database's.
    pub async fn came_new(&self, pack: &str, night: i64, urls: &[String]) -> Result<u64, Error> {
        let mut many = 0;
        for url in urls {
            let Some((origin, path)) = super::frontier::split(url) else { continue };
            let sql = "SELECT 1 FROM wish JOIN queue ON queue.id = wish.queue
                       WHERE queue.pack = ? AND queue.origin = ? AND wish.path = ? AND wish.night = ? AND came = ?";
            let query = sqlx::query(sql).bind(pack).bind(origin).bind(path).bind(night).bind(NEW);
            many += u64::from(query.fetch_optional(self.pool()).await?.is_some());
        }
        Ok(many)
    }
}

/// As what a wish counts in this night already, and with how many bytes; `row` has `night`, `came`, `bytes`.
pub(super) fn counted_before(row: &SqliteRow, night: i64) -> Option<(String, i64)> {
    let word: String = row.get::<Option<String>, _>("came").filter(|_| row.get::<i64, _>("night") == night)?;
    let had = if is_here(&word) { row.get::<Option<i64>, _>("bytes").unwrap_or(0) } else { 0 };
    Some((word, had))
}

async fn set_ran(change: &mut SqliteConnection, how: &str) -> Result<(), Error> {
    let query = sqlx::query("INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2");
    query.bind(RAN).bind(how).execute(change).await?;
    Ok(())
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::frontier::{Cost, Ending, Fate, Wish};

    const NOW: Time = Time::from_secs(1_800_000_000);

    #[test]
    fn nights_and_their_numbers() {
        for night in ["2026-11-25", "2027-01-01", "0001-01-01"] {
            assert_eq!(number(night).map(name).as_deref(), Some(night));
        }
        for wrong in ["", "unknown", "2026-11", "2026-11-25-1", "2026-1-25", "26-11-25", "2026-11-2x", "٢٠٢٦-11-25"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    async fn take(state: &State, run: i64, url: &str) -> Wish {
        let wishes = state.next_wishes("p", run, NOW, 100).await.expect("reads");
        wishes.into_iter().find(|wish| wish.url == url).unwrap_or_else(|| panic!("{url} is not open"))
    }

    async fn end(state: &State, run: i64, url: &str, fate: Fate, night: i64, word: Option<&'static str>) {
        let wish = take(state, run, url).await;
        let cost = Cost { transferred: 10, busy: Duration::from_secs(1) };
        let ending = Ending { night: Some(night), word, cost, ..Ending::new(wish, fate) };
        state.end_wishes("p", run, NOW, &[ending]).await.expect("writes");
    }

    async fn came(state: &State, night: i64) -> Vec<(String, u64, u64)> {
        let figures = state.night_figures(night).await.expect("reads");
        let pack = figures.packs.get("p").cloned().unwrap_or_default();
        pack.came.into_iter().map(|came| (came.word, came.many, came.bytes)).collect()
    }

    #[tokio::test]
    async fn a_wish_counts_once_a_night_as_what_it_was_last() {
        let state = State::open(None).await.expect("opens");
        let seeds = ["http://a.kz/1", "http://a.kz/2", "http://b.kz/3"].map(|url| Wish::new(url, "page", 0));
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        let done = |bytes| Fate::Done { bytes, at: NOW };
        end(&state, run, "http://a.kz/1", done(100), 20_261_125, Some(NEW)).await;
        end(&state, run, "http://a.kz/2", Fate::Later { at: NOW, failed: true }, 20_261_125, None).await;
        end(&state, run, "http://a.kz/2", Fate::Failed("no".into()), 20_261_125, Some("failed.server")).await;
        let count = |word: &str, many, bytes| (word.to_owned(), many, bytes);
        assert_eq!(came(&state, 20_261_125).await, [count("failed.server", 1, 0), count(NEW, 1, 100)]);
        state.pay_night(20_261_125, "p", Duration::from_secs(2)).await.expect("writes");
        state.pay_night(20_261_125, "p", Duration::from_secs(1)).await.expect("writes");
        let figures = state.night_figures(20_261_125).await.expect("reads");
        let pack = &figures.packs["p"];
        assert_eq!((pack.line, pack.busy, pack.came[0].host.as_deref()), (30, Duration::from_secs(3), Some("a.kz")));
        assert_eq!(pack.came[1].host, None, "hosts are examples of trouble only");

        // A person has it fetched again in the same night: what came stays new, what failed is here after all.
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        end(&state, run, "http://a.kz/1", done(100), 20_261_125, Some(SAME)).await;
        end(&state, run, "http://a.kz/2", done(7), 20_261_125, Some(NEW)).await;
        let told = Told { why: "the host is gone", counted: Some(Counted { night: 20_261_125, word: "failed.days" }) };
        for origin in state.origins("p").await.expect("reads") {
            state.fail_queue("p", run, origin.id, told).await.expect("writes");
        }
        assert_eq!(came(&state, 20_261_125).await, [count("failed.days", 1, 0), count(NEW, 2, 107)]);
        let failed = state.night_figures(20_261_125).await.expect("reads").packs["p"].came[0].clone();
        assert_eq!(failed.host.as_deref(), Some("b.kz"));
        assert_eq!(state.came_new("p", 20_261_125, &["http://a.kz/2".into(), "http://b.kz/3".into()]).await.expect("reads"), 1);

        // The next night counts anew; changed content stays changed.
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        end(&state, run, "http://a.kz/1", done(100), 20_261_126, Some(SAME)).await;
        end(&state, run, "http://a.kz/2", done(9), 20_261_126, Some(CHANGED)).await;
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        end(&state, run, "http://a.kz/2", done(11), 20_261_126, Some(SAME)).await;
        assert_eq!(state.skip_open("p", run, "enough").await.expect("writes"), 2, "who counts nothing says nothing of a night");
        assert_eq!(came(&state, 20_261_126).await, [count(CHANGED, 1, 11), count(SAME, 1, 100)]);
        assert_eq!(state.open_nights().await.expect("reads"), [20_261_125, 20_261_126]);
    }

    #[tokio::test]
    async fn starts_are_told_apart_and_nights_are_bounded() {
        let state = State::open(None).await.expect("opens");
        let night = Some(20_261_125);
        state.begin_nights(night).await.expect("writes");
        assert_eq!(state.night_figures(20_261_125).await.expect("reads"), Figures::default(), "the first start ever is none");
        state.begin_nights(night).await.expect("writes");
        state.begin_nights(None).await.expect("writes");
        state.end_nights().await.expect("writes");
        state.begin_nights(night).await.expect("writes");
        state.begin_nights(night).await.expect("writes");
        let figures = state.night_figures(20_261_125).await.expect("reads");
        assert_eq!((figures.cuts, figures.starts), (2, 1));

        state.end_night_pack(20_261_125, "p", "window").await.expect("writes");
        state.put_summary(20_261_125, NOW, false, "first").await.expect("writes");
        assert_eq!(state.night_figures(20_261_125).await.expect("reads").packs["p"].ended.as_deref(), Some("window"));
        state.put_summary(20_261_125, NOW.plus(Duration::from_secs(9)), true, "second").await.expect("writes");
        let figures = state.night_figures(20_261_125).await.expect("reads");
        assert_eq!((figures.told, figures.packs.len(), figures.cuts), (Some(NOW), 0, 2));
        assert!(state.open_nights().await.expect("reads").is_empty());
        assert_eq!(state.summary(20_261_125).await.expect("reads").as_deref(), Some("second"));

        for night in 0..450 {
            state.put_summary(30_000_000 + night, NOW, true, &night.to_string()).await.expect("writes");
        }
        assert_eq!(state.summary(20_261_125).await.expect("reads"), None, "the oldest go");
        assert_eq!(state.summaries(30_000_449, 1000).await.expect("reads").len(), 399);
        assert_eq!(state.summaries(30_000_449, 2).await.expect("reads"), ["448", "447"]);
    }
}
