//! Exactly what a school writes: sections and keys, each with its default. Unknown keys are refused.
//!
//! The keys are a contract with other people's scripts. Quantities carry their unit in the value. What a
//! text means (an address, a window) is judged by `check`, which knows the line it stands on.

use crate::base::unit::{Bytes, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The node itself.
    pub node: Node,
    /// Who may use it for what.
    pub proxy: Proxy,
    /// How origins are reached.
    pub upstream: Upstream,
    /// Where bytes are kept.
    pub store: Store,
    /// Which rules hold.
    pub cache: Cache,
    /// How the line is judged.
    pub link: Link,
    /// What is fetched ahead.
    pub packs: Packs,
    /// When.
    pub night: Night,
    /// How considerately.
    pub manners: Manners,
    /// Which form of a film.
    pub media: Media,
    /// "Fetch tonight".
    pub wishes: Wishes,
    /// Portal and pages.
    pub web: Web,
    /// Which https hosts are opened for enrolled devices.
    pub intercept: Intercept,
    /// Packs' content under the school's own names.
    pub mirror: Mirror,
    /// Where reports go.
    pub hub: Hub,
    /// Speed tests.
    pub meter: Meter,
    /// A Giga Meter server.
    pub giga: Giga,
    /// A receiver of Prometheus remote-write.
    pub remote_write: RemoteWrite,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// How the node calls itself in Via, Cache-Status and pages.
    pub name: String,
    /// The school as people call it; empty: `name`.
    pub title: String,
    /// The school's own DNS zone; empty: `<name>.internal`.
    pub zone: String,
    /// Keys, outbox, database.
    pub state: PathBuf,
    /// Unix socket of local commands; empty: `<state>/bulak.sock`.
    pub socket: PathBuf,
    /// Threads that carry requests; 0: one per core.
    pub workers: i64,
    /// Log level, or levels by module (`info,bulak::link=debug`).
    pub log: String,
}

impl Node {
    /// The socket itself.
    pub(crate) fn reached_at(&self) -> PathBuf {
        if self.socket.as_os_str().is_empty() { self.state.join("bulak.sock") } else { self.socket.clone() }
    }
}

impl Default for Node {
    fn default() -> Node {
        Node {
            name: "school-1".into(),
            title: String::new(),
            zone: String::new(),
            state: "/var/lib/bulak".into(),
            socket: PathBuf::new(),
            workers: 0,
            log: "info".into(),
        }
    }
}

/// `[proxy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Who may use the proxy.
    pub clients: Vec<String>,
    /// Private origins that may be reached all the same.
    pub allow_private_targets: Vec<String>,
    /// Ports that CONNECT may reach.
    pub connect_ports: Vec<i64>,
    /// Addresses of the same proxy over TLS, for enrolled devices.
    pub tls_listen: Vec<String>,
    /// Addresses to which a network may redirect port 443: passed on by the name in the ClientHello.
    pub sni_listen: Vec<String>,
    /// Connections of one address, and requests of it under way.
    pub per_client: i64,
    /// A tunnel without a byte either way ends after this long.
    pub tunnel_quiet: Wait,
    /// A tunnel ends after this long whatever moves.
    pub tunnel_lifetime: Wait,
}

impl Default for Proxy {
    fn default() -> Proxy {
        Proxy {
            listen: vec!["0.0.0.0:3128".into()],
            clients: [
                "127.0.0.0/8",
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "100.64.0.0/10",
                "[fc00::]/7",
                "[fe80::]/10",
                "[::1]/128",
            ]
            .map(String::from)
            .into(),
            allow_private_targets: Vec::new(),
            connect_ports: vec![80, 443],
            tls_listen: Vec::new(),
            sni_listen: Vec::new(),
            // A browser opens some 6 to each of many hosts, a proxy about 32 in all.
            per_client: 256,
            // Messengers ping more often.
            tunnel_quiet: Wait(Duration::from_mins(10)),
            // Whatever is open longer was forgotten.
            tunnel_lifetime: Wait(Duration::from_hours(24)),
        }
    }
}

