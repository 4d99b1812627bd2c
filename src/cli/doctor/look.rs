//! The looks of the doctor: configuration, node, ports, disk, store, names, line, clock, packs. Each gives up by itself,
//! changes nothing and says what it saw; judging is left to `verdict`.

use super::devices;
use super::https;
use super::names::{denies, names, servers};
use super::region::{giga, hub, way};
use super::verdict::{Finding, State};
use crate::base::clock::Clock;
use crate::base::unit::Bytes;
use crate::cli::local::Local;
use crate::cli::room::{self, Room, Trouble};
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, Config};
use crate::tls::trust::{Trust, UNTRUSTED};
use serde_json::Value;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long one look over the network may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long one check may take with all its tries. Asking the node comes before and takes at most `PATIENCE`: 8 s in all.
const LOOK: Duration = Duration::from_secs(5);

/// Most pack files that are counted.
const PACKS: usize = 1000;

/// Looks at what only the node, or a user like its own, can tell.
const OF_THE_NODE: [&str; 7] = ["https", "ports", "pac", "disk", "store", "packs", "local names"];

/// The looks, and whether this user may ask the node: `false` when one runs and will not talk to him.
pub(super) async fn all(context: &Context) -> (Vec<Finding>, bool) {
    let config = match config::load(context.config.as_deref(), config::environment()) {
        Ok(config) => Arc::new(config),
        Err(complaints) if complaints.is_closed() => {
            // It is closed to this user as it should be, and nothing is known of the rest.
            let failure = Failure::from(complaints);
            let unknown = |check| Finding::new(check, None, State::Unknown, "cannot be seen by this user", "");
            let closed = Finding::new("configuration", None, State::Failed, failure.message, failure.remedy);
            return (vec![closed, unknown("node"), clock()], false);
        }
        Err(complaints) => {
            let first = complaints.list.first().map(ToString::to_string).unwrap_or_default();
            let message = format!("{} ({first})", complaints.summary());
            let node = match node(context).await {
                (node, Seen::Runs(_)) => node,
                _ => Finding::new("node", None, State::Unknown, "cannot be found while the configuration is damaged", ""),
            };
            let configuration = Finding::new("configuration", None, State::Failed, message, "\"bulak config check\" lists all of them");
            return (vec![configuration, node, clock()], true);
        }
    };
    let (node, seen) = node(context).await;
    let configuration = match &seen {
        Seen::Runs(status) => configuration(&status["config"]),
        Seen::Nobody | Seen::Closed => configuration(&Value::Null),
    };
    let mut findings = vec![configuration, clock(), node];
    let status = match seen {
        Seen::Runs(status) => Some(Arc::new(status)),
        Seen::Nobody => None,
        Seen::Closed => {
            // Its folders are closed to this user as they should be, and its ports are taken by itself: no faults.
            let unknown = |check| Finding::new(check, Some("node"), State::Unknown, "cannot be seen by this user", "");
            findings.extend(OF_THE_NODE.map(unknown));
            let (trust, names, line, hub) = tokio::join!(
                trust(&config),
                limited("names", Some("line"), names(&config)),
                limited("line", None, line(&config, None)),
                limited("hub", Some("node"), hub(&config, None)),
            );
            findings.extend(trust);
            findings.extend([names, line, hub]);
            return (findings, false);
        }
    };
    let known = status.as_deref();
    let on_disk = |check, parent, look: fn(&Config, Option<&Value>) -> Finding| {
        let (config, status) = (Arc::clone(&config), status.clone());
        on_disk(check, parent, move || look(&config, status.as_deref()))
    };
    let (trust, https, ports, pac, names, line, hub, disk, store, packs) = tokio::join!(
        trust(&config),
        https(&config, known),
        limited("ports", Some("node"), ports(&config, known)),
        limited("pac", Some("node"), devices::pac(known, here)),
        limited("names", Some("line"), names(&config)),
        limited("line", None, line(&config, known)),
        limited("hub", Some("node"), hub(&config, known)),
        on_disk("disk", Some("store"), disk),
        on_disk("store", Some("node"), store),
        on_disk("packs", Some("node"), packs),
    );
    findings.extend(trust);
    findings.extend(https);
    findings.extend([ports, disk, store, packs, names, line, hub]);
    findings.extend([pac, devices::local_names(known)]);
    findings.extend(giga(known));
    (findings, true)
}

