//! An origin without sockets: what its places answer, and a log of every exchange, which is all that the oracle believes.
//!
//! Every answer carries `X-Serial`, the number of its exchange; those with a body carry `X-Born` as well, and bodies name place,
//! version and variant in every line. So one sees of whatever a client gets which exchanges it came from.

use crate::story::{Expires, Framing, PLACES, State, Tag, Trouble};
use bulak::base::clock::Time;
use std::sync::Arc;

/// Field lines, names in lower case.
pub(crate) type Fields = Vec<(String, String)>;

/// All lines of a field, joined.
pub(crate) fn field(fields: &Fields, name: &str) -> Option<String> {
    let lines: Vec<&str> = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// A request as the origin gets it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) place: usize,
    pub(crate) fields: Fields,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.fields, name)
    }
}

/// What the origin sends.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
    /// The body ends half way.
    pub(crate) cut: bool,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) serial: usize,
    pub(crate) step: usize,
    /// When (seconds of the story's clock).
    pub(crate) at: i64,
    /// Which client's request it was made for.
    pub(crate) ask: Option<usize>,
    pub(crate) request: Request,
    /// 0: the connection ended without an answer.
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) version: usize,
    pub(crate) variant: String,
    /// The whole representation, sent or not.
    pub(crate) full: Arc<Vec<u8>>,
    pub(crate) cut: bool,
}

impl Exchange {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.fields, name)
    }
}

#[derive(Clone, Debug)]
struct Held {
    state: State,
    version: usize,
    /// `Last-Modified` (seconds).
    modified: Option<i64>,
    /// Those of former versions that were told as strong validators (RFC 9110 section 8.8.2.2).
    past: Vec<i64>,
    trouble: Trouble,
}

impl Held {
    fn new(state: State, version: usize, now: i64, before: Option<Held>) -> Held {
        let mut past = Vec::new();
        if let Some(before) = before {
            past = before.past;
            past.extend(before.modified.filter(|date| now + before.state.dated.unwrap_or(0) > *date));
        }
        // A date that is a strong validator is one version's alone: parts that bear it may be put together.
        let modified = state.modified.map(|ago| {
            let mut date = now - ago;
            while past.contains(&date) {
                date -= 1;
            }
            date
        });
        Held { state, version, modified, past, trouble: Trouble::None }
    }
}

/// An origin at one moment of a story.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    places: Vec<Option<Held>>,
    pub(crate) log: Vec<Exchange>,
    pub(crate) now: i64,
    pub(crate) step: usize,
    versions: usize,
    /// Exchanges under way.
    pub(crate) open: usize,
}

impl Scene {
    pub(crate) fn change(&mut self, place: usize, state: &State) {
        self.places.resize(PLACES, None);
        self.renew(place, state.clone());
    }

    fn renew(&mut self, place: usize, state: State) {
        self.versions += 1;
        let before = self.places[place].take();
        self.places[place] = Some(Held::new(state, self.versions, self.now, before));
    }

    pub(crate) fn trouble(&mut self, place: usize, trouble: Trouble) {
        if let Some(held) = self.places.get_mut(place).and_then(Option::as_mut) {
            held.trouble = trouble;
        }
    }

    /// Answers and notes; `None`: the connection ends.
    pub(crate) fn answer(&mut self, request: Request) -> Option<Reply> {
        let serial = self.log.len();
        let ask = request.field("x-ask").and_then(|text| text.parse().ok());
        let held = self.places.get(request.place).cloned().flatten();
        let mut exchange = Exchange {
            serial,
            step: self.step,
            at: self.now,
            ask,
            request,
            status: 0,
            fields: Vec::new(),
            version: 0,
            variant: String::new(),
            full: Arc::default(),
            cut: false,
        };
        let reply = match held {
            None => Some(plain(404, b"nobody has been here yet".to_vec(), self.now)),
            Some(held) if held.trouble == Trouble::Silent => None,
            Some(held) => {
                if is_change(&exchange.request.method) && (200..400).contains(&held.state.change_status) && held.trouble == Trouble::None {
                    self.renew(exchange.request.place, held.state.clone());
                }
                Some(tell(&held, &mut exchange, self.now))
            }
        };
        let reply = reply.map(|mut reply| {
            reply.fields.push(("x-serial".into(), serial.to_string()));
            let head = exchange.request.method == "HEAD";
            if reply.status != 304 && !head {
                reply.fields.push(("x-born".into(), serial.to_string()));
            }
            if head && reply.framing == Framing::Length && !matches!(reply.status, 204 | 304) {
                reply.fields.push(("content-length".into(), reply.body.len().to_string()));
            }
            (exchange.status, exchange.fields, exchange.cut) = (reply.status, reply.fields.clone(), reply.cut);
            if exchange.full.is_empty() && !matches!(reply.status, 206 | 304) {
                exchange.full = Arc::new(reply.body.clone());
            }
            if exchange.request.method == "HEAD" || matches!(reply.status, 204 | 304) {
                reply.body.clear();
            }
            reply
        });
        self.log.push(exchange);
        reply
    }
}

