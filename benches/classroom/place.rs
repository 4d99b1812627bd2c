//! Where a scenario is played: the origin at the world's end of a line, proxy and devices at the school's end.
//!
//! With root a line of packets between network namespaces, else (or when a proxy runs already, outside of any namespace) a relay that is
//! kinder than a line: its figures say so.

use super::content::Content;
use super::origin::Origin;
use super::scenario::{Out, Scenario};
use crate::kit;
use crate::line::{Cable, Relay, Way};
use bulak::base::clock::Clock;
use serde::Serialize;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

/// The origin's port on a line of packets.
const PORT: u16 = 8000;

/// How the line is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Emulation {
    /// Of packets.
    #[serde(rename = "TUN devices in network namespaces")]
    Cable,
    /// Of bytes.
    #[serde(rename = "a TCP relay on loopback: kinder than a line")]
    Relay,
}

/// What the line carried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// What TCP carried from the origin, bytes.
    pub(crate) down: u64,
    /// What TCP carried to the origin.
    pub(crate) up: u64,
    /// Whole packets towards the school; none on a relay.
    pub(crate) wire_down: u64,
    /// Whole packets towards the world; none on a relay.
    pub(crate) wire_up: u64,
}

/// One line with the origin behind it. It ends with its value.
pub(crate) struct Place {
    /// The origin.
    pub(crate) origin: Origin,
    /// Where the origin is found from the school's end.
    pub(crate) near: SocketAddr,
    road: Arc<Road>,
}

enum Road {
    Cable(Box<Cable>),
    Relay { relay: Relay, way: Way },
}

impl Place {
    /// Lays the line of a round and starts its origin.
    ///
    /// # Errors
    /// Of sockets; of namespaces for a line of packets.
    pub(crate) fn lay(scenario: &Scenario, round: u64, content: &Arc<Content>, emulation: Emulation) -> io::Result<Place> {
        let line = scenario.line(round);
        let content = Arc::clone(content);
        if emulation == Emulation::Cable {
            let cable = Cable::lay(&line)?;
            let near = SocketAddr::from((cable.far.addr, PORT));
            let origin = cable.far.enter(|| Origin::start(near, content))?;
            return Ok(Place { origin, near, road: Arc::new(Road::Cable(Box::new(cable))) });
        }
        let origin = Origin::start(kit::loopback(0), content)?;
        let relay = Relay::lay(&line);
        let way = relay.way(origin.addr)?;
        Ok(Place { near: way.addr, origin, road: Arc::new(Road::Relay { relay, way }) })
    }

    /// A program at the school's end; it becomes the program itself.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &*self.road {
            Road::Cable(cable) => cable.near.command(program),
            Road::Relay { .. } => Command::new(program),
        }
    }

    /// Words before a program's that put it at the school's end.
    pub(crate) fn words(&self) -> Vec<String> {
        match &*self.road {
            Road::Cable(cable) => cable.near.words(),
            Road::Relay { .. } => Vec::new(),
        }
    }

    /// Work on a thread at the school's end; threads that it starts are there as well.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &*self.road {
            Road::Cable(cable) => cable.near.enter(work),
            Road::Relay { .. } => work(),
        }
    }

    /// What the line carried so far.
    pub(crate) fn carried(&self) -> Carried {
        match &*self.road {
            Road::Cable(cable) => {
                let (down, up) = (cable.down(), cable.up());
                let of = |carried: &std::collections::BTreeMap<u16, u64>| carried.get(&PORT).copied().unwrap_or(0);
                Carried { down: of(&down.carried), up: of(&up.carried), wire_down: down.bytes, wire_up: up.bytes }
            }
            Road::Relay { way, .. } => Carried { down: way.carried(), up: way.sent(), wire_down: 0, wire_up: 0 },
        }
    }

    /// Packets dropped before a full queue and lost on the way so far, both directions.
    pub(crate) fn drops(&self) -> (u64, u64) {
        match &*self.road {
            Road::Cable(cable) => {
                let (down, up) = (cable.down(), cable.up());
                (down.full + up.full, down.lost + up.lost)
            }
            Road::Relay { .. } => (0, 0),
        }
    }

    /// Why what is measured here does not count.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.road {
            Road::Cable(cable) => cable.trouble(),
            Road::Relay { .. } => None,
        }
    }

    /// Cuts the line.
    pub(crate) fn cut(&self) {
        self.road.set_cut(true);
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.road.set_cut(false);
    }

    /// Plays an outage script from now on, until its value ends; then the line is whole.
    pub(crate) fn outages(&self, script: &[Out], clock: &Clock) -> Outages {
        let (stop, stopped) = channel::<()>();
        let (road, clock, script) = (Arc::clone(&self.road), clock.clone(), script.to_vec());
        let began = clock.steady();
        let thread = std::thread::spawn(move || {
            let turns = script.iter().flat_map(|out| [(out.from.0, true), (out.to.0, false)]);
            for (at, cut) in turns {
                let wait = (began + at).saturating_duration_since(clock.steady());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                road.set_cut(cut);
            }
            let _stopped = stopped.recv(); // the phase is over
            road.set_cut(false);
        });
        Outages { stop: Some(stop), thread: Some(thread) }
    }
}

impl Road {
    fn set_cut(&self, cut: bool) {
        match (self, cut) {
            (Road::Cable(cable), true) => cable.cut(),
            (Road::Cable(cable), false) => cable.mend(),
            (Road::Relay { relay, .. }, true) => relay.cut(),
            (Road::Relay { relay, .. }, false) => relay.mend(),
        }
    }
}

/// A script that is being played.
pub(crate) struct Outages {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Outages {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join(); // a panic of its was printed
        }
    }
}
