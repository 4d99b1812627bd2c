//! Judges the byte stream of a client: request lines, fields, bodies, one request after the other (RFC 9112 sections 2-7).
//! What it lets pass is read in one way only, by hyper and by whoever stands behind us.

use crate::base::wire::chunk::Chunks;
use crate::base::wire::fault::{Fault, Limits};
use crate::base::wire::head::{Fields, Framing, TOKEN};

/// What may pass of the bytes just fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All of them.
    All,
    /// So many; what follows belongs to whatever the answer switches to. See [`Requests::resume`].
    Upto(usize),
}

/// A fault, and what may still pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub fault: Fault,
    /// So many of the bytes just fed belong to whole good requests before the bad one.
    pub pass: usize,
    /// The bad request's head was let through earlier: the fault is in its body.
    pub begun: bool,
}

/// Where the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests.
    Idle = 0,
    /// In a head.
    Head = 1,
    /// In a body.
    Body = 2,
    /// After a request to switch protocols, before the answer.
    Waiting = 3,
    /// No longer HTTP: bytes pass unseen.
    Through = 4,
}

#[derive(Debug)]
enum At {
    Start,
    StartLf,
    Method,
    Target,
    Version,
    LineLf,
    Fields,
    Length(u64),
    Chunked(Chunks),
    Waiting,
    Through,
}

/// Reads a client's stream, in any pieces.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    at: At,
    fields: Fields,
    /// Start of the method, or the version.
    word: [u8; 8],
    word_len: usize,
    target_len: usize,
    connect: bool,
    head_only: bool,
    old: bool,
    blank: bool,
    framing: Framing,
    /// Heads let through.
    heads: u32,
}

/// No registered method is longer than 17 bytes.
const METHOD_MOST: usize = 32;

impl Requests {
    /// At the start of a connection.
    pub fn new(limits: Limits) -> Requests {
        Requests {
            limits,
            at: At::Start,
            fields: Fields::default(),
            word: [0; 8],
            word_len: 0,
            target_len: 0,
            connect: false,
            head_only: false,
            old: false,
            blank: false,
            framing: Framing::default(),
            heads: 0,
        }
    }

    /// Heads of good requests so far.
    pub fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether the newest request is a HEAD.
    pub fn is_head(&self) -> bool {
        self.head_only
    }

    /// Whether the newest request is a CONNECT.
    pub fn is_connect(&self) -> bool {
        self.connect
    }

    /// Whether the newest request asks to switch protocols.
    pub fn wants_upgrade(&self) -> bool {
        self.framing.upgrade && !self.old
    }

    /// Where the stream stands.
    pub fn phase(&self) -> Phase {
        match self.at {
            At::Start => Phase::Idle,
            At::StartLf | At::Method | At::Target | At::Version | At::LineLf | At::Fields => Phase::Head,
            At::Length(_) | At::Chunked(_) => Phase::Body,
            At::Waiting => Phase::Waiting,
            At::Through => Phase::Through,
        }
    }

    /// Ends [`Phase::Waiting`]: the answer switched protocols (`through`) or did not.
    pub fn resume(&mut self, through: bool) {
        if matches!(self.at, At::Waiting) {
            self.at = if through { At::Through } else { At::Start };
        }
    }

