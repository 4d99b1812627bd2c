//! Speed tests as everybody runs them: ndt7 (M-Lab, version 0.11 of its specification) over WebSocket, and the same with several
//! streams at once (`throughput1` of M-Lab's msak). Client and server speak both.
//!
//! ```text
//! locate (which server) -> client::run -> flow (who sends, who counts) -> frame (RFC 6455)       server -> flow -> frame
//! ```
//!
//! Rooms know nothing of schedules, budgets or estimates: whoever asks for a test says how long it may take and what it may cost, is
//! told every few hundred milliseconds how it goes, and may end it.

use crate::meter::ndt7::message::Message;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the two ends tell each other.
pub mod message;

/// Frames of WebSocket.
mod frame;

/// The bytes of one connection.
mod flow;

/// One test as a client.
pub mod client;

/// Which server, asked of a Locate service.
pub mod locate;

/// The same, over the line.
pub mod nearest;

/// Who may be tested at once.
mod seats;

/// Tests of others.
pub mod server;

/// How long bytes flow (section "Timing" of ndt7's specification).
pub const TIME: Duration = Duration::from_secs(10);

/// After which either side may cut a test short: the time, and this.
const GRACE: Duration = Duration::from_secs(3);

/// After which a server ends a test, whatever its client does.
const END: Duration = Duration::from_secs(15);

/// Longest query of a test's address, bytes.
const LONGEST_QUERY: usize = 4096;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the server to the client.
    Download,
    /// From the client to the server.
    Upload,
}

impl Way {
    /// `download` or `upload`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Download => "download",
            Way::Upload => "upload",
        }
    }
}

/// What the two ends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Dialect {
    /// One stream.
    Ndt7,
    /// Several streams that belong together.
    Throughput1,
}

impl Dialect {
    /// Its name in `Sec-WebSocket-Protocol`.
    const fn subprotocol(self) -> &'static str {
        match self {
            Dialect::Ndt7 => "net.measurementlab.ndt.v7",
            Dialect::Throughput1 => "net.measurementlab.throughput.v1",
        }
    }

    /// The path of a test.
    const fn path(self, way: Way) -> &'static str {
        match (self, way) {
            (Dialect::Ndt7, Way::Download) => "/ndt/v7/download",
            (Dialect::Ndt7, Way::Upload) => "/ndt/v7/upload",
            (Dialect::Throughput1, Way::Download) => "/throughput/v1/download",
            (Dialect::Throughput1, Way::Upload) => "/throughput/v1/upload",
        }
    }

    /// Of an address.
    fn of(path: &str) -> Dialect {
        if path.starts_with("/throughput/") { Dialect::Throughput1 } else { Dialect::Ndt7 }
    }

    fn print(self, message: &Message, congestion: &str) -> String {
        match self {
            Dialect::Ndt7 => message.print(),
            Dialect::Throughput1 => message.print_wire(congestion),
        }
    }
}

/// For fuzzers: any bytes as frames, as a measurement and as an answer of a Locate service; no panic.
pub fn fuzz(bytes: &[u8]) {
    frame::fuzz(bytes);
    if let Ok(message) = Message::parse(&String::from_utf8_lossy(bytes)) {
        std::hint::black_box(message.received());
        assert!(Message::parse(&message.print()).is_ok(), "a measurement that is printed can be read");
    }
    std::hint::black_box(locate::parse(bytes).is_ok());
}
