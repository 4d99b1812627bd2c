//! A lesson of real content as a school would have it: Debian's python3-doc with a sitemap, an npm app with hashed modules, a film.
//! nginx serves it from a folder of its own, so that a test may change files, and tells how many bytes of bodies it has sent.
//!
//! `docs` pages `no-cache` with ETag, the rest for a day · `app` pages `no-cache`, the rest immutable. Both under `.school.test`.
//! A lesson in HLS joins them as soon as packs take such seeds: its folder is `film/`.

use crate::kit;
use crate::kit::nginx;
use crate::kit::program::Running;
use bulak::base::clock::Clock;
use bulak::base::digest::Digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Length of the film: forty pieces and a part of one, so that two pieces lost in power failures are less than 5 % of the lesson.
const FILM: usize = (160 << 20) + 123;
/// Of the library's pages one in so many: the whole takes a debug build minutes.
const LIBRARY: usize = 4;

/// A running origin.
pub(crate) struct Lesson {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Pages that the sitemap names, as paths of `docs`.
    pub(crate) pages: Vec<String>,
    folder: TempDir,
    _child: Running,
}

/// One request as nginx has logged it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// Status.
    pub(crate) status: u16,
    /// Bytes of the body that were sent.
    pub(crate) bytes: u64,
    /// `http://host/path`.
    pub(crate) url: String,
}

impl Lesson {
    /// Builds the content and starts nginx on a free loopback port.
    pub(crate) fn start() -> Lesson {
        let folder = tempfile::tempdir().expect("a folder");
        let docs = folder.path().join("docs");
        let mut pages = Vec::new();
        for (name, every) in [("tutorial", 1), ("howto", 1), ("library", LIBRARY), ("_static", 1), ("_images", 1)] {
            let files = copy(&kit::python_docs().join(name), &docs.join(name), every);
            pages.extend(files.into_iter().filter(|file| kit::ends_in(file, "html")).map(|file| format!("/{name}/{file}")));
        }
        pages.sort();
        app(&folder.path().join("app"));
        fs::write(folder.path().join("app/film.mp4"), kit::noise(11, FILM)).expect("a file");
        let (child, addr) = nginx::launch(folder.path(), configuration);
        let lesson = Lesson { addr, pages, folder, _child: child };
        lesson.map();
        lesson
    }

    /// Writes the sitemap anew, with the time of each page's last change.
    pub(crate) fn map(&self) {
        let mut text = String::from("<?xml version=\"1.0\"?><urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n");
        for page in &self.pages {
            let changed = fs::metadata(self.file("docs", page)).and_then(|file| file.modified()).expect("a file");
            let secs = changed.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
            let secs = i64::try_from(secs).expect("a time");
            let when = bulak::base::clock::Time::from_secs(secs).to_rfc3339();
            writeln!(text, "<url><loc>http://docs.school.test{page}</loc><lastmod>{when}</lastmod></url>").expect("a string grows");
        }
        text.push_str("</urlset>\n");
        fs::write(self.file("docs", "/sitemap.xml"), text).expect("a file");
    }

    /// Changes a page, as an editor would.
    pub(crate) fn touch(&self, host: &str, path: &str) {
        let file = self.file(host, path);
        let text = fs::read_to_string(&file).expect("a page");
        fs::write(&file, format!("{text}<!-- {} -->\n", Clock::system().now().secs())).expect("a file");
    }

    /// The file behind a path.
    pub(crate) fn file(&self, host: &str, path: &str) -> PathBuf {
        self.folder.path().join(host).join(path.trim_start_matches('/'))
    }

    /// The file behind a URL of this origin; none for what it does not have.
    pub(crate) fn behind(&self, url: &str) -> Option<PathBuf> {
        let (host, path) = url.strip_prefix("http://")?.split_once(".school.test")?;
        let file = self.file(host, path.split(['?', '#']).next()?);
        file.is_file().then_some(file)
    }

