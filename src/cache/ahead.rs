//! Look-ahead: what a page needs is asked for while the page itself is still on its way to the device that wants it.
//!
//! A browser behind a proxy asks for six things at a time, and each of them takes a round trip to the origin: forty at 300 ms are two
//! seconds in which the line carries next to nothing. The node reads the page as it passes, and asks for what the page names before the
//! browser does, more at a time, in a browser's order. Whoever asks for it meanwhile comes along with the fetch that is under way.
//!
//! Only along pages that are kept, so that a stranger would have got the same page, and names with it; without cookies; never on hosts
//! with accounts, never by addresses that hold a key. What is asked for is bounded by number, bytes and places, counts as the device's
//! own among the fair shares, and is what a browser would ask for in any case: no lazy pictures, no films, no candidates of a set.

use crate::base::target::{Scheme, Target};
use crate::base::unit::BitRate;
use crate::cache::errand::FetchError;
use crate::cache::fill::{Arrival, Order, Toll};
use crate::cache::{Asked, Inner};
use crate::link::Class;
use crate::policy::{self, Decision, Line};
use crate::site::discover::{self, BLOCKING, Kind, Need, Urgency, html};
use crate::store::{Entry, Source, Tail, Way};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, REFERER, REFERRER_POLICY, USER_AGENT, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Asked for at a time along one page: more than a browser's six, and half of what an origin may have of connections.
const WIDTH: usize = 16;
/// Of these, so many that can wait while anything blocks the page: on a thin line they would take from what it waits for.
const BESIDE: usize = 4;
/// Along all pages together; what finds no place is left to the browser.
const ALL: usize = 64;
/// Pages that are looked along at a time, each with what it names and its reader in memory, some 100 KB.
const PAGES: usize = 64;
/// So long after the last of a page nothing more is begun: whoever sees it still wants it asks himself, and many have gone on.
const LATE: Duration = Duration::from_secs(20);
/// Things asked for along one page.
const MOST: usize = 100;
/// Longest thing; a browser that wants more of it asks for it.
const OBJECT: u64 = 1 << 20;
/// Nor is one longer than this part of what may come along a page: those that are under way when enough has come all end.
const PART: u64 = 4;
/// Counted of one that was longer: what was on its way when it was cut.
const CUT: u64 = 64 << 10;
/// What the line brings in so many seconds may come along one page; then nothing more is begun.
const SECONDS: u64 = 8;
/// Bytes that may come along one page in any case, however thin the line.
const BYTES_LEAST: u64 = 512 << 10;
/// Bytes that may come along one page at most, and where nothing is known of the line.
const BYTES_MOST: u64 = 4 << 20;
/// Style sheets that name style sheets, and modules that name modules, are followed so far.
const LEVELS: u8 = 3;
/// Longest style sheet or script that is read for what it names: reading takes the time of a processor, for everybody.
const READ: usize = 256 << 10;
/// Kinds of browsers of which it is known how they ask for images; a school has some three.
const BROWSERS: usize = 16;
/// Longest field that is kept of them, bytes.
const FIELD: usize = 512;

