//! Many asking, one fetching: the first to miss a URL starts a flight, the others wait for its head and read along.
//!
//! A flight runs as a task of its own, so it outlives whoever started it. What it learns is published in steps; each follower
//! judges every step for its own request (its variant, its conditions) and may always go its own way.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::cache::OUTDATED;
use crate::cache::prepared::has_body;
use crate::link::foreground::Raise;
use crate::store::Draft;
use crate::upstream::Approach;
use http::HeaderMap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::watch;

/// What is known of a few URLs.
mod memory;

/// What it tells.
mod stage;

pub(crate) use stage::{Cut, Ground, Landing, Live, Outcome, Readers, Stage};

use memory::Memory;

/// What is fetched: a whole answer, or a range of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightKey {
    pub(crate) url: UrlKey,
    pub(crate) range: Option<Range<u64>>,
    /// It carries a cookie, and no rule but the RFC's says what others may read of it: then only those with one come along, who are
    /// judged one by one. Without this a device without a cookie could be handed what a 304 confirmed to somebody else.
    pub(crate) personal: bool,
    /// Those who turned out to be answered apart from the rest, by what they ask with (Vary): half a class may read Kazakh, half Russian.
    pub(crate) kin: Option<Digest>,
}

/// One fetch under way.
pub(crate) struct Flight {
    stage: watch::Receiver<Stage>,
    /// A person waits: it is background no more.
    pub(crate) urgent: Raise,
    withheld: Arc<OnceLock<HeaderMap>>,
    /// Whether the origin can be reached at all.
    pub(crate) approach: Approach,
}

/// Where the flight's task publishes. The flight ends when it is dropped.
pub(crate) struct Pilot {
    stage: watch::Sender<Stage>,
    landed: watch::Sender<bool>,
    pub(crate) urgent: Raise,
    withheld: Arc<OnceLock<HeaderMap>>,
    pub(crate) approach: Approach,
    board: Arc<Board>,
    key: FlightKey,
    /// Filed under this, too, once a fetch for a range turns out to bring the whole.
    whole: OnceLock<FlightKey>,
    /// Held by whoever waits for it, and by the board while it is listed.
    flight: Weak<Flight>,
    /// The board's count when the flight began.
    began: u64,
}

/// The flights under way, and what has been learned of URLs.
#[derive(Default)]
pub(crate) struct Board {
    flights: Mutex<HashMap<FlightKey, Arc<Flight>>>,
    /// URLs whose last answer could not be shared: nobody waits for those (varnish calls it hit-for-miss).
    apart: Mutex<Memory<Ground>>,
    /// URLs whose body cannot be undone or kept (bombs and giants): passed on as they come.
    unkeepable: Mutex<Memory<()>>,
    /// Longer than what is asked for ahead of anybody.
    long: Mutex<Memory<()>>,
    /// URLs that became doubtful, with the count at which they did.
    doubtful: Mutex<Memory<u64>>,
    count: AtomicU64,
}

/// What a short range is, bytes: pieces of updates have 1 MiB, those of players up to this; 3 s of a line of 10 Mbit/s.
const SHORT: u64 = 4 << 20;

impl Board {
    /// Joins the flight of `key`, or starts one: then the caller gets the pilot and must fly.
    pub(crate) fn join(self: &Arc<Board>, key: FlightKey, urgent: bool) -> (Arc<Flight>, Option<Pilot>) {
        self.join_unless(key, urgent, || false).expect("nothing has landed")
    }

