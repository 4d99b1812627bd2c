//! Large bodies in pieces: which are worth keeping while they arrive, and how a request gets on one that is under way.
//!
//! A large body is fetched by one request, or by one `Range: bytes=N-` with `If-Range` where some of it is here already, and every
//! `PIECE` of it is durable on its own: a power cut costs a piece, not a film. Whoever asks meanwhile gets what is here out of the
//! store and the rest out of that fetch, which from then on is nobody's background.

use crate::base::clock::Time;
use crate::cache::flight::{FlightKey, Live, Stage};
use crate::cache::hit::Said;
use crate::cache::serve::Answered;
use crate::cache::{Asked, Found, Inner, prepared, stream};
use crate::link::Class;
use crate::policy::{self, Condition, Part, Why};
use crate::store::{Entry, Epoch, Error, Meta, Tail};
use http::header::{ACCEPT_RANGES, AUTHORIZATION, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::ops::Range;
use std::time::Duration;

/// What of a body is made durable at once: a power cut costs one piece, 7 s of a line of 5 Mbit/s. Smaller ones would cost more
/// records and more syncs of the card for little: it is synced at least every 4 MiB in any case.
pub(crate) const PIECE: u64 = 4 << 20;

/// Pieces that are on their way into the store at once, each of them in memory twice: 32 MiB. The others wait their turn on disk.
pub(crate) const AT_ONCE: usize = 4;

/// The night keeps what came of any body above this when its transfer breaks off: 4 s of a line of 0.5 Mbit/s. Below it a new record
/// with two syncs costs more than the bytes.
const WORTH: u64 = 256 << 10;
/// How far ahead of a fetch a request may be and still wait for it.
const AHEAD: u64 = PIECE;

/// Above which length what came of a body is kept when the rest does not come. For devices only large bodies, which are many at once
/// in a class.
pub(crate) fn worth(class: Class) -> u64 {
    if class == Class::Interactive { PIECE } else { WORTH }
}

/// Whether an origin says that it will not go on in the middle.
pub(crate) fn refuses_ranges(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT_RANGES).is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"none"))
}

/// What `If-Range` may carry: a strong entity tag, or a date at least one second older than the answer's own
/// (RFC 9110 sections 8.8.2.2 and 13.1.5; we ask for a minute, as protocols demand).
pub(crate) fn strong_validator(headers: &HeaderMap) -> Option<HeaderValue> {
    if let Some(tag) = headers.get(ETAG) {
        return tag.as_bytes().starts_with(b"\"").then(|| tag.clone());
    }
    let time = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).and_then(Time::parse_http);
    let modified = time(LAST_MODIFIED)?;
    (time(DATE)?.since(modified) >= Duration::from_mins(1)).then(|| headers[LAST_MODIFIED].clone())
}

/// Whether two answers in parts are of one version of the same length.
pub(crate) fn is_same(one: &Entry, other: &Entry) -> bool {
    let strong = strong_validator(&one.meta.headers);
    one.length == other.length && strong.is_some() && strong == strong_validator(&other.meta.headers)
}

/// Where a request that comes along gets its bytes: the first from the store, the others from the fetch.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    stored: Range<u64>,
    followed: Range<u64>,
}

/// The way to `wanted` by a fetch that carries `carried` and has brought `come` bytes of it, with what is kept. `None` when that
/// fetch does not bring it, or only much later: whoever jumps to the end of a film is not made to wait for its middle.
fn route(kept: &[Range<u64>], carried: &Range<u64>, come: u64, wanted: &Range<u64>) -> Option<Route> {
    let turn = wanted.start.max(carried.start);
    let stored = wanted.start..turn;
    let near = turn <= carried.start.saturating_add(come).saturating_add(AHEAD);
    let here = stored.is_empty() || stream::gaps(kept, &stored).is_empty();
    (wanted.end <= carried.end && turn < wanted.end && near && here).then_some(Route { stored, followed: turn..wanted.end })
}

