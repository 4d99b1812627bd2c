//! https of listed hosts on enrolled devices: what is opened, and all that is passed on unopened, genuine certificate seen.

use crate::kit;
use crate::kit::class::{Class, OWN, SCHOOL, authority, enrol};
use crate::kit::device::{Device, Fetched};
use crate::kit::http::Connection;
use crate::kit::line::Line;
use crate::kit::node::Setup;
use crate::kit::secure::full;
use std::io::{Read, Write};

fn url(host: &str, path: &str) -> String {
    format!("https://{}{path}", full(host))
}

/// Answered by us, under the school's CA.
fn is_opened(page: &Fetched) -> bool {
    page.exit == 0 && page.issuer.contains(SCHOOL)
}

/// Answered by the origin itself.
fn is_genuine(page: &Fetched) -> bool {
    page.exit == 0 && page.issuer.contains("Root of a test's origins")
}

#[test]
fn a_second_device_is_served_without_the_origin_over_both_protocols() {
    let class = Class::opening(&["ec-h2", "rsa-h1"]);
    for (host, first, second) in [("ec-h2", "--http2", "--http1.1"), ("rsa-h1", "--http1.1", "--http2")] {
        let (one, two) = (class.enrolled(1).with(&[first]), class.enrolled(2).with(&[second]));
        let page = one.get(&url(host, "/s/100k"));
        assert!(is_opened(&page) && !page.is_hit() && page.body == class.origins.file("100k"), "{page:?}");
        assert_eq!(page.subject, "", "a leaf has a name in SAN alone");
        let before = (class.origins.count(host), class.node.metric("bulak_upstream_bytes_total", "rx"));
        assert_eq!(before.0.0, 1);
        let verified = class.count("intercept", "verified");
        let page = two.get(&url(host, "/s/100k"));
        assert!(is_opened(&page) && page.is_hit() && page.body == class.origins.file("100k"), "{page:?}");
        assert_eq!((class.origins.count(host), class.node.metric("bulak_upstream_bytes_total", "rx")), before);
        assert_eq!(class.count("intercept", "verified"), verified, "the origin was not asked who it is once more");
        assert!(class.count("intercept", "remembered") >= 1);
    }
    let status = class.node.local("GET", "/api/v1/status");
    assert_eq!(status["cache"]["by_way"]["intercept"]["hit"][0], 2, "{status}");
    let versions: Vec<String> = ["ec-h2", "rsa-h1"].iter().map(|host| class.origins.of(host)[0].protocol.clone()).collect();
    assert_eq!(versions, ["HTTP/2.0", "HTTP/1.1"]);
}

#[test]
fn what_is_not_agreed_is_passed_on_with_the_genuine_certificate() {
    let class = Class::opening(&["ec-h2", "rsa-h2", "client", "old"]);
    let device = class.enrolled(1);
    for (host, reason) in [("other", "unlisted"), ("login", "refused")] {
        let page = device.get(&url(host, "/s/1k"));
        assert!(is_genuine(&page), "{host}: {page:?}");
        assert_eq!(device.look(&full(host), 443).certificate, class.origins.pair(host).der, "{host}");
        assert_eq!(class.count("splice", reason), 2, "{host}");
    }
    // A device that has the CA and did not prove it; one that has no CA.
    for stranger in [class.device(3), class.stranger(4)] {
        assert!(is_genuine(&stranger.get(&url("ec-h2", "/s/1k"))));
    }
    assert_eq!(class.count("splice", "unknown"), 2);
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))), "the enrolled one is opened all the same");
    // A host that wants to know its visitors: seen each time, asked once.
    for count in [1, 2] {
        let page = device.get(&url("client", "/s/1k"));
        assert!(is_genuine(&page) && page.status == 400, "{page:?}");
        assert_eq!(class.count("splice", "client-certificate"), count);
    }
    assert_eq!(class.count("intercept", "verified"), 1);
}

