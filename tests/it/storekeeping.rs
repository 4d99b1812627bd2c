//! The store by its commands: what is in it, what is forgotten for good, what is carried to another school, and what they say when
//! something is wrong.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::{Node, Setup, binary};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok, promise};
use crate::kit::program::{self, said};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Bytes of each file of [`library`].
const LENGTH: usize = 20_000;

fn library() -> Origin {
    Origin::start(|ask| {
        let seed = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &kit::noise(seed, LENGTH)))
    })
}

fn url(number: u64) -> String {
    format!("http://l.school.test/{number}")
}

/// A node with so many files, asked for by a device.
fn filled(origin: &Origin, files: u64) -> Node {
    let node = Setup::new().host("l.school.test", origin.addr).start();
    for number in 1..=files {
        assert!(node.get(&url(number)).complete);
    }
    node
}

/// Runs a command with `--json` and gives its document.
fn told(node: &Node, words: &[&str], exit: i32) -> serde_json::Value {
    let output = node.command(&[words, &["--json", "--yes"]].concat());
    assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {}", said(&output)))
}

/// As under a unit with `PrivateTmp=`: what the node writes below /tmp nobody else finds.
#[test]
fn an_export_that_only_the_node_sees_is_not_called_done() {
    let apart = tempfile::tempdir().expect("a folder");
    let place = apart.path().display().to_string();
    let script = "mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
    let origin = Origin::start(|_: &Ask| Reply::Bytes(ok(&["Cache-Control: max-age=60"], b"a lesson")));
    let setup = Setup::new().under(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script, &place]);
    let node = setup.host("a.school.test", origin.addr).start();
    assert!(node.twice("http://a.school.test/1").is_hit());
    let to = apart.path().join("lessons").display().to_string();
    let trial = told(&node, &["store", "export", "--to", &to, "--all", "--dry-run"], 0);
    assert_eq!(trial["answers"], 1, "{trial}");
    let told = told(&node, &["store", "export", "--to", &to, "--all"], 1);
    assert_eq!(told["id"], "bundle.elsewhere", "{told}");
}

/// A bundle of everything that a node holds.
fn carried(node: &Node, folder: &Path) -> String {
    let to = folder.join("bundle").display().to_string();
    told(node, &["store", "export", "--to", &to, "--all"], 0);
    to
}

#[test]
fn figures_come_from_the_node_and_from_the_files_of_a_stopped_one() {
    let origin = library();
    let mut node = filled(&origin, 5);
    let running = told(&node, &["store", "stat", "--by", "host"], 0);
    assert_eq!((&running["through"], &running["rows"][0]["name"]), (&"node".into(), &"l.school.test".into()));
    assert_eq!((&running["objects"], &running["raw_bytes"]), (&5.into(), &(5 * LENGTH).into()));
    assert_eq!(told(&node, &["store", "stat"], 0)["objects"], 5);
    assert!(node.terminate().success());
    let seg = node.folder.path().join("store/seg");
    let files = |folder: &Path| fs::read_dir(folder).expect("a folder").filter_map(Result::ok).map(|file| file.path()).collect::<Vec<_>>();
    let before = files(&seg);
    for by in ["host", "type", "pack", "codec", "segment"] {
        let stopped = told(&node, &["store", "stat", "--by", by], 0);
        assert_eq!((&stopped["through"], &stopped["objects"], &stopped["by"]), (&"files".into(), &5.into(), &by.into()));
    }
    assert_eq!(told(&node, &["store", "stat"], 0)["through"], "files");
    assert_eq!(files(&seg), before, "nothing was changed");
}

/// A site: pages that are much alike, and a script in two versions.
fn site(path: &str) -> (&'static str, String) {
    let lines = |count: u64, line: &dyn Fn(u64) -> String| (0..count).map(line).collect::<Vec<_>>().concat();
    if let Some(version) = path.strip_suffix("/app.js").and_then(|path| path.strip_prefix("/lib@1.")) {
        let code = lines(2000, &|n| format!("function f{n}(a) {{ return a * {} + {n}; }}\n", n * 104_729 % 9973));
        return ("Content-Type: text/javascript", format!("/* version {version} */\n{code}"));
    }
    let seed: u64 = path.trim_start_matches("/page/").parse().unwrap_or(0);
    let common = lines(60, &|n| format!("<li class=\"entry\"><a href=\"/lesson/{n}\">Lesson {}</a></li>\n", n * 7919 % 1000));
    let own = lines(40, &|n| format!("{} ", (seed + 1) * 7907 * (n + 1) % 99_991));
    ("Content-Type: text/html", format!("<html><body><ul>{common}</ul><p>{own}</p></body></html>"))
}

