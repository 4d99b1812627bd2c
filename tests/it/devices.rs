//! Devices find the node, are told how to use it, and see whether they do: PAC in a real engine, the pages in three languages,
//! the self-check, the certificate, the ready files.

use crate::kit;
use crate::kit::class::{self, Class, OWN};
use crate::kit::device::Device;
use crate::kit::http::{self, Answer};
use crate::kit::node::{Node, Setup};
use crate::kit::program;
use bulak::base::clock::Clock;
use bulak::portal::pac::{Pac, Wpad};
use bulak::tls::authority::{self, Wish};
use std::process::Command;

/// What a browser lends to a PAC file (Netscape, 1996), as far as ours asks for it.
const LENT: &str = "const isPlainHostName = (host) => !host.includes('.');";

/// The ways that a PAC file gives for hosts, by Node's engine in an empty context: nothing but what is lent.
fn ways(pac: &str, hosts: &[&str]) -> Vec<String> {
    let script = "const vm = require('vm'); const context = vm.createContext({});\
        vm.runInContext(process.env.LENT + ';' + process.env.PAC, context, { timeout: 1000 });\
        const of = (host) => vm.runInContext(`FindProxyForURL('https://${host}/', '${host}')`, context, { timeout: 1000 });\
        console.log(JSON.stringify(JSON.parse(process.env.HOSTS).map(of)));";
    let mut node = Command::new(program::need("node"));
    node.args(["-e", script]).env("LENT", LENT).env("PAC", pac).env("HOSTS", serde_json::to_string(hosts).expect("JSON"));
    let output = program::run(&node, 30);
    assert!(output.status.success(), "{}\n{pac}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a list of ways")
}

#[test]
fn a_pac_file_in_a_real_engine() {
    let names = ["portal.school.kz".to_owned(), "Bulak.internal".to_owned()];
    let addr = |text: &str| text.parse().ok();
    let plain = Pac { proxy: addr("192.168.8.1:3128"), secure: None, zone: "abay-12.internal", names: &names };
    let through = [
        "kk.wikipedia.org",
        "8.8.8.8",
        "[2001:db8::1]",
        "2001:db8::1",
        "fe00.kz",
        "10.example.com",
        "127.0.0.1.example.com",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "192.169.0.1",
        "school.kz",
        "notabay-12.internal",
        "abay-12.internal.evil.kz",
        "local.kz",
        // The two names that only the proxy can answer: by them a device sees that it uses the cache.
        "bulak.internal",
        "proxy.abay-12.internal",
        "PROXY.Abay-12.internal.",
    ];
    let direct = [
        "bulak",
        "printer.local",
        "printer.local.",
        "Bulak.LOCAL",
        "localhost",
        "app.localhost",
        "abay-12.internal",
        "ABAY-12.internal.",
        "kk-wikipedia-org.m.abay-12.internal",
        "x.proxy.abay-12.internal",
        "portal.school.kz",
        "10.0.0.1",
        "127.0.0.1",
        "127.8.8.8",
        "192.168.8.1",
        "172.16.0.1",
        "172.31.255.255",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.254",
        "[::1]",
        "::1",
        "fd00::1",
        "[fdab:cdef::1]",
        "fe80::1",
        "febf::1",
        "::ffff:a00:1",
    ];
    for (hosts, wanted) in [(&through[..], "PROXY 192.168.8.1:3128; DIRECT"), (&direct[..], "DIRECT")] {
        for (host, way) in hosts.iter().zip(ways(&plain.text(), hosts)) {
            assert_eq!(way, wanted, "{host}");
        }
    }
    let enrolled = Pac { proxy: addr("[fd00::1]:3128"), secure: Some(("proxy.abay-12.internal", 3129)), ..plain };
    let way = ways(&enrolled.text(), &["kk.wikipedia.org"]);
    assert_eq!(way, ["HTTPS proxy.abay-12.internal:3129; PROXY [fd00::1]:3128; DIRECT"]);
    let nowhere = Pac { proxy: None, ..enrolled };
    assert_eq!(ways(&nowhere.text(), &["kk.wikipedia.org", "bulak.internal"]), ["DIRECT", "DIRECT"], "fails open");
}

