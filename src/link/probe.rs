//! How the line is tried when nobody else does: TCP connections without a byte in them. Polite by construction: a few at a time
//! and seconds apart, to the check list, else to hosts that answered our own fetches lately, else, once, to those that did not. While
//! nobody fails and nobody asks, once in a quarter of an hour.

use crate::base::socket;
use crate::link::side::Side;
use crate::link::state::ENOUGH;
use crate::link::{Finder, Link, State};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// A check list is tried this often while the line works.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// Down, something is tried this often: the class waits, and a SYN is 60 bytes.
const DOWN_EVERY: Duration = Duration::from_secs(2);
/// A suspicion is looked into at most this often.
pub(super) const DOUBT_EVERY: Duration = Duration::from_millis(500);
/// One try: three times the round trip of a satellite line, less than people wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Hosts tried at once in a round of suspicion.
const AT_ONCE: usize = 3;
/// When nobody has tried anything for so long, a host that answered lately is: a night without a class is no night without a line.
const QUIET_EVERY: Duration = Duration::from_mins(15);

/// Watches until dropped.
pub(super) async fn run(link: Link) {
    let mut next = 0;
    let mut known = BTreeMap::new();
    loop {
        let pause = match (link.state(), link.0.checks.is_empty()) {
            (State::Down, _) => DOWN_EVERY,
            (_, false) => CHECK_EVERY,
            // Nothing to do until somebody fails, or nobody does anything.
            (_, true) => QUIET_EVERY.saturating_sub(link.quiet_for()).max(DOWN_EVERY),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = link.0.doubt.notified(), if link.state() != State::Down => {}
        }
        if !link.0.checks.is_empty() {
            check(&link, &mut known).await;
        } else if link.state() == State::Down {
            again(&link, &mut next).await;
        } else {
            if link.quiet_for() >= QUIET_EVERY {
                let mut mind = link.0.mind.lock();
                mind.attempted = link.0.clock.steady();
                // One host alone that is silent in the night says nothing about the line.
                let several = mind.answered.iter().any(|(host, _)| mind.answered.front().is_some_and(|(first, _)| first != host));
                mind.suspicion = mind.suspicion.max(u32::from(several));
            }
            suspect(&link).await;
        }
        link.0.settled.send_modify(|count| *count += 1);
        tokio::time::sleep(DOUBT_EVERY).await;
    }
}

/// One round over the check list. A name that cannot be looked up has the address that it had: dead names are no dead line.
async fn check(link: &Link, known: &mut BTreeMap<String, SocketAddr>) {
    let tries = link.0.checks.iter().map(|check| {
        let before = known.get(check).copied();
        async move {
            let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(check.as_str())).await;
            if before.is_none() && matches!(&found, Ok(Err(error)) if is_nobody(error)) {
                return Checked::Nobody;
            }
            if matches!(&found, Ok(Err(error)) if socket::is_ours(error)) {
                return Checked::Ours;
            }
            let Some(addr) = found.ok().and_then(Result::ok).and_then(|mut addrs| addrs.next()).or(before) else {
                return Checked::Silent;
            };
            match reach(link, addr).await {
                Reached::Yes(took) => Checked::Answered(check.clone(), addr, took),
                Reached::Ours => Checked::Ours,
                Reached::Refused | Reached::No => Checked::Silent,
            }
        }
    });
    judge(link, futures_util::future::join_all(tries).await, known);
}

/// What a round over the check list says of the line.
fn judge(link: &Link, answers: Vec<Checked>, known: &mut BTreeMap<String, SocketAddr>) {
    if answers.iter().all(|answer| matches!(answer, Checked::Nobody | Checked::Ours)) {
        // A mistyped list is no dead line; whoever said that there is no such name was reached.
        tracing::debug!("link.check names nobody, or this machine has no socket free");
        return;
    }
    let answered = answers.iter().any(|answer| matches!(answer, Checked::Answered(..)));
    for answer in answers {
        if let Checked::Answered(check, addr, took) = answer {
            link.connected(&addr.to_string(), addr, took);
            known.insert(check, addr);
        }
    }
    let now = link.0.clock.steady();
    let mut mind = link.0.mind.lock();
    mind.judge.round(answered, now);
    link.publish(&mut mind);
}

/// What came of a place of the check list.
enum Checked {
    Answered(String, SocketAddr, Duration),
    Silent,
    /// There is no such name.
    Nobody,
    /// This machine had no socket free.
    Ours,
}

/// Whether the system says that nobody has a name, in the words of glibc or of musl (`gai_strerror`): the code itself is not told.
fn is_nobody(error: &io::Error) -> bool {
    const WORDS: [&str; 4] =
        ["Name or service not known", "No address associated with", "Name does not resolve", "Name has no usable address"];
    let text = error.to_string();
    WORDS.iter().any(|word| text.contains(word))
}

