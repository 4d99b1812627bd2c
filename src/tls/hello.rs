//! ClientHello -> intercept or splice, and why (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2). Pure.
//!
//! Reads just what the decision needs: name, ALPN, ECH, versions. A parser of our own because rustls' `Acceptor` tells neither ECH
//! nor versions, and answers with an alert where we want to splice. Whatever is not well formed is no TLS to us: it is spliced,
//! and the origin judges it.

/// Longest ClientHello that is read, with its record headers: what is longer is spliced. Real ones are 0.2 to 2 KiB.
pub const MAX: usize = 16 << 10;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A hello so far: wait for more bytes.
    More,
    /// All of it.
    Hello(Hello),
    /// Something else: plain HTTP, an old protocol, garbage, a damaged hello.
    NotTls,
    /// A hello longer than [`MAX`].
    TooLong,
}

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host name asked for, in lower case; `None` when there is none or it is no host name.
    pub name: Option<String>,
    /// The protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether it carries an encrypted hello, or the grease that looks like one.
    pub ech: bool,
    /// Whether it offers TLS 1.2 or later.
    pub modern: bool,
}

impl Hello {
    /// Whether this protocol is offered.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| offered == protocol)
    }
}

/// Reads the first bytes of a connection, however they were split. Never panics; what follows the hello is left alone.
pub fn read(bytes: &[u8]) -> Read {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        // The wish for more than MAX is judged before waiting for it.
        match wanted(&message) {
            Wanted::Other => return Read::NotTls,
            Wanted::Long => return Read::TooLong,
            Wanted::Length(length) if message.len() >= length => {
                return parse(&message[HEAD..length]).map_or(Read::NotTls, Read::Hello);
            }
            Wanted::Length(_) | Wanted::Unknown => {}
        }
        match record(rest) {
            Record::Whole(fragment, after) => {
                message.extend_from_slice(fragment);
                rest = after;
            }
            // A record's part tells as much of the hello's length as a whole one.
            Record::Part(fragment) => {
                message.extend_from_slice(fragment);
                return match wanted(&message) {
                    Wanted::Other => Read::NotTls,
                    Wanted::Long => Read::TooLong,
                    _ if bytes.len() >= MAX => Read::TooLong,
                    _ => Read::More,
                };
            }
            Record::Other => return Read::NotTls,
        }
    }
}

/// Type and length of a handshake message.
const HEAD: usize = 4;

/// Longest fragment of a record (RFC 8446 section 5.1).
const FRAGMENT: usize = 1 << 14;

enum Record<'b> {
    Whole(&'b [u8], &'b [u8]),
    Part(&'b [u8]),
    Other,
}

/// One record of handshake content; the version in it says nothing (RFC 8446 section 5.1) but for its first byte.
fn record(bytes: &[u8]) -> Record<'_> {
    const HANDSHAKE: u8 = 22;
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) || bytes.get(1).is_some_and(|major| *major != 3) {
        return Record::Other;
    }
    let Some((head, rest)) = bytes.split_at_checked(5) else { return Record::Part(&[]) };
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    if length == 0 || length > FRAGMENT {
        return Record::Other;
    }
    rest.split_at_checked(length).map_or(Record::Part(rest), |(fragment, after)| Record::Whole(fragment, after))
}

enum Wanted {
    Unknown,
    Length(usize),
    Long,
    Other,
}

/// How long the handshake message will be, its head included.
fn wanted(message: &[u8]) -> Wanted {
    const CLIENT_HELLO: u8 = 1;
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Wanted::Other;
    }
    let Some(&[_, a, b, c]) = message.get(..HEAD) else { return Wanted::Unknown };
    let length = HEAD + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
    if length > MAX { Wanted::Long } else { Wanted::Length(length) }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// TLS 1.2 as a number; 1.3 is one more.
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// The body of a ClientHello; `None` when it is not well formed.
fn parse(body: &[u8]) -> Option<Hello> {
    let mut from = Reader(body);
    let legacy = from.number()?;
    from.take(32)?; // random
    let session = from.short()?;
    let suites = from.long()?;
    let compression = from.short()?;
    if session.0.len() > 32 || suites.0.is_empty() || suites.0.len() % 2 != 0 || compression.0.is_empty() {
        return None;
    }
    let mut hello = Hello { modern: legacy >= TLS12, ..Hello::default() };
    if from.0.is_empty() {
        return Some(hello); // before extensions there were (RFC 5246 section 7.4.1.2)
    }
    let mut extensions = from.long()?;
    if !from.0.is_empty() {
        return None;
    }
    let mut seen: Vec<u16> = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let body = extensions.long()?;
        if seen.contains(&kind) {
            return None;
        }
        // A hello within MAX holds at most 4,096 extensions; real ones hold 20, so the list stays short enough to walk.
        if seen.len() == EXTENSIONS {
            return None;
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => hello.name = host(name(body)?),
            ALPN => hello.alpn = protocols(body)?,
            SUPPORTED_VERSIONS => hello.modern = versions(body)?,
            ENCRYPTED_CLIENT_HELLO => hello.ech = true,
            _ => {}
        }
    }
    Some(hello)
}

/// More extensions than any client sends (IANA knows some 60).
const EXTENSIONS: usize = 128;

