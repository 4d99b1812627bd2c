//! A stored answer to a client: conditions, ranges, the whole; with what RFC 9211 lets us say about it.

use crate::base::body::Body;
use crate::cache::form::{Formed, Known};
use crate::cache::prepared::{Prepared, has_body};
use crate::cache::{Inner, banner, form, stream};
use crate::policy::{self, Ask, Condition, Part, Why};
use crate::store::{Entry, Error};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// `Cache-Status` (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What is said about an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) why: Why,
    /// Seconds; `None` straight from the origin, which said nothing of an age.
    pub(crate) age: Option<u64>,
    /// Seconds of freshness left; negative when stale. `None` when nothing was stored before.
    pub(crate) ttl: Option<i64>,
    pub(crate) forwarded: Option<StatusCode>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
}

impl Said {
    /// Straight from the store.
    pub(crate) fn hit(why: Why, age: u64, ttl: i64) -> Said {
        Said { why, age: Some(age), ttl: Some(ttl), forwarded: None, stored: false, collapsed: false }
    }
}

impl Inner {
    /// The answer when it takes no disk and no await: the whole body in memory, no banner to add, no range that is not here.
    pub(crate) fn hit_now(&self, ask: &Ask<'_>, entry: &Entry, prepared: &Prepared, said: Said) -> Option<Response<Body>> {
        let bytes = entry.body.as_ref()?;
        if self.wants_banner(ask, prepared, said.why) || prepared.forms().is_some() {
            return None;
        }
        let formed = match self.known_form(ask, entry, prepared, said.why) {
            Known::Plain => None,
            Known::Formed(formed) => Some(formed),
            Known::Unmade => return None,
        };
        if let Some(early) = self.unmodified(ask, prepared, said, formed.as_ref()) {
            return Some(early);
        }
        if let Some(formed) = formed {
            return Some(self.formed(ask, prepared, said, formed));
        }
        match part_of(ask, prepared) {
            Part::Whole => Some(self.whole(ask, prepared, said, Body::full(bytes.clone()))),
            Part::One(range) => {
                let slice = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
                Some(self.one_part(ask, prepared, said, range, Body::full(bytes.slice(slice))))
            }
            Part::Many(_) => None,
            Part::Unsatisfiable => Some(self.unsatisfiable(prepared, said)),
        }
    }

    /// The answer from memory or disk. What is asked for must be in `entry.have`.
    ///
    /// # Errors
    /// When the stored bytes turn out to be damaged: then it is a miss.
    pub(crate) async fn hit(&self, ask: &Ask<'_>, entry: &Arc<Entry>, prepared: &Prepared, said: Said) -> Result<Response<Body>, Error> {
        if let Some(less) = self.shortened(ask, entry, prepared, said).await? {
            return Ok(less);
        }
        let formed = self.form(ask, entry, prepared, said.why).await;
        if let Some(early) = self.unmodified(ask, prepared, said, formed.as_ref()) {
            return Ok(early);
        }
        if let Some(formed) = formed {
            return Ok(self.formed(ask, prepared, said, formed));
        }
        if *ask.method == Method::HEAD {
            return Ok(self.whole(ask, prepared, said, Body::Empty));
        }
        match part_of(ask, prepared) {
            Part::Whole if self.wants_banner(ask, prepared, said.why) => self.with_banner(ask, entry, prepared, said).await,
            Part::Whole => Ok(self.whole(ask, prepared, said, self.store.read(entry, None).await?)),
            Part::One(range) => {
                let body = self.store.read(entry, Some(range.clone())).await?;
                Ok(self.one_part(ask, prepared, said, range, body))
            }
            Part::Many(ranges) => self.many_parts(entry, prepared, said, &ranges).await,
            Part::Unsatisfiable => Ok(self.unsatisfiable(prepared, said)),
        }
    }

