//! TLS and HTTP/2, with a throw-away CA made by openssl's command line.

use super::kit::*;
use super::*;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A CA (`ca.pem`) and a certificate for a.kz and b.kz (`leaf.pem`, `leaf.key`).
fn authority(folder: &Path) {
    let script = "set -e
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -keyout ca.key -out ca.pem -days 30 -subj '/CN=Throw-away'
        openssl req $key -keyout leaf.key -out leaf.csr -subj /CN=a.kz
        printf 'subjectAltName=DNS:a.kz,DNS:b.kz\\nbasicConstraints=CA:FALSE\\n' > ext
        openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out leaf.pem";
    let made = Command::new("sh").arg("-c").arg(script).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A list (`crl.pem`) in which the leaf is revoked.
fn revoke(folder: &Path) {
    let script = "set -e
        touch index; echo 01 > number
        printf '[ca]\ndefault_ca=x\n[x]\ndatabase=index\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=30\n' > conf
        openssl ca -config conf -cert ca.pem -keyfile ca.key -revoke leaf.pem
        openssl ca -config conf -cert ca.pem -keyfile ca.key -gencrl -out crl.pem
        openssl crl -in crl.pem -outform DER -out crl.der";
    let made = Command::new("sh").arg("-c").arg(script).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

struct Secure {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Asks each HTTP/2 connection to go away.
    away: Arc<Notify>,
}

/// TLS as a.kz and b.kz, offering `protocols`.
fn acceptor(folder: &Path, protocols: &[&str]) -> tokio_rustls::TlsAcceptor {
    let certs = CertificateDer::pem_file_iter(folder.join("leaf.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// Answers `proto path` over TLS, offering `protocols`.
async fn secure(life: &Life, folder: &Path, protocols: &[&str]) -> Secure {
    let acceptor = acceptor(folder, protocols);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = Secure { addr: listener.local_addr().unwrap(), connections: Arc::default(), away: Arc::default() };
    let (connections, away, inner) = (secure.connections.clone(), secure.away.clone(), life.clone());
    life.spawn_until_stop(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            let (acceptor, away) = (acceptor.clone(), away.clone());
            inner.spawn_until_stop(async move {
                // A client that does not trust us hangs up.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let answer = service_fn(|request: Request<Incoming>| async move {
                    let host = request.uri().host().map(str::to_owned);
                    let film = request.uri().path() == "/film";
                    let said = format!("{:?} {} {host:?}", request.version(), request.uri().path());
                    let said = if film { "x".repeat(8 << 20) } else { said };
                    request.into_body().collect().await?;
                    Ok::<_, hyper::Error>(Response::new(http_body_util::Full::new(bytes::Bytes::from(said))))
                });
                if h2 {
                    let served =
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
                    let mut served = std::pin::pin!(served);
                    tokio::select! {
                        _ = served.as_mut() => return,
                        () = away.notified() => served.as_mut().graceful_shutdown(),
                    }
                    // How the client ends is its own affair.
                    let _ = served.await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                }
            });
        }
    });
    secure
}

fn trusting(folder: &Path, origin: &Secure) -> Settings {
    let hosts = [("a.kz", origin.addr), ("b.kz", origin.addr), ("c.kz", origin.addr)];
    Settings {
        extra_roots: vec![folder.join("ca.pem")],
        hosts: hosts.into_iter().map(|(name, addr)| (name.to_owned(), addr.to_string())).collect(),
        ..settings()
    }
}

#[tokio::test]
async fn many_requests_share_one_http2_connection_until_it_goes_away() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let origin = secure(&life, folder.path(), &["h2", "http/1.1"]).await;
    let node = node(trusting(folder.path(), &origin));
    let urls: Vec<_> = (0..20).map(|number| target(&format!("https://a.kz/{number}"))).collect();
    let all = futures_util::future::join_all(urls.iter().map(|url| node.upstream.send(url, get(), Class::Interactive))).await;
    for (number, sent) in all.into_iter().enumerate() {
        let sent = sent.unwrap();
        assert_eq!(sent.proto, "h2");
        assert_eq!(text(sent).await.unwrap(), format!("HTTP/2.0 /{number} Some(\"a.kz\")"));
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 1, "found out by one, shared by twenty");
    origin.away.notify_waiters();
    for _ in 0..5 {
        let sent = node.upstream.send(&urls[0], get(), Class::Interactive).await.unwrap();
        text(sent).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 2, "one more after it went away");
    let sent = node.upstream.send(&urls[0], post(Body::full("body")), Class::Report).await.unwrap();
    text(sent).await.unwrap();
    assert!(node.metrics.print().contains("bulak_upstream_bytes_total{class=\"report\",dir=\"tx\"} 4"));
    life.stop();
}

