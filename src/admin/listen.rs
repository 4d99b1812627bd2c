//! Serves a router on TCP and unix listeners until the node stops: then no new connections, and the open ones end after their
//! answer. Nobody holds a connection for nothing: heads, bodies and readers have their time, and no client has all connections.

use crate::base::crowd::{Crowd, Seat};
use crate::base::door;
use crate::base::drip::{Pace, Steady};
use crate::life::Life;
use crate::portal::{Arrival, Door};
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

/// How many connections a listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Open at once; more wait.
    pub connections: usize,
    /// Of one client; more are refused.
    pub each: usize,
}

/// Open connections of one listener: a school of 500 devices reading the portal at once, 6 connections each, waits a little.
const CONNECTIONS: usize = 1024;

/// Of these, one client has an eighth: a browser has 6, a speed test 8, and a whole class may stand behind one Wi-Fi router's address.
const EACH: usize = 128;

impl Default for Room {
    fn default() -> Room {
        Room { connections: CONNECTIONS, each: EACH }
    }
}

/// A request's head must be here by then; slower senders hold a connection for nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head: cookies of other ports on our name come along.
const HEAD_LIMIT: usize = 32 << 10;

/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on a bound TCP listener; each request carries its [`Arrival`].
pub fn serve_tcp(life: &Life, listener: TcpListener, router: Router, room: Room) {
    let watch = life.clone();
    life.spawn(async move {
        let (seats, crowd) = (Arc::new(Semaphore::new(room.connections)), Crowd::default());
        while let Some(seat) = seat(&watch, &seats).await {
            let (stream, client) = tokio::select! {
                () = watch.stopping() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => { failed(&error).await; continue }
                },
            };
            let Some(place) = crowd.enter(Some(client.ip().to_canonical()), usize::MAX, room.each) else {
                door::crowded(stream);
                continue;
            };
            door::look_after(&stream);
            let arrival = stream.local_addr().ok().map(|local| Arrival { client, local, door: Door::Web });
            serve(&watch, stream, arrival, router.clone(), (seat, Some(place)));
        }
    });
}

/// Serves `router` on a unix socket made by [`bind_unix`]; removes the socket's file at the end.
pub fn serve_unix(life: &Life, listener: UnixListener, path: PathBuf, router: Router) {
    let watch = life.clone();
    life.spawn(async move {
        let seats = Arc::new(Semaphore::new(Room::default().connections));
        while let Some(seat) = seat(&watch, &seats).await {
            let stream = tokio::select! {
                () = watch.stopping() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => { failed(&error).await; continue }
                },
            };
            serve(&watch, stream, None, router.clone(), (seat, None));
        }
        drop(listener);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(socket = %path.display(), %error, "socket file was already gone");
        }
    });
}

/// Binds a unix socket with mode 0660. A file left by a node that died is removed only when nobody answers there.
///
/// # Errors
/// `AddrInUse` when another node answers there; else what the file system says.
pub async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let is_socket = std::fs::symlink_metadata(path).map(|meta| meta.file_type().is_socket());
    if matches!(is_socket, Ok(false)) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there and is no socket", path.display())));
    }
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another node answers at {}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn seat(life: &Life, seats: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        () = life.stopping() => None,
        seat = seats.clone().acquire_owned() => seat.ok(),
    }
}

/// A connection ends after the answer under way once the node stops; what it was upgraded to (a speed test) sees to its own end.
fn serve<S>(life: &Life, stream: S, arrival: Option<Arrival>, router: Router, seats: (OwnedSemaphorePermit, Option<Seat>))
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(arrival) = arrival {
            request.extensions_mut().insert(arrival);
        }
        router.clone().oneshot(request.map(|body| Body::new(Steady::new(body, Pace::USUAL))))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let watch = life.clone();
    life.spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = watch.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "web connection ended early");
        }
        drop(seats);
    });
}

async fn failed(error: &io::Error) {
    tracing::warn!(%error, "cannot accept web connections, will try again");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::body::Body as Message;
    use axum::Extension;
    use axum::routing::get;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_socket_left_by_a_dead_node_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bulak.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        bind_unix(&path).await.expect("replaces it");
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").expect("writes");
        // Connecting to an ordinary file is refused as well: it must not be deleted for that.
        assert_eq!(bind_unix(&file).await.expect_err("no socket").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).expect("still there"), "precious");
    }

    #[tokio::test]
    async fn requests_carry_who_came_and_where_to() {
        let whoami = async |Extension(arrival): Extension<Arrival>| format!("{} {}", arrival.client.ip(), arrival.local.port());
        let router = Router::new().route("/", get(whoami));
        let life = Life::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        serve_tcp(&life, listener, router, Room::default());
        let stream = tokio::net::TcpStream::connect(addr).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("speaks");
        life.spawn(async move {
            // Ends with the node.
            let _ = connection.await;
        });
        let request = Request::builder().uri("/").header("host", "x").body(Message::Empty).expect("a request");
        let direct = sender.send_request(request).await.expect("an answer");
        let text = Message::stream(direct.into_body()).collect(100).await.expect("a body");
        assert_eq!(text, format!("127.0.0.1 {}", addr.port()));
        // The idle connection must not hold up the end.
        assert!(life.end(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_device_that_lost_its_power_is_asked_after() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let life = Life::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        serve_tcp(&life, listener, Router::new().route("/", get(async || "here")), Room::default());
        let mut silent = TcpStream::connect(addr).await.expect("connects");
        silent.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sends");
        silent.read_exact(&mut [0; 12]).await.expect("answers");
        assert!(door::is_asked_after(addr.port(), silent.local_addr().expect("bound").port()).await);
        assert!(life.end(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn one_client_has_its_share_of_connections_and_gets_it_back() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let life = Life::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        serve_tcp(&life, listener, Router::new().route("/", get(async || "here")), Room { connections: 100, each: 3 });
        let answer = async |stream: &mut TcpStream| {
            let mut text = [0; 12];
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
            stream.read_exact(&mut text).await.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
        };
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(addr).await.expect("connects");
            assert_eq!(answer(&mut stream).await, "HTTP/1.1 200");
            held.push(stream);
        }
        let mut fourth = TcpStream::connect(addr).await.expect("connects");
        let mut text = String::new();
        fourth.read_to_string(&mut text).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("connections.\n"), "{text}");
        let other = tokio::net::TcpSocket::new_v4().expect("a socket");
        other.bind("127.0.0.2:0".parse().expect("an address")).expect("ours");
        let mut other = other.connect(addr).await.expect("connects");
        assert_eq!(answer(&mut other).await, "HTTP/1.1 200", "nobody pays for another");
        drop(held);
        loop {
            let mut stream = TcpStream::connect(addr).await.expect("connects");
            // Its going is noticed a moment later.
            if answer(&mut stream).await == "HTTP/1.1 200" {
                break;
            }
        }
        life.stop();
    }
}
