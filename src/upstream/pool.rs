//! Connections per origin: idle ones to use again (newest first), a bound on open ones, and a queue in which people go before
//! background. It neither dials nor speaks HTTP: a `Lease` says what its holder may do, and dropping it gives everything back.
//!
//! # Why one opening at a time for https
//! Whether an origin speaks HTTP/2 is known only after a handshake. Thirty devices opening the same page would make thirty
//! connections where one is enough; so the first opens, the others wait for what it finds. An origin known to speak HTTP/1.1
//! is opened freely up to the bound. If the one opening fails, all who waited for it get its error, not one deadline each.
//!
//! # Why nobody takes everything
//! One device that asks an origin for fifty slow answers would hold every connection to it, and its class would wait. So each client
//! may hold at most twice what is left free (dynamic thresholds: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
//! packet switches", 1998): one alone has two thirds of the origin, two have two fifths each, and whoever comes next finds a place. Who
//! is over his share waits, and those behind him pass. Over all origins a client has `each` requests under way or waiting: fetches
//! outlive whoever asked for them, so his connections do not bound them.
//!
//! # Why some do not take what lies idle
//! An origin may close an idle connection at any time, and a request that meets the close gets no answer; only one that may be
//! repeated is helped by another try (RFC 9112 section 9.3.1). So whoever asks says how long a connection may have lain, and one
//! that lay longer makes room for a new one. An origin that says how long it keeps a connection is taken at its word.

use crate::base::clock::Clock;
use crate::base::crowd::{Crowd, Seat};
use crate::link::Class;
use crate::upstream::Error;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests on one HTTP/2 connection at a time; servers commonly allow 100 to 128.
const STREAMS: usize = 100;
/// Requests waiting for one origin; a class of 30 with 40 objects each is 1,200, but those come six a browser.
const WAITING: usize = 512;
/// Of these, one client's: what a browser asks of one host at once is far below.
const WAITING_EACH: usize = 128;
/// Requests of all clients. Beyond it the node would only collect what it cannot fetch.
const ALL: usize = 8192;
/// A client may hold so many times what is left free of an origin.
const SHARE: usize = 2;
/// Idle connections are counted after so many have come back: counting each time would cost more than a few too many.
const COUNT_AFTER: usize = 32;
/// How long a request waits for its turn. Connections held by long polls do not come back soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// However long a connection has lain idle, it will do.
pub(super) const ANY: Duration = Duration::MAX;
/// An origin that closes after N seconds is left alone so long before: its clock started half a round trip before ours, and a
/// request needs another half; a satellite's are 0.3 s each.
const MARGIN: Duration = Duration::from_secs(1);

/// A connection that may be used again.
pub(super) trait Reusable {
    /// Whether the other side has not closed it yet.
    fn is_open(&self) -> bool;
}

/// The two kinds of connection; dummies in tests.
pub(super) trait Kinds: 'static {
    /// Serves one request at a time.
    type One: Reusable + Send;
    /// Serves many.
    type Many: Reusable + Clone + Send;
}

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of those open, background holds at most so many at work.
    pub(super) background: usize,
    /// Idle ones live this long.
    pub(super) idle: Duration,
    /// So many lie idle at all origins together; the oldest make room.
    pub(super) idle_most: usize,
    /// One client has so many requests under way and waiting, at all origins.
    pub(super) each: usize,
}

/// Where to: names one set of interchangeable connections.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Scheme, host, port and way.
    pub(super) text: Arc<str>,
    /// HTTP/1.1 connections open at most.
    pub(super) most: usize,
    /// HTTP/2 may come of opening.
    pub(super) may_share: bool,
}

/// What the holder may do.
pub(super) enum Lease<K: Kinds> {
    /// Use this connection alone; then [`Pool::put`] it back.
    One(K::One, Slot<K>),
    /// Use this connection beside others.
    Many(K::Many, Slot<K>),
    /// Open one; then tell the pool (it opened, it failed).
    Open(Slot<K>),
}

type Grant<K> = Result<Lease<K>, Error>;

/// All connections. Cheap to clone.
pub(super) struct Pool<K: Kinds>(Arc<Shared<K>>);

impl<K: Kinds> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Pool(self.0.clone())
    }
}

struct Shared<K: Kinds> {
    origins: Mutex<HashMap<Arc<str>, Origin<K>>>,
    limits: Limits,
    clock: Clock,
    /// Whose requests are under way.
    crowd: Crowd,
    /// Connections that came back since idle ones were counted.
    returned: AtomicUsize,
    /// The node stops: nothing is kept any more.
    closed: AtomicBool,
}

