//! What a class sees in Chromium: the proxy by PAC, with the node stopped and back again; https that is opened, and all that is
//! not. And what testssl.sh finds at the TLS listeners.

use crate::kit;
use crate::kit::browser::{Browser, Visit, Wish};
use crate::kit::class::{self, Class, OWN, SCHOOL};
use crate::kit::device::Device;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use crate::kit::scan;
use crate::kit::secure::{PROOF, Secure, full};
use crate::kit::tls::{self, Fault, Key, Tls};
use std::net::Ipv4Addr;
use std::process::Command;

/// The proxy's own field on an answer: it came through the node.
fn is_through(page: &Visit) -> bool {
    page.field("via").contains("school-test")
}

/// A page that nobody may keep, so that each visit tells its way.
fn pages() -> Origin {
    Origin::start(|ask| {
        let text = format!("<!DOCTYPE html><title>A page</title><link rel=\"icon\" href=\"data:,\"><p>page {}", ask.target);
        Reply::Bytes(ok(&["Cache-Control: no-store", "Content-Type: text/html"], text.as_bytes()))
    })
}

/// A node on ports that stay the same when it is started again.
fn steady(setup: Setup) -> Node {
    let listen = || format!("[\"127.0.0.1:{}\"]", kit::free_port());
    setup.set("proxy.listen", &listen()).set("web.listen", &listen()).start()
}

/// Visits, and sees the page whichever way it came.
fn visit(browser: &mut Browser, path: &str) -> Visit {
    let page = browser.visit_until(&format!("http://o.school.test{path}"), &format!("page {path}"));
    assert!(page.status == 200 && page.error.is_empty(), "{page:?}");
    page
}

#[test]
fn the_class_goes_on_by_pac_without_the_node_and_returns_to_it() {
    let (origin, origins) = (pages(), Secure::start());
    let mut node = steady(origins.join(Setup::new().host("o.school.test", origin.addr)));
    let pac = format!("http://{}/proxy.pac", node.web);
    let https = |host: &str| format!("https://{}/", full(host));
    // The browser knows the names too: DIRECT is to work.
    let wish = Wish::pac(&pac).map("o.school.test:80", origin.addr).trusting(&origins.tls.root());
    let wish = ["ec-h2", "rsa-h2"].iter().fold(wish, |wish, host| wish.map(&format!("{}:443", full(host)), origins.addr(host)));
    let mut browser = wish.clone().start();
    assert!(is_through(&visit(&mut browser, "/by-pac")), "the proxy of the PAC file is used");
    let page = browser.visit_until(&https("ec-h2"), PROOF);
    assert!(page.address == node.proxy.to_string() && page.issuer == "Root of a test's origins", "{page:?}");

    node.terminate();
    assert!(!is_through(&visit(&mut browser, "/without")), "DIRECT stands behind the proxy");
    let page = browser.visit_until(&https("rsa-h2"), PROOF);
    assert!(page.address == origins.addr("rsa-h2").to_string(), "{page:?}");
    // A device that is switched on now does not even get the file.
    let mut late = wish.start();
    assert!(!is_through(&visit(&mut late, "/late")));

    node.restart();
    // Chromium leaves a proxy that failed alone for five minutes; its own switch ends them early.
    browser.visit("chrome://net-internals/#proxy");
    browser.run("document.getElementById('proxy-view-clear-bad-proxies').click()");
    assert!(is_through(&visit(&mut browser, "/back")), "the device returns");
    // The one that had no file asks for it again, after 8 s for the first time.
    let mut number = 0;
    kit::until("the late device finds the proxy", 120, || {
        number += 1;
        is_through(&visit(&mut late, &format!("/late-{number}")))
    });
}

/// The seat at `127.0.0.N`, and a browser there that trusts the school's CA.
fn seat(class: &Class, number: u8) -> (Line, Browser) {
    let line = Line::from(Ipv4Addr::new(127, 0, 0, number), class.node.proxy);
    let browser = Wish::behind(line.addr).trusting(&class.origins.tls.root()).trusting(&class.ca()).start();
    (line, browser)
}

/// Shows the page that proves that a device trusts the CA.
fn enrol(browser: &mut Browser) {
    let page = browser.visit(&format!("https://{OWN}/enrolled"));
    assert!(page.error.is_empty() && page.issuer.contains(SCHOOL), "{page:?}");
}

