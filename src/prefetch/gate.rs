//! Manners: how often and by how many connections at once a host is asked.
//!
//! Pages wait their turn; what a page needs, hosts whose pack states permission, and the school's own network are not held back,
//! but for a wait that the host itself asked for.

use crate::base::backoff::Backoff;
use crate::base::clock::Time;
use std::collections::HashMap;
use std::time::Duration;

/// `[manners]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manners {
    /// Pages a second and host.
    pub rate: f64,
    /// Requests under way at once and host.
    pub connections: usize,
    /// Errors of a host in a day after which it is left alone until the next. A wish counts once, not once a try, so that one
    /// broken page does not close a whole site.
    pub errors: u32,
    /// Hosts of the school's own network beside those that their name gives away: filled in from `[upstream] hosts`.
    pub own: Vec<String>,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { rate: 1.0, connections: 2, errors: 5, own: Vec::new() }
    }
}

impl Manners {
    /// Whether a host stands in the school's own network, by its name or address.
    pub fn is_own(&self, host: &str) -> bool {
        let named = ["internal", "local", "localhost", "lan", "home.arpa", "test"];
        let by_name = !host.contains('.') || named.iter().any(|name| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')));
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        let by_address = match address {
            Ok(std::net::IpAddr::V4(v4)) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
            Ok(std::net::IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            Err(_) => return by_name || self.own.iter().any(|own| own == host),
        };
        by_address || self.own.iter().any(|own| own == host)
    }
}

/// What a gate knows of a host.
#[derive(Debug, Default)]
struct Host {
    busy: usize,
    /// No page before.
    page: Option<Time>,
    /// Nothing at all before: the host asked for it, or fails.
    all: Option<Time>,
    /// Its last request took long.
    slow: bool,
    /// Answers in a row that it is too busy.
    refusals: u32,
    /// When such an answer was last held against it.
    held: Option<Time>,
}

/// A host whose request took longer than this leaves a connection to others.
const SLOW: Duration = Duration::from_secs(10);
/// The first wait when a host is busy and does not say for how long, and the longest: an hour of refusals costs ten requests.
const BUSY: Backoff = Backoff { first: Duration::from_mins(1), most: Duration::from_mins(10) };
/// The longest wait that a host may ask for: more is for the next night to find out.
const LONGEST: Duration = Duration::from_hours(24);
/// A busy host's refusals count as one error in so long: being busy is no fault, being busy all night is.
const HELD: Duration = Duration::from_hours(1);

/// Keeps the turns of all hosts. Pure: now is an argument.
#[derive(Debug, Default)]
pub struct Gate {
    hosts: HashMap<String, Host>,
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Go,
    /// When another of the host's requests has ended.
    Full,
    /// Not before.
    At(Time),
}

/// What a host's refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The host is left alone until then.
    pub until: Time,
    /// It had answered well just before, so that the address may be the trouble.
    pub first: bool,
    /// It counts as an error of the host.
    pub counts: bool,
}

impl Gate {
    /// Whether a request to this host may go; `held` for pages of hosts with manners.
    pub fn turn(&self, host: &str, held: bool, connections: usize, now: Time) -> Turn {
        let Some(known) = self.hosts.get(host) else { return Turn::Go };
        let page = known.page.filter(|_| held);
        if let Some(at) = page.max(known.all).filter(|at| *at > now) {
            return Turn::At(at);
        }
        if known.busy >= connections.max(1) { Turn::Full } else { Turn::Go }
    }

    /// Whether a host's last request took so long that it leaves connections to others, where others want them.
    pub fn is_slow(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|known| known.slow)
    }

    /// Whether a host is to be left alone now.
    pub fn is_shut(&self, host: &str, now: Time) -> bool {
        self.hosts.get(host).is_some_and(|known| known.all.is_some_and(|at| at > now))
    }

    /// A request goes; the next page after `pause`.
    pub fn enter(&mut self, host: &str, held: bool, pause: Duration, now: Time) {
        let known = self.hosts.entry(host.to_owned()).or_default();
        known.busy += 1;
        if held {
            known.page = Some(now.plus(pause));
        }
    }