#[test]
fn the_pac_file_is_served_as_browsers_want_it() {
    let node = Setup::new().set("node.zone", "\"abay-12.internal\"").set("web.names", "[\"portal.school.kz\"]").start();
    for (host, path) in [(node.web.to_string(), "/proxy.pac"), (format!("wpad.school.internal:{}", node.web.port()), "/wpad.dat")] {
        let answer = http::get_direct(node.web, &host, path);
        assert_eq!(answer.status, 200, "exactly 200, never redirected");
        assert_eq!(answer.field("content-type"), "application/x-ns-proxy-autoconfig; charset=utf-8");
        assert!(answer.body.len() < 4096);
        let way = format!("PROXY {}; DIRECT", node.proxy);
        let told = ways(&answer.text(), &["kk.wikipedia.org", "portal.school.kz", "proxy.abay-12.internal", "x.m.abay-12.internal"]);
        assert_eq!(told, [way.as_str(), "DIRECT", way.as_str(), "DIRECT"]);
    }
    // By way of the proxy a device is told the same.
    assert!(node.get("http://bulak.internal/proxy.pac").text().contains(&format!("PROXY {}", node.proxy)));
    let wpad = Wpad::new(node.web, "abay-12.internal");
    assert!(node.web("/fleet/wpad.txt").text().contains(&wpad.dnsmasq), "{}", wpad.dnsmasq);
}

/// `GET` from the web port with these fields.
fn page(node: &Node, path: &str, fields: &[&str]) -> Answer {
    let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
    let lines = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}", node.web);
    http::exchange(node.web, format!("{lines}\r\n").as_bytes())
}

/// What every page owes to a reader with a keyboard, a screen reader, a small phone.
fn sound(path: &str, tag: &str, text: &str) {
    assert!(text.len() <= 60_000, "{path}: {} bytes", text.len());
    assert!(text.starts_with("<!doctype html>") && text.contains(&format!("<html lang=\"{tag}\">")), "{path} {tag}");
    assert!(text.contains("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"), "{path}");
    assert!(!text.contains("<script") && !text.contains("javascript:") && !text.contains(" style="), "{path}");
    let title = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
    assert!(title.contains(" · ") && !title.starts_with(" ·"), "{path}: {title:?}");
    let (mut open, mut ids, mut levels) = (Vec::new(), Vec::new(), Vec::new());
    for piece in text.split('<').skip(1) {
        let (inner, _) = piece.split_once('>').unwrap_or_else(|| panic!("{path}: a tag is not closed: {piece}"));
        let name: String = inner.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let value = |key: &str| inner.split(&format!(" {key}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        if let Some(id) = value("id") {
            assert!(!ids.contains(&id), "{path}: two of {id}");
            ids.push(id);
        }
        if inner.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "{path}: tags do not nest");
            continue;
        }
        match name.as_str() {
            "img" => assert!(value("alt").is_some_and(|alt| !alt.is_empty()), "{path}: {inner}"),
            "svg" => assert!(value("role") == Some("img") && value("aria-label").is_some(), "{path}: {inner}"),
            "h1" | "h2" | "h3" => levels.push(usize::from(name.as_bytes()[1] - b'0')),
            "nav" => assert!(value("aria-label").is_some(), "{path}: {inner}"),
            _ => {}
        }
        let empty = ["meta", "link", "img", "br", "path", "rect", "text/"].contains(&name.as_str()) || inner.ends_with('/');
        if !empty && !inner.starts_with('!') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{path}: left open: {open:?}");
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1, "{path}: one h1: {levels:?}");
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1) && levels[0] == 1, "{path}: headings skip a level: {levels:?}");
    for label in text.split("aria-labelledby=\"").skip(1).chain(text.split("aria-describedby=\"").skip(1)) {
        let id = label.split('"').next().unwrap_or_default();
        assert!(ids.contains(&id), "{path}: nothing is called {id}");
    }
    for href in text.split("href=\"#").skip(1) {
        assert!(ids.contains(&href.split('"').next().unwrap_or_default()), "{path}");
    }
}

const PAGES: [&str; 12] = [
    "/",
    "/connect",
    "/connect/windows",
    "/connect/chromeos",
    "/connect/android",
    "/connect/ios",
    "/connect/macos",
    "/connect/linux",
    "/check",
    "/sheet",
    "/fleet",
    "/privacy",
];