struct Origin<K: Kinds> {
    key: Key,
    /// Newest last.
    idle: Vec<Idle<K::One>>,
    shared: Option<(K::Many, Instant)>,
    /// HTTP/1.1 connections: idle, at work, being opened.
    open: usize,
    /// Requests on the shared connection.
    streams: usize,
    /// Leases that background holds.
    background: usize,
    /// Leases that each client holds.
    held: HashMap<IpAddr, usize>,
    /// Somebody is finding out what the origin speaks.
    opening: bool,
    /// It speaks HTTP/1.1 alone.
    only_one: bool,
    /// People, background.
    waiting: [VecDeque<Waiter<K>>; 2],
}

/// A connection that nobody uses.
struct Idle<C> {
    one: C,
    since: Instant,
    /// Not to be used after this long.
    lasts: Duration,
}

/// Somebody whose turn has not come.
struct Waiter<K: Kinds> {
    turn: oneshot::Sender<Grant<K>>,
    rested: Duration,
    who: Option<IpAddr>,
}

/// Whom a place is for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Who {
    background: bool,
    /// The client, where there is one.
    client: Option<IpAddr>,
}

/// One place under the bounds. Dropping it frees the place.
pub(super) struct Slot<K: Kinds> {
    shared: Arc<Shared<K>>,
    key: Key,
    who: Who,
    kind: Kind,
    /// One of its client's requests.
    seat: Option<Seat>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Counts as an open connection.
    Alone,
    /// The same, and others wait for what comes of it.
    Opening,
    /// Counts as a request on the shared connection.
    Stream,
    /// Counts as nothing any more.
    Void,
}

impl<K: Kinds> Pool<K> {
    /// Empty.
    pub(super) fn new(limits: Limits, clock: Clock) -> Self {
        Pool(Arc::new(Shared {
            origins: Mutex::default(),
            limits,
            clock,
            crowd: Crowd::default(),
            returned: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }))
    }

