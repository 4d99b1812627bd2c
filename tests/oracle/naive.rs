//! A small cache that is right, and the same one with a fault of choice: the oracle must let the first pass and find every other.

use crate::law::directive::Directives;
use crate::origin::Stage;
use crate::play::Subject;
use crate::scene::{Fields, Reply, Request, field, is_change, range};
use crate::wire::Message;
use bulak::base::clock::Time;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    IgnoresVary,
    IgnoresVaryStar,
    KeepsNoStore,
    KeepsPrivate,
    KeepsAuthorized,
    IgnoresNoCache,
    IgnoresMaxAge,
    IgnoresExpires,
    StaleBySecond,
    PrefersMaxAgeToShared,
    NeverInvalidates,
    NoAge,
    DoublesAge,
    IgnoresDate,
    IgnoresIfRange,
    WrongRange,
    KeepsCutBodies,
    AnswersPost,
    SharesCookies,
    KeepsSetCookie,
    ErrorsAsSuccess,
    NotModifiedForAll,
    SendsTwice,
    AsksForOnlyIfCached,
    MixesPlaces,
    DropsCookie,
    IgnoresReload,
}

impl Flaw {
    pub(crate) const ALL: [Flaw; 27] = [
        Flaw::IgnoresVary,
        Flaw::IgnoresVaryStar,
        Flaw::KeepsNoStore,
        Flaw::KeepsPrivate,
        Flaw::KeepsAuthorized,
        Flaw::IgnoresNoCache,
        Flaw::IgnoresMaxAge,
        Flaw::IgnoresExpires,
        Flaw::StaleBySecond,
        Flaw::PrefersMaxAgeToShared,
        Flaw::NeverInvalidates,
        Flaw::NoAge,
        Flaw::DoublesAge,
        Flaw::IgnoresDate,
        Flaw::IgnoresIfRange,
        Flaw::WrongRange,
        Flaw::KeepsCutBodies,
        Flaw::AnswersPost,
        Flaw::SharesCookies,
        Flaw::KeepsSetCookie,
        Flaw::ErrorsAsSuccess,
        Flaw::NotModifiedForAll,
        Flaw::SendsTwice,
        Flaw::AsksForOnlyIfCached,
        Flaw::MixesPlaces,
        Flaw::DropsCookie,
        Flaw::IgnoresReload,
    ];
}

struct Entry {
    request: Request,
    reply: Reply,
    at: i64,
    host: String,
}