/// What kinds of things browsers ask for, they say in these words.
const STYLES: HeaderValue = HeaderValue::from_static("text/css,*/*;q=0.1");
/// Chromium's; how another asks is learned from it.
const IMAGES: HeaderValue = HeaderValue::from_static("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Fields by which browsers say what a request is for, and how dear bytes are.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const SAVE_DATA: HeaderName = HeaderName::from_static("save-data");

/// The places, shared by all pages.
pub(crate) struct Ahead {
    on: AtomicBool,
    seats: Semaphore,
    pages: Arc<Semaphore>,
    /// User-Agent and how it asks for images, where that is not [`IMAGES`]; what was learned last first.
    browsers: Mutex<VecDeque<(HeaderValue, HeaderValue)>>,
}

impl Ahead {
    pub(crate) fn new(on: bool) -> Ahead {
        let (seats, pages) = (Semaphore::new(ALL), Arc::new(Semaphore::new(PAGES)));
        Ahead { on: AtomicBool::new(on), seats, pages, browsers: Mutex::default() }
    }

    /// Room to look along one page more, until it is dropped; `None` when as many are looked along as may be.
    fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.pages).try_acquire_owned().ok()
    }

    /// A browser has asked for an image: what answers vary by is told for it as it tells it, or they would come twice.
    pub(crate) fn learn(&self, headers: &HeaderMap) {
        let (Some(agent), Some(accept)) = (headers.get(USER_AGENT), headers.get(ACCEPT)) else { return };
        let short = agent.len().max(accept.len()) <= FIELD;
        if !short || !accept.as_bytes().starts_with(b"image/") || self.images(Some(agent)) == accept {
            return;
        }
        let mut browsers = self.browsers.lock();
        browsers.retain(|(known, _)| known != agent);
        browsers.truncate(BROWSERS - 1);
        // Values share the whole head that they came in.
        let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes());
        if *accept != IMAGES
            && let (Ok(agent), Ok(accept)) = (own(agent), own(accept))
        {
            browsers.push_front((agent, accept));
        }
    }

    /// How this browser asks for images.
    fn images(&self, agent: Option<&HeaderValue>) -> HeaderValue {
        let browsers = self.browsers.lock();
        browsers.iter().find(|(known, _)| Some(known) == agent).map_or(IMAGES, |(_, accept)| accept.clone())
    }

    /// Pages that pass by from now on are read, or are not.
    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}

/// One thing to ask for: by urgency, then in the order of the page.
type Next = Reverse<(Urgency, usize)>;

/// The page that passes by.
struct Page<'a> {
    asked: &'a Asked,
    way: Way,
    /// It wants nobody to be told where a visitor came from.
    quiet: bool,
    /// Bytes that may come along it, and have.
    most: u64,
    came: Arc<AtomicU64>,
}

/// What is to be asked for along it.
struct Scout<'a> {
    page: &'a Page<'a>,
    /// When the page was last heard of.
    heard: Instant,
    queue: BinaryHeap<Next>,
    needs: Vec<(Need, u8)>,
    seen: HashSet<Target>,
    /// Under way: what blocks the page, and what can wait.
    blocking: usize,
    later: usize,
}

/// What came of one thing.
struct Done {
    urgency: Urgency,
    /// What it needs in turn, and how far from the page that is.
    needs: Vec<Need>,
    level: u8,
}

impl<'a> Scout<'a> {
    fn new(page: &'a Page<'a>, now: Instant) -> Scout<'a> {
        let seen = HashSet::from([page.asked.target.clone()]);
        Scout { page, heard: now, queue: BinaryHeap::new(), needs: Vec::new(), seen, blocking: 0, later: 0 }
    }

    fn add(&mut self, needs: impl IntoIterator<Item = Need>, level: u8) {
        for need in needs {
            let full = self.needs.len() >= MOST;
            if !full && fits(&self.page.asked.target, &need.target) && self.seen.insert(need.target.clone()) {
                self.queue.push(Reverse((need.urgency, self.needs.len())));
                self.needs.push((need, level));
            }
        }
    }

    /// What is to be asked for now; it is under way from then on.
    fn next(&mut self, now: Instant) -> Option<(Need, u8)> {
        let Reverse((urgency, at)) = *self.queue.peek()?;
        let late = now.saturating_duration_since(self.heard) >= LATE;
        let room = urgency <= BLOCKING || self.blocking == 0 || self.later < BESIDE;
        if late || !room || self.blocking + self.later >= WIDTH || self.page.came.load(Ordering::Relaxed) >= self.page.most {
            return None;
        }
        self.queue.pop();
        *self.lane(urgency) += 1;
        Some(self.needs[at].clone())
    }

    fn done(&mut self, Done { urgency, needs, level }: Done) {
        *self.lane(urgency) -= 1;
        self.add(needs, level);
    }

    fn lane(&mut self, urgency: Urgency) -> &mut usize {
        if urgency <= BLOCKING { &mut self.blocking } else { &mut self.later }
    }
}

