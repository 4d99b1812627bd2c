//! A survey: asks the line a little, so that the plan knows. Lists are read, some pages with what they need, and of some of everything
//! else the origins are asked how long it is (HEAD).
//!
//! It behaves as the night does: robots.txt, a pause between pages, few connections, giving way to people; what it fetches is kept in the
//! store under the same rules, so that the night need not fetch it again, and is paid from the same purse. It has so many bytes and
//! seconds and ends when they are spent: then the plan says what it does not know.
//!
//! # Why HEAD
//! A byte of an answer costs, a head costs a round trip. 64 heads of a thousand pages give their sum to a tenth (`plan::guess`). Hosts
//! that know no HEAD are taken by the pages that are read, and by what is known of others like them.

/// Asking, under manners.
mod pool;

use crate::base::clock::{Clock, Time};
use crate::base::target::Target;
use crate::cache::{Glance, Told};
use crate::prefetch::aim::{self, Aim};
use crate::prefetch::gate::Manners;
use crate::prefetch::plan::census::{Answer, By, Census, Film, hash};
use crate::prefetch::plan::findings::{Case, Findings, Pace};
use crate::prefetch::plan::guess::{real, whole};
use crate::prefetch::plan::sort::Sort;
use crate::prefetch::rhythm::{self, Step};
use crate::prefetch::robots::{Book, Verdict};
use crate::prefetch::survey::pool::{Came, Desk, Task};
use crate::prefetch::web::{Reply, Web, What};
use crate::prefetch::window::Windows;
use crate::prefetch::worth::Ledger;
use crate::site::discover::media::Policy;
use crate::site::discover::{dash, hls};
use crate::site::pack::Pack;
use crate::state::frontier::Wish;
use crate::state::{Error, State};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// What a survey may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of bodies.
    pub bytes: u64,
    /// Time.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        // A person waits for it. 16 MiB are half a minute of 4 Mbit/s, and room for the largest sitemaps that sites have.
        Budget { bytes: 16 << 20, time: Duration::from_mins(1) }
    }
}

/// Pages that are read of one host: twelve tell what pages share, and take twelve seconds of good manners.
const READ: usize = 12;
/// Longest page, style or script that is read: what is longer is asked for its length.
const LONG: u64 = 2 << 20;
/// Things that are fetched of a sort where hosts know no HEAD.
const SAMPLES: usize = 4;
/// Most styles, scripts and playlists that are read for what they need in turn.
const CHAINS: usize = 200;
/// Most addresses that lists name for us; more are counted as unread lists.
const LISTED: usize = 250_000;
/// Rows of the frontier that are read at once.
const ROWS: u32 = 5_000;
/// Longest redirect chain.
const HOPS: u8 = 5;
/// Parts of the time: until lists are read, until pages are.
const LISTS_UNTIL: f64 = 0.5;
/// See [`LISTS_UNTIL`].
const PAGES_UNTIL: f64 = 0.75;