#[test]
fn every_page_is_sound_in_three_languages() {
    let node = Setup::new().set("node.title", "\"№12 Абай <мектебі> & Ко\"").start();
    for (tag, word) in [("kk", "Осы құрылғыны қосу"), ("ru", "Подключить это устройство"), ("en", "Connect this device")]
    {
        for path in PAGES.into_iter().chain(["/enrolled"]) {
            let answer = page(&node, path, &[&format!("Accept-Language: {tag}")]);
            assert_eq!(answer.status, if path == "/enrolled" { 403 } else { 200 }, "{path}");
            let text = answer.text();
            sound(path, tag, &text);
            assert_eq!(answer.field("content-language"), tag);
            assert!(text.contains(word) && text.contains("№12 Абай &#60;мектебі&#62; &#38; Ко"), "{path} {tag}");
            // Every page leads to the others, and to itself in the other languages.
            for link in
                ["href=\"/connect\"", "href=\"/check\"", "href=\"/privacy\"", "href=\"/sheet\"", &format!("href=\"{path}?lang=ru\"")]
            {
                assert!(text.contains(link), "{path}: {link}");
            }
            assert!(!text.contains(&format!("{}unknown", if tag == "en" { "no " } else { "" })), "all is known here: {path} {tag}");
            let policy = answer.field("content-security-policy");
            assert_eq!(policy.contains("http://bulak.internal"), path == "/check", "{path}: {policy}");
        }
    }
    let clicked = page(&node, "/privacy?lang=ru", &["Accept-Language: kk"]);
    assert!(clicked.text().contains("Кто что видит") && clicked.field("set-cookie").starts_with("lang=ru;"));
    assert!(page(&node, "/sheet", &["Cookie: lang=ru", "Accept-Language: en"]).text().contains("<html lang=\"ru\">"));
    let sheet = page(&node, "/sheet", &[]).text();
    for language in ["lang=\"kk\" aria", "lang=\"ru\" aria", "lang=\"en\" aria"] {
        assert!(sheet.contains(language), "the sheet speaks all three at once");
    }
}

#[test]
fn a_device_is_shown_its_own_steps() {
    let node = Setup::new().start();
    let table = [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140", "Windows", "Use setup script", "PAC URL"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/140", "ChromeOS", "allow proxies for shared networks", "Use setup script"),
        ("Mozilla/5.0 (Linux; Android 10; K) Chrome/140 Mobile", "Android", "PAC URL", "Use setup script"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Safari", "iPhone, iPad", "Configure Proxy", "Use setup script"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari", "macOS", "press Details", "Use setup script"),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/145", "Linux", "Configuration URL", "Use setup script"),
    ];
    for (agent, name, step, other) in table {
        let answer = page(&node, "/connect", &[&format!("User-Agent: {agent}"), "Accept-Language: en"]);
        let text = answer.text();
        assert!(text.contains(&format!("<h1>Connect this device: {name}</h1>")) && text.contains(step), "{agent}");
        assert!(!text.contains(other), "{agent}: another system's steps");
        assert!(answer.field("vary").contains("User-Agent"));
        assert!(text.contains(&format!("http://{}/proxy.pac", node.web)) && text.contains("class=\"qr\""));
        assert!(!text.contains("/ca.crt") && !text.contains("SHA-256"), "no certificate, no steps for one");
    }
    let unknown = page(&node, "/connect", &["User-Agent: curl/8", "Accept-Language: en"]).text();
    for slug in ["windows", "chromeos", "android", "ios", "macos", "linux"] {
        assert!(unknown.contains(&format!("href=\"/connect/{slug}\"")), "{slug}");
    }
    assert!(!unknown.contains("Use setup script"));
    assert_eq!(page(&node, "/connect/dos", &[]).status, 404);
    for path in ["/ca.crt", "/ca.pem", "/ca.mobileconfig"] {
        assert_eq!(page(&node, path, &[]).status, 404, "{path}: there is no CA");
    }
}

