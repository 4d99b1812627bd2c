//! What the night brought, told in the morning: whether everything is ready for the class, then figures, then what did not come and what
//! to do about it.
//!
//! Counting is done where wishes end, in the frontier's own transactions; here a night is opened, put together, said to be complete
//! once (when its last window closes, or when everything is done before), and closed at the noon after. A wrong clock counts nothing:
//! nobody knows which night it is.

/// One document out of figures.
pub mod figures;

/// Why something did not come.
pub mod reason;

pub use figures::{Brief, Summary};

use crate::base::clock::Time;
use crate::life::Life;
use crate::link::rollup::Level;
use crate::link::slice::Packed;
use crate::prefetch::crawl::End;
use crate::prefetch::web::Web;
use crate::prefetch::wish::TONIGHT;
use crate::prefetch::{Error, Event, Night, Progress, missed};
use crate::state::summary::{Figures, name, number};
use figures::{Given, Known, Wishes};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most nights that are told in one list.
pub const MOST: u32 = 400;

impl<W: Web> Night<W> {
    /// A night as it is told: that of this date, else the last one of which there is something to tell.
    ///
    /// # Errors
    /// When it is no date, or nothing is known of it; and the database's.
    pub async fn summary(&self, night: Option<&str>) -> Result<Summary, Error> {
        let (state, now) = (&self.0.state, self.0.clock.now());
        let windows = self.0.settings.load().windows.clone();
        let tonight = number(&windows.night(now)).unwrap_or_default();
        let wanted = match night {
            Some(text) => {
                number(text).filter(|_| windows.noons(text).is_some()).ok_or_else(|| Error::Date(text.chars().take(40).collect()))?
            }
            None => tonight,
        };
        if wanted == tonight {
            let figures = state.night_figures(tonight).await?;
            if night.is_some() || figures.told.is_some() || !figures.packs.is_empty() {
                return self.compose(tonight, now, &figures, figures.told.is_some()).await;
            }
            // Nothing has happened yet: the night before is what people ask about.
            if let Some(last) = last(&state.summaries(tonight, 1).await?) {
                return Ok(last);
            }
            return self.compose(tonight, now, &figures, false).await;
        }
        match state.summary(wanted).await?.and_then(|text| serde_json::from_str(&text).ok()) {
            Some(summary) => Ok(summary),
            None if state.open_nights().await?.contains(&wanted) => {
                self.compose(wanted, now, &state.night_figures(wanted).await?, wanted < tonight).await
            }
            None => Err(Error::Untold(name(wanted))),
        }
    }

    /// The nights of which there is a summary, in short, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn nights(&self) -> Result<Vec<Brief>, Error> {
        let now = self.0.clock.now();
        let next = number(&self.0.settings.load().windows.night(now)).map_or(i64::MAX, |tonight| tonight + 1);
        let texts = self.0.state.summaries(next, MOST).await?;
        // A row of a newer program that cannot be read counts as absent.
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The last night that was told, in short.
    pub fn last_night(&self) -> Option<Brief> {
        self.0.board.lock().last_night.clone()
    }

    /// Packs that the last night left complete, and all; `None` when no night has been told lately.
    pub fn morning(&self) -> Option<(u64, u64)> {
        let yesterday = self.0.clock.now().minus(Duration::from_hours(24));
        let lately = self.0.settings.load().windows.night(yesterday);
        self.last_night().filter(|brief| brief.night >= lately).map(|brief| (brief.packs_complete, brief.packs))
    }

