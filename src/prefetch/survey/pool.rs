//! Asks many things, few at a time: under the hosts' manners, within the survey's bytes and time.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::cache::Glance;
use crate::prefetch::aim::Aim;
use crate::prefetch::gate::{Gate, Turn};
use crate::prefetch::plan::findings::NOTES;
use crate::prefetch::robots::Verdict;
use crate::prefetch::survey::Survey;
use crate::prefetch::web::{Ask, Reply, Web, What};
use crate::state::Error;
use crate::state::frontier::Wish;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Things looked at to find one whose host may be asked now.
const LOOKAHEAD: usize = 256;
/// The longest sleep: line and time are looked at as often.
const LOOK: Duration = Duration::from_millis(500);
/// Failures of a host after which the survey leaves it alone: it is not worth the wait of whoever wants to know.
const FAILURES: u32 = 3;

/// One thing to ask.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// What.
    pub(super) wish: Wish,
    /// Fetch it, if it is no longer than this; else ask how long it is.
    pub(super) get: Option<u64>,
    /// Redirects on the way.
    pub(super) hops: u8,
    /// Ask the origin even when what is stored is fresh, and as if nothing were.
    pub(super) force: bool,
}

/// What came of it.
pub(super) enum Got {
    /// robots.txt keeps us from it.
    Barred(Verdict),
    /// It was fetched, or not.
    Reply(Reply),
    /// What its head says.
    Told(Result<Glance, What>),
}

/// One that has come.
pub(super) struct Came {
    /// What was asked.
    pub(super) task: Task,
    /// Its address.
    pub(super) target: Target,
    /// What came of it.
    pub(super) got: Got,
    /// How long that took.
    pub(super) took: Duration,
    /// Bytes over the line.
    cost: u64,
}

/// What the survey carries along.
pub(super) struct Desk {
    gate: Gate,
    /// Not asked any more.
    alone: HashSet<String>,
    /// Hosts that know no HEAD.
    pub(super) headless: BTreeSet<String>,
    failures: HashMap<String, u32>,
    /// Requests so far.
    pub(super) requests: u64,
    /// Bytes so far.
    pub(super) bytes: u64,
    /// Whether all that was wanted could be asked.
    pub(super) whole: bool,
    /// For people.
    pub(super) notes: Vec<String>,
}

impl Desk {
    /// Something that people should know, once.
    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Asks this host no more.
    pub(super) fn leave_alone(&mut self, host: &str) {
        self.alone.insert(host.to_owned());
    }
}