    /// 304 or 412, when the client's own conditions say so.
    pub(crate) fn unmodified(&self, ask: &Ask<'_>, prepared: &Prepared, said: Said, formed: Option<&Formed>) -> Option<Response<Body>> {
        let status = match policy::condition(ask, &prepared.kept) {
            Condition::Go => return None,
            Condition::NotModified => StatusCode::NOT_MODIFIED,
            Condition::Failed => StatusCode::PRECONDITION_FAILED,
        };
        let mut response = self.head(status, form::fields(prepared, formed), said);
        for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
            response.headers_mut().remove(name);
        }
        Some(response)
    }

    /// 412, when the client wants another version than this one.
    pub(crate) fn failed(&self, ask: &Ask<'_>, prepared: &Prepared, said: Said) -> Option<Response<Body>> {
        if policy::condition(ask, &prepared.kept) == Condition::Failed { self.unmodified(ask, prepared, said, None) } else { None }
    }

    /// The whole answer with its own status.
    pub(crate) fn whole(&self, ask: &Ask<'_>, prepared: &Prepared, said: Said, body: Body) -> Response<Body> {
        let mut response = self.head(prepared.kept.status, prepared.ready.clone(), said);
        if *ask.method != Method::HEAD && has_body(prepared.kept.status) {
            *response.body_mut() = body;
        }
        response
    }

    /// The whole answer in another form.
    fn formed(&self, ask: &Ask<'_>, prepared: &Prepared, said: Said, formed: Formed) -> Response<Body> {
        let mut response = self.head(prepared.kept.status, form::fields(prepared, Some(&formed)), said);
        if *ask.method != Method::HEAD {
            *response.body_mut() = Body::full(formed.bytes);
        }
        response
    }

    /// 206 with one range.
    pub(crate) fn one_part(&self, ask: &Ask<'_>, prepared: &Prepared, said: Said, range: Range<u64>, body: Body) -> Response<Body> {
        let mut response = self.head(StatusCode::PARTIAL_CONTENT, prepared.ready.clone(), said);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        headers.insert(CONTENT_RANGE, content_range(&range, prepared.kept.length));
        if *ask.method != Method::HEAD {
            *response.body_mut() = body;
        }
        response
    }

    /// 206 as `multipart/byteranges` (RFC 9110 section 14.6).
    async fn many_parts(
        &self,
        entry: &Arc<Entry>,
        prepared: &Prepared,
        said: Said,
        ranges: &[Range<u64>],
    ) -> Result<Response<Body>, Error> {
        let boundary = &entry.meta.key.to_string()[..24];
        let kind = prepared.ready.get(CONTENT_TYPE).cloned();
        let mut bodies = Vec::new();
        let mut length = 0;
        for range in ranges {
            let mut lead = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = &kind {
                lead.extend_from_slice(b"Content-Type: ");
                lead.extend_from_slice(kind.as_bytes());
                lead.extend_from_slice(b"\r\n");
            }
            lead.extend_from_slice(b"Content-Range: ");
            lead.extend_from_slice(content_range(range, prepared.kept.length).as_bytes());
            lead.extend_from_slice(b"\r\n\r\n");
            length += lead.len() as u64 + (range.end - range.start);
            bodies.push(Body::full(lead));
            bodies.push(self.store.read(entry, Some(range.clone())).await?);
        }
        let close = format!("\r\n--{boundary}--\r\n");
        length += close.len() as u64;
        bodies.push(Body::full(close));
        let mut response = self.head(StatusCode::PARTIAL_CONTENT, prepared.ready.clone(), said);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")).expect("hex is visible ASCII"),
        );
        *response.body_mut() = stream::chain(bodies);
        Ok(response)
    }

    pub(crate) fn unsatisfiable(&self, prepared: &Prepared, said: Said) -> Response<Body> {
        let mut response = self.head(StatusCode::RANGE_NOT_SATISFIABLE, HeaderMap::new(), said);
        let value = HeaderValue::from_str(&format!("bytes */{}", prepared.kept.length)).expect("digits are visible ASCII");
        response.headers_mut().insert(CONTENT_RANGE, value);
        response
    }

    /// Status and fields, with `Age` and `Cache-Status`.
    pub(crate) fn head(&self, status: StatusCode, headers: HeaderMap, said: Said) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(age) = said.age {
            response.headers_mut().insert(AGE, HeaderValue::from(age));
        }
        self.say(response.headers_mut(), said);
        response
    }

    /// Adds our member to `Cache-Status`.
    pub(crate) fn say(&self, headers: &mut HeaderMap, said: Said) {
        headers.append(
            CACHE_STATUS,
            policy::header::cache_status(&self.name, said.why, said.ttl, said.forwarded, said.stored, said.collapsed),
        );
    }

    pub(crate) fn wants_banner(&self, ask: &Ask<'_>, prepared: &Prepared, why: Why) -> bool {
        why == Why::Offline
            && self.banner
            && *ask.method == Method::GET
            && prepared.kept.status == StatusCode::OK
            && prepared.kept.length <= banner::MAX_PAGE
            && !prepared.ready.contains_key(CONTENT_ENCODING)
            && prepared
                .ready
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html")))
            && !prepared.kept.is_untouchable()
    }

    async fn with_banner(&self, ask: &Ask<'_>, entry: &Arc<Entry>, prepared: &Prepared, said: Said) -> Result<Response<Body>, Error> {
        let limit = usize::try_from(banner::MAX_PAGE).unwrap_or(usize::MAX);
        let page = self.store.read(entry, None).await?.collect(limit).await.map_err(|error| Error::Unusable(error.to_string()))?;
        let Some(marked) = banner::insert(&page, Duration::from_secs(said.age.unwrap_or(0))) else {
            return Ok(self.whole(ask, prepared, said, Body::full(page)));
        };
        let mut response = self.whole(ask, prepared, said, Body::Empty);
        // Another representation than the origin's: its validators, parts and sums would be lies, and a browser that kept it would show
        // the banner long after the line is back.
        let headers = response.headers_mut();
        for field in [ETAG, LAST_MODIFIED, EXPIRES, ACCEPT_RANGES].iter().chain(&form::SUMS) {
            headers.remove(field);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(marked.len()));
        *response.body_mut() = Body::full(Bytes::from(marked));
        Ok(response)
    }
}

/// Only a complete 200 answers ranges (RFC 9110 section 14.2).
pub(crate) fn part_of(ask: &Ask<'_>, prepared: &Prepared) -> Part {
    if prepared.kept.status == StatusCode::OK { policy::part(ask, &prepared.ready, prepared.kept.length) } else { Part::Whole }
}

pub(crate) fn content_range(range: &Range<u64>, total: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes {}-{}/{total}", range.start, range.end - 1)).expect("digits are visible ASCII")
}
