//! One pass over one pack: from the frontier to the origin, into the store, back with what was found.
//!
//! Everything lasting is in the frontier, so the crawl may be dropped at any await and goes on where it was: that is how the
//! window's end stops a transfer, and how a kill does. What it decides by is in the pure rooms (`aim`, `gate`, `plan`).

use crate::base::backoff::Backoff;
use crate::base::clock::{Clock, Time};
use crate::base::target::Target;
use crate::prefetch::Progress;
use crate::prefetch::aim::{self, Aim};
use crate::prefetch::gate::{Gate, Manners, Turn};
use crate::prefetch::robots::{Book, Verdict};
use crate::prefetch::web::{Ask, Reply, Web, What};
use crate::prefetch::window::Windows;
use crate::site::pack::Pack;
use crate::state::frontier::{Cost, Count, Fate, Run, Wish};
use crate::state::{Error, State};
use crate::store::Error as StoreError;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Tries of one wish in one run.
const TRIES: u32 = 4;
/// Errors of a host in a day after which it is left alone. A wish counts once, not once a try, so that
/// one broken page does not close a whole site.
const HOST_ERRORS: u32 = 5;
/// A transfer that broke off is tried again this soon, and counts against nobody the first time: it was the line as likely as the
/// host, and after a power cut the line comes up later than the node.
const SOON: Duration = Duration::from_secs(3);
/// Waits between the tries of one wish.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_hours(1) };
/// The wait when a host is busy and does not say for how long; and the longest that is waited for within a run.
const BUSY: Duration = Duration::from_mins(1);
/// When nothing can be done for so long, the crawl ends and the scheduler comes back: other packs may go on meanwhile.
const PATIENCE: Duration = Duration::from_mins(15);
/// The longest sleep: window, line and stop flag are looked at as often.
const LOOK: Duration = Duration::from_secs(1);
/// Wishes looked at to find one whose turn it is.
const LOOKAHEAD: u32 = 256;
/// The rate told to people is that of the last half minute.
const RECENT: Duration = Duration::from_secs(30);

/// What one crawl needs.
pub struct Crawl<'a, W> {
    /// The world.
    pub web: &'a W,
    /// The frontier.
    pub state: &'a State,
    /// Time.
    pub clock: &'a Clock,
    /// What to fetch.
    pub pack: &'a Pack,
    /// robots.txt of all origins.
    pub book: &'a Book,
    /// How to behave.
    pub manners: &'a Manners,
    /// Whose day counts.
    pub windows: &'a Windows,
    /// What came of it, for reports.
    pub tally: &'a Tally,
    /// Transfers at once.
    pub max_transfers: usize,
    /// A person asked: everything is looked at anew, though it may not be time yet.
    pub anew: bool,
}

/// What came of all crawls since the node's start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Things that came over the line.
    pub fetched: AtomicU64,
    /// Things that were still good.
    pub unchanged: AtomicU64,
    /// Things given up.
    pub failed: AtomicU64,
}

/// Why a crawl ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Through; so many wishes stayed unfulfilled.
    Done(u64),
    /// The window closed.
    Window,
    /// Told to make way.
    Asked,
    /// Nothing to do before then.
    Waiting(Time),
    /// The store takes nothing.
    Full(String),
}

/// One fetch that has ended.
struct Landed {
    wish: Wish,
    target: Target,
    verdict: Verdict,
    reply: Option<Reply>,
    transferred: u64,
}

/// What the loop carries along.
struct Desk<'f> {
    run: Run,
    flying: FuturesUnordered<BoxFuture<'f, Landed>>,
    urls: HashSet<String>,
    gate: Gate,
    stopped: HashSet<String>,
    count: Count,
    counted: Time,
    recent: VecDeque<(Time, u64)>,
    looked: Time,
    busy: Duration,
}

