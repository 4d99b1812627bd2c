//! What happens in the night, as it happens: numbered, kept for a while in a ring, so that whoever was away for a minute goes on
//! where he was, and whoever reads slowly costs no memory.
//!
//! Whoever listens takes [`Events::watch`], which reads from the ring by number and is told when it fell off its end.

use crate::base::clock::Time;
use crate::life::job;
use crate::prefetch::Progress;
use crate::prefetch::summary::Brief;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

/// Events kept: a quarter of an hour of one a second, half a megabyte.
const KEPT: usize = 1024;

/// Watchers at once: some pages and scripts, not a class.
const WATCHERS: usize = 32;

/// Events given to a watcher at once, so that a long way to catch up is gone in steps.
const BATCH: usize = 64;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NightEvent)]
#[serde(tag = "kind")]
pub enum Event {
    /// A person asked for a pack.
    #[serde(rename = "run.queued")]
    RunQueued {
        /// The pack.
        pack: String,
        /// Its job.
        job: String,
    },
    /// Work on a pack began.
    #[serde(rename = "run.began")]
    RunBegan {
        /// The pack.
        pack: String,
        /// Its job.
        job: String,
        /// Whether a person asked for it; else its time had come.
        asked: bool,
    },
    /// How far a pack is; at most once a second.
    #[serde(rename = "run.progress")]
    RunProgress {
        /// Its job.
        job: String,
        /// How far.
        progress: Progress,
    },
    /// Work on a pack ended, for now or for good.
    #[serde(rename = "run.ended")]
    RunEnded {
        /// The pack.
        pack: String,
        /// Its job.
        job: String,
        /// `done`, or `paused` when it goes on later.
        state: String,
        /// Why it is paused, or what could not be fetched.
        reason: Option<String>,
    },
    /// A window opened.
    #[serde(rename = "window.opened")]
    WindowOpened {
        /// When it closes (RFC 3339).
        closes: String,
    },
    /// The window closed.
    #[serde(rename = "window.closed")]
    WindowClosed {
        /// When the next one opens.
        opens: Option<String>,
    },
    /// A night is over, or everything is done: its summary is complete. Told once a night.
    #[serde(rename = "night.summary")]
    Summary {
        /// The night in short.
        brief: Brief,
    },
    /// The night was paused.
    #[serde(rename = "night.paused")]
    Paused {
        /// Why, or by whom.
        reason: Option<String>,
        /// Until when, where that is known.
        until: Option<String>,
    },
    /// The night goes on.
    #[serde(rename = "night.resumed")]
    Resumed {},
    /// Somebody wishes something to be fetched.
    #[serde(rename = "wish.added")]
    WishAdded {
        /// The page.
        wish: String,
    },
    /// A wish was fulfilled, given up, taken back or let go.
    #[serde(rename = "wish.changed")]
    WishChanged {
        /// The page.
        wish: String,
        /// How it stands: `here`, `gone` (the origin has no such page), `failed`, `taken_back`, `let_go` (kept for long enough).
        state: String,
    },
    /// The packs were read anew.
    #[serde(rename = "packs.read")]
    PacksRead {
        /// In force.
        packs: u64,
        /// Files that are no packs for us.
        refused: u64,
    },
    /// A job began, ended, or waits for its turn.
    #[serde(rename = "job.changed")]
    JobChanged {
        /// The job's id.
        job: String,
        /// What is done.
        what: String,
        /// How it stands.
        state: job::State,
    },
    /// Events were missed: read the documents anew, then go on from here.
    #[serde(rename = "missed")]
    Missed {},
}

