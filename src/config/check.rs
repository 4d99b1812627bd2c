//! From what was written to what is true: each text is given its meaning, or a complaint. Pure: whether a folder exists or a
//! port is free is seen when the node starts, and by `bulak doctor`.

/// What is said of https: zone, named hosts, mirror.
mod https;

/// What is said of those who are told beside the hub.
mod others;

/// What is said of speed tests.
mod meter;

use crate::base::target::{Scheme, Target, split_authority};
use crate::base::unit::{BitRate, Bytes, Wait};
use crate::cache;
use crate::config::complaint::{Complaint, Place};
use crate::config::file;
use crate::config::written::{Written, complain, quote};
use crate::config::{Config, Hub, Intercept, Manners, Night, Node, Packs, Proxy, Web};
use crate::link::{self, pace};
use crate::policy::{Kind, Offline, Rules, header};
use crate::prefetch::survey::Budget;
use crate::prefetch::{Holiday, Window, wish};
use crate::site::discover::media::Policy;
use crate::store;
use crate::upstream;
use http::HeaderName;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// All bodies are not read more often than this: it would wear out the disk's day.
const SCRUB_LEAST: Duration = Duration::from_hours(24);
/// A page that was wished for is kept for this long at least, and at most: as long as a pack may go without a refresh.
const KEEP: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(400 * 24);
/// Letters of a school's name: the longest official ones of the region have some 120.
const TITLE_LONGEST: usize = 160;
/// How long somebody waits for a plan.
const SURVEY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Below 5 ms a queue is jitter, above 500 ms nobody is spared.
const DELAY: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(500);
/// A packet in three seconds for each of four transfers: origins wait for a minute.
const FLOOR: BitRate = BitRate(16_000);
/// Share of the age since Last-Modified that counts as fresh, and its cap (RFC 9111 section 4.2.2).
const HEURISTIC: (f64, Duration) = (0.1, Duration::from_hours(24));

