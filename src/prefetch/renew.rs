//! What the class uses is asked about before school: objects used on at least two days that would be stale in the school day cost one
//! conditional request each, so that the first lesson does not wait for thirty of them, and is up to date should the line go down.
//!
//! It stands for what the devices themselves would do: no robots.txt is asked, the pace is that of the night's pages.

use crate::base::clock::Time;
use crate::base::count::{IntCounter, Metrics};
use crate::base::target::{Target, UrlKey};
use crate::cache::{Errand, Expiring};
use crate::link::Class;
use crate::prefetch::crawl::{Doors, land};
use crate::prefetch::gate::{Gate, Turn};
use crate::prefetch::web::{Reach, Reply, Web, What, failed};
use crate::prefetch::{Error, Inner, Night};
use crate::store::Entry;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
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
/// What must wait for longer is left out: packs wait behind it.
const PATIENCE: Duration = Duration::from_mins(5);

/// What came of renewals since start.
pub(super) struct Renewals {
    unchanged: IntCounter,
    changed: IntCounter,
    failed: IntCounter,
    today: Mutex<Today>,
}

/// What was asked about today: who is interrupted goes on, and does not begin anew.
#[derive(Default)]
struct Today {
    day: String,
    asked: HashSet<UrlKey>,
    bytes: u64,
}

impl Renewals {
    pub(super) fn new(metrics: &Metrics) -> Renewals {
        let all = metrics.counters("bulak_renewed_total", "What the class uses, asked about before school.", &["outcome"]);
        let of = |word: &str| all.with_label_values(&[word]);
        Renewals { unchanged: of("unchanged"), changed: of("changed"), failed: of("failed"), today: Mutex::default() }
    }

    /// Turns to a day; what may still be asked about on it.
    fn turn(&self, day: &str) -> usize {
        let mut today = self.today.lock();
        if today.day != day {
            *today = Today { day: day.to_owned(), ..Today::default() };
        }
        MOST.saturating_sub(today.asked.len())
    }

    /// Whether it was asked about today.
    fn is_asked(&self, key: &UrlKey) -> bool {
        self.today.lock().asked.contains(key)
    }

    /// Bytes that changed things may still bring today.
    fn room(&self) -> u64 {
        BYTES.saturating_sub(self.today.lock().bytes)
    }

    /// It was asked about, and so many bytes came.
    fn took(&self, key: UrlKey, bytes: u64) {
        let mut today = self.today.lock();
        today.asked.insert(key);
        today.bytes = today.bytes.saturating_add(bytes);
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
        let renewals = &self.0.class.renewals;
        let most = renewals.turn(&day);
        let mut due = VecDeque::new();
        for key in keys.into_iter().filter(|key| !renewals.is_asked(key)).take(most) {
            due.extend(self.0.web.expiring(&key, now.plus(SCHOOL_DAY)).await.map(|expiring| (key, expiring)));
        }
        let wanted = due.len();
        // The window's end as the clock will see it, also where `now` is a test's.
        let end = self.0.clock.now().plus(until.since(now));
        let whole = self.renew_all(due, end).await?;
        tracing::info!(wanted, whole, "what the class uses was asked about");
        if whole {
            self.0.state.set_renewed(&day).await?;
        }
        Ok(wanted > 0)
    }

