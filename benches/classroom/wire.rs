//! One connection of a device: asks, reads, and holds every byte against what the origin has. It knows as much HTTP/1.1 as answers need
//! and never keeps a body.

use super::content::{Kind, Object};
use bulak::base::clock::Clock;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longest head.
const HEAD: usize = 64 << 10;

/// How a device asks.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Where it connects.
    pub(crate) to: SocketAddr,
    /// From which address; the system's choice when none.
    pub(crate) from: Option<IpAddr>,
    /// What stands before the path: `http://host` for a forward proxy.
    pub(crate) prefix: String,
    /// The Host field.
    pub(crate) host: String,
    /// How long a silence may be.
    pub(crate) patience: Duration,
    /// Bytes that are read at once.
    pub(crate) buffer: usize,
    /// Bytes that the system may hold for it; its choice when none.
    pub(crate) window: Option<u32>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Want<'c> {
    /// The object.
    pub(crate) object: &'c Object,
    /// A part of it.
    pub(crate) part: Option<Range<u64>>,
    /// Whether the device has it and only asks whether it still holds.
    pub(crate) has: bool,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// When the first byte came.
    pub(crate) first: Instant,
    /// Whether it was the answer that what the device has still holds.
    pub(crate) unmodified: bool,
}

/// Why nothing right came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection, or it broke.
    Broken,
    /// Nothing for too long.
    Silent,
    /// Another status than one that has the body.
    Status(u16),
    /// The body ended early, or is longer than it may be.
    Length,
    /// Wrong bytes.
    Wrong,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        if error.kind() == io::ErrorKind::TimedOut { Fault::Silent } else { Fault::Broken }
    }
}

/// A connection that opens itself when it is first used.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    stream: Option<BufReader<TcpStream>>,
    /// Answers that came on it.
    answers: u64,
}

/// The end of the head of an answer, and what it says.
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    coded: bool,
    place: Option<String>,
    close: bool,
}

impl Connection {
    /// Asks for something and reads the answer. A kept connection that has just been closed is opened again, once, as browsers do.
    pub(crate) async fn fetch(&mut self, way: &Way, want: &Want<'_>, clock: &Clock) -> Result<Got, Fault> {
        let used = self.stream.is_some() && self.answers > 0;
        let mut result = self.exchange(way, want, clock).await;
        if used && matches!(result, Err((Fault::Broken, true))) {
            result = self.exchange(way, want, clock).await;
        }
        if result.is_err() {
            self.stream = None;
        }
        result.map_err(|(fault, _)| fault)
    }

    /// Sends a request and hands out the stream, for whoever reads in a way of its own.
    pub(crate) async fn ask(&mut self, way: &Way, want: &Want<'_>) -> io::Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            self.stream = Some(open(way).await?);
            self.answers = 0;
        }
        let stream = self.stream.as_mut().expect("just opened");
        timeout(way.patience, stream.get_mut().write_all(request(way, want).as_bytes())).await.map_err(|_| silent())??;
        Ok(stream)
    }

    /// Whether the other end has closed.
    pub(crate) async fn is_closed(&mut self) -> bool {
        match &mut self.stream {
            // Nothing has been asked: whatever can be read is the end.
            Some(stream) => !matches!(look(stream, Duration::ZERO).await, Err(error) if error.kind() == io::ErrorKind::TimedOut),
            None => true,
        }
    }

    /// The fault, and whether it came before the first byte.
    async fn exchange(&mut self, way: &Way, want: &Want<'_>, clock: &Clock) -> Result<Got, (Fault, bool)> {
        let patience = way.patience;
        let early = |error: io::Error| (Fault::from(error), true);
        let late = |error: io::Error| (Fault::from(error), false);
        if let Err(error) = self.ask(way, want).await {
            self.stream = None;
            return Err(early(error));
        }
        let stream = self.stream.as_mut().expect("it was asked on");
        let some = look(stream, patience).await.map_err(early)?;
        if some == 0 {
            self.stream = None;
            return Err((Fault::Broken, true));
        }
        let first = clock.steady();
        let head = last_head(stream, patience).await.map_err(late)?;
        let unmodified = head.status == 304 && want.has;
        if !unmodified {
            judge(&head, want).map_err(|fault| (fault, false))?;
            body(stream, &head, want, patience).await.map_err(|fault| (fault, false))?;
        }
        self.answers += 1;
        // What has no length ends with its connection.
        if head.close || (!unmodified && !head.chunked && head.length.is_none()) {
            self.stream = None;
        }
        Ok(Got { first, unmodified })
    }
}

async fn open(way: &Way) -> io::Result<BufReader<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = way.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    if let Some(window) = way.window {
        socket.set_recv_buffer_size(window)?;
    }
    let stream = timeout(way.patience, socket.connect(way.to)).await.map_err(|_| silent())??;
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(way.buffer, stream))
}

