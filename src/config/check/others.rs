//! What is said of those who are told beside the hub: a Giga Meter server, a receiver of remote-write.

use super::Checker;
use crate::base::target::{Scheme, Target};
use crate::config::file;
use crate::report::giga::Settings;
use crate::report::giga::message::School;
use crate::report::remote;
use std::net::IpAddr;
use std::time::Duration;

/// What is right for `giga.url`.
const WRITE: &str = "write \"https://meter.example.org/api/v1\"";

/// Letters of a school's number.
const NUMBER_LONGEST: usize = 64;

/// `[giga]`; `None`: nothing is told to any.
pub(super) fn giga(c: &mut Checker<'_>, giga: &file::Giga) -> Option<Settings> {
    if giga.url.is_empty() {
        return None;
    }
    let base = Target::parse(&giga.url).ok().filter(|base| !base.path_and_query().contains('?'));
    if base.is_none() {
        c.wrong("giga.url", &giga.url, "is no base of an address", WRITE);
    }
    if base.as_ref().is_some_and(|base| base.scheme() == Scheme::Http && !is_here(base.host())) {
        c.wrong("giga.url", &giga.url, "would carry the key in the clear", WRITE);
    }
    if giga.key.as_os_str().is_empty() {
        c.wrong("giga.key", "", "is empty", "name the file with the key, mode 0600: \"/etc/bulak/giga.key\"");
    }
    let id = giga.id.trim().to_ascii_lowercase();
    if uuid::Uuid::try_parse(&id).is_err() || id.len() != 36 {
        c.wrong("giga.id", &giga.id, "is no id of a school at Giga", "write its UUID: \"3b5d0a9e-0f3c-4c5e-9d52-1c2f6a7b8d90\"");
    }
    let country = giga.country.trim().to_ascii_uppercase();
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        c.wrong("giga.country", &giga.country, "is no country code", "write two letters: \"KZ\"");
    }
    let number = giga.school.trim();
    if number.chars().count() > NUMBER_LONGEST || number.chars().any(char::is_control) {
        c.wrong("giga.school", number, "is no number of a school", "write it in one line");
    }
    Some(Settings { base: base?, key: giga.key.clone(), school: School { id: number.to_owned(), giga_id: id, country } })
}

/// `[remote_write]`; `None`: nothing is written to any. `name`: how the node calls itself.
pub(super) fn remote_write(c: &mut Checker<'_>, written: &file::RemoteWrite, name: &str) -> Option<remote::Settings> {
    if written.every.0 < Duration::from_secs(1) {
        c.wrong("remote_write.every", &written.every.to_string(), "would write without pause", "write \"1 min\", at least \"1 s\"");
    }
    if written.url.is_empty() {
        return None;
    }
    let url = Target::parse(&written.url).ok();
    if url.is_none() {
        c.wrong("remote_write.url", &written.url, "is no address", "write \"https://prometheus.example.org/api/v1/write\"");
    }
    let key = Some(written.key.clone()).filter(|key| !key.as_os_str().is_empty());
    if key.is_some() && url.as_ref().is_some_and(|url| url.scheme() == Scheme::Http && !is_here(url.host())) {
        c.wrong("remote_write.url", &written.url, "would carry the key in the clear", "write \"https://…\"");
    }
    Some(remote::Settings { url: url?, key, every: written.every.0, name: name.to_owned() })
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|addr| addr.is_loopback())
}
