//! Which addresses this proxy never reaches (SSRF): asked for every address of every lookup, right before connecting, so that a
//! name which resolves differently the second time (DNS rebinding) gains nothing. Pure.
//!
//! Ranges: IANA special-purpose registries (RFC 6890), IPv4 inside IPv6 (RFC 4291 section 2.5.5, 6052, 3056, 4380). Our own
//! listeners stay out of reach whatever is allowed: nobody may make the proxy talk to itself.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// One item of `proxy.allow_private_targets`: `"ip-or-cidr[:port[-port]]"`, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Addresses.
    pub net: IpNet,
    /// Ports; `None`: all.
    pub ports: Option<RangeInclusive<u16>>,
}

/// The text is no such item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like \"192.168.8.10:8080\", \"10.0.0.0/8\", \"127.0.0.1:9000-9100\" or \"[fd00::]/8:80\"")]
pub struct BadAllowed;

impl FromStr for Allowed {
    type Err = BadAllowed;

    fn from_str(text: &str) -> Result<Allowed, BadAllowed> {
        let text = text.trim();
        let (addr, rest) = if let Some(inner) = text.strip_prefix('[') {
            let (inside, rest) = inner.split_once(']').ok_or(BadAllowed)?;
            // Both "[fd00::]/8" and "[fd00::/8]" are in use.
            let (addr, length) = inside.split_once('/').map_or((inside, None), |(addr, length)| (addr, Some(length)));
            let addr: Ipv6Addr = addr.parse().map_err(|_| BadAllowed)?;
            return with_length(IpAddr::V6(addr), length, rest);
        } else {
            let cut = text.find(['/', ':']).unwrap_or(text.len());
            text.split_at(cut)
        };
        let addr: Ipv4Addr = addr.parse().map_err(|_| BadAllowed)?;
        with_length(IpAddr::V4(addr), None, rest)
    }
}

/// Reads what follows the address: `[/length][:port[-port]]`.
fn with_length(addr: IpAddr, inside: Option<&str>, rest: &str) -> Result<Allowed, BadAllowed> {
    let (length, rest) = match (inside, rest.strip_prefix('/')) {
        (Some(length), None) => (Some(length), rest),
        (None, Some(rest)) => {
            let cut = rest.find(':').unwrap_or(rest.len());
            (Some(&rest[..cut]), &rest[cut..])
        }
        (None, None) => (None, rest),
        (Some(_), Some(_)) => return Err(BadAllowed),
    };
    let net = match length {
        None => IpNet::from(addr),
        Some(length) => IpNet::new(addr, number(length)?).map_err(|_| BadAllowed)?.trunc(),
    };
    let ports = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err(BadAllowed),
        Some(ports) => {
            let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
            let (low, high) = (number::<u16>(low)?, number::<u16>(high)?);
            if low == 0 || low > high {
                return Err(BadAllowed);
            }
            Some(low..=high)
        }
    };
    Ok(Allowed { net, ports })
}

/// Digits alone: no sign, no space.
fn number<T: FromStr>(text: &str) -> Result<T, BadAllowed> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAllowed);
    }
    text.parse().map_err(|_| BadAllowed)
}

/// Knows what may be reached.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Allowed>,
    own: Vec<SocketAddr>,
}

impl Guard {
    /// `own` are our listeners; an unspecified address stands for every address of this machine.
    pub fn new(allowed: Vec<Allowed>, own: Vec<SocketAddr>) -> Guard {
        Guard { allowed, own }
    }

    /// Whether a connection to `addr` may be made. `is_local` tells whether an address is one of this machine's; it is asked only where
    /// the port is one of our own.
    pub fn permits(&self, addr: SocketAddr, is_local: impl Fn(IpAddr) -> bool) -> bool {
        let ip = inner(addr.ip());
        let ours = |own: &SocketAddr| {
            own.port() == addr.port() && (inner(own.ip()) == ip || ip.is_unspecified() || ip.is_loopback() || is_local(ip))
        };
        if self.own.iter().any(ours) {
            return false;
        }
        if is_public(ip) {
            return true;
        }
        let listed = |item: &Allowed| {
            item.ports.as_ref().is_none_or(|ports| ports.contains(&addr.port()))
                && (item.net.contains(&ip) || item.net.contains(&addr.ip()))
        };
        self.allowed.iter().any(listed)
    }
}

/// Whether an address belongs to somebody out there: none of the special ranges, in whatever clothes.
pub fn is_public(addr: IpAddr) -> bool {
    match inner(addr) {
        IpAddr::V4(v4) => !V4.iter().any(|(net, length)| Ipv4Net::new_assert(*net, *length).contains(&v4)),
        IpAddr::V6(v6) => {
            Ipv6Net::new_assert(GLOBAL_V6, 3).contains(&v6)
                && !V6.iter().any(|(net, length)| Ipv6Net::new_assert(*net, *length).contains(&v6))
        }
    }
}

