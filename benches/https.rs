//! CPU of hits over TLS and of full handshakes, beside nginx `proxy_cache` with ssl (the same with open files kept, too) and squid's
//! `https_port` in the same run.
//!
//! `cargo bench --bench https`. CPU is utime + stime of the server process; rounds are interleaved and the median counts. All speak
//! TLS 1.3 with AES-128-GCM, X25519 and an ECDSA P-256 certificate. `bulak` is the opened tunnel of an enrolled device (CONNECT,
//! then TLS as the origin), to be held against nginx; `bulak proxy` is the proxy's own TLS listener, to be held against squid.
//! Tickets are off at nginx, on at bulak, as devices find them; this client never resumes. nginx is needed;
//! squid is left out, and told, where it is not installed. `BULAK_BIN` names another build.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "classroom/process.rs"]
#[expect(dead_code, reason = "CPU alone is counted")]
mod process;

#[path = "measure.rs"]
mod measure;

use bulak::base::clock::Clock;
use kit::class::{Class, OWN};
use kit::origin::{Origin, Reply, ok};
use kit::program::{self, Running};
use kit::secure::full;
use kit::squid::Squid;
use kit::tls::{Fault, Key, Pair};
use measure::median;
use process::Family;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
/// Path, length of the body, and how many hits of it make a round.
const SIZES: [(&str, usize, usize); 2] = [("/s/1k", 1 << 10, 25_600), ("/s/100k", 100 << 10, 6_400)];
/// Connections of a round of handshakes.
const HANDSHAKES: usize = 3_200;
/// The host that is opened: HTTP/2 and an ECDSA key, as most of the web has.
const HOST: &str = "ec-h2";

