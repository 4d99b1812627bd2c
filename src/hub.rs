//! The regional server: takes reports, keeps each once, shows a region on one page and each school on another.
//!
//! It never learns who browsed what: what may be in a report is `report::schema`'s list, and the hub refuses anything else.
//! Read in this order: `accept` (what is taken, pure), `keep` (where it goes), `summary` (who needs a call, pure), `serve`.

use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::life::Life;
use crate::meter::ndt7::server::{self, Ends, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What is taken and what is not.
pub mod accept;

/// The hub's database.
pub mod keep;

/// The hub's file.
pub mod settings;

/// Who needs a call.
pub mod summary;

/// Connections, within limits.
mod listen;

/// Pages for people.
mod pages;

/// Paths and answers.
mod serve;

/// Short words in three languages.
mod words;

use keep::{Keep, Sqlite};

/// `hub.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where reports and pages are served.
    pub listen: Vec<SocketAddr>,
    /// The SQLite file; `None`: in memory (tests).
    pub database: Option<PathBuf>,
    /// A school is late when nothing came for this long: two reports and half an hour of jitter.
    pub late_after: Duration,
    /// A school is silent when nothing came for this long.
    pub silent_after: Duration,
    /// Who may report.
    pub nodes: Vec<Enrolled>,
}

/// One node that may report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its public key, 64 hex digits (`bulak status` shows it).
    pub key: String,
    /// The school's id on pages and in addresses.
    pub school: String,
    /// The school's name for people; empty: its id.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8090))],
            database: Some(PathBuf::from("/var/lib/bulak-hub/hub.sqlite")),
            late_after: Duration::from_mins(150),
            silent_after: Duration::from_hours(24),
            nodes: Vec::new(),
        }
    }
}

/// Why there is no hub.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("hub.listen {0}: {1}; choose another port or stop what listens there")]
    Listen(SocketAddr, std::io::Error),
    /// A node's key is none.
    #[error("[[node]] key \"{0}\" is not a public key of 64 hex digits; `bulak status` on the node shows it")]
    Key(String),
    /// The database.
    #[error("hub.database: {0}")]
    Keep(#[from] keep::Error),
    /// The folder of the database cannot be made.
    #[error("hub.database: {0} cannot be made ({1}); choose another folder")]
    Folder(PathBuf, std::io::Error),
}

/// The hub: bound, not yet serving.
pub struct Hub {
    listeners: Vec<TcpListener>,
    parts: serve::Parts,
    tests: Server,
    life: Life,
}

impl Hub {
    /// Opens the database and binds the listeners.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bind(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Hub, Error> {
        if let Some(folder) = settings.database.as_ref().and_then(|file| file.parent()).filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| Error::Folder(folder.to_owned(), error))?;
        }
        let keep: Arc<dyn Keep> = Arc::new(Sqlite::open(settings.database.as_deref()).await?);
        let roll = accept::Roll::new(&settings.nodes).map_err(Error::Key)?;
        let mut listeners = Vec::new();
        for address in &settings.listen {
            listeners.push(TcpListener::bind(address).await.map_err(|error| Error::Listen(*address, error))?);
        }
        let since = clock.now();
        let who = Arc::new(|extensions: &http::Extensions| extensions.get::<Ends>().copied());
        let tests = Server::new(server::Settings::HUB, who, clock.clone(), life, metrics);
        Ok(Hub { listeners, parts: serve::Parts::new(settings, clock, metrics, keep, roll, since), tests, life: life.clone() })
    }

    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `life` stops; returns when the listeners are closed. Connections end within the grace of `Life::end`.
    pub async fn serve(self) {
        let router = serve::routes(self.parts, &self.tests);
        let limit = listen::limit();
        let loops = self.listeners.into_iter().map(|listener| listen::run(listener, router.clone(), self.life.clone(), Arc::clone(&limit)));
        futures_util::future::join_all(loops).await;
    }
}

/// How old something is, for summaries: never negative.
fn age(now: Time, then: Time) -> Duration {
    now.since(then)
}

#[cfg(test)]
mod tests;
