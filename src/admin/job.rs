//! Long work of the store on behalf of a command: one at a time, as a resource that is asked about and may be ended.
//!
//! The work lives in the node: a command that goes away ends nothing. A node that stops drops it between two of its steps.

use crate::admin::problem::Problem;
use crate::base::clock::Clock;
use crate::life::Life;
use crate::store::Error;
use crate::store::bundle::Step;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a job stands.
#[derive(Debug)]
enum State {
    Running,
    Done(Value),
    Failed(Problem),
    Ended,
}

#[derive(Debug)]
struct Job {
    id: u64,
    what: &'static str,
    step: Step,
    /// When the step's phase began, and how far it was then.
    began: (Instant, u64),
    state: State,
    cancel: CancellationToken,
}

/// The job under way, or the last one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Jobs(Arc<Mutex<Option<Job>>>);

/// Where a job's steps are told.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    jobs: Jobs,
    clock: Clock,
    id: u64,
}

impl Telling {
    pub(super) fn tell(&self, step: Step) {
        let mut jobs = self.jobs.0.lock();
        let Some(job) = jobs.as_mut().filter(|job| job.id == self.id) else { return };
        if job.step.phase != step.phase {
            job.began = (self.clock.steady(), step.done);
        }
        job.step = step;
    }
}

impl Jobs {
    /// Starts a job; its document.
    ///
    /// # Errors
    /// When another one is under way.
    pub(super) fn start<W, F>(&self, life: &Life, clock: &Clock, what: &'static str, work: W) -> Result<Value, Problem>
    where
        W: FnOnce(Telling) -> F,
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let mut now = self.0.lock();
        if let Some(job) = now.as_ref().filter(|job| matches!(job.state, State::Running)) {
            let message = format!("the store is busy with another job ({})", job.what);
            return Err(Problem::new(StatusCode::CONFLICT, "store.busy", message, "wait until it is done, or end that command"));
        }
        let id = now.as_ref().map_or(1, |job| job.id + 1);
        let cancel = CancellationToken::new();
        let (step, began) = (Step::default(), (clock.steady(), 0));
        let job = Job { id, what, step, began, state: State::Running, cancel: cancel.clone() };
        let document = job.document(clock);
        *now = Some(job);
        drop(now);
        let work = work(Telling { jobs: self.clone(), clock: clock.clone(), id });
        let jobs = self.clone();
        life.spawn_until_stop(async move {
            let state = tokio::select! {
                done = work => done.map_or_else(|error| State::Failed(super::store::problem(&error)), State::Done),
                () = cancel.cancelled() => State::Ended,
            };
            if let State::Failed(problem) = &state {
                tracing::warn!(id = problem.id, what, error = problem.title, "a job of the store failed");
            }
            if let Some(job) = jobs.0.lock().as_mut().filter(|job| job.id == id) {
                job.state = state;
            }
        });
        Ok(document)
    }

    /// A job's document.
    ///
    /// # Errors
    /// When there is none of this id.
    pub(super) fn look(&self, clock: &Clock, id: u64) -> Result<Value, Problem> {
        self.0.lock().as_ref().filter(|job| job.id == id).map(|job| job.document(clock)).ok_or_else(unknown)
    }

    /// Ends a job between two steps; what it has done stays.
    ///
    /// # Errors
    /// When there is none of this id.
    pub(super) fn end(&self, id: u64) -> Result<(), Problem> {
        self.0.lock().as_ref().filter(|job| job.id == id).map(|job| job.cancel.cancel()).ok_or_else(unknown)
    }
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "store.no_job",
        "there is no such job any more",
        "the node may have been restarted: run the command again",
    )
}

impl Job {
    fn document(&self, clock: &Clock) -> Value {
        let Step { phase, done, total, current } = &self.step;
        let spent = clock.steady().saturating_duration_since(self.began.0).as_secs();
        let rate = done.saturating_sub(self.began.1).checked_div(spent);
        let left = rate.filter(|rate| *rate > 0).map(|rate| total.saturating_sub(*done) / rate);
        let (state, result, problem) = match &self.state {
            State::Running => ("running", None, None),
            State::Done(value) => ("done", Some(value), None),
            State::Failed(problem) => ("failed", None, Some(problem)),
            State::Ended => ("ended", None, None),
        };
        json!({
            "job": format!("/api/v1/store/jobs/{}", self.id), "what": self.what, "state": state,
            "phase": phase, "done": done, "total": total, "unit": if phase == "weighing" { "answers" } else { "bytes" }, "current": current,
            "rate_per_second": rate, "eta_s": left, "result": result, "problem": problem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use std::time::Duration;

    #[tokio::test]
    async fn one_job_at_a_time_is_told_and_ended() {
        let (jobs, life, clock) = (Jobs::default(), Life::default(), Clock::manual(Time::from_secs(0)));
        let (go, went) = tokio::sync::oneshot::channel::<()>();
        let started = jobs.start(&life, &clock, "export", |telling| async move {
            telling.tell(Step { phase: "writing".into(), done: 0, total: 100, current: String::new() });
            telling.tell(Step { phase: "writing".into(), done: 40, total: 100, current: "http://a.kz/".into() });
            drop(went.await);
            Ok(json!({ "files": 1 }))
        });
        assert_eq!(started.expect("starts")["job"], "/api/v1/store/jobs/1");
        let busy = jobs.start(&life, &clock, "import", |_| async { Ok(Value::Null) }).expect_err("busy");
        assert_eq!((busy.id.as_str(), busy.status), ("store.busy", 409));
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(2));
        let told = jobs.look(&clock, 1).expect("known");
        assert_eq!(
            (&told["done"], &told["rate_per_second"], &told["eta_s"], &told["state"]),
            (&json!(40), &json!(20), &json!(3), &json!("running"))
        );
        drop(go);
        while jobs.look(&clock, 1).expect("known")["state"] == "running" {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs.look(&clock, 1).expect("known")["result"]["files"], 1);
        jobs.start(&life, &clock, "import", |_| std::future::pending()).expect("starts");
        assert_eq!(jobs.look(&clock, 1).expect_err("another").id, "store.no_job");
        jobs.end(2).expect("known");
        while jobs.look(&clock, 2).expect("known")["state"] == "running" {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs.look(&clock, 2).expect("known")["state"], "ended");
    }
}