impl<W: Web> Crawl<'_, W> {
    /// Works until the pack is through, `until` has come, or `stop` is set. Whatever is under way then is dropped.
    ///
    /// # Errors
    /// The database's.
    pub async fn run(&self, until: Option<Time>, stop: &AtomicBool, tell: &(dyn Fn(Progress) + Sync)) -> Result<End, Error> {
        let now = self.clock.now();
        let run = self.open(now).await?;
        let stopped = self.state.stopped_hosts(&self.windows.day(now), HOST_ERRORS).await?.into_iter().collect();
        let count = self.state.count(&self.pack.id, run.run).await?;
        let mut desk = Desk {
            run,
            flying: FuturesUnordered::new(),
            urls: HashSet::new(),
            gate: Gate::default(),
            stopped,
            count,
            counted: now,
            recent: VecDeque::new(),
            looked: now,
            busy: Duration::ZERO,
        };
        loop {
            let now = self.clock.now();
            if !desk.flying.is_empty() {
                desk.busy += now.since(desk.looked);
            }
            desk.looked = now;
            if until.is_some_and(|until| now >= until) {
                return Ok(End::Window);
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(End::Asked);
            }
            let mut wake = now.plus(LOOK);
            if !self.web.is_down() {
                wake = wake.min(self.fill(&mut desk, now).await?);
                if desk.flying.is_empty() {
                    match self.state.next_try(&self.pack.id, desk.run.run).await? {
                        None => return self.finish(desk.run.run, desk.run.transferred, tell).await,
                        Some(next) if next > now.plus(PATIENCE) => return Ok(End::Waiting(next)),
                        Some(_) => {}
                    }
                }
            }
            self.tell(&mut desk, now, tell).await?;
            let wait = until.map_or(wake, |until| wake.min(until)).since(now).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                Some(landed) = desk.flying.next(), if !desk.flying.is_empty() => {
                    if let Some(end) = self.land(&mut desk, landed).await? {
                        return Ok(end);
                    }
                }
                () = self.web.rest(wait) => {}
            }
        }
    }

    /// Goes on with the run under way, takes up what failed in the last one, or begins one; a changed pack begins anew.
    async fn open(&self, now: Time) -> Result<Run, Error> {
        let digest = self.pack.digest.to_string();
        match self.state.run(&self.pack.id).await? {
            Some(run) if run.finished.is_none() && run.digest == digest => Ok(run),
            Some(run) if run.failed > 0 && run.digest == digest && !self.anew && !self.is_old(&run, now) => {
                self.state.reopen_failed(&self.pack.id, run.run).await?;
                Ok(run)
            }
            _ => self.state.begin_run(&self.pack.id, &digest, now, &aim::seeds(self.pack)).await,
        }
    }

    fn is_old(&self, run: &Run, now: Time) -> bool {
        run.finished.is_none_or(|finished| finished.plus(self.pack.refresh) <= now)
    }

    /// Starts what may start; gives the moment at which to look again.
    async fn fill<'f>(&'f self, desk: &mut Desk<'f>, now: Time) -> Result<Time, Error> {
        let mut wake = now.plus(LOOK);
        if desk.flying.len() >= self.max_transfers.max(1) {
            return Ok(wake);
        }
        for wish in self.state.next_wishes(&self.pack.id, desk.run.run, now, LOOKAHEAD).await? {
            if desk.flying.len() >= self.max_transfers.max(1) {
                break;
            }
            if desk.urls.contains(&wish.url) {
                continue;
            }
            let Ok(target) = Target::parse(&wish.url) else {
                self.end(desk, &wish.url, &Fate::Failed("no address".into()), &[], 0).await?;
                continue;
            };
            if !self.pack.covers(&target, false) {
                self.end(desk, &wish.url, &Fate::Skipped("outside the pack's scope and classes".into()), &[], 0).await?;
                continue;
            }
            if desk.stopped.contains(target.host()) {
                let fate = Fate::Later { at: self.windows.next_day(now), failed: false };
                self.end(desk, &wish.url, &fate, &[], 0).await?;
                continue;
            }
            let held = Aim::parse(&wish.kind).is_page() && !self.is_free(target.host());
            match desk.gate.turn(target.host(), held, self.manners.connections, now) {
                Turn::Go => {}
                Turn::Full => continue,
                Turn::At(at) => {
                    wake = wake.min(at);
                    continue;
                }
            }
            desk.gate.enter(target.host(), held, self.pause(&target), now);
            desk.urls.insert(wish.url.clone());
            let room = self.pack.scope.max_bytes.saturating_sub(desk.count.done_bytes);
            desk.flying.push(Box::pin(self.fetch(wish, target, desk.run.started, room, now)));
        }
        Ok(wake)
    }

    /// Hosts that are not held back.
    fn is_free(&self, host: &str) -> bool {
        self.manners.is_own(host) || (self.pack.permission.is_some() && self.pack.scope.has_host(host))
    }

    fn pause(&self, target: &Target) -> Duration {
        let own = Duration::try_from_secs_f64(1.0 / self.manners.rate.max(0.001)).unwrap_or(Duration::from_secs(1));
        self.book.delay(target.origin()).map_or(own, |asked| asked.max(own))
    }

    async fn fetch(&self, wish: Wish, target: Target, started: Time, room: u64, now: Time) -> Landed {
        let (verdict, cost) = self.book.ask(self.web, &target, now).await;
        if verdict != Verdict::Allowed {
            return Landed { wish, target, verdict, reply: None, transferred: cost };
        }
        let aim = Aim::parse(&wish.kind);
        // A refresh asks the origin about pages; requisites that are still fresh are not asked about. A page whose sitemap names
        // no change since it was fetched is not asked about either.
        let older = wish.fetched.is_some_and(|fetched| fetched < started);
        let unchanged = wish.changed.zip(wish.fetched).is_some_and(|(changed, fetched)| changed <= fetched);
        let ask = Ask { target: target.clone(), aim, force: aim.is_page() && older && !unchanged, max_bytes: Some(room) };
        let reply = self.web.fetch(ask).await;
        let transferred = cost + reply.transferred;
        Landed { wish, target, verdict, reply: Some(reply), transferred }
    }

    /// Writes down what came; `Some` when the crawl must end.
    async fn land(&self, desk: &mut Desk<'_>, landed: Landed) -> Result<Option<End>, Error> {
        let Landed { wish, target, verdict, reply, transferred } = landed;
        let now = self.clock.now();
        desk.gate.leave(target.host());
        desk.urls.remove(&wish.url);
        desk.recent.push_back((now, transferred));
        let what = match (verdict, reply) {
            (Verdict::Unknown(wait), _) => {
                if wait.blame {
                    self.blame(desk, target.host(), now).await?;
                }
                let tried = match wait.passing {
                    true => Fate::Later { at: wait.until, failed: false },
                    false if wish.tries + 1 >= TRIES => Fate::Failed("robots.txt cannot be had".into()),
                    false => Fate::Later { at: wait.until, failed: true },
                };
                self.end(desk, &wish.url, &tried, &[], transferred).await?;
                return Ok(None);
            }
            (_, Some(reply)) => reply.what,
            (_, None) => What::Refused("robots.txt".into()),
        };
        let mut found = Vec::new();
        let fate = match what {
            What::Here { length, unchanged, content_type, body } => {
                if let Some(end) = self.pin(&wish, &target).await {
                    return Ok(Some(end));
                }
                found = aim::found(self.pack, &wish, &target, content_type.as_deref(), &body);
                desk.count.done_bytes += length;
                let counter = if unchanged { &self.tally.unchanged } else { &self.tally.fetched };
                counter.fetch_add(1, Ordering::Relaxed);
                Fate::Done { bytes: length, at: now }
            }
            What::Moved { to, kept } => {
                if kept && let Some(end) = self.pin(&wish, &target).await {
                    return Ok(Some(end));
                }
                if self.pack.covers(&to, false) {
                    found.push(Wish::new(to.url(), wish.kind.clone(), wish.depth));
                    Fate::Done { bytes: 0, at: now }
                } else {
                    Fate::Skipped("moved out of the pack's hosts".into())
                }
            }
            What::Gone => Fate::Gone,
            What::Refused(why) if why == "robots.txt" => Fate::Skipped("robots.txt forbids it".into()),
            What::Refused(why) => Fate::Failed(why),
            What::Unkept(why) => Fate::Failed(format!("may not be kept: {why}")),
            What::TooLong => Fate::Skipped("longer than what is left of scope.max_bytes".into()),
            What::Full(why) => return Ok(Some(End::Full(why))),
            What::Busy(wait) => self.busy(desk, &wish, &target, wait, now).await?,
            What::Broken(_) | What::Lost(_) if self.web.is_down() => Fate::Later { at: now, failed: false },
            // Piece by piece it gets through, whatever the line does.
            What::Partly(_) => Fate::Later { at: now.plus(SOON), failed: false },
            What::Lost(_) if wish.tries == 0 => Fate::Later { at: now.plus(SOON), failed: true },
            // Counted once for each wish: the first failure of a host that answered, the second of one that was lost.
            What::Lost(why) => self.broken(desk, &wish, &target, why, wish.tries == 1, now).await?,
            What::Broken(why) => self.broken(desk, &wish, &target, why, wish.tries == 0, now).await?,
        };
        self.end(desk, &wish.url, &fate, &found, transferred).await?;
        if desk.count.done_bytes >= self.pack.scope.max_bytes {
            self.state.skip_open(&self.pack.id, desk.run.run, "scope.max_bytes is reached").await?;
        }
        Ok(None)
    }

    async fn pin(&self, wish: &Wish, target: &Target) -> Option<End> {
        if !Aim::parse(&wish.kind).is_content() {
            return None;
        }
        let error = self.web.pin(&self.pack.id, target).await.err()?;
        Some(End::Full(match error {
            StoreError::Disk(error) if error.kind() == std::io::ErrorKind::NotFound => {
                String::from("the store is so full that what came made way at once; let a pack go, or raise store.quota")
            }
            StoreError::Full => String::from("packs keep as much as they may; let one go, or raise store.pinned_share or store.quota"),
            other => other.to_string(),
        }))
    }

    /// The host asked for a pause.
    async fn busy(&self, desk: &mut Desk<'_>, wish: &Wish, target: &Target, wait: Option<Duration>, now: Time) -> Result<Fate, Error> {
        let at = now.plus(wait.unwrap_or(BUSY.saturating_mul(2_u32.saturating_pow(wish.tries.min(6)))));
        desk.gate.shut(target.host(), at);
        if wish.tries == 0 {
            self.blame(desk, target.host(), now).await?;
        }
        Ok(tried(wish, at, "the host is busy".into()))
    }

    async fn broken(&self, desk: &mut Desk<'_>, wish: &Wish, target: &Target, why: String, counts: bool, now: Time) -> Result<Fate, Error> {
        tracing::debug!(host = target.host(), tries = wish.tries, why, "a fetch failed");
        if counts {
            self.blame(desk, target.host(), now).await?;
        }
        // At least half of the wait is kept: full jitter would sometimes ask again at once.
        Ok(tried(wish, now.plus(AGAIN.wait(wish.tries, 0.5 + self.web.share() / 2.0)), why))
    }

    /// One error more of a host; at the limit it is left alone for the day.
    async fn blame(&self, desk: &mut Desk<'_>, host: &str, now: Time) -> Result<(), Error> {
        let errors = self.state.host_error(host, &self.windows.day(now)).await?;
        if errors >= HOST_ERRORS && desk.stopped.insert(host.to_owned()) {
            tracing::warn!(host, errors, pack = self.pack.id, "host failed too often today, left alone until tomorrow");
        }
        Ok(())
    }

    async fn end(&self, desk: &mut Desk<'_>, url: &str, fate: &Fate, found: &[Wish], transferred: u64) -> Result<(), Error> {
        let cost = Cost { transferred, busy: std::mem::take(&mut desk.busy) };
        desk.run.transferred += transferred;
        if matches!(fate, Fate::Failed(_)) {
            self.tally.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.state.end_wish(&self.pack.id, desk.run.run, url, fate, found, cost).await
    }

    /// Marks the run as through; after one without failures, what the pack no longer wants is let go. A run that brought nothing
    /// lets nothing go: a site that is broken for a night must not empty the shelf.
    async fn finish(&self, run: i64, transferred: u64, tell: &(dyn Fn(Progress) + Sync)) -> Result<End, Error> {
        let id = &self.pack.id;
        let failed = self.state.finish_run(id, run, self.clock.now()).await?;
        let count = self.state.count(id, run).await?;
        let complete = failed == 0 && count.done > 0;
        loop {
            if !complete {
                break;
            }
            let outdated = self.state.outdated(id, run, LOOKAHEAD).await?;
            if outdated.is_empty() {
                break;
            }
            for url in outdated {
                if let Ok(target) = Target::parse(&url)
                    && let Err(error) = self.web.unpin(id, &target).await
                {
                    return Ok(End::Full(error.to_string()));
                }
                self.state.forget_wish(id, run, &url).await?;
            }
        }
        tell(Progress::of(self.pack, &count, transferred, None, None));
        Ok(End::Done(failed))
    }

    /// Tells how far it is, counted at most once a second.
    async fn tell(&self, desk: &mut Desk<'_>, now: Time, tell: &(dyn Fn(Progress) + Sync)) -> Result<(), Error> {
        while desk.recent.front().is_some_and(|(at, _)| now.since(*at) > RECENT) {
            desk.recent.pop_front();
        }
        if now.since(desk.counted) >= LOOK || desk.count.total == 0 {
            desk.count = self.state.count(&self.pack.id, desk.run.run).await?;
            desk.counted = now;
        }
        let bytes: u64 = desk.recent.iter().map(|(_, bytes)| bytes).sum();
        let span = desk.recent.front().map(|(at, _)| now.since(*at).as_secs().max(1));
        let rate = span.map(|span| bytes / span).filter(|rate| *rate > 0);
        let current = desk.urls.iter().min().cloned();
        tell(Progress::of(self.pack, &desk.count, desk.run.transferred, rate, current));
        Ok(())
    }
}

/// Again later, or given up.
fn tried(wish: &Wish, at: Time, why: String) -> Fate {
    if wish.tries + 1 >= TRIES { Fate::Failed(why) } else { Fate::Later { at, failed: true } }
}