    /// The same for whoever has looked for what is stored and found nothing: `None` where that `has_landed` since, so that nothing is fetched
    /// twice. What a flight brings is stored before it leaves the board, so this is seen by whoever finds it gone.
    pub(crate) fn join_unless(
        self: &Arc<Board>,
        key: FlightKey,
        urgent: bool,
        has_landed: impl FnOnce() -> bool,
    ) -> Option<(Arc<Flight>, Option<Pilot>)> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&key) {
            if urgent {
                flight.raise();
            }
            return Some((Arc::clone(flight), None));
        }
        if has_landed() {
            return None;
        }
        let (sender, receiver) = watch::channel(Stage::Asking);
        let urgent = if urgent { Raise::now() } else { Raise::default() };
        let (flight, pilot) = self.prepare((sender, receiver), key.clone(), urgent);
        flights.insert(key, Arc::clone(&flight));
        Some((flight, Some(pilot)))
    }

    /// The flight of `key`, when it is under way.
    pub(crate) fn find(&self, key: &FlightKey) -> Option<Arc<Flight>> {
        self.flights.lock().get(key).map(Arc::clone)
    }

    /// A flight that brings a part of what this key's would bring, where both are short: worth a wait. Who wants much, or would wait
    /// for much, goes his own way.
    pub(crate) fn in_the_way(&self, key: &FlightKey) -> Option<Arc<Flight>> {
        let short = |range: &Range<u64>| range.end - range.start <= SHORT;
        let wanted = key.range.as_ref().filter(|range| short(range))?;
        let flights = self.flights.lock();
        let others = flights.iter().filter(|(other, _)| other.url == key.url && other.personal == key.personal && *other != key);
        let overlap = |other: &FlightKey| {
            let range = other.range.as_ref().filter(|range| short(range))?;
            Some(range.end.min(wanted.end).saturating_sub(range.start.max(wanted.start))).filter(|bytes| *bytes > 0)
        };
        others
            .filter_map(|(other, flight)| Some((overlap(other)?, flight)))
            .max_by_key(|(bytes, _)| *bytes)
            .map(|(_, flight)| Arc::clone(flight))
    }

    /// A flight that nobody else finds: for requests whose answer may be theirs alone.
    pub(crate) fn alone(self: &Arc<Board>, key: FlightKey, urgent: bool) -> (Arc<Flight>, Pilot) {
        let (sender, receiver) = watch::channel(Stage::Asking);
        let urgent = if urgent { Raise::now() } else { Raise::default() };
        self.prepare((sender, receiver), key, urgent)
    }

    fn prepare(
        self: &Arc<Board>,
        (sender, receiver): (watch::Sender<Stage>, watch::Receiver<Stage>),
        key: FlightKey,
        urgent: Raise,
    ) -> (Arc<Flight>, Pilot) {
        let (withheld, approach) = (Arc::<OnceLock<HeaderMap>>::default(), Approach::default());
        let (shared, known) = (Arc::clone(&withheld), approach.clone());
        let flight = Arc::new(Flight { stage: receiver, urgent: urgent.clone(), withheld: shared, approach: known });
        let (board, landed, began) = (Arc::clone(self), watch::Sender::new(false), self.now());
        let held = Arc::downgrade(&flight);
        let whole = OnceLock::new();
        (flight, Pilot { stage: sender, landed, urgent, withheld, approach, board, key, whole, flight: held, began })
    }

    /// Whether waiting for another's answer to this URL has been in vain before, for whoever asks with a `cookie` or without.
    pub(crate) fn is_apart(&self, url: &UrlKey, cookie: bool) -> bool {
        match self.apart.lock().get(url) {
            Some(Ground::Answer) => true,
            Some(Ground::Asker) => cookie,
            None => false,
        }
    }

    fn set_apart(&self, url: UrlKey, cause: Option<Ground>) {
        let mut apart = self.apart.lock();
        match cause {
            Some(cause) => apart.put(url, cause),
            None => apart.forget(&url),
        }
    }

    /// Whether this URL's body is to be passed on as it comes.
    pub(crate) fn is_unkeepable(&self, url: &UrlKey) -> bool {
        self.unkeepable.lock().get(url).is_some()
    }

    /// From now on this URL's body is passed on as it comes.
    pub(crate) fn set_unkeepable(&self, url: UrlKey) {
        self.unkeepable.lock().put(url, ());
    }

    /// Whether nobody should ask for this URL before somebody wants it: what came was for whoever asked, could not be kept, or was too long.
    pub(crate) fn is_no_errand(&self, url: &UrlKey) -> bool {
        self.is_apart(url, false) || self.is_unkeepable(url) || self.long.lock().get(url).is_some()
    }

    /// From now on this URL is known to be too long to be asked for ahead of anybody.
    pub(crate) fn set_long(&self, url: UrlKey) {
        self.long.lock().put(url, ());
    }

    /// What is stored under this URL has become doubtful: that holds for fetches under way, too.
    pub(crate) fn note(&self, url: UrlKey) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.doubtful.lock().put(url, count);
    }

    fn is_doubtful_since(&self, url: &UrlKey, count: u64) -> bool {
        self.doubtful.lock().get(url).is_some_and(|doubt| *doubt > count)
    }

    fn now(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Something was changed under this URL: whoever asks from now on begins anew. What is under way, of the whole and of ranges, may be
    /// from before, and is for those who have come along already.
    pub(crate) fn unlist(&self, url: &UrlKey) {
        self.flights.lock().retain(|key, _| key.url != *url);
    }
}

impl Flight {
    /// A person waits for it from now on.
    pub(crate) fn raise(&self) {
        self.urgent.raise();
    }

    /// Fields that are not kept: for the one who asked alone. Known before the first word of an answer that is kept.
    pub(crate) fn withheld(&self) -> HeaderMap {
        self.withheld.get().cloned().unwrap_or_default()
    }