/// The bytes of the name; empty when the list holds none of the kind that we know (RFC 6066 section 3).
fn name(mut body: Reader<'_>) -> Option<&[u8]> {
    let mut list = body.long()?;
    if !body.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut found: &[u8] = &[];
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let text = list.long()?;
        if kind == [0] {
            // One name of each kind, and not an empty one.
            if !found.is_empty() || text.0.is_empty() {
                return None;
            }
            found = text.0;
        }
    }
    Some(found)
}

/// A host name as DNS takes it, in lower case.
fn host(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let good = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (text.len() <= 253 && text.split('.').all(good)).then_some(text)
}

/// RFC 7301 section 3.1.
fn protocols(mut body: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = body.long()?;
    if !body.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.short()?;
        if protocol.0.is_empty() {
            return None;
        }
        found.push(protocol.0.to_vec());
    }
    Some(found)
}

/// RFC 8446 section 4.2.1; grease among them says nothing.
fn versions(mut body: Reader<'_>) -> Option<bool> {
    let mut list = body.short()?;
    if !body.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut modern = false;
    while !list.0.is_empty() {
        modern |= matches!(list.number()?, TLS12 | TLS13);
    }
    Some(modern)
}

/// Bytes yet to be read.
#[derive(Clone, Copy)]
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|taken| u16::from_be_bytes([taken[0], taken[1]]))
    }

    /// What a length of one byte announces.
    fn short(&mut self) -> Option<Reader<'b>> {
        let length = self.take(1)?[0];
        self.take(usize::from(length)).map(Reader)
    }

    /// What a length of two bytes announces.
    fn long(&mut self) -> Option<Reader<'b>> {
        let length = self.number()?;
        self.take(usize::from(length)).map(Reader)
    }
}

/// Why a connection is passed on unopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Splice {
    /// Another port than 443.
    Port,
    /// An address instead of a name.
    Literal,
    /// A host that is never opened.
    Refused,
    /// A host that nobody listed.
    Unlisted,
    /// No TLS, or a hello that cannot be read.
    NotTls,
    /// A hello of more than 16 KiB.
    TooLong,
    /// The hello did not come in time.
    Late,
    /// A hello without a name.
    NoName,
    /// A hello for another host than CONNECT named.
    OtherName,
    /// An encrypted hello whose outer name is another.
    Ech,
    /// Protocols of which we speak none.
    Alpn,
    /// Nothing newer than TLS 1.1 is offered.
    Old,
    /// A device that has not enrolled.
    Unknown,
    /// A device that lately did not trust us.
    Distrusts,
    /// The origin cannot be reached or verified: the device sees the genuine error.
    Upstream,
    /// The origin asks for a client certificate.
    ClientCertificate,
    /// Interception is off.
    Off,
    /// Outside of what the CA may vouch for.
    Outside,
}

impl Splice {
    /// All, for the counters' labels.
    pub const ALL: [Splice; 18] = [
        Splice::Port,
        Splice::Literal,
        Splice::Refused,
        Splice::Unlisted,
        Splice::NotTls,
        Splice::TooLong,
        Splice::Late,
        Splice::NoName,
        Splice::OtherName,
        Splice::Ech,
        Splice::Alpn,
        Splice::Old,
        Splice::Unknown,
        Splice::Distrusts,
        Splice::Upstream,
        Splice::ClientCertificate,
        Splice::Off,
        Splice::Outside,
    ];

    /// One word for counter and log.
    pub const fn word(self) -> &'static str {
        match self {
            Splice::Port => "port",
            Splice::Literal => "literal",
            Splice::Refused => "refused",
            Splice::Unlisted => "unlisted",
            Splice::NotTls => "not-tls",
            Splice::TooLong => "too-long",
            Splice::Late => "late",
            Splice::NoName => "no-name",
            Splice::OtherName => "other-name",
            Splice::Ech => "ech",
            Splice::Alpn => "alpn",
            Splice::Old => "old",
            Splice::Unknown => "unknown",
            Splice::Distrusts => "distrusts",
            Splice::Upstream => "upstream",
            Splice::ClientCertificate => "client-certificate",
            Splice::Off => "off",
            Splice::Outside => "outside",
        }
    }
}

/// Whether this hello may be answered by us for `host`, the name that CONNECT gave in lower case.
///
/// # Errors
/// The reason for passing it on.
pub fn judge_hello(hello: &Hello, host: &str) -> Result<(), Splice> {
    match hello.name.as_deref() {
        None => return Err(Splice::NoName),
        Some(name) if name == host => {}
        Some(_) if hello.ech => return Err(Splice::Ech),
        Some(_) => return Err(Splice::OtherName),
    }
    if !hello.alpn.is_empty() && !hello.offers(b"h2") && !hello.offers(b"http/1.1") {
        return Err(Splice::Alpn);
    }
    if hello.modern { Ok(()) } else { Err(Splice::Old) }
}

/// For fuzzers: whatever the bytes, however they are split, reading ends and says the same in the end.
pub fn fuzz(bytes: &[u8]) {
    let whole = read(bytes);
    // A prefix is either not enough, or says what the whole says.
    for at in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = read(&bytes[..at]);
        assert!(part == Read::More || part == whole, "{part:?} became {whole:?}");
    }
    if let Read::Hello(hello) = whole
        && let Some(name) = hello.name.clone()
    {
        // The judge takes whatever was read.
        let _judged = judge_hello(&hello, &name);
    }
}

#[cfg(test)]
mod tests;
