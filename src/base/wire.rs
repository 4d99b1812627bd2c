//! The wire filter in front of hyper: it judges and passes bytes; hyper still parses, frames and does everything else.
//!
//! hyper accepts what a safe proxy must refuse (a length beside a coding, bare LF) and cannot send a 103. So pure state
//! machines (`request`, `response`) read along, byte for byte, and thin adapters (`server`, `client`) put them
//! between a socket and hyper. The rules are those of RFC 9112, always the stricter reading where it leaves a choice.

/// What is wrong, and what may be at most.
pub mod fault;

/// Field lines, shared by heads and trailers.
pub mod head;

/// Chunked coding.
pub mod chunk;

/// Judges what a client sends.
pub mod request;

/// Judges what an origin sends.
pub mod response;

/// Between a client's socket and hyper's server.
pub mod server;

/// What the server's adapter, its service and its watcher share.
pub mod watch;

/// Between an origin's socket and hyper's client.
pub mod client;

pub use client::{Checked, client};
pub use fault::{Fault, Limits};
pub use server::{Guarded, server};
pub use watch::{Answer, Tick, Turn, Watch};

use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Sends an interim (1xx) answer to the client before the final one. Put into a request's extensions by `proxy`, called by
/// `upstream` as interim answers arrive.
#[derive(Clone)]
pub struct Interim(pub Arc<Tell>);

/// Takes an interim answer's status and fields.
pub type Tell = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

/// Whatever `bytes` hold, both judges must come to the same verdict at every way of cutting them into reads. For fuzzers.
///
/// # Panics
/// When they do not.
pub fn fuzz(bytes: &[u8]) {
    let agree = |pieces: &[&[u8]]| {
        assert_eq!(request::verdict(pieces), request::verdict(&[bytes]), "a request in {} pieces", pieces.len());
        assert_eq!(response::verdict(pieces), response::verdict(&[bytes]), "an answer in {} pieces", pieces.len());
    };
    agree(&bytes.chunks(1).collect::<Vec<_>>());
    for at in (0..bytes.len()).step_by((bytes.len() / 16).max(1)) {
        let (one, two) = bytes.split_at(at);
        agree(&[one, two]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// Pieces that messages are made of, good and bad.
    const PIECES: &[&str] = &[
        "GET http://a.kz/ HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "CONNECT a.kz:443 HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 101 S\r\n",
        "HTTP/1.0 304 \r\n",
        "Host: a.kz\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Upgrade: websocket\r\n",
        "X: y\r\n",
        " fold\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n",
        "3;x=\"y\"\r\n",
        "g\r\n",
    ];

    #[test]
    fn random_messages_get_one_verdict_however_they_are_cut() {
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        for _ in 0..3000 {
            let count = random.random_range(1..12);
            let mut text = Vec::new();
            for _ in 0..count {
                text.extend_from_slice(PIECES[random.random_range(0..PIECES.len())].as_bytes());
            }
            if random.random_bool(0.3) {
                let at = random.random_range(0..text.len());
                text[at] = random.random();
            }
            fuzz(&text);
        }
    }
}
