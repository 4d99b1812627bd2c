//! What carries a test: ndt7 over the line. A seam, so that the course of a test is tried on lines made of numbers.

use crate::base::clock::Clock;
use crate::meter::ndt7::Way;
use crate::meter::ndt7::client::{Continue, Error, Limits, Outcome, Progress, Target, run};
use crate::upstream::Upstream;
use futures_util::future::BoxFuture;

/// Told how a test goes; says whether it goes on.
pub(super) type Telling<'a> = &'a mut (dyn FnMut(&Progress<'_>) -> Continue + Send);

/// Carries tests.
pub(super) trait Carrier: Send + Sync + 'static {
    /// One test in one direction. Dropped at any await it closes its connections.
    fn carry<'a>(&'a self, target: &'a Target, way: Way, limits: &'a Limits, on: Telling<'a>) -> BoxFuture<'a, Result<Outcome, Error>>;
}

/// ndt7 by way of `upstream`: its names, its guard, its trust.
pub(super) struct Ndt7 {
    pub(super) upstream: Upstream,
    pub(super) clock: Clock,
}

impl Carrier for Ndt7 {
    fn carry<'a>(&'a self, target: &'a Target, way: Way, limits: &'a Limits, on: Telling<'a>) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(run(&self.upstream, &self.clock, target, way, limits, on))
    }
}
