//! Stories on real sockets: an origin says, we ask, we expect.

use super::*;
use std::net::SocketAddr;

/// Origins, a DNS server, a node's parts.
mod kit;

/// HTTP/1.1 without TLS.
mod plain;

/// Connections that give way.
mod quiet;

/// The school's own servers.
mod house;

/// Names and what must not be reached.
mod reach;

/// TLS and HTTP/2.
mod secure;
