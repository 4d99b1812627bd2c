//! A device: opens its pages as a browser does, over a few connections, what a thing names once the thing is there; or fetches its pieces.
//!
//! One thread and one runtime each, so that a class is as many readers as it has devices. What is written down is when, never what.

use super::content::{Content, Kind, Object};
use super::scenario::Scenario;
use super::trace::{Round, Visit};
use super::wire::{Connection, Fault, Got, Want, Way};
use bulak::base::clock::Clock;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What a device has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary {
    /// How long each visit took; what was not done by the limit counts up to it.
    pub(crate) visits: Vec<Duration>,
    /// Of these, how many were not whole.
    pub(crate) broken_visits: usize,
    /// How long the first byte of each object took.
    pub(crate) first_bytes: Vec<Duration>,
    /// Objects or pieces that came right.
    pub(crate) right: usize,
    /// Of these, how many by the word that what the device has still holds.
    pub(crate) unmodified: usize,
    /// What did not come right, by its fault.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// The first faults in words, for people.
    pub(crate) examples: Vec<String>,
}

/// So many faults of a device are told in words.
const EXAMPLES: usize = 3;

/// Plays a device's round to its end or the limit.
pub(crate) fn play(round: &Round, content: &Content, scenario: &Scenario, way: &Way, clock: &Clock, began: Instant) -> Diary {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limit = scenario.devices.limit.0;
    let device = Device {
        content,
        way,
        clock,
        keep: scenario.devices.keep,
        kept: RefCell::default(),
        diary: RefCell::default(),
        expected: Cell::new(0),
    };
    runtime.block_on(async {
        let mut connections: Vec<Connection> = (0..scenario.devices.connections).map(|_| Connection::default()).collect();
        let mut from = began;
        for (number, visit) in round.visits.iter().enumerate() {
            let end = began + limit;
            let start = from + visit.wait;
            if start >= end {
                // Visits that never began count in full: a class that is not served is not quick.
                let left = round.visits.len() - number;
                device.never(left, round.visits[number..].iter().map(|visit| device.size(visit)).sum(), limit);
                break;
            }
            tokio::time::sleep_until(start.into()).await;
            let before = {
                let diary = device.diary.borrow();
                diary.right
            };
            let done = tokio::time::timeout_at(end.into(), device.visit(visit, &mut connections)).await;
            from = clock.steady();
            let mut diary = device.diary.borrow_mut();
            let missing = device.size(visit).saturating_sub(diary.right - before);
            // One that fails at once is not quick: it counts as long as it might have taken.
            diary.visits.push(if missing > 0 { end - start } else { from - start });
            diary.broken_visits += usize::from(missing > 0);
            if done.is_err() {
                // Only what no fault has been written down for.
                let open = missing.saturating_sub(device.expected.replace(0));
                *diary.faults.entry("unfinished").or_default() += open;
                for connection in &mut connections {
                    *connection = Connection::default();
                }
            }
        }
    });
    device.diary.into_inner()
}

struct Device<'c> {
    content: &'c Content,
    way: &'c Way,
    clock: &'c Clock,
    keep: bool,
    kept: RefCell<BTreeSet<usize>>,
    diary: RefCell<Diary>,
    /// Faults of the current visit.
    expected: Cell<usize>,
}

/// What of a visit is still to do.
struct Open {
    ready: BTreeSet<(usize, usize)>,
    seen: BTreeSet<usize>,
    running: usize,
    turn: usize,
}

