//! Debian's nginx with TLS: origins as the web has them, and origins that nobody should trust. All under `.school.test`.
//!
//! `ec-h2`, `ec-h1`, `rsa-h2`, `rsa-h1`: good, by key and by the HTTP they speak · `expired`, `self-signed`, `wrong-name`,
//! `revoked` (on [`Tls::revocations`]) · `client` demands a certificate · `old` speaks TLS 1.1 alone · `login`, `other` as `ec-h2`.
//! Each host has `/` (a page with a script, a style sheet and a picture, `no-cache`), and `/s/1k`, `10k`, `100k`, `1m` for a day.

use crate::kit;
use crate::kit::nginx;
use crate::kit::node::Setup;
use crate::kit::program::{self, Running};
use crate::kit::tls::{Fault, Key, Pair, Tls};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What the page of every host shows once its script ran.
pub(crate) const PROOF: &str = "the script ran";

/// Hosts with a good certificate and HTTP/2.
const H2: [&str; 4] = ["ec-h2", "rsa-h2", "login", "other"];
/// Hosts with a good certificate and HTTP/1.1 alone.
const H1: [&str; 2] = ["ec-h1", "rsa-h1"];
/// Hosts with something wrong.
const ODD: [&str; 6] = ["expired", "self-signed", "wrong-name", "revoked", "client", "old"];

/// Files below `/s/` and their lengths.
pub(crate) const FILES: [(&str, usize); 4] = [("1k", 1 << 10), ("10k", 10 << 10), ("100k", 100 << 10), ("1m", 1 << 20)];

/// A request that nginx has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The host asked for.
    pub(crate) host: String,
    /// Its answer's status.
    pub(crate) status: u16,
    /// The method.
    pub(crate) method: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub(crate) protocol: String,
    /// Bytes sent, head and body.
    pub(crate) bytes: u64,
    /// Path and query.
    pub(crate) target: String,
}

/// A running nginx with TLS.
pub(crate) struct Secure {
    /// The root that signed its certificates, and the revocation list.
    pub(crate) tls: Tls,
    pairs: BTreeMap<&'static str, Pair>,
    ports: Ports,
    folder: TempDir,
    _child: Running,
}

/// nginx decides by the port whether it speaks HTTP/2 and how old a TLS it speaks.
#[derive(Clone, Copy)]
struct Ports {
    h2: u16,
    h1: u16,
    old: u16,
    plain: u16,
}

impl Secure {
    /// Makes a root and all certificates, and starts nginx on free loopback ports.
    pub(crate) fn start() -> Secure {
        let mut tls = Tls::new("Root of a test's origins");
        let pairs = H2.into_iter().chain(H1).chain(ODD).map(|host| (host, pair(&mut tls, host))).collect();
        let folder = tempfile::tempdir().expect("a folder");
        content(&folder.path().join("site"));
        let (child, ports) = launch(folder.path(), &tls, &pairs);
        Secure { tls, pairs, ports, folder, _child: child }
    }

    /// Where a host's TLS is; `host` without `.school.test`.
    pub(crate) fn addr(&self, host: &str) -> SocketAddr {
        kit::loopback(self.ports.of(host))
    }

    /// All hosts, in full.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        self.pairs.keys().map(|host| full(host))
    }

    /// The certificate that a host really has.
    pub(crate) fn pair(&self, host: &str) -> &Pair {
        self.pairs.get(host).unwrap_or_else(|| panic!("no host {host}"))
    }

    /// Has a node find all hosts here and trust the root that signed them.
    pub(crate) fn join(&self, setup: Setup) -> Setup {
        let setup = setup.root(&self.tls.root());
        self.pairs.keys().fold(setup, |setup, host| setup.secure_host(&full(host), self.addr(host)))
    }

    /// Everything that nginx has answered so far, in order.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        let all = nginx::answered(kit::loopback(self.ports.plain), self.folder.path());
        all.iter().filter_map(|line| read(line)).collect()
    }

    /// What it has answered for one host; `host` without `.school.test`.
    pub(crate) fn of(&self, host: &str) -> Vec<Seen> {
        let host = full(host);
        self.requests().into_iter().filter(|seen| seen.host == host).collect()
    }

    /// How many requests and bytes of answers that was.
    pub(crate) fn count(&self, host: &str) -> (usize, u64) {
        let all = self.of(host);
        (all.len(), all.iter().map(|seen| seen.bytes).sum())
    }

    /// The bytes of a file below `/s/`.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("s").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Where a file of all hosts is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("site").join(name)
    }

    /// Puts a file on all hosts.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("below a folder")).expect("a folder");
        fs::write(file, bytes).expect("a file");
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx with TLS ---\n{}", kit::tail(&self.folder.path().join("access.log"), 30));
            eprintln!("{}\n--- end ---", kit::tail(&self.folder.path().join("error.log"), 10));
        }
    }
}