/// Whether a method changes something, or may for all we know.
pub(crate) fn is_change(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

fn date(secs: i64) -> String {
    Time::from_secs(secs).to_http()
}

fn plain(status: u16, body: Vec<u8>, now: i64) -> Reply {
    Reply { status, fields: vec![("date".into(), date(now))], body, framing: Framing::Length, cut: false }
}

fn tell(held: &Held, exchange: &mut Exchange, now: i64) -> Reply {
    let (state, request) = (&held.state, &exchange.request);
    if let Trouble::Status(status) = held.trouble {
        return plain(status, format!("trouble {}", exchange.serial).into_bytes(), now);
    }
    if request.method == "OPTIONS" || is_change(&request.method) {
        let status = if request.method == "OPTIONS" { 200 } else { state.change_status };
        let mut reply = plain(status, if status == 204 { Vec::new() } else { format!("done {}", exchange.serial).into_bytes() }, now);
        reply.fields.extend(caching(state, now));
        if let Some((name, place)) = state.leads {
            reply.fields.push((name.into(), format!("/p{place}")));
        }
        return reply;
    }
    let variant = variant(state, request);
    let sort = format!("/p{} v{} {variant};\n", request.place, held.version);
    let full: Vec<u8> = sort.bytes().cycle().take(state.size).collect();
    let tag = match state.tag {
        Tag::None => None,
        Tag::Strong => Some(format!("\"v{}-{variant}\"", held.version)),
        Tag::Weak => Some(format!("W/\"v{}-{variant}\"", held.version)),
    };
    let modified = held.modified.map(date);
    let mut validators: Fields = Vec::new();
    validators.extend(tag.iter().map(|tag| ("etag".into(), tag.clone())));
    validators.extend(modified.iter().map(|date| ("last-modified".into(), date.clone())));
    let dated: Fields = state.dated.map(|skew| ("date".into(), date(now + skew))).into_iter().collect();
    let status = decide(state, request, tag.as_deref(), modified.as_deref(), full.len());
    let mut fields = [dated, validators].concat();
    if status != 304 || !state.lean {
        fields.extend(caching(state, now));
        fields.extend((!state.vary.is_empty()).then(|| ("vary".into(), state.vary.join(", "))));
        fields.extend(state.age.map(|age| ("age".into(), age.into())));
    }
    if status != 304 {
        fields.push(("content-type".into(), "application/x-lesson".into()));
        fields.push(("x-own".into(), format!("v{}", held.version)));
    }
    fields.extend(state.sets_cookie.then(|| ("set-cookie".into(), format!("visit={}", exchange.serial))));
    if matches!(status, 300 | 301 | 302 | 307 | 308) {
        fields.push(("location".into(), "/p0".into()));
    }
    let mut body = full.clone();
    match (status, range(request.field("range").as_deref(), full.len())) {
        (206, Some((from, to))) => {
            fields.push(("content-range".into(), format!("bytes {from}-{}/{}", to - 1, full.len())));
            body = full[from..to].to_vec();
        }
        (416, _) => {
            fields.push(("content-range".into(), format!("bytes */{}", full.len())));
            body = b"no such range".to_vec();
        }
        _ => {}
    }
    let cut =
        held.trouble == Trouble::Cut && state.framing != Framing::Close && request.method == "GET" && !body.is_empty() && status != 304;
    (exchange.version, exchange.variant, exchange.full) = (held.version, variant, Arc::new(full));
    Reply { status, fields, body, framing: state.framing, cut }
}

/// Conditions and ranges as RFC 9110 sections 13.2.2 and 14.2 tell an origin.
fn decide(state: &State, request: &Request, tag: Option<&str>, modified: Option<&str>, length: usize) -> u16 {
    if state.status != 200 {
        return state.status;
    }
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if state.conditions {
        if let Some(list) = request.field("if-none-match") {
            if list.trim() == "*" || tag.is_some_and(|tag| list.split(',').any(|one| bare(one) == bare(tag))) {
                return 304;
            }
        } else if let (Some(since), Some(modified)) = (request.field("if-modified-since"), modified)
            && Time::parse_http(&since) >= Time::parse_http(modified)
            && Time::parse_http(&since).is_some()
        {
            return 304;
        }
    }
    if request.method != "GET" || !state.ranges {
        return 200;
    }
    let Some(asked) = request.field("range") else { return 200 };
    if let Some(condition) = request.field("if-range") {
        let condition = condition.trim();
        let holds = tag.is_some_and(|tag| tag == condition && !tag.starts_with("W/")) || modified == Some(condition);
        if !holds {
            return 200;
        }
    }
    match range(Some(&asked), length) {
        Some(_) => 206,
        None if asked.contains(',') => 200,
        None => 416,
    }
}

/// One range: first byte and the one behind the last; `None` when it is several, or none of them is there.
pub(crate) fn range(asked: Option<&str>, length: usize) -> Option<(usize, usize)> {
    let (from, to) = asked?.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.trim(), to.trim()) {
        ("", last) => (length.saturating_sub(last.parse().ok()?), length),
        (first, "") => (first.parse().ok()?, length),
        (first, last) => (first.parse().ok()?, (last.parse::<usize>().ok()? + 1).min(length)),
    };
    (from < to && from < length).then_some((from, to))
}

fn caching(state: &State, now: i64) -> Fields {
    let mut fields: Fields = Vec::new();
    if !state.cache_control.is_empty() {
        fields.push(("cache-control".into(), state.cache_control.join(", ")));
    }
    match state.expires {
        Some(Expires::After(secs)) => fields.push(("expires".into(), date(now + state.dated.unwrap_or(0) + secs))),
        Some(Expires::Unreadable) => fields.push(("expires".into(), "0".into())),
        None => {}
    }
    fields
}

fn variant(state: &State, request: &Request) -> String {
    let chosen = state.vary.iter().filter(|name| !matches!(**name, "*" | "Accept-Encoding"));
    chosen.map(|name| request.field(&name.to_ascii_lowercase()).unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join("+")
}