/// Gives every text its meaning.
///
/// # Errors
/// Every complaint, those of reading first.
pub(crate) fn check(written: Written) -> Result<Config, Vec<Complaint>> {
    let Written { file, places, complaints } = written;
    let mut checker = Checker { places: &places, complaints };
    let c = &mut checker;

    let name = file.node.name.clone();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
        c.wrong("node.name", &name, "is no name for header fields", "use 1 to 63 letters, digits, - _ . (\"abay-12\")");
    }
    if file.node.state.as_os_str().is_empty() {
        c.wrong("node.state", "", "is empty", "name a folder such as \"/var/lib/bulak\"");
    }
    if let Err(error) = file.node.log.parse::<tracing_subscriber::filter::Targets>() {
        c.wrong("node.log", &file.node.log, &format!("is no log level ({error})"), "write error, warn, info, debug or trace");
    }
    let title = file.node.title.trim();
    if title.chars().count() > TITLE_LONGEST || title.chars().any(char::is_control) {
        c.wrong("node.title", title, "does not fit on a page", "write the school's name in one line: \"№12 Абай мектебі\"");
    }
    let node = Node {
        name: name.clone(),
        title: if title.is_empty() { name.clone() } else { title.to_owned() },
        zone: https::zone(c, &file.node),
        socket: file.node.reached_at(),
        state: file.node.state.clone(),
        workers: c.number("node.workers", file.node.workers, 0..=256),
        log: file.node.log.clone(),
    };

    let listen = c.each("proxy.listen", &file.proxy.listen, LISTEN, listen_address);
    c.not_empty("proxy.listen", listen.len(), "nobody could reach the proxy", "write listen = [\"0.0.0.0:3128\"]");
    let web_listen = c.each("web.listen", &file.web.listen, LISTEN, listen_address);
    let tls_listen = c.each("proxy.tls_listen", &file.proxy.tls_listen, LISTEN, listen_address);
    let sni_listen = c.each("proxy.sni_listen", &file.proxy.sni_listen, LISTEN, listen_address);
    let mirror = https::mirror(c, &file.mirror);
    c.no_twins(&[
        ("proxy.listen", &listen),
        ("proxy.tls_listen", &tls_listen),
        ("proxy.sni_listen", &sni_listen),
        ("web.listen", &web_listen),
        ("mirror.listen", &mirror.listen),
    ]);
    let clients = c.each("proxy.clients", &file.proxy.clients, "write a range such as \"192.168.0.0/16\" or \"[fc00::]/7\"", range);
    c.not_empty("proxy.clients", file.proxy.clients.len(), "nobody could use the proxy", "list ranges such as \"192.168.0.0/16\"");
    let allow_private = c.each(
        "proxy.allow_private_targets",
        &file.proxy.allow_private_targets,
        "write \"192.168.8.5\", \"10.0.0.0/8:80-8080\" or \"[fd00::1]:80\"",
        allowed,
    );
    let connect_ports = c.each("proxy.connect_ports", &file.proxy.connect_ports, "write a number from 1 to 65535", |port| {
        u16::try_from(*port).ok().filter(|port| *port != 0)
    });
    let timeout = |c: &mut Checker<'_>, key: &str, wait: Duration| {
        if wait.is_zero() {
            c.wrong(key, "0", "leaves no time at all", "write a wait such as \"10 s\"");
        }
        wait
    };
    let proxy = Proxy {
        listen,
        clients,
        connect_ports,
        tls_listen,
        sni_listen,
        // Less than a browser takes serves nobody; more than a quarter of all is never given.
        per_client: c.number("proxy.per_client", file.proxy.per_client, 32..=2048),
        tunnel_quiet: timeout(c, "proxy.tunnel_quiet", file.proxy.tunnel_quiet.0),
        tunnel_lifetime: timeout(c, "proxy.tunnel_lifetime", file.proxy.tunnel_lifetime.0),
    };
    let intercept = Intercept {
        enabled: file.intercept.enabled,
        hosts: https::hosts(c, &file.intercept.hosts, &file.intercept.refused),
        refused: https::refused(c, &file.intercept.refused),
        distrust: timeout(c, "intercept.distrust", file.intercept.distrust.0),
    };
    let per_origin = c.number("upstream.per_origin", file.upstream.per_origin, 1..=256);
    let background_per_origin = c.number("upstream.background_per_origin", file.upstream.background_per_origin, 1..=256);
    if background_per_origin > per_origin {
        let value = background_per_origin.to_string();
        c.wrong("upstream.background_per_origin", &value, "is more than upstream.per_origin", "leave some for people who wait");
    }
    let upstream = upstream::Settings {
        resolver: c.each("upstream.resolver", &file.upstream.resolver, "write \"192.168.1.1:53\"", |text| address(text, Some(53))),
        hosts: hosts(c, &file.upstream.hosts),
        extra_roots: file.upstream.extra_roots.clone(),
        crls: file.upstream.crls.clone(),
        parent: parent(c, &file.upstream.parent),
        allow_private,
        own: Vec::new(),
        resolve_timeout: timeout(c, "upstream.resolve_timeout", file.upstream.resolve_timeout.0),
        connect_timeout: timeout(c, "upstream.connect_timeout", file.upstream.connect_timeout.0),
        first_byte_timeout: timeout(c, "upstream.first_byte_timeout", file.upstream.first_byte_timeout.0),
        idle_timeout: timeout(c, "upstream.idle_timeout", file.upstream.idle_timeout.0),
        pool_idle: file.upstream.pool_idle.0,
        per_origin,
        background_per_origin,
        ..upstream::Settings::default()
    };

    if file.store.path.as_os_str().is_empty() {
        c.wrong("store.path", "", "is empty", "name a folder such as \"/var/cache/bulak\"");
    }
    for (key, size) in
        [("store.quota", file.store.quota), ("store.segment", file.store.segment), ("store.decoded_max", file.store.decoded_max)]
    {
        if size.0 == 0 {
            c.wrong(key, &size.to_string(), "leaves no room at all", "write a size such as \"20 GiB\" or \"64 MiB\"");
        }
    }
    let pinned_share = file.store.pinned_share.trim_end_matches('%').trim().parse().ok().filter(|share| *share <= 100);
    if pinned_share.is_none() {
        c.wrong("store.pinned_share", &file.store.pinned_share, "is no share", "write 0 % to 100 %, such as \"70 %\"");
    }
    if file.store.scrub.0 < SCRUB_LEAST {
        c.wrong("store.scrub", &file.store.scrub.to_string(), "reads the whole disk too often", "write a day or more, such as \"30 days\"");
    }
    let store = store::Settings {
        path: file.store.path.clone(),
        quota: file.store.quota,
        memory: file.store.memory,
        hot_object: file.store.hot_object,
        segment: file.store.segment,
        pinned_share: pinned_share.unwrap_or_default(),
        scrub: file.store.scrub.0,
        sync_bytes: file.store.sync_bytes,
        sync_after: file.store.sync_after.0,
        decoded_max: file.store.decoded_max,
        index_cache: file.store.index_cache,
        repack_daily: file.store.repack_daily,
    };

    let kind = c.choice("cache.policy", &file.cache.policy, &[("school", Kind::School), ("rfc9111", Kind::Rfc9111)]);
    let offline = c.choice(
        "cache.offline_override",
        &file.cache.offline_override,
        &[("public", Offline::Public), ("packs", Offline::Packs), ("off", Offline::Off)],
    );
    let targeted = c.each("cache.targeted", &file.cache.targeted, "write a field name such as \"CDN-Cache-Control\"", |text| {
        text.parse::<HeaderName>().ok().filter(|field| header::is_control(field) && *field != http::header::CACHE_CONTROL)
    });
    let rules = Rules { kind, targeted, offline, heuristic_share: HEURISTIC.0, heuristic_max: HEURISTIC.1 };
    let cache = cache::Settings {
        rules,
        banner: file.cache.offline_banner,
        gzip: file.cache.wifi_gzip,
        name,
        decoded_max: store.decoded_max.0,
        // Where every byte costs money, a browser asks for what it wants itself.
        look_ahead: file.cache.look_ahead && !file.night.metered,
    };

    let link = link::Settings {
        check: c.each("link.check", &file.link.check, "write \"example.kz:443\"", |text| host_port(text).then(|| text.clone())),
        domestic: c.each("link.domestic", &file.link.domestic, "write a network such as \"2.72.0.0/13\"", range),
    };

    let packs = Packs {
        paths: file.packs.paths.iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect::<Vec<PathBuf>>(),
        trusted_keys: c.each(
            "packs.trusted_keys",
            &file.packs.trusted_keys,
            "paste the second line of the publisher's .pub file",
            |text| minisign::PublicKey::from_base64(text.trim()).ok().map(|_| text.trim().to_owned()),
        ),
    };
    let night = Night {
        windows: c.each("night.windows", &file.night.windows, WINDOW, window),
        holidays: c.each(
            "night.holidays",
            &file.night.holidays,
            "write \"2026-12-31\", \"2026-12-29..2027-01-10 winter\" (at most a year), or for every year \"12-16\"",
            |text| text.parse::<Holiday>().ok().map(|_| text.clone()),
        ),
        holiday_windows: c.each("night.holiday_windows", &file.night.holiday_windows, WINDOW, window),
        timezone: file.night.timezone.clone(),
        night_cap: cap(c, "night.night_cap", &file.night.night_cap),
        month_cap: cap(c, "night.month_cap", &file.night.month_cap),
        metered: file.night.metered,
        rate: rate(c, "night.rate", &file.night.rate),
        yields: yields(c, &file.night),
        transfers: c.number("night.transfers", file.night.transfers, 1..=64),
        survey: Budget { bytes: file.night.survey_bytes.0, time: file.night.survey_time.0 },
    };
    if !SURVEY.contains(&night.survey.time) {
        c.wrong(
            "night.survey_time",
            &file.night.survey_time.to_string(),
            "is no time that somebody waits for a plan",
            "write \"1 s\" to \"1 h\"",
        );
    }
    if jiff::tz::TimeZone::get(&night.timezone).is_err() {
        c.wrong("night.timezone", &night.timezone, "is not a known time zone", "write an IANA name such as \"Asia/Almaty\"");
    }
    if !(file.manners.rate > 0.0 && file.manners.rate <= 1000.0) {
        c.wrong("manners.rate", &file.manners.rate.to_string(), "is no rate", "write pages a second, above 0 and at most 1000");
    }
    if !file.manners.contact.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'(' | b')' | b'\\')) {
        c.wrong("manners.contact", &file.manners.contact, "does not fit into a header field", "use plain ASCII without brackets");
    }
    let manners = Manners {
        rate: file.manners.rate,
        connections: c.number("manners.connections", file.manners.connections, 1..=64),
        errors: u32::try_from(c.number("manners.errors", file.manners.errors, 1..=1000)).unwrap_or(u32::MAX),
        contact: file.manners.contact.clone(),
    };
    let media = media(c, &file.media);
    let wishes = wish::Settings {
        keep: file.wishes.keep.0,
        per_day: c.number("wishes.per_day", file.wishes.per_day, 0..=1000),
        per_client: c.number("wishes.per_client", file.wishes.per_client, 1..=1000),
        size: file.wishes.size.0,
    };
    if !KEEP.contains(&wishes.keep) {
        c.wrong("wishes.keep", &file.wishes.keep.to_string(), "is no time to keep a page", "write a day to 400 days, such as \"14 days\"");
    }
    let web = Web {
        listen: web_listen,
        names: c.each("web.names", &file.web.names, "write a host name or address without port", |text| {
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            (bare.parse::<IpAddr>().is_ok() || split_authority(text, Scheme::Http).is_ok_and(|(host, _)| host == text))
                .then(|| text.to_ascii_lowercase())
        }),
    };
    let hub = Hub {
        url: hub_url(c, &file.hub.url),
        school: file.hub.school.trim().to_owned(),
        code: file.hub.code.trim().to_owned(),
        every: file.hub.every.0,
    };
    if hub.every < Duration::from_mins(1) {
        c.wrong("hub.every", &file.hub.every.to_string(), "would report without pause", "write at least \"1 min\"");
    }

    let meter = meter::meter(c, &file.meter, &night.timezone, hub.url.as_ref());
    let giga = others::giga(c, &file.giga);
    let remote_write = others::remote_write(c, &file.remote_write, &node.name);

    let complaints = checker.complaints;
    if complaints.is_empty() {
        Ok(Config {
            node,
            proxy,
            upstream,
            store,
            cache,
            link,
            packs,
            night,
            manners,
            media,
            wishes,
            web,
            intercept,
            mirror,
            hub,
            meter,
            giga,
            remote_write,
            written: file,
            places,
        })
    } else {
        Err(sorted(complaints))
    }
}

