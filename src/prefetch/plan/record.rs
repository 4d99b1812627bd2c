//! How right a plan was: the one that stood when a run began, against what the run then took. Pure.

use crate::base::unit::Bytes;
use crate::prefetch::plan::{Basis, Figure, clock};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What was planned, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// Bytes.
    pub bytes: Figure,
    /// Things.
    pub wishes: Figure,
    /// Seconds.
    pub seconds: Option<Figure>,
    /// What the bytes rest on.
    pub basis: Basis,
    /// Whether a survey had been made.
    pub surveyed: bool,
}

/// One run against its plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanRecord)]
pub struct Record {
    /// The pack.
    pub pack: String,
    /// The run's number.
    pub run: i64,
    /// Whether it was the pack's first.
    pub first: bool,
    /// When the run began (RFC 3339).
    pub began: String,
    /// When it was through; null while it is not.
    pub ended: Option<String>,
    /// What the planned bytes rested on.
    pub basis: Basis,
    /// Whether a survey had been made.
    pub surveyed: bool,
    /// Planned bytes.
    pub planned_bytes: Figure,
    /// Bytes that came.
    pub took_bytes: u64,
    /// How far off the plan was, per cent of what came; null before the end, and where nothing came but something was planned.
    pub bytes_off_percent: Option<i64>,
    /// Whether what came lay within the plan's bounds.
    pub bytes_within: Option<bool>,
    /// Planned things.
    pub planned_wishes: Figure,
    /// Things that were looked at.
    pub took_wishes: u64,
    /// Planned seconds; null when the rate was unknown.
    pub planned_seconds: Option<Figure>,
    /// Seconds at work.
    pub took_seconds: u64,
    /// As for bytes.
    pub seconds_off_percent: Option<i64>,
}

impl Record {
    /// Puts what was planned beside what came.
    #[must_use]
    pub fn against(self, planned: &Planned) -> Record {
        let over = self.ended.is_some();
        let Planned { bytes, wishes, seconds, basis, surveyed } = *planned;
        Record {
            bytes_off_percent: off(bytes.value, self.took_bytes).filter(|_| over),
            bytes_within: over.then(|| (bytes.low..=bytes.high).contains(&self.took_bytes)),
            seconds_off_percent: seconds.and_then(|seconds| off(seconds.value, self.took_seconds)).filter(|_| over),
            planned_bytes: bytes,
            planned_wishes: wishes,
            planned_seconds: seconds,
            basis,
            surveyed,
            ..self
        }
    }

    /// For people: `first night 2026-11-25: planned ~600.0 MB (…), took 588.2 MB (+2 %); planned ~17 min (…), took 16 min (+4 %)`.
    pub fn sentence(&self) -> String {
        let off = |percent: Option<i64>| percent.map_or_else(String::new, |percent| format!(" ({percent:+} %)"));
        let night = if self.first { "first" } else { "later" };
        let size = |bytes| Bytes(bytes).human();
        let time = |secs| clock(Duration::from_secs(secs));
        let state = if self.ended.is_some() { "took" } else { "so far" };
        let planned_time = self.planned_seconds.map_or_else(|| String::from("unknown"), |seconds| seconds.told(time));
        format!(
            "{} night {}: planned {}, {state} {}{}; planned {planned_time}, {state} {}{}",
            night,
            self.began.get(..10).unwrap_or_default(),
            self.planned_bytes.told(size),
            size(self.took_bytes),
            off(self.bytes_off_percent),
            time(self.took_seconds),
            off(self.seconds_off_percent),
        )
    }
}

/// How far off, per cent of what it was.
fn off(planned: u64, took: u64) -> Option<i64> {
    let (planned, took) = (i128::from(planned), i128::from(took));
    match took {
        0 if planned == 0 => Some(0),
        0 => None,
        took => i64::try_from((planned - took) * 100 / took).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_off() {
        let table = [(100, 100, Some(0)), (130, 100, Some(30)), (65, 100, Some(-35)), (0, 0, Some(0)), (5, 0, None), (0, 5, Some(-100))];
        for (planned, took, wanted) in table {
            assert_eq!(off(planned, took), wanted, "{planned} {took}");
        }
    }

    #[test]
    fn a_run_that_is_not_over_is_not_judged() {
        let bytes = Figure { value: 110, guess: true, low: 90, high: 130 };
        let planned = Planned { bytes, seconds: Some(Figure::known(50)), ..Planned::default() };
        let run = Record { began: "2026-11-25T17:30:00Z".into(), first: true, took_bytes: 100, took_seconds: 40, ..Record::default() };
        let open = run.clone().against(&planned);
        assert_eq!((open.bytes_off_percent, open.bytes_within), (None, None));
        let over = Record { ended: Some("2026-11-25T18:00:00Z".into()), ..run }.against(&planned);
        assert_eq!((over.bytes_off_percent, over.bytes_within, over.seconds_off_percent), (Some(10), Some(true), Some(25)));
        assert_eq!(
            over.sentence(),
            "first night 2026-11-25: planned ~110 B (90 B to 130 B), took 100 B (+10 %); planned 50 s, took 40 s (+25 %)"
        );
    }
}