    /// Asks about all of them. Whether it came through: people go first, and so do the window's end, the caps and other settings.
    async fn renew_all(&self, mut due: VecDeque<(UrlKey, Expiring)>, end: Time) -> Result<bool, Error> {
        let (inner, settings) = (&*self.0, self.0.settings.load_full());
        let renewals = &inner.class.renewals;
        let _turn = inner.turn.acquire().await.expect("the semaphore is never closed");
        inner.halt.clear();
        let _renewing = Renewing::new(inner);
        let Doors { mut gate, .. } = Doors::open(&inner.state, &settings.manners, &settings.windows, inner.clock.now()).await?;
        let mut flying = FuturesUnordered::new();
        let mut halt = std::pin::pin!(inner.halt.due(&inner.clock, &inner.purse, Some(end)));
        while !due.is_empty() || !flying.is_empty() {
            let now = inner.clock.now();
            let gives_way = {
                let board = inner.board.lock();
                board.ready(now).is_some() || board.is_paused(now)
            };
            if now >= end || gives_way {
                return Ok(false);
            }
            let mut wake = now.plus(LOOK);
            let mut at = 0;
            let room = renewals.room().min(inner.purse.left(now));
            while !inner.web.is_down() && room > 0 && flying.len() < settings.max_transfers.max(1) && at < due.len().min(LOOKAHEAD) {
                let host = due[at].1.target.host().to_owned();
                // Every one waits its turn like a page: nobody is in a hurry.
                let held = !settings.manners.is_own(&host);
                match gate.turn(&host, held, settings.manners.connections, now) {
                    Turn::Go => {
                        let pause = Duration::try_from_secs_f64(1.0 / settings.manners.rate.max(0.001)).unwrap_or(LOOK);
                        gate.enter(&host, held, pause, now);
                        if let Some((key, expiring)) = due.remove(at) {
                            flying.push(async move { (key, host, inner.web.renew(expiring, room).await) });
                        }
                    }
                    Turn::At(next) if next.since(now) > PATIENCE => drop(due.remove(at)),
                    Turn::Full => at += 1,
                    Turn::At(next) => {
                        wake = wake.min(next);
                        at += 1;
                    }
                }
            }
            // A cap that is reached is no end: what is left of it follows in another night's hour.
            if renewals.room() == 0 && flying.is_empty() {
                return Ok(true);
            }
            tokio::select! {
                biased;
                // Whatever is under way is dropped, sharp.
                _ = &mut halt => return Ok(false),
                Some((key, host, reply)) = flying.next(), if !flying.is_empty() => {
                    gate.leave(&host);
                    renewals.took(key, reply.transferred);
                    self.renewed(&host, &reply, &mut gate).await?;
                }
                () = inner.web.rest(wake.since(now).max(Duration::from_millis(1))) => {}
            }
        }
        Ok(true)
    }

    async fn renewed(&self, host: &str, reply: &Reply, gate: &mut Gate) -> Result<(), Error> {
        let renewals = &self.0.class.renewals;
        self.0.transferred.inc_by(reply.transferred);
        match &reply.what {
            What::Here { unchanged: true, .. } => renewals.unchanged.inc(),
            What::Here { .. } | What::Moved { .. } => renewals.changed.inc(),
            What::Busy(wait) => {
                renewals.failed.inc();
                let refusal = gate.refused(host, *wait, self.0.clock.now());
                self.0.state.pause_host(host, refusal.until, false, land::BUSY).await?;
            }
            _ => renewals.failed.inc(),
        }
        Ok(())
    }
}

/// Says that renewals are under way, until it is dropped: whoever calls the schedule's work to stop calls them too.
struct Renewing<'a, W>(&'a Inner<W>);

impl<W> Renewing<'_, W> {
    fn new(inner: &Inner<W>) -> Renewing<'_, W> {
        inner.board.lock().renewing = true;
        Renewing(inner)
    }
}

impl<W> Drop for Renewing<'_, W> {
    fn drop(&mut self) {
        self.0.board.lock().renewing = false;
    }
}

impl Reach {
    /// One conditional request, in nobody's name.
    pub(super) async fn ask_again(&self, expiring: Expiring, most: u64) -> Reply {
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
            max_bytes: Some(most),
            force: true,
            keep: false,
        };
        let fetched = match self.cache.fetch(errand).await {
            Ok(fetched) => fetched,
            Err(error) => return Reply { transferred: 0, what: failed(&error, self.link.names_answer()) },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_a_day_however_often_it_is_interrupted() {
        let renewals = Renewals::new(&Metrics::default());
        let key = Target::parse("http://a.kz/").expect("valid").key();
        assert_eq!(renewals.turn("2026-11-26"), MOST);
        renewals.took(key, BYTES - 1);
        assert_eq!((renewals.turn("2026-11-26"), renewals.is_asked(&key), renewals.room()), (MOST - 1, true, 1));
        renewals.took(key, BYTES);
        assert_eq!(renewals.room(), 0);
        assert_eq!((renewals.turn("2026-11-27"), renewals.is_asked(&key), renewals.room()), (MOST, false, BYTES));
    }
}
