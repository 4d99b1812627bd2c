//! What the configuration says of reaching origins, and why the defaults are what they are.

use crate::base::target::Target;
use crate::upstream::Allowed;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[upstream]` and what of `[proxy]` guards targets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS servers; empty: the system's.
    pub resolver: Vec<SocketAddr>,
    /// `name[:port]` -> `ip[:port]`, before DNS.
    pub hosts: BTreeMap<String, String>,
    /// PEM files beside the system's roots.
    pub extra_roots: Vec<PathBuf>,
    /// Revocation lists.
    pub crls: Vec<PathBuf>,
    /// "http://host:port".
    pub parent: Option<Target>,
    /// Private targets that may be reached all the same.
    pub allow_private: Vec<Allowed>,
    /// Our own listeners: never a target.
    pub own: Vec<SocketAddr>,
    /// For a name, all repeats included.
    pub resolve_timeout: Duration,
    /// For a TCP connection by whatever address; TLS and a parent's CONNECT get the same again.
    pub connect_timeout: Duration,
    /// From the request, or the last piece of its body, to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Between pieces of an answer's body.
    pub idle_timeout: Duration,
    /// Idle pooled connections live this long.
    pub pool_idle: Duration,
    /// Connections per origin (HTTP/1.1).
    pub per_origin: usize,
    /// Of which background may hold at most this many.
    pub background_per_origin: usize,
    /// Connections that lie idle at all origins together; the oldest make room.
    pub idle: usize,
    /// Requests of one client under way and waiting, at all origins: as many as it may have connections to the proxy.
    pub each: usize,
}

/// Connections that lie idle at all origins together: a page of a hundred hosts for each of five pupils; as memory some 20 MB at worst.
const IDLE: usize = 512;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            resolver: Vec::new(),
            hosts: BTreeMap::new(),
            extra_roots: Vec::new(),
            crls: Vec::new(),
            parent: None,
            allow_private: Vec::new(),
            own: Vec::new(),
            // What a client may lose to a silent resolver, once.
            resolve_timeout: Duration::from_secs(5),
            // A satellite's SYN lost twice (sent anew after 1 s, 3 s, 7 s) still gets through, and who has nothing stored is told within 10 s.
            connect_timeout: Duration::from_secs(9),
            // What browsers and other proxies wait for a slow page.
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(1),
            // Below the 100 s of common load balancers, so that we close first.
            pool_idle: Duration::from_secs(90),
            // Six, as a browser alone would use, starves a class: thirty devices in one long-polling lesson hold a connection each.
            // One each and two to spare keeps everyone served.
            per_origin: 32,
            // As polite as one careful crawler.
            background_per_origin: 2,
            idle: IDLE,
            each: 256,
        }
    }
}
