//! The morning's summary put together: figures and packs in, one document and one sentence out. Pure.
//!
//! The first sentence is for the teacher: is everything here? Only then come figures, and what to do about what is not.

use crate::base::clock::Time;
use crate::prefetch::summary::reason::{self, Kind, Reason};
use crate::prefetch::window::Windows;
use crate::site::pack::Title;
use crate::state::summary::{CHANGED, Figures, NEW, PackNight, SAME};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Packs that are listed; a node may hold more, whose sums are in the night's.
const LISTED: usize = 200;

/// How a pack stands in the morning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryPackState)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All of it is here.
    Complete,
    /// It is through, but some of it could not be fetched.
    Incomplete,
    /// It goes on in the next window.
    GoesOn,
    /// Nothing of it has been looked at yet.
    #[default]
    NotBegun,
}

/// What became of things in a night; each counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryCounts)]
#[serde(default)]
pub struct Counts {
    /// Were not here before.
    pub new: u64,
    /// Have other content than before.
    pub changed: u64,
    /// Are as they were.
    pub unchanged: u64,
    /// Could not be fetched.
    pub failed: u64,
    /// Their origin has them no more (404, 410).
    pub gone: u64,
    /// Hosts (robots.txt) or the pack's own rules do not want them fetched.
    pub refused: u64,
    /// Larger than what may come.
    pub left_out: u64,
    /// Bytes over the line.
    pub line_bytes: u64,
    /// Bytes of what is new or changed.
    pub body_bytes: u64,
    /// Seconds in which something was under way.
    pub busy_s: u64,
}

/// What did not come, by reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryGroup)]
pub struct Group {
    /// What kind of reason.
    pub kind: Kind,
    /// The reason as a word (`failed.server`).
    pub reason: String,
    /// The reason for people.
    pub told: String,
    /// What to do.
    pub remedy: String,
    /// How many things.
    pub many: u64,
    /// The host of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What is still to come of a pack, and why it did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryLeft)]
pub struct Left {
    /// How many things, as far as they are known.
    pub things: u64,
    /// Their bytes, reckoned.
    pub bytes: u64,
    /// Why: `metered`, `window`, `turn`, `cap_night`, `cap_month`, `store_full`, `host_waits`, `paused`, `cancelled`, `made_way`, `power`, `no_turn`.
    pub reason: String,
    /// The same for people.
    pub told: String,
    /// What to do.
    pub remedy: String,
}

/// One pack's night.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryPack)]
pub struct Pack {
    /// The pack.
    pub id: String,
    /// Its titles.
    pub title: Title,
    /// How it stands.
    pub state: State,
    /// What became of its things in this night.
    pub counts: Counts,
    /// Things of its run that are missing, this night's and older ones.
    pub missing: u64,
    /// Things of its run for which there is no room: more than the pack, or all packs together, may keep.
    #[serde(default)]
    pub no_room: u64,
    /// What is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// What did not come, by reason.
    pub groups: Vec<Group>,
}

/// A night in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NightBrief)]
#[serde(default)]
pub struct Brief {
    /// The night, by the date of its evening.
    pub night: String,
    /// Whether it is over, or everything is done.
    pub complete: bool,
    /// Whether all packs are here as a whole.
    pub ready: bool,
    /// The first sentence.
    pub sentence: String,
    /// Packs in force.
    pub packs: u64,
    /// Of these, through.
    pub packs_complete: u64,
    /// What became of all things.
    pub counts: Counts,
    /// Things still to come.
    pub left: u64,
    /// Starts after a power cut or a kill.
    pub power_cuts: u64,
}

/// What people wished for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SummaryWishes)]
#[serde(default)]
pub struct Wishes {
    /// Came in this night.
    pub fulfilled: u64,
    /// Wait for a window.
    pub waiting: u64,
    /// Could not be fetched, or are no more.
    pub failed: u64,
}

/// A night as it is told in the morning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NightSummary)]
#[serde(default)]
pub struct Summary {
    /// The night in short.
    #[serde(flatten)]
    pub brief: Brief,
    /// When its first window opened, or opens (RFC 3339); null when it has none.
    pub opened: Option<String>,
    /// When its last window closed, or closes.
    pub closed: Option<String>,
    /// Starts of the node after an orderly end.
    pub restarts: u64,
    /// Seconds in which the line was down while windows were open.
    pub line_down_s: u64,
    /// The windows were missed: the box was off. In one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// What people wished for.
    pub wishes: Wishes,
    /// The packs in force, the most important first; two hundred at most.
    pub each: Vec<Pack>,
    /// Bytes that the night's work brought in four weeks.
    pub brought_bytes: u64,
    /// Of these, for what a device has used since; the rest was fetched in vain, so far.
    pub used_bytes: u64,
    /// The night before, as far as there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Brief>,
}

/// A pack in force, as its run stands.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The pack.
    pub id: String,
    /// Its titles.
    pub title: Title,
    /// Whether a run ever began; whether it is through.
    pub run: Option<bool>,
    /// Things that could not be fetched in it.
    pub missing: u64,
    /// Things in it for which there is no room.
    pub no_room: u64,
    /// Things still open in it.
    pub open: u64,
    /// Their bytes, reckoned.
    pub open_bytes: u64,
}

