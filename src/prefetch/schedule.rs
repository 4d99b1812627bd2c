//! Which pack is due now. Pure: the shell in `prefetch.rs` only carries it out.

use crate::base::clock::Time;
use crate::state::frontier::Run;
use std::time::Duration;

/// A run that ended with failures is repeated after so long, or after its refresh period if that is shorter: the next night.
const AFTER_FAILURE: Duration = Duration::from_secs(12 * 3600);

/// What is known of a pack for this decision.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub id: String,
    /// Digest of its text.
    pub digest: String,
    /// How long content counts as new enough.
    pub refresh: Duration,
    /// Its run, if there ever was one.
    pub run: Option<Run>,
    /// When the next open wish of that run may be tried.
    pub next_try: Option<Time>,
}

/// When a pack has work to do: now or earlier means now.
pub fn at(candidate: &Candidate, now: Time) -> Time {
    let Some(run) = &candidate.run else { return now };
    if run.digest != candidate.digest {
        return now;
    }
    match run.finished {
        None => candidate.next_try.unwrap_or(now),
        Some(finished) if run.failed > 0 => finished.plus(candidate.refresh.min(AFTER_FAILURE)),
        Some(finished) => finished.plus(candidate.refresh),
    }
}

/// The first pack that is due; candidates come in order of priority.
pub fn due(candidates: &[Candidate], now: Time) -> Option<&Candidate> {
    // What was begun is finished first: a half pack helps no class.
    let under_way = candidates.iter().find(|one| one.run.as_ref().is_some_and(|run| run.finished.is_none()) && at(one, now) <= now);
    under_way.or_else(|| candidates.iter().find(|one| at(one, now) <= now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_come_due() {
        let now = Time::from_secs(1_800_000_000);
        let ago = |hours: u64| now.minus(Duration::from_secs(hours * 3600));
        let run = |digest: &str, finished: Option<Time>, failed| {
            Some(Run { run: 1, digest: digest.into(), started: ago(200), finished, failed, transferred: 0, busy: Duration::ZERO })
        };
        let pack = |id: &str, run, next_try| Candidate {
            id: id.into(),
            digest: "d".into(),
            refresh: Duration::from_secs(7 * 86_400),
            run,
            next_try,
        };
        let table = [
            ("new", pack("a", None, None), true),
            ("fresh", pack("a", run("d", Some(ago(100)), 0), None), false),
            ("old", pack("a", run("d", Some(ago(169)), 0), None), true),
            ("failed", pack("a", run("d", Some(ago(13)), 2), None), true),
            ("just failed", pack("a", run("d", Some(ago(1)), 2), None), false),
            ("changed", pack("a", run("other", Some(ago(1)), 0), None), true),
            ("under way", pack("a", run("d", None, 0), Some(ago(1))), true),
            ("waiting", pack("a", run("d", None, 0), Some(now.plus(Duration::from_secs(60)))), false),
        ];
        for (name, candidate, wanted) in table {
            assert_eq!(due(&[candidate], now).is_some(), wanted, "{name}");
        }
        let both = [pack("first", None, None), pack("begun", run("d", None, 0), None)];
        assert_eq!(due(&both, now).map(|one| one.id.as_str()), Some("begun"));
    }
}
