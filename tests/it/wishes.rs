//! What the class asks for: a page fetched tonight, a lesson recorded, what many miss; what the class uses renewed before school, and
//! the night's bytes told as used or wasted.

use crate::kit;
use crate::kit::browser;
use crate::kit::http::{self, Answer, Connection};
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};
use crate::kit::program::{self, said};
use crate::kit::tls::{Fault, Key, Tls};
use std::net::{Ipv4Addr, SocketAddr};

/// How a browser asks for a page.
const PAGE: &str = "Accept: text/html,application/xhtml+xml";
const ALWAYS: &str = "[\"mon-sun 00:00-24:00\"]";

/// Pages that need a style of another host, a script that the style's host has, and what is private.
fn site() -> Origin {
    Origin::start(|ask: &Ask| {
        let etag = "ETag: \"v1\"";
        if ask.field("if-none-match") == Some("\"v1\"") {
            return Reply::Bytes(undated(answer("304 Not Modified", &[etag], b"")));
        }
        let path = ask.target.split('?').next().unwrap_or_default();
        Reply::Bytes(undated(match path {
            "/robots.txt" => answer("404 Not Found", &[], b""),
            "/style.css" => ok(&["Content-Type: text/css", "Cache-Control: max-age=86400", etag], b"p{color:green}"),
            "/app.js" => ok(&["Content-Type: text/javascript", "Cache-Control: max-age=86400", etag], b"let a = 1;"),
            "/mine" => ok(&["Content-Type: text/html", "Cache-Control: private"], b"<p>my marks"),
            "/cookie" => ok(&["Content-Type: text/html", "Set-Cookie: who=me"], b"<p>hello me"),
            page => {
                let text = format!(
                    "<html><head><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"http://c.school.test/style.css\"></head>\
                     <body><p>page {page}</body></html>"
                );
                ok(&["Content-Type: text/html", "Cache-Control: max-age=3600", etag], text.as_bytes())
            }
        }))
    })
}

/// Some nodes of these tales live in another week than the site: without a Date the moment of arrival counts (RFC 9110 section 6.6.1).
fn undated(answer: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(answer).expect("text");
    let (before, after) = text.split_once("Date: ").expect("a Date");
    let (_, after) = after.split_once("\r\n").expect("a line");
    format!("{before}{after}").into_bytes()
}

/// A node before that site, at the end of a line.
fn setup(line: &Line) -> Setup {
    let quick = Setup::new().set("upstream.connect_timeout", "\"1 s\"").set("upstream.first_byte_timeout", "\"2 s\"");
    quick.host("s.school.test", line.addr).host("c.school.test", line.addr).set("night.timezone", "\"UTC\"").set("manners.rate", "100.0")
}

fn cut(node: &Node, line: &Line) {
    line.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get("http://s.school.test/unknown");
        node.metric("bulak_link_up", "") == Some(0.0)
    });
}

fn mend(node: &Node, line: &Line) {
    line.mend();
    kit::until("the line is up again", 60, || {
        node.get("http://s.school.test/probe");
        node.metric("bulak_link_up", "") == Some(1.0)
    });
}

/// The value of a form's field.
fn value(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split_once('"')?.0.replace("&amp;", "&"))
}

/// Sends a form through a proxy, or straight.
fn post(to: SocketAddr, url: &str, fields: &[&str], pairs: &[(&str, &str)]) -> Answer {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let escape = |text: &str| {
        text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect::<String>()
    };
    let body = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&");
    let length = format!("Content-Length: {}", body.len());
    let mut all = vec!["Content-Type: application/x-www-form-urlencoded", &length];
    all.extend(fields);
    let mut connection = Connection::open(to);
    connection.send(&[http::request("POST", url, &all), body.into_bytes()].concat()).expect("sends");
    connection.read(false)
}

fn wish(to: SocketAddr, page: &Answer, origin: &str) -> Answer {
    let text = page.text();
    let field = |name: &str| value(&text, name).unwrap_or_else(|| panic!("no field {name} in {text}"));
    post(to, "http://bulak.internal/tonight", &[&format!("Origin: {origin}")], &[("url", &field("url")), ("token", &field("token"))])
}

