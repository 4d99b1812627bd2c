//! Hellos of rustls, hellos made by hand, hellos cut, mutated and split; and the table of the judge.

use super::*;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// What rustls says first.
fn real(host: &str, alpn: &[&[u8]], versions: &[&'static rustls::SupportedProtocolVersion]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned()).unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn long(body: &[u8]) -> Vec<u8> {
    [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn short(body: &[u8]) -> Vec<u8> {
    [&[u8::try_from(body.len()).unwrap()][..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(body)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &long(&[&[0][..], &long(name)].concat()))
}

fn offering(protocols: &[&[u8]]) -> Vec<u8> {
    extension(ALPN, &long(&protocols.iter().map(|name| short(name)).collect::<Vec<_>>().concat()))
}

fn versions(list: &[u16]) -> Vec<u8> {
    extension(SUPPORTED_VERSIONS, &short(&list.iter().flat_map(|version| version.to_be_bytes()).collect::<Vec<_>>()))
}

/// A body with these extensions; none: as before there were any.
fn body(legacy: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = [&legacy.to_be_bytes()[..], &[7; 32], &short(&[9; 32]), &long(&[0x13, 0x01, 0xc0, 0x2b]), &short(&[0])].concat();
    if !extensions.is_empty() {
        body.extend(long(&extensions.concat()));
    }
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[1][..], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], body].concat()
}

/// A handshake message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &long(part)].concat()).collect()
}

fn made(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(&body(TLS12, extensions)), FRAGMENT)
}

fn hello(bytes: &[u8]) -> Hello {
    match read(bytes) {
        Read::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_rustls_says_is_read_however_it_comes() {
    let bytes = real("KK.Wikipedia.org", &[b"h2", b"http/1.1"], BOTH);
    let wanted =
        Hello { name: Some("kk.wikipedia.org".to_owned()), alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ech: false, modern: true };
    assert_eq!(read(&bytes), Read::Hello(wanted.clone()));
    for at in 0..bytes.len() {
        assert_eq!(read(&bytes[..at]), Read::More, "{at} bytes");
    }
    let message = &bytes[5..];
    for size in [1, 2, 3, 7, 100] {
        let split = records(message, size);
        assert_eq!(read(&split), Read::Hello(wanted.clone()), "records of {size}");
        assert!((0..split.len()).all(|at| read(&split[..at]) == Read::More));
    }
    // What follows is no business of ours: early data, for one.
    assert_eq!(read(&[&bytes[..], &[23, 3, 3, 0, 1, 0], &[0; 90]].concat()), Read::Hello(wanted));
    assert!(hello(&real("a.kz", &[], &[&rustls::version::TLS12])).modern);
    assert!(hello(&real("a.kz", &[], &[&rustls::version::TLS13])).alpn.is_empty());
    assert_eq!(hello(&real("10.0.0.1", &[], BOTH)).name, None, "an address is no name");
}

#[test]
fn names_protocols_versions_and_grease() {
    const GREASE: u16 = 0x0a0a;
    let plain = Hello { modern: true, ..Hello::default() };
    let name = |text: &str| Hello { name: Some(text.to_owned()), ..plain.clone() };
    let grease = || extension(GREASE, &[]);
    let table = [
        (made(&[]), plain.clone()),
        (made(&[grease()]), plain.clone()),
        (made(&[grease(), named(b"A.kz"), extension(0x1a1a, &[0])]), name("a.kz")),
        (made(&[named(b"a.kz."), grease()]), plain.clone()),
        (made(&[named(b"a b.kz")]), plain.clone()),
        (made(&[named(b"\xd2\x9b.kz")]), plain.clone()),
        (made(&[named(b"a_b.kz")]), name("a_b.kz")),
        (made(&[named(&[b'a'; 300])]), plain.clone()),
        // A kind of name that nobody knows, beside the one we know.
        (made(&[extension(SERVER_NAME, &long(&[&[9][..], &long(b"x"), &[0], &long(b"a.kz")].concat()))]), name("a.kz")),
        (made(&[offering(&[b"h2", b"spdy/1"])]), Hello { alpn: vec![b"h2".to_vec(), b"spdy/1".to_vec()], ..plain.clone() }),
        (made(&[extension(ENCRYPTED_CLIENT_HELLO, &[0; 200])]), Hello { ech: true, ..plain.clone() }),
        (made(&[versions(&[GREASE, TLS13])]), plain.clone()),
        (made(&[versions(&[GREASE, 0x0302])]), Hello::default()),
        (records(&message(&body(0x0301, &[])), 999), Hello::default()),
        (records(&message(&body(0x0301, &[versions(&[TLS12])])), 999), plain.clone()),
    ];
    for (at, (bytes, wanted)) in table.into_iter().enumerate() {
        assert_eq!(read(&bytes), Read::Hello(wanted), "case {at}");
    }
}

#[test]
fn what_is_no_hello_is_told_at_the_first_byte_that_says_so() {
    let table: [(&[u8], Read); 16] = [
        (b"", Read::More),
        (b"G", Read::NotTls),
        (b"GET / HTTP/1.1\r\nHost: a.kz\r\n\r\n", Read::NotTls),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Read::NotTls),
        (&[0x80, 0x2e, 1, 0, 2], Read::NotTls), // SSL 2
        (&[22], Read::More),
        (&[22, 2], Read::NotTls),
        (&[22, 3, 1, 0, 0], Read::NotTls),                 // an empty record
        (&[22, 3, 1, 0x40, 0x01], Read::NotTls),           // longer than a record may be
        (&[22, 3, 1, 0, 5, 2], Read::NotTls),              // a ServerHello
        (&[21, 3, 1, 0, 2, 1, 0], Read::NotTls),           // an alert
        (&[22, 3, 1, 0, 4, 1, 0, 0x40, 0], Read::TooLong), // 16 KiB and a head
        (&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], Read::TooLong),
        (&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xf0], Read::More),
        (&[22, 3, 1, 0, 2, 1, 0, 23, 3, 3, 0, 1], Read::NotTls), // another record in between
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], Read::NotTls),           // an empty hello
    ];
    for (bytes, wanted) in table {
        assert_eq!(read(bytes), wanted, "{bytes:?}");
    }
}