/// What a summary is made of.
#[derive(Debug)]
pub struct Given<'g> {
    /// The night.
    pub night: &'g str,
    /// Now.
    pub now: Time,
    /// The school's windows.
    pub windows: &'g Windows,
    /// Whether the night is over, or everything is done.
    pub complete: bool,
    /// What was counted.
    pub figures: &'g Figures,
    /// Why nothing was begun at all, if so: `metered`, `cap_night`, `cap_month`.
    pub rest: Option<&'static str>,
    /// The packs in force.
    pub packs: Vec<Known>,
    /// Bytes over the line of the whole night, with what was begun and never came to an end.
    pub line_bytes: u64,
    /// Time in which the line was down.
    pub line_down: Duration,
    /// See [`Summary::missed`].
    pub missed: Option<String>,
    /// Wishes.
    pub wishes: Wishes,
    /// Brought in four weeks, and used of it.
    pub worth: (u64, u64),
    /// The summary before this.
    pub before: Option<Brief>,
}

/// Puts it together.
pub fn compose(given: Given<'_>) -> Summary {
    let figures = given.figures;
    let cut = figures.cuts > 0;
    let mut sum = Counts::default();
    figures.packs.values().for_each(|night| sum.add(&Counts::of(night)));
    sum.line_bytes = sum.line_bytes.max(given.line_bytes);
    let nothing = PackNight::default();
    let mut each: Vec<Pack> = given
        .packs
        .into_iter()
        .map(|known| {
            let night = figures.packs.get(&known.id).unwrap_or(&nothing);
            pack(known, night, given.rest, cut)
        })
        .collect();
    let (through, packs) = (each.iter().filter(|pack| pack.is_through()).count(), each.len());
    let opens = given.windows.next_open(given.now);
    let sentence = sentence(&each, given.complete, given.windows, given.now, opens);
    let sentence = given.missed.iter().fold(sentence, |sentence, missed| sentence + "; " + missed);
    let brief = Brief {
        night: given.night.to_owned(),
        complete: given.complete,
        ready: each.iter().all(|pack| pack.state == State::Complete),
        sentence,
        packs: whole(packs),
        packs_complete: whole(through),
        counts: sum,
        left: each.iter().filter_map(|pack| pack.left.as_ref()).map(|left| left.things).sum(),
        power_cuts: figures.cuts,
    };
    each.truncate(LISTED);
    let noons = given.windows.noons(given.night);
    let open = noons.and_then(|(from, until)| given.windows.open_between(from, until));
    Summary {
        brief,
        opened: open.map(|(opened, _)| opened.to_rfc3339()),
        closed: open.map(|(_, closed)| closed.to_rfc3339()),
        restarts: figures.starts,
        line_down_s: given.line_down.as_secs(),
        missed: given.missed,
        wishes: given.wishes,
        each,
        brought_bytes: given.worth.0,
        used_bytes: given.worth.1,
        before: given.before,
    }
}