/// Down: one host, each time the next.
async fn again(link: &Link, next: &mut usize) {
    let known = link.0.mind.lock().answered.clone();
    if known.is_empty() {
        return;
    }
    *next = (*next + 1) % known.len();
    let (host, addr) = &known[*next];
    if let Reached::Yes(took) = reach(link, *addr).await {
        link.connected(host, *addr, took);
    }
}

/// Something failed and nothing has worked since: do those that answered lately still answer? One that does ends the suspicion,
/// none of them is a failure of its own. When nothing has answered since the start, the silent host itself is asked again.
async fn suspect(link: &Link) {
    let (mut known, proven): (Vec<(Box<str>, SocketAddr)>, bool) = {
        let mind = link.0.mind.lock();
        if mind.suspicion == 0 {
            return;
        }
        let proven = !mind.answered.is_empty();
        let list = if proven { &mind.answered } else { &mind.tried };
        // Each host once before any of them twice: one with many addresses does not speak for all.
        let mut hosts = BTreeSet::new();
        let (first, again): (Vec<_>, Vec<_>) = list.iter().rev().partition(|(host, _)| hosts.insert(host));
        (first.into_iter().chain(again).take(AT_ONCE).cloned().collect(), proven)
    };
    if known.is_empty() {
        return;
    }
    if !proven {
        // One host alone is asked as often as a verdict needs.
        known = known.iter().cycle().take(known.len().max(ENOUGH)).cloned().collect();
    }
    let answers = futures_util::future::join_all(known.iter().map(|(_, addr)| reach(link, *addr))).await;
    weigh(link, &known, proven, &answers);
}

/// What the answers of those that were suspected say of the line.
fn weigh(link: &Link, known: &[(Box<str>, SocketAddr)], proven: bool, answers: &[Reached]) {
    let mut worked = known.iter().zip(answers).filter_map(|((host, addr), answer)| match answer {
        Reached::Yes(took) => Some((host, *addr, *took)),
        Reached::Refused | Reached::No | Reached::Ours => None,
    });
    if let Some((host, addr, took)) = worked.next() {
        link.connected(host, addr, took);
        return;
    }
    for ((host, addr), answer) in known.iter().zip(answers) {
        // This machine, when it refuses and has never answered, says nothing about the line.
        if *answer == Reached::No || proven && *answer == Reached::Refused {
            link.failed(host, Some(addr.ip()), Finder::Round);
        }
    }
}

impl Link {
    /// How long nobody has tried a connection.
    fn quiet_for(&self) -> Duration {
        self.0.clock.steady().saturating_duration_since(self.0.mind.lock().attempted)
    }
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Answered, after so long.
    Yes(Duration),
    /// Refused by this machine, or in the school's own network.
    Refused,
    /// Silent, or no way there.
    No,
    /// Not tried: this machine had no socket free, which says nothing about the line.
    Ours,
}

/// Whether the address answers, and after how long.
async fn reach(link: &Link, addr: SocketAddr) -> Reached {
    let start = link.0.clock.steady();
    let tried = tokio::time::timeout(PATIENCE, TcpStream::connect(addr)).await;
    let took = link.0.clock.steady().saturating_duration_since(start);
    tried.map_or(Reached::No, |tried| told(addr, took, tried))
}

/// What a try that ended after so long tells.
fn told<T>(addr: SocketAddr, took: Duration, tried: io::Result<T>) -> Reached {
    match tried {
        Ok(_) => Reached::Yes(took),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if Side::of(addr.ip()).refusal_proves() {
                Reached::Yes(took)
            } else {
                Reached::Refused
            }
        }
        Err(error) if socket::is_ours(&error) => Reached::Ours,
        Err(_) => Reached::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};
    use crate::base::count::Metrics;
    use crate::life::Life;
    use crate::link::{Sample, Settings};
    use rustix::io::Errno;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn what_this_machine_lacks_says_nothing_of_the_line() {
        let addr = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 443));
        let failed = |errno: Errno| told(addr, PATIENCE, Err::<(), _>(io::Error::from(errno)));
        assert_eq!((failed(Errno::MFILE), failed(Errno::NETUNREACH)), (Reached::Ours, Reached::No));
        for lacking in [true, false] {
            let life = Life::default();
            let link = Link::new(Settings::default(), Clock::manual(Time::BUILT), &life, &Metrics::default());
            link.observe(Sample::Connected { host: "a.kz".into(), addr, took: PATIENCE });
            let answer = failed(if lacking { Errno::MFILE } else { Errno::NETUNREACH });
            for _ in 0..ENOUGH {
                weigh(&link, &[("a.kz".into(), addr)], true, &[answer]);
            }
            assert_eq!(link.state() == State::Up, lacking, "hosts that answered lately");

            let link = Link::new(Settings::default(), Clock::manual(Time::BUILT), &life, &Metrics::default());
            link.observe(Sample::Connected { host: "a.kz".into(), addr, took: PATIENCE });
            for _ in 0..ENOUGH {
                judge(&link, vec![if lacking { Checked::Ours } else { Checked::Silent }], &mut BTreeMap::new());
            }
            assert_eq!(link.state() == State::Up, lacking, "a check list");
            life.stop();
        }
    }
}
