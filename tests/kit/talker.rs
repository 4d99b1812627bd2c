//! An origin with TLS that a test writes itself: a function answers each connection, decrypted. Its certificate may be exchanged
//! while it runs, as a captive portal or a mistaken renewal would.

use crate::kit::tls::Pair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A decrypted connection.
pub(crate) type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// A running origin. Speaks HTTP/1.1, offers no ALPN.
pub(crate) struct Talker {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    connections: Arc<AtomicUsize>,
}

impl Talker {
    /// Starts on a free loopback port; `talk` gets each connection after its handshake.
    pub(crate) fn start(pair: &Pair, talk: impl Fn(Stream) + Send + Sync + 'static) -> Talker {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let talker = Talker { addr, config: Arc::new(Mutex::new(config(pair))), connections: Arc::default() };
        let (current, connections, talk) = (Arc::clone(&talker.config), Arc::clone(&talker.connections), Arc::new(talk));
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let config = Arc::clone(&*current.lock().expect("no thread panics holding it"));
                let talk = Arc::clone(&talk);
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).expect("a configuration");
                    let mut stream = StreamOwned::new(connection, stream);
                    // Whoever does not believe the certificate hangs up.
                    if stream.conn.complete_io(&mut stream.sock).is_ok() {
                        talk(BufReader::new(stream));
                    }
                });
            }
        });
        talker
    }

    /// Shows another certificate from now on.
    pub(crate) fn show(&self, pair: &Pair) {
        *self.config.lock().expect("no thread panics holding it") = config(pair);
    }

    /// How many connections it has seen.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn config(pair: &Pair) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(&pair.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).expect("they fit");
    // A resumed session would show no certificate.
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// The next head of a request: its lines without the empty one; `None` at the end.
pub(crate) fn head(stream: &mut Stream) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line);
    }
}

/// Sends bytes at once.
pub(crate) fn say(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    let stream = stream.get_mut();
    stream.write_all(bytes)?;
    stream.flush()
}
