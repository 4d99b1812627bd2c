//! Libraries: a ZIM file made by Debian's zim-tools from python3-doc is read under a name of its own, from a disk and from the store.

use crate::kit::http::{Connection, get_direct};
use crate::kit::line::Line;
use crate::kit::nginx::Nginx;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::{self, pack, program};
use crate::offline::quick;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `FOLDER/python_2026-11.zim` of the tutorial, with an old address and a picture that is kept as it is.
fn make(folder: &Path) -> (PathBuf, PathBuf) {
    let (html, file) = (folder.join("html"), folder.join("python_2026-11.zim"));
    let docs = kit::python_docs();
    for part in ["tutorial", "_static", "_images"] {
        fs::create_dir_all(html.join(part)).expect("a folder");
        for entry in fs::read_dir(docs.join(part)).expect(part).filter_map(Result::ok).filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), html.join(part).join(entry.file_name())).expect("copies");
        }
    }
    fs::copy(docs.join("index.html"), html.join("index.html")).expect("copies");
    fs::write(html.join("old.html"), "<html><head><meta http-equiv=\"refresh\" content=\"0;URL=tutorial/index.html\"></head></html>")
        .expect("a file");
    let mut icon = Command::new(program::need("ffmpeg"));
    icon.args("-nostdin -loglevel error -f lavfi -i testsrc2=size=48x48 -frames:v 1".split(' ')).arg(html.join("icon.png"));
    assert!(program::run(&icon, 60).status.success());
    let mut command = Command::new(program::need("zimwriterfs"));
    command
        .args("--welcome index.html --illustration icon.png --language eng --title Python --description Docs --creator PSF".split(' '))
        .args("--publisher test --withoutFTIndex".split(' '))
        .args([&html, &file]);
    let out = program::run(&command, 120);
    assert!(out.status.success(), "zimwriterfs: {}", String::from_utf8_lossy(&out.stderr));
    (html, file)
}

fn publish(setup: Setup, folder: &Path, seed: &str, scope: &str) -> Setup {
    let text = format!(
        "id = \"python\"\nversion = \"1\"\nlicence = \"PSF-2.0\"\n[title]\nkk = \"Python\"\nen = \"Python\"\n[[seed]]\nzim = \"{seed}\"\n{scope}"
    );
    pack::publish(setup, folder, "python", &text)
}

/// Every page and picture is what it was; redirects, parts and conditions work.
fn is_readable(node: &Node, html: &Path) {
    let get = |path: &str| node.get(&format!("http://python.zim{path}"));
    let begin = get("/");
    assert_eq!((begin.status, begin.field("location").as_str()), (302, "/index.html"), "{begin:?}");
    let moved = get("/old.html");
    assert_eq!((moved.status, moved.field("location").as_str()), (302, "/tutorial/index.html"), "{moved:?}");
    assert_eq!(get("/no/such/page").status, 404);
    let mut read = 0;
    for part in ["tutorial", "_static", "_images"] {
        for entry in fs::read_dir(html.join(part)).expect(part).filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let page = get(&format!("/{part}/{name}"));
            let wanted = fs::read(entry.path()).expect("a file");
            assert!(
                page.status == 200 && page.complete && page.body == wanted,
                "{part}/{name}: {} and {} bytes",
                page.status,
                page.body.len()
            );
            read += 1;
        }
    }
    assert!(read > 20, "only {read} files were compared");
    let page = get("/tutorial/index.html");
    assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
    let same = node.fetch("GET", "http://python.zim/tutorial/index.html", &[&format!("If-None-Match: {}", page.field("etag"))]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    let icon = fs::read(html.join("icon.png")).expect("a file");
    let part = node.fetch("GET", "http://python.zim/icon.png", &["Range: bytes=10-19"]);
    assert_eq!((part.status, part.body.as_slice(), part.field("content-type").as_str()), (206, &icon[10..20], "image/png"));
    // The mirror and the portal's shelf know it like any other site.
    let mirror = node.local("GET", "/api/v1/status")["mirror"][0].as_str().expect("a mirror").parse().expect("an address");
    let page = get_direct(mirror, &format!("{mirror}"), "/m/python.zim/tutorial/index.html");
    assert!(page.status == 200 && page.text().contains("The Python Tutorial"), "{page:?}");
    let home = node.web("/").text();
    assert!(home.contains("/m/python.zim/"), "{home}");
}

