//! The proxy auto-configuration file, and the texts by which a network hands its address out (WPAD). Pure: addresses and names
//! go in, text comes out.
//!
//! Browsers hand over https addresses without a path, so the decision is by host alone, without asking DNS. The proxy is an
//! address, not a name: it works when DNS does not. `DIRECT` at the end keeps the class online when the box dies. The dialect is
//! that of 1996 (Netscape's proxy client autoconfig): Windows still runs an engine of that age.

use std::fmt::Write;
use std::net::SocketAddr;

/// The media type that browsers accept without a word.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig; charset=utf-8";

/// Bytes of own names: with the rest the file stays below 4 kB, which the oldest engines read whole.
const NAMES_LIMIT: usize = 2048;

/// What the file says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pac<'p> {
    /// The proxy as the device reaches it. `None` (no address is known that it could reach): everything goes direct, which keeps
    /// it online.
    pub proxy: Option<SocketAddr>,
    /// Name and port of the same proxy over TLS, for a device that trusts the school's CA.
    pub secure: Option<(&'p str, u16)>,
    /// The school's zone.
    pub zone: &'p str,
    /// Further names of the node that DNS knows.
    pub names: &'p [String],
}

impl Pac<'_> {
    /// The file.
    pub fn text(&self) -> String {
        let way = self.way();
        let zone = self.zone;
        let mut names = String::new();
        for name in self.names.iter().filter(|name| is_plain(name) && !proves(name, zone)) {
            if names.len() + name.len() > NAMES_LIMIT {
                break;
            }
            // Writing to a string cannot fail.
            let _ = write!(names, " || host == \"{}\"", name.to_ascii_lowercase());
        }
        // The two names that only the proxy can answer come first: by them a device sees that it uses the cache.
        // An IPv6 address has no dot and would pass for a plain host name: it is judged apart.
        format!(
            r#"function FindProxyForURL(url, host) {{
  host = host.toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
  if (host == "bulak.internal" || host == "proxy.{zone}") return "{way}";
  if (host.indexOf(":") >= 0) {{
    if (/^(::1?$|::ffff:|f[cd][0-9a-f][0-9a-f]:|fe[89ab][0-9a-f]:)/.test(host)) return "DIRECT";
    return "{way}";
  }}
  if (isPlainHostName(host) || /\.(local|localhost)$/.test(host)) return "DIRECT";
  if (host == "{zone}" || host.slice(-{tail}) == ".{zone}"{names}) return "DIRECT";
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host) &&
      /^(10|127|0|192\.168|169\.254|172\.(1[6-9]|2\d|3[01])|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./.test(host)) return "DIRECT";
  return "{way}";
}}
"#,
            tail = zone.len() + 1,
        )
    }

    fn way(&self) -> String {
        let Some(proxy) = self.proxy else { return "DIRECT".to_owned() };
        match self.secure {
            // `SocketAddr` writes IPv6 in brackets.
            Some((name, port)) => format!("HTTPS {name}:{port}; PROXY {proxy}; DIRECT"),
            None => format!("PROXY {proxy}; DIRECT"),
        }
    }
}

fn proves(name: &str, zone: &str) -> bool {
    let proof = name.strip_prefix("proxy.").or_else(|| name.strip_prefix("PROXY."));
    name.eq_ignore_ascii_case("bulak.internal") || proof.is_some_and(|rest| rest.eq_ignore_ascii_case(zone))
}

/// Whether a name may stand within the text; addresses are judged by their numbers.
fn is_plain(name: &str) -> bool {
    name.contains('.')
        && name.parse::<std::net::IpAddr>().is_err()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// What a network is told so that devices find the file by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wpad {
    /// The file's address.
    pub url: String,
    /// DHCP option 252 for dnsmasq (OpenWrt, many routers).
    pub dnsmasq: String,
    /// The same for ISC dhcpd.
    pub isc: String,
    /// The same for Kea.
    pub kea: String,
    /// The same for RouterOS.
    pub router_os: String,
    /// The record for DNS. `None`: browsers ask port 80 alone, and the web port is another.
    pub dns: Option<String>,
}

