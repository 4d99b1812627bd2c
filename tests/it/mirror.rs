//! Packs' content under the school's own names, by name and by path: what leads to it, what never does, and a real browser that
//! reads real sites without asking the original for anything.

use crate::kit::browser::{Browser, Visit, Wish};
use crate::kit::http::{Answer, Connection, exchange, get_direct};
use crate::kit::line::Line;
use crate::kit::nginx::Nginx;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::secure::{PROOF, Secure, full};
use crate::kit::tls::{Fault, Key, Tls};
use crate::kit::{self, pack};
use crate::offline::{cut, quick};
use std::net::SocketAddr;

/// The zone that the node of a test has by its name.
const ZONE: &str = "m.school-test.internal";

/// A pack of hosts, fetched by this scheme.
fn hosts_of(scheme: &str, hosts: &[&str], more: &str) -> String {
    let list: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    let start = hosts[0].trim_start_matches("*.");
    format!(
        "id = \"mirrored\"\nversion = \"1\"\nlicence = \"a test's own\"\n[title]\nen = \"Mirrored\"\n[[seed]]\nurl = \"{scheme}://{start}/\"\n\
         [scope]\nhosts = [{}]\n{more}",
        list.join(", ")
    )
}

/// A node with a mirror of these hosts.
fn node(setup: Setup, pack_text: &str) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = setup.set("mirror.listen", "[\"127.0.0.1:0\"]").set("night.windows", "[]");
    let setup = pack::publish(setup, folder.path(), "mirrored", pack_text);
    setup.start_in(folder)
}

/// Where its mirror listens.
fn mirror(node: &Node) -> SocketAddr {
    let status = node.local("GET", "/api/v1/status");
    status["mirror"][0].as_str().unwrap_or_else(|| panic!("no mirror in {status}")).parse().expect("an address")
}

fn name(label: &str) -> String {
    format!("{label}.{ZONE}")
}

/// `GET` by name, with these fields.
fn by_name(node: &Node, label: &str, path: &str, fields: &[&str]) -> Answer {
    ask(node, "GET", &name(label), path, fields)
}

/// `GET` by path.
fn by_path(node: &Node, path: &str, fields: &[&str]) -> Answer {
    let at = mirror(node).to_string();
    ask(node, "GET", &at, path, fields)
}

fn ask(node: &Node, method: &str, host: &str, path: &str, fields: &[&str]) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    let mut connection = Connection::open(mirror(node));
    connection.send(format!("{text}\r\n").as_bytes()).expect("sends");
    connection.read(method == "HEAD")
}

