//! What the cache derives from a stored entry, once: the policy's view of it and the fields it is answered with.
//!
//! It sits on the entry's seat and lives as long as the entry is in memory, so that a hit parses nothing.

use crate::base::clock::Time;
use crate::cache::film;
use crate::cache::flight::Live;
use crate::policy::{Kept, Rules, header};
use crate::store::{Entry, Meta};
use http::header::{ACCEPT_RANGES, AGE, CONTENT_ENCODING, CONTENT_LENGTH, DATE, ETAG, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The derived view of an entry.
pub(crate) struct Prepared {
    /// As the policy sees it, with the origin's own validators.
    pub(crate) kept: Kept,
    /// What a client gets: no `Age`, the coding undone, the entity tag weakened when it was.
    pub(crate) ready: HeaderMap,
    /// May be a list of a film's forms, which is shortened before it leaves.
    pub(crate) list: Option<film::List>,
    /// Its body was read and names no forms.
    pub(crate) is_formless: AtomicBool,
    /// The day on which its use was marked last.
    pub(crate) marked: AtomicU32,
}

impl Prepared {
    /// What kind of list of a film's forms it may be, by all that is known.
    pub(crate) fn forms(&self) -> Option<film::List> {
        self.list.filter(|_| !self.is_formless.load(Ordering::Relaxed))
    }
}

/// The view of `entry`, made at its first use.
pub(crate) fn prepared(entry: &Entry, rules: &Rules) -> Arc<Prepared> {
    let seat = entry.seat.get_or_init(|| Arc::new(prepare(entry, rules)));
    match Arc::clone(seat).downcast::<Prepared>() {
        Ok(prepared) => prepared,
        // Only this module sits there.
        Err(_) => Arc::new(prepare(entry, rules)),
    }
}

fn prepare(entry: &Entry, rules: &Rules) -> Prepared {
    view(&entry.meta, Some(entry.length), entry.pinned, rules)
}

/// The view of an answer that is still arriving; `total` is the whole length where a part arrives.
pub(crate) fn of_live(live: &Live, rules: &Rules) -> Prepared {
    view(&live.meta, live.total, false, rules)
}

fn view(meta: &Meta, length: Option<u64>, pinned: bool, rules: &Rules) -> Prepared {
    let mut kept = Kept::new(rules, meta.status, meta.headers.clone(), meta.requested, meta.received);
    // Missing parts are this module's neighbours' affair, not the policy's.
    kept.whole = true;
    kept.pinned = pinned;
    kept.length = length.unwrap_or(0);
    let ready = ready(meta, length);
    let list = film::list(rules, &meta.url, &ready, &kept);
    Prepared { kept, ready, list, is_formless: AtomicBool::new(false), marked: AtomicU32::new(0) }
}

/// The fields a client gets for this meta; `length` of the identity body when it is known.
fn ready(meta: &Meta, length: Option<u64>) -> HeaderMap {
    let mut headers = meta.headers.clone();
    // `Age` comes back computed.
    for name in [AGE, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    header::strip_named(&mut headers, &meta.headers);
    header::strip_dictionary_offer(&mut headers);
    if meta.was_coded.is_some() {
        headers.remove(CONTENT_ENCODING);
        weaken(&mut headers);
    }
    if let Some(length) = length
        && has_body(meta.status)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if meta.status == StatusCode::OK {
            headers.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
        }
    }
    headers
}

/// Whether an answer with this status can have a body (RFC 9110 sections 15.3.5, 15.4.5).
pub(crate) fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// A changed coding is another representation: its strong tag becomes weak (RFC 9110 section 8.8.3.3).
pub(crate) fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else { return };
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(value) => headers.insert(ETAG, value),
        Err(_) => headers.remove(ETAG),
    };
}

/// What came without a date gets that of its coming; one that is sent later must not look as if it had been made then.
pub(crate) fn date(headers: &mut HeaderMap, received: Time) {
    if let (false, Ok(now)) = (headers.contains_key(DATE), HeaderValue::from_str(&received.to_http())) {
        headers.insert(DATE, now);
    }
}

/// An answer's own fields as they are kept: hop-by-hop ones gone, framing gone, and never without a date (RFC 9110 section 6.6.1).
pub(crate) fn storable_fields(headers: &HeaderMap, received: Time) -> HeaderMap {
    let mut kept = header::fields_to_store(headers);
    date(&mut kept, received);
    kept.remove(CONTENT_LENGTH);
    kept.remove(TRANSFER_ENCODING);
    // Trailers are not kept.
    kept.remove(TRAILER);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_without_a_date_is_kept_with_that_of_its_coming() {
        let stored = |headers: &HeaderMap| storable_fields(headers, Time::from_secs(784_111_777)).get(DATE).cloned();
        assert_eq!(stored(&HeaderMap::new()).expect("a date"), "Sun, 06 Nov 1994 08:49:37 GMT");
        let told = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(stored(&HeaderMap::from_iter([(DATE, told.clone())])), Some(told));
    }
}