/// Sees a page of nginx under a certificate of this issuer.
fn sees(browser: &mut Browser, url: &str, issuer: &str) {
    let page = browser.visit_until(url, PROOF);
    assert!(page.status == 200 && page.issuer.contains(issuer) && page.protocol == "TLS 1.3", "{page:?}");
    assert!(page.failed.is_empty() && page.complaints().is_empty(), "{page:?}");
}

#[test]
fn an_enrolled_class_opens_a_listed_site_from_the_store() {
    let class = Class::opening(&["ec-h2", "client"]);
    let lesson = std::fs::read(class.origins.path("index.html")).expect("a page");
    class.origins.put("s/lesson.html", &lesson);
    let url = format!("https://{}/s/lesson.html", full("ec-h2"));
    let (_one_line, mut one) = seat(&class, 1);
    enrol(&mut one);
    sees(&mut one, &url, SCHOOL);
    let before = (class.origins.count("ec-h2"), class.node.metric("bulak_upstream_bytes_total", "rx"));
    assert_eq!(before.0.0, 4, "the page and its parts: {:?}", class.origins.of("ec-h2"));

    let (_two_line, mut two) = seat(&class, 2);
    // A device that has the CA and has not proved it is left alone.
    sees(&mut two, &url, GENUINE);
    let genuine = (class.origins.count("ec-h2"), class.node.metric("bulak_upstream_bytes_total", "rx"));
    assert!(genuine.0.0 == 8 && genuine.1 == before.1, "unopened bytes are the device's own: {genuine:?}");
    drop(two);
    let (_two_line, mut two) = seat(&class, 2);
    enrol(&mut two);
    sees(&mut two, &url, SCHOOL);
    assert_eq!((class.origins.count("ec-h2"), class.node.metric("bulak_upstream_bytes_total", "rx")), genuine, "0 bytes from the origin");

    // Beyond the list; refused for good; one that wants to know its visitors: never ours.
    sees(&mut two, &format!("https://{}/", full("other")), GENUINE);
    sees(&mut two, &format!("https://{}/", full("login")), GENUINE);
    for _ in 0..2 {
        let page = two.visit(&format!("https://{}/", full("client")));
        assert!(page.status == 400 && page.issuer == GENUINE, "{page:?}");
    }
}

/// Who signed the origins' certificates.
const GENUINE: &str = "Root of a test's origins";

#[test]
fn an_origin_that_lies_stays_a_liar_in_chromium() {
    let class = Class::opening(&["expired", "self-signed", "wrong-name"]);
    let (_line, mut browser) = seat(&class, 1);
    enrol(&mut browser);
    let errors = ["ERR_CERT_DATE_INVALID", "ERR_CERT_AUTHORITY_INVALID", "ERR_CERT_COMMON_NAME_INVALID"];
    for (host, error) in ["expired", "self-signed", "wrong-name"].into_iter().zip(errors) {
        let page = browser.visit(&format!("https://{}/", full(host)));
        assert!(page.error.contains(error), "{host}: {page:?}");
    }
    assert_eq!(class.count("intercept", "verified"), 0);
}

#[test]
fn nobody_believes_the_school_beyond_its_constraints() {
    let folder = tempfile::tempdir().expect("a folder");
    class::authority(&folder.path().join("ca"), &[full("ec-h2")]);
    // Whoever stole the key.
    let mut thief = Tls::as_authority(&folder.path().join("ca/ca.key"));
    let (inside, outside) = (full("ec-h2"), "kaspi.kz");
    let port = kit::free_port();
    let mut browser = Wish::direct()
        .trusting(&thief.root())
        .map(&format!("{inside}:443"), kit::loopback(port))
        .map(&format!("{outside}:443"), kit::loopback(port))
        .start();
    for (name, fine) in [(inside.as_str(), true), (outside, false)] {
        let pair = thief.server(name, &[name], Key::Ec, Fault::None);
        let mut server = Command::new(program::need("openssl"));
        server.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        let server = program::start(server.arg("-key").arg(&pair.key).arg("-cert").arg(&pair.certificate), &folder.path().join("log"));
        kit::until("openssl listens", 20, || std::net::TcpStream::connect(kit::loopback(port)).is_ok());
        let page = browser.visit(&format!("https://{name}/"));
        assert!(if fine { page.status == 200 } else { page.error.contains("ERR_CERT_INVALID") }, "Chromium, {name}: {page:?}");
        let sight = Device::direct().trusting(&thief.root()).look_at(&format!("127.0.0.1:{port}"), Some(name), &[]);
        let expected = if fine { "0 (ok)" } else { "47 (permitted subtree violation)" };
        assert_eq!(sight.verified, expected, "OpenSSL, {name}: {}", sight.said);
        let judged = tls::judge(&thief.root(), &pair.der, name);
        let expected = if fine { Ok(()) } else { Err("NameConstraintViolation".to_owned()) };
        assert_eq!(judged, expected, "rustls, {name}");
        drop(server);
    }
}