#[test]
fn a_library_on_a_disk_is_read_like_a_site() {
    let folder = tempfile::tempdir().expect("a folder");
    let (html, file) = make(folder.path());
    let setup = Setup::new().set("mirror.listen", "[\"127.0.0.1:0\"]");
    let node = publish(setup, folder.path(), &file.display().to_string(), "").start_in(folder);
    is_readable(&node, &html);
    // A new edition at the same place is seen, written over in place, too.
    let mut bytes = fs::read(&file).expect("a file");
    bytes[8] ^= 0xff;
    let before = node.get("http://python.zim/tutorial/index.html");
    fs::write(&file, &bytes).expect("writes");
    let after = node.get("http://python.zim/tutorial/index.html");
    assert!(after.status == 200 && after.body == before.body && after.field("etag") != before.field("etag"), "{after:?}");
    fs::write(&file, b"gone").expect("writes");
    assert_eq!(node.get("http://python.zim/tutorial/index.html").status, 502);
}

#[test]
fn a_library_is_never_asked_for_over_the_line() {
    // Whoever answers for every name, as some lines do.
    let stranger = Origin::start(|_| Reply::Bytes(ok(&["Content-Type: text/html", "Cache-Control: max-age=86400"], b"<p>buy this name")));
    let folder = tempfile::tempdir().expect("a folder");
    let (_, file) = make(folder.path());
    let setup = Setup::new()
        .host("python.zim", stranger.addr)
        .secure_host("python.zim", stranger.addr)
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]");
    let seed = "[[seed]]\nurl = \"http://python.zim/tutorial/index.html\"\n[scope]\nhosts = [\"python.zim\"]\n";
    let node = publish(setup, folder.path(), &file.display().to_string(), seed).start_in(folder);
    let page = "http://python.zim/tutorial/index.html";
    let ask = |method: &str, url: &str, fields: &[&str]| node.fetch(method, url, fields);
    assert!(ask("GET", page, &[]).is_hit() && ask("HEAD", page, &[]).is_hit());
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let told = ask(method, page, &["Content-Length: 0"]);
        assert_eq!((told.status, told.field("allow").as_str()), (405, "GET, HEAD"), "{method}: {told:?}");
        assert!(told.field("proxy-status").contains("python.zim is a library on this node") && !told.cache_status().contains("fwd="));
        assert!(told.text().contains("mirror.read_only"), "{}", told.text());
    }
    let missing = ask("GET", "http://python.zim/no", &["Accept: text/html"]);
    assert!(missing.status == 404 && missing.text().contains("mirror.unlisted") && !missing.text().contains("<form"), "{}", missing.text());
    let upgraded = ask("GET", page, &["Connection: Upgrade", "Upgrade: websocket"]);
    assert!(upgraded.status == 200 && upgraded.is_hit(), "{upgraded:?}");
    let mut tunnel = Connection::open(node.proxy);
    tunnel.send(b"CONNECT python.zim:443 HTTP/1.1\r\nHost: python.zim:443\r\n\r\n").expect("sends");
    let tunnel = tunnel.read(false);
    assert!(tunnel.status == 403 && tunnel.text().contains("proxy.library"), "{tunnel:?}");
    let why = |url: &str| node.local("GET", &format!("/api/v1/why?url={}", url.replace(':', "%3A").replace('/', "%2F")));
    for (url, lane, decision, rule) in [
        (page, "library", "serve", "library (a ZIM file) on this node"),
        ("http://python.zim/no", "library", "refuse", "no such page in this file"),
        ("https://python.zim/", "refused", "refuse", "library on this node"),
    ] {
        let told = why(url);
        let said = told["rule"].as_str().unwrap_or_default();
        assert_eq!((&told["lane"], &told["decision"], &told["why"]), (&lane.into(), &decision.into(), &"library".into()), "{told}");
        assert!(said.contains(rule), "{told}");
    }
    // Nor by the night.
    let mut told = node.local("GET", "/api/v1/packs/python");
    kit::until("the night has told of it", 90, || {
        told = node.local("GET", "/api/v1/packs/python");
        told["trouble"].as_array().is_some_and(|all| !all.is_empty())
    });
    assert!(told["trouble"].to_string().contains("python.zim is a library on this node"), "{told}");
    // Nor by a plan.
    let plan = node.command(&["pack", "plan", "python", "--json"]);
    assert!(matches!(plan.status.code(), Some(0 | 3)), "{plan:?}");
    assert_eq!(stranger.count(), 0, "{:?}", stranger.asks());
}

