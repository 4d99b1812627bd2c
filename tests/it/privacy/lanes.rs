//! The ways by which a pupil's device reaches a diary through a node: in the plain, by CONNECT with TLS of its own, and
//! under the school's own names.
//!
//! Each pupil has an address and a user agent of his own, so that both can be searched for afterwards.

use super::walk::{Step, Way};
use crate::kit::class::OWN;
use crate::kit::http::{self, Answer, PATIENCE};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

/// What every pupil's browser calls itself, up to the pupil's number.
pub(crate) const AGENT: &str = "PupilsPhone/7.";

/// The address of a pupil's device.
pub(crate) fn address(pupil: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 44, 7, 11 + u8::try_from(pupil).expect("a few pupils"))
}

/// The way through one node.
pub(crate) struct Lanes {
    proxy: SocketAddr,
    mirror: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

impl Lanes {
    /// Through this proxy and this mirror; https is believed when one of these roots (PEM files) signed it.
    pub(crate) fn through(proxy: SocketAddr, mirror: SocketAddr, roots: &[PathBuf]) -> Lanes {
        let mut store = rustls::RootCertStore::empty();
        for file in roots {
            for root in CertificateDer::pem_file_iter(file).expect("a file") {
                store.add(root.expect("PEM")).expect("a root");
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut tls = tls.with_root_certificates(store).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Lanes { proxy, mirror, tls: Arc::new(tls) }
    }

    /// Proves that a pupil's device trusts the school's CA.
    pub(crate) fn enrol(&self, pupil: usize) -> Answer {
        let (method, fields) = ("GET", Vec::new());
        self.ask(&Step { pupil, host: OWN, way: Way::Secure, method, path: "/enrolled".into(), fields, own: false })
    }

    /// Takes a step. Status 0: there was no answer, or nobody to believe.
    pub(crate) fn ask(&self, step: &Step) -> Answer {
        let from = socket2::SockAddr::from(SocketAddr::from((address(step.pupil), 0)));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&from).expect("an address of loopback");
        let door = if step.way == Way::Mirror { self.mirror } else { self.proxy };
        socket.connect_timeout(&door.into(), PATIENCE).expect("connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let stream = TcpStream::from(socket);
        match step.way {
            Way::Secure => self.secure(step, stream),
            Way::Plain => exchange(stream, step, step.host, &format!("http://{}{}", step.host, step.path)),
            Way::Mirror => {
                let name = format!("{}.m.school-test.internal:{}", step.host.replace('.', "-"), self.mirror.port());
                exchange(stream, step, &name, &step.path)
            }
        }
    }

    fn secure(&self, step: &Step, mut stream: TcpStream) -> Answer {
        write!(stream, "CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\nUser-Agent: {AGENT}{1}\r\n\r\n", step.host, step.pupil)
            .expect("sends");
        let opened = http::read(&mut BufReader::with_capacity(1, &stream), true);
        if opened.status != 200 {
            return Answer { status: opened.status, ..Answer::default() };
        }
        let name = ServerName::try_from(step.host.to_owned()).expect("a name");
        let session = rustls::ClientConnection::new(Arc::clone(&self.tls), name).expect("a session");
        exchange(rustls::StreamOwned::new(session, stream), step, step.host, &step.path)
    }
}

fn exchange(mut stream: impl Read + Write, step: &Step, host: &str, target: &str) -> Answer {
    let mut text = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}{}\r\n", step.method, step.pupil);
    for field in &step.fields {
        write!(text, "{field}\r\n").expect("a string grows");
    }
    text.push_str("Connection: close\r\n\r\n");
    if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
        return Answer::default();
    }
    http::read(&mut BufReader::new(stream), step.method == "HEAD")
}