#[test]
fn a_device_sees_whether_it_uses_the_cache() {
    let node = Setup::new().start();
    let english = ["Accept-Language: en"];
    let first = page(&node, "/check", &english).text();
    let number = first.split("check.svg?v=").nth(1).expect("a picture")[..16].to_owned();
    let again = format!("/check?v={number}&n=1");
    assert!(first.contains("Not yet") && first.contains(&format!("url=/check?v={number}&#38;n=1")), "{first}");
    // Past the proxy the picture says so, and counts for nothing; so does another page's.
    let picture = |v: &str| format!("http://bulak.internal/check.svg?v={v}&lang=en");
    let past = http::get_direct(node.web, "bulak.internal", &format!("/check.svg?v={number}&lang=en"));
    assert!(past.text().contains("Past the cache") && past.field("content-type") == "image/svg+xml");
    node.get(&picture("0123456789abcdef"));
    node.get(&picture("x"));
    assert!(page(&node, &again, &english).text().contains("Not yet"));
    let through = node.get(&picture(&number));
    assert!(through.text().contains("Uses the cache") && through.field("cache-control").contains("no-store"), "{}", through.text());
    let green = page(&node, &again, &english).text();
    assert!(green.contains("Yes: this device uses the cache") && !green.contains("http-equiv"), "{green}");
    assert!(green.contains("none is needed"), "no certificate: nothing to trust");
    // Whoever comes by the proxy needs no picture.
    assert!(node.fetch("GET", "http://bulak.internal/check", &english).text().contains("Yes: this device uses the cache"));
    // A page that nobody looks at rests after two minutes.
    assert!(!page(&node, "/check?v=fedcba9876543210&n=30", &english).text().contains("http-equiv"));
    assert_eq!(page(&node, "/check?v=x&n=999", &english).status, 400, "a number that is none");
    // Neither the web port nor the proxy proves trust.
    let answers = [page(&node, "/enrolled", &english), node.fetch("GET", "http://bulak.internal/enrolled", &english)];
    for answer in answers {
        assert!(answer.status == 403 && answer.text().contains("No: this page did not come"), "{}", answer.text());
    }
    assert!(node.get("http://bulak.internal/enrolled.svg?lang=en").text().contains("Not by certificate"));
}

/// A node whose school has a CA, and the CA's fingerprint.
fn with_ca(setup: Setup) -> (Node, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let wish =
        Wish { school: "№12 Абай мектебі".into(), zone: "abay-12.internal".into(), hosts: vec!["kk.wikipedia.org".into()] };
    let state = folder.path().join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let made = authority::create(&state.join("ca"), &wish, &Clock::system()).expect("a CA");
    let fingerprint = made.current.fingerprint().to_string();
    (setup.set("node.zone", "\"abay-12.internal\"").set("node.title", "\"№12 Абай мектебі\"").start_in(folder), fingerprint)
}

/// What openssl reads as the fingerprint of a downloaded certificate.
fn fingerprint(answer: &Answer, form: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &answer.body).expect("writes");
    let mut openssl = Command::new(program::need("openssl"));
    openssl.args(["x509", "-inform", form, "-noout", "-fingerprint", "-sha256", "-in"]).arg(file.path());
    let output = program::run(&openssl, 20);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().rsplit('=').next().unwrap_or_default().to_owned()
}

#[test]
fn the_certificate_is_offered_with_the_steps_of_the_device() {
    let (node, wanted) = with_ca(Setup::new());
    let (der, pem) = (page(&node, "/ca.crt", &[]), page(&node, "/ca.pem", &[]));
    assert_eq!((der.status, der.field("content-type")), (200, "application/x-x509-ca-cert".into()));
    assert_eq!((fingerprint(&der, "DER"), fingerprint(&pem, "PEM")), (wanted.clone(), wanted.clone()), "read by openssl");
    assert!(!pem.text().contains("PRIVATE"));
    for tag in ["kk", "ru", "en"] {
        for path in PAGES {
            let text = page(&node, path, &[&format!("Accept-Language: {tag}")]).text();
            sound(path, tag, &text);
            let shows = path.starts_with("/connect") || path == "/sheet";
            assert_eq!(text.contains(&wanted), shows, "{path}: the fingerprint");
        }
    }
    let windows = page(&node, "/connect/windows", &["Accept-Language: en"]).text();
    for piece in [
        "href=\"/ca.crt\"",
        "href=\"/ca.pem\"",
        "Trusted Root Certification Authorities",
        "certlm.msc",
        "Windows Update passes by",
        "certutil -hashfile ca.crt SHA256",
    ] {
        assert!(windows.contains(piece), "{piece}");
    }
    let ios = page(&node, "/connect/ios", &["Accept-Language: en"]).text();
    assert!(ios.contains("<dd>№12 Абай мектебі (Bulak "), "the name that the device shows");
    assert!(ios.contains("href=\"/ca.mobileconfig\"") && !ios.contains("/ca.crt") && ios.contains("Remove Profile"));
    let plain = wanted.replace(':', "");
    assert!(page(&node, "/fleet/bulak.ps1", &[]).text().contains(&format!("-ne '{plain}'")));
    let check = page(&node, "/check", &["Accept-Language: en"]);
    assert!(check.text().contains("https://proxy.abay-12.internal/enrolled.svg?v=") && check.text().contains("does not trust"));
    assert!(check.field("content-security-policy").contains("img-src 'self' data: http://bulak.internal https://proxy.abay-12.internal;"));
    let kazakh = page(&node, "/privacy", &["Accept-Language: kk"]).text();
    assert!(kazakh.contains("бірде-бір қорғалған (https) сайтты ашпайды"), "a CA alone opens nothing");
}

