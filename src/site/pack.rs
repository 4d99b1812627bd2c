//! A pack: a small reviewed text that names learning content to fetch and keep.
//!
//! Parsing finds every complaint at once; whoever holds a `Pack` holds a checked one. Signatures are in `sign`, where the
//! files lie and who is trusted is the business of `prefetch`.

/// TOML to pack, or all complaints.
mod read;

/// Packs that include others, and what they may fetch then.
mod part;

/// Detached signatures in minisign's format.
pub mod sign;

/// Which of two versions is the newer.
pub mod version;

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::site::glob::Glob;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Largest pack file: it is meant to be read by a person.
pub const MAX_BYTES: usize = 1 << 20;

/// A checked pack.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Names the pack everywhere: small letters, digits and dashes, at most 64.
    pub id: String,
    /// Free text that changes when the pack does.
    pub version: String,
    /// How far the hosts have been looked at.
    pub status: Status,
    /// The licence under which the content may be copied.
    pub licence: String,
    /// Who allowed the node to fetch without holding back, and when; lifts the pace on the pack's hosts, never robots.txt.
    pub permission: Option<String>,
    /// What people read.
    pub title: Title,
    /// The subject, if any.
    pub subject: Option<String>,
    /// School grades, 0 to 12.
    pub grades: Vec<u8>,
    /// Larger goes first.
    pub priority: i64,
    /// The pack that this one takes the place of, once it is complete.
    pub replaces: Option<String>,
    /// Where to start.
    pub seeds: Vec<Seed>,
    /// ZIM files, by the host names under which they are read.
    pub archives: Vec<Archive>,
    /// Packs that are part of this one, by id.
    pub includes: Vec<Include>,
    /// Those of them that are here, each with its own scope and classes. See [`Pack::with`].
    parts: Vec<Arc<Pack>>,
    /// Names that the operator refuses, with everything below them. See [`Pack::without`].
    shunned: Vec<String>,
    /// How far to go.
    pub scope: Scope,
    /// What may be stored on hosts with accounts.
    pub classes: Vec<Class>,
    /// How long content counts as new enough.
    pub refresh: Duration,
    /// Of the file's bytes: a changed pack is fetched anew.
    pub digest: Digest,
}

/// How far a pack's hosts have been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PackStatus)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Tried against the live hosts.
    Verified,
    /// Written from public knowledge; not yet tried.
    #[default]
    Unverified,
}

/// A title in the school's languages; at least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Title {
    /// Kazakh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kk: Option<String>,
    /// Russian.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ru: Option<String>,
    /// English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub en: Option<String>,
}

impl Title {
    /// One text for logs and tables: English, else Russian, else Kazakh.
    pub fn any(&self) -> &str {
        self.en.as_deref().or(self.ru.as_deref()).or(self.kk.as_deref()).unwrap_or_default()
    }
}

/// Where a pack starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// How to read what is there.
    pub kind: SeedKind,
    /// Where it is.
    pub target: Target,
}

/// A ZIM file of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The name under which it is read, `wikipedia-kk-all.zim`.
    pub host: String,
    /// Where the file is fetched from; `None`: it lies on a disk of the node.
    pub source: Option<Target>,
    /// Where it lies there; empty when it is fetched.
    pub path: PathBuf,
}

/// Another pack as a part of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// Its id.
    pub id: String,
    /// The oldest version that will do.
    pub version: Option<String>,
}

/// How a seed is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeedKind {
    /// One page or file.
    Url,
    /// A sitemap or an index of sitemaps.
    Sitemap,
    /// A list: plain, one URL a line, or a table (CSV).
    List,
    /// A feed, RSS or Atom.
    Feed,
    /// An HLS playlist.
    Hls,
    /// A DASH manifest.
    Dash,
    /// A ZIM file, by the name under which it is read.
    Zim,
}

