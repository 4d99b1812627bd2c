//! The keys of the ways by which https becomes cacheable: the school's zone, the hosts that are opened, the mirror.

use super::{Checker, LISTEN, listen_address};
use crate::config::{Mirror, file};
use crate::site::refuse;

/// The zone as written, else one below the name: `.internal` is reserved for such names (ICANN resolution 2024.07.29.06).
pub(super) fn zone(c: &mut Checker<'_>, node: &file::Node) -> String {
    if node.zone.is_empty() {
        return format!("{}.internal", dashed(&node.name));
    }
    let zone = node.zone.trim_end_matches('.').to_ascii_lowercase();
    if !is_host(&zone) || !zone.contains('.') {
        c.wrong("node.zone", &node.zone, "is no DNS zone", "write a name with a dot such as \"abay-12.internal\", or leave it empty");
    } else if zone.rsplit('.').next() == Some("local") {
        c.wrong("node.zone", &node.zone, "is for mDNS alone", "choose a zone below .internal or one that the school owns");
    } else if refuse::is_no_zone(&zone) {
        // The CA vouches for all below the zone.
        c.wrong(
            "node.zone",
            &node.zone,
            "is not the school's own: names of others lie there",
            "leave it empty, or write one below .internal or one that the school owns, such as \"abay-12.edu.kz\"",
        );
    }
    zone
}

/// Names that stand for themselves and all below them.
pub(super) fn refused(c: &mut Checker<'_>, written: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, text) in written.iter().enumerate() {
        let name = plain(text);
        if is_host(&name) && name.contains('.') {
            names.push(name);
        } else {
            let key = format!("intercept.refused[{at}]");
            c.wrong(&key, text, "is no host name", "write a name such as \"forum.kz\"; it stands for all below it");
        }
    }
    names
}

fn plain(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// Exact names; those that are refused for good are told, whatever else is written.
pub(super) fn hosts(c: &mut Checker<'_>, written: &[String], refused: &[String]) -> Vec<String> {
    let refused: Vec<String> = refused.iter().map(|text| plain(text)).collect();
    let mut hosts = Vec::new();
    for (at, text) in written.iter().enumerate() {
        let (key, host) = (format!("intercept.hosts[{at}]"), plain(text));
        if !is_host(&host) || !host.contains('.') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            c.wrong(&key, text, "is no host name", "write an exact name such as \"kk.wikipedia.org\", without a star or port");
        } else if refuse::is_personal(&host) {
            c.wrong(&key, text, "is on the list of hosts that are never opened", "take it out: nothing lifts that list");
        } else if refuse::is_shared(&host) {
            c.wrong(&key, text, "has names of strangers below it", "write the exact name that is asked for, such as \"phet.colorado.edu\"");
        } else if refuse::parents(&host).any(|name| refused.iter().any(|refused| refused == name)) {
            c.wrong(&key, text, "is refused by intercept.refused", "take it out of one of the two: a refusal wins");
        } else {
            hosts.push(host);
        }
    }
    hosts
}

pub(super) fn mirror(c: &mut Checker<'_>, written: &file::Mirror) -> Mirror {
    let listen = c.each("mirror.listen", &written.listen, LISTEN, listen_address);
    let given = [&written.certificate, &written.key].map(|path| !path.as_os_str().is_empty());
    if given[0] != given[1] {
        let (key, other) = if given[0] { ("mirror.certificate", "mirror.key") } else { ("mirror.key", "mirror.certificate") };
        c.wrong(key, "", "is of no use alone", &format!("name {other} too"));
    }
    let certificate = given[0].then(|| (written.certificate.clone(), written.key.clone()));
    Mirror { listen, certificate }
}

/// A name as DNS takes it (RFC 1123 section 2.1), in lower case.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A node's name as one DNS label.
fn dashed(name: &str) -> String {
    let label: String = name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { String::from("school") } else { label.to_owned() }
}
