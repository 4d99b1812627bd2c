//! "Fetch tonight": what a person in front of a missing page may wish for, how a page's form proves that it is ours, and the pack
//! that wishes make. Pure.
//!
//! A wish is a public page and nothing else: no personal host, none with accounts, none of the school's own network, no address
//! that is itself a key. Who wished is never kept; for a day it is counted, under a key that is forgotten with the day.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::site::Known;
use crate::site::pack::{MAX_BYTES, Pack};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// The pack that wishes make.
pub const TONIGHT: &str = "tonight";
/// Longest address: longer ones carry state.
const LONGEST: usize = 2048;
/// Clients that are told apart in a day; beyond, new ones share one count.
const CLIENTS: usize = 4096;

/// `[wishes]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a page stays.
    pub keep: Duration,
    /// Most wishes of a day; 0: none may be made.
    pub per_day: usize,
    /// Most of one device.
    pub per_client: usize,
    /// Most bytes that one wish may hold, on an average.
    pub size: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { keep: Duration::from_hours(14 * 24), per_day: 50, per_client: 5, size: 50 << 20 }
    }
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = WishAnswerWord)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is on the list.
    Added,
    /// It was there already.
    Known,
    /// Nobody may wish here.
    Off,
    /// No address of a page.
    NoAddress,
    /// In the school's own network: it needs no fetching.
    Private,
    /// Personal, or a host with accounts.
    Personal,
    /// The address holds a key.
    Secret,
    /// This device has wished enough today.
    ClientFull,
    /// The school has.
    DayFull,
}

impl Answer {
    /// Whether the page will be fetched.
    pub fn is_good(self) -> bool {
        matches!(self, Answer::Added | Answer::Known)
    }

    /// What to tell and what to do, for commands.
    pub fn told(self) -> (&'static str, &'static str) {
        match self {
            Answer::Added => ("it will be fetched as soon as a window is open", "see \"bulak wish list\""),
            Answer::Known => ("it is on the list already", "see \"bulak wish list\""),
            Answer::Off => ("nobody may wish for pages here", "set wishes.per_day above 0"),
            Answer::NoAddress => ("this is no address of a page", "write it whole, with http:// or https://"),
            Answer::Private => ("this address lies in the school's own network", "it needs no fetching"),
            Answer::Personal => {
                ("this host is personal or has accounts", "only public pages can be wished for; a pack may name its open parts")
            }
            Answer::Secret => ("the address holds a key or leads to something of somebody", "only public pages can be wished for"),
            Answer::ClientFull => ("this device has wished enough today", "try again tomorrow, or raise wishes.per_client"),
            Answer::DayFull => ("enough was wished for today", "try again tomorrow, or raise wishes.per_day"),
        }
    }
}

/// Whether this may be wished for. `known`: what the rules in force know of the host; `secret`: whether an address is a key.
///
/// # Errors
/// Why not.
pub fn judge(url: &str, known: impl Fn(&Target) -> Known, secret: impl Fn(&str) -> bool) -> Result<Target, Answer> {
    // Other letters than ASCII as people write them.
    let url = url::Url::parse(url.trim()).map_err(|_| Answer::NoAddress)?;
    if !url.username().is_empty() || url.password().is_some() || url.as_str().len() > LONGEST {
        return Err(Answer::NoAddress);
    }
    let target = Target::parse(url.as_str()).map_err(|_| Answer::NoAddress)?;
    if is_private(target.host()) {
        return Err(Answer::Private);
    }
    // A star in a pack means any name.
    if !is_plain(&target) {
        return Err(Answer::NoAddress);
    }
    let known = known(&target);
    // What a pack refuses would take the whole list along.
    if known.refused || known.account || Pack::parse(&text(std::slice::from_ref(&target), &Settings::default())).is_err() {
        return Err(Answer::Personal);
    }
    // The part behind `#` never leaves a browser, but it stands in what a person pasted.
    if secret(url.as_str()) { Err(Answer::Secret) } else { Ok(target) }
}

/// Whether a host is one of the house, by its name or address alone. What a public name leads to is guarded when it is dialled.
pub fn is_private(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || shared
        }
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => {
            let ends = ["local", "localhost", "internal", "lan", "home.arpa"];
            !host.contains('.') || ends.iter().any(|end| host.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')))
        }
    }
}

/// Proves that a form was ours: bound to its address and to the day, good until the end of the next.
#[derive(Clone)]
pub struct Tokens([u8; 32]);

impl Tokens {
    /// With a secret that nobody else has.
    pub fn new(secret: [u8; 32]) -> Tokens {
        Tokens(secret)
    }