impl Event {
    /// Its name on the wire; the same as `kind`.
    pub fn name(&self) -> &'static str {
        match self {
            Event::RunQueued { .. } => "run.queued",
            Event::RunBegan { .. } => "run.began",
            Event::RunProgress { .. } => "run.progress",
            Event::RunEnded { .. } => "run.ended",
            Event::WindowOpened { .. } => "window.opened",
            Event::WindowClosed { .. } => "window.closed",
            Event::Summary { .. } => "night.summary",
            Event::Paused { .. } => "night.paused",
            Event::Resumed {} => "night.resumed",
            Event::WishAdded { .. } => "wish.added",
            Event::WishChanged { .. } => "wish.changed",
            Event::PacksRead { .. } => "packs.read",
            Event::JobChanged { .. } => "job.changed",
            Event::Missed {} => "missed",
        }
    }
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NumberedEvent)]
pub struct Numbered {
    /// Counts from 1 since the node's start.
    pub seq: u64,
    /// When it happened (RFC 3339).
    pub at: String,
    /// What happened.
    pub event: Event,
}

/// All events of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells numbers of this start from those of another.
    boot: String,
    ring: Mutex<VecDeque<Arc<Numbered>>>,
    latest: watch::Sender<u64>,
    seats: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Events {
        Events(Arc::new(Inner {
            boot: format!("{:08x}", rand::random::<u32>()),
            ring: Mutex::default(),
            latest: watch::Sender::new(0),
            seats: Arc::new(Semaphore::new(WATCHERS)),
        }))
    }
}

impl Events {
    /// Says what happened.
    pub fn tell(&self, at: Time, event: Event) {
        let mut ring = self.0.ring.lock();
        let seq = *self.0.latest.borrow() + 1;
        if ring.len() >= KEPT {
            ring.pop_front();
        }
        ring.push_back(Arc::new(Numbered { seq, at: at.to_rfc3339(), event }));
        self.0.latest.send_replace(seq);
    }

    /// For the wire: whatever happens after `last` (an id that [`Events::id`] gave), or from now on. `None` when there are too many
    /// watchers. What is no longer in the ring, or of another start, begins with [`Event::Missed`].
    pub fn watch(&self, last: Option<&str>) -> Option<Watcher> {
        let seat = Arc::clone(&self.0.seats).try_acquire_owned().ok()?;
        let ring = self.0.ring.lock();
        let latest = *self.0.latest.borrow();
        let first = ring.front().map_or(latest + 1, |event| event.seq);
        let next = match last {
            None => Some(latest + 1),
            Some(id) => self.number(id).filter(|seq| *seq <= latest && seq + 1 >= first).map(|seq| seq + 1),
        };
        drop(ring);
        Some(Watcher {
            events: self.clone(),
            latest: self.0.latest.subscribe(),
            next: next.unwrap_or(latest + 1),
            missed: next.is_none(),
            _seat: seat,
        })
    }

    /// How an event is called on the wire.
    pub fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.0.boot)
    }

    fn number(&self, id: &str) -> Option<u64> {
        let (boot, seq) = id.split_once('-')?;
        (boot == self.0.boot).then(|| seq.parse().ok()).flatten()
    }
}