#[test]
fn a_device_speaks_with_the_proxy_itself_over_tls() {
    let (origin, door) = (pages(), kit::loopback(kit::free_port()));
    let class =
        Class::with(&["ec-h2"], |_, setup| setup.host("o.school.test", origin.addr).set("proxy.tls_listen", &format!("[\"{door}\"]")));
    let wish = Wish::by(&format!("https://{OWN}:{}", door.port())).map(OWN, door).trusting(&class.origins.tls.root());
    let mut browser = wish.clone().trusting(&class.ca()).start();
    assert!(is_through(&visit(&mut browser, "/over-tls")));
    enrol(&mut browser);
    sees(&mut browser, &format!("https://{}/", full("ec-h2")), SCHOOL);
    sees(&mut browser, &format!("https://{}/", full("other")), GENUINE);
    // Who does not trust the school does not even begin.
    let page = wish.start().visit("http://o.school.test/");
    assert!(page.error.contains("ERR_PROXY_CERTIFICATE_INVALID"), "{page:?}");
}

#[test]
fn an_enrolled_device_is_led_to_the_proxy_over_tls_by_pac() {
    let (origin, door) = (pages(), kit::loopback(kit::free_port()));
    let mut class =
        Class::with(&["ec-h2"], |_, setup| setup.host("o.school.test", origin.addr).set("proxy.tls_listen", &format!("[\"{door}\"]")));
    let wish = Wish::pac(&format!("http://{}/proxy.pac", class.node.web)).trusting(&class.ca());
    let wish = wish.map("o.school.test:80", origin.addr).map(OWN, door);
    let mut browser = wish.clone().start();
    let page = visit(&mut browser, "/plain");
    assert_eq!((is_through(&page), page.address), (true, class.node.proxy.to_string()));
    enrol(&mut browser);
    drop(browser);
    let mut browser = wish.start();
    let page = visit(&mut browser, "/secure");
    assert_eq!((is_through(&page), page.address), (true, door.to_string()));
    class.node.terminate();
    assert!(!is_through(&visit(&mut browser, "/without")));
}

#[test]
fn a_scan_of_the_tls_listeners_is_clean() {
    let (door, mirror) = (kit::loopback(kit::free_port()), kit::loopback(kit::free_port()));
    let mut school = Tls::new("A school's own root");
    let name = "docs-school-test.m.school-test.internal";
    let pair = school.server("mirror", &[name], Key::Ec, Fault::None);
    let class = Class::with(&[], |_, setup| {
        let file = |path: &std::path::Path| format!("{:?}", path.display().to_string());
        let setup = setup.set("proxy.tls_listen", &format!("[\"{door}\"]")).set("mirror.listen", &format!("[\"{mirror}\"]"));
        setup.set("mirror.certificate", &file(&pair.certificate)).set("mirror.key", &file(&pair.key))
    });
    std::thread::scope(|scope| {
        let scan = |name, addr| scan::scan("a_scan_of_the_tls_listeners_is_clean", name, addr);
        let scans = [(OWN, door), (name, mirror)].map(|(name, addr)| scope.spawn(move || (name, scan(name, addr))));
        for scan in scans {
            let (name, findings) = scan.join().expect("a scan");
            assert_eq!(findings.unwrap_or_default(), [], "{name}");
        }
    });
    drop(class);
}
