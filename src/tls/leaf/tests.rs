//! Tales of leaves: what a client of rustls, webpki and openssl make of them, when they are minted anew, what resumes.

use super::*;
use crate::tls::authority::{self, Wish};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use std::process::Command;

const DAY: Duration = Duration::from_hours(24);
const HOST: &str = "wikipedia.org";

fn made(clock: &Clock) -> (tempfile::TempDir, Arc<Authority>) {
    let folder = tempfile::tempdir().unwrap();
    let wish = Wish { school: "Abay".to_owned(), zone: "abay.internal".to_owned(), hosts: vec![HOST.to_owned(), "google.com".to_owned()] };
    let made = authority::create(&folder.path().join("ca"), &wish, clock).unwrap();
    (folder, made.current)
}

fn roots(authorities: &[&Authority]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from(authority.certificate_der().to_vec())).unwrap();
    }
    Arc::new(roots)
}

fn client(
    authorities: &[&Authority],
    clock: &Clock,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(OurTime(clock.clone())))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(authorities))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(32);
    Arc::new(config)
}

/// What came of a handshake: how it went and which protocol was chosen.
fn shake(client: &Arc<ClientConfig>, host: &str, server: &Arc<ServerConfig>) -> Result<(HandshakeKind, Option<Vec<u8>>), rustls::Error> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(host.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(server.clone())?;
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(server.server_name(), Some(host));
    Ok((server.handshake_kind().unwrap(), server.alpn_protocol().map(<[u8]>::to_vec)))
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn a_device_that_trusts_the_school_accepts_a_leaf() {
    let clock = Clock::manual(Time::BUILT);
    let (_folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    for host in [HOST, "kk.wikipedia.org", "proxy.abay.internal", "a.b.m.abay.internal"] {
        for versions in [BOTH, &[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let both: &[&[u8]] = &[b"h2", b"http/1.1"];
            let device = client(&[&authority], &clock, both, versions);
            let with = leaves.config(&authority, host, true).unwrap();
            assert_eq!(shake(&device, host, &with).unwrap(), (HandshakeKind::Full, Some(b"h2".to_vec())));
            let device = client(&[&authority], &clock, both, versions);
            let without = leaves.config(&authority, host, false).unwrap();
            assert_eq!(shake(&device, host, &without).unwrap().1, Some(b"http/1.1".to_vec()));
            let silent = client(&[&authority], &clock, &[], versions);
            assert_eq!(shake(&silent, host, &with).unwrap().1, None);
        }
    }
    assert_eq!((leaves.minted(), leaves.kept()), (4, 4), "one leaf a host, whatever is offered");
    let (_other, stranger) = made(&clock);
    let device = client(&[&stranger], &clock, &[], BOTH);
    assert!(shake(&device, HOST, &leaves.config(&authority, HOST, true).unwrap()).is_err(), "another school's device does not");
}

#[test]
fn nothing_is_minted_outside_of_the_constraints_or_for_a_personal_host() {
    let clock = Clock::manual(Time::BUILT);
    let (_folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    for host in ["example.kz", "notwikipedia.org", "10.0.0.1", "::1", "", "*.wikipedia.org", "Wikipedia.org", "abay.internal.kz"] {
        assert!(matches!(leaves.config(&authority, host, true), Err(Error::Outside { .. })), "{host}");
    }
    assert!(matches!(leaves.config(&authority, "login.wikipedia.org", true), Err(Error::Personal { .. })));
    assert!(leaves.config(&authority, "id.abay.internal", true).is_ok(), "the school's own names are its own");
    clock.advance(1826 * DAY);
    assert!(matches!(leaves.config(&authority, HOST, true), Err(Error::Expired { .. })));
}

/// A CA that was made when nobody looked at its zone, or by hand.
#[test]
fn a_zone_that_is_not_the_schools_lifts_nothing() {
    let clock = Clock::manual(Time::BUILT);
    let leaves = Leaves::new(&clock).unwrap();
    for (zone, refused, minted) in
        [("ru", "e.mail.ru", "abay.ru"), ("edu.kz", "login.abay.edu.kz", "abay.edu.kz"), ("abay.kz", "web.kaspi.kz", "id.abay.kz")]
    {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        valid(&mut params, Time::BUILT, Time::BUILT.plus(400 * DAY));
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: [zone, "kaspi.kz"].map(|name| rcgen::GeneralSubtree::DnsName(name.to_owned())).to_vec(),
            excluded_subtrees: vec![
                rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::from_v4_prefix([0; 4], 0)),
                rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::from_v6_prefix([0; 16], 0)),
            ],
        });
        let text = format!("{}{}", key.serialize_pem(), params.self_signed(&key).unwrap().pem());
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(folder.path().join("ca.key"), text).unwrap();
        std::fs::set_permissions(folder.path().join("ca.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let authority = authority::Authorities::load(folder.path(), clock.now()).unwrap().unwrap().current;
        assert!(matches!(leaves.config(&authority, refused, true), Err(Error::Personal { .. })), "{refused}");
        assert!(leaves.config(&authority, minted, true).is_ok(), "{minted}");
    }
}

/// Were this program to mint for another host all the same, no device would take it.
#[test]
fn webpki_and_openssl_refuse_a_leaf_outside_of_the_constraints() {
    let clock = Clock::system();
    let (folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    let now = clock.now();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(&[&authority]), Arc::new(ring::default_provider())).build().unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is missing; run scripts/test, which installs it");
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (host, inside) in [
        ("wikipedia.org", true),
        ("kk.wikipedia.org", true),
        ("proxy.abay.internal", true),
        ("example.kz", false),
        ("wikipedia.org.example.kz", false),
        ("notwikipedia.org", false),
        ("internal", false),
        ("www.google.com", true),
        ("accounts.google.com", false),
        ("deep.below.mail.google.com", false),
        ("login.wikipedia.org", false),
        ("id.abay.internal", true),
    ] {
        let (certified, _) = leaves.0.mint(&authority, host, now).unwrap();
        let leaf = certified.end_entity_cert().unwrap();
        let name = ServerName::try_from(host).unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.secs()).unwrap()));
        let judged = rustls::client::danger::ServerCertVerifier::verify_server_cert(&*verifier, leaf, &[], &name, &[], time);
        assert_eq!(judged.is_ok(), inside, "webpki and {host}: {judged:?}");
        std::fs::write(at("leaf.pem"), crate::tls::authority::as_pem(leaf)).unwrap();
        let words =
            ["verify", "-purpose", "sslserver", "-x509_strict", "-verify_hostname", host, "-CAfile", &at("ca/ca.pem"), &at("leaf.pem")];
        let (accepted, said) = openssl(&words);
        assert_eq!(accepted, inside, "openssl and {host}: {said}");
        assert!(inside || said.contains("permitted subtree violation") || said.contains("excluded subtree violation"), "{said}");
    }
    // An address, too: excluded by the constraints.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["10.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    valid(&mut params, now.minus(SLACK), now.plus(DAY));
    let leaf = params.signed_by(&key, authority.issuer()).unwrap();
    std::fs::write(at("leaf.pem"), leaf.pem()).unwrap();
    let (accepted, said) = openssl(&["verify", "-CAfile", &at("ca/ca.pem"), &at("leaf.pem")]);
    assert!(!accepted && said.contains("excluded subtree violation"), "{said}");

    let (_, shown) = openssl(&["x509", "-in", &at("ca/ca.pem"), "-noout", "-text"]);
    for words in [
        "X509v3 Name Constraints: critical",
        "DNS:abay.internal",
        "DNS:wikipedia.org",
        "IP:0.0.0.0/0.0.0.0",
        "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
        "TLS Web Server Authentication",
        "ASN1 OID: prime256v1",
        "O = Abay",
    ] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    let printed = openssl(&["x509", "-in", &at("ca/ca.pem"), "-noout", "-fingerprint", "-sha256"]).1;
    assert!(printed.contains(&authority.fingerprint().to_string()), "{printed}");
    let (certified, _) = leaves.0.mint(&authority, HOST, now).unwrap();
    std::fs::write(at("leaf.pem"), crate::tls::authority::as_pem(certified.end_entity_cert().unwrap())).unwrap();
    let (_, shown) = openssl(&["x509", "-in", &at("leaf.pem"), "-noout", "-text"]);
    for words in [
        "Subject: \n",
        "Subject Alternative Name: critical\n                DNS:wikipedia.org\n",
        "Digital Signature\n",
        "Authority Key Identifier",
    ] {
        assert!(shown.contains(words), "{words:?} is missing in {shown}");
    }
    assert!(!shown.contains("CA:TRUE"));
}

