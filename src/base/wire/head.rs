//! Field lines up to the empty line, as in heads and trailers (RFC 9112 section 5): names are tokens, lines end in CR LF,
//! values hold no control bytes and are not folded. Along the way it learns what frames the message.

use crate::base::target::{Scheme, split_authority};
use crate::base::wire::fault::{Fault, Limits};

/// What the fields say about the message's frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Content-Length.
    pub length: Option<u64>,
    /// Transfer-Encoding: chunked.
    pub chunked: bool,
    /// A Transfer-Encoding that we do not know: refused in requests, while an answer then ends with its connection
    /// (RFC 9112 section 6.3).
    pub unknown: bool,
    /// A valid Host field was there.
    pub host: bool,
    /// An Upgrade field was there.
    pub upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    ValueStart,
    Value,
    ValueLf,
    EndLf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Other,
    Host,
    Length,
    Coding,
    Upgrade,
}

/// Reads field lines, in any pieces.
#[derive(Debug)]
pub struct Fields {
    at: At,
    known: Known,
    trailers: bool,
    name: [u8; NAME_KEPT],
    name_len: usize,
    /// The value of a field that frames, and only of such.
    value: Vec<u8>,
    /// Bytes of this head so far.
    pub used: usize,
    count: usize,
    framing: Framing,
}

/// The longest name that means something here is `transfer-encoding`.
const NAME_KEPT: usize = 17;

/// The longest value of a framing field that is looked at: a host of 255 bytes with brackets and port.
const VALUE_KEPT: usize = 264;

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            at: At::LineStart,
            known: Known::Other,
            trailers: false,
            name: [0; NAME_KEPT],
            name_len: 0,
            value: Vec::new(),
            used: 0,
            count: 0,
            framing: Framing::default(),
        }
    }
}

impl Fields {
    /// Begins anew, keeping the buffer; in `trailers`, fields that frame or route are refused.
    pub fn begin(&mut self, trailers: bool) {
        self.at = At::LineStart;
        self.trailers = trailers;
        self.used = 0;
        self.count = 0;
        self.framing = Framing::default();
    }

    /// Reads from `bytes[*at..]` and moves `at` on. The frame when the empty line has been read.
    ///
    /// # Errors
    /// The first fault.
    pub fn feed(&mut self, limits: &Limits, bytes: &[u8], at: &mut usize) -> Result<Option<Framing>, Fault> {
        let start = *at;
        let room = limits.head.saturating_sub(self.used);
        let end = bytes.len().min(start.saturating_add(room));
        let found = self.walk(limits, &bytes[..end], at)?;
        self.used += *at - start;
        if found.is_none() && *at == end && end < bytes.len() {
            return Err(Fault::HeadLong);
        }
        Ok(found)
    }

    fn walk(&mut self, limits: &Limits, bytes: &[u8], at: &mut usize) -> Result<Option<Framing>, Fault> {
        while let Some(&byte) = bytes.get(*at) {
            match self.at {
                At::LineStart => match byte {
                    b'\r' => {
                        self.at = At::EndLf;
                        *at += 1;
                    }
                    b' ' | b'\t' => return Err(if self.count == 0 { Fault::Name } else { Fault::Fold }),
                    b'\n' => return Err(Fault::LineEnd),
                    _ => {
                        self.count += 1;
                        if self.count > limits.fields {
                            return Err(Fault::FieldsMany);
                        }
                        self.name_len = 0;
                        self.at = At::Name;
                    }
                },
                At::Name => self.name(bytes, at)?,
                At::ValueStart | At::Value if self.known == Known::Other => {
                    *at += plain(&bytes[*at..]);
                    self.value_end(bytes, at)?;
                }
                At::ValueStart | At::Value => {
                    let len = plain(&bytes[*at..]);
                    self.keep(&bytes[*at..*at + len])?;
                    *at += len;
                    self.value_end(bytes, at)?;
                }
                At::ValueLf => {
                    if byte != b'\n' {
                        return Err(Fault::LineEnd);
                    }
                    *at += 1;
                    self.at = At::LineStart;
                    self.settle()?;
                }
                At::EndLf => {
                    if byte != b'\n' {
                        return Err(Fault::LineEnd);
                    }
                    *at += 1;
                    return Ok(Some(self.framing));
                }
            }
        }
        Ok(None)
    }

