//! The kit's parts that speak TLS, without interception: a tale is only as good as its props.

use crate::kit::browser::Wish;
use crate::kit::device::Device;
use crate::kit::node::Setup;
use crate::kit::scan;
use crate::kit::secure::{FILES, PROOF, Secure, full};

#[test]
fn origins_are_as_good_or_as_bad_as_their_names() {
    let mut origins = Secure::start();
    let node = origins.join(Setup::new()).start();
    let device = Device::behind(node.proxy).trusting(&origins.tls.root());
    for (host, version) in [("ec-h2", "2"), ("rsa-h2", "2"), ("ec-h1", "1.1"), ("rsa-h1", "1.1")] {
        let page = device.get(&format!("https://{}/", full(host)));
        assert_eq!((page.status, page.version.as_str(), page.exit), (200, version, 0), "{host}: {}", page.error);
        assert!(page.text().contains("no script ran") && page.field("cache-control") == "no-cache");
        assert_eq!(page.issuer, "CN = Root of a test's origins");
        let sight = device.look(&full(host), 443);
        assert!(sight.certificate == origins.pair(host).der && sight.verified == "0 (ok)", "{host}: {}", sight.said);
        assert_eq!((sight.protocol.as_str(), sight.alpn == "h2"), ("TLSv1.3", version == "2"));
    }
    let failures = [("expired", "expired"), ("self-signed", "self-signed"), ("wrong-name", "no alternative certificate subject name")];
    for (host, why) in failures {
        let page = device.get(&format!("https://{}/", full(host)));
        assert!(page.exit == 60 && page.error.contains(why), "{host}: {} {}", page.exit, page.error);
        let sight = device.look(&full(host), 443);
        assert!(sight.certificate == origins.pair(host).der && sight.verified != "0 (ok)", "{host}: {}", sight.said);
    }
    let old = device.get(&format!("https://{}/", full("old")));
    assert!(old.exit == 35 && old.status == 0, "{} {}", old.exit, old.error);
    let ancient = device.clone().with(&["--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0", "--tlsv1.1"]);
    assert_eq!(ancient.get(&format!("https://{}/", full("old"))).status, 200, "the old one works for old devices");
    let revoked = format!("https://{}/s/1k", full("revoked"));
    assert_eq!(device.get(&revoked).body, origins.file("1k"), "who reads no list notices nothing");
    let list = origins.tls.revocations().display().to_string();
    let careful = device.clone().with(&["--crlfile", &list]);
    let page = careful.get(&revoked);
    assert!(page.exit == 60 && page.error.contains("revoked"), "{} {}", page.exit, page.error);
    assert_eq!(careful.get(&format!("https://{}/s/1k", full("ec-h2"))).status, 200, "the list names one alone");
    let asked = format!("https://{}/s/1k", full("client"));
    assert_eq!(device.get(&asked).status, 400, "no certificate, no page");
    let card = origins.tls.client("pupil");
    let (certificate, key) = (card.certificate.display().to_string(), card.key.display().to_string());
    assert_eq!(device.with(&["--cert", &certificate, "--key", &key]).get(&asked).body, origins.file("1k"));
}

#[test]
fn origins_tell_what_they_were_asked() {
    let origins = Secure::start();
    let node = origins.join(Setup::new()).start();
    let device = Device::behind(node.proxy).trusting(&origins.tls.root());
    assert_eq!(origins.count("ec-h2"), (0, 0));
    for (name, length) in FILES {
        let answer = device.get(&format!("https://{}/s/{name}", full("ec-h2")));
        assert!(answer.body.len() == length && answer.body == origins.file(name), "{name}: {}", answer.error);
        assert_eq!(answer.field("cache-control"), "public, max-age=86400");
    }
    let all = origins.of("ec-h2");
    let asked: Vec<(&str, &str, u16)> = all.iter().map(|seen| (seen.target.as_str(), seen.protocol.as_str(), seen.status)).collect();
    assert_eq!(asked, FILES.map(|(name, _)| format!("/s/{name}")).iter().map(|path| (path.as_str(), "HTTP/2.0", 200)).collect::<Vec<_>>());
    let length: usize = FILES.iter().map(|(_, length)| length).sum();
    let (count, bytes) = origins.count("ec-h2");
    assert!(count == 4 && usize::try_from(bytes).expect("few") > length, "{count} requests, {bytes} bytes");
    assert_eq!(origins.count("other"), (0, 0));
}

#[test]
#[ignore = "half a minute to see that the scan can fail; scripts/test --full runs it"]
fn a_scan_finds_what_is_old() {
    let origins = Secure::start();
    // As nginx comes: with CBC ciphers.
    let Some(findings) = scan::scan("a_scan_finds_what_is_old", &full("ec-h1"), origins.addr("ec-h1")) else { return };
    assert!(findings.iter().any(|finding| finding.check == "LUCKY13"), "{findings:?}");
}

#[test]
fn chromium_believes_whom_its_database_names() {
    let origins = Secure::start();
    let node = origins.join(Setup::new()).start();
    let mut browser = Wish::behind(node.proxy).trusting(&origins.tls.root()).start();
    for host in ["ec-h2", "rsa-h1"] {
        let page = browser.visit_until(&format!("https://{}/", full(host)), PROOF);
        assert_eq!((page.status, page.error.as_str(), page.issuer.as_str()), (200, "", "Root of a test's origins"), "{page:?}");
        assert_eq!((page.subject.as_str(), page.protocol.as_str()), (full(host).as_str(), "TLS 1.3"));
        assert!(page.failed.is_empty() && page.complaints().is_empty(), "{page:?}");
        let asked = ["/", "/s/style.css", "/s/picture.svg", "/s/app.js"].map(|path| format!("https://{}{path}", full(host)));
        let mut requests: Vec<&String> = page.requests.iter().filter(|url| !url.starts_with("data:")).collect();
        requests.sort();
        let mut asked: Vec<&String> = asked.iter().collect();
        asked.sort();
        assert_eq!(requests, asked);
    }
    assert_eq!(browser.run("document.title"), "A page");
    for (host, error) in [
        ("expired", "ERR_CERT_DATE_INVALID"),
        ("self-signed", "ERR_CERT_AUTHORITY_INVALID"),
        ("wrong-name", "ERR_CERT_COMMON_NAME_INVALID"),
    ] {
        let page = browser.visit(&format!("https://{}/", full(host)));
        assert!(page.error.contains(error), "{host}: {page:?}");
    }
    let mut stranger = Wish::direct().map(&format!("{}:443", full("ec-h2")), origins.addr("ec-h2")).start();
    let page = stranger.visit(&format!("https://{}/", full("ec-h2")));
    assert!(page.error.contains("ERR_CERT_AUTHORITY_INVALID"), "{page:?}");
    let page = stranger.visit(&format!("https://{}/", full("ec-h1")));
    assert!(page.error.contains("ERR_NAME_NOT_RESOLVED"), "names that are not mapped are unknown: {page:?}");
}