/// A look at the disk: one that hangs (a stick that dies, a share whose server is gone) must not keep the others from ending.
async fn on_disk(check: &'static str, parent: Option<&'static str>, look: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    let broken = |error: tokio::task::JoinError| Finding::new(check, parent, State::Unknown, error.to_string(), "");
    limited(check, parent, async { tokio::task::spawn_blocking(look).await.unwrap_or_else(broken) }).await
}

/// Several looks with one limit.
async fn https(config: &Arc<Config>, status: Option<&Value>) -> Vec<Finding> {
    let looks = tokio::time::timeout(LOOK, https::all(config, status, Clock::system().now()));
    let late = || vec![Finding::new("https", None, State::Unknown, format!("did not end within {} s", LOOK.as_secs()), "")];
    looks.await.unwrap_or_else(|_| late())
}

/// A look that takes longer is told as unknown; the others stand.
async fn limited(check: &'static str, parent: Option<&'static str>, look: impl Future<Output = Finding>) -> Finding {
    let late = || Finding::new(check, parent, State::Unknown, format!("did not end within {} s", LOOK.as_secs()), "");
    tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| late())
}

/// What the configuration trusts beside the system's roots, if anything. Without the roots a node is not ready; without a revocation
/// list none starts.
async fn trust(config: &Arc<Config>) -> Option<Finding> {
    if config.upstream.extra_roots.is_empty() && config.upstream.crls.is_empty() {
        return None;
    }
    let files = Arc::clone(config);
    let look = move || match Trust::load(&files.upstream.extra_roots, &files.upstream.crls, &Clock::system()) {
        Ok(_) => Finding::fine("trust", Some("configuration"), "the files of upstream.extra_roots and upstream.crls can be used"),
        Err(error) => Finding::new("trust", Some("configuration"), State::Failed, format!("{error:#}"), UNTRUSTED),
    };
    Some(on_disk("trust", Some("configuration"), look).await)
}

fn clock() -> Finding {
    if Clock::system().trusted() {
        Finding::fine("clock", None, "plausible")
    } else {
        Finding::new(
            "clock",
            None,
            State::Failed,
            "the system's clock is behind this program's release",
            "set it, or let NTP do so (\"timedatectl set-ntp true\")",
        )
    }
}

/// A file without mistakes, and what of it the running node has not taken over.
fn configuration(pending: &Value) -> Finding {
    const NAME: &str = "configuration";
    if let Some(why) = pending["refused"].as_str() {
        let message = format!("the node refused the changed one, the old one stays in force: {why}");
        return Finding::new(NAME, None, State::Attention, message, "\"bulak config check\" lists what is wrong; mend it and reload");
    }
    let waiting: Vec<&str> = pending["waiting"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if waiting.is_empty() {
        return Finding::fine(NAME, None, "no errors found");
    }
    let message = format!("{} changed and count only after a restart", waiting.join(", "));
    Finding::new(NAME, None, State::Attention, message, "restart the node (\"systemctl restart bulak\")")
}

/// How the node was met.
enum Seen {
    /// It runs, and told its status.
    Runs(Value),
    /// Nobody answers.
    Nobody,
    /// This user may not ask.
    Closed,
}

async fn node(context: &Context) -> (Finding, Seen) {
    let answer = async { Local::connect(context).await?.with_patience(PATIENCE).get("/api/v1/status").await };
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let message = format!("the node gave no answer within {} s", PATIENCE.as_secs());
        Err(Failure::new("node.no_answer", message, "look at its log, or start it anew"))
    });
    match answer {
        Ok(status) => {
            let reasons: Vec<&str> = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let finding = if reasons.is_empty() {
                Finding::fine("node", None, "runs and is ready")
            } else {
                Finding::new(
                    "node",
                    None,
                    State::Attention,
                    format!("runs, but {}", reasons.join(", ")),
                    "wait a little, then look at its log",
                )
            };
            (finding, Seen::Runs(status))
        }
        Err(failure) if failure.exit == Exit::NotAllowed => {
            (Finding::new("node", None, State::Failed, failure.message, failure.remedy), Seen::Closed)
        }
        // Without it no class browses: that is no detail.
        Err(failure) => (Finding::new("node", None, State::Failed, failure.message, failure.remedy), Seen::Nobody),
    }
}

