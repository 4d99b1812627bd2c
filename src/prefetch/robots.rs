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
use crate::state::frontier::RobotsFile;
use crate::state::{Error, State};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a file holds (RFC 9309 section 2.4).
const HOLDS: Duration = Duration::from_hours(24);
/// How long a failure holds before the origin is asked again, and the longest that it may ask for itself.
const RETRY: Duration = Duration::from_hours(1);
/// How long the first failure on the way holds: a connection that broke says little, and a whole site waits for it.
const SOON: Duration = Duration::from_secs(5);
/// A file that cannot be had for so long counts as missing (RFC 9309 section 2.3.1.4: "a reasonable period, for example 30 days").
const GIVEN_UP: Duration = Duration::from_hours(30 * 24);
/// Redirects that are followed (RFC 9309 section 2.3.1.2).
const HOPS: usize = 5;
/// The product token in robots.txt.
const AGENT: &str = "bulak";
/// Most bytes of files that are remembered; when full, those past their time are dropped, then all. The database still has them.
const MEMORY: usize = 16 << 20;
/// What a short file takes all the same.
const LEAST: usize = 1 << 10;

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
    /// The file could not be had so often in a row.
    pub fails: u32,
}

/// What is known of each origin.
///
/// Asking never touches the database: asks are polled beside what else a crawl does, and one that held the database while the crawl waits
/// for it would wait for ever. What was kept is recalled before, what was learned is written after.
#[derive(Debug, Default)]
pub struct Book {
    origins: Mutex<HashMap<String, Page>>,
    /// Origins that are just being asked: one asks, the others wait for what it learns.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Learned and not yet written.
    news: Mutex<Vec<(String, RobotsFile)>>,
}

#[derive(Clone, Debug)]
struct Page {
    until: Time,
    file: File,
    weight: usize,
}

/// What came of asking for the file.
#[derive(Clone, Debug)]
enum File {
    /// It says.
    Rules(Arc<Robots>),
    /// The way to it broke, for the first time.
    Lost,
    /// The origin fails: since when, and how often.
    Failed(Time, u32),
}

/// What an origin answered.
enum Answer {
    Text(Bytes),
    Missing,
    /// There is nobody of that name.
    Nameless,
    /// It was not asked: this machine lacks what that takes.
    Ours,
    Lost,
    Failed(Option<Duration>),
}

impl Book {
    /// Recalls what was kept of an origin, before anything of it is asked for.
    ///
    /// # Errors
    /// The database's.
    pub async fn recall(&self, state: &State, origin: &str, now: Time) -> Result<(), Error> {
        let known = self.origins.lock().contains_key(origin);
        if known {
            return Ok(());
        }
        if let Some(page) = state.robots(origin).await?.and_then(|file| page(&file)) {
            self.keep(origin, page, now);
        }
        Ok(())
    }

