//! HTTP/1.1 by hand: what the scripted origin reads and what the client reads, kept so plain that nothing is repaired.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// A message as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The request or status line.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended before it should have.
    pub(crate) cut: bool,
}

impl Message {
    /// All lines of a field, joined; none when it is absent.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines: Vec<&str> = self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// The status of an answer, 0 of a request.
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// Reads a head; `None` at a clean end of the stream.
pub(crate) fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let mut message = Message::default();
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    line.trim_end().clone_into(&mut message.line);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(message)) };
        message.fields.push((name.to_ascii_lowercase(), value.trim().into()));
    }
}

/// Reads the body that a head announces; `to_end` for an answer without a length.
pub(crate) fn read_body(stream: &mut BufReader<TcpStream>, message: &mut Message, to_end: bool) -> io::Result<()> {
    if message.field("transfer-encoding").is_some() {
        return read_chunks(stream, message);
    }
    if let Some(length) = message.field("content-length").and_then(|text| text.parse::<u64>().ok()) {
        let read = stream.take(length).read_to_end(&mut message.body);
        message.cut = read.is_err() || message.body.len() as u64 != length;
    } else if to_end {
        message.cut = stream.read_to_end(&mut message.body).is_err();
    }
    Ok(())
}

fn read_chunks(stream: &mut BufReader<TcpStream>, message: &mut Message) -> io::Result<()> {
    loop {
        let mut line = String::new();
        let ended = stream.read_line(&mut line).map_or(true, |read| read == 0);
        let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16);
        let Ok(size) = size.map_err(|_| ()).and_then(|size| if ended { Err(()) } else { Ok(size) }) else {
            message.cut = true;
            return Ok(());
        };
        let before = message.body.len() as u64;
        stream.take(size).read_to_end(&mut message.body)?;
        message.cut = message.body.len() as u64 - before != size;
        let mut end = String::new();
        stream.read_line(&mut end)?;
        if size == 0 || message.cut {
            return Ok(());
        }
    }
}
