//! Which pack is due now, and for how long it has the line. Pure: the shell in `prefetch.rs` only carries it out.
//!
//! The rule: the pack of the highest priority goes first. Packs of one priority take turns: whoever was worked on least in this
//! night goes next; of those that are level, one that was begun before one that was not, then the one that has been due longest.
//! So what was not finished last night has the first turn of this one, and a pack of 100 GB keeps no other from its turn. A turn
//! lasts an equal share of what is left of the window, but 5 minutes at least and 20 at most; who is alone goes on. A pack of which the
//! store has just taken nothing more lets all others go first: what they want may be smaller, or here.

use crate::base::clock::Time;
use crate::state::frontier::Run;
use std::cmp::Reverse;
use std::time::Duration;

/// The longest turn. What is under way at its end is dropped, some seconds' worth of the line: below 1 % of 20 minutes.
const TURN: Duration = Duration::from_mins(20);
/// The shortest: with a hundred packs each gets one within a night.
const LEAST: Duration = Duration::from_mins(5);

/// A run that ended with failures is repeated after so long, or after its refresh period if that is shorter: the next night.
const AFTER_FAILURE: Duration = Duration::from_hours(12);

/// A run that ended further ahead than this was told so by a clock that was ahead: nobody knows when it was.
const AHEAD: Duration = Duration::from_hours(1);

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
    /// Larger goes first.
    pub priority: i64,
    /// How long it was worked on in this night.
    pub served: Duration,
    /// A short while ago the store took nothing more of it.
    pub full: bool,
}

impl Candidate {
    fn is_under_way(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.finished.is_none())
    }
}

/// When a pack has work to do: now or earlier means now.
pub fn at(candidate: &Candidate, now: Time) -> Time {
    let Some(run) = &candidate.run else { return now };
    if run.digest != candidate.digest {
        return now;
    }
    match run.finished {
        None => candidate.next_try.unwrap_or(now),
        Some(finished) if finished > now.plus(AHEAD) => now,
        // What is old in the meantime begins anew, though something failed only yesterday.
        Some(finished) if run.failed > 0 => finished.plus(AFTER_FAILURE).min(run.through.unwrap_or(finished).plus(candidate.refresh)),
        Some(finished) => finished.plus(candidate.refresh),
    }
}

/// The pack whose turn it is.
pub fn due(candidates: &[Candidate], now: Time) -> Option<&Candidate> {
    let due = candidates.iter().map(|one| (at(one, now), one)).filter(|(at, _)| *at <= now);
    due.min_by_key(|(at, one)| (one.full, Reverse(one.priority), one.served, !one.is_under_way(), *at)).map(|(_, one)| one)
}