    /// Waits for a place. An HTTP/1.1 connection that is used again has lain idle for less than `rested`: [`ANY`] takes all,
    /// zero none. `client`: for whom, where a device waits. May be dropped at any await.
    pub(super) async fn checkout(&self, key: &Key, class: Class, rested: Duration, client: Option<IpAddr>) -> Grant<K> {
        let background = class != Class::Interactive;
        let who = Who { background, client: client.filter(|_| !background) };
        let Some(seat) = self.0.crowd.enter(who.client, ALL, self.0.limits.each) else {
            return Err(Error::Crowded(key.text.to_string()));
        };
        let turn = {
            let mut origins = self.0.origins.lock();
            let origin = origins.entry(key.text.clone()).or_insert_with(|| Origin::new(key.clone()));
            if let Some(lease) = origin.grant(&self.0, who, rested) {
                return Ok(lease.seated(seat));
            }
            let queue = &mut origin.waiting[usize::from(background)];
            queue.retain(|waiter| !waiter.turn.is_closed());
            let same = |waiter: &&Waiter<K>| who.client.is_some() && waiter.who == who.client;
            if queue.iter().filter(same).count() >= WAITING_EACH {
                return Err(Error::Crowded(key.text.to_string()));
            }
            if queue.len() >= WAITING {
                return Err(busy(key));
            }
            let (sender, turn) = oneshot::channel();
            queue.push_back(Waiter { turn: sender, rested, who: who.client });
            turn
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(grant)) => grant.map(|lease| lease.seated(seat)),
            Ok(Err(_)) | Err(_) => Err(busy(key)),
        }
    }

    /// Whether a connection to this origin is open and at hand, and if so whether it serves many.
    pub(super) fn at_hand(&self, key: &Arc<str>) -> Option<bool> {
        let mut origins = self.0.origins.lock();
        let origin = origins.get_mut(key)?;
        origin.prune(self.0.clock.steady(), self.0.limits.idle);
        if origin.shared.is_some() { Some(true) } else { (!origin.idle.is_empty()).then_some(false) }
    }

    /// The opened connection serves one request at a time.
    pub(super) fn opened_one(slot: &mut Slot<K>) {
        slot.kind = Kind::Alone;
        let shared = slot.shared.clone();
        shared.change(&slot.key.text, |origin| (origin.opening, origin.only_one) = (false, true));
    }

    /// The opened connection serves many: others may use it beside the opener.
    pub(super) fn opened_many(slot: &mut Slot<K>, many: &K::Many) {
        slot.kind = Kind::Stream;
        let (shared, now) = (slot.shared.clone(), slot.shared.clock.steady());
        let closed = shared.closed.load(Ordering::Relaxed);
        shared.change(&slot.key.text, |origin| {
            (origin.opening, origin.only_one) = (false, false);
            origin.open -= 1;
            origin.streams += 1;
            origin.shared = (!closed).then(|| (many.clone(), now));
        });
    }

    /// Opening failed: those who waited for it need not wait one by one.
    pub(super) fn failed(slot: Slot<K>, error: &Error) {
        if slot.kind == Kind::Opening {
            let mut origins = slot.shared.origins.lock();
            let waiting = origins.get_mut(&slot.key.text).map(|origin| std::mem::take(&mut origin.waiting)).unwrap_or_default();
            drop(origins);
            for waiter in waiting.into_iter().flatten() {
                // One who left needs no answer.
                let _ = waiter.turn.send(Err(error.clone()));
            }
        }
        drop(slot);
    }

    /// The connection is free again; the origin keeps it for `keeps`, where it said so.
    pub(super) fn put(one: K::One, mut slot: Slot<K>, keeps: Option<Duration>) {
        let (shared, since) = (slot.shared.clone(), slot.shared.clock.steady());
        // Where it keeps it for a second or two, half of that.
        let lasts = keeps.map_or(ANY, |keeps| keeps.saturating_sub(MARGIN).max(keeps / 2)).min(shared.limits.idle);
        slot.kind = Kind::Void;
        let closed = shared.closed.load(Ordering::Relaxed);
        shared.change(&slot.key.text, |origin| {
            origin.left(slot.who);
            if closed || lasts.is_zero() || !one.is_open() {
                origin.open -= 1;
            } else {
                origin.idle.push(Idle { one, since, lasts });
            }
        });
        if shared.returned.fetch_add(1, Ordering::Relaxed) % COUNT_AFTER == COUNT_AFTER - 1 {
            shared.thin_out();
        }
    }

    /// Everything idle at this origin is suspect: let it go.
    pub(super) fn distrust(&self, key: &Arc<str>) {
        self.0.change(key, |origin| {
            origin.open -= origin.idle.len();
            origin.idle.clear();
            origin.shared = None;
        });
    }

    /// Everything idle anywhere is suspect.
    pub(super) fn distrust_all(&self) {
        let keys: Vec<Arc<str>> = self.0.origins.lock().keys().cloned().collect();
        for key in keys {
            self.distrust(&key);
        }
    }

    /// Lets go of what is closed or old, and of origins without anything. Called now and then.
    pub(super) fn sweep(&self) {
        let now = self.0.clock.steady();
        self.0.origins.lock().retain(|_, origin| {
            origin.prune(now, self.0.limits.idle);
            let idle = origin.open == 0 && origin.streams == 0 && origin.background == 0 && origin.shared.is_none();
            !idle || origin.waiting.iter().any(|queue| queue.iter().any(|waiter| !waiter.turn.is_closed()))
        });
    }

    /// Idle connections to an origin.
    #[cfg(test)]
    pub(super) fn idle(&self, key: &Arc<str>) -> usize {
        self.0.origins.lock().get(key).map_or(0, |origin| origin.idle.len())
    }

    /// The node stops: idle connections close, those at work close when they are done.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        self.distrust_all();
    }
}

impl<K: Kinds> Shared<K> {
    /// Changes an origin and gives what became free to those who wait.
    fn change(self: &Arc<Self>, key: &Arc<str>, change: impl FnOnce(&mut Origin<K>)) {
        let mut unwanted = Vec::new();
        if let Some(origin) = self.origins.lock().get_mut(key) {
            change(origin);
            origin.wake(self, &mut unwanted);
        }
        // Dropped only now: each frees its place, which takes the lock.
        drop(unwanted);
    }

    /// Lets go of the oldest idle connections where there are too many: each is a descriptor, and a page of a thousand hosts leaves a
    /// thousand.
    fn thin_out(&self) {
        let mut origins = self.origins.lock();
        let mut idle: Vec<Instant> = origins.values().flat_map(|origin| origin.idle.iter().map(|idle| idle.since)).collect();
        let Some(surplus) = idle.len().checked_sub(self.limits.idle_most).filter(|surplus| *surplus > 0) else { return };
        let (_, youngest, _) = idle.select_nth_unstable(surplus - 1);
        let until = *youngest;
        for origin in origins.values_mut() {
            let before = origin.idle.len();
            origin.idle.retain(|idle| idle.since > until);
            origin.open -= before - origin.idle.len();
        }
    }
}

impl<K: Kinds> Lease<K> {
    /// The same, as one of its client's requests.
    fn seated(mut self, seat: Seat) -> Lease<K> {
        let (Lease::One(_, slot) | Lease::Many(_, slot) | Lease::Open(slot)) = &mut self;
        slot.seat = Some(seat);
        self
    }
}

