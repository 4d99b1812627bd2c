//! Whether the night may work now, and if not, which of all reasons counts: the one that holds when the others are gone. Pure.

use crate::base::clock::Time;
use crate::base::unit::Bytes;
use crate::prefetch::caps::{View, Which};
use crate::prefetch::window::Windows;
use crate::state::night::Pause;

/// What is known for this decision.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: Time,
    /// Whether the clock is right.
    pub trusted: bool,
    /// A person wants the line left alone.
    pub pause: Option<Pause>,
    /// Every byte costs money: nothing is fetched ahead but what people ask for.
    pub metered: bool,
    /// What the caps say.
    pub caps: View,
    /// The school's windows.
    pub windows: &'a Windows,
}

/// Why nothing is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A person paused it, until then or until somebody resumes it.
    Paused(Option<Time>),
    /// A cap is reached; when fetching can go on.
    Cap(Which, Option<Time>),
    /// The clock is wrong: nobody knows whether it is night.
    Clock,
    /// Only what people ask for.
    Metered,
    /// Outside the windows; when the next one opens.
    Shut(Option<Time>),
}

/// Whether what is due may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Until then.
    Open(Time),
    /// No.
    Rest(Rest),
}

impl Facts<'_> {
    /// For what the schedule finds due.
    pub fn ahead(&self) -> Permit {
        if let Some(rest) = self.paused() {
            return Permit::Rest(rest);
        }
        let (open, next) = (self.windows.open_at(self.now), self.windows.next_open(self.now));
        if let Some((which, again)) = self.caps.reached {
            let at = self.windows.open_at(again).map(|_| again).or_else(|| self.windows.next_open(again));
            // A cap that opens again before the next window does keeps nobody from anything.
            if open.is_some() || at.is_none() || at > next {
                return Permit::Rest(Rest::Cap(which, at));
            }
        }
        match (self.trusted, self.metered, open) {
            (false, ..) => Permit::Rest(Rest::Clock),
            (true, true, _) => Permit::Rest(Rest::Metered),
            (true, false, None) => Permit::Rest(Rest::Shut(next)),
            (true, false, Some(until)) => Permit::Open(until),
        }
    }

    /// What keeps us even from fetching what a person asked for.
    pub fn asked(&self) -> Option<Rest> {
        let cap = || self.caps.reached.map(|(which, again)| Rest::Cap(which, Some(again)));
        self.paused().or_else(cap)
    }

    /// Whether a pause holds.
    fn paused(&self) -> Option<Rest> {
        self.pause.filter(|pause| pause.until.is_none_or(|until| self.now < until)).map(|pause| Rest::Paused(pause.until))
    }
}

