//! What the class asks for: pages wished for tonight, what many devices miss, a lesson that is being recorded. The doors through which
//! pages, proxy and commands reach it; what may be done is decided in the pure rooms (`wish`, `proposal`, `record`).

use crate::base::clock::Time;
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::cache::{Seen, Why, is_secret};
use crate::prefetch::packs::{Held, Origin, Shelf};
use crate::prefetch::proposal::{self, Kind, Misses};
use crate::prefetch::record::{Order, Session, Sight, View};
use crate::prefetch::renew::Renewals;
use crate::prefetch::web::Web;
use crate::prefetch::wish::{self, Answer, Counts, TONIGHT, Tokens};
use crate::prefetch::worth::{Books, Worth};
use crate::prefetch::{Error, Event, Night, Settings};
use crate::site::Sites;
use crate::site::pack::Pack;
use crate::state::wish::{Proposed, Tonight};
use arc_swap::ArcSwap;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most failures of a run that are looked through.
const TROUBLE: u32 = 5000;
/// Most proposals that are told.
const PROPOSALS: u32 = 100;
/// Proposals that have not come up for so long are forgotten.
const PROPOSED_FOR: Duration = Duration::from_hours(14 * 24);
/// Longest recording: a double lesson.
const RECORDING: Duration = Duration::from_hours(2);
/// Letters that a title or a licence may have.
const WORDS: usize = 200;

/// What is known of the class in memory, beside the night's own board.
pub(super) struct Class {
    /// The rules in force, without those of wishes: a pupil's wish opens nothing.
    pub(super) sites: ArcSwap<Sites>,
    pub(super) books: Books,
    pub(super) renewals: Renewals,
    tokens: Tokens,
    counts: Mutex<Counts>,
    misses: Mutex<Misses>,
    session: Mutex<Option<Session>>,
    /// How wishes stood when it was told last.
    told: Mutex<HashMap<String, String>>,
    /// Whether a recording runs: asked for every request.
    recording: AtomicBool,
}

impl Class {
    pub(super) fn new(metrics: &Metrics) -> Class {
        Class {
            sites: ArcSwap::default(),
            books: Books::new(metrics),
            renewals: Renewals::new(metrics),
            tokens: Tokens::new(rand::random()),
            counts: Mutex::new(Counts::new(0, rand::random())),
            misses: Mutex::new(Misses::new(0, rand::random())),
            session: Mutex::default(),
            told: Mutex::default(),
            recording: AtomicBool::new(false),
        }
    }
}

/// A wish as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Wish)]
pub struct Wished {
    /// Its number.
    pub id: i64,
    /// The page.
    pub url: String,
    /// When somebody wished (RFC 3339).
    pub made: String,
    /// Until when it stays (RFC 3339).
    pub until: String,
    /// `waiting`, `here`, `gone` (the origin has no such page) or `failed`.
    pub state: String,
    /// Why it failed or was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Length of the page itself.
    pub bytes: Option<u64>,
}

/// Why something about packs could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing of this name, and what would help.
    #[error("there is no {0}")]
    Unknown(&'static str, &'static str),
    /// The order makes no sense, and how to write it.
    #[error("{0}")]
    Order(&'static str, &'static str),
    /// It cannot be done now, and what would help.
    #[error("{0}")]
    Now(&'static str, &'static str),
    /// It cannot be written.
    #[error("{file} cannot be written ({why})")]
    Write {
        /// Where.
        file: String,
        /// Why.
        why: String,
    },
    /// The night's own.
    #[error(transparent)]
    Night(#[from] Error),
}

impl Refusal {
    /// Nobody recorded anything.
    pub const NO_RECORDING: Refusal = Refusal::Unknown("recording", "begin one: bulak pack record NAME");
    /// None of this id is open.
    pub const NO_PROPOSAL: Refusal = Refusal::Unknown("such proposal", "\"bulak wish proposals\" shows which there are");
}

impl From<crate::state::Error> for Refusal {
    fn from(error: crate::state::Error) -> Refusal {
        Refusal::Night(error.into())
    }
}

