//! What every port of ours does with a connection before a word of it is read: a peer that is gone is found out, and whoever finds no
//! room hears so without being waited for.

use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Write};
use std::net::Shutdown;
use std::time::Duration;
use tokio::net::TcpStream;

/// What was sent must be taken within this: a reader that stopped reading, or is gone, gives its connection back.
const TAKEN: Duration = Duration::from_mins(1);

/// After so long without a word the kernel asks whether the peer is still there: a box that lost its power never says goodbye, and
/// without this holds its connection for hours.
const SILENCE: Duration = Duration::from_mins(1);

/// Between such questions. The one that goes unanswered after [`TAKEN`] ends the connection (tcp(7), `TCP_USER_TIMEOUT`).
const AGAIN: Duration = Duration::from_secs(15);

/// Where no time limit counts, so many questions without an answer end it: the same minute.
const QUESTIONS: u32 = 4;

/// What a client in a crowd is told.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 27\r\nRetry-After: 5\r\n\
    Connection: close\r\n\r\ntoo many open connections.\n";

/// Has the kernel end the connection when its peer takes nothing more, or is gone.
pub fn look_after(stream: &TcpStream) {
    // Also for a window that stays shut.
    told(SockRef::from(stream).set_tcp_user_timeout(Some(TAKEN)));
    ask_after(stream);
}

/// Has the kernel end the connection when its peer is gone. One that is there and takes nothing keeps it: a film may be paused.
pub fn ask_after(stream: &TcpStream) {
    let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(AGAIN).with_retries(QUESTIONS);
    told(SockRef::from(stream).set_tcp_keepalive(&alive));
}

/// Without these it merely takes the system's longer time.
fn told(set: io::Result<()>) {
    if let Err(error) = set {
        tracing::debug!(%error, "no time limit for a peer that is gone");
    }
}

/// Tells a client that all room is taken.
pub fn crowded(stream: TcpStream) {
    turn_away(stream, CROWDED);
}

/// Says why, without waiting for anything.
pub fn turn_away(stream: TcpStream, text: &[u8]) {
    let Ok(mut stream) = stream.into_std() else { return };
    // The peer may be gone, and is owed nothing.
    let _ = stream.write(text);
    let _ = stream.shutdown(Shutdown::Write);
}

/// Whether the kernel counts down to asking after the peer of this connection of ours (proc(5), `/proc/net/tcp`).
#[cfg(test)]
pub(crate) async fn is_asked_after(port: u16, peer: u16) -> bool {
    for _ in 0..600 {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let ours = |line: &&str| {
            let mut ends = line.split_whitespace().skip(1).map(|end| end.rsplit(':').next().unwrap_or_default().to_owned());
            ends.next() == Some(format!("{port:04X}")) && ends.next() == Some(format!("{peer:04X}"))
        };
        let timer = table.lines().find(ours).and_then(|line| line.split_whitespace().nth(5));
        // 02: a timer that is neither of sending again (01, for a moment) nor of a shut window.
        if let Some(timer) = timer.filter(|timer| !timer.starts_with("01:")) {
            return timer.starts_with("02:");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection is not in the kernel's table");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_peer_that_is_gone_is_asked_after_and_a_crowd_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let place = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(TcpStream::connect(place), listener.accept());
        let (mut near, (far, _)) = (near.expect("connects"), far.expect("accepts"));
        let ports = (place.port(), near.local_addr().expect("bound").port());
        assert!(!is_asked_after(ports.0, ports.1).await, "by itself the kernel waits for hours");
        ask_after(&far);
        assert!(is_asked_after(ports.0, ports.1).await);
        let socket = SockRef::from(&far);
        assert_eq!(socket.tcp_user_timeout().expect("told"), None, "a reader that rests is not cut");
        assert_eq!(AGAIN * socket.tcp_keepalive_retries().expect("told"), TAKEN);
        look_after(&far);
        assert_eq!(socket.tcp_user_timeout().expect("told"), Some(TAKEN));
        assert!(socket.keepalive().expect("told"));
        assert_eq!((socket.tcp_keepalive_time().expect("told"), socket.tcp_keepalive_interval().expect("told")), (SILENCE, AGAIN));
        crowded(far);
        let mut told = String::new();
        near.read_to_string(&mut told).await.expect("reads");
        assert!(told.starts_with("HTTP/1.1 503 ") && told.ends_with("too many open connections.\n"), "{told}");
        let (head, body) = told.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