    /// Judges the next bytes.
    ///
    /// # Errors
    /// The first fault; the stream is not to be fed after it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Step, Refused> {
        let mut at = 0;
        // Where the request being read starts in `bytes`, and whether its head came with an earlier feed.
        let mut start = 0;
        let mut begun = self.phase() == Phase::Body;
        while at < bytes.len() {
            match self.at {
                At::Through => return Ok(Step::All),
                At::Waiting => return Ok(Step::Upto(at)),
                At::Start => (start, begun) = (at, false),
                _ => {}
            }
            let heads = self.heads;
            if let Err(fault) = self.step(bytes, &mut at) {
                let inside = matches!(self.at, At::Length(_) | At::Chunked(_));
                if inside && !begun {
                    self.heads = heads.saturating_sub(1);
                }
                return Err(Refused { fault, pass: start, begun });
            }
        }
        // A CONNECT that ends exactly here is passed on whole; what comes next is the tunnel's.
        Ok(Step::All)
    }

    fn step(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let byte = bytes[*at];
        match &mut self.at {
            At::Start => self.start(byte, at)?,
            At::StartLf => {
                if byte != b'\n' {
                    return Err(Fault::LineEnd);
                }
                *at += 1;
                self.at = At::Start;
            }
            At::Method => self.method(bytes, at)?,
            At::Target => self.target(bytes, at)?,
            At::Version => self.version(byte, at)?,
            At::LineLf => {
                if byte != b'\n' {
                    return Err(Fault::LineEnd);
                }
                *at += 1;
                self.fields.begin(false);
                self.fields.used = self.target_len;
                self.at = At::Fields;
            }
            At::Fields => {
                if let Some(framing) = self.fields.feed(&self.limits, bytes, at)? {
                    self.framing = framing;
                    self.head_end()?;
                }
            }
            At::Length(left) => {
                let there = bytes.len() - *at;
                let take = usize::try_from(*left).map_or(there, |left| left.min(there));
                *at += take;
                *left -= take as u64;
                if *left == 0 {
                    self.message_end();
                }
            }
            At::Chunked(chunks) => {
                if chunks.feed(&self.limits, &mut self.fields, bytes, at)? {
                    self.message_end();
                }
            }
            At::Waiting | At::Through => {}
        }
        Ok(())
    }

    /// One empty line before a request line is forgiven (RFC 9112 section 2.2).
    fn start(&mut self, byte: u8, at: &mut usize) -> Result<(), Fault> {
        match byte {
            b'\r' if !self.blank => {
                self.blank = true;
                *at += 1;
                self.at = At::StartLf;
            }
            b'\r' | b'\n' => return Err(Fault::LineEnd),
            _ => {
                self.blank = false;
                self.word_len = 0;
                self.target_len = 0;
                self.at = At::Method;
            }
        }
        Ok(())
    }

    fn method(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let rest = &bytes[*at..];
        let len = rest.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(rest.len());
        if self.word_len + len > METHOD_MOST {
            return Err(Fault::MethodLong);
        }
        for &byte in &rest[..len] {
            if let Some(place) = self.word.get_mut(self.word_len) {
                *place = byte;
            }
            self.word_len += 1;
        }
        *at += len;
        match rest.get(len) {
            None => Ok(()),
            Some(b' ') if self.word_len > 0 => {
                *at += 1;
                let method = self.word.get(..self.word_len).unwrap_or_default();
                self.connect = method == b"CONNECT";
                self.head_only = method == b"HEAD";
                self.at = At::Target;
                Ok(())
            }
            Some(_) => Err(Fault::Method),
        }
    }

    /// Visible ASCII without `#`: a fragment is never sent (RFC 9112 section 3.2).
    fn target(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let rest = &bytes[*at..];
        let len = rest.iter().position(|byte| !matches!(byte, 0x21..=0x7e) || *byte == b'#').unwrap_or(rest.len());
        self.target_len += len;
        *at += len;
        if self.target_len > self.limits.target {
            return Err(Fault::TargetLong);
        }
        match rest.get(len) {
            None => Ok(()),
            Some(b' ') if self.target_len > 0 => {
                *at += 1;
                self.word_len = 0;
                self.at = At::Version;
                Ok(())
            }
            // HTTP/0.9 and bare line ends.
            Some(b'\r' | b'\n') => Err(Fault::LineEnd),
            Some(_) => Err(Fault::Target),
        }
    }

    fn version(&mut self, byte: u8, at: &mut usize) -> Result<(), Fault> {
        *at += 1;
        if let Some(place) = self.word.get_mut(self.word_len) {
            *place = byte;
            self.word_len += 1;
            let shape = match self.word_len {
                6 | 8 => byte.is_ascii_digit(),
                7 => byte == b'.',
                at => byte == b"HTTP/"[at - 1],
            };
            return if shape { Ok(()) } else { Err(Fault::Target) };
        }
        match (byte, &self.word) {
            (b'\r', b"HTTP/1.1") => self.old = false,
            (b'\r', b"HTTP/1.0") => self.old = true,
            (b'\r', _) => return Err(Fault::Version),
            (b'\n', _) => return Err(Fault::LineEnd),
            _ => return Err(Fault::Target),
        }
        self.at = At::LineLf;
        Ok(())
    }

    fn head_end(&mut self) -> Result<(), Fault> {
        if self.framing.unknown {
            return Err(Fault::CodingUnknown);
        }
        let Framing { length, chunked, host, .. } = self.framing;
        if !host && !self.old {
            return Err(Fault::Host);
        }
        if chunked && self.old {
            return Err(Fault::Coding);
        }
        if self.connect && (chunked || length.is_some_and(|length| length > 0)) {
            // RFC 9110 section 9.3.6: nobody agrees what it would mean.
            return Err(Fault::Length);
        }
        self.heads += 1;
        match length {
            _ if chunked => self.at = At::Chunked(Chunks::default()),
            Some(length) if length > 0 => self.at = At::Length(length),
            _ => self.message_end(),
        }
        Ok(())
    }

    fn message_end(&mut self) {
        self.at = if self.connect {
            At::Through
        } else if self.wants_upgrade() {
            At::Waiting
        } else {
            At::Start
        };
    }
}