    fn name(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let rest = &bytes[*at..];
        let len = rest.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(rest.len());
        for (place, byte) in self.name.iter_mut().skip(self.name_len).zip(&rest[..len]) {
            *place = *byte;
        }
        // One more than is kept means: longer than any that matters.
        self.name_len = (self.name_len + len).min(NAME_KEPT + 1);
        *at += len;
        match rest.get(len) {
            None => Ok(()),
            Some(b':') if self.name_len > 0 => {
                *at += 1;
                self.known = self.recognise();
                self.value.clear();
                self.at = At::ValueStart;
                if self.trailers && self.known != Known::Other { Err(Fault::Trailer) } else { Ok(()) }
            }
            Some(b'\r' | b'\n') => Err(Fault::LineEnd),
            Some(_) => Err(Fault::Name),
        }
    }

    fn recognise(&self) -> Known {
        let Some(name) = self.name.get(..self.name_len) else { return Known::Other };
        match self.name_len {
            4 if name.eq_ignore_ascii_case(b"host") => Known::Host,
            7 if name.eq_ignore_ascii_case(b"upgrade") => Known::Upgrade,
            14 if name.eq_ignore_ascii_case(b"content-length") => Known::Length,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Known::Coding,
            _ => Known::Other,
        }
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Fault> {
        if self.value.len() + part.len() > VALUE_KEPT {
            return match self.known {
                Known::Host => Err(Fault::Host),
                Known::Length => Err(Fault::Length),
                Known::Coding => Err(Fault::Coding),
                Known::Upgrade | Known::Other => Ok(()),
            };
        }
        self.value.extend_from_slice(part);
        Ok(())
    }

    fn value_end(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        self.at = At::Value;
        match bytes.get(*at) {
            None => Ok(()),
            Some(b'\r') => {
                *at += 1;
                self.at = At::ValueLf;
                Ok(())
            }
            Some(b'\n') => Err(Fault::LineEnd),
            Some(_) => Err(Fault::Control),
        }
    }

    /// A whole field has been read.
    fn settle(&mut self) -> Result<(), Fault> {
        let value = self.value.trim_ascii();
        match self.known {
            Known::Other => {}
            Known::Upgrade => self.framing.upgrade = true,
            Known::Host => {
                if self.framing.host || !host_is_valid(value) {
                    return Err(Fault::Host);
                }
                self.framing.host = true;
            }
            Known::Length => {
                if self.framing.chunked || self.framing.unknown {
                    return Err(Fault::Both);
                }
                if self.framing.length.is_some() {
                    return Err(Fault::Length);
                }
                self.framing.length = Some(number(value).ok_or(Fault::Length)?);
            }
            Known::Coding => {
                if self.framing.length.is_some() {
                    return Err(Fault::Both);
                }
                if self.framing.chunked || self.framing.unknown {
                    return Err(Fault::Coding);
                }
                match coding(value) {
                    Err(Fault::CodingUnknown) => self.framing.unknown = true,
                    known => self.framing.chunked = known?,
                }
            }
        }
        Ok(())
    }
}

/// An empty Host is lawful where the target has no authority (RFC 9110 section 7.2); who needs a name refuses it later.
fn host_is_valid(value: &[u8]) -> bool {
    value.is_empty() || std::str::from_utf8(value).is_ok_and(|text| split_authority(text, Scheme::Http).is_ok())
}

/// Digits alone; 19 of them always fit, more are no length that anyone means.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse::<u64>().ok().filter(|length| i64::try_from(*length).is_ok())
}

/// Exactly `chunked`. A name we do not know is 501, everything that plays with the one we know is 400.
fn coding(value: &[u8]) -> Result<bool, Fault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        Ok(true)
    } else if !value.is_empty() && value.iter().all(|byte| TOKEN[usize::from(*byte)]) && !holds_chunked(value) {
        Err(Fault::CodingUnknown)
    } else {
        Err(Fault::Coding)
    }
}

fn holds_chunked(value: &[u8]) -> bool {
    value.windows(7).any(|part| part.eq_ignore_ascii_case(b"chunked"))
}

/// How many leading bytes may stand in a field value: no control bytes but HTAB. Eight at a time.
pub fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8) {
        let word = u64::from_ne_bytes(eight.try_into().unwrap_or_default());
        let low = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let del = word ^ (ONES * 0x7f);
        let del = del.wrapping_sub(ONES) & !del & HIGHS;
        if (low | del) != 0 {
            break;
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| matches!(byte, 0..=8 | 10..=31 | 127)).map_or(bytes.len(), |more| at + more)
}