    /// The digest of the file behind a URL.
    pub(crate) fn digest(&self, url: &str) -> Digest {
        let file = self.behind(url).unwrap_or_else(|| panic!("there is no {url}"));
        Digest::of(&fs::read(file).expect("a file"))
    }

    /// Everything it was asked, from the request `from` on.
    pub(crate) fn served(&self, from: usize) -> Vec<Served> {
        let log = nginx::answered(self.addr, self.folder.path());
        let read = |line: &str| {
            let mut words = line.split(' ');
            let (status, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let (host, path) = (words.next()?, words.next()?);
            Some(Served { status, bytes, url: format!("http://{host}{path}") })
        };
        log.iter().filter_map(|line| read(line)).skip(from).collect()
    }

    /// Length of everything that was asked for and is here, each file once.
    pub(crate) fn content(&self, served: &[Served]) -> u64 {
        let files: BTreeMap<&str, u64> =
            served.iter().filter_map(|one| Some((one.url.as_str(), fs::metadata(self.behind(&one.url)?).ok()?.len()))).collect();
        files.values().sum()
    }

    /// Modules of the app.
    pub(crate) fn modules(&self) -> Vec<String> {
        let folder = self.folder.path().join("app/chunks/mermaid.esm.min");
        let mut names: Vec<String> = nginx::names(&folder).into_iter().filter(|name| kit::ends_in(name, "mjs")).collect();
        names.sort();
        names.into_iter().map(|name| format!("http://app.school.test/chunks/mermaid.esm.min/{name}")).collect()
    }
}

/// Copies the plain files of a folder, of its pages one in `every`; their names.
fn copy(from: &Path, to: &Path, every: usize) -> Vec<String> {
    fs::create_dir_all(to).expect("a folder");
    let mut copied = nginx::names(from);
    let mut count = 0;
    copied.retain(|name| {
        count += usize::from(kit::ends_in(name, "html"));
        !kit::ends_in(name, "html") || count % every == 0
    });
    for name in &copied {
        fs::copy(from.join(name), to.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    copied
}

/// A page that draws with mermaid's modules, some of which only scripts name, and shows the film.
fn app(root: &Path) {
    let package = kit::apps().join("mermaid/dist");
    let chunks = "chunks/mermaid.esm.min";
    copy(&package.join(chunks), &root.join(chunks), 1);
    fs::copy(package.join("mermaid.esm.min.mjs"), root.join("mermaid.esm.min.mjs"))
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/test", package.display()));
    let page = "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>A lesson</title></head>\n<body>\
                <pre class=\"mermaid\">graph TD; A--&gt;B</pre>\n<video src=\"film.mp4\"></video>\n\
                <script type=\"module\">import mermaid from './mermaid.esm.min.mjs'; mermaid.initialize({ startOnLoad: true });</script>\n\
                </body></html>\n";
    fs::write(root.join("index.html"), page).expect("a file");
}

fn configuration(folder: &Path, port: u16) -> String {
    let here = folder.display();
    let server = |name: &str, rest: &str| {
        format!("  server {{ listen 127.0.0.1:{port}; server_name {name}.school.test; root {here}/{name}; {rest} }}\n")
    };
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("  {kind}_temp_path {here}/tmp-{kind};\n")).concat();
    let html = "location ~ \\.html$ { add_header Cache-Control no-cache; }";
    format!(
        "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log;\nworker_rlimit_nofile 4096;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  include /etc/nginx/mime.types; default_type application/octet-stream;\n\
         types {{ application/javascript mjs; }}\n\
         {temporary}  log_format short '$status $body_bytes_sent $host $request_uri';\n  access_log {here}/access.log short;\n\
         sendfile on; keepalive_requests 100000;\n{}{}}}\n",
        server("docs", &format!("{html} location / {{ add_header Cache-Control \"public, max-age=86400\"; }}")),
        server("app", &format!("{html} location / {{ add_header Cache-Control \"public, max-age=31536000, immutable\"; }}")),
    )
}
