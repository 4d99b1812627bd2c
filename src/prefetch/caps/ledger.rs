//! What nights and months have brought, and how much they still may. Pure: which night and month it is comes in as an argument.
//!
//! A page of the ledger is turned by a clock that is right, and by no other: after a power cut a box that believes it is 1970 goes
//! on writing where it was.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most bytes; `None`: no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of one night, noon to noon.
    pub night: Option<u64>,
    /// Of one calendar month.
    pub month: Option<u64>,
}

/// Which cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NightCap)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// That of the night.
    Night,
    /// That of the month.
    Month,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Night => "night",
            Which::Month => "month",
        })
    }
}

/// The night and the month that it is, in the words of `Windows::night` and `Windows::month`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// `2026-11-25`.
    pub night: String,
    /// `2026-11`.
    pub month: String,
}

/// The sums.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The caps in force.
    pub caps: Caps,
    /// Where bytes are written now; `None` before the first.
    page: Option<Page>,
    /// Bytes by night and by month. Their words differ, so one map holds both.
    sums: BTreeMap<String, u64>,
    /// Sums that are newer than what is on disk, and by how many bytes in all.
    unsaved: BTreeSet<String>,
    grown: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new(caps: Caps) -> Ledger {
        Ledger { caps, ..Ledger::default() }
    }

    /// Takes up what is on disk. A sum that has grown since stays.
    pub fn recall(&mut self, sums: impl IntoIterator<Item = (String, u64)>) {
        if self.unsaved.is_empty() {
            // A clock that is wrong looks for its page among what is known now.
            self.page = None;
        }
        for (period, bytes) in sums {
            let known = self.sums.entry(period).or_default();
            *known = bytes.max(*known);
        }
    }

    /// It is this night and month. A clock that is not `trusted` turns no page: the newest there is stays open.
    pub fn turn(&mut self, page: Page, trusted: bool) {
        if !trusted && self.page.is_none() {
            let newest = |length: usize| self.sums.keys().rfind(|period| period.len() == length).cloned();
            let (night, month) = (newest(page.night.len()), newest(page.month.len()));
            self.page = Some(Page { night: night.unwrap_or(page.night), month: month.unwrap_or(page.month) });
        } else if trusted {
            self.page = Some(page);
        }
    }

    /// Bytes have come. Bytes before the first page are nobody's.
    pub fn spend(&mut self, bytes: u64) {
        let Some(page) = &self.page else { return };
        for period in [&page.night, &page.month] {
            match self.sums.get_mut(period) {
                Some(sum) => *sum = sum.saturating_add(bytes),
                None => {
                    self.sums.insert(period.clone(), bytes);
                }
            }
            if !self.unsaved.contains(period) {
                self.unsaved.insert(period.clone());
            }
        }
        self.grown = self.grown.saturating_add(bytes);
    }

    /// Bytes of this night and of this month.
    pub fn spent(&self) -> (u64, u64) {
        let sum = |period: &String| self.sums.get(period).copied().unwrap_or(0);
        self.page.as_ref().map_or((0, 0), |page| (sum(&page.night), sum(&page.month)))
    }

    /// Bytes that may still come.
    pub fn left(&self) -> u64 {
        let (night, month) = self.spent();
        let left = |cap: Option<u64>, spent| cap.map_or(u64::MAX, |cap| cap.saturating_sub(spent));
        left(self.caps.night, night).min(left(self.caps.month, month))
    }

    /// The cap that is reached; of both that of the month, which holds longer.
    pub fn reached(&self) -> Option<Which> {
        let (night, month) = self.spent();
        let reached = |cap: Option<u64>, spent| cap.is_some_and(|cap| spent >= cap);
        if reached(self.caps.month, month) {
            return Some(Which::Month);
        }
        reached(self.caps.night, night).then_some(Which::Night)
    }

    /// How many bytes would be forgotten by a power cut now.
    pub fn grown(&self) -> u64 {
        self.grown
    }

    /// The sums to write down; they count as written until [`Ledger::not_saved`] says otherwise.
    pub fn save(&mut self) -> Vec<(String, u64)> {
        self.grown = 0;
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved
            .into_iter()
            .map(|period| (self.sums.get(&period).copied().unwrap_or(0), period))
            .map(|(sum, period)| (period, sum))
            .collect()
    }

    /// Writing them down failed.
    pub fn not_saved(&mut self, sums: Vec<(String, u64)>) {
        self.unsaved.extend(sums.into_iter().map(|(period, _)| period));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(night: &str) -> Page {
        Page { night: night.into(), month: night[..7].into() }
    }

    #[test]
    fn the_least_of_both_is_left_and_each_opens_again_in_its_time() {
        let mut ledger = Ledger::new(Caps { night: Some(100), month: Some(150) });
        let table = [
            ("2026-11-29", 40, 60, None),
            ("2026-11-29", 60, 0, Some(Which::Night)),
            ("2026-11-29", 5, 0, Some(Which::Night)),
            // The next night begins anew, with what is left of the month.
            ("2026-11-30", 30, 15, None),
            ("2026-11-30", 20, 0, Some(Which::Month)),
            ("2026-12-01", 99, 1, None),
            // A clock put back finds the sums as they were.
            ("2026-11-29", 0, 0, Some(Which::Month)),
        ];
        for (night, bytes, left, reached) in table {
            ledger.turn(page(night), true);
            ledger.spend(bytes);
            assert_eq!((ledger.left(), ledger.reached()), (left, reached), "{night} {bytes}");
        }
        ledger.caps = Caps::default();
        assert_eq!((ledger.left(), ledger.reached()), (u64::MAX, None));
    }

    #[test]
    fn a_clock_that_is_wrong_turns_no_page() {
        let mut ledger = Ledger::new(Caps { night: None, month: Some(100) });
        ledger.recall([("2026-10".into(), 7), ("2026-11".into(), 90), ("2026-11-24".into(), 50), ("2026-11-25".into(), 40)]);
        ledger.turn(page("1970-01-01"), false);
        ledger.spend(10);
        assert_eq!((ledger.spent(), ledger.reached()), ((50, 100), Some(Which::Month)));
        ledger.turn(page("2026-12-02"), true);
        assert_eq!((ledger.spent(), ledger.reached()), ((0, 0), None));
        ledger.turn(page("1970-01-01"), false);
        ledger.spend(1);
        assert_eq!(ledger.spent(), (1, 1), "written where it was");
        assert_eq!(ledger.save(), [("2026-11".into(), 100), ("2026-11-25".into(), 50), ("2026-12".into(), 1), ("2026-12-02".into(), 1)]);
        // Nothing known at all: what the clock says is as good as anything.
        let mut new = Ledger::default();
        new.spend(5);
        new.turn(page("2026-11-01"), false);
        new.spend(5);
        assert_eq!(new.spent(), (5, 5));
    }

    #[test]
    fn what_is_not_written_down_is_known() {
        let mut ledger = Ledger::default();
        ledger.turn(page("2026-11-25"), true);
        ledger.spend(3);
        assert_eq!(ledger.grown(), 3);
        let sums = ledger.save();
        assert_eq!((ledger.grown(), sums.len(), ledger.save().len()), (0, 2, 0));
        ledger.not_saved(sums);
        assert_eq!(ledger.save(), [("2026-11".into(), 3), ("2026-11-25".into(), 3)]);
        ledger.recall([("2026-11".into(), 2)]);
        ledger.turn(page("2026-11-25"), true);
        assert_eq!(ledger.spent(), (3, 3), "what is on disk may be older");
    }
}
