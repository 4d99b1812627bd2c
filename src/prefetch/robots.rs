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
use std::time::Duration;

/// How long a file holds (RFC 9309 section 2.4).
const HOLDS: Duration = Duration::from_hours(24);
/// How long a failure holds before the origin is asked again.
const RETRY: Duration = Duration::from_hours(1);
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
    /// The file could not be had: nothing until then.
    Unknown(Time),
}

/// What is known of each origin.
#[derive(Debug, Default)]
pub struct Book {
    origins: Mutex<HashMap<String, Page>>,
}

#[derive(Clone, Debug)]
struct Page {
    until: Time,
    /// `None`: it failed.
    robots: Option<Robots>,
}

impl Book {
    /// Whether `target` may be fetched, asking its origin when need be. Gives the bytes that the question cost.
    pub async fn ask<W: Web>(&self, web: &W, target: &Target, now: Time) -> (Verdict, u64) {
        let known = self.origins.lock().get(target.origin()).filter(|page| page.until > now).cloned();
        let (page, cost) = if let Some(page) = known {
            (page, 0)
        } else {
            let (robots, cost) = fetch(web, target).await;
            let until = now.plus(if robots.is_some() { HOLDS } else { RETRY });
            let page = Page { until, robots };
            self.keep(target.origin(), page.clone(), now);
            (page, cost)
        };
        let verdict = match &page.robots {
            Some(robots) if robots.allows(target.path_and_query()) => Verdict::Allowed,
            Some(_) => Verdict::Disallowed,
            None => Verdict::Unknown(page.until),
        };
        (verdict, cost)
    }

    /// The wait between pages that the origin asks for, as far as it is known.
    pub fn delay(&self, origin: &str) -> Option<Duration> {
        self.origins.lock().get(origin)?.robots.as_ref()?.delay()
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

/// The file of an origin; `None` when it cannot be had and nothing may be fetched for now.
async fn fetch<W: Web>(web: &W, target: &Target) -> (Option<Robots>, u64) {
    let mut cost = 0;
    let mut place = target.join("/robots.txt");
    for _ in 0..=HOPS {
        let Some(target) = place.take() else { break };
        let reply = web.fetch(Ask { target, aim: Aim::Robots, force: false, max_bytes: None }).await;
        cost += reply.transferred;
        match reply.what {
            What::Here { body, .. } => return (Some(Robots::parse(&body, AGENT)), cost),
            What::Moved { to, .. } => place = Some(to),
            What::Gone | What::Refused(_) => return (Some(Robots::allow_all()), cost),
            What::Unkept(_) | What::Busy(_) | What::Broken(_) | What::Full(_) | What::TooLong => return (None, cost),
        }
    }
    // Too many redirects count as a missing file (RFC 9309 section 2.3.1.2).
    (Some(Robots::allow_all()), cost)
}
