//! An origin that says exactly what a test wrote, byte for byte, and remembers what it was asked.
//!
//! One thread per connection; the script is a function from a request to what to do next. It knows no HTTP beyond finding
//! the end of a request, so it can lie about everything.

use crate::kit::http::read_chunks;
use bulak::base::clock::Clock;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Which request this is for the whole origin, from 1.
    pub(crate) number: usize,
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
    /// Method.
    pub(crate) method: String,
    /// Request target as written.
    pub(crate) target: String,
    /// Fields in order, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Body without framing; trailers are among the fields.
    pub(crate) body: Vec<u8>,
}

impl Ask {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What to do about a request.
pub(crate) enum Reply {
    /// Send these bytes and wait for the next request.
    Bytes(Vec<u8>),
    /// Send these bytes and close.
    Close(Vec<u8>),
    /// Do as the function says, then close. It owns the connection.
    Act(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

type Script = dyn Fn(&Ask) -> Reply + Send + Sync;

/// A running origin.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    asks: Mutex<Vec<Ask>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl Origin {
    /// Starts on a free loopback port.
    pub(crate) fn start(script: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asks: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if worker.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = worker.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let worker = Arc::clone(&worker);
                std::thread::spawn(move || serve(&worker, connection, stream));
            }
        });
        Origin { addr, shared }
    }

    /// Everything it was asked so far.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        self.shared.asks.lock().expect("no thread panics holding it").clone()
    }

    /// How many requests it has seen.
    pub(crate) fn count(&self) -> usize {
        self.shared.asks.lock().expect("no thread panics holding it").len()
    }

    /// How many connections it has seen.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr)); // wakes the accept loop
    }
}

fn serve(shared: &Shared, connection: usize, stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(mut ask) = read_ask(&mut reader) {
        {
            let mut asks = shared.asks.lock().expect("no thread panics holding it");
            (ask.number, ask.connection) = (asks.len() + 1, connection);
            asks.push(ask.clone());
        }
        match (shared.script)(&ask) {
            Reply::Bytes(bytes) => {
                if writer.write_all(&bytes).is_err() {
                    return;
                }
            }
            Reply::Close(bytes) => {
                let _sent = writer.write_all(&bytes); // the other end may have given up first
                break;
            }
            Reply::Act(act) => {
                act(&mut writer);
                break;
            }
        }
    }
    let _closed = writer.shutdown(Shutdown::Both); // it may be closed already
}

/// Reads one request; `None` when the connection has ended.
pub(crate) fn read_ask(reader: &mut impl BufRead) -> Option<Ask> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let mut ask = Ask { method: words.next()?.to_owned(), target: words.next()?.to_owned(), ..Ask::default() };
    loop {
        let text = line(reader)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':')?;
        ask.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if ask.field("transfer-encoding").is_some() {
        read_chunks(reader, &mut ask.body, &mut ask.fields).ok()?;
    } else if let Some(length) = ask.field("content-length").and_then(|text| text.parse().ok()) {
        reader.take(length).read_to_end(&mut ask.body).ok()?;
    }
    Some(ask)
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    let taken = reader.read_line(&mut text).ok()?;
    (taken > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}

/// An answer with a right Content-Length and Date. Field lines without line ends.
pub(crate) fn answer(status: &str, fields: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nDate: {}\r\nContent-Length: {}\r\n", Clock::system().now().to_http(), body.len());
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A 200 of [`answer`].
pub(crate) fn ok(fields: &[&str], body: &[u8]) -> Vec<u8> {
    answer("200 OK", fields, body)
}

/// A head of a 200 that promises `length` bytes, without any body.
pub(crate) fn promise(fields: &[&str], length: usize) -> Vec<u8> {
    let whole = ok(fields, &[]);
    let text = String::from_utf8(whole).expect("ASCII").replacen("Content-Length: 0", &format!("Content-Length: {length}"), 1);
    text.into_bytes()
}

/// The first range of a `Range: bytes=A-B` field, against a body of `length` bytes.
pub(crate) fn first_range(ask: &Ask, length: usize) -> Option<std::ops::Range<usize>> {
    let text = ask.field("range")?.strip_prefix("bytes=")?;
    let (from, to) = text.split(',').next()?.split_once('-')?;
    if from.is_empty() {
        return Some(length.saturating_sub(to.parse().ok()?)..length);
    }
    let from: usize = from.parse().ok()?;
    let to = if to.is_empty() { length } else { (to.parse::<usize>().ok()? + 1).min(length) };
    (from < to).then_some(from..to)
}
