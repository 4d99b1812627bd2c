//! The kit's own parts, without a node: a tale is only as good as its props.

use crate::kit::dns::Dns;
use crate::kit::line::Line;
use crate::kit::nginx::{BIG, Nginx};
use crate::kit::origin::{Origin, Reply, first_range, ok};
use crate::kit::squid::Squid;
use crate::kit::{self, http, program};
use bulak::base::clock::Clock;
use bulak::base::digest::Digest;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

#[test]
fn the_name_server_answers_and_falls_silent() {
    let dns = Dns::start(Ipv4Addr::new(127, 0, 0, 9));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
    let ask = |name: &str, kind: u8| {
        let mut packet = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            packet.push(u8::try_from(label.len()).expect("short"));
            packet.extend_from_slice(label.as_bytes());
        }
        packet.extend_from_slice(&[0, 0, kind, 0, 1]);
        socket.send_to(&packet, dns.addr).expect("sends");
        let mut reply = [0; 512];
        socket.recv(&mut reply).ok().map(|length| reply[..length].to_vec())
    };
    let reply = ask("docs.School.test", 1).expect("an answer");
    assert!(reply.starts_with(&[0xab, 0xcd, 0x85, 0x80]) && reply.ends_with(&[127, 0, 0, 9]));
    let none = ask("docs.school.test", 28).expect("an answer");
    assert_eq!(none[3] & 0xf, 0, "no IPv6 address is no error");
    assert_eq!(ask("example.com", 1).expect("an answer")[3] & 0xf, 3);
    dns.cut();
    assert_eq!(ask("docs.school.test", 1), None);
    dns.mend();
    assert!(ask("docs.school.test", 1).is_some());
    assert_eq!(dns.queries(), 5);
}

#[test]
fn a_cut_line_is_silent_and_a_mended_one_works() {
    let origin = Origin::start(|_| Reply::Bytes(ok(&[], b"there")));
    let line = Line::to(origin.addr);
    let there = || http::get_direct(line.addr, "x", "/").text() == "there";
    assert!(there());
    line.cut();
    let failed = TcpStream::connect_timeout(&line.addr, Duration::from_millis(400)).expect_err("no one is there");
    assert_eq!(failed.kind(), std::io::ErrorKind::TimedOut, "a cut cable refuses nothing");
    line.mend();
    kit::until("the line works again", 10, || TcpStream::connect_timeout(&line.addr, Duration::from_millis(400)).is_ok());
    assert!(there());
}

#[test]
fn a_slow_line_takes_its_time_and_counts() {
    let body = kit::noise(5, 500_000);
    let sent = body.clone();
    let origin = Origin::start(move |_| Reply::Close(ok(&[], &sent)));
    let line = Line::slow(kit::loopback(0), origin.addr, 1_000_000).expect("a line");
    let clock = Clock::system();
    let start = clock.steady();
    assert!(http::get_direct(line.addr, "x", "/").body == body);
    assert!(clock.steady() - start >= Duration::from_millis(400), "half a megabyte at a megabyte a second");
    assert!((500_000..501_000).contains(&line.down_bytes()));
}

#[test]
fn an_origin_says_what_it_is_told_and_remembers() {
    let origin = Origin::start(|ask| {
        let part = first_range(ask, 10).unwrap_or(0..10);
        Reply::Bytes(ok(&["X-A: 1"], &b"0123456789"[part]))
    });
    let mut connection = http::Connection::open(origin.addr);
    connection
        .send(b"GET /x HTTP/1.1\r\nHost: h\r\nRange: bytes=2-4\r\n\r\nPOST /y HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
        .expect("sends");
    assert_eq!(connection.read(false).text(), "234");
    assert_eq!(connection.read(false).field("x-a"), "1");
    let asks = origin.asks();
    assert_eq!((asks[0].target.as_str(), asks[0].field("range"), asks[1].body.as_slice()), ("/x", Some("bytes=2-4"), b"hi".as_slice()));
    assert_eq!((origin.count(), origin.connections()), (2, 1));
}

#[test]
fn the_real_hosts_have_realistic_fields() {
    let nginx = Nginx::start();
    let ask = |host: &str, path: &str| http::get_direct(nginx.addr, &format!("{host}.school.test"), path);
    let page = ask("docs", "/tutorial/index.html");
    assert_eq!((page.status, page.field("cache-control").as_str()), (200, "no-cache"));
    assert!(page.field("etag").starts_with('"') && page.text().contains("The Python Tutorial"));
    assert_eq!(ask("docs", "/_static/pydoctheme.css").field("cache-control"), "public, max-age=86400");
    let plain = ask("plain", "/faq/index.html");
    assert!(plain.has("last-modified") && !plain.has("etag") && !plain.has("cache-control"));
    let coded = http::exchange(
        nginx.addr,
        b"GET /howto/index.html HTTP/1.1\r\nHost: gzip.school.test\r\nAccept-Encoding: gzip\r\nVia: 1.1 x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((coded.field("content-encoding").as_str(), coded.field("vary").as_str()), ("gzip", "Accept-Encoding"));
    assert!(coded.field("etag").starts_with("W/"), "{}", coded.field("etag"));
    let part =
        http::exchange(nginx.addr, b"GET /big.bin HTTP/1.1\r\nHost: big.school.test\r\nRange: bytes=-21\r\nConnection: close\r\n\r\n");
    assert!(part.status == 206 && part.body == kit::noise(7, BIG)[BIG - 21..]);
    let urls = nginx.urls(4);
    assert!(urls.len() > 150, "{} URLs", urls.len());
    let fixed = urls.iter().find(|url| url.contains("/h/")).expect("a hashed name");
    assert!(ask("assets", fixed.trim_start_matches("http://assets.school.test")).field("cache-control").contains("immutable"));
    assert_eq!(nginx.requests().len(), 6);
}

#[test]
fn real_clients_read_through_a_proxy() {
    let nginx = Nginx::start();
    let squid = Squid::start(None);
    let port = nginx.addr.port();
    let urls: Vec<String> = nginx.urls(40).iter().map(|url| url.replace(".school.test/", &format!(".school.test:{port}/"))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let output = program::curl(squid.addr, &urls, folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = program::wget(squid.addr, &urls, folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (number, url) in urls.iter().enumerate() {
        for file in [folder.path().join(number.to_string()), folder.path().join(url.trim_start_matches("http://"))] {
            let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(Digest::of(&bytes), nginx.digest(url), "{url} in {}", file.display());
        }
    }
    for (page, proof) in [("blockly", "ran function"), ("jsxgraph", "ran object"), ("mathjax", "ran function")] {
        let url = format!("http://assets.school.test:{port}/{page}.html");
        let document = program::chromium(squid.addr, &url, &folder.path().join(page));
        assert!(document.contains(proof), "{page}: {document}");
    }
}