#[tokio::test]
async fn paused_films_stop_nobodys_pages() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let origin = secure(&life, folder.path(), &["h2"]).await;
    let node = node(trusting(folder.path(), &origin));
    let mut paused = Vec::new();
    for _ in 0..8 {
        paused.push(node.upstream.send(&target("https://a.kz/film"), get(), Class::Interactive).await.unwrap());
    }
    // Far beyond what any of it takes: it would wait for ever.
    let page = async { text(node.upstream.send(&target("https://a.kz/page"), get(), Class::Interactive).await.unwrap()).await.unwrap() };
    let page = tokio::time::timeout(Duration::from_mins(1), page).await.expect("the page comes past the films");
    assert_eq!((page.as_str(), origin.connections.load(Ordering::Relaxed)), ("HTTP/2.0 /page Some(\"a.kz\")", 1));
    drop(paused);
    life.stop();
}

#[tokio::test]
async fn http1_over_tls_is_pooled_too() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let origin = secure(&life, folder.path(), &["http/1.1"]).await;
    let node = node(trusting(folder.path(), &origin));
    let url = target("https://b.kz/x");
    for round in 0..3 {
        let sent = node.upstream.send(&url, get(), Class::Interactive).await.unwrap();
        assert_eq!((sent.proto, sent.reused), ("h1", round > 0));
        assert_eq!(text(sent).await.unwrap(), "HTTP/1.1 /x None");
        while node.upstream.0.pool.idle(&url.origin().into()) == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 1);
    life.stop();
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_named_as_such() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let origin = secure(&life, folder.path(), &["h2"]).await;
    let trusting = trusting(folder.path(), &origin);
    let node = node(trusting.clone());
    let failed = node.upstream.send(&target("https://c.kz/"), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "tls_certificate_error", "{failed}");
    revoke(folder.path());
    for list in ["crl.pem", "crl.der"] {
        let wary = kit::node(Settings { crls: vec![folder.path().join(list)], ..trusting.clone() });
        let failed = wary.upstream.send(&target("https://a.kz/"), get(), Class::Interactive).await.unwrap_err();
        assert_eq!(failed.proxy_status(), "tls_certificate_error", "{failed}");
        assert!(failed.to_string().contains("Revoked"), "{failed}");
    }
    let stranger = kit::node(Settings { extra_roots: Vec::new(), ..trusting });
    let failed = stranger.upstream.send(&target("https://a.kz/"), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "tls_certificate_error", "{failed}");
    assert!(!failed.is_line());
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = target(&format!("https://127.0.0.1:{}/", plain.local_addr().unwrap().port()));
    let (failed, ()) = tokio::join!(node.upstream.send(&url, get(), Class::Interactive), async {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Reads until the client hangs up, so that no reset hides what was said.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let failed = failed.unwrap_err();
    assert_eq!(failed.proxy_status(), "tls_protocol_error", "{failed}");
    life.stop();
}

#[tokio::test]
async fn https_goes_through_a_parent_unopened() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let origin = secure(&life, folder.path(), &["h2"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let parent = Some(target(&format!("http://{}", listener.local_addr().unwrap())));
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (heads, addr) = (asked.clone(), origin.addr);
    life.spawn_until_stop(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let head = read_head(&mut near).await;
            heads.lock().extend(head);
            let mut far = tokio::net::TcpStream::connect(addr).await.unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            // Either side may be the first to leave.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let node = node(Settings { parent, ..trusting(folder.path(), &origin) });
    for _ in 0..2 {
        let sent = node.upstream.send(&target("https://a.kz/x"), get(), Class::Interactive).await.unwrap();
        assert_eq!(sent.proto, "h2");
        assert_eq!(text(sent).await.unwrap(), "HTTP/2.0 /x Some(\"a.kz\")");
    }
    assert_eq!(*asked.lock(), ["CONNECT a.kz:443 HTTP/1.1\r\nHost: a.kz:443\r\n\r\n"]);
    life.stop();
}

/// One frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Answers requests over HTTP/2; of the first connection it does not look at the second one, and says so with `word`.
async fn forgetful(life: &Life, folder: &Path, word: Vec<u8>) -> Secure {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    let (acceptor, listener) = (acceptor(folder, &["h2"]), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let secure = Secure { addr: listener.local_addr().unwrap(), connections: Arc::default(), away: Arc::default() };
    let (connections, inner) = (secure.connections.clone(), life.clone());
    life.spawn_until_stop(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let first = connections.fetch_add(1, Ordering::Relaxed) == 0;
            let (acceptor, word) = (acceptor.clone(), word.clone());
            inner.spawn_until_stop(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut preface = [0; 24];
                stream.read_exact(&mut preface).await.unwrap();
                stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                loop {
                    let mut head = [0; 9];
                    if stream.read_exact(&mut head).await.is_err() {
                        return;
                    }
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    let mut payload = vec![0; usize::try_from(length).unwrap()];
                    stream.read_exact(&mut payload).await.unwrap();
                    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let answer = match (head[3], head[4] & 1) {
                        (SETTINGS, 0) => frame(SETTINGS, 1, 0, &[]),
                        (HEADERS, _) if first && number > 1 => word.clone(),
                        // ":status: 200", the end of the fields and of the stream.
                        (HEADERS, _) => frame(HEADERS, 5, number, &[0x88]),
                        _ => continue,
                    };
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    secure
}

#[tokio::test]
async fn what_an_origin_says_it_has_not_looked_at_is_asked_again() {
    let (folder, life) = (tempfile::tempdir().unwrap(), Life::default());
    authority(folder.path());
    let away = |code: u32| frame(7, 0, 0, &[1_u32.to_be_bytes(), code.to_be_bytes()].concat());
    let reset = |code: u32| frame(3, 0, 3, &code.to_be_bytes());
    // GOAWAY behind the first stream in peace (NO_ERROR), and in anger (PROTOCOL_ERROR); REFUSED_STREAM, and CANCEL.
    for (word, again) in [(away(0), true), (away(1), false), (reset(7), true), (reset(8), false)] {
        let origin = forgetful(&life, folder.path(), word.clone()).await;
        let node = node(trusting(folder.path(), &origin));
        let ask = async |request| node.upstream.send(&target("https://a.kz/x"), request, Class::Interactive).await;
        assert_eq!(ask(get()).await.unwrap().response.status(), 200);
        let second = ask(get()).await;
        assert_eq!(second.is_ok(), again, "{word:?} {:?}", second.err());
        assert_eq!(origin.connections.load(Ordering::Relaxed), 1 + usize::from(again));
    }
    // An order is not given twice, whatever the origin says.
    let origin = forgetful(&life, folder.path(), away(0)).await;
    let node = node(trusting(folder.path(), &origin));
    assert!(node.upstream.send(&target("https://a.kz/x"), get(), Class::Interactive).await.is_ok());
    assert!(node.upstream.send(&target("https://a.kz/x"), post(Body::Empty), Class::Interactive).await.is_err());
}
