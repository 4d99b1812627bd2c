//! The scheduler: step by step, what is worked on now. It decides nothing: whether it may is said by `permit`, whose turn it is by
//! `schedule`.

use crate::base::clock::Time;
use crate::prefetch::crawl::End;
use crate::prefetch::packs::Held;
use crate::prefetch::permit::Permit;
use crate::prefetch::schedule::Candidate;
use crate::prefetch::stint::Stint;
use crate::prefetch::web::Web;
use crate::prefetch::{Error, Night, Tick, missed, schedule};
use crate::state::frontier::LONGEST;
use std::time::Duration;

/// The longest sleep of the scheduler: a clock that jumps is noticed within a minute.
const LOOK: Duration = Duration::from_mins(1);

/// A pack of which the store took nothing more lets others go first for so long.
const FULL_FOR: Duration = Duration::from_mins(10);

impl<W: Web> Night<W> {
    /// Runs the scheduler until dropped.
    pub(super) async fn live(&self) {
        loop {
            let now = self.0.clock.now();
            self.look_at_windows(now);
            let pause = match self.tick(now).await {
                Ok(Tick::Worked(_, End::Full(_))) => LOOK,
                // The next look says until when.
                Ok(Tick::Worked(_, End::Cap(_) | End::Paused)) => Duration::from_secs(1),
                Ok(Tick::Worked(..)) => Duration::from_millis(100),
                Ok(Tick::Idle(next)) => next.since(now).clamp(Duration::from_millis(100), LOOK),
                Err(error) => {
                    tracing::warn!(error = error.to_string(), "the night's step failed, will try again");
                    LOOK
                }
            };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One step of the scheduler as if it were `now`: works on what a person asked for, else, where the night may work, on what is
    /// due. May be dropped at any await: what was under way goes on at the next call.
    ///
    /// # Errors
    /// The database's.
    pub async fn tick(&self, now: Time) -> Result<Tick, Error> {
        self.heed_clock(now).await?;
        self.reopen_lost().await?;
        self.look_back(now).await?;
        self.tend_nights(now).await?;
        let (ahead, asked) = self.permits(now);
        let mut wake = now.plus(LOOK);
        if asked.is_none() {
            let (ready, later) = {
                let board = self.0.board.lock();
                (board.ready(now).map(str::to_owned), board.asked().map(|asked| asked.not_before).min())
            };
            if let Some(id) = ready {
                let end = self.work(&id, None).await?;
                return Ok(Tick::Worked(id, end));
            }
            wake = later.unwrap_or(wake).min(wake);
        }
        let until = match ahead {
            Permit::Open(until) => until,
            Permit::Rest(rest) => {
                // Whoever asked for something is looked after each minute.
                let queued = self.0.board.lock().asked().next().is_some();
                return Ok(Tick::Idle(rest.ends().filter(|_| !queued).unwrap_or(wake)));
            }
        };
        self.tend_wishes(now).await?;
        if self.renew_before_school(now, until).await? {
            return Ok(Tick::Idle(now));
        }
        let candidates = self.candidates(now).await?;
        self.0.board.lock().next_try = candidates.iter().filter_map(|one| one.next_try).min();
        let Some(due) = schedule::due(&candidates, now) else {
            let next = candidates.iter().map(|one| schedule::at(one, now)).min();
            self.rest_of_night(now, until, next).await?;
            return Ok(Tick::Idle(next.unwrap_or(wake).max(now.plus(Duration::from_secs(1)))));
        };
        // The ends as the clock will see them, also where `now` is a test's.
        let real = |at: Time| self.0.clock.now().plus(at.since(now));
        let stint = Stint { turn: real(schedule::turn(&candidates, due, now, until)), window: real(until) };
        let end = self.work(&due.id, Some(stint)).await?;
        if let End::Full(_) = end {
            let mut board = self.0.board.lock();
            board.full.retain(|_, until| now < *until);
            board.full.insert(due.id.clone(), now.plus(FULL_FOR));
        }
        Ok(Tick::Worked(due.id.clone(), end))
    }

    /// At the start, and where the clock went back: what a clock that was ahead has put off for years is due now.
    async fn heed_clock(&self, now: Time) -> Result<(), Error> {
        // The first believable look is the one at the start, however the clock came to it.
        if !self.0.clock.trusted() {
            return Ok(());
        }
        let seen = self.0.board.lock().seen;
        if seen.is_some_and(|seen| now >= seen) {
            self.0.board.lock().seen = seen.max(Some(now));
            return Ok(());
        }
        let most = now.plus(LONGEST);
        let many = self.0.state.forget_ahead(now).await? + self.0.state.hurry_night(most).await?;
        if many > 0 {
            tracing::info!(many, "the clock was ahead: what waits for a moment too far away to be meant is due now");
        }
        let mut board = self.0.board.lock();
        board.queue.iter_mut().filter(|asked| asked.not_before > most).for_each(|asked| asked.not_before = Time::default());
        board.left.retain(|_, until| *until <= most);
        board.full.retain(|_, until| *until <= most);
        board.seen = Some(now);
        Ok(())
    }

    /// Whether the box was off in the last window; asked once for each.
    async fn look_back(&self, now: Time) -> Result<(), Error> {
        let settings = self.0.settings.load_full();
        // A wrong clock knows no last window.
        let Some((opened, closed)) = settings.windows.last_closed(now).filter(|_| self.0.clock.trusted()) else { return Ok(()) };
        if self.0.board.lock().looked_back == Some(closed) {
            return Ok(());
        }
        let runs = self.0.state.history().runs(opened.minus(missed::BACK), closed).await?;
        let missed = missed::missed(&settings.windows, (opened, closed), &runs);
        if let Some(missed) = &missed {
            tracing::info!(what = missed.sentence, "nothing is made up for by day; the next window begins with what has been due longest");
        }
        let mut board = self.0.board.lock();
        (board.missed, board.looked_back) = (missed, Some(closed));
        Ok(())
    }

    /// What the disk has lost of a pack is wanted again: its run goes on in the next window.
    async fn reopen_lost(&self) -> Result<(), Error> {
        let lost = self.0.web.lost();
        if lost.is_empty() {
            return Ok(());
        }
        let held = self.0.board.lock().shelf.held.clone();
        for Held { pack, .. } in held {
            if let Some(run) = self.0.state.run(&pack.id).await? {
                let again = self.0.state.reopen(&pack.id, run.run, &lost).await?;
                if again > 0 {
                    tracing::info!(pack = pack.id, again, "damaged on disk, will be fetched again");
                }
            }
        }
        Ok(())
    }

    pub(super) async fn candidates(&self, now: Time) -> Result<Vec<Candidate>, Error> {
        let (held, full) = {
            let board = self.0.board.lock();
            (board.shelf.held.clone(), board.full.clone())
        };
        let night = self.0.settings.load().windows.night(now);
        let turns = self.0.state.night_turns(&night).await?;
        let mut candidates = Vec::with_capacity(held.len());
        for Held { pack, .. } in held.into_iter().filter(|held| !self.is_left(&held.pack.id)) {
            let run = self.0.state.run(&pack.id).await?;
            let next_try = match &run {
                Some(run) if run.finished.is_none() => self.0.state.next_try(&pack.id, run.run).await?,
                _ => None,
            };
            candidates.push(Candidate {
                id: pack.id.clone(),
                digest: pack.digest.to_string(),
                refresh: pack.refresh,
                run,
                next_try,
                priority: pack.priority,
                served: turns.get(&pack.id).copied().unwrap_or_default(),
                full: full.get(&pack.id).is_some_and(|until| now < *until),
            });
        }
        Ok(candidates)
    }
}