#[test]
fn a_leaf_is_kept_and_minted_anew_before_it_ends_or_when_the_clock_was_wrong() {
    let clock = Clock::manual(Time::BUILT);
    let (_folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    let config = || leaves.config(&authority, HOST, true).unwrap();
    let first = config();
    clock.advance(18 * DAY);
    assert!(Arc::ptr_eq(&first, &config()));
    clock.advance(DAY);
    assert_eq!(leaves.minted(), 1);
    let second = config();
    assert!(!Arc::ptr_eq(&first, &second) && leaves.minted() == 2 && leaves.kept() == 1);
    assert!(shake(&client(&[&authority], &clock, &[], BOTH), HOST, &second).is_ok());
    // The clock had been two years ahead.
    clock.advance(730 * DAY);
    config();
    clock.jump(-730 * 86_400_000_000);
    assert!(shake(&client(&[&authority], &clock, &[], BOTH), HOST, &config()).is_ok(), "valid today");
    assert_eq!(leaves.minted(), 4);
    // It never outlives its CA.
    clock.advance(1800 * DAY);
    let (_, until) = leaves.0.mint(&authority, HOST, clock.now()).unwrap();
    assert_eq!(until, authority.not_after());
    assert!(shake(&client(&[&authority], &clock, &[], BOTH), HOST, &config()).is_ok());
}

#[test]
fn the_leaf_unused_for_longest_makes_room() {
    let clock = Clock::manual(Time::BUILT);
    let (_folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    let config = |number: usize| leaves.config(&authority, &format!("h{number}.abay.internal"), true).unwrap();
    let (first, second) = (config(0), config(1));
    for number in 2..KEPT {
        config(number);
    }
    assert!(Arc::ptr_eq(&first, &config(0)), "used again");
    config(KEPT);
    assert_eq!((leaves.kept(), leaves.minted()), (KEPT, 4097));
    assert!(Arc::ptr_eq(&first, &config(0)));
    assert!(!Arc::ptr_eq(&second, &config(1)), "it had to go");
    assert_eq!(leaves.kept(), KEPT);
}

#[test]
fn sessions_resume_within_one_host_and_authority_only() {
    let clock = Clock::manual(Time::BUILT);
    let ((_one, old), (_other, new)) = (made(&clock), made(&clock));
    let leaves = Leaves::new(&clock).unwrap();
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let device = client(&[&old, &new], &clock, &[b"http/1.1"], versions);
        let kind =
            |authority: &Authority, host: &str, h2: bool| shake(&device, host, &leaves.config(authority, host, h2).unwrap()).unwrap().0;
        assert_eq!(kind(&old, HOST, true), HandshakeKind::Full);
        assert_eq!(kind(&old, HOST, true), HandshakeKind::Resumed);
        assert_eq!(kind(&old, HOST, false), HandshakeKind::Resumed, "with or without h2");
        assert_eq!(kind(&old, "kk.wikipedia.org", true), HandshakeKind::Full, "another host");
        // A device that only knew the old one must not seem to know the new one.
        assert_eq!(kind(&new, HOST, true), HandshakeKind::Full);
        assert_eq!(kind(&new, HOST, true), HandshakeKind::Resumed);
        clock.advance(20 * DAY);
        assert_eq!(kind(&new, HOST, true), HandshakeKind::Full, "a ticket ends");
        clock.jump(-20 * 86_400_000_000);
    }
}

#[test]
fn no_two_leaves_share_a_serial_number() {
    let clock = Clock::manual(Time::BUILT);
    let (_folder, authority) = made(&clock);
    let leaves = Leaves::new(&clock).unwrap();
    let serial = |host: &str| {
        let (certified, _) = leaves.0.mint(&authority, host, clock.now()).unwrap();
        let leaf = certified.end_entity_cert().unwrap().clone();
        x509_parser::parse_x509_certificate(&leaf).unwrap().1.raw_serial().to_vec()
    };
    assert_ne!(serial(HOST), serial(HOST));
    let read = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
    assert_eq!(&*read, authority.certificate_der());
}
