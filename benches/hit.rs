//! CPU per hit, beside nginx `proxy_cache` (with sendfile, the same with open files kept, and copying, which is its default), squid,
//! Traffic Server and Varnish in the same run: 64 and 512 kept-alive connections, a new connection for each request, and a film; the server
//! on a core of its own.
//!
//! `cargo bench --bench hit`. CPU is utime + stime of the server's processes; rounds are interleaved and the median counts, so a
//! busy machine hurts all alike. Compare ratios, not microseconds of different machines. `BULAK_BIN` names another build,
//! `BULAK_LOADS=3,8` those of `LOADS` that are wanted. nginx is needed; who else is not installed is left out,
//! and told.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "line/mod.rs"]
mod line;

#[path = "classroom/mod.rs"]
mod classroom;

#[path = "measure.rs"]
mod measure;

use bulak::base::clock::Clock;
use classroom::peer::{Ground, Job, Kind};
use classroom::process::Family;
use kit::node::{Node, Setup};
use kit::origin::{Origin, Reply, ok};
use kit::program::{self, Running};
use kit::squid::Squid;
use measure::median;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 5;
/// What makes a round: about a second of CPU.
const LOADS: [Load; 9] = [
    Load { length: 1 << 10, connections: 64, kept: true, hits: 40_000 },
    Load { length: 10 << 10, connections: 64, kept: true, hits: 40_000 },
    Load { length: 100 << 10, connections: 64, kept: true, hits: 12_000 },
    Load { length: 1 << 20, connections: 64, kept: true, hits: 1_500 },
    Load { length: 1 << 10, connections: 512, kept: true, hits: 40_000 },
    Load { length: 10 << 10, connections: 512, kept: true, hits: 40_000 },
    Load { length: 100 << 10, connections: 512, kept: true, hits: 12_000 },
    Load { length: 1 << 10, connections: 64, kept: false, hits: 10_000 },
    Load { length: FILM, connections: 4, kept: true, hits: 40 },
];
/// Longer than squid keeps as it comes, and than any hot tier holds.
const FILM: usize = 100 << 20;

/// One kind of load.
#[derive(Clone, Copy)]
struct Load {
    length: usize,
    connections: usize,
    /// Whether a connection serves one request after another.
    kept: bool,
    hits: usize,
}

/// A server under load.
struct Peer {
    name: String,
    addr: SocketAddr,
    family: Family,
    /// What stands before the path in a request: scheme and host for a forward proxy.
    prefix: String,
    /// The Host field.
    host: String,
}

fn main() {
    // The load runs on core 1, the servers on core 0.
    let mut pin = Command::new("taskset");
    pin.args(["-cp", "1", &std::process::id().to_string()]);
    assert!(program::run(&pin, 10).status.success(), "two cores are needed");
    let origin = Origin::start(|ask| {
        let length = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&["Cache-Control: public, max-age=86400", "ETag: \"1\"", "Content-Type: image/png"], &kit::noise(1, length)))
    });
    let node = Setup::new()
        .set("node.workers", "1")
        .set("store.hot_object", "\"2 MiB\"")
        .set("proxy.per_client", "1024")
        .host("o.school.test", origin.addr)
        .under(&["taskset", "-c", "0"])
        .start();
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let ways = [("nginx", true, false), ("nginx files", true, true), ("nginx copy", false, false)];
    let nginxes: Vec<_> = folders
        .iter()
        .zip(ways)
        .map(|(folder, (name, sendfile, files))| (name, nginx(folder.path(), origin.addr, sendfile, files)))
        .collect();
    let forward = |name: &str, addr, id, host: String| Peer {
        name: name.to_owned(),
        addr,
        family: Family(id),
        prefix: format!("http://{host}"),
        host,
    };
    let mut peers = vec![forward("bulak", node.proxy, node.id(), "o.school.test".into())];
    for (name, (running, addr)) in &nginxes {
        let (family, host) = (Family(running.0.id()), origin.addr.to_string());
        peers.push(Peer { name: (*name).into(), addr: *addr, family, prefix: String::new(), host });
    }
    let squid = program::find("squid").map(|_| Squid::start(None));
    match &squid {
        Some(squid) => {
            pin_to_core_0(squid.id());
            // squid resolves nothing here: it is given the origin's own address.
            peers.push(forward("squid", squid.addr, squid.id(), origin.addr.to_string()));
        }
        None => println!("squid is left out: not installed"),
    }
    let mut others = Vec::new();
    for kind in [Kind::TrafficServer, Kind::Varnish] {
        if !kind.is_installed() {
            println!("{} is left out: not installed", kind.name());
            continue;
        }
        let peer = kind.start(Ground::Core(origin.addr), &std::env::temp_dir(), Job::Objects).expect("it starts");
        let family = peer.family.expect("a process of ours");
        peers.push(Peer { name: kind.name().into(), addr: peer.addr, family, prefix: peer.prefix.clone(), host: peer.host.clone() });
        others.push(peer);
    }
    measure(&peers, &origin);
    drop::<Node>(node);
}

