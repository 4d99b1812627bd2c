//! Drives the delay controller while background is under way: one probe after the other, one tick after the other.
//!
//! # Why connections, and not what the kernel knows already
//! A queue towards us delays what comes to us. Of our own sockets the kernel knows the round trip of what *we* sent (a request now and
//! then), and of what we receive only the shortest one (`tcpi_rcv_rtt` is a running minimum, to size buffers): neither sees a queue grow.
//! So somebody has to be asked: by a TCP connection without a byte in it, which every host answers from its kernel. The kernel's own
//! measure of that handshake is taken, not ours, which would count the wait for a busy processor.

use crate::base::socket;
use crate::link::{Link, State};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// A place that was named for it is probed this often.
const EVERY: Duration = Duration::from_millis(100);
/// Somebody else's host: half as often, it did not ask for it.
const POLITE: Duration = Duration::from_millis(200);
/// On long lines so many probes are under way at once.
const UNDER_WAY: f64 = 4.0;
/// A host this near is in the school's own network, where there is no queue to be seen: once in a while, it may move.
const HERE: f64 = 0.002;
const SELDOM: Duration = Duration::from_secs(2);
/// So many probes without an answer, at the floor, and it is the host: others are asked.
const DEAF: u32 = 12;
/// A name is looked up within this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Without a host one is looked for this often.
const LOOK: Duration = Duration::from_secs(10);

/// Watches until dropped.
pub(super) async fn run(link: Link) {
    loop {
        let stirred = link.pace().stirred();
        if !link.pace().is_wanted() {
            stirred.await;
            continue;
        }
        link.pace().begin();
        steer(&link).await;
        link.tell_pace();
    }
}

/// Who is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Host {
    addr: SocketAddr,
    /// By the configuration.
    named: bool,
}

/// Steers until background has been over for a moment.
async fn steer(link: &Link) {
    let pace = link.pace();
    let mut host: Option<Host> = None;
    let mut probes = FuturesUnordered::new();
    let (mut tick, mut probe, mut look) = (pace.tick(), now(), now());
    let mut place = pace.place();
    while pace.is_wanted() {
        let stirred = pace.stirred();
        if host.is_none() && now() >= look {
            host = choose(link, place.as_ref()).await;
            pace.look_at(host.map(|host| host.addr));
            look = now() + LOOK;
        }
        let up = link.state() != State::Down;
        tokio::select! {
            () = tokio::time::sleep_until(tick.into()), if host.is_some() => {
                tick = pace.tick();
                link.tell_pace();
            }
            () = tokio::time::sleep_until(probe.into()), if host.is_some() && up => {
                let (_, base, patience) = pace.probing();
                if let Some(host) = host {
                    probes.push(ask(host.addr, patience));
                    probe = now() + interval(host, base);
                }
            }
            Some((addr, sent, rtt)) = probes.next() => {
                if host.is_some_and(|host| host.addr == addr) {
                    pace.probed(sent, rtt);
                    if pace.probing().0 >= DEAF {
                        pace.drop_host(addr);
                        host = None;
                    }
                }
            }
            // A first host may have become known, or another place was named.
            () = stirred => {
                let named = pace.place();
                if named != place {
                    (place, host) = (named, None);
                }
                if place.is_none() {
                    look = now();
                }
            }
            () = tokio::time::sleep_until(look.into()), if host.is_none() => {}
        }
    }
}

/// Whom to probe: the configured place, else the nearest host that the night fetches from.
async fn choose(link: &Link, place: Option<&String>) -> Option<Host> {
    if let Some(place) = place {
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(place)).await;
        if let Some(addr) = found.ok().and_then(Result::ok).and_then(|mut addrs| addrs.next()) {
            return Some(Host { addr, named: true });
        }
    }
    link.pace().nearest().map(|addr| Host { addr, named: false })
}

fn interval(host: Host, base: Option<f64>) -> Duration {
    let least = if host.named { EVERY } else { POLITE };
    match base {
        Some(base) if base < HERE => SELDOM,
        Some(base) => Duration::from_secs_f64(base / UNDER_WAY).max(least),
        None => least,
    }
}

/// One probe: when it left, and its round trip.
async fn ask(addr: SocketAddr, patience: Duration) -> (SocketAddr, Instant, Option<Duration>) {
    let sent = now();
    let tried = tokio::time::timeout(patience, connect(addr)).await;
    let rtt = match tried {
        Ok(Ok(rtt)) => Some(rtt.unwrap_or_else(|| now().saturating_duration_since(sent))),
        // A no is an answer.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Some(now().saturating_duration_since(sent)),
        Ok(Err(_)) | Err(_) => None,
    };
    (addr, sent, rtt)
}

/// Connects, and lets go by a reset: three packets fewer, and nothing that lingers on either side. The kernel's own measure.
async fn connect(addr: SocketAddr) -> io::Result<Option<Duration>> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_zero_linger()?;
    let stream = socket.connect(addr).await?;
    Ok(socket::tcp_info(&stream)?.rtt)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_is_answered_by_the_kernel_and_by_a_refusal() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (_, _, rtt) = ask(addr, PATIENCE).await;
        assert!(rtt.is_some_and(|rtt| !rtt.is_zero()), "nobody accepts, the kernel answers");
        drop(listener);
        assert!(ask(addr, PATIENCE).await.2.is_some());
    }

    #[test]
    fn hosts_that_did_not_ask_for_it_are_probed_less() {
        let addr = SocketAddr::from(([192, 0, 2, 1], 80));
        let (named, other) = (Host { addr, named: true }, Host { addr, named: false });
        for (base, first, second) in [(None, 100, 200), (Some(0.08), 100, 200), (Some(0.6), 150, 200), (Some(0.001), 2000, 2000)] {
            let found = [named, other].map(|host| interval(host, base).as_millis());
            assert_eq!(found, [first, second], "{base:?}");
        }
    }
}
