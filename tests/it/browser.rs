//! What a class sees in Chromium: the proxy by PAC, with the node stopped and back again.

use crate::kit;
use crate::kit::browser::{Browser, Visit, Wish};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::secure::{PROOF, Secure, full};

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