impl<W: Web> Survey<'_, W> {
    /// Who is to be left alone is known before anything is asked.
    pub(super) async fn sit_down(&self, now: Time) -> Result<Desk, Error> {
        let mut desk = Desk {
            gate: Gate::default(),
            alone: HashSet::new(),
            headless: BTreeSet::new(),
            failures: HashMap::new(),
            requests: 0,
            bytes: 0,
            whole: true,
            notes: Vec::new(),
        };
        desk.alone.extend(self.state.stopped_hosts(&self.windows.day(now), self.manners.errors).await?);
        desk.alone.extend(self.state.pauses().await?.into_iter().filter(|pause| pause.until > now).map(|pause| pause.host));
        Ok(desk)
    }

    /// Asks all of it, and what `take` adds, until then. Gives what was not asked.
    pub(super) async fn drain(
        &self,
        desk: &mut Desk,
        mut open: VecDeque<Task>,
        until: Time,
        mut take: impl FnMut(&mut Desk, Came) -> Vec<Task>,
    ) -> Result<VecDeque<Task>, Error> {
        let mut flying: FuturesUnordered<BoxFuture<'_, Came>> = FuturesUnordered::new();
        loop {
            let now = self.clock.now();
            if self.web.is_down() {
                desk.note(String::from("the line went down: not everything could be asked"));
                break;
            }
            if now >= until {
                break;
            }
            let wake = self.start(desk, &mut open, &mut flying, until).await?;
            // What waits for a moment beyond our time is not worth waiting for.
            if flying.is_empty() && (open.is_empty() || wake.is_some_and(|wake| wake >= until)) {
                break;
            }
            let wait = wake.map_or(now.plus(LOOK), |wake| wake.min(now.plus(LOOK))).min(until).since(now).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                Some(came) = flying.next(), if !flying.is_empty() => {
                    self.book.settle(self.state).await?;
                    self.came(desk, &came).await?;
                    let more = take(desk, came);
                    open.extend(more);
                }
                () = self.web.rest(wait) => {}
            }
        }
        desk.whole &= open.is_empty() && flying.is_empty();
        Ok(open)
    }

    /// Starts what may start; when the next may, where that is known.
    async fn start<'f>(
        &'f self,
        desk: &mut Desk,
        open: &mut VecDeque<Task>,
        flying: &mut FuturesUnordered<BoxFuture<'f, Came>>,
        until: Time,
    ) -> Result<Option<Time>, Error> {
        let (now, mut wake, mut at) = (self.clock.now(), None, 0);
        while flying.len() < self.max_transfers.max(1) && at < open.len().min(LOOKAHEAD) {
            let task = &open[at];
            let spent = task.get.is_some() && desk.bytes >= self.budget.bytes;
            let asks = |host: &str| !desk.alone.contains(host) && (task.get.is_some() || !desk.headless.contains(host));
            let target = Target::parse(&task.wish.url).ok().filter(|target| !spent && asks(target.host()));
            let Some(target) = target else {
                desk.whole &= !spent;
                if spent {
                    desk.note(String::from("the survey's bytes are spent (night.survey_bytes): not everything was read"));
                }
                open.remove(at);
                continue;
            };
            let host = target.host();
            let held = Aim::parse(&task.wish.kind).is_page() && !self.is_free(host);
            match desk.gate.turn(host, held, self.manners.connections, now) {
                Turn::Full => at += 1,
                Turn::At(next) => {
                    wake = Some(wake.map_or(next, |wake: Time| wake.min(next)));
                    at += 1;
                }
                Turn::Go => {
                    self.book.recall(self.state, target.origin(), now).await?;
                    let pause = Duration::try_from_secs_f64(self.pause_of(host)).unwrap_or(LOOK);
                    desk.gate.enter(host, held, pause, now);
                    desk.requests += 1;
                    if let Some(task) = open.remove(at) {
                        let left = self.budget.bytes.saturating_sub(desk.bytes);
                        flying.push(Box::pin(self.ask(task, target, left, now)));
                    }
                }
            }
        }
        // All of the hosts wait longer than we do.
        let waits = at >= open.len().min(LOOKAHEAD) && flying.is_empty() && !open.is_empty();
        Ok(if waits { Some(wake.unwrap_or(until)) } else { wake })
    }

    async fn ask(&self, task: Task, target: Target, left: u64, now: Time) -> Came {
        let (verdict, cost) = self.book.ask(self.web, &target, now).await;
        let begun = self.clock.steady();
        let aim = Aim::parse(&task.wish.kind);
        let (got, cost) = match task.get {
            _ if verdict != Verdict::Allowed => (Got::Barred(verdict), cost),
            Some(most) => {
                let ask = Ask {
                    target: target.clone(),
                    aim,
                    force: task.force,
                    keep: false,
                    max_bytes: Some(most.min(left)),
                    arrived: Arc::default(),
                };
                let reply = self.web.fetch(ask).await;
                let cost = cost + reply.transferred;
                (Got::Reply(reply), cost)
            }
            None => (Got::Told(self.web.glance(&target, aim, task.force).await), cost),
        };
        let took = self.clock.steady().saturating_duration_since(begun);
        Came { task, target, got, took, cost }
    }

    /// What a host has to hear of what came.
    async fn came(&self, desk: &mut Desk, came: &Came) -> Result<(), Error> {
        let (host, now) = (came.target.host(), self.clock.now());
        desk.gate.leave(host);
        desk.bytes += came.cost;
        self.ledger.bring(&self.pack.id, &came.target, came.cost);
        let busy = match &came.got {
            Got::Reply(Reply { what: What::Busy(wait), .. }) | Got::Told(Err(What::Busy(wait))) => Some(*wait),
            Got::Told(Ok(Glance::Told(told))) if matches!(told.status.as_u16(), 429 | 503) => Some(told.retry_after),
            _ => None,
        };
        if let Some(wait) = busy {
            let until = desk.gate.refused(host, wait, now).until;
            self.state.pause_host(host, until, false, "it is too busy and asked for a pause").await?;
            desk.leave_alone(host);
            desk.whole = false;
            desk.note(format!("{host} is busy and asked for a pause: it was not asked further"));
            return Ok(());
        }
        let failed = match &came.got {
            Got::Barred(Verdict::Unknown(_)) => true,
            Got::Reply(reply) => matches!(reply.what, What::Broken(_) | What::Nameless(_) | What::Lost(_) | What::Partly(_)),
            Got::Told(Err(what)) => matches!(what, What::Broken(_) | What::Nameless(_) | What::Lost(_)),
            Got::Told(Ok(Glance::Told(told))) => told.status.is_server_error() && told.status.as_u16() != 501,
            _ => false,
        };
        if matches!(&came.got, Got::Reply(Reply { what: What::Ours(_), .. }) | Got::Told(Err(What::Ours(_)))) {
            return Ok(());
        }
        let failures = desk.failures.entry(host.to_owned()).or_default();
        *failures = if failed { *failures + 1 } else { 0 };
        if *failures >= FAILURES && desk.alone.insert(host.to_owned()) {
            desk.whole = false;
            desk.note(format!("{host} does not answer well: it was not asked further"));
        }
        Ok(())
    }
}