/// What `pieces`, read one after the other, come to: requests that ended, the fault, where it stands. For tests and fuzzers.
pub fn verdict(pieces: &[&[u8]]) -> (u32, Option<Fault>, Option<Phase>) {
    let mut judge = Requests::new(Limits::REQUEST);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match judge.feed(rest) {
                Ok(Step::All) => break,
                Ok(Step::Upto(at)) => {
                    rest = &rest[at..];
                    judge.resume(false);
                }
                Err(refused) => return (judge.heads - u32::from(refused.begun), Some(refused.fault), None),
            }
        }
    }
    judge.resume(false);
    (judge.heads, None, Some(judge.phase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET http://a.kz/x HTTP/1.1\r\nHost: a.kz\r\n\r\n";

    fn head(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn good_streams_pass_and_bad_ones_are_named() {
        let idle = |heads| (heads, None, Some(Phase::Idle));
        let bad = |fault| (0, Some(fault), None);
        let table = [
            (String::from(GET), idle(1)),
            (GET.repeat(3), idle(3)),
            (format!("\r\n{GET}"), idle(1)),
            ("GET / HTTP/1.0\r\n\r\n".into(), idle(1)),
            (head("Content-Length: 3\r\n") + "abc" + GET, idle(2)),
            (head("Content-Length: 3\r\n") + "ab", (1, None, Some(Phase::Body))),
            (head("Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\n\r\n" + GET, idle(2)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n\0\x16".into(), (1, None, Some(Phase::Through))),
            ("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n".into(), idle(1)),
            (head("Upgrade: websocket\r\n") + GET, idle(2)),
            (format!("\r\n\r\n{GET}"), bad(Fault::LineEnd)),
            (format!("\n{GET}"), bad(Fault::LineEnd)),
            ("GET /\r\n".into(), bad(Fault::LineEnd)),
            ("GET / HTTP/1.1\nHost: a\n\n".into(), bad(Fault::LineEnd)),
            ("GET / HTTP/1.1\rX".into(), bad(Fault::LineEnd)),
            ("GET  / HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET / x HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET /  HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET / HTTP/1.1 \r\n".into(), bad(Fault::Target)),
            ("GET\t/ HTTP/1.1\r\n".into(), bad(Fault::Method)),
            ("G\0T / HTTP/1.1\r\n".into(), bad(Fault::Method)),
            (" GET / HTTP/1.1\r\n".into(), bad(Fault::Method)),
            ("\x16\x03\x01".into(), bad(Fault::Method)),
            ("GET /\u{b}x HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET /#x HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET /\u{e4} HTTP/1.1\r\n".into(), bad(Fault::Target)),
            ("GET / http/1.1\r\n".into(), bad(Fault::Target)),
            ("GET / HTTP/2.0\r\n".into(), bad(Fault::Version)),
            ("GET / HTTP/1.2\r\n".into(), bad(Fault::Version)),
            ("PRI * HTTP/2.0\r\n\r\n".into(), bad(Fault::Version)),
            ("GET / HTTP/1.1\r\n\r\n".into(), bad(Fault::Host)),
            (head("Host: b\r\n"), bad(Fault::Host)),
            (head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), bad(Fault::Both)),
            (head("Content-Length: 3\r\nContent-Length: 3\r\n"), bad(Fault::Length)),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), bad(Fault::Coding)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".into(), bad(Fault::Length)),
            (format!("{} / HTTP/1.1\r\n", "A".repeat(33)), bad(Fault::MethodLong)),
            (format!("GET /{} HTTP/1.1\r\n", "a".repeat(32 << 10)), bad(Fault::TargetLong)),
            (format!("{GET}GET / HTTP/1.1\r\nHost : a\r\n\r\n"), (1, Some(Fault::Name), None)),
            (head("Transfer-Encoding: chunked\r\n") + "x", bad(Fault::Chunk)),
        ];
        for (text, wanted) in table {
            let bytes = text.as_bytes();
            assert_eq!(verdict(&[bytes]), wanted, "{text:?}");
            if bytes.len() < 1000 {
                for at in 0..bytes.len() {
                    assert_eq!(verdict(&[&bytes[..at], &bytes[at..]]), wanted, "{text:?} cut at {at}");
                }
            }
        }
    }

    #[test]
    fn good_requests_before_a_bad_one_pass_and_no_byte_of_the_bad_one() {
        let text = format!("{GET}{}3\r\nabcX", head("Transfer-Encoding: chunked\r\n"));
        let mut judge = Requests::new(Limits::REQUEST);
        let refused = judge.feed(text.as_bytes());
        assert_eq!(refused, Err(Refused { fault: Fault::Chunk, pass: GET.len(), begun: false }));
        assert_eq!(judge.heads(), 1);

        let mut judge = Requests::new(Limits::REQUEST);
        assert_eq!(judge.feed(&text.as_bytes()[..text.len() - 1]), Ok(Step::All));
        assert_eq!(judge.feed(b"X"), Err(Refused { fault: Fault::Chunk, pass: 0, begun: true }));
        assert_eq!(judge.heads(), 2);
    }

    #[test]
    fn after_a_request_to_switch_the_stream_waits_for_the_answer() {
        let text = head("Connection: upgrade\r\nUpgrade: websocket\r\n") + "\0\0";
        let mut judge = Requests::new(Limits::REQUEST);
        assert_eq!(judge.feed(text.as_bytes()), Ok(Step::Upto(text.len() - 2)));
        assert_eq!(judge.phase(), Phase::Waiting);
        judge.resume(true);
        assert_eq!(judge.feed(b"\0\0"), Ok(Step::All));
    }
}
