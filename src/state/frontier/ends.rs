//! How wishes end, and what they name in turn: many ends in one transaction, with the run's sums.

use crate::base::clock::Time;
use crate::state::frontier::{Alike, Cost, Fate, MAX_ORIGINS, MAX_WISHES, Wish, clip, host, is, split};
use crate::state::summary::{Counted, Sums as NightSums, counted_before};
use crate::state::{Error, State};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use std::collections::HashMap;
use std::time::Duration;

/// A wish that was given up is taken up again after so long, then after twice as long, and so on: the next night, the one after …
pub(super) const PAUSE: Duration = Duration::from_hours(12);
/// Doublings of that pause: four days at most.
pub(super) const DOUBLINGS: u32 = 3;

/// How one wish ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Which; as it was read from the frontier.
    pub wish: Wish,
    /// How.
    pub fate: Fate,
    /// What it names in turn.
    pub found: Vec<Wish>,
    /// What people should know of one that is here all the same.
    pub note: Option<String>,
    /// Checks in a row that found nothing new, from now on.
    pub still: u32,
    /// Of its content.
    pub print: Option<i64>,
    /// What it cost.
    pub cost: Cost,
    /// In which night that was (see [`crate::state::summary::number`]); `None`: a wrong clock knows none.
    pub night: Option<i64>,
    /// As what it counts in that night; `None`: it is not at its end, or is no content of its own.
    pub word: Option<&'static str>,
}

impl Ending {
    /// An end that found nothing and cost nothing, and counts in no night.
    pub fn new(wish: Wish, fate: Fate) -> Ending {
        let (still, print) = (wish.still, wish.print);
        Ending { wish, fate, found: Vec::new(), note: None, still, print, cost: Cost::default(), night: None, word: None }
    }
}

/// What came in with a batch: for each queue, the rank and depth of what goes first there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Queue, origin, rank, depth.
    pub queues: Vec<(i64, String, i64, u8)>,
}

impl State {
    /// Writes down how wishes ended and what they need in turn, in one transaction with one sync. What they need comes in order.
    pub async fn end_wishes(&self, pack: &str, run: i64, now: Time, ends: &[Ending]) -> Result<Added, Error> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let mut ledger = Ledger::open(&mut change, pack, run).await?;
        let mut cost = Cost::default();
        for end in ends {
            ledger.end(&mut change, end, now).await?;
            ledger.add(&mut change, &end.found).await?;
            cost.transferred = cost.transferred.saturating_add(end.cost.transferred);
            cost.busy = cost.busy.saturating_add(end.cost.busy);
            if let Some(night) = end.night {
                ledger.nights.pay(night, clip(end.cost.transferred));
            }
        }
        let added = ledger.close(&mut change, cost).await?;
        change.commit().await?;
        Ok(added)
    }
}

/// The run's sums, and what a transaction learned on its way.
pub(super) struct Ledger<'a> {
    pack: &'a str,
    run: i64,
    room: i64,
    sums: Sums,
    queues: HashMap<String, Option<i64>>,
    origins: Option<i64>,
    alike: HashMap<i64, Held>,
    first: HashMap<i64, (String, i64, u8)>,
    nights: NightSums,
}

/// How many of one pattern a run holds.
struct Held {
    many: i64,
    refused: i64,
    pattern: String,
    touched: bool,
}

#[derive(Default)]
struct Sums {
    total: i64,
    by_state: [i64; 7],
    done_bytes: i64,
    known: i64,
    known_bytes: i64,
    left_out: i64,
}

impl Sums {
    /// So many rows come into a state (`sign` 1) or leave it (-1).
    fn count(&mut self, sign: i64, state: i64, many: i64, known: i64, bytes: i64) {
        if let Some(sum) = usize::try_from(state).ok().and_then(|state| self.by_state.get_mut(state)) {
            *sum += sign * many;
        }
        match state {
            is::DONE => self.done_bytes += sign * bytes,
            is::OPEN | is::LATER => {
                self.known += sign * known;
                self.known_bytes += sign * bytes;
            }
            _ => {}
        }
    }
}

