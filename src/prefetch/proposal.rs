//! What many devices missed today: pages, and folders of pages, that at least five of them asked for in vain. Pure.
//!
//! Devices and addresses are known by hashes under a key of the day, in memory alone, and all of it is forgotten with the day. An
//! address is taken down in words only at the moment when the fifth device asks for it; so nothing below five is ever shown or written.
//!
//! # Why not a sketch
//! A sketch that counts devices (`HyperLogLog`, or count-min over pairs) errs upwards now and then, and once is too often for a promise.
//! So a slot holds four devices by name, and slots are few: the oldest that only one device asked for make way.

use crate::base::target::Target;
use crate::prefetch::wish::{disguise, is_plain, quote, short};
use crate::site::pack::Pack;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Devices that must have missed it.
pub const DEVICES: usize = 5;
/// Different pages of a folder that must have been missed before the folder is proposed.
const PAGES: usize = 3;
/// Subjects that are watched at a time: some 1.5 MB.
const SLOTS: usize = 16_384;
/// Slots that are looked at for one that may go.
const LOOKS: usize = 8;
/// Most proposals of a day.
const FOUND: usize = 100;
/// Longest address.
const LONGEST: usize = 2048;
/// A run of letters and digits so long is somebody's number rather than a name.
const NUMBERED: usize = 16;
/// Room of a pack that was proposed: a folder of lessons, or a page with its film.
const PAGE_SIZE: &str = "64 MiB";
const FOLDER_SIZE: &str = "512 MiB";

/// What is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One page.
    Page,
    /// Pages below an address.
    Folder,
}

impl Kind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Page => "page",
            Kind::Folder => "folder",
        }
    }
}

/// Something that many missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What it is.
    pub kind: Kind,
    /// The page, or where the folder begins.
    pub url: String,
}

impl Proposal {
    /// Names it.
    pub fn id(&self) -> String {
        short(&format!("{} {}", self.kind.as_str(), self.url))
    }
}

#[derive(Clone, Default)]
struct Slot {
    devices: Vec<u64>,
    pages: Vec<u64>,
    /// It has been proposed.
    told: bool,
}

/// One day's misses.
pub struct Misses {
    day: i64,
    key: [u8; 32],
    slots: HashMap<u64, Slot>,
    /// In the order in which slots were taken.
    order: VecDeque<u64>,
    found: Vec<Proposal>,
    told: usize,
}

impl Misses {
    /// Of a day, under a key of its own.
    pub fn new(day: i64, key: [u8; 32]) -> Misses {
        Misses { day, key, slots: HashMap::new(), order: VecDeque::new(), found: Vec::new(), told: 0 }
    }

    /// Whether it is of this day.
    pub fn is_of(&self, day: i64) -> bool {
        self.day == day
    }

    /// A device asked for a page that is not here.
    pub fn miss(&mut self, client: IpAddr, page: &Target) {
        if page.url().len() > LONGEST {
            return;
        }
        let (device, name) = (disguise(&self.key, client), self.name(page.url()));
        self.note(Kind::Page, page.url(), device, name);
        if let Some(folder) = folder(page) {
            self.note(Kind::Folder, &folder, device, name);
        }
    }

    /// Another day, on which nothing is known but what came up before and is not written down yet.
    #[must_use]
    pub fn next(&mut self, day: i64, key: [u8; 32]) -> Misses {
        Misses { found: std::mem::take(&mut self.found), ..Misses::new(day, key) }
    }

    /// The first that has been missed by enough devices and is not written down yet.
    pub fn first(&self) -> Option<Proposal> {
        self.found.first().cloned()
    }

    /// It is written down.
    pub fn written(&mut self, one: &Proposal) {
        self.found.retain(|found| found != one);
    }