impl Inner {
    /// Keeps a part of a body of this length, at this place in it: what a tail gives back of it. `doubt`: of the flight that brings it.
    ///
    /// # Errors
    /// When it is not to be had any more, or the store takes it not.
    pub(crate) async fn keep_piece(
        &self,
        (since, meta, total): (Epoch, &Meta, u64),
        at: u64,
        (tail, range): (Tail, Range<u64>),
        doubt: impl Fn() -> u32 + Send + 'static,
    ) -> Result<(), Error> {
        // Never closed; a piece that nobody counts would still be kept.
        let _turn = self.pieces.acquire().await;
        let piece = tail.copy(range).await?;
        self.store.put_part_of(since, meta.clone(), total, (at, piece), doubt).await.map(drop)
    }

    /// Comes along with a fetch of this body that is under way, if that brings what this request wants. The fetch is raised: a person
    /// waits for it. `found`: what is kept of the body.
    pub(crate) async fn come_along(&self, asked: &Asked, found: Option<&Found>, why: Why) -> Option<Answered> {
        if asked.method != Method::GET || asked.headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let whole = self.flight_key(asked, None);
        let rest = found.map(|found| FlightKey { range: Some(0..found.entry.length), ..whole.clone() });
        let flight = self.board.find(&whole).or_else(|| rest.and_then(|rest| self.board.find(&rest)))?;
        if flight.has_come() {
            return None;
        }
        let stage = match flight.now() {
            // It has asked as this request would: its answer is nearer. Who wants the middle of something unknown asks for himself.
            Stage::Asking if is_near_start(&asked.headers) => {
                flight.raise();
                self.first_word(asked, &flight, found.is_some()).await?
            }
            stage => stage,
        };
        let Stage::Live(live) = stage else { return None };
        let answered =
            if live.in_order { self.along(asked, found, &live, why).await? } else { self.beside(asked, found, &live, why).await? };
        flight.raise();
        self.counters.collapsed.inc();
        Some(answered)
    }

    /// The answer out of what is kept and what a fetch is bringing, where that fits this request.
    pub(crate) async fn beside(&self, asked: &Asked, found: Option<&Found>, live: &Live, why: Why) -> Option<Answered> {
        let total = live.total.filter(|_| live.meta.status == StatusCode::OK)?;
        if !self.suits(asked, live, true) {
            return None;
        }
        let ask = asked.ask();
        let prepared = prepared::of_live(live, &self.rules);
        if policy::condition(&ask, &prepared.kept) == Condition::Failed {
            return None;
        }
        let part = policy::part(&ask, &prepared.ready, total);
        let wanted = match &part {
            Part::Whole => 0..total,
            Part::One(range) => range.clone(),
            Part::Many(_) | Part::Unsatisfiable => return None,
        };
        let strong = strong_validator(&live.meta.headers);
        let same =
            |found: &&Found| found.entry.length == total && strong.is_some() && strong_validator(&found.entry.meta.headers) == strong;
        let found = found.filter(same);
        let carried = live.part.clone().unwrap_or(0..total);
        // What comes in order only is not had sooner by another question.
        let come = if live.in_order { total } else { live.tail.come() };
        let route = route(found.map_or(&[], |found| &found.entry.have), &carried, come, &wanted)?;
        let follow = stream::follow(live, route.followed.start - carried.start, Some(route.followed.end - carried.start));
        let body = match found {
            Some(found) if !route.stored.is_empty() => {
                let stored = self.store.read(&found.entry, Some(route.stored)).await.ok()?;
                stream::chain(vec![stored, follow])
            }
            _ => follow,
        };
        let forwarded = if live.part.is_some() { StatusCode::PARTIAL_CONTENT } else { live.meta.status };
        let said = Said { why, age: None, ttl: None, forwarded: Some(forwarded), stored: true, collapsed: true };
        let response = match part {
            Part::One(range) => self.one_part(&ask, &prepared, said, range, body),
            _ => self.whole(&ask, &prepared, said, body),
        };
        Some((response, why))
    }
}