#[test]
fn the_profile_is_a_plist_that_stays_the_same() {
    const SCRIPT: &str = "import hashlib, json, plistlib, sys, uuid\n\
        p = plistlib.loads(sys.stdin.buffer.read()); c, = p['PayloadContent']\n\
        print(json.dumps([hashlib.sha256(c['PayloadContent']).hexdigest(), c['PayloadType'], p['PayloadType'], p['PayloadDescription'],\
        str(uuid.UUID(p['PayloadUUID'])), str(uuid.UUID(c['PayloadUUID'])), p['PayloadDisplayName']]))";
    let (node, wanted) = with_ca(Setup::new());
    let answer = page(&node, "/ca.mobileconfig", &["Accept-Language: ru"]);
    assert_eq!(answer.field("content-type"), "application/x-apple-aspen-config");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &answer.body).expect("writes");
    let read = format!("import sys; sys.stdin = open({:?})\n{SCRIPT}", file.path().display().to_string());
    let output = program::run(Command::new(program::need("python3")).args(["-c", &read]), 20);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list");
    assert_eq!(told[0], wanted.replace(':', "").to_lowercase(), "the certificate within");
    assert_eq!((told[1].as_str(), told[2].as_str()), ("com.apple.security.root", "Configuration"));
    assert!(told[3].contains("Настройка прокси") && told[3].contains(&format!("http://{}/proxy.pac", node.web)), "{}", told[3]);
    assert_ne!(told[4], told[5]);
    assert_eq!(told[6], "Сертификат школы: №12 Абай мектебі");
    assert_eq!(page(&node, "/ca.mobileconfig", &["Accept-Language: ru"]).body, answer.body, "installed again it replaces itself");
}

#[test]
fn a_ca_that_cannot_be_used_is_no_ca() {
    let (mut node, _) = with_ca(Setup::new().set("intercept.enabled", "true"));
    node.terminate();
    for file in std::fs::read_dir(node.folder.path().join("state/ca")).expect("a folder").filter_map(Result::ok) {
        if file.path().is_file() {
            std::fs::write(file.path(), "damaged").expect("writes");
        }
    }
    node.restart();
    assert_eq!(page(&node, "/ca.crt", &[]).status, 404);
    assert!(!page(&node, "/connect/windows", &[]).text().contains("/ca.crt"));
    assert!(node.log_text().contains("damaged"), "{}", node.log_text());
}

#[test]
fn a_certificate_that_is_made_while_the_node_runs_is_offered() {
    let node = Setup::new().start();
    assert_eq!(page(&node, "/ca.crt", &[]).status, 404);
    class::authority(&node.folder.path().join("state/ca"), &[]);
    node.hangup();
    kit::until("the CA is taken over", 20, || page(&node, "/ca.crt", &[]).status == 200);
    assert!(page(&node, "/connect/android", &[]).text().contains("/ca.crt"));
}

