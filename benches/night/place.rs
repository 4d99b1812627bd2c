//! Where a night is played: a line, nginx at its far end, a school at its near end.
//!
//! Two ports of one nginx, so that what the class and what the night brought can be told apart on the wire: the class's file may not be
//! kept, the night's may.

use crate::kit::node::{Node, Setup};
use crate::kit::program::{self, Running};
use crate::kit::{self, pack};
use crate::line::{Cable, Line, Relay, Way, gauge::Pings};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What the class fetches, bytes.
pub(crate) const LESSON: usize = 500_000;

/// For one large file so many small ones: 2 to 64 kB each.
const SMALL: usize = 10;

const NIGHT_PORT: u16 = 8001;
const CLASS_PORT: u16 = 8002;

/// Large and small files for a night, on disk once for all nights of a line.
pub(crate) struct Content {
    folder: TempDir,
    names: Vec<String>,
}

impl Content {
    /// At least so many bytes, in large files that take about ten seconds of the line each, and small ones.
    pub(crate) fn make(below: &Path, line: &Line, bytes: u64) -> Content {
        let folder = tempfile::tempdir_in(below).expect("a folder");
        let night = folder.path().join("night");
        fs::create_dir_all(&night).expect("a folder");
        fs::create_dir_all(folder.path().join("class")).expect("a folder");
        fs::write(folder.path().join("class/lesson.bin"), kit::noise(1, LESSON)).expect("a file");
        let large = usize::try_from(line.down.bytes_per_second() * 10).expect("a size").clamp(2 << 20, 24 << 20);
        let (mut names, mut made) = (Vec::new(), 0);
        while made < bytes {
            for number in 0..=SMALL {
                let seed = names.len() as u64 + 2;
                let length = if number == 0 { large } else { 2_000 + (number * 7919) % 62_000 };
                let name = format!("{seed}.bin");
                fs::write(night.join(&name), kit::noise(seed, length)).expect("a file");
                names.push(name);
                made += length as u64;
            }
        }
        let list: String = names.iter().flat_map(|name| ["http://night.school.test/", name, "\n"]).collect();
        fs::write(night.join("list.txt"), list).expect("a file");
        Content { folder, names }
    }
}

/// One line with all that is at its ends.
pub(crate) struct Place<'c> {
    content: &'c Content,
    folder: PathBuf,
    road: Road,
    /// Where the school finds the night's and the class's origin.
    night: SocketAddr,
    class: SocketAddr,
    _nginx: Running,
}

enum Road {
    Cable(Cable),
    Relay { _relay: Relay, night: Way },
}

