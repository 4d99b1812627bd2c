//! One pass over one pack: from the frontier to the origin, into the store, back with what was found.
//!
//! Everything lasting is in the frontier, so the crawl may be dropped at any await and goes on where it was: that is how a kill
//! ends it. A window's end drops what is under way alone, and what has ended is written down. What it decides by is in the pure
//! rooms (`aim`, `gate`, `plan`).

/// What is under way and will count.
mod claims;

/// What is under way.
mod flights;

/// What becomes of a wish that has landed.
pub(super) mod land;

/// What leaves the shelf.
mod shelf;

use crate::base::clock::{self, Clock, Time};
use crate::base::count::IntCounter;
use crate::base::target::Target;
use crate::prefetch::Progress;
use crate::prefetch::aim::{self, Aim};
use crate::prefetch::caps::{Purse, Which};
use crate::prefetch::gate::{Gate, Manners, Turn};
use crate::prefetch::queues::{Look, Queues};
use crate::prefetch::rhythm::{self, Step};
use crate::prefetch::robots::{Book, Verdict};
use crate::prefetch::share::Shares;
use crate::prefetch::summary::reason;
use crate::prefetch::web::{Ask, Reply, Web};
use crate::prefetch::window::Windows;
use crate::prefetch::worth::Ledger;
use crate::site::discover::media::Policy;
use crate::site::pack::Pack;
use crate::state::frontier::{Count, Ending, Fate, Run, Wish};
use crate::state::summary::{Counted, number};
use crate::state::{Error, State};
use claims::Claims;
use flights::Flights;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// When nothing can be done for so long, the crawl ends and the scheduler comes back: other packs may go on meanwhile.
const PATIENCE: Duration = Duration::from_mins(15);
/// The longest sleep: window, line and stop flag are looked at as often.
const LOOK: Duration = Duration::from_secs(1);
/// What is too long for the room that what is on its way leaves is tried again so much later.
const ROOM: Duration = Duration::from_mins(5);
/// How often it is written down for how long something was under way: so much a power cut may forget.
const MINUTE: Duration = Duration::from_mins(1);
/// The rate told to people is that of the last half minute.
const RECENT: Duration = Duration::from_secs(30);
/// So long may it take to write down what has ended, once the crawl must end: no byte comes meanwhile, but the next pack waits.
const LAST: Duration = Duration::from_secs(5);

/// What one crawl needs.
pub struct Crawl<'a, W> {
    /// The world.
    pub web: &'a W,
    /// The frontier.
    pub state: &'a State,
    /// Time.
    pub clock: &'a Clock,
    /// What to fetch.
    pub pack: &'a Arc<Pack>,
    /// robots.txt of all origins.
    pub book: &'a Book,
    /// How to behave.
    pub manners: &'a Manners,
    /// Whose day counts.
    pub windows: &'a Windows,
    /// Which forms of films are taken.
    pub media: &'a Policy,
    /// What came of it, for reports.
    pub tally: &'a Tally,
    /// Bytes over the line, counted where they land.
    pub transferred: &'a IntCounter,
    /// What may still come.
    pub purse: &'a Purse,
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
    /// Bytes over the line by pack and address, until they are written down.
    pub ledger: Ledger,
}

/// Why a crawl ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Through; so many wishes stayed unfulfilled.
    Done(u64),
    /// The window closed.
    Window,
    /// Its turn is over: others have theirs.
    Turn,
    /// Told to make way.
    Asked,
    /// A person ended it.
    Cancelled,
    /// A person paused the night.
    Paused,
    /// This cap is reached.
    Cap(Which),
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
    began: Time,
    /// What was left for it.
    room: Room,
}

/// How much of a body may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Bytes that are left of the pack's and its host's, less what is on its way.
    bytes: u64,
    /// What is on its way takes some of it: it may be more once that has landed.
    shared: bool,
}

/// What the loop carries along.
struct Desk {
    run: Run,
    urls: HashSet<String>,
    queues: Queues,
    gate: Gate,
    /// Left alone for the day.
    stopped: HashSet<String>,
    /// Hosts with a pause on record: forgiven when they answer.
    paused: HashSet<String>,
    /// Where redirects led, and from where: to see circles.
    moved: HashMap<String, String>,
    count: Count,
    shares: Shares,
    claims: Claims,
    /// Packs keep as much as they may: what is not here yet has no place in this run.
    crowded: bool,
    counted: Time,
    recent: VecDeque<(Time, u64)>,
    looked: clock::Look,
    busy: Duration,
    /// The same for the night's summary, also of what is never finished; until it is written down.
    active: Duration,
}

