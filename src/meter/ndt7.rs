//! Speed tests as everybody runs them: ndt7 (M-Lab, version 0.11 of its specification) over WebSocket, and the same with several
//! streams at once (`throughput1` of M-Lab's msak). Client and server speak both.
//!
//! ```text
//! locate (which server) -> client::run -> flow (who sends, who counts) -> frame (RFC 6455)       server -> flow -> frame
//! ```
//!
//! Rooms know nothing of schedules, budgets or estimates: whoever asks for a test says how long it may take and what it may cost, is
//! told every few hundred milliseconds how it goes, and may end it.

use serde::{Deserialize, Serialize};

/// What the two ends tell each other.
pub mod message;

/// One test as a client.
pub mod client;

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