impl Inner {
    /// Looks ahead along a page that is about to be taken in, if it is one.
    pub(crate) fn look_ahead(self: &Arc<Inner>, asked: &Arc<Asked>, order: &Order, arrival: &Arrival) {
        let page = arrival.meta.status == StatusCode::OK && policy::is_page(&arrival.meta.headers);
        let people = order.class == Class::Interactive && order.source == Source::Client;
        // One that no reader can make out, for it must come as it was sent.
        let coded = arrival.meta.coding.is_some();
        if !self.ahead.on.load(Ordering::Relaxed) || !page || !people || coded || asked.place.account || !is_shown(&asked.headers) {
            return;
        }
        let Some(room) = self.ahead.room() else { return };
        let (inner, asked, way, tail) = (Arc::clone(self), Arc::clone(asked), order.way, arrival.draft.tail());
        let quiet = arrival.meta.headers.get(REFERRER_POLICY).is_some_and(|policy| policy.as_bytes().starts_with(b"no-referrer"));
        self.life.spawn(async move {
            let _room = room;
            let most = bytes_in(inner.link.view().download);
            let page = Page { asked: &asked, way, quiet, most, came: Arc::default() };
            inner.look_along(&page, tail).await;
        });
    }

    async fn look_along(self: &Arc<Inner>, page: &Page<'_>, tail: Tail) {
        let mut scout = Scout::new(page, self.clock.steady());
        // Let go when it is read: whoever holds a tail and does not read may hold up others.
        let mut reading = Some((html::Reader::soon(&page.asked.target), tail));
        let (mut at, mut flying) = (0, FuturesUnordered::new());
        loop {
            while let Some((need, level)) = scout.next(self.clock.steady()) {
                flying.push(self.ask_ahead(page, need, level));
            }
            if reading.is_none() && flying.is_empty() {
                return;
            }
            tokio::select! {
                piece = piece(&mut reading, at), if reading.is_some() => {
                    scout.heard = self.clock.steady();
                    match (piece, &mut reading) {
                        (Some(bytes), Some((reader, _))) => {
                            at += bytes.len() as u64;
                            reader.read(&bytes);
                            scout.add(reader.needs(), 0);
                            reading = reading.filter(|(reader, _)| !reader.is_done());
                        }
                        _ => reading = None,
                    }
                }
                Some(done) = flying.next(), if !flying.is_empty() => scout.done(done),
            }
        }
    }

    /// Asks for one thing, unless it is here.
    async fn ask_ahead(self: &Arc<Inner>, page: &Page<'_>, need: Need, level: u8) -> Done {
        let nothing = Done { urgency: need.urgency, needs: Vec::new(), level };
        let place = self.place(&need.target, false);
        // No page from outside makes the node knock at the school's own servers: browsers refuse that, too.
        let knocks = self.upstream.is_in_house(&need.target) && !self.upstream.is_in_house(&page.asked.target);
        let secret = policy::is_secret(need.target.path_and_query());
        // What nobody else can have would come twice.
        let in_vain = self.board.is_no_errand(&need.target.key());
        let barred = place.account || secret || knocks || in_vain || self.archive(need.target.host()).is_some();
        if barred || self.line_to(&need.target) == Line::Down {
            return nothing;
        }
        let images = || self.ahead.images(page.asked.headers.get(USER_AGENT));
        let headers = fields(page, &need, images);
        let asked = Arc::new(Asked { method: Method::GET, target: need.target.clone(), headers, place, asker: page.asked.asker });
        // Somebody has asked for it already; what it names in turn is wanted all the same.
        let flight = self.board.find(&self.flight_key(&asked, None));
        if let Some(flight) = &flight {
            if !is_read(need.kind) {
                return nothing;
            }
            flight.end().await;
        }
        let Ok(_seat) = self.ahead.seats.try_acquire() else { return nothing };
        let (found, _) = self.find(&asked.ask()).await;
        let entry = match found {
            Some(found) if matches!(self.decide(&asked.ask(), Some(&found)), Decision::Serve { .. }) => Some(found.entry),
            // Whoever asked has what there is.
            _ if flight.is_some() => None,
            // Parts of something large: whoever wants more says which.
            Some(found) if found.entry.object.is_none() => None,
            found => {
                let order = Order {
                    source: Source::Client,
                    way: page.way,
                    class: Class::Interactive,
                    toll: Toll::default(),
                    max_bytes: Some(longest(page.most)),
                    moved: Arc::clone(&page.came),
                    cancel: CancellationToken::new(),
                    waits: 0,
                };
                let _over = order.cancel.clone().drop_guard();
                self.counters.ahead.inc();
                match self.run(&asked, order, found, false).await {
                    Ok(fetched) => fetched.entry,
                    Err(error) => {
                        if matches!(error, FetchError::TooLong(_)) {
                            self.board.set_long(need.target.key());
                            page.came.fetch_add(CUT, Ordering::Relaxed);
                        }
                        // What could not be had is asked for again by whoever wants it, and told to him.
                        None
                    }
                }
            }
        };
        match entry {
            Some(entry) if level < LEVELS => Done { needs: self.named(&entry, &need).await, level: level + 1, ..nothing },
            _ => nothing,
        }
    }