    /// A request has ended.
    pub fn leave(&mut self, host: &str) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.busy = known.busy.saturating_sub(1);
        }
    }

    /// It took so long.
    pub fn took(&mut self, host: &str, time: Duration) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.slow = time > SLOW;
        }
    }

    /// The host is to be left alone until then.
    pub fn shut(&mut self, host: &str, until: Time) {
        let known = self.hosts.entry(host.to_owned()).or_default();
        known.all = known.all.max(Some(until));
    }

    /// The host answered as hosts do.
    pub fn answered(&mut self, host: &str) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.refusals = 0;
        }
    }

    /// The host is too busy, and may have said for how long.
    pub fn refused(&mut self, host: &str, wait: Option<Duration>, now: Time) -> Refusal {
        let known = self.hosts.entry(host.to_owned()).or_default();
        // Two requests may have been under way when it began to refuse.
        let first = known.refusals == 0;
        let again = known.all.is_some_and(|until| until > now);
        let until = now.plus(wait.unwrap_or_else(|| BUSY.wait(known.refusals.saturating_sub(u32::from(again)), 1.0)).min(LONGEST));
        known.refusals = known.refusals.saturating_add(u32::from(!again));
        let counts = known.held.is_none_or(|held| now.since(held) >= HELD);
        if counts {
            known.held = Some(now);
        }
        known.all = known.all.max(Some(until));
        Refusal { until, first, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_wait_and_requisites_do_not() {
        let (mut gate, now, second) = (Gate::default(), Time::from_secs(100), Duration::from_secs(1));
        let turn = |gate: &Gate, host: &str, held: bool, now: Time| gate.turn(host, held, 2, now);
        assert_eq!(turn(&gate, "a", true, now), Turn::Go);
        gate.enter("a", true, second, now);
        assert_eq!(turn(&gate, "a", true, now), Turn::At(now.plus(second)));
        assert_eq!(turn(&gate, "a", false, now), Turn::Go);
        gate.enter("a", false, second, now);
        assert_eq!(turn(&gate, "a", false, now), Turn::Full);
        gate.leave("a");
        gate.shut("a", now.plus(second * 60));
        assert_eq!(turn(&gate, "a", false, now.plus(second)), Turn::At(now.plus(second * 60)));
        assert!(gate.is_shut("a", now) && !gate.is_shut("b", now));
        assert_eq!(turn(&gate, "b", true, now), Turn::Go);
    }

    #[test]
    fn a_slow_host_leaves_a_connection_to_others() {
        let (mut gate, now) = (Gate::default(), Time::from_secs(100));
        gate.enter("a", false, Duration::ZERO, now);
        gate.took("a", Duration::from_secs(11));
        assert!(gate.is_slow("a") && !gate.is_slow("b"));
        gate.took("a", Duration::from_secs(1));
        assert!(!gate.is_slow("a"), "fast again");
    }

    #[test]
    fn a_busy_host_is_asked_more_and_more_rarely() {
        let (mut gate, start) = (Gate::default(), Time::from_secs(0));
        let (mut now, mut asked, mut errors) = (start, 0, 0);
        while now.since(start) < Duration::from_hours(1) {
            let refusal = gate.refused("a", None, now);
            assert_eq!(refusal.first, asked == 0);
            (asked, errors) = (asked + 1, errors + u32::from(refusal.counts));
            now = refusal.until;
        }
        assert!(asked <= 10 && errors == 1, "{asked} requests, {errors} errors");
        // It says for how long, within reason; and a second answer of the same moment makes no longer wait.
        gate.answered("a");
        let asks = |gate: &mut Gate, secs| gate.refused("a", Some(Duration::from_secs(secs)), now);
        assert_eq!((asks(&mut gate, 90).first, asks(&mut gate, 90).until), (true, now.plus(Duration::from_secs(90))));
        assert_eq!(asks(&mut gate, u64::MAX).until, now.plus(LONGEST));
    }

    #[test]
    fn own_hosts() {
        let manners = Manners { own: vec!["docs.example.kz".into()], ..Manners::default() };
        for (host, own) in [
            ("demo.bulak.internal", true),
            ("server", true),
            ("192.168.1.2", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("docs.example.kz", true),
            ("example.kz", false),
            ("8.8.8.8", false),
            ("notlocal.kz", false),
        ] {
            assert_eq!(manners.is_own(host), own, "{host}");
        }
    }
}