/// How far a survey is: what it is doing, done, of so many.
pub type Tell<'t> = &'t (dyn Fn(&'static str, u64, u64) + Sync);

/// What a survey needs.
pub struct Survey<'a, W> {
    /// The world.
    pub web: &'a W,
    /// The frontier: what is here already.
    pub state: &'a State,
    /// Time.
    pub clock: &'a Clock,
    /// What is surveyed.
    pub pack: &'a Pack,
    /// robots.txt of all origins.
    pub book: &'a Book,
    /// How to behave.
    pub manners: &'a Manners,
    /// Whose day counts.
    pub windows: &'a Windows,
    /// Which forms of films are taken.
    pub media: &'a Policy,
    /// Where bytes are written down.
    pub ledger: &'a Ledger,
    /// Transfers at once.
    pub max_transfers: usize,
    /// What it may cost.
    pub budget: Budget,
}

/// What it gathers.
#[derive(Default)]
struct Gathered {
    census: Census,
    /// What lists name, by hash, until the frontier has been looked through.
    listed: HashMap<u64, Wish>,
    /// Lists, by their addresses, that were read; and how many bytes the night will have for each.
    lists: Vec<(Wish, Answer)>,
    left_out: Vec<(String, u64)>,
    /// Rates of films, by the playlists that they are told for.
    rates: HashMap<String, u64>,
    /// Films with what they hold by their own word.
    films: Vec<Film>,
    unread: u64,
    heads: Vec<f64>,
    /// Of each host one page that was read, with its length: to see whether its heads tell the truth.
    read: BTreeMap<String, (Wish, u64)>,
    chains: usize,
}

impl<W: Web> Survey<'_, W> {
    /// Asks until it knows or its budget is spent. May be dropped at any await.
    ///
    /// # Errors
    /// The database's.
    pub async fn run(&self, tell: Tell<'_>) -> Result<Findings, Error> {
        let begun = self.clock.now();
        let until = |part: f64| begun.plus(self.budget.time.mul_f64(part));
        let run = self.state.run(&self.pack.id).await?;
        let digest = self.pack.digest.to_string();
        let foreseen = run.as_ref().map_or(1, |run| if run.finished.is_none() && run.digest == digest { run.run } else { run.run + 1 });
        let first = match &run {
            Some(run) => self.state.count(&self.pack.id, run.run).await?.done == 0,
            None => true,
        };
        let mut desk = self.sit_down(begun).await?;
        let mut all = Gathered::default();
        self.lists(&mut desk, &mut all, until(LISTS_UNTIL), tell).await?;
        if let Some(run) = run.filter(|_| !first) {
            self.known(&mut all, run.run, foreseen).await?;
        }
        for wish in std::mem::take(&mut all.listed).into_values() {
            all.census.meet(&wish, Case::New, By::List, self.is_followed(&wish));
        }
        for film in std::mem::take(&mut all.films) {
            all.census.claim(&film);
        }
        self.pages(&mut desk, &mut all, until(PAGES_UNTIL), tell).await?;
        self.truth(&mut desk, &mut all, until(1.0)).await?;
        self.lengths(&mut desk, &mut all, until(1.0), tell).await?;
        self.samples(&mut desk, &mut all, until(1.0)).await?;
        Ok(self.close(desk, all, foreseen, digest, first, begun))
    }

    fn close(&self, mut desk: Desk, mut all: Gathered, run: i64, digest: String, first: bool, begun: Time) -> Findings {
        let now = self.clock.now();
        for host in std::mem::take(&mut desk.headless) {
            desk.note(format!("{host} does not answer HEAD as it answers GET: its things are reckoned by those that were read"));
        }
        if self.web.is_taken() {
            desk.whole = false;
            desk.note(String::from("people were using the line: not everything could be asked"));
        }
        all.heads.sort_by(f64::total_cmp);
        let wait = all.heads.get(all.heads.len() / 2).copied();
        let found = all.census.close();
        let hosts: BTreeSet<String> = found.strata.iter().map(|one| one.host.clone()).collect();
        let paces = hosts.into_iter().filter(|host| !self.is_free(host)).map(|host| {
            let pause = self.pause_of(&host);
            Pace { host, pause }
        });
        let mut findings = Findings {
            run,
            digest,
            at: now.micros(),
            first,
            paces: paces.collect(),
            requests: desk.requests,
            bytes: desk.bytes,
            seconds: now.since(begun).as_secs(),
            wait,
            whole: desk.whole,
            unread: all.unread,
            left_out: all.left_out,
            notes: desk.notes,
            ..found
        };
        findings.bound();
        findings
    }

    /// Reads what names other things: seeds, then what those name, as far as time and bytes go.
    async fn lists(&self, desk: &mut Desk, all: &mut Gathered, until: Time, tell: Tell<'_>) -> Result<(), Error> {
        let (lists, things): (Vec<Wish>, Vec<Wish>) = aim::seeds(self.pack).into_iter().partition(is_list);
        for wish in things {
            all.listed.insert(hash(&wish.url), wish);
        }
        let open: VecDeque<Task> = lists.into_iter().map(read_task).collect();
        let mut known: HashSet<String> = open.iter().map(|task| task.wish.url.clone()).collect();
        let (mut done, mut total) = (0, open.len() as u64);
        let left = self.drain(desk, open, until, |desk, came| {
            done += 1;
            let more = self.list_came(desk, all, came, &mut known);
            total += more.len() as u64;
            tell("lists", done, total);
            more
        });
        let left = left.await?;
        all.unread += left.len() as u64;
        let unread: Vec<Wish> = left.into_iter().map(|task| task.wish).collect();
        for wish in unread {
            all.lists.push((wish, Answer::Silent));
        }
        for (wish, answer) in std::mem::take(&mut all.lists) {
            all.census.meet(&wish, Case::New, By::List, false);
            all.census.answer(&wish.url, &answer);
        }
        Ok(())
    }

    fn list_came(&self, desk: &mut Desk, all: &mut Gathered, came: Came, known: &mut HashSet<String>) -> Vec<Task> {
        let Came { task, target, got, .. } = came;
        let mut more = Vec::new();
        let wish = task.wish.clone();
        let reply = match got {
            pool::Got::Barred(_) => {
                all.left_out.push((format!("a list on {}: robots.txt forbids it or cannot be had", target.host()), 1));
                return more;
            }
            pool::Got::Told(_) => return more,
            pool::Got::Reply(reply) => reply,
        };
        match reply.what {
            What::Here { content_type, body, length, unchanged, .. } => {
                let named = aim::found(self.pack, self.media, &wish, &target, content_type.as_deref(), &body);
                if let Some(why) = named.objection {
                    all.left_out.push((format!("a film on {}: {why}", target.host()), 1));
                    return more;
                }
                self.films(all, &wish, &target, &body, &named.wishes);
                for next in named.wishes {
                    if is_list(&next) {
                        if known.insert(next.url.clone()) {
                            more.push(read_task(next));
                        }
                    } else if all.listed.len() < LISTED {
                        all.listed.entry(hash(&next.url)).or_insert(next);
                    } else {
                        all.unread += 1;
                    }
                }
                let sent = if unchanged { 0 } else { reply.transferred };
                all.lists.push((wish, Answer::Here { length, sent }));
            }
            What::Moved { to, .. } if task.hops < HOPS && self.pack.covers(&to, false) => {
                if known.insert(to.url().to_owned()) {
                    more.push(Task { hops: task.hops + 1, ..read_task(Wish { url: to.url().to_owned(), ..wish }) });
                }
            }
            what => {
                let why = plainly(&what).unwrap_or("it could not be read");
                // What fails now may be there in the night, with all that it names.
                all.unread += u64::from(!matches!(what, What::Gone | What::Refused(_) | What::Unkept(_) | What::Moved { .. }));
                all.left_out.push((format!("a list on {}: {why}", target.host()), 1));
                desk.whole = false;
            }
        }
        more
    }

    /// What a playlist says of how much its pieces are.
    fn films(&self, all: &mut Gathered, wish: &Wish, base: &Target, body: &[u8], named: &[Wish]) {
        let film = |bytes| Film::of(named.iter().filter(|next| !is_list(next)), whole(bytes));
        match Aim::parse(&wish.kind) {
            Aim::Dash => {
                if let Some(bytes) = dash::weight(base, body, self.media) {
                    all.films.extend(film(bytes));
                }
            }
            Aim::Hls if named.iter().any(is_list) => {
                // The first is the picture with its rate; what goes beside it is in that rate.
                for (at, list) in named.iter().enumerate() {
                    let rate = if at == 0 { hls::bitrate(body, self.media).unwrap_or(0) } else { 0 };
                    all.rates.insert(list.url.clone(), rate);
                }
            }
            Aim::Hls => {
                if let Some(rate) = all.rates.get(&wish.url) {
                    let bytes = hls::seconds(body) * real(*rate) / 8.0;
                    all.films.extend(film(bytes));
                }
            }
            _ => {}
        }
    }

    /// What is here from the last run, by what the next one will do about it.
    async fn known(&self, all: &mut Gathered, last: i64, next: i64) -> Result<(), Error> {
        let (mut after, now) = (0, self.clock.now());
        loop {
            let rows = self.state.known(&self.pack.id, last, after, ROWS).await?;
            let Some(end) = rows.last() else { return Ok(()) };
            after = end.wish.id;
            for row in rows {
                let mut wish = row.wish;
                if let Some(listed) = all.listed.remove(&hash(&wish.url)) {
                    wish.changed = listed.changed.or(wish.changed);
                }
                let aim = Aim::parse(&wish.kind);
                if is_list(&wish) && !aim.is_content() {
                    continue;
                }
                let case = match (row.here, rhythm::step(&wish, aim.is_page(), next, now, now)) {
                    (false, _) => Case::New,
                    (true, Step::Keep) => Case::Kept,
                    (true, _) if wish.changed > wish.fetched && wish.changed.is_some() => Case::Changed,
                    (true, _) => Case::Again,
                };
                all.census.meet(&wish, case, By::List, false);
            }
        }
    }

    /// Reads some new pages of each host, and what they need as far as that needs other things in turn.
    async fn pages(&self, desk: &mut Desk, all: &mut Gathered, until: Time, tell: Tell<'_>) -> Result<(), Error> {
        let sample = all.census.sample(|one| (one.case == Case::New && one.sort == Sort::Page).then_some(0));
        let mut open = VecDeque::new();
        let mut per_host: HashMap<String, usize> = HashMap::new();
        for (stratum, wish) in sample {
            let read = per_host.entry(stratum.host).or_default();
            *read += 1;
            if *read <= READ {
                open.push_back(read_task(wish));
            }
        }
        let (mut done, mut total) = (0, open.len() as u64);
        let left = self.drain(desk, open, until, |_, came| {
            done += 1;
            let more = self.page_came(all, came);
            total += more.len() as u64;
            tell("pages", done, total);
            more
        });
        left.await.map(drop)
    }

    fn page_came(&self, all: &mut Gathered, came: Came) -> Vec<Task> {
        let Came { task, target, got, .. } = came;
        let wish = task.wish.clone();
        let reply = match got {
            pool::Got::Barred(verdict) => {
                all.census.answer(&wish.url, if verdict == Verdict::Disallowed { &Answer::Forbidden } else { &Answer::Silent });
                return Vec::new();
            }
            pool::Got::Told(_) => return Vec::new(),
            pool::Got::Reply(reply) => reply,
        };
        let Reply { transferred, what } = reply;
        let What::Here { length, content_type, body, .. } = what else { return self.page_failed(all, task, what) };
        all.census.answer(&wish.url, &Answer::Here { length, sent: transferred });
        if is_list(&wish) || wish.kind == "page" {
            all.read.entry(target.host().to_owned()).or_insert_with(|| (wish.clone(), length));
        }
        let by = match Aim::parse(&wish.kind) {
            Aim::Content(crate::site::discover::Kind::Page) => match all.census.read(&wish) {
                Some(bit) => By::Page(bit),
                None => return Vec::new(),
            },
            _ => By::Need(hash(&wish.url)),
        };
        let named = aim::found(self.pack, self.media, &wish, &target, content_type.as_deref(), &body);
        if let Some(why) = named.objection {
            all.left_out.push((format!("a film on {}: {why}", target.host()), 1));
            return Vec::new();
        }
        let mut more = Vec::new();
        for next in named.wishes {
            let is_new = all.census.meet(&next, Case::New, by, self.is_followed(&next));
            let chains = matches!(Sort::of(&next.kind, &next.url), Sort::Style | Sort::Script | Sort::List);
            if is_new && chains && all.chains < CHAINS {
                all.chains += 1;
                more.push(read_task(next));
            }
        }
        more
    }

    fn page_failed(&self, all: &mut Gathered, task: Task, what: What) -> Vec<Task> {
        let wish = task.wish;
        let answer = match what {
            // Longer than a sample: asked for its length with the others.
            What::TooLong | What::Oversized(_) => return Vec::new(),
            What::Moved { to, .. } if task.hops < HOPS && self.pack.covers(&to, false) => {
                all.census.answer(&wish.url, &Answer::Gone);
                let next = Wish { url: to.url().to_owned(), ..wish };
                let is_new = all.census.meet(&next, Case::New, By::List, self.is_followed(&next));
                return if is_new { vec![Task { hops: task.hops + 1, ..read_task(next) }] } else { Vec::new() };
            }
            What::Gone | What::Moved { .. } => Answer::Gone,
            What::Refused(_) | What::Unkept(_) => Answer::Refused,
            _ => Answer::Silent,
        };
        all.census.answer(&wish.url, &answer);
        Vec::new()
    }

    /// Hosts whose heads say something else than their pages are found out by one question each.
    async fn truth(&self, desk: &mut Desk, all: &mut Gathered, until: Time) -> Result<(), Error> {
        let look = |(wish, _): &(Wish, u64)| Task { wish: wish.clone(), get: None, hops: 0, force: true };
        let open: VecDeque<Task> = all.read.values().map(look).collect();
        let left = self.drain(desk, open, until, |desk, came| {
            let host = came.target.host();
            let length = all.read.get(host).map_or(0, |(_, length)| *length);
            let pool::Got::Told(Ok(Glance::Told(told))) = &came.got else { return Vec::new() };
            all.heads.push(came.took.as_secs_f64());
            let lies = match (told.status.is_success(), told.length) {
                (true, Some(said)) => said / 2 > length || said < length / 2,
                (true, None) => false,
                (false, _) => !matches!(told.status.as_u16(), 429 | 500..),
            };
            if lies {
                desk.headless.insert(host.to_owned());
            }
            Vec::new()
        });
        left.await.map(drop)
    }

    /// Asks how long things are: what is likely to be large first.
    async fn lengths(&self, desk: &mut Desk, all: &mut Gathered, until: Time, tell: Tell<'_>) -> Result<(), Error> {
        let rank = |sort: Sort| match sort {
            Sort::Media | Sort::File => 1,
            Sort::Other => 2,
            Sort::Page => 4,
            Sort::List => 5,
            _ => 3,
        };
        let sample = all.census.sample(|one| match one.case {
            Case::Changed => Some(0),
            Case::New => Some(rank(one.sort)),
            Case::Again => Some(6),
            Case::Kept => None,
        });
        let look = |(_, wish): (_, Wish)| Task { wish, get: None, hops: 0, force: false };
        let open: VecDeque<Task> = sample.into_iter().map(look).collect();
        let (mut done, total) = (0, open.len() as u64);
        let left = self.drain(desk, open, until, |desk, came| {
            done += 1;
            tell("lengths", done, total);
            self.length_came(desk, all, &came);
            Vec::new()
        });
        left.await.map(drop)
    }

    /// Where nobody says how long things are, some of each sort are fetched.
    async fn samples(&self, desk: &mut Desk, all: &mut Gathered, until: Time) -> Result<(), Error> {
        if desk.headless.is_empty() {
            return Ok(());
        }
        let sample = all.census.sample(|one| (one.case == Case::New && desk.headless.contains(&one.host)).then_some(0));
        let mut taken: HashMap<(String, Sort), usize> = HashMap::new();
        let mut open = VecDeque::new();
        for (stratum, wish) in sample {
            let of = taken.entry((stratum.host, stratum.sort)).or_default();
            *of += 1;
            if *of <= SAMPLES {
                open.push_back(read_task(wish));
            }
        }
        let left = self.drain(desk, open, until, |_, came| self.page_came(all, came));
        left.await.map(drop)
    }

    fn length_came(&self, desk: &mut Desk, all: &mut Gathered, came: &Came) {
        let url = &came.task.wish.url;
        let host = came.target.host();
        let answer = match &came.got {
            pool::Got::Barred(Verdict::Disallowed) => Answer::Forbidden,
            pool::Got::Barred(_) | pool::Got::Reply(_) | pool::Got::Told(Err(_)) => Answer::Silent,
            pool::Got::Told(Ok(Glance::Fresh)) => Answer::Fresh,
            pool::Got::Told(Ok(Glance::Same)) => {
                all.heads.push(came.took.as_secs_f64());
                Answer::Same
            }
            pool::Got::Told(Ok(Glance::Told(told))) => {
                all.heads.push(came.took.as_secs_f64());
                self.told(desk, host, told, came.task.wish.bytes)
            }
        };
        all.census.answer(url, &answer);
    }

    fn told(&self, desk: &mut Desk, host: &str, told: &Told, last: Option<u64>) -> Answer {
        match (told.status.as_u16(), told.length) {
            // A host that says so of one will say so of all.
            (405 | 501, _) => {
                desk.headless.insert(host.to_owned());
                Answer::Silent
            }
            (200..=299, Some(length)) if length > self.pack.scope.max_bytes => Answer::TooLong,
            (200..=299, Some(length)) => Answer::Length(length),
            // It has changed, and how long it is now is not told: as long as it was.
            (200..=299, None) => last.map_or(Answer::Silent, Answer::Length),
            (404 | 410 | 300..=399, _) => Answer::Gone,
            // Some servers refuse the question and not the thing.
            _ => Answer::Silent,
        }
    }

    /// A page whose links the night will follow.
    fn is_followed(&self, wish: &Wish) -> bool {
        wish.kind == "page" && Target::parse(&wish.url).is_ok_and(|target| wish.depth < self.pack.depth_at(&target))
    }

    /// Hosts that are not held back.
    fn is_free(&self, host: &str) -> bool {
        self.manners.is_own(host) || self.pack.permits(host)
    }

    fn pause_of(&self, host: &str) -> f64 {
        let own = 1.0 / self.manners.rate.max(0.001);
        let asked = ["https", "http"].into_iter().filter_map(|scheme| self.book.delay(&format!("{scheme}://{host}")));
        asked.map(|asked| asked.as_secs_f64()).fold(own, f64::max)
    }
}

/// Has it fetched, unless it is too long for a sample.
fn read_task(wish: Wish) -> Task {
    let aim = Aim::parse(&wish.kind);
    let most = if is_list(&wish) { aim.most() } else { LONG };
    Task { get: Some(most), hops: 0, force: is_list(&wish), wish }
}

/// What names other things.
fn is_list(wish: &Wish) -> bool {
    matches!(Aim::parse(&wish.kind), Aim::Sitemap | Aim::List | Aim::Feed | Aim::Hls | Aim::Dash)
}

/// Why a list could not be read, for people.
fn plainly(what: &What) -> Option<&'static str> {
    Some(match what {
        What::Gone => "it is not there",
        What::Refused(_) => "the origin refuses it",
        What::Unkept(_) => "it may not be kept",
        What::Busy(_) => "the host is busy",
        What::Full(_) => "the store takes nothing",
        What::TooLong | What::Oversized(_) => "it is longer than a list may be, or than the survey may read",
        _ => return None,
    })
}
