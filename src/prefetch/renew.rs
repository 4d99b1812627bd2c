//! What the class uses is asked about before school: objects used on at least two days that would be stale in the school day cost one
//! conditional request each, so that the first lesson does not wait for thirty of them, and is up to date should the line go down.
//!
//! It stands for what the devices themselves would do: no robots.txt is asked, the pace is that of the night's pages.

use crate::base::clock::Time;
use crate::base::count::{IntCounter, Metrics};
use crate::base::target::Target;
use crate::cache::{Errand, Expiring};
use crate::link::Class;
use crate::prefetch::gate::{Gate, Turn};
use crate::prefetch::web::{Reach, Reply, Web, What, failed};
use crate::prefetch::{Error, Night};
use crate::store::Entry;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Days in which uses count, and how many of them it takes.
const WITHIN: u32 = 14;
const DAYS: u32 = 2;
/// Most that are asked about in one night: at a page a second and host, what fits before school.
const MOST: usize = 3000;
/// Most bytes that changed things may bring: a quarter of an hour of 4 Mbit/s.
const BYTES: u64 = 256 << 20;
/// The work begins so long before the window ends: earlier, what lives for some hours would be stale again at eight.
const LEAD: Duration = Duration::from_hours(1);
/// Where a window goes on beyond the morning, it is this hour.
const HOUR: i8 = 6;
/// What is fresh for so long outlasts the school day.
const SCHOOL_DAY: Duration = Duration::from_hours(12);
/// Objects looked at to find one whose host may be asked now.
const LOOKAHEAD: usize = 256;
/// The longest sleep: line, window and people are looked at as often.
const LOOK: Duration = Duration::from_secs(1);

/// What came of renewals since start.
pub(super) struct Renewals {
    unchanged: IntCounter,
    changed: IntCounter,
    failed: IntCounter,
}

impl Renewals {
    pub(super) fn new(metrics: &Metrics) -> Renewals {
        let all = metrics.counters("bulak_renewed_total", "What the class uses, asked about before school.", &["outcome"]);
        let of = |word: &str| all.with_label_values(&[word]);
        Renewals { unchanged: of("unchanged"), changed: of("changed"), failed: of("failed") }
    }
}

