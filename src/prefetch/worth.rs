//! What became of the bytes that the night brought: used by a device at least once, or wasted, by pack and week. And on which days
//! anything was used, for whoever renews it.
//!
//! Nothing is written when somebody uses something: marks are in memory, by address and never by person, and go into the database
//! some times a day. A power cut costs what was marked since.

use crate::base::clock::Time;
use crate::base::count::{IntGauge, Metrics};
use crate::base::target::{Target, UrlKey};
use crate::prefetch::web::Web;
use crate::prefetch::{Error, Night};
use crate::state::used::{Brought, Week};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Weeks that are told.
const WEEKS: i64 = 4;
/// Weeks after which only sums are kept: what lay unused for so long is counted as wasted.
const FOLD: i64 = 9;
/// How often marks go into the database: a power cut costs an hour of them, and a day costs 24 transactions.
const MARKS: Duration = Duration::from_hours(1);
/// Most marks that wait for the database: 2 MB.
const MARKED: usize = 100_000;
/// How often what the night brings is written down while it brings something.
pub(super) const LOOK: Duration = Duration::from_mins(1);

/// Used against wasted, of the last four weeks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Worth)]
#[serde(default)]
pub struct Worth {
    /// Bytes over the line.
    pub brought_bytes: u64,
    /// Of these, for what a device has used since.
    pub used_bytes: u64,
    /// The rest: wasted, so far.
    pub unused_bytes: u64,
    /// By week, the newest last.
    pub weeks: Vec<WeekWorth>,
}

/// One week of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = WeekWorth)]
pub struct WeekWorth {
    /// Its Monday.
    pub week: String,
    /// Bytes over the line.
    pub brought_bytes: u64,
    /// Of these, for what a device has used since.
    pub used_bytes: u64,
}

impl Worth {
    /// The sum over some weeks of one pack, or of all.
    fn of<'w>(weeks: impl Iterator<Item = &'w Week>) -> Worth {
        let mut by: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for week in weeks {
            let sum = by.entry(week.week).or_default();
            *sum = (sum.0 + week.bytes, sum.1 + week.used);
        }
        let (brought_bytes, used_bytes) = by.values().fold((0, 0), |sum, week| (sum.0 + week.0, sum.1 + week.1));
        let told = |(week, (brought_bytes, used_bytes))| WeekWorth { week: monday(week), brought_bytes, used_bytes };
        Worth { brought_bytes, used_bytes, unused_bytes: brought_bytes - used_bytes, weeks: by.into_iter().map(told).collect() }
    }
}

/// What the night brings, until it is written down.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<(String, UrlKey), u64>>);

impl Ledger {
    /// Bytes came over the line for an address of a pack.
    pub fn bring(&self, pack: &str, target: &Target, bytes: u64) {
        if bytes > 0 {
            *self.0.lock().entry((pack.to_owned(), target.key())).or_default() += bytes;
        }
    }

    fn take(&self) -> Vec<Brought> {
        let all = std::mem::take(&mut *self.0.lock());
        all.into_iter().map(|((pack, key), bytes)| Brought { pack, key, bytes }).collect()
    }
}

/// The books of one node.
pub(super) struct Books {
    /// One keeper at a time.
    turn: tokio::sync::Mutex<Kept>,
    weeks: Mutex<Vec<Week>>,
    used: IntGauge,
    unused: IntGauge,
}

/// What the keeper remembers.
#[derive(Default)]
struct Kept {
    /// Not written down yet: it stays when the database fails, or whoever asked goes away meanwhile.
    brought: Vec<Brought>,
    marks: HashSet<UrlKey>,
    marked: Option<Time>,
    day: Option<i64>,
}

impl Books {
    pub(super) fn new(metrics: &Metrics) -> Books {
        let gauges = metrics.gauges(
            "bulak_prefetch_worth_bytes",
            "Bytes that the night brought in four weeks, by whether a device used them.",
            &["use"],
        );
        let of = |word: &str| gauges.with_label_values(&[word]);
        Books { turn: tokio::sync::Mutex::default(), weeks: Mutex::default(), used: of("used"), unused: of("unused") }
    }

    /// Of one pack; of all together.
    pub(super) fn worth(&self, pack: Option<&str>) -> Worth {
        Worth::of(self.weeks.lock().iter().filter(|week| pack.is_none_or(|pack| pack == week.pack)))
    }
}

