//! What opening a host costs: reading a ClientHello, minting a leaf, taking a kept one, a whole handshake, full and resumed.
//!
//! `cargo bench --bench tls`.

use bulak::base::clock::Clock;
use bulak::tls::authority::{self, Wish};
use bulak::tls::hello;
use bulak::tls::leaf::Leaves;
use criterion::Criterion;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::hint::black_box;
use std::sync::Arc;

const HOST: &str = "kk.wikipedia.org";

fn main() {
    // Another provider may be compiled in; ours is ring. An error says that it is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut criterion = Criterion::default().configure_from_args();
    let clock = Clock::system();
    let folder = tempfile::tempdir().expect("a folder");
    let wish = Wish { school: "Abay 12".to_owned(), zone: "abay-12.internal".to_owned(), hosts: vec![HOST.to_owned()] };
    let authority = authority::create(&folder.path().join("ca"), &wish, &clock).expect("a CA").current;
    let leaves = Leaves::new(&clock).expect("a key");

    let mut number = 0_u64;
    criterion.bench_function("mint a leaf", |bench| {
        bench.iter(|| {
            number += 1;
            leaves.config(&authority, &format!("h{number}.m.abay-12.internal"), true).expect("a leaf")
        });
    });
    criterion.bench_function("take a kept leaf", |bench| {
        bench.iter(|| leaves.config(black_box(&authority), black_box(HOST), true).expect("a leaf"));
    });

    let server = leaves.config(&authority, HOST, true).expect("a leaf");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.certificate_der().to_vec())).expect("a root");
    let client = |resumption| {
        let mut config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.resumption = resumption;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    };
    let full = client(Resumption::disabled());
    let resumed = client(Resumption::in_memory_sessions(8));
    shake(&resumed, &server);
    criterion.bench_function("handshake in full, both ends", |bench| bench.iter(|| shake(&full, &server)));
    criterion.bench_function("handshake resumed, both ends", |bench| bench.iter(|| shake(&resumed, &server)));

    let mut first = Vec::new();
    ClientConnection::new(full, ServerName::try_from(HOST).expect("a name")).expect("a client").write_tls(&mut first).expect("a hello");
    criterion.bench_function("read a hello", |bench| bench.iter(|| hello::read(black_box(&first))));
    criterion.final_summary();
}

/// A whole handshake in memory, until both sides have nothing more to say.
fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(HOST).expect("a name")).expect("a client");
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).expect("memory");
            server.process_new_packets().expect("TLS");
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).expect("memory");
            client.process_new_packets().expect("TLS");
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
}
