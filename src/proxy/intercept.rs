//! Which connections are opened (protocols.md section 4): the switch, the consent, the list, the devices, the origins that proved
//! who they are. Everything is off until [`Interception::adopt`] says otherwise; whatever does not fit is passed on unopened.
//!
//! # Why an origin's proof is remembered
//! An origin is verified before a certificate is minted for it. Done for every connection this would send a handshake over the line
//! for pages that lie here whole, and a class could open nothing with the line cut. So a proof counts for an hour; and while the
//! line is down a device is answered from the store, where everything came over a verified connection, and gets an honest error
//! for the rest. A request that goes to the origin is verified there and then, whatever is remembered.

use crate::base::clock::{Clock, Time};
use crate::base::count::{IntGauge, Metrics};
use crate::site::refuse;
use crate::tls::authority::{Authorities, Authority, Error, Fingerprint};
use crate::tls::device::{Device, Devices, Standing, Who, mac_in};
use crate::tls::hello::Splice;
use crate::tls::leaf::Leaves;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use rustls::ServerConfig;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where Linux shows its neighbours; /proc/net itself is not there for a service (`ProcSubset=pid`).
const NEIGHBOURS: &str = "/proc/self/net/arp";
/// How long an origin's proof counts.
const PROOF: Duration = Duration::from_hours(1);
/// Proofs remembered; lists are far shorter.
const PROOFS: usize = 4096;

/// How often it is told that a listed host is passed on since its origin did not prove itself.
const TELL_AGAIN: Duration = Duration::from_hours(1);

/// What is agreed: taken over as a whole.
#[derive(Clone, Debug, Default)]
pub struct Law {
    /// The switch is on and the school's consent is recorded.
    pub enabled: bool,
    /// Exact names in lower case.
    pub hosts: BTreeSet<String>,
    /// The CA, and the one before it. Without it nothing is opened, and no name of ours is served over TLS.
    pub authorities: Option<Authorities>,
}

/// Opens connections, or says why not.
pub struct Interception {
    law: ArcSwap<Law>,
    leaves: Leaves,
    devices: Mutex<Devices>,
    /// Origins that proved who they are, and when.
    proofs: Mutex<HashMap<Box<str>, Instant>>,
    /// Listed hosts whose origin did not prove who it is when it was asked last, and when that was told.
    unproven: Mutex<HashMap<Box<str>, (Unproven, Instant)>>,
    /// What stands in the way of what is configured.
    notices: ArcSwap<Vec<String>>,
    clock: Clock,
    counted: IntCounterVec,
    enrolled: IntGauge,
}

/// Why connections to a listed host are passed on: its origin did not prove who it is, or asks who the visitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// As it is counted.
    pub why: Splice,
    /// In words.
    pub reason: String,
    /// When it was seen last.
    pub at: Time,
}

/// Why a connection was opened, for the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The origin proved who it is, just now.
    Verified,
    /// It did so a while ago.
    Remembered,
    /// The line is down: from the store alone.
    Offline,
    /// A name of ours.
    Own,
}

impl Ground {
    const fn word(self) -> &'static str {
        match self {
            Ground::Verified => "verified",
            Ground::Remembered => "remembered",
            Ground::Offline => "offline",
            Ground::Own => "own",
        }
    }
}

impl Interception {
    /// Off, and without devices. `distrust`: how long a device that did not trust us is left alone at first.
    ///
    /// # Errors
    /// When no leaf key can be made.
    pub fn new(distrust: Duration, clock: Clock, metrics: &Metrics) -> Result<Interception, Error> {
        let counted = metrics.counters("bulak_tls_total", "Connections that were opened or passed on, and why.", &["action", "reason"]);
        Ok(Interception {
            law: ArcSwap::default(),
            leaves: Leaves::new(&clock)?,
            devices: Mutex::new(Devices::new(distrust)),
            proofs: Mutex::default(),
            unproven: Mutex::default(),
            notices: ArcSwap::default(),
            clock,
            counted,
            enrolled: metrics.gauge("bulak_devices_enrolled", "Devices that proved to trust the school's CA."),
        })
    }