impl<W: Web> Night<W> {
    /// Renews what the class uses, once a day, when its hour has come in a window that ends at `until`. Whether it worked: then the
    /// scheduler looks anew.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn renew_before_school(&self, now: Time, until: Time) -> Result<bool, Error> {
        let settings = self.0.settings.load_full();
        let day = settings.windows.day(now);
        let hour = jiff::Timestamp::from_microsecond(now.micros()).map_or(0, |stamp| stamp.to_zoned(settings.windows.zone.clone()).hour());
        if (until.since(now) > LEAD && hour != HOUR) || self.0.state.renewed().await?.as_deref() == Some(day.as_str()) {
            return Ok(false);
        }
        self.keep_books(true).await?;
        let keys = self.0.state.used_again(self.day_number(now), WITHIN, DAYS, MOST).await?;
        let mut due = VecDeque::new();
        for key in &keys {
            due.extend(self.0.web.expiring(key, now.plus(SCHOOL_DAY)).await);
        }
        let wanted = due.len();
        // The window's end as the clock will see it, also where `now` is a test's.
        let end = self.0.clock.now().plus(until.since(now));
        let whole = self.renew_all(due, end).await;
        tracing::info!(wanted, whole, "what the class uses was asked about");
        if whole {
            self.0.state.set_renewed(&day).await?;
        }
        Ok(wanted > 0)
    }

    /// Asks about all of them. Whether it came through: people go first, and so does the window's end.
    async fn renew_all(&self, mut due: VecDeque<Expiring>, end: Time) -> bool {
        let (inner, settings) = (&*self.0, self.0.settings.load_full());
        let _turn = inner.turn.acquire().await.expect("the semaphore is never closed");
        let (mut gate, mut flying, mut brought) = (Gate::default(), FuturesUnordered::new(), 0_u64);
        while !due.is_empty() || !flying.is_empty() {
            let now = inner.clock.now();
            let gives_way = {
                let board = inner.board.lock();
                board.ready(now).is_some() || board.is_paused(now)
            };
            if now >= end || gives_way {
                return false;
            }
            let mut wake = now.plus(LOOK);
            let mut at = 0;
            while !inner.web.is_down() && brought < BYTES && flying.len() < settings.max_transfers.max(1) && at < due.len().min(LOOKAHEAD) {
                let host = due[at].target.host().to_owned();
                // Every one waits its turn like a page: nobody is in a hurry.
                let held = !settings.manners.is_own(&host);
                match gate.turn(&host, held, settings.manners.connections, now) {
                    Turn::Go => {
                        let pause = Duration::try_from_secs_f64(1.0 / settings.manners.rate.max(0.001)).unwrap_or(LOOK);
                        gate.enter(&host, held, pause, now);
                        if let Some(expiring) = due.remove(at) {
                            flying.push(async move { (host, inner.web.renew(expiring).await) });
                        }
                    }
                    Turn::Full => at += 1,
                    Turn::At(next) => {
                        wake = wake.min(next);
                        at += 1;
                    }
                }
            }
            if brought >= BYTES && flying.is_empty() {
                return true;
            }
            tokio::select! {
                biased;
                Some((host, reply)) = flying.next(), if !flying.is_empty() => {
                    gate.leave(&host);
                    brought += reply.transferred;
                    self.renewed(&host, &reply, &mut gate);
                }
                () = inner.web.rest(wake.since(now).max(Duration::from_millis(1))) => {}
            }
        }
        true
    }

    fn renewed(&self, host: &str, reply: &Reply, gate: &mut Gate) {
        let renewals = &self.0.class.renewals;
        self.0.transferred.inc_by(reply.transferred);
        match &reply.what {
            What::Here { unchanged: true, .. } => renewals.unchanged.inc(),
            What::Here { .. } | What::Moved { .. } => renewals.changed.inc(),
            What::Busy(wait) => {
                gate.shut(host, self.0.clock.now().plus(wait.unwrap_or(Duration::from_mins(1))));
                renewals.failed.inc();
            }
            _ => renewals.failed.inc(),
        }
    }
}

impl Reach {
    /// One conditional request, in nobody's name.
    pub(super) async fn ask_again(&self, expiring: Expiring) -> Reply {
        let Expiring { target, mut headers, source } = expiring;
        headers.entry(USER_AGENT).or_insert(self.agent.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let errand = Errand {
            target,
            headers,
            source,
            class: Class::Background,
            toll: self.toll.clone(),
            moved: Arc::default(),
            max_bytes: Some(BYTES),
            force: true,
            keep: false,
        };
        let fetched = match self.cache.fetch(errand).await {
            Ok(fetched) => fetched,
            Err(error) => return Reply { transferred: 0, what: failed(&error) },
        };
        let what = match (fetched.status, &fetched.entry) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => What::Busy(fetched.retry_after),
            (_, Some(entry)) => What::Here {
                length: entry.length,
                unchanged: fetched.status == StatusCode::NOT_MODIFIED,
                asked: true,
                print: None,
                content_type: None,
                body: bytes::Bytes::new(),
            },
            (status, None) => What::Refused(format!("status {}", status.as_u16())),
        };
        Reply { transferred: fetched.transferred, what }
    }

    /// Length of what is stored of an address and may be shown to everybody.
    pub(super) async fn length(&self, target: &Target) -> Option<u64> {
        let key = target.key();
        if !self.store.may_have(&key) {
            return None;
        }
        let variants = self.store.find(&key).await.ok()?;
        let whole = |entry: &&Arc<Entry>| entry.object.is_some() && (entry.meta.status.is_success() || entry.meta.status.is_redirection());
        variants.iter().find(whole).map(|entry| entry.length)
    }
}
