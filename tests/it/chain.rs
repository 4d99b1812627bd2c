//! Other proxies before and behind: Debian's squid as parent and as child, nginx as origin.

use crate::kit::nginx::Nginx;
use crate::kit::node::Setup;
use crate::kit::squid::Squid;
use crate::kit::{self, http};

#[test]
fn squid_may_be_the_parent() {
    let nginx = Nginx::start();
    let squid = Squid::start(None);
    let node = Setup::new().set("upstream.parent", &format!("\"http://{}\"", squid.addr)).start();
    let url = format!("http://{}/tutorial/index.html", nginx.addr);
    let direct = http::get_direct(nginx.addr, &nginx.addr.to_string(), "/tutorial/index.html");
    let answer = node.get(&url);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body == direct.body && answer.field("via").contains("squid"), "{}", answer.field("via"));
    assert!(node.get(&url).body == direct.body);
}

#[test]
fn squid_may_be_the_child() {
    let nginx = Nginx::start();
    let node = Setup::new().start();
    let squid = Squid::start(Some(node.proxy));
    let url = format!("http://{}/tutorial/index.html", nginx.addr);
    let direct = http::get_direct(nginx.addr, &nginx.addr.to_string(), "/tutorial/index.html");
    let through_both = http::get(squid.addr, &url);
    assert_eq!(through_both.status, 200);
    assert!(through_both.body == direct.body && through_both.field("via").contains("school-test"), "{}", through_both.field("via"));
}

#[test]
fn real_hosts_look_the_same_through_the_node() {
    let nginx = Nginx::start();
    let mut setup = Setup::new();
    for host in ["docs", "assets", "plain", "gzip", "big"] {
        setup = setup.host(&format!("{host}.school.test"), nginx.addr);
    }
    let node = setup.start();
    let urls = nginx.urls(40);
    for url in &urls {
        for coding in ["Accept-Encoding: identity", "Accept-Encoding: gzip, br"] {
            let answer = node.fetch("GET", url, &[coding]);
            let body = if answer.field("content-encoding") == "gzip" { gunzip(&answer.body) } else { answer.body };
            assert_eq!(bulak::base::digest::Digest::of(&body), nginx.digest(url), "{url} with {coding}");
        }
    }
    let fixed = urls.iter().find(|url| url.contains("/h/")).expect("a hashed name");
    assert!(node.get(fixed).is_hit());
    let part = node.fetch("GET", "http://big.school.test/big.bin", &["Range: bytes=5000000-5000099"]);
    assert!(part.status == 206 && part.body == kit::noise(7, kit::nginx::BIG)[5_000_000..5_000_100]);
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).expect("gzip");
    out
}
