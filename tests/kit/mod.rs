//! The test kit: real parts that a story needs, each started on loopback and ended with the test.
//!
//! A node or hub under test, a scripted origin, a line that can be slowed and cut, a DNS server, Debian's nginx and squid,
//! and the clients that people use. Nothing here waits for a fixed time: everything waits for something to be true.
#![allow(dead_code, reason = "each test binary uses its own part of the kit")]

use bulak::base::clock::Clock;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A raw HTTP/1.1 client that judges nothing.
pub(crate) mod http;

/// An origin that says exactly what a test wrote.
pub(crate) mod origin;

/// An e-diary with pupils, and the search for what is theirs.
pub(crate) mod diary;

/// A line between two ports: slow, cut, restored.
pub(crate) mod line;

/// A DNS server for `*.school.test`.
pub(crate) mod dns;

/// Debian's nginx with real content under names of their own.
pub(crate) mod nginx;

/// A lesson of real content, served by nginx.
pub(crate) mod lesson;

/// Certificates of the tests' own.
pub(crate) mod tls;

/// Debian's nginx with TLS, good and bad.
pub(crate) mod secure;

/// Clients that speak TLS through a proxy and tell what they saw: curl, openssl.
pub(crate) mod device;

/// A node that opens https, with its origins and devices.
pub(crate) mod class;

/// An origin with TLS that a test writes itself.
pub(crate) mod talker;

/// A client that speaks HTTP/2 over TLS: streams, CONNECT in streams, WebSocket by extended CONNECT.
pub(crate) mod two;

/// testssl.sh.
pub(crate) mod scan;

/// Chromium, page by page.
pub(crate) mod browser;

/// An ndt7 server built from the specification.
pub(crate) mod speed;

/// Debian's squid.
pub(crate) mod squid;

/// A node or hub under test.
pub(crate) mod node;

/// A node with a past.
pub(crate) mod past;

/// A Giga Meter server that holds its clients to the rules.
pub(crate) mod giga;

/// The API by its tokens, and its routes by the sources.
pub(crate) mod api;

/// JSON against the schemas of an OpenAPI document.
pub(crate) mod schema;

/// Packs, signed.
pub(crate) mod pack;

/// Small disks.
pub(crate) mod mount;

/// curl, wget, Chromium, and children in general.
pub(crate) mod program;

/// Bytes from a seed.
mod noise;

pub(crate) use noise::noise;

/// Waits until `ready` holds, looking every 20 ms.
///
/// # Panics
/// After `seconds`, naming `what`.
pub(crate) fn until(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) {
    let clock = Clock::system();
    let end = clock.steady() + Duration::from_secs(seconds);
    while !ready() {
        assert!(clock.steady() < end, "waited {seconds} s in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago, for programs that cannot be given port 0.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// `127.0.0.1:port`.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The crate's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a file's name has this ending.
pub(crate) fn ends_in(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == ending)
}

/// Where `scripts/test` puts the npm packages that serve as content.
pub(crate) fn packages() -> PathBuf {
    std::env::var_os("BULAK_TEST_CONTENT").map_or_else(|| root().join("target/test-content"), PathBuf::from).join("node_modules")
}

/// Where `scripts/test` unpacks the npm packages that are apps as bundlers leave them.
pub(crate) fn apps() -> PathBuf {
    std::env::var_os("BULAK_TEST_CONTENT").map_or_else(|| root().join("target/test-content"), PathBuf::from).join("apps")
}

/// The HTML of Debian's python3-doc, installed or unpacked by `scripts/test`.
pub(crate) fn python_docs() -> PathBuf {
    let unpacked = root().join("target/test-content/python3-doc");
    [PathBuf::from("/usr/share/doc/python3-doc/html"), unpacked]
        .into_iter()
        .find(|folder| folder.join("tutorial/index.html").exists())
        .expect("python3-doc is missing; run scripts/test, which installs it")
}

/// The last lines of a log, for a failing test's message.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
