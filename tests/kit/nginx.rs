//! Debian's nginx with real content under host names of their own, each with the headers that such a host really sends.
//!
//! `docs` HTML `no-cache` with ETag, the rest for a day · `assets` hashed names, immutable · `plain` Last-Modified only ·
//! `gzip` coded on the fly with weak validators · `big` one large file with ranges. All under `.school.test`.

use crate::kit;
use crate::kit::http;
use crate::kit::program::{self, Running};
use bulak::base::digest::Digest;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// Length of the large file: three whole 4 MiB download segments and a part of one.
pub(crate) const BIG: usize = (14 << 20) + 321;

/// A running nginx.
pub(crate) struct Nginx {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    folder: TempDir,
    _child: Running,
}

impl Nginx {
    /// Builds the content tree and starts nginx on a free loopback port.
    pub(crate) fn start() -> Nginx {
        let folder = tempfile::tempdir().expect("a folder");
        assets(&folder.path().join("assets"));
        fs::create_dir(folder.path().join("big")).expect("a folder");
        fs::write(folder.path().join("big/big.bin"), kit::noise(7, BIG)).expect("a file");
        let (child, addr) = launch(folder.path(), configuration);
        Nginx { addr, folder, _child: child }
    }

    /// Requests that nginx has answered so far, `host status method path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        answered(self.addr, self.folder.path())
    }

    /// Every URL that a pack of this content names, pages first; `scale` thins the documentation out (1: all of it).
    pub(crate) fn urls(&self, scale: usize) -> Vec<String> {
        let docs = kit::python_docs();
        let mut urls = Vec::new();
        for (host, folder) in [("docs", "tutorial"), ("docs", "library"), ("docs", "_images"), ("plain", "faq"), ("gzip", "howto")] {
            for (number, name) in names(&docs.join(folder)).iter().enumerate() {
                if folder != "library" || number % scale == 0 {
                    urls.push(format!("http://{host}.school.test/{folder}/{name}"));
                }
            }
        }
        for page in ["index", "blockly", "jsxgraph", "mathjax"] {
            urls.push(format!("http://assets.school.test/{page}.html"));
        }
        for name in names(&self.folder.path().join("assets/h")) {
            urls.push(format!("http://assets.school.test/h/{name}"));
        }
        urls.push("http://big.school.test/big.bin".to_owned());
        urls
    }

    /// The folder of the `assets` host.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("assets")
    }

    /// Puts a file on the `assets` host.
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("assets").join(name), text).expect("a file");
    }

    /// The digest of what the origin itself says for a URL of one of its hosts (identity coding).
    pub(crate) fn digest(&self, url: &str) -> Digest {
        let host = http::authority(url);
        let path = url.split_once(host).map_or("/", |(_, path)| path);
        let answer = http::get_direct(self.addr, host, path);
        assert!(answer.status == 200 && answer.complete, "the origin itself answers {} to {url}", answer.status);
        Digest::of(&answer.body)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
            let odd: Vec<&str> = log.lines().filter(|line| !line.contains(" 20") && !line.contains(" 304 ")).take(40).collect();
            eprintln!("--- what nginx had not ---\n{}\n--- end ---", odd.join("\n"));
        }
    }
}

/// What an nginx of one process has answered so far, as in the `access.log` of its folder, whose lines end in the path. It writes a line after
/// it has sent the answer, so whoever has that may be ahead of the log. But it serves all in turn: once a mark is in the log, so is everything
/// that was answered before it. `plain` is an address where it speaks without TLS; the marks are left out.
pub(crate) fn answered(plain: SocketAddr, folder: &Path) -> Vec<String> {
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    let mark = format!(" /mark-{}", MARKS.fetch_add(1, Ordering::SeqCst));
    http::get_direct(plain, "marks", mark.trim_start());
    let mut log = String::new();
    kit::until("nginx writes its log", 20, || {
        log = fs::read_to_string(folder.join("access.log")).unwrap_or_default();
        log.lines().any(|line| line.ends_with(&mark))
    });
    log.lines().filter(|line| !line.contains(" /mark-")).map(str::to_owned).collect()
}

