//! A second opinion: the crate `http-cache-semantics`, asked the same questions as the oracle.
//!
//! It reads the older RFC 7234 and knows nothing of invalidation, so a disagreement is a note and not a fault. Every kind of
//! disagreement that is understood is explained in [`known`]; one that is not shows by its name in the tally.

use crate::law::reuse::{self, Leave};
use crate::law::{Case, Kind};
use crate::scene::{Fields, Request, field};
use bulak::base::clock::Time;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the two said.
#[derive(Debug, Default)]
pub(crate) struct Second {
    pub(crate) asked: usize,
    /// Disagreements by what the oracle said, with the reason where one is known.
    pub(crate) differ: BTreeMap<(String, &'static str), usize>,
    /// One that nothing explains.
    pub(crate) odd: Option<String>,
}

/// Nothing explains it.
const UNKNOWN: &str = "not understood";

impl Second {
    /// Asks both whether the newest whole answer of an earlier step may be used for this request.
    pub(crate) fn compare(&mut self, case: &Case<'_>, kind: Kind) {
        if !matches!(case.request.method.as_str(), "GET" | "HEAD") || kind == Kind::Own {
            return;
        }
        let whole = |status: u16| !matches!(status, 0 | 206 | 304 | 416);
        let here = |place: usize, method: &str| place == case.request.place && method == "GET";
        let mut earlier = case.log.iter().rev().filter(|exchange| exchange.step < case.step && !exchange.cut);
        let Some(first) = earlier.find(|exchange| here(exchange.request.place, &exchange.request.method) && whole(exchange.status)) else {
            return;
        };
        let plain = Case { school: false, ..*case };
        let ours = reuse::reusable(&plain, first, first, &first.fields);
        let (use_it, said) = match &ours {
            Ok(Leave::Fresh | Leave::MaxStale) => (true, "may be used".to_owned()),
            Ok(Leave::WhileRevalidate | Leave::Trouble) => return,
            // Of changes by other requests it cannot know.
            Err(broken) if broken.rule.starts_with("RFC 9111 section 4.4") => return,
            Err(broken) => (false, broken.rule.split(',').next().unwrap_or_default().to_owned()),
        };
        let options = CacheOptions { shared: true, ..CacheOptions::default() };
        let policy = CachePolicy::new_options(&request(&first.request), &response(first.status, &first.fields), moment(first.at), options);
        let fresh = matches!(policy.before_request(&request(case.request), moment(case.now)), BeforeRequest::Fresh(_));
        let theirs = policy.is_storable() && fresh;
        self.asked += 1;
        if use_it != theirs {
            let why = known(case, first.status, &first.fields, &first.request);
            if why == UNKNOWN && self.odd.is_none() {
                let age = case.now - first.at;
                self.odd = Some(format!(
                    "{said}: after {age} s {:?} for {:?} of {} {:?}",
                    case.request.fields, first.request.fields, first.status, first.fields
                ));
            }
            *self.differ.entry((said, why)).or_default() += 1;
        }
    }
}

/// Why the two differ.
fn known(case: &Case<'_>, status: u16, fields: &Fields, first: &Request) -> &'static str {
    let (told, asked) = (reuse::told(fields), reuse::told(&case.request.fields));
    let vary = field(fields, "vary").unwrap_or_default();
    let unmeant = |name: &str| field(fields, "cache-control").unwrap_or_default().contains(name);
    let rows: [(bool, &'static str); 16] = [
        (first.method != case.request.method, "it lets only a GET answer a GET"),
        (heuristic(fields), "a guessed lifetime: its share is a fraction, ours whole seconds, bounded by a day"),
        (unmeant("MAX-AGE") || unmeant("NO-CACHE") || unmeant("PRIVATE") || unmeant("STALE"), "it tells capitals from small letters"),
        (told.has("must-understand"), "it is older than must-understand"),
        (told.has("immutable"), "it gives `immutable` a day of its own, and never lifts a reload"),
        (told.has("private") && !told.is_bare("private"), "private with fields: it reads it as private"),
        (told.has("no-cache") && !told.is_bare("no-cache"), "no-cache with fields: it reads it as no-cache"),
        (unmeant("max-age=\"60\"") || unmeant("soon") || unmeant("-1"), "numbers that are none"),
        (status >= 500 || matches!(status, 299 | 300 | 307 | 308 | 405 | 414), "statuses that RFC 7234 had not settled"),
        (vary.contains("Accept-Encoding"), "Vary by coding: ours asks in its own words and keeps what is decoded"),
        (field(fields, "age").is_some(), "Age: it adds it to the age by Date instead of taking the larger, and reads what is no number"),
        (field(fields, "date").is_none() || skewed(case, fields), "it takes the time of the answer for Date's"),
        (asked.has("max-stale") || asked.has("min-fresh") || asked.has("max-age"), "bounds of the client, counted by other ages"),
        (field(fields, "set-cookie").is_some(), "it keeps no Set-Cookie without public or immutable"),
        (
            told.seconds("s-maxage").is_some() || told.has("proxy-revalidate"),
            "it reads proxy-revalidate as stale at once in a shared cache",
        ),
        (field(fields, "expires").is_some(), "Expires: it counts from the time of the answer"),
    ];
    rows.iter().find(|(is, _)| *is).map_or(UNKNOWN, |(_, why)| why)
}

/// Whether nothing but a guess gives it a lifetime.
fn heuristic(fields: &Fields) -> bool {
    let told = reuse::told(fields);
    !told.has("max-age") && !told.has("s-maxage") && field(fields, "expires").is_none() && field(fields, "last-modified").is_some()
}

fn skewed(case: &Case<'_>, fields: &Fields) -> bool {
    let dated = field(fields, "date").and_then(|text| Time::parse_http(&text)).map(Time::secs);
    case.log.iter().any(|exchange| exchange.fields == *fields && dated != Some(exchange.at))
}

fn moment(secs: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(secs).unwrap_or_default())
}

fn map(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(String, String)| Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?));
    fields.iter().filter_map(pair).collect()
}

fn request(of: &Request) -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(of.method.as_bytes()).unwrap_or_default();
    *request.uri_mut() = Uri::try_from(format!("http://a.test/p{}", of.place)).unwrap_or_default();
    let kept = of.fields.iter().filter(|(name, _)| name != "host").cloned().collect();
    *request.headers_mut() = map(&kept);
    request
}

fn response(status: u16, fields: &Fields) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = map(fields);
    response
}