    /// For a form about this, on this day (days since 1970).
    pub fn make(&self, about: &str, day: i64) -> String {
        self.hash(about, day).to_hex().to_string()
    }

    /// Whether it is ours.
    pub fn fits(&self, about: &str, day: i64, token: &str) -> bool {
        // Compared in constant time.
        blake3::Hash::from_hex(token).is_ok_and(|token| token == self.hash(about, day) || token == self.hash(about, day - 1))
    }

    fn hash(&self, about: &str, day: i64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&day.to_le_bytes());
        hasher.update(about.as_bytes());
        hasher.finalize()
    }
}

/// How often each device has wished today: counted under a key that is forgotten with the day.
pub struct Counts {
    day: i64,
    key: [u8; 32],
    clients: HashMap<u64, usize>,
}

impl Counts {
    /// For a day, with a key of its own.
    pub fn new(day: i64, key: [u8; 32]) -> Counts {
        Counts { day, key, clients: HashMap::new() }
    }

    /// Whether it is of this day.
    pub fn is_of(&self, day: i64) -> bool {
        self.day == day
    }

    /// Counts a wish; `false` when this device has none left.
    pub fn count(&mut self, client: IpAddr, most: usize) -> bool {
        let name = disguise(&self.key, client);
        let full = self.clients.len() >= CLIENTS && !self.clients.contains_key(&name);
        let count = self.clients.entry(if full { 0 } else { name }).or_default();
        *count += 1;
        *count <= most
    }
}

/// A device under a day's key.
pub fn disguise(key: &[u8; 32], client: IpAddr) -> u64 {
    let bytes = match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let hash = blake3::keyed_hash(key, &bytes);
    hash.as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Whether a host is one name: in a pack a star stands for many.
pub(super) fn is_plain(target: &Target) -> bool {
    !target.host().contains('*')
}

/// The pack of these pages, as many of the first as a pack's text can hold; `None` when there are none. Text that is read like any
/// other pack, so that the same rules hold; what they refuse is left out alone.
pub fn pack(urls: &[&str], settings: &Settings) -> Option<Pack> {
    let targets = urls.iter().filter_map(|url| Target::parse(url).ok()).filter(is_plain);
    let mut room = MAX_BYTES / 2;
    let targets: Vec<Target> = targets
        .take_while(|target| {
            // Once as a seed, and its host.
            room = room.saturating_sub(target.url().len() + target.host().len() + 32);
            room > 0
        })
        .collect();
    if targets.is_empty() {
        return None;
    }
    let pack = Pack::parse(&text(&targets, settings)).or_else(|_| {
        // Rules change, and a list may be older than them: each for itself, so that one takes none of the others along.
        let (good, bad): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|target| Pack::parse(&text(std::slice::from_ref(target), settings)).is_ok());
        for target in bad {
            tracing::warn!(host = target.host(), "a wish that no pack may hold is left out");
        }
        Pack::parse(&text(&good, settings))
    });
    pack.ok().filter(|pack| !pack.seeds.is_empty())
}

