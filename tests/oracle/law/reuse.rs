//! May this stored answer be given to this request now? RFC 9111 sections 3, 3.5, 4, 4.1, 4.2, 4.4, 5.2; RFC 5861; RFC 8246;
//! and, for policy `school`, what a stranger could fetch.

use super::directive::Directives;
use super::{Broken, Case, broken};
use crate::scene::{Exchange, Fields, field, is_change};
use bulak::base::clock::Time;

/// Why it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Leave {
    /// It is fresh.
    Fresh,
    /// The client takes a stale one.
    MaxStale,
    /// The origin allows it while somebody asks.
    WhileRevalidate,
    /// The origin could not be asked.
    Trouble,
}

/// Statuses that may be given a lifetime by guessing (RFC 9110 section 15.1).
const GUESSED: [u16; 12] = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// Statuses whose meaning for caches everyone knows: what `must-understand` asks for.
const KNOWN: [u16; 32] = [
    200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 407, 408, 409, 410, 414, 416, 429, 500,
    501, 502, 503, 504, 505,
];

/// Most that is guessed, and its share of the time since the last change: what the node promises (RFC 9111 section 4.2.2 bounds neither).
const GUESS_MOST: i64 = 86_400;
const GUESS_SHARE: i64 = 10;

/// May the answer of this exchange have been stored at all?
pub(crate) fn storable(school: bool, first: &Exchange) -> Result<(), Broken> {
    let (told, asked) = (told(&first.fields), told(&first.request.fields));
    let request = &first.request;
    if request.method != "GET" {
        // Section 9.3.3 of RFC 9110: an answer to POST that says it is the resource at this place.
        let same = first.field("content-location").is_some_and(|to| to == format!("/p{}", request.place));
        if request.method != "POST" || !same || lifetime(&first.fields, first).is_none() {
            return broken("RFC 9111 section 3: the method", format!("kept an answer to {}", request.method));
        }
    }
    if asked.has("no-store") {
        return broken("RFC 9111 section 5.2.1.5: no-store asked", "kept it".into());
    }
    let understood = told.has("must-understand") && KNOWN.contains(&first.status);
    if told.has("must-understand") && !understood {
        return broken("RFC 9111 section 5.2.2.3: must-understand", format!("kept status {}", first.status));
    }
    if told.has("no-store") && !understood {
        return broken("RFC 9111 section 5.2.2.5: no-store", "kept it".into());
    }
    if told.is_bare("private") || (school && told.has("private")) {
        return broken("RFC 9111 section 5.2.2.7: private", "kept it".into());
    }
    if request.field("authorization").is_some() {
        if school {
            return broken("product, privacy 1: Authorization", "kept it".into());
        }
        if !told.has("must-revalidate") && !told.has("public") && !told.has("s-maxage") {
            return broken("RFC 9111 section 3.5: Authorization", "kept it".into());
        }
    }
    let explicit = first.field("expires").is_some() || told.has("max-age") || told.has("s-maxage");
    if !explicit && !told.has("public") && !GUESSED.contains(&first.status) {
        return broken("RFC 9111 section 3: nothing says that it may be kept", format!("kept status {}", first.status));
    }
    if school {
        if first.field("set-cookie").is_some() {
            return broken("product, privacy 1: Set-Cookie", "kept it".into());
        }
        if request.field("cookie").is_some() && !meant_for_all(&first.fields) {
            return broken("product, privacy 1: an answer to a cookie", "kept it without an explicit rule".into());
        }
    }
    Ok(())
}

/// Explicit freshness, and a word that says it is for everyone (product, privacy 1).
pub(crate) fn meant_for_all(fields: &Fields) -> bool {
    let told = told(fields);
    let explicit = field(fields, "expires").is_some() || told.has("max-age") || told.has("s-maxage");
    explicit && (told.has("public") || told.has("s-maxage") || told.has("immutable"))
}

