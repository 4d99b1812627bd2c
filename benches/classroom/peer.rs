//! The proxies that a scenario drives, each started for one round in a folder and on a port of its own, and ended with its value.
//!
//! Each file below says how it configures its proxy for the job. Who has a tier of memory for bodies has 64 MB of it, and all have room for
//! everything that is asked for (on disk; with Varnish, which has no other store, in memory; nginx leaves memory to the kernel). They keep
//! what the origin lets them keep, let many askers share one fetch where they can, and wait for a slow line rather than ask it twice.
//! Whoever knows a better configuration is welcome: the aim is each proxy's best.

use super::content::HOST;
use super::place::Place;
use super::process::Family;
use crate::kit;
use crate::kit::node::Node;
use crate::kit::program::{self, Running};
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;
use tempfile::TempDir;

/// Ours.
mod bulak;

/// squid.
mod squid;

/// nginx with `proxy_cache`.
mod nginx;

/// Apache Traffic Server.
mod trafficserver;

/// Varnish.
mod varnish;

/// Which proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Bulak,
    /// Ours with one key of its configuration changed: name on the card, key, value.
    Changed(String, String, String),
    /// squid.
    Squid,
    /// nginx.
    Nginx,
    /// Apache Traffic Server.
    TrafficServer,
    /// Varnish.
    Varnish,
    /// Devices ask the origin over the line.
    None,
    /// A forward proxy that runs already; CPU and memory only by its process id.
    Running(SocketAddr, Option<u32>),
    /// A shell command, run in a folder of its own, that starts a forward proxy on `$LISTEN`.
    Command(String, String),
}

/// What a proxy is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Whole objects.
    Objects,
    /// One piece of a large file.
    Piece,
    /// All pieces of large files.
    Pieces,
}

/// A running proxy.
pub(crate) struct Peer {
    /// Where devices connect.
    pub(crate) addr: SocketAddr,
    /// What stands before the path in a request.
    pub(crate) prefix: String,
    /// The Host field.
    pub(crate) host: String,
    /// Its processes, where they are known.
    pub(crate) family: Option<Family>,
    _life: Life,
}

enum Life {
    None,
    Node { _node: Box<Node> },
    Process { _process: Process, _folder: TempDir },
}

/// A process that is asked to end, with all below it.
struct Process(Running);

impl Drop for Process {
    fn drop(&mut self) {
        let child = std::cell::RefCell::new(&mut self.0.0);
        let family = Family(child.borrow().id());
        family.end(|| !matches!(child.borrow_mut().try_wait(), Ok(None)));
    }
}

impl Kind {
    /// What it is called on the card.
    pub(crate) fn name(&self) -> &str {
        match self {
            Kind::Bulak => "bulak",
            Kind::Squid => "squid",
            Kind::Nginx => "nginx",
            Kind::TrafficServer => "trafficserver",
            Kind::Varnish => "varnish",
            Kind::None => "none",
            Kind::Running(..) => "running",
            Kind::Changed(name, ..) | Kind::Command(name, _) => name,
        }
    }

    /// Whether it can be started here.
    pub(crate) fn is_installed(&self) -> bool {
        match self {
            Kind::Squid => program::find("squid").is_some(),
            Kind::Nginx => program::find("nginx").is_some(),
            Kind::TrafficServer => program::find("traffic_server").is_some(),
            Kind::Varnish => program::find("varnishd").is_some(),
            Kind::Bulak | Kind::Changed(..) | Kind::None | Kind::Running(..) | Kind::Command(..) => true,
        }
    }

    /// Its version, in its own words.
    pub(crate) fn version(&self) -> String {
        let ask = |program: &Path, word: &str| {
            let output = program::run(Command::new(program).arg(word), 20);
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let line = text.lines().find(|line| line.chars().any(|letter| letter.is_ascii_digit())).unwrap_or_default();
            line.chars().take(80).collect()
        };
        match self {
            Kind::Bulak | Kind::Changed(..) => ask(&kit::node::binary(), "--version"),
            Kind::Squid => ask(&program::need("squid"), "-v"),
            Kind::Nginx => ask(&program::need("nginx"), "-v"),
            Kind::TrafficServer => ask(&program::need("traffic_server"), "-V"),
            Kind::Varnish => ask(&program::need("varnishd"), "-V"),
            Kind::None => String::from("devices ask the origin over the line"),
            Kind::Running(addr, _) => format!("whatever listens on {addr}"),
            Kind::Command(_, command) => command.clone(),
        }
    }

