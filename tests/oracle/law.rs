//! The oracle: what RFC 9111 and the rules of privacy allow a shared cache to answer, told from the log of the origin alone.
//!
//! Written from the RFCs; it knows nothing of `src/policy` and imports nothing of it. [`judge`] finds where an answer came from
//! (the exchanges are named in it, the version stands in the body) and asks whether that was one of the answers allowed then.

#[path = "law/directive.rs"]
pub(crate) mod directive;
#[path = "law/reuse.rs"]
pub(crate) mod reuse;

use crate::scene::{Exchange, Fields, Request, field, range};
use crate::wire::Message;
use bulak::base::clock::Time;
use reuse::Leave;

/// What was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: String,
    pub(crate) why: String,
}

fn broken<T>(rule: &str, why: String) -> Result<T, Broken> {
    Err(Broken { rule: rule.to_owned(), why })
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The origin's own answer to this very request.
    Forwarded,
    /// A stored one that the origin said is still good.
    Validated,
    /// A stored one.
    Stored(Leave),
    /// What was being fetched for another request.
    Shared,
    /// The same, and the answer says that it is to be asked about each time. Section 5.2.2.4 read to the letter forbids it; for a
    /// class that opens one page together it is what the node is for, and none of them gets anything older than his own question.
    SharedNoCache,
    /// The proxy's own words.
    Own,
}

/// One request and everything that is known about it.
pub(crate) struct Case<'a> {
    pub(crate) school: bool,
    pub(crate) log: &'a [Exchange],
    /// When each step ended (seconds).
    pub(crate) ends: &'a [i64],
    /// Exchanges whose answer a client waited for.
    pub(crate) waited: &'a [usize],
    /// Exchanges whose whole answer a client took: the node is done with them.
    pub(crate) taken: &'a [usize],
    pub(crate) id: usize,
    pub(crate) step: usize,
    pub(crate) now: i64,
    pub(crate) request: &'a Request,
    pub(crate) answer: &'a Message,
}

impl Case<'_> {
    /// Exchanges that were made for this request.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Exchange> {
        self.log.iter().filter(|exchange| exchange.ask == Some(self.id))
    }

    /// When an exchange was over at the latest, as far as the node could see: one that nobody waited for may end a step later.
    fn ended(&self, exchange: &Exchange) -> i64 {
        if self.waited.contains(&exchange.serial) {
            return exchange.at;
        }
        let step = (exchange.step + 1).min(self.ends.len().saturating_sub(1));
        self.ends.get(step).copied().unwrap_or(self.now).clamp(exchange.at, self.now)
    }

    fn number(&self, name: &str) -> Option<&Exchange> {
        self.answer.field(name).and_then(|text| text.parse::<usize>().ok()).and_then(|serial| self.log.get(serial))
    }
}

