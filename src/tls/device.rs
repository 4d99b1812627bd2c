//! Which devices trust the school's CA, and where they lately did not (protocols.md section 4, steps 3 and failure memory). Pure:
//! moments come in, what must be kept comes out.
//!
//! A device is its address, and its hardware address where the network shows one. A wrong guess is an outage for a page, since
//! HSTS lets nobody click through; so whenever something does not fit, the device counts as unknown and its connections are passed
//! on unopened.

use crate::base::clock::Time;
use crate::tls::authority::Fingerprint;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Devices remembered: ten times a large school, some 2 MB.
const DEVICES: usize = 4096;
/// Hosts remembered of one device.
const HOSTS: usize = 32;
/// So many hosts that do not work mean that the device as a whole does not trust us.
const MANY: usize = 3;
/// Distrust lasts no longer than this.
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// A device whose hardware address is known is remembered so long without being seen: over the summer holidays.
const HOLIDAYS: Duration = Duration::from_hours(200 * 24);
/// One that is an address alone: leases go to others.
const LEASE: Duration = Duration::from_hours(30 * 24);
/// That it was seen is written down anew after so long.
const SEEN_EVERY: Duration = Duration::from_hours(24);
/// After a device did not take the current CA's certificate for a name of ours, the previous CA's is shown for so long.
const FALL_BACK: Duration = Duration::from_mins(10);

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads `aa:bb:cc:dd:ee:ff`; all zeros are none.
    pub fn parse(text: &str) -> Option<Mac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(parts.next().filter(digits)?, 16).ok()?;
        }
        (parts.next().is_none() && bytes != [0; 6]).then_some(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// The hardware address of a neighbour, from the text of Linux's `/proc/net/arp`.
pub fn mac_in(table: &str, client: IpAddr) -> Option<Mac> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        // type, flags, then the hardware address.
        if address == client { Mac::parse(words.nth(2)?) } else { None }
    })
}

/// Who a device is: by its address, and its hardware address where that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The address.
    pub address: IpAddr,
    /// The hardware address.
    pub mac: Option<Mac>,
}

/// How a device stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not proven that it trusts a CA of ours.
    Unknown,
    /// It lately did not trust us, for this host or for many.
    Distrusts,
    /// It trusts the CA with this fingerprint.
    Trusts(Fingerprint),
}

/// What is known of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its hardware address as text, where it was seen.
    mac: Option<String>,
    /// The CA that it proved to trust, as text.
    proven: Option<String>,
    /// When it proved that, or when an opened connection of it last worked.
    seen: Time,
    /// Hosts for which it did not trust us.
    failed: BTreeMap<String, Failure>,
    /// The last host whose connection it closed without a word.
    #[serde(skip)]
    shy: Option<Box<str>>,
    /// Until when the previous CA is shown to it for our own names.
    #[serde(skip)]
    fall_back: Option<Time>,
}

/// How long a device is left alone for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    until: Time,
    /// For how long it was set, in seconds: the next time it is twice that.
    wait: u64,
}

/// All devices.
#[derive(Debug)]
pub struct Devices {
    by: HashMap<IpAddr, Device>,
    /// How long the first distrust lasts.
    first: Duration,
    changed: BTreeSet<IpAddr>,
}

impl Devices {
    /// None yet; `first` is how long a first distrust lasts.
    pub fn new(first: Duration) -> Devices {
        Devices { by: HashMap::new(), first, changed: BTreeSet::new() }
    }

    /// Takes back what [`Devices::changes`] once gave.
    pub fn restore(&mut self, kept: impl IntoIterator<Item = (IpAddr, Device)>) {
        self.by.extend(kept.into_iter().take(DEVICES));
    }

    /// A new length of the first distrust.
    pub fn set_first(&mut self, first: Duration) {
        self.first = first;
    }

    /// What changed since the last call, to be kept; `None`: to be forgotten.
    pub fn changes(&mut self) -> Vec<(IpAddr, Option<Device>)> {
        std::mem::take(&mut self.changed).into_iter().map(|address| (address, self.by.get(&address).cloned())).collect()
    }