impl Wpad {
    /// For a web port that devices reach at `web`.
    pub fn new(web: SocketAddr, zone: &str) -> Wpad {
        let url = http(web, "/proxy.pac");
        // The trailing newline: some Windows clients cut off the last byte of the option.
        Wpad {
            dnsmasq: format!("dhcp-option=252,\"{url}\\n\""),
            isc: format!("option wpad code 252 = text;\noption wpad \"{url}\\n\";"),
            kea: format!(
                "{{ \"code\": 252, \"name\": \"wpad\", \"space\": \"dhcp4\", \"type\": \"string\" }}\n{{ \"name\": \"wpad\", \"data\": \"{url}\" }}"
            ),
            router_os: format!("/ip dhcp-server option add name=wpad code=252 value=\"'{url}'\""),
            dns: (web.port() == 80).then(|| format!("wpad.{zone}. {} {}", if web.is_ipv4() { "A" } else { "AAAA" }, web.ip())),
            url,
        }
    }

    /// All of it as one text file.
    pub fn text(&self) -> String {
        let dns = self.dns.as_deref().unwrap_or("# not possible: the web port is not 80");
        format!(
            "# Web proxy auto-discovery. Choose the lines of your DHCP server (option 252).\n\n# dnsmasq, OpenWrt\n{}\n\n# ISC dhcpd\n{}\n\n# Kea: option-def, then option-data\n{}\n\n# MikroTik RouterOS\n{}\n\n# DNS, where DHCP cannot be changed: the name \"wpad\" in the domain that devices search\n{dns}\n",
            self.dnsmasq, self.isc, self.kea, self.router_os
        )
    }
}

/// An address of our web port as a URL.
pub(crate) fn http(web: SocketAddr, path: &str) -> String {
    let port = if web.port() == 80 { String::new() } else { format!(":{}", web.port()) };
    match web {
        SocketAddr::V4(addr) => format!("http://{}{port}{path}", addr.ip()),
        SocketAddr::V6(addr) => format!("http://[{}]{port}{path}", addr.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_way_names_the_proxy_by_address_and_fails_open() {
        let table = [
            (Some("192.168.8.1:3128"), None, "PROXY 192.168.8.1:3128; DIRECT"),
            (Some("[fd00::1]:3128"), None, "PROXY [fd00::1]:3128; DIRECT"),
            (Some("192.168.8.1:3128"), Some(("proxy.a.internal", 3129)), "HTTPS proxy.a.internal:3129; PROXY 192.168.8.1:3128; DIRECT"),
            (None, Some(("proxy.a.internal", 3129)), "DIRECT"),
            (None, None, "DIRECT"),
        ];
        for (proxy, secure, wanted) in table {
            let pac = Pac { proxy: proxy.map(addr), secure, zone: "a.internal", names: &[] };
            assert_eq!(pac.way(), wanted);
            assert!(pac.text().contains(&format!("return \"{wanted}\";\n}}\n")), "{}", pac.text());
        }
    }

    #[test]
    fn the_file_stays_small_and_asks_no_dns() {
        let names: Vec<String> = (0..500).map(|n| format!("name-{n}.school.kz")).collect();
        let proxy = Some(addr("[fd00:1111:2222:3333:4444:5555:6666:7777]:3128"));
        let zone = "a-school-with-a-long-name-that-somebody-wrote-out-in-full.internal";
        let text = Pac { proxy, secure: Some(("proxy.a-school.internal", 3129)), zone, names: &names }.text();
        assert!(text.len() < 4096, "{}", text.len());
        assert!(!text.contains("dnsResolve") && !text.contains("myIpAddress") && text.is_ascii());
    }

    #[test]
    fn only_names_get_into_the_text() {
        let names =
            ["a\"b.kz", "10.0.0.1", "[fd00::1]", "portal.school.kz", "bulak.internal", "proxy.a.internal", "plain"].map(String::from);
        let text = Pac { proxy: None, secure: None, zone: "a.internal", names: &names }.text();
        assert_eq!(text.matches(" || host == \"").count(), 2, "the proof's own and portal.school.kz: {text}");
        assert!(text.contains("\"portal.school.kz\""));
    }

    #[test]
    fn a_network_is_told_where_the_file_is() {
        let wpad = Wpad::new(addr("192.168.8.1:80"), "abay-12.internal");
        assert_eq!(wpad.dnsmasq, "dhcp-option=252,\"http://192.168.8.1/proxy.pac\\n\"");
        assert_eq!(wpad.dns.as_deref(), Some("wpad.abay-12.internal. A 192.168.8.1"));
        let other = Wpad::new(addr("[fd00::1]:8080"), "abay-12.internal");
        assert_eq!(other.url, "http://[fd00::1]:8080/proxy.pac");
        assert_eq!(other.dns, None, "wpad by DNS is port 80 alone");
        assert!(other.text().contains("not possible"));
    }
}