impl Counts {
    /// Of a pack's night.
    fn of(night: &PackNight) -> Counts {
        let mut counts = Counts { line_bytes: night.line, busy_s: night.busy.as_secs(), ..Counts::default() };
        for came in &night.came {
            let place = match (came.word.as_str(), reason::kind(&came.word)) {
                (NEW, _) => &mut counts.new,
                (CHANGED, _) => &mut counts.changed,
                (SAME, _) => &mut counts.unchanged,
                (reason::GONE, _) => &mut counts.gone,
                (_, Some(Kind::Refused)) => &mut counts.refused,
                (_, Some(Kind::LeftOut)) => &mut counts.left_out,
                // Also a word of another version: it did not come.
                _ => &mut counts.failed,
            };
            *place = place.saturating_add(came.many);
            if matches!(came.word.as_str(), NEW | CHANGED) {
                counts.body_bytes = counts.body_bytes.saturating_add(came.bytes);
            }
        }
        counts
    }

    fn add(&mut self, other: &Counts) {
        let Counts { new, changed, unchanged, failed, gone, refused, left_out, line_bytes, body_bytes, busy_s } = other;
        for (sum, more) in [
            (&mut self.new, new),
            (&mut self.changed, changed),
            (&mut self.unchanged, unchanged),
            (&mut self.failed, failed),
            (&mut self.gone, gone),
            (&mut self.refused, refused),
            (&mut self.left_out, left_out),
            (&mut self.line_bytes, line_bytes),
            (&mut self.body_bytes, body_bytes),
            (&mut self.busy_s, busy_s),
        ] {
            *sum = sum.saturating_add(*more);
        }
    }
}

impl Pack {
    fn is_through(&self) -> bool {
        matches!(self.state, State::Complete | State::Incomplete)
    }
}

fn pack(known: Known, night: &PackNight, rest: Option<&str>, cut: bool) -> Pack {
    let state = match (known.run, known.missing) {
        (None, _) => State::NotBegun,
        (Some(false), _) => State::GoesOn,
        (Some(true), 0) => State::Complete,
        (Some(true), _) => State::Incomplete,
    };
    let left = matches!(state, State::GoesOn | State::NotBegun).then(|| {
        let (reason, told, remedy) = reason::left(night.ended.as_deref().or(rest), cut);
        Left { things: known.open, bytes: known.open_bytes, reason: reason.into(), told: told.into(), remedy: remedy.into() }
    });
    let groups = night.came.iter().filter_map(|came| {
        let (kind, reason) = (reason::kind(&came.word)?, Reason::of(&came.word));
        Some(Group {
            kind,
            reason: came.word.clone(),
            told: reason.map_or_else(|| came.word.clone(), |reason| reason.told.into()),
            remedy: reason.map_or_else(String::new, |reason| reason.remedy.into()),
            many: came.many,
            host: came.host.clone(),
        })
    });
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by(|a, b| a.kind.cmp(&b.kind).then(b.many.cmp(&a.many)));
    Pack {
        counts: Counts::of(night),
        id: known.id,
        title: known.title,
        state,
        missing: known.missing,
        no_room: known.no_room,
        left,
        groups,
    }
}

