//! One stretch of work on one pack: from the moment when its turn comes to what its end means for the board, for its job and for
//! whoever listens.

use crate::base::clock::Time;
use crate::prefetch::crawl::{Crawl, End};
use crate::prefetch::event::Event;
use crate::prefetch::job::OFTEN;
use crate::prefetch::web::Web;
use crate::prefetch::{Error, Inner, Night, Progress, wish};
use crate::site::pack::Pack;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How long the schedule works on a pack.
#[derive(Clone, Copy)]
pub(super) struct Stint {
    /// Until others have their turn.
    pub(super) turn: Time,
    /// The window's end.
    pub(super) window: Time,
}

impl<W: Web> Night<W> {
    /// Works on a pack until there is a reason to end. Without a stint a person asked: the windows do not count, and all of it is
    /// looked at anew. A pause and the caps hold all the same. May be dropped at any await.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub(super) async fn work(&self, id: &str, stint: Option<Stint>) -> Result<End, Error> {
        let inner = &*self.0;
        let _turn = inner.turn.acquire().await.expect("the semaphore is never closed");
        inner.halt.clear();
        let (pack, job) = match self.enter(id, stint.is_some())? {
            ControlFlow::Continue(entered) => entered,
            ControlFlow::Break(end) => return Ok(end),
        };
        // Whatever ends this, also being dropped, takes the pack off the board.
        let _running = Running(inner);
        tracing::info!(pack = id, "fetching");
        self.began(id, &job, stint.is_none());
        inner.gauges.show(&self.status());
        if let Err(error) = self.note_plan(&pack, stint.is_none()).await {
            tracing::warn!(pack = id, %error, "the plan could not be written down");
        }
        let (begun, night) = (inner.clock.steady(), inner.settings.load().windows.night(inner.clock.now()));
        let end = self.crawl(&pack, &job, stint).await;
        if let Err(error) = inner.purse.save(&inner.state).await {
            tracing::warn!(%error, "what the night has brought could not be written down, will try again");
        }
        let spent = inner.clock.steady().saturating_duration_since(begun);
        if stint.is_some()
            && let Err(error) = inner.state.add_night_turn(&night, id, spent).await
        {
            tracing::warn!(%error, "how long the pack had its turn could not be written down: it may have more of this night than others");
        }
        if let Ok(end) = &end
            && let Err(error) = self.note_took(id, spent, end).await
        {
            tracing::warn!(pack = id, %error, "what a run took could not be written down");
        }
        // Whatever fails here, the job ends.
        let ended = match end {
            Ok(End::Asked) => self.ended(id, inner.halt.why().unwrap_or(End::Asked)).await,
            Ok(End::Window) if stint.is_some_and(|stint| inner.clock.now() < stint.window) => self.ended(id, End::Turn).await,
            Ok(end) => self.ended(id, end).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &ended {
            self.broke(id, error);
        }
        ended
    }

    /// Puts a pack on the board as the one that is worked on, with its job; or what a person was quicker to say.
    fn enter(&self, id: &str, scheduled: bool) -> Result<ControlFlow<End, (Arc<Pack>, String)>, Error> {
        let now = self.0.clock.now();
        let mut board = self.0.board.lock();
        let held = board.shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
        let Some(pack) = held else {
            let job = board.jobs.remove(id);
            drop(board);
            return Err(self.is_gone(id, job));
        };
        // From here on a call would be heard; before, it stands on the board alone.
        if board.left.get(id).is_some_and(|until| now < *until) {
            return Ok(ControlFlow::Break(End::Cancelled));
        }
        if board.is_paused(now) {
            return Ok(ControlFlow::Break(End::Paused));
        }
        if scheduled && board.ready(now).is_some() {
            return Ok(ControlFlow::Break(End::Asked));
        }
        board.running = Some(id.to_owned());
        board.scheduled = scheduled;
        board.trouble = None;
        let job = self.job(&mut board, id);
        Ok(ControlFlow::Continue((pack, job)))
    }

    async fn crawl(&self, pack: &Arc<Pack>, job: &str, stint: Option<Stint>) -> Result<End, crate::state::Error> {
        let inner = &*self.0;
        let settings = inner.settings.load_full();
        let crawl = Crawl {
            web: &inner.web,
            state: &inner.state,
            clock: &inner.clock,
            pack,
            book: &inner.book,
            manners: &settings.manners,
            windows: &settings.windows,
            max_transfers: settings.max_transfers,
            anew: stint.is_none(),
            media: &settings.media,
            tally: &inner.tally,
            transferred: &inner.transferred,
            purse: &inner.purse,
        };
        let told = Mutex::new(None);
        let is_time = || {
            let (mut last, now) = (told.lock(), inner.clock.steady());
            let due = last.is_none_or(|last| now.saturating_duration_since(last) >= OFTEN);
            if due {
                *last = Some(now);
            }
            due
        };
        let show = |progress: Progress| {
            self.goes_on(job, &progress);
            if is_time() {
                self.tell(Event::RunProgress { job: job.to_owned(), progress: progress.clone() });
            }
            inner.board.lock().progress.insert(pack.id.clone(), progress);
        };
        let until = stint.map(|stint| stint.turn.min(stint.window));
        let due = inner.halt.due(&inner.clock, &inner.purse, until);
        crawl.run(until, inner.halt.flag(), due, &show).await
    }

    async fn ended(&self, id: &str, end: End) -> Result<End, Error> {
        let _reading = self.0.reading.lock().await;
        self.settle(id, &end).await?;
        self.note_end(id, &end).await?;
        let run = self.0.state.run(id).await?;
        let (state, reason) = match &end {
            End::Done(0) => ("done", None),
            End::Done(failed) => ("done", Some(format!("{failed} could not be fetched"))),
            End::Window => ("paused", Some(String::from("the window has closed"))),
            End::Turn => ("paused", Some(String::from("its turn is over, others have theirs"))),
            End::Asked => ("paused", Some(String::from("another pack goes first"))),
            End::Cancelled => ("paused", Some(String::from("a person ended it"))),
            End::Paused | End::Cap(_) => ("paused", Some(self.why_not(&end))),
            End::Waiting(until) => ("paused", Some(format!("no host can be asked before {}", self.0.settings.load().windows.read(*until)))),
            End::Full(why) => ("paused", Some(format!("the store takes nothing: {why}"))),
        };
        tracing::info!(pack = id, state, reason, "fetching ended");
        let (job, waits) = {
            let mut board = self.0.board.lock();
            // With its job in one step: whoever ends it from now on ends what waits.
            board.running = None;
            if let End::Full(why) = &end {
                board.trouble = Some(why.clone());
            }
            if let Some(progress) = board.progress.get_mut(id) {
                progress.rest(state, reason.clone());
            }
            if let Some(run) = run {
                board.runs.insert(id.to_owned(), run);
            }
            // What a person asked for stays one job until it is through.
            let waits = board.queue.iter().any(|asked| asked.pack == id);
            let job = if waits { board.jobs.get(id).cloned() } else { board.jobs.remove(id) };
            (job, waits)
        };
        if let Some(job) = job {
            self.is_through(id, job, waits, &end, state, reason);
        }
        if id == wish::TONIGHT {
            self.tell_wishes().await?;
        }
        if end == End::Done(0) && self.switch_over().await? {
            self.read_packs().await?;
        }
        Ok(end)
    }
}

/// Takes the pack off the board when dropped.
struct Running<'a, W>(&'a Inner<W>);

impl<W> Drop for Running<'_, W> {
    fn drop(&mut self) {
        self.0.board.lock().running = None;
    }
}
