//! A node or a hub under test: the real binary in a temporary folder on free ports, killed, restarted and asked.
//!
//! Its log is kept and printed when the test fails. Values of [`Setup::set`] are TOML, keys those of `config/school.toml`.

use crate::kit;
use crate::kit::http;
use crate::kit::program::{self, Running};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// Longest start: a debug binary on a busy machine that recovers a store.
const START: Duration = Duration::from_mins(1);

/// The program under test; `BULAK_BIN` names another build.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BULAK_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_bulak")), PathBuf::from)
}

/// A copy of the program in this folder, for other users to run: the build's folder may be closed to them.
#[allow(dead_code, reason = "few tests become somebody else")]
pub(crate) fn copied(folder: &Path) -> PathBuf {
    let copy = folder.join("bulak");
    fs::copy(binary(), &copy).expect("a copy of the program");
    copy
}

/// How a node is to be configured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    keys: BTreeMap<(String, String), String>,
    hosts: BTreeMap<String, String>,
    roots: Vec<PathBuf>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Setup {
    /// A node that may reach loopback origins, prints no banner, and asks nobody beyond this machine for names.
    pub(crate) fn new() -> Setup {
        Setup { keys: BTreeMap::new(), hosts: BTreeMap::new(), roots: Vec::new(), environment: Vec::new(), wrapper: Vec::new() }
            .set("node.name", "\"school-test\"")
            .set("proxy.listen", "[\"127.0.0.1:0\"]")
            .set("proxy.allow_private_targets", "[\"127.0.0.0/8\"]")
            .set("upstream.resolver", "[\"127.0.0.1:9\"]")
            .set("store.quota", "\"1 GiB\"")
            .set("store.memory", "\"32 MiB\"")
            .set("cache.offline_banner", "false")
            .set("web.listen", "[\"127.0.0.1:0\"]")
            .set("mirror.listen", "[]")
    }

    /// The same with policy `rfc9111`.
    pub(crate) fn plain() -> Setup {
        Setup::new().set("cache.policy", "\"rfc9111\"")
    }

    /// Sets `section.key` to a TOML value.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Setup {
        let (section, key) = key.split_once('.').expect("section.key");
        self.keys.insert((section.to_owned(), key.to_owned()), value.to_owned());
        self
    }

    /// Puts a host name (port 80) at an address.
    pub(crate) fn host(mut self, name: &str, addr: SocketAddr) -> Setup {
        self.hosts.insert(format!("{name}:80"), addr.to_string());
        self
    }

    /// Puts a host name (port 443) at an address.
    pub(crate) fn secure_host(mut self, name: &str, addr: SocketAddr) -> Setup {
        self.hosts.insert(format!("{name}:443"), addr.to_string());
        self
    }

    /// Trusts a PEM file's certificate for TLS with origins.
    pub(crate) fn root(mut self, file: &Path) -> Setup {
        self.roots.push(file.to_owned());
        self
    }

    /// Adds an environment variable.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Setup {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Runs the node under another program (`faketime …`).
    pub(crate) fn under(mut self, words: &[&str]) -> Setup {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts a node in a folder of its own.
    pub(crate) fn start(self) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        self.start_in(folder)
    }

    /// Starts a node in a prepared folder.
    pub(crate) fn start_in(self, folder: TempDir) -> Node {
        let (mut node, started) = self.try_start_in(folder);
        if let Err(why) = started {
            node.quiet = true;
            panic!("the node does not start: {why}\n{}", kit::tail(&node.log(), 40));
        }
        node
    }

    /// Starts a node that may refuse to: then its exit status and the end of its log.
    pub(crate) fn try_start_in(self, folder: TempDir) -> (Node, Result<(), String>) {
        let file = folder.path().join("school.toml");
        fs::create_dir_all(folder.path().join("packs")).expect("a folder");
        fs::write(&file, self.render(folder.path())).expect("a file");
        let mut node = Node { proxy: kit::loopback(0), web: kit::loopback(0), setup: self, child: None, file, folder, quiet: false };
        let started = node.launch();
        (node, started)
    }

    /// The configuration file.
    pub(crate) fn render(&self, folder: &Path) -> String {
        let here = folder.display();
        let mut keys = self.keys.clone();
        let mut default = |section: &str, key: &str, value: String| {
            keys.entry((section.to_owned(), key.to_owned())).or_insert(value);
        };
        default("node", "state", format!("\"{here}/state\""));
        default("store", "path", format!("\"{here}/store\""));
        default("packs", "paths", format!("[\"{here}/packs\"]"));
        if !self.hosts.is_empty() {
            let pairs: Vec<String> = self.hosts.iter().map(|(name, addr)| format!("\"{name}\" = \"{addr}\"")).collect();
            default("upstream", "hosts", format!("{{ {} }}", pairs.join(", ")));
        }
        if !self.roots.is_empty() {
            let files: Vec<String> = self.roots.iter().map(|file| format!("\"{}\"", file.display())).collect();
            default("upstream", "extra_roots", format!("[{}]", files.join(", ")));
        }
        let mut text = String::new();
        let mut section = "";
        for ((of, key), value) in &keys {
            if of != section {
                writeln!(text, "[{of}]").expect("a string grows");
                section = of;
            }
            writeln!(text, "{key} = {value}").expect("a string grows");
        }
        text
    }
}

