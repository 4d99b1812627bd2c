//! A small e-diary of the tests' own, with the habits of real ones: cookies per pupil, marks, an interface by token, avatars and
//! homework behind links that nobody guesses, hashed scripts, `Set-Cookie` on public pages, missing and mistaken cache fields.
//!
//! Every byte that belongs to a pupil lies within a few letters of the pupil's token (it is also the session, the link and the
//! key of the interface), so that a leak is found by a search. The diary itself is a function; plain and TLS servers go round it.

use crate::kit::origin::{Ask, answer, first_range, read_ask};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct Pupil {
    /// First name.
    pub(crate) name: &'static str,
    /// What nobody else may ever see.
    pub(crate) token: String,
}

impl Pupil {
    /// A pupil whose token comes from a seed.
    pub(crate) fn new(name: &'static str, seed: u64) -> Pupil {
        let token = crate::kit::noise(seed, 16).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        Pupil { name, token }
    }

    /// A text that is theirs.
    fn page(&self, what: &str) -> String {
        format!("{} {what} of {}\n", self.token, self.name).repeat(40)
    }
}

/// How a pupil shows who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// `Cookie: session=…`; whoever has none gets a stranger's page.
    Cookie,
    /// `Authorization: Bearer …`
    Bearer,
    /// `Access-Token: …`
    Header,
    /// By nothing: the address is the key. `TOKEN` in it stands for the pupil's.
    Link,
}

/// An address of the diary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Path and query.
    pub(crate) path: &'static str,
    /// How it knows its pupils.
    pub(crate) by: By,
    /// Whether its body is a pupil's own (else only fields around it may be).
    pub(crate) own: bool,
    /// Whether its origin calls something personal public by mistake, which only a list of account hosts can mend.
    pub(crate) mistaken: bool,
    /// Fields of its answers.
    fields: &'static [&'static str],
}

