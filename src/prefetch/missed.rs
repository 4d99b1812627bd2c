//! Whether the last window was missed, and by how much: the box was off. Nothing is made up for in class hours; the next window
//! begins with what has been due longest, and the status says why it is so much. Pure.

use crate::base::clock::Time;
use crate::prefetch::window::Windows;
use crate::state::history::Ran;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far back the history is read to know whether the node was there before.
pub const BACK: Duration = Duration::from_hours(35 * 24);

/// A window in which the node did not run, or hardly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = MissedWindow)]
pub struct Missed {
    /// When it opened (RFC 3339).
    pub opened: String,
    /// When it closed.
    pub closed: String,
    /// Seconds of it in which the node ran.
    pub ran_s: u64,
    /// The same in one sentence.
    pub sentence: String,
}

/// What was missed of the window from `opened` to `closed`; `None` when the node ran for at least half of it, or is newer.
pub fn missed(windows: &Windows, (opened, closed): (Time, Time), runs: &[Ran]) -> Option<Missed> {
    // A clock that was wrong says nothing about when it was.
    let sound = || runs.iter().filter(|run| run.clock_ok);
    if !sound().any(|run| run.start < opened) {
        return None;
    }
    let ran: Duration = sound().map(|run| run.seen.min(closed).since(run.start.max(opened))).sum();
    if ran * 2 >= closed.since(opened) {
        return None;
    }
    let how = if ran < Duration::from_mins(1) { String::from("off") } else { format!("on for {} min of it only", ran.as_secs() / 60) };
    let sentence = format!("the window from {} to {} was missed: this box was {how}", windows.read(opened), windows.read(closed));
    Some(Missed { opened: opened.to_rfc3339(), closed: closed.to_rfc3339(), ran_s: ran.as_secs(), sentence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_that_was_off_has_missed_its_window() {
        let windows = crate::prefetch::Settings::default().windows;
        // 2026-11-25 22:00 to 07:00 in Almaty.
        let opened = Time::from_secs(1_795_626_000);
        let at = |hours: i64| Time::from_secs(opened.secs() + hours * 3600);
        let ran = |from, to| Ran { start: at(from), seen: at(to), clock_ok: true };
        let wrong = |from, to| Ran { clock_ok: false, ..ran(from, to) };
        let table = [
            ("on all the time", vec![ran(-30, 20)], None),
            ("off all the time", vec![ran(-30, -2), ran(10, 12)], Some(0)),
            ("off for most of it", vec![ran(-30, 1), ran(8, 12)], Some(2 * 3600)),
            ("off for a little of it", vec![ran(-30, 3), ran(5, 12)], None),
            ("bought afterwards", vec![ran(10, 12)], None),
            ("never there", vec![], None),
            ("with a wrong clock", vec![ran(-30, -20), wrong(0, 9)], Some(0)),
        ];
        for (name, runs, wanted) in table {
            let found = missed(&windows, (opened, at(9)), &runs);
            assert_eq!(found.map(|missed| missed.ran_s), wanted, "{name}");
        }
        let told = missed(&windows, (opened, at(9)), &[ran(-30, 1)]).expect("missed").sentence;
        assert_eq!(told, "the window from 25.11.2026 22:00 to 26.11.2026 07:00 was missed: this box was on for 60 min of it only");
    }
}
