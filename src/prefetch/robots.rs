//! robots.txt of every origin that the night asks, fetched beside the store and kept for a day at most.
//!
//! # Why always
//! A pack's permission lifts the pace, not the rules: permission is a sentence in our file, robots.txt is the owner's own word at
//! the place where RFC 9309 looks for it, and an owner who means yes can say it there. The school's own servers are asked the
//! same way: a missing file costs one request a day.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::prefetch::aim::Aim;
use crate::prefetch::web::{Ask, Web, What};
use crate::site::robots::Robots;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a file holds (RFC 9309 section 2.4).
const HOLDS: Duration = Duration::from_hours(24);
/// How long a failure holds before the origin is asked again.
const RETRY: Duration = Duration::from_hours(1);
/// How long the first failure on the way holds: a connection that broke says little, and a whole site waits for it.
const SOON: Duration = Duration::from_secs(5);
/// Redirects that are followed (RFC 9309 section 2.3.1.2).
const HOPS: usize = 5;
/// The product token in robots.txt.
const AGENT: &str = "bulak";
/// Most origins that are remembered; when full, those past their time are dropped, then all.
const ORIGINS: usize = 4096;

/// What robots.txt says of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be fetched.
    Allowed,
    /// It may not.
    Disallowed,
    /// The file could not be had.
    Unknown(Wait),
}

/// Nothing may be fetched for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Until then.
    pub until: Time,
    /// It is the host's own failure, found out just now: it counts against it, once for all who wait.
    pub blame: bool,
    /// It may pass by itself: it counts against nobody.
    pub passing: bool,
}

/// What is known of each origin.
#[derive(Debug, Default)]
pub struct Book {
    origins: Mutex<HashMap<String, Page>>,
    /// Origins that are just being asked: one asks, the others wait for what it learns.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone, Debug)]
struct Page {
    until: Time,
    file: File,
}

/// What came of asking for the file.
#[derive(Clone, Debug)]
enum File {
    /// It says.
    Rules(Robots),
    /// The way to it broke, for the first time.
    Lost,
    /// The origin fails.
    Failed,
}

impl Book {
    /// Whether `target` may be fetched, asking its origin when need be. Gives the bytes that the question cost.
    pub async fn ask<W: Web>(&self, web: &W, target: &Target, now: Time) -> (Verdict, u64) {
        if let Some(page) = self.known(target, now) {
            return (verdict(&page, target, false), 0);
        }
        let turn = Arc::clone(self.asking.lock().entry(target.origin().to_owned()).or_default());
        let _turn = turn.lock().await;
        if let Some(page) = self.known(target, now) {
            return (verdict(&page, target, false), 0);
        }
        let (mut file, cost) = fetch(web, target).await;
        self.asking.lock().remove(target.origin());
        if web.is_down() && !matches!(file, File::Rules(_)) {
            // Nothing was learned about the origin.
            return (Verdict::Unknown(Wait { until: now.plus(SOON), blame: false, passing: true }), cost);
        }
        let lost_before = self.origins.lock().get(target.origin()).is_some_and(|page| matches!(page.file, File::Lost));
        if lost_before && matches!(file, File::Lost) {
            file = File::Failed;
        }
        let holds = match file {
            File::Rules(_) => HOLDS,
            File::Lost => SOON,
            File::Failed => RETRY,
        };
        let page = Page { until: now.plus(holds), file };
        self.keep(target.origin(), page.clone(), now);
        (verdict(&page, target, true), cost)
    }

    fn known(&self, target: &Target, now: Time) -> Option<Page> {
        self.origins.lock().get(target.origin()).filter(|page| page.until > now).cloned()
    }

    /// The wait between pages that the origin asks for, as far as it is known.
    pub fn delay(&self, origin: &str) -> Option<Duration> {
        match &self.origins.lock().get(origin)?.file {
            File::Rules(robots) => robots.delay(),
            File::Lost | File::Failed => None,
        }
    }

    fn keep(&self, origin: &str, page: Page, now: Time) {
        let mut origins = self.origins.lock();
        if origins.len() >= ORIGINS {
            origins.retain(|_, page| page.until > now);
        }
        if origins.len() >= ORIGINS {
            origins.clear();
        }
        origins.insert(origin.to_owned(), page);
    }
}

/// What a page says of a target; `fresh`: it was asked for just now.
fn verdict(page: &Page, target: &Target, fresh: bool) -> Verdict {
    match &page.file {
        File::Rules(robots) if robots.allows(target.path_and_query()) => Verdict::Allowed,
        File::Rules(_) => Verdict::Disallowed,
        File::Lost => Verdict::Unknown(Wait { until: page.until, blame: false, passing: true }),
        File::Failed => Verdict::Unknown(Wait { until: page.until, blame: fresh, passing: false }),
    }
}

/// The file of an origin, and what it cost.
async fn fetch<W: Web>(web: &W, target: &Target) -> (File, u64) {
    let mut cost = 0;
    let mut place = target.join("/robots.txt");
    for _ in 0..=HOPS {
        let Some(target) = place.take() else { break };
        let reply = web.fetch(Ask { target, aim: Aim::Robots, force: false, max_bytes: None }).await;
        cost += reply.transferred;
        match reply.what {
            What::Here { body, .. } => return (File::Rules(Robots::parse(&body, AGENT)), cost),
            What::Moved { to, .. } => place = Some(to),
            What::Gone | What::Refused(_) => return (File::Rules(Robots::allow_all()), cost),
            What::Lost(_) | What::Partly(_) => return (File::Lost, cost),
            What::Unkept(_) | What::Busy(_) | What::Broken(_) | What::Full(_) | What::TooLong => return (File::Failed, cost),
        }
    }
    // Too many redirects count as a missing file (RFC 9309 section 2.3.1.2).
    (File::Rules(Robots::allow_all()), cost)
}