    /// Writes down what was learned.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle(&self, state: &State) -> Result<(), Error> {
        let news = std::mem::take(&mut *self.news.lock());
        for (origin, file) in news {
            state.keep_robots(&origin, &file).await?;
        }
        Ok(())
    }

    /// Whether `target` may be fetched, asking its origin when need be. Gives the bytes that the question cost.
    pub async fn ask<W: Web>(&self, web: &W, target: &Target, now: Time) -> (Verdict, u64) {
        if let Some(page) = self.known(target, now) {
            return (verdict(&page, target, false, now), 0);
        }
        let turn = Arc::clone(self.asking.lock().entry(target.origin().to_owned()).or_default());
        let _turn = turn.lock().await;
        if let Some(page) = self.known(target, now) {
            return (verdict(&page, target, false, now), 0);
        }
        let (answer, cost) = fetch(web, target).await;
        self.asking.lock().remove(target.origin());
        if matches!(answer, Answer::Ours) || web.is_down() && matches!(answer, Answer::Lost | Answer::Failed(_)) {
            // Nothing was learned about the origin.
            return (Verdict::Unknown(Wait { until: now.plus(SOON), blame: false, passing: true, fails: 0 }), cost);
        }
        if matches!(answer, Answer::Nameless) {
            // Nobody is there who could forbid anything: the fetch itself tells what is wrong, and nothing is remembered.
            return (Verdict::Allowed, cost);
        }
        let page = self.learn(target.origin(), answer, now);
        (verdict(&page, target, true, now), cost)
    }

    /// What an answer means, after what was known before.
    fn learn(&self, origin: &str, answer: Answer, now: Time) -> Page {
        let before = self.origins.lock().get(origin).map(|page| page.file.clone());
        let (since, fails) = match before {
            Some(File::Failed(since, fails)) => (since, fails),
            _ => (now, 0),
        };
        let lost_before = matches!(before, Some(File::Lost | File::Failed(..)));
        let good = |body: Vec<u8>| RobotsFile { until: now.plus(HOLDS), since: None, fails: 0, body: Some(body) };
        let bad = |wait| RobotsFile { until: now.plus(wait), since: Some(since), fails: fails.saturating_add(1), body: None };
        let file = match answer {
            Answer::Text(body) => good(body.to_vec()),
            Answer::Missing | Answer::Nameless => good(Vec::new()),
            Answer::Ours | Answer::Lost if !lost_before => {
                let page = Page { until: now.plus(SOON), file: File::Lost, weight: LEAST };
                self.keep(origin, page.clone(), now);
                return page;
            }
            Answer::Ours | Answer::Lost => bad(RETRY),
            Answer::Failed(wait) => bad(wait.map_or(RETRY, |wait| wait.clamp(RETRY, HOLDS))),
        };
        let page = page(&file).unwrap_or(Page { until: file.until, file: File::Lost, weight: LEAST });
        self.keep(origin, page.clone(), now);
        self.news.lock().push((origin.to_owned(), file));
        page
    }

    fn known(&self, target: &Target, now: Time) -> Option<Page> {
        // Longer than a file holds: by a clock that was ahead.
        let holds = |page: &&Page| page.until > now && page.until <= now.plus(HOLDS);
        self.origins.lock().get(target.origin()).filter(holds).cloned()
    }

    /// The wait between pages that the origin asks for, as far as it is known.
    pub fn delay(&self, origin: &str) -> Option<Duration> {
        match &self.origins.lock().get(origin)?.file {
            File::Rules(robots) => robots.delay(),
            File::Lost | File::Failed(..) => None,
        }
    }

    fn keep(&self, origin: &str, page: Page, now: Time) {
        let mut origins = self.origins.lock();
        let full = |origins: &HashMap<String, Page>| origins.values().map(|page| page.weight).sum::<usize>() + page.weight > MEMORY;
        if full(&origins) {
            origins.retain(|_, page| page.until > now);
        }
        if full(&origins) {
            origins.clear();
        }
        origins.insert(origin.to_owned(), page);
    }
}

/// What was kept.
fn page(file: &RobotsFile) -> Option<Page> {
    if let Some(body) = &file.body {
        // No file says nothing, and so does an empty one.
        let (rules, weight) = (Arc::new(Robots::parse(body, AGENT)), body.len().max(LEAST));
        return Some(Page { until: file.until, file: File::Rules(rules), weight });
    }
    let since = file.since?;
    Some(Page { until: file.until, file: File::Failed(since, file.fails), weight: LEAST })
}

/// What a page says of a target; `fresh`: it was asked for just now.
fn verdict(page: &Page, target: &Target, fresh: bool, now: Time) -> Verdict {
    match &page.file {
        File::Failed(since, _) if now.since(*since) >= GIVEN_UP => Verdict::Allowed,
        File::Rules(robots) if robots.allows(target.path_and_query()) => Verdict::Allowed,
        File::Rules(_) => Verdict::Disallowed,
        File::Lost => Verdict::Unknown(Wait { until: page.until, blame: false, passing: true, fails: 0 }),
        File::Failed(_, fails) => Verdict::Unknown(Wait { until: page.until, blame: fresh, passing: false, fails: *fails }),
    }
}

/// The file of an origin, and what it cost.
async fn fetch<W: Web>(web: &W, target: &Target) -> (Answer, u64) {
    let mut cost = 0;
    let mut place = target.join("/robots.txt");
    for _ in 0..=HOPS {
        let Some(target) = place.take() else { break };
        let reply = web.fetch(Ask { target, aim: Aim::Robots, force: false, keep: false, max_bytes: None, arrived: Arc::default() }).await;
        cost += reply.transferred;
        match reply.what {
            What::Here { body, .. } => return (Answer::Text(body), cost),
            What::Moved { to, .. } => place = Some(to),
            What::Gone | What::Refused(_) => return (Answer::Missing, cost),
            What::Lost(_) | What::Partly(_) => return (Answer::Lost, cost),
            What::Busy(wait) => return (Answer::Failed(wait), cost),
            What::Nameless(_) => return (Answer::Nameless, cost),
            What::Ours(_) => return (Answer::Ours, cost),
            What::Unkept(_) | What::Broken(_) | What::Full(_) | What::TooLong | What::Oversized(_) => return (Answer::Failed(None), cost),
        }
    }
    // Too many redirects count as a missing file (RFC 9309 section 2.3.1.2).
    (Answer::Missing, cost)
}
