//! The frontier as a crawl works on it: a short queue in memory for each origin, filled from the database when it runs dry, and ends
//! that are written many at a time.
//!
//! # Why
//! With one queue for all, a host whose turn has not come fills what is looked at, and the others starve behind it. Here each origin is
//! asked in turn for its first wish alone, and that is enough: what manners hold back stands last in every queue, so behind one that
//! must wait there is none that need not. Memory is bounded by origins, not by addresses: a million of them stay on disk.

use crate::base::clock::Time;
use crate::prefetch::gate::Turn;
use crate::state::frontier::{self, Added, Ending, Fate, Origin, Wish};
use crate::state::summary::Told;
use crate::state::{Error, State};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Wishes that are read from the database at once for an origin.
const READ: u32 = 64;
/// Most ends that wait to be written.
const MOST: usize = 256;
/// Longest that an end waits to be written: what a power cut may have asked again.
const SOON: Duration = Duration::from_secs(1);

/// The queues of one run.
#[derive(Debug)]
pub struct Queues {
    pack: String,
    run: i64,
    list: Vec<Queue>,
    by_id: HashMap<i64, usize>,
    /// Who is asked first at the next look.
    next: usize,
    /// Taken out and not yet written as ended, with its queue.
    taken: HashMap<i64, usize>,
    pending: Vec<Ending>,
    /// When the first of them ended.
    since: Option<Time>,
}

/// What one origin has to be asked.
#[derive(Debug)]
struct Queue {
    origin: Origin,
    host: String,
    ready: VecDeque<Wish>,
    /// The database holds no more of it that may be tried now.
    dry: bool,
    /// When the next of those that wait may be tried.
    later: Option<Time>,
    taken: u32,
}

/// What a look into the queues gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// This may go now.
    Take(Box<Wish>),
    /// Nothing may go before; `None`: nothing waits for a moment.
    Wait(Option<Time>),
}

