//! Whether a host is in the country: domestic traffic is often cheaper and faster than what crosses the border, and a line that is bad to
//! one of the two is another matter for its provider. Pure.
//!
//! The rule, in this order:
//! 1. An address of the same house (private, carrier-grade NAT) is nobody's: not known.
//! 2. Where `link.domestic` lists the country's networks, the address decides: within them domestic, else foreign.
//! 3. Without a list, or without an address (a name that was not reached), a name of the country is domestic: `.kz`, `.қаз`.
//! 4. Anything else is not known. A foreign name may have a copy next door, so its name does not make it foreign.

use crate::link::side::Side;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// Ends of names that the country gives out: `.kz` and `.қаз`.
const ENDS: [&str; 2] = [".kz", ".xn--80ao21a"];

/// Where a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TestReach)]
pub enum Reach {
    /// In the country.
    Domestic,
    /// Elsewhere.
    Foreign,
    /// It is not known.
    #[default]
    Unknown,
}

impl Reach {
    /// All of them.
    pub const ALL: [Reach; 3] = [Reach::Domestic, Reach::Foreign, Reach::Unknown];

    /// The word in database, metrics and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Reach::Domestic => "domestic",
            Reach::Foreign => "foreign",
            Reach::Unknown => "unknown",
        }
    }

    /// Reads the word; another one is not known.
    pub fn read(word: &str) -> Reach {
        Reach::ALL.into_iter().find(|reach| reach.word() == word).unwrap_or_default()
    }
}

/// Where a host is; `networks`: the country's, as far as they are known.
pub fn judge(host: &str, addr: Option<IpAddr>, networks: &[IpNet]) -> Reach {
    if let Some(addr) = addr.map(|addr| addr.to_canonical()) {
        if Side::of(addr) != Side::Outside {
            return Reach::Unknown;
        }
        if !networks.is_empty() {
            return if networks.iter().any(|network| network.contains(&addr)) { Reach::Domestic } else { Reach::Foreign };
        }
    }
    let name = host.trim_end_matches('.');
    let ends = |end: &&str| name.len() > end.len() && name.get(name.len() - end.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(end));
    if ENDS.iter().any(ends) { Reach::Domestic } else { Reach::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let networks: Vec<IpNet> = ["2.72.0.0/13", "2a00:f440::/32"].iter().map(|text| text.parse().expect("a network")).collect();
        let table = [
            ("kundelik.kz", Some("92.47.0.1"), false, Reach::Domestic),
            ("KUNDELIK.KZ.", None, false, Reach::Domestic),
            ("xn--80aad.xn--80ao21a", None, false, Reach::Domestic),
            ("kz", None, false, Reach::Unknown),
            ("notkz", None, false, Reach::Unknown),
            ("example.org", Some("2.75.1.1"), false, Reach::Unknown),
            ("қ", None, false, Reach::Unknown),
            // With the country's networks the address decides, wherever the name is from.
            ("example.org", Some("2.75.1.1"), true, Reach::Domestic),
            ("example.org", Some("2a00:f440::7"), true, Reach::Domestic),
            ("kundelik.kz", Some("104.16.0.1"), true, Reach::Foreign),
            ("kundelik.kz", Some("::ffff:2.75.1.1"), true, Reach::Domestic),
            ("kundelik.kz", None, true, Reach::Domestic),
            // The school's own house.
            ("kundelik.kz", Some("192.168.8.1"), true, Reach::Unknown),
            ("kundelik.kz", Some("127.0.0.1"), false, Reach::Unknown),
        ];
        for (host, addr, known, wanted) in table {
            let addr = addr.map(|addr| addr.parse().expect("an address"));
            assert_eq!(judge(host, addr, if known { &networks } else { &[] }), wanted, "{host} {addr:?} {known}");
        }
        for reach in Reach::ALL {
            assert_eq!(Reach::read(reach.word()), reach);
        }
    }
}