/// In the order of the file, the environment after it.
fn sorted(mut complaints: Vec<Complaint>) -> Vec<Complaint> {
    complaints.sort_by_key(|complaint| match &complaint.place {
        Place::File { span, .. } => (0, span.start),
        Place::Environment(_) => (1, 0),
        Place::Default => (2, 0),
    });
    complaints
}

struct Checker<'p> {
    places: &'p BTreeMap<String, Place>,
    complaints: Vec<Complaint>,
}

impl Checker<'_> {
    fn wrong(&mut self, key: &str, value: &str, message: &str, remedy: &str) {
        // An item without a place of its own stands where its key does.
        let whole = key.split(['[', '"']).next().unwrap_or(key).trim_end_matches('.');
        let place = self.places.get(key).or_else(|| self.places.get(whole)).cloned().unwrap_or(Place::Default);
        self.complaints.push(complain(key, place, quote(&format!("{value:?}")), message, remedy));
    }

    /// Reads each item of a list; items that are wrong are left out and complained of.
    fn each<T: Display, R>(&mut self, key: &str, items: &[T], remedy: &str, read: impl Fn(&T) -> Option<R>) -> Vec<R> {
        let mut good = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match read(item) {
                Some(value) => good.push(value),
                None => self.wrong(&format!("{key}[{index}]"), &item.to_string(), "is not understood", remedy),
            }
        }
        good
    }

    fn not_empty(&mut self, key: &str, count: usize, message: &str, remedy: &str) {
        let complained = self.complaints.iter().any(|complaint| complaint.key.starts_with(key));
        if count == 0 && !complained {
            let place = self.places.get(key).cloned().unwrap_or(Place::Default);
            self.complaints.push(complain(key, place, String::new(), &format!("is empty: {message}"), remedy));
        }
    }

    fn number(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> usize {
        if !range.contains(&value) {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.wrong(key, &value.to_string(), "is out of range", &remedy);
        }
        usize::try_from(value.clamp(*range.start(), *range.end())).unwrap_or_default()
    }

    fn choice<T: Copy>(&mut self, key: &str, value: &str, choices: &[(&str, T)]) -> T {
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == value) {
            return *choice;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.wrong(key, value, "is none of the choices", &format!("write {}", words.join(" or ")));
        choices[0].1
    }

    /// Two listeners on one port are a mistake, also when one of them listens on all addresses.
    fn no_twins(&mut self, lists: &[(&str, &[SocketAddr])]) {
        let named = |(key, list): &(&str, &[SocketAddr])| {
            list.iter().enumerate().map(|(at, addr)| (format!("{key}[{at}]"), *addr)).collect::<Vec<_>>()
        };
        let all: Vec<(String, SocketAddr)> = lists.iter().flat_map(named).collect();
        for (at, (key, addr)) in all.iter().enumerate() {
            let clash = |(_, other): &&(String, SocketAddr)| {
                let same_kind = addr.is_ipv4() == other.is_ipv4();
                let overlap = addr.ip() == other.ip() || (same_kind && (addr.ip().is_unspecified() || other.ip().is_unspecified()));
                addr.port() != 0 && addr.port() == other.port() && overlap
            };
            if let Some((first, _)) = all[..at].iter().find(clash) {
                self.wrong(key, &addr.to_string(), &format!("is already taken by {first}"), "give each listener a port of its own");
            }
        }
    }
}