    /// What a style sheet or module names that is needed with it.
    async fn named(&self, entry: &Arc<Entry>, need: &Need) -> Vec<Need> {
        let readable =
            entry.object.is_some() && entry.meta.coding.is_none() && entry.length <= READ as u64 && entry.meta.status == StatusCode::OK;
        if !readable || !is_read(need.kind) {
            return Vec::new();
        }
        let Ok(body) = self.store.read(entry, None).await else { return Vec::new() };
        let Ok(bytes) = body.collect(READ).await else { return Vec::new() };
        let kind = entry.meta.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (target, wanted) = (need.target.clone(), need.kind);
        let reads = move || discover::soon(wanted, kind.as_deref(), &target, &bytes);
        // One that panics names nothing.
        tokio::task::spawn_blocking(reads).await.unwrap_or_default()
    }
}

/// The next piece of the page; `None` when it has ended, or broke off.
async fn piece(reading: &mut Option<(html::Reader, Tail)>, at: u64) -> Option<Bytes> {
    reading.as_mut()?.1.read(at).await.ok()?
}

/// Whether what a thing of this kind names is needed with it.
fn is_read(kind: Kind) -> bool {
    matches!(kind, Kind::Style | Kind::Script)
}

/// Bytes that may come along a page by a line of this rate.
fn bytes_in(rate: Option<BitRate>) -> u64 {
    rate.map_or(BYTES_MOST, |rate| (rate.0 / 8).saturating_mul(SECONDS).clamp(BYTES_LEAST, BYTES_MOST))
}

/// Longest thing that is asked for along a page along which so many bytes may come.
fn longest(most: u64) -> u64 {
    OBJECT.min(most / PART)
}

/// Whether what a page names comes to this cache when a browser asks for it: what is https on a page that is not goes through a tunnel,
/// and of pages that were opened, other hosts and ports may not be. Nobody asks at the ports of mail and the like.
fn fits(page: &Target, need: &Target) -> bool {
    let same = (need.host(), need.port()) == (page.host(), page.port());
    need.scheme() == page.scheme() && (page.scheme() == Scheme::Http || same) && !need.has_bad_port()
}

/// Whether a page is asked for to be shown now, by a device that has bytes to spare: not by a script, not to be on the safe side.
fn is_shown(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let shown = match text(&SEC_FETCH_DEST) {
        "" => policy::header::is_navigation(headers),
        dest => matches!(dest, "document" | "iframe" | "frame"),
    };
    shown && !text(&SAVE_DATA).eq_ignore_ascii_case("on") && text(&SEC_PURPOSE).is_empty()
}

