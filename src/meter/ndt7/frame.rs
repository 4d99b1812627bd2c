//! Frames of WebSocket (RFC 6455) as a speed test has them: payload is counted as it comes and never collected. Pure.
//!
//! A message may have 16 MiB; counted when it is whole, a line of 1 Mbit/s would be measured in steps of two minutes, and each test
//! would hold it in memory. So heads are read and written with tungstenite's own reader and writer, and what is between them only
//! passes by. Texts and control frames are kept whole: they are short, or the other side is no ndt7.

use crate::meter::ndt7::message;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest message of payload, bytes: ndt7's own limit.
pub(super) const LONGEST: u64 = 1 << 24;

/// Longest head of a frame (RFC 6455 section 5.2).
const LONGEST_HEAD: usize = 14;

/// Longest control frame (RFC 6455 section 5.5).
const LONGEST_CONTROL: u64 = 125;

/// First size of a message, bytes.
const FIRST_SIZE: u64 = 1 << 13;

/// Largest size of a message that we send, bytes: what the reference's server and Go client do.
const LARGEST_SIZE: u64 = 1 << 20;

/// A message is at most this part of what was sent before it.
const PART: u64 = 16;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// So many bytes of payload.
    Payload(u64),
    /// A text.
    Text(String),
    /// To be answered with the same.
    Ping(Vec<u8>),
    /// The other side will send nothing more.
    Close,
}

/// Why what came is no WebSocket, or none of ndt7.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Bits or codes that nobody agreed on.
    #[error("a frame of an extension that nobody agreed on")]
    Extension,
    /// A client masks, a server does not.
    #[error("a frame that is masked the wrong way")]
    Mask,
    /// Longer than [`LONGEST`], or a text longer than any measurement.
    #[error("a message of {0} bytes")]
    Long(u64),
    /// A control frame in parts, or a long one.
    #[error("a malformed control frame")]
    Control,
    /// A part of no message, or a message within another.
    #[error("parts of messages out of order")]
    Order,
    /// A text that is none.
    #[error("a text that is not UTF-8")]
    Text,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Payload,
    Text,
}

/// Reads frames, in whatever pieces they come.
#[derive(Debug)]
pub(super) struct Reader {
    /// Whether the other side has to mask: it is the client.
    masks: bool,
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// The frame that passes by.
    frame: Option<Frame>,
    /// The message that it is a part of, and its length so far.
    message: Option<(Kind, u64)>,
    /// The text that it is a part of.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    code: OpCode,
    last: bool,
    mask: [u8; 4],
    /// Bytes that are still to come.
    left: u64,
    /// What has come of a control frame.
    control: Vec<u8>,
    /// How much has passed of what is kept: where the mask stands.
    passed: usize,
}

impl Reader {
    /// Of a side that masks (a client) or does not (a server).
    pub(super) fn new(masks: bool) -> Reader {
        Reader { masks, head: Vec::with_capacity(LONGEST_HEAD), frame: None, message: None, text: Vec::new() }
    }

