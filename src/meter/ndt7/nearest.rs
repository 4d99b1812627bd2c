//! Asks a Locate service which server is near: the hub's own, or M-Lab's where somebody agreed to that.

use crate::base::backoff::retry_after;
use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::target::{Bad as BadTarget, Target};
use crate::link::Class;
use crate::meter::ndt7::locate::{self, Nearest, is_mlab};
use crate::upstream::{self, Upstream};
use http::{HeaderMap, Request, StatusCode, header};
use std::time::Duration;
use url::Url;

/// Redirections that are followed, as browsers do it at the least.
const MOST_HOPS: usize = 5;

/// A service that has too much to do and does not say for how long is left alone for so long: a test is not urgent.
const LEAVE: Duration = Duration::from_mins(15);

/// Longest that a service may send us away for: its clock may be wrong, and so may ours.
const LONGEST_LEAVE: Duration = Duration::from_hours(24);

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These servers, nearest first, and when the service may be asked again.
    Servers(Vec<Nearest>, Option<Time>),
    /// No server has capacity now.
    Full,
    /// It has too much to do; not to be asked again before this.
    Later(Time),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// M-Lab's, and nobody agreed.
    #[error("{0} is M-Lab's, who publish each test with the address of who tested; agree to that first, or choose another server")]
    Consent(String),
    /// It cannot be reached.
    #[error(transparent)]
    Reach(#[from] upstream::Error),
    /// No address of a service.
    #[error("{0} is no address of a Locate service ({1})")]
    Address(String, BadTarget),
    /// It answered with something else.
    #[error("{0} answered {1} and no servers; look whether the address is right")]
    Status(String, StatusCode),
    /// It answered with something that is no document of Locate.
    #[error("what {0} answered cannot be used: {1}; perhaps somebody else answers in its place")]
    Document(String, locate::Bad),
    /// Sent from one to the next.
    #[error("{0} sends from one place to the next, more than {MOST_HOPS} times")]
    Hops(String),
}

/// Asks `service` (`https://hub/v2/nearest/ndt/ndt7`). `consented`: somebody agreed to M-Lab's terms, and it is written down who and when.
/// May be dropped at any await.
///
/// # Errors
/// See [`Error`].
pub async fn nearest(upstream: &Upstream, clock: &Clock, service: &Url, consented: bool) -> Result<Found, Error> {
    let mut url = service.clone();
    for _ in 0..=MOST_HOPS {
        // Also of where it was sent on to.
        let name = url.host_str().unwrap_or_default().to_owned();
        if is_mlab(&url) && !consented {
            return Err(Error::Consent(name));
        }
        let target = Target::parse(url.as_str()).map_err(|bad| Error::Address(name.clone(), bad))?;
        let mut request = Request::new(Body::Empty);
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(agent));
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        let response = upstream.send(&target, request, Class::Measure).await?.response;
        let (head, body) = response.into_parts();
        match head.status {
            status if status.is_redirection() => {
                let place = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
                url = place.and_then(|place| url.join(place).ok()).ok_or(Error::Status(name, status))?;
            }
            StatusCode::NO_CONTENT => return Ok(Found::Full),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return Ok(Found::Later(later(&head.headers, clock.now()))),
            StatusCode::OK => {
                let bad = |bad| Error::Document(name.clone(), bad);
                let body = body.collect(locate::LONGEST).await.map_err(|_| bad(locate::Bad::Malformed))?;
                return read(&body, consented, clock.now()).map_err(bad);
            }
            status => return Err(Error::Status(name, status)),
        }
    }
    Err(Error::Hops(service.host_str().unwrap_or_default().to_owned()))
}

/// Servers of M-Lab's are left out without consent, whoever names them.
fn read(body: &[u8], consented: bool, now: Time) -> Result<Found, locate::Bad> {
    let answer = match locate::parse(body) {
        Err(locate::Bad::Status(429 | 503)) => return Ok(Found::Later(now.plus(LEAVE))),
        answer => answer?,
    };
    let may = |near: &Nearest| consented || !(is_mlab(&near.target.download) || is_mlab(&near.target.upload));
    let servers: Vec<Nearest> = answer.results.into_iter().filter(may).collect();
    let again = answer.not_before.map(|time| time.min(now.plus(LONGEST_LEAVE)));
    Ok(if servers.is_empty() { Found::Full } else { Found::Servers(servers, again) })
}

fn later(headers: &HeaderMap, now: Time) -> Time {
    let field = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let date = field(header::DATE).and_then(Time::parse_http);
    let wait = field(header::RETRY_AFTER).and_then(|text| retry_after(text, date)).unwrap_or(LEAVE);
    now.plus(wait.min(LONGEST_LEAVE))
}

#[cfg(test)]
mod tests;