impl<W: Web> Night<W> {
    /// Puts a page on tonight's list. `client`: the device at which a person wishes; it is counted, and not kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn wish(&self, url: &str, client: Option<IpAddr>) -> Result<Answer, Error> {
        let (inner, settings) = (&*self.0, self.0.settings.load_full());
        let wishes = &settings.wishes;
        if wishes.per_day == 0 {
            return Ok(Answer::Off);
        }
        let now = inner.clock.now();
        let target = match self.may_wish(url) {
            Ok(target) => target,
            Err(answer) => return Ok(answer),
        };
        let known = inner.state.tonight().await?.iter().any(|one| one.url == target.url());
        if known {
            return Ok(Answer::Known);
        }
        if let Some(client) = client {
            let today = settings.windows.next_day(now).minus(Duration::from_hours(24));
            if inner.state.tonight_since(today).await? >= wishes.per_day as u64 {
                return Ok(Answer::DayFull);
            }
            let day = self.day_number(now);
            let mut counts = inner.class.counts.lock();
            if !counts.is_of(day) {
                *counts = Counts::new(day, rand::random());
            }
            if !counts.count(client, wishes.per_client) {
                return Ok(Answer::ClientFull);
            }
        }
        if !inner.state.add_tonight(target.url(), now).await? {
            return Ok(Answer::Known);
        }
        self.tell(Event::WishAdded { wish: target.url().to_owned() });
        self.shelve().await?;
        Ok(Answer::Added)
    }

    /// Whether a page may be wished for, as far as its address tells.
    ///
    /// # Errors
    /// Why not.
    pub fn may_wish(&self, url: &str) -> Result<Target, Answer> {
        let sites = self.0.class.sites.load();
        wish::judge(url, |target| sites.look(target), is_secret)
    }

    /// What proves that a form about this was ours; none where nobody may wish for it.
    pub fn offer(&self, url: &str) -> Option<String> {
        let able = self.0.settings.load().wishes.per_day > 0;
        (able && self.may_wish(url).is_ok()).then(|| self.token(url))
    }

    /// What proves that a form was ours.
    pub fn token(&self, about: &str) -> String {
        self.0.class.tokens.make(about, self.day_number(self.0.clock.now()))
    }

    /// Whether a form was ours.
    pub fn is_ours(&self, about: &str, token: &str) -> bool {
        self.0.class.tokens.fits(about, self.day_number(self.0.clock.now()), token)
    }

    /// Tonight's list, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn wishes(&self) -> Result<Vec<Wished>, Error> {
        let (state, keep) = (&self.0.state, self.0.settings.load().wishes.keep);
        let wishes = state.tonight().await?;
        let run = state.run(TONIGHT).await?;
        let trouble: HashMap<String, String> = match &run {
            Some(run) => state.trouble(TONIGHT, run.run, TROUBLE).await?.into_iter().collect(),
            None => HashMap::new(),
        };
        // A run through these very pages tells of each of them.
        let digest = self.0.board.lock().shelf.held.iter().find(|held| held.pack.id == TONIGHT).map(|held| held.pack.digest.to_string());
        let through = run.is_some_and(|run| run.finished.is_some() && Some(run.digest) == digest);
        let mut all = Vec::with_capacity(wishes.len());
        for Tonight { id, url, made } in wishes {
            let bytes = match Target::parse(&url) {
                Ok(target) => self.0.web.stored(&target).await,
                Err(_) => None,
            };
            let why = trouble.get(&url).filter(|_| bytes.is_none()).cloned();
            let state = match (bytes, &why) {
                (Some(_), _) => "here",
                (None, Some(_)) => "failed",
                (None, None) if through => "gone",
                (None, None) => "waiting",
            };
            let (made, until) = (made.to_rfc3339(), made.plus(keep).to_rfc3339());
            all.push(Wished { id, url, made, until, state: state.into(), why, bytes });
        }
        Ok(all)
    }

    /// Takes a page off the list; in the next window it is let go. Whether it was there.
    ///
    /// # Errors
    /// The database's.
    pub async fn unwish(&self, id: i64) -> Result<bool, Error> {
        let Some(wish) = self.0.state.remove_tonight(id).await? else { return Ok(false) };
        self.tell_wish(wish, "taken_back");
        self.shelve().await?;
        Ok(true)
    }

    /// A wish is no more; somebody may have the same tomorrow.
    fn tell_wish(&self, wish: String, state: &str) {
        self.0.class.told.lock().remove(&wish);
        self.tell(Event::WishChanged { wish, state: state.to_owned() });
    }

    /// Takes down how wishes stand, at the start: only what changes from then on is told.
    pub(super) async fn know_wishes(&self) -> Result<(), Error> {
        *self.0.class.told.lock() = self.standing().await?;
        Ok(())
    }

    /// Tells how wishes stand that are no longer as they were told last.
    pub(super) async fn tell_wishes(&self) -> Result<(), Error> {
        let now = self.standing().await?;
        let before = std::mem::replace(&mut *self.0.class.told.lock(), now.clone());
        for (wish, state) in now {
            if before.get(&wish) != Some(&state) {
                self.tell(Event::WishChanged { wish, state });
            }
        }
        Ok(())
    }

    /// How wishes stand that wait no more.
    async fn standing(&self) -> Result<HashMap<String, String>, Error> {
        let wishes = self.wishes().await?.into_iter();
        Ok(wishes.filter(|one| one.state != "waiting").map(|one| (one.url, one.state)).collect())
    }

    /// Lets go what has been kept for long enough, and everything once nothing is wished for any more.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn tend_wishes(&self, now: Time) -> Result<(), Error> {
        let state = &self.0.state;
        let old = state.forget_tonight(now.minus(self.0.settings.load().wishes.keep)).await?;
        if !old.is_empty() {
            for wish in old {
                self.tell_wish(wish, "let_go");
            }
            self.shelve().await?;
        }
        if state.run(TONIGHT).await?.is_some() && state.tonight().await?.is_empty() {
            match self.0.web.let_go(TONIGHT).await {
                Ok(()) => state.forget_frontier(TONIGHT).await?,
                Err(error) => tracing::warn!(%error, "what was wished for once could not be let go, will try again"),
            }
        }
        Ok(())
    }

    /// Puts the pack of wishes on the shelf as it now is.
    async fn shelve(&self) -> Result<(), Error> {
        let _reading = self.0.reading.lock().await;
        let wishes = self.0.state.tonight().await?;
        let settings = self.0.settings.load_full();
        put(&mut self.0.board.lock().shelf, &wishes, &settings);
        self.0.wake.notify_one();
        Ok(())
    }

    /// A page or a piece passes by: for the recording that runs, and for what many miss. Called for every page that is not answered
    /// from memory, and for everything while something is recorded.
    pub fn saw(&self, seen: &Seen<'_>) {
        if self.is_recording() {
            self.record(seen);
        }
        if seen.page && seen.reads && is_miss(seen) && self.is_open(seen.target) && !wish::is_private(seen.target.host()) {
            let day = self.day_number(self.0.clock.now());
            let mut misses = self.0.class.misses.lock();
            if !misses.is_of(day) {
                *misses = misses.next(day, rand::random());
            }
            misses.miss(seen.client, seen.target);
        }
    }

    /// Whether a recording runs, so that hits and tunnels are of interest too.
    pub fn is_recording(&self) -> bool {
        self.0.class.recording.load(Ordering::Relaxed)
    }

    /// A connection passes by unopened.
    pub fn saw_sealed(&self, client: IpAddr, host: &str) {
        self.note(client, Sight::Sealed(host.to_owned()));
    }

    fn record(&self, seen: &Seen<'_>) {
        // A page of ours, or an error, is no content; what the origin said of it is not looked at.
        if seen.missing || seen.status.is_client_error() || seen.status.is_server_error() {
            return;
        }
        let shared = seen.why.is_some_and(|why| why.cache_label() != "bypass");
        let public = seen.reads && shared && self.is_open(seen.target);
        self.note(
            seen.client,
            if public {
                Sight::Public { target: seen.target.clone(), page: seen.page }
            } else {
                Sight::Personal(seen.target.host().to_owned())
            },
        );
    }

    fn note(&self, client: IpAddr, sight: Sight) {
        let now = self.0.clock.now();
        if let Some(session) = &mut *self.0.class.session.lock() {
            session.saw(client, sight, now);
            if !session.is_on(now) {
                // Its time is over: nobody has to look any more.
                self.0.class.recording.store(false, Ordering::Relaxed);
            }
        }
    }

    /// A stranger's address on a host without accounts.
    fn is_open(&self, target: &Target) -> bool {
        let known = self.0.class.sites.load().look(target);
        !known.account && !known.refused && !is_secret(target.path_and_query())
    }

    /// Begins a recording; one at a time.
    ///
    /// # Errors
    /// When one runs or waits to be kept or forgotten, or the order makes no pack.
    pub fn begin_recording(&self, mut order: Order) -> Result<(), Refusal> {
        let now = self.0.clock.now();
        if self.0.settings.load().own.is_none() {
            return Err(Refusal::Now("this node keeps no packs of its own", "run it with a folder for its state"));
        }
        if order.seconds == 0 || order.seconds > RECORDING.as_secs() {
            return Err(Refusal::Order("a recording takes a second to two hours", "give --for a time such as \"10min\""));
        }
        let long =
            |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > WORDS || text.chars().any(char::is_control));
        if long(&order.title) || long(&order.licence) {
            return Err(Refusal::Order("title and licence are lines of at most 200 letters", "shorten them"));
        }
        order.device = order.device.map(|device| device.to_canonical());
        let trial = format!(
            "id = {}\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"x\"\n[[seed]]\nurl = \"http://a.kz/\"\n[scope]\nhosts = [\"a.kz\"]\n",
            wish::quote(&order.name)
        );
        if Pack::parse(&trial).is_err() || order.name == TONIGHT {
            return Err(Refusal::Order("this is no name for a pack", "use small letters, digits and dashes, such as \"fractions-5\""));
        }
        if self.0.board.lock().shelf.held.iter().any(|held| held.pack.id == order.name) {
            return Err(Refusal::Now("there is a pack of this name", "choose another"));
        }
        let mut session = self.0.class.session.lock();
        if session.as_ref().is_some_and(|session| session.is_on(now)) {
            return Err(Refusal::Now("a lesson is being recorded already", "wait until it is over"));
        }
        // It is somebody's lesson.
        if session.as_ref().is_some_and(|session| !session.is_empty()) {
            let remedy = "\"bulak pack record --keep\" makes it a pack, \"bulak pack record --forget\" lets it go";
            return Err(Refusal::Now("a finished recording waits to be kept or forgotten", remedy));
        }
        *session = Some(Session::new(order, now));
        self.0.class.recording.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The device at which a person says "record from here". Whether it is now the one.
    pub fn claim_recording(&self, device: IpAddr) -> bool {
        let now = self.0.clock.now();
        self.0.class.session.lock().as_mut().is_some_and(|session| session.claim(device, now))
    }

    /// Whether a recording waits for its device; whether this device is being recorded.
    pub fn recording_of(&self, device: IpAddr) -> (bool, bool) {
        let now = self.0.clock.now();
        self.0.class.session.lock().as_ref().map_or((false, false), |session| (session.waits(now), session.is_of(device, now)))
    }

    /// How far the recording is.
    pub async fn recording(&self) -> Option<View> {
        let targets = self.0.class.session.lock().as_ref()?.targets();
        let mut lengths = HashMap::new();
        for target in targets {
            if let Some(length) = self.0.web.stored(&target).await {
                lengths.insert(target, length);
            }
        }
        let now = self.0.clock.now();
        let session = self.0.class.session.lock();
        let view = session.as_ref()?.view(|target| lengths.get(target).copied(), now);
        if view.state == "over" {
            self.0.class.recording.store(false, Ordering::Relaxed);
        }
        Some(view)
    }

    /// Ends the recording; what was seen stays for a look.
    pub fn end_recording(&self) {
        let now = self.0.clock.now();
        if let Some(session) = &mut *self.0.class.session.lock() {
            session.end(now);
        }
        self.0.class.recording.store(false, Ordering::Relaxed);
    }

    /// Forgets the recording.
    pub fn drop_recording(&self) {
        self.end_recording();
        *self.0.class.session.lock() = None;
    }

    /// Makes the recording a pack of the node's own, as a person confirmed. Where it lies.
    ///
    /// # Errors
    /// When there is nothing to keep, or it cannot be written.
    pub async fn keep_recording(&self) -> Result<PathBuf, Refusal> {
        self.end_recording();
        let view = self.recording().await.ok_or(Refusal::NO_RECORDING)?;
        let text =
            view.text.ok_or(Refusal::Now("nothing public was seen", "open the lesson on the recording device, through the proxy"))?;
        let file = self.write_own(&view.name, text).await?;
        self.drop_recording();
        self.reload().await?;
        Ok(file)
    }

    /// Writes down what has come up today.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn write_proposals(&self) -> Result<(), Error> {
        let (now, misses) = (self.0.clock.now(), &self.0.class.misses);
        let windows = self.0.settings.load().windows.clone();
        // In memory until it is on disk, also where whoever asked goes away meanwhile.
        let first = || misses.lock().first();
        if first().is_none() {
            return Ok(());
        }
        while let Some(one) = first() {
            self.0.state.propose(&one.id(), one.kind.as_str(), &one.url, &windows.day(now)).await?;
            misses.lock().written(&one);
        }
        self.0.state.forget_proposals(&windows.day(now.minus(PROPOSED_FOR))).await?;
        Ok(())
    }

    /// What at least five devices missed on a day, and nobody has decided about.
    ///
    /// # Errors
    /// The database's.
    pub async fn proposals(&self) -> Result<Vec<Proposed>, Error> {
        self.write_proposals().await?;
        Ok(self.0.state.proposals(PROPOSALS).await?)
    }

    /// Makes a proposal a pack of the node's own: its id, and where it lies.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub async fn approve(&self, id: &str) -> Result<(String, PathBuf), Refusal> {
        let open = self.proposals().await?;
        let found = open.into_iter().find(|one| one.id == id).ok_or(Refusal::NO_PROPOSAL)?;
        let kind = if found.kind == Kind::Folder.as_str() { Kind::Folder } else { Kind::Page };
        let now = self.0.clock.now();
        let text = proposal::text(kind, &found.url, &self.0.settings.load().windows.day(now));
        let (name, text) = text.ok_or(Refusal::Now("the rules no longer allow this", "dismiss it"))?;
        let held = self.0.board.lock().shelf.held.iter().find(|held| held.pack.id == name).map(|held| held.file.clone());
        let file = match held {
            // Approved before, and the database failed then.
            Some(file) => file,
            None => self.write_own(&name, text).await?,
        };
        self.0.state.decide_proposal(id, "approved").await?;
        self.reload().await?;
        Ok((name, file))
    }

    /// A person does not want it; it is not proposed again. Whether there was one.
    ///
    /// # Errors
    /// The database's.
    pub async fn dismiss(&self, id: &str) -> Result<bool, Error> {
        Ok(self.0.state.decide_proposal(id, "dismissed").await?)
    }

    /// Used against wasted, of one pack or of all.
    pub fn worth(&self, pack: Option<&str>) -> Worth {
        self.0.class.books.worth(pack)
    }

    /// Writes a pack into the node's own folder; an existing one is never overwritten.
    async fn write_own(&self, name: &str, text: String) -> Result<PathBuf, Refusal> {
        let folder = self.0.settings.load().own.clone();
        let folder = folder.ok_or(Refusal::Now("this node keeps no packs of its own", "run it with a folder for its state"))?;
        let file = folder.join(format!("{name}.toml"));
        let place = file.clone();
        let written = tokio::task::spawn_blocking(move || create(&folder, &place, &text)).await;
        let why = match written {
            Ok(Ok(())) => return Ok(file),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Refusal::Write { file: file.display().to_string(), why })
    }
}