impl SeedKind {
    /// Every kind with its key in a pack.
    pub const ALL: [(&'static str, SeedKind); 7] = [
        ("url", SeedKind::Url),
        ("sitemap", SeedKind::Sitemap),
        ("list", SeedKind::List),
        ("feed", SeedKind::Feed),
        ("hls", SeedKind::Hls),
        ("dash", SeedKind::Dash),
        ("zim", SeedKind::Zim),
    ];

    /// Whether this version fetches such seeds.
    pub fn is_fetched(self) -> bool {
        SeedKind::ALL.iter().any(|(_, kind)| *kind == self)
    }
}

/// How far a pack goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Hosts, exact or `*.name` for those below a name; any port.
    pub hosts: Vec<String>,
    /// Pages must start with one of these (a path, or a URL); empty: any path.
    pub prefixes: Vec<String>,
    /// How many links away from a seed pages may be; 0: seeds alone, with what they need.
    pub depth: u8,
    /// Most bytes that the pack may hold.
    pub max_bytes: u64,
    /// Most bytes of single hosts, exact or `*.name`.
    pub sites: Vec<(String, u64)>,
    /// What pages need may come from any host that is neither personal nor has accounts; pages only from `hosts`.
    pub any_requisites: bool,
}

impl Scope {
    /// Whether anything on this host may be fetched.
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| same_host(name, host))
    }

    /// Whether a page's address lies below one of the prefixes.
    pub fn has_page(&self, target: &Target) -> bool {
        let under = |prefix: &String| target.path_and_query().starts_with(prefix.as_str()) || target.url().starts_with(prefix.as_str());
        self.prefixes.is_empty() || self.prefixes.iter().any(under)
    }

    /// The cap on what comes from this host, and the name that it goes by: all hosts of one name share it.
    pub fn site(&self, host: &str) -> Option<(&str, u64)> {
        self.sites.iter().find(|(name, _)| same_host(name, host)).map(|(name, most)| (name.as_str(), *most))
    }
}

/// A path class: what may be stored on a host with accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The host, exact or `*.name`.
    pub host: String,
    /// The paths.
    pub path: Glob,
    /// Whether the host has accounts.
    pub accounts: bool,
}

impl Pack {
    /// Reads and checks a pack.
    ///
    /// # Errors
    /// All complaints, in the order of their lines.
    pub fn parse(text: &str) -> Result<Pack, Vec<Complaint>> {
        read::read(text)
    }
}

/// Whether a name of a pack means this host.
fn same_host(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(name) => host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
        None => name == host,
    }
}

/// One thing that is wrong with a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The line, from 1.
    pub line: usize,
    /// The key, `scope.depth`.
    pub key: String,
    /// What stands there.
    pub value: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { line, key, value, remedy } = self;
        if value.is_empty() { write!(f, "line {line}: {key}: {remedy}") } else { write!(f, "line {line}: {key} {value}; {remedy}") }
    }
}