/// Was this answer allowed?
pub(crate) fn judge(case: &Case<'_>) -> Result<Kind, Broken> {
    written_through(case)?;
    let status = case.answer.status();
    if status == 0 {
        return no_answer(case);
    }
    let Some(last) = case.number("x-serial") else { return unnumbered(case) };
    let first = case.number("x-born").unwrap_or(last);
    if last.ask == Some(case.id) {
        return asked_for(case, first, last);
    }
    renews(case, first, last)?;
    sources(case, first, last)?;
    let says = |word: &str| case.answer.field("cache-status").is_some_and(|status| status.contains(word));
    let under_way = last.step == case.step || !case.taken.contains(&last.serial);
    if (says("collapsed") && under_way) || (last.step == case.step && case.own().any(|own| own.step == case.step)) {
        // It was asked for before it came, so it is as new as an answer of one's own, whatever its date and lifetime; but it must
        // be one that is kept and that fits (RFC 9111 section 4).
        reuse::fitting(case, first, &case.answer.fields)?;
        content(case, first)?;
        let asks = reuse::told(&case.answer.fields).is_bare("no-cache");
        return Ok(if asks { Kind::SharedNoCache } else { Kind::Shared });
    }
    if replaced_meanwhile(case, first) {
        reuse::fitting(case, first, &case.answer.fields)?;
        content(case, first)?;
        return Ok(Kind::Validated);
    }
    if confirmed_to_one(case, first) {
        reuse::fitting(case, first, &case.answer.fields)?;
        content(case, first)?;
        return Ok(Kind::Validated);
    }
    let terms = terms(case, first, last);
    let leave = reuse::reusable(case, first, terms, &case.answer.fields)?;
    content(case, first)?;
    told_age(case, terms)?;
    recorded_date(case, terms)?;
    if case.own().any(|exchange| exchange.status == 304 && exchange.version == first.version && exchange.variant == first.variant)
        && leave != Leave::WhileRevalidate
        && !says("hit")
        && !case.own().any(|exchange| exchange.status == 0 || exchange.status >= 500)
    {
        return broken("RFC 9111 section 4.3.4: freshen", "the origin renewed it, and the fields are the old ones".into());
    }
    Ok(Kind::Stored(leave))
}

/// Whether the origin confirmed this to the client while a newer answer took its place: he may have what was confirmed as it was.
fn replaced_meanwhile(case: &Case<'_>, first: &Exchange) -> bool {
    let confirmed = case.own().any(|own| own.status == 304 && (own.version, &own.variant) == (first.version, &first.variant));
    let beside = |other: &&Exchange| other.step == case.step && other.request.place == first.request.place;
    let newer = |other: &Exchange| other.serial > first.serial && matches!(other.status, 200 | 206) && other.version >= first.version;
    confirmed && case.log.iter().filter(beside).any(newer)
}

/// Whether the origin confirmed it in words that are for this client alone: he may have it, and by promise (product, privacy 1) nothing
/// of these words is kept.
fn confirmed_to_one(case: &Case<'_>, first: &Exchange) -> bool {
    let to_one = |own: &Exchange| {
        let told = reuse::told(&own.fields);
        own.status == 304 && own.step == case.step && (told.has("private") || told.has("no-store"))
    };
    case.school && case.own().any(|own| to_one(own) && renews(case, first, own).is_ok())
}

/// What renews a stored answer says that it is the same: a 304 by its validator, a HEAD by every one that it names
/// (sections 4.3.4 and 4.3.5).
fn renews(case: &Case<'_>, first: &Exchange, last: &Exchange) -> Result<(), Broken> {
    if first.serial == last.serial || !(last.status == 304 || last.request.method == "HEAD") {
        return Ok(());
    }
    let agrees =
        |name: &str| last.field(name).is_none_or(|told| case.answer.field(name) == Some(told.clone()) && first.field(name) == Some(told));
    let length = last.field("content-length").is_none_or(|told| told == first.full.len().to_string());
    // A part is one of the whole.
    let same = last.status == 304 || last.status == first.status || (last.status, first.status) == (200, 206);
    if agrees("etag") && agrees("last-modified") && length && same {
        return Ok(());
    }
    broken(
        "RFC 9111 sections 4.3.4 and 4.3.5: renewed by another",
        format!("v{} by v{} ({} {})", first.version, last.version, last.request.method, last.status),
    )
}

/// Most requests that one may cost: a rest in pieces, a retry of each over another connection.
const MOST: usize = 8;

