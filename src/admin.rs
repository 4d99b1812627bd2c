//! What the node shows: on the web port to everybody, read-only (portal, PAC, health, metrics) but for the class's wishes and the
//! start of a recording (`tonight`), and the API: there to whoever shows a bearer token, on the local socket to whoever may open it.
//!
//! "From the machine itself" means the socket, never an address, since our own proxy could dial loopback for a stranger. Other parts
//! bring their routes as `extra`.

/// The API.
pub mod api;

/// Bearer tokens.
pub mod token;

/// Which Host values are ours.
pub mod host;

/// Serves a router on TCP and unix listeners until the node stops.
pub mod listen;

/// Whether the node is ready, and if not, why.
pub mod ready;

/// Routes of the local socket.
mod local;

/// What would become of an address.
mod why;

/// Those of the store.
mod store;

/// Long work of the store.
mod job;

/// The school's CA read anew.
mod ca;

/// Routes of the web port.
mod web;

/// Those for devices.
mod devices;

/// Those that take a form from the class.
mod tonight;

/// What is slow: this Wi-Fi, the line, or that site?
mod slow;

/// What a visitor tells of himself.
mod told;

pub use ca::{Reread, ca_routes};
pub use host::Names;
pub use local::local_router;
pub use ready::Ready;
pub use slow::slow_routes;
pub use token::Tokens;
pub use tonight::tonight_routes;
pub use web::web_router;

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::cache::Cache;
use crate::life::{Jobs, Life};
use crate::link::Link;
use crate::portal::{Doors, Reach, Shelf};
use crate::prefetch::Events;
use crate::proxy::intercept::Interception;
use crate::proxy::outlook::Outlook;
use crate::store::Store;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::sync::Arc;

/// Gives the packs on the shelf, counted elsewhere and in advance: called for each portal page, must not block.
/// Gets the address of ours that the device came to, so that links lead back to it.
pub type Shelves = Arc<dyn Fn(Option<SocketAddr>) -> Vec<Shelf> + Send + Sync>;

/// The mirror's address of a target, for a device that came to this address of ours; without one, by name.
pub type Mirrored = Arc<dyn Fn(&Target, Option<SocketAddr>) -> Option<String> + Send + Sync>;

/// What becomes of a device's request for an address; `None` while the node starts.
pub type Foresee = Arc<dyn Fn(&Target) -> Option<Outlook> + Send + Sync>;

/// Packs that the last night left complete, and all; called for each portal page, must not block.
pub type Morning = Arc<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// Gives the status of parts that this module need not know (`night`, `report`, …), as members of `/api/v1/status`.
pub type Others = Arc<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// For jobs.
    pub life: Life,
    /// Long work that somebody asked for.
    pub jobs: Jobs,
    /// What happens, as it happens.
    pub events: Events,
    /// Who may use the API over the web port.
    pub tokens: Tokens,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// The store.
    pub store: Store,
    /// The cache.
    pub cache: Cache,
    /// The line.
    pub link: Link,
    /// `config::Config::effective()`, as far as it is in force.
    pub effective: Arc<ArcSwap<Value>>,
    /// How the node calls itself.
    pub name: Arc<str>,
    /// When it started.
    pub started: Time,
    /// Whether it is ready.
    pub ready: Ready,
    /// Which https is opened.
    pub interception: Arc<Interception>,
    /// Where devices reach proxy and web port, as bound.
    pub doors: Arc<Doors>,
    /// Where the proxy listens over TLS.
    pub tls: Arc<[SocketAddr]>,
    /// Where redirected connections come in.
    pub sni: Arc<[SocketAddr]>,
    /// Under which names the web port answers.
    pub names: Arc<Names>,
    /// Under which names devices reach us, and how they come to trust us.
    pub reach: Arc<Reach>,
    /// Where addresses are mirrored.
    pub mirrored: Mirrored,
    /// What becomes of requests.
    pub foresee: Foresee,
    /// The portal's shelves.
    pub shelves: Shelves,
    /// How the last night left them.
    pub morning: Morning,
    /// Further members of the status.
    pub others: Others,
}