/// The IPv4 address inside an IPv6 one, where there is one.
fn inner(addr: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = addr else { return addr };
    let parts = v6.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // In this order: ::ffff:a.b.c.d mapped; ::ffff:0:a.b.c.d translated (RFC 2765); 64:ff9b::/96 and 64:ff9b:1::/48 NAT64 (RFC 6052,
        // RFC 8215, the latter with /96 inside); 2002::/16 6to4; ISATAP (RFC 5214), by the address it leads to.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => four(high, low),
        // ::a.b.c.d compatible, but not :: and ::1 themselves.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        // 2001::/32 Teredo: the client's address, inverted.
        [0x2001, 0, _, _, _, _, high, low] => four(!high, !low),
        _ => addr,
    }
}

const V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),           // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // CGNAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // IETF protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // RFC 1918
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];

/// Of IPv6 only 2000::/3 is given out to anybody.
const GLOBAL_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

const V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),     // IETF protocol assignments
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),     // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_in_whatever_clothes() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fdff::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001:2::1",
            "3fff::1",
            "4000::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::1",
            "2001:0:4136:e378:8000:63bf:5601:5601",
            "2a00::5efe:10.0.0.1",
            "5f00::1",
        ];
        for addr in refused {
            assert!(!is_public(addr.parse().expect(addr)), "{addr}");
        }
        let reached = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2a00:1450:4010:c0e::8a",
            "2606:4700::1111",
            "2400:cb00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::8.8.8.8",
        ];
        for addr in reached {
            assert!(is_public(addr.parse().expect(addr)), "{addr}");
        }
    }

    #[test]
    fn items_parse_and_nothing_else_does() {
        let item = |net: &str, ports: Option<RangeInclusive<u16>>| Ok(Allowed { net: net.parse().expect(net), ports });
        let table = [
            ("127.0.0.1", item("127.0.0.1/32", None)),
            ("127.0.0.1:8080", item("127.0.0.1/32", Some(8080..=8080))),
            ("10.1.2.3/8", item("10.0.0.0/8", None)),
            ("10.0.0.0/8:80-443", item("10.0.0.0/8", Some(80..=443))),
            ("[::1]", item("::1/128", None)),
            ("[::1]:9000", item("::1/128", Some(9000..=9000))),
            ("[fd00::]/8", item("fd00::/8", None)),
            ("[fd00::]/8:80-81", item("fd00::/8", Some(80..=81))),
            ("[fd00::/8]:80", item("fd00::/8", Some(80..=80))),
            (" 192.168.8.10 ", item("192.168.8.10/32", None)),
        ];
        for (text, wanted) in table {
            assert_eq!(text.parse::<Allowed>(), wanted, "{text}");
        }
        for text in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:5-4",
            "1.2.3.4:70000",
            "::1",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "1.2.3.4:+8",
            "10.0.0.0/8/8",
            "[fd00::/8]/8",
            "1.2.3.4:80-",
        ] {
            assert_eq!(text.parse::<Allowed>(), Err(BadAllowed), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_reached_and_our_own_listeners_never_are() {
        let allowed = ["127.0.0.0/8", "10.0.0.5:80-90", "[::1]:443"].map(|text| text.parse().expect(text)).to_vec();
        let own = ["127.0.0.1:3128", "0.0.0.0:8080", "[::]:8443"].map(|text| text.parse().expect(text)).to_vec();
        let guard = Guard::new(allowed, own);
        let local = |addr: IpAddr| addr == "93.184.216.34".parse::<IpAddr>().expect("an address");
        let table = [
            ("127.0.0.1:80", true),
            ("127.9.9.9:5000", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:3128", false),
            ("127.0.0.2:3128", false),
            ("[::ffff:127.0.0.1]:3128", false),
            ("127.0.0.1:8080", false),
            ("127.0.0.1:8443", false),
            ("93.184.216.34:8080", false),
            ("93.184.216.34:80", true),
            ("93.184.216.35:8080", true),
            ("10.0.0.5:80", true),
            ("10.0.0.5:91", false),
            ("10.0.0.6:80", false),
            ("[::1]:443", true),
            ("[::1]:80", false),
            ("169.254.169.254:80", false),
            ("0.0.0.0:80", false),
        ];
        for (addr, wanted) in table {
            assert_eq!(guard.permits(addr.parse().expect(addr), local), wanted, "{addr}");
        }
    }

    proptest::proptest! {
        /// Whatever clothes an IPv4 address wears, it is judged like the address itself.
        #[test]
        fn clothes_do_not_matter(bits: u32) {
            let bare = Ipv4Addr::from_bits(bits);
            let (high, low) = ((bits >> 16) as u16, (bits & 0xffff) as u16);
            let wanted = is_public(IpAddr::V4(bare));
            let clothes = [
                bare.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
                Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !high, !low),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low),
            ];
            for dressed in clothes {
                proptest::prop_assert_eq!(is_public(IpAddr::V6(dressed)), wanted, "{}", dressed);
            }
        }

        /// No text makes the parser panic, and what parses is inside its own net.
        #[test]
        fn any_text_is_an_item_or_not(text in "[0-9a-f:./\\[\\]-]{0,40}") {
            if let Ok(item) = text.parse::<Allowed>() {
                proptest::prop_assert!(item.net.contains(&item.net.addr()));
            }
        }
    }
}
