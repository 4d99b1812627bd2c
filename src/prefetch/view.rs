//! What can be seen of the night: packs with how far they are, plans, status. Nothing here changes anything.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::prefetch::caps::{View, Which};
use crate::prefetch::missed::Missed;
use crate::prefetch::packs::{Held, Refused, Replaced};
use crate::prefetch::permit::{Permit, Rest};
use crate::prefetch::progress::{Listed, Progress};
use crate::prefetch::summary::Brief;
use crate::prefetch::web::Web;
use crate::prefetch::worth::Worth;
use crate::prefetch::{Error, Night};
use crate::site::pack::SeedKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// What the night is doing, for status, reports and pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NightStatus)]
pub struct Status {
    /// `idle` (nothing due), `waiting` (for a time, a clock or a host), `running` or `paused` (by a person, line down, store full).
    pub state: String,
    /// The same and what matters of it, in one line.
    #[serde(default)]
    pub sentence: String,
    /// Why nothing is fetched ahead now: `paused`, `cap_night`, `cap_month`, `clock`, `metered`, `window`; absent when it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// When that is over by itself, where it is known (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_ends: Option<String>,
    /// Why it is paused or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the open window closes (RFC 3339).
    pub window_closes: Option<String>,
    /// When the next window opens.
    pub window_opens: Option<String>,
    /// Why there is no school today (the calendar's own line); absent when there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holiday: Option<String>,
    /// The last window, when the box was off in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// The last night that is complete, in short; `/api/v1/night/summary` has the whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_night: Option<Brief>,
    /// Since when a person has paused it (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<String>,
    /// Whether only what people ask for is fetched.
    #[serde(default)]
    pub metered: bool,
    /// What this night and this month have brought, and may bring.
    #[serde(default)]
    pub caps: Spent,
    /// The pack under way.
    pub running: Option<String>,
    /// Packs that a person asked for and that wait for their turn.
    pub queued: Vec<String>,
    /// Packs in force with how far they are, the most important first.
    pub packs: Vec<Listed>,
    /// Files that are no packs for us.
    pub refused: Vec<Refused>,
    /// Packs whose place others have taken.
    #[serde(default)]
    pub replaced: Vec<Replaced>,
    /// Bytes that the night has brought over the line since start.
    pub bytes: u64,
    /// Things that came over the line since start.
    pub fetched: u64,
    /// Things that were still good.
    pub unchanged: u64,
    /// Things given up.
    pub failed: u64,
    /// Things still to fetch in the runs under way.
    pub waiting: u64,
    /// What the night brought in four weeks, used against wasted; packs that are no more included.
    #[serde(default)]
    pub worth: Worth,
}

/// What was brought, and may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NightSpent)]
pub struct Spent {
    /// Bytes of this night, noon to noon.
    pub night_bytes: u64,
    /// Most of a night; absent without a cap.
    pub night_cap_bytes: Option<u64>,
    /// Bytes of this calendar month.
    pub month_bytes: u64,
    /// Most of a month.
    pub month_cap_bytes: Option<u64>,
    /// The cap that is reached.
    pub reached: Option<Which>,
    /// When it opens again (RFC 3339).
    pub opens: Option<String>,
}

impl Spent {
    fn of(view: &View) -> Spent {
        Spent {
            night_bytes: view.night,
            night_cap_bytes: view.caps.night,
            month_bytes: view.month,
            month_cap_bytes: view.caps.month,
            reached: view.reached.map(|(which, _)| which),
            opens: view.reached.map(|(_, opens)| opens.to_rfc3339()),
        }
    }

    /// `1.2 GB of 20.0 GB this month`; empty without caps.
    fn sentence(&self) -> String {
        let of = |bytes, cap: Option<u64>, what| cap.map(|cap| format!("{} of {} this {what}", Bytes(bytes).human(), Bytes(cap).human()));
        let night = of(self.night_bytes, self.night_cap_bytes, "night");
        let month = of(self.month_bytes, self.month_cap_bytes, "month");
        night.into_iter().chain(month).collect::<Vec<_>>().join(", ")
    }
}