impl<K: Kinds> Origin<K> {
    fn new(key: Key) -> Self {
        Origin {
            key,
            idle: Vec::new(),
            shared: None,
            open: 0,
            streams: 0,
            background: 0,
            held: HashMap::new(),
            opening: false,
            only_one: false,
            waiting: Default::default(),
        }
    }

    /// Whether this client may hold one more of what this origin has.
    fn may_hold(&self, client: IpAddr) -> bool {
        let (most, used) = if self.shared.is_some() { (STREAMS, self.streams) } else { (self.key.most, self.open - self.idle.len()) };
        self.held.get(&client).is_none_or(|held| *held < SHARE * most.saturating_sub(used))
    }

    /// A lease of his has ended.
    fn left(&mut self, who: Who) {
        self.background -= usize::from(who.background);
        if let Some(client) = who.client
            && let Some(held) = self.held.get_mut(&client)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&client);
            }
        }
    }

    fn grant(&mut self, shared: &Arc<Shared<K>>, who: Who, rested: Duration) -> Option<Lease<K>> {
        if who.background && self.background >= shared.limits.background {
            return None;
        }
        let now = shared.clock.steady();
        self.prune(now, shared.limits.idle);
        if who.client.is_some_and(|client| !self.may_hold(client)) {
            return None;
        }
        let slot = |kind| Slot { shared: shared.clone(), key: self.key.clone(), who, kind, seat: None };
        let lease = if let Some((many, used)) = &mut self.shared {
            if self.streams >= STREAMS {
                return None;
            }
            *used = now;
            self.streams += 1;
            Lease::Many(many.clone(), slot(Kind::Stream))
        } else if let Some(young) = self.idle.pop_if(|idle| now.saturating_duration_since(idle.since) < rested) {
            Lease::One(young.one, slot(Kind::Alone))
        } else if self.opening || (self.open >= self.key.most && self.idle.is_empty()) {
            return None;
        } else {
            if self.open >= self.key.most {
                // The oldest makes room.
                self.idle.remove(0);
                self.open -= 1;
            }
            self.opening = self.key.may_share && !self.only_one;
            self.open += 1;
            Lease::Open(slot(if self.opening { Kind::Opening } else { Kind::Alone }))
        };
        self.background += usize::from(who.background);
        if let Some(client) = who.client {
            *self.held.entry(client).or_default() += 1;
        }
        Some(lease)
    }

    /// People first, each queue in its order, but for those who hold their share already.
    fn wake(&mut self, shared: &Arc<Shared<K>>, unwanted: &mut Vec<Lease<K>>) {
        for background in [false, true] {
            let mut queue = std::mem::take(&mut self.waiting[usize::from(background)]);
            let mut patient = VecDeque::new();
            while let Some(waiter) = queue.pop_front() {
                if waiter.turn.is_closed() {
                    continue;
                }
                if waiter.who.is_some_and(|client| !self.may_hold(client)) {
                    patient.push_back(waiter);
                    continue;
                }
                let Some(lease) = self.grant(shared, Who { background, client: waiter.who }, waiter.rested) else {
                    patient.push_back(waiter);
                    break;
                };
                if let Err(Ok(lease)) = waiter.turn.send(Ok(lease)) {
                    unwanted.push(lease);
                }
            }
            patient.append(&mut queue);
            self.waiting[usize::from(background)] = patient;
        }
    }

    fn prune(&mut self, now: Instant, idle: Duration) {
        let before = self.idle.len();
        self.idle.retain(|idle| idle.one.is_open() && now.saturating_duration_since(idle.since) < idle.lasts);
        self.open -= before - self.idle.len();
        let over =
            |(many, used): &(K::Many, Instant)| !many.is_open() || (self.streams == 0 && now.saturating_duration_since(*used) >= idle);
        if self.shared.as_ref().is_some_and(over) {
            self.shared = None;
        }
    }
}

impl<K: Kinds> Drop for Slot<K> {
    fn drop(&mut self) {
        if self.kind == Kind::Void {
            return;
        }
        let (kind, who) = (self.kind, self.who);
        self.shared.clone().change(&self.key.text, |origin| {
            origin.left(who);
            match kind {
                Kind::Stream => origin.streams -= 1,
                Kind::Alone => origin.open -= 1,
                Kind::Opening => {
                    origin.open -= 1;
                    origin.opening = false;
                }
                Kind::Void => {}
            }
        });
    }
}

fn busy(key: &Key) -> Error {
    Error::Unavailable(key.text.to_string(), String::from("all connections to it are in use"))
}

#[cfg(test)]
mod tests;
