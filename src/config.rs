//! The configuration: the whole of it, already checked. Past `load` nothing is validated again, because nothing wrong can be
//! held.
//!
//! Two steps: `file::File` is what was written, `Config` is what is true. Order: default, then file, then environment
//! (`BULAK_SECTION__KEY`). Parts with settings of their own get them ready-made; the rest is kept here in plain types.

/// What is wrong, and how it is shown.
pub mod complaint;

/// Exactly what a school writes.
pub mod file;

/// From what was written to what is true.
mod check;

/// What was written, key by key, and where.
mod written;

pub use complaint::{Complaint, Complaints, Place};

use crate::base::target::Target;
use crate::base::unit::BitRate;
use crate::cache;
use crate::link::{self, pace};
use crate::meter;
use crate::prefetch::survey::Budget;
use crate::prefetch::wish;
use crate::report::{giga, remote};
use crate::site::discover::media::Policy;
use crate::store;
use crate::upstream;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below `node.state`: the packs that were made on this node.
pub const OWN_PACKS: &str = "packs.d";

/// Where a node looks when no file is named.
pub const USUAL_PLACE: &str = "/etc/bulak/school.toml";

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// `[proxy]` without what guards targets: that is in `upstream`.
    pub proxy: Proxy,
    /// Ready-made; `own` is filled in by whoever binds the listeners.
    pub upstream: upstream::Settings,
    /// Ready-made.
    pub store: store::Settings,
    /// Ready-made.
    pub cache: cache::Settings,
    /// Ready-made.
    pub link: link::Settings,
    /// `[packs]`.
    pub packs: Packs,
    /// `[night]`.
    pub night: Night,
    /// `[manners]`.
    pub manners: Manners,
    /// Ready-made.
    pub media: Policy,
    /// `[wishes]`.
    pub wishes: wish::Settings,
    /// `[web]`.
    pub web: Web,
    /// `[intercept]`.
    pub intercept: Intercept,
    /// `[mirror]`.
    pub mirror: Mirror,
    /// `[hub]`.
    pub hub: Hub,
    /// Ready-made.
    pub meter: meter::Settings,
    /// Ready-made; `None`: nothing is told to any.
    pub giga: Option<giga::Settings>,
    /// Ready-made; `None`: nothing is written to any.
    pub remote_write: Option<remote::Settings>,
    /// As it was written, with defaults for the rest.
    pub written: file::File,
    /// `section.key` to where it was set; keys at their default are missing.
    pub places: BTreeMap<String, Place>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Goes into Via, Cache-Status and pages: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The school as people call it, on pages: one line, never empty.
    pub title: String,
    /// The school's own DNS zone, in lower case: the names of TLS listeners and mirrored hosts end in it.
    pub zone: String,
    /// Keys, outbox, database.
    pub state: PathBuf,
    /// Unix socket of local commands.
    pub socket: PathBuf,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Log levels, as `tracing_subscriber::filter::Targets` reads them.
    pub log: String,
}

/// `[proxy]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Never empty.
    pub listen: Vec<SocketAddr>,
    /// Never empty.
    pub clients: Vec<IpNet>,
    /// Ports that CONNECT may reach.
    pub connect_ports: Vec<u16>,
    /// The same proxy over TLS; may be empty.
    pub tls_listen: Vec<SocketAddr>,
    /// Redirected port 443; may be empty.
    pub sni_listen: Vec<SocketAddr>,
    /// Connections of one address.
    pub per_client: usize,
    /// Longest silence of a tunnel.
    pub tunnel_quiet: Duration,
    /// Longest life of a tunnel.
    pub tunnel_lifetime: Duration,
}

/// `[packs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Packs {
    /// Pack files or folders of them.
    pub paths: Vec<PathBuf>,
    /// minisign public keys, base64.
    pub trusted_keys: Vec<String>,
}