fn wishes(node: &Node) -> Vec<(String, String)> {
    let all = node.local("GET", "/api/v1/wishes");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    all["wishes"].as_array().expect("a list").iter().map(|one| (text(&one["url"]), text(&one["state"]))).collect()
}

fn asked(origin: &Origin, path: &str) -> usize {
    origin.asks().iter().filter(|ask| ask.target == path).count()
}

#[test]
fn a_page_wished_for_is_fetched_in_the_window_and_opens_with_the_line_cut() {
    let origin = site();
    let line = Line::to(origin.addr);
    let node = setup(&line).set("night.windows", "[]").start();
    cut(&node, &line);
    let missing = node.fetch("GET", "http://s.school.test/lesson?part=1&x=2", &[PAGE]);
    assert_eq!(missing.status, 504);
    let text = missing.text();
    for word in ["Түнде жүктеп қою", "Скачать ночью", "Fetch tonight", "action=\"http://bulak.internal/tonight\""]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("<script"), "works without script");
    assert!(!node.get("http://s.school.test/picture").text().contains("<form"), "no form where no person opens a page");
    let told = wish(node.proxy, &missing, "http://s.school.test");
    assert!(told.status == 200 && told.text().contains("Тізімге қосылды"), "{} {}", told.status, told.text());
    for (language, word) in [("kk", "Тізімге қосылды"), ("ru", "Добавлено"), ("en", "will be fetched")] {
        let link = format!("/tonight/added?lang={language}");
        assert!(told.text().contains(&format!("href=\"{link}\"")), "{}", told.text());
        let page = node.fetch("GET", &format!("http://bulak.internal{link}"), &[PAGE]);
        assert!(page.status == 200 && page.text().contains(word), "{language}: {} {}", page.status, page.text());
    }
    let url = "http://s.school.test/lesson?part=1&x=2".to_owned();
    assert_eq!(wishes(&node), [(url.clone(), "waiting".into())]);
    mend(&node, &line);
    let listed = said(&node.command(&["pack", "list"]));
    assert!(listed.contains("tonight") && listed.contains("0/0"), "{listed}");
    assert_eq!(asked(&origin, "/lesson?part=1&x=2"), 0, "outside the window nothing is fetched");

    // The wish survives a restart, and the window opens.
    let node = node.again(|setup| setup.set("night.windows", ALWAYS));
    kit::until("the page is here", 60, || wishes(&node) == [(url.clone(), "here".into())]);
    kit::until("with its style, of another host", 60, || asked(&origin, "/style.css") > 0);
    kit::until("the run is through", 60, || node.local("GET", "/api/v1/packs/tonight")["progress"]["state"] == "done");
    let fetched = origin.asks();
    assert!(fetched.iter().all(|ask| ask.field("cookie").is_none()));
    cut(&node, &line);
    let before = origin.count();
    let page = node.fetch("GET", &url, &[PAGE]);
    assert!(page.status == 200 && page.text().contains("page /lesson"), "{} {}", page.status, page.text());
    assert!(node.get("http://c.school.test/style.css").is_hit());
    assert_eq!(origin.count(), before, "nothing left the box");

    let removed = node.command(&["wish", "remove", "1"]);
    assert!(removed.status.success() && wishes(&node).is_empty(), "{}", said(&removed));
}