    /// Takes the next bytes and tells what they hold.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut on: impl FnMut(Event)) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.frame.is_none() {
                let (used, frame) = self.begin(bytes)?;
                bytes = &bytes[used..];
                self.frame = frame;
            }
            if let Some(mut frame) = self.frame.take() {
                let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                let (part, rest) = bytes.split_at(here);
                bytes = rest;
                frame.left -= part.len() as u64;
                self.pass(&mut frame, part, &mut on);
                if frame.left == 0 {
                    self.end(frame, &mut on)?;
                } else {
                    self.frame = Some(frame);
                }
            }
        }
        Ok(())
    }

    /// Reads a head: how many of the bytes belong to it, and the frame when it is whole.
    fn begin(&mut self, bytes: &[u8]) -> Result<(usize, Option<Frame>), Fault> {
        let before = self.head.len();
        let more = (LONGEST_HEAD - before).min(bytes.len());
        self.head.extend_from_slice(&bytes[..more]);
        let mut cursor = Cursor::new(&self.head);
        let Some((head, length)) = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Extension)? else {
            return Ok((more, None));
        };
        let used = usize::try_from(cursor.position()).unwrap_or(LONGEST_HEAD).saturating_sub(before);
        self.head.clear();
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(Fault::Extension);
        }
        if head.mask.is_some() != self.masks {
            return Err(Fault::Mask);
        }
        match head.opcode {
            OpCode::Control(_) if !head.is_final || length > LONGEST_CONTROL => return Err(Fault::Control),
            OpCode::Control(_) => {}
            OpCode::Data(data) => self.grow(data, length)?,
        }
        let mask = head.mask.unwrap_or_default();
        let frame = Frame { code: head.opcode, last: head.is_final, mask, left: length, control: Vec::new(), passed: 0 };
        Ok((used, Some(frame)))
    }

    /// A frame joins its message.
    fn grow(&mut self, data: Data, length: u64) -> Result<(), Fault> {
        let (kind, before) = match (data, self.message) {
            (Data::Continue, Some(message)) => message,
            (Data::Binary, None) => (Kind::Payload, 0),
            (Data::Text, None) => (Kind::Text, 0),
            (Data::Reserved(_), _) => return Err(Fault::Extension),
            _ => return Err(Fault::Order),
        };
        let whole = length.saturating_add(before);
        let most = if kind == Kind::Text { message::LONGEST as u64 } else { LONGEST };
        if whole > most {
            return Err(Fault::Long(whole));
        }
        self.message = Some((kind, whole));
        Ok(())
    }

    /// A part of a frame passes by.
    fn pass(&mut self, frame: &mut Frame, part: &[u8], on: &mut impl FnMut(Event)) {
        let kept = match (frame.code, self.message) {
            (OpCode::Control(_), _) => &mut frame.control,
            (OpCode::Data(_), Some((Kind::Text, _))) => &mut self.text,
            (OpCode::Data(_), _) => {
                if !part.is_empty() {
                    on(Event::Payload(part.len() as u64));
                }
                return;
            }
        };
        kept.extend(part.iter().enumerate().map(|(at, byte)| byte ^ frame.mask[(frame.passed + at) % 4]));
        frame.passed += part.len();
    }

    /// A frame is whole.
    fn end(&mut self, frame: Frame, on: &mut impl FnMut(Event)) -> Result<(), Fault> {
        match frame.code {
            OpCode::Control(Control::Ping) => on(Event::Ping(frame.control)),
            OpCode::Control(Control::Close) => on(Event::Close),
            OpCode::Data(_) if frame.last => {
                if let Some((Kind::Text, _)) = self.message.take() {
                    let text = String::from_utf8(std::mem::take(&mut self.text)).map_err(|_| Fault::Text)?;
                    on(Event::Text(text));
                }
            }
            OpCode::Control(_) | OpCode::Data(_) => {}
        }
        Ok(())
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// Payload.
    Payload,
    /// A measurement.
    Text,
    /// The answer to a ping.
    Pong,
    /// The end, as it should be.
    Close,
}

/// The head of a frame of `length` bytes; `mask` for a client.
pub(super) fn head(what: Send, length: u64, mask: Option<[u8; 4]>, into: &mut Vec<u8>) {
    let opcode = match what {
        Send::Payload => OpCode::Data(Data::Binary),
        Send::Text => OpCode::Data(Data::Text),
        Send::Pong => OpCode::Control(Control::Pong),
        Send::Close => OpCode::Control(Control::Close),
    };
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    // Writing to memory cannot fail.
    let _ = header.format(length, into);
}

/// A whole frame.
pub(super) fn whole(what: Send, body: &[u8], mask: Option<[u8; 4]>, into: &mut Vec<u8>) {
    head(what, body.len() as u64, mask, into);
    let mask = mask.unwrap_or_default();
    into.extend(body.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
}

/// The body of a Close as it should be: 1000 (RFC 6455 section 7.4.1).
pub(super) const NORMAL: &[u8] = &1000_u16.to_be_bytes();

/// How long the next message is: small at first, so that a thin line is measured finely, then larger, so that a fast one is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes(u64);

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes(FIRST_SIZE)
    }
}

impl Sizes {
    /// After so many bytes sent.
    pub(super) fn next(&mut self, sent: u64) -> u64 {
        if self.0 < LARGEST_SIZE && self.0 <= sent / PART {
            self.0 *= 2;
        }
        self.0
    }
}