fn text(targets: &[Target], settings: &Settings) -> String {
    let mut hosts: Vec<&str> = targets.iter().map(Target::host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let hosts: Vec<String> = hosts.into_iter().map(quote).collect();
    let most = settings.size.saturating_mul(targets.len() as u64).max(1);
    // A page stays as it was when it was wished for; only what failed is tried again.
    let days = settings.keep.as_secs().div_ceil(86_400).clamp(1, 400);
    let mut text = format!(
        "id = \"{TONIGHT}\"\nversion = \"1\"\nstatus = \"verified\"\nlicence = \"as each page says; for this school alone\"\npriority = 100\n\
         refresh = \"{days} days\"\n[title]\nkk = \"Түнде жүктеуге сұралған беттер\"\nru = \"Страницы, о которых просили\"\n\
         en = \"Pages that somebody wished for\"\n[scope]\nhosts = [{}]\ndepth = 0\nrequisites = \"any\"\nmax_bytes = \"{}\"\n",
        hosts.join(", "),
        Bytes(most),
    );
    for target in targets {
        // Writing to a string cannot fail.
        let _ = write!(text, "[[seed]]\nurl = {}\n", quote(target.url()));
    }
    text
}

/// A TOML string. Addresses and names of hosts hold no control letters.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A short name for something: the same for the same.
pub fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Sites;

    #[test]
    fn only_public_pages_may_be_wished_for() {
        let sites = Sites::default();
        let judge = |url: &str| judge(url, |target| sites.look(target), crate::cache::is_secret).map(|target| target.url().to_owned());
        for (url, wanted) in [
            ("http://s.school.test/lesson", "http://s.school.test/lesson"),
            (" https://kk.wikipedia.org/wiki/Абай#x ", "https://kk.wikipedia.org/wiki/%D0%90%D0%B1%D0%B0%D0%B9"),
            ("http://8.8.8.8/", "http://8.8.8.8/"),
        ] {
            assert_eq!(judge(url).as_deref(), Ok(wanted), "{url}");
        }
        let long = format!("http://a.kz/{}", "x".repeat(3000));
        for (url, why) in [
            ("ftp://a.kz/", Answer::NoAddress),
            ("file:///etc/passwd", Answer::NoAddress),
            ("javascript:alert(1)", Answer::NoAddress),
            ("lesson", Answer::NoAddress),
            ("http://u:p@a.kz/", Answer::NoAddress),
            (&long, Answer::NoAddress),
            ("http://a*b.kz/", Answer::NoAddress),
            ("http://*.kz/", Answer::NoAddress),
            ("https://*.wikipedia.org/", Answer::NoAddress),
            ("http://192.168.1.1/admin", Answer::Private),
            ("http://[::1]:8080/", Answer::Private),
            ("http://[::ffff:10.0.0.1]/", Answer::Private),
            ("http://2130706433/", Answer::Private),
            ("http://router/", Answer::Private),
            ("http://printer.local./", Answer::Private),
            ("http://bulak.internal/", Answer::Private),
            ("https://egov.kz/", Answer::Personal),
            ("https://login.example.com/", Answer::Personal),
            ("https://kundelik.kz/marks", Answer::Personal),
            ("http://a.kz/x?token=1", Answer::Secret),
            ("http://a.kz/x#access_token=1", Answer::Secret),
            ("http://a.kz/avatars/5f3c2a9be1d04c7788aa0b1c2d3e4f50.jpg", Answer::Secret),
        ] {
            assert_eq!(judge(url), Err(why), "{url}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_address_and_two_days() {
        let tokens = Tokens::new([1; 32]);
        let token = tokens.make("http://a.kz/", 100);
        assert!(tokens.fits("http://a.kz/", 100, &token) && tokens.fits("http://a.kz/", 101, &token));
        for (about, day, token) in
            [("http://b.kz/", 100, token.as_str()), ("http://a.kz/", 102, &token), ("http://a.kz/", 100, ""), ("http://a.kz/", 100, "00")]
        {
            assert!(!tokens.fits(about, day, token), "{about} {day} {token}");
        }
        assert!(!Tokens::new([2; 32]).fits("http://a.kz/", 100, &token), "another node's");
    }

    #[test]
    fn devices_are_counted_and_not_known() {
        let mut counts = Counts::new(7, [3; 32]);
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        assert!(counts.count(client(1), 2) && counts.count(client(1), 2) && !counts.count(client(1), 2));
        assert!(counts.count(client(2), 2), "another device");
        assert!(counts.count("::ffff:10.0.0.3".parse().expect("an address"), 1) && !counts.count(client(3), 1), "one and the same");
        assert!(counts.is_of(7) && !counts.is_of(8));
        assert_ne!(disguise(&[3; 32], client(1)), disguise(&[4; 32], client(1)), "another day's name");
    }

    #[test]
    fn wishes_make_a_pack_that_reads_like_any_other() {
        let settings = Settings::default();
        let pack =
            pack(&["http://a.kz/x?q=\"1\"".replace('"', "%22").as_str(), "http://b.kz:81/", "http://a.kz/y"], &settings).expect("a pack");
        assert_eq!((pack.id.as_str(), pack.seeds.len(), pack.scope.depth), (TONIGHT, 3, 0));
        assert_eq!((pack.scope.hosts.as_slice(), pack.scope.max_bytes), (["a.kz".to_owned(), "b.kz".to_owned()].as_slice(), 150 << 20));
        assert!(pack.scope.any_requisites && pack.permission.is_none() && pack.classes.is_empty());
        assert!(super::pack(&[], &settings).is_none());
        // One that may not be takes none of the others along, and opens nothing.
        for bad in ["http://a*b.kz/", "http://*.kz/", "https://*.wikipedia.org/", "https://egov.kz/", "https://login.example.com/", "no"] {
            let pack = super::pack(&["http://a.kz/", bad, "http://b.kz/"], &settings).expect(bad);
            assert_eq!((pack.seeds.len(), pack.scope.hosts.as_slice()), (2, ["a.kz".to_owned(), "b.kz".to_owned()].as_slice()), "{bad}");
        }
    }
}
