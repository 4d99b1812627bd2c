//! Which Host values are ours. A page on the Internet can point its own name at our address (DNS rebinding) and would then be
//! read by the browser as if it were ours; so the web port answers only to its own names and addresses. Pure.

use crate::portal::Arrival;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The names and addresses of this node.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// From the node's name and further names and addresses (`web.names`, the machine's host name, bound addresses).
    pub fn new<'n>(name: &str, more: impl IntoIterator<Item = &'n str>) -> Names {
        let mut all = Names::default();
        let name = name.to_ascii_lowercase();
        for own in ["localhost", "bulak.local", "bulak.internal"] {
            all.names.insert(own.to_owned());
        }
        for suffix in ["", ".local", ".internal"] {
            all.names.insert(format!("{name}{suffix}"));
        }
        for text in more {
            let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
            match bare(&text).parse::<IpAddr>() {
                Ok(address) => drop(all.addresses.insert(address.to_canonical())),
                Err(_) if text.is_empty() => {}
                Err(_) => drop(all.names.insert(text)),
            }
        }
        all
    }

    /// Whether a Host value (with or without port) is ours, on a connection that came to `arrival.local`.
    pub fn owns(&self, host: &str, arrival: Option<Arrival>) -> bool {
        let name = without_port(host);
        if let Ok(address) = bare(name).parse::<IpAddr>() {
            let address = address.to_canonical();
            let came_to = arrival.map(|arrival| arrival.local.ip().to_canonical());
            return address.is_loopback() || self.addresses.contains(&address) || came_to == Some(address);
        }
        self.names.contains(&name.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Whether the Host value is what a browser asks when it looks for `wpad.dat` by DNS.
    pub fn is_wpad(host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        name == "wpad" || name.starts_with("wpad.")
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(close) => &host[..=close],
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn bare(text: &str) -> &str {
    text.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::Door;

    #[test]
    fn only_own_names_and_addresses() {
        let names = Names::new("Abay-12", ["portal.school.kz", "10.0.0.5", ""]);
        let arrival = Some(Arrival {
            client: "192.168.8.20:5000".parse().expect("valid"),
            local: "[::ffff:192.168.8.1]:80".parse().expect("valid"),
            door: Door::Web,
        });
        for host in [
            "abay-12",
            "ABAY-12.local:8080",
            "bulak.local",
            "bulak.internal.",
            "localhost:80",
            "127.0.0.1:8080",
            "[::1]:80",
            "192.168.8.1",
            "10.0.0.5:80",
            "portal.school.kz",
        ] {
            assert!(names.owns(host, arrival), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "abay-12.local.evil.example",
            "192.168.8.2",
            "8.8.8.8",
            "[fd00::1]",
            "[]",
            "bulak.local@evil",
            "school.local",
        ] {
            assert!(!names.owns(host, arrival), "{host}");
        }
        assert!(!names.owns("192.168.8.1", None));
    }

    #[test]
    fn wpad_has_a_name_of_its_own() {
        for (host, wanted) in [("wpad", true), ("WPAD.school.internal:80", true), ("wpadx", false), ("x.wpad", false)] {
            assert_eq!(Names::is_wpad(host), wanted, "{host}");
        }
    }
}
