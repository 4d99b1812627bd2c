//! "Record a lesson": one device browses it once through the proxy, and everything public that it needed becomes a pack. Pure.
//!
//! Only the recording device's traffic counts, it is kept in memory alone, and of what is not public no more than a count by host.
//! A host whose https was only passed on is named as seen and not readable.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::prefetch::wish::quote;
use crate::site::pack::{MAX_BYTES, Pack};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

/// Most addresses of a recording: a lesson has some hundreds. Longer texts are no longer read by a person.
const PIECES: usize = 4000;
/// Most hosts that are named.
const HOSTS: usize = 500;
/// Longest address.
const LONGEST: usize = 2048;
/// Room of the pack when lengths are not known.
const LEAST: u64 = 64 << 20;

/// What a recording is to be.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RecordOrder)]
pub struct Order {
    /// The pack's id.
    pub name: String,
    /// How long, in seconds.
    pub seconds: u64,
    /// The recording device; none: the next one that opens the start page and says so.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub device: Option<IpAddr>,
    /// What people read; none: the name.
    #[serde(default)]
    pub title: Option<String>,
    /// Under which licence the content may be copied.
    #[serde(default)]
    pub licence: Option<String>,
}

/// What was seen of the recording device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Something that a stranger would have got too.
    Public {
        /// What.
        target: Target,
        /// A page, not what one needs.
        page: bool,
    },
    /// Something of this person, or that may not be kept.
    Personal(String),
    /// https that was passed on unopened.
    Sealed(String),
}

/// How far a recording is; holds no address of what is personal.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Recording)]
pub struct View {
    /// The pack's id.
    pub name: String,
    /// `waiting` for its device, `recording`, `over`.
    pub state: String,
    /// Seconds left.
    pub seconds: u64,
    /// Pages.
    pub pages: u64,
    /// What they needed.
    pub pieces: u64,
    /// Hosts of what goes into the pack.
    pub hosts: Vec<String>,
    /// Left out: how often, by host.
    pub left_out: BTreeMap<String, u64>,
    /// Seen and not readable: https that was passed on.
    pub not_readable: Vec<String>,
    /// The pack's text; none when there is nothing to keep.
    pub text: Option<String>,
}

/// A recording.
#[derive(Debug)]
pub struct Session {
    order: Order,
    device: Option<IpAddr>,
    began: Time,
    until: Time,
    /// Public addresses in the order of their text; `true` for pages.
    pieces: BTreeMap<String, bool>,
    left_out: BTreeMap<String, u64>,
    sealed: BTreeMap<String, u64>,
}

impl Session {
    /// Begins at `now`.
    pub fn new(order: Order, now: Time) -> Session {
        let until = now.plus(std::time::Duration::from_secs(order.seconds));
        let device = order.device.map(|device| device.to_canonical());
        Session { order, device, began: now, until, pieces: BTreeMap::new(), left_out: BTreeMap::new(), sealed: BTreeMap::new() }
    }

    /// Whether it still runs.
    pub fn is_on(&self, now: Time) -> bool {
        now < self.until
    }

    /// Whether it waits for its device.
    pub fn waits(&self, now: Time) -> bool {
        self.device.is_none() && self.is_on(now)
    }

    /// The device says that it is the one; its time begins now. Whether it is.
    pub fn claim(&mut self, device: IpAddr, now: Time) -> bool {
        if self.waits(now) {
            self.device = Some(device.to_canonical());
            self.began = now;
            self.until = now.plus(std::time::Duration::from_secs(self.order.seconds));
        }
        self.is_of(device, now)
    }

    /// Whether this device is being recorded.
    pub fn is_of(&self, device: IpAddr, now: Time) -> bool {
        self.is_on(now) && self.device == Some(device.to_canonical())
    }

    /// Ends it.
    pub fn end(&mut self, now: Time) {
        self.until = self.until.min(now);
    }

    /// Notes what a device asked for, if it is the recording one.
    pub fn saw(&mut self, device: IpAddr, sight: Sight, now: Time) {
        if !self.is_of(device, now) {
            return;
        }
        let count = |hosts: &mut BTreeMap<String, u64>, host: String| {
            if hosts.len() < HOSTS || hosts.contains_key(&host) {
                *hosts.entry(host).or_default() += 1;
            }
        };
        match sight {
            Sight::Public { target, page } if target.url().len() <= LONGEST => {
                if self.pieces.len() < PIECES || self.pieces.contains_key(target.url()) {
                    *self.pieces.entry(target.url().to_owned()).or_default() |= page;
                }
            }
            Sight::Public { target, .. } => count(&mut self.left_out, target.host().to_owned()),
            Sight::Personal(host) => count(&mut self.left_out, host),
            Sight::Sealed(host) => count(&mut self.sealed, host),
        }
    }

    /// Whether nothing public has been seen.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Every public address so far.
    pub fn targets(&self) -> Vec<Target> {
        self.pieces.keys().filter_map(|url| Target::parse(url).ok()).collect()
    }