/// Reads the ring by number. Holds its place among the watchers until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    events: Events,
    latest: watch::Receiver<u64>,
    next: u64,
    missed: bool,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next events, once there are some; `None` when this watcher was so slow that the ring has gone on without it. May be
    /// dropped at any await: nothing is lost.
    pub async fn next(&mut self) -> Option<Vec<Arc<Numbered>>> {
        if std::mem::take(&mut self.missed) {
            let at = self.events.0.ring.lock().back().map_or_else(|| Time::BUILT.to_rfc3339(), |event| event.at.clone());
            return Some(vec![Arc::new(Numbered { seq: self.next - 1, at, event: Event::Missed {} })]);
        }
        loop {
            {
                let ring = self.events.0.ring.lock();
                let latest = self.latest.borrow_and_update();
                if *latest >= self.next {
                    let first = ring.front()?.seq;
                    let skip = usize::try_from(self.next.checked_sub(first)?).ok()?;
                    let batch: Vec<_> = ring.iter().skip(skip).take(BATCH).cloned().collect();
                    self.next += u64::try_from(batch.len()).ok()?;
                    return Some(batch);
                }
            }
            self.latest.changed().await.ok()?;
        }
    }

    /// The name of an event on the wire.
    pub fn id(&self, event: &Numbered) -> String {
        self.events.id(event.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(number: usize) -> Event {
        Event::WishAdded { wish: number.to_string() }
    }

    fn tell(events: &Events, numbers: std::ops::Range<usize>) {
        numbers.for_each(|number| events.tell(Time::BUILT, wish(number)));
    }

    async fn seqs(watcher: &mut Watcher) -> Vec<u64> {
        watcher.next().await.expect("some").iter().map(|event| event.seq).collect()
    }

    #[test]
    fn names_and_kinds_are_the_same() {
        let all = [
            Event::RunQueued { pack: "a".into(), job: "j".into() },
            Event::RunBegan { pack: "a".into(), job: "j".into(), asked: true },
            Event::RunProgress { job: "j".into(), progress: Progress::default() },
            Event::RunEnded { pack: "a".into(), job: "j".into(), state: "done".into(), reason: None },
            Event::WindowOpened { closes: "x".into() },
            Event::WindowClosed { opens: None },
            Event::Summary { brief: Brief { night: "2026-11-25".into(), ..Brief::default() } },
            Event::Paused { reason: None, until: None },
            Event::Resumed {},
            wish(1),
            Event::WishChanged { wish: "1".into(), state: "here".into() },
            Event::PacksRead { packs: 1, refused: 0 },
            Event::JobChanged { job: "j".into(), what: "store.repack".into(), state: job::State::Done },
            Event::Missed {},
        ];
        for event in all {
            let text = serde_json::to_value(&event).expect("JSON");
            assert_eq!(text["kind"], event.name());
            assert_eq!(serde_json::from_value::<Event>(text).expect("reads back"), event);
        }
    }

    #[tokio::test]
    async fn a_watcher_goes_on_where_it_was() {
        let events = Events::default();
        tell(&events, 0..3);
        let mut now = events.watch(None).expect("a seat");
        let mut from = events.watch(Some(&events.id(1))).expect("a seat");
        assert_eq!(seqs(&mut from).await, [2, 3]);
        tell(&events, 3..4);
        assert_eq!((seqs(&mut now).await, seqs(&mut from).await), (vec![4], vec![4]));
        // It waits, and wakes when something happens.
        let wait = std::pin::pin!(from.next());
        let both = futures_util::future::join(wait, async { tell(&events, 4..5) });
        assert_eq!(both.await.0.expect("some")[0].seq, 5);
        assert_eq!(events.watch(Some(&events.id(5))).expect("a seat").next, 6, "up to date is not behind");
    }

    #[tokio::test]
    async fn what_is_gone_is_told_and_who_is_too_slow_is_let_go() {
        let events = Events::default();
        tell(&events, 0..10);
        let mut slow = events.watch(Some(&events.id(2))).expect("a seat");
        tell(&events, 10..KEPT + 20);
        assert!(slow.next().await.is_none(), "the ring has gone on");
        for unknown in [events.id(2), events.id(9_999_999), "00000000-5".into(), "x".into(), String::new(), format!("{}-", events.0.boot)] {
            let mut behind = events.watch(Some(&unknown)).expect("a seat");
            let first = behind.next().await.expect("some");
            assert!(first.len() == 1 && first[0].event == Event::Missed {}, "{unknown}");
            assert_eq!(events.id(first[0].seq), events.id(u64::try_from(KEPT).expect("small") + 20), "goes on from here");
        }
        assert!(events.0.ring.lock().len() == KEPT);
        // Catching up goes in steps, and loses nothing.
        let mut far = events.watch(Some(&events.id(25))).expect("a seat");
        let mut count = 0;
        while count < KEPT + 20 - 25 {
            let batch = far.next().await.expect("some");
            assert!(batch.len() <= BATCH);
            count += batch.len();
        }
    }

    #[test]
    fn seats_are_bounded_and_given_back() {
        let events = Events::default();
        let mut held: Vec<_> = (0..WATCHERS).map(|_| events.watch(None).expect("a seat")).collect();
        assert!(events.watch(None).is_none());
        held.pop();
        assert!(events.watch(None).is_some());
    }
}
