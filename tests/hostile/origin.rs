//! The byte-exact origin: one port at every loopback address, each case at an address of its own, so that even bytes which are no
//! request are known to belong to it. It says what the case wrote; unasked it echoes. Addresses where nobody may go are traps.

use crate::fill::{PAUSE, Place, REFLECTED};
use crate::script::{Said, Then};
use crate::strict::{self, Message};
use bulak::base::clock::Clock;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An origin that a healthy request is made to.
pub(crate) const HEALTHY: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);

/// What an endless answer comes to at most, should the proxy take all of it.
const ENDLESS: usize = 64 << 20;

/// How long a drip lasts at most, in drops of a tenth of a second.
const DRIPS: usize = 300;

/// What the origin saw of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whole requests.
    pub(crate) asks: Vec<Message>,
    /// Everything that was received, connection after connection.
    pub(crate) raw: Vec<u8>,
    /// Bytes that a strict reader refuses.
    pub(crate) faults: Vec<String>,
    /// Connections, also those on which nothing was asked.
    pub(crate) connections: usize,
}

#[derive(Default)]
struct Stage {
    script: Vec<(Vec<u8>, Then)>,
    given: usize,
    echoes: usize,
    /// Answers that are being said at this moment.
    saying: usize,
    seen: Seen,
}

/// A running origin.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) port: u16,
    stages: Arc<Mutex<HashMap<IpAddr, Stage>>>,
}

impl Origin {
    /// Starts on `port`, 0 for a free one, at all addresses of this machine.
    pub(crate) fn start(port: u16) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let origin = Origin { port, stages: Arc::default() };
        origin.listen(listener);
        // Where there is IPv6, the same port there is a trap.
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            origin.listen(listener);
        }
        origin
    }

    fn listen(&self, listener: TcpListener) {
        let origin = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let origin = origin.clone();
                // A connection that breaks is part of the play.
                std::thread::spawn(move || origin.serve(stream).ok());
            }
        });
    }

    /// Sets the stage for a case.
    pub(crate) fn tell(&self, place: Place, said: &[Said]) -> Result<(), String> {
        let script = said.iter().map(|said| Ok((place.fill(&said.text)?, said.then))).collect::<Result<Vec<_>, String>>()?;
        let stage = Stage { script, ..Stage::default() };
        self.stages.lock().expect("no panic").insert(place.ip().into(), stage);
        Ok(())
    }

    /// What was seen at an address.
    pub(crate) fn seen(&self, at: IpAddr) -> Seen {
        self.stages.lock().expect("no panic").get(&at).map(|stage| stage.seen.clone()).unwrap_or_default()
    }

    /// Whether everything has been said that was asked for at an address.
    pub(crate) fn is_quiet(&self, at: IpAddr) -> bool {
        self.stages.lock().expect("no panic").get(&at).is_none_or(|stage| stage.saying == 0)
    }

    /// Addresses where nobody may go that were gone to, by connections.
    pub(crate) fn trapped(&self) -> Vec<(IpAddr, usize)> {
        let stages = self.stages.lock().expect("no panic");
        stages.iter().filter(|(at, _)| is_trap(**at)).map(|(at, stage)| (*at, stage.seen.connections)).collect()
    }

    fn with<T>(&self, at: IpAddr, act: impl FnOnce(&mut Stage) -> T) -> T {
        act(self.stages.lock().expect("no panic").entry(at).or_default())
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let at = stream.local_addr()?.ip().to_canonical();
        self.with(at, |stage| stage.seen.connections += 1);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(2)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let (mut kept, mut piece, mut continued) = (Vec::new(), vec![0; 64 << 10], false);
        loop {
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            kept.extend_from_slice(&piece[..read]);
            self.with(at, |stage| stage.seen.raw.extend_from_slice(&piece[..read]));
            let reading = strict::requests(&kept);
            kept.drain(..reading.used);
            for ask in reading.whole {
                continued = false;
                let (bytes, then) = self.with(at, |stage| stage.next(&ask));
                let said = say(&mut stream, &bytes, then);
                self.with(at, |stage| stage.saying = stage.saying.saturating_sub(1));
                if !said? {
                    return stream.shutdown(Shutdown::Both);
                }
            }
            if let Some(fault) = reading.fault {
                self.with(at, |stage| stage.seen.faults.push(fault));
                stream.write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                return stream.shutdown(Shutdown::Write);
            }
            let begun = reading.begun.filter(|begun| begun.headed && !continued);
            if begun.is_some_and(|begun| begun.field("expect").is_some_and(|text| text.eq_ignore_ascii_case("100-continue"))) {
                continued = true;
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
    }
}

/// Only 127.8.0.0/13 may be reached.
pub(crate) fn is_trap(at: IpAddr) -> bool {
    !matches!(at, IpAddr::V4(four) if four.octets()[0] == 127 && four.octets()[1] & !7 == 8)
}

impl Stage {
    /// Notes a request and finds its answer: the script's next, or an echo for what is no part of it.
    fn next(&mut self, ask: &Message) -> (Vec<u8>, Then) {
        let target = path(ask.target());
        self.seen.asks.push(ask.clone());
        self.saying += 1;
        let aside = target.starts_with("/next") || target.starts_with("/smuggled");
        if !aside && let Some((bytes, then)) = self.script.get(self.given) {
            self.given += 1;
            return (reflect(bytes, ask), *then);
        }
        self.echoes += 1;
        let text = format!("echo {} {} {target}\n", self.echoes, ask.method());
        let date = Clock::system().now().to_http();
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\nCache-Control: no-store\r\nX-Echo: {} {target}\r\nContent-Length: {}\r\n\r\n",
            ask.method(),
            text.len()
        );
        let body = if ask.method() == "HEAD" { String::new() } else { text };
        ((head + &body).into_bytes(), Then::Keep)
    }
}

/// What an origin says that believes what it is told.
fn reflect(bytes: &[u8], ask: &Message) -> Vec<u8> {
    let Some(at) = bytes.windows(REFLECTED.len()).position(|part| part == REFLECTED) else { return bytes.to_vec() };
    let told = ask.fields.iter().any(|(_, value)| value.contains("evil"));
    [&bytes[..at], if told { b"evil".as_slice() } else { b"good" }, &bytes[at + REFLECTED.len()..]].concat()
}

/// Path and query of a target in any form.
pub(crate) fn path(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find(['/', '?']).map_or("/", |at| &rest[at..])
}

/// Says the bytes; whether the connection goes on.
fn say(stream: &mut TcpStream, bytes: &[u8], then: Then) -> io::Result<bool> {
    let mut rest = bytes;
    while let Some(at) = rest.windows(PAUSE.len()).position(|part| part == PAUSE) {
        stream.write_all(&rest[..at])?;
        std::thread::sleep(Duration::from_millis(150));
        rest = &rest[at + PAUSE.len()..];
    }
    stream.write_all(rest)?;
    match then {
        Then::Keep => return Ok(true),
        Then::Close => stream.shutdown(Shutdown::Write)?,
        Then::Reset => {
            // What was said is to arrive first.
            std::thread::sleep(Duration::from_millis(50));
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Then::Endless => {
            let piece = rest[rest.len().saturating_sub(1024)..].repeat(16);
            let mut said = 0;
            while said < ENDLESS {
                stream.write_all(&piece)?;
                said += piece.len();
            }
        }
        Then::Drip => {
            for _ in 0..DRIPS {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(false)
}

/// Where the origin listens for healthy requests.
pub(crate) fn healthy(port: u16) -> SocketAddr {
    SocketAddr::from((HEALTHY, port))
}