    /// How far it is.
    pub(crate) fn now(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// Whether all of its body has come, if it has one, though it is not put away yet: for who comes now it is a stored answer, and no
    /// longer shared.
    pub(crate) fn has_come(&self) -> bool {
        matches!(self.now(), Stage::Live(live) if live.tail.is_complete(live.total) || !has_body(live.meta.status))
    }

    /// The first stage after `Asking`; `None` when the flight ended without a word. May be dropped at any await.
    pub(crate) async fn head(&self) -> Option<Stage> {
        let mut stage = self.stage.clone();
        stage.wait_for(|stage| !matches!(stage, Stage::Asking)).await.ok().map(|stage| stage.clone())
    }

    /// The last stage. May be dropped at any await.
    pub(crate) async fn end(&self) -> Stage {
        let mut stage = self.stage.clone();
        while stage.changed().await.is_ok() {}
        stage.borrow().clone()
    }
}

impl Pilot {
    /// Whether the URL became doubtful after this flight began: what it brings may be older than that.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.board.is_doubtful_since(&self.key.url, self.began)
    }

    /// The same as flags of what it brings, to be asked for by the store when that becomes visible.
    pub(crate) fn doubt(&self) -> impl Fn() -> u32 + Send + Sync + 'static {
        let (board, url, began) = (Arc::clone(&self.board), self.key.url, self.began);
        move || if board.is_doubtful_since(&url, began) { OUTDATED } else { 0 }
    }

    /// Keeps fields for the one who asked.
    pub(crate) fn withhold(&self, fields: HeaderMap) {
        self.withheld.get_or_init(|| fields);
    }

    /// For those who read along.
    pub(crate) fn landing(&self) -> Landing {
        Landing::new(self.landed.subscribe())
    }

    /// Tells everyone.
    pub(crate) fn publish(&self, stage: Stage) {
        let last = !matches!(stage, Stage::Asking | Stage::Live(_));
        // The last word: whoever comes after it must not take it for news of his own.
        let listed = last && self.unlist();
        match stage {
            // Of one that nobody could wait for it says nothing: a HEAD, or a client's own condition.
            Stage::Apart(cause) if listed => self.board.set_apart(self.key.url, Some(cause)),
            Stage::Live(_) => self.board.set_apart(self.key.url, None),
            _ => {}
        }
        // Nobody may be listening any more; the fetch goes on for the store's sake.
        self.stage.send_replace(stage);
        self.landed.send_replace(last);
    }
}

impl Pilot {
    /// Ends the search for company where nobody waits any more: `gone` is asked while nobody can come along, and whoever has found the
    /// flight and does not read yet, or waits for its end, counts as well. Whoever comes after a yes begins anew.
    pub(crate) fn leave(&self, gone: impl FnOnce() -> bool) -> bool {
        let mut flights = self.board.flights.lock();
        let held = self.flight.strong_count() > self.places(&flights).count();
        // What those did who held it before, which is to begin to read, is seen from here on.
        fence(Ordering::Acquire);
        if held || !gone() {
            return false;
        }
        self.forget(&mut flights);
        true
    }

    /// The same where an errand's end stops it: a person who has come keeps it going.
    pub(crate) fn stop(&self) -> bool {
        let mut flights = self.board.flights.lock();
        if self.urgent.is_raised() {
            return false;
        }
        self.forget(&mut flights);
        true
    }

    /// Where others can find this flight. Under its keys there may be later ones by now.
    fn places<'a>(&'a self, flights: &'a HashMap<FlightKey, Arc<Flight>>) -> impl Iterator<Item = &'a FlightKey> {
        let is_here = |key: &&FlightKey| flights.get(*key).is_some_and(|flight| std::ptr::eq(Arc::as_ptr(flight), self.flight.as_ptr()));
        std::iter::once(&self.key).chain(self.whole.get()).filter(is_here)
    }

    /// Whether anybody could find it until now.
    fn forget(&self, flights: &mut HashMap<FlightKey, Arc<Flight>>) -> bool {
        let places: Vec<FlightKey> = self.places(flights).cloned().collect();
        for place in &places {
            flights.remove(place);
        }
        !places.is_empty()
    }

    /// A fetch for a range brings the whole: whoever wants any of it finds it from now on.
    pub(crate) fn list_whole(&self) {
        let mut flights = self.board.flights.lock();
        let whole = FlightKey { range: None, ..self.key.clone() };
        let flight = self.flight.upgrade().filter(|_| self.places(&flights).next().is_some());
        if let (Some(flight), Place::Vacant(place)) = (flight, flights.entry(self.whole.get_or_init(|| whole).clone())) {
            place.insert(flight);
        }
    }

