//! Which interfaces lead out of this machine, by the kernel's own tables of routes. Pure: their text comes in.
//!
//! Two kinds of machines: one with a default route has lost its way out when no interface has one any more, whatever its other
//! interfaces (the school's Wi-Fi) do; one without (a school whose way is a route to one network) when none leads anywhere. A box
//! remembers through restarts that it had a default route: one that starts without its cable has had one before.

use std::collections::BTreeSet;

/// Bits of a route's flags (`linux/route.h`).
const UP: u32 = 0x1;
/// Sends nothing and says so.
const REJECT: u32 = 0x200;

/// Interfaces with a route that is up, loopback left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// To everywhere.
    pub default: BTreeSet<String>,
    /// To anywhere.
    pub any: BTreeSet<String>,
}

impl Ways {
    /// Reads `/proc/net/route` and `/proc/net/ipv6_route`. Lines that are none are left out.
    pub fn read(ipv4: &str, ipv6: &str) -> Ways {
        let mut ways = Ways::default();
        for line in ipv4.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [interface, destination, _, flags, _, _, _, mask, ..] = fields[..] {
                ways.add(interface, flags, [destination, mask].iter().all(|field| is_zero(field)));
            }
        }
        for line in ipv6.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [destination, length, _, _, _, _, _, _, flags, interface] = fields[..] {
                // Every interface has these, also one that leads nowhere: link-local and multicast.
                let own = destination.starts_with("fe80") || destination.starts_with("ff");
                if !own {
                    ways.add(interface, flags, is_zero(destination) && is_zero(length));
                }
            }
        }
        ways
    }

    fn add(&mut self, interface: &str, flags: &str, everywhere: bool) {
        let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
        if interface == "lo" || flags & UP == 0 || flags & REJECT != 0 {
            return;
        }
        if everywhere {
            self.default.insert(interface.to_owned());
        }
        self.any.insert(interface.to_owned());
    }

    /// Without interfaces that carry nothing: no cable, no radio.
    #[must_use]
    pub fn but(mut self, dead: &BTreeSet<String>) -> Ways {
        self.default.retain(|interface| !dead.contains(interface));
        self.any.retain(|interface| !dead.contains(interface));
        self
    }
}

fn is_zero(hex: &str) -> bool {
    !hex.is_empty() && hex.bytes().all(|byte| byte == b'0')
}

/// Whether there is a way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// There is one, to everywhere or, where there never was such a one, to somewhere.
    There,
    /// There was one in this life of the node, and it is gone.
    Lost,
    /// There has been none in this life: in an earlier one there was, or there is no interface at all. Where the line works all the
    /// same, none is needed.
    Missing,
}

/// What has been there before.
#[derive(Debug, Default)]
pub struct Way {
    default: bool,
    any: bool,
    /// An earlier life of the node had a default route.
    remembered: bool,
}

impl Way {
    /// `remembered`: an earlier life had a default route, see [`Way::has_default`].
    pub fn new(remembered: bool) -> Way {
        Way { remembered, ..Way::default() }
    }

    /// Whether this house has a default route, by this life or an earlier one: worth remembering.
    pub fn has_default(&self) -> bool {
        self.default || self.remembered
    }

    /// The line works without a default route: this house needs none, whatever another did.
    pub fn forget(&mut self) {
        self.remembered = false;
    }

    /// Looks whether there is a way out.
    pub fn look(&mut self, ways: &Ways) -> Out {
        self.default |= !ways.default.is_empty();
        self.any |= !ways.any.is_empty();
        let (default, any) = (!ways.default.is_empty(), !ways.any.is_empty());
        match (self.default, self.any) {
            (true, _) if !default => Out::Lost,
            (false, true) if !any => Out::Lost,
            (false, _) if self.remembered || !any => Out::Missing,
            _ => Out::There,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const DEFAULT: &str = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    const SCHOOL: &str = "wlan0\t0008A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const SIX: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001    wlan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth1
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    fn names(list: &BTreeSet<String>) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }

    #[test]
    fn tables_as_the_kernel_writes_them() {
        let ways = Ways::read(&format!("{HEAD}{DEFAULT}{SCHOOL}"), SIX);
        assert_eq!((names(&ways.default), names(&ways.any)), (vec!["eth0", "eth1"], vec!["eth0", "eth1", "wlan0"]));
        let dead = ways.but(&["eth0".to_owned()].into());
        assert_eq!((names(&dead.default), names(&dead.any)), (vec!["eth1"], vec!["eth1", "wlan0"]));
        let rejecting = format!("{HEAD}eth0\t00000000\t0\t0201\t0\t0\t0\t00000000\t0\t0\t0\nnonsense\n");
        assert_eq!(Ways::read(&rejecting, "more nonsense\n"), Ways::default());
    }

    #[test]
    fn the_way_out_is_missed_when_there_was_one() {
        let read = |ipv4: &str| Ways::read(&format!("{HEAD}{ipv4}"), "");
        let mut way = Way::default();
        assert_eq!(way.look(&read("")), Out::Missing, "no interface at all");
        assert_eq!(way.look(&read(SCHOOL)), Out::There, "a route to one network may be all that is meant");
        assert_eq!(way.look(&read("")), Out::Lost, "the only way is gone");
        assert!(!way.has_default());
        assert_eq!(way.look(&read(&format!("{DEFAULT}{SCHOOL}"))), Out::There);
        assert_eq!(way.look(&read(SCHOOL)), Out::Lost, "the school's own network leads nowhere");
        assert_eq!(way.look(&read(DEFAULT)), Out::There);
        assert!(way.has_default());
    }

    #[test]
    fn a_box_that_starts_without_its_cable_misses_what_it_had() {
        let read = |ipv4: &str| Ways::read(&format!("{HEAD}{ipv4}"), "");
        let mut way = Way::new(true);
        assert_eq!(way.look(&read(SCHOOL)), Out::Missing);
        assert_eq!(way.look(&read("")), Out::Lost, "and now the school's own is gone as well");
        assert_eq!(way.look(&read(&format!("{DEFAULT}{SCHOOL}"))), Out::There);
        assert_eq!(way.look(&read(SCHOOL)), Out::Lost);
    }
}