/// `[upstream]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// DNS servers; empty: the system's.
    pub resolver: Vec<String>,
    /// `name[:port]` = `ip[:port]`, before DNS.
    pub hosts: BTreeMap<String, String>,
    /// PEM files trusted beside the system's.
    pub extra_roots: Vec<PathBuf>,
    /// Revocation lists.
    pub crls: Vec<PathBuf>,
    /// A parent proxy.
    pub parent: String,
    /// Longest wait for a name.
    pub resolve_timeout: Wait,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Wait,
    /// Longest wait for the first byte of an answer.
    pub first_byte_timeout: Wait,
    /// Longest silence within a body.
    pub idle_timeout: Wait,
    /// How long an unused connection is kept.
    pub pool_idle: Wait,
    /// HTTP/1.1 connections per origin.
    pub per_origin: i64,
    /// Of these, how many the night may hold.
    pub background_per_origin: i64,
}

impl Default for Upstream {
    fn default() -> Upstream {
        let seconds = |count| Wait(Duration::from_secs(count));
        Upstream {
            resolver: Vec::new(),
            hosts: BTreeMap::new(),
            extra_roots: Vec::new(),
            crls: Vec::new(),
            parent: String::new(),
            // A silent resolver costs a client at most this once; then negative memory answers.
            resolve_timeout: seconds(5),
            // A satellite's three round trips of TCP and TLS take 2 s; retransmits of a lossy line another 7.
            connect_timeout: seconds(9),
            // Slow portals think for half a minute before a report comes; browsers give up after 5 min.
            first_byte_timeout: seconds(60),
            idle_timeout: seconds(60),
            // 90 s: longer than a lesson's page takes to read, shorter than most origins keep a connection.
            pool_idle: seconds(90),
            per_origin: 32,
            // Two connections a host: good manners.
            background_per_origin: 2,
        }
    }
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The folder.
    pub path: PathBuf,
    /// Most bytes on disk.
    pub quota: Bytes,
    /// Hot tier.
    pub memory: Bytes,
    /// Largest object of the hot tier.
    pub hot_object: Bytes,
    /// Size of a segment.
    pub segment: Bytes,
    /// What packs may keep of the quota: `70 %`.
    pub pinned_share: String,
    /// All bodies are read and verified once in this time.
    pub scrub: Wait,
    /// Sync after this many bytes.
    pub sync_bytes: Bytes,
    /// Or after this long.
    pub sync_after: Wait,
    /// Largest decoded body.
    pub decoded_max: Bytes,
    /// The index's page cache.
    pub index_cache: Bytes,
    /// What a night may write to make the store smaller.
    pub repack_daily: Bytes,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            path: "/var/cache/bulak".into(),
            quota: Bytes::gib(20),
            memory: Bytes::mib(64),
            // A lesson of 40 objects is 2 to 20 MB and stays in the hot tier.
            hot_object: Bytes::mib(1),
            segment: Bytes::mib(64),
            pinned_share: "70 %".into(),
            scrub: Wait(Duration::from_hours(30 * 24)),
            sync_bytes: Bytes::mib(4),
            sync_after: Wait(Duration::from_secs(2)),
            decoded_max: Bytes::mib(256),
            index_cache: Bytes::mib(16),
            repack_daily: Bytes::gib(1),
        }
    }
}

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// `school` or `rfc9111`.
    pub policy: String,
    /// Targeted cache-control fields (RFC 9213), first wins.
    pub targeted: Vec<String>,
    /// `public`, `packs` or `off`.
    pub offline_override: String,
    /// A banner with the age on pages served offline.
    pub offline_banner: bool,
    /// gzip text for clients that take it.
    pub wifi_gzip: bool,
    /// Ask for what a page needs while it passes by.
    pub look_ahead: bool,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            policy: "school".into(),
            targeted: Vec::new(),
            offline_override: "public".into(),
            offline_banner: true,
            wifi_gzip: false,
            look_ahead: true,
        }
    }
}

/// `[link]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// `host:port` to try by TCP; empty: own fetches decide.
    pub check: Vec<String>,
    /// The country's networks; empty: names tell which hosts are in it.
    pub domestic: Vec<String>,
}

