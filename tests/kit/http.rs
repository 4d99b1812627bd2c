//! A raw HTTP/1.1 client that judges nothing: it sends the bytes it is given and tells exactly what came back.
//!
//! It leaves every decision to the test; a body that ended too early is `complete: false`, never an error.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for bytes; a node that needs longer has failed the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One answer as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Status code; 0 when the connection ended before a head.
    pub(crate) status: u16,
    /// Fields in order, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Body without framing.
    pub(crate) body: Vec<u8>,
    /// Interim answers before it, each with its fields.
    pub(crate) interim: Vec<(u16, Vec<(String, String)>)>,
    /// Whether the body ended as its framing promised.
    pub(crate) complete: bool,
}

impl Answer {
    /// All values of a field, joined as RFC 9110 section 5.3 allows; empty when absent.
    pub(crate) fn field(&self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        let values: Vec<&str> = self.fields.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// The node's own member of Cache-Status: the last one (RFC 9211 section 2).
    pub(crate) fn cache_status(&self) -> String {
        self.field("cache-status").rsplit(", ").next().unwrap_or_default().to_owned()
    }

    /// Whether it came out of the node's store (RFC 9211 section 2.1).
    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().split(';').any(|part| part.trim() == "hit")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Opens a connection.
    pub(crate) fn open(to: SocketAddr) -> Connection {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Connection { reader: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The socket, for reading raw bytes after an upgrade.
    pub(crate) fn raw(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    /// Reads one answer; `head` says that it has no body whatever its fields say.
    pub(crate) fn read(&mut self, head: bool) -> Answer {
        read(&mut self.reader, head)
    }

    /// Whether the other end has closed: nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.fill_buf(), Ok(rest) if rest.is_empty()) || self.reader.fill_buf().is_err()
    }
}

/// Reads one answer from anything.
pub(crate) fn read(reader: &mut impl BufRead, head: bool) -> Answer {
    let mut answer = Answer::default();
    loop {
        let Some((status, fields)) = read_head(reader) else { return answer };
        if (100..200).contains(&status) && status != 101 {
            answer.interim.push((status, fields));
            continue;
        }
        answer.status = status;
        answer.fields = fields;
        break;
    }
    if head || matches!(answer.status, 101 | 204 | 304) {
        answer.complete = true;
    } else if answer.field("transfer-encoding").to_ascii_lowercase().ends_with("chunked") {
        answer.complete = read_chunks(reader, &mut answer.body, &mut answer.fields).is_ok();
    } else if let Ok(length) = answer.field("content-length").parse::<u64>() {
        let _ended = reader.take(length).read_to_end(&mut answer.body); // a reset shows as too few bytes
        answer.complete = answer.body.len() as u64 == length;
    } else {
        answer.complete = reader.read_to_end(&mut answer.body).is_ok();
    }
    answer
}

/// Reads a status line and fields; `None` when the connection ended before or within it.
fn read_head(reader: &mut impl BufRead) -> Option<(u16, Vec<(String, String)>)> {
    let first = read_line(reader)?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let mut fields = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some((status, fields));
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    line.pop_if(|last| *last == b'\n')?;
    line.pop_if(|last| *last == b'\r');
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// Reads a chunked body; trailers are added to `fields`.
pub(crate) fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>, fields: &mut Vec<(String, String)>) -> io::Result<()> {
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    loop {
        let size = read_line(reader).ok_or_else(broken)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| broken())?;
        if size == 0 {
            break;
        }
        let taken = reader.by_ref().take(size).read_to_end(body)?;
        if taken as u64 != size || read_line(reader).is_none_or(|line| !line.is_empty()) {
            return Err(broken());
        }
    }
    loop {
        let line = read_line(reader).ok_or_else(broken)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(()) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The authority of an absolute http URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.strip_prefix("http://").expect("an absolute http URL");
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// A request in absolute form with these extra field lines (each without line end).
pub(crate) fn request(method: &str, url: &str, fields: &[&str]) -> Vec<u8> {
    let mut text = format!("{method} {url} HTTP/1.1\r\nHost: {}\r\n", authority(url));
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// One request over a connection of its own, through the proxy at `proxy`.
pub(crate) fn fetch(proxy: SocketAddr, method: &str, url: &str, fields: &[&str]) -> Answer {
    let mut connection = Connection::open(proxy);
    connection.send(&request(method, url, fields)).expect("sends");
    connection.read(method == "HEAD")
}

/// `GET` through the proxy.
pub(crate) fn get(proxy: SocketAddr, url: &str) -> Answer {
    fetch(proxy, "GET", url, &[])
}

/// Sends these bytes to `to`, closes the sending half, and reads one answer.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(to);
    // A proxy may refuse and close before it has read everything: then the rest cannot be sent, and its answer still counts.
    let _sent = connection.send(bytes);
    connection.read(false)
}

/// `GET path` straight from a server.
pub(crate) fn get_direct(to: SocketAddr, host: &str, path: &str) -> Answer {
    exchange(to, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// One request over a unix socket.
pub(crate) fn local(socket: &Path, method: &str, path: &str) -> Answer {
    local_with(socket, method, path, "")
}

/// The same with a body of JSON.
pub(crate) fn local_with(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}");
    let ask = format!("{head}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(ask.as_bytes()).expect("sends");
    read(&mut BufReader::new(stream), method == "HEAD")
}