#[test]
fn a_repack_makes_the_store_smaller_and_every_body_stays_what_it_was() {
    let origin = Origin::start(|ask| {
        let (kind, body) = site(&ask.target);
        Reply::Bytes(ok(&[kind, "Cache-Control: public, max-age=3600"], body.as_bytes()))
    });
    let mut node = Setup::new().host("s.school.test", origin.addr).start();
    let paths: Vec<String> = (0..150).map(|n| format!("/page/{n}")).chain(["/lib@1.1/app.js".into(), "/lib@1.2/app.js".into()]).collect();
    let all_read = |node: &Node, hits: bool| {
        for path in &paths {
            let answer = node.get(&format!("http://s.school.test{path}"));
            assert!(answer.text() == site(path).1, "{path}");
            assert!(answer.is_hit() == hits, "{path}: {}", answer.cache_status());
        }
    };
    all_read(&node, false);
    let trial = told(&node, &["store", "repack", "--dry-run"], 0);
    assert_eq!((&trial["shrunk"]["tried"], &trial["before_bytes"]), (&0.into(), &trial["after_bytes"]), "{trial}");
    let done = told(&node, &["store", "repack"], 0);
    assert_eq!(done["through"], "node", "{done}");
    assert!(done["after_bytes"].as_u64() < done["before_bytes"].as_u64(), "{done}");
    for codec in ["zstd_dict", "zstd_delta"] {
        assert!(done["codecs_before"][codec][0] == 0 && done["codecs_after"][codec][0].as_u64() > Some(0), "{codec}: {done}");
    }
    all_read(&node, true);
    let stat = told(&node, &["store", "stat", "--by", "codec"], 0);
    assert!(stat["spared"]["dict_bytes"].as_u64() > Some(0) && stat["spared"]["delta_bytes"].as_u64() > Some(0), "{stat}");
    assert!(node.terminate().success());
    let again = told(&node, &["store", "repack"], 0);
    assert_eq!((&again["through"], &again["shrunk"]["tried"]), (&"files".into(), &0.into()), "{again}");
    told(&node, &["store", "check", "--deep"], 0);
    node.restart();
    all_read(&node, true);
    assert_eq!(told(&node, &["store", "stat"], 0)["damaged"], 0);
}

#[test]
fn a_purge_is_not_undone_by_a_fetch_that_was_under_way() {
    let (tell, told_it) = std::sync::mpsc::channel::<()>();
    let told_it = std::sync::Mutex::new(Some(told_it));
    let origin = Origin::start(move |_| {
        let fields = ["Cache-Control: public, max-age=3600"];
        // The first one is slow, all others are done at once.
        match told_it.lock().expect("one thread").take() {
            Some(told_it) => Reply::Act(Box::new(move |stream| {
                stream.write_all(&promise(&fields, 10)).expect("sends");
                stream.write_all(b"first").expect("sends");
                told_it.recv().expect("the test goes on");
                stream.write_all(b" last").expect("sends");
            })),
            None => Reply::Bytes(ok(&fields, b"as it is now")),
        }
    });
    let mut node = Setup::new().host("a.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", "http://a.school.test/page", &[])).expect("sends");
    std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
    let unasked = node.command(&["store", "purge", "--host", "school.test", "--subdomains"]);
    assert_eq!(unasked.status.code(), Some(2), "nobody can be asked here");
    let purged = told(&node, &["store", "purge", "--host", "school.test", "--subdomains"], 0);
    assert_eq!(purged["purged_entries"], 0, "nothing is stored yet: {purged}");
    tell.send(()).expect("the origin listens");
    assert_eq!(connection.read(false).text(), "first last", "who asked before has the answer");
    let again = node.get("http://a.school.test/page");
    assert!(!again.is_hit() && again.text() == "as it is now", "{} {}", again.cache_status(), again.text());
    // What is asked for afterwards is kept, until it is purged as well: then for good.
    assert!(node.get("http://a.school.test/page").is_hit());
    assert_eq!(told(&node, &["store", "purge", "--url", "http://a.school.test/page"], 0)["purged_entries"], 1);
    node.kill();
    node.restart();
    let count = origin.count();
    assert!(!node.get("http://a.school.test/page").is_hit());
    assert_eq!(origin.count(), count + 1, "it is asked for anew, though the node was killed right after the purge");
}

