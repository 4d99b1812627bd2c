//! Long work that somebody asked for, as a resource: how far it is, how it ended, and a way to end it. A pack's fetch, a repack, a
//! survey: the work itself lives elsewhere and tells here what there is to see, so that page, API and command say the same.
//!
//! Nothing here survives a restart: what goes on after one (a pack's run) has its own memory, and the rest is asked for again.

use crate::base::clock::Clock;
use crate::base::problem::Problem;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Where the API shows a job: this, a slash, its id.
pub const PLACE: &str = "/api/v1/jobs";

/// Jobs that are over and still told of: those of some days.
const KEPT: usize = 64;

/// A rate is told after so many seconds of a phase: before, it is noise.
const WARM: u64 = 2;

/// How a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobState)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its turn.
    #[default]
    Queued,
    /// At work.
    Running,
    /// Through.
    Done,
    /// Ended before it was through, and goes on by itself later (the window closed, a host asked to wait).
    Paused,
    /// Could not be done; `problem` says why.
    Failed,
    /// Ended by a person; what was done stays.
    Cancelled,
}

impl State {
    /// Whether nobody works on it any more; only what is paused may go on ([`Jobs::again`]).
    pub fn is_over(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Which part of the work; empty when there are no parts.
    pub phase: String,
    /// Done, in units.
    pub done: u64,
    /// In all, as far as it is known.
    pub total: u64,
    /// What is counted: `bytes`, `answers`.
    pub unit: &'static str,
    /// What it is at.
    pub current: Option<String>,
    /// Units per second and seconds left, where the work knows better than a mean over the phase.
    pub pace: Option<(Option<u64>, Option<u64>)>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Through, with what came of it.
    Done(Value),
    /// Goes on by itself later; the reason is for people.
    Paused(String),
    /// Could not be done.
    Failed(Problem),
    /// Ended by a person.
    Cancelled,
}

/// A job as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Job)]
pub struct View {
    /// Its id.
    pub id: String,
    /// Where to ask about it, and to end it by DELETE.
    #[schema(example = "/api/v1/jobs/5f3a90c1d2e4b678")]
    pub job: String,
    /// What is done: `pack.fetch`, `pack.survey`, `store.survey`, `store.export`, `store.import`, `store.repack`.
    pub what: String,
    /// With what: the pack's id.
    pub subject: Option<String>,
    /// How it stands.
    pub state: State,
    /// Which part of the work; empty when there are no parts.
    pub phase: String,
    /// Done, in units.
    pub done: u64,
    /// In all, as far as it is known.
    pub total: u64,
    /// What is counted: `bytes`, `answers`.
    pub unit: String,
    /// Units per second of late; null while unknown.
    pub rate_per_second: Option<u64>,
    /// Seconds left at that rate; null while unknown.
    pub eta_s: Option<u64>,
    /// What it is at.
    pub current: Option<String>,
    /// When somebody asked for it (RFC 3339).
    pub asked: String,
    /// When it began.
    pub started: Option<String>,
    /// When it was over.
    pub ended: Option<String>,
    /// Why it is paused, for people.
    pub reason: Option<String>,
    /// Why it failed; `problem.id` is the error's id.
    pub problem: Option<Problem>,
    /// What came of it.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
}

/// Called with a job whose state changed.
pub type Told = Arc<dyn Fn(&View) + Send + Sync>;

/// What ends a job. Done when the end is on its way and will not be forgotten.
pub type Cancel = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The jobs of a node. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    clock: Clock,
    told: Told,
    jobs: Mutex<List>,
}

/// In the order in which they were asked for, or taken up again.
#[derive(Default)]
struct List(VecDeque<Job>);

impl List {
    fn add(&mut self, view: View, now: Instant, cancel: Cancel) {
        if self.0.iter().filter(|job| job.view.state.is_over()).count() >= KEPT
            && let Some(oldest) = self.0.iter().position(|job| job.view.state.is_over())
        {
            self.0.remove(oldest);
        }
        self.0.push_back(Job { view, began: (now, 0), cancel });
    }
}

