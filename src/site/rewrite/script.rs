//! The small script at the top of a page: what scripts fetch, show or open by an address of a mirrored host leads to the mirror,
//! and by path also what they ask of their host's root. It wraps `fetch`, `XMLHttpRequest`, workers, the setters of `src`, `href`
//! and their like, `innerHTML`, and the history by path; it keeps nothing and tells nobody.
//!
//! Not reached: addresses within workers, in style sheets that scripts write rule by rule, and those that are assigned to
//! `location`. By path, the mirror catches what of these asks for the root of the wrong host by its Referer.

use crate::base::target::Scheme;
use crate::site::rewrite::address::{Form, Place};
use sfv::{BareItem, FieldType, Item};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const SOURCE: &str = include_str!("script.js");

/// Most hosts that a page is told of; the links of pages know them all.
const MAX_HOSTS: usize = 400;

/// The script for these hosts (exact, or `*.name`).
pub(super) fn text(hosts: &[(String, Scheme)], form: Form, place: &Place) -> String {
    let mut list = String::from(" ");
    for (host, scheme) in hosts.iter().take(MAX_HOSTS) {
        let mark = if *scheme == Scheme::Http { "!" } else { "" };
        // Hosts of packs are plain names: nothing to escape.
        write!(list, "{mark}{host} ").expect("a string grows");
    }
    let root = if place.secure { "https://" } else { "http://" };
    let usual = if place.secure { 443 } else { 80 };
    let port = if place.port == usual { String::new() } else { format!(":{}", place.port) };
    let zone = if form == Form::Names { format!(".{}{port}", place.zone) } else { String::new() };
    let lines = SOURCE.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    code.replace("(HOSTS, ZONE, ROOT)", &format!("(\"{list}\",\"{zone}\",\"{root}\")"))
}

/// The source expression of an inline script (CSP3 section 2.3.1).
pub(super) fn hash(script: &str) -> String {
    let sum = Item::new(BareItem::ByteSequence(Sha256::digest(script.as_bytes()).to_vec())).serialize();
    format!("'sha256-{}'", sum.trim_matches(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small_and_cannot_end_its_element() {
        let hosts = [("a.kz".to_owned(), Scheme::Https), ("*.b.kz".to_owned(), Scheme::Http)];
        let place = Place { zone: "m.s.internal".into(), secure: false, port: 8082 };
        let script = text(&hosts, Form::Names, &place);
        assert!(script.ends_with("(\" a.kz !*.b.kz \",\".m.s.internal:8082\",\"http://\")"), "{script}");
        assert!(!script.contains("</") && !script.contains("]]>") && script.is_ascii());
        assert!(script.len() < 4096, "{}", script.len());
        assert!(text(&hosts, Form::Path, &place).ends_with(",\"\",\"http://\")"));
    }

    #[test]
    fn hashes_are_as_browsers_write_them() {
        // The example of CSP3 section 6.7.2.5 is of `alert('Hello, world.');`.
        assert_eq!(hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }
}