#[test]
fn more_than_16_kib_is_too_long_and_never_waited_for() {
    // Padding up to the limit is read, beyond it nothing is.
    let padded = |length: usize| {
        let frame = message(&body(TLS12, &[extension(21, &[])])).len();
        message(&body(TLS12, &[extension(21, &vec![0; length - frame])]))
    };
    assert!(matches!(read(&records(&padded(MAX - 10), FRAGMENT)), Read::Hello(_)));
    let whole = records(&padded(MAX + 1), FRAGMENT);
    assert_eq!(read(&whole), Read::TooLong);
    assert_eq!(read(&whole[..9]), Read::TooLong, "its head says so");
    // Many small records: short as a message, long on the wire.
    let small = records(&padded(MAX - 100), 1);
    assert_eq!(read(&small[..MAX - 1]), Read::More);
    assert_eq!(read(&small[..MAX]), Read::TooLong);
    // Never finished: whoever waits for more knows when to give up.
    let never = records(&padded(MAX - 10), FRAGMENT);
    assert_eq!(read(&never[..never.len() - 1]), Read::More);
}

#[test]
fn a_hello_that_is_not_well_formed_is_none() {
    let good = body(TLS12, &[named(b"a.kz"), offering(&[b"h2"]), versions(&[TLS13])]);
    let read_body = |body: &[u8]| read(&records(&message(body), FRAGMENT));
    assert!(matches!(read_body(&good), Read::Hello(_)));
    // Cut anywhere, save where extensions would begin.
    let bare = body(TLS12, &[]).len();
    for at in (0..good.len()).filter(|at| *at != bare) {
        assert_eq!(read_body(&good[..at]), Read::NotTls, "cut at {at}");
    }
    assert_eq!(read_body(&[&good[..], &[0]].concat()), Read::NotTls, "bytes after it");
    let twice = [
        vec![named(b"a.kz"), named(b"b.kz")],
        vec![offering(&[b"h2"]), offering(&[b"h2"])],
        vec![extension(SERVER_NAME, &long(&[&[0][..], &long(b"a.kz"), &[0], &long(b"b.kz")].concat()))],
        vec![extension(SERVER_NAME, &[])],
        vec![extension(SERVER_NAME, &long(&[]))],
        vec![offering(&[])],
        vec![offering(&[b""])],
        vec![extension(ALPN, &[0, 3, 2, b'h', b'2', 0])],
        vec![extension(SUPPORTED_VERSIONS, &short(&[3]))],
        vec![extension(SUPPORTED_VERSIONS, &[])],
        (0..=128).map(|kind| extension(1000 + kind, &[])).collect(),
    ];
    for (at, extensions) in twice.iter().enumerate() {
        assert_eq!(read(&made(extensions)), Read::NotTls, "case {at}");
    }
    let mut odd = good.clone();
    odd[34] = 33; // a session id of 33 bytes
    assert_eq!(read_body(&odd), Read::NotTls);
}

