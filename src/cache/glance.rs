//! A question about an answer: what fetching it would bring, beside what is stored. Asked by HEAD, for plans; it changes nothing here.

use crate::base::backoff::retry_after;
use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::cache::{Asked, Cache, FetchError, coding};
use crate::link::Class;
use crate::policy::{self, Decision};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, DATE, ETAG, LAST_MODIFIED, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use std::time::Duration;

/// What an origin says of an answer without giving it, beside what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glance {
    /// What is stored is fresh: nobody was asked.
    Fresh,
    /// What is stored is what the origin has.
    Same,
    /// Something else, or nothing was stored.
    Told(Told),
}

/// The head of an answer, as far as it says what fetching it would bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its status.
    pub status: StatusCode,
    /// Length of the body, where it is told. It may lie.
    pub length: Option<u64>,
    /// When to come back (429, 503).
    pub retry_after: Option<Duration>,
    /// Where a redirect leads.
    pub location: Option<Target>,
}

impl Cache {
    /// A HEAD to an origin, with the conditions of what is stored, but for a `bare` one: what a fetch would bring. Nothing is stored or
    /// changed. May be dropped at any await.
    ///
    /// # Errors
    /// [`FetchError::Upstream`] and [`FetchError::Library`].
    pub async fn glance(&self, target: &Target, mut headers: HeaderMap, class: Class, bare: bool) -> Result<Glance, FetchError> {
        self.may_fetch(target)?;
        let inner = &self.0;
        headers.remove(COOKIE);
        headers.remove(AUTHORIZATION);
        let place = inner.place(target, true);
        let asked = Asked { method: Method::GET, target: target.clone(), headers: headers.clone(), place, asker: None };
        let (found, _) = inner.find(&asked.ask()).await;
        let found = found.filter(|found| !bare && found.entry.object.is_some());
        if found.is_some() && matches!(inner.decide(&asked.ask(), found.as_ref()), Decision::Serve { .. }) {
            return Ok(Glance::Fresh);
        }
        let conditions = found.as_ref().map(|found| policy::freshen::conditions(&found.prepared.kept)).unwrap_or_default();
        // Without conditions in no coding: an answer that is packed on its way tells no length.
        let form = if conditions.is_empty() { HeaderValue::from_static("identity") } else { coding::ASKED };
        headers.extend(conditions);
        headers.insert(ACCEPT_ENCODING, form);
        let mut request = Request::new(Body::Empty);
        (*request.method_mut(), *request.headers_mut()) = (Method::HEAD, headers);
        let (head, _) = inner.upstream.send(target, request, class).await?.response.into_parts();
        let stored = found.as_ref().map(|found| &found.prepared.kept.headers);
        if head.status == StatusCode::NOT_MODIFIED
            || (head.status.is_success() && stored.is_some_and(|stored| is_same(stored, &head.headers)))
        {
            return Ok(Glance::Same);
        }
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Glance::Told(Told {
            status: head.status,
            length: text(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
            retry_after: text(RETRY_AFTER).and_then(|wait| retry_after(wait, text(DATE).and_then(Time::parse_http))),
            location: head.headers.get(LOCATION).filter(|_| head.status.is_redirection()).and_then(|to| target.join_field(to)),
        }))
    }
}

/// Whether two heads are of the same content: not every server minds conditions in a HEAD.
fn is_same(stored: &HeaderMap, newer: &HeaderMap) -> bool {
    let both = |name: HeaderName| stored.get(&name).zip(newer.get(&name));
    match (both(ETAG), both(LAST_MODIFIED)) {
        (Some(_), _) => policy::freshen::confirms(stored, newer),
        (None, Some((ours, theirs))) => ours == theirs,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_the_same_content() {
        let head = |fields: &[(HeaderName, &'static str)]| -> HeaderMap {
            fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let (old, new) = ("Wed, 25 Nov 2026 10:00:00 GMT", "Wed, 25 Nov 2026 11:00:00 GMT");
        let table = [
            (head(&[(ETAG, "\"a\"")]), head(&[(ETAG, "W/\"a\"")]), true),
            (head(&[(ETAG, "\"a\""), (LAST_MODIFIED, old)]), head(&[(ETAG, "\"b\""), (LAST_MODIFIED, old)]), false),
            (head(&[(LAST_MODIFIED, old)]), head(&[(LAST_MODIFIED, old)]), true),
            (head(&[(LAST_MODIFIED, old)]), head(&[(LAST_MODIFIED, new)]), false),
            (head(&[(ETAG, "\"a\"")]), head(&[]), false),
            (head(&[]), head(&[]), false),
        ];
        for (stored, newer, wanted) in table {
            assert_eq!(is_same(&stored, &newer), wanted, "{stored:?} {newer:?}");
        }
    }
}
