//! The regional server: takes reports, keeps each once, shows a region on one page and each school on another.
//!
//! It never learns who browsed what: what may be in a report is `report::schema`'s list, and the hub refuses anything else.
//! Read in this order: `accept` (what is taken, pure), `facts` (what of it goes into columns, pure), `keep` (where it goes), `day` and
//! `tend` (what is made of it), `summary` (who needs a call, pure), `serve`; who may do what is in `roll`, `enrol`, `people` (tokens) and
//! `sign_in` (passwords).

use crate::base::calendar::Calendar;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::crowd::Crowd;
use crate::base::unit::BitRate;
use crate::life::{Life, supervise};
use crate::meter::ndt7::server::{self, Ends, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What is taken and what is not.
pub mod accept;

/// What is kept in columns.
pub mod figures;

/// A record -> what of it goes into columns.
pub mod facts;

/// The hub's database.
pub mod keep;

/// Hours, pings, tests and outages -> a day.
pub mod day;

/// Rollups and what is too old.
mod tend;

/// Who may report.
pub mod roll;

/// How a node gets onto the roll.
pub mod enrol;

/// Who may look and who may change.
pub mod people;

/// People with a password.
pub mod sign_in;

/// What a browser shows of somebody who is signed in.
mod session;

/// Passwords as they are kept.
mod password;

/// What time it is.
mod witness;

/// How much a node may have kept.
mod allow;

/// The hub's file.
pub mod settings;

/// Who needs a call.
pub mod summary;

/// Packets that come back.
mod echo;

/// Connections, within limits.
mod listen;

/// Charts as SVG.
mod chart;

/// Pages for people.
mod pages;

/// Paths and answers.
mod serve;

/// Short words in three languages.
mod words;

use keep::Place;

/// `hub.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where reports and pages are served.
    pub listen: Vec<SocketAddr>,
    /// Where reports are kept.
    pub database: Place,
    /// A school is late when nothing came for this long: two reports and half an hour of jitter.
    pub late_after: Duration,
    /// A school is silent when nothing came for this long.
    pub silent_after: Duration,
    /// Whose days they are.
    pub calendar: Calendar,
    /// Who may look at pages and figures.
    pub viewers: Viewers,
    /// Under which names people are answered; empty: under any.
    pub names: Vec<String>,
    /// How long records are kept as they were signed.
    pub keep_records: Duration,
    /// How long hours are kept.
    pub keep_hours: Duration,
    /// Whether packets of UDP to the ports of `listen` come back, for the nodes' pings.
    pub echo: bool,
    /// Who may report, beside those that enrol by a code.
    pub nodes: Vec<Enrolled>,
}

/// Who may look at pages and figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewers {
    /// Whoever reaches the hub.
    Anyone,
    /// Who shows a token, or has signed in.
    Tokens,
}

/// One node that may report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolled {
    /// Its public key, 64 hex digits (`bulak status` shows it).
    pub key: String,
    /// The school's id on pages and in addresses.
    pub school: String,
    /// The school's name for people; empty: its id.
    pub name: String,
    /// Who provides the school's line; empty: not known.
    pub provider: String,
    /// What the line's contract says.
    pub contract: Option<BitRate>,
}

/// The zone of all Kazakhstan since 2024.
const ZONE: &str = "Asia/Almaty";

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8090))],
            database: Place::File(PathBuf::from("/var/lib/bulak-hub/hub.sqlite")),
            late_after: Duration::from_mins(150),
            silent_after: Duration::from_hours(24),
            calendar: Calendar::of(ZONE).unwrap_or_default(),
            viewers: Viewers::Anyone,
            names: Vec::new(),
            keep_records: Duration::from_hours(60 * 24),
            keep_hours: Duration::from_hours(400 * 24),
            echo: true,
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
    /// Opens the database, binds the listeners and starts what looks after the kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bind(settings: Settings, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Hub, Error> {
        let keep = open(&settings.database).await?;
        let witness = witness::Witness::open(&*keep, clock.clone()).await?;
        let roll = enrol::Book::open(settings.nodes.clone(), keep.clone(), clock.clone()).await?;
        let mut listeners = Vec::new();
        for address in &settings.listen {
            listeners.push(TcpListener::bind(address).await.map_err(|error| Error::Listen(*address, error))?);
        }
        let places: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let echo = echo::start(places.iter().filter(|_| settings.echo), &clock, life, metrics).await;
        let people = people::People::new(keep.clone(), clock.clone(), settings.viewers);
        let woken = Arc::new(Notify::new());
        supervise(life, tend::Tend::new(&settings, keep.clone(), roll.clone(), (&clock, &witness), (life, &woken), metrics));
        let since = clock.now();
        let who = Arc::new(|extensions: &http::Extensions| extensions.get::<Ends>().copied());
        let tests = Server::new(server::Settings::hub(), who, clock.clone(), life, metrics);
        let parts = serve::Parts::new(serve::Inner::new(settings, (clock, witness), metrics, keep, roll, people, since, woken, echo));
        Ok(Hub { listeners, parts, tests, life: life.clone() })
    }

    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `life` stops; returns when the listeners are closed. Connections end within the grace of `Life::end`.
    pub async fn serve(self) {
        let router = serve::routes(self.parts, &self.tests);
        let crowd = Crowd::default();
        let loops = self.listeners.into_iter().map(|listener| listen::run(listener, router.clone(), self.life.clone(), crowd.clone()));
        futures_util::future::join_all(loops).await;
    }
}

/// Opens the database, and makes the folder of its file.
///
/// # Errors
/// See [`Error`].
pub async fn open(place: &Place) -> Result<Arc<dyn keep::Keep>, Error> {
    if let Place::File(file) = place
        && let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty())
    {
        tokio::fs::create_dir_all(folder).await.map_err(|error| Error::Folder(folder.to_owned(), error))?;
    }
    Ok(keep::open(place).await?)
}

/// How old something is, for summaries: never negative.
fn age(now: Time, then: Time) -> Duration {
    now.since(then)
}

#[cfg(test)]
mod tests;