/// A node under test.
pub(crate) struct Node {
    /// Its proxy.
    pub(crate) proxy: SocketAddr,
    /// Its web port.
    pub(crate) web: SocketAddr,
    /// Its folder: `school.toml`, `state/`, `store/`, `packs/`.
    pub(crate) folder: TempDir,
    file: PathBuf,
    setup: Setup,
    child: Option<Running>,
    quiet: bool,
}

impl Node {
    fn log(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    /// Everything it has logged.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn launch(&mut self) -> Result<(), String> {
        let mut words = self.setup.wrapper.clone();
        words.push(binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", "--json", "--config"]).arg(&self.file);
        command.envs(self.setup.environment.iter().map(|(key, value)| (key, value)));
        let (child, ready) = launch(&mut command, &self.log());
        self.child = Some(child);
        let ready = ready?;
        self.proxy = address(&ready, "proxy")?;
        self.web = address(&ready, "web")?;
        Ok(())
    }

    /// Ends it in order and starts it again in its folder with another configuration.
    pub(crate) fn again(mut self, change: impl FnOnce(Setup) -> Setup) -> Node {
        self.terminate();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        change(self.setup.clone()).start_in(folder)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again after it was killed or ended; addresses may change.
    pub(crate) fn restart(&mut self) {
        self.child = None;
        if let Err(why) = self.launch() {
            panic!("the node does not start again: {why}");
        }
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let id = Pid::from_raw(i32::try_from(child.0.id()).expect("a process id")).expect("a process id");
        kill_process(id, Signal::TERM).expect("a signal");
        child.0.wait().expect("a child")
    }

    /// SIGHUP: it reads its configuration anew.
    pub(crate) fn hangup(&self) {
        let id = Pid::from_raw(i32::try_from(self.id()).expect("a process id")).expect("a process id");
        kill_process(id, Signal::HUP).expect("a signal");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.0.try_wait(), Ok(None)))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").0.id()
    }

    /// Most resident memory it has had, bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("Linux");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Runs `bulak WORDS --config FILE` against it.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(&self.file);
        program::run(&command, 60)
    }

    /// `GET` through its proxy.
    pub(crate) fn get(&self, url: &str) -> http::Answer {
        http::get(self.proxy, url)
    }

    /// `GET` through its proxy, and the second answer: whoever has a whole answer and asks again gets it out of the store.
    ///
    /// # Panics
    /// When that is no hit.
    pub(crate) fn twice(&self, url: &str) -> http::Answer {
        self.twice_with(url, &[])
    }

    /// The same with fields.
    pub(crate) fn twice_with(&self, url: &str, fields: &[&str]) -> http::Answer {
        let first = self.fetch("GET", url, fields);
        assert!(first.complete, "{url}: status {}, {} bytes", first.status, first.body.len());
        let answer = self.fetch("GET", url, fields);
        assert!(answer.is_hit(), "{url}: {} {}", answer.status, answer.cache_status());
        answer
    }

    /// Any request through its proxy.
    pub(crate) fn fetch(&self, method: &str, url: &str, fields: &[&str]) -> http::Answer {
        http::fetch(self.proxy, method, url, fields)
    }

    /// `GET` from its web port.
    pub(crate) fn web(&self, path: &str) -> http::Answer {
        http::get_direct(self.web, &self.web.to_string(), path)
    }

    /// A JSON document of its socket, where local commands are answered.
    pub(crate) fn local(&self, method: &str, path: &str) -> serde_json::Value {
        let answer = http::local(&self.folder.path().join("state/bulak.sock"), method, path);
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {} {error}: {}", answer.status, answer.text()))
    }

    /// The public key with which it signs reports, as the hub's file wants it.
    pub(crate) fn key(&self) -> String {
        let reports = self.local("GET", "/api/v1/reports");
        reports["key"].as_str().unwrap_or_else(|| panic!("no key in {reports}")).to_owned()
    }

    /// Makes a report now and tries to deliver what waits.
    pub(crate) fn report(&self) -> serde_json::Value {
        self.local("POST", "/api/v1/reports/send")
    }

    /// The sum of a metric's series whose labels hold `label` (empty: all); `None` when there is none.
    pub(crate) fn metric(&self, name: &str, label: &str) -> Option<f64> {
        let text = self.web("/metrics").text();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label))
            .filter_map(|(_, value)| value.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child = None;
        if std::thread::panicking() && !self.quiet {
            eprintln!("--- node's log ---\n{}\n--- end ---", kit::tail(&self.log(), 60));
        }
    }
}