/// The plain files of a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A web site of blockly, jsxgraph and mathjax with hashed names under `/h/`.
fn assets(root: &Path) {
    let hashed = root.join("h");
    fs::create_dir_all(&hashed).expect("a folder");
    let packages = kit::packages();
    let link = |file: &str| -> String {
        let source = packages.join(file);
        let bytes = fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}; run scripts/test", source.display()));
        let (stem, end) = source.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('.')).expect("a name");
        let name = format!("{stem}.{}.{end}", &Digest::of(&bytes).to_string()[..12]);
        fs::copy(&source, hashed.join(&name)).expect("copies");
        format!("/h/{name}")
    };
    let page = |name: &str, head: &str, body: &str| {
        let text = format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{name}</title>\n{head}</head>\n<body>{body}</body></html>\n"
        );
        fs::write(root.join(format!("{name}.html")), text).expect("a file");
    };
    let script = |file: &str| format!("<script src=\"{}\"></script>\n", link(file));
    let proof =
        |test: &str| format!("<p id=\"proof\"></p><script>document.getElementById('proof').textContent = 'ran ' + ({test})</script>");
    page("blockly", &(script("blockly/blockly_compressed.js") + &script("blockly/blocks_compressed.js")), &proof("typeof Blockly.inject"));
    let style = format!("<link rel=\"stylesheet\" href=\"{}\">\n", link("jsxgraph/distrib/jsxgraph.css"));
    page("jsxgraph", &(style + &script("jsxgraph/distrib/jsxgraphcore.js")), &proof("typeof JXG.JSXGraph"));
    page("mathjax", &script("mathjax/tex-svg.js"), &proof("typeof MathJax.startup"));
    let pictures: Vec<String> = names(&packages.join("blockly/media"))
        .iter()
        .filter(|name| [".png", ".svg", ".gif"].iter().any(|end| name.ends_with(end)))
        .map(|name| format!("<img src=\"{}\" alt=\"\">\n", link(&format!("blockly/media/{name}"))))
        .collect();
    let pictures = pictures.concat();
    page("index", "", &format!("<a href=\"blockly.html\">blockly</a> <a href=\"jsxgraph.html\">jsxgraph</a>\n{pictures}"));
}

/// Starts nginx on a port that was free a moment ago; tries again when somebody was faster.
pub(crate) fn launch(folder: &Path, configuration: impl Fn(&Path, u16) -> String) -> (Running, SocketAddr) {
    for _ in 0..5 {
        let port = kit::free_port();
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(folder, port)).expect("a file");
        let mut child = program::start(
            Command::new(program::need("nginx")).arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log")),
            &folder.join("nginx.out"),
        );
        let mut listening = false;
        kit::until("nginx listens or has ended", 20, || {
            listening = std::net::TcpStream::connect(kit::loopback(port)).is_ok();
            listening || child.0.try_wait().expect("a child").is_some()
        });
        if listening && child.0.try_wait().expect("a child").is_none() {
            return (child, kit::loopback(port));
        }
    }
    panic!("nginx does not start: {}{}", kit::tail(&folder.join("nginx.out"), 5), kit::tail(&folder.join("error.log"), 5));
}

fn configuration(folder: &Path, port: u16) -> String {
    let docs = kit::python_docs();
    let here = folder.display();
    let server = |name: &str, root: &Path, rest: &str| {
        format!("  server {{ listen 127.0.0.1:{port}; server_name {name}.school.test; root {}; {rest} }}\n", root.display())
    };
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("  {kind}_temp_path {here}/tmp-{kind};\n")).concat();
    let html = "location ~ \\.html$ { add_header Cache-Control no-cache; }";
    format!(
        "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log;\nworker_rlimit_nofile 4096;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  include /etc/nginx/mime.types; default_type application/octet-stream;\n\
         {temporary}  log_format short '$host $status $request_method $request_uri';\n  access_log {here}/access.log short;\n\
         sendfile on; keepalive_requests 100000;\n{}{}{}{}{}}}\n",
        server("docs", &docs, &format!("{html} location / {{ add_header Cache-Control \"public, max-age=86400\"; }}")),
        server(
            "assets",
            &folder.join("assets"),
            "location /h/ { add_header Cache-Control \"public, max-age=31536000, immutable\"; } \
             location / { add_header Cache-Control no-cache; }"
        ),
        server("plain", &docs, "etag off;"),
        server(
            "gzip",
            &docs,
            &format!("gzip on; gzip_vary on; gzip_proxied any; gzip_types text/css application/javascript image/svg+xml; {html}")
        ),
        server("big", &folder.join("big"), ""),
    )
}
