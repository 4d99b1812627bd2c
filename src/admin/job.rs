//! Long work of the store on behalf of a command: one at a time, as a job that is asked about and may be ended.
//!
//! The work lives in the node: a command that goes away ends nothing. A node that stops drops it between two of its steps.

use crate::admin::Parts;
use crate::base::problem::Problem;
use crate::life::Jobs;
use crate::life::job::{self, Outcome, View};
use crate::store::Error;
use crate::store::bundle::Step;
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where a job's steps are told.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    jobs: Jobs,
    id: String,
}

impl Telling {
    pub(super) fn tell(&self, step: Step) {
        let unit = if step.phase == "weighing" { "answers" } else { "bytes" };
        let Step { phase, done, total, current } = step;
        let current = Some(current).filter(|text| !text.is_empty());
        self.jobs.tell(&self.id, job::Step { phase, done, total, unit, current, pace: None });
    }
}

/// Starts a job of the store; how it stands.
///
/// # Errors
/// When another one is under way.
pub(super) fn start<W, F>(parts: &Parts, what: &'static str, work: W) -> Result<View, Problem>
where
    W: FnOnce(Telling) -> F,
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let (jobs, stop) = (parts.jobs.clone(), CancellationToken::new());
    let cancel = stop.clone();
    let cancel: job::Cancel = Arc::new(move || {
        cancel.cancel();
        Box::pin(std::future::ready(()))
    });
    let id = jobs.alone(what, "bytes", cancel).map_err(|busy| {
        let name = busy.what.strip_prefix("store.").unwrap_or(&busy.what).to_owned();
        let message = format!("the store is busy with another job ({name})");
        Problem::new(StatusCode::CONFLICT, "store.busy", message, "wait until it is done, or end that command")
    })?;
    jobs.run(&id);
    let view = jobs.look(&id).unwrap_or_default();
    let work = work(Telling { jobs: jobs.clone(), id: id.clone() });
    parts.life.spawn_until_stop(async move {
        let outcome = tokio::select! {
            done = work => done.map_or_else(|error| Outcome::Failed(super::store::problem(&error)), Outcome::Done),
            () = stop.cancelled() => Outcome::Cancelled,
        };
        if let Outcome::Failed(problem) = &outcome {
            tracing::warn!(id = problem.id, what, error = problem.title, "a job of the store failed");
        }
        jobs.end(&id, outcome);
    });
    Ok(view)
}
