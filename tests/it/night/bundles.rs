//! What real bundles need: apps as esbuild, webpack and workbox leave them are walked from their page, file by file, and every file
//! that a browser could ask for is found without running anything.

use crate::kit;
use bulak::base::target::Target;
use bulak::site::discover::{self, Kind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// An app in a folder, with pages of the test's own.
struct App {
    folder: PathBuf,
    pages: BTreeMap<&'static str, String>,
}

/// What came of a walk: each path that is there, with its depth; and what is not there.
struct Walk {
    here: BTreeMap<String, u8>,
    missing: BTreeSet<String>,
}

impl App {
    fn body(&self, path: &str) -> Option<Vec<u8>> {
        match self.pages.get(path) {
            Some(text) => Some(text.clone().into_bytes()),
            None => fs::read(self.folder.join(path.trim_start_matches('/'))).ok(),
        }
    }

    /// Follows what is needed from `/index.html` on, as a night does.
    fn walk(&self) -> Walk {
        let start = Target::parse("http://app.kz/index.html").expect("valid");
        let (mut walk, mut open) = (Walk { here: BTreeMap::new(), missing: BTreeSet::new() }, VecDeque::from([(start, Kind::Page, 0)]));
        while let Some((target, kind, depth)) = open.pop_front() {
            let path = target.path().to_owned();
            if walk.here.contains_key(&path) || walk.missing.contains(&path) || target.host() != "app.kz" {
                continue;
            }
            let Some(body) = self.body(&path) else {
                walk.missing.insert(path);
                continue;
            };
            walk.here.insert(path.clone(), depth);
            for need in discover::of(kind, media_type(&path), &target, &body).needs {
                open.push_back((need.target, need.kind, depth + 1));
            }
        }
        walk
    }
}

fn media_type(path: &str) -> Option<&'static str> {
    Some(match Path::new(path).extension()?.to_str()? {
        "html" => "text/html",
        "js" | "mjs" => "text/javascript",
        "css" => "text/css",
        "json" => "application/json",
        _ => "application/octet-stream",
    })
}

#[test]
fn esbuild_s_modules() {
    let page = "<script type=module>import m from './mermaid.esm.min.mjs'</script>".to_owned();
    let app = App { folder: kit::apps().join("mermaid/dist"), pages: BTreeMap::from([("/index.html", page)]) };
    let walk = app.walk();
    let folder = app.folder.join("chunks/mermaid.esm.min");
    let files = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file").file_name().into_string().expect("a name"));
    let modules: BTreeSet<String> =
        files.filter(|name| kit::ends_in(name, "mjs")).map(|name| format!("/chunks/mermaid.esm.min/{name}")).collect();
    let lacking: Vec<&String> = modules.iter().filter(|path| !walk.here.contains_key(*path)).collect();
    assert!(modules.len() > 50 && lacking.is_empty(), "{lacking:?} of {}", modules.len());
    assert!(walk.missing.is_empty(), "{:?}", walk.missing);
    let deepest = walk.here.values().max().expect("some");
    assert!(*deepest <= 6, "a night follows eight");
}

#[test]
fn webpack_s_chunks_and_the_files_that_they_load() {
    let page = "<script src=/r/ruffle.js></script>".to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let package = kit::apps().join("@ruffle-rs/ruffle");
    fs::create_dir(folder.path().join("r")).expect("a folder");
    let mut files = BTreeSet::from(["/index.html".to_owned()]);
    for entry in fs::read_dir(&package).expect("a folder") {
        let entry = entry.expect("a file");
        let name = entry.file_name().into_string().expect("a name");
        if kit::ends_in(&name, "js") || kit::ends_in(&name, "wasm") {
            fs::copy(entry.path(), folder.path().join("r").join(&name)).expect("copies");
            files.insert(format!("/r/{name}"));
        }
    }
    let app = App { folder: folder.path().to_owned(), pages: BTreeMap::from([("/index.html", page)]) };
    let walk = app.walk();
    let here: BTreeSet<String> = walk.here.into_keys().collect();
    assert_eq!(here, files);
    assert!(walk.missing.is_empty(), "{:?}", walk.missing);
}

#[test]
fn a_page_that_registers_a_worker_is_here_for_the_time_without_a_line() {
    // As vite and workbox leave a small app; the names are the test's own.
    let pages = BTreeMap::from([
        (
            "/index.html",
            "<link rel=manifest href=/manifest.webmanifest><script type=module src=/assets/index-B7k2mQ1x.js></script>\
             <script id=register src=/registerSW.js></script>"
                .to_owned(),
        ),
        (
            "/assets/index-B7k2mQ1x.js",
            "const __vite__mapDeps=(i,m=__vite__mapDeps,d=(m.f||(m.f=[\"assets/Map-D4f5g6h7.js\",\"assets/Map-a1b2c3d4.css\"])))=>i.map(i=>d[i]);\
             const logo=\"/assets/logo-q9w8e7r6.svg\";const w=()=>new Worker(new URL(\"/assets/tiles-z1x2c3v4.js\",import.meta.url),{type:\"module\"});\
             g(()=>import(`./Map-D4f5g6h7.js`),__vite__mapDeps([0,1]))"
                .to_owned(),
        ),
        ("/assets/Map-D4f5g6h7.js", "import{a}from\"./index-B7k2mQ1x.js\";export default a".to_owned()),
        ("/assets/Map-a1b2c3d4.css", "@font-face{src:url(/assets/kk-f0e1d2c3.woff2)}".to_owned()),
        ("/assets/logo-q9w8e7r6.svg", "<svg/>".to_owned()),
        ("/assets/tiles-z1x2c3v4.js", "importScripts(\"/assets/proj-p0o9i8u7.js\")".to_owned()),
        ("/assets/proj-p0o9i8u7.js", String::new()),
        ("/assets/kk-f0e1d2c3.woff2", String::new()),
        ("/manifest.webmanifest", "{\"start_url\":\"/\",\"icons\":[{\"src\":\"i-192.png\"}]}".to_owned()),
        ("/i-192.png", String::new()),
        ("/", "<title>App</title>".to_owned()),
        ("/registerSW.js", "if('serviceWorker' in navigator){window.addEventListener('load',()=>{navigator.serviceWorker.register('/sw.js',{scope:'/'})})}".to_owned()),
        (
            "/sw.js",
            "if(!self.define){let e,s={};self.define=(a,b)=>{importScripts(a)}}define([\"./workbox-5ffe50d4\"],function(e){self.skipWaiting(),\
             e.precacheAndRoute([{url:\"index.html\",revision:\"0a1b\"},{url:\"lesson.html\",revision:\"2c3d\"},{url:\"data/1.json\",revision:null}],{}),\
             e.cleanupOutdatedCaches()});"
                .to_owned(),
        ),
        ("/workbox-5ffe50d4.js", "define([\"exports\"],function(t){})".to_owned()),
        ("/lesson.html", "<img src=lesson.png>".to_owned()),
        ("/lesson.png", String::new()),
        ("/data/1.json", "{}".to_owned()),
    ]);
    let wanted: BTreeSet<String> = pages.keys().map(|path| (*path).to_owned()).collect();
    let walk = App { folder: PathBuf::from("/nowhere"), pages }.walk();
    let here: BTreeSet<String> = walk.here.into_keys().collect();
    assert_eq!(here, wanted);
    assert!(walk.missing.is_empty(), "{:?}", walk.missing);
}