fn measure(peers: &[Peer], origin: &Origin) {
    // BBR paces on loopback, too, and costs at large bodies more than servers differ; Debian's default is CUBIC.
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    println!("CPU per hit, µs (median of {ROUNDS} rounds, TCP with {})", control.trim());
    println!("{:>10} {:>12} {:>14} {:>12} {:>12} {:>14}", "body", "connections", "server", "CPU µs", "hits/s", "bulak/server");
    let wanted: Vec<usize> = match std::env::var("BULAK_LOADS") {
        Ok(text) => text.split(',').map(|number| number.parse().expect("BULAK_LOADS holds numbers")).collect(),
        Err(_) => (0..LOADS.len()).collect(),
    };
    for load in wanted.into_iter().map(|at| LOADS[at]) {
        // As it comes, squid keeps nothing that long.
        let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.name != "squid" || load.length < FILM).collect();
        let mut costs = vec![Vec::new(); peers.len()];
        let mut rates = vec![Vec::new(); peers.len()];
        // One unmeasured round fills the caches and warms up.
        let mut filled = 0;
        for round in 0..=ROUNDS {
            for (at, peer) in peers.iter().enumerate() {
                let (cost, rate) = play(peer, load);
                if round > 0 {
                    costs[at].push(cost);
                    rates[at].push(rate);
                }
            }
            if round == 0 {
                filled = origin.count();
            }
        }
        assert_eq!(origin.count(), filled, "what was measured were hits");
        let medians: Vec<f64> = costs.iter_mut().map(|all| median(all)).collect();
        for (at, peer) in peers.iter().enumerate() {
            let ratio = medians[0] / medians[at];
            let kind = format!("{}{}", load.connections, if load.kept { "" } else { " new" });
            let (cost, rate) = (medians[at], median(&mut rates[at]));
            println!("{:>10} {kind:>12} {:>14} {cost:>12.2} {rate:>12.0} {ratio:>14.2}", load.length, peer.name);
        }
    }
}

/// One round: CPU µs per hit, hits per second.
fn play(peer: &Peer, load: Load) -> (f64, f64) {
    let close = if load.kept { "" } else { "Connection: close\r\n" };
    let ask = format!("GET {}/{} HTTP/1.1\r\nHost: {}\r\n{close}\r\n", peer.prefix, load.length, peer.host).into_bytes();
    let open = || -> Vec<TcpStream> { (0..load.connections).map(|_| connect(peer.addr)).collect() };
    let mut streams = open();
    let mut buffer = vec![0; (1 << 20) + (64 << 10)];
    let clock = Clock::system();
    let cpu = || peer.family.cpu().expect("the server runs");
    let (used, start) = (cpu(), clock.steady());
    let mut done = 0;
    while done < load.hits {
        if done > 0 && !load.kept {
            streams = open();
        }
        for stream in &mut streams {
            stream.write_all(&ask).expect("sends");
        }
        for stream in &mut streams {
            answer(stream, &mut buffer, load.length);
        }
        done += load.connections;
    }
    let used = cpu().saturating_sub(used);
    let took = (clock.steady() - start).as_secs_f64();
    let hits = f64::from(u32::try_from(done).expect("a small number"));
    (used.as_secs_f64() * 1e6 / hits, hits / took)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connects");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    stream
}

/// Reads one answer of a known body length. Age may grow by a digit, so the head is read each time.
fn answer(stream: &mut TcpStream, buffer: &mut [u8], length: usize) {
    let mut filled = 0;
    let mut left = loop {
        let taken = stream.read(&mut buffer[filled..]).expect("an answer");
        assert!(taken > 0, "the server closed: {}", String::from_utf8_lossy(&buffer[..filled.min(300)]));
        filled += taken;
        let seen = &buffer[..filled.min(8 << 10)];
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen[..end]));
            break (end + 4 + length).checked_sub(filled).expect("no more than was asked for");
        }
    };
    while left > 0 {
        let most = left.min(buffer.len());
        let taken = stream.read(&mut buffer[..most]).expect("more of the answer");
        assert!(taken > 0, "the server closed {left} bytes before the end");
        left -= taken;
    }
}

fn pin_to_core_0(id: u32) {
    let mut pin = Command::new("taskset");
    program::run(pin.args(["-acp", "0", &id.to_string()]), 10);
}

/// nginx with `proxy_cache`, one worker. `sendfile`: as most who run it set it; without, as it comes. `files`: it keeps them open.
fn nginx(folder: &std::path::Path, origin: SocketAddr, sendfile: bool, files: bool) -> (Running, SocketAddr) {
    let (here, port) = (folder.display(), kit::free_port());
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/tmp-{kind}; ")).concat();
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\nevents {{ worker_connections 2048; }}\n\
         http {{ {temporary} access_log off; sendfile {}; {} tcp_nopush off; tcp_nodelay on; keepalive_requests 100000000;\n\
         proxy_cache_path {here}/cache keys_zone=hot:10m max_size=1g inactive=1d use_temp_path=off;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_cache hot; proxy_pass http://{origin}; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; }} }} }}\n",
        if sendfile { "on" } else { "off" },
        if files { "open_file_cache max=1000 inactive=1d; open_file_cache_valid 1d;" } else { "" }
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).expect("a file");
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(program::need("nginx"))
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(folder.join("error.log"));
    let child = program::start(&mut command, &folder.join("out"));
    kit::until("nginx listens", 20, || TcpStream::connect(kit::loopback(port)).is_ok());
    (child, kit::loopback(port))
}
