//! What a survey found, as the plan keeps it: sums by host, sort and case, never single addresses. Pure; bounded by construction.

use crate::prefetch::plan::guess::{Sample, real};
use crate::prefetch::plan::sort::Sort;
use serde::{Deserialize, Serialize};

/// Why a thing is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// It was never here.
    #[default]
    New,
    /// It is here, and a list says that it has changed.
    Changed,
    /// It is here and may have changed.
    Again,
    /// It is here and rests in this run, unless a person asks.
    Kept,
}

/// Things of one sort on one host, in one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stratum {
    /// The host.
    pub host: String,
    /// The sort.
    pub sort: Sort,
    /// The case.
    pub case: Case,
    /// How many are known, each once.
    pub known: u64,
    /// How many more there will be, since pages that were not read name them.
    pub more: u64,
    /// Hardly less.
    pub more_low: u64,
    /// Hardly more.
    pub more_high: u64,
    /// Their bytes in the last run.
    pub last_bytes: u64,
    /// How many were asked about and gave an answer that counts.
    pub asked: u64,
    /// Of them, how many are fresh: nobody will ask about them.
    pub fresh: u64,
    /// Bytes that will come for those that were asked about; what is here by now is not among them.
    pub coming: u64,
    /// Bytes that those hold.
    pub lengths: u64,
    /// What each of those would bring.
    pub seen: Sample,
    /// Of those that were fetched: bytes over the line.
    pub sent: u64,
    /// And their lengths.
    pub plain: u64,
    /// Bytes by the word of playlists.
    pub claimed: u64,
    /// For so many things.
    pub claimed_of: u64,
    /// Of those asked about: gone, forbidden by robots.txt, refused or not to be kept, longer than may be fetched.
    pub gone: u64,
    /// See `gone`.
    pub forbidden: u64,
    /// See `gone`.
    pub refused: u64,
    /// See `gone`.
    pub too_long: u64,
    /// Asked in vain: no length, no HEAD.
    pub silent: u64,
}

impl Stratum {
    /// Bytes over the line for each byte that is kept: less than one where origins pack what they send.
    pub fn ratio(&self) -> f64 {
        if self.case != Case::New || self.plain == 0 { 1.0 } else { (real(self.sent) / real(self.plain)).clamp(0.01, 1.0) }
    }

    /// One of `part` counts in `asked`: how many in all, then.
    pub fn scaled(&self, part: u64) -> u64 {
        part.saturating_mul(self.known + self.more).checked_div(self.asked).unwrap_or(part)
    }
}

/// How a host lets itself be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// The host.
    pub host: String,
    /// Seconds from one page to the next; 0: it is not held back.
    pub pause: f64,
}

/// Most strata and hosts that are kept: the largest.
pub const MOST: usize = 200;
/// Most notes.
pub const NOTES: usize = 20;

/// What a survey found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// The run that it foresees.
    pub run: i64,
    /// Of the pack's text.
    pub digest: String,
    /// When it was over, µs since 1970.
    pub at: i64,
    /// Nothing of the pack had been fetched before.
    pub first: bool,
    /// What there is.
    pub strata: Vec<Stratum>,
    /// How hosts let themselves be asked.
    pub paces: Vec<Pace>,
    /// Pages that were read, of so many.
    pub read: u64,
    /// See `read`.
    pub pages: u64,
    /// Requests that it made.
    pub requests: u64,
    /// Bytes that it brought.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: u64,
    /// Seconds that a request takes which brings nothing.
    pub wait: Option<f64>,
    /// Whether it asked all that it wanted to.
    pub whole: bool,
    /// Lists were left unread: there is more than is known.
    pub unread: u64,
    /// What is left out before anything is fetched: reason, how many.
    pub left_out: Vec<(String, u64)>,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Findings {
    /// Keeps what can be kept: beyond the largest strata, the small ones of a sort are one.
    pub fn bound(&mut self) {
        self.strata.sort_by_key(|one| std::cmp::Reverse((one.known + one.more, one.lengths.max(one.last_bytes))));
        if self.strata.len() > MOST {
            let small = self.strata.split_off(MOST - 40);
            for one in small {
                let same = |kept: &&mut Stratum| kept.host.is_empty() && kept.sort == one.sort && kept.case == one.case;
                match self.strata[MOST - 40..].iter_mut().find(same) {
                    Some(kept) => kept.join(&one),
                    None => self.strata.push(Stratum { host: String::new(), ..one }),
                }
            }
        }
        self.paces.sort_by(|one, two| two.pause.total_cmp(&one.pause));
        self.paces.truncate(MOST);
        self.left_out.truncate(NOTES);
        self.notes.truncate(NOTES);
    }
}

impl Stratum {
    fn join(&mut self, other: &Stratum) {
        for (own, more) in [
            (&mut self.known, other.known),
            (&mut self.more, other.more),
            (&mut self.more_low, other.more_low),
            (&mut self.more_high, other.more_high),
            (&mut self.last_bytes, other.last_bytes),
            (&mut self.asked, other.asked),
            (&mut self.fresh, other.fresh),
            (&mut self.coming, other.coming),
            (&mut self.lengths, other.lengths),
            (&mut self.seen.count, other.seen.count),
            (&mut self.sent, other.sent),
            (&mut self.plain, other.plain),
            (&mut self.claimed, other.claimed),
            (&mut self.claimed_of, other.claimed_of),
            (&mut self.gone, other.gone),
            (&mut self.forbidden, other.forbidden),
            (&mut self.refused, other.refused),
            (&mut self.too_long, other.too_long),
            (&mut self.silent, other.silent),
        ] {
            *own = own.saturating_add(more);
        }
        self.seen.sum += other.seen.sum;
        self.seen.squares += other.seen.squares;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_hosts_are_kept_as_some_and_the_rest_together() {
        let strata = (0..1000).map(|n| Stratum { host: format!("{n}.kz"), known: 1 + n % 7, last_bytes: 10, ..Stratum::default() });
        let mut findings = Findings { strata: strata.collect(), ..Findings::default() };
        let sum =
            |findings: &Findings| findings.strata.iter().map(|one| (one.known, one.last_bytes)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let before = sum(&findings);
        findings.bound();
        assert!(findings.strata.len() <= MOST, "{}", findings.strata.len());
        assert_eq!(sum(&findings), before);
    }
}