#[test]
fn the_judge_splices_when_in_doubt() {
    let hello = |name: Option<&str>, alpn: &[&[u8]], ech, modern| Hello {
        name: name.map(str::to_owned),
        alpn: alpn.iter().map(|name| name.to_vec()).collect(),
        ech,
        modern,
    };
    let (same, other) = (Some("a.kz"), Some("b.kz"));
    let web: &[&[u8]] = &[b"h2", b"http/1.1"];
    let table = [
        (hello(same, web, false, true), Ok(())),
        (hello(same, &[], false, true), Ok(())),
        (hello(same, &[b"http/1.1"], false, true), Ok(())),
        (hello(same, &[b"h3", b"h2"], false, true), Ok(())),
        (hello(same, web, true, true), Ok(())), // grease
        (hello(None, web, false, true), Err(Splice::NoName)),
        (hello(None, web, true, true), Err(Splice::NoName)),
        (hello(other, web, false, true), Err(Splice::OtherName)),
        (hello(Some("www.a.kz"), web, false, true), Err(Splice::OtherName)),
        (hello(other, web, true, true), Err(Splice::Ech)),
        (hello(same, &[b"imap"], false, true), Err(Splice::Alpn)),
        (hello(same, &[b"http/1.0"], false, true), Err(Splice::Alpn)),
        (hello(same, web, false, false), Err(Splice::Old)),
    ];
    for (hello, wanted) in table {
        assert_eq!(judge_hello(&hello, "a.kz"), wanted, "{hello:?}");
    }
}

#[test]
fn every_reason_has_a_word_of_its_own() {
    let mut words: Vec<&str> = Splice::ALL.iter().map(|reason| reason.word()).collect();
    assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Splice::ALL.len());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz(&bytes);
        fuzz(&[&[22, 3, 1][..], &long(&bytes)].concat());
        fuzz(&records(&message(&bytes), 200));
    }

    #[test]
    fn mutated_hellos_are_read_without_panic(at in proptest::collection::vec((0_usize..400, any::<u8>()), 1..6), cut in 0_usize..600, size in 1_usize..300) {
        for bytes in [real("kk.wikipedia.org", &[b"h2"], BOTH), made(&[named(b"a.kz"), offering(&[b"h2"]), versions(&[TLS13])])] {
            let mut bytes = records(&bytes[5..], size);
            for (place, value) in &at {
                let place = place % bytes.len();
                bytes[place] = *value;
            }
            fuzz(&bytes);
            fuzz(&bytes[..cut.min(bytes.len())]);
        }
    }

    #[test]
    fn a_made_hello_is_read_as_it_was_made(
        host in "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){1,4}",
        alpn in proptest::collection::vec("[a-z0-9/.]{1,12}", 0..6),
        ech in any::<bool>(),
        newest in 0x0300_u16..0x0306,
        size in 1_usize..500,
    ) {
        let mut extensions = vec![named(host.as_bytes()), versions(&[0x2a2a, newest])];
        let names: Vec<&[u8]> = alpn.iter().map(String::as_bytes).collect();
        if !names.is_empty() {
            extensions.insert(0, offering(&names));
        }
        if ech {
            extensions.push(extension(ENCRYPTED_CLIENT_HELLO, &[1; 50]));
        }
        let bytes = records(&message(&body(TLS12, &extensions)), size);
        let wanted = Hello {
            name: Some(host),
            alpn: names.iter().map(|name| name.to_vec()).collect(),
            ech,
            modern: newest == TLS12 || newest == TLS13,
        };
        prop_assert_eq!(read(&bytes), Read::Hello(wanted));
    }
}