/// `[night]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Night {
    /// Texts that `prefetch::Window` reads.
    pub windows: Vec<String>,
    /// Texts that `prefetch::Holiday` reads.
    pub holidays: Vec<String>,
    /// Texts that `prefetch::Window` reads.
    pub holiday_windows: Vec<String>,
    /// A known IANA name.
    pub timezone: String,
    /// Most bytes of a night.
    pub night_cap: Option<u64>,
    /// Most bytes of a month.
    pub month_cap: Option<u64>,
    /// Nothing is fetched ahead but what people ask for.
    pub metered: bool,
    /// Cap on the night's work.
    pub rate: Option<BitRate>,
    /// How it gives way.
    pub yields: pace::Settings,
    /// Transfers at a time.
    pub transfers: usize,
    /// What a survey may cost.
    pub survey: Budget,
}

/// `[manners]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manners {
    /// Pages a second and host, above 0.
    pub rate: f64,
    /// Connections a host.
    pub connections: usize,
    /// Errors of a host in a day after which it is left alone until the next.
    pub errors: u32,
    /// For the User-Agent; may be empty.
    pub contact: String,
}

/// `[web]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    /// Empty: `0.0.0.0:80`, else `0.0.0.0:8080`.
    pub listen: Vec<SocketAddr>,
    /// Further names and addresses of ours, lower case.
    pub names: Vec<String>,
}

/// `[intercept]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Intercept {
    /// The switch.
    pub enabled: bool,
    /// Exact host names in lower case, none of which is refused for good.
    pub hosts: Vec<String>,
    /// Names in lower case that the operator refuses for good, with everything below them.
    pub refused: Vec<String>,
    /// How long a device that did not trust us for a host is left alone at first.
    pub distrust: Duration,
}

/// `[mirror]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Empty: no mirror.
    pub listen: Vec<SocketAddr>,
    /// Files of certificate chain and key; `None`: plain HTTP.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// `[hub]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hub {
    /// None: no hub.
    pub url: Option<Target>,
    /// The school's national id; may be empty.
    pub school: String,
    /// The code by which the node enrols; may be empty.
    pub code: String,
    /// How often a report is made.
    pub every: Duration,
}

impl Default for Config {
    fn default() -> Config {
        parse("", std::iter::empty(), "the defaults").expect("the defaults hold nothing wrong: a test reads them")
    }
}

impl Config {
    /// Where local commands reach the node.
    pub fn socket(&self) -> PathBuf {
        self.node.socket.clone()
    }

    /// Every key with its value, its default and who set it, for `config show`, API and page. Holds no secret: secrets are files.
    pub fn effective(&self) -> Value {
        let now = serde_json::to_value(&self.written).unwrap_or_default();
        let usual = serde_json::to_value(file::File::default()).unwrap_or_default();
        let mut keys = serde_json::Map::new();
        for (section, body) in now.as_object().into_iter().flatten() {
            for (key, value) in body.as_object().into_iter().flatten() {
                let path = format!("{section}.{key}");
                let source = match self.places.get(&path) {
                    Some(Place::File { line, .. }) => json!({ "file": { "line": line } }),
                    Some(Place::Environment(name)) => json!({ "environment": name }),
                    Some(Place::Default) | None => json!("default"),
                };
                keys.insert(path, json!({ "value": value, "default": usual[section][key], "source": source }));
            }
        }
        Value::Object(keys)
    }
}

/// Reads and checks a configuration: the named file, else the usual place if there is a file, else the defaults; then the
/// environment.
///
/// # Errors
/// Every mistake at once.
pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, Complaints> {
    let usual = Path::new(USUAL_PLACE);
    let Some(path) = path.or_else(|| usual.exists().then_some(usual)) else {
        return parse("", environment, "the environment");
    };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(source) => parse(&source, environment, &name),
        Err(error) => {
            let remedy = match error.kind() {
                // The installer closes it to others: it may hold codes.
                ErrorKind::PermissionDenied => "run it as root (sudo) or as a member of the node's group",
                _ => "name another file with --config, or make one with \"bulak config default\"",
            };
            let why = match error.kind() {
                ErrorKind::NotFound => "is not there".to_owned(),
                ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
                ErrorKind::InvalidData => "is no text in UTF-8".to_owned(),
                ErrorKind::PermissionDenied => complaint::CLOSED.to_owned(),
                _ => format!("cannot be read ({error})"),
            };
            let complaint = written::complain("", Place::Default, String::new(), &why, remedy);
            Err(Complaints { list: vec![complaint], file: name, source: String::new() })
        }
    }
}