struct Job {
    view: View,
    /// When the step's phase began, and how far it was then.
    began: (Instant, u64),
    cancel: Cancel,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Jobs {
    /// `told` hears of every change of state; it must not call back.
    pub fn new(clock: Clock, told: impl Fn(&View) + Send + Sync + 'static) -> Jobs {
        Jobs(Arc::new(Inner { clock, told: Arc::new(told), jobs: Mutex::default() }))
    }

    /// Notes a new job that waits for its turn; gives its id. `cancel` ends it.
    pub fn queue(&self, what: &str, subject: Option<&str>, unit: &'static str, cancel: Cancel) -> String {
        let view = self.fresh(what, subject, unit);
        self.0.jobs.lock().add(view.clone(), self.0.clock.steady(), cancel);
        (self.0.told)(&view);
        view.id
    }

    /// Takes up the last paused job of this kind and subject: it waits for its turn again, instead of one more with the same work. `None`
    /// when there is none, or it has been forgotten.
    pub fn again(&self, what: &str, subject: &str) -> Option<String> {
        let is_it = |view: &View| view.state == State::Paused && view.what == what && view.subject.as_deref() == Some(subject);
        let view = {
            let mut jobs = self.0.jobs.lock();
            let at = jobs.0.iter().rposition(|job| is_it(&job.view))?;
            let mut job = jobs.0.remove(at)?;
            (job.view.state, job.view.ended) = (State::Queued, None);
            job.began = (self.0.clock.steady(), job.view.done);
            let view = job.view.clone();
            // Among the open ones it is the newest again.
            jobs.0.push_back(job);
            view
        };
        (self.0.told)(&view);
        Some(view.id)
    }

    /// The same for work of which there may be one at a time: what `what` shares up to its dot.
    ///
    /// # Errors
    /// Another one of the kind that is not over.
    pub fn alone(&self, what: &str, unit: &'static str, cancel: Cancel) -> Result<String, Box<View>> {
        let kind = |what: &str| what.split('.').next().map(str::to_owned);
        let view = self.fresh(what, None, unit);
        {
            let mut jobs = self.0.jobs.lock();
            if let Some(job) = jobs.0.iter().find(|job| !job.view.state.is_over() && kind(&job.view.what) == kind(what)) {
                return Err(Box::new(job.view.clone()));
            }
            jobs.add(view.clone(), self.0.clock.steady(), cancel);
        }
        (self.0.told)(&view);
        Ok(view.id)
    }

    fn fresh(&self, what: &str, subject: Option<&str>, unit: &str) -> View {
        let id = format!("{:016x}", rand::random::<u64>());
        View {
            job: format!("{PLACE}/{id}"),
            id,
            what: what.to_owned(),
            subject: subject.map(str::to_owned),
            unit: unit.to_owned(),
            asked: self.0.clock.now().to_rfc3339(),
            ..View::default()
        }
    }

    /// It is at work now.
    pub fn run(&self, id: &str) {
        let now = self.0.clock.now().to_rfc3339();
        self.change(id, |job| {
            let fresh = job.view.state == State::Queued;
            if fresh {
                job.view.state = State::Running;
                job.view.reason = None;
                // Of several stretches the first counts.
                job.view.started.get_or_insert(now);
            }
            fresh
        });
    }

    /// How far it is.
    pub fn tell(&self, id: &str, step: Step) {
        let now = self.0.clock.steady();
        self.change(id, |job| {
            let view = &mut job.view;
            if view.phase != step.phase || step.done < job.began.1 {
                job.began = (now, step.done);
            }
            let spent = now.saturating_duration_since(job.began.0).as_secs();
            let (rate, left) = step.pace.unwrap_or_else(|| {
                let rate = step.done.saturating_sub(job.began.1).checked_div(spent).filter(|rate| spent >= WARM && *rate > 0);
                (rate, rate.map(|rate| step.total.saturating_sub(step.done) / rate))
            });
            (view.phase, view.done, view.total) = (step.phase, step.done, step.total);
            if !step.unit.is_empty() {
                step.unit.clone_into(&mut view.unit);
            }
            (view.rate_per_second, view.eta_s, view.current) = (rate, left, step.current);
            false
        });
    }

    /// It waits for its turn, again or still; why, for people.
    pub fn wait(&self, id: &str, why: &str) {
        self.change(id, |job| {
            let view = &mut job.view;
            if view.state.is_over() {
                return false;
            }
            let before = std::mem::replace(&mut view.state, State::Queued);
            view.reason = Some(why.to_owned());
            (view.rate_per_second, view.eta_s, view.current) = (None, None, None);
            before != State::Queued
        });
    }

    /// It is over. The first end counts.
    pub fn end(&self, id: &str, outcome: Outcome) {
        let now = self.0.clock.now().to_rfc3339();
        self.change(id, |job| {
            let view = &mut job.view;
            if view.state.is_over() {
                return false;
            }
            (view.ended, view.rate_per_second, view.eta_s, view.current) = (Some(now), None, None, None);
            match outcome {
                Outcome::Done(result) => (view.state, view.result) = (State::Done, Some(result)),
                Outcome::Paused(reason) => (view.state, view.reason) = (State::Paused, Some(reason)),
                Outcome::Failed(problem) => (view.state, view.problem) = (State::Failed, Some(problem)),
                Outcome::Cancelled => view.state = State::Cancelled,
            }
            true
        });
    }

    /// One of them.
    pub fn look(&self, id: &str) -> Option<View> {
        self.0.jobs.lock().0.iter().find(|job| job.view.id == id).map(|job| job.view.clone())
    }

    /// All of them, the last that was asked for or taken up again first.
    pub fn list(&self) -> Vec<View> {
        self.0.jobs.lock().0.iter().rev().map(|job| job.view.clone()).collect()
    }

    /// Wishes it ended, and shows it as it stands right after; `None` when there is none of this id. What is over stays as it was.
    pub async fn cancel(&self, id: &str) -> Option<View> {
        let cancel = {
            let jobs = self.0.jobs.lock();
            let job = jobs.0.iter().find(|job| job.view.id == id)?;
            (!job.view.state.is_over()).then(|| Arc::clone(&job.cancel))
        };
        // Outside of the lock: it may well end the job here and now.
        if let Some(cancel) = cancel {
            cancel().await;
        }
        self.look(id)
    }

    /// Changes a job; what `work` says to be a change of state is told on.
    fn change(&self, id: &str, work: impl FnOnce(&mut Job) -> bool) {
        let changed = {
            let mut jobs = self.0.jobs.lock();
            let Some(job) = jobs.0.iter_mut().find(|job| job.view.id == id) else { return };
            work(job).then(|| job.view.clone())
        };
        if let Some(view) = changed {
            (self.0.told)(&view);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use http::StatusCode;
    use serde_json::json;
    use std::time::Duration;

    /// Nothing to end.
    fn idle() -> Cancel {
        Arc::new(|| Box::pin(std::future::ready(())))
    }

    fn jobs() -> (Jobs, Clock, Arc<Mutex<Vec<State>>>) {
        let (clock, seen) = (Clock::manual(Time::BUILT), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&seen);
        (Jobs::new(clock.clone(), move |view| heard.lock().push(view.state)), clock, seen)
    }

    #[test]
    fn a_job_from_asking_to_its_end() {
        let (jobs, clock, seen) = jobs();
        let id = jobs.queue("store.export", None, "bytes", idle());
        let step = |done| Step { phase: "writing".into(), done, total: 100, unit: "bytes", ..Step::default() };
        jobs.run(&id);
        jobs.run(&id);
        jobs.tell(&id, step(0));
        clock.advance(Duration::from_secs(2));
        jobs.tell(&id, step(40));
        let view = jobs.look(&id).expect("known");
        assert_eq!((view.done, view.rate_per_second, view.eta_s, view.state), (40, Some(20), Some(3), State::Running));
        assert_eq!(view.job, format!("/api/v1/jobs/{id}"));
        jobs.tell(&id, Step { pace: Some((Some(7), None)), ..step(50) });
        assert_eq!(jobs.look(&id).expect("known").rate_per_second, Some(7), "the work knows better");
        jobs.end(&id, Outcome::Done(json!({ "files": 1 })));
        jobs.end(&id, Outcome::Cancelled);
        let view = jobs.look(&id).expect("known");
        assert_eq!((view.state, view.eta_s, view.result), (State::Done, None, Some(json!({ "files": 1 }))));
        assert!(view.ended > view.started && view.started >= Some(view.asked));
        assert_eq!(*seen.lock(), [State::Queued, State::Running, State::Done], "each change once");
    }

    #[tokio::test]
    async fn a_job_is_cancelled_once_and_others_are_not_touched() {
        let (jobs, _, _) = jobs();
        let (asked, other) = (Arc::new(Mutex::new(0)), jobs.queue("pack.fetch", Some("b"), "bytes", idle()));
        let (this, count) = (jobs.clone(), Arc::clone(&asked));
        let place = Arc::new(Mutex::new(String::new()));
        let own = Arc::clone(&place);
        let cancel: Cancel = Arc::new(move || {
            *count.lock() += 1;
            this.end(&own.lock(), Outcome::Cancelled);
            Box::pin(std::future::ready(()))
        });
        let id = jobs.queue("pack.fetch", Some("a"), "bytes", cancel);
        place.lock().clone_from(&id);
        assert_eq!(jobs.cancel(&id).await.expect("known").state, State::Cancelled);
        assert_eq!(jobs.cancel(&id).await.expect("known").state, State::Cancelled);
        assert_eq!((*asked.lock(), jobs.look(&other).expect("known").state), (1, State::Queued));
        assert_eq!(jobs.cancel("nothing").await, None);
        let first = jobs.alone("store.export", "bytes", idle()).expect("alone");
        assert_eq!(jobs.alone("store.import", "bytes", idle()).expect_err("one at a time").id, first);
        jobs.end(&first, Outcome::Cancelled);
        jobs.alone("store.import", "bytes", idle()).expect("alone again");
    }

    #[test]
    fn what_is_paused_is_taken_up_again_and_what_is_over_is_not() {
        let (jobs, _, seen) = jobs();
        let pause = |id: &str| {
            jobs.run(id);
            jobs.end(id, Outcome::Paused("its turn is over".into()));
        };
        let id = jobs.queue("pack.fetch", Some("a"), "bytes", idle());
        let other = jobs.queue("pack.fetch", Some("b"), "bytes", idle());
        assert_eq!(jobs.again("pack.fetch", "a"), None, "not paused");
        pause(&id);
        pause(&other);
        let started = jobs.look(&id).expect("known").started;
        for _ in 0..3 * KEPT {
            assert_eq!(jobs.again("pack.fetch", "a").as_deref(), Some(id.as_str()));
            let view = jobs.look(&id).expect("known");
            assert_eq!((view.state, view.ended, &view.started), (State::Queued, None, &started));
            pause(&id);
        }
        let ids: Vec<String> = jobs.list().into_iter().map(|view| view.id).collect();
        assert_eq!(ids, [id.clone(), other], "one for each, the last that was at work first");
        assert!(seen.lock().ends_with(&[State::Queued, State::Running, State::Paused]), "each change is told");
        assert_eq!((jobs.again("store.repack", "a"), jobs.again("pack.fetch", "c")), (None, None));
        jobs.again("pack.fetch", "a").expect("again");
        jobs.end(&id, Outcome::Done(Value::Null));
        assert_eq!(jobs.again("pack.fetch", "a"), None, "through");
    }

    #[test]
    fn what_is_over_is_forgotten_first_and_what_is_not_never() {
        let (jobs, _, _) = jobs();
        let open = jobs.queue("pack.fetch", Some("open"), "bytes", idle());
        let bad = Problem::new(StatusCode::INSUFFICIENT_STORAGE, "store.full", "full", "make room");
        let mut last = String::new();
        for _ in 0..KEPT + 10 {
            last = jobs.queue("store.repack", None, "bytes", idle());
            jobs.end(&last, Outcome::Failed(bad.clone()));
        }
        let list = jobs.list();
        assert_eq!((list.len(), list[0].id.as_str()), (KEPT + 1, last.as_str()));
        assert_eq!(list[0].problem.as_ref().map(|problem| problem.id.as_str()), Some("store.full"));
        assert!(jobs.look(&open).is_some());
    }
}