impl Ports {
    fn free() -> Ports {
        Ports { h2: kit::free_port(), h1: kit::free_port(), old: kit::free_port(), plain: kit::free_port() }
    }

    fn of(self, host: &str) -> u16 {
        match host {
            "old" => self.old,
            host if H1.contains(&host) => self.h1,
            _ => self.h2,
        }
    }
}

/// The name under which devices ask for a host.
pub(crate) fn full(host: &str) -> String {
    format!("{host}.school.test")
}

fn pair(tls: &mut Tls, host: &str) -> Pair {
    let key = if host.starts_with("rsa") { Key::Rsa } else { Key::Ec };
    let fault = match host {
        "expired" => Fault::Expired,
        "self-signed" => Fault::SelfSigned,
        "revoked" => Fault::Revoked,
        _ => Fault::None,
    };
    let name = if host == "wrong-name" { full("another") } else { full(host) };
    tls.server(host, &[&name], key, fault)
}

/// `host status method protocol bytes target`.
fn read(line: &str) -> Option<Seen> {
    let mut words = line.splitn(6, ' ');
    let (host, status, method) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned());
    let (protocol, bytes, target) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned());
    Some(Seen { host, status, method, protocol, bytes, target })
}

fn content(site: &Path) {
    fs::create_dir_all(site.join("s")).expect("a folder");
    for (seed, (name, length)) in (40..).zip(FILES) {
        fs::write(site.join("s").join(name), kit::noise(seed, length)).expect("a file");
    }
    let page = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>A page</title>\n\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/s/style.css\"></head>\n\
         <body><p id=\"proof\">no script ran</p><img src=\"/s/picture.svg\" alt=\"\"><script src=\"/s/app.js\"></script></body></html>\n";
    let picture =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"8\" height=\"8\"><rect width=\"8\" height=\"8\" fill=\"teal\"/></svg>\n";
    let script = format!("document.getElementById('proof').textContent = '{PROOF}';\n");
    for (name, text) in [("index.html", page), ("s/style.css", "body { color: teal }\n"), ("s/picture.svg", picture), ("s/app.js", &script)]
    {
        fs::write(site.join(name), text).expect("a file");
    }
}

/// Starts nginx on ports that were free a moment ago; tries again when somebody was faster.
fn launch(folder: &Path, tls: &Tls, pairs: &BTreeMap<&'static str, Pair>) -> (Running, Ports) {
    for _ in 0..5 {
        let ports = Ports::free();
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(folder, tls, pairs, ports)).expect("a file");
        let mut command = Command::new(program::need("nginx"));
        command.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
        let mut child = program::start(&mut command, &folder.join("nginx.out"));
        let mut listening = false;
        kit::until("nginx listens or has ended", 20, || {
            listening = std::net::TcpStream::connect(kit::loopback(ports.h2)).is_ok();
            listening || child.0.try_wait().expect("a child").is_some()
        });
        if listening && child.0.try_wait().expect("a child").is_none() {
            return (child, ports);
        }
    }
    panic!("nginx does not start: {}{}", kit::tail(&folder.join("nginx.out"), 5), kit::tail(&folder.join("error.log"), 5));
}

fn configuration(folder: &Path, tls: &Tls, pairs: &BTreeMap<&'static str, Pair>, ports: Ports) -> String {
    let here = folder.display();
    let server = |(host, pair): (&&str, &Pair)| {
        let (port, name) = (ports.of(host), full(host));
        let rest = match *host {
            "client" => format!("ssl_verify_client on; ssl_client_certificate {};", tls.root().display()),
            "old" => "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;".to_owned(),
            _ => String::new(),
        };
        let h2 = if port == ports.h2 { " http2" } else { "" };
        format!(
            "  server {{ listen 127.0.0.1:{port} ssl{h2}; server_name {name}; ssl_certificate {}; ssl_certificate_key {}; {rest}\n    \
             root {here}/site; location /s/ {{ add_header Cache-Control \"public, max-age=86400\"; }}\n    \
             location = /favicon.ico {{ return 204; }} location / {{ add_header Cache-Control no-cache; }} }}\n",
            pair.certificate.display(),
            pair.key.display()
        )
    };
    let servers: String = pairs.iter().map(server).collect();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("  {kind}_temp_path {here}/tmp-{kind};\n")).concat();
    format!(
        "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log;\nworker_rlimit_nofile 4096;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  include /etc/nginx/mime.types; default_type application/octet-stream;\n\
         {temporary}  log_format short '$host $status $request_method $server_protocol $bytes_sent $request_uri';\n  \
         access_log {here}/access.log short;\n  sendfile on; keepalive_requests 100000; ssl_protocols TLSv1.2 TLSv1.3;\n  \
         server {{ listen 127.0.0.1:{}; return 204; }}\n{servers}}}\n",
        ports.plain
    )
}