const fn place(path: &'static str, by: By, own: bool, fields: &'static [&'static str]) -> Place {
    Place { path, by, own, mistaken: false, fields }
}

const fn mistaken(path: &'static str, by: By, fields: &'static [&'static str]) -> Place {
    Place { path, by, own: true, mistaken: true, fields }
}

const PUBLIC: &str = "Cache-Control: public, max-age=31536000, immutable";
const OLD: &str = "Last-Modified: Sun, 01 Nov 2020 00:00:00 GMT";

/// Everything that the diary has. Paths below `/v1/` and `/static/` are what packs may name.
pub(crate) const PLACES: &[Place] = &[
    place("/marks/bare", By::Cookie, true, &[]),
    place("/marks/guess", By::Cookie, true, &[OLD]),
    place("/marks/aged", By::Cookie, true, &["Cache-Control: max-age=300"]),
    place("/marks/private", By::Cookie, true, &["Cache-Control: private, max-age=300"]),
    place("/marks/unkept", By::Cookie, true, &["Cache-Control: no-store"]),
    place("/marks/vary", By::Cookie, true, &["Cache-Control: public, max-age=300", "Vary: Accept, Cookie"]),
    place("/marks/tag", By::Cookie, true, &["Cache-Control: no-cache", "ETag: \"TOKEN\""]),
    place("/marks/part", By::Cookie, true, &["Cache-Control: max-age=300", "ETag: \"TOKEN\"", "Accept-Ranges: bytes"]),
    place("/api/v1/marks", By::Bearer, true, &["Cache-Control: max-age=300", "Content-Type: application/json"]),
    place("/api/v2/marks", By::Header, true, &["Content-Type: application/json"]),
    place("/api/v3/marks", By::Header, true, &["Cache-Control: public, max-age=300", "Vary: Access-Token"]),
    place("/avatars/TOKEN.jpg", By::Link, true, &["Cache-Control: max-age=86400", "Content-Type: image/jpeg"]),
    place("/homework/TOKEN/essay.pdf", By::Link, true, &["ETag: \"TOKEN\"", "Content-Type: application/pdf", "Accept-Ranges: bytes"]),
    place("/files/essay.pdf?sig=TOKEN", By::Link, true, &["Cache-Control: public, max-age=86400", "Content-Type: application/pdf"]),
    place("/state.json;jsessionid=TOKEN", By::Link, true, &["Cache-Control: max-age=60"]),
    place("/v1/user.js", By::Cookie, false, &["Content-Type: text/javascript", OLD]),
    place("/v1/members.js", By::Cookie, true, &["Content-Type: text/javascript", OLD]),
    place("/static/app.8f3a91.js", By::Cookie, false, &[PUBLIC, "Content-Type: text/javascript"]),
    place("/static/tracked.77aa01.css", By::Cookie, false, &[PUBLIC, "Content-Type: text/css", "Set-Cookie: visit=TOKEN"]),
    place("/news", By::Cookie, false, &["Cache-Control: public, max-age=60", "Content-Type: text/html", "Set-Cookie: visit=TOKEN"]),
    place("/form", By::Cookie, false, &["Cache-Control: public, max-age=60", "X-CSRF-Token: TOKEN"]),
    place("/shared/told", By::Cookie, false, &["Cache-Control: public, max-age=0", "ETag: \"s1\""]),
    place("/shared/turned", By::Cookie, false, &["Cache-Control: public, max-age=0", "ETag: \"s2\""]),
    place("/shared/headed", By::Cookie, false, &["Cache-Control: public, max-age=0", "ETag: \"s3\""]),
    place("/way", By::Cookie, false, &["Cache-Control: public, max-age=60", "Location: /home?ticket=TOKEN"]),
    place("/logout", By::Cookie, true, &["Cache-Control: public, max-age=60", "Clear-Site-Data: \"cookies\""]),
    mistaken("/marks/mistaken", By::Cookie, &["Cache-Control: public, max-age=300"]),
    mistaken("/avatars/public/TOKEN.jpg", By::Link, &[PUBLIC, "Content-Type: image/jpeg"]),
    mistaken("/v1/photo/TOKEN.png", By::Link, &[PUBLIC, "Content-Type: image/png"]),
];

/// What the diary says.
pub(crate) fn says(pupils: &[Pupil], ask: &Ask) -> Vec<u8> {
    if ask.method == "POST" && ask.target == "/login" {
        let who = pupils.iter().find(|pupil| ask.body == format!("name={}", pupil.name).as_bytes());
        let Some(pupil) = who else { return answer("403 Forbidden", &[], b"who?") };
        let cookie = format!("Set-Cookie: session={}; HttpOnly", pupil.token);
        return answer("303 See Other", &["Location: /marks/bare", &cookie], pupil.page("door").as_bytes());
    }
    let by_cookie = |pupil: &&Pupil| ask.field("cookie").is_some_and(|cookie| cookie.contains(&format!("session={}", pupil.token)));
    let signed_in = pupils.iter().find(by_cookie);
    let of_path = |place: &Place| pupils.iter().find(|pupil| place.path.replace("TOKEN", &pupil.token) == ask.target);
    for place in PLACES {
        let (fits, who) = match place.by {
            By::Link => (of_path(place).is_some(), of_path(place)),
            By::Cookie => (place.path == ask.target, signed_in),
            By::Bearer => (place.path == ask.target, named(pupils, ask.field("authorization"), "Bearer ")),
            By::Header => (place.path == ask.target, named(pupils, ask.field("access-token"), "")),
        };
        if fits {
            return at(place, who, ask);
        }
    }
    answer("404 Not Found", &[], b"no such page")
}

fn named<'p>(pupils: &'p [Pupil], field: Option<&str>, before: &str) -> Option<&'p Pupil> {
    let token = field?.strip_prefix(before)?;
    pupils.iter().find(|pupil| pupil.token == token)
}