/// A server under load.
struct Peer {
    name: &'static str,
    addr: SocketAddr,
    family: Family,
    /// `host:port` that is asked for by CONNECT before TLS begins.
    connect: Option<String>,
    /// Which of ours it is held against, by its place.
    ours: Option<usize>,
    /// Whom the client wants to see.
    server: ServerName<'static>,
    trust: Arc<ClientConfig>,
    /// What stands before the path.
    prefix: String,
    /// The `Host` field.
    host: String,
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn main() {
    // The load runs on core 1, the servers on core 0.
    let mut pin = Command::new("taskset");
    pin.args(["-cp", "1", &std::process::id().to_string()]);
    assert!(program::run(&pin, 10).status.success(), "two cores are needed");
    // squid is asked for what comes without TLS.
    let plain = Origin::start(|ask| {
        let length = SIZES.iter().find(|(path, ..)| *path == ask.target).map_or(0, |(_, length, _)| *length);
        let fields = ["Cache-Control: public, max-age=86400", "ETag: \"1\"", "Content-Type: application/octet-stream"];
        Reply::Bytes(ok(&fields, &kit::noise(1, length)))
    });
    let door = kit::loopback(kit::free_port());
    let mut class = Class::with(&[HOST], |_, setup| {
        let setup = setup.host("o.school.test", plain.addr).set("proxy.tls_listen", &format!("[\"{door}\"]"));
        setup.set("node.workers", "1").under(&["taskset", "-c", "0"])
    });
    class.enrolled(1);
    let (ca, origins, node) = (class.ca(), &mut class.origins, &class.node);
    let front = origins.tls.server("front", &[&full(HOST), "squid.school.test"], Key::Ec, Fault::None);
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (nginx, files) =
        (nginx(folders[0].path(), &front, origins.addr(HOST), false), nginx(folders[1].path(), &front, origins.addr(HOST), true));
    let (school_trust, test_trust) = (trust(&ca), trust(&origins.tls.root()));
    let peer = |name, addr, id, server: &str, trust: &Arc<ClientConfig>| Peer {
        name,
        addr,
        family: Family(id),
        connect: None,
        ours: None,
        server: ServerName::try_from(server.to_owned()).expect("a name"),
        trust: Arc::clone(trust),
        prefix: String::new(),
        host: full(HOST),
    };
    let proxied = |peer: Peer, host: String| Peer { prefix: format!("http://{host}"), host, ..peer };
    let held = |peer: Peer, ours| Peer { ours: Some(ours), ..peer };
    let mut peers = vec![
        Peer { connect: Some(format!("{}:443", full(HOST))), ..peer("bulak", node.proxy, node.id(), &full(HOST), &school_trust) },
        held(peer("nginx", nginx.1, nginx.0.0.id(), &full(HOST), &test_trust), 0),
        held(peer("nginx files", files.1, files.0.0.id(), &full(HOST), &test_trust), 0),
        proxied(peer("bulak proxy", door, node.id(), OWN, &school_trust), "o.school.test".to_owned()),
    ];
    let squid = program::find("squid").map(|_| Squid::secure(&front));
    if let Some(squid) = &squid {
        program::run(Command::new("taskset").args(["-acp", "0", &squid.id().to_string()]), 10);
        let peer = peer("squid proxy", squid.addr, squid.id(), "squid.school.test", &test_trust);
        peers.push(held(proxied(peer, plain.addr.to_string()), 3));
    } else {
        println!("squid is left out: not installed");
    }
    println!("CPU, µs (median of {ROUNDS} rounds, {CONNECTIONS} connections at a time)");
    println!("{:>12} {:>12} {:>10} {:>10} {:>12}", "what", "server", "CPU µs", "per s", "ours/server");
    let asked = || origins.of(HOST).len() + plain.count();
    for (path, length, hits) in SIZES {
        let name = format!("hit {}", &path[3..]);
        measure(&name, &peers, &asked, |peer| kept_alive(peer, path, length, hits));
    }
    let (path, length, _) = SIZES[0];
    measure("handshake", &peers, &asked, |peer| handshakes(peer, path, length));
}

/// Interleaved rounds; `load` tells how many times it did it, `asked` how often the origins were asked so far.
fn measure(what: &str, peers: &[Peer], asked: &dyn Fn() -> usize, load: impl Fn(&Peer) -> usize) {
    let clock = Clock::system();
    let mut costs = vec![Vec::new(); peers.len()];
    let mut rates = vec![Vec::new(); peers.len()];
    // One unmeasured round fills the caches and warms up.
    let mut filled = 0;
    for round in 0..=ROUNDS {
        for (at, peer) in peers.iter().enumerate() {
            let cpu = || peer.family.cpu().expect("the server runs");
            let (used, start) = (cpu(), clock.steady());
            let times = f64::from(u32::try_from(load(peer)).expect("a small number"));
            let (used, took) = (cpu().saturating_sub(used), (clock.steady() - start).as_secs_f64());
            if round > 0 {
                costs[at].push(used.as_secs_f64() * 1e6 / times);
                rates[at].push(times / took);
            }
        }
        if round == 0 {
            filled = asked();
        }
    }
    assert_eq!(asked(), filled, "what was measured were hits");
    let medians: Vec<f64> = costs.iter_mut().map(|all| median(all)).collect();
    for (at, peer) in peers.iter().enumerate() {
        let ratio = peer.ours.map(|ours| format!("{:.2}", medians[ours] / medians[at])).unwrap_or_default();
        let rate = median(&mut rates[at]);
        println!("{what:>12} {:>12} {:>10.2} {rate:>10.0} {ratio:>12}", peer.name, medians[at]);
    }
}

/// Hits over connections that stay.
fn kept_alive(peer: &Peer, path: &str, length: usize, hits: usize) -> usize {
    let ask = peer.ask(path, "");
    let mut streams = open(peer);
    let mut buffer = vec![0; length + (64 << 10)];
    let mut done = 0;
    while done < hits {
        for stream in &mut streams {
            stream.write_all(&ask).expect("sends");
        }
        for stream in &mut streams {
            answer(peer, stream, &mut buffer, length);
        }
        done += CONNECTIONS;
    }
    done
}

/// Connections with one hit each: without it, whether a server has read the client's last flight yet would be chance.
fn handshakes(peer: &Peer, path: &str, length: usize) -> usize {
    let ask = peer.ask(path, "Connection: close\r\n");
    let mut buffer = vec![0; length + (64 << 10)];
    let mut done = 0;
    while done < HANDSHAKES {
        let mut streams = open(peer);
        for stream in &mut streams {
            stream.write_all(&ask).expect("sends");
        }
        for stream in &mut streams {
            answer(peer, stream, &mut buffer, length);
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
            stream.conn.send_close_notify();
            let _told = stream.conn.write_tls(&mut stream.sock); // the server may have closed
        }
        done += CONNECTIONS;
    }
    done
}

impl Peer {
    fn ask(&self, path: &str, more: &str) -> Vec<u8> {
        format!("GET {}{path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", self.prefix, self.host).into_bytes()
    }
}

/// Opens all connections at once and shakes hands on each.
fn open(peer: &Peer) -> Vec<Stream> {
    let mut sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(peer.addr).expect("connects")).collect();
    for socket in &sockets {
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    }
    if let Some(place) = &peer.connect {
        let ask = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n");
        for socket in &mut sockets {
            socket.write_all(ask.as_bytes()).expect("sends");
        }
        for socket in &mut sockets {
            agreed(socket);
        }
    }
    let client = || ClientConnection::new(Arc::clone(&peer.trust), peer.server.clone()).expect("a client");
    let mut streams: Vec<Stream> = sockets.into_iter().map(|socket| StreamOwned::new(client(), socket)).collect();
    for stream in &mut streams {
        stream.conn.write_tls(&mut stream.sock).expect("a ClientHello");
    }
    for stream in &mut streams {
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap_or_else(|error| panic!("{}: {error}", peer.name));
        }
    }
    streams
}