#[test]
fn an_origin_that_is_not_to_be_trusted_is_never_turned_into_a_good_one() {
    let class = Class::with(&["expired", "self-signed", "wrong-name", "revoked", "old", "ec-h2"], |origins, setup| {
        setup.set("upstream.crls", &format!("[{:?}]", origins.tls.revocations().display().to_string()))
    });
    let device = class.enrolled(1);
    for host in ["expired", "self-signed", "wrong-name"] {
        for _ in 0..2 {
            let page = device.get(&url(host, "/s/1k"));
            assert_eq!((page.exit, page.status), (60, 0), "{host}: {page:?}");
        }
        assert_eq!(device.look(&full(host), 443).certificate, class.origins.pair(host).der, "{host}");
    }
    assert_eq!(device.look(&full("revoked"), 443).certificate, class.origins.pair("revoked").der);
    assert!(is_genuine(&device.get(&url("revoked", "/s/1k"))), "whoever reads no list is not helped, and not misled");
    let old = device.get(&url("old", "/s/1k"));
    assert_eq!((old.exit, old.status), (35, 0), "{old:?}");
    assert_eq!(class.count("intercept", "verified"), 0);
    assert!(class.count("splice", "upstream") >= 11);
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))));
}

#[test]
fn a_device_that_does_not_trust_us_is_left_alone_and_that_is_remembered() {
    let mut class = Class::opening(&["ec-h2", "rsa-h2", "ec-h1", "rsa-h1"]);
    let device = class.enrolled(1);
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))));
    // An app on the same device with anchors of its own.
    let pinned = class.stranger(1);
    let page = pinned.get(&url("rsa-h2", "/s/1k"));
    assert_eq!(page.exit, 60, "{page:?}");
    for again in [&pinned, &device] {
        assert!(is_genuine(&again.get(&url("rsa-h2", "/s/1k"))), "for a day");
    }
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))), "other hosts work");
    assert_eq!(class.count("splice", "distrusts"), 2);
    // Written down within seconds, and at the end.
    assert!(class.node.terminate().success());
    class.node.restart();
    let (device, pinned) = (class.device(1), class.stranger(1));
    assert!(is_genuine(&device.get(&url("rsa-h2", "/s/1k"))));
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))), "it need not enrol anew");
    // Three hosts mark the device.
    for host in ["ec-h1", "rsa-h1"] {
        assert_eq!(pinned.get(&url(host, "/s/1k")).exit, 60);
    }
    assert!(is_genuine(&device.get(&url("ec-h2", "/s/1k"))));
    assert!(is_opened(&class.enrolled(1).get(&url("ec-h2", "/s/1k"))), "until it proves itself anew");
}

#[test]
fn whoever_leaves_twice_after_the_handshake_has_looked_at_the_certificate() {
    let class = Class::opening(&["ec-h2"]);
    let device = class.enrolled(1);
    for opened in [true, true, false] {
        // openssl shakes hands, hears no word to send, and leaves.
        let words = ["-bind", "127.0.0.1:0"];
        let sight = device.look_at(&format!("{}:443", full("ec-h2")), Some(&full("ec-h2")), &words);
        let genuine = sight.certificate == class.origins.pair("ec-h2").der;
        assert_eq!(genuine, !opened, "{}", sight.said);
        if opened {
            kit::until("the node has seen it leave", 20, || class.node.metric("bulak_client_connections", "") == Some(0.0));
        }
    }
}

/// A connection through CONNECT on which anything may be said, from `127.0.0.1`.
fn raw(class: &Class, host: &str) -> Connection {
    let mut connection = Connection::open(class.node.proxy);
    let place = format!("{}:443", full(host));
    connection.send(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes()).expect("sends");
    assert_eq!(connection.read(true).status, 200);
    connection
}

/// A ClientHello for this name as rustls makes it, and the client that awaits the answer.
fn hello(name: &str) -> (rustls::ClientConnection, Vec<u8>) {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a hello");
    (client, bytes)
}