/// May the answer that was born by `first`, last renewed by `last`, and now has the fields `held`, be used without asking?
pub(crate) fn reusable(case: &Case<'_>, first: &Exchange, last: &Exchange, held: &Fields) -> Result<Leave, Broken> {
    fitting(case, first, held)?;
    unchanged(case, last)?;
    let told = told(held);
    if told.is_bare("no-cache") {
        return broken("RFC 9111 section 5.2.2.4: no-cache", "used without asking".into());
    }
    let asked = told_by_client(case);
    let age = age(case, last);
    let lifetime = lifetime(held, last).unwrap_or_else(|| guess(held, last));
    let left = lifetime - age;
    let immutable = told.has("immutable") && left > 0;
    // What is fresh may be used when asking fails, whatever the client would rather have.
    let barred = left <= 0 && ["must-revalidate", "proxy-revalidate", "s-maxage"].iter().any(|word| told.has(word));
    let stale_by = -left;
    let takes = asked.has("max-stale") && (asked.is_bare("max-stale") || asked.seconds("max-stale").is_some_and(|most| stale_by <= most));
    if asked.has("no-cache") && !immutable {
        return by_trouble(case, barred, "RFC 9111 section 5.2.1.4: no-cache asked");
    }
    if let Some(most) = asked.seconds("max-age")
        && age > most
        && !immutable
        && !takes
    {
        return by_trouble(case, barred, &format!("RFC 9111 section 5.2.1.1: max-age={most} asked, {age} s old"));
    }
    if let Some(least) = asked.seconds("min-fresh")
        && left < least
        && !immutable
    {
        return by_trouble(case, barred, &format!("RFC 9111 section 5.2.1.3: min-fresh={least} asked, {left} s left"));
    }
    if left > 0 {
        return Ok(Leave::Fresh);
    }
    let why = format!("RFC 9111 section 4.2: lifetime {lifetime} s, age {age} s");
    if barred {
        return broken("RFC 9111 section 4.2.4: forbidden to be stale", why);
    }
    if takes {
        return Ok(Leave::MaxStale);
    }
    if told.seconds("stale-while-revalidate").is_some_and(|most| stale_by <= most) {
        return Ok(Leave::WhileRevalidate);
    }
    let window = told.seconds("stale-if-error").or(asked.seconds("stale-if-error"));
    // Where nobody answers the cache is disconnected, window or not (RFC 9111 section 4.2.4).
    if window.is_some_and(|most| stale_by > most) && !silent(case) {
        return broken("RFC 5861 section 4: the time for errors is over", why);
    }
    by_trouble(case, barred, &why)
}

/// What cannot be asked about may be given stale, unless that is forbidden (sections 4.2.4 and 4.3.3).
fn by_trouble(case: &Case<'_>, barred: bool, rule: &str) -> Result<Leave, Broken> {
    let failed = failed(case);
    if failed && !barred {
        return Ok(Leave::Trouble);
    }
    Err(Broken {
        rule: rule.to_owned(),
        why: if failed { "and nothing stale is allowed".into() } else { "and the origin was not asked".into() },
    })
}

/// Whether the origin failed: this request, or one beside it that this one came along with.
pub(crate) fn failed(case: &Case<'_>) -> bool {
    asked(case).any(|exchange| exchange.status == 0 || exchange.status >= 500 || exchange.cut)
}

fn silent(case: &Case<'_>) -> bool {
    asked(case).any(|exchange| exchange.status == 0 || exchange.cut)
}

fn asked<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a Exchange> {
    let here = |exchange: &&Exchange| exchange.request.place == case.request.place;
    // What nobody waited for may fail a step later, as far as the node could see; then whoever asked meanwhile came along with it.
    let runs = |last: &&Exchange| !case.waited.contains(&last.serial) && case.ended(last) == case.now;
    let behind = case.log.iter().rev().find(here).filter(runs).map(|last| last.serial);
    let beside = move |exchange: &Exchange| here(&exchange) && (exchange.step == case.step || Some(exchange.serial) == behind);
    case.log.iter().filter(move |exchange| exchange.ask == Some(case.id) || beside(exchange))
}