/// Unsafe methods reach the origin, once; what may only come from the store does not (sections 4 and 5.2.1.7).
fn written_through(case: &Case<'_>) -> Result<(), Broken> {
    let (count, method) = (case.own().count(), case.request.method.as_str());
    let asked = reuse::told(&case.request.fields);
    if asked.has("only-if-cached") && count > 0 && matches!(method, "GET" | "HEAD") {
        return broken("RFC 9111 section 5.2.1.7: only-if-cached", "the origin was asked".into());
    }
    if let Some(other) =
        case.own().find(|exchange| exchange.request.method != method && (method, exchange.request.method.as_str()) != ("HEAD", "GET"))
    {
        return broken("RFC 9110 section 9: the method", format!("{method} became {}", other.request.method));
    }
    if count > MOST {
        return broken("RFC 9110 section 9.2.2: again and again", format!("{count} requests for one"));
    }
    let repeatable = matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
    if !repeatable && count != 1 {
        return broken("RFC 9110 section 9.2.2: once", format!("{method} reached the origin {count} times"));
    }
    if !matches!(method, "GET" | "HEAD") && count == 0 {
        return broken("RFC 9111 section 4: written through", format!("{method} did not reach the origin"));
    }
    Ok(())
}

/// A connection that ends without a word: only where the origin's did, his own or that of whom he came along with.
fn no_answer(case: &Case<'_>) -> Result<Kind, Broken> {
    let of_place = |other: &&Exchange| other.request.place == case.request.place;
    let beside = case.log.iter().filter(of_place).filter(|other| other.step == case.step);
    // What was asked for behind an earlier answer may still be on its way: he came along with that.
    let behind = |other: &Exchange| other.cut && !case.waited.contains(&other.serial) && case.ends.get(other.step) == Some(&case.now);
    if case.own().chain(beside).any(|exchange| exchange.status == 0 || exchange.cut) || case.log.iter().filter(of_place).any(behind) {
        return Ok(Kind::Own);
    }
    broken("an answer", format!("the connection ended without one: {}", case.answer.line))
}

/// An answer that names no exchange: a short 304 of the store, or words of the proxy.
fn unnumbered(case: &Case<'_>) -> Result<Kind, Broken> {
    let status = case.answer.status();
    let asked = reuse::told(&case.request.fields);
    let failed = reuse::failed(case);
    match status {
        304 => unnumbered_304(case),
        504 if asked.has("only-if-cached") || failed => Ok(Kind::Own),
        502 | 503 if failed => Ok(Kind::Own),
        416 => out_of_range(case),
        _ => broken("an answer of the proxy's own", format!("status {status} without a cause")),
    }
}

fn unnumbered_304(case: &Case<'_>) -> Result<Kind, Broken> {
    let same = |exchange: &&Exchange| {
        let agrees = |name: &str| case.answer.field(name).is_none_or(|value| exchange.field(name) == Some(value));
        exchange.request.place == case.request.place && agrees("etag") && agrees("date") && exchange.status != 0
    };
    if case.own().any(|exchange| exchange.status == 304 && same(&exchange)) {
        return Ok(Kind::Forwarded);
    }
    let mut last_said = None;
    for exchange in case.log.iter().filter(same) {
        match reuse::reusable(case, exchange, exchange, &case.answer.fields)
            .and_then(|leave| unchanged_for_client(case, exchange).map(|()| leave))
        {
            Ok(leave) => return Ok(Kind::Stored(leave)),
            Err(said) => last_said = Some(said),
        }
    }
    Err(last_said.unwrap_or(Broken { rule: "RFC 9110 section 15.4.5: 304".into(), why: "of nothing that was ever sent".into() }))
}

