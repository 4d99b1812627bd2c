//! An ndt7 server after its public specification alone, over tungstenite's own WebSocket: what our client is held against. It shares
//! no line with ours, and may be told to misbehave.

use bulak::base::clock::Clock;
use bulak::base::socket;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Bytes, Message, WebSocket};

const PROTOCOL: &str = "net.measurementlab.ndt.v7";

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the specification says.
    Good,
    /// After the first message nothing more.
    Stalls,
    /// One message of 16 MiB after the other, the most that is allowed.
    Giant,
    /// One message of more than that.
    TooLong,
    /// It agrees to another protocol.
    OtherProtocol,
    /// It agrees to none.
    NoProtocol,
    /// Texts that are no measurements.
    Rubbish,
    /// It tells of ten times what has arrived.
    Lies,
    /// It closes after a second.
    Closes,
    /// It hangs up within a message after a second.
    HangsUp,
    /// It answers like a page.
    Page,
    /// It has no room.
    Full,
    /// As the specification says, with this text, and a device's address, wherever one may stand.
    Names(&'static str),
}

/// A running server.
pub(crate) struct Speed {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    asks: Arc<Mutex<Vec<String>>>,
    ends: Arc<Mutex<Vec<End>>>,
}

/// What it has seen of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Payload that it sent, or that arrived.
    pub(crate) bytes: u64,
    /// Of what it sent the part that the other side's TCP has acknowledged.
    pub(crate) acked: u64,
    /// In which time.
    pub(crate) took: Duration,
}

impl Speed {
    /// Starts on loopback.
    pub(crate) fn start(manner: Manner) -> Speed {
        Speed::at(IpAddr::from([127, 0, 0, 1]), manner)
    }

    /// Starts at an address. Sockets belong to the namespace of the thread that makes them.
    pub(crate) fn at(ip: IpAddr, manner: Manner) -> Speed {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let speed = Speed { addr: listener.local_addr().expect("bound"), asks: Arc::default(), ends: Arc::default() };
        let (asks, ends) = (Arc::clone(&speed.asks), Arc::clone(&speed.ends));
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (asks, ends) = (Arc::clone(&asks), Arc::clone(&ends));
                std::thread::spawn(move || serve(stream, manner, &asks, &ends));
            }
        });
        speed
    }

    /// What was asked for, path and query.
    pub(crate) fn asks(&self) -> Vec<String> {
        self.asks.lock().expect("no thread panics holding it").clone()
    }

    /// What came of the tests that were carried through.
    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.lock().expect("no thread panics holding it").clone()
    }
}

fn serve(stream: TcpStream, manner: Manner, asks: &Mutex<Vec<String>>, ends: &Mutex<Vec<End>>) {
    let raw = stream.try_clone().expect("a descriptor");
    match manner {
        Manner::Page => return say(raw, "200 OK"),
        Manner::Full => return say(raw, "503 Service Unavailable"),
        _ => {}
    }
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
    let judge = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().to_string();
        let asked = request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if asked != PROTOCOL || request.headers().get("user-agent").is_none() {
            return Err(Response::builder().status(400).body(None).expect("a response"));
        }
        let agreed = match manner {
            Manner::OtherProtocol => Some("chat"),
            Manner::NoProtocol => None,
            _ => Some(PROTOCOL),
        };
        if let Some(agreed) = agreed {
            response.headers_mut().insert("sec-websocket-protocol", agreed.parse().expect("a value"));
        }
        Ok(response)
    };
    let Ok(socket) = tungstenite::accept_hdr(stream, judge) else { return };
    asks.lock().expect("no thread panics holding it").push(path.clone());
    // A socket that the client leaves is no trouble of the server's.
    let end = if path.starts_with("/ndt/v7/download") { send(socket, &raw, manner) } else { receive(socket, &raw, manner) };
    if let Some(end) = end {
        ends.lock().expect("no thread panics holding it").push(end);
    }
}

fn say(mut stream: TcpStream, status: &str) {
    let mut head = [0; 4096];
    let _read = std::io::Read::read(&mut stream, &mut head); // whatever it asks
    let _sent = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
}

