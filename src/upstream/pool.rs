//! Connections per origin: idle ones to use again (newest first), a bound on open ones, and a queue in which people go before
//! background. It neither dials nor speaks HTTP: a `Lease` says what its holder may do, and dropping it gives everything back.
//!
//! # Why one opening at a time for https
//! Whether an origin speaks HTTP/2 is known only after a handshake. Thirty devices opening the same page would make thirty
//! connections where one is enough; so the first opens, the others wait for what it finds. An origin known to speak HTTP/1.1
//! is opened freely up to the bound. If the one opening fails, all who waited for it get its error, not one deadline each.
//!
//! # Why some do not take what lies idle
//! An origin may close an idle connection at any time, and a request that meets the close gets no answer; only one that may be
//! repeated is helped by another try (RFC 9112 section 9.3.1). So whoever asks says how long a connection may have lain, and one
//! that lay longer makes room for a new one. An origin that says how long it keeps a connection is taken at its word.

use crate::base::clock::Clock;
use crate::link::Class;
use crate::upstream::Error;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests on one HTTP/2 connection at a time; servers commonly allow 100 to 128.
const STREAMS: usize = 100;
/// Requests waiting for one origin; a class of 30 with 40 objects each is 1,200, but those come six a browser.
const WAITING: usize = 512;
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
}

