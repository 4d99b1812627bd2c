//! How small the store makes real content: the corpora of the store's design, fetched by package name into `target/corpora`, put in
//! as a browser would ask for them, version after version, then one night without a budget. Prints stored/raw after both, beside
//! the goals. `cargo bench --bench shrink -- [NAME...]`; names are the first words of the rows. What cannot be fetched is said.

#[path = "stock.rs"]
mod stock;

use bulak::base::clock::{Clock, Time};
use bulak::base::count::Metrics;
use bulak::base::unit::Bytes as Size;
use bulak::life::Life;
use bulak::store::{Pace, Settings, Store};
use bytes::Bytes;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who keeps a package.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Npm,
    PyPi,
    Debian,
}

/// One package in its versions (Debian: the one that there is), and where in it a browser looks.
struct Package(From, &'static str, &'static [&'static str], &'static str);

struct Corpus {
    name: &'static str,
    packages: &'static [Package],
    /// Only pages up to this length.
    small_html: bool,
    /// Highest stored/raw after ingest and after the night; 0: no goal.
    goals: (f64, f64),
}

const CORPORA: &[Corpus] = &[
    Corpus {
        name: "scratch",
        packages: &[Package(From::Npm, "scratch-gui", &["5.2.1", "5.2.11", "5.3.0"], "dist/")],
        small_html: false,
        goals: (0.32, 0.27),
    },
    Corpus {
        name: "libraries",
        packages: &[
            Package(From::Npm, "jquery", &["3.5.1", "3.6.0", "3.6.4"], "dist/"),
            Package(From::Npm, "bootstrap", &["5.3.0", "5.3.2", "5.3.3"], "dist/"),
            Package(From::Npm, "katex", &["0.16.29", "0.16.33", "0.16.40"], "dist/"),
            Package(From::Npm, "video.js", &["8.21.0", "8.22.0", "8.23.3"], "dist/"),
            Package(From::Npm, "pdfjs-dist", &["5.4.394", "5.4.530", "5.5.207"], "build/"),
        ],
        small_html: false,
        goals: (0.25, 0.11),
    },
    Corpus {
        name: "kolibri",
        packages: &[Package(From::PyPi, "kolibri", &["0.19.1", "0.19.2", "0.19.3", "0.19.4"], "")],
        small_html: false,
        goals: (0.22, 0.11),
    },
    Corpus {
        name: "docs",
        packages: &[
            Package(From::Debian, "python3.11-doc", &[""], ""),
            Package(From::Debian, "python-django-doc", &[""], ""),
            Package(From::Debian, "postgresql-doc-15", &[""], ""),
            Package(From::Debian, "git-doc", &[""], ""),
            Package(From::Debian, "sqlite3-doc", &[""], ""),
            Package(From::Debian, "r-doc-html", &[""], ""),
            Package(From::Debian, "debian-reference-en", &[""], ""),
            Package(From::Debian, "debian-handbook", &[""], ""),
        ],
        small_html: false,
        goals: (0.25, 0.0),
    },
    Corpus {
        name: "pg+git",
        packages: &[Package(From::Debian, "postgresql-doc-15", &[""], ""), Package(From::Debian, "git-doc", &[""], "")],
        small_html: false,
        goals: (0.0, 0.20),
    },
    Corpus { name: "small-html", packages: &[Package(From::Debian, "postgresql-doc-15", &[""], "")], small_html: true, goals: (0.0, 0.16) },
    Corpus {
        name: "new-version",
        packages: &[Package(From::Npm, "bootstrap", &["5.3.2", "5.3.3"], "dist/")],
        small_html: false,
        goals: (0.0, 0.10),
    },
];

/// Longest page of the row of small pages.
const SMALL: u64 = 32 << 10;
/// Files that no browser asks for.
const NOT_ASKED: &[&str] = &["map", "br", "ts", "mts", "cts", "flow", "scss", "less", "py", "pyc", "po", "mo"];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/corpora");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{:<12} {:>9} {:>8} {:>8} {:>6} {:>8} {:>6} {:>8}  codecs",
        "corpus", "raw MB", "objects", "ingest", "goal", "night", "goal", "disk"
    );
    for corpus in CORPORA.iter().filter(|corpus| wanted.is_empty() || wanted.iter().any(|name| name == corpus.name)) {
        match files(corpus, &folder) {
            Ok(versions) => runtime.block_on(measure(corpus, &versions)),
            Err(missing) => println!("{:<12} not measured: {missing}", corpus.name),
        }
    }
}