/// A site with one of everything that matters to fields.
fn site(ask: &Ask) -> Reply {
    let page =
        "<!DOCTYPE html><html><head><title>x</title></head><body><a href=\"http://a.school.test/next\">n</a><img src=/i.png></body></html>";
    Reply::Bytes(match ask.target.as_str() {
        "/" => ok(
            &[
                "Content-Type: text/html; charset=utf-8",
                "ETag: \"one\"",
                "Cache-Control: max-age=60",
                "Service-Worker-Allowed: /",
                "Strict-Transport-Security: max-age=9",
                "Content-Security-Policy: default-src 'self' http://b.school.test; upgrade-insecure-requests; report-uri /r",
                "Link: </i.png>; rel=preload; as=image",
            ],
            page.as_bytes(),
        ),
        "/cookie" => ok(
            &["Content-Type: text/html", "Set-Cookie: who=me", "WWW-Authenticate: Basic realm=x", "Clear-Site-Data: \"*\""],
            b"<html><body>",
        ),
        "/style.css" => ok(
            &["Content-Type: text/css", "Cache-Control: max-age=60", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"],
            b"a{b:url(/i.png);c:url(http://b.school.test/x.png)}",
        ),
        "/i.png" => ok(&["Content-Type: image/png", "ETag: \"i\"", "Cache-Control: max-age=60"], b"0123456789"),
        "/moved" => answer("302 Found", &["Location: http://b.school.test/there?x=1", "Cache-Control: max-age=60"], b""),
        "/cors" => ok(&["Content-Type: text/plain", "Access-Control-Allow-Origin: http://b.school.test"], b"for b"),
        _ => answer("404 Not Found", &["Content-Type: text/html"], b"<html><body><a href=http://a.school.test/>home</a>"),
    })
}

fn small() -> (Origin, Node) {
    let origin = Origin::start(site);
    let setup = Setup::new().host("a.school.test", origin.addr).host("b.school.test", origin.addr);
    let node = node(setup, &hosts_of("http", &["a.school.test", "b.school.test"], ""));
    (origin, node)
}

#[test]
fn pages_and_fields_lead_here_in_both_forms() {
    let (origin, node) = small();
    let port = mirror(&node).port();
    let page = by_name(&node, "a-school-test", "/", &["Cookie: who=pupil", "Authorization: Basic eA==", "Accept-Encoding: gzip"]);
    assert_eq!((page.status, page.complete), (200, true), "{page:?}");
    assert!(page.text().contains(&format!("<a href=\"http://a-school-test.{ZONE}:{port}/next\">")), "{}", page.text());
    assert!(page.text().contains("<img src=/i.png>") && page.text().contains("<script>(function"));
    for gone in ["service-worker-allowed", "strict-transport-security", "content-length"] {
        assert!(!page.has(gone), "{gone}: {}", page.field(gone));
    }
    let policy = page.field("content-security-policy");
    assert!(policy.contains(&format!("http://b-school-test.{ZONE}:{port}")) && policy.contains("script-src 'self'"), "{policy}");
    assert!(policy.contains("'sha256-") && !policy.contains("report-uri") && !policy.contains("upgrade"), "{policy}");
    let asked = &origin.asks()[0];
    for field in ["cookie", "authorization"] {
        assert_eq!(asked.field(field), None, "a stranger asks");
    }
    assert_eq!(asked.field("host"), Some("a.school.test"));
    let personal = by_name(&node, "a-school-test", "/cookie", &[]);
    assert_eq!(personal.status, 200);
    assert!(["set-cookie", "www-authenticate", "clear-site-data"].iter().all(|name| !personal.has(name)), "{personal:?}");

    let page = by_path(&node, "/m/a.school.test/", &[]);
    assert!(page.text().contains("<a href=\"/m/a.school.test/next\">") && page.text().contains("<img src=\"/m/a.school.test/i.png\">"));
    assert_eq!(page.field("link"), "</m/a.school.test/i.png>; rel=preload; as=image");
    assert!(page.is_hit() && origin.count() == 2, "one copy for both forms: {}", page.cache_status());
    assert_eq!(by_path(&node, "/m/a.school.test/moved", &[]).field("location"), "/m/b.school.test/there?x=1");
    let moved = by_name(&node, "a-school-test", "/moved", &[]).field("location");
    assert_eq!(moved, format!("http://b-school-test.{ZONE}:{port}/there?x=1"));
    let style = by_path(&node, "/m/a.school.test/style.css", &[]);
    assert_eq!(style.text(), "a{b:url(\"/m/a.school.test/i.png\");c:url(\"/m/b.school.test/x.png\")}");
    let lost = by_path(&node, "/m/a.school.test/none", &[]);
    assert!(lost.status == 404 && lost.text().contains("/m/a.school.test/\">home"), "{}", lost.text());
    assert!(node.metric("bulak_requests_total", "way=\"mirror\"").is_some_and(|count| count >= 6.0));
    assert!(node.metric("bulak_client_bytes_total", "way=\"mirror\"").is_some_and(|bytes| bytes > 0.0));
    let why = String::from_utf8(node.command(&["why", "http://a.school.test/x"]).stdout).expect("UTF-8");
    assert!(why.contains(&format!("mirror    http://a-school-test.{ZONE}:{port}/x")), "{why}");
    let mirrored = |place: &str| node.local("GET", &format!("/api/v1/why?url=http%3A%2F%2F{place}"));
    for place in [format!("a-school-test.{ZONE}:{port}/next"), format!("127.0.0.1:{port}/m/a.school.test/next")] {
        let told = mirrored(&place);
        assert_eq!((&told["lane"], &told["original"]), (&"mirror".into(), &"http://a.school.test/next".into()), "{told}");
    }
    let told = mirrored(&format!("other-kz.{ZONE}:{port}/"));
    assert_eq!((&told["lane"], &told["why"]), (&"mirror".into(), &"unmirrored".into()), "{told}");
    let home = node.web("/").text();
    assert!(home.contains(&format!("http://127.0.0.1:{port}/m/a.school.test/")), "the shelf leads there: {home}");
}

#[test]
fn validators_ranges_and_heads_fit_what_was_sent() {
    let (origin, node) = small();
    let page = by_name(&node, "a-school-test", "/", &[]);
    let tag = page.field("etag");
    assert!(tag.starts_with("W/\"one.bm-"), "{tag}");
    let path_tag = by_path(&node, "/m/a.school.test/", &[]).field("etag");
    assert_ne!(tag, path_tag, "other bytes");
    let condition = |tag: &str| format!("If-None-Match: {tag}");
    let same = by_name(&node, "a-school-test", "/", &[&condition(&tag)]);
    assert_eq!((same.status, same.field("etag")), (304, tag.clone()));
    assert_eq!(by_name(&node, "a-school-test", "/", &[&condition(&path_tag)]).status, 200, "a copy of another form");
    let head = ask(&node, "HEAD", &name("a-school-test"), "/", &[]);
    assert_eq!((head.status, head.field("etag"), head.has("content-length")), (200, tag, false));
    let style = by_name(&node, "a-school-test", "/style.css", &[]);
    let again = by_name(&node, "a-school-test", "/style.css", &[&condition(&style.field("etag"))]);
    assert_eq!((again.status, style.field("etag")), (304, again.field("etag")), "a date alone becomes a tag");
    // What is not changed keeps its tag, its length and its ranges.
    let picture = by_name(&node, "a-school-test", "/i.png", &[]);
    assert_eq!((picture.field("etag"), picture.field("content-length")), ("\"i\"".into(), "10".into()));
    let part = by_name(&node, "a-school-test", "/i.png", &["Range: bytes=2-4"]);
    assert_eq!((part.status, part.body.as_slice()), (206, &b"234"[..]));
    for fields in [&["Range: bytes=2-4"][..], &["Range: bytes=0-1, 4-5"]] {
        let whole = by_name(&node, "a-school-test", "/", fields);
        assert_eq!((whole.status, whole.body.len()), (200, page.body.len()), "no part of what is changed");
    }
    assert_eq!(origin.count(), 3, "{:?}", origin.asks());
}

#[test]
fn other_hosts_may_read_where_the_origin_lets_them() {
    let (origin, node) = small();
    let port = mirror(&node).port();
    let from = format!("http://b-school-test.{ZONE}:{port}");
    let answer = by_name(&node, "a-school-test", "/cors", &[&format!("Origin: {from}"), &format!("Referer: {from}/page?x")]);
    assert_eq!(answer.field("access-control-allow-origin"), from);
    let asked = &origin.asks()[0];
    assert_eq!((asked.field("origin"), asked.field("referer")), (Some("http://b.school.test"), Some("http://b.school.test/page?x")));
    let preflight = |origin: &str| {
        let fields =
            [format!("Origin: {origin}"), "Access-Control-Request-Method: GET".into(), "Access-Control-Request-Headers: x-a".into()];
        ask(&node, "OPTIONS", &name("a-school-test"), "/cors", &fields.each_ref().map(String::as_str))
    };
    let allowed = preflight(&from);
    assert_eq!((allowed.status, allowed.field("access-control-allow-origin")), (204, from));
    assert_eq!(allowed.field("access-control-allow-headers"), "x-a");
    assert!(!preflight("http://evil.example").has("access-control-allow-origin"));
    assert_eq!(origin.count(), 1, "a preflight is answered here");
    for method in ["POST", "PUT", "DELETE", "PURGE"] {
        let refused = ask(&node, method, &name("a-school-test"), "/", &["Content-Length: 0"]);
        assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD, OPTIONS".into()), "{method}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_no_pack_names_is_not_there() {
    let origin = Origin::start(|_| Reply::Bytes(ok(&["Content-Type: text/plain", "Cache-Control: max-age=60"], b"somebody's")));
    let class = "[[class]]\nhost = \"*.kundelik.kz\"\npath = \"/v/**\"\naccounts = true\n";
    let text = hosts_of("http", &["a.school.test", "*.kundelik.kz", "inner.school.test"], class);
    let setup = ["a.school.test", "login.kundelik.kz", "s.kundelik.kz", "other.school.test"]
        .iter()
        .fold(Setup::new(), |setup, host| setup.host(host, origin.addr));
    // A name that a pack may hold, and that leads to a private address.
    let setup = setup.host("inner.school.test", "10.255.255.1:80".parse().expect("an address"));
    let node = node(setup, &text);
    let at = mirror(&node);
    let long = format!("/m/{}/", "a.".repeat(2000));
    let table: &[(&str, u16)] = &[
        ("/m/127.0.0.1/", 404),
        ("/m/[::1]/", 404),
        ("/m/localhost/", 404),
        ("/m/login.kundelik.kz/", 404),
        ("/m/http:login.kundelik.kz/", 404),
        ("/m/s.kundelik.kz/avatars/1.png", 404),
        ("/m/other.school.test/", 404),
        ("/m/a.school.test%2f..%2fother.school.test/", 404),
        ("/m/a.school.test%00.evil/", 404),
        ("/m/evil/../..", 400),
        ("/m/a.school.test/../other.school.test/", 400),
        ("/m/a.school.test/%2e%2E/", 400),
        ("/m/a.school.test@other.school.test/", 404),
        ("/m/a.school.test:80:80/", 404),
        ("/m/", 404),
        ("/m", 404),
        ("//a.school.test/", 404),
        (&long, 404),
        ("/admin", 404),
        ("/proxy.pac", 404),
        ("/metrics", 404),
        ("/api/v1/status", 404),
    ];
    for (path, status) in table {
        let answer = by_path(&node, path, &[]);
        assert_eq!(answer.status, *status, "{path}: {}", answer.text());
        assert!(!answer.text().contains("somebody's") && !answer.text().contains("bulak_"), "{path}");
    }
    for host in ["other-school-test", "login-kundelik-kz", "127-0-0-1", "x.a-school-test", "a-school-test-", "-"] {
        assert_eq!(get_direct(at, &name(host), "/").status, 404, "{host}");
    }
    for host in
        ["evil.example", "a.school.test", "10.0.0.9", "a-school-test.m.school-test.internal.evil.example", "m.school-test.internalx"]
    {
        assert_eq!(get_direct(at, host, "/m/a.school.test/").status, 421, "{host}");
    }
    let twice = b"GET /m/a.school.test/ HTTP/1.1\r\nHost: m.school-test.internal\r\nHost: evil.example\r\n\r\n";
    assert_eq!(exchange(at, twice).status, 400);
    let absolute = b"GET http://a.school.test/ HTTP/1.1\r\nHost: m.school-test.internal\r\n\r\n";
    assert_eq!(exchange(at, absolute).status, 421, "no proxy");
    assert_eq!(exchange(at, b"CONNECT a.school.test:443 HTTP/1.1\r\nHost: a.school.test:443\r\n\r\n").status, 405);
    assert_eq!(origin.count(), 0, "{:?}", origin.asks());
    let inner = by_path(&node, "/m/inner.school.test/", &[]);
    assert_eq!((inner.status, inner.field("proxy-status").contains("destination_ip_prohibited")), (403, true), "{inner:?}");
    assert_eq!(by_path(&node, "/m/a.school.test/", &[]).text(), "somebody's", "what is named is there");
    assert_eq!(by_path(&node, "/m/s.kundelik.kz/v/1.js", &[]).status, 200, "a path class");
}

#[test]
fn mirror_and_portal_share_no_origin() {
    let (_origin, node) = small();
    let at = mirror(&node);
    assert_ne!(at.port(), node.web.port());
    for host in [name("a-school-test"), ZONE.to_owned(), format!("path.{ZONE}")] {
        for (to, what) in [(node.web, "the web port"), (node.proxy, "the proxy")] {
            let answer = get_direct(to, &host, "/");
            assert_eq!(answer.status, 421, "{what} answers {host}: {}", answer.text());
        }
    }
    let start = by_path(&node, "/", &[]);
    assert_eq!((start.status, start.field("location")), (302, format!("http://{}/", node.web)));
    // A service worker may rule over its own host's pages alone.
    assert_eq!(by_path(&node, "/m/a.school.test/i.png", &["Service-Worker: script"]).status, 200);
    let referer = format!("Referer: http://{at}/m/a.school.test/");
    assert_eq!(by_path(&node, "/sw.js", &["Service-Worker: script", &referer]).status, 403);
    // Who asks the wrong root for something is sent to the right one.
    let astray = by_path(&node, "/i.png?x", &[&referer]);
    assert_eq!((astray.status, astray.field("location")), (307, "/m/a.school.test/i.png?x".into()));
    assert_eq!(by_path(&node, "/m/a.school.test", &[]).field("location"), "/m/a.school.test/");
}

#[test]
fn what_is_stored_is_read_while_the_line_is_down() {
    let origin = Origin::start(|ask| match ask.target.as_str() {
        "/unknown" => Reply::Close(Vec::new()),
        _ => Reply::Bytes(ok(&["Content-Type: text/html", "Cache-Control: no-cache", "ETag: \"a\""], b"<html><body><a href=/b>b</a>")),
    });
    let line = Line::to(origin.addr);
    let setup = quick(Setup::new()).host("s.school.test", line.addr);
    let node = node(setup, &hosts_of("http", &["s.school.test"], ""));
    let page = by_path(&node, "/m/s.school.test/", &[]);
    cut(&node, &line);
    let asked = origin.count();
    for (answer, link) in
        [(by_path(&node, "/m/s.school.test/", &[]), "/m/s.school.test/b"), (by_name(&node, "s-school-test", "/", &[]), "/b")]
    {
        assert!(answer.status == 200 && answer.cache_status().contains("detail=offline"), "{} {}", answer.status, answer.cache_status());
        assert!(answer.text().contains(link), "{}", answer.text());
    }
    assert_eq!(by_path(&node, "/m/s.school.test/", &[]).body, page.body);
    let missing = by_path(&node, "/m/s.school.test/never", &[]);
    assert!(missing.status == 504 && missing.text().contains("line.offline"), "{} {}", missing.status, missing.text());
    assert!(!missing.text().contains("<script"), "a page of ours is as it is everywhere");
    assert_eq!(origin.count(), asked);
}

#[test]
fn a_certificate_and_a_port_that_cannot_be_used_end_nothing() {
    let mut tls = Tls::new("Root of the school's provider");
    let pair = tls.server("mirror", &[&format!("*.{ZONE}")], Key::Ec, Fault::None);
    let origin = Origin::start(site);
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, "nothing").expect("writes");
    std::fs::copy(&pair.key, &key).expect("copies");
    let setup = Setup::new()
        .host("a.school.test", origin.addr)
        .set("mirror.certificate", &format!("\"{}\"", chain.display()))
        .set("mirror.key", &format!("\"{}\"", key.display()));
    let node = node(setup, &hosts_of("http", &["a.school.test"], ""));
    let told = node.web("/readyz");
    assert!(told.status == 503 && told.text().contains("mirror") && told.text().contains("chain.pem"), "{}", told.text());
    assert_eq!(node.get("http://a.school.test/i.png").status, 200, "the proxy runs");
    std::fs::copy(&pair.certificate, &chain).expect("copies");
    let id = rustix::process::Pid::from_raw(i32::try_from(node.id()).expect("an id")).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::HUP).expect("a signal");
    kit::until("the certificate is read", 20, || node.web("/readyz").status == 200);
    let at = mirror(&node);
    let mut curl = std::process::Command::new(kit::program::need("curl"));
    let url = format!("https://a-school-test.{ZONE}:{}/", at.port());
    curl.args(["--silent", "--show-error", "--include", "--cacert"]).arg(tls.root());
    curl.args(["--resolve", &format!("a-school-test.{ZONE}:{}:127.0.0.1", at.port()), &url]);
    let output = kit::program::run(&curl, 30);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("HTTP/2 200"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("https://a-school-test.{ZONE}:{}/next", at.port())), "{said}");
    assert!(said.contains("upgrade-insecure-requests"), "over TLS it may stay");

    let taken = Setup::new().set("mirror.listen", &format!("[\"{at}\"]")).start();
    let told = taken.web("/readyz");
    assert!(told.status == 503 && told.text().contains(&format!("mirror.listen {at}")), "{}", told.text());
}