/// RFC 9110 section 5.6.2.
pub const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric()
            || matches!(letter, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Framing>, Fault> {
        let mut fields = Fields::default();
        fields.begin(false);
        fields.feed(&Limits::REQUEST, text.as_bytes(), &mut 0)
    }

    #[test]
    fn fields_tell_the_frame_or_what_is_wrong() {
        let frame = |length, chunked, host| Ok(Some(Framing { length, chunked, host, ..Framing::default() }));
        let table = [
            ("\r\n", frame(None, false, false)),
            ("Host: a.kz\r\n\r\n", frame(None, false, true)),
            ("hOST:a.kz:81\r\nX-Y:\r\n\r\n", frame(None, false, true)),
            ("Content-Length: 12 \r\n\r\n", frame(Some(12), false, false)),
            ("Transfer-Encoding:\tChunked\r\n\r\n", frame(None, true, false)),
            ("Host: a", Ok(None)),
            ("X: \u{4d9}\ty\r\n\r\n", frame(None, false, false)),
            ("Host: a\r\nHost: a\r\n\r\n", Err(Fault::Host)),
            ("Host: a b\r\n", Err(Fault::Host)),
            ("Host: u@a\r\n", Err(Fault::Host)),
            ("Host: a,b:x\r\n", Err(Fault::Host)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Fault::Length)),
            ("Content-Length: 5, 5\r\n", Err(Fault::Length)),
            ("Content-Length: +5\r\n", Err(Fault::Length)),
            ("Content-Length: 0x5\r\n", Err(Fault::Length)),
            ("Content-Length: 5 5\r\n", Err(Fault::Length)),
            ("Content-Length: \r\n", Err(Fault::Length)),
            ("Content-Length: 99999999999999999999\r\n", Err(Fault::Length)),
            ("Content-Length: 9999999999999999999\r\n", Err(Fault::Length)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Fault::Both)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(Fault::Both)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(Fault::Coding)),
            ("Transfer-Encoding: xchunked\r\n", Err(Fault::Coding)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(Fault::Coding)),
            ("Transfer-Encoding: gzip\r\n\r\n", Ok(Some(Framing { unknown: true, ..Framing::default() }))),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(Fault::Coding)),
            ("Transfer-Encoding: gzip\r\nContent-Length: 1\r\n", Err(Fault::Both)),
            ("Transfer-Encoding: \r\n", Err(Fault::Coding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Fault::Coding)),
            ("X : y\r\n", Err(Fault::Name)),
            (": y\r\n", Err(Fault::Name)),
            ("X\u{b}: y\r\n", Err(Fault::Name)),
            ("X\0: y\r\n", Err(Fault::Name)),
            (" X: y\r\n", Err(Fault::Name)),
            ("X\r\n", Err(Fault::LineEnd)),
            ("X: y\n", Err(Fault::LineEnd)),
            ("X: y\rz", Err(Fault::LineEnd)),
            ("\n", Err(Fault::LineEnd)),
            ("X: y\r\n z\r\n", Err(Fault::Fold)),
            ("X: y\r\n\tz\r\n", Err(Fault::Fold)),
            ("X: \0\r\n", Err(Fault::Control)),
            ("X: a\u{c}\r\n", Err(Fault::Control)),
            ("X: a\u{7f}\r\n", Err(Fault::Control)),
        ];
        for (text, wanted) in table {
            assert_eq!(read(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn heads_end_somewhere() {
        let long = format!("X: {}\r\n\r\n", "y".repeat(Limits::REQUEST.head));
        assert_eq!(read(&long), Err(Fault::HeadLong));
        assert_eq!(read(&"X: y\r\n".repeat(101)), Err(Fault::FieldsMany));
        assert_eq!(read(&format!("{}\r\n", "X: y\r\n".repeat(100))), Ok(Some(Framing::default())));
    }

    #[test]
    fn plain_stops_at_every_control_byte_at_every_place() {
        for byte in 0..=255_u8 {
            for at in 0..20 {
                let mut text = [b'a'; 20];
                text[at] = byte;
                let control = byte != 9 && (byte < 32 || byte == 127);
                assert_eq!(plain(&text), if control { at } else { 20 }, "{byte} at {at}");
            }
        }
    }
}
