//! How the line is tried when nobody else does: TCP connections without a byte in them. Polite by construction: one at a time
//! and seconds apart, to the check list or else to hosts that answered our own fetches lately.

use crate::link::state::refusal_proves;
use crate::link::{Link, State};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// A check list is tried this often while the line works.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// Down, something is tried this often: the class waits, and a SYN is 60 bytes.
const DOWN_EVERY: Duration = Duration::from_secs(2);
/// A suspicion is looked into at most this often.
const DOUBT_EVERY: Duration = Duration::from_millis(500);
/// One try: three times the round trip of a satellite line, less than people wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// Hosts tried at once in a round of suspicion.
const AT_ONCE: usize = 3;

/// Watches until dropped.
pub(super) async fn run(link: Link) {
    let mut next = 0;
    loop {
        let pause = match (link.state(), link.0.checks.is_empty()) {
            (State::Down, _) => DOWN_EVERY,
            (_, false) => CHECK_EVERY,
            // Nothing to do until somebody fails.
            (_, true) => Duration::from_secs(3600),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = link.0.doubt.notified(), if link.state() != State::Down => {}
        }
        if !link.0.checks.is_empty() {
            check(&link).await;
        } else if link.state() == State::Down {
            again(&link, &mut next).await;
        } else {
            suspect(&link).await;
        }
        link.0.settled.send_modify(|count| *count += 1);
        tokio::time::sleep(DOUBT_EVERY).await;
    }
}

/// One round over the check list.
async fn check(link: &Link) {
    let tries = link.0.checks.iter().map(|check| async move {
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(check.as_str())).await;
        let addr = found.ok().and_then(Result::ok).and_then(|mut addrs| addrs.next());
        match addr {
            Some(addr) => reach(link, addr).await,
            None => None,
        }
    });
    let answers = futures_util::future::join_all(tries).await;
    let answered = answers.iter().flatten().next().is_some();
    for (addr, took) in answers.into_iter().flatten() {
        link.connected(addr, took);
    }
    let now = link.0.clock.steady();
    let mut mind = link.0.mind.lock();
    mind.judge.round(answered, now);
    link.publish(&mut mind);
}

/// Down: one host, each time the next.
async fn again(link: &Link, next: &mut usize) {
    let known = link.0.mind.lock().answered.clone();
    if known.is_empty() {
        return;
    }
    *next = (*next + 1) % known.len();
    if let Some((addr, took)) = reach(link, known[*next]).await {
        link.connected(addr, took);
    }
}

/// Something failed and nothing has worked since: do those that answered lately still answer? One that does ends the suspicion,
/// none of them is a failure of its own.
async fn suspect(link: &Link) {
    let known: Vec<SocketAddr> = {
        let mind = link.0.mind.lock();
        if mind.suspicion == 0 {
            return;
        }
        mind.answered.iter().rev().take(AT_ONCE).copied().collect()
    };
    if known.is_empty() {
        return;
    }
    let answers = futures_util::future::join_all(known.into_iter().map(|addr| reach(link, addr))).await;
    match answers.into_iter().flatten().next() {
        Some((addr, took)) => link.connected(addr, took),
        None => link.failed(),
    }
}

/// Whether the address answers, and after how long.
async fn reach(link: &Link, addr: SocketAddr) -> Option<(SocketAddr, Duration)> {
    let start = link.0.clock.steady();
    let answered = match tokio::time::timeout(PATIENCE, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused && refusal_proves(addr.ip()),
        Err(_) => false,
    };
    answered.then(|| (addr, link.0.clock.steady().saturating_duration_since(start)))
}