/// A browser that finds every name below the mirror's zone here, and no other.
fn reader(node: &Node) -> Browser {
    Wish::direct().map(&format!("*.{ZONE}"), mirror(node)).start()
}

/// Both addresses of a page: by name and by path.
fn both(node: &Node, label: &str, host: &str, path: &str) -> [String; 2] {
    let at = mirror(node);
    [format!("http://{}:{}{path}", name(label), at.port()), format!("http://{at}/m/{host}{path}")]
}

/// Nothing was asked of anybody but the mirror.
fn stays_home(node: &Node, visit: &Visit) {
    let at = mirror(node);
    let ours = |url: &&String| {
        let rest = url.strip_prefix("http://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        url.starts_with("data:")
            || url.starts_with("blob:")
            || authority == at.to_string()
            || authority.ends_with(&format!("{ZONE}:{}", at.port()))
    };
    let strange: Vec<&String> = visit.requests.iter().filter(|url| !ours(url)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(visit.failed.is_empty(), "{:?}", visit.failed);
    assert!(visit.error.is_empty(), "{}", visit.error);
}

#[test]
fn real_sites_work_in_a_browser_by_name_and_by_path() {
    let nginx = Nginx::start();
    nginx.put("favicon.ico", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
    let hosts = ["docs.school.test", "assets.school.test", "plain.school.test", "gzip.school.test"];
    let setup = hosts.iter().fold(Setup::new(), |setup, host| setup.host(host, nginx.addr));
    let node = node(setup, &hosts_of("http", &hosts, ""));
    let mut original = hosts.iter().fold(Wish::direct(), |wish, host| wish.map(host, nginx.addr)).start();
    let mut browser = reader(&node);
    let pages = [
        ("assets", "/jsxgraph.html", "ran object"),
        ("assets", "/blockly.html", "ran function"),
        ("assets", "/index.html", "blockly"),
        ("docs", "/tutorial/index.html", "The Python Tutorial"),
        ("gzip", "/howto/index.html", "Python HOWTOs"),
        ("docs", "/library/asyncio.html", "asyncio"),
    ];
    for (host, path, shown) in pages {
        let real = format!("{host}.school.test");
        let before = original.visit_quiet(&format!("http://{real}{path}"));
        assert!(before.text.contains(shown), "{real}{path}: {before:?}");
        for url in both(&node, &format!("{host}-school-test"), &real, path) {
            let visit = browser.visit_quiet(&url);
            assert_eq!((visit.status, &visit.text, &visit.title), (200, &before.text, &before.title), "{url}");
            assert_eq!(visit.requests.len(), before.requests.len(), "{url}: {:?} {:?}", visit.requests, before.requests);
            assert_eq!(visit.complaints(), before.complaints(), "{url}");
            stays_home(&node, &visit);
        }
    }
}

/// A page that does what pages do, with another host for its files.
fn demanding(cdn: &str) -> String {
    format!(
        r#"<!DOCTYPE html><html><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'self' http://{cdn}; script-src 'self' http://{cdn} 'unsafe-inline'; style-src 'self' http://{cdn} 'unsafe-inline'">
<title>demanding</title><base href="/app/">
<link rel="preconnect" href="//{cdn}"><link rel="stylesheet" href="http://{cdn}/app/style.css" integrity="sha256-{{STYLE}}" crossorigin>
<style>#inline{{background:url(http://{cdn}/app/inline.svg)}}</style>
<script type="importmap">{{"imports":{{"lib/":"http://{cdn}/app/lib/"}}}}</script>
<script src="http://{cdn}/app/classic.js" integrity="sha256-{{CLASSIC}}" crossorigin></script>
</head><body><p id="proof">waiting</p><div id="inline" style="width:9px;height:9px"></div><div class="sheet" style="width:9px;height:9px"></div>
<img src="http://{cdn}/app/a.svg" srcset="http://{cdn}/app/b.svg 1x, /app/c.svg 2x" alt="">
<iframe srcdoc="&lt;html&gt;&lt;body&gt;&lt;img src=&quot;http://{cdn}/app/frame.svg&quot;&gt;&lt;/body&gt;&lt;/html&gt;"></iframe>
<script type="module" src="main.js"></script></body></html>"#
    )
}

#[test]
fn a_demanding_page_works_in_a_browser_by_name_and_by_path() {
    let (site, cdn) = ("a-b.school.test", "cdn.school.test");
    let style = format!("@import 'http://{cdn}/app/more.css'; .sheet{{background:url(/app/sheet.svg)}}");
    let classic = "window.classic = 'classic ran';";
    let page = demanding(cdn).replace("{STYLE}", &base64_of(style.as_bytes())).replace("{CLASSIC}", &base64_of(classic.as_bytes()));
    let main = MAIN.replace("{site}", site).replace("{cdn}", cdn);
    let files: Vec<(&str, &str, String)> = vec![
        ("/app/page.html", "text/html", page),
        ("/app/style.css", "text/css", style),
        ("/app/more.css", "text/css", "#proof{color:red}".into()),
        ("/app/classic.js", "text/javascript", classic.into()),
        ("/app/main.js", "text/javascript", main),
        ("/app/lib/one.js", "text/javascript", "import { two } from '/app/lib/two.js'; export const one = 'one ' + two;".into()),
        ("/app/lib/two.js", "text/javascript", "export const two = 'two';".into()),
        (
            "/app/worker.js",
            "text/javascript",
            "import { two } from './lib/two.js'; fetch('/app/data.txt').then((r) => r.text()).then((t) => postMessage('worker ' + two + ' ' + t));"
                .into(),
        ),
        ("/app/data.txt", "text/plain", "data".into()),
    ];
    let origin = Origin::start(move |ask| {
        let found = files.iter().find(|(path, ..)| *path == ask.target);
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"></svg>".to_owned();
        let (kind, body) = match found {
            Some((_, kind, body)) => (*kind, body),
            None if ask.target.contains(".svg") || ask.target == "/favicon.ico" => ("image/svg+xml", &svg),
            None => return Reply::Bytes(answer("404 Not Found", &[], b"")),
        };
        let kind = format!("Content-Type: {kind}");
        // The site itself lets nobody else read.
        let open = if ask.field("host") == Some(cdn) { "Access-Control-Allow-Origin: *" } else { "X-Own: yes" };
        let policy = format!(
            "Content-Security-Policy: script-src 'self' http://{cdn} 'unsafe-inline'; img-src http: 'self'; report-uri http://{cdn}/r"
        );
        Reply::Bytes(ok(&[&kind, "Cache-Control: max-age=60", open, &policy], body.as_bytes()))
    });
    let node = node(Setup::new().host(site, origin.addr).host(cdn, origin.addr), &hosts_of("http", &[site, cdn], ""));
    let mut original = Wish::direct().map(site, origin.addr).map(cdn, origin.addr).start();
    let mut browser = reader(&node);
    let shown = "classic ran, one two, data, data, image, image, image, worker two data, pushed";
    let before = original.visit_until(&format!("http://{site}/app/page.html"), shown);
    assert!(before.text.contains(shown) && before.complaints().is_empty(), "the page is good: {before:?}");
    for url in both(&node, "a--b-school-test", site, "/app/page.html") {
        let visit = browser.visit_until(&url, shown);
        assert_eq!((visit.status, visit.error.as_str()), (200, ""), "{url}: {visit:?}");
        stays_home(&node, &visit);
        assert_eq!(visit.complaints(), Vec::<String>::new(), "{url}");
        for name in ["b", "inline", "sheet", "late", "made", "html", "frame"] {
            assert!(visit.requests.iter().any(|url| url.ends_with(&format!("/app/{name}.svg"))), "{name}.svg: {:?}", visit.requests);
        }
        let color = browser.run("getComputedStyle(document.getElementById('proof')).color");
        assert_eq!(color, "rgb(255, 0, 0)", "the imported sheet counts");
        // A link from the page's script to its own root, which nothing could change beforehand.
        browser.run("location.assign('/app/data.txt')");
        kit::until("the link leads home", 20, || browser.look().text == "data");
        stays_home(&node, &browser.look());
    }
}

/// What the demanding page's module does.
const MAIN: &str = "import { one } from 'lib/one.js';
const said = [window.classic, one];
said.push(await (await fetch('/app/data.txt')).text());
said.push(await new Promise((done) => {
  const ask = new XMLHttpRequest();
  ask.onload = () => done(ask.responseText);
  ask.open('GET', 'http://{site}/app/data.txt');
  ask.send();
}));
const load = (make) => new Promise((done, fail) => {
  const image = make();
  image.onload = () => done('image');
  image.onerror = () => fail('no image');
});
said.push(await load(() => { const image = new Image(); image.src = 'http://{cdn}/app/late.svg'; return image; }));
said.push(await load(() => { const image = document.createElement('img'); image.setAttribute('src', 'http://{cdn}/app/made.svg'); return image; }));
said.push(await load(() => {
  const holder = document.createElement('div');
  holder.innerHTML = '<img src=\"http://{cdn}/app/html.svg\">';
  document.body.append(holder);
  return holder.firstChild;
}));
const worker = new Worker('/app/worker.js', { type: 'module' });
said.push(await new Promise((done) => { worker.onmessage = (event) => done(event.data); }));
history.pushState(null, '', '/app/elsewhere?x=1');
said.push(location.pathname.endsWith('/app/elsewhere') ? 'pushed' : location.href);
document.getElementById('proof').textContent = said.join(', ');
";

/// Such a host is mirrored where a path class says so, and its name is not among those that scripts in pages know.
#[test]
fn a_lesson_of_a_host_with_accounts_works_in_a_browser_by_name_and_by_path() {
    const LESSON: &str = r#"<!DOCTYPE html><html><head><title>lesson</title><link rel="icon" href="a.svg"></head><body><p id="proof">waiting</p>
<script>
const image = (address) => new Promise((done, fail) => {
  const one = new Image();
  one.onload = () => done(one);
  one.onerror = () => fail(address);
  one.src = address;
});
const text = async (address) => (await fetch(address)).text();
(async () => {
  const first = await image("a.svg");
  const said = [await text("index.json"), await text("/lesson/1/index.json"), await text(new URL("index.json", location.href))];
  await image(first.src);
  await image("../1/b.svg");
  document.getElementById("proof").textContent = said.join(", ") + ", three images";
})().catch((error) => { document.getElementById("proof").textContent = "failed: " + error; });
</script></body></html>"#;
    let origin = Origin::start(|ask: &Ask| {
        let (kind, body) = match ask.target.as_str() {
            "/lesson/1/index.html" => ("text/html", LESSON),
            "/lesson/1/index.json" => ("application/json", "data"),
            "/lesson/1/a.svg" | "/lesson/1/b.svg" => {
                ("image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>")
            }
            _ => return Reply::Bytes(answer("404 Not Found", &[], b"")),
        };
        Reply::Bytes(ok(&[&format!("Content-Type: {kind}"), "Cache-Control: max-age=60"], body.as_bytes()))
    });
    let class = "[[class]]\nhost = \"diary.school.test\"\npath = \"/lesson/**\"\naccounts = true\n";
    let hosts = hosts_of("http", &["plain.school.test", "diary.school.test"], class);
    let node = node(Setup::new().host("diary.school.test", origin.addr), &hosts);
    let mut browser = reader(&node);
    for url in both(&node, "diary-school-test", "diary.school.test", "/lesson/1/index.html") {
        let visit = browser.visit_until(&url, "three images");
        assert!(visit.status == 200 && visit.text.contains("data, data, data, three images"), "{url}: {visit:?}");
        stays_home(&node, &visit);
    }
}

#[test]
fn a_site_by_https_works_in_a_browser_through_a_plain_mirror() {
    let origins = Secure::start();
    let site = full("ec-h2");
    let node = node(origins.join(Setup::new()), &hosts_of("https", &[&site], ""));
    let mut browser = reader(&node);
    for url in both(&node, "ec--h2-school-test", &site, "/") {
        let visit = browser.visit_until(&url, PROOF);
        assert_eq!(visit.status, 200, "{visit:?}");
        stays_home(&node, &visit);
        assert_eq!(visit.complaints(), Vec::<String>::new(), "{url}");
    }
    // The page is asked about anew; its files are asked for once, for both forms.
    let files = origins.of("ec-h2").iter().filter(|seen| seen.target.starts_with("/s/") && seen.status == 200).count();
    assert_eq!(files, 3, "{:?}", origins.requests());
    let expired = full("expired");
    assert_eq!(by_path(&node, &format!("/m/{expired}/"), &[]).status, 404);
}

/// SHA-256 in base64, by openssl.
fn base64_of(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bytes");
    std::fs::write(&file, bytes).expect("writes");
    let line = format!("openssl dgst -sha256 -binary {} | openssl base64 -A", file.display());
    let output = kit::program::run(std::process::Command::new("sh").args(["-c", &line]), 20);
    String::from_utf8(output.stdout).expect("ASCII")
}