/// The cache.
pub(crate) struct Naive {
    flaw: Flaw,
    now: AtomicI64,
    hosts: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

impl Naive {
    pub(crate) fn new(flaw: Flaw) -> Naive {
        Naive { flaw, now: AtomicI64::new(1_800_000_000), hosts: AtomicUsize::new(0), entries: Mutex::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn may_keep(&self, request: &Request, reply: &Reply) -> bool {
        let (told, asked) = (read(&reply.fields), read(&request.fields));
        let explicit = told.has("max-age") || told.has("s-maxage") || field(&reply.fields, "expires").is_some();
        request.method == "GET"
            && reply.status == 200
            && explicit
            && !told.has("must-understand")
            && (!told.has("no-store") || self.is(Flaw::KeepsNoStore))
            && (!asked.has("no-store") || self.is(Flaw::KeepsNoStore))
            && (!told.has("private") || self.is(Flaw::KeepsPrivate))
            && (request.field("authorization").is_none() || self.is(Flaw::KeepsAuthorized))
            && (request.field("cookie").is_none() || self.is(Flaw::SharesCookies))
            && (field(&reply.fields, "set-cookie").is_none() || self.is(Flaw::KeepsSetCookie))
            && (!reply.cut || self.is(Flaw::KeepsCutBodies))
            && (field(&reply.fields, "vary").as_deref() != Some("*") || self.is(Flaw::IgnoresVaryStar))
    }

    fn matches(&self, host: &str, request: &Request, entry: &Entry) -> bool {
        let vary = field(&entry.reply.fields, "vary").unwrap_or_default().to_ascii_lowercase();
        let same = |name: &str| name.is_empty() || name == "*" || request.field(name) == entry.request.field(name);
        entry.host == host
            && (entry.request.place == request.place || self.is(Flaw::MixesPlaces))
            && (vary.split(',').all(|name| same(name.trim())) || self.is(Flaw::IgnoresVary))
    }

    /// The age of a stored answer, when it may be used.
    fn usable(&self, request: &Request, entry: &Entry) -> Option<i64> {
        let (told, asked) = (read(&entry.reply.fields), read(&request.fields));
        let now = self.now.load(Ordering::SeqCst);
        let dated = field(&entry.reply.fields, "date").and_then(|text| httpdate::parse_http_date(&text).ok());
        let dated =
            dated.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(entry.at, |since| since.as_secs().cast_signed());
        let apparent = if self.is(Flaw::IgnoresDate) { 0 } else { (entry.at - dated).max(0) };
        let age = field(&entry.reply.fields, "age").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).max(apparent) + now - entry.at;
        let shared = told.seconds("s-maxage").filter(|_| !self.is(Flaw::PrefersMaxAgeToShared));
        let expires = field(&entry.reply.fields, "expires").and_then(|text| Time::parse_http(&text)).map_or(0, |at| at.secs() - dated);
        let expires = if self.is(Flaw::IgnoresExpires) { 86_400 } else { expires };
        let lifetime = shared.or(told.seconds("max-age")).unwrap_or(expires);
        let lifetime = if self.is(Flaw::IgnoresMaxAge) { 86_400 } else { lifetime + i64::from(self.is(Flaw::StaleBySecond)) };
        let barred = told.has("no-cache") && !self.is(Flaw::IgnoresNoCache);
        let reload = request.field("cache-control").is_some() || request.field("pragma").is_some();
        let reload = reload && !asked.has("only-if-cached") && !self.is(Flaw::IgnoresReload);
        let personal = request.field("authorization").is_some() || (request.field("cookie").is_some() && !self.is(Flaw::SharesCookies));
        (age < lifetime && !barred && !reload && !personal).then_some(if self.is(Flaw::DoublesAge) { age * 2 + 3 } else { age })
    }

    fn stored(&self, host: &str, request: &Request) -> Option<Message> {
        let entries = self.entries.lock();
        let (entry, age) = entries
            .iter()
            .rev()
            .filter(|entry| self.matches(host, request, entry))
            .find_map(|entry| self.usable(request, entry).map(|age| (entry, age)))?;
        let mut reply = entry.reply.clone();
        reply.fields.retain(|(name, _)| name != "age");
        if !self.is(Flaw::NoAge) {
            reply.fields.push(("age".into(), age.to_string()));
        }
        if reply.cut {
            reply.body.truncate(reply.body.len() / 2);
            reply.cut = false;
        }
        let conditional = request.field("if-none-match").is_some() || request.field("if-modified-since").is_some();
        if conditional && self.is(Flaw::NotModifiedForAll) {
            (reply.status, reply.body) = (304, Vec::new());
        } else if let Some((from, to)) = range(request.field("range").as_deref(), reply.body.len())
            && request.method == "GET"
        {
            let tag = field(&reply.fields, "etag").filter(|tag| !tag.starts_with("W/"));
            if request.field("if-range").is_none_or(|condition| Some(condition) == tag || self.is(Flaw::IgnoresIfRange)) {
                reply.fields.push(("content-range".into(), format!("bytes {from}-{}/{}", to - 1, reply.body.len())));
                let shift = usize::from(self.is(Flaw::WrongRange) && to < reply.body.len());
                (reply.status, reply.body) = (206, reply.body[from + shift..to + shift].to_vec());
            }
        }
        Some(message(reply, &request.method))
    }
}

impl Subject for Naive {
    fn ask(&self, stage: &Stage, request: &Request, id: usize) -> Message {
        let method = request.method.as_str();
        let only = read(&request.fields).has("only-if-cached");
        let lookup = matches!(method, "GET" | "HEAD") || (self.is(Flaw::AnswersPost) && method == "POST");
        if lookup && let Some(answer) = self.stored(&stage.host, request) {
            return answer;
        }
        if only && matches!(method, "GET" | "HEAD") && !self.is(Flaw::AsksForOnlyIfCached) {
            return Message { line: "HTTP/1.1 504 Only".into(), ..Message::default() };
        }
        let mut forwarded = request.clone();
        forwarded.fields.push(("x-ask".into(), id.to_string()));
        if self.is(Flaw::DropsCookie) {
            forwarded.fields.retain(|(name, _)| name != "cookie");
        }
        let mut scene = stage.scene.lock();
        let at = scene.now;
        if self.is(Flaw::SendsTwice) && method == "POST" {
            scene.answer(forwarded.clone());
        }
        let Some(mut reply) = scene.answer(forwarded) else { return Message::default() };
        drop(scene);
        if self.is(Flaw::ErrorsAsSuccess) && reply.status >= 500 {
            reply.status = 200;
        }
        let mut entries = self.entries.lock();
        if is_change(method) && (200..400).contains(&reply.status) && !self.is(Flaw::NeverInvalidates) {
            let led = ["location", "content-location"].map(|name| field(&reply.fields, name));
            let hit = |place: usize| place == request.place || led.contains(&Some(format!("/p{place}")));
            entries.retain(|entry| entry.host != stage.host || !hit(entry.request.place));
        }
        if self.may_keep(request, &reply) {
            if field(&reply.fields, "date").is_none() {
                reply.fields.push(("date".into(), Time::from_secs(at).to_http()));
            }
            entries.push(Entry { request: request.clone(), reply: reply.clone(), at, host: stage.host.clone() });
        }
        if reply.cut {
            reply.body.truncate(reply.body.len() / 2);
        }
        message(reply, method)
    }

    fn wait(&self, secs: u64) {
        self.now.fetch_add(secs.cast_signed(), Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn stage(&self) -> Stage {
        Stage::new(format!("h{}", self.hosts.fetch_add(1, Ordering::SeqCst)))
    }

    fn leave(&self, stage: &Stage) {
        self.entries.lock().retain(|entry| entry.host != stage.host);
    }
}

fn read(fields: &Fields) -> Directives {
    Directives::read(field(fields, "cache-control").as_deref())
}

fn message(reply: Reply, method: &str) -> Message {
    let body = if method == "HEAD" { Vec::new() } else { reply.body };
    Message { line: format!("HTTP/1.1 {} Kept", reply.status), fields: reply.fields, body, cut: reply.cut && method != "HEAD" }
}