/// Adds an extension to a ClientHello in one record.
fn extend(hello: &[u8], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = hello[5..].to_vec();
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&u16::try_from(body.len()).expect("short").to_be_bytes());
    message.extend_from_slice(body);
    // Version, random, session, suites and compression stand before the extensions' length.
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at += 1 + usize::from(message[at]);
    let length = u16::try_from(message.len() - at - 2).expect("short");
    message[at..at + 2].copy_from_slice(&length.to_be_bytes());
    let length = u32::try_from(message.len() - 4).expect("short").to_be_bytes();
    message[1..4].copy_from_slice(&length[1..]);
    let mut records = Vec::new();
    for piece in message.chunks(1 << 14) {
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&u16::try_from(piece.len()).expect("short").to_be_bytes());
        records.extend_from_slice(piece);
    }
    records
}

#[test]
fn strange_first_bytes_reach_the_origin_untouched() {
    let class = Class::opening(&["ec-h2", "ec-h1"]);
    let device = class.enrolled(1);
    let place = format!("{}:443", full("ec-h2"));
    let from = |name: Option<&str>, words: &[&str]| device.look_at(&place, name, &[&["-bind", "127.0.0.1:0"], words].concat());
    let other = full("other");
    let sight = from(Some(&other), &[]);
    assert_eq!((sight.certificate == class.origins.pair("other").der, class.count("splice", "other-name")), (true, 1), "{}", sight.said);
    let sight = from(None, &[]);
    assert!(!sight.certificate.is_empty() && !sight.issuer.contains(SCHOOL), "{}", sight.said);
    assert_eq!(class.count("splice", "no-name"), 1);
    let sight = from(Some(&full("ec-h2")), &["-alpn", "imap"]);
    assert!(!sight.issuer.contains(SCHOOL), "{}", sight.said);
    assert_eq!(class.count("splice", "alpn"), 1);
    from(Some(&full("ec-h2")), &["-tls1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert_eq!(class.count("splice", "old"), 1);

    // HTTP at the port of https: nginx says so itself.
    let mut plain = raw(&class, "ec-h1");
    plain.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", full("ec-h1")).as_bytes()).expect("sends");
    assert!(plain.read(false).text().contains("plain HTTP request was sent to HTTPS port"));
    assert_eq!(class.count("splice", "not-tls"), 1);

    // ECH: with another outer name it goes on; with the right one it may be grease.
    let ech = |name: &str| {
        let mut connection = raw(&class, "ec-h2");
        connection.send(&extend(&hello(name).1, 0xfe0d, &[0; 40])).expect("sends");
        let mut first = [0; 1];
        connection.raw().read_exact(&mut first).expect("an answer");
    };
    ech(&other);
    assert_eq!(class.count("splice", "ech"), 1);

    // Too long for us; OpenSSL takes it.
    let mut long = raw(&class, "ec-h2");
    long.send(&extend(&hello(&full("ec-h2")).1, 21, &vec![0; 20_000])).expect("sends");
    let mut first = [0; 1];
    long.raw().read_exact(&mut first).expect("the origin's hello");
    assert_eq!((first[0], class.count("splice", "too-long")), (22, 1));

    // Never finished: after five seconds it is the origin's.
    let mut never = raw(&class, "ec-h2");
    let bytes = hello(&full("ec-h2")).1;
    never.send(&bytes[..100]).expect("sends");
    kit::until("it is passed on", 20, || class.count("splice", "late") == 1);
    never.send(&bytes[100..]).expect("sends");
    let mut first = [0; 5];
    never.raw().read_exact(&mut first).expect("the origin's hello");
    assert_eq!(first[0], 22, "a handshake");

    // This one is opened. A client that leaves in the midst of the handshake, and once more, is left alone for a day: one time alone
    // may be a tab that was closed. Between two visits that work it has to leave twice before we have seen the first.
    let opened = class.count("intercept", "remembered");
    ech(&full("ec-h2"));
    assert_eq!(class.count("intercept", "remembered"), opened + 1);
    kit::until("the device is left alone", 20, || {
        ech(&full("ec-h2"));
        ech(&full("ec-h2"));
        is_genuine(&device.get(&url("ec-h2", "/s/1k")))
    });
}

#[test]
fn a_hello_in_many_pieces_is_one_hello() {
    let class = Class::opening(&["ec-h2"]);
    class.enrolled(1);
    let mut connection = raw(&class, "ec-h2");
    let (mut client, bytes) = hello(&full("ec-h2"));
    let socket = connection.raw().get_mut();
    for byte in &bytes {
        socket.write_all(std::slice::from_ref(byte)).expect("sends");
        socket.flush().expect("sends");
    }
    // The server's certificate is not one that this client can judge; it has come.
    client.read_tls(socket).expect("an answer");
    let _judged = client.process_new_packets();
    kit::until("it was opened", 20, || class.count("intercept", "verified") == 1);
}

#[test]
fn an_opened_connection_serves_its_own_host_alone() {
    let class = Class::opening(&["ec-h2", "rsa-h2"]);
    for version in ["--http1.1", "--http2"] {
        let device = class.enrolled(1).with(&[version]);
        let page = device.clone().with(&["-H", &format!("Host: {}", full("rsa-h2"))]).get(&url("ec-h2", "/s/1k"));
        assert_eq!((page.status, page.issuer.contains(SCHOOL)), (421, true), "{page:?}");
        let page = device.clone().with(&["-X", "TRACE", "-H", "Max-Forwards: 0"]).get(&url("ec-h2", "/s/1k"));
        assert!(page.status == 200 && page.field("content-type") == "message/http", "{page:?}");
        let page = device.clone().with(&["-H", "Via: 1.1 school-test"]).get(&url("ec-h2", "/s/1k"));
        assert_eq!(page.status, 508, "{page:?}");
        let page = device.get(&url("ec-h2", "/s/1k"));
        assert!(page.field("via").ends_with("school-test") && page.status == 200, "{page:?}");
    }
    assert_eq!(class.origins.count("rsa-h2").0, 0);
}

#[test]
fn our_own_pages_are_served_under_the_ca_and_prove_it() {
    let class = Class::opening(&["ec-h2"]);
    let device = class.device(1);
    assert!(is_genuine(&device.get(&url("ec-h2", "/s/1k"))));
    // Any other page of ours proves nothing.
    let page = device.get(&format!("https://{OWN}/healthz"));
    assert!(is_opened(&page) && page.text() == "ok\n", "{page:?}");
    assert!(is_genuine(&device.get(&url("ec-h2", "/s/1k"))));
    assert!(is_opened(&enrol(&device)));
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))));
    assert_eq!(class.node.metric("bulak_devices_enrolled", ""), Some(1.0));
    let stranger = enrol(&class.stranger(2));
    assert_eq!(
        (stranger.exit, class.node.metric("bulak_devices_enrolled", "")),
        (60, Some(1.0)),
        "whoever does not trust it proves nothing"
    );

    let without = Setup::new().start();
    let page = enrol(&Device::behind(without.proxy));
    assert_eq!(page.exit, 56, "without a CA there is nothing to show: {page:?}");
}

