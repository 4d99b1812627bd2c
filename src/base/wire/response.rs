//! Judges the byte stream of an origin (RFC 9112 sections 4-7): status lines, fields, bodies. A stricter reader than the
//! standard asks for where leniency would let two readers disagree: repeated lengths and a length beside a coding are faults.

use crate::base::wire::chunk::Chunks;
use crate::base::wire::fault::{Fault, Limits};
use crate::base::wire::head::{Fields, Framing, plain};
use std::collections::VecDeque;

/// What was asked, as far as it decides how the answer is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// HEAD: no body whatever the fields say.
    pub head: bool,
    /// CONNECT: a 2xx opens a tunnel.
    pub connect: bool,
    /// An Upgrade field was sent: a 101 may come.
    pub upgrade: bool,
}

#[derive(Debug)]
enum At {
    Idle,
    Line,
    LineLf,
    Fields,
    Length(u64),
    Chunked(Chunks),
    ToEnd,
    Through,
}

/// Reads an origin's stream, in any pieces.
#[derive(Debug)]
pub struct Responses {
    limits: Limits,
    at: At,
    fields: Fields,
    asked: VecDeque<Asked>,
    /// `HTTP/1.x NNN`.
    line: [u8; 12],
    line_len: usize,
    reason_len: usize,
    interims: usize,
    done: u32,
}

/// Requests on their way at once; hyper's client sends one, this is slack for races.
const ASKED_MOST: usize = 16;

impl Responses {
    /// At the start of a connection.
    pub fn new(limits: Limits) -> Responses {
        Responses {
            limits,
            at: At::Idle,
            fields: Fields::default(),
            asked: VecDeque::new(),
            line: [0; 12],
            line_len: 0,
            reason_len: 0,
            interims: 0,
            done: 0,
        }
    }

    /// A request has been sent.
    ///
    /// # Errors
    /// When too many are on their way.
    pub fn ask(&mut self, asked: Asked) -> Result<(), Fault> {
        if self.asked.len() >= ASKED_MOST {
            return Err(Fault::Surplus);
        }
        self.asked.push_back(asked);
        Ok(())
    }

    /// Final answers that have ended.
    pub fn answered(&self) -> u32 {
        self.done
    }

    /// Whether the answer being read ends with the connection (RFC 9112 section 6.3, the last rule).
    pub fn lasts_to_end(&self) -> bool {
        matches!(self.at, At::ToEnd)
    }

    /// Whether bytes pass unseen.
    pub fn is_through(&self) -> bool {
        matches!(self.at, At::Through)
    }

    /// Judges the next bytes.
    ///
    /// # Errors
    /// The first fault, and how many of the bytes are good answers before it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), (Fault, usize)> {
        let mut at = 0;
        let mut good = 0;
        while at < bytes.len() {
            if matches!(self.at, At::Through | At::ToEnd) {
                return Ok(());
            }
            self.step(bytes, &mut at).map_err(|fault| (fault, good))?;
            if matches!(self.at, At::Idle) {
                good = at;
            }
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let byte = bytes[*at];
        match &mut self.at {
            At::Idle => {
                if self.asked.is_empty() {
                    return Err(Fault::Surplus);
                }
                self.line_len = 0;
                self.reason_len = 0;
                self.at = At::Line;
            }
            At::Line => self.line(bytes, at)?,
            At::LineLf => {
                if byte != b'\n' {
                    return Err(Fault::LineEnd);
                }
                *at += 1;
                self.fields.begin(false);
                self.fields.used = self.reason_len;
                self.at = At::Fields;
            }
            At::Fields => {
                if let Some(framing) = self.fields.feed(&self.limits, bytes, at)? {
                    self.head_end(framing)?;
                }
            }
            At::Length(left) => {
                let there = bytes.len() - *at;
                let take = usize::try_from(*left).map_or(there, |left| left.min(there));
                *at += take;
                *left -= take as u64;
                if *left == 0 {
                    self.end();
                }
            }
            At::Chunked(chunks) => {
                if chunks.feed(&self.limits, &mut self.fields, bytes, at)? {
                    self.end();
                }
            }
            At::ToEnd | At::Through => {}
        }
        Ok(())
    }

    /// `HTTP/1.1 200 reason` or, as some servers write, without the reason and its space.
    fn line(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        while let (Some(place), Some(&byte)) = (self.line.get_mut(self.line_len), bytes.get(*at)) {
            let shape = match self.line_len {
                7 => matches!(byte, b'0' | b'1'),
                8 => byte == b' ',
                9 => matches!(byte, b'1'..=b'9'),
                10 | 11 => byte.is_ascii_digit(),
                other => byte == b"HTTP/1."[other],
            };
            if !shape {
                return Err(Fault::StatusLine);
            }
            *place = byte;
            self.line_len += 1;
            *at += 1;
        }
        let rest = &bytes[*at..];
        if rest.is_empty() {
            return Ok(());
        }
        if self.reason_len == 0 && !matches!(rest[0], b' ' | b'\r') {
            return Err(if rest[0] == b'\n' { Fault::LineEnd } else { Fault::StatusLine });
        }
        let len = plain(rest);
        self.reason_len += len;
        *at += len;
        if self.reason_len > self.limits.head {
            return Err(Fault::HeadLong);
        }
        match rest.get(len) {
            None => Ok(()),
            Some(b'\r') => {
                *at += 1;
                self.at = At::LineLf;
                Ok(())
            }
            Some(b'\n') => Err(Fault::LineEnd),
            Some(_) => Err(Fault::StatusLine),
        }
    }