    /// Takes over what is agreed now. Connections that are open stay as they are until either side ends them; under a CA that is no
    /// more no new one is opened.
    pub fn adopt(&self, law: Law, distrust: Duration) {
        self.devices.lock().set_first(distrust);
        self.law.store(Arc::new(law));
    }

    /// What is agreed now.
    pub fn law(&self) -> Arc<Law> {
        self.law.load_full()
    }

    /// Takes back the devices of an earlier run.
    pub fn restore(&self, kept: impl IntoIterator<Item = (IpAddr, Device)>) {
        let mut devices = self.devices.lock();
        devices.restore(kept);
        self.enrolled.set(i64::try_from(devices.enrolled()).unwrap_or(i64::MAX));
    }

    /// What changed with devices since the last call; `None`: forgotten.
    pub fn changes(&self) -> Vec<(IpAddr, Option<Device>)> {
        self.devices.lock().changes()
    }

    /// Whether a connection to this place may be opened at all, whoever asks (protocols.md section 4, step 1).
    ///
    /// # Errors
    /// Why not.
    pub fn may_open(&self, host: &str, port: u16) -> Result<(), Splice> {
        let law = self.law.load();
        let Some(both) = law.authorities.as_ref().filter(|_| law.enabled) else { return Err(Splice::Off) };
        if port != 443 {
            return Err(Splice::Port);
        }
        if is_literal(host) {
            return Err(Splice::Literal);
        }
        // Whatever a list says.
        if refuse::is_personal(host) {
            return Err(Splice::Refused);
        }
        if !law.hosts.contains(host) {
            return Err(Splice::Unlisted);
        }
        let previous = both.previous.as_ref().is_some_and(|authority| authority.permits(host));
        if both.current.permits(host) || previous { Ok(()) } else { Err(Splice::Outside) }
    }