/// The files of each version: address and path.
fn files(corpus: &Corpus, folder: &Path) -> Result<Vec<Vec<(String, PathBuf)>>, String> {
    let most = corpus.packages.iter().map(|package| package.2.len()).max().unwrap_or(0);
    let mut versions = Vec::new();
    for at in 0..most {
        let mut all = Vec::new();
        for Package(from, name, numbers, below) in corpus.packages {
            let Some(number) = numbers.get(at) else { continue };
            let root = fetch(*from, name, number, folder)?;
            let mut found = Vec::new();
            walk(&root, &mut found);
            found.sort();
            for path in found {
                let inside = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
                let asked = match from {
                    From::Npm => inside.strip_prefix("package/").filter(|inside| inside.starts_with(below)),
                    From::PyPi => Some(&*inside).filter(|inside| {
                        (inside.contains("/static/") || inside.contains("/build/"))
                            && inside.rsplit_once('.').is_some_and(|end| end.1 == "gz")
                    }),
                    From::Debian => Some(&*inside).filter(|inside| inside.contains("usr/share/")),
                };
                let gone = |inside: &&str| NOT_ASKED.contains(&ending(inside.trim_end_matches(".gz")));
                if let Some(inside) = asked.filter(|inside| !gone(inside) && (*from == From::PyPi || ending(inside) != "gz")) {
                    all.push((format!("http://{name}.test/{number}/{}", inside.trim_end_matches(".gz")), path.clone()));
                }
            }
        }
        versions.push(all);
    }
    Ok(versions)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// The unpacked package; fetched unless it is there.
fn fetch(from: From, name: &str, number: &str, folder: &Path) -> Result<PathBuf, String> {
    let root = folder.join(format!("{name}-{number}"));
    if root.is_dir() {
        return Ok(root);
    }
    let (archive, fresh) = (folder.join("archive"), folder.join("fresh"));
    for left in [&archive, &fresh] {
        let _ = fs::remove_dir_all(left);
        fs::create_dir_all(left).map_err(|error| format!("{}: {error}", left.display()))?;
    }
    let one = match from {
        From::Npm => format!("{name}@{number}"),
        From::PyPi => format!("{name}=={number}"),
        From::Debian => name.to_owned(),
    };
    match from {
        From::Npm => run(&archive, "npm", &["pack", "--silent", &one])?,
        From::PyPi => run(&archive, "pip", &["download", "--quiet", "--no-deps", &one])?,
        From::Debian => run(&archive, "apt-get", &["-qq", "download", &one])?,
    }
    let mut got = Vec::new();
    walk(&archive, &mut got);
    let got = got.first().ok_or_else(|| format!("{one} brought nothing"))?.to_string_lossy().into_owned();
    match from {
        From::Npm => run(&fresh, "tar", &["xzf", &got])?,
        From::PyPi => run(&fresh, "python3", &["-m", "zipfile", "-e", &got, "."])?,
        From::Debian => run(&fresh, "dpkg-deb", &["-x", &got, "."])?,
    }
    fs::rename(&fresh, &root).map_err(|error| error.to_string())?;
    Ok(root)
}

fn run(inside: &Path, program: &str, words: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(words).current_dir(inside).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
    }
}

fn ending(path: &str) -> &str {
    path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending)
}

fn content_type(path: &str) -> &'static str {
    match ending(path) {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript",
        "css" => "text/css",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "mp3" | "wav" => "audio/mpeg",
        "mp4" => "video/mp4",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "txt" | "md" => "text/plain",
        _ => "application/octet-stream",
    }
}

async fn measure(corpus: &Corpus, versions: &[Vec<(String, PathBuf)>]) {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings { path: dir.path().to_owned(), quota: Size::gib(20), index_cache: Size(0), ..Settings::default() };
    let store = Store::open(settings, Clock::system(), &Life::default(), &Metrics::default()).expect("a store");
    let (mut raw, mut objects, mut dictionaries, mut before, mut stored_before) = (0, 0, 0, 0, 0);
    let mut ingested = 0;
    for (at, version) in versions.iter().enumerate() {
        for (url, path) in version {
            let Some(body) = body(path, corpus.small_html) else { continue };
            raw += body.len() as u64;
            objects += 1;
            let meta = stock::meta(url, content_type(url), Time::from_secs(1_800_000_000));
            let length = body.len() as u64;
            stock::put(&store, meta, [Bytes::from(body)], length).await.expect("room");
        }
        ingested = stored(&store);
        // A new version of a known bundle: what it adds to what the night has settled.
        if corpus.name == "new-version" && at == 0 {
            dictionaries += night(&store).await;
            (before, stored_before) = (raw, stored(&store) + dictionaries);
        }
    }
    dictionaries += night(&store).await;
    store.close().await.expect("closes");
    let share = |part: u64| real(part.saturating_sub(stored_before)) / real((raw - before).max(1));
    let stat = store.stat();
    let codecs: Vec<String> = stat.codecs.iter().filter(|codec| codec.1.0 > 0).map(|(name, (n, _))| format!("{name} {n}")).collect();
    let goal = |goal: f64| if goal > 0.0 { format!("{goal:.2}") } else { "-".into() };
    println!(
        "{:<12} {:>9.1} {:>8} {:>8.3} {:>6} {:>8.3} {:>6} {:>8.3}  {}",
        corpus.name,
        real(raw - before) / 1e6,
        objects,
        share(ingested),
        goal(corpus.goals.0),
        share(stored(&store) + dictionaries),
        goal(corpus.goals.1),
        real(stat.disk_bytes) / real(raw.max(1)),
        codecs.join(", "),
    );
}

/// One night to its end; the bytes of its dictionaries.
async fn night(store: &Store) -> u64 {
    store.shrink(Pace::Now, || true, |_| {}).await.expect("a night").dictionary_bytes
}

fn stored(store: &Store) -> u64 {
    store.stat().codecs.values().map(|codec| codec.1).sum()
}

fn body(path: &Path, small_html: bool) -> Option<Vec<u8>> {
    if small_html && (!matches!(path.extension()?.to_str()?, "html" | "htm") || fs::metadata(path).ok()?.len() > SMALL) {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    if path.extension().is_none_or(|ending| ending != "gz") {
        return Some(bytes);
    }
    let mut decoded = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut decoded).ok()?;
    Some(decoded)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of corpora stay far below 2^53")]
fn real(bytes: u64) -> f64 {
    bytes as f64
}