/// One place under the bounds. Dropping it frees the place.
pub(super) struct Slot<K: Kinds> {
    shared: Arc<Shared<K>>,
    key: Key,
    background: bool,
    kind: Kind,
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
        Pool(Arc::new(Shared { origins: Mutex::default(), limits, clock, closed: AtomicBool::new(false) }))
    }

    /// Waits for a place. An HTTP/1.1 connection that is used again has lain idle for less than `rested`: [`ANY`] takes all,
    /// zero none. May be dropped at any await.
    pub(super) async fn checkout(&self, key: &Key, class: Class, rested: Duration) -> Grant<K> {
        let background = class != Class::Interactive;
        let turn = {
            let mut origins = self.0.origins.lock();
            let origin = origins.entry(key.text.clone()).or_insert_with(|| Origin::new(key.clone()));
            if let Some(lease) = origin.grant(&self.0, background, rested) {
                return Ok(lease);
            }
            let queue = &mut origin.waiting[usize::from(background)];
            queue.retain(|waiter| !waiter.turn.is_closed());
            if queue.len() >= WAITING {
                return Err(busy(key));
            }
            let (sender, turn) = oneshot::channel();
            queue.push_back(Waiter { turn: sender, rested });
            turn
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(grant)) => grant,
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
        let background = std::mem::take(&mut slot.background);
        let closed = shared.closed.load(Ordering::Relaxed);
        shared.change(&slot.key.text, |origin| {
            origin.background -= usize::from(background);
            if closed || lasts.is_zero() || !one.is_open() {
                origin.open -= 1;
            } else {
                origin.idle.push(Idle { one, since, lasts });
            }
        });
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
            opening: false,
            only_one: false,
            waiting: Default::default(),
        }
    }

    fn grant(&mut self, shared: &Arc<Shared<K>>, background: bool, rested: Duration) -> Option<Lease<K>> {
        if background && self.background >= shared.limits.background {
            return None;
        }
        let now = shared.clock.steady();
        self.prune(now, shared.limits.idle);
        let slot = |kind| Slot { shared: shared.clone(), key: self.key.clone(), background, kind };
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
        self.background += usize::from(background);
        Some(lease)
    }

    /// People first, each queue in its order.
    fn wake(&mut self, shared: &Arc<Shared<K>>, unwanted: &mut Vec<Lease<K>>) {
        for background in [false, true] {
            while let Some(waiter) = self.waiting[usize::from(background)].pop_front() {
                if waiter.turn.is_closed() {
                    continue;
                }
                let Some(lease) = self.grant(shared, background, waiter.rested) else {
                    self.waiting[usize::from(background)].push_front(waiter);
                    break;
                };
                if let Err(Ok(lease)) = waiter.turn.send(Ok(lease)) {
                    unwanted.push(lease);
                }
            }
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
        let (kind, background) = (self.kind, usize::from(self.background));
        self.shared.clone().change(&self.key.text, |origin| {
            origin.background -= background;
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
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[derive(Clone, Default)]
    struct Wire(u32, Arc<AtomicBool>);

    impl Reusable for Wire {
        fn is_open(&self) -> bool {
            !self.1.load(Ordering::Relaxed)
        }
    }

    struct Dummy;

    impl Kinds for Dummy {
        type One = Wire;
        type Many = Wire;
    }

    fn pool(most: usize, may_share: bool) -> (Pool<Dummy>, Key, Clock) {
        let clock = Clock::manual(crate::base::clock::Time::BUILT);
        let limits = Limits { background: 1, idle: Duration::from_secs(90) };
        (Pool::new(limits, clock.clone()), Key { text: "http://a.kz".into(), most, may_share }, clock)
    }

    fn opens(grant: Grant<Dummy>) -> Slot<Dummy> {
        match grant {
            Ok(Lease::Open(slot)) => slot,
            Ok(Lease::One(one, _) | Lease::Many(one, _)) => panic!("got connection {}", one.0),
            Err(error) => panic!("{error}"),
        }
    }

    fn uses(grant: Grant<Dummy>) -> (Wire, Slot<Dummy>) {
        match grant {
            Ok(Lease::One(one, slot) | Lease::Many(one, slot)) => (one, slot),
            Ok(Lease::Open(_)) => panic!("opens"),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn the_newest_idle_connection_is_used_first_and_closed_or_old_ones_never() {
        let (pool, key, clock) = pool(3, false);
        let mut slots = Vec::new();
        for _ in 0..3 {
            let mut slot = opens(pool.checkout(&key, Class::Interactive, ANY).await);
            Pool::opened_one(&mut slot);
            slots.push(slot);
        }
        let wires = [Wire(1, Arc::default()), Wire(2, Arc::default()), Wire(3, Arc::default())];
        for (wire, slot) in wires.iter().zip(slots) {
            Pool::put(wire.clone(), slot, None);
            clock.advance(Duration::from_secs(10));
        }
        wires[2].1.store(true, Ordering::Relaxed);
        let (used, slot) = uses(pool.checkout(&key, Class::Interactive, ANY).await);
        assert_eq!(used.0, 2);
        drop(slot);
        clock.advance(Duration::from_secs(65));
        drop(opens(pool.checkout(&key, Class::Interactive, ANY).await));
        pool.sweep();
        assert!(pool.0.origins.lock().is_empty());
    }

    #[tokio::test]
    async fn an_idle_connection_is_used_while_its_origin_keeps_it() {
        let second = Duration::from_secs(1);
        let said = [(None, 90.0), (Some(5), 4.0), (Some(2), 1.0), (Some(1), 0.5), (Some(0), 0.0), (Some(3600), 90.0)];
        for (keeps, lasts) in said {
            for (after, kept) in [(-0.1, true), (0.1, false)] {
                let (pool, key, clock) = pool(1, false);
                let slot = opens(pool.checkout(&key, Class::Interactive, ANY).await);
                Pool::put(Wire::default(), slot, keeps.map(|keeps| second * keeps));
                clock.advance(second.mul_f64(f64::max(lasts + after, 0.0)));
                match pool.checkout(&key, Class::Interactive, ANY).await {
                    Ok(Lease::One(..)) => assert!(kept, "{keeps:?} after {lasts} {after}"),
                    Ok(Lease::Open(_)) => assert!(!kept || lasts == 0.0, "{keeps:?} after {lasts} {after}"),
                    _ => panic!("neither"),
                }
            }
        }
    }

    #[tokio::test]
    async fn who_may_not_be_sent_again_takes_no_connection_that_lay_long() {
        let (pool, key, clock) = pool(2, false);
        let second = Duration::from_secs(1);
        let slots = [opens(pool.checkout(&key, Class::Interactive, ANY).await), opens(pool.checkout(&key, Class::Interactive, ANY).await)];
        for (number, slot) in (1..).zip(slots) {
            Pool::put(Wire(number, Arc::default()), slot, None);
            clock.advance(second / 2);
        }
        let (young, slot) = uses(pool.checkout(&key, Class::Interactive, second).await);
        assert_eq!(young.0, 2);
        Pool::put(young, slot, None);
        clock.advance(second);
        let fresh = opens(pool.checkout(&key, Class::Interactive, second).await);
        assert_eq!((pool.idle(&key.text), pool.0.origins.lock()[&key.text].open), (1, 2), "the oldest made room");
        let (kept, slot) = uses(pool.checkout(&key, Class::Interactive, ANY).await);
        assert_eq!(kept.0, 2);
        // One who waits says it, too.
        let mut later = Box::pin(pool.checkout(&key, Class::Interactive, Duration::ZERO));
        assert!((&mut later).now_or_never().is_none());
        Pool::put(kept, slot, None);
        drop((opens(later.await), fresh));
        assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
    }

    #[tokio::test]
    async fn people_go_before_background_and_background_is_held_back() {
        let (pool, key, _) = pool(2, false);
        let night = opens(pool.checkout(&key, Class::Background, ANY).await);
        let mut more_night = Box::pin(pool.checkout(&key, Class::Background, ANY));
        assert!((&mut more_night).now_or_never().is_none(), "one is background's share");
        let mut person = opens(pool.checkout(&key, Class::Interactive, ANY).await);
        Pool::opened_one(&mut person);
        let mut second = Box::pin(pool.checkout(&key, Class::Interactive, ANY));
        assert!((&mut second).now_or_never().is_none());
        drop(night);
        let second = opens(second.await);
        assert!((&mut more_night).now_or_never().is_none(), "people were first");
        Pool::put(Wire(7, Arc::default()), person, None);
        let (used, slot) = uses(more_night.await);
        assert_eq!(used.0, 7);
        drop((slot, second));
        assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
    }

    #[tokio::test]
    async fn those_who_wait_for_an_opening_share_what_comes_of_it() {
        let (pool, key, _) = pool(6, true);
        let mut first = opens(pool.checkout(&key, Class::Interactive, ANY).await);
        let mut others: Vec<_> = (0..5).map(|_| Box::pin(pool.checkout(&key, Class::Interactive, ANY))).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        let many = Wire(9, Arc::default());
        Pool::opened_many(&mut first, &many);
        let mut held = Vec::new();
        for other in others {
            let (used, slot) = uses(other.await);
            assert_eq!(used.0, 9);
            held.push(slot);
        }
        assert_eq!(pool.0.origins.lock()[&key.text].streams, 6);
        many.1.store(true, Ordering::Relaxed);
        drop((held, first));
        drop(opens(pool.checkout(&key, Class::Interactive, ANY).await));
    }

    #[tokio::test]
    async fn those_who_wait_for_an_opening_share_its_failure_or_take_over() {
        let (pool, key, _) = pool(6, true);
        let first = opens(pool.checkout(&key, Class::Interactive, ANY).await);
        let mut other = Box::pin(pool.checkout(&key, Class::Interactive, ANY));
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        let second = opens(other.await);
        let mut other = Box::pin(pool.checkout(&key, Class::Interactive, ANY));
        assert!((&mut other).now_or_never().is_none());
        Pool::failed(second, &Error::Refused("a.kz".into()));
        assert!(matches!(other.await, Err(Error::Refused(_))));
        let mut third = opens(pool.checkout(&key, Class::Interactive, ANY).await);
        Pool::opened_one(&mut third);
        drop(opens(pool.checkout(&key, Class::Interactive, ANY).await));
        pool.close();
        Pool::put(Wire::default(), third, None);
        assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_never_comes_is_an_error_and_one_who_left_is_skipped() {
        let (pool, key, _) = pool(1, false);
        let held = opens(pool.checkout(&key, Class::Interactive, ANY).await);
        let mut gone = Box::pin(pool.checkout(&key, Class::Interactive, ANY));
        assert!((&mut gone).now_or_never().is_none());
        assert!(matches!(pool.checkout(&key, Class::Interactive, ANY).await, Err(Error::Unavailable(..))));
        drop(gone);
        let mut next = Box::pin(pool.checkout(&key, Class::Interactive, ANY));
        assert!((&mut next).now_or_never().is_none());
        drop(held);
        drop(opens(next.await));
    }
}