    /// Whether this device's connection to this place may be opened, and under which CA.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn decide(&self, host: &str, port: u16, client: IpAddr) -> Result<Arc<Authority>, Splice> {
        self.may_open(host, port)?;
        let who = who(client);
        let standing = self.devices.lock().standing(who, host, self.clock.now());
        let fingerprint = match standing {
            Standing::Unknown => return Err(Splice::Unknown),
            Standing::Distrusts => return Err(Splice::Distrusts),
            Standing::Trusts(fingerprint) => fingerprint,
        };
        let law = self.law.load();
        // A device that trusts a CA that is no more has to enrol anew.
        let authority = law.authorities.as_ref().and_then(|both| both.by(fingerprint)).ok_or(Splice::Unknown)?;
        if authority.permits(host) { Ok(Arc::clone(authority)) } else { Err(Splice::Outside) }
    }

    /// The CA under which a name of ours is shown to this device: the current one, for devices that do not know the previous one
    /// only; one that lately refused it sees the one that it trusts. `None`: there is no CA, or it cannot vouch for the name.
    pub(crate) fn own(&self, name: &str, client: IpAddr) -> Option<Arc<Authority>> {
        let law = self.law.load();
        let both = law.authorities.as_ref()?;
        let (now, who) = (self.clock.now(), who(client));
        let mut devices = self.devices.lock();
        let known = if devices.falls_back(who, now) { devices.proven(who, now).and_then(|proven| both.by(proven)) } else { None };
        let authority = known.unwrap_or(&both.current);
        authority.permits(name).then(|| Arc::clone(authority))
    }

    /// What presents a leaf for exactly this host.
    pub(crate) fn config(&self, authority: &Authority, host: &str) -> Result<Arc<ServerConfig>, Error> {
        // Both protocols, whatever the origin speaks: the cache stands between, so what a device gains by HTTP/2 does not depend on
        // the origin, and neither do hits and a line that is down. WebSocket goes by extended CONNECT, or on a connection for which
        // the browser offers HTTP/1.1 alone.
        self.leaves.config(authority, host, true)
    }

    /// Whether this origin proved who it is not long ago.
    pub(crate) fn has_proof(&self, host: &str) -> bool {
        let now = self.clock.steady();
        self.proofs.lock().get(host).is_some_and(|since| now.saturating_duration_since(*since) < PROOF)
    }

    /// Why this listed host was passed on when its origin was asked last; `None`: it proved who it is, or was not asked.
    pub fn unproven(&self, host: &str) -> Option<Unproven> {
        self.unproven.lock().get(host).map(|(known, _)| known.clone())
    }

    /// It is passed on since it did not prove who it is. Told once an hour for each host: a list is configuration, not a person's.
    pub(crate) fn passed_on(&self, host: &str, why: Splice, reason: &dyn std::fmt::Display) {
        let now = self.clock.steady();
        let mut unproven = self.unproven.lock();
        let told = unproven.get(host).filter(|(known, told)| known.why == why && now.saturating_duration_since(*told) < TELL_AGAIN);
        let (told, is_new) = told.map_or((now, true), |(_, told)| (*told, false));
        if unproven.len() >= PROOFS && !unproven.contains_key(host) {
            unproven.retain(|_, (_, told)| now.saturating_duration_since(*told) < TELL_AGAIN);
            if unproven.len() >= PROOFS {
                return;
            }
        }
        let known = Unproven { why, reason: reason.to_string(), at: self.clock.now() };
        if is_new {
            tracing::warn!(
                host,
                reason = known.reason,
                "a host of intercept.hosts is passed on unopened, for all devices; if it stays so, take it off the list"
            );
        }
        unproven.insert(host.into(), (known, told));
    }

    /// What stands in the way of what is configured, for people; empty when nothing does.
    pub fn notices(&self) -> Arc<Vec<String>> {
        self.notices.load_full()
    }

    /// Takes over what stands in the way now.
    pub fn notice(&self, notices: Vec<String>) {
        self.notices.store(Arc::new(notices));
    }

    /// It has just proven who it is.
    pub(crate) fn keep_proof(&self, host: &str) {
        self.unproven.lock().remove(host);
        let (mut proofs, now) = (self.proofs.lock(), self.clock.steady());
        if proofs.len() >= PROOFS {
            proofs.retain(|_, since| now.saturating_duration_since(*since) < PROOF);
        }
        if proofs.len() < PROOFS {
            proofs.insert(host.into(), now);
        }
    }

    /// It did not prove it this time.
    pub(crate) fn drop_proof(&self, host: &str) {
        self.proofs.lock().remove(host);
    }

    /// A device reached a page of ours over TLS under this CA.
    pub(crate) fn prove(&self, client: IpAddr, fingerprint: Fingerprint) {
        let who = who(client);
        let mut devices = self.devices.lock();
        devices.prove(who, fingerprint, self.clock.now());
        self.enrolled.set(i64::try_from(devices.enrolled()).unwrap_or(i64::MAX));
    }

    /// Whether this device has proven that it trusts a CA that is still in use.
    pub fn is_enrolled(&self, client: IpAddr) -> bool {
        let law = self.law.load();
        let who = who(client);
        let proven = self.devices.lock().proven(who, self.clock.now());
        proven.is_some_and(|proven| law.authorities.as_ref().is_some_and(|both| both.by(proven).is_some()))
    }

    /// How many devices trust which CA, by its fingerprint; those of one that is no more have to enrol anew.
    pub fn enrolled(&self) -> BTreeMap<String, usize> {
        self.devices.lock().enrolled_by(self.clock.now())
    }

    /// A request came over an opened connection.
    pub(crate) fn worked(&self, client: IpAddr, host: &str) {
        let who = who(client);
        self.devices.lock().worked(who, host, self.clock.now());
    }

    /// The device did not take our certificate for this host.
    pub(crate) fn failed(&self, client: IpAddr, host: &str) {
        let who = who(client);
        let wait = self.devices.lock().failed(who, host, self.clock.now());
        tracing::debug!(host, ?wait, "a device does not trust us for this host: left alone");
    }

    /// The device left at once, without a word.
    pub(crate) fn left(&self, client: IpAddr, host: &str) {
        let who = who(client);
        self.devices.lock().left(who, host, self.clock.now());
    }

    /// The device did not take our certificate, under this CA, for a name of ours.
    pub(crate) fn did_not_take_ours(&self, client: IpAddr, refused: Fingerprint) {
        self.devices.lock().did_not_take_ours(who(client), refused, self.clock.now());
    }

    /// Counts a connection that is opened.
    pub(crate) fn opened(&self, ground: Ground) {
        self.counted.with_label_values(&["intercept", ground.word()]).inc();
    }

    /// Counts a connection that is passed on.
    pub(crate) fn spliced(&self, why: Splice) {
        self.counted.with_label_values(&["splice", why.word()]).inc();
    }

    /// Steady time, for waits.
    pub(crate) fn steady(&self) -> Instant {
        self.clock.steady()
    }

    /// The moment, for whoever asks what may be minted.
    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