/// Is everything here?
fn sentence(packs: &[Pack], complete: bool, windows: &Windows, now: Time, opens: Option<Time>) -> String {
    let (all, through) = (packs.len(), packs.iter().filter(|pack| pack.is_through()).count());
    if all == 0 {
        return String::from("No packs: nothing is fetched ahead");
    }
    let head = match (complete, through) {
        (false, _) => "So far",
        (true, 0) => "Not ready",
        (true, _) => "Ready",
    };
    let here = match (all, through) {
        (1, 1) => String::from("the pack is complete"),
        (1, _) => String::from("the pack is not complete"),
        _ if all == through => format!("all {all} packs complete"),
        _ => format!("{through} of {all} packs complete"),
    };
    let sum = |of: fn(&Pack) -> u64| packs.iter().filter(|pack| pack.is_through()).map(of).fold(0, u64::saturating_add);
    let but = |many: u64, why: &str| match many {
        0 => None,
        1 => Some(format!("1 thing {why}")),
        many => Some(format!("{many} things {why}")),
    };
    let missing = [but(sum(|pack| pack.missing), "that could not be fetched"), but(sum(|pack| pack.no_room), "for which there is no room")];
    let missing: Vec<String> = missing.into_iter().flatten().collect();
    let missing = if missing.is_empty() { String::new() } else { format!(", but for {}", missing.join(" and ")) };
    let soon = |opens: Time| opens.since(now) < Duration::from_hours(24);
    let when = match opens {
        _ if !complete => String::from("now"),
        Some(opens) if soon(opens) => String::from("tonight"),
        Some(opens) => format!("when the window opens {}", windows.read(opens)),
        None => String::from("when a window opens, and none is to come (night.windows)"),
    };
    let rest = match all - through {
        0 => String::new(),
        1 if all == 1 => format!(", it goes on {when}"),
        1 => format!(", 1 goes on {when}"),
        many => format!(", {many} go on {when}"),
    };
    format!("{head}: {here}{missing}{rest}")
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::summary::Came;

    /// 2026-11-26 08:00 in Almaty.
    const MORNING: Time = Time::from_secs(1_795_662_000);

    fn known(id: &str, run: Option<bool>, missing: u64, open: u64) -> Known {
        Known { id: id.into(), run, missing, open, open_bytes: open * 1000, ..Known::default() }
    }

    fn night(ended: &str, came: &[(&str, u64, u64)]) -> PackNight {
        let came = came.iter().map(|(word, many, bytes)| Came {
            word: (*word).into(),
            many: *many,
            bytes: *bytes,
            host: word.contains('.').then(|| String::from("a.kz")),
        });
        PackNight { line: 5_000, busy: Duration::from_secs(90), ended: Some(ended.into()), came: came.collect() }
    }

    fn composed(packs: Vec<Known>, figures: &Figures, complete: bool, windows: &Windows) -> Summary {
        compose(Given {
            night: "2026-11-25",
            now: MORNING,
            windows,
            complete,
            figures,
            rest: None,
            packs,
            line_bytes: 0,
            line_down: Duration::from_secs(61),
            missed: None,
            wishes: Wishes::default(),
            worth: (50, 30),
            before: None,
        })
    }

    #[test]
    fn the_first_sentence_says_whether_everything_is_here() {
        let nightly = crate::prefetch::Settings::default().windows;
        let none = Windows::new(Vec::new(), nightly.zone.clone());
        let weekly = Windows::new(vec!["sat 22:00-07:00".parse().expect("a window")], nightly.zone.clone());
        let (whole, faulty, open, fresh) =
            (known("a", Some(true), 0, 0), known("b", Some(true), 3, 0), known("c", Some(false), 1, 7), known("d", None, 0, 0));
        let table = [
            (vec![], true, &nightly, "No packs: nothing is fetched ahead"),
            (vec![&whole], true, &nightly, "Ready: the pack is complete"),
            (vec![&open], true, &nightly, "Not ready: the pack is not complete, it goes on tonight"),
            (vec![&whole, &whole], true, &nightly, "Ready: all 2 packs complete"),
            (vec![&whole, &whole, &whole, &open], true, &nightly, "Ready: 3 of 4 packs complete, 1 goes on tonight"),
            (vec![&whole, &faulty], true, &nightly, "Ready: all 2 packs complete, but for 3 things that could not be fetched"),
            (vec![&whole, &open, &fresh], true, &weekly, "Ready: 1 of 3 packs complete, 2 go on when the window opens 28.11.2026 22:00"),
            (
                vec![&open, &fresh],
                true,
                &none,
                "Not ready: 0 of 2 packs complete, 2 go on when a window opens, and none is to come (night.windows)",
            ),
            (vec![&whole, &open], false, &nightly, "So far: 1 of 2 packs complete, 1 goes on now"),
        ];
        for (packs, complete, windows, wanted) in table {
            let packs: Vec<Known> = packs.into_iter().cloned().collect();
            let ready = packs.iter().all(|pack| pack.run == Some(true) && pack.missing == 0);
            let summary = composed(packs, &Figures::default(), complete, windows);
            assert_eq!((summary.brief.sentence.as_str(), summary.brief.ready), (wanted, ready));
        }
    }

    #[test]
    fn each_word_finds_its_place_and_its_advice() {
        let windows = crate::prefetch::Settings::default().windows;
        let came = [
            (NEW, 12, 8_000),
            (CHANGED, 2, 500),
            (SAME, 5, 70),
            (reason::GONE, 1, 0),
            ("failed.busy", 1, 0),
            ("failed.server", 3, 0),
            ("failed.of_the_future", 1, 0),
            ("refused.robots", 4, 0),
            ("left.size", 2, 0),
        ];
        let mut figures = Figures { cuts: 1, starts: 2, ..Figures::default() };
        figures.packs.insert("a".into(), night("window", &came));
        // Taken away meanwhile: its bytes were the night's all the same.
        figures.packs.insert("away".into(), night("done", &[(NEW, 1, 10)]));
        let summary = composed(vec![known("a", Some(false), 5, 40), known("b", None, 0, 0)], &figures, true, &windows);
        let wanted = Counts {
            new: 12,
            changed: 2,
            unchanged: 5,
            failed: 5,
            gone: 1,
            refused: 4,
            left_out: 2,
            line_bytes: 5_000,
            body_bytes: 8_500,
            busy_s: 90,
        };
        assert_eq!(summary.each[0].counts, wanted);
        let sum = &summary.brief.counts;
        assert_eq!((sum.new, sum.line_bytes, sum.body_bytes, sum.busy_s), (13, 10_000, 8_510, 180));
        let told: Vec<(&str, u64, bool)> =
            summary.each[0].groups.iter().map(|group| (group.reason.as_str(), group.many, group.remedy.is_empty())).collect();
        let wanted = [
            ("failed.server", 3, false),
            ("failed.busy", 1, false),
            ("failed.of_the_future", 1, true),
            ("refused.robots", 4, false),
            ("left.size", 2, false),
        ];
        assert_eq!(told, wanted);
        let left = summary.each[0].left.as_ref().expect("something is left");
        assert_eq!((left.things, left.bytes, left.reason.as_str()), (40, 40_000, "window"));
        // Whose turn never came was not there when the power went, or it was: either way it goes on.
        assert_eq!(summary.each[1].left.as_ref().map(|left| left.reason.as_str()), Some("power"));
        assert_eq!((summary.brief.left, summary.brief.power_cuts, summary.restarts, summary.line_down_s), (40, 1, 2, 61));
        assert_eq!(summary.opened, Some(Time::from_secs(1_795_626_000).to_rfc3339()));
        assert_eq!(summary.closed, Some(Time::from_secs(1_795_658_400).to_rfc3339()));
        let text = serde_json::to_string(&summary).expect("JSON");
        assert_eq!(serde_json::from_str::<Summary>(&text).expect("reads back"), summary);
        // What a newer program says more is left aside, what an older one did not say is nothing.
        let other: Summary = serde_json::from_str("{\"night\": \"2026-11-25\", \"more\": 1}").expect("reads");
        assert_eq!(other.brief.night, "2026-11-25");
    }

    #[test]
    fn a_thousand_packs_are_summed_and_not_all_listed() {
        let windows = crate::prefetch::Settings::default().windows;
        let packs = (0..1000).map(|pack| known(&pack.to_string(), Some(true), 0, 0)).collect();
        let summary = composed(packs, &Figures::default(), true, &windows);
        assert_eq!((summary.each.len(), summary.brief.packs, summary.brief.packs_complete), (LISTED, 1000, 1000));
    }
}