async fn ports(config: &Config, status: Option<&Value>) -> Finding {
    const NAME: (&str, Option<&str>) = ("ports", Some("node"));
    if let Some(status) = status {
        for part in ["proxy", "web"] {
            for addr in status[part].as_array().into_iter().flatten().filter_map(|text| text.as_str()?.parse::<SocketAddr>().ok()) {
                if let Err(why) = reach(&here(addr).to_string()).await {
                    let message = format!("the node listens on {addr} ({part}), but nothing gets in ({why})");
                    return Finding::new(NAME.0, NAME.1, State::Failed, message, "look for a firewall on this machine");
                }
            }
        }
        return Finding::fine(NAME.0, NAME.1, "the node's listeners can be reached");
    }
    let mut wanted: Vec<(&str, SocketAddr)> = config.proxy.listen.iter().map(|addr| ("proxy.listen", *addr)).collect();
    wanted.extend(config.web.listen.iter().map(|addr| ("web.listen", *addr)));
    if config.web.listen.is_empty() {
        // The node takes 8080 by itself where 80 is not to be had.
        let eighty = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        let free = TcpListener::bind(eighty).await.is_ok();
        wanted.push(("web.listen", if free { eighty } else { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)) }));
    }
    for (key, addr) in &wanted {
        // Bound and let go at once: nobody is kept from anything.
        if let Err(error) = TcpListener::bind(addr).await {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => format!("see who holds it (\"ss -ltnp 'sport = :{}'\"), or change {key}", addr.port()),
                ErrorKind::PermissionDenied => format!("choose a port above 1024 in {key}, or run as the service does"),
                _ => format!("change {key}"),
            };
            return Finding::new(NAME.0, NAME.1, State::Failed, format!("{key} {addr}: {error}"), remedy);
        }
    }
    Finding::fine(NAME.0, NAME.1, format!("{} can be had", wanted.iter().map(|(_, addr)| addr.to_string()).collect::<Vec<_>>().join(", ")))
}

fn disk(config: &Config, status: Option<&Value>) -> Finding {
    const NAME: (&str, Option<&str>) = ("disk", Some("store"));
    let place = existing(&config.store.path);
    let stat = match rustix::fs::statvfs(&place) {
        Ok(stat) => stat,
        Err(error) => {
            return Finding::new(NAME.0, NAME.1, State::Failed, format!("{}: {error}", place.display()), "see that the disk is mounted");
        }
    };
    let (free, total) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    let used = status.and_then(|status| status["store"]["disk_bytes"].as_u64());
    // A node goes by the quota that it began with.
    let quota = status.and_then(|status| status["store"]["quota_bytes"].as_u64()).unwrap_or(config.store.quota.0);
    match room::look(Room { quota, free, total, used }) {
        None => Finding::fine(NAME.0, NAME.1, format!("{} of {} free", Bytes(free).human(), Bytes(total).human())),
        Some(Trouble { failed, message, remedy }) => {
            Finding::new(NAME.0, NAME.1, if failed { State::Failed } else { State::Attention }, message, remedy)
        }
    }
}

fn store(config: &Config, status: Option<&Value>) -> Finding {
    const NAME: (&str, Option<&str>) = ("store", Some("node"));
    let path = &config.store.path;
    let finding = |state, message: String, remedy: &str| Finding::new(NAME.0, NAME.1, state, message, remedy);
    if let Some(store) = status.map(|status| &status["store"]) {
        let damaged = store["damaged"].as_u64().unwrap_or_default();
        return match (store["writable"].as_bool(), store["admitting"].as_bool()) {
            (Some(false), _) => {
                finding(State::Failed, "cannot be written: nothing new is kept".into(), "remount the disk writable, or replace it")
            }
            (_, Some(false)) => {
                finding(State::Attention, "full: nothing new is kept".into(), "raise store.quota, or purge what is not needed")
            }
            _ if damaged > 0 => finding(
                State::Attention,
                format!("{damaged} damaged records were dropped"),
                "stop the node, then \"bulak store check --deep\"",
            ),
            (Some(true), Some(true)) => Finding::fine(NAME.0, NAME.1, "takes new content"),
            _ => finding(State::Unknown, "the node tells nothing of it".into(), ""),
        };
    }
    if !path.exists() {
        let place = existing(path);
        return match rustix::fs::access(&place, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Finding::fine(NAME.0, NAME.1, format!("{} will be made", path.display())),
            Err(error) => finding(
                State::Failed,
                format!("{} is not there, and {} cannot be written ({error})", path.display(), place.display()),
                "make the folder for the node's user",
            ),
        };
    }
    if let Err(error) = std::fs::read_dir(path) {
        return finding(State::Failed, format!("{} cannot be read ({error})", path.display()), "give the folder to the node's user");
    }
    match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Finding::fine(NAME.0, NAME.1, "the folder can be read and written"),
        Err(error) => {
            finding(State::Failed, format!("{} cannot be written ({error})", path.display()), "give the folder to the node's user")
        }
    }
}

