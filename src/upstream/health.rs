//! Which hosts do not answer, so that the next client need not wait to learn it: open | shut | probing. Pure; the shell probes when told
//! to. Only silence counts: a refusal costs a client nothing and is asked for anew each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Shut for this long after a first failure; doubles up to [`MOST`].
const FIRST: Duration = Duration::from_secs(5);
/// A host that is back is noticed by a probe long before.
const MOST: Duration = Duration::from_secs(60);
/// Probes of one host are this far apart.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Hosts remembered; a school meets a few hundred a day.
const HOSTS: usize = 4096;

/// What to do about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Connect.
    Open,
    /// Answer at once with this reason; `probe`: and try it in the background.
    Shut { why: String, probe: bool },
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Health(HashMap<Box<str>, Host>);

#[derive(Debug)]
struct Host {
    why: String,
    failures: u32,
    until: Instant,
    probed: Instant,
}

impl Health {
    /// May `host` be tried now?
    pub(super) fn ask(&mut self, host: &str, now: Instant) -> Advice {
        let Some(known) = self.0.get_mut(host) else { return Advice::Open };
        let probe = now.saturating_duration_since(known.probed) >= PROBE_EVERY;
        if probe {
            known.probed = now;
        }
        if now >= known.until && probe {
            // The time is over: this one client finds out, those that come meanwhile do not wait.
            return Advice::Open;
        }
        Advice::Shut { why: known.why.clone(), probe }
    }

    /// It did not answer.
    pub(super) fn failed(&mut self, host: &str, why: &str, now: Instant) {
        if self.0.len() >= HOSTS && !self.0.contains_key(host) {
            self.0.retain(|_, known| known.until > now);
            if self.0.len() >= HOSTS {
                return;
            }
        }
        let known = self.0.entry(host.into()).or_insert_with(|| Host { why: String::new(), failures: 0, until: now, probed: now });
        let shut = FIRST.saturating_mul(1 << known.failures.min(8)).min(MOST);
        (known.failures, known.until, known.probed) = (known.failures + 1, now + shut, now);
        why.clone_into(&mut known.why);
    }

    /// It answered.
    pub(super) fn worked(&mut self, host: &str) {
        self.0.remove(host);
    }

    /// The line is back: nothing that was learned without it counts.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, Time};

    #[test]
    fn a_silent_host_answers_at_once_and_is_probed_now_and_then() {
        let (now, second) = (Clock::manual(Time::BUILT).steady(), Duration::from_secs(1));
        let shut = |probe| Advice::Shut { why: "silent".into(), probe };
        let mut health = Health::default();
        assert_eq!(health.ask("a:80", now), Advice::Open);
        health.failed("a:80", "silent", now);
        assert_eq!(health.ask("a:80", now), shut(false));
        assert_eq!(health.ask("b:80", now), Advice::Open);
        assert_eq!(health.ask("a:80", now + second * 2), shut(true));
        assert_eq!(health.ask("a:80", now + second * 3), shut(false), "one probe at a time");
        assert_eq!(health.ask("a:80", now + second * 5), Advice::Open, "the time is over");
        assert_eq!(health.ask("a:80", now + second * 5), shut(false), "only one finds out");
        health.failed("a:80", "silent", now + second * 6);
        assert_eq!(health.ask("a:80", now + second * 12), shut(true), "shut for longer");
        health.worked("a:80");
        assert_eq!(health.ask("a:80", now + second * 12), Advice::Open);
        health.failed("a:80", "silent", now);
        health.clear();
        assert_eq!(health.ask("a:80", now), Advice::Open);
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Clock::manual(Time::BUILT).steady();
        let mut health = Health::default();
        for host in 0..HOSTS * 2 {
            health.failed(&host.to_string(), "silent", now);
        }
        assert_eq!(health.0.len(), HOSTS);
        health.failed("late", "silent", now + MOST);
        assert_eq!(health.0.len(), 1);
    }
}
