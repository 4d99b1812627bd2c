//! A deliberately bad proxy, with the classic sins: it reads leniently, believes the first length, knows no transfer coding, hands on
//! what it did not understand, keeps everything for everybody, shares connections with what is left in them, and goes anywhere.
//! Every class of cases must find it out.

use crate::careful::serve_all;
use crate::origin;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Shared by all clients: connections by address, answers by a careless key.
#[derive(Default)]
struct Shared {
    idle: Mutex<HashMap<SocketAddr, Wire>>,
    kept: Mutex<HashMap<String, Vec<u8>>>,
    /// Connections at this moment: who asks it for itself must not bring the machine down.
    live: AtomicUsize,
}

/// Enough for the suite, few enough for a loop.
const LIVE: usize = 150;

/// A head that is longer is none.
const HEAD: usize = 1 << 20;

/// Starts on a free loopback port and runs until the tests end.
pub(crate) fn start() -> SocketAddr {
    let shared = Arc::<Shared>::default();
    serve_all(move |stream| {
        let served = if shared.live.fetch_add(1, Ordering::Relaxed) < LIVE { serve(&shared, stream) } else { Ok(()) };
        shared.live.fetch_sub(1, Ordering::Relaxed);
        served
    })
}

/// A connection and what was read of it too early.
struct Wire {
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream, patience: Duration) -> io::Result<Wire> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Wire { stream, kept: Vec::new() })
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; 64 << 10];
        let read = self.stream.read(&mut piece)?;
        self.kept.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    }

    /// Up to the first thing that looks like an empty line.
    fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let ends = [b"\n\r\n".as_slice(), b"\n\n"];
            let found = ends.iter().filter_map(|end| Some(self.kept.windows(end.len()).position(|part| part == *end)? + end.len())).min();
            if let Some(end) = found {
                return Ok(Some(self.kept.drain(..end).collect()));
            }
            if self.kept.len() > HEAD || !self.more()? {
                return Ok(None);
            }
        }
    }

    /// So many bytes, or what there is.
    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.kept.len() < length && self.more().unwrap_or(false) {}
        let end = length.min(self.kept.len());
        self.kept.drain(..end).collect()
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    let mut client = Wire::new(stream, Duration::from_secs(20))?;
    while let Some(head) = client.head()? {
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split_whitespace();
        let (method, target) = (words.next().unwrap_or("GET").to_owned(), words.next().unwrap_or("/").to_owned());
        let authority = target.split_once("://").map_or(&*target, |(_, rest)| rest.split(['/', '?']).next().unwrap_or(rest));
        let authority = authority.rsplit('@').next().unwrap_or(authority).to_owned();
        let host = if authority.starts_with('/') { field(&text, "host").unwrap_or_default() } else { authority };
        let to = address(&host);
        if method == "CONNECT" {
            let far = to.map(|to| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
            client.stream.write_all(b"HTTP/1.1 200 Come in\r\n\r\n")?;
            let Some(Ok(mut far)) = far else { return Ok(()) };
            return far.write_all(&client.kept);
        }
        let body = client.take(length(&text));
        let key = format!("{host}{}", origin::path(&target)).replace("%2f", "/").replace(['?', ';'], "").to_ascii_lowercase();
        let known = shared.kept.lock().expect("no panic").get(&key).cloned();
        let aside = target.contains("/next");
        if let Some(known) = known.filter(|_| !aside) {
            client.stream.write_all(&known)?;
            continue;
        }
        let answer = match to.map(|to| fetch(shared, to, &head, &target, &body)) {
            Some(Ok(answer)) => answer,
            _ => b"HTTP/1.1 200 Whatever\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        shared.kept.lock().expect("no panic").insert(key, answer.clone());
        client.stream.write_all(&answer)?;
    }
    Ok(())
}

fn fetch(shared: &Shared, to: SocketAddr, head: &[u8], target: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let idle = shared.idle.lock().expect("no panic").remove(&to);
    let patience = Duration::from_secs(1);
    let mut wire = match idle {
        Some(wire) => wire,
        None => Wire::new(TcpStream::connect_timeout(&to, patience)?, patience)?,
    };
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let sent: Vec<u8> =
        text.replacen(target, origin::path(target), 1).chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(0)).collect();
    wire.stream.write_all(&[&sent, body].concat())?;
    let mut answer = wire.head()?.unwrap_or_default();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let body = match field(&text, "content-length") {
        Some(_) => wire.take(length(&text)),
        None => wire.take(4 << 20),
    };
    // Whatever came is the whole.
    let lines =
        text.split_inclusive('\n').filter(|line| !line.to_ascii_lowercase().starts_with("content-length") && !line.trim().is_empty());
    answer = lines.collect::<String>().into_bytes();
    answer.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    shared.idle.lock().expect("no panic").insert(to, wire);
    Ok(answer)
}

/// The first field that looks like it.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.split(['\n', '\r']);
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// As `atoi` would.
fn length(text: &str) -> usize {
    let value = field(text, "content-length").unwrap_or_default();
    let digits: String = value.trim_start_matches('+').chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0).min(4 << 20)
}

/// Anything that looks like an address leads somewhere.
fn address(host: &str) -> Option<SocketAddr> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let name = name.trim_matches(['[', ']']).trim_end_matches('.');
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let parts: Vec<u32> = name.split('.').filter_map(number).collect();
    let four = || match parts[..] {
        [whole] => Some(Ipv4Addr::from(whole)),
        [a, rest] => Some(Ipv4Addr::from(a << 24 | rest)),
        _ => name.split(':').next_back().and_then(|tail| tail.parse().ok()),
    };
    let ip = name.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()).or_else(|| four().map(IpAddr::V4));
    let ip = if name == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { ip };
    Some(SocketAddr::new(ip?, port.parse().ok()?))
}