#[test]
fn a_device_that_trusts_the_certificate_is_told_so_and_gets_the_proxy_over_tls() {
    let port = kit::free_port();
    let class = Class::with(&["ec-h2"], |_, setup| setup.set("proxy.tls_listen", &format!("[\"127.0.0.1:{port}\"]")));
    let web = class.node.web;
    // The same two devices past the proxy, as their browsers fetch PAC file and pages.
    let straight = |number: u8, path: &str| {
        let address = format!("127.0.0.{number}");
        let device = Device::direct().with(&["--interface", &address, "-H", "Accept-Language: en"]);
        device.get(&format!("http://{web}{path}")).text()
    };
    let way = |number: u8| ways(&straight(number, "/proxy.pac"), &["kk.wikipedia.org"]).remove(0);
    let plain = format!("PROXY {}; DIRECT", class.node.proxy);
    let (device, stranger) = (class.device(1).with(&["-H", "Accept-Language: en"]), class.stranger(2));
    let first = straight(1, "/check");
    let number = first.split("check.svg?v=").nth(1).expect("a picture")[..16].to_owned();
    let trusts = || straight(2, &format!("/check?v={number}")).contains("Yes: this device trusts");
    // A picture that came by the proxy, but not under the CA, proves nothing of trust.
    assert!(device.get(&format!("http://bulak.internal/enrolled.svg?v={number}")).text().contains("Not by certificate"));
    assert!(!trusts() && way(1) == plain);
    assert_eq!(stranger.get(&format!("https://{OWN}/enrolled.svg?v={number}")).exit, 60, "not believed");
    assert!(!trusts());
    // The picture alone is enough: no click, no script.
    let picture = device.get(&format!("https://{OWN}/enrolled.svg?v={number}&lang=en"));
    assert!(picture.exit == 0 && picture.text().contains("Certificate trusted"), "{picture:?}");
    assert!(trusts());
    assert_eq!(way(1), format!("HTTPS {OWN}:{port}; {plain}"));
    assert_eq!(way(2), plain, "the other device stays where it was");
    // A new page remembers that a device at this address was enrolled, which is no proof, and goes on asking.
    let again = straight(1, "/check");
    assert!(again.contains("was enrolled earlier") && !again.contains("Yes: this device trusts"), "{again}");
    assert!(again.contains("http-equiv=\"refresh\"") && straight(2, "/check").contains("does not trust"), "{again}");
    let page = class::enrol(&device);
    assert!(page.status == 200 && page.text().contains("Yes: this page came under"), "{page:?}");
    let captive = device.get(&format!("https://{OWN}/captive")).text();
    assert!(captive.contains(&format!("https://{OWN}/connect")), "{captive}");
    let page = device.get(&format!("https://{OWN}/connect/windows"));
    assert!(page.status == 200 && page.text().contains(&format!("http://{web}/proxy.pac")), "{page:?}");
    // What is opened is said on the page about privacy.
    let privacy = straight(2, "/privacy");
    assert!(privacy.contains("<code>ec-h2.school.test</code>") && privacy.contains("this server opens these sites"), "{privacy}");
    assert!(!straight(2, "/").contains("never opened.</li>"), "the home page must not claim otherwise");
}

#[test]
fn ready_files_are_what_their_readers_take() {
    let node = Setup::new().start();
    let policy = page(&node, "/fleet/bulak.json", &[]);
    let document: serde_json::Value = serde_json::from_slice(&policy.body).expect("JSON");
    assert_eq!(document["ProxySettings"]["ProxyPacUrl"], format!("http://{}/proxy.pac", node.web));
    assert_eq!(policy.field("content-disposition"), "attachment; filename=\"bulak.json\"");
    let script = page(&node, "/fleet/bulak.sh", &[]).text();
    let told = program::run(Command::new("sh").args(["-euc", &format!("{script}\necho \"$http_proxy $HTTPS_PROXY\"")]), 10);
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), format!("http://{0} http://{0}", node.proxy));
    assert!(page(&node, "/fleet/bulak.ps1", &[]).text().contains("AutoConfigURL"));
    assert_eq!(page(&node, "/fleet/passwd", &[]).status, 404);
    let captive = page(&node, "/captive", &[]);
    assert_eq!((captive.field("content-type"), captive.field("cache-control")), ("application/captive+json".into(), "private".into()));
    let captive: serde_json::Value = serde_json::from_slice(&captive.body).expect("JSON");
    assert_eq!(captive, serde_json::json!({ "captive": false, "venue-info-url": format!("http://{}/connect", node.web) }));
}

#[test]
fn the_doctor_looks_at_what_devices_are_told() {
    let node = Setup::new().start();
    let report = node.command(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let find = |check: &str| report["checks"].as_array().expect("checks").iter().find(|found| found["check"] == check).cloned();
    let pac = find("pac").expect("looked at");
    assert_eq!(pac["state"], "fine", "{pac}");
    assert!(pac["message"].as_str().is_some_and(|told| told.contains(&node.proxy.to_string())), "{pac}");
    assert_eq!(find("local names").expect("looked at")["state"], "fine", "loopback announces nothing");
}
