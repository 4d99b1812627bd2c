//! A client that speaks HTTP/2 over TLS as browsers do and curl does not: many requests on one connection, CONNECT in a stream,
//! TLS in that stream, WebSocket by extended CONNECT. Every wait ends.

use bulak::life::Life;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest wait of one step.
const STEP: Duration = Duration::from_secs(30);

/// A connection that speaks HTTP/2.
pub(crate) type Two = SendRequest<Full<Bytes>>;

/// Runs a tale with waits, which ends.
pub(crate) fn run<T>(tale: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(STEP * 2, tale).await.expect("within a minute") })
}

/// A tunnel to a host's port 443 by CONNECT of HTTP/1.1.
pub(crate) async fn tunnel(proxy: SocketAddr, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.expect("connects");
    let ask = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sends");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// TLS for this name, trusting one file alone and offering these protocols.
///
/// # Errors
/// What rustls says.
pub(crate) async fn tls<S>(stream: S, name: &str, root: &Path, protocols: &[&str]) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// HTTP/2 on a stream. Ready once the server's settings are known.
pub(crate) async fn start<S>(stream: S) -> Two
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut two, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("speaks HTTP/2");
    Life::default().spawn(async move {
        // Whoever sent a request learns of the error by its answer.
        let _ended = connection.await;
    });
    two.ready().await.expect("ready");
    two
}

/// A request without a body.
pub(crate) fn ask(method: &str, url: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

/// Sends one request; the answer with its body.
pub(crate) async fn fetch(two: &mut Two, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let answer = two.send_request(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
}

/// CONNECT in a stream: the tunnel, or the refusing answer.
pub(crate) async fn connect(two: &mut Two, host: &str) -> Result<TokioIo<Upgraded>, Response<Incoming>> {
    let answer = two.send_request(ask("CONNECT", &format!("{host}:443"), &[])).await.expect("an answer");
    if !answer.status().is_success() {
        return Err(answer);
    }
    Ok(TokioIo::new(hyper::upgrade::on(answer).await.expect("a tunnel")))
}

/// WebSocket by extended CONNECT (RFC 8441): the bytes that follow, or the refusing answer.
pub(crate) async fn socket(two: &mut Two, url: &str) -> Result<TokioIo<Upgraded>, Response<Incoming>> {
    let mut request = ask("CONNECT", url, &[("sec-websocket-version", "13"), ("origin", "https://a.school.test")]);
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let answer = two.send_request(request).await.expect("an answer");
    if !answer.status().is_success() {
        return Err(answer);
    }
    assert!(!answer.headers().contains_key("sec-websocket-accept") && !answer.headers().contains_key("upgrade"), "{answer:?}");
    Ok(TokioIo::new(hyper::upgrade::on(answer).await.expect("a socket")))
}
