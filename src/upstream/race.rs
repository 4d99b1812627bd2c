//! Happy eyeballs (RFC 8305): addresses of both families in turn, a new attempt whenever the last one failed or has been silent for
//! 250 ms, the first connection wins and the others are dropped. What an attempt is, the caller says.

use futures_util::stream::{FuturesUnordered, StreamExt};
use std::net::IpAddr;
use std::time::Duration;

/// Connection Attempt Delay (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried at most; some names have dozens.
const MOST: usize = 8;

/// Families in turn, the first one's first (RFC 8305 section 4), each in its own order.
pub(super) fn interleave(addrs: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addrs.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addrs.iter().copied().partition(|addr| addr.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::with_capacity(addrs.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            mixed.truncate(MOST);
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Runs `attempt` on the addresses until one works. `Err` holds the last failure; `None` when there was no address.
/// Dropping it drops all attempts.
pub(super) async fn race<T, E, F>(addrs: &[IpAddr], mut attempt: impl FnMut(IpAddr) -> F) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut left = addrs.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut last = None;
    loop {
        match left.next() {
            Some(addr) => running.push(attempt(addr)),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let stagger = if left.len() == 0 { Duration::MAX } else { STAGGER };
        match tokio::time::timeout(stagger, running.next()).await {
            Ok(Some(Ok(won))) => return Ok(won),
            Ok(Some(Err(error))) => last = Some(error),
            // Silent so far: the next one starts beside it.
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    fn addrs(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|addr| addr.parse().expect(addr)).collect()
    }

    #[test]
    fn families_take_turns() {
        let table: [(&[&str], &[&str]); 4] = [
            (&["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"], &["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]),
            (&["1.1.1.1", "::1"], &["1.1.1.1", "::1"]),
            (&["1.1.1.1", "1.1.1.2"], &["1.1.1.1", "1.1.1.2"]),
            (&[], &[]),
        ];
        for (given, wanted) in table {
            assert_eq!(interleave(&addrs(given)), addrs(wanted));
        }
        let many = vec![IpAddr::from([1, 2, 3, 4]); 40];
        assert_eq!(interleave(&many).len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_starts_the_next_and_failure_at_once() {
        let start = Instant::now();
        let mut began = Vec::new();
        let won = race(&addrs(&["::1", "1.1.1.1", "::2", "1.1.1.2"]), |addr| {
            began.push((addr.to_string(), start.elapsed().as_millis()));
            async move {
                match addr.to_string().as_str() {
                    "::1" => std::future::pending().await,
                    "1.1.1.1" => Err("refused"),
                    "::2" => {
                        sleep(Duration::from_millis(400)).await;
                        Ok(addr)
                    }
                    _ => std::future::pending().await,
                }
            }
        })
        .await;
        assert_eq!(won, Ok(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 2])));
        let wanted = [("::1", 0), ("1.1.1.1", 250), ("::2", 250), ("1.1.1.2", 500)].map(|(addr, at)| (addr.to_owned(), at));
        // The paused clock counts whole milliseconds and may round each wait up by one.
        assert!(began.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && a.1.abs_diff(b.1) <= 3) && began.len() == 4, "{began:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told() {
        let failed: Result<(), _> = race(&addrs(&["1.1.1.1", "::1"]), |addr| async move { Err(addr) }).await;
        assert_eq!(failed, Err(Some("::1".parse().expect("an address"))));
        let nothing: Result<(), Option<()>> = race(&[], |_| async { Ok(()) }).await;
        assert_eq!(nothing, Err(None));
    }
}
