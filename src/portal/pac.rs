//! The proxy auto-configuration file. Pure: the proxy's address goes in, the text comes out.
//!
//! Browsers hand over https addresses without a path, so the decision is by host alone, without asking DNS. The proxy is an
//! address, not a name: it works when DNS does not. `DIRECT` at the end keeps the class online when the box dies.

use std::net::SocketAddr;

/// The media type that browsers accept without a word.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig; charset=utf-8";

/// The file for a device that is to use `proxy`; with `None` (no address is known that the device could reach) everything goes
/// direct, which keeps it online.
pub fn file(proxy: Option<SocketAddr>) -> String {
    let way = proxy.map_or_else(|| "DIRECT".to_owned(), |addr| format!("PROXY {addr}; DIRECT"));
    format!(
        r#"function FindProxyForURL(url, host) {{
  if (isPlainHostName(host) || shExpMatch(host, "*.local") || dnsDomainIs(host, ".school.internal")) return "DIRECT";
  if (/^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|127\.)/.test(host)) return "DIRECT";
  return "{way}";
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_proxy_by_address_and_fails_open() {
        let text = file(Some("192.168.8.1:3128".parse().expect("an address")));
        let wanted = concat!(
            "function FindProxyForURL(url, host) {\n",
            "  if (isPlainHostName(host) || shExpMatch(host, \"*.local\") || dnsDomainIs(host, \".school.internal\")) return \"DIRECT\";\n",
            "  if (/^(10\\.|192\\.168\\.|172\\.(1[6-9]|2\\d|3[01])\\.|127\\.)/.test(host)) return \"DIRECT\";\n",
            "  return \"PROXY 192.168.8.1:3128; DIRECT\";\n",
            "}\n"
        );
        assert_eq!(text, wanted);
        // Kept below 4 kB.
        assert!(text.len() < 4000);
        assert!(file(Some("[fd00::1]:3128".parse().expect("an address"))).contains("PROXY [fd00::1]:3128; DIRECT"));
        assert!(file(None).contains("return \"DIRECT\";\n}"));
    }
}
