//! Who is in the same house: addresses that nobody reaches from the Internet. Pure.
//!
//! What is meant for the school alone (API, speed tests) looks here, for its port may be public by mistake.

use std::net::IpAddr;

/// Whether an address is loopback, private (RFC 1918), unique local (RFC 4193), link-local (RFC 3927, RFC 4291) or of a carrier's own
/// network (RFC 6598), also when it is written as IPv6.
pub fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_carrier = first == 100 && (64..128).contains(&second);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_carrier
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_is_far() {
        let table = [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("::ffff:192.168.8.20", true),
            ("169.254.7.7", true),
            ("100.64.0.1", true),
            ("100.127.255.254", true),
            ("100.128.0.1", false),
            ("100.63.0.1", false),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("8.8.8.8", false),
            ("::ffff:8.8.8.8", false),
            ("2001:db8::1", false),
        ];
        for (ip, near) in table {
            assert_eq!(is_near(ip.parse().expect("an address")), near, "{ip}");
        }
    }
}