    /// How a device stands to us for a host.
    pub fn standing(&mut self, who: Who, host: &str, now: Time) -> Standing {
        self.leave_strangers(who, now);
        let Some(device) = self.by.get(&who.address) else { return Standing::Unknown };
        let Some(proven) = device.proven.as_deref().and_then(Fingerprint::parse) else { return Standing::Unknown };
        if !device.is(who) {
            return Standing::Unknown;
        }
        if device.distrusts(host, now) || device.distrusts_many(now) { Standing::Distrusts } else { Standing::Trusts(proven) }
    }

    /// The CA that this device proved to trust, whatever failed since.
    pub fn proven(&mut self, who: Who, now: Time) -> Option<Fingerprint> {
        self.leave_strangers(who, now);
        let device = self.by.get(&who.address).filter(|device| device.is(who))?;
        device.proven.as_deref().and_then(Fingerprint::parse)
    }

    /// It has fetched a page of ours under the certificate of this CA.
    pub fn prove(&mut self, who: Who, fingerprint: Fingerprint, now: Time) {
        self.leave_strangers(who, now);
        let text = fingerprint.to_string();
        if let Some(device) = self.by.get_mut(&who.address)
            && device.is(who)
            && device.proven.as_ref() == Some(&text)
            && !device.distrusts_many(now)
        {
            // Enrolled already: single hosts that do not work (pinned apps) stay left alone.
            device.fall_back = None;
            self.saw(who.address, now);
            return;
        }
        self.make_room(who.address);
        let mac = who.mac.map(|mac| mac.to_string());
        let device = Device { mac, proven: Some(text), seen: now, failed: BTreeMap::new(), shy: None, fall_back: None };
        self.by.insert(who.address, device);
        self.changed.insert(who.address);
    }

    /// A request came over an opened connection: it trusts us there.
    pub fn worked(&mut self, who: Who, host: &str, now: Time) {
        let Some(device) = self.by.get_mut(&who.address) else { return };
        device.shy = None;
        if device.failed.remove(host).is_some() {
            self.changed.insert(who.address);
        }
        self.saw(who.address, now);
    }

    /// It refused our certificate, or left when it saw it. For how long it is left alone now.
    pub fn failed(&mut self, who: Who, host: &str, now: Time) -> Duration {
        let first = self.first.min(LONGEST);
        let Some(device) = self.by.get_mut(&who.address) else { return Duration::ZERO };
        device.shy = None;
        let known = device.failed.get(host).copied();
        if let Some(known) = known.filter(|known| now < known.until) {
            // Six connections at once are one failure.
            return Duration::from_secs(known.wait);
        }
        let wait = known.map_or(first, |known| Duration::from_secs(known.wait).saturating_mul(2)).min(LONGEST);
        if known.is_none() && device.failed.len() >= HOSTS {
            let oldest = device.failed.iter().min_by_key(|(_, failure)| failure.until).map(|(host, _)| host.clone());
            oldest.and_then(|host| device.failed.remove(&host));
        }
        device.failed.insert(host.to_owned(), Failure { until: now.plus(wait), wait: wait.as_secs() });
        self.changed.insert(who.address);
        wait
    }

    /// It ended the handshake well and left at once without a word. Twice in a row means that it looked at the certificate itself
    /// (pinning); once happens to browsers that open connections ahead of need. Whether it now counts as failed.
    pub fn left(&mut self, who: Who, host: &str, now: Time) -> bool {
        let Some(device) = self.by.get_mut(&who.address) else { return false };
        if device.shy.as_deref() == Some(host) {
            self.failed(who, host, now);
            return true;
        }
        device.shy = Some(host.into());
        false
    }

    /// It did not take this CA's certificate for a name of ours. Where that is the one that it once proved to trust, it may have
    /// another by now: the current one is shown next, so that two that were swapped on a device are tried by turns.
    pub fn did_not_take_ours(&mut self, who: Who, refused: Fingerprint, now: Time) {
        if let Some(device) = self.by.get_mut(&who.address) {
            let proven = device.proven.as_deref().and_then(Fingerprint::parse);
            device.fall_back = if proven == Some(refused) { None } else { Some(now.plus(FALL_BACK)) };
        }
    }

    /// Whether a name of ours is shown to it under the CA that it proved to trust, rather than under the current one.
    pub fn falls_back(&self, who: Who, now: Time) -> bool {
        self.by.get(&who.address).is_some_and(|device| device.is(who) && device.fall_back.is_some_and(|until| now < until))
    }

