//! What can be seen of the night: packs with how far they are, plans, status. Nothing here changes anything.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::base::unit::BitRate;
use crate::prefetch::packs::{Held, Refused};
use crate::prefetch::plan::{self, Plan};
use crate::prefetch::progress::{self, Listed, Progress};
use crate::prefetch::web::Web;
use crate::prefetch::worth::Worth;
use crate::prefetch::{Error, Night, aim};
use crate::site::pack::SeedKind;
use crate::state::frontier::{Count, Run};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the night is doing, for status, reports and pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// `idle` (nothing due), `waiting` (for the window), `running` or `paused` (line down, store full).
    pub state: String,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the open window closes (RFC 3339).
    pub window_closes: Option<String>,
    /// When the next window opens.
    pub window_opens: Option<String>,
    /// The pack under way.
    pub running: Option<String>,
    /// Packs that a person asked for and that wait for their turn.
    pub queued: Vec<String>,
    /// Packs in force with how far they are, the most important first.
    pub packs: Vec<Listed>,
    /// Files that are no packs for us.
    pub refused: Vec<Refused>,
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

impl<W: Web> Night<W> {
    /// How far a pack is; `None` when there is no such pack.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.packs().into_iter().find(|listed| listed.id == id).map(|listed| listed.progress)
    }

    /// The packs in force, the most important first.
    pub fn packs(&self) -> Vec<Listed> {
        let down = self.0.web.is_down();
        let board = self.0.board.lock();
        let listed = |held: &Held| {
            let id = &held.pack.id;
            let idle = || Progress { id: id.clone(), state: String::from("idle"), ..Progress::default() };
            let mut progress = board.progress.get(id).cloned().unwrap_or_else(idle);
            if board.queue.contains(id) {
                progress.state = String::from("queued");
            } else if board.running.as_ref() == Some(id) {
                progress.state = String::from("running");
                progress.reason = down.then(|| String::from("the line is down"));
            }
            Listed { worth: self.worth(Some(id)), ..Listed::of(held, board.runs.get(id), progress) }
        };
        board.shelf.held.iter().map(listed).collect()
    }

    /// Where a reader of each pack begins: its first seed that is a page.
    pub fn begins(&self) -> BTreeMap<String, Target> {
        let board = self.0.board.lock();
        let page = |held: &Held| held.pack.seeds.iter().find(|seed| seed.kind == SeedKind::Url).map(|seed| seed.target.clone());
        board.shelf.held.iter().filter_map(|held| Some((held.pack.id.clone(), page(held)?))).collect()
    }

    /// What fetching a pack will take, before a byte moves.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub async fn plan(&self, id: &str) -> Result<Plan, Error> {
        let held = self.0.board.lock().shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
        let pack = held.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let now = self.0.clock.now();
        let run = self.0.state.run(id).await?;
        let count = match &run {
            Some(run) => self.0.state.count(id, run.run).await?,
            None => Count::default(),
        };
        let (rate, rate_basis) = self.rate(run.as_ref());
        let windows = self.0.settings.load().windows.clone();
        let window = match windows.open_at(now) {
            Some(until) => Some((None, until)),
            None => windows.next_open(now).and_then(|opens| Some((Some(opens), windows.open_at(opens)?))),
        };
        let given = plan::Given {
            count,
            under_way: run.as_ref().is_some_and(|run| run.finished.is_none()),
            seeds: u64::try_from(aim::seeds(&pack).len()).unwrap_or(u64::MAX),
            max_bytes: pack.scope.max_bytes,
            rate,
            window,
            now,
        };
        let (id, version) = (pack.id.clone(), pack.version.clone());
        Ok(Plan { id, version, rate_basis: rate_basis.into(), seeds_not_fetched: progress::not_fetched(&pack), ..plan::plan(&given) })
    }

    /// The rate to reckon with: what the line was measured at, else what the last run reached; never above the cap.
    fn rate(&self, run: Option<&Run>) -> (Option<BitRate>, &'static str) {
        let line = self.0.link.as_ref().and_then(|link| link.view().download).filter(|rate| rate.0 > 0);
        // Less than a second of fetching tells nothing about the line.
        let past = run.filter(|run| run.busy >= Duration::from_secs(1) && run.transferred > 0);
        let past =
            past.map(|run| BitRate(u64::try_from(u128::from(run.transferred) * 8_000 / run.busy.as_millis().max(1)).unwrap_or(u64::MAX)));
        let (rate, basis) = match (line, past) {
            (Some(line), _) => (Some(line), "line"),
            (None, Some(past)) => (Some(past), "last_night"),
            (None, None) => (None, "unknown"),
        };
        match (rate, self.0.settings.load().rate) {
            (Some(rate), Some(cap)) if cap < rate => (Some(cap), "cap"),
            (None, Some(cap)) => (Some(cap), "cap"),
            _ => (rate, basis),
        }
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
        let windows = self.0.settings.load().windows.clone();
        let open = windows.open_at(now);
        let packs = self.packs();
        let waiting = packs.iter().map(|pack| pack.progress.total - pack.progress.done.min(pack.progress.total)).sum();
        let down = self.0.web.is_down();
        let board = self.0.board.lock();
        let trouble = board.trouble.clone().or_else(|| (down && board.running.is_some()).then(|| String::from("the line is down")));
        let state = match (&board.running, &trouble, open) {
            (_, Some(_), _) => "paused",
            (Some(_), None, _) => "running",
            (None, None, None) => "waiting",
            (None, None, Some(_)) => "idle",
        };
        Status {
            state: state.into(),
            reason: trouble,
            window_closes: open.map(Time::to_rfc3339),
            window_opens: windows.next_open(now).map(Time::to_rfc3339),
            running: board.running.clone(),
            queued: board.queue.iter().cloned().collect(),
            packs,
            refused: board.shelf.refused.clone(),
            bytes: self.0.transferred.get(),
            fetched: self.0.tally.fetched.load(Ordering::Relaxed),
            unchanged: self.0.tally.unchanged.load(Ordering::Relaxed),
            failed: self.0.tally.failed.load(Ordering::Relaxed),
            waiting,
            worth: self.worth(None),
        }
    }
}
