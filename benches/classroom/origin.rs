//! The origin of a scenario: a plain, quick web server at the world's end of the line. It knows HTTP/1.1 as origins speak it: kept-alive
//! connections, single ranges, If-None-Match, HEAD; and it counts what it is asked.

use super::content::{Content, Object};
use crate::kit::origin::{Ask, read_ask};
use bulak::base::clock::Clock;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The first line of most answers.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Connections that may wait to be accepted: a class without a proxy comes all at once.
const BACKLOG: i32 = 2048;

/// What is written at once.
const PIECE: u64 = 256 << 10;

/// A running origin. It ends with its value.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    listener: TcpListener,
    served: Arc<Served>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Served {
    requests: AtomicU64,
    unmodified: AtomicU64,
}

impl Origin {
    /// Starts to listen, in the namespace of this thread.
    ///
    /// # Errors
    /// Of sockets.
    pub(crate) fn start(addr: SocketAddr, content: Arc<Content>) -> io::Result<Origin> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let (addr, accepting, served) = (listener.local_addr()?, listener.try_clone()?, Arc::new(Served::default()));
        let count = Arc::clone(&served);
        let thread = std::thread::spawn(move || {
            // Ends when the listener is shut down.
            while let Ok((stream, _)) = accepting.accept() {
                let (content, served) = (Arc::clone(&content), Arc::clone(&count));
                std::thread::spawn(move || {
                    let _ended = serve(&content, &served, &stream); // a client that leaves is no fault
                });
            }
        });
        Ok(Origin { addr, listener, served, thread: Some(thread) })
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.served.requests.load(Ordering::Relaxed)
    }

    /// Of these, how many were answered with 304.
    pub(crate) fn unmodified(&self) -> u64 {
        self.served.unmodified.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _shut = SockRef::from(&self.listener).shutdown(Shutdown::Both); // wakes whoever accepts
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join(); // a panic of its was printed
        }
    }
}

fn serve(content: &Content, served: &Served, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(ask) = read_ask(&mut reader) {
        served.requests.fetch_add(1, Ordering::Relaxed);
        match content.at(path_of(&ask.target)) {
            Some(object) => answer(object, &ask, served, stream)?,
            None => (&*stream).write_all(format!("HTTP/1.1 404 Not Found\r\n{}Content-Length: 0\r\n\r\n", date()).as_bytes())?,
        }
        if ask.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    Ok(())
}

/// The path of a target in origin form or absolute form, without a query.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    path.split('?').next().unwrap_or(path)
}

fn answer(object: &Object, ask: &Ask, served: &Served, mut stream: &TcpStream) -> io::Result<()> {
    let date = date();
    let tag = object.tag();
    if ask.field("if-none-match").is_some_and(|value| value.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        served.unmodified.fetch_add(1, Ordering::Relaxed);
        let head = format!("HTTP/1.1 304 Not Modified\r\n{date}ETag: {tag}\r\nCache-Control: {}\r\n\r\n", object.cache_control);
        return stream.write_all(head.as_bytes());
    }
    let part = if ask.field("if-range").is_none_or(|value| value == tag) {
        ask.field("range").and_then(|text| range(text, object.length))
    } else {
        None
    };
    let (head, part) = match part {
        None => (format!("{OK}{date}{}\r\n", object.head()), 0..object.length),
        Some(part) => {
            let whole = object.head().replacen(
                &format!("Content-Length: {}", object.length),
                &format!("Content-Length: {}", part.end - part.start),
                1,
            );
            let place = format!("Content-Range: bytes {}-{}/{}\r\n", part.start, part.end - 1, object.length);
            (format!("HTTP/1.1 206 Partial Content\r\n{date}{whole}{place}\r\n"), part)
        }
    };
    let mut bytes = head.into_bytes();
    if ask.method == "HEAD" {
        return stream.write_all(&bytes);
    }
    let mut at = part.start;
    while at < part.end {
        let end = (at + PIECE).min(part.end);
        object.write(at..end, &mut bytes);
        stream.write_all(&bytes)?;
        bytes.clear();
        at = end;
    }
    stream.write_all(&bytes)
}

/// The length of a head's date.
pub(crate) const DATE: usize = "Date: Mon, 02 Nov 2026 08:00:00 GMT\r\n".len();

fn date() -> String {
    format!("Date: {}\r\n", Clock::system().now().to_http())
}

/// A single range of bytes; none when there are several, or it cannot be met.
fn range(text: &str, length: u64) -> Option<Range<u64>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    if from.is_empty() {
        return Some(length.saturating_sub(to.parse().ok()?)..length).filter(|part| part.start < part.end);
    }
    let from = from.parse().ok()?;
    let to = if to.is_empty() { length } else { to.parse::<u64>().ok()?.checked_add(1)?.min(length) };
    (from < to).then_some(from..to)
}
