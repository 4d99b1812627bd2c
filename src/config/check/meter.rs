//! What is said of speed tests.

use super::{Checker, rate};
use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::config::file;
use crate::meter::budget::Caps;
use crate::meter::schedule::{MOST, Schedule, Slot};
use crate::meter::{Contract, Server, Settings};
use jiff::tz::TimeZone;
use url::Url;

/// Letters of a consent: a name, an office, a date.
const AGREED_LONGEST: usize = 200;

/// `[meter]`; the zone is that of the night, the hub a server too.
pub(super) fn meter(c: &mut Checker<'_>, meter: &file::Meter, zone: &str, hub: Option<&Target>) -> Settings {
    let servers = c.each(
        "meter.servers",
        &meter.servers,
        "write \"wss://speed.example.kz\", and behind it \"domestic\" or \"foreign\" where that is known",
        |text| Server::parse(text),
    );
    let mut slots: Vec<Slot> =
        c.each("meter.slots", &meter.slots, "write \"08:00-12:00\", half an hour or more within one day", |text| text.parse().ok());
    slots.sort_by_key(Slot::from);
    let overlap = slots.windows(2).find(|pair| pair[1].from() < pair[0].to()).map(|pair| format!("{}, {}", pair[0], pair[1]));
    if let Some(overlap) = overlap {
        c.wrong("meter.slots", &overlap, "overlap", "let one end before the next begins");
    }
    if slots.len() > MOST {
        c.wrong("meter.slots", &slots.len().to_string(), "are more tests than a line should bear", "write at most 12");
    }
    let agreed = meter.mlab_agreed.trim();
    if meter.mlab && agreed.is_empty() {
        let remedy = "write who agreed, and when: mlab_agreed = \"A. Serikova, headmistress, 2026-11-20\"";
        c.wrong("meter.mlab", "true", "needs a recorded consent: M-Lab publishes results with the school's address", remedy);
    }
    if agreed.chars().count() > AGREED_LONGEST || agreed.chars().any(char::is_control) {
        c.wrong("meter.mlab_agreed", agreed, "is no name and date", "write them in one line: \"A. Serikova, 2026-11-20\"");
    }
    let pages = c.each("meter.pages", &meter.pages, "write \"https://test.example.kz\", without a path", |text| origin(text));
    Settings {
        servers,
        hub: hub.and_then(|hub| Url::parse(hub.url()).ok()),
        mlab: (meter.mlab && !agreed.is_empty()).then(|| agreed.to_owned()),
        // An unknown zone has been complained of where it is written.
        schedule: Schedule { slots, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC), startup: meter.startup },
        caps: Caps { day: size(c, "meter.day", &meter.day), month: size(c, "meter.month", &meter.month) },
        contract: Contract {
            down: rate(c, "meter.contract_down", &meter.contract_down).map(|rate| rate.0),
            up: rate(c, "meter.contract_up", &meter.contract_up).map(|rate| rate.0),
        },
        pages,
    }
}

/// The origin of a page as browsers write it.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    bare.then(|| url.origin().ascii_serialization())
}

/// A number of bytes, 0 among them: no test sends anything then.
fn size(c: &mut Checker<'_>, key: &str, text: &str) -> Option<u64> {
    let size = text.parse::<Bytes>();
    if let (Err(error), false) = (&size, text.is_empty()) {
        c.wrong(key, text, "is no size", &error.to_string());
    }
    size.ok().filter(|_| !text.is_empty()).map(|size| size.0)
}