impl<W: Web> Night<W> {
    /// How far a pack is; `None` when there is no such pack.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.packs().into_iter().find(|listed| listed.id == id).map(|listed| listed.progress)
    }

    /// The packs in force, the most important first.
    pub fn packs(&self) -> Vec<Listed> {
        let down = self.0.web.is_down();
        let now = self.0.clock.now();
        let rests = self.permits(now).1;
        let told = rests.map(|rest| rest.sentence(&self.0.settings.load().windows, &self.0.purse.view(now)));
        let board = self.0.board.lock();
        let listed = |held: &Held| {
            let id = &held.pack.id;
            let idle = || Progress { id: id.clone(), state: String::from("idle"), ..Progress::default() };
            let mut progress = board.progress.get(id).cloned().unwrap_or_else(idle);
            if board.running.as_ref() == Some(id) {
                progress.state = String::from("running");
                progress.reason = down.then(|| String::from("the line is down"));
            } else if board.queue.iter().any(|asked| asked.pack == *id && asked.not_before <= now) {
                progress.state = String::from("queued");
                progress.reason.clone_from(&told);
            }
            Listed { worth: self.worth(Some(id)), ..Listed::of(held, board.runs.get(id), progress) }
        };
        board.shelf.held.iter().map(listed).collect()
    }

    /// Where a reader of each pack begins: its first seed that is a page or a library.
    pub fn begins(&self) -> BTreeMap<String, Target> {
        let board = self.0.board.lock();
        let page = |held: &Held| {
            held.pack.seeds.iter().find(|seed| matches!(seed.kind, SeedKind::Url | SeedKind::Zim)).map(|seed| seed.target.clone())
        };
        board.shelf.held.iter().filter_map(|held| Some((held.pack.id.clone(), page(held)?))).collect()
    }

    /// What could not be fetched in the last run of a pack, with reasons; at most `most`.
    ///
    /// # Errors
    /// The database's.
    pub async fn trouble(&self, id: &str, most: u32) -> Result<Vec<(String, String)>, Error> {
        match self.0.state.run(id).await? {
            Some(run) => Ok(self.0.state.trouble(id, run.run, most).await?),
            None => Ok(Vec::new()),
        }
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        let now = self.0.clock.now();
        let settings = self.0.settings.load_full();
        let windows = &settings.windows;
        let open = windows.open_at(now);
        let packs = self.packs();
        let waiting: u64 = packs.iter().map(|pack| pack.progress.total - pack.progress.done.min(pack.progress.total)).sum();
        let down = self.0.web.is_down();
        let (view, (ahead, asked)) = (self.0.purse.view(now), self.permits(now));
        let rest = match ahead {
            Permit::Rest(rest) => Some(rest),
            Permit::Open(_) => None,
        };
        let caps = Spent::of(&view);
        let board = self.0.board.lock();
        let paused = board.pause.filter(|_| board.is_paused(now));
        let told = |rest: Rest| rest.sentence(windows, &view);
        let trouble = board.trouble.clone().or_else(|| (down && board.running.is_some()).then(|| String::from("the line is down")));
        let queued: Vec<String> =
            board.asked().map(|asked| asked.pack.clone()).filter(|pack| board.running.as_ref() != Some(pack)).collect();
        // What a person asked for goes on where the schedule may not.
        let resting = if queued.is_empty() { rest } else { asked };
        // No host can be asked before: with something asked for, the first of it that may be tried counts.
        let next_try = if queued.is_empty() { board.next_try } else { board.asked().map(|asked| asked.not_before).min() };
        let later = next_try.filter(|at| *at > now).map(|at| {
            let things = if waiting == 1 { String::from("1 thing waits") } else { format!("{waiting} things wait") };
            format!("{things}; next try {}", windows.soon(at, now))
        });
        let (state, reason) = match (&board.running, trouble, resting) {
            _ if paused.is_some() => ("paused", rest.map(told)),
            (_, Some(trouble), _) => ("paused", Some(trouble)),
            (Some(_), None, _) => ("running", None),
            (None, None, Some(rest)) => ("waiting", Some(told(rest))),
            (None, None, None) if queued.is_empty() && later.is_none() => ("idle", None),
            (None, None, None) => ("waiting", later),
        };
        let doing = match (&board.running, &reason) {
            (_, Some(reason)) => reason.clone(),
            (Some(id), None) if !board.scheduled => format!("fetching {id}, as asked"),
            (Some(id), None) => format!("fetching {id}{}", open.map_or_else(String::new, |at| format!(" until {}", windows.read(at)))),
            (None, None) if !queued.is_empty() => String::from("about to begin"),
            (None, None) => {
                format!("nothing is due{}", open.map_or_else(String::new, |at| format!(", the window closes {}", windows.read(at))))
            }
        };
        let queue = if queued.is_empty() { String::new() } else { format!("asked for: {}", queued.join(", ")) };
        let missed = board.missed.clone();
        let more = [queue, caps.sentence(), missed.as_ref().map(|missed| missed.sentence.clone()).unwrap_or_default()];
        let sentence = std::iter::once(doing).chain(more.into_iter().filter(|part| !part.is_empty())).collect::<Vec<_>>().join("; ");
        Status {
            state: state.into(),
            sentence,
            rest: rest.map(|rest| rest.word().to_owned()),
            rest_ends: rest.and_then(Rest::ends).map(Time::to_rfc3339),
            reason,
            window_closes: open.map(Time::to_rfc3339),
            window_opens: windows.next_open(now).map(Time::to_rfc3339),
            holiday: windows.holiday(now).map(ToString::to_string),
            missed,
            last_night: board.last_night.clone(),
            paused_since: paused.map(|pause| pause.since.to_rfc3339()),
            metered: settings.metered,
            caps,
            running: board.running.clone(),
            queued,
            packs,
            refused: board.shelf.refused.iter().map(Refused::shown).collect(),
            replaced: board.shelf.replaced.clone(),
            bytes: self.0.transferred.get(),
            fetched: self.0.tally.fetched.load(Ordering::Relaxed),
            unchanged: self.0.tally.unchanged.load(Ordering::Relaxed),
            failed: self.0.tally.failed.load(Ordering::Relaxed),
            waiting,
            worth: self.worth(None),
        }
    }
}
