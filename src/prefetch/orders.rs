//! What people order: a pack now, a pause, going on. All of it is on disk before anybody is told that it is done.

use crate::base::clock::Time;
use crate::life::job::View;
use crate::prefetch::crawl::End;
use crate::prefetch::event::Event;
use crate::prefetch::permit::{Facts, Permit, Rest};
use crate::prefetch::web::Web;
use crate::prefetch::{Board, Error, Night};
use crate::state::night::{Asked, Pause};

impl<W: Web> Night<W> {
    /// Puts a pack last into the queue of what people asked for: the scheduler fetches it whatever the windows say, also after a
    /// power cut, until it is through. Its job, old or new.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub async fn ask(&self, id: &str) -> Result<View, Error> {
        if !self.0.board.lock().has(id) {
            return Err(Error::Unknown(id.to_owned()));
        }
        self.0.state.ask_night(id).await?;
        let (job, fresh) = {
            let mut board = self.0.board.lock();
            let known = board.queue.iter_mut().find(|asked| asked.pack == id);
            let fresh = known.is_none();
            match known {
                Some(asked) => asked.not_before = Time::default(),
                None => board.queue.push(Asked { pack: id.to_owned(), not_before: Time::default() }),
            }
            board.left.remove(id);
            if board.running.as_deref() != Some(id) {
                self.make_way(&board);
            }
            (self.job(&mut board, id), fresh)
        };
        if fresh {
            self.tell(Event::RunQueued { pack: id.to_owned(), job: job.clone() });
        }
        self.told();
        let unknown = || Error::Unknown(id.to_owned());
        let progress = self.progress(id).ok_or_else(unknown)?;
        if let Some(why) = progress.reason.filter(|_| progress.state == "queued") {
            // Why it does not begin at once: a pause, a cap.
            self.0.jobs.wait(&job, &why);
        }
        self.0.jobs.look(&job).ok_or_else(unknown)
    }

    /// Takes a pack out of what people asked for.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn unask(&self, id: &str) -> Result<(), Error> {
        self.0.board.lock().queue.retain(|asked| asked.pack != id);
        Ok(self.0.state.answer_night(id).await?)
    }

    /// Leaves the line alone until then, or until [`Night::resume`]: what is under way stops at once and goes on later; what people
    /// ask for meanwhile waits in the queue.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause(&self, until: Option<Time>) -> Result<Pause, Error> {
        let pause = Pause { since: self.0.clock.now(), until };
        // At once, whatever the disk does; and again when it is on disk, should somebody have read the disk meanwhile.
        self.0.board.lock().pause = Some(pause);
        self.0.halt.call(End::Paused);
        self.0.state.set_night_pause(Some(pause)).await?;
        self.0.board.lock().pause = Some(pause);
        tracing::info!(until = until.map(Time::to_rfc3339), "the night is paused by a person");
        self.tell(Event::Paused { reason: Some(String::from("a person paused it")), until: until.map(Time::to_rfc3339) });
        self.told();
        Ok(pause)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// The database's; it goes on pausing then.
    pub async fn resume(&self) -> Result<(), Error> {
        self.0.state.set_night_pause(None).await?;
        if self.0.board.lock().pause.take().is_some() {
            tracing::info!("the night goes on");
            self.tell(Event::Resumed {});
        }
        self.told();
        Ok(())
    }

    /// A moment that a person names, in the school's time: `14:00`, `2 h`, `2026-12-31 14:00`; `None` when it is none or is past.
    pub fn named(&self, text: &str) -> Option<Time> {
        self.0.settings.load().windows.named(text, self.0.clock.now())
    }

    /// Takes up what is on disk: sums, queue, pause. Once, at the start: from then on memory knows it first.
    pub(super) async fn recall(&self) -> Result<(), Error> {
        self.0.purse.recall(&self.0.state).await?;
        let (queue, pause) = (self.0.state.night_queue().await?, self.0.state.night_pause().await?);
        let mut board = self.0.board.lock();
        (board.queue, board.pause) = (queue, pause);
        let asked: Vec<String> = board.queue.iter().map(|asked| asked.pack.clone()).collect();
        for pack in asked {
            self.job(&mut board, &pack);
        }
        Ok(())
    }

    /// Whether the schedule may work, and what keeps us even from what people asked for.
    pub(super) fn permits(&self, now: Time) -> (Permit, Option<Rest>) {
        let settings = self.0.settings.load();
        let pause = self.0.board.lock().pause;
        let (trusted, caps) = (self.0.clock.trusted(), self.0.purse.view(now));
        let facts = Facts { now, trusted, pause, metered: settings.metered, caps, windows: &settings.windows };
        (facts.ahead(), facts.asked())
    }

    /// Why nothing more came, and when it goes on: after an end that a pause or a cap has brought.
    pub(super) fn why_not(&self, end: &End) -> String {
        let now = self.0.clock.now();
        match (self.permits(now).0, end) {
            (Permit::Rest(rest), _) => rest.sentence(&self.0.settings.load().windows, &self.0.purse.view(now)),
            // It is over by now.
            (Permit::Open(_), End::Cap(which)) => format!("night.{which}_cap was reached"),
            (Permit::Open(_), _) => String::from("a person had paused the night"),
        }
    }

    /// What the schedule began makes way for what a person asked for; people wait for each other.
    pub(super) fn make_way(&self, board: &Board) {
        if board.renewing || (board.running.is_some() && board.scheduled) {
            self.0.halt.call(End::Asked);
        }
    }

    /// Something has changed: the scheduler looks again, and so does whoever reads the figures.
    pub(super) fn told(&self) {
        self.0.wake.notify_one();
        self.0.gauges.show(&self.status());
    }

    /// What a run's end means for the queue.
    pub(super) async fn settle(&self, id: &str, end: &End) -> Result<(), Error> {
        let asked = self.0.board.lock().queue.iter().any(|asked| asked.pack == id);
        match end {
            // A store that takes nothing is for a person to mend; the next window goes on.
            End::Done(_) | End::Full(_) | End::Cancelled if asked => {
                self.0.state.answer_night(id).await?;
                self.0.board.lock().queue.retain(|asked| asked.pack != id);
            }
            End::Waiting(until) if asked => {
                self.0.state.put_off_night(id, *until).await?;
                if let Some(asked) = self.0.board.lock().queue.iter_mut().find(|asked| asked.pack == id) {
                    asked.not_before = *until;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Board {
    /// Whether this pack is in force.
    pub(super) fn has(&self, id: &str) -> bool {
        self.shelf.held.iter().any(|held| held.pack.id == id)
    }

    /// Packs that people asked for and that are in force, in order: those of a folder that is not mounted for once keep their place.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Asked> {
        self.queue.iter().filter(|asked| self.has(&asked.pack))
    }

    /// What a person asked for and can be fetched now.
    pub(super) fn ready(&self, now: Time) -> Option<&str> {
        self.asked().find(|asked| asked.not_before <= now).map(|asked| asked.pack.as_str())
    }

    /// Whether a pause holds.
    pub(super) fn is_paused(&self, now: Time) -> bool {
        self.pause.is_some_and(|pause| pause.until.is_none_or(|until| now < until))
    }
}