#[test]
fn with_the_line_cut_a_listed_host_opens_from_the_store() {
    let mut line = None;
    let class = Class::with(&["ec-h2"], |origins, setup| {
        let cut = Line::to(origins.addr("ec-h2"));
        let setup = setup.set("upstream.hosts", &format!("{{ \"{}:443\" = \"{}\" }}", full("ec-h2"), cut.addr));
        line = Some(cut);
        setup
    });
    let line = line.expect("a line");
    let device = class.enrolled(1);
    assert!(is_opened(&device.get(&url("ec-h2", "/"))));
    assert!(is_opened(&device.get(&url("ec-h2", "/"))));
    line.cut();
    kit::until("the line is known to be down", 60, || {
        device.get(&url("ec-h2", "/"));
        class.node.local("GET", "/api/v1/status")["link"]["state"] == "down"
    });
    let page = device.get(&url("ec-h2", "/"));
    assert!(is_opened(&page) && page.text().contains("no script ran"), "{page:?}");
    assert!(page.field("cache-status").contains("offline"), "{page:?}");
    let page = device.get(&url("ec-h2", "/s/10k"));
    assert!(is_opened(&page) && page.status == 504, "what is not here gets an honest page: {page:?}");
}

#[test]
fn why_tells_what_becomes_of_https() {
    let class = Class::opening(&["ec-h2", "expired", "client"]);
    let why = |host: &str| class.node.local("GET", &format!("/api/v1/why?url=https%3A%2F%2F{}%2Fs%2F1k", full(host)));
    let told = |host: &str| {
        let document = why(host);
        (document["lane"].as_str().unwrap_or_default().to_owned(), document["why"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(told("ec-h2").0, "intercept");
    assert_eq!(told("other"), ("tunnel".to_owned(), "unlisted".to_owned()));
    assert_eq!(told("login"), ("tunnel".to_owned(), "refused".to_owned()));
    let page = class.enrolled(1).get(&url("ec-h2", "/s/1k"));
    assert!(is_opened(&page));
    assert_eq!(why("ec-h2")["decision"], "serve");
    assert_eq!(why("ec-h2")["note"], "on enrolled devices; others are passed on unopened");
    let own = class.node.local("GET", &format!("/api/v1/why?url=https%3A%2F%2F{OWN}%2Fenrolled"));
    assert_eq!((&own["lane"], &own["decision"], &own["why"]), (&"local".into(), &"local".into(), &"own".into()), "{own}");
    // A listed host whose origin proves nothing: so it is told, once in the log.
    assert_eq!(told("expired").0, "intercept", "nobody has asked it yet");
    let device = class.enrolled(1);
    for _ in 0..3 {
        assert_eq!(device.get(&url("expired", "/s/1k")).exit, 60);
        assert!(is_genuine(&device.get(&url("client", "/s/1k"))));
    }
    assert_eq!(told("expired"), ("tunnel".to_owned(), "upstream".to_owned()));
    assert!(why("expired")["rule"].as_str().is_some_and(|rule| rule.contains("certificate") && rule.contains("passed on")));
    assert_eq!(told("client"), ("tunnel".to_owned(), "client-certificate".to_owned()));
    assert!(class.count("splice", "upstream") >= 3);
    let log = class.node.log_text();
    for host in ["expired", "client"] {
        let lines = log.lines().filter(|line| line.contains("passed on unopened, for all devices") && line.contains(&full(host)));
        assert_eq!(lines.count(), 1, "{host}: {log}");
    }
}

#[test]
fn why_tells_of_names_and_addresses_that_are_never_opened() {
    let node = Setup::new().set("proxy.allow_private_targets", "[]").start();
    for (asked, place, wanted) in [("https%3A%2F%2F127.0.0.1%2F", "127.0.0.1:443", "target_prohibited"), (OWN, "", "own")] {
        let asked = if asked == OWN { format!("https%3A%2F%2F{OWN}%2Fenrolled") } else { asked.to_owned() };
        let told = node.local("GET", &format!("/api/v1/why?url={asked}"));
        assert_eq!((&told["lane"], &told["decision"], &told["why"]), (&"refused".into(), &"refuse".into(), &wanted.into()), "{told}");
        let place = if place.is_empty() { format!("{OWN}:443") } else { place.to_owned() };
        let mut connection = Connection::open(node.proxy);
        connection.send(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes()).expect("sends");
        assert_ne!(connection.read(true).status, 200, "{place}: the proxy does what is told");
    }
}

#[test]
fn a_listed_host_that_is_refused_is_told_to_the_operator() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = [full("ec-h2"), full("login")];
    authority(&folder.path().join("state/ca"), &hosts[..1]);
    let setup = Setup::new().set("intercept.enabled", "true").set("intercept.hosts", &format!("{hosts:?}"));
    let (node, started) = setup.try_start_in(folder);
    let why = started.expect_err("the list is not to be believed in part");
    assert!(why.contains("intercept.hosts") && why.contains("never opened"), "{why}");
    drop(node);
}

#[test]
fn commands_on_the_ca_count_at_once_in_a_running_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let origins = crate::kit::secure::Secure::start();
    let node = crate::kit::class::listing(origins.join(Setup::new()), &[full("ec-h2")]).start_in(folder);
    let class = Class { node, origins };
    let run = |words: &[&str]| {
        let output = class.node.command(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let json = |words: &[&str]| serde_json::from_str::<serde_json::Value>(&run(&[words, &["--json"]].concat())).expect("a document");
    let https = || class.node.local("GET", "/api/v1/status")["https"].clone();
    assert!(https()["ca"].is_null() && https()["intercept"]["why_not"].as_str().is_some_and(|why| why.contains("there is no CA")));

    let create = ["ca", "create", "--school", SCHOOL, "--consent-by", "A. Test", "--role", "head"];
    let made = json(&create);
    assert_eq!((&made["node"], &made["current"]["devices"]), (&"told".into(), &0.into()));
    let print = made["current"]["fingerprint_sha256"].as_str().expect("a fingerprint").to_owned();
    assert_eq!(https()["ca"], print.as_str());
    assert_eq!(https()["intercept"], serde_json::json!({ "enabled": true, "why_not": null }));
    assert_eq!(https()["hosts"][0], full("ec-h2"));
    let device = class.enrolled(1);
    assert!(is_opened(&device.get(&url("ec-h2", "/s/1k"))));
    assert_eq!(json(&["ca", "show"])["current"]["devices"], 1);
    assert!(
        json(&["ca", "consent", "--consent-by", "B. Test", "--role", "head"])["consent"]["at"].as_str().is_some_and(|at| at.ends_with('Z'))
    );

    let said = run(&create);
    assert!(said.contains("the running node goes by it from now on"), "{said}");
    assert_eq!(https()["previous"], print.as_str());
    let shown = json(&["ca", "show"]);
    assert_eq!((&shown["current"]["devices"], &shown["previous"]["devices"]), (&0.into(), &1.into()));
    let said = run(&["ca", "retire", "--all", "--yes"]);
    assert!(said.contains(&format!("{print}\ndevices enrolled under it: 1\n")), "{said}");
    assert!(https()["ca"].is_null() && https()["hosts"] == serde_json::json!([]));
    let page = class.stranger(1).get(&url("ec-h2", "/s/1k"));
    assert!(page.exit == 0 && !is_opened(&page), "passed on unopened: {page:?}");
    let shown = class.node.command(&["ca", "show"]);
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(said.starts_with("no CA: all were retired; nothing is opened\n"), "{said}");
}

#[test]
fn a_ca_and_a_list_are_taken_over_while_the_node_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let origins = crate::kit::secure::Secure::start();
    let setup = crate::kit::class::listing(origins.join(Setup::new()), &[full("ec-h2")]);
    let node = setup.start_in(folder);
    let class = Class { node, origins };
    assert!(class.node.log_text().contains("there is no CA"));
    authority(&class.node.folder.path().join("state/ca"), &[full("ec-h2")]);
    class.node.hangup();
    kit::until("the CA is taken over", 20, || class.ca().exists() && enrol(&class.device(1)).exit == 0);
    assert!(is_opened(&class.device(1).get(&url("ec-h2", "/s/1k"))));
}