const LISTEN: &str = "write an address and a port such as \"0.0.0.0:3128\" or \"[::]:3128\"";

#[expect(clippy::ptr_arg, reason = "called with items of a Vec<String>")]
fn listen_address(text: &String) -> Option<SocketAddr> {
    address(text, None)
}

fn address(text: &str, port: Option<u16>) -> Option<SocketAddr> {
    let bare = || Some(SocketAddr::new(text.trim_start_matches('[').trim_end_matches(']').parse().ok()?, port?));
    text.parse().ok().or_else(bare)
}

/// `10.0.0.0/8`, `10.1.2.3`, `[fc00::]/7`, `fc00::/7`.
#[expect(clippy::ptr_arg, reason = "called with items of a Vec<String>")]
fn range(text: &String) -> Option<IpNet> {
    net(text)
}

fn net(text: &str) -> Option<IpNet> {
    let Some(rest) = text.strip_prefix('[') else {
        return text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    };
    let (inner, length) = rest.split_once(']')?;
    let address: std::net::Ipv6Addr = inner.parse().ok()?;
    let length = if length.is_empty() { 128 } else { length.strip_prefix('/')?.parse().ok()? };
    IpNet::new(address.into(), length).ok()
}

/// `ip-or-cidr[:port[-port]]`, IPv6 in brackets.
#[expect(clippy::ptr_arg, reason = "called with items of a Vec<String>")]
fn allowed(text: &String) -> Option<upstream::Allowed> {
    if let Some(net) = net(text) {
        return Some(upstream::Allowed { net, ports: None });
    }
    let (place, ports) = text.rsplit_once(':')?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    // Without brackets it cannot be told where an IPv6 address ends.
    (first != 0 && first <= last && (place.starts_with('[') || !place.contains(':'))).then_some(())?;
    Some(upstream::Allowed { net: net(place)?, ports: Some(first..=last) })
}