/// Whether a page was asked for in vain: it had to come over the line, or could not. Where a cookie alone kept it out, the night, which
/// has none, can still bring it.
fn is_miss(seen: &Seen<'_>) -> bool {
    let came = seen.status == StatusCode::OK && seen.why.is_some_and(|why| why.cache_label() == "miss" || why == Why::Cookie);
    seen.missing || came
}

/// A whole file or none, also after a power cut.
fn create(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    if file.exists() {
        // Written before, and what was to follow did not.
        if std::fs::read(file)? == text.as_bytes() {
            return Ok(());
        }
        return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists));
    }
    let draft = file.with_extension("new");
    std::fs::write(&draft, text)?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, file)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Puts the pack of wishes on a shelf, in the place of what was there.
pub(super) fn put(shelf: &mut Shelf, wishes: &[Tonight], settings: &Settings) {
    shelf.held.retain(|held| held.pack.id != TONIGHT);
    let urls: Vec<&str> = wishes.iter().map(|one| one.url.as_str()).collect();
    if let Some(pack) = wish::pack(&urls, &settings.wishes) {
        shelf.held.push(Held { pack: Arc::new(pack), file: PathBuf::from("wishes"), origin: Origin::Own, notes: Vec::new() });
        shelf.held.sort_by(|a, b| b.pack.priority.cmp(&a.pack.priority).then_with(|| a.pack.id.cmp(&b.pack.id)));
    }
}