/// When its turn ends, where `until` is the window's end: earlier when another of its priority or a higher one has or will have
/// work in this window.
pub fn turn(candidates: &[Candidate], whose: &Candidate, now: Time, until: Time) -> Time {
    let others = candidates.iter().filter(|one| one.id != whose.id && one.priority >= whose.priority && at(one, now) < until).count();
    let Ok(others @ 1..) = u32::try_from(others) else { return until };
    let share = until.since(now) / (others + 1);
    until.min(now.plus(share.clamp(LEAST, TURN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_come_due() {
        let now = Time::from_secs(1_800_000_000);
        let ago = |hours: u64| now.minus(Duration::from_hours(hours));
        let run = |digest: &str, finished: Option<Time>, failed| {
            Some(Run {
                run: 1,
                digest: digest.into(),
                started: ago(200),
                finished,
                through: finished,
                failed,
                doubtful: failed,
                no_room: 0,
                transferred: 0,
                busy: Duration::ZERO,
            })
        };
        let pack = |id: &str, run, next_try| Candidate {
            id: id.into(),
            digest: "d".into(),
            refresh: Duration::from_hours(7 * 24),
            run,
            next_try,
            priority: 0,
            served: Duration::ZERO,
            full: false,
        };
        let table = [
            ("new", pack("a", None, None), true),
            ("fresh", pack("a", run("d", Some(ago(100)), 0), None), false),
            ("old", pack("a", run("d", Some(ago(169)), 0), None), true),
            ("failed", pack("a", run("d", Some(ago(13)), 2), None), true),
            ("just failed", pack("a", run("d", Some(ago(1)), 2), None), false),
            ("by a clock that was ahead", pack("a", run("d", Some(now.plus(Duration::from_hours(40_000))), 0), None), true),
            ("by a clock that was a minute ahead", pack("a", run("d", Some(now.plus(Duration::from_mins(1))), 0), None), false),
            ("changed", pack("a", run("other", Some(ago(1)), 0), None), true),
            ("under way", pack("a", run("d", None, 0), Some(ago(1))), true),
            ("waiting", pack("a", run("d", None, 0), Some(now.plus(Duration::from_mins(1)))), false),
        ];
        for (name, candidate, wanted) in table {
            assert_eq!(due(&[candidate], now).is_some(), wanted, "{name}");
        }
        let both = [pack("first", None, None), pack("begun", run("d", None, 0), None)];
        assert_eq!(due(&both, now).map(|one| one.id.as_str()), Some("begun"));
    }
    fn candidate(id: &str, priority: i64, served: u64, begun: bool, due: Time) -> Candidate {
        let run = Run {
            run: 1,
            digest: "d".into(),
            started: due,
            finished: None,
            through: None,
            failed: 0,
            doubtful: 0,
            no_room: 0,
            transferred: 0,
            busy: Duration::ZERO,
        };
        let finished = Run { finished: Some(due.minus(Duration::from_hours(24))), ..run.clone() };
        Candidate {
            id: id.into(),
            digest: "d".into(),
            refresh: Duration::from_hours(24),
            run: Some(if begun { run } else { finished }),
            next_try: Some(due),
            priority,
            served: Duration::from_mins(served),
            full: false,
        }
    }

    #[test]
    fn packs_take_turns() {
        let now = Time::from_secs(1_800_000_000);
        let ago = |hours: u64| now.minus(Duration::from_hours(hours));
        let one = |id, priority, served, begun, hours| candidate(id, priority, served, begun, ago(hours));
        let table: [(&str, Vec<Candidate>, &str); 6] = [
            ("priority", vec![one("low", 1, 0, true, 9), one("high", 5, 300, false, 1)], "high"),
            ("least served", vec![one("large", 0, 20, true, 9), one("small", 0, 0, false, 1)], "small"),
            ("begun first when level", vec![one("due", 0, 0, false, 99), one("begun", 0, 0, true, 1)], "begun"),
            ("longest due when level", vec![one("a", 0, 0, false, 1), one("b", 0, 0, false, 30)], "b"),
            ("not due yet", vec![candidate("a", 9, 0, true, now.plus(Duration::from_secs(1))), one("b", 0, 90, false, 1)], "b"),
            ("level and begun", vec![one("a", 0, 0, true, 1), one("b", 0, 0, true, 2)], "b"),
        ];
        for (name, candidates, wanted) in table {
            assert_eq!(due(&candidates, now).map(|one| one.id.as_str()), Some(wanted), "{name}");
        }
    }

    #[test]
    fn turns_are_a_share_of_the_window() {
        let now = Time::from_secs(1_800_000_000);
        let until = now.plus(Duration::from_hours(9));
        let packs =
            |count: u64, priority: i64| (0..count).map(move |n| candidate(&format!("p{n}"), priority, 0, true, now)).collect::<Vec<_>>();
        let minutes = |candidates: &[Candidate], until: Time| turn(candidates, &candidates[0], now, until).since(now).as_secs() / 60;
        assert_eq!(minutes(&packs(1, 0), until), 540, "alone");
        assert_eq!(minutes(&packs(2, 0), until), 20);
        assert_eq!(minutes(&packs(54, 0), until), 10);
        assert_eq!(minutes(&packs(500, 0), until), 5);
        assert_eq!(minutes(&packs(500, 0), now.plus(Duration::from_mins(3))), 3, "never past the window");
        let mut mixed = packs(1, 5);
        mixed.push(Candidate { id: "low".into(), ..candidate("low", 1, 0, true, now) });
        assert_eq!(minutes(&mixed, until), 540, "a lower priority waits");
        mixed.push(candidate("later", 7, 0, true, until));
        assert_eq!(minutes(&mixed, until), 540, "not in this window");
        mixed.push(candidate("soon", 7, 0, true, now.plus(Duration::from_hours(1))));
        assert_eq!(minutes(&mixed, until), 20);
    }

    /// A pack that needs nights beside two that need an hour each: nobody starves, and the large one gets the rest.
    #[test]
    fn a_large_pack_starves_nobody() {
        let (start, night) = (Time::from_secs(1_800_000_000), Duration::from_hours(9));
        let mut packs = vec![candidate("large", 0, 0, true, start), candidate("b", 0, 0, false, start), candidate("c", 0, 0, false, start)];
        let mut left = [Duration::from_hours(100), Duration::from_hours(1), Duration::from_hours(1)];
        let (mut now, until, mut order) = (start, start.plus(night), Vec::new());
        while now < until {
            let Some(whose) = due(&packs, now).cloned() else { break };
            let place = packs.iter().position(|one| one.id == whose.id).expect("one of them");
            let took = turn(&packs, &whose, now, until).since(now).min(left[place]);
            (now, left[place]) = (now.plus(took), left[place].saturating_sub(took));
            packs[place].served += took;
            order.push(whose.id);
            if left[place].is_zero() {
                packs.remove(place);
                left = if place == 1 { [left[0], left[2], Duration::ZERO] } else { [left[0], left[1], Duration::ZERO] };
            }
        }
        assert_eq!(order[..4], ["large", "b", "c", "large"]);
        assert_eq!(packs.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["large"], "the others are through");
        assert_eq!(left[0], Duration::from_hours(100 - 7));
    }
}