    /// What it is told for a job beside what it is always told, for people who read its figures.
    pub(crate) fn recipe(&self, job: Job) -> Option<&'static str> {
        match self {
            Kind::Squid => squid::recipe(job),
            Kind::Nginx => nginx::recipe(job),
            Kind::TrafficServer => trafficserver::recipe(job),
            Kind::Bulak | Kind::Changed(..) | Kind::Varnish | Kind::None | Kind::Running(..) | Kind::Command(..) => None,
        }
    }

    /// Starts it in a folder below `below`.
    ///
    /// # Errors
    /// Why it does not start.
    pub(crate) fn start(&self, ground: Ground<'_>, below: &Path, job: Job) -> Result<Peer, String> {
        let folder = tempfile::tempdir_in(below).map_err(|error| error.to_string())?;
        open_to_all(folder.path());
        let here = Start { ground, folder, job };
        match self {
            Kind::Bulak => bulak::start(here, None),
            Kind::Changed(_, key, value) => bulak::start(here, Some((key, value))),
            Kind::Squid => squid::start(here),
            Kind::Nginx => nginx::start(here),
            Kind::TrafficServer => trafficserver::start(here),
            Kind::Varnish => varnish::start(here),
            Kind::None => Ok(Peer { addr: here.near(), prefix: String::new(), host: HOST.to_owned(), family: None, _life: Life::None }),
            Kind::Running(addr, id) => {
                let host = here.near().to_string();
                Ok(Peer { addr: *addr, prefix: format!("http://{host}"), host, family: id.map(Family), _life: Life::None })
            }
            Kind::Command(_, command) => {
                let port = here.port();
                let mut shell = here.command("sh");
                shell.args(["-c", &format!("exec {command}")]).current_dir(here.folder.path());
                shell.env("LISTEN", kit::loopback(port).to_string()).env("ORIGIN", here.near().to_string());
                let host = here.near().to_string();
                here.launch(&mut shell, port, format!("http://{host}"), host)
            }
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Ok(match text {
            "bulak" => Kind::Bulak,
            "squid" => Kind::Squid,
            "nginx" => Kind::Nginx,
            "trafficserver" => Kind::TrafficServer,
            "varnish" => Kind::Varnish,
            "none" => Kind::None,
            other => {
                let changed = other.strip_prefix("bulak:").and_then(|change| change.split_once('='));
                let unknown = || format!("\"{other}\" is none of bulak, bulak:KEY=VALUE, squid, nginx, trafficserver, varnish, none");
                let (key, value) = changed.ok_or_else(unknown)?;
                Kind::Changed(other.into(), key.into(), value.into())
            }
        })
    }
}

/// Where a proxy is started, and where it finds the origin.
#[derive(Clone, Copy)]
pub(crate) enum Ground<'p> {
    /// At the near end of a scenario's line.
    Place(&'p Place),
    /// On core 0 alone, with the origin beside it.
    Core(SocketAddr),
}

/// What every start needs.
struct Start<'p> {
    ground: Ground<'p>,
    folder: TempDir,
    job: Job,
}

impl Start<'_> {
    /// Where the origin is found.
    fn near(&self) -> SocketAddr {
        match self.ground {
            Ground::Place(place) => place.near,
            Ground::Core(origin) => origin,
        }
    }

    /// Words before a program's that put it where it is started; they become the program itself.
    fn words(&self) -> Vec<String> {
        match self.ground {
            Ground::Place(place) => place.words(),
            Ground::Core(_) => ["taskset", "-c", "0"].map(String::from).to_vec(),
        }
    }

    /// A program where it is started.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self.ground {
            Ground::Place(place) => place.command(program),
            Ground::Core(_) => {
                let words = self.words();
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(program);
                command
            }
        }
    }

    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.ground {
            Ground::Place(place) => place.enter(work),
            Ground::Core(_) => work(),
        }
    }

    /// A free port where it is started.
    fn port(&self) -> u16 {
        self.enter(kit::free_port)
    }

    /// Writes a file into the folder.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        fs::write(self.folder.path().join(name), text).map_err(|error| error.to_string())
    }

    /// Starts a program that is not to become a service, and waits until it listens.
    fn launch(self, command: &mut Command, port: u16, prefix: String, host: String) -> Result<Peer, String> {
        let log = self.folder.path().join("out");
        let mut process = Process(program::start(command, &log));
        let addr = kit::loopback(port);
        for _ in 0..600 {
            if self.enter(|| TcpStream::connect(addr)).is_ok() {
                let family = Some(Family(process.0.0.id()));
                return Ok(Peer { addr, prefix, host, family, _life: Life::Process { _process: process, _folder: self.folder } });
            }
            if !matches!(process.0.0.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("it does not listen on {addr}: {}", kit::tail(&log, 5)))
    }
}

/// Some proxies that root has started go on as somebody else, who must be able to write here.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _opened = fs::set_permissions(folder, fs::Permissions::from_mode(0o777)); // whoever is not root needs none
}
