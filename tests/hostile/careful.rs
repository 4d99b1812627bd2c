//! A strict pass-through: a proxy that keeps nothing, understands little and forwards only what it has understood whole. It must pass
//! every case, so that the suite is known to ask for nothing impossible.

use crate::origin;
use crate::strict::{self, Message};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// No head may be longer, no body either.
const HEAD: usize = 64 << 10;
const BODY: usize = 4 << 20;

/// Fields that end here, and those in which somebody could tell the origin what to say.
const DROPPED: &[&str] = &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"];

/// Starts on a free loopback port and runs until the tests end.
pub(crate) fn start(port: u16) -> SocketAddr {
    serve_all(move |stream| serve(stream, port))
}

/// A listener that gives each connection a thread.
pub(crate) fn serve_all(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let serve = serve.clone();
            // Who has gone has gone.
            std::thread::spawn(move || serve(stream).ok());
        }
    });
    addr
}

fn serve(mut client: TcpStream, port: u16) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_mins(1)))?;
    let (mut kept, mut piece, mut continued) = (Vec::new(), vec![0; 64 << 10], false);
    loop {
        let reading = strict::requests(&kept);
        kept.drain(..reading.used);
        for ask in reading.whole {
            continued = false;
            let answer = answer(&ask, port);
            client.write_all(&answer.head)?;
            if ask.method() != "HEAD" {
                client.write_all(&answer.body)?;
            }
            if answer.last {
                return end(client);
            }
        }
        if reading.fault.is_some()
            || kept.len() > HEAD + BODY
            || (kept.len() > HEAD && reading.begun.as_ref().is_none_or(|begun| !begun.headed))
        {
            let page = page(400, "what is this?");
            client.write_all(&[page.head, page.body].concat())?;
            return end(client);
        }
        if reading.begun.is_some_and(|begun| !continued && begun.field("expect").is_some()) {
            continued = true;
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&piece[..read]);
    }
}

/// Lets the other side read what was said before the connection goes.
fn end(mut client: TcpStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let (mut piece, mut left) = (vec![0; 64 << 10], 64);
    while left > 0 && client.read(&mut piece)? > 0 {
        left -= 1;
    }
    Ok(())
}

struct Answer {
    head: Vec<u8>,
    body: Vec<u8>,
    last: bool,
}

fn page(status: u16, text: &str) -> Answer {
    let head = format!("HTTP/1.1 {status} Careful\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    Answer { head: head.into_bytes(), body: text.into(), last: true }
}

fn answer(ask: &Message, port: u16) -> Answer {
    let head: usize = ask.line.len() + ask.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    if head > HEAD || ask.fields.len() > 200 || ask.body.len() > BODY {
        return page(431, "too much");
    }
    if ask.method() == "CONNECT" || ask.fields.iter().any(|(_, value)| holds_controls(value)) {
        return page(403, "not through here");
    }
    if matches!(ask.method(), "TRACE" | "OPTIONS") && ask.field("max-forwards").is_some() {
        return page(200, "that is me");
    }
    let Some((to, path)) = aim(ask, port) else { return page(403, "not there") };
    match fetch(ask, to, path) {
        Ok(found) => deliver(ask, &found),
        Err(_) => page(502, "the origin makes no sense"),
    }
}

/// An address that may be reached, in the one form that is understood.
fn aim(ask: &Message, port: u16) -> Option<(SocketAddr, &str)> {
    let rest = ask.target().strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let to: SocketAddr = rest[..end].parse().ok()?;
    (to.port() == port && !origin::is_trap(to.ip()) && to.to_string() == rest[..end]).then(|| (to, origin::path(ask.target())))
}

fn fetch(ask: &Message, to: SocketAddr, path: &str) -> io::Result<Message> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(4)))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{} {slash}{path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n", ask.method());
    let mut named: Vec<String> = DROPPED.iter().map(|&name| name.to_owned()).collect();
    for (_, value) in ask.fields.iter().filter(|(name, _)| name == "connection") {
        named.extend(value.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    let gone =
        |name: &str| named.iter().any(|other| other == name) || name.starts_with("proxy-") || name == "expect" || name == "content-length";
    for (name, value) in ask.fields.iter().filter(|(name, _)| !gone(name)) {
        write!(head, "{name}: {value}\r\n").expect("a string grows");
    }
    if !ask.body.is_empty() {
        write!(head, "content-length: {}\r\n", ask.body.len()).expect("a string grows");
    }
    // As it came: Latin-1.
    let mut bytes: Vec<u8> = (head + "\r\n").chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect();
    bytes.extend_from_slice(&ask.body);
    stream.write_all(&bytes)?;
    let (mut raw, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    loop {
        let read = stream.read(&mut piece)?;
        raw.extend_from_slice(&piece[..read]);
        let mut reading = strict::answers(&raw, &[ask.method().to_owned()], read == 0);
        match reading.whole.pop() {
            // Bytes after it are a fault, and whoever sends them is not believed.
            Some(found) if reading.fault.is_none() => return Ok(found),
            _ if read == 0 || reading.fault.is_some() || raw.len() > HEAD + BODY => return Err(broken()),
            _ if raw.len() > HEAD && reading.begun.as_ref().is_none_or(|begun| !begun.headed) => return Err(broken()),
            _ => {}
        }
    }
}

fn deliver(ask: &Message, found: &Message) -> Answer {
    let status = found.status();
    // What a client that asked for the whole cannot make sense of.
    let asked = ask.field("range").is_some();
    let conditional = ask.fields.iter().any(|(name, _)| name.starts_with("if-"));
    if status < 200 || (status == 206 && !asked) || (status == 304 && !conditional) || found.fields.len() > 200 {
        return page(502, "nobody asked for that");
    }
    let head: usize = found.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if head > HEAD || found.line.len() > HEAD || holds_controls(&found.line) || found.fields.iter().any(|(_, value)| holds_controls(value))
    {
        return page(502, "that is no head");
    }
    let last = ask.line.ends_with("1.0") || ask.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"));
    let mut head = format!("HTTP/1.1 {status} Passed\r\n");
    let kept = |name: &str| !DROPPED.contains(&name) && (name != "content-length" || ask.method() == "HEAD");
    for (name, value) in found.fields.iter().filter(|(name, _)| kept(name)) {
        write!(head, "{name}: {value}\r\n").expect("a string grows");
    }
    if ask.method() != "HEAD" && !matches!(status, 204 | 304) {
        write!(head, "content-length: {}\r\n", found.body.len()).expect("a string grows");
    }
    let end = if last { "connection: close\r\n\r\n" } else { "\r\n" };
    let head = (head + end).chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect();
    Answer { head, body: found.body.clone(), last }
}

fn holds_controls(text: &str) -> bool {
    text.bytes().any(|byte| (byte < 32 && byte != b'\t') || byte == 127)
}