#[test]
fn nobody_wishes_for_what_is_personal_secret_or_somebody_elses_form() {
    let origin = site();
    let line = Line::to(origin.addr);
    let node = setup(&line).set("night.windows", "[]").set("wishes.per_client", "2").set("wishes.per_day", "3").start();
    cut(&node, &line);
    let ask = |url: &str| node.fetch("GET", url, &[PAGE]);
    for url in ["http://s.school.test/x?token=abc", "http://login.s.school.test/", "http://kundelik.kz/marks", "http://10.99.99.99/"] {
        let page = ask(url);
        assert!(page.status >= 400 && !page.text().contains("<form"), "{url}: {}", page.text());
    }
    let page = ask("http://s.school.test/one");
    let text = page.text();
    let (url, token) = (value(&text, "url").expect("a field"), value(&text, "token").expect("a field"));
    let send = |fields: &[&str], url: &str, token: &str| {
        post(node.proxy, "http://bulak.internal/tonight", fields, &[("url", url), ("token", token)]).status
    };
    let own = "Origin: http://s.school.test";
    assert_eq!(send(&["Origin: http://evil.test"], &url, &token), 403, "another site's");
    assert_eq!(send(&[], &url, &token), 403, "nobody says where it comes from");
    assert_eq!(send(&[own, "Sec-Fetch-Mode: no-cors"], &url, &token), 403, "a script's");
    assert_eq!(send(&[own], &url, "00"), 403, "no proof");
    assert_eq!(send(&[own], "http://s.school.test/two", &token), 403, "another page's proof");
    assert!(wishes(&node).is_empty());
    assert_eq!(send(&[own], &url, &token), 200);
    assert_eq!(send(&[own], &url, &token), 200, "once more changes nothing");
    assert_eq!(wishes(&node).len(), 1);
    assert_eq!(wish(node.proxy, &ask("http://s.school.test/two"), "http://s.school.test").status, 200);
    let full = wish(node.proxy, &ask("http://s.school.test/three"), "http://s.school.test");
    assert!(full.status == 403 && full.text().contains("жеткілікті"), "this device's third: {}", full.text());
    // Another device has its own, until the day is full; who they were is nowhere.
    let other = Line::from(Ipv4Addr::new(127, 0, 0, 77), node.proxy);
    let page = |path: &str| http::fetch(other.addr, "GET", &format!("http://s.school.test{path}"), &[PAGE]);
    assert_eq!(wish(other.addr, &page("/three"), "http://s.school.test").status, 200);
    assert_eq!(wish(other.addr, &page("/four"), "http://s.school.test").status, 403, "the school's fourth");
    for (words, code) in [(["wish", "add", "http://192.168.1.1/"], 1), (["wish", "add", "http://s.school.test/five"], 0)] {
        let output = node.command(&words);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
    assert!(said(&node.command(&["wish", "list"])).contains("http://s.school.test/five"));
    let mut node = node;
    node.terminate();
    for file in ["state/node.sqlite", "node.log"] {
        let bytes = std::fs::read(node.folder.path().join(file)).expect(file);
        assert!(!kit::diary::holds(&bytes, "127.0.0.77"), "{file} names a device");
    }
}

#[test]
fn a_button_in_a_browser_wishes_for_a_page() {
    let origin = site();
    let line = Line::to(origin.addr);
    let node = setup(&line).set("night.windows", ALWAYS).start();
    cut(&node, &line);
    let mut browser = browser::Wish::behind(node.proxy).start();
    let page = browser.visit_until("http://s.school.test/chrome", "Fetch tonight");
    assert_eq!(page.status, 504, "{page:?}");
    browser.run("document.querySelector('form button').click()");
    kit::until("the page says so", 60, || browser.look().text.contains("Added: the page will be fetched"));
    assert_eq!(wishes(&node).len(), 1);
    mend(&node, &line);
    kit::until("the page is here", 60, || wishes(&node)[0].1 == "here");
    kit::until("the run is through", 60, || node.local("GET", "/api/v1/packs/tonight")["progress"]["state"] == "done");
    cut(&node, &line);
    let page = browser.visit_until("http://s.school.test/chrome", "page /chrome");
    assert!(page.status == 200 && page.failed.is_empty(), "{page:?}");
}

#[test]
fn a_phone_at_the_mirror_wishes_too() {
    let origin = site();
    let line = Line::to(origin.addr);
    let folder = tempfile::tempdir().expect("a folder");
    let text = "id = \"m\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"M\"\n[[seed]]\nurl = \"http://s.school.test/\"\n\
                [scope]\nhosts = [\"s.school.test\"]\n";
    let setup = setup(&line).set("night.windows", "[]").set("mirror.listen", "[\"127.0.0.1:0\"]");
    let node = kit::pack::publish(setup, folder.path(), "m", text).start_in(folder);
    let status = node.local("GET", "/api/v1/status");
    let mirror = status["mirror"][0].as_str().expect("a mirror").to_owned();
    cut(&node, &line);
    let mut connection = Connection::open(mirror.parse().expect("an address"));
    let ask = format!("GET /m/s.school.test/missing HTTP/1.1\r\nHost: {mirror}\r\n{PAGE}\r\n\r\n");
    connection.send(ask.as_bytes()).expect("sends");
    let page = connection.read(false);
    let text = page.text();
    assert!(page.status == 504 && text.contains(&format!("action=\"http://{}/tonight\"", node.web)), "{} {text}", page.status);
    let (url, token) = (value(&text, "url").expect("a field"), value(&text, "token").expect("a field"));
    assert_eq!(url, "http://s.school.test/missing");
    let door = format!("http://{}/tonight", node.web);
    let told = post(node.web, &door, &[&format!("Origin: http://{mirror}"), "Accept-Language: ru"], &[("url", &url), ("token", &token)]);
    assert!(told.status == 200 && told.text().contains("скачается ночью"), "{} {}", told.status, told.text());
    assert_eq!(wishes(&node), [(url, "waiting".into())]);
}

#[test]
fn who_reads_the_mirror_by_name_or_over_tls_wishes_as_well() {
    let zone = "m.school-test.internal";
    let name = format!("s-school-test.{zone}");
    for secure in [false, true] {
        let mut tls = Tls::new("Root of the school's provider");
        let pair = tls.server("mirror", &[&format!("*.{zone}")], Key::Ec, Fault::None);
        let origin = site();
        let line = Line::to(origin.addr);
        let folder = tempfile::tempdir().expect("a folder");
        let text = "id = \"m\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"M\"\n[[seed]]\nurl = \"http://s.school.test/\"\n\
                    [scope]\nhosts = [\"s.school.test\"]\n";
        let mut setup = setup(&line).set("night.windows", "[]").set("mirror.listen", "[\"127.0.0.1:0\"]");
        setup = setup.set("node.name", "\"abay\"").set("node.zone", "\"school-test.internal\"");
        if secure {
            setup = setup.set("mirror.certificate", &format!("\"{}\"", pair.certificate.display()));
            setup = setup.set("mirror.key", &format!("\"{}\"", pair.key.display()));
        }
        let node = kit::pack::publish(setup, folder.path(), "m", text).start_in(folder);
        let at: SocketAddr = node.local("GET", "/api/v1/status")["mirror"][0].as_str().expect("a mirror").parse().expect("an address");
        cut(&node, &line);
        let scheme = if secure { "https" } else { "http" };
        let from = format!("{scheme}://{name}:{}", at.port());
        let mut curl = std::process::Command::new(program::need("curl"));
        curl.args(["--silent", "--show-error", "--include", "--header", PAGE, "--cacert"]).arg(tls.root());
        curl.args(["--resolve", &format!("{name}:{}:127.0.0.1", at.port()), &format!("{from}/missing")]);
        let output = program::run(&curl, 30);
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let door = format!("http://{}/tonight", node.web);
        assert!(page.contains(&format!("action=\"{door}\"")), "{page}{}", String::from_utf8_lossy(&output.stderr));
        assert!(page.contains("referrer-policy: origin"), "else a browser hides where a form comes from: {page}");
        let (url, token) = (value(&page, "url").expect("a field"), value(&page, "token").expect("a field"));
        let sent = |origin: &str| post(node.web, &door, &[&format!("Origin: {origin}")], &[("url", &url), ("token", &token)]).status;
        for strange in ["null".to_owned(), from.replace("s-school", "c-school"), format!("{from}0"), from.replace(".internal", ".evil")] {
            assert_eq!(sent(&strange), 403, "{strange}");
        }
        assert_eq!(sent(&from), 200);
        assert_eq!(wishes(&node), [(url.clone(), "waiting".into())]);
        assert_eq!(sent(&from.replace("s-school-test", "path")), 200, "where all are served by path");
        assert_eq!(sent(&format!("{scheme}://abay.local:{}", at.port())), 200, "by the node's own name");
    }
}

#[test]
fn a_lesson_is_recorded_from_one_device_alone() {
    let origin = site();
    let line = Line::to(origin.addr);
    let node = setup(&line).set("night.windows", "[]").start();
    let device = |number: u8| Line::from(Ipv4Addr::new(127, 0, 0, number), node.proxy);
    let (one, two) = (device(21), device(22));
    let get = |device: &Line, url: &str, fields: &[&str]| http::fetch(device.addr, "GET", url, fields);
    // In memory already: a hit is needed by the lesson all the same.
    get(&two, "http://c.school.test/app.js", &[]);
    get(&two, "http://c.school.test/app.js", &[]);

    for (words, code, why) in [
        (&["pack", "record", "fractions-5", "--for", "3h", "--yes"][..], 2, "longer than two hours"),
        (&["pack", "record", "Bad Name", "--yes"], 2, "no name"),
        (&["pack", "record", "fractions-5"], 2, "nobody can be asked at its end"),
        (&["pack", "record", "fractions-5", "--dry-run"], 0, "a trial"),
        (&["pack", "record", "--keep"], 1, "there is none"),
    ] {
        let command = node.command(words);
        assert_eq!(command.status.code(), Some(code), "{why}: {}", said(&command));
        let there = http::local(&node.folder.path().join("state/bulak.sock"), "GET", "/api/v1/record");
        assert_eq!(there.status, 404, "{why}: nothing has begun");
    }
    let begin = |name: &str| {
        http::local_with(
            &node.folder.path().join("state/bulak.sock"),
            "POST",
            "/api/v1/record",
            &format!("{{\"name\": \"{name}\", \"seconds\": 600}}"),
        )
    };
    assert_eq!(begin("Not A Name").status, 400);
    assert_eq!(begin("fractions-5").status, 201);
    assert_eq!(begin("another").status, 409, "one at a time");
    get(&one, "http://s.school.test/too-early", &[PAGE]);
    // The next device that opens the start page, and says so.
    let start = get(&one, "http://bulak.internal/record", &[PAGE]);
    // Else browsers send `Origin: null` with the form below (Fetch, "append a request `Origin` header"), and it is refused.
    assert_eq!(start.field("referrer-policy"), "same-origin");
    let start = start.text();
    let token = value(&start, "token").expect("a form");
    let claim = |device: &Line, origin: &str| {
        post(device.addr, "http://bulak.internal/record", &[&format!("Origin: {origin}")], &[("token", &token)]).status
    };
    assert_eq!(claim(&two, "http://s.school.test"), 403, "a page cannot say so for a pupil");
    assert_eq!(claim(&one, "http://bulak.internal"), 303);
    assert!(!get(&two, "http://bulak.internal/record", &[PAGE]).text().contains("<form"), "there is one already");

    get(&one, "http://s.school.test/lesson", &[PAGE]);
    get(&one, "http://c.school.test/style.css", &[]);
    assert!(get(&one, "http://c.school.test/app.js", &[]).is_hit());
    get(&one, "http://s.school.test/mine", &[PAGE]);
    get(&one, "http://s.school.test/cookie", &[PAGE]);
    get(&one, "http://s.school.test/x?session=4711", &[PAGE]);
    get(&one, "http://s.school.test/with", &[PAGE, "Cookie: who=me"]);
    http::fetch(one.addr, "POST", "http://s.school.test/answer", &["Content-Length: 0"]);
    let mut tunnel = Connection::open(one.addr);
    tunnel.send(b"CONNECT sealed.school.test:443 HTTP/1.1\r\nHost: sealed.school.test:443\r\n\r\n").expect("sends");
    tunnel.read(true);
    // Somebody else, meanwhile.
    get(&two, "http://s.school.test/somebody-else", &[PAGE]);
    get(&two, "http://s.school.test/mine", &[PAGE]);

    let view = http::local(&node.folder.path().join("state/bulak.sock"), "POST", "/api/v1/record/end");
    let view: serde_json::Value = serde_json::from_slice(&view.body).expect("a document");
    assert_eq!((view["state"].as_str(), view["pages"].as_u64(), view["pieces"].as_u64()), (Some("over"), Some(1), Some(2)), "{view}");
    assert_eq!(view["left_out"]["s.school.test"].as_u64(), Some(5), "{view}");
    assert_eq!(view["not_readable"][0].as_str(), Some("sealed.school.test"), "{view}");
    let text = view.to_string();
    for never in ["somebody-else", "too-early", "mine", "4711", "/cookie", "/with", "/answer"] {
        assert!(!text.contains(never), "{never}: {text}");
    }
    let another = begin("another");
    assert!(
        another.status == 409 && another.text().contains("waits to be kept or forgotten"),
        "somebody's lesson waits: {}",
        another.text()
    );
    assert!(said(&node.command(&["pack", "record", "--keep", "--dry-run"])).contains("would make the recording"));
    let kept = node.command(&["pack", "record", "--keep"]);
    assert_eq!(kept.status.code(), Some(0), "{}", said(&kept));
    let pack = std::fs::read_to_string(node.folder.path().join("state/packs.d/fractions-5.toml")).expect("the pack");
    for url in ["http://s.school.test/lesson", "http://c.school.test/style.css", "http://c.school.test/app.js"] {
        assert!(pack.contains(&format!("url = \"{url}\"")), "{pack}");
    }
    assert_eq!(pack.matches("[[seed]]").count(), 3, "{pack}");
    assert!(said(&node.command(&["pack", "list"])).contains("fractions-5"));
    let node = node.again(|setup| setup.set("night.windows", ALWAYS));
    kit::until("the lesson is fetched", 60, || node.local("GET", "/api/v1/packs/fractions-5")["progress"]["state"] == "done");
}

#[test]
fn five_devices_propose_what_four_do_not() {
    let origin = site();
    let line = Line::to(origin.addr);
    let node = setup(&line).set("night.windows", "[]").start();
    let devices: Vec<Line> = (31..=35).map(|number| Line::from(Ipv4Addr::new(127, 0, 0, number), node.proxy)).collect();
    let proposals = || node.local("GET", "/api/v1/proposals")["proposals"].as_array().expect("a list").clone();
    cut(&node, &line);
    let all_miss = |devices: &[Line]| {
        for device in devices {
            for url in ["http://s.school.test/wanted", "http://kundelik.kz/wanted", "http://s.school.test/x?token=5"] {
                http::fetch(device.addr, "GET", url, &[PAGE]);
                http::fetch(device.addr, "GET", url, &[PAGE]);
            }
        }
    };
    all_miss(&devices[..4]);
    assert_eq!(proposals(), Vec::<serde_json::Value>::new(), "four devices are nobody");
    for file in ["state/node.sqlite", "state/node.sqlite-wal", "node.log"] {
        let bytes = std::fs::read(node.folder.path().join(file)).unwrap_or_default();
        assert!(!kit::diary::holds(&bytes, "/wanted"), "{file} knows what four missed");
    }
    all_miss(&devices[4..]);
    let found = proposals();
    assert_eq!(found.len(), 1, "no personal host, no address that is a key: {found:?}");
    assert_eq!((found[0]["url"].as_str(), found[0]["kind"].as_str()), (Some("http://s.school.test/wanted"), Some("page")));
    let told = said(&node.command(&["wish", "proposals"]));
    assert!(told.contains("http://s.school.test/wanted"), "{told}");
    let id = found[0]["id"].as_str().expect("an id").to_owned();
    let approved = node.command(&["wish", "approve", &id]);
    assert!(approved.status.success() && said(&approved).contains("packs.d/missed-s-school-test"), "{}", said(&approved));
    assert!(proposals().is_empty());
    line.mend();
    let node = node.again(|setup| setup.set("night.windows", ALWAYS));
    kit::until("the page is fetched", 60, || asked(&origin, "/wanted") > 0);
    let kept = said(&node.command(&["pack", "list", "--json"]));
    assert!(kept.contains("missed-s-school-test"), "{kept}");
}

#[test]
fn what_the_class_uses_on_two_days_is_asked_about_before_school() {
    let preload = program::faketime();
    let origin = site();
    let line = Line::to(origin.addr);
    let at = |setup: Setup, moment: &str| {
        // Only the date is made up: waits stay as long as they are.
        let setup = setup.env("LD_PRELOAD", &preload.display().to_string()).env("FAKETIME", &format!("@{moment}"));
        setup.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC")
    };
    let node = at(setup(&line), "2026-12-01 10:00:00").start();
    for url in ["http://s.school.test/often", "http://c.school.test/style.css", "http://s.school.test/once", "http://s.school.test/mine"] {
        node.fetch("GET", url, &[PAGE]);
    }
    let node = node.again(|setup| at(setup, "2026-12-02 11:00:00"));
    for url in ["http://s.school.test/often", "http://c.school.test/style.css", "http://s.school.test/mine"] {
        node.fetch("GET", url, &[PAGE]);
    }
    let before = origin.count();
    // Five at night: too early.
    let node = node.again(|setup| at(setup, "2026-12-03 05:00:00"));
    assert_eq!(origin.count(), before);
    assert!(node.local("GET", "/api/v1/packs").is_object());
    let node = node.again(|setup| at(setup, "2026-12-03 06:20:00"));
    kit::until("two are confirmed", 60, || node.metric("bulak_renewed_total", "unchanged") == Some(2.0));
    let asks = origin.asks()[before..].to_vec();
    let mut targets: Vec<&str> = asks.iter().map(|ask| ask.target.as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["/often", "/style.css"], "once used, private, robots.txt: not asked");
    for ask in &asks {
        assert_eq!((ask.field("if-none-match"), ask.field("cookie")), (Some("\"v1\""), None));
        assert!(ask.field("user-agent").is_some_and(|agent| agent.starts_with("bulak/")));
    }
    // School begins, and nobody waits for the origin.
    let node = node.again(|setup| at(setup, "2026-12-03 07:10:00"));
    assert!(node.fetch("GET", "http://s.school.test/often", &[PAGE]).is_hit());
    assert_eq!(origin.count(), before + 2, "and it was asked once that morning");
}

#[test]
fn what_the_night_brought_is_used_or_wasted() {
    let origin = site();
    let folder = tempfile::tempdir().expect("a folder");
    let text = "id = \"two\"\nversion = \"1\"\nlicence = \"CC0\"\npermission = \"the test's own site\"\n[title]\nen = \"Two\"\n\
                [[seed]]\nurl = \"http://s.school.test/used\"\n[[seed]]\nurl = \"http://s.school.test/wasted\"\n\
                [scope]\nhosts = [\"s.school.test\"]\n";
    let line = Line::to(origin.addr);
    let setup = kit::pack::publish(setup(&line).set("night.windows", ALWAYS), folder.path(), "two", text);
    let node = setup.start_in(folder);
    kit::until("the pack is here", 60, || node.local("GET", "/api/v1/packs/two")["progress"]["state"] == "done");
    let worth = || node.local("GET", "/api/v1/packs")["packs"][0]["worth"].clone();
    let whole = worth();
    let brought = whole["brought_bytes"].as_u64().expect("bytes");
    assert!(brought > 200 && whole["used_bytes"] == 0, "{whole}");
    for _ in 0..3 {
        assert!(node.get("http://s.school.test/used").is_hit());
    }
    let used = worth();
    let half = used["used_bytes"].as_u64().expect("bytes");
    assert!(half > 0 && half < brought, "{used}");
    assert_eq!(used["unused_bytes"].as_u64(), Some(brought - half));
    assert_eq!(node.metric("bulak_prefetch_worth_bytes", "\"used\""), Some(f64::from(u32::try_from(half).expect("small"))));
    let listed = said(&node.command(&["pack", "list"]));
    assert!(listed.contains("not used so far") && listed.contains("brought"), "{listed}");
    // The figures outlive the node, and leave in reports as sums alone.
    let node = node.again(|setup| setup);
    assert_eq!(node.local("GET", "/api/v1/packs")["packs"][0]["worth"]["used_bytes"].as_u64(), Some(half));
}
