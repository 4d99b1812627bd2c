//! Manners: how often and by how many connections at once a host is asked.
//!
//! Pages wait their turn; what a page needs, hosts whose pack states permission, and the school's own network are not held back,
//! but for a wait that the host itself asked for.

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
    /// Hosts of the school's own network beside those that their name gives away: filled in from `[upstream] hosts`.
    pub own: Vec<String>,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { rate: 1.0, connections: 2, own: Vec::new() }
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
    /// Nothing at all before: the host asked for it.
    all: Option<Time>,
}

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

    /// The host asked to be left alone until then.
    pub fn shut(&mut self, host: &str, until: Time) {
        let known = self.hosts.entry(host.to_owned()).or_default();
        known.all = known.all.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_wait_and_requisites_do_not() {
        let (mut gate, now, second) = (Gate::default(), Time::from_secs(100), Duration::from_secs(1));
        assert_eq!(gate.turn("a", true, 2, now), Turn::Go);
        gate.enter("a", true, second, now);
        assert_eq!(gate.turn("a", true, 2, now), Turn::At(now.plus(second)));
        assert_eq!(gate.turn("a", false, 2, now), Turn::Go);
        gate.enter("a", false, second, now);
        assert_eq!(gate.turn("a", false, 2, now), Turn::Full);
        gate.leave("a");
        gate.shut("a", now.plus(second * 60));
        assert_eq!(gate.turn("a", false, 2, now.plus(second)), Turn::At(now.plus(second * 60)));
        assert_eq!(gate.turn("b", true, 2, now), Turn::Go);
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