/// The request's fields, as the browser that shows the page would write them; what an answer varies by is in them.
fn fields(page: &Page<'_>, need: &Need, images: impl FnOnce() -> HeaderValue) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for name in [USER_AGENT, ACCEPT_LANGUAGE, VIA] {
        for value in page.asked.headers.get_all(&name) {
            fields.append(name.clone(), value.clone());
        }
    }
    let accept = match need.kind {
        Kind::Style => STYLES,
        Kind::Image => images(),
        _ => ANYTHING,
    };
    fields.insert(ACCEPT, accept);
    // Some hosts give pictures to their own pages alone. Others learn nothing of where a device was.
    let target = &page.asked.target;
    if need.target.host() == target.host()
        && !page.quiet
        && let Ok(origin) = HeaderValue::from_str(&format!("{}/", target.origin()))
    {
        fields.insert(REFERER, origin);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_are_told_from_what_scripts_and_savers_want() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], true),
            (&[("accept", "*/*")], false),
            (&[("accept", "image/svg+xml,text/html")], false),
            (&[], false),
            (&[("accept", "*/*"), ("sec-fetch-dest", "document")], true),
            (&[("accept", "text/html"), ("sec-fetch-dest", "empty")], false),
            (&[("accept", "text/html"), ("save-data", "on")], false),
            (&[("accept", "text/html"), ("sec-purpose", "prefetch")], false),
        ];
        for (fields, wanted) in table {
            let fields: Vec<(&'static str, &'static str)> = fields.to_vec();
            assert_eq!(is_shown(&headers(&fields)), *wanted, "{fields:?}");
        }
    }

    #[test]
    fn things_are_asked_for_in_a_browsers_order_and_no_more_than_so_many() {
        let target = Target::parse("http://a.kz/d/").expect("valid");
        let place = policy::Place::default();
        let asked = Asked { method: Method::GET, target: target.clone(), headers: HeaderMap::new(), place, asker: None };
        let page = Page { asked: &asked, way: Way::Http, quiet: false, most: u64::MAX, came: Arc::default() };
        let now = Clock::system().steady();
        let queue = |html: &str| {
            let (mut reader, mut scout) = (html::Reader::soon(&target), Scout::new(&page, now));
            // In pieces, as a page comes.
            for piece in html.as_bytes().chunks(7) {
                reader.read(piece);
                scout.add(reader.needs(), 0);
            }
            let next = || {
                let (need, level) = scout.next(now)?;
                scout.done(Done { urgency: need.urgency, needs: Vec::new(), level });
                Some(need.target.path()[3..].to_owned())
            };
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        let page = "<link rel=icon href=i><img src=1><img src=2 fetchpriority=high><script src=a async></script><script src=d defer></script>\
            <video poster=p></video><link rel=preload as=font href=f><link rel=stylesheet href=w media='(min-width: 50em)'>\
            <script src=b></script><link rel=stylesheet href=s><img src=1><img src=l loading=lazy><script type=module src=m></script>\
            <style>@import 'z';</style><img src=3 fetchpriority=low>\
            <picture><source type=image/webp srcset=4.webp><img src=4.png></picture><template><img src=t></template>\
            <link rel=apple-touch-icon href=j><link rel=preload as=image href=k media='(min-width: 50em)'><img src=5>";
        assert_eq!(queue(page), ["s", "z", "2", "f", "b", "d", "m", "1", "a", "5", "p", "w", "3", "i"]);
        let many = (0..MOST * 2).map(|number| "<img src=".to_owned() + &number.to_string() + ">").collect::<Vec<_>>().concat();
        assert_eq!(queue(&many).len(), MOST);
    }

    #[test]
    fn what_can_wait_makes_way_for_what_blocks_the_page_and_the_line_says_how_much_comes() {
        let target = Target::parse("http://a.kz/").expect("valid");
        let asked =
            Asked { method: Method::GET, target: target.clone(), headers: HeaderMap::new(), place: policy::Place::default(), asker: None };
        let page = Page { asked: &asked, way: Way::Http, quiet: false, most: 1_000, came: Arc::default() };
        let now = Clock::system().steady();
        let mut scout = Scout::new(&page, now);
        let images = (0..MOST).map(|number| "<img src=".to_owned() + &number.to_string() + ">").collect::<Vec<_>>().concat();
        let mut reader = html::Reader::soon(&target);
        reader.read(("<link rel=stylesheet href=s>".to_owned() + &images).as_bytes());
        scout.add(reader.needs(), 0);
        let begun = |scout: &mut Scout<'_>| std::iter::from_fn(|| scout.next(now)).count();
        assert_eq!(begun(&mut scout), 1 + BESIDE, "the sheet blocks");
        scout.done(Done { urgency: discover::STYLE, needs: Vec::new(), level: 1 });
        assert_eq!(begun(&mut scout), WIDTH - BESIDE);
        scout.done(Done { urgency: discover::PLAIN, needs: Vec::new(), level: 1 });
        assert!(scout.next(now + LATE).is_none(), "the page has been there for long");
        scout.heard = now + LATE;
        assert!(scout.next(now + LATE).is_some(), "it goes on");
        page.came.store(1_000, Ordering::Relaxed);
        scout.done(Done { urgency: discover::PLAIN, needs: Vec::new(), level: 1 });
        assert_eq!(begun(&mut scout), 0, "enough has come");

        let of = |megabits: u64| bytes_in(Some(BitRate(megabits * 1_000_000)));
        assert_eq!((of(2), of(0), of(1_000), bytes_in(None)), (2_000_000, BYTES_LEAST, BYTES_MOST, BYTES_MOST));
        assert_eq!((longest(of(2)), longest(of(0)), longest(of(1_000))), (500_000, 128 << 10, OBJECT));
    }

    #[test]
    fn so_many_pages_are_looked_along_at_a_time() {
        let ahead = Ahead::new(true);
        let rooms: Vec<_> = std::iter::from_fn(|| ahead.room()).collect();
        assert_eq!(rooms.len(), PAGES);
        drop(rooms);
        assert!(ahead.room().is_some());
    }

    #[test]
    fn how_browsers_ask_for_images_is_learned_from_them() {
        let ahead = Ahead::new(true);
        let images = |agent| ahead.images(Some(&HeaderValue::from_static(agent)));
        let asks = |agent, accept| ahead.learn(&headers(&[("user-agent", agent), ("accept", accept)]));
        asks("1", "image/webp,*/*");
        asks("2", "text/html,image/webp");
        ahead.learn(&headers(&[("accept", "image/webp,*/*")]));
        assert_eq!((images("1"), images("2"), ahead.images(None)), (HeaderValue::from_static("image/webp,*/*"), IMAGES, IMAGES));
        asks("1", "image/png");
        assert_eq!(images("1"), "image/png", "it has been brought up to date");
        asks("1", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8");
        assert!(images("1") == IMAGES && ahead.browsers.lock().is_empty(), "as if nothing had been learned");
        let long = HeaderValue::from_bytes(&[b"image/".as_slice(), &[b'x'; FIELD]].concat()).expect("a value");
        ahead.learn(&HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("3")), (ACCEPT, long)]));
        assert_eq!(images("3"), IMAGES);
        asks("4", "image/gif");
        for number in 0..BROWSERS {
            let agent = HeaderValue::from_str(&format!("n{number}")).expect("a value");
            ahead.learn(&HeaderMap::from_iter([(USER_AGENT, agent), (ACCEPT, HeaderValue::from_static("image/gif"))]));
        }
        assert_eq!((images("4"), images("n0")), (IMAGES, HeaderValue::from_static("image/gif")), "the last ones");
    }

    #[test]
    fn what_no_browser_would_ask_this_cache_for_is_not_asked_for() {
        let target = |url| Target::parse(url).expect("valid");
        let table = [
            ("http://a.kz/", "http://cdn.kz/x.css", true),
            ("http://a.kz/", "https://a.kz/x.css", false),
            ("https://a.kz/", "https://a.kz/x.css", true),
            ("https://a.kz/", "https://cdn.kz/x.css", false),
            ("https://a.kz/", "https://a.kz:8443/x.css", false),
            ("http://a.kz/", "http://a.kz:8080/x.css", true),
            ("http://a.kz/", "http://mail.kz:25/x.css", false),
        ];
        for (page, need, wanted) in table {
            assert_eq!(fits(&target(page), &target(need)), wanted, "{need} on {page}");
        }
    }
}