fn packs(config: &Config, status: Option<&Value>) -> Finding {
    const NAME: (&str, Option<&str>) = ("packs", Some("node"));
    let refused = status.and_then(|status| status["night"]["refused"].as_array()).map(Vec::as_slice).unwrap_or_default();
    if let Some(first) = refused.first() {
        let why = first["why"][0].as_str().unwrap_or("no reason was told");
        let message =
            format!("{} refused, nothing of it is fetched: {}: {why}", refused.len(), first["file"].as_str().unwrap_or("unknown"));
        return Finding::new(NAME.0, NAME.1, State::Attention, message, "\"bulak pack list\" names all with their reasons");
    }
    let in_force = status.and_then(|status| status["night"]["packs"].as_array()).map_or(0, Vec::len);
    if in_force > 0 {
        return Finding::fine(NAME.0, NAME.1, format!("{in_force} in force; \"bulak pack list\" names them"));
    }
    let is_pack = |path: &Path| path.extension().is_some_and(|ending| ending == "toml");
    let count = |items: std::fs::ReadDir| items.take(PACKS).filter_map(Result::ok).filter(|item| is_pack(&item.path())).count();
    // The node's own folder comes with the first pack that is made here.
    let mut found = std::fs::read_dir(config.node.state.join(config::OWN_PACKS)).map_or(0, count);
    for path in &config.packs.paths {
        if path.is_file() {
            found += 1;
            continue;
        }
        match std::fs::read_dir(path) {
            Ok(items) => found += count(items),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Finding::new(
                    NAME.0,
                    NAME.1,
                    State::Attention,
                    format!("{} is not there", path.display()),
                    "make it, or correct packs.paths",
                );
            }
            Err(error) => {
                return Finding::new(
                    NAME.0,
                    NAME.1,
                    State::Failed,
                    format!("{} cannot be read ({error})", path.display()),
                    "let the node's user read it",
                );
            }
        }
    }
    match found {
        // What lies there and is not in force yet, the node has not read: files are changed behind its back.
        _ if status.is_some() && found > 0 => Finding::new(
            NAME.0,
            NAME.1,
            State::Attention,
            format!("{found} pack files, none of them in force"),
            "let the node read them (\"systemctl reload bulak\")",
        ),
        0 => Finding::new(
            NAME.0,
            NAME.1,
            State::Attention,
            "there is none: nothing is fetched at night",
            "put pack files into a folder of packs.paths",
        ),
        _ => Finding::fine(NAME.0, NAME.1, format!("{found} pack files; \"bulak pack check\" reads them")),
    }
}

pub(super) async fn line(config: &Config, status: Option<&Value>) -> Finding {
    const NAME: &str = "line";
    match status.and_then(|status| status["link"]["state"].as_str()) {
        Some("up") => return Finding::fine(NAME, None, "up"),
        Some("slow") => return Finding::new(NAME, None, State::Attention, "slow", "\"bulak link show\" says since when"),
        Some("down") => {
            return Finding::new(
                NAME,
                None,
                State::Failed,
                "down: what is stored is served",
                "look at modem and cable, then call the provider",
            );
        }
        _ => {}
    }
    let parent = config.upstream.parent.as_ref();
    if parent.is_none() && config.link.check.is_empty() {
        return Finding::new(NAME, None, State::Unknown, "nothing to try: link.check is empty and no node has fetched anything", "");
    }
    let servers = servers(config).0;
    let (mut last, mut nameless) = (None, Vec::new());
    let named = parent.map(|parent| parent.authority().to_owned()).unwrap_or_default();
    if let Some(parent) = parent {
        match way(config, parent).await {
            Ok(()) => return Finding::fine(NAME, None, format!("{named} can be reached")),
            Err(blocked) if blocked.nameless => nameless.push(named.as_str()),
            Err(blocked) => last = Some(format!("{named}: {}", blocked.why)),
        }
    }
    // As the node tries them: by the system's names, whatever upstream says.
    for place in config.link.check.iter().take(2 - usize::from(parent.is_some())) {
        match reach(place).await {
            Ok(()) => return Finding::fine(NAME, None, format!("{place} can be reached")),
            Err(_) if denies(&servers, place).await => nameless.push(place.as_str()),
            Err(why) => last = Some(format!("{place}: {why}")),
        }
    }
    let Some(last) = last else {
        // A server that says so has been reached: whatever else is wrong, this is no sign of a dead line.
        let message = format!("there is no such name: {}", nameless.join(", "));
        return Finding::new(NAME, None, State::Attention, message, "see how it is written in link.check or upstream.parent");
    };
    Finding::new(NAME, None, State::Failed, last, "look at modem and cable, then call the provider")
}