/// An answer that came by way of this very request.
fn asked_for(case: &Case<'_>, first: &Exchange, last: &Exchange) -> Result<Kind, Broken> {
    let status = case.answer.status();
    carried(case, last)?;
    sources(case, first, last)?;
    // What is kept from others is still for him.
    let whole = |status: u16| !matches!(status, 206 | 304 | 416);
    if whole(status) && whole(last.status) && case.answer.field("x-own") != last.field("x-own") {
        return broken("RFC 9110 section 7.7: fields", "x-own did not reach the one who asked".into());
    }
    match last.status {
        304 if status == 304 && case.answer.field("x-born").is_none() => Ok(Kind::Forwarded),
        304 => {
            if first.serial == last.serial {
                return broken("RFC 9111 section 4.3.3: validation", "an answer of which nothing was born".into());
            }
            let tagged = last.field("etag").is_some();
            if (first.version, &first.variant) != (last.version, &last.variant)
                && (tagged || first.field("last-modified") != last.field("last-modified"))
            {
                return broken(
                    "RFC 9111 section 4.3.4: a 304 of another",
                    format!("v{} {} renewed by v{} {}", first.version, first.variant, last.version, last.variant),
                );
            }
            reuse::fitting(case, first, &renewed(case, last))?;
            content(case, first)?;
            told_age(case, last)?;
            Ok(Kind::Validated)
        }
        _ => {
            if first.serial != last.serial && last.status != 206 && first.status != 206 {
                return broken("RFC 9111 section 3.2: two answers in one", format!("born by {}, renewed by {}", first.serial, last.serial));
            }
            content(case, if last.status == 206 { first } else { last })?;
            Ok(Kind::Forwarded)
        }
    }
}

/// After a validation a field that must be asked about has been.
fn renewed(case: &Case<'_>, last: &Exchange) -> Fields {
    let own = |name: &str| name == "x-own" && last.field("x-own").is_none();
    case.answer.fields.iter().filter(|(name, _)| !own(name)).cloned().collect()
}

/// What a client sends for the origin reaches it (RFC 9110 section 7.6); nothing of another client does.
fn carried(case: &Case<'_>, exchange: &Exchange) -> Result<(), Broken> {
    for name in ["authorization", "cookie", "accept-language", "x-kind"] {
        let (sent, got) = (case.request.field(name), exchange.request.field(name));
        // Without its cookie a request is a stranger's; then the answer must be one for everybody.
        let stranger = name == "cookie" && got.is_none() && reuse::meant_for_all(&case.answer.fields);
        if sent != got && !stranger {
            return broken("RFC 9110 section 7.6: fields", format!("{name} was {sent:?} and reached the origin as {got:?}"));
        }
    }
    Ok(())
}

/// What says how long an answer holds, and nothing else.
const TERMS: [&str; 3] = ["cache-control", "expires", "date"];

/// Who said how long it holds: what renewed it last, or one after it that spoke to one person, of which by promise (product,
/// privacy 1) nothing else is taken.
fn terms<'a>(case: &'a Case<'_>, first: &Exchange, last: &'a Exchange) -> &'a Exchange {
    let told = |other: &Exchange| TERMS.iter().all(|name| other.field(name).is_none_or(|told| case.answer.field(name) == Some(told)));
    let to_one = |other: &&Exchange| {
        case.school
            && other.serial > last.serial
            && other.request.place == last.request.place
            && (other.status == 304 || other.request.method == "HEAD")
            && other.field("set-cookie").is_some()
            && told(other)
            && renews(case, first, other).is_ok()
    };
    case.log.iter().rev().find(to_one).unwrap_or(last)
}

/// Every field that counts comes from an exchange that may have brought it (section 3.2).
fn sources(case: &Case<'_>, first: &Exchange, last: &Exchange) -> Result<(), Broken> {
    for name in ["cache-control", "expires", "etag", "last-modified", "vary", "date"] {
        let last = if TERMS.contains(&name) { terms(case, first, last) } else { last };
        let (got, renewed) = (case.answer.field(name), last.field(name));
        let holds = match (&got, &renewed) {
            (Some(got), Some(renewed)) => got == renewed,
            (None, Some(_)) => matches!(case.answer.status(), 304 | 206 | 416),
            (None, None) => true,
            (Some(got), None) => {
                let between = case.log.iter().filter(|exchange| (first.serial..=last.serial).contains(&exchange.serial));
                // A recipient with a clock adds the date that is missing.
                name == "date"
                    || between
                        .clone()
                        .any(|exchange| exchange.request.place == first.request.place && exchange.field(name).as_ref() == Some(got))
            }
        };
        if !holds {
            return broken("RFC 9111 section 3.2: fields of a stored answer", format!("{name} is {got:?}, the origin's is {renewed:?}"));
        }
    }
    Ok(())
}