/// Address and, where the network shows one, hardware address. The kernel's table is memory, but it may be long: read before the
/// devices are locked.
fn who(client: IpAddr) -> Who {
    let mac = if client.is_ipv4() && !client.is_loopback() {
        fs::read_to_string(NEIGHBOURS).ok().and_then(|table| mac_in(&table, client))
    } else {
        None
    };
    Who { address: client, mac }
}

/// A host written as an address, in any form that somebody's parser might take for one.
pub(crate) fn is_literal(host: &str) -> bool {
    host.starts_with('[') || matches!(url::Host::parse(host), Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) | Err(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::{Wish, create};

    #[test]
    fn addresses_in_any_form_are_no_names() {
        for host in ["10.0.0.1", "127.1", "0x7f000001", "2130706433", "[::1]", "a b"] {
            assert!(is_literal(host), "{host}");
        }
        assert!(!is_literal("kk.wikipedia.org") && !is_literal("xn--80a.kz"));
    }

    fn rig() -> (Interception, Clock) {
        let clock = Clock::system();
        (Interception::new(Duration::from_hours(24), clock.clone(), &Metrics::default()).expect("a key"), clock)
    }

    #[test]
    fn a_listed_host_that_proves_nothing_is_remembered_until_it_does() {
        let (interception, clock) = rig();
        assert_eq!(interception.unproven("a.kz"), None);
        interception.passed_on("a.kz", Splice::Upstream, &"expired");
        let known = interception.unproven("a.kz").expect("remembered");
        assert_eq!((known.why, known.reason.as_str()), (Splice::Upstream, "expired"));
        let told = |host: &str| interception.unproven.lock().get(host).map(|(_, told)| *told);
        let first = told("a.kz");
        interception.passed_on("a.kz", Splice::Upstream, &"expired");
        assert_eq!(told("a.kz"), first, "told once an hour");
        clock.advance(TELL_AGAIN);
        interception.passed_on("a.kz", Splice::Upstream, &"expired");
        assert_ne!(told("a.kz"), first, "told again");
        interception.keep_proof("a.kz");
        assert_eq!(interception.unproven("a.kz"), None);
        for number in 0..=PROOFS {
            interception.passed_on(&format!("{number}.kz"), Splice::Upstream, &"expired");
        }
        assert_eq!(interception.unproven.lock().len(), PROOFS, "bounded");
    }

    fn wish(hosts: &[&str]) -> Wish {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Wish { school: "School".into(), zone: "school.internal".into(), hosts }
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 7));

    #[test]
    fn everything_is_off_until_agreed() {
        let (interception, clock) = rig();
        assert_eq!(interception.decide("a.kz", 443, CLIENT).err(), Some(Splice::Off));
        interception.adopt(Law { enabled: true, hosts: ["a.kz".to_owned()].into(), authorities: None }, Duration::ZERO);
        assert_eq!(interception.decide("a.kz", 443, CLIENT).err(), Some(Splice::Off), "without a CA");
        assert!(interception.own("proxy.school.internal", CLIENT).is_none());
        interception.keep_proof("a.kz");
        assert!(interception.has_proof("a.kz") && !interception.has_proof("b.kz"));
        clock.advance(PROOF);
        assert!(!interception.has_proof("a.kz"), "an hour is over");
    }

    #[test]
    fn the_list_opens_hosts_and_the_refusals_close_them_whatever_is_listed() {
        let (interception, clock) = rig();
        let folder = tempfile::tempdir().expect("a folder");
        let both = create(&folder.path().join("ca"), &wish(&["a.kz"]), &clock).expect("a CA");
        let hosts: BTreeSet<String> = ["a.kz", "login.a.kz", "b.kz"].map(str::to_owned).into();
        let law = |enabled| Law { enabled, hosts: hosts.clone(), authorities: Some(both.clone()) };
        interception.adopt(law(false), Duration::from_hours(24));
        assert_eq!(interception.may_open("a.kz", 443), Err(Splice::Off), "nobody agreed");
        assert!(interception.own("proxy.school.internal", CLIENT).is_some(), "pages of ours need no consent");
        interception.adopt(law(true), Duration::from_hours(24));
        let table = [
            ("a.kz", 443, Ok(())),
            ("a.kz", 8443, Err(Splice::Port)),
            ("10.0.0.1", 443, Err(Splice::Literal)),
            ("login.a.kz", 443, Err(Splice::Refused)),
            ("www.a.kz", 443, Err(Splice::Unlisted)),
            ("b.kz", 443, Err(Splice::Outside)),
        ];
        for (host, port, wanted) in table {
            assert_eq!(interception.may_open(host, port), wanted, "{host}:{port}");
        }
        assert_eq!(interception.decide("a.kz", 443, CLIENT).err(), Some(Splice::Unknown));
        interception.prove(CLIENT, both.current.fingerprint());
        assert!(interception.decide("a.kz", 443, CLIENT).is_ok() && interception.is_enrolled(CLIENT));
        interception.failed(CLIENT, "a.kz");
        assert_eq!(interception.decide("a.kz", 443, CLIENT).err(), Some(Splice::Distrusts));
    }

    #[test]
    fn devices_of_the_previous_ca_go_on_under_it_until_they_know_the_new_one() {
        let (interception, clock) = rig();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca");
        let before = create(&path, &wish(&["a.kz"]), &clock).expect("a CA").current;
        interception.prove(CLIENT, before.fingerprint());
        let both = create(&path, &wish(&["a.kz", "b.kz"]), &clock).expect("another");
        let hosts: BTreeSet<String> = ["a.kz", "b.kz"].map(str::to_owned).into();
        interception.adopt(Law { enabled: true, hosts, authorities: Some(both.clone()) }, Duration::from_hours(24));
        let under = |host: &str| interception.decide(host, 443, CLIENT).map(|authority| authority.fingerprint());
        assert_eq!(under("a.kz"), Ok(before.fingerprint()));
        assert_eq!(under("b.kz"), Err(Splice::Outside), "its CA cannot vouch for that");
        let own = || interception.own("proxy.school.internal", CLIENT).map(|authority| authority.fingerprint());
        assert_eq!(own(), Some(both.current.fingerprint()), "the new one first: it may have been installed");
        interception.did_not_take_ours(CLIENT, both.current.fingerprint());
        assert_eq!(own(), Some(before.fingerprint()));
        interception.did_not_take_ours(CLIENT, before.fingerprint());
        assert_eq!(own(), Some(both.current.fingerprint()), "it was removed from the device meanwhile");
        interception.did_not_take_ours(CLIENT, both.current.fingerprint());
        assert_eq!(own(), Some(before.fingerprint()));
        interception.prove(CLIENT, both.current.fingerprint());
        assert_eq!(under("b.kz"), Ok(both.current.fingerprint()));
        interception.adopt(Law { authorities: Some(Authorities { previous: None, ..both }), ..Law::default() }, Duration::ZERO);
        assert!(interception.is_enrolled(CLIENT));
    }
}