impl<'a> Ledger<'a> {
    pub(super) async fn open(change: &mut SqliteConnection, pack: &'a str, run: i64) -> Result<Ledger<'a>, Error> {
        let query = sqlx::query("SELECT total FROM run WHERE pack = ? AND run = ?").bind(pack).bind(run);
        let held = query.fetch_optional(change).await?.map_or(0, |row| row.get::<i64, _>("total"));
        let (queues, alike, first) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (sums, nights) = (Sums::default(), NightSums::default());
        Ok(Ledger { pack, run, room: MAX_WISHES - held, sums, queues, origins: None, alike, first, nights })
    }

    /// So many rows of an origin count in a night.
    pub(super) fn counted(&mut self, counted: Counted, many: i64, origin: &str) {
        self.nights.add(counted.night, counted.word, (many, 0), Some(host(origin)));
    }

    /// Rows that a statement has moved from one state to another.
    pub(super) fn moved(&mut self, from: i64, to: i64, many: i64, known: i64, bytes: i64) {
        self.sums.count(-1, from, many, known, bytes);
        self.sums.count(1, to, many, known, bytes);
    }

    async fn end(&mut self, change: &mut SqliteConnection, end: &Ending, now: Time) -> Result<(), Error> {
        let wish = &end.wish;
        let row = sqlx::query("SELECT run, state, bytes, night, came FROM wish WHERE id = ?").bind(wish.id);
        let row = row.fetch_optional(&mut *change).await?;
        // Of another run by now, or forgotten: nothing to write.
        let Some(row) = row.filter(|row| row.get::<i64, _>("run") == self.run) else { return Ok(()) };
        let (was, had): (i64, Option<i64>) = (row.get("state"), row.get("bytes"));
        let (state, bytes) = match &end.fate {
            Fate::Done { bytes, .. } => (is::DONE, Some(clip(*bytes))),
            Fate::Gone => (is::GONE, None),
            Fate::Failed(_) => (is::FAILED, had),
            Fate::Skipped(_) => (is::SKIPPED, had),
            Fate::Later { at, .. } => (if *at <= now { is::OPEN } else { is::LATER }, had),
        };
        self.sums.count(-1, was, 1, i64::from(had.is_some()), had.unwrap_or(0));
        self.sums.count(1, state, 1, i64::from(bytes.is_some()), bytes.unwrap_or(0));
        let query = match &end.fate {
            Fate::Done { at, .. } => sqlx::query(
                "UPDATE wish SET state = 2, bytes = ?2, fetched = ?3, still = ?4, print = ?5, why = ?6, strikes = 0,
                     gone = iif(coalesce(fetched, 0) = ?3, gone, 0) WHERE id = ?1",
            )
            .bind(wish.id)
            .bind(bytes)
            .bind(at.micros())
            .bind(i64::from(end.still))
            .bind(end.print)
            .bind(&end.note),
            Fate::Gone => sqlx::query("UPDATE wish SET state = 3, bytes = NULL, why = NULL, gone = iif(gone = 0, run, gone) WHERE id = ?")
                .bind(wish.id),
            Fate::Failed(why) => {
                let pause = PAUSE.saturating_mul(1 << wish.strikes.min(DOUBLINGS));
                // A quarter of an hour less, so that the night after the night counts as one.
                let again = now.plus(pause).minus(Duration::from_mins(15));
                let sql = "UPDATE wish SET state = 4, why = ?2, strikes = strikes + 1, next_try = ?3 WHERE id = ?1";
                sqlx::query(sql).bind(wish.id).bind(why).bind(again.micros())
            }
            Fate::Skipped(why) => sqlx::query("UPDATE wish SET state = 5, why = ?2 WHERE id = ?1").bind(wish.id).bind(why),
            Fate::Later { at, failed } => sqlx::query("UPDATE wish SET state = ?2, next_try = ?3, tries = tries + ?4 WHERE id = ?1")
                .bind(wish.id)
                .bind(state)
                .bind(at.micros())
                .bind(i64::from(*failed)),
        };
        query.execute(&mut *change).await?;
        if let (Some(night), Some(word)) = (end.night, end.word) {
            let bytes = bytes.filter(|_| state == is::DONE).unwrap_or(0);
            let host = split(&wish.url).map_or("", |(origin, _)| host(origin));
            let word = self.nights.count(Counted { night, word }, counted_before(&row, night), bytes, host);
            let query = sqlx::query("UPDATE wish SET night = ?, came = ? WHERE id = ?").bind(night).bind(word).bind(wish.id);
            query.execute(change).await?;
        }
        Ok(())
    }

    /// Takes wishes up: a new one is opened, one of an earlier run is opened again, a shorter way to a page opens it again.
    pub(super) async fn add(&mut self, change: &mut SqliteConnection, wishes: &[Wish]) -> Result<(), Error> {
        for wish in wishes {
            let Some((origin, path)) = split(&wish.url) else { continue };
            let Some(queue) = self.queue(change, origin).await? else {
                self.sums.left_out += 1;
                continue;
            };
            let query = sqlx::query("SELECT id, run, state, kind, depth, bytes FROM wish WHERE queue = ? AND path = ?");
            let old = query.bind(queue).bind(path).fetch_optional(&mut *change).await?;
            match old {
                Some(row) if row.get::<i64, _>("run") == self.run => {
                    let nearer =
                        wish.kind == "page" && row.get::<&str, _>("kind") == "page" && row.get::<i64, _>("depth") > i64::from(wish.depth);
                    if nearer {
                        let (state, had): (i64, Option<i64>) = (row.get("state"), row.get("bytes"));
                        self.moved(state, is::OPEN, 1, i64::from(had.is_some()), had.unwrap_or(0));
                        self.renew(change, row.get("id"), wish).await?;
                        self.comes(queue, origin, wish);
                    }
                }
                _ if !self.has_room(change, wish).await? => {}
                Some(row) => {
                    let had: Option<i64> = row.get("bytes");
                    self.sums.count(1, is::OPEN, 1, i64::from(had.is_some()), had.unwrap_or(0));
                    self.renew(change, row.get("id"), wish).await?;
                    self.comes(queue, origin, wish);
                    self.sums.total += 1;
                }
                None => {
                    let sql =
                        "INSERT INTO wish (queue, path, kind, rank, depth, run, state, changed, hops) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)";
                    let insert =
                        sqlx::query(sql).bind(queue).bind(path).bind(&wish.kind).bind(rank(&wish.kind)).bind(i64::from(wish.depth));
                    let insert = insert.bind(self.run).bind(wish.changed.map(Time::micros)).bind(i64::from(wish.hops));
                    insert.execute(&mut *change).await?;
                    self.sums.count(1, is::OPEN, 1, 0, 0);
                    self.comes(queue, origin, wish);
                    self.sums.total += 1;
                }
            }
        }
        Ok(())
    }

    async fn renew(&mut self, change: &mut SqliteConnection, id: i64, wish: &Wish) -> Result<(), Error> {
        sqlx::query(
            "UPDATE wish SET run = ?2, state = 0, tries = 0, next_try = 0, depth = ?3, kind = ?4, rank = ?5, why = NULL,
                 changed = coalesce(?6, changed), hops = ?7 WHERE id = ?1",
        )
        .bind(id)
        .bind(self.run)
        .bind(i64::from(wish.depth))
        .bind(&wish.kind)
        .bind(rank(&wish.kind))
        .bind(wish.changed.map(Time::micros))
        .bind(i64::from(wish.hops))
        .execute(change)
        .await?;
        Ok(())
    }

    /// Opens one again that was fetched in this run.
    pub(super) async fn reopen(&mut self, change: &mut SqliteConnection, url: &str) -> Result<bool, Error> {
        let Some((origin, path)) = split(url) else { return Ok(false) };
        let query = sqlx::query(
            "SELECT wish.id, bytes FROM wish JOIN queue ON queue.id = wish.queue
             WHERE queue.pack = ? AND queue.origin = ? AND wish.path = ? AND run = ? AND state = 2",
        );
        let row = query.bind(self.pack).bind(origin).bind(path).bind(self.run).fetch_optional(&mut *change).await?;
        let Some(row) = row else { return Ok(false) };
        let had: Option<i64> = row.get("bytes");
        self.moved(is::DONE, is::OPEN, 1, i64::from(had.is_some()), had.unwrap_or(0));
        // Never mind what was learned: it is not here any more.
        let sql = "UPDATE wish SET state = 0, tries = 0, next_try = 0, fetched = NULL, still = 0 WHERE id = ?";
        sqlx::query(sql).bind(row.get::<i64, _>("id")).execute(change).await?;
        Ok(true)
    }

    /// The queue of an origin, made when it is new; `None`: the pack has too many.
    async fn queue(&mut self, change: &mut SqliteConnection, origin: &str) -> Result<Option<i64>, Error> {
        if let Some(known) = self.queues.get(origin) {
            return Ok(*known);
        }
        let query = sqlx::query("SELECT id FROM queue WHERE pack = ? AND origin = ?").bind(self.pack).bind(origin);
        let mut queue: Option<i64> = query.fetch_optional(&mut *change).await?.map(|row| row.get("id"));
        if queue.is_none() {
            let held = if let Some(held) = self.origins {
                held
            } else {
                let count = sqlx::query("SELECT count(*) AS held FROM queue WHERE pack = ?").bind(self.pack);
                count.fetch_one(&mut *change).await?.get("held")
            };
            self.origins = Some(held);
            if held < MAX_ORIGINS {
                let insert = sqlx::query("INSERT INTO queue (pack, origin) VALUES (?, ?)").bind(self.pack).bind(origin);
                queue = Some(insert.execute(change).await?.last_insert_rowid());
                self.origins = Some(held + 1);
            }
        }
        self.queues.insert(origin.to_owned(), queue);
        Ok(queue)
    }

    /// Whether a run may take one more; says so where it may not.
    async fn has_room(&mut self, change: &mut SqliteConnection, wish: &Wish) -> Result<bool, Error> {
        if self.room <= 0 {
            self.sums.left_out += 1;
            return Ok(false);
        }
        for alike in &wish.alike {
            self.look_up(change, alike).await?;
        }
        let full = |alike: &&Alike| self.alike.get(&alike.key).is_some_and(|known| known.many >= i64::from(alike.most));
        let refuser = wish.alike.iter().find(full).map(|alike| alike.key);
        if let Some(known) = refuser.and_then(|key| self.alike.get_mut(&key)) {
            known.refused += 1;
            known.touched = true;
            return Ok(false);
        }
        for alike in &wish.alike {
            if let Some(known) = self.alike.get_mut(&alike.key) {
                known.many += 1;
                known.touched = true;
            }
        }
        self.room -= 1;
        Ok(true)
    }

    async fn look_up(&mut self, change: &mut SqliteConnection, alike: &Alike) -> Result<(), Error> {
        if self.alike.contains_key(&alike.key) {
            return Ok(());
        }
        let query = sqlx::query("SELECT held, refused FROM alike WHERE pack = ? AND key = ? AND run = ?");
        let row = query.bind(self.pack).bind(alike.key).bind(self.run).fetch_optional(change).await?;
        let (many, refused) = row.map_or((0, 0), |row| (row.get("held"), row.get("refused")));
        self.alike.insert(alike.key, Held { many, refused, pattern: alike.pattern.clone(), touched: false });
        Ok(())
    }

    fn comes(&mut self, queue: i64, origin: &str, wish: &Wish) {
        let new = (rank(&wish.kind), wish.depth);
        let first = self.first.entry(queue).or_insert_with(|| (origin.to_owned(), new.0, new.1));
        if new < (first.1, first.2) {
            (first.1, first.2) = new;
        }
    }

    /// Writes the sums; the transaction is the caller's to commit.
    pub(super) async fn close(self, change: &mut SqliteConnection, cost: Cost) -> Result<Added, Error> {
        for (key, known) in self.alike.iter().filter(|(_, known)| known.touched) {
            sqlx::query("INSERT OR REPLACE INTO alike (pack, key, run, held, refused, pattern) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(self.pack)
                .bind(key)
                .bind(self.run)
                .bind(known.many)
                .bind(known.refused)
                .bind(&known.pattern)
                .execute(&mut *change)
                .await?;
        }
        let sums = &self.sums;
        let of = |state: i64| usize::try_from(state).map_or(0, |state| sums.by_state[state]);
        sqlx::query(
            "UPDATE run SET transferred = transferred + ?3, busy = busy + ?4, total = total + ?5, done = done + ?6, gone = gone + ?7,
                 failed = failed + ?8, skipped = skipped + ?9, done_bytes = done_bytes + ?10, known = known + ?11,
                 known_bytes = known_bytes + ?12, left_out = left_out + ?13 WHERE pack = ?1 AND run = ?2",
        )
        .bind(self.pack)
        .bind(self.run)
        .bind(clip(cost.transferred))
        .bind(i64::try_from(cost.busy.as_micros()).unwrap_or(i64::MAX))
        .bind(sums.total)
        .bind(of(is::DONE))
        .bind(of(is::GONE) + of(is::LET_GO))
        .bind(of(is::FAILED))
        .bind(of(is::SKIPPED))
        .bind(sums.done_bytes)
        .bind(sums.known)
        .bind(sums.known_bytes)
        .bind(sums.left_out)
        .execute(&mut *change)
        .await?;
        self.nights.write(change, self.pack).await?;
        Ok(Added { queues: self.first.into_iter().map(|(queue, (origin, rank, depth))| (queue, origin, rank, depth)).collect() })
    }
}

/// What goes first: what pages need, then sound and film, then lists, then further pages. What manners hold back comes last, so that
/// the first of a queue that must wait hides nothing that need not.
pub fn rank(kind: &str) -> i64 {
    match kind {
        "page" => 3,
        "sitemap" | "list" | "feed" | "hls" | "dash" | "zim" => 2,
        "media" => 1,
        _ => 0,
    }
}