/// Whether a TCP connection comes about. A refusal is told as such.
pub(super) async fn reach(place: &str) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(place)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// How this machine reaches a listener of its own.
pub(super) fn here(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), addr.port()),
        _ => addr,
    }
}

/// The path, or its nearest ancestor that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|place| !place.as_os_str().is_empty() && place.exists()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_node_tells_of_its_store() {
        let config = Config::default();
        let table = [
            (serde_json::json!({"writable": true, "admitting": true, "damaged": 0}), State::Fine),
            (serde_json::json!({"writable": true, "admitting": false, "damaged": 0}), State::Attention),
            (serde_json::json!({"writable": true, "admitting": true, "damaged": 3}), State::Attention),
            (serde_json::json!({"writable": false, "admitting": false}), State::Failed),
            (serde_json::json!({}), State::Unknown),
        ];
        for (told, wanted) in table {
            assert_eq!(store(&config, Some(&serde_json::json!({ "store": told }))).state, wanted, "{told}");
        }
    }

    #[test]
    fn refused_packs_are_told() {
        let config = Config::default();
        let status = serde_json::json!({ "night": { "refused": [{ "file": "/p/a.toml", "why": ["no signature"] }] } });
        let finding = packs(&config, Some(&status));
        assert_eq!(finding.state, State::Attention);
        assert!(finding.message.contains("/p/a.toml: no signature"), "{finding:?}");
    }

    #[test]
    fn packs_count_wherever_they_lie() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.packs.paths = Vec::new();
        config.node.state = folder.path().to_owned();
        assert_eq!(packs(&config, None).state, State::Attention, "there is none");
        let one = serde_json::json!({ "night": { "packs": [{ "id": "phet" }], "refused": [] } });
        let none = serde_json::json!({ "night": { "packs": [], "refused": [] } });
        let running = packs(&config, Some(&one));
        assert!(running.state == State::Fine && running.message.starts_with("1 in force"), "{running:?}");
        // In the node's own folder, as `bulak pack record` writes it.
        let own = folder.path().join(config::OWN_PACKS);
        std::fs::create_dir(&own).expect("a folder");
        std::fs::write(own.join("phet.toml"), "").expect("a file");
        assert_eq!(packs(&config, None).state, State::Fine);
        let unread = packs(&config, Some(&none));
        assert!(unread.state == State::Attention && unread.remedy.contains("reload"), "{unread:?}");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_no_other_look_waiting() {
        let (say, hear) = std::sync::mpsc::channel();
        // It hangs until another look has ended.
        let hangs = move || match hear.recv_timeout(LOOK) {
            Ok(()) => Finding::fine("disk", None, "it came back"),
            Err(error) => Finding::new("disk", None, State::Failed, error.to_string(), ""),
        };
        let (disk, ()) = tokio::join!(on_disk("disk", None, hangs), async { say.send(()).expect("it waits") });
        assert_eq!(disk.state, State::Fine, "{disk:?}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_names_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let config = Config {
            proxy: config::Proxy { listen: vec![taken.local_addr().expect("bound")], ..Config::default().proxy },
            ..Config::default()
        };
        let finding = ports(&config, None).await;
        assert_eq!(finding.state, State::Failed);
        assert!(finding.message.starts_with("proxy.listen 127.0.0.1:") && finding.remedy.contains("ss -ltnp"), "{finding:?}");
    }
}