/// Whether a request wants the body from its beginning, or from somewhere in its first piece.
fn is_near_start(headers: &HeaderMap) -> bool {
    let Some(range) = headers.get(RANGE) else { return true };
    let first = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split('-').next()?.parse::<u64>().ok());
    first.is_some_and(|first| first < AHEAD) && !headers.contains_key(IF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn a_request_comes_along_where_that_is_nearer() {
        type Row<'a> = (&'a [Range<u64>], Range<u64>, u64, Range<u64>, Option<(Range<u64>, Range<u64>)>);
        const M: u64 = 1 << 20;
        let table: [Row<'_>; 10] = [
            // A whole fetch: everything that it has brought or brings next.
            (&[], 0..100 * M, 0, 0..100 * M, Some((0..0, 0..100 * M))),
            (&[], 0..100 * M, 10 * M, 14 * M..15 * M, Some((14 * M..14 * M, 14 * M..15 * M))),
            (&[], 0..100 * M, 10 * M, 15 * M..16 * M, None),
            // The rest of what was kept.
            (&[0..40 * M], 40 * M..100 * M, 0, 0..100 * M, Some((0..40 * M, 40 * M..100 * M))),
            (&[0..40 * M], 40 * M..100 * M, 5 * M, 30 * M..42 * M, Some((30 * M..40 * M, 40 * M..42 * M))),
            (&[0..40 * M], 40 * M..100 * M, 5 * M, 41 * M..42 * M, Some((41 * M..41 * M, 41 * M..42 * M))),
            // All of it is here: the store's affair.
            (&[0..40 * M], 40 * M..100 * M, 5 * M, 3..5, None),
            // A hole in what is kept, nothing kept, or a fetch that ends before.
            (&[0..10 * M, 11 * M..40 * M], 40 * M..100 * M, 0, 0..100 * M, None),
            (&[], 40 * M..100 * M, 0, 0..100 * M, None),
            (&[], 0..50 * M, 0, 0..100 * M, None),
        ];
        for (kept, carried, come, wanted, way) in table {
            let way = way.map(|(stored, followed)| Route { stored, followed });
            assert_eq!(route(kept, &carried, come, &wanted), way, "{kept:?} {carried:?} {come} {wanted:?}");
        }
    }

    #[test]
    fn who_wants_the_middle_does_not_wait_for_a_head() {
        for (range, near) in [("bytes=0-", true), ("bytes=4194303-", true), ("bytes=4194304-", false), ("bytes=-5", false), ("x", false)] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
            assert_eq!(is_near_start(&headers), near, "{range}");
        }
        assert!(is_near_start(&HeaderMap::new()));
    }

    #[test]
    fn an_origin_may_say_that_it_does_not_go_on() {
        for (value, refuses) in [("bytes", false), ("none", true), (" None ", true)] {
            assert_eq!(refuses_ranges(&HeaderMap::from_iter([(ACCEPT_RANGES, HeaderValue::from_static(value))])), refuses, "{value}");
        }
    }

    #[test]
    fn only_what_names_the_same_bytes_again_counts_as_strong() {
        let fields = |rows: &[(HeaderName, &'static str)]| {
            rows.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        let date = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(strong_validator(&fields(&[(ETAG, "\"a\"")])).expect("strong"), "\"a\"");
        assert_eq!(strong_validator(&fields(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, "Sun, 06 Nov 1994 08:00:00 GMT"), date.clone()])), None);
        assert!(strong_validator(&fields(&[(LAST_MODIFIED, "Sun, 06 Nov 1994 08:48:37 GMT"), date.clone()])).is_some());
        assert_eq!(strong_validator(&fields(&[(LAST_MODIFIED, "Sun, 06 Nov 1994 08:49:00 GMT"), date])), None);
        assert_eq!(strong_validator(&fields(&[(LAST_MODIFIED, "Sun, 06 Nov 1994 08:00:00 GMT")])), None);
    }
}
