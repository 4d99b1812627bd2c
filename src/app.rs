//! Builds the parts. SKELETON.

/// Log setup and levels.
pub mod log;

use crate::config::Config;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the node listens, as bound.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The proxy.
    pub proxy: Vec<SocketAddr>,
    /// The web port.
    pub web: Vec<SocketAddr>,
    /// Local commands.
    pub socket: Option<PathBuf>,
}

/// Runs a node until it is told to stop.
pub async fn run(_config: Config, _ready: impl FnOnce(Addresses) + Send) -> anyhow::Result<()> {
    anyhow::bail!("the parts are not put together yet")
}