/// A hub under test.
pub(crate) struct Hub {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    folder: TempDir,
    file: PathBuf,
    child: Option<Running>,
    /// The program that it runs under, with its words.
    wrapper: Vec<String>,
}

impl Hub {
    /// Starts a hub with this configuration text; `HERE` in it becomes the hub's folder.
    pub(crate) fn start(config: &str) -> Hub {
        Hub::start_under(&[], config)
    }

    /// The same under another program (`nsenter …`).
    pub(crate) fn start_under(words: &[String], config: &str) -> Hub {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hub.toml");
        fs::write(&file, config.replace("HERE", &folder.path().display().to_string())).expect("a file");
        let mut hub = Hub { addr: kit::loopback(0), folder, file, child: None, wrapper: words.to_vec() };
        hub.restart();
        hub
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").0.id()
    }

    /// Its folder, with its database.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, again when it was running.
    pub(crate) fn restart(&mut self) {
        self.child = None;
        let mut words = self.wrapper.clone();
        words.push(binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["hub", "--json", "--config"]).arg(&self.file);
        let (child, ready) = launch(&mut command, &self.folder.path().join("hub.log"));
        self.child = Some(child);
        let ready = ready.and_then(|line| address(&line, "hub"));
        self.addr = ready.unwrap_or_else(|why| panic!("the hub does not start: {why}"));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// A command with its file, and this on standard input.
    pub(crate) fn command(&self, words: &[&str], input: &str) -> Output {
        let typed = self.folder.path().join("typed");
        fs::write(&typed, input).expect("a file");
        let mut command = Command::new(binary());
        command.arg("hub").args(words).arg("--config").arg(&self.file).stdin(fs::File::open(&typed).expect("a file"));
        let output = command.output().expect("the command runs");
        fs::remove_file(typed).expect("removed");
        output
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("hub.log")).unwrap_or_default()
    }

    /// A JSON document of its API.
    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let answer = http::get_direct(self.addr, &self.addr.to_string(), path);
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("hub {path}: {} {error}: {}", answer.status, answer.text()))
    }

    /// How many records its database `HERE/hub.sqlite` holds, and how many their numbers span: equal when none is missing.
    pub(crate) fn records(&self) -> (i64, i64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("hub.sqlite")).read_only(true);
            let pool = sqlx::SqlitePool::connect_with(options).await.expect("the hub's database");
            let query = "SELECT COUNT(*), COALESCE(MAX(seq) - MIN(seq) + 1, 0) FROM record";
            sqlx::query_as::<_, (i64, i64)>(query).fetch_one(&pool).await.expect("records")
        })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.child = None;
        if std::thread::panicking() {
            eprintln!("--- hub's log ---\n{}\n--- end ---", kit::tail(&self.folder.path().join("hub.log"), 40));
        }
    }
}

/// Starts the binary and waits for its ready line; an early end gives status and log.
fn launch(command: &mut Command, log: &Path) -> (Running, Result<String, String>) {
    let file = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().expect("the binary starts");
    let mut child = Running(child);
    let mut out = BufReader::new(child.0.stdout.take().expect("piped"));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _read = out.read_line(&mut line); // nothing read is an empty line, which is no ready line
        let _told = tell.send(line);
        program::drain(out);
    });
    let ready = match told.recv_timeout(START) {
        Ok(line) if line.contains("\"ready\"") => Ok(line),
        Ok(line) => {
            let status = child.0.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("{status}; {line}{}", kit::tail(log, 40)))
        }
        Err(_) => Err(format!("no ready line within {START:?}; {}", kit::tail(log, 40))),
    };
    (child, ready)
}

/// An address of the ready line; the first of several.
fn address(line: &str, key: &str) -> Result<SocketAddr, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
    let text = value[key].as_str().or_else(|| value[key][0].as_str()).unwrap_or_default();
    text.parse().map_err(|_| format!("no address {key:?} in {line}"))
}