/// For fuzzers: any bytes are frames or not, by either side, and say the same however they are cut.
pub(super) fn fuzz(bytes: &[u8]) {
    // Payload is told piece by piece: only the sum counts.
    let told = |masks: bool, step: usize| {
        let (mut reader, mut payload, mut rest) = (Reader::new(masks), 0, Vec::new());
        let all = bytes.chunks(step.max(1)).try_for_each(|part| {
            reader.take(part, |event| match event {
                Event::Payload(more) => payload += more,
                event => rest.push(event),
            })
        });
        (all.is_ok(), payload, rest)
    };
    for masks in [true, false] {
        let whole = told(masks, bytes.len());
        assert!(whole.1 <= bytes.len() as u64, "more payload than bytes");
        let (is_good, payload, rest) = told(masks, 3);
        assert_eq!(whole.0, is_good, "a matter of pieces");
        assert!(!is_good || (payload, rest) == (whole.1, whole.2), "other events in pieces");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that these bytes hold, however they are cut.
    fn read(masks: bool, bytes: &[u8], step: usize) -> Result<Vec<Event>, Fault> {
        let (mut reader, mut events) = (Reader::new(masks), Vec::new());
        for part in bytes.chunks(step) {
            reader.take(part, |event| match (events.last_mut(), event) {
                // Payload is told piece by piece: only the sum counts.
                (Some(Event::Payload(sum)), Event::Payload(more)) => *sum += more,
                (_, event) => events.push(event),
            })?;
        }
        Ok(events)
    }

    /// A stranger's frame: first byte, mask bit, length, body.
    fn raw(first: u8, masked: bool, length: u64, body: &[u8]) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(bit | u8::try_from(length).unwrap()),
            126..=65_535 => {
                bytes.push(bit | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(bit | 0x7f);
                bytes.extend(length.to_be_bytes());
            }
        }
        if masked {
            bytes.extend([0; 4]);
        }
        bytes.extend(body);
        bytes
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut() {
        for mask in [None, Some([1, 2, 3, 4])] {
            let mut bytes = Vec::new();
            whole(Send::Payload, &vec![7; 70_000], mask, &mut bytes);
            whole(Send::Text, "{\"a\":\"қ\"}".as_bytes(), mask, &mut bytes);
            whole(Send::Pong, b"x", mask, &mut bytes);
            whole(Send::Payload, &[], mask, &mut bytes);
            whole(Send::Payload, &[7; 300], mask, &mut bytes);
            whole(Send::Close, NORMAL, mask, &mut bytes);
            let wanted = vec![Event::Payload(70_000), Event::Text("{\"a\":\"қ\"}".into()), Event::Payload(300), Event::Close];
            for step in [1, 2, 3, 7, 1000, bytes.len()] {
                assert_eq!(read(mask.is_some(), &bytes, step), Ok(wanted.clone()), "in pieces of {step}");
            }
        }
    }

    #[test]
    fn parts_of_a_message_may_have_a_ping_between_them() {
        let bytes =
            [raw(0x01, false, 2, b"ab"), raw(0x89, false, 1, b"?"), raw(0x80, false, 1, b"c"), raw(0x02, false, 3, b"123")].concat();
        let end = [raw(0x00, false, 2, b"45"), raw(0x80, false, 0, b"")].concat();
        let wanted = [Event::Ping(b"?".to_vec()), Event::Text("abc".into()), Event::Payload(5)];
        assert_eq!(read(false, &[bytes, end].concat(), 4).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_websocket_of_ndt7_is_refused_by_its_head() {
        let table = [
            (raw(0x82, true, 5, b""), Fault::Mask),
            (raw(0xc2, false, 5, b""), Fault::Extension),
            (raw(0x83, false, 5, b""), Fault::Extension),
            (raw(0x8b, false, 5, b""), Fault::Extension),
            (raw(0x89, false, 126, b""), Fault::Control),
            (raw(0x09, false, 1, b""), Fault::Control),
            (raw(0x80, false, 1, b""), Fault::Order),
            ([raw(0x01, false, 1, b"a"), raw(0x82, false, 1, b"")].concat(), Fault::Order),
            (raw(0x82, false, (1 << 24) + 1, b""), Fault::Long((1 << 24) + 1)),
            (raw(0x82, false, u64::MAX, b""), Fault::Long(u64::MAX)),
            ([raw(0x02, false, 1, b"a"), raw(0x00, false, 1 << 24, b"")].concat(), Fault::Long((1 << 24) + 1)),
            (raw(0x81, false, 65_537, b""), Fault::Long(65_537)),
            (raw(0x81, false, 2, b"\xff\xfe"), Fault::Text),
        ];
        for (bytes, fault) in table {
            assert_eq!(read(false, &bytes, 3), Err(fault), "{:02x?}", &bytes[..bytes.len().min(12)]);
        }
        assert_eq!(read(true, &raw(0x82, false, 5, b""), 3), Err(Fault::Mask));
        // The longest that is allowed is no trouble and takes no room.
        let mut reader = Reader::new(false);
        let mut sum = 0;
        reader.take(&raw(0x82, false, 1 << 24, &[0; 9]), |event| sum += u64::from(event == Event::Payload(9))).unwrap();
        assert_eq!((sum, reader.text.capacity()), (1, 0));
    }

    #[test]
    fn messages_grow_with_what_was_sent() {
        let (mut sizes, mut sent, mut seen) = (Sizes::default(), 0, Vec::new());
        while sent < 1 << 26 {
            let size = sizes.next(sent);
            if seen.last().is_none_or(|(last, _)| *last != size) {
                seen.push((size, sent));
            }
            sent += size;
        }
        assert_eq!(seen.first(), Some(&(1 << 13, 0)));
        assert_eq!(seen.last().map(|(size, _)| *size), Some(1 << 20));
        assert!(seen.windows(2).all(|pair| pair[1].0 == pair[0].0 * 2 && pair[0].0 <= pair[1].1 / 16), "{seen:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_not(bytes: Vec<u8>, masks: bool, step in 1..20_usize) {
            // Only that nothing panics, and that it does not matter how they are cut.
            prop_assert_eq!(read(masks, &bytes, step).ok(), read(masks, &bytes, bytes.len().max(1)).ok());
        }
    }
}