/// Does it answer this request, whatever its age?
pub(crate) fn fitting(case: &Case<'_>, first: &Exchange, held: &Fields) -> Result<(), Broken> {
    storable(case.school, first)?;
    if !matches!(case.request.method.as_str(), "GET" | "HEAD") {
        return broken("RFC 9111 section 4: written through", format!("{} was answered from the store", case.request.method));
    }
    if first.request.place != case.request.place {
        return broken("RFC 9111 section 2: the key", format!("an answer of /p{} for /p{}", first.request.place, case.request.place));
    }
    for named in [field(&first.fields, "vary"), field(held, "vary")].iter().flatten() {
        for name in named.split(',').map(|name| name.trim().to_ascii_lowercase()) {
            if name == "*" {
                return broken("RFC 9111 section 4.1: Vary `*`", "used for another request".into());
            }
            // A body without a coding serves whoever asks; ours asks in its own words.
            if name != "accept-encoding" && case.request.field(&name) != first.request.field(&name) {
                let (then, now) = (first.request.field(&name), case.request.field(&name));
                return broken("RFC 9111 section 4.1: Vary", format!("{name} was {then:?} and is {now:?}"));
            }
        }
    }
    if case.school && case.request.field("cookie").is_some() && !meant_for_all(held) {
        return broken("product, privacy 1: a request with a cookie", "answered from the store without an explicit rule".into());
    }
    if case.school && case.request.field("authorization").is_some() {
        return broken("product, privacy 1: a request with Authorization", "answered from the store".into());
    }
    // The origin's own word to this request is no word from the store.
    let own =
        field(held, "x-own").filter(|own| !case.own().any(|told| told.step == case.step && told.field("x-own").as_ref() == Some(own)));
    if own.is_some() && told(&first.fields).has("private") {
        return broken("RFC 9111 section 5.2.2.7: private=\"x-own\"", "the field was kept".into());
    }
    if own.is_some() && told(held).has("no-cache") && !told(held).is_bare("no-cache") {
        return broken("RFC 9111 section 5.2.2.4: no-cache=\"x-own\"", "the field was given without asking".into());
    }
    Ok(())
}

/// Has nothing that went through the cache changed the place since (section 4.4)?
fn unchanged(case: &Case<'_>, last: &Exchange) -> Result<(), Broken> {
    let change = case.log.iter().find(|exchange| {
        let target = exchange.request.place == last.request.place;
        // By promise: where the answer leads to as well.
        let leads = ["location", "content-location"].iter().any(|name| exchange.field(name) == Some(format!("/p{}", last.request.place)));
        is_change(&exchange.request.method)
            && (200..400).contains(&exchange.status)
            && (target || leads)
            && exchange.step < case.step
            && exchange.serial > last.serial
            && exchange.step > last.step
    });
    match change {
        Some(by) => broken("RFC 9111 section 4.4: invalidation", format!("{} (exchange {}) changed it", by.request.method, by.serial)),
        None => Ok(()),
    }
}

/// Age in seconds (section 4.2.3), the smallest that can be meant: an exchange that ran behind may have ended a little later.
pub(crate) fn age(case: &Case<'_>, last: &Exchange) -> i64 {
    let until = case.ended(last);
    let apparent = (last.at - dated(last)).max(0);
    apparent.max(told_age(last)) + case.now - until
}

/// The `Age` that the origin told; what is no number counts as none (section 5.1).
fn told_age(last: &Exchange) -> i64 {
    let text = last.field("age").unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse::<i64>().unwrap_or(1 << 31).min(1 << 31) } else { 0 }
}

/// The lifetime that the origin told (section 4.2.1).
pub(crate) fn lifetime(held: &Fields, last: &Exchange) -> Option<i64> {
    let told = told(held);
    if let Some(secs) = told.seconds("s-maxage").or(told.seconds("max-age")) {
        return Some(secs);
    }
    let expires = field(held, "expires")?;
    // Section 5.3: what cannot be read has expired.
    Some(Time::parse_http(&expires).map_or(0, |at| (at.secs() - dated(last)).max(0)))
}

/// When the origin says that it answered; without a word when it came (RFC 9110 section 6.6.1).
fn dated(last: &Exchange) -> i64 {
    last.field("date").and_then(|text| Time::parse_http(&text)).map_or(last.at, Time::secs)
}

/// The lifetime that a cache may guess (section 4.2.2), by our promise.
fn guess(held: &Fields, last: &Exchange) -> i64 {
    match field(held, "last-modified").and_then(|text| Time::parse_http(&text)) {
        Some(modified) => ((dated(last) - modified.secs()).max(0) / GUESS_SHARE).min(GUESS_MOST) + 1,
        None => 0,
    }
}

pub(crate) fn told(fields: &Fields) -> Directives {
    Directives::read(field(fields, "cache-control").as_deref())
}

/// What the client asks of caches; `Pragma` only where nothing newer is said (section 5.4).
fn told_by_client(case: &Case<'_>) -> Directives {
    match (case.request.field("cache-control"), case.request.field("pragma")) {
        (None, Some(pragma)) => Directives::read(Some(&pragma)),
        (asked, _) => Directives::read(asked.as_deref()),
    }
}