impl Device<'_> {
    async fn visit(&self, visit: &Visit, connections: &mut [Connection]) {
        self.expected.set(0);
        let first = (0, visit.object);
        let open = RefCell::new(Open { ready: BTreeSet::from([first]), seen: BTreeSet::from([visit.object]), running: 0, turn: 1 });
        if !visit.pieces.is_empty() {
            // Turn and piece: the order of the trace.
            open.borrow_mut().ready = (0..visit.pieces.len()).map(|piece| (piece, piece)).collect();
        }
        let news = Notify::new();
        let workers = connections.iter_mut().map(|connection| self.work(visit, &open, &news, connection));
        futures_util::future::join_all(workers).await;
    }

    /// One connection's share of a visit.
    async fn work(&self, visit: &Visit, open: &RefCell<Open>, news: &Notify, connection: &mut Connection) {
        loop {
            let told = news.notified();
            let next = {
                let mut open = open.borrow_mut();
                let next = open.ready.pop_first();
                open.running += usize::from(next.is_some());
                if next.is_none() && open.running == 0 {
                    news.notify_waiters();
                    return;
                }
                next
            };
            let Some((_, number)) = next else {
                told.await;
                continue;
            };
            if visit.pieces.is_empty() {
                let came = self.object(number, connection).await;
                let mut open = open.borrow_mut();
                open.running -= 1;
                if came {
                    for &child in &self.content.objects[number].names {
                        if open.seen.insert(child) {
                            let urgency = urgency(self.content.objects[child].kind);
                            let turn = open.turn;
                            open.turn += 1;
                            open.ready.insert((urgency * 1_000_000 + turn, child));
                        }
                    }
                } else {
                    self.lost(number);
                }
            } else {
                let part = visit.pieces[number].clone();
                let want = Want { object: &self.content.objects[visit.object], part: Some(part), has: false };
                self.fetch(&want, connection).await;
                open.borrow_mut().running -= 1;
            }
            news.notify_waiters();
        }
    }

    /// Gets an object from the device's own memory or the proxy; whether it is there now.
    async fn object(&self, number: usize, connection: &mut Connection) -> bool {
        let object = &self.content.objects[number];
        let kept = self.keep && self.kept.borrow().contains(&number);
        if kept && object.cache_control != "no-cache" {
            self.diary.borrow_mut().right += 1;
            return true;
        }
        let came = self.fetch(&Want { object, part: None, has: kept }, connection).await;
        if came && self.keep {
            self.kept.borrow_mut().insert(number);
        }
        came
    }

    async fn fetch(&self, want: &Want<'_>, connection: &mut Connection) -> bool {
        let asked = self.clock.steady();
        let result = connection.fetch(self.way, want, self.clock).await;
        let mut diary = self.diary.borrow_mut();
        match result {
            Ok(Got { first, unmodified }) => {
                diary.first_bytes.push(first - asked);
                diary.right += 1;
                diary.unmodified += usize::from(unmodified);
                true
            }
            Err(fault) => {
                self.expected.set(self.expected.get() + 1);
                *diary.faults.entry(fault.word()).or_default() += 1;
                if diary.examples.len() < EXAMPLES {
                    let example = fault.text(want);
                    diary.examples.push(example);
                }
                false
            }
        }
    }

    /// What an object that did not come would have named cannot come either.
    fn lost(&self, number: usize) {
        let below = self.below(number).len() - 1;
        if below > 0 {
            self.expected.set(self.expected.get() + below);
            *self.diary.borrow_mut().faults.entry("not asked for").or_default() += below;
        }
    }

    fn never(&self, visits: usize, objects: usize, limit: Duration) {
        let mut diary = self.diary.borrow_mut();
        diary.visits.extend(std::iter::repeat_n(limit, visits));
        diary.broken_visits += visits;
        *diary.faults.entry("unfinished").or_default() += objects;
    }

    /// Objects or pieces of a visit.
    fn size(&self, visit: &Visit) -> usize {
        if visit.pieces.is_empty() { self.below(visit.object).len() } else { visit.pieces.len() }
    }

    fn below(&self, number: usize) -> BTreeSet<usize> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![number]);
        while let Some(number) = open.pop() {
            if seen.insert(number) {
                open.extend(&self.content.objects[number].names);
            }
        }
        seen
    }
}

/// What a browser asks for first.
fn urgency(kind: Kind) -> usize {
    match kind {
        Kind::Page | Kind::Style => 0,
        Kind::Script | Kind::Font => 1,
        Kind::Data => 2,
        Kind::Picture | Kind::File => 3,
    }
}

impl Fault {
    /// Its column.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Fault::Broken => "broken",
            Fault::Silent => "silent",
            Fault::Status(_) => "status",
            Fault::Length => "length",
            Fault::Wrong => "wrong",
        }
    }

    /// In words, for people.
    pub(crate) fn text(&self, want: &Want<'_>) -> String {
        let Object { path, .. } = want.object;
        let part = want.part.as_ref().map(|part| format!(" {}-{}", part.start, part.end - 1)).unwrap_or_default();
        match self {
            Fault::Broken => format!("{path}{part}: the connection broke"),
            Fault::Silent => format!("{path}{part}: nothing came for too long"),
            Fault::Status(status) => format!("{path}{part}: status {status}"),
            Fault::Length => format!("{path}{part}: another length than the origin's"),
            Fault::Wrong => format!("{path}{part}: other bytes than the origin's"),
        }
    }
}
