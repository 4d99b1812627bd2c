//! One test as a client: what is asked for, how it goes on, what came of it.

use crate::base::socket::TcpInfo;
use crate::meter::ndt7::message::Message;
use crate::upstream;
use http::StatusCode;
use std::time::Duration;
use url::Url;

pub use run::{TELL, run};

/// From the first packet to the outcome.
mod run;

/// The upgrade.
mod open;

/// Messages kept of each side and stream: the reference sends four a second for ten seconds, and a liar may send more.
pub const MOST_MESSAGES: usize = 64;

/// Most streams of one test: what msak's own client takes at most, times two.
pub const MOST_STREAMS: u16 = 8;

/// Where a test goes: whole addresses as Locate gives them, query included (`ws`, `wss`, `http` or `https`). A path that begins with
/// `/throughput/` is spoken to in throughput1, any other in ndt7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `…/ndt/v7/download`.
    pub download: Url,
    /// `…/ndt/v7/upload`.
    pub upload: Url,
}

/// What a test may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long bytes flow.
    pub time: Duration,
    /// How many bytes may pass in the test's own direction, all streams together; then it ends as if `on` had said so.
    pub bytes: Option<u64>,
    /// How long a read or a write may stand still.
    pub io: Duration,
    /// How long connecting, TLS and the upgrade may take, each.
    pub open: Duration,
    /// Streams at once. More than one is for servers of ours: M-Lab's mean one.
    pub streams: u16,
    /// The congestion control of what we send, where the kernel has it; that of a download is the server's to choose.
    pub congestion: Option<&'static str>,
}

impl Default for Limits {
    /// As ndt7's specification has it.
    fn default() -> Limits {
        Limits {
            time: Duration::from_secs(10),
            bytes: None,
            io: Duration::from_secs(7),
            open: Duration::from_secs(10),
            streams: 1,
            congestion: Some("bbr"),
        }
    }
}

/// How a test goes, told every 100 to 250 ms.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Since bytes may flow.
    pub elapsed: Duration,
    /// Payload so far: received by us on a download; on an upload what the other side's TCP has acknowledged, or what was written where
    /// the kernel does not tell. For the curve of the rate.
    pub moved: u64,
    /// The newest point that the receiver itself has told: on a download that is us, on an upload the server (all streams together).
    pub arrived: Option<Arrived>,
    /// What the test has taken from the line until now, both directions.
    pub cost: Cost,
    /// The newest message of the server, of any stream.
    pub server: Option<&'a Message>,
    /// What our own kernel says, stream by stream.
    pub kernel: &'a [TcpInfo],
}

/// So much had arrived after so long, by the receiver's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Payload, bytes.
    pub bytes: u64,
    /// In which time.
    pub took: Duration,
}

/// Bytes of TCP (TLS, frames and repeats of ours included; packet heads, some 3 %, not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From the line.
    pub received: u64,
    /// To the line.
    pub sent: u64,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continue {
    /// On.
    On,
    /// The figure has settled, or the budget is used up.
    Stop,
}

/// How a test ended. All of these leave a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The whole time.
    Full,
    /// We ended it.
    Early,
    /// The byte limit was reached.
    Limit,
    /// The server ended it before its time.
    Server,
    /// The connection broke off after some of it (usual at the end of an upload); what had arrived counts.
    Cut,
    /// Nothing came or went for [`Limits::io`] after some of it.
    Stalled,
}

/// What came of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What arrived, by its receiver; `None` when a server told nothing of an upload.
    pub arrived: Option<Arrived>,
    /// The server's messages, oldest first; of many the first few and the newest.
    pub server: Vec<Message>,
    /// Ours.
    pub client: Vec<Message>,
    /// What our kernel said last.
    pub kernel: Option<TcpInfo>,
    /// Who paced what we sent: the kernel's name, such as `cubic`.
    pub congestion: Option<String>,
    /// How it ended.
    pub ended: Ended,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Payload that arrived, all streams together: on a download as we counted, on an upload as the server did, else as our kernel saw
    /// it acknowledged.
    pub moved: u64,
    /// In which time; of several streams the longest.
    pub took: Duration,
    /// Whether the receiver told `moved` itself: false only for an upload whose server said nothing.
    pub told: bool,
    /// What it took from the line.
    pub cost: Cost,
    /// The first stream's, or the worst of all.
    pub ended: Ended,
    /// Stream by stream; the first is the one whose id names the test.
    pub streams: Vec<Stream>,
}

impl Outcome {
    /// What arrived per second, bit/s, all streams together; `None` when nothing did.
    pub fn rate(&self) -> Option<u64> {
        let micros = self.took.as_micros();
        if self.moved == 0 || micros == 0 {
            return None;
        }
        u64::try_from(u128::from(self.moved) * 8_000_000 / micros).ok()
    }

    /// The newest message of the first stream's server.
    pub fn server(&self) -> Option<&Message> {
        self.streams.first()?.server.last()
    }

    /// The id by which the server knows the test.
    pub fn uuid(&self) -> Option<&str> {
        let info = self.streams.first()?.server.iter().find_map(|message| message.connection_info.as_ref())?;
        Some(info.uuid.as_str()).filter(|uuid| !uuid.is_empty())
    }
}

/// Why a test has no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached.
    #[error(transparent)]
    Reach(#[from] upstream::Error),
    /// The address cannot be tested.
    #[error("{0} is no address of a test ({1}); it begins with ws:// or wss://")]
    Address(String, String),
    /// It answers, and wants no test now: it is full (503, 429), or does not know us (401, 403).
    #[error("the server answered {0} and not with a test; try another one")]
    Refused(StatusCode),
    /// It accepted, and does not do as ndt7 says.
    #[error("the server does not speak ndt7 ({0}); try another one")]
    Protocol(String),
    /// It accepted, and then nothing came or went.
    #[error("nothing came or went for {0:?} after the test began")]
    Stalled(Duration),
    /// The connection broke off before anything had arrived.
    #[error("the connection broke off before anything had arrived ({0})")]
    Cut(String),
}

impl Error {
    /// Whether another server may do better: the line is not to blame.
    pub fn is_server(&self) -> bool {
        match self {
            Error::Reach(error) => !error.is_line(),
            Error::Address(..) | Error::Refused(_) | Error::Protocol(_) => true,
            Error::Stalled(_) | Error::Cut(_) => false,
        }
    }
}