impl<W: Web> Night<W> {
    /// Writes down what has come and what was used, all of it when `now_all`, else as often as is good for a flash card.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep_books(&self, now_all: bool) -> Result<(), Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let books = &inner.class.books;
        let mut kept = books.turn.lock().await;
        let day = self.day_number(now);
        let new_day = kept.day.is_some_and(|kept| kept != day);
        kept.brought.extend(inner.tally.ledger.take());
        // While the night brings things, marks are taken as often: what was used before must not count for what came after.
        let due = now_all || new_day || !kept.brought.is_empty() || kept.marked.is_none_or(|marked| marked.plus(MARKS) <= now);
        if !due {
            return Ok(());
        }
        // What is marked now was used by yesterday's end: the keeper looks every minute.
        let Kept { brought, marks, .. } = &mut *kept;
        marks.extend(inner.web.uses().into_iter().take(MARKED.saturating_sub(marks.len())));
        inner.state.bring(week_of(day), brought).await?;
        brought.clear();
        let used: Vec<UrlKey> = marks.iter().copied().collect();
        inner.state.mark_used(kept.day.unwrap_or(day), &used).await?;
        kept.marks.clear();
        kept.marked = Some(now);
        if new_day {
            inner.web.turn_uses();
            inner.state.forget_uses(day).await?;
            inner.state.fold_brought(week_of(day) - FOLD).await?;
        }
        kept.day = Some(day);
        *books.weeks.lock() = inner.state.brought(week_of(day) - WEEKS + 1..=week_of(day)).await?;
        let all = books.worth(None);
        books.used.set(i64::try_from(all.used_bytes).unwrap_or(i64::MAX));
        books.unused.set(i64::try_from(all.unused_bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Keeps the books until dropped.
    pub(super) async fn bookkeeper(&self) {
        loop {
            let kept = async {
                self.keep_books(false).await?;
                self.write_proposals().await
            };
            if let Err(error) = kept.await {
                tracing::warn!(error = error.to_string(), "what was used could not be written down, will try again");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The school's day as days since 1970.
    pub(super) fn day_number(&self, now: Time) -> i64 {
        number(&self.0.settings.load().windows.day(now))
    }
}

/// Days since 1970 of `2026-11-26`.
fn number(day: &str) -> i64 {
    let Ok(date) = day.parse::<jiff::civil::Date>() else { return 0 };
    let span = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1)));
    span.map_or(0, |span| i64::from(span.get_days()))
}

/// Weeks since 1970, from Monday on: 1970 began on a Thursday.
fn week_of(day: i64) -> i64 {
    (day + 3).div_euclid(7)
}

fn monday(week: i64) -> String {
    let days = jiff::Span::new().try_days(week * 7 - 3);
    days.and_then(|days| jiff::civil::date(1970, 1, 1).checked_add(days)).map_or_else(|_| String::from("unknown"), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_mondays() {
        for (day, week) in
            [("1970-01-01", "1969-12-29"), ("2026-11-26", "2026-11-23"), ("2026-11-23", "2026-11-23"), ("2026-11-22", "2026-11-16")]
        {
            assert_eq!(monday(week_of(number(day))), week, "{day}");
        }
        assert_eq!((number("1970-01-02"), number("2026-11-26"), number("nonsense")), (1, 20_783, 0));
    }

    #[test]
    fn used_and_wasted_are_sums_by_week() {
        let week = |pack: &str, week, bytes, used| Week { pack: pack.into(), week, bytes, used };
        let weeks = [week("a", 1, 10, 4), week("a", 2, 5, 5), week("b", 2, 7, 0)];
        let all = Worth::of(weeks.iter());
        assert_eq!((all.brought_bytes, all.used_bytes, all.unused_bytes, all.weeks.len()), (22, 9, 13, 2));
        assert_eq!((all.weeks[1].brought_bytes, all.weeks[1].used_bytes), (12, 5));
        let ledger = Ledger::default();
        let target = Target::parse("http://a/").expect("valid");
        for bytes in [3, 0, 4] {
            ledger.bring("a", &target, bytes);
        }
        assert_eq!(ledger.take(), [Brought { pack: "a".into(), key: target.key(), bytes: 7 }]);
        assert!(ledger.take().is_empty());
    }
}