/// "Test Download": binary messages from 2^13 bytes on, doubled when they are a sixteenth of what was sent; ten seconds; then Close.
fn send(mut socket: WebSocket<TcpStream>, raw: &TcpStream, manner: Manner) -> Option<End> {
    let clock = Clock::system();
    let (start, mut told, mut bytes, mut size) = (clock.steady(), Duration::ZERO, 0_u64, 1_usize << 13);
    let mut body = Bytes::from(crate::kit::noise(9, if manner == Manner::Giant { 1 << 24 } else { size }));
    loop {
        let elapsed = clock.steady().duration_since(start);
        match manner {
            Manner::TooLong => {
                // A head alone says it: 2^24 + 1.
                let _sent = (&mut &*raw).write_all(&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1]);
                let _read = socket.read();
                return None;
            }
            Manner::Stalls if bytes > 0 => {
                let _read = socket.read(); // until the client has enough
                return None;
            }
            Manner::Rubbish => socket.send(Message::text("<html>")).ok()?,
            Manner::HangsUp if elapsed >= Duration::from_secs(1) => {
                let _sent = (&mut &*raw).write_all(&[0x82, 126, 0xff, 0xff, 1, 2, 3]);
                return None;
            }
            _ => {}
        }
        let time = if manner == Manner::Closes { 1 } else { 10 };
        if elapsed >= Duration::from_secs(time) {
            break;
        }
        socket.send(Message::Binary(body.clone())).ok()?;
        bytes += body.len() as u64;
        if manner != Manner::Giant && size < 1 << 20 && size as u64 <= bytes / 16 {
            size *= 2;
            body = Bytes::from(crate::kit::noise(9, size));
        }
        if elapsed >= told + Duration::from_millis(250) {
            told = elapsed;
            socket.send(measurement("download", bytes, elapsed, raw, manner)).ok()?;
        }
    }
    let took = clock.steady().duration_since(start);
    let acked = socket::tcp_info(raw).ok().and_then(|info| info.bytes_acked).unwrap_or(0);
    leave(socket);
    Some(End { bytes, acked, took })
}

/// "Test Upload": whatever comes is counted, and a measurement sent four times a second.
fn receive(mut socket: WebSocket<TcpStream>, raw: &TcpStream, manner: Manner) -> Option<End> {
    let clock = Clock::system();
    let (start, mut told, mut bytes, mut last) = (clock.steady(), Duration::ZERO, 0_u64, Duration::ZERO);
    loop {
        let message = socket.read();
        let elapsed = clock.steady().duration_since(start);
        match message {
            Ok(Message::Binary(body)) => (bytes, last) = (bytes + body.len() as u64, elapsed),
            Ok(Message::Close(_)) | Err(_) => break,
            Ok(_) => {}
        }
        match manner {
            Manner::Stalls => {
                std::thread::sleep(Duration::from_mins(10)); // nobody waits for this thread
                return None;
            }
            Manner::Rubbish => socket.send(Message::text("[]")).ok()?,
            Manner::Giant => socket.send(Message::binary(vec![0; 1 << 24])).ok()?,
            Manner::Closes if elapsed >= Duration::from_secs(1) => break,
            Manner::HangsUp if elapsed >= Duration::from_secs(1) => return None,
            _ => {}
        }
        if elapsed >= told + Duration::from_millis(250) {
            told = elapsed;
            socket.send(measurement("upload", bytes, elapsed, raw, manner)).ok()?;
        }
    }
    leave(socket);
    Some(End { bytes, acked: 0, took: last })
}

fn leave(mut socket: WebSocket<TcpStream>) {
    let _told = socket.close(None); // it may be gone
    while socket.read().is_ok() {}
}

/// One measurement, as the specification has it. The kernel's own view as well, but for its id.
fn measurement(test: &str, bytes: u64, elapsed: Duration, raw: &TcpStream, manner: Manner) -> Message {
    let times = if manner == Manner::Lies { 10 } else { 1 };
    let micros = u64::try_from(elapsed.as_micros()).expect("a short test");
    let info = socket::tcp_info(raw).unwrap_or_default();
    let rtt = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_micros()).expect("a round trip"));
    let mut text = json!({
        "AppInfo": { "ElapsedTime": micros, "NumBytes": bytes * times },
        "ConnectionInfo": { "Client": "192.0.2.1:1", "Server": "192.0.2.2:2", "UUID": "spec_1" },
        "Origin": "server", "Test": test, "Unheard": { "Of": [1] },
        "TCPInfo": {
            "ElapsedTime": micros, "BytesReceived": info.bytes_received.map(|bytes| bytes * times), "BytesAcked": info.bytes_acked,
            "MinRTT": rtt(info.min_rtt), "RTT": rtt(info.rtt), "State": 1,
        },
    });
    if let Manner::Names(name) = manner {
        text["ConnectionInfo"] = json!({ "Client": name, "Server": name, "UUID": "aa-bb-cc-dd-ee-77", "StartTime": name, name: name });
        text["Unheard"] = json!({ name: [name], "URL": name });
        text[name] = name.into();
    }
    Message::text(text.to_string())
}