    fn head_end(&mut self, framing: Framing) -> Result<(), Fault> {
        let status = self.line[9..].iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let old = self.line[7] == b'0';
        let asked = self.asked.front().copied().unwrap_or_default();
        if framing.chunked && old {
            return Err(Fault::Coding);
        }
        self.at = match status {
            101 if asked.upgrade => At::Through,
            101 => return Err(Fault::Interim),
            100..=199 => {
                self.interims += 1;
                if self.interims > self.limits.interims || framing.chunked || framing.length.is_some_and(|length| length > 0) {
                    return Err(Fault::Interim);
                }
                self.line_len = 0;
                self.reason_len = 0;
                At::Line
            }
            200..=299 if asked.connect => At::Through,
            204 | 304 => return self.done(),
            _ if asked.head => return self.done(),
            _ if framing.chunked => At::Chunked(Chunks::default()),
            _ => match framing.length {
                Some(0) => return self.done(),
                Some(length) => At::Length(length),
                None => At::ToEnd,
            },
        };
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "reads as the last word of head_end")]
    fn done(&mut self) -> Result<(), Fault> {
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        self.asked.pop_front();
        self.interims = 0;
        self.done += 1;
        self.at = At::Idle;
    }
}

/// What `pieces` come to as answers to two GETs: answers that ended and the fault. For tests and fuzzers.
pub fn verdict(pieces: &[&[u8]]) -> (u32, Option<Fault>) {
    let mut judge = Responses::new(Limits::RESPONSE);
    let upgrade = Asked { upgrade: true, ..Asked::default() };
    let asked = [Asked::default(), upgrade].into_iter().try_for_each(|asked| judge.ask(asked));
    if let Err(fault) = asked {
        return (0, Some(fault));
    }
    for piece in pieces {
        if let Err((fault, _)) = judge.feed(piece) {
            return (judge.done, Some(fault));
        }
    }
    (judge.done, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked: Asked, text: &str) -> (u32, Option<Fault>) {
        let mut judge = Responses::new(Limits::RESPONSE);
        judge.ask(asked).expect("the first");
        match judge.feed(text.as_bytes()) {
            Ok(()) => (judge.done, None),
            Err((fault, _)) => (judge.done, Some(fault)),
        }
    }

    #[test]
    fn answers_are_framed_or_named() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (1, None)),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (1, None)),
            ("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", (1, None)),
            ("HTTP/1.0 200 OK\r\n\r\nwhatever\0", (0, None)),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", (1, None)),
            ("HTTP/1.1 304 N\r\nContent-Length: 99\r\n\r\n", (1, None)),
            ("HTTP/1.1 204 N\r\n\r\nx", (1, Some(Fault::Surplus))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", (1, Some(Fault::Surplus))),
            ("HTTP/1.1 101 S\r\n\r\n", (0, Some(Fault::Interim))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", (0, Some(Fault::Length))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", (0, Some(Fault::Both))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", (0, Some(Fault::Coding))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\n\r\nuntil the end", (0, None)),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (0, Some(Fault::Coding))),
            ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", (0, Some(Fault::LineEnd))),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", (0, Some(Fault::Fold))),
            ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", (0, Some(Fault::Name))),
            ("HTTP/1.1 2000 OK\r\n\r\n", (0, Some(Fault::StatusLine))),
            ("HTTP/1.1  200 OK\r\n\r\n", (0, Some(Fault::StatusLine))),
            ("HTTP/2.0 200 OK\r\n\r\n", (0, Some(Fault::StatusLine))),
            ("HTTP/1.1 099 OK\r\n\r\n", (0, Some(Fault::StatusLine))),
            ("<html>", (0, Some(Fault::StatusLine))),
        ];
        for (text, wanted) in table {
            assert_eq!(answer(Asked::default(), text), wanted, "{text:?}");
        }
        let flood = "HTTP/1.1 103 Early\r\n\r\n".repeat(33);
        assert_eq!(answer(Asked::default(), &flood), (0, Some(Fault::Interim)));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(10_000));
        assert_eq!(answer(Asked::default(), &many), (0, Some(Fault::FieldsMany)));
    }

    #[test]
    fn what_was_asked_frames_the_answer() {
        let head = Asked { head: true, ..Asked::default() };
        assert_eq!(answer(head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), (1, None));
        assert_eq!(answer(head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), (1, Some(Fault::Surplus)));
        let connect = Asked { connect: true, ..Asked::default() };
        assert_eq!(answer(connect, "HTTP/1.1 200 OK\r\n\r\n\0\x01"), (0, None));
        let upgrade = Asked { upgrade: true, ..Asked::default() };
        assert_eq!(answer(upgrade, "HTTP/1.1 101 S\r\n\r\n\0\x01"), (0, None));
        assert_eq!(Responses::new(Limits::RESPONSE).feed(b"H"), Err((Fault::Surplus, 0)));
    }

    #[test]
    fn good_answers_before_a_fault_are_told() {
        let mut judge = Responses::new(Limits::RESPONSE);
        judge.ask(Asked::default()).expect("the first");
        assert_eq!(judge.feed(b"HTTP/1.1 204 N\r\n\r\nx"), Err((Fault::Surplus, 18)));
    }
}