/// The hosts, as what is on record says of them.
pub(super) struct Doors {
    /// Shut where a pause holds.
    pub(super) gate: Gate,
    /// Left alone for the day.
    stopped: HashSet<String>,
    /// Those with a pause on record.
    paused: HashSet<String>,
}

impl Doors {
    /// As they are now.
    pub(super) async fn open(state: &State, manners: &Manners, windows: &Windows, now: Time) -> Result<Doors, Error> {
        let (mut gate, mut paused) = (Gate::default(), HashSet::new());
        let stopped: HashSet<String> = state.stopped_hosts(&windows.day(now), manners.errors).await?.into_iter().collect();
        for pause in state.pauses().await? {
            if pause.until <= now && pause.days == 0 {
                state.forgive_host(&pause.host).await?;
                continue;
            }
            gate.shut(&pause.host, pause.until);
            paused.insert(pause.host);
        }
        for host in &stopped {
            if gate.is_shut(host, now) {
                continue;
            }
            // Stopped by a stricter rule than the one that was in force then.
            let until = windows.next_day(now);
            state.pause_host(host, until, false, "it failed too often today").await?;
            gate.shut(host, until);
            paused.insert(host.clone());
        }
        Ok(Doors { gate, stopped, paused })
    }
}

impl<W: Web> Crawl<'_, W> {
    /// Works until the pack is through, `until` has come, `stop` is set, or `due` resolves. Whatever is under way then is dropped,
    /// for `due` at once, whatever the disk is doing; what has ended is written down.
    ///
    /// # Errors
    /// The database's.
    pub async fn run(
        &self,
        until: Option<Time>,
        stop: &AtomicBool,
        due: impl Future<Output = End> + Send,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<End, Error> {
        let flights = Flights::default();
        let mut pass = std::pin::pin!(self.pass(&flights, until, stop, tell));
        let end = tokio::select! {
            biased;
            end = &mut pass => return end,
            end = due => end,
        };
        flights.end(end.clone());
        if let Ok(end) = tokio::time::timeout(LAST, pass).await {
            return end;
        }
        tracing::warn!(pack = self.pack.id, "the disk is slow: what came in the last second will be asked for again");
        Ok(end)
    }

    async fn pass<'f>(
        &'f self,
        flights: &Flights<'f>,
        until: Option<Time>,
        stop: &AtomicBool,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<End, Error> {
        let mut desk = self.sit_down().await?;
        let end = self.work(&mut desk, flights, until, stop, tell).await?;
        // What is still under way ends here, sharp.
        flights.end(end.clone());
        desk.queues.flush(self.state, self.clock.now()).await?;
        self.pay(&mut desk).await?;
        match end {
            End::Done(_) => self.finish(desk.run.run, tell).await,
            end => {
                // How far it came, with what was just written.
                let count = self.state.count(&self.pack.id, desk.run.run).await?;
                tell(Progress::of(self.pack, &count, desk.run.transferred, None, None));
                Ok(end)
            }
        }
    }

    async fn sit_down(&self) -> Result<Desk, Error> {
        let now = self.clock.now();
        let run = self.open(now).await?;
        let Doors { gate, stopped, paused } = Doors::open(self.state, self.manners, self.windows, now).await?;
        let count = self.state.count(&self.pack.id, run.run).await?;
        let shares = Shares::open(self.state, self.pack, run.run).await?;
        Ok(Desk {
            queues: Queues::open(self.state, &self.pack.id, run.run).await?,
            run,
            urls: HashSet::new(),
            gate,
            stopped,
            paused,
            moved: HashMap::new(),
            count,
            shares,
            claims: Claims::default(),
            crowded: false,
            counted: now,
            recent: VecDeque::new(),
            looked: self.clock.look(),
            busy: Duration::ZERO,
            active: Duration::ZERO,
        })
    }

    /// Until there is a reason to end; `Done` when nothing is open any more.
    async fn work<'f>(
        &'f self,
        desk: &mut Desk,
        flights: &Flights<'f>,
        until: Option<Time>,
        stop: &AtomicBool,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<End, Error> {
        loop {
            if let Some(end) = flights.ended() {
                return Ok(end);
            }
            let look = self.clock.look();
            let (now, before) = (look.now, std::mem::replace(&mut desk.looked, look));
            // By steady time: a clock that is set makes no work.
            let (passed, _) = look.since(&before);
            if !flights.is_empty() {
                desk.busy += passed;
                desk.active += passed;
            }
            if now.plus(MINUTE) < before.now {
                // The clock was ahead and was set right: the window's end is not what it was, nor is what hosts wait for.
                return Ok(End::Asked);
            }
            if until.is_some_and(|until| now >= until) {
                return Ok(End::Window);
            }
            if let Some(which) = self.purse.reached(now) {
                return Ok(End::Cap(which));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(End::Asked);
            }
            if desk.queues.is_due(now) {
                desk.queues.flush(self.state, now).await?;
            }
            let mut wake = now.plus(LOOK);
            if !self.web.is_down() {
                let next = self.fill(desk, flights, now).await?;
                // That nothing is under way means that nothing is left, unless it was dropped meanwhile.
                if let Some(end) = flights.ended() {
                    return Ok(end);
                }
                match next {
                    None if flights.is_empty() => return Ok(End::Done(0)),
                    Some(next) if flights.is_empty() && next > now.plus(PATIENCE) => return Ok(End::Waiting(next)),
                    next => wake = next.map_or(wake, |next| wake.min(next)),
                }
            }
            self.tell(desk, now, tell).await?;
            let wait = until.map_or(wake, |until| wake.min(until)).since(now).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                () = flights.ending() => {}
                landed = flights.next() => {
                    if let Some(end) = self.land(desk, landed).await? {
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
            Some(run) if run.failed > 0 && run.digest == digest && !self.anew && !run.is_old(self.pack.refresh, now) => {
                self.state.reopen_failed(&self.pack.id, run.run, now).await?;
                Ok(run)
            }
            _ => self.state.begin_run(&self.pack.id, &digest, now, &aim::seeds(self.pack)).await,
        }
    }

    /// Starts what may start; gives the moment at which more may, `None` when nothing waits for one.
    async fn fill<'f>(&'f self, desk: &mut Desk, flights: &Flights<'f>, now: Time) -> Result<Option<Time>, Error> {
        let most = self.max_transfers.max(1);
        loop {
            // After the end nothing begins, so nothing would ever fill it.
            if flights.len() >= most || flights.ended().is_some() {
                return Ok(Some(now.plus(LOOK)));
            }
            // What is left out without being asked for ends here, too: a full host may have a million of it.
            if desk.queues.is_due(now) {
                desk.queues.flush(self.state, now).await?;
            }
            let Desk { queues, gate, count, shares, claims, .. } = &mut *desk;
            let rivals = queues.rivals(now, |host| !gate.is_shut(host, now));
            let crowded = rivals > 1 && most > 1 && flights.len() + 1 >= most;
            let turn = |host: &str, wish: &Wish| {
                // What is on its way takes all that is left: when it has landed, it shows whether there is more.
                if self.room(count.done_bytes, shares, claims, host) == (Room { bytes: 0, shared: true }) {
                    return Turn::Full;
                }
                let connections = if crowded && gate.is_slow(host) { 1 } else { self.manners.connections };
                gate.turn(host, self.is_held(host, wish), connections, now)
            };
            match queues.take(self.state, now, turn).await? {
                Look::Take(wish) => self.start(desk, flights, *wish, now).await?,
                // What has ended may have named more.
                Look::Wait(_) if queues.is_pending() && (flights.is_empty() || queues.names_more()) => {
                    queues.flush(self.state, now).await?;
                }
                Look::Wait(at) => return Ok(at),
            }
        }
    }

    async fn start<'f>(&'f self, desk: &mut Desk, flights: &Flights<'f>, wish: Wish, now: Time) -> Result<(), Error> {
        let Ok(target) = Target::parse(&wish.url) else {
            self.end(desk, Ending::new(wish, Fate::Failed("no address".into())), 0);
            return Ok(());
        };
        if !self.pack.covers(&target, false) {
            self.end(desk, Ending::new(wish, Fate::Skipped("outside the pack's scope and classes".into())), 0);
            return Ok(());
        }
        if let Some(why) = desk.shares.full(self.pack, target.host()) {
            self.end(desk, Ending::new(wish, Fate::Skipped(why)), 0);
            return Ok(());
        }
        if desk.crowded && wish.fetched.is_none() && Aim::parse(&wish.kind).is_content() {
            self.end(desk, Ending::new(wish, Fate::Skipped(land::CROWDED.into())), 0);
            return Ok(());
        }
        let room = self.room(desk.count.done_bytes, &desk.shares, &desk.claims, target.host());
        self.book.recall(self.state, target.origin(), now).await?;
        let arrived = desk.claims.add(wish.id, target.host(), wish.bytes);
        desk.gate.enter(target.host(), self.is_held(target.host(), &wish), self.pause(&target), now);
        desk.urls.insert(wish.url.clone());
        flights.push(Box::pin(self.fetch(wish, target, (desk.run.run, desk.run.started), room, arrived, now)));
        Ok(())
    }

    /// What may come of one more from this host.
    fn room(&self, done: u64, shares: &Shares, claims: &Claims, host: &str) -> Room {
        let (pack, site) = (self.pack.scope.max_bytes.saturating_sub(done), shares.room(self.pack, host));
        let name = self.pack.site(host).map(|(name, _)| name);
        let beside = |other: &str| name.is_some() && self.pack.site(other).map(|(name, _)| name) == name;
        let bytes = pack.saturating_sub(claims.sum(|_| true)).min(site.saturating_sub(claims.sum(beside)));
        Room { bytes, shared: bytes < pack.min(site) }
    }

    /// Whether manners hold a wish back.
    fn is_held(&self, host: &str, wish: &Wish) -> bool {
        Aim::parse(&wish.kind).is_page() && !self.is_free(host)
    }

    /// Hosts that are not held back.
    fn is_free(&self, host: &str) -> bool {
        self.manners.is_own(host) || self.pack.permits(host)
    }

    fn pause(&self, target: &Target) -> Duration {
        let own = Duration::try_from_secs_f64(1.0 / self.manners.rate.max(0.001)).unwrap_or(Duration::from_secs(1));
        self.book.delay(target.origin()).map_or(own, |asked| asked.max(own))
    }

    async fn fetch(
        &self,
        wish: Wish,
        target: Target,
        (run, started): (i64, Time),
        room: Room,
        arrived: Arc<AtomicU64>,
        began: Time,
    ) -> Landed {
        let (verdict, cost) = self.book.ask(self.web, &target, began).await;
        if verdict != Verdict::Allowed {
            return Landed { wish, target, verdict, reply: None, transferred: cost, began, room };
        }
        let aim = Aim::parse(&wish.kind);
        let step = match rhythm::step(&wish, aim.is_page(), run, started, began) {
            // A list is how changes become known.
            Step::Keep if !aim.is_content() => Step::Ask,
            // A person who asks means it: nothing is taken as it is.
            Step::Keep if self.anew && aim.is_page() => Step::Ask,
            Step::Keep if self.anew => Step::IfStale,
            step => step,
        };
        let (force, keep) = (step == Step::Ask, step == Step::Keep);
        let max_bytes = Some(room.bytes.min(aim.most()));
        let reply = self.web.fetch(Ask { target: target.clone(), aim, force, keep, max_bytes, arrived }).await;
        let transferred = cost + reply.transferred;
        Landed { wish, target, verdict, reply: Some(reply), transferred, began, room }
    }

    fn end(&self, desk: &mut Desk, mut ending: Ending, transferred: u64) {
        ending.cost.transferred = transferred;
        ending.cost.busy = std::mem::take(&mut desk.busy);
        ending.night = self.counts_in();
        ending.word = ending.word.or_else(|| reason::word(&ending.fate));
        desk.run.transferred += transferred;
        if matches!(ending.fate, Fate::Failed(_)) {
            self.tally.failed.fetch_add(1, Ordering::Relaxed);
        }
        desk.queues.end(ending, self.clock.now());
    }

    /// In which night something counts now; a wrong clock knows none.
    fn counts_in(&self) -> Option<i64> {
        self.clock.trusted().then(|| number(&self.windows.night(self.clock.now())))?
    }

    /// Writes down for how long something was under way.
    async fn pay(&self, desk: &mut Desk) -> Result<(), Error> {
        let active = std::mem::take(&mut desk.active);
        match self.counts_in().filter(|_| !active.is_zero()) {
            Some(night) => self.state.pay_night(night, &self.pack.id, active).await,
            None => Ok(()),
        }
    }

    /// As what many wishes count that end at once.
    fn counted(&self, word: &'static str) -> Option<Counted> {
        self.counts_in().map(|night| Counted { night, word })
    }

    /// Tells how far it is, counted at most once a second.
    async fn tell(&self, desk: &mut Desk, now: Time, tell: &(dyn Fn(Progress) + Sync)) -> Result<(), Error> {
        while desk.recent.front().is_some_and(|(at, _)| now.since(*at) > RECENT) {
            desk.recent.pop_front();
        }
        if now.since(desk.counted) >= LOOK || desk.count.total == 0 {
            desk.queues.flush(self.state, now).await?;
            desk.count = self.state.count(&self.pack.id, desk.run.run).await?;
            desk.counted = now;
        }
        if desk.active >= MINUTE {
            self.pay(desk).await?;
        }
        let bytes: u64 = desk.recent.iter().map(|(_, bytes)| bytes).sum();
        let span = desk.recent.front().map(|(at, _)| now.since(*at).as_secs().max(1));
        let rate = span.map(|span| bytes / span).filter(|rate| *rate > 0);
        let current = desk.urls.iter().min().cloned();
        tell(Progress::of(self.pack, &desk.count, desk.run.transferred, rate, current));
        Ok(())
    }
}