fn host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0))
        && split_authority(text, Scheme::Http).is_ok()
}

fn hosts(c: &mut Checker<'_>, hosts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (name, place) in hosts {
        let key = format!("upstream.hosts.{name:?}");
        if split_authority(name, Scheme::Http).is_err() {
            c.wrong(&key, name, "is no host name", "write \"example.kz\" or \"example.kz:443\" before the =");
        }
        if address(place, Some(0)).is_none() {
            c.wrong(&key, place, "is no address", "write \"192.168.8.5\" or \"192.168.8.5:8080\"");
        }
    }
    hosts.clone()
}

fn parent(c: &mut Checker<'_>, text: &str) -> Option<Target> {
    let target = Target::parse(text).ok().filter(|target| target.scheme() == Scheme::Http && target.path_and_query() == "/");
    if target.is_none() && !text.is_empty() {
        c.wrong("upstream.parent", text, "is no parent proxy", "write \"http://host:port\"");
    }
    target
}

fn hub_url(c: &mut Checker<'_>, text: &str) -> Option<Target> {
    let target = Target::parse(text).ok();
    if target.is_none() && !text.is_empty() {
        c.wrong("hub.url", text, "is no address of a hub", "write \"https://hub.example.kz\"");
    }
    target
}

/// How the night gives way.
fn yields(c: &mut Checker<'_>, night: &file::Night) -> pace::Settings {
    let delay = night.delay.parse::<Wait>().ok().map(|wait| wait.0).filter(|delay| DELAY.contains(delay));
    if delay.is_none() && night.delay != "off" {
        c.wrong("night.delay", &night.delay, "is no delay to aim at", "write \"5 ms\" to \"500 ms\", or \"off\"");
    }
    let floor = night.floor.parse::<BitRate>().ok().filter(|floor| *floor >= FLOOR);
    if floor.is_none() {
        c.wrong("night.floor", &night.floor, "is no rate, or so low that origins hang up", "write \"16 kbit/s\" or more");
    }
    if !night.probe.is_empty() && !host_port(&night.probe) {
        c.wrong("night.probe", &night.probe, "is no place to measure by", "write \"example.kz:443\", best a host near the ISP");
    }
    let probe = Some(night.probe.clone()).filter(|probe| !probe.is_empty());
    pace::Settings { delay, floor: floor.unwrap_or(FLOOR), probe }
}