fn request(way: &Way, want: &Want<'_>) -> String {
    // As browsers say it: a page is to be shown, everything else is taken as it comes.
    let accept = if want.object.kind == Kind::Page { "text/html,application/xhtml+xml,*/*;q=0.8" } else { "*/*" };
    let mut text =
        format!("GET {}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: classroom\r\nAccept: {accept}\r\n", way.prefix, want.object.path, way.host);
    if let Some(part) = &want.part {
        write!(text, "Range: bytes={}-{}\r\n", part.start, part.end - 1).expect("a string grows");
    }
    if want.has {
        write!(text, "If-None-Match: {}\r\n", want.object.tag()).expect("a string grows");
    }
    text.push_str("\r\n");
    text
}

fn silent() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// Waits for bytes, and says how many there are.
pub(crate) async fn look(stream: &mut BufReader<TcpStream>, patience: Duration) -> io::Result<usize> {
    Ok(timeout(patience, stream.fill_buf()).await.map_err(|_| silent())??.len())
}

async fn line(stream: &mut BufReader<TcpStream>, patience: Duration) -> io::Result<String> {
    let mut bytes = Vec::new();
    timeout(patience, stream.read_until(b'\n', &mut bytes)).await.map_err(|_| silent())??;
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.pop_if(|last| *last == b'\r');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a head that promises what was asked for, with the length that it has and in one piece.
pub(crate) async fn promised(stream: &mut BufReader<TcpStream>, want: &Want<'_>, patience: Duration) -> Result<(), Fault> {
    let head = last_head(stream, patience).await?;
    judge(&head, want)?;
    if !head.chunked && head.length == Some(want.object.length) { Ok(()) } else { Err(Fault::Length) }
}

/// The head of the answer itself, behind those that only say that it will come (RFC 9110 section 15.2).
async fn last_head(stream: &mut BufReader<TcpStream>, patience: Duration) -> io::Result<Head> {
    loop {
        let head = head(stream, patience).await?;
        if head.status >= 200 {
            return Ok(head);
        }
    }
}

async fn head(stream: &mut BufReader<TcpStream>, patience: Duration) -> io::Result<Head> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let first = line(stream, patience).await?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(invalid)?;
    let mut head = Head { status, length: None, chunked: false, coded: false, place: None, close: first.starts_with("HTTP/1.0") };
    let mut taken = 0;
    loop {
        let text = line(stream, patience).await?;
        taken += text.len();
        if text.is_empty() {
            return Ok(head);
        }
        if taken > HEAD {
            return Err(invalid());
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().ok(),
            "transfer-encoding" => head.chunked = value.to_ascii_lowercase().ends_with("chunked"),
            "content-encoding" => head.coded = !value.eq_ignore_ascii_case("identity"),
            "content-range" => head.place = Some(value.to_owned()),
            "connection" => head.close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// Whether this head promises what was asked for.
fn judge(head: &Head, want: &Want<'_>) -> Result<(), Fault> {
    match &want.part {
        None if head.status == 200 => {}
        Some(part) if head.status == 206 => {
            let place = format!("bytes {}-{}/{}", part.start, part.end - 1, want.object.length);
            if head.place.as_deref() != Some(&place) {
                return Err(Fault::Wrong);
            }
        }
        _ => return Err(Fault::Status(head.status)),
    }
    // Nobody asked for a coding.
    if head.coded { Err(Fault::Wrong) } else { Ok(()) }
}

/// Reads the body and compares it.
async fn body(stream: &mut BufReader<TcpStream>, head: &Head, want: &Want<'_>, patience: Duration) -> Result<(), Fault> {
    let part = want.part.clone().unwrap_or(0..want.object.length);
    let mut at = part.start;
    if head.chunked {
        loop {
            let size = line(stream, patience).await?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| Fault::Broken)?;
            if size == 0 {
                break;
            }
            run(stream, want.object, &mut at, &part, size, patience).await?;
            line(stream, patience).await?;
        }
        while !line(stream, patience).await?.is_empty() {}
    } else {
        // Without a length it ends with the connection.
        let length = head.length.unwrap_or(part.end - part.start);
        run(stream, want.object, &mut at, &part, length, patience).await?;
    }
    if at == part.end { Ok(()) } else { Err(Fault::Length) }
}

/// Reads so many bytes of a body.
async fn run(
    stream: &mut BufReader<TcpStream>,
    object: &Object,
    at: &mut u64,
    part: &Range<u64>,
    mut left: u64,
    patience: Duration,
) -> Result<(), Fault> {
    if *at + left > part.end {
        return Err(Fault::Length);
    }
    while left > 0 {
        if look(stream, patience).await? == 0 {
            return Err(Fault::Length);
        }
        let some = stream.buffer();
        let taken = some.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if !object.is_at(*at, &some[..taken]) {
            return Err(Fault::Wrong);
        }
        stream.consume(taken);
        *at += taken as u64;
        left -= taken as u64;
    }
    Ok(())
}