/// `[packs]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Packs {
    /// Folders of pack files, or single files.
    pub paths: Vec<PathBuf>,
    /// minisign public keys of publishers.
    pub trusted_keys: Vec<String>,
}

impl Default for Packs {
    fn default() -> Packs {
        Packs { paths: vec!["/etc/bulak/packs.d".into()], trusted_keys: Vec::new() }
    }
}

/// `[night]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Night {
    /// `days from-to`, in local time.
    pub windows: Vec<String>,
    /// Days without school: `2026-12-29..2027-01-10 winter`, `12-16` for every year.
    pub holidays: Vec<String>,
    /// The windows that hold on such days instead.
    pub holiday_windows: Vec<String>,
    /// IANA name.
    pub timezone: String,
    /// Most bytes of a night, noon to noon; empty: no cap.
    pub night_cap: String,
    /// Most bytes of a calendar month; empty: no cap.
    pub month_cap: String,
    /// Every byte costs money: nothing is fetched ahead but what people ask for.
    pub metered: bool,
    /// Most bits per second for the night's work; empty: as fast as the line allows.
    pub rate: String,
    /// The queue that it may make for others on the line; `off`: it gives way to nobody.
    pub delay: String,
    /// What it gets while people wait for the line.
    pub floor: String,
    /// "host:port" to measure that queue by; empty: a host that it fetches from.
    pub probe: String,
    /// Transfers at a time.
    pub transfers: i64,
    /// Most bytes that a plan may bring to know more.
    pub survey_bytes: Bytes,
    /// And the longest that it may ask.
    pub survey_time: Wait,
}

impl Default for Night {
    fn default() -> Night {
        Night {
            windows: vec!["mon-sun 22:00-07:00".into()],
            holidays: Vec::new(),
            // Nobody learns on such days: the line is free all day.
            holiday_windows: vec!["mon-sun 00:00-24:00".into()],
            timezone: "Asia/Almaty".into(),
            night_cap: String::new(),
            month_cap: String::new(),
            metered: false,
            rate: String::new(),
            delay: "25 ms".into(),
            floor: "16 kbit/s".into(),
            probe: String::new(),
            transfers: 4,
            // A person waits for it. 16 MiB are half a minute of 4 Mbit/s, and room for the largest sitemaps that sites have.
            survey_bytes: Bytes::mib(16),
            survey_time: Wait(Duration::from_mins(1)),
        }
    }
}

/// `[manners]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manners {
    /// Pages a second and host.
    pub rate: f64,
    /// Connections a host.
    pub connections: i64,
    /// Errors of a host in a day after which it is left alone until the next.
    pub errors: i64,
    /// Where a site's owner can complain, part of the User-Agent.
    pub contact: String,
}

impl Default for Manners {
    fn default() -> Manners {
        // One page a second: good manners. Five errors: a host that fails is left to its owner for the day.
        Manners { rate: 1.0, connections: 2, errors: 5, contact: String::new() }
    }
}

/// `[media]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Most bits per second of the form of a film that is fetched.
    pub bitrate: String,
    /// Most lines of its picture.
    pub height: i64,
    /// Languages whose subtitles are fetched.
    pub languages: Vec<String>,
    /// Whether what feeds enclose is fetched.
    pub enclosures: bool,
}

impl Default for Media {
    fn default() -> Media {
        // 480 lines of a filmed blackboard need 1 Mbit/s: half an hour is 270 MB.
        let languages = ["kk", "ru", "en"].map(String::from).into();
        Media { bitrate: "1.2 Mbit/s".into(), height: 480, languages, enclosures: true }
    }
}

/// `[wishes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wishes {
    /// How long a page that was wished for stays.
    pub keep: Wait,
    /// Most wishes of a day; 0: none.
    pub per_day: i64,
    /// Most of one device.
    pub per_client: i64,
    /// Most bytes of a wish, on an average.
    pub size: Bytes,
}