/// Status and body are those of the exchange that they were born by, or a part of it that was asked for.
fn content(case: &Case<'_>, first: &Exchange) -> Result<(), Broken> {
    let (status, answer) = (case.answer.status(), case.answer);
    let head = case.request.method == "HEAD";
    match status {
        304 => unchanged_for_client(case, first),
        206 => part(case, first),
        416 => out_of_range(case).map(|_| ()),
        _ if status == first.status || (first.status == 206 && status == 200) => {
            let whole = if first.status == 416 { first.full.is_empty() || !answer.body.is_empty() } else { answer.body == *first.full };
            if head {
                return if answer.body.is_empty() { Ok(()) } else { broken("RFC 9110 section 9.3.2: HEAD", "with a body".into()) };
            }
            match (whole, answer.cut) {
                (true, false) => Ok(()),
                (_, true) if first.cut || changed_meanwhile(case) => Ok(()),
                (_, true) => broken("RFC 9112 section 6: the length", "the body was cut though the origin's was not".into()),
                (false, false) => broken("RFC 9111 section 3.3: a body that is not the one that was sent", told_body(case, first)),
            }
        }
        _ => broken("RFC 9111 section 4: the status", format!("{status}, the origin's was {}", first.status)),
    }
}

fn told_body(case: &Case<'_>, first: &Exchange) -> String {
    let line = |body: &[u8]| String::from_utf8_lossy(body).lines().next().unwrap_or_default().to_owned();
    format!("{} bytes `{}`, not {} bytes `{}`", case.answer.body.len(), line(&case.answer.body), first.full.len(), line(&first.full))
}

/// A part: asked for, of one version, and only when `If-Range` holds (RFC 9110 sections 13.1.5 and 14).
fn part(case: &Case<'_>, first: &Exchange) -> Result<(), Broken> {
    let (answer, full) = (case.answer, &first.full);
    let Some(asked) = case.request.field("range").filter(|_| case.request.method == "GET") else {
        return broken("RFC 9110 section 14.2: Range", "a part that nobody asked for".into());
    };
    if !matches!(first.status, 200 | 206) {
        return broken("RFC 9110 section 14.2: Range", format!("a part of a {}", first.status));
    }
    if let Some(condition) = case.request.field("if-range") {
        let tag = first.field("etag").filter(|tag| !tag.starts_with("W/"));
        let holds = tag.as_deref() == Some(condition.trim()) || first.field("last-modified").as_deref() == Some(condition.trim());
        if !holds {
            return broken("RFC 9110 section 13.1.5: If-Range", format!("`{condition}` does not hold"));
        }
    }
    let Some(told) = answer.field("content-range") else {
        return if asked.contains(',') { Ok(()) } else { broken("RFC 9110 section 15.3.7: 206", "no Content-Range".into()) };
    };
    let wanted = range(Some(&asked), full.len());
    let Some((from, to)) = wanted else {
        return if asked.contains(',') {
            Ok(())
        } else {
            broken("RFC 9110 section 14.2: Range", format!("`{asked}` of {} bytes", full.len()))
        };
    };
    if told != format!("bytes {from}-{}/{}", to - 1, full.len()) && told != format!("bytes {from}-{}/*", to - 1) {
        return broken("RFC 9110 section 14.4: Content-Range", format!("`{told}` for `{asked}` of {} bytes", full.len()));
    }
    match (answer.body == full[from..to], answer.cut) {
        (true, false) => Ok(()),
        (_, true) if case.log.iter().any(|exchange| exchange.cut && exchange.step == case.step) || changed_meanwhile(case) => Ok(()),
        (_, true) => broken("RFC 9112 section 6: the length", "the part was cut though the origin's was not".into()),
        (false, false) => broken("RFC 9110 section 15.3.7: a part that is not of this version", told_body(case, first)),
    }
}