    /// How many devices have proven that they trust a CA of ours.
    pub fn enrolled(&self) -> usize {
        self.by.values().filter(|device| device.proven.is_some()).count()
    }

    /// How many devices proved to trust which CA, by its fingerprint, as far as they are still remembered.
    pub fn enrolled_by(&self, now: Time) -> BTreeMap<String, usize> {
        let mut by = BTreeMap::new();
        for device in self.by.values().filter(|device| now.since(device.seen) <= device.lasts()) {
            if let Some(proven) = &device.proven {
                *by.entry(proven.clone()).or_default() += 1;
            }
        }
        by
    }

    /// Forgets whoever had this address before.
    fn leave_strangers(&mut self, who: Who, now: Time) {
        let Some(device) = self.by.get(&who.address) else { return };
        let other = who.mac.is_some_and(|mac| device.mac != Some(mac.to_string()));
        if other || now.since(device.seen) > device.lasts() {
            self.by.remove(&who.address);
            self.changed.insert(who.address);
        }
    }

    fn saw(&mut self, address: IpAddr, now: Time) {
        if let Some(device) = self.by.get_mut(&address)
            && now.since(device.seen) > SEEN_EVERY
        {
            device.seen = now;
            self.changed.insert(address);
        }
    }

    /// Of the hardware or network that has the most places, the one that was not seen for longest goes: whoever enrols under
    /// thousands of addresses pushes out himself.
    fn make_room(&mut self, address: IpAddr) {
        if self.by.len() < DEVICES || self.by.contains_key(&address) {
            return;
        }
        let mut places: HashMap<Neighbourhood<'_>, usize> = HashMap::new();
        for (address, device) in &self.by {
            *places.entry(Neighbourhood::of(*address, device)).or_default() += 1;
        }
        let crowded = |(address, device): (&IpAddr, &Device)| places.get(&Neighbourhood::of(*address, device)).copied().unwrap_or(1);
        let first = self.by.iter().min_by_key(|(address, device)| (Reverse(crowded((address, device))), device.seen));
        if let Some(first) = first.map(|(address, _)| *address) {
            self.by.remove(&first);
            self.changed.insert(first);
        }
    }
}

/// What one device alone can have many addresses of.
#[derive(PartialEq, Eq, Hash)]
enum Neighbourhood<'a> {
    /// One piece of hardware.
    Hardware(&'a str),
    /// A /64: whoever is in it takes as many addresses as it likes (RFC 7721 section 2).
    Prefix(u128),
    /// One address.
    Address(IpAddr),
}

impl Neighbourhood<'_> {
    fn of(address: IpAddr, device: &Device) -> Neighbourhood<'_> {
        match (&device.mac, address) {
            (Some(mac), _) => Neighbourhood::Hardware(mac),
            (None, IpAddr::V6(v6)) => Neighbourhood::Prefix(v6.to_bits() >> 64),
            (None, IpAddr::V4(_)) => Neighbourhood::Address(address),
        }
    }
}

impl Device {
    /// How long it is remembered without being seen.
    fn lasts(&self) -> Duration {
        if self.mac.is_some() { HOLIDAYS } else { LEASE }
    }

    /// The same hardware, or none seen either time. Where it cannot be seen this time, nobody knows.
    fn is(&self, who: Who) -> bool {
        self.mac == who.mac.map(|mac| mac.to_string())
    }

    fn distrusts(&self, host: &str, now: Time) -> bool {
        self.failed.get(host).is_some_and(|failure| now < failure.until)
    }