/// Reads the proxy's word that the tunnel is there, and nothing beyond it.
fn agreed(socket: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("an answer to CONNECT");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
}

/// Reads one answer of a known body length.
fn answer(peer: &Peer, stream: &mut Stream, buffer: &mut [u8], length: usize) {
    let mut filled = 0;
    loop {
        let taken = stream.read(&mut buffer[filled..]).expect("an answer");
        assert!(taken > 0, "{} closed: {}", peer.name, String::from_utf8_lossy(&buffer[..filled.min(300)]));
        filled += taken;
        let seen = &buffer[..filled.min(8 << 10)];
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            assert!(seen.starts_with(b"HTTP/1.1 200"), "{}: {}", peer.name, String::from_utf8_lossy(&seen[..end]));
            if filled >= end + 4 + length {
                return;
            }
        }
    }
}

/// Trusts this root alone; one version, one cipher, one group; never resumes.
fn trust(root: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(kit::tls::der(root))).expect("a root");
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    };
    let versions = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config = versions.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// nginx with `proxy_cache` and ssl, one worker. `files`: it keeps them open.
fn nginx(folder: &Path, pair: &Pair, origin: SocketAddr, files: bool) -> (Running, SocketAddr) {
    let files = if files { "open_file_cache max=1000 inactive=1d; open_file_cache_valid 1d;" } else { "" };
    let (here, port, host) = (folder.display(), kit::free_port(), full(HOST));
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/tmp-{kind}; ")).concat();
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\nevents {{ worker_connections 1024; }}\n\
         http {{ {temporary} access_log off; sendfile on; {files} tcp_nodelay on; keepalive_requests 100000000;\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;\n\
         proxy_cache_path {here}/cache keys_zone=hot:10m max_size=1g inactive=1d use_temp_path=off;\n\
         server {{ listen 127.0.0.1:{port} ssl; location / {{ proxy_cache hot; proxy_pass https://{origin}; proxy_http_version 1.1; \
         proxy_ssl_server_name on; proxy_ssl_name {host}; proxy_set_header Host {host}; proxy_set_header Connection \"\"; }} }} }}\n",
        pair.certificate.display(),
        pair.key.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).expect("a file");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program::need("nginx")).arg("-p").arg(folder).arg("-c").arg(&file);
    let child = program::start(command.arg("-e").arg(folder.join("error.log")), &folder.join("out"));
    kit::until("nginx listens", 20, || TcpStream::connect(kit::loopback(port)).is_ok());
    (child, kit::loopback(port))
}