impl Default for Wishes {
    fn default() -> Wishes {
        // Two weeks: a topic. 50 pages of 50 MiB are 2.5 GB, an hour and a half of 4 Mbit/s.
        Wishes { keep: Wait(Duration::from_hours(14 * 24)), per_day: 50, per_client: 5, size: Bytes::mib(50) }
    }
}

/// `[web]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Addresses to listen on; empty: `0.0.0.0:80`, else 8080.
    pub listen: Vec<String>,
    /// Further names and addresses under which the web port is reached.
    pub names: Vec<String>,
}

/// `[intercept]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intercept {
    /// The switch; without a CA and a recorded consent it does nothing and says so.
    pub enabled: bool,
    /// Exact host names.
    pub hosts: Vec<String>,
    /// Names that are refused for good beside the compiled-in ones, with everything below them.
    pub refused: Vec<String>,
    /// How long a device that did not trust us for a host is left alone; doubled each time, up to 30 days.
    pub distrust: Wait,
}

impl Default for Intercept {
    fn default() -> Intercept {
        Intercept { enabled: false, hosts: Vec::new(), refused: Vec::new(), distrust: Wait(Duration::from_hours(24)) }
    }
}

/// `[mirror]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// Addresses to listen on; empty: no mirror.
    pub listen: Vec<String>,
    /// PEM file of a certificate chain for `*.m.<zone>`; empty: plain HTTP.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

impl Default for Mirror {
    fn default() -> Mirror {
        Mirror { listen: vec!["0.0.0.0:8082".into()], certificate: PathBuf::new(), key: PathBuf::new() }
    }
}

/// `[hub]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hub {
    /// The regional server; empty: none.
    pub url: String,
    /// The school's national id; empty: unknown.
    pub school: String,
    /// The code by which the node enrols; empty: none.
    pub code: String,
    /// How often a report is made.
    pub every: Wait,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { url: String::new(), school: String::new(), code: String::new(), every: Wait(Duration::from_hours(1)) }
    }
}

/// `[remote_write]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWrite {
    /// The receiver; empty: none.
    pub url: String,
    /// The file with a bearer token; empty: none is asked for.
    pub key: PathBuf,
    /// How often.
    pub every: Wait,
}

impl Default for RemoteWrite {
    fn default() -> RemoteWrite {
        RemoteWrite { url: String::new(), key: PathBuf::new(), every: Wait(Duration::from_mins(1)) }
    }
}

/// `[giga]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Giga {
    /// Where its API begins; empty: nothing is told to any.
    pub url: String,
    /// The file with the key.
    pub key: PathBuf,
    /// The school's id at Giga.
    pub id: String,
    /// The school's number in the country; empty: left out.
    pub school: String,
    /// The country, two letters.
    pub country: String,
}

impl Default for Giga {
    fn default() -> Giga {
        Giga { url: String::new(), key: PathBuf::new(), id: String::new(), school: String::new(), country: "KZ".into() }
    }
}

/// `[meter]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meter {
    /// Servers of ndt7; the hub is one too.
    pub servers: Vec<String>,
    /// M-Lab's public servers may be asked.
    pub mlab: bool,
    /// Who agreed to that, and when.
    pub mlab_agreed: String,
    /// Parts of the day with a test each; empty: none by itself.
    pub slots: Vec<String>,
    /// One more test after a start, at most once a day.
    pub startup: bool,
    /// Most bytes a day; empty: as the line's speed has it.
    pub day: String,
    /// Most bytes a month; empty: thirty days' worth.
    pub month: String,
    /// Origins whose pages may run tests against this node in a browser.
    pub pages: Vec<String>,
    /// What the provider has promised, towards the school; empty: unknown.
    pub contract_down: String,
    /// And towards the world.
    pub contract_up: String,
    /// Pupils of the school; 0: unknown.
    pub pupils: i64,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            servers: Vec::new(),
            mlab: false,
            mlab_agreed: String::new(),
            slots: ["08:00-12:00", "12:00-16:00", "16:00-20:00"].map(String::from).to_vec(),
            startup: true,
            day: String::new(),
            month: String::new(),
            pages: Vec::new(),
            contract_down: String::new(),
            contract_up: String::new(),
            pupils: 0,
        }
    }
}