/// Whether what was asked for in parts became another version, or failed, between two of them: then the rest cannot be had, and the
/// answer must end short.
fn changed_meanwhile(case: &Case<'_>) -> bool {
    let own: Vec<&Exchange> =
        case.log.iter().filter(|exchange| exchange.step == case.step && exchange.request.place == case.request.place).collect();
    own.len() > 1 && own.iter().any(|exchange| exchange.status == 206) && own.iter().any(|exchange| exchange.status != 206)
}

/// 416 only when no known length has that range.
fn out_of_range(case: &Case<'_>) -> Result<Kind, Broken> {
    let asked = case.request.field("range").unwrap_or_default();
    let here = case.log.iter().filter(|exchange| exchange.request.place == case.request.place);
    let beyond = here
        .filter(|exchange| matches!(exchange.status, 200 | 206 | 416))
        .any(|exchange| range(Some(&asked), exchange.full.len()).is_none());
    if beyond && !asked.is_empty() { Ok(Kind::Own) } else { broken("RFC 9110 section 15.5.17: 416", format!("for `{asked}`")) }
}

/// A 304 only to whom has it: `If-None-Match` first, `If-Modified-Since` else (RFC 9110 section 13.2.2).
fn unchanged_for_client(case: &Case<'_>, first: &Exchange) -> Result<(), Broken> {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if let Some(list) = case.request.field("if-none-match") {
        let has = list.trim() == "*" || first.field("etag").is_some_and(|tag| list.split(',').any(|one| bare(one) == bare(&tag)));
        return if has {
            Ok(())
        } else {
            broken("RFC 9110 section 13.1.2: If-None-Match", format!("304 for `{list}`, it is {:?}", first.field("etag")))
        };
    }
    let Some(since) = case.request.field("if-modified-since").and_then(|text| Time::parse_http(&text)) else {
        return broken("RFC 9110 section 15.4.5: 304", "nothing was asked under a condition".into());
    };
    // RFC 9111 section 4.3.2: without a date of change that of the answer, or when it came.
    let told = field(&first.fields, "last-modified").or(field(&first.fields, "date"));
    let changed = told.and_then(|text| Time::parse_http(&text)).map_or(first.at, Time::secs);
    if changed <= since.secs() {
        Ok(())
    } else {
        broken("RFC 9110 section 13.1.3: If-Modified-Since", "304, and it has changed since".into())
    }
}

/// What came without a `Date` is kept with the one of its coming (RFC 9110 section 6.6.1).
fn recorded_date(case: &Case<'_>, last: &Exchange) -> Result<(), Broken> {
    let told = case.answer.field("date").and_then(|text| Time::parse_http(&text)).map(Time::secs);
    if last.field("date").is_some() || told.is_some_and(|told| (last.at..=case.ended(last)).contains(&told)) {
        return Ok(());
    }
    broken("RFC 9110 section 6.6.1: Date", format!("{told:?} for an answer without one that came at {}", last.at))
}

/// `Age` of a stored answer is its age (section 5.1).
fn told_age(case: &Case<'_>, last: &Exchange) -> Result<(), Broken> {
    let least = reuse::age(case, last);
    // One that nobody waited for was sent some time before the origin saw it, and that time counts (section 4.2.3).
    let most = if case.waited.contains(&last.serial) { least } else { i64::MAX - 1 };
    let told = case.answer.field("age");
    match told.as_ref().and_then(|text| text.parse::<i64>().ok()) {
        Some(age) if (least - 1..=most + 1).contains(&age) || (age >= 1 << 31 && most >= 1 << 31) => Ok(()),
        None if last.step == case.step => Ok(()),
        _ => broken("RFC 9111 section 5.1: Age", format!("is {told:?}, not {least}")),
    }
}
