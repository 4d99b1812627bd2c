//! Runs over packs as jobs and events: what a person asked for, what its time had come for, how far each is, how it ended, and a way
//! to end it.
//!
//! Who cancels a run inside a window means it: the schedule leaves that pack alone until the window has closed.

use crate::base::clock::Time;
use crate::base::problem::Problem;
use crate::life::Jobs;
use crate::life::job::{Cancel, Outcome, Step};
use crate::prefetch::crawl::End;
use crate::prefetch::event::{Event, Events};
use crate::prefetch::web::Web;
use crate::prefetch::{Board, Error, Night, Progress};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The job's name.
const WHAT: &str = "pack.fetch";

/// Progress goes out as an event this often at most.
pub(super) const OFTEN: Duration = Duration::from_secs(1);

impl<W: Web> Night<W> {
    /// All events, for whoever passes them on.
    pub fn feed(&self) -> Events {
        self.0.events.clone()
    }

    /// The node's jobs: runs over packs are among them, other parts add theirs.
    pub fn jobs(&self) -> Jobs {
        self.0.jobs.clone()
    }

    /// Says what happened.
    pub fn tell(&self, event: Event) {
        self.0.events.tell(self.0.clock.now(), event);
    }

    /// The open job of a pack, else the one that paused, else a new one: turns and waits make no more of them.
    pub(super) fn job(&self, board: &mut Board, pack: &str) -> String {
        if let Some(job) = board.jobs.get(pack) {
            return job.clone();
        }
        let (night, own) = (Arc::downgrade(&self.0), pack.to_owned());
        let cancel: Cancel = Arc::new(move || {
            let (night, own) = (night.clone(), own.clone());
            Box::pin(async move {
                if let Some(inner) = night.upgrade() {
                    Night(inner).give_up(&own).await;
                }
            })
        });
        let job = self.0.jobs.again(WHAT, pack).unwrap_or_else(|| self.0.jobs.queue(WHAT, Some(pack), "bytes", cancel));
        board.jobs.insert(pack.to_owned(), job.clone());
        job
    }

    /// Work begins.
    pub(super) fn began(&self, pack: &str, job: &str, asked: bool) {
        self.0.jobs.run(job);
        self.tell(Event::RunBegan { pack: pack.to_owned(), job: job.to_owned(), asked });
    }

    /// How far it is.
    pub(super) fn goes_on(&self, job: &str, progress: &Progress) {
        let step = Step {
            done: progress.bytes_done,
            total: progress.bytes_total,
            current: progress.current.clone(),
            pace: Some((progress.rate_bytes_per_second, progress.eta_s)),
            ..Step::default()
        };
        self.0.jobs.tell(job, step);
    }

    /// A stretch of it ended so, which people are told as `state` and `reason`; whether it waits for another.
    pub(super) fn is_through(&self, pack: &str, job: String, waits: bool, end: &End, state: &str, reason: Option<String>) {
        let outcome = match end {
            End::Done(failed) => Some(Outcome::Done(json!({ "pack": pack, "errors": failed }))),
            End::Cancelled => Some(Outcome::Cancelled),
            End::Full(why) => {
                let title = format!("the store takes nothing: {why}");
                let problem = Problem::new(StatusCode::INSUFFICIENT_STORAGE, "store.full", title, "make room, or raise store.quota");
                Some(Outcome::Failed(problem))
            }
            _ if waits => None,
            _ => Some(Outcome::Paused(reason.clone().unwrap_or_default())),
        };
        match outcome {
            Some(outcome) => self.0.jobs.end(&job, outcome),
            None => self.0.jobs.wait(&job, reason.as_deref().unwrap_or_default()),
        }
        self.tell(Event::RunEnded { pack: pack.to_owned(), job, state: state.to_owned(), reason });
    }

    /// The pack was taken away before its turn came.
    pub(super) fn is_gone(&self, pack: &str, job: Option<String>) -> Error {
        let error = Error::Unknown(pack.to_owned());
        if let Some(job) = job {
            self.0.jobs.end(&job, Outcome::Failed(error.problem()));
        }
        error
    }

    /// The database failed in the middle of it.
    pub(super) fn broke(&self, pack: &str, error: &Error) {
        let reason = Some(String::from("the node's database failed"));
        let job = {
            let mut board = self.0.board.lock();
            if let Some(progress) = board.progress.get_mut(pack).filter(|progress| progress.state == "running") {
                progress.rest("paused", reason.clone());
            }
            board.jobs.remove(pack)
        };
        let Some(job) = job else { return };
        self.0.jobs.end(&job, Outcome::Failed(error.problem()));
        self.tell(Event::RunEnded { pack: pack.to_owned(), job, state: String::from("paused"), reason });
    }

    /// A person wants a run ended, be it queued or at work. Inside a window the schedule leaves the pack alone until that closes.
    async fn give_up(&self, pack: &str) {
        let now = self.0.clock.now();
        // Outside of it for a moment: a step that has just chosen the pack sees it here.
        let until = self.0.settings.load().windows.open_at(now).unwrap_or(now.plus(OFTEN));
        {
            let mut board = self.0.board.lock();
            board.left.retain(|_, until| now < *until);
            board.left.insert(pack.to_owned(), until);
        }
        if let Err(error) = self.unask(pack).await {
            tracing::warn!(pack, %error, "that a fetch was ended is not on disk: it may come back after a restart");
        }
        let job = {
            let mut board = self.0.board.lock();
            if board.running.as_deref() == Some(pack) {
                self.0.halt.call(End::Cancelled);
                None
            } else {
                board.jobs.remove(pack)
            }
        };
        if let Some(job) = job {
            self.0.jobs.end(&job, Outcome::Cancelled);
        }
    }

    /// Whether the schedule leaves a pack alone because a person ended its run in this window.
    pub(super) fn is_left(&self, pack: &str) -> bool {
        let now = self.0.clock.now();
        self.0.board.lock().left.get(pack).is_some_and(|until| now < *until)
    }

    /// Tells when a window has opened or closed since the last look.
    pub(super) fn look_at_windows(&self, now: Time) {
        let windows = self.0.settings.load().windows.clone();
        let open = windows.open_at(now);
        let before = self.0.board.lock().open.replace(open.is_some());
        match (before, open) {
            (Some(false) | None, Some(until)) => self.tell(Event::WindowOpened { closes: until.to_rfc3339() }),
            (Some(true), None) => self.tell(Event::WindowClosed { opens: windows.next_open(now).map(Time::to_rfc3339) }),
            _ => {}
        }
    }
}