#[test]
fn a_library_from_the_net_is_fetched_once_and_read_with_the_line_cut() {
    let nginx = Nginx::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (html, file) = make(folder.path());
    fs::copy(&file, nginx.folder().join("python_2026-11.zim")).expect("copies");
    let line = Line::to(nginx.addr);
    let setup = quick(Setup::new()).host("assets.school.test", line.addr).set("night.windows", "[\"mon-sun 00:00-24:00\"]");
    let setup = setup.set("mirror.listen", "[\"127.0.0.1:0\"]");
    let scope = "[scope]\nhosts = [\"assets.school.test\"]\n";
    let node = publish(setup, folder.path(), "http://assets.school.test/python_2026-11.zim", scope).start_in(folder);
    kit::until("the file is here", 90, || node.local("GET", "/api/v1/packs")["packs"][0]["progress"]["state"] == "done");
    line.cut();
    is_readable(&node, &html);
    assert_eq!(nginx.requests().iter().filter(|line| line.ends_with("/python_2026-11.zim")).count(), 1);
}

#[test]
fn a_file_that_is_no_library_is_told_and_hurts_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("odd.zim");
    fs::write(&file, kit::noise(3, 5000)).expect("a file");
    let node = publish(Setup::new(), folder.path(), &file.display().to_string(), "").start_in(folder);
    let page = node.get("http://odd.zim/index.html");
    assert!(page.status == 502 && page.field("proxy-status").contains("no ZIM file"), "{page:?}");
}

/// A file of one page, of before 2021: its cluster is packed as LZMA2, and its name spaces are in its addresses.
fn older() -> Vec<u8> {
    // By `xz -9e --check=crc32`: two offsets, and forty letters.
    let cluster = [
        4, 253, 55, 122, 88, 90, 0, 0, 1, 105, 34, 222, 54, 2, 0, 33, 1, 28, 0, 0, 0, 16, 207, 88, 204, 224, 0, 47, 0, 12, 93, 0, 4, 0, 52,
        255, 4, 234, 190, 130, 155, 210, 32, 0, 0, 196, 247, 129, 110, 0, 1, 36, 48, 33, 100, 183, 247, 144, 66, 153, 13, 1, 0, 0, 0, 0, 1,
        89, 90,
    ];
    let (types, entry) = (*b"text/html\0\0", *b"\0\0\0A\0\0\0\0\0\0\0\0\0\0\0\0one.html\0One\0");
    let entries = 80 + types.len() as u64;
    let clusters = entries + 8;
    let at_entry = clusters + 8;
    let at_cluster = at_entry + entry.len() as u64;
    let end = at_cluster + cluster.len() as u64;
    let mut file = Vec::new();
    file.extend(0x044d_495a_u32.to_le_bytes());
    file.extend([5, 0, 0, 0]);
    file.extend([7; 16]);
    for count in [1_u32, 1] {
        file.extend(count.to_le_bytes());
    }
    for place in [entries, entries, clusters, 80] {
        file.extend(place.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    file.extend(u32::MAX.to_le_bytes());
    file.extend(end.to_le_bytes());
    file.extend(types);
    file.extend(at_entry.to_le_bytes());
    file.extend(at_cluster.to_le_bytes());
    file.extend(entry);
    file.extend(cluster);
    file
}

#[test]
fn a_library_of_older_packing_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("older_2015-06.zim");
    fs::write(&file, older()).expect("a file");
    let node = publish(Setup::new(), folder.path(), &file.display().to_string(), "").start_in(folder);
    let begin = node.get("http://older.zim/");
    assert_eq!((begin.status, begin.field("location").as_str()), (302, "/A/one.html"), "{begin:?}");
    let page = node.get("http://older.zim/A/one.html");
    assert_eq!((page.status, page.text()), (200, "a".repeat(40)), "{page:?}");
    let missing = node.get("http://older.zim/A/two.html");
    assert_eq!(missing.status, 404, "{missing:?}");
}