    /// How far it is. `stored`: the length of what is kept of an address; what turned out not to be kept is none's but that device's.
    pub fn view(&self, stored: impl Fn(&Target) -> Option<u64>, now: Time) -> View {
        let mut view = View { name: self.order.name.clone(), left_out: self.left_out.clone(), ..View::default() };
        view.state = String::from(match (self.is_on(now), self.device) {
            (false, _) => "over",
            (true, None) => "waiting",
            (true, Some(_)) => "recording",
        });
        view.seconds = self.until.since(now).as_secs();
        let (mut kept, mut bytes) = (Vec::new(), 0_u64);
        for (url, page) in &self.pieces {
            let Ok(target) = Target::parse(url) else { continue };
            match stored(&target) {
                Some(length) => {
                    bytes = bytes.saturating_add(length);
                    let count = if *page { &mut view.pages } else { &mut view.pieces };
                    *count += 1;
                    kept.push((target, *page));
                }
                None => *view.left_out.entry(target.host().to_owned()).or_default() += 1,
            }
        }
        view.hosts = kept.iter().map(|(target, _)| target.host().to_owned()).collect();
        view.hosts.sort_unstable();
        view.hosts.dedup();
        // Where something of a host could be read, its tunnels are no riddle.
        view.not_readable = self.sealed.keys().filter(|host| !view.hosts.contains(host)).cloned().collect();
        view.text = self.text(&kept, &view.hosts, bytes);
        view
    }

    fn text(&self, kept: &[(Target, bool)], hosts: &[String], bytes: u64) -> Option<String> {
        let title = quote(self.order.title.as_deref().unwrap_or(&self.order.name));
        let licence = quote(self.order.licence.as_deref().unwrap_or("not stated: recorded for this school alone"));
        let hosts: Vec<String> = hosts.iter().map(|host| quote(host)).collect();
        let mut text = format!(
            "# Recorded by browsing once. Look through the addresses before you let it be fetched.\nid = {}\nversion = {}\nlicence = {licence}\n\
             [title]\nkk = {title}\nru = {title}\nen = {title}\n[scope]\nhosts = [{}]\ndepth = 0\nmax_bytes = \"{}\"\n",
            quote(&self.order.name),
            quote(self.began.to_rfc3339().get(..10)?),
            hosts.join(", "),
            // Twice what it was: lessons grow.
            Bytes(bytes.saturating_mul(2).max(LEAST)),
        );
        // Pages first: they are what a reader looks for.
        for (target, _) in kept.iter().filter(|(_, page)| *page).chain(kept.iter().filter(|(_, page)| !*page)) {
            let url = quote(target.url());
            if text.len() + url.len() + 16 > MAX_BYTES {
                break;
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "[[seed]]\nurl = {url}\n");
        }
        (!kept.is_empty() && Pack::parse(&text).is_ok()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    fn session(device: Option<&str>) -> Session {
        let device = device.map(|text| text.parse().expect("an address"));
        Session::new(Order { name: "fractions".into(), seconds: 600, device, title: Some("Бөлшек \"1\"".into()), licence: None }, NOW)
    }

    fn public(url: &str, page: bool) -> Sight {
        Sight::Public { target: Target::parse(url).expect(url), page }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_the_recording_device_counts_and_only_what_is_public_is_named() {
        let mut session = session(None);
        session.saw(ip("10.0.0.1"), public("http://a.kz/before", true), NOW);
        assert!(session.claim(ip("10.0.0.1"), NOW) && !session.claim(ip("10.0.0.2"), NOW), "the first that says so");
        for (device, sight) in [
            ("10.0.0.1", public("http://a.kz/lesson", true)),
            ("::ffff:10.0.0.1", public("http://cdn.kz/x.js", false)),
            ("10.0.0.1", public("http://a.kz/not-kept", true)),
            ("10.0.0.1", Sight::Personal("kundelik.kz".into())),
            ("10.0.0.1", Sight::Sealed("b.kz".into())),
            ("10.0.0.1", Sight::Sealed("a.kz".into())),
            ("10.0.0.2", public("http://a.kz/other", true)),
            ("10.0.0.2", Sight::Personal("secret.kz".into())),
            ("10.0.0.2", Sight::Sealed("secret.kz".into())),
        ] {
            session.saw(ip(device), sight, NOW);
        }
        let later = NOW.plus(std::time::Duration::from_secs(600));
        session.saw(ip("10.0.0.1"), public("http://a.kz/late", true), later);
        let view = session.view(|target| (!target.path().contains("not-kept")).then_some(1000), later);
        assert_eq!((view.state.as_str(), view.pages, view.pieces, view.seconds), ("over", 1, 1, 0));
        assert_eq!(view.hosts, ["a.kz", "cdn.kz"]);
        assert_eq!(view.left_out, BTreeMap::from([("a.kz".into(), 1), ("kundelik.kz".into(), 1)]));
        assert_eq!(view.not_readable, ["b.kz"]);
        let text = view.text.expect("a pack");
        let pack = Pack::parse(&text).expect("a good pack");
        let seeds: Vec<&str> = pack.seeds.iter().map(|seed| seed.target.url()).collect();
        assert_eq!(seeds, ["http://a.kz/lesson", "http://cdn.kz/x.js"]);
        assert!(!text.contains("kundelik") && !text.contains("secret") && !text.contains("other") && !text.contains("late"), "{text}");
        assert!(pack.classes.is_empty() && pack.title.kk.as_deref() == Some("Бөлшек \"1\""));
    }

    #[test]
    fn a_recording_is_bounded_and_may_be_empty() {
        let mut session = session(Some("10.0.0.1"));
        assert!(!session.waits(NOW) && session.view(|_| Some(1), NOW).text.is_none());
        for number in 0..PIECES + 100 {
            session.saw(ip("10.0.0.1"), public(&format!("http://a.kz/{number}"), false), NOW);
            session.saw(ip("10.0.0.1"), Sight::Personal(format!("{number}.kz")), NOW);
        }
        let view = session.view(|_| Some(1), NOW);
        assert_eq!((view.pieces, view.left_out.len(), view.state.as_str()), (PIECES as u64, HOSTS, "recording"));
        assert!(view.text.is_some_and(|text| text.len() < crate::site::pack::MAX_BYTES));
        session.end(NOW);
        assert!(!session.is_on(NOW));
    }
}