#[test]
fn a_pack_is_carried_to_a_school_without_a_line() {
    let origin = Origin::start(|ask| {
        Reply::Bytes(match ask.target.as_str() {
            "/robots.txt" => answer("404 Not Found", &[], b""),
            "/list.txt" => {
                let list = (1..=10).map(|page| format!("http://p.school.test/{page}.txt\n")).collect::<Vec<_>>().concat();
                ok(&["Content-Type: text/plain", "Cache-Control: max-age=3600"], list.as_bytes())
            }
            page => ok(&["Content-Type: text/plain", "Cache-Control: max-age=3600"], format!("page {page} ").repeat(200).as_bytes()),
        })
    });
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::new().host("p.school.test", origin.addr).set("night.windows", "[\"mon-sun 00:00-24:00\"]");
    let text = kit::pack::text("pages", "http://p.school.test/list.txt", &["p.school.test"]);
    let node = kit::pack::publish(setup, folder.path(), "pages", &text).start_in(folder);
    kit::until("the pack is here", 60, || node.local("GET", "/api/v1/packs/pages")["progress"]["state"] == "done");
    // What a device asked for stays where it is.
    node.get("http://p.school.test/what-was-read");
    let stick = tempfile::tempdir().expect("a folder");
    let to = stick.path().join("pages").display().to_string();
    let key = stick.path().join("key").display().to_string();
    told(&node, &["pack", "keygen", &key], 0);
    let trial = told(&node, &["store", "export", "--to", &to, "--pack", "pages", "--dry-run"], 0);
    assert!(trial["answers"].as_u64().is_some_and(|answers| answers >= 10) && !Path::new(&to).exists(), "{trial}");
    let out = told(&node, &["store", "export", "--to", &to, "--pack", "pages", "--sign", &format!("{key}.key")], 0);
    assert!(out["pins"].as_u64().is_some_and(|pins| pins >= 10) && out["browsed"] == 0, "{out}");
    let names = fs::read_dir(&to).expect("a folder").map(|file| fs::read(file.expect("a file").path()).expect("a file"));
    assert!(names.into_iter().all(|bytes| !bytes.windows(13).any(|part| part == b"what-was-read")));
    drop(node);
    drop(origin);

    let far = Setup::new().start();
    let stranger = told(&far, &["store", "import", &to, "--trust", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"], 1);
    assert_eq!(stranger["id"], "bundle.signature", "{stranger}");
    let trust = format!("{key}.pub");
    let taken = told(&far, &["store", "import", &to, "--trust", &trust], 0);
    assert_eq!((&taken["answers"], &taken["pins"]), (&out["answers"], &out["pins"]));
    for page in 1..=10 {
        let answer = far.get(&format!("http://p.school.test/{page}.txt"));
        assert!(answer.is_hit() && answer.text() == format!("page /{page}.txt ").repeat(200), "{page}: {}", answer.cache_status());
    }
    assert_eq!(told(&far, &["store", "import", &to, "--trust", &trust], 0)["answers"], 0, "once is enough");
    let rows = told(&far, &["store", "stat", "--by", "pack"], 0);
    assert_eq!(rows["rows"][0]["name"], "pages", "{rows}");
    let purged = told(&far, &["store", "purge", "--pack", "pages"], 0);
    assert_eq!((&purged["purged_entries"], &purged["unpinned_urls"]), (&out["answers"], &out["pins"]));
    assert_eq!(told(&far, &["store", "stat"], 0)["entries"], 0);
}

#[test]
fn a_bundle_with_one_flipped_byte_is_refused_and_named() {
    let origin = library();
    let stick = tempfile::tempdir().expect("a folder");
    let from = carried(&filled(&origin, 4), stick.path());
    let segment = Path::new(&from).join("00000001.seg");
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, &bytes).expect("a file");
    let mut node = Setup::new().start();
    let refused = told(&node, &["store", "import", &from], 1);
    let title = refused["title"].as_str().unwrap_or_default();
    assert!(refused["id"] == "bundle.damaged" && title.contains("00000001.seg") && title.contains("nothing was taken in"), "{refused}");
    assert_eq!(refused["remedy"], "copy the bundle again, or export it anew");
    assert_eq!(told(&node, &["store", "stat"], 0)["entries"], 0);
    // The same of a stopped node; mended, it comes in there, too.
    assert!(node.terminate().success());
    assert_eq!(told(&node, &["store", "import", &from], 1)["id"], "bundle.damaged");
    bytes[middle] ^= 1;
    fs::write(&segment, &bytes).expect("a file");
    assert_eq!(told(&node, &["store", "import", &from], 0)["answers"], 4);
    node.restart();
    let answer = node.get(&url(3));
    assert!(answer.is_hit() && answer.body == kit::noise(3, LENGTH), "{}", answer.cache_status());
    for (folder, id) in [(stick.path(), "bundle.none"), (&stick.path().join("nowhere"), "bundle.none")] {
        assert_eq!(told(&node, &["store", "import", &folder.display().to_string()], 1)["id"], id);
    }
    assert_eq!(told(&node, &["store", "export", "--to", &from, "--all"], 1)["id"], "bundle.not_empty");
}

#[test]
fn an_import_cut_short_by_kill_9_goes_on_when_it_is_run_again() {
    const FILES: u64 = 600;
    let origin = library();
    let stick = tempfile::tempdir().expect("a folder");
    let from = carried(&filled(&origin, FILES), stick.path());
    let mut node = Setup::new().start();
    let file = node.folder.path().join("school.toml");
    let mut import = Command::new(binary());
    import.args(["store", "import", &from, "--config"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let import = import.spawn().expect("starts");
    let socket = node.folder.path().join("state/bulak.sock");
    kit::until("some of it is taken in", 60, || {
        let jobs = crate::kit::http::local(&socket, "GET", "/api/v1/jobs");
        let jobs: serde_json::Value = serde_json::from_slice(&jobs.body).unwrap_or_default();
        let job = &jobs["jobs"][0];
        job["phase"] == "taking in" && job["done"].as_u64().is_some_and(|done| done > 1_000_000)
    });
    node.kill();
    let output = import.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("run the same command again and it goes on"), "{}", said(&output));
    node.restart();
    let rest = told(&node, &["store", "import", &from], 0);
    let number = |key: &str| rest[key].as_u64().expect("a number");
    assert_eq!(number("answers") + number("here"), FILES, "{rest}");
    for number in (1..=FILES).step_by(7) {
        let answer = node.get(&url(number));
        assert!(answer.is_hit() && answer.body == kit::noise(number, LENGTH), "{number}: {}", answer.cache_status());
    }
    node.terminate();
    let check = told(&node, &["store", "check", "--deep"], 0);
    assert_eq!(check["lost"].as_array().map(Vec::len), Some(0), "{check}");
}

/// Runs a command without a node.
fn alone(words: &[&str]) -> Output {
    program::run(Command::new(binary()).args(words), 60)
}

#[test]
fn what_is_no_store_of_ours_is_told_and_left_as_it_is() {
    let origin = library();
    let mut node = filled(&origin, 3);
    let store = node.folder.path().join("store");
    let here = store.display().to_string();
    // In use by another process.
    let output = alone(&["store", "check", &here]);
    assert!(output.status.code() == Some(1) && said(&output).contains("is open in another process; stop it"), "{}", said(&output));
    assert!(node.terminate().success());

    // No store.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("letter.txt"), "Dear all").expect("a file");
    let output = alone(&["store", "check", &folder.path().display().to_string()]);
    assert!(output.status.code() == Some(1) && said(&output).contains("is no store; give the folder of store.path"), "{}", said(&output));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing was put there");

    // Of a newer program.
    let format = store.join("FORMAT");
    let good = fs::read_to_string(&format).expect("FORMAT");
    let newer = good.replace("version 1", "version 9");
    fs::write(&format, &newer).expect("a file");
    for words in [vec!["store", "check"], vec!["store", "stat"], vec!["store", "stat", "--by", "host"]] {
        let output = node.command(&words);
        assert!(output.status.code() == Some(1) && said(&output).contains("has format 9"), "{words:?}: {}", said(&output));
        assert!(said(&output).contains("use the newer program"), "{words:?}: {}", said(&output));
    }
    assert_eq!(fs::read_to_string(&format).expect("FORMAT"), newer, "nothing was overwritten");
    fs::write(&format, &good).expect("a file");

    // A stranger among the segments.
    let mut other = filled(&origin, 2);
    assert!(other.terminate().success());
    let stranger = store.join("seg/00000099.seg");
    fs::copy(other.folder.path().join("store/seg/00000001.seg"), &stranger).expect("a copy");
    let bytes = fs::read(&stranger).expect("a segment");
    let check = told(&node, &["store", "check", "--deep", "--repair"], 3);
    let line = check["foreign"][0].as_str().unwrap_or_default();
    assert!(line.contains("00000099.seg belongs to another store; move it out"), "{check}");
    node.restart();
    for number in 1..=3 {
        let answer = node.get(&url(number));
        assert!(answer.is_hit() && answer.body == kit::noise(number, LENGTH), "{number}: {}", answer.cache_status());
    }
    assert_eq!(fs::read(&stranger).expect("a segment"), bytes, "untouched");

    // A copy that cannot be written.
    assert!(node.terminate().success());
    fs::remove_file(&stranger).expect("removed");
    let output = alone(&["store", "check", &here, "--deep"]);
    assert!(output.status.code() == Some(0) && said(&output).contains("no errors found"), "{}", said(&output));
}