/// Our variables of this process; whatever else stands in the environment may be in any coding.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    written::ours(std::env::vars_os())
}

/// Where local commands reach the node by a text that may hold mistakes: one that runs goes on by what was right before.
pub fn socket_in(source: &str, environment: impl Iterator<Item = (String, String)>) -> PathBuf {
    written::read(source, environment).file.node.reached_at()
}

/// Checks a configuration's text; `name` is how complaints call it.
///
/// # Errors
/// Every mistake at once.
pub fn parse(source: &str, environment: impl Iterator<Item = (String, String)>, name: &str) -> Result<Config, Complaints> {
    check::check(written::read(source, environment)).map_err(|list| Complaints { list, file: name.to_owned(), source: source.to_owned() })
}

/// `config/school.toml`: every key at its default with a line of comment.
pub const DEFAULT_TEXT: &str = include_str!("../config/school.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn an_environment_in_any_coding_is_no_trouble_but_where_it_is_ours() {
        let os = |bytes: &[u8]| std::ffi::OsString::from_vec(bytes.to_vec());
        let strange = |name: &[u8]| (os(name), os(b"/mnt/\xf3\xf0\xee\xea"));
        let others = [strange(b"OLDPWD"), strange(b"\xe8\xec\xff"), strange(b"BULAK_\xe8"), strange(b"BULAK_HOME")];
        let ours = (os(b"BULAK_NODE__NAME"), os(b"abay-12"));
        let all = written::ours(others.into_iter().chain([ours]));
        assert_eq!(parse("", all, "the environment").expect("no complaints").node.name, "abay-12");
        let complaints = parse("", written::ours([strange(b"BULAK_STORE__PATH")].into_iter()), "the environment").expect_err("no text");
        let told: Vec<_> = complaints.list.iter().map(|one| (one.key.as_str(), one.message.as_str())).collect();
        assert_eq!(told, [("store.path", "is no text in UTF-8")]);
    }

    #[test]
    fn no_rate_is_not_any_rate() {
        let wrong = "[night]\nrate = \"0 Mbit/s\"\n[meter]\ncontract_down = \"0 bit/s\"\n[media]\nbitrate = \"0 kbit/s\"\n";
        let complaints = parse(wrong, std::iter::empty(), "school.toml").expect_err("nothing would come");
        let mut keys: Vec<&str> = complaints.list.iter().map(|complaint| complaint.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["media.bitrate", "meter.contract_down", "night.rate"]);
        assert!(parse("[night]\nrate = \"\"\n", std::iter::empty(), "school.toml").is_ok_and(|config| config.night.rate.is_none()));
    }

    #[test]
    fn the_file_in_the_repository_is_the_default() {
        let config = parse(DEFAULT_TEXT, std::iter::empty(), "school.toml").expect("no complaints");
        assert_eq!(config.written, file::File::default());
        let keys = Config::default().effective().as_object().map(serde_json::Map::len);
        assert_eq!(
            config.places.keys().filter(|path| path.matches('.').count() == 1 && !path.contains('[')).count(),
            keys.expect("an object")
        );
        for line in DEFAULT_TEXT.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')) {
            let above = DEFAULT_TEXT.split(line).next().and_then(|text| text.lines().next_back()).unwrap_or_default();
            assert!(line.contains(" # ") || above.starts_with('#'), "without a comment: {line}");
        }
    }

    #[test]
    fn five_mistakes_are_told_at_once_with_line_and_remedy() {
        let source = "[node]\nname = \"school 1\"\n\n[proxy]\nlisten = [\"0.0.0.0:3128\", \"0.0.0.0\"]\nlisen = []\n\n[store]\nquota = \"20 XiB\"\n\n[night]\nwindows = \"mon-sun 22:00-07:00\"\n";
        let complaints = parse(source, std::iter::empty(), "school.toml").expect_err("five mistakes");
        let told: Vec<(&str, usize, &str)> = complaints
            .list
            .iter()
            .map(|complaint| match &complaint.place {
                Place::File { line, .. } => (complaint.key.as_str(), *line, complaint.remedy.as_str()),
                other => panic!("no line: {other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                ("node.name", 2, "use 1 to 63 letters, digits, - _ . (\"abay-12\")"),
                ("proxy.listen[1]", 5, "write an address and a port such as \"0.0.0.0:3128\" or \"[::]:3128\""),
                ("proxy.lisen", 6, "did you mean proxy.listen?"),
                ("store.quota", 9, "write it like \"20 GiB\", \"64 MiB\" or \"500 kB\""),
                ("night.windows", 12, "write it like windows = [\"mon-sun 22:00-07:00\"]"),
            ]
        );
        assert_eq!(complaints.summary(), "school.toml has 5 mistakes");
        let text = complaints.render();
        for piece in ["school.toml:2:8", "name = \"school 1\"", "school.toml:6:1", "did you mean proxy.listen?"] {
            assert!(text.contains(piece), "{piece} is missing in\n{text}");
        }
    }

    #[test]
    fn single_mistakes() {
        const WINDOW: &str = check::WINDOW;
        const NOT_OWN: &str = "leave it empty, or write one below .internal or one that the school owns, such as \"abay-12.edu.kz\"";
        let table = [
            ("[stroe]\n", "stroe", "did you mean [store]?"),
            ("quota = 1\n", "quota", "it belongs below [store]"),
            ("[proxy]\nquota = \"1 GiB\"\n", "proxy.quota", "it belongs below [store]"),
            ("[proxy]\nlisten = []\n", "proxy.listen", "write listen = [\"0.0.0.0:3128\"]"),
            ("[proxy]\nconnect_ports = [80, 70000]\n", "proxy.connect_ports[1]", "write a number from 1 to 65535"),
            ("[proxy]\nconnect_ports = [\"https\"]\n", "proxy.connect_ports", "write it like connect_ports = [80, 443]"),
            ("[proxy]\nper_client = 0\n", "proxy.per_client", "write a number from 32 to 2048"),
            ("[proxy]\nper_client = 2049\n", "proxy.per_client", "write a number from 32 to 2048"),
            ("[web]\nlisten = [\"127.0.0.1:3128\"]\n", "web.listen[0]", "give each listener a port of its own"),
            ("[night]\nwindows = [\"mon 25:00-07:00\"]\n", "night.windows[0]", WINDOW),
            ("[night]\nholiday_windows = [\"2026-12-31\"]\n", "night.holiday_windows[0]", WINDOW),
            (
                "[night]\nholidays = [\"2027-01-10..2026-12-29\"]\n",
                "night.holidays[0]",
                "write \"2026-12-31\", \"2026-12-29..2027-01-10 winter\" (at most a year), or for every year \"12-16\"",
            ),
            ("[night]\nmonth_cap = \"20 XB\"\n", "night.month_cap", "write it like \"20 GiB\", \"64 MiB\" or \"500 kB\""),
            ("[night]\nnight_cap = \"0 B\"\n", "night.night_cap", "leave it empty for no cap, or set night.metered = true"),
            ("[cache]\npolicy = \"fast\"\n", "cache.policy", "write \"school\" or \"rfc9111\""),
            ("[night]\ntimezone = \"Asia/Nowhere\"\n", "night.timezone", "write an IANA name such as \"Asia/Almaty\""),
            ("[night]\ndelay = \"0 s\"\n", "night.delay", "write \"5 ms\" to \"500 ms\", or \"off\""),
            ("[night]\nfloor = \"8 kbit/s\"\n", "night.floor", "write \"16 kbit/s\" or more"),
            ("[night]\nprobe = \"example.kz\"\n", "night.probe", "write \"example.kz:443\", best a host near the ISP"),
            ("[upstream]\nhosts = { \"a.kz\" = \"b\" }\n", "upstream.hosts.\"a.kz\"", "write \"192.168.8.5\" or \"192.168.8.5:8080\""),
            ("[packs]\ntrusted_keys = [\"x\"]\n", "packs.trusted_keys[0]", "paste the second line of the publisher's .pub file"),
            ("[hub]\nurl = \"hub.kz\"\n", "hub.url", "write \"https://hub.example.kz\""),
            (
                "[meter]\nservers = [\"speed.kz\"]\n",
                "meter.servers[0]",
                "write \"wss://speed.example.kz\", and behind it \"domestic\" or \"foreign\" where that is known",
            ),
            (
                "[meter]\nslots = [\"08:00-12:00\", \"12-16\"]\n",
                "meter.slots[1]",
                "write \"08:00-12:00\", half an hour or more within one day",
            ),
            ("[meter]\nslots = [\"12:00-16:00\", \"08:00-13:00\"]\n", "meter.slots", "let one end before the next begins"),
            ("[meter]\npages = [\"https://t.kz/x\"]\n", "meter.pages[0]", "write \"https://test.example.kz\", without a path"),
            ("[meter]\nmlab = true\n", "meter.mlab", "write who agreed, and when: mlab_agreed = \"A. Serikova, headmistress, 2026-11-20\""),
            ("[meter]\npupils = -1\n", "meter.pupils", "write a number from 0 to 20000"),
            (
                "[giga]\nurl = \"https://g.org/api/v1\"\nkey = \"k\"\nid = \"7\"\n",
                "giga.id",
                "write its UUID: \"3b5d0a9e-0f3c-4c5e-9d52-1c2f6a7b8d90\"",
            ),
            (
                "[giga]\nurl = \"http://g.org/api/v1\"\nkey = \"k\"\nid = \"3b5d0a9e-0f3c-4c5e-9d52-1c2f6a7b8d90\"\n",
                "giga.url",
                "write \"https://meter.example.org/api/v1\"",
            ),
            (
                "[giga]\nurl = \"https://g.org/api/v1\"\nid = \"3b5d0a9e-0f3c-4c5e-9d52-1c2f6a7b8d90\"\n",
                "giga.key",
                "name the file with the key, mode 0600: \"/etc/bulak/giga.key\"",
            ),
            ("[remote_write]\nurl = \"prometheus\"\n", "remote_write.url", "write \"https://prometheus.example.org/api/v1/write\""),
            ("[remote_write]\nevery = \"0 s\"\n", "remote_write.every", "write \"1 min\", at least \"1 s\""),
            ("[meter]\nday = \"much\"\n", "meter.day", "write it like \"20 GiB\", \"64 MiB\" or \"500 kB\""),
            ("[meter]\ncontract_down = \"8\"\n", "meter.contract_down", "write it like \"8 Mbit/s\" or \"512 kbit/s\""),
            ("node = 1\n", "node", "write [node] on a line of its own"),
            ("[node]\ntitle = \"a\\nb\"\n", "node.title", "write the school's name in one line: \"№12 Абай мектебі\""),
            ("[node]\nzone = \"school\"\n", "node.zone", "write a name with a dot such as \"abay-12.internal\", or leave it empty"),
            ("[node]\nzone = \"school.local\"\n", "node.zone", "choose a zone below .internal or one that the school owns"),
            ("[node]\nzone = \"mail.ru\"\n", "node.zone", NOT_OWN),
            ("[node]\nzone = \"egov.kz\"\n", "node.zone", NOT_OWN),
            ("[node]\nzone = \"edu.kz\"\n", "node.zone", NOT_OWN),
            ("[node]\nzone = \"com.kz\"\n", "node.zone", NOT_OWN),
            ("[node]\nzone = \"kundelik.kz\"\n", "node.zone", NOT_OWN),
            (
                "[intercept]\nhosts = [\"edu.kz\"]\n",
                "intercept.hosts[0]",
                "write the exact name that is asked for, such as \"phet.colorado.edu\"",
            ),
            (
                "[intercept]\nhosts = [\"a.kz\", \"*.b.kz\"]\n",
                "intercept.hosts[1]",
                "write an exact name such as \"kk.wikipedia.org\", without a star or port",
            ),
            (
                "[intercept]\nhosts = [\"10.0.0.1\"]\n",
                "intercept.hosts[0]",
                "write an exact name such as \"kk.wikipedia.org\", without a star or port",
            ),
            ("[intercept]\nhosts = [\"Login.kundelik.kz.\"]\n", "intercept.hosts[0]", "take it out: nothing lifts that list"),
            (
                "[intercept]\nhosts = [\"www.forum.kz\"]\nrefused = [\"Forum.kz\"]\n",
                "intercept.hosts[0]",
                "take it out of one of the two: a refusal wins",
            ),
            (
                "[intercept]\nrefused = [\"*.forum.kz\"]\n",
                "intercept.refused[0]",
                "write a name such as \"forum.kz\"; it stands for all below it",
            ),
            ("[mirror]\nkey = \"k.pem\"\n", "mirror.key", "name mirror.certificate too"),
            ("[mirror]\nlisten = [\"127.0.0.1:3128\"]\n", "mirror.listen[0]", "give each listener a port of its own"),
        ];
        for (source, key, remedy) in table {
            let complaints = parse(source, std::iter::empty(), "x").expect_err(source);
            assert_eq!(complaints.list.len(), 1, "{complaints}");
            assert_eq!((complaints.list[0].key.as_str(), complaints.list[0].remedy.as_str()), (key, remedy), "{source}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_line_beside_other_mistakes() {
        let complaints = parse("[node]\nname = \nworkers = -1\n", std::iter::empty(), "x").expect_err("broken");
        let lines: Vec<usize> = complaints
            .list
            .iter()
            .filter_map(|complaint| if let Place::File { line, .. } = complaint.place { Some(line) } else { None })
            .collect();
        assert!(lines.contains(&2), "{complaints}");
        assert!(lines.contains(&3), "{complaints}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let source = "[store]\nquota = \"1 GiB\"\n[proxy]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
        let set = [
            ("BULAK_STORE__QUOTA", "2 GiB"),
            ("BULAK_PROXY__LISTEN", "[\"127.0.0.1:0\"]"),
            ("BULAK_NODE__NAME", "17"),
            ("BULAK_CACHE__OFFLINE_BANNER", "false"),
            ("BULAK_UPSTREAM__HOSTS", "{ \"a.kz\" = \"127.0.0.1:81\" }"),
            ("BULAK_ELSEWHERE", "x"),
            ("HOME", "/"),
        ];
        let config = parse(source, env(&set), "x").expect("right");
        assert_eq!(config.store.quota.to_string(), "2 GiB");
        assert_eq!(config.proxy.listen, ["127.0.0.1:0".parse().expect("an address")]);
        assert_eq!(config.node.name, "17");
        assert!(!config.cache.banner);
        assert_eq!(config.upstream.hosts.get("a.kz").map(String::as_str), Some("127.0.0.1:81"));
        assert_eq!(config.effective()["store.quota"]["source"]["environment"], "BULAK_STORE__QUOTA");
        assert_eq!(config.effective()["store.path"]["source"], "default");

        let wrong = [("BULAK_PROXY__LISTEN", "[\"x\"]"), ("BULAK_STORE__QOUTA", "1 GiB"), ("BULAK_PROXI__LISTEN", "1")];
        let complaints = parse("", env(&wrong), "x").expect_err("three mistakes");
        let told: Vec<(&str, Place)> = complaints.list.iter().map(|complaint| (complaint.key.as_str(), complaint.place.clone())).collect();
        assert!(told.contains(&("proxy.listen[0]", Place::Environment("BULAK_PROXY__LISTEN".into()))), "{told:?}");
        assert!(complaints.list.iter().any(|complaint| complaint.remedy == "did you mean store.quota?"));
        assert!(complaints.list.iter().any(|complaint| complaint.remedy == "did you mean BULAK_PROXY__LISTEN?"));
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn a_missing_file_is_one_complaint() {
        let complaints = load(Some(Path::new("/nonexistent/school.toml")), std::iter::empty()).expect_err("no file");
        assert_eq!(complaints.list.len(), 1);
        assert!(complaints.to_string().contains("is not there"));
        assert!(complaints.unread().is_some());
    }
}