impl Queues {
    /// The queues of a run.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(state: &State, pack: &str, run: i64) -> Result<Queues, Error> {
        let mut queues = Queues {
            pack: pack.to_owned(),
            run,
            list: Vec::new(),
            by_id: HashMap::new(),
            next: 0,
            taken: HashMap::new(),
            pending: Vec::new(),
            since: None,
        };
        for origin in state.origins(pack).await? {
            queues.push(origin);
        }
        Ok(queues)
    }

    fn push(&mut self, origin: Origin) {
        let host = frontier::host(&origin.origin).to_owned();
        self.by_id.insert(origin.id, self.list.len());
        self.list.push(Queue { origin, host, ready: VecDeque::new(), dry: false, later: None, taken: 0 });
    }

    /// The first wish whose turn it is, each origin asked in its turn; it counts as taken until it has ended. `turn` says whether a
    /// wish may go to a host.
    ///
    /// # Errors
    /// The database's.
    pub async fn take(&mut self, state: &State, now: Time, mut turn: impl FnMut(&str, &Wish) -> Turn) -> Result<Look, Error> {
        let mut wake: Option<Time> = None;
        let mut wait = |at: Time| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for step in 0..self.list.len() {
            let at = (self.next + step) % self.list.len();
            if self.list[at].origin.until > now {
                wait(self.list[at].origin.until);
                continue;
            }
            if self.list[at].ready.is_empty() {
                let queue = &self.list[at];
                if queue.dry && queue.later.is_none_or(|later| later > now) {
                    queue.later.into_iter().for_each(&mut wait);
                    continue;
                }
                self.read(state, at, now).await?;
            }
            let queue = &mut self.list[at];
            let Some(first) = queue.ready.front() else {
                queue.later.into_iter().for_each(&mut wait);
                continue;
            };
            match turn(&queue.host, first) {
                Turn::Go => {}
                Turn::Full => continue,
                Turn::At(moment) => {
                    wait(moment);
                    continue;
                }
            }
            if let Some(wish) = queue.ready.pop_front() {
                queue.taken += 1;
                self.taken.insert(wish.id, at);
                self.next = (at + 1) % self.list.len();
                return Ok(Look::Take(Box::new(wish)));
            }
        }
        Ok(Look::Wait(wake))
    }

    /// How many origins have something to ask, as far as memory knows and `open` says of their hosts.
    pub fn rivals(&self, now: Time, open: impl Fn(&str) -> bool) -> usize {
        let works = |queue: &&Queue| (!queue.ready.is_empty() || !queue.dry) && queue.origin.until <= now && open(&queue.host);
        self.list.iter().filter(works).count()
    }

    /// Asks nothing of a wish's origin before then.
    ///
    /// # Errors
    /// The database's.
    pub async fn hold(&mut self, state: &State, wish: &Wish, until: Time) -> Result<(), Error> {
        let Some(at) = self.taken.get(&wish.id).copied() else { return Ok(()) };
        if self.list[at].origin.until >= until {
            return Ok(());
        }
        self.list[at].origin.until = until;
        state.hold_queue(self.list[at].origin.id, until).await
    }

    /// Gives up all that is open at a wish's origin.
    ///
    /// # Errors
    /// The database's.
    pub async fn give_up(&mut self, state: &State, wish: &Wish, why: Told<'_>, now: Time) -> Result<(), Error> {
        let Some(id) = self.taken.get(&wish.id).map(|at| self.list[*at].origin.id) else { return Ok(()) };
        self.flush(state, now).await?;
        state.fail_queue(&self.pack, self.run, id, why).await?;
        self.reread();
        Ok(())
    }

    /// The same for all origins of a host.
    ///
    /// # Errors
    /// The database's.
    pub async fn give_up_host(&mut self, state: &State, host: &str, why: Told<'_>, now: Time) -> Result<(), Error> {
        self.flush(state, now).await?;
        for queue in self.list.iter().filter(|queue| queue.host == host) {
            state.fail_queue(&self.pack, self.run, queue.origin.id, why).await?;
        }
        self.reread();
        Ok(())
    }

    /// Fills a queue from the database, past what is taken.
    async fn read(&mut self, state: &State, at: usize, now: Time) -> Result<(), Error> {
        let queue = &mut self.list[at];
        let (wishes, later) = state.next_of(&queue.origin, self.run, now, READ + queue.taken).await?;
        queue.ready.extend(wishes.into_iter().filter(|wish| !self.taken.contains_key(&wish.id)));
        (queue.dry, queue.later) = (queue.ready.is_empty(), later);
        Ok(())
    }

    /// A wish has ended; written by [`Queues::flush`].
    pub fn end(&mut self, ending: Ending, now: Time) {
        // Each that waits is read past at every look: who lets them grow reads a million wishes a thousand times.
        debug_assert!(self.pending.len() <= MOST, "ends are written when they are due");
        self.pending.push(ending);
        self.since.get_or_insert(now);
    }

    /// Whether it is time to write.
    pub fn is_due(&self, now: Time) -> bool {
        self.pending.len() >= MOST || self.since.is_some_and(|since| since.plus(SOON) <= now)
    }

    /// Whether something waits to be written.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether what waits to be written opens something new.
    pub fn names_more(&self) -> bool {
        self.pending.iter().any(|end| !end.found.is_empty() || matches!(end.fate, Fate::Later { .. }))
    }

    /// Writes what has ended, in one transaction.
    ///
    /// # Errors
    /// The database's; what was not written is asked again.
    pub async fn flush(&mut self, state: &State, now: Time) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let ends = std::mem::take(&mut self.pending);
        self.since = None;
        let added = state.end_wishes(&self.pack, self.run, now, &ends).await?;
        for end in &ends {
            let Some(queue) = self.taken.remove(&end.wish.id).and_then(|at| self.list.get_mut(at)) else { continue };
            queue.taken = queue.taken.saturating_sub(1);
            if let Fate::Later { at, .. } = end.fate {
                if at <= now {
                    queue.dry = false;
                } else {
                    queue.later = Some(queue.later.map_or(at, |later| later.min(at)));
                }
            }
        }
        self.heed(added);
        Ok(())
    }

    /// What came in goes where its rank says: a queue whose rest in memory comes later is read anew.
    fn heed(&mut self, added: Added) {
        for (id, origin, rank, depth) in added.queues {
            let Some(at) = self.by_id.get(&id).copied() else {
                self.push(Origin { id, origin, until: Time::from_micros(0) });
                continue;
            };
            let queue = &mut self.list[at];
            queue.dry = false;
            let last = queue.ready.back().map(|wish| (frontier::rank(&wish.kind), wish.depth));
            if last.is_some_and(|last| (rank, depth) < last) {
                queue.ready.clear();
            }
        }
    }

    /// What was read is forgotten: rows have changed underneath.
    pub fn reread(&mut self) {
        for queue in &mut self.list {
            queue.ready.clear();
            (queue.dry, queue.later) = (false, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    fn taken(look: Look) -> Wish {
        match look {
            Look::Take(wish) => *wish,
            Look::Wait(at) => panic!("nothing to take before {at:?}"),
        }
    }

    #[tokio::test]
    async fn a_host_that_must_wait_hides_nobody() {
        let state = State::open(None).await.expect("opens");
        let mut seeds: Vec<Wish> = (0..2_000).map(|page| Wish::new(format!("http://busy.kz/{page}"), "page", 0)).collect();
        seeds.push(Wish::new("http://quiet.kz/", "page", 5));
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        let mut queues = Queues::open(&state, "p", run).await.expect("opens");
        let later = NOW.plus(Duration::from_mins(1));
        let turn = |host: &str, _: &Wish| if host == "busy.kz" { Turn::At(later) } else { Turn::Go };
        assert_eq!(taken(queues.take(&state, NOW, turn).await.expect("reads")).url, "http://quiet.kz/");
        assert_eq!(queues.take(&state, NOW, turn).await.expect("reads"), Look::Wait(Some(later)));
    }

    #[tokio::test]
    async fn each_is_taken_once_and_what_comes_in_goes_by_its_rank() {
        let state = State::open(None).await.expect("opens");
        let seeds: Vec<Wish> = (0..300).map(|page| Wish::new(format!("http://{}.kz/{page}", page % 2), "page", 0)).collect();
        let run = state.begin_run("p", "d", NOW, &seeds).await.expect("begins").run;
        let mut queues = Queues::open(&state, "p", run).await.expect("opens");
        let go = |_: &str, _: &Wish| Turn::Go;
        let first = taken(queues.take(&state, NOW, go).await.expect("reads"));
        let found = vec![Wish::new("http://0.kz/a.css", "style", 0), Wish::new("http://new.kz/b.png", "image", 0)];
        queues.end(Ending { found, ..Ending::new(first.clone(), Fate::Done { bytes: 1, at: NOW }) }, NOW);
        assert!(!queues.is_due(NOW) && queues.is_due(NOW.plus(SOON)));
        queues.flush(&state, NOW).await.expect("writes");
        let mut urls = vec![first.url];
        let mut again = None;
        while let Look::Take(wish) = queues.take(&state, NOW, go).await.expect("reads") {
            if wish.url == "http://0.kz/100" && again.is_none() {
                // Put off, and tried again.
                again = Some(urls.len());
                queues.end(Ending::new(*wish, Fate::Later { at: NOW, failed: true }), NOW);
                queues.flush(&state, NOW).await.expect("writes");
                continue;
            }
            urls.push(wish.url.clone());
            queues.end(Ending::new(*wish, Fate::Done { bytes: 1, at: NOW }), NOW);
            if queues.is_due(NOW) {
                queues.flush(&state, NOW).await.expect("writes");
            }
        }
        assert!(urls[1..=3].contains(&"http://0.kz/a.css".to_owned()), "{:?}", &urls[..5]);
        assert!(again.is_some());
        queues.flush(&state, NOW).await.expect("writes");
        let many = urls.len();
        urls.sort();
        urls.dedup();
        assert_eq!((many, urls.len()), (302, 302));
        let count = state.count("p", run).await.expect("counts");
        assert_eq!((count.total, count.done), (302, 302));
    }
}