/// For the fuzzing corpus: any bytes, no panic.
pub fn fuzz(bytes: &[u8]) {
    std::hint::black_box(Pack::parse(&String::from_utf8_lossy(bytes)).is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::refuse;

    pub(super) const GOOD: &str = r#"
id = "kk-wiki"
version = "2026-11-01"
status = "unverified"
licence = "CC BY-SA 4.0"
priority = 10
subject = "reading"
grades = [5, 6, 7]
refresh = "7 days"

[title]
kk = "Оқу"
en = "Reading"

[[seed]]
url = "https://kk.wikipedia.org/wiki/Абай"
[[seed]]
sitemap = "https://kk.wikipedia.org/sitemap.xml"

[scope]
hosts = ["kk.wikipedia.org", "*.wikimedia.org"]
prefixes = ["/wiki/"]
depth = 1
max_bytes = "2 GiB"
"#;

    #[test]
    fn a_good_pack_is_read() {
        let pack = Pack::parse(GOOD).expect("no complaints");
        assert_eq!((pack.id.as_str(), pack.priority, pack.grades.as_slice()), ("kk-wiki", 10, [5, 6, 7].as_slice()));
        assert_eq!(pack.seeds[0].target.url(), "https://kk.wikipedia.org/wiki/%D0%90%D0%B1%D0%B0%D0%B9");
        assert_eq!(pack.scope.max_bytes, 2 << 30);
        assert_eq!(pack.refresh, Duration::from_hours(7 * 24));
        let covers = |url: &str, page| pack.covers(&Target::parse(url).expect(url), page);
        assert!(covers("https://kk.wikipedia.org/wiki/A", true));
        assert!(!covers("https://kk.wikipedia.org/w/index.php?a=1", true));
        assert!(covers("https://kk.wikipedia.org/w/load.php", false));
        assert!(covers("https://upload.wikimedia.org/a.png", false));
        assert!(!covers("https://wikimedia.org/a.png", false));
        assert!(!covers("https://login.wikimedia.org/a.png", false));
    }

    #[test]
    fn what_pages_need_may_come_from_any_open_host() {
        let pack = Pack::parse(&GOOD.replace("depth = 1", "depth = 0\nrequisites = \"any\"")).expect("a good pack");
        let covers = |url: &str, page| pack.covers(&Target::parse(url).expect(url), page);
        assert!(covers("https://cdn.example.com/x.js", false) && !covers("https://cdn.example.com/x.html", true));
        for closed in ["https://login.example.com/x.js", "https://static.kundelik.kz/x.js", "https://kaspi.kz/x.png"] {
            assert!(!covers(closed, false), "{closed}");
        }
        let complaints = Pack::parse(&GOOD.replace("depth = 1", "requisites = \"all\"")).expect_err("no such word");
        assert_eq!(complaints[0].key, "scope.requisites");
    }

    #[test]
    fn a_wildcard_above_hosts_with_accounts_is_as_narrow_as_they_are() {
        let with = |host: &str, class: &str| {
            let text = GOOD.replace("\"*.wikimedia.org\"", &format!("\"{host}\""));
            let parsed = Pack::parse(&format!("{text}\n[[class]]\nhost = \"{host}\"\npath = \"{class}\"\n"));
            parsed.err().into_iter().flatten().map(|one| one.key).collect::<Vec<_>>()
        };
        let account = refuse::below("kz").find(|name| refuse::is_account(name) && !refuse::is_personal(name)).expect("a listed one");
        for host in [account.to_owned(), format!("*.{account}"), String::from("*.edu.kz")] {
            assert!(with(&host, "/**").contains(&String::from("class.path")), "{host}");
            assert_eq!(with(&host, "/static/**.js"), [""; 0], "{host}");
        }
        assert_eq!(with("*.wikipedia.org", "/**"), [""; 0]);
    }

    #[test]
    fn five_mistakes_are_told_at_once() {
        let text = GOOD
            .replace("kk-wiki", "KK wiki")
            .replace("depth = 1", "depth = 99")
            .replace("\"2 GiB\"", "\"2 gigs\"")
            .replace("subject =", "sujbect =")
            .replace("\"*.wikimedia.org\"", "\"egov.kz\"");
        let complaints = Pack::parse(&text).expect_err("five mistakes");
        let told: Vec<(usize, &str)> = complaints.iter().map(|one| (one.line, one.key.as_str())).collect();
        assert_eq!(told, [(2, "id"), (7, "sujbect"), (21, "scope.hosts"), (23, "scope.depth"), (24, "scope.max_bytes")], "{complaints:?}");
        assert!(complaints.iter().all(|one| !one.remedy.is_empty()));
        assert!(complaints[1].remedy.contains("subject"), "{}", complaints[1]);
    }

    #[test]
    fn account_hosts_need_a_class_and_seeds_lie_within_the_scope() {
        let text = GOOD.replace("\"*.wikimedia.org\"", "\"static.kundelik.kz\"").replace("kk.wikipedia.org/sitemap", "other.kz/sitemap");
        let complaints = Pack::parse(&text).expect_err("two mistakes");
        let keys: Vec<&str> = complaints.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["seed.sitemap", "scope.hosts"], "{complaints:?}");
        let with_class = GOOD.replace("\"*.wikimedia.org\"", "\"static.kundelik.kz\"")
            + "\n[[class]]\nhost = \"static.kundelik.kz\"\npath = \"/v*/**.js\"\naccounts = true\n";
        let pack = Pack::parse(&with_class).expect("a class names the paths");
        let covers = |url: &str| pack.covers(&Target::parse(url).expect(url), false);
        assert!(covers("https://static.kundelik.kz/v2/app.js"));
        assert!(!covers("https://static.kundelik.kz/avatars/17.png"));
    }

    #[test]
    fn nonsense_is_a_complaint_not_a_panic() {
        for text in ["", "id = ", "[[scope]]", "id = 1\nscope = 2\nseed = 3", "seed = [1]", "\0", "[title]\nkk = 5"] {
            let complaints = Pack::parse(text).expect_err(text);
            assert!(!complaints.is_empty());
        }
        fuzz(b"\xff\xff[[");
    }
}