    /// Whether a range was asked for, and the whole comes.
    pub(crate) fn brings_whole(&self) -> bool {
        self.whole.get().is_some()
    }

    /// Nobody comes along any more where what comes is kept only until those have it who read already.
    pub(crate) fn lead_alone(&self, draft: &Draft) {
        if draft.is_passed_on() {
            self.unlist();
        }
    }

    /// Nobody finds the flight any more: it has said its last word, or is about to. Whether anybody could until now.
    pub(crate) fn unlist(&self) -> bool {
        self.forget(&mut self.board.flights.lock())
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.unlist();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FlightKey {
        FlightKey { url: UrlKey([byte; 16]), range: None, personal: false, kin: None }
    }

    #[tokio::test]
    async fn one_flies_the_others_see_what_it_publishes() {
        let board = Arc::new(Board::default());
        let (_, pilot) = board.join(key(1), false);
        let pilot = pilot.expect("the first flies");
        let (flight, second) = board.join(key(1), true);
        assert!(second.is_none() && pilot.urgent.is_raised());
        let (_, other) = board.join(key(2), false);
        assert!(other.is_some(), "another URL is another flight");

        pilot.publish(Stage::Apart(Ground::Answer));
        assert!(matches!(flight.head().await, Some(Stage::Apart(Ground::Answer))));
        drop(pilot);
        assert!(matches!(flight.end().await, Stage::Apart(Ground::Answer)));
        assert!(board.is_apart(&UrlKey([1; 16]), false) && !board.is_apart(&UrlKey([2; 16]), false));
        assert!(board.join(key(1), false).1.is_some(), "a flight that ended is gone");
        assert!(board.join_unless(key(3), false, || true).is_none(), "nobody fetches what has just come");
        let (_, pilot) = board.join(key(3), false);
        assert!(
            pilot.is_some() && board.join_unless(key(3), false, || panic!("a flight is under way")).is_some_and(|(_, new)| new.is_none())
        );
    }

    #[test]
    fn whoever_has_found_a_flight_keeps_it_and_whoever_comes_later_begins_anew() {
        let board = Arc::new(Board::default());
        let (first, pilot) = board.join(key(1), true);
        let pilot = pilot.expect("the first flies");
        assert!(!pilot.leave(|| true), "the first has not begun to read");
        drop(first);
        assert!(!pilot.leave(|| false), "somebody reads");
        let (second, none) = board.join(key(1), true);
        assert!(none.is_none() && !pilot.leave(|| true), "another is about to");
        drop(second);
        assert!(pilot.leave(|| true));
        let (_third, anew) = board.join(key(1), true);
        let anew = anew.expect("nobody comes along with what was left");
        drop(pilot);
        assert!(board.find(&key(1)).is_some(), "the end of the old one does not take the new one away");
        drop(anew);
        assert!(board.find(&key(1)).is_none());
        let (first, alone) = board.alone(key(1), true);
        assert!(!alone.leave(|| true), "whoever asked waits for its head");
        drop(first);
        assert!(alone.leave(|| true), "nobody can come along with one that is not listed");
        alone.publish(Stage::Apart(Ground::Answer));
        assert!(!board.is_apart(&UrlKey([1; 16]), true), "nobody has waited in vain for one client's own question");

        let (_, errand) = board.join(key(2), false);
        let errand = errand.expect("an errand's");
        drop(board.join(key(2), true));
        assert!(!errand.stop() && board.find(&key(2)).is_some(), "a person has come along");
        let (_, errand) = board.join(key(3), false);
        assert!(errand.expect("another").stop() && board.join(key(3), true).1.is_some());
    }

    #[test]
    fn one_asker_s_cookie_says_nothing_of_those_without() {
        let (board, url) = (Arc::new(Board::default()), UrlKey([1; 16]));
        for (cause, cookie, none) in [(Ground::Asker, true, false), (Ground::Answer, true, true)] {
            let (_, pilot) = board.join(key(1), true);
            pilot.expect("it flies").publish(Stage::Apart(cause));
            assert_eq!((board.is_apart(&url, true), board.is_apart(&url, false)), (cookie, none), "{cause:?}");
        }
    }

    #[test]
    fn what_was_under_way_before_a_change_is_not_joined_and_takes_no_later_one_away() {
        let board = Arc::new(Board::default());
        let (before, pilot) = board.join(key(1), true);
        let pilot = pilot.expect("the first flies");
        let (_part, range) = board.join(FlightKey { range: Some(0..5), ..key(1) }, true);
        let (_elsewhere, other) = board.join(key(2), true);
        board.unlist(&UrlKey([1; 16]));
        assert!(board.find(&FlightKey { range: Some(0..5), ..key(1) }).is_none(), "nor is a range");
        assert!(board.find(&key(2)).is_some(), "another URL");
        let (_after, anew) = board.join(key(1), true);
        let anew = anew.expect("whoever comes after begins anew");
        assert!(!pilot.leave(|| true), "the first still waits");
        drop(before);
        assert!(pilot.leave(|| true));
        pilot.publish(Stage::Apart(Ground::Answer));
        drop(pilot);
        assert!(board.find(&key(1)).is_some() && !board.is_apart(&UrlKey([1; 16]), true));
        drop((anew, range, other));
        assert!(board.find(&key(1)).is_none());
    }

    #[test]
    fn a_fetch_for_a_range_that_brings_the_whole_is_found_as_such() {
        let board = Arc::new(Board::default());
        let part = FlightKey { range: Some(0..5), ..key(1) };
        let (flight, pilot) = board.join(part.clone(), true);
        let pilot = pilot.expect("it flies");
        pilot.list_whole();
        assert!([&part, &key(1)].iter().all(|key| board.find(key).is_some_and(|found| Arc::ptr_eq(&found, &flight))));
        assert!(!pilot.leave(|| true), "whoever asked waits for it");
        drop(flight);
        assert!(pilot.leave(|| true) && board.find(&part).is_none() && board.find(&key(1)).is_none());
        // Nobody finds one that is for one alone, nor does it stand in another's place.
        let (_alone, hidden) = board.alone(part.clone(), true);
        hidden.list_whole();
        assert!(board.find(&key(1)).is_none());
        let (other, whole) = board.join(key(1), true);
        let (_second, pilot) = board.join(part, true);
        pilot.expect("another range").list_whole();
        assert!(whole.is_some() && board.find(&key(1)).is_some_and(|found| Arc::ptr_eq(&found, &other)));
    }

    #[test]
    fn short_ranges_wait_for_what_brings_a_part_of_them() {
        const M: u64 = 1 << 20;
        let board = Arc::new(Board::default());
        let of = |range: Range<u64>| FlightKey { range: Some(range), ..key(1) };
        let flying: Vec<_> = [0..M, 3 * M..4 * M, 10 * M..90 * M].map(|range| board.join(of(range), false)).into();
        for (wanted, waits_for) in [
            (M / 2..M + M / 2, Some(0)),
            // The one that brings most of it.
            (M - 1..3 * M + 5, Some(1)),
            (M..3 * M, None),
            // Its own is joined, not waited for; a long one brings it late; one who wants much does not wait.
            (0..M, None),
            (20 * M..21 * M, None),
            (0..u64::MAX, None),
        ] {
            let found = board.in_the_way(&of(wanted.clone()));
            let place = found.map(|found| flying.iter().position(|(flight, _)| Arc::ptr_eq(flight, &found)));
            assert_eq!(place, waits_for.map(Some), "{wanted:?}");
        }
        assert!(board.in_the_way(&FlightKey { range: Some(0..5), ..key(2) }).is_none(), "another URL");
        assert!(board.in_the_way(&key(1)).is_none(), "the whole");
    }

    #[tokio::test]
    async fn a_flight_that_ends_without_a_word_is_noticed() {
        let board = Arc::new(Board::default());
        let (flight, pilot) = board.join(key(1), false);
        drop(pilot);
        assert!(flight.head().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_last_word_holds_no_stage() {
        let board = Arc::new(Board::default());
        for word in [Some(Stage::Apart(Ground::Answer)), None] {
            let (_flight, pilot) = board.alone(key(1), false);
            let before = pilot.stage.receiver_count();
            let mut landing = pilot.landing();
            assert_eq!(pilot.stage.receiver_count(), before, "a stage that holds this would never be freed");
            let began = tokio::time::Instant::now();
            if let Some(word) = word {
                pilot.publish(word);
            } else {
                drop(pilot);
            }
            landing.done().await;
            assert!(began.elapsed().is_zero(), "it was told, not waited for");
        }
    }

    #[test]
    fn a_flight_knows_that_it_was_overtaken() {
        let board = Arc::new(Board::default());
        board.note(UrlKey([1; 16]));
        let (_, pilot) = board.alone(key(1), true);
        assert!(!pilot.is_overtaken(), "what was doubtful before is being asked about");
        board.note(UrlKey([2; 16]));
        assert!(!pilot.is_overtaken());
        board.note(UrlKey([1; 16]));
        assert!(pilot.is_overtaken());
    }
}