    fn name(&self, text: &str) -> u64 {
        let hash = blake3::keyed_hash(&self.key, text.as_bytes());
        hash.as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    fn note(&mut self, kind: Kind, url: &str, device: u64, page: u64) {
        let name = self.name(&format!("{} {url}", kind.as_str()));
        if !self.slots.contains_key(&name) {
            self.make_room();
            self.order.push_back(name);
        }
        let slot = self.slots.entry(name).or_default();
        if slot.told {
            return;
        }
        if kind == Kind::Folder && slot.pages.len() < PAGES && !slot.pages.contains(&page) {
            slot.pages.push(page);
        }
        if slot.devices.len() < DEVICES && !slot.devices.contains(&device) {
            slot.devices.push(device);
        }
        let enough = slot.devices.len() >= DEVICES && (kind == Kind::Page || slot.pages.len() >= PAGES);
        if enough && self.told < FOUND {
            // Who they were is of no more use.
            *slot = Slot { told: true, ..Slot::default() };
            self.told += 1;
            self.found.push(Proposal { kind, url: url.to_owned() });
        }
    }

    /// The oldest subject that only one device asked for makes way; what several wait for gets another turn.
    fn make_room(&mut self) {
        for look in 0.. {
            if self.slots.len() < SLOTS {
                return;
            }
            let Some(oldest) = self.order.pop_front() else { return };
            let several = self.slots.get(&oldest).is_some_and(|slot| slot.told || slot.devices.len() > 1);
            if several && look < LOOKS {
                self.order.push_back(oldest);
            } else {
                self.slots.remove(&oldest);
            }
        }
    }
}

/// Where a page's folder begins: as far as no segment is somebody's number. None at the root: a whole host is no folder.
fn folder(page: &Target) -> Option<String> {
    let parents = page.path().rsplit_once('/')?.0;
    let plain: Vec<&str> = parents.split('/').skip(1).take_while(|segment| !segment.is_empty() && !is_numbered(segment)).collect();
    (!plain.is_empty()).then(|| format!("{}/{}/", page.origin(), plain.join("/")))
}

fn is_numbered(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    digits == segment.len() || (digits > 0 && segment.len() >= NUMBERED) || segment.contains(['%', ';', '='])
}

/// The text of the pack that a proposal becomes.
pub fn text(kind: Kind, url: &str, day: &str) -> Option<(String, String)> {
    // A star in a host would be a wildcard in the pack.
    let target = Target::parse(url).ok().filter(is_plain)?;
    let host = target.host();
    let letters: String = host.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).take(40).collect();
    let id = format!("missed-{}-{}", letters.trim_matches('-'), &short(url)[..6]);
    let scope = match kind {
        Kind::Page => format!("depth = 0\nrequisites = \"any\"\nmax_bytes = \"{PAGE_SIZE}\"\n"),
        Kind::Folder => {
            let prefix = quote(target.path());
            format!("prefixes = [{prefix}]\ndepth = 1\nrequisites = \"any\"\nmax_bytes = \"{FOLDER_SIZE}\"\n")
        }
    };
    let text = format!(
        "# Made from what at least {DEVICES} devices missed.\nid = {}\nversion = {}\nlicence = \"as each page says; for this school alone\"\n\
         [title]\nkk = {title}\nru = {title}\nen = {title}\n[[seed]]\nurl = {}\n[scope]\nhosts = [{}]\n{scope}",
        quote(&id),
        quote(day),
        quote(url),
        quote(host),
        title = quote(host),
    );
    // What would be refused is not proposed either.
    Pack::parse(&text).is_ok().then_some((id, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    fn device(number: usize) -> IpAddr {
        IpAddr::from([10, 0, u8::try_from(number / 250).expect("small"), u8::try_from(number % 250).expect("small")])
    }

    /// All of it, as if it were written down.
    fn take(misses: &mut Misses) -> Vec<Proposal> {
        let mut all = Vec::new();
        while let Some(one) = misses.first() {
            misses.written(&one);
            all.push(one);
        }
        all
    }

    #[test]
    fn four_devices_are_nobody_and_the_fifth_is_a_class() {
        let mut misses = Misses::new(1, [1; 32]);
        let page = target("http://a.kz/lesson/fractions?part=2");
        for round in 0..3 {
            for number in 0..DEVICES - 1 {
                misses.miss(device(number), &page);
            }
            assert_eq!(take(&mut misses), [], "round {round}");
        }
        misses.miss(device(DEVICES), &page);
        assert_eq!(take(&mut misses), [Proposal { kind: Kind::Page, url: page.url().to_owned() }]);
        misses.miss(device(9), &page);
        assert_eq!(take(&mut misses), [], "once a day");
        // Midnight forgets who missed what, and nothing that came up.
        let other = target("http://a.kz/x");
        for number in 0..DEVICES {
            misses.miss(device(number), &other);
        }
        misses.miss(device(0), &target("http://a.kz/y"));
        let mut misses = misses.next(2, [2; 32]);
        for number in 1..DEVICES {
            misses.miss(device(number), &target("http://a.kz/y"));
        }
        assert_eq!(take(&mut misses), [Proposal { kind: Kind::Page, url: other.url().to_owned() }]);
    }

    #[test]
    fn a_folder_takes_five_devices_and_three_pages() {
        let mut misses = Misses::new(1, [1; 32]);
        for number in 0..DEVICES {
            let page = if number < 3 { format!("http://a.kz/course/algebra/{number}") } else { "http://a.kz/course/algebra/x".into() };
            assert_eq!(take(&mut misses), []);
            misses.miss(device(number), &target(&page));
        }
        assert_eq!(take(&mut misses), [Proposal { kind: Kind::Folder, url: "http://a.kz/course/algebra/".into() }]);
        for (page, wanted) in [
            ("http://a.kz/x", None),
            ("http://a.kz/", None),
            ("http://a.kz/u/12345/x", Some("http://a.kz/u/")),
            ("http://a.kz/5f3c2a9be1d04c77/x", None),
            ("http://a.kz:8080/b/c/d?q", Some("http://a.kz:8080/b/c/")),
        ] {
            assert_eq!(folder(&target(page)).as_deref(), wanted, "{page}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_several_want_outlives_a_flood() {
        let mut misses = Misses::new(1, [1; 32]);
        let wanted = target("http://a.kz/wanted");
        for number in 0..DEVICES - 1 {
            misses.miss(device(number), &wanted);
        }
        for number in 0..SLOTS * 2 {
            misses.miss(device(20), &target(&format!("http://a.kz/{number}")));
        }
        assert!(misses.slots.len() <= SLOTS && misses.order.len() <= SLOTS);
        assert_eq!(take(&mut misses), [], "one device alone proposes nothing");
        misses.miss(device(21), &wanted);
        assert_eq!(take(&mut misses).len(), 1);
    }

    #[test]
    fn a_proposal_becomes_a_pack() {
        for (kind, url, depth) in [(Kind::Page, "http://a.kz/x?y=%22", 0), (Kind::Folder, "http://a.kz:81/b/", 1)] {
            let (id, text) = text(kind, url, "2026-11-26").expect("a pack");
            let pack = Pack::parse(&text).expect("a good pack");
            assert_eq!((pack.id, pack.seeds[0].target.url(), pack.scope.depth), (id, url, depth));
        }
        assert_eq!(text(Kind::Page, "https://login.a.kz/x", "2026-11-26"), None);
        assert_eq!(text(Kind::Page, "https://kundelik.kz/x", "2026-11-26"), None);
        assert_eq!(text(Kind::Folder, "http://*.edu.kz/x/", "2026-11-26"), None, "no device's typing is a wildcard");
    }
}