impl<'c> Place<'c> {
    /// Lays the line and starts nginx behind it; a relay where there is no root.
    pub(crate) fn build(below: &Path, line: &Line, content: &'c Content) -> Place<'c> {
        if let Ok(cable) = Cable::lay(line) {
            let (night, class) = ((cable.far.addr, NIGHT_PORT).into(), (cable.far.addr, CLASS_PORT).into());
            let nginx = serve(cable.far.command(program::need("nginx")), content, night, class);
            kit::until("nginx listens", 20, || cable.far.enter(|| TcpStream::connect(night)).is_ok());
            Place { content, folder: below.to_owned(), road: Road::Cable(cable), night, class, _nginx: nginx }
        } else {
            let (night, class) = (kit::loopback(kit::free_port()), kit::loopback(kit::free_port()));
            let nginx = serve(Command::new(program::need("nginx")), content, night, class);
            kit::until("nginx listens", 20, || TcpStream::connect(night).is_ok());
            let relay = Relay::lay(line);
            let (night, class) = (relay.way(night).expect("a port"), relay.way(class).expect("a port"));
            let (near, lesson) = (night.addr, class.addr);
            Place {
                content,
                folder: below.to_owned(),
                road: Road::Relay { _relay: relay, night },
                night: near,
                class: lesson,
                _nginx: nginx,
            }
        }
    }

    /// Whether it is the real thing.
    pub(crate) fn is_cable(&self) -> bool {
        matches!(self.road, Road::Cable(_))
    }

    /// Why what is measured here does not count.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &self.road {
            Road::Cable(cable) => cable.trouble(),
            Road::Relay { .. } => None,
        }
    }

    /// Round trips, where they can be measured.
    pub(crate) fn pings(&self) -> Option<Pings> {
        match &self.road {
            Road::Cable(cable) => Some(Pings::start(cable).expect("sockets")),
            Road::Relay { .. } => None,
        }
    }

    /// Bytes that the night's origin has sent over the line, as TCP carried them.
    pub(crate) fn carried(&self) -> u64 {
        match &self.road {
            Road::Cable(cable) => cable.carried(NIGHT_PORT),
            Road::Relay { night, .. } => night.carried(),
        }
    }

    /// A node at the near end, without a pack or with one that names all the content; `keys` are settings.
    ///
    /// # Errors
    /// Why it does not start.
    pub(crate) fn node(&self, with_pack: bool, keys: &[(String, String)]) -> Result<Node, String> {
        let folder = tempfile::tempdir_in(&self.folder).expect("a folder");
        let mut setup = Setup::new()
            .host("night.school.test", self.night)
            .host("class.school.test", self.class)
            .set("proxy.allow_private_targets", "[\"127.0.0.0/8\", \"198.18.0.0/15\"]")
            .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
            .set("store.quota", "\"4 GiB\"");
        if let Road::Cable(cable) = &self.road {
            let words = cable.near.words();
            setup = setup.under(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for (key, value) in keys {
            setup = setup.set(key, value);
        }
        if with_pack {
            let text = pack::text("night", "http://night.school.test/list.txt", &["night.school.test"]);
            setup = pack::publish(setup, folder.path(), "night", &text);
        }
        let (node, started) = setup.try_start_in(folder);
        started.map(|()| node)
    }

    /// One fetch by the class, seconds.
    pub(crate) fn lesson(&self, node: &Node, number: usize) -> Result<f64, String> {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "120", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{time_total} %{http_code} %{size_download}", "--proxy", &format!("http://{}", node.proxy)]);
        curl.arg(format!("http://class.school.test/lesson.bin?{number}"));
        let output = curl.output().expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split(' ');
        let (time, status, length) = (words.next(), words.next(), words.next());
        match (time.and_then(|time| time.parse().ok()), status, length.and_then(|length| length.parse().ok())) {
            (Some(time), Some("200"), Some(LESSON)) => Ok(time),
            _ => Err(format!("a fetch failed: {text} {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// wget for the same content, so many at a time, straight from the origin.
    pub(crate) fn wget(&self, connections: usize) -> Vec<Running> {
        (0..connections)
            .map(|part| {
                let mut list = String::new();
                for name in self.content.names.iter().skip(part).step_by(connections) {
                    writeln!(list, "http://{}/{name}", self.night).expect("a string grows");
                }
                let file = self.folder.join(format!("wget-{part}.list"));
                fs::write(&file, list).expect("a file");
                let mut wget = self.command("wget");
                wget.args(["--no-proxy", "--quiet", "--output-document=/dev/null", "--input-file"]).arg(&file);
                program::start(&mut wget, &self.folder.join("wget.log"))
            })
            .collect()
    }

    fn command(&self, program: &str) -> Command {
        match &self.road {
            Road::Cable(cable) => cable.near.command(program::need(program)),
            Road::Relay { .. } => Command::new(program::need(program)),
        }
    }
}

fn serve(mut command: Command, content: &Content, night: SocketAddr, class: SocketAddr) -> Running {
    let here = content.folder.path().display();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/tmp-{kind}; ")).concat();
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\nevents {{ worker_connections 1024; }}\n\
         http {{ {temporary} access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; default_type application/octet-stream;\n\
         server {{ listen {night}; root {here}/night; location = /list.txt {{ default_type text/plain; }} \
         location / {{ add_header Cache-Control \"public, max-age=604800\"; }} }}\n\
         server {{ listen {class}; root {here}/class; add_header Cache-Control no-store; }} }}\n"
    );
    let file = content.folder.path().join("nginx.conf");
    fs::write(&file, config).expect("a file");
    command.arg("-p").arg(content.folder.path()).arg("-c").arg(&file).arg("-e").arg(content.folder.path().join("error.log"));
    program::start(&mut command, &content.folder.path().join("nginx.out"))
}