impl Rest {
    /// Every word of [`Rest::word`].
    pub const WORDS: [&'static str; 6] = ["paused", "cap_night", "cap_month", "clock", "metered", "window"];

    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Rest::Paused(_) => "paused",
            Rest::Cap(Which::Night, _) => "cap_night",
            Rest::Cap(Which::Month, _) => "cap_month",
            Rest::Clock => "clock",
            Rest::Metered => "metered",
            Rest::Shut(_) => "window",
        }
    }

    /// When it is over by itself, as far as that is known.
    pub fn ends(self) -> Option<Time> {
        match self {
            Rest::Paused(at) | Rest::Cap(_, at) | Rest::Shut(at) => at,
            Rest::Clock | Rest::Metered => None,
        }
    }

    /// A sentence for people.
    pub fn sentence(self, windows: &Windows, caps: &View) -> String {
        let at = |time: Option<Time>, word: &str| time.map_or_else(String::new, |time| format!("{word}{}", windows.read(time)));
        match self {
            Rest::Paused(None) => String::from("paused by a person until \"bulak night resume\""),
            Rest::Paused(until) => format!("paused by a person{}", at(until, " until ")),
            Rest::Cap(which, again) => {
                let cap = match which {
                    Which::Night => caps.caps.night,
                    Which::Month => caps.caps.month,
                };
                let size = Bytes(cap.unwrap_or(0)).human();
                format!("night.{which}_cap of {size} is reached{}", at(again, ", opens again "))
            }
            Rest::Clock => String::from("the clock is not right, so nobody knows whether it is night"),
            Rest::Metered => String::from("the line is metered (night.metered): only what people ask for is fetched"),
            Rest::Shut(None) => String::from("there is no window (night.windows)"),
            Rest::Shut(next) => format!("waiting for the window{}", at(next, ", opens ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::caps::Caps;
    use std::time::Duration;

    /// 2026-11-25 22:30 in Almaty: half an hour into the window.
    const LATE: Time = Time::from_secs(1_795_627_800);

    fn after(minutes: u64) -> Time {
        LATE.plus(Duration::from_mins(minutes))
    }

    #[test]
    fn one_reason_counts() {
        let windows = &crate::prefetch::Settings::default().windows;
        let caps = View { night: 0, month: 0, caps: Caps { night: Some(5_000_000), month: None }, reached: None };
        let night = Facts { now: LATE, trusted: true, pause: None, metered: false, caps, windows };
        let day = Facts { now: after(14 * 60), ..night };
        let (closes, noon, opens) = (after(8 * 60 + 30), after(13 * 60 + 30), after(23 * 60 + 30));
        let month = after(5 * 24 * 60 + 90);
        let with = |which, again| View { reached: Some((which, again)), ..caps };
        let pause = |until| Some(Pause { since: LATE, until });
        let rest = Permit::Rest;
        let table = [
            ("night", night, Permit::Open(closes), None),
            ("day", day, rest(Rest::Shut(Some(opens))), None),
            ("paused", Facts { pause: pause(None), ..night }, rest(Rest::Paused(None)), Some(Rest::Paused(None))),
            ("pause is over", Facts { pause: pause(Some(LATE)), ..night }, Permit::Open(closes), None),
            (
                "paused while a cap is reached",
                Facts { pause: pause(Some(noon)), caps: with(Which::Night, noon), ..night },
                rest(Rest::Paused(Some(noon))),
                Some(Rest::Paused(Some(noon))),
            ),
            (
                "the night's cap",
                Facts { caps: with(Which::Night, noon), ..night },
                rest(Rest::Cap(Which::Night, Some(opens))),
                Some(Rest::Cap(Which::Night, Some(noon))),
            ),
            (
                "the night's cap, by day",
                Facts { now: after(9 * 60), caps: with(Which::Night, noon), ..night },
                rest(Rest::Shut(Some(opens))),
                Some(Rest::Cap(Which::Night, Some(noon))),
            ),
            (
                "the month's cap, by day",
                Facts { caps: with(Which::Month, month), ..day },
                rest(Rest::Cap(Which::Month, Some(month))),
                Some(Rest::Cap(Which::Month, Some(month))),
            ),
            ("a wrong clock", Facts { trusted: false, ..night }, rest(Rest::Clock), None),
            ("metered", Facts { metered: true, ..night }, rest(Rest::Metered), None),
            ("metered by day", Facts { metered: true, ..day }, rest(Rest::Metered), None),
        ];
        for (name, facts, ahead, asked) in table {
            assert_eq!((facts.ahead(), facts.asked()), (ahead, asked), "{name}");
        }
    }

    #[test]
    fn reasons_in_words() {
        let windows = crate::prefetch::Settings::default().windows;
        let caps = View { night: 0, month: 0, caps: Caps { night: None, month: Some(20_000_000_000) }, reached: None };
        let table = [
            (Rest::Paused(Some(LATE)), "paused by a person until 25.11.2026 22:30"),
            (Rest::Cap(Which::Month, Some(LATE)), "night.month_cap of 20.0 GB is reached, opens again 25.11.2026 22:30"),
            (Rest::Shut(Some(LATE)), "waiting for the window, opens 25.11.2026 22:30"),
            (Rest::Shut(None), "there is no window (night.windows)"),
        ];
        for (rest, wanted) in table {
            assert_eq!(rest.sentence(&windows, &caps), wanted);
            assert!(Rest::WORDS.contains(&rest.word()));
        }
    }
}