    fn distrusts_many(&self, now: Time) -> bool {
        self.failed.values().filter(|failure| now < failure.until).count() >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const START: Time = Time::BUILT;

    fn who(last: u8, mac: Option<&str>) -> Who {
        Who { address: IpAddr::from([10, 0, 0, last]), mac: mac.map(|text| Mac::parse(text).expect(text)) }
    }

    fn one() -> Fingerprint {
        Fingerprint::of(b"one")
    }

    #[test]
    fn whoever_enrols_under_thousands_of_addresses_pushes_out_himself() {
        let mut devices = Devices::new(DAY);
        let class: Vec<Who> = (1..=30).map(|last| who(last, Some(&format!("02:00:00:00:00:{last:02x}")))).collect();
        for device in &class {
            devices.prove(*device, one(), START);
        }
        let flood = |n: u32, mac| Who { address: IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a01_0000 + n)), mac };
        let by_hardware = (0..4200).map(|n| flood(n, Mac::parse("02:00:00:00:ff:ff")));
        let by_prefix = (0..200).map(|n| Who { address: IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]), mac: None });
        for (at, stranger) in by_hardware.chain(by_prefix).enumerate() {
            devices.prove(stranger, one(), START.plus(Duration::from_secs(at as u64)));
        }
        assert_eq!(devices.by.len(), DEVICES);
        assert!(class.iter().all(|device| devices.proven(*device, START) == Some(one())));
    }

    #[test]
    fn a_device_is_trusted_once_it_proved_itself_and_a_stranger_at_its_address_is_not() {
        let mut devices = Devices::new(DAY);
        let (here, other, unseen) = (who(7, Some("02:00:00:00:00:07")), who(7, Some("02:00:00:00:00:08")), who(7, None));
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Unknown);
        devices.prove(here, one(), START);
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Trusts(one()));
        assert_eq!(devices.standing(unseen, "a.kz", START), Standing::Unknown, "who knows");
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Trusts(one()), "in doubt nothing is forgotten");
        assert_eq!(devices.standing(other, "a.kz", START), Standing::Unknown);
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Unknown, "the lease went to another and came back");
        let plain = who(8, None);
        devices.prove(plain, one(), START);
        assert_eq!(devices.standing(plain, "a.kz", START.plus(LEASE)), Standing::Trusts(one()));
        assert_eq!(devices.standing(plain, "a.kz", START.plus(LEASE + DAY)), Standing::Unknown);
    }

    #[test]
    fn distrust_doubles_up_to_thirty_days_and_success_clears_it() {
        let mut devices = Devices::new(DAY);
        let here = who(7, None);
        assert_eq!(devices.failed(here, "a.kz", START), Duration::ZERO, "nobody asked us to open anything of a stranger");
        devices.prove(here, one(), START);
        let mut now = START;
        for days in [1, 2, 4, 8, 16, 30, 30] {
            let wait = devices.failed(here, "a.kz", now);
            assert_eq!(wait, DAY * days);
            assert_eq!(devices.failed(here, "a.kz", now.plus(Duration::from_secs(1))), wait, "six at once are one");
            assert_eq!(devices.standing(here, "a.kz", now.plus(wait.saturating_sub(Duration::from_secs(1)))), Standing::Distrusts);
            assert_eq!(devices.standing(here, "b.kz", now), Standing::Trusts(one()), "other hosts work");
            now = now.plus(wait);
            devices.worked(here, "b.kz", now);
            assert_eq!(devices.standing(here, "a.kz", now), Standing::Trusts(one()));
        }
        devices.worked(here, "a.kz", now);
        assert_eq!(devices.failed(here, "a.kz", now), DAY, "success cleared it");
    }

    #[test]
    fn three_hosts_mark_the_device_until_it_proves_itself_anew() {
        let mut devices = Devices::new(DAY);
        let here = who(7, None);
        devices.prove(here, one(), START);
        for host in ["a.kz", "b.kz"] {
            devices.failed(here, host, START);
        }
        devices.prove(here, one(), START);
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Distrusts, "a page of ours lifts no pinned app's distrust");
        assert_eq!(devices.standing(here, "c.kz", START), Standing::Trusts(one()));
        devices.failed(here, "c.kz", START);
        assert_eq!(devices.standing(here, "d.kz", START), Standing::Distrusts);
        devices.prove(here, one(), START);
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Trusts(one()));
        let two = Fingerprint::of(b"two");
        devices.failed(here, "a.kz", START);
        devices.prove(here, two, START);
        assert_eq!(devices.standing(here, "a.kz", START), Standing::Trusts(two), "another CA is another matter");
    }

    #[test]
    fn leaving_twice_without_a_word_is_a_refusal() {
        let mut devices = Devices::new(DAY);
        let here = who(7, None);
        devices.prove(here, one(), START);
        assert!(!devices.left(here, "a.kz", START));
        devices.worked(here, "a.kz", START);
        assert!(!devices.left(here, "a.kz", START), "it had a word in between");
        assert!(!devices.left(here, "b.kz", START));
        assert!(devices.left(here, "b.kz", START));
        assert_eq!(devices.standing(here, "b.kz", START), Standing::Distrusts);
    }

    #[test]
    fn the_previous_ca_is_shown_to_whom_refused_the_current_one() {
        let mut devices = Devices::new(DAY);
        let here = who(7, None);
        let two = Fingerprint::of(b"two");
        devices.did_not_take_ours(here, two, START);
        assert!(!devices.falls_back(here, START), "a stranger has proven nothing");
        devices.prove(here, one(), START);
        devices.did_not_take_ours(here, two, START);
        assert!(devices.falls_back(here, START) && !devices.falls_back(here, START.plus(FALL_BACK)));
        devices.did_not_take_ours(here, one(), START);
        assert!(!devices.falls_back(here, START), "it no longer has the old one");
        devices.did_not_take_ours(here, two, START);
        assert!(devices.falls_back(here, START), "by turns, for as long as it takes");
        assert_eq!(devices.proven(here, START), Some(one()));
        devices.prove(who(8, None), Fingerprint::of(b"two"), START);
        devices.prove(who(9, None), Fingerprint::of(b"two"), START);
        let counts = [(one().to_string(), 1), (Fingerprint::of(b"two").to_string(), 2)];
        assert_eq!(devices.enrolled_by(START), counts.into());
        assert!(devices.enrolled_by(START.plus(LEASE + DAY)).is_empty(), "their addresses are others' by now");
    }

    #[test]
    fn what_changed_is_told_once_and_can_be_restored() {
        let mut devices = Devices::new(DAY);
        let here = who(7, Some("02:00:00:00:00:07"));
        devices.prove(here, one(), START);
        devices.failed(here, "a.kz", START);
        let changes = devices.changes();
        assert_eq!(changes.len(), 1);
        assert!(devices.changes().is_empty());
        devices.worked(here, "b.kz", START.plus(DAY));
        assert!(devices.changes().is_empty(), "that it is here is written down once a day");
        let text = serde_json::to_string(&changes).expect("JSON");
        let rows: Vec<(IpAddr, Option<Device>)> = serde_json::from_str(&text).expect("JSON");
        let mut again = Devices::new(DAY);
        again.restore(rows.into_iter().filter_map(|(address, device)| Some((address, device?))));
        assert_eq!(again.standing(here, "a.kz", START), Standing::Distrusts);
        assert_eq!(again.standing(here, "b.kz", START), Standing::Trusts(one()));
        assert_eq!(again.enrolled(), 1);
        again.standing(who(7, Some("02:00:00:00:00:09")), "b.kz", START);
        assert_eq!(again.changes(), [(here.address, None)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut devices = Devices::new(DAY);
        let address = |number: usize| {
            let [.., a, b] = number.to_be_bytes();
            Who { address: IpAddr::from([10, 0, a, b]), mac: None }
        };
        for number in 0..=DEVICES {
            devices.prove(address(number), one(), START.plus(Duration::from_secs(number as u64)));
        }
        assert_eq!(devices.enrolled(), DEVICES);
        assert_eq!(devices.proven(address(0), START), None, "the oldest went");
        for host in 0..=HOSTS {
            devices.failed(address(1), &format!("{host}.kz"), START.plus(Duration::from_secs(host as u64)));
        }
        assert_eq!(devices.by[&address(1).address].failed.len(), HOSTS);
        assert!(!devices.by[&address(1).address].failed.contains_key("0.kz"));
    }

    #[test]
    fn neighbours_are_read_from_the_kernels_table() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
            192.168.8.23     0x1         0x2         3c:22:fb:01:02:03     *        eth0\n\
            192.168.8.24     0x1         0x0         00:00:00:00:00:00     *        eth0\nnonsense\n";
        let mac = |text: &str| mac_in(table, text.parse().expect("an address")).map(|mac| mac.to_string());
        assert_eq!(mac("192.168.8.23").as_deref(), Some("3c:22:fb:01:02:03"));
        assert_eq!(mac("192.168.8.24"), None, "asked for and not answered");
        assert_eq!(mac("192.168.8.25"), None);
        for text in ["", "3c:22:fb:01:02", "3c:22:fb:01:02:03:04", "3c:22:fb:01:02:0g", "+c:22:fb:01:02:03"] {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
    }
}