/// How windows are written.
pub(super) const WINDOW: &str = "write \"mon-sun 22:00-07:00\", \"sat,sun 00:00-24:00\" or \"2026-12-31 10:00-14:00\"";

#[expect(clippy::ptr_arg, reason = "called with items of a Vec<String>")]
fn window(text: &String) -> Option<String> {
    text.parse::<Window>().ok().map(|_| text.clone())
}

fn cap(c: &mut Checker<'_>, key: &str, text: &str) -> Option<u64> {
    match text.parse::<Bytes>() {
        Ok(Bytes(0)) => c.wrong(key, text, "would let nothing through", "leave it empty for no cap, or set night.metered = true"),
        Ok(Bytes(bytes)) => return Some(bytes),
        Err(_) if text.is_empty() => {}
        Err(error) => c.wrong(key, text, "is no size", &error.to_string()),
    }
    None
}

fn media(c: &mut Checker<'_>, media: &file::Media) -> Policy {
    if media.bitrate.is_empty() {
        c.wrong("media.bitrate", "", "is no rate", "write it like \"1.2 Mbit/s\"");
    }
    let bitrate = rate(c, "media.bitrate", &media.bitrate).unwrap_or_default().0;
    let languages = c.each("media.languages", &media.languages, "write a language like \"kk\"", |text| {
        let sound = (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        sound.then(|| text.to_ascii_lowercase())
    });
    let height = u64::try_from(c.number("media.height", media.height, 144..=4320)).unwrap_or(u64::MAX);
    Policy { bitrate, height, languages, enclosures: media.enclosures }
}

fn rate(c: &mut Checker<'_>, key: &str, text: &str) -> Option<BitRate> {
    let rate = text.parse::<BitRate>();
    match &rate {
        Err(error) if !text.is_empty() => c.wrong(key, text, "is no rate", &error.to_string()),
        Ok(BitRate(0)) => c.wrong(key, text, "would let nothing through", "write it like \"1.2 Mbit/s\", or leave it empty for none"),
        _ => {}
    }
    rate.ok().filter(|rate| rate.0 > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_targets() {
        let table = [
            ("127.0.0.1", "127.0.0.1/32", None),
            ("127.0.0.0/8:8000-9000", "127.0.0.0/8", Some(8000..=9000)),
            ("[::1]:80", "::1/128", Some(80..=80)),
            ("[fd00::]/8", "fd00::/8", None),
            ("[fd00::]/8:443", "fd00::/8", Some(443..=443)),
            ("::1", "::1/128", None),
        ];
        for (text, net, ports) in table {
            let wanted = upstream::Allowed { net: net.parse().expect("a net"), ports };
            assert_eq!(allowed(&text.to_owned()), Some(wanted), "{text}");
        }
        for text in ["", "host", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:9-8", "10.0.0.1:x", "[::1", "[::1]x", "[::1]:80:90"] {
            assert_eq!(allowed(&text.to_owned()), None, "{text}");
        }
    }
}