fn at(place: &Place, who: Option<&Pupil>, ask: &Ask) -> Vec<u8> {
    let token = who.map_or("", |pupil| &pupil.token);
    // A stranger gets no cookie, no key and no tag of anybody's.
    let filled: Vec<String> =
        place.fields.iter().filter(|field| who.is_some() || !field.contains("TOKEN")).map(|field| field.replace("TOKEN", token)).collect();
    let mut fields: Vec<&str> = filled.iter().map(String::as_str).collect();
    if who.is_none() {
        match (place.by, place.path) {
            (By::Bearer | By::Header, _) => return answer("401 Unauthorized", &["WWW-Authenticate: Bearer"], b"who?"),
            (_, "/v1/members.js") => return answer("302 Found", &["Location: /login", "Cache-Control: no-cache"], b""),
            _ => {}
        }
    }
    let pupil_field = format!("X-Pupil: {token}");
    let visit = format!("Set-Cookie: visit={token}");
    if place.path.starts_with("/shared/") && who.is_some() && ask.field("if-none-match").is_some_and(|tag| tag.starts_with("\"s")) {
        // The page is everybody's; the answer about it is not.
        let (status, tag) = ("304 Not Modified", fields[1]);
        return match place.path {
            "/shared/told" => answer_bare(status, &["Cache-Control: public, max-age=0", tag, &pupil_field, &visit]),
            _ => answer_bare(status, &["Cache-Control: private", tag, &pupil_field]),
        };
    }
    if place.path == "/shared/headed" && ask.method == "HEAD" && who.is_some() {
        fields.extend([pupil_field.as_str(), visit.as_str()]);
    }
    if let Some(tag) = fields.iter().find_map(|field| field.strip_prefix("ETag: "))
        && ask.field("if-none-match") == Some(tag)
    {
        return answer_bare("304 Not Modified", &fields);
    }
    let personal = who.filter(|_| place.own || place.path == "/v1/user.js");
    let body = match personal {
        Some(pupil) => pupil.page(place.path),
        None => format!("{} for everybody\n", place.path.replace("TOKEN", "-")).repeat(40),
    };
    let body = body.as_bytes();
    if place.path == "/way" && who.is_some() {
        return answer("301 Moved Permanently", &fields, b"");
    }
    if fields.contains(&"Accept-Ranges: bytes")
        && let Some(range) = first_range(ask, body.len())
        && ask.field("if-range").is_none_or(|tag| fields.contains(&format!("ETag: {tag}").as_str()))
    {
        let told = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, body.len());
        fields.push(&told);
        return head_of(answer("206 Partial Content", &fields, &body[range]), ask);
    }
    if ask.field("accept-encoding").is_some_and(|codings| codings.contains("gzip")) {
        fields.push("Content-Encoding: gzip");
        return head_of(answer("200 OK", &fields, &zipped(body)), ask);
    }
    head_of(answer("200 OK", &fields, body), ask)
}

/// An answer without a body, and without a length.
fn answer_bare(status: &str, fields: &[&str]) -> Vec<u8> {
    let text = String::from_utf8(answer(status, fields, b"")).expect("ASCII");
    text.replacen("Content-Length: 0\r\n", "", 1).into_bytes()
}

/// To HEAD the head alone.
fn head_of(bytes: Vec<u8>, ask: &Ask) -> Vec<u8> {
    if ask.method != "HEAD" {
        return bytes;
    }
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    bytes[..end].to_vec()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The diary behind a TLS port of its own.
pub(crate) struct Secured {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    asks: Arc<Mutex<Vec<Ask>>>,
    stop: Arc<AtomicBool>,
}

impl Secured {
    /// Starts with a certificate and its key (PEM files); speaks HTTP/1.1.
    pub(crate) fn start(pupils: Vec<Pupil>, certificate: &Path, key: &Path) -> Secured {
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate).expect("a file").map(|one| one.expect("PEM")).collect();
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).expect("a pair");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (asks, stop) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&asks), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (config, pupils, seen) = (Arc::clone(&config), pupils.clone(), Arc::clone(&seen));
                std::thread::spawn(move || serve(config, &pupils, &seen, stream));
            }
        });
        Secured { addr, asks, stop }
    }

    /// Everything it was asked so far.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        self.asks.lock().expect("no thread panics holding it").clone()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr)); // wakes the accept loop
    }
}

fn serve(config: Arc<rustls::ServerConfig>, pupils: &[Pupil], asks: &Mutex<Vec<Ask>>, stream: TcpStream) {
    let Ok(session) = rustls::ServerConnection::new(config) else { return };
    let mut reader = BufReader::new(rustls::StreamOwned::new(session, stream));
    while let Some(ask) = read_ask(&mut reader) {
        let said = says(pupils, &ask);
        asks.lock().expect("no thread panics holding it").push(ask);
        if reader.get_mut().write_all(&said).and_then(|()| reader.get_mut().flush()).is_err() {
            return;
        }
    }
}

/// Every text within these bytes that a search should see: as they are, and whatever in them is compressed with gzip or zstd.
pub(crate) fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    const MOST: u64 = 8 << 20;
    let mut found = vec![bytes.to_vec()];
    for at in 0..bytes.len().saturating_sub(4) {
        let rest = &bytes[at..];
        let mut text = Vec::new();
        if rest.starts_with(&[0x1f, 0x8b, 0x08]) {
            let _broken = flate2::read::GzDecoder::new(rest).take(MOST).read_to_end(&mut text); // what came before counts
        } else if rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            && let Ok(decoder) = zstd::stream::read::Decoder::new(rest)
        {
            let _broken = decoder.single_frame().take(MOST).read_to_end(&mut text); // as above
        }
        if !text.is_empty() {
            found.push(text);
        }
    }
    found
}

/// Whether these bytes hold this text, packed or not.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    unpacked(bytes).iter().any(|part| String::from_utf8_lossy(part).contains(text))
}