    /// The node starts: what came before is known again, and that it starts is counted when this is within a night's work. When it
    /// stops, that is written down too.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn open_nights(&self, life: &Life) -> Result<(), Error> {
        self.begin_night().await?;
        let (state, watch) = (self.0.state.clone(), life.clone());
        life.spawn(async move {
            watch.stopping().await;
            if let Err(error) = state.end_nights().await {
                tracing::warn!(%error, "that the node ends in order is not on disk: the next start will look like one after a power cut");
            }
        });
        Ok(())
    }

    pub(super) async fn begin_night(&self) -> Result<(), Error> {
        let (inner, now) = (&*self.0, self.0.clock.now());
        let windows = inner.settings.load().windows.clone();
        let mut night = None;
        if let Some((opened, closed)) = self.hours(&windows.night(now)).filter(|(opened, _)| inner.clock.trusted() && *opened <= now) {
            // Whoever was there until the last window closed has missed nothing.
            let runs = inner.state.history().runs(opened.minus(missed::BACK), now).await?;
            let seen = runs.iter().filter(|run| run.clock_ok).map(|run| run.seen).max();
            night = number(&windows.night(now)).filter(|_| now < closed || seen.is_none_or(|seen| seen < closed));
        }
        inner.state.begin_nights(night).await?;
        let next = number(&windows.night(now)).map_or(i64::MAX, |tonight| tonight + 1);
        inner.board.lock().last_night = last(&inner.state.summaries(next, 1).await?).map(|summary| summary.brief);
        Ok(())
    }

    /// In which night something counts now; `None` while the clock is wrong.
    fn counts_in(&self) -> Option<i64> {
        let now = self.0.clock.now();
        self.0.clock.trusted().then(|| number(&self.0.settings.load().windows.night(now)))?
    }

    /// How work on a pack ended, for the night's summary.
    pub(super) async fn note_end(&self, pack: &str, end: &End) -> Result<(), Error> {
        if let Some(night) = self.counts_in() {
            self.0.state.end_night_pack(night, pack, reason::ended(end)).await?;
        }
        Ok(())
    }

    /// Closes nights that are past, and says that this one is complete once its last window has closed.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn tend_nights(&self, now: Time) -> Result<(), Error> {
        if !self.0.clock.trusted() {
            return Ok(());
        }
        let today = self.0.settings.load().windows.night(now);
        let Some(tonight) = number(&today) else { return Ok(()) };
        if self.0.board.lock().told_night == Some(tonight) {
            return Ok(());
        }
        for night in self.0.state.open_nights().await?.into_iter().filter(|night| *night < tonight) {
            self.tell_night(night, now, true).await?;
        }
        if let Some((_, closed)) = self.hours(&today).filter(|(_, closed)| *closed <= now) {
            // A box that was bought this morning has no night to tell of.
            let there = self.0.state.history().runs(closed.minus(missed::BACK), closed).await?.iter().any(|run| run.clock_ok);
            if there || !self.0.state.night_figures(tonight).await?.packs.is_empty() {
                self.tell_night(tonight, now, false).await?;
            }
            self.0.board.lock().told_night = Some(tonight);
        }
        Ok(())
    }

    /// Nothing is due before `next`: if that is after this window, everything is done, and the night is complete before its end.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn rest_of_night(&self, now: Time, until: Time, next: Option<Time>) -> Result<(), Error> {
        let windows = self.0.settings.load().windows.clone();
        let ends = until.min(windows.next_night(now));
        let Some(tonight) = self.counts_in().filter(|_| next.is_none_or(|next| next >= ends)) else { return Ok(()) };
        let figures = self.0.state.night_figures(tonight).await?;
        if figures.told.is_none() && !figures.packs.is_empty() {
            self.tell_night(tonight, now, false).await?;
        }
        Ok(())
    }

    /// Keeps a night's summary and, the first time, says it.
    async fn tell_night(&self, night: i64, now: Time, closed: bool) -> Result<(), Error> {
        let figures = self.0.state.night_figures(night).await?;
        let summary = self.compose(night, now, &figures, true).await?;
        let text = serde_json::to_string(&summary).map_err(crate::state::Error::Figures)?;
        self.0.state.put_summary(night, now, closed, &text).await?;
        let brief = summary.brief;
        if figures.told.is_none() {
            let counts = brief.counts;
            tracing::info!(
                night = brief.night,
                packs = brief.packs,
                complete = brief.packs_complete,
                new = counts.new,
                changed = counts.changed,
                unchanged = counts.unchanged,
                failed = counts.failed,
                gone = counts.gone,
                refused = counts.refused,
                left_out = counts.left_out,
                left = brief.left,
                line_bytes = counts.line_bytes,
                busy_s = counts.busy_s,
                "the night's summary: {}",
                brief.sentence
            );
            self.tell(Event::Summary { brief: brief.clone() });
        }
        let mut board = self.0.board.lock();
        if board.last_night.as_ref().is_none_or(|last| last.night <= brief.night) {
            board.last_night = Some(brief);
        }
        Ok(())
    }

    /// When a night's first window opens and its last one closes.
    fn hours(&self, night: &str) -> Option<(Time, Time)> {
        let windows = self.0.settings.load().windows.clone();
        windows.noons(night).and_then(|(from, until)| windows.open_between(from, until))
    }

    async fn compose(&self, night: i64, now: Time, figures: &Figures, complete: bool) -> Result<Summary, Error> {
        let (state, windows) = (&self.0.state, self.0.settings.load().windows.clone());
        let date = name(night);
        let hours = self.hours(&date);
        let mut brought = state.night_sums().await?.into_iter().find(|(period, _)| *period == date).map_or(0, |(_, bytes)| bytes);
        if windows.night(now) == date {
            brought = brought.max(self.0.purse.view(now).night);
        }
        let missed = match hours.filter(|(_, closed)| *closed <= now) {
            Some((opened, closed)) => {
                let runs = state.history().runs(opened.minus(missed::BACK), closed).await?;
                missed::missed(&windows, (opened, closed), &runs).map(|missed| missed.sentence)
            }
            None => None,
        };
        let line_down = match hours {
            Some((opened, closed)) => self.line_down(opened, closed.min(now)).await?,
            None => Duration::ZERO,
        };
        let worth = self.worth(None);
        Ok(figures::compose(Given {
            night: &date,
            now,
            windows: &windows,
            complete,
            figures,
            rest: self.nothing_begun(now),
            packs: self.known().await?,
            line_bytes: brought,
            line_down,
            missed,
            wishes: self.wishes_of(night).await?,
            worth: (worth.brought_bytes, worth.used_bytes),
            before: last(&state.summaries(night, 1).await?).map(|before| before.brief),
        }))
    }

    /// Why nothing is begun in this night, whatever its windows say.
    fn nothing_begun(&self, now: Time) -> Option<&'static str> {
        let cap = self.0.purse.reached(now).map(|which| reason::ended(&End::Cap(which)));
        self.0.settings.load().metered.then_some("metered").or(cap)
    }

    /// The packs in force, as their runs stand.
    async fn known(&self) -> Result<Vec<Known>, Error> {
        let held = self.0.board.lock().shelf.held.clone();
        let mut known = Vec::with_capacity(held.len());
        for held in held {
            let (pack, state) = (&held.pack, &self.0.state);
            let run = state.run(&pack.id).await?;
            let mut one = Known { id: pack.id.clone(), title: pack.title.clone(), ..Known::default() };
            if let Some(run) = run {
                let count = state.count(&pack.id, run.run).await?;
                let progress = Progress::of(pack, &count, run.transferred, None, None);
                one.run = Some(run.finished.is_some());
                one.missing = count.failed;
                one.no_room = run.no_room;
                (one.open, one.open_bytes) = (count.total.saturating_sub(count.ended), progress.bytes_left);
            }
            known.push(one);
        }
        Ok(known)
    }

    async fn wishes_of(&self, night: i64) -> Result<Wishes, Error> {
        let all = self.wishes().await?;
        let of = |states: &[&str]| u64::try_from(all.iter().filter(|one| states.contains(&one.state.as_str())).count()).unwrap_or(u64::MAX);
        let (waiting, failed) = (of(&["waiting"]), of(&["failed", "gone"]));
        let urls: Vec<String> = all.iter().map(|one| one.url.clone()).collect();
        Ok(Wishes { fulfilled: self.0.state.came_new(TONIGHT, night, &urls).await?, waiting, failed })
    }

    /// How long the line was down between two moments, as far as slices of five minutes tell; the one that runs is among them.
    async fn line_down(&self, from: Time, until: Time) -> Result<Duration, Error> {
        let kept: Vec<Packed> = self.0.state.history().span(Level::Five.word(), from, until).await?;
        let running = self.0.link.as_ref().map(|link| link.slices(from)).unwrap_or_default();
        let slices: BTreeMap<Time, u32> = kept
            .iter()
            .map(|packed| &packed.0)
            .chain(&running)
            .filter(|slice| slice.start < until)
            .map(|slice| (slice.start, slice.down_seconds))
            .collect();
        Ok(Duration::from_secs(slices.values().map(|down| u64::from(*down)).sum()))
    }
}

/// The first of these texts that can be read.
fn last(texts: &[String]) -> Option<Summary> {
    texts.iter().find_map(|text| serde_json::from_str(text).ok())
}
