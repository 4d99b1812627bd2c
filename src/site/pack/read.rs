//! TOML to pack, or every complaint at once: key, line, value, remedy.
//!
//! A walk over the parsed tree with spans rather than serde: serde stops at the first mistake.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::base::unit::{Bytes, Wait};
use crate::site::glob::Glob;
use crate::site::pack::{Archive, Class, Complaint, Include, MAX_BYTES, Pack, Scope, Seed, SeedKind, Status, Title, same_host};
use crate::site::refuse;
use crate::site::zim;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Refresh period when none is written.
const REFRESH: Duration = Duration::from_hours(7 * 24);
/// Size cap when none is written: what fits a night on a thin line (8 Mbit/s for 9 h is 32 GB).
const SIZE: u64 = 4 << 30;
/// Most seeds and hosts: a longer text is no longer read by a person.
const MANY: usize = 10_000;
/// Deepest following of links.
const DEEPEST: i64 = 5;

pub(super) fn read(text: &str) -> Result<Pack, Vec<Complaint>> {
    let mut desk = Desk { text, told: Vec::new() };
    if text.len() > MAX_BYTES {
        desk.tell(&(0..0), "pack", "", "a pack is at most 1 MiB; move long lists into a seed of kind list");
        return Err(desk.told);
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        desk.tell(&span, "syntax", "", &format!("{}; see https://toml.io", error.message()));
    }
    let pack = desk.pack(tree.get_ref());
    desk.told.sort_by_key(|one| one.line);
    match pack {
        Some(pack) if desk.told.is_empty() => Ok(pack),
        _ => Err(desk.told),
    }
}

/// Collects complaints while reading.
struct Desk<'a> {
    text: &'a str,
    told: Vec<Complaint>,
}

type Value<'v> = Spanned<DeValue<'v>>;

impl Desk<'_> {
    fn tell(&mut self, span: &Range<usize>, key: &str, value: &str, remedy: &str) {
        let line = 1 + self.text.get(..span.start).unwrap_or_default().matches('\n').count();
        self.told.push(Complaint { line, key: key.into(), value: value.chars().take(120).collect(), remedy: remedy.into() });
    }

    /// The value as it stands in the file.
    fn raw(&self, span: &Range<usize>) -> String {
        self.text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    }

    fn wrong(&mut self, value: &Value<'_>, key: &str, remedy: &str) {
        let raw = self.raw(&value.span());
        self.tell(&value.span(), key, &raw, remedy);
    }

    fn missing(&mut self, key: &str, remedy: &str) {
        self.tell(&(0..0), key, "", remedy);
    }

    fn pack(&mut self, tree: &DeTable<'_>) -> Option<Pack> {
        const KEYS: &[&str] = &[
            "id",
            "version",
            "status",
            "licence",
            "permission",
            "title",
            "subject",
            "grades",
            "priority",
            "replaces",
            "seed",
            "scope",
            "class",
            "refresh",
        ];
        self.known(tree, "", KEYS);
        let id = self.id(tree);
        let version = self.needed(tree, "version", "say which version this is, such as \"2026-11-01\"");
        let licence = self.needed(tree, "licence", "say under which licence the content may be copied, such as \"CC BY-SA 4.0\"");
        let status = self.status(tree);
        let permission = self.text(tree, "", "permission");
        let subject = self.text(tree, "", "subject");
        let title = self.title(tree);
        let grades = self.grades(tree);
        let priority = self.whole(tree, "", "priority", 0, -1000..=1000);
        let refresh = self.refresh(tree);
        let replaces = self.replaces(tree, id.as_deref());
        let classes = self.classes(tree);
        let includes = self.includes(tree, id.as_deref());
        let archives = self.archives(tree);
        let mut scope = self.scope(tree, &classes, !includes.is_empty() || archives.iter().any(|archive| archive.source.is_none()));
        if let Some(scope) = &mut scope {
            scope.hosts.extend(archives.iter().map(|archive| archive.host.clone()));
        }
        let seeds = self.seeds(tree, scope.as_ref(), &classes);
        let digest = Digest::of(self.text.as_bytes());
        let (id, version, licence, scope) = (id?, version?, licence?, scope?);
        let (parts, shunned) = (Vec::new(), Vec::new());
        Some(Pack {
            id,
            version,
            status,
            licence,
            permission,
            title,
            subject,
            grades,
            priority,
            replaces,
            seeds,
            archives,
            includes,
            parts,
            shunned,
            scope,
            classes,
            refresh,
            digest,
        })
    }

    /// Complains about keys that nobody knows, with the nearest one that is known.
    fn known(&mut self, table: &DeTable<'_>, place: &str, keys: &[&str]) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let near = keys.iter().find(|known| is_near(known, name));
                let remedy = match near {
                    Some(near) => format!("unknown key; did you mean {near}?"),
                    None => format!("unknown key; known here: {}", keys.join(", ")),
                };
                self.tell(&key.span(), &format!("{place}{name}"), "", &remedy);
            }
        }
    }

    fn text(&mut self, table: &DeTable<'_>, place: &str, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref().as_str().map(str::trim) {
            Some(text) if !text.is_empty() && text.len() <= 1000 => Some(text.to_owned()),
            _ => {
                self.wrong(value, &format!("{place}{key}"), "write a text in quotes, at most 1000 letters");
                None
            }
        }
    }

    fn needed(&mut self, table: &DeTable<'_>, key: &str, remedy: &str) -> Option<String> {
        if !table.contains_key(key) {
            self.missing(key, remedy);
        }
        self.text(table, "", key)
    }

    fn id(&mut self, tree: &DeTable<'_>) -> Option<String> {
        let id = self.needed(tree, "id", "name the pack, such as \"kk-wikipedia\"")?;
        if is_id(&id) {
            return Some(id);
        }
        if let Some(value) = tree.get("id") {
            self.wrong(value, "id", "use small letters, digits and dashes, at most 64, starting with a letter");
        }
        None
    }

    /// The id of another pack.
    fn other(&mut self, table: &DeTable<'_>, place: &str, key: &str, own: Option<&str>) -> Option<String> {
        let other = self.text(table, place, key)?;
        if is_id(&other) && own != Some(other.as_str()) {
            return Some(other);
        }
        if let Some(value) = table.get(key) {
            self.wrong(value, &format!("{place}{key}"), "write the id of another pack, such as \"kk-wikipedia\"");
        }
        None
    }

    fn replaces(&mut self, tree: &DeTable<'_>, own: Option<&str>) -> Option<String> {
        self.other(tree, "", "replaces", own)
    }

    fn includes(&mut self, tree: &DeTable<'_>, own: Option<&str>) -> Vec<Include> {
        let mut includes = Vec::new();
        // Whether each is a table at all is told with the other seeds.
        let list = tree.get("seed").and_then(|value| value.get_ref().as_array());
        for table in list.into_iter().flat_map(|list| list.iter().take(MANY)).filter_map(|item| item.get_ref().as_table()) {
            if table.contains_key("pack") {
                self.known(table, "seed.", &["pack", "version"]);
                let version = self.text(table, "seed.", "version");
                includes.extend(self.other(table, "seed.", "pack", own).map(|id| Include { id, version }));
            }
        }
        includes
    }

    /// Seeds that are ZIM files; what is wrong with an address is told with the other seeds.
    fn archives(&mut self, tree: &DeTable<'_>) -> Vec<Archive> {
        let mut archives: Vec<Archive> = Vec::new();
        let list = tree.get("seed").and_then(|value| value.get_ref().as_array());
        for table in list.into_iter().flat_map(|list| list.iter().take(MANY)).filter_map(|item| item.get_ref().as_table()) {
            let Some(value) = table.get("zim") else { continue };
            let Some(text) = value.get_ref().as_str().map(str::trim) else { continue };
            let source = seed_target(text);
            let Some(host) = zim::host(text).filter(|_| source.is_some() || text.starts_with('/')) else {
                self.wrong(value, "seed.zim", "write the file's whole path on this machine, such as \"/srv/wikipedia_kk.zim\", or its URL");
                continue;
            };
            if archives.iter().any(|other| other.host == host) {
                self.wrong(value, "seed.zim", "two files have this name; keep the newer one");
                continue;
            }
            let path = if source.is_some() { PathBuf::new() } else { PathBuf::from(text) };
            archives.push(Archive { host, source, path });
        }
        archives
    }

    fn status(&mut self, tree: &DeTable<'_>) -> Status {
        match (self.text(tree, "", "status").as_deref(), tree.get("status")) {
            (Some("verified"), _) => Status::Verified,
            (Some("unverified") | None, _) => Status::Unverified,
            (Some(_), value) => {
                if let Some(value) = value {
                    self.wrong(value, "status", "choose \"verified\" or \"unverified\"");
                }
                Status::Unverified
            }
        }
    }

    fn table<'t, 'v>(&mut self, tree: &'t DeTable<'v>, key: &str) -> Option<&'t DeTable<'v>> {
        let value = tree.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value, key, &format!("write it as a table: [{key}]"));
        }
        table
    }

    /// The tables of an array of tables, each with its place.
    fn tables<'t, 'v>(&mut self, tree: &'t DeTable<'v>, key: &str) -> Vec<(Range<usize>, &'t DeTable<'v>)> {
        let Some(value) = tree.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(value, key, &format!("write each as a table of its own: [[{key}]]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list.iter().take(MANY) {
            match item.get_ref().as_table() {
                Some(table) => found.push((item.span(), table)),
                None => self.wrong(item, key, &format!("write each as a table of its own: [[{key}]]")),
            }
        }
        found
    }

    fn title(&mut self, tree: &DeTable<'_>) -> Title {
        let Some(table) = self.table(tree, "title") else {
            if !tree.contains_key("title") {
                self.missing("title", "add [title] with kk, ru or en");
            }
            return Title::default();
        };
        self.known(table, "title.", &["kk", "ru", "en"]);
        let mut of = |key| self.text(table, "title.", key);
        let title = Title { kk: of("kk"), ru: of("ru"), en: of("en") };
        if table.is_empty() {
            self.missing("title", "add a title in kk, ru or en");
        }
        title
    }

    fn whole(&mut self, table: &DeTable<'_>, place: &str, key: &str, default: i64, range: std::ops::RangeInclusive<i64>) -> i64 {
        let Some(value) = table.get(key) else { return default };
        whole(value.get_ref()).filter(|number| range.contains(number)).unwrap_or_else(|| {
            self.wrong(value, &format!("{place}{key}"), &format!("choose a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    fn grades(&mut self, tree: &DeTable<'_>) -> Vec<u8> {
        let Some(value) = tree.get("grades") else { return Vec::new() };
        let read = |list: &[Value<'_>]| {
            list.iter().map(|item| whole(item.get_ref()).and_then(|grade| u8::try_from(grade).ok()).filter(|grade| *grade <= 12)).collect()
        };
        let grades: Option<Vec<u8>> = value.get_ref().as_array().and_then(|list| read(list));
        if grades.is_none() {
            self.wrong(value, "grades", "write grades from 0 to 12, such as [5, 6]");
        }
        grades.unwrap_or_default()
    }

    fn refresh(&mut self, tree: &DeTable<'_>) -> Duration {
        let Some(value) = tree.get("refresh") else { return REFRESH };
        let span = Duration::from_hours(1)..=Duration::from_hours(400 * 24);
        let period = value.get_ref().as_str().and_then(|text| text.parse::<Wait>().ok()).map(|wait| wait.0);
        period.filter(|period| span.contains(period)).unwrap_or_else(|| {
            self.wrong(value, "refresh", "write a period from \"1 h\" to \"400 days\", such as \"7 days\"");
            REFRESH
        })
    }

    fn classes(&mut self, tree: &DeTable<'_>) -> Vec<Class> {
        let mut classes = Vec::new();
        for (span, table) in self.tables(tree, "class") {
            self.known(table, "class.", &["host", "path", "accounts"]);
            let host = self.text(table, "class.", "host");
            let path = self.text(table, "class.", "path");
            let accounts = table.get("accounts").map(|value| (value, value.get_ref().as_bool()));
            if let Some((value, None)) = accounts {
                self.wrong(value, "class.accounts", "write true or false");
            }
            if host.is_none() && !table.contains_key("host") {
                self.tell(&span, "class.host", "", "say which host the class is about");
            }
            if path.is_none() && !table.contains_key("path") {
                self.tell(&span, "class.path", "", "say which paths, such as \"/static/**.js\"");
            }
            let (Some(host), Some(path)) = (host, path) else { continue };
            let glob = Glob::parse(&path);
            if let (None, Some(value)) = (&glob, table.get("path")) {
                self.wrong(value, "class.path", "a pattern starts with / and holds visible letters only: * within a segment, ** across");
            }
            let Some(host) = table.get("host").and_then(|value| self.host(value, &host, "class.host")) else { continue };
            // A class that names everything would make avatars storable.
            if has_accounts(&host) && is_all(&path) {
                self.tell(
                    &span,
                    "class.path",
                    &path,
                    "a host with accounts needs a narrow class: versioned scripts, fonts or lesson packages",
                );
                continue;
            }
            let Some(path) = glob else { continue };
            classes.push(Class { host, path, accounts: accounts.and_then(|(_, yes)| yes).unwrap_or(false) });
        }
        classes
    }

    /// A host name as packs write it, checked against the compiled-in list.
    fn host(&mut self, value: &Value<'_>, text: &str, key: &str) -> Option<String> {
        let host = text.to_ascii_lowercase();
        let bare = host.strip_prefix("*.").unwrap_or(&host);
        let sound = Target::parse(&format!("http://{bare}/")).is_ok_and(|target| target.host() == bare) && !bare.contains('*');
        if !sound || (host.starts_with("*.") && !bare.contains('.')) {
            self.wrong(value, key, "write a host without scheme, port or path, such as \"kk.wikipedia.org\" or \"*.wikimedia.org\"");
            return None;
        }
        if refuse::is_personal(bare) {
            self.wrong(value, key, "this host is personal and is never fetched (compiled-in list); leave it out");
            return None;
        }
        Some(host)
    }

    /// `shelf`: other packs are part of this one, which needs no hosts of its own then.
    fn scope(&mut self, tree: &DeTable<'_>, classes: &[Class], shelf: bool) -> Option<Scope> {
        let Some(table) = self.table(tree, "scope") else {
            if shelf && !tree.contains_key("scope") {
                return Some(Scope {
                    hosts: Vec::new(),
                    prefixes: Vec::new(),
                    depth: 0,
                    max_bytes: SIZE,
                    sites: Vec::new(),
                    any_requisites: false,
                });
            }
            if !tree.contains_key("scope") {
                self.missing("scope", "add [scope] with hosts = [\"…\"]");
            }
            return None;
        };
        self.known(table, "scope.", &["hosts", "prefixes", "depth", "max_bytes", "sites", "requisites"]);
        let mut hosts = Vec::new();
        for (value, text) in self.texts(table, "scope.", "hosts") {
            let Some(host) = self.host(value, &text, "scope.hosts") else { continue };
            if has_accounts(&host) && !classes.iter().any(|class| class.host == host) {
                self.wrong(value, "scope.hosts", "this host has accounts: add a [[class]] that names what may be fetched there");
                continue;
            }
            hosts.push(host);
        }
        if !table.contains_key("hosts") && !shelf {
            self.missing("scope.hosts", "name the hosts that the pack may fetch from");
        }
        let prefixes = self.prefixes(table);
        let depth = u8::try_from(self.whole(table, "scope.", "depth", 0, 0..=DEEPEST)).unwrap_or(0);
        let max_bytes = table.get("max_bytes").map_or(SIZE, |value| self.size(value, "scope.max_bytes"));
        let sites = self.sites(table);
        let any_requisites = self.any_requisites(table);
        Some(Scope { hosts, prefixes, depth, max_bytes, sites, any_requisites })
    }

    /// `[scope.sites]`: a host, and the most that may come from it.
    fn sites(&mut self, table: &DeTable<'_>) -> Vec<(String, u64)> {
        let Some(value) = table.get("sites") else { return Vec::new() };
        let Some(list) = value.get_ref().as_table() else {
            self.wrong(value, "scope.sites", "write [scope.sites] with lines such as \"kk.wikipedia.org\" = \"500 MB\"");
            return Vec::new();
        };
        let mut sites = Vec::new();
        for (name, value) in list.iter().take(MANY) {
            let place = format!("scope.sites.{}", name.get_ref());
            if let Some(host) = self.host(value, name.get_ref(), &place) {
                sites.push((host, self.size(value, &place)));
            }
        }
        // An exact name says more than one for all below.
        sites.sort_by_key(|(name, _)| name.starts_with("*."));
        sites
    }

    fn any_requisites(&mut self, table: &DeTable<'_>) -> bool {
        match (self.text(table, "scope.", "requisites").as_deref(), table.get("requisites")) {
            (Some("any"), _) => return true,
            (Some(word), Some(value)) if word != "scope" => self.wrong(value, "scope.requisites", "choose \"scope\" or \"any\""),
            _ => {}
        }
        false
    }

    fn prefixes(&mut self, table: &DeTable<'_>) -> Vec<String> {
        let mut prefixes = Vec::new();
        for (value, text) in self.texts(table, "scope.", "prefixes") {
            if text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://") {
                // In the form that targets have, so that Kazakh paths match.
                let whole = if text.starts_with('/') { format!("http://x{text}") } else { text.clone() };
                match seed_target(&whole) {
                    Some(target) if text.starts_with('/') => prefixes.push(target.path_and_query().to_owned()),
                    Some(target) => prefixes.push(target.url().to_owned()),
                    None => self.wrong(value, "scope.prefixes", "this is no path and no URL"),
                }
            } else {
                self.wrong(value, "scope.prefixes", "a prefix is a path such as \"/wiki/\" or a URL");
            }
        }
        prefixes
    }

    fn size(&mut self, value: &Value<'_>, key: &str) -> u64 {
        let size = match value.get_ref() {
            DeValue::String(text) => text.parse::<Bytes>().ok().map(|size| size.0),
            other => whole(other).and_then(|size| u64::try_from(size).ok()),
        };
        size.filter(|size| *size > 0).unwrap_or_else(|| {
            self.wrong(value, key, "write it like \"2 GiB\" or \"500 MB\"");
            SIZE
        })
    }

    /// The texts of an array.
    fn texts<'t, 'v>(&mut self, table: &'t DeTable<'v>, place: &str, key: &str) -> Vec<(&'t Value<'v>, String)> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(value, &format!("{place}{key}"), "write a list in brackets: [\"…\"]");
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list.iter().take(MANY) {
            match item.get_ref().as_str() {
                Some(text) => found.push((item, text.trim().to_owned())),
                None => self.wrong(item, &format!("{place}{key}"), "write a text in quotes"),
            }
        }
        found
    }

    fn seeds(&mut self, tree: &DeTable<'_>, scope: Option<&Scope>, classes: &[Class]) -> Vec<Seed> {
        if !tree.contains_key("seed") {
            self.missing("seed", "add a [[seed]] with url, sitemap, list, feed, hls, dash or pack");
        }
        let mut seeds = Vec::new();
        for (span, table) in self.tables(tree, "seed") {
            let keys: Vec<&str> = SeedKind::ALL.iter().map(|(key, _)| *key).chain(["pack"]).collect();
            if table.contains_key("pack") {
                continue;
            }
            self.known(table, "seed.", &keys);
            let named: Vec<_> = SeedKind::ALL.iter().filter(|(key, _)| table.contains_key(*key)).collect();
            let [(key, kind)] = named.as_slice() else {
                if table.iter().all(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
                    self.tell(&span, "seed", "", "name exactly one of url, sitemap, list, feed, hls, dash, zim, pack in each [[seed]]");
                }
                continue;
            };
            let Some(text) = self.text(table, "seed.", key) else { continue };
            let (Some(value), place) = (table.get(*key), format!("seed.{key}")) else { continue };
            // What is read under a name of its own begins there.
            let home = zim::host(&text).filter(|_| *kind == SeedKind::Zim).map(|host| format!("http://{host}/"));
            let from = home.as_ref().and_then(|_| seed_target(&text));
            if from.is_some_and(|from| scope.is_some_and(|scope| !scope.has_host(from.host()))) {
                self.wrong(value, &place, "the seed lies outside scope.hosts; add its host there");
                continue;
            }
            let text = home.unwrap_or(text);
            let Some(target) = seed_target(&text) else {
                self.wrong(value, &place, "write a whole URL that starts with http:// or https://");
                continue;
            };
            if scope.is_some_and(|scope| !scope.hosts.is_empty() && !scope.has_host(target.host())) {
                self.wrong(value, &place, "the seed lies outside scope.hosts; add its host there");
                continue;
            }
            let classed = || classes.iter().any(|class| same_host(&class.host, target.host()) && class.path.fits(target.path()));
            if refuse::is_account(target.host()) && !classed() {
                self.wrong(value, &place, "this host has accounts and no [[class]] names this path; add one, or another seed");
                continue;
            }
            seeds.push(Seed { kind: *kind, target });
        }
        seeds
    }
}

/// A URL as people write it: other letters than ASCII are percent-encoded.
fn seed_target(text: &str) -> Option<Target> {
    Target::parse(url::Url::parse(text).ok()?.as_str()).ok()
}

fn whole(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn is_id(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a host as packs write it has accounts, or with `*.` stands for one that has.
fn has_accounts(host: &str) -> bool {
    let bare = host.trim_start_matches("*.");
    refuse::is_account(bare) || bare != host && refuse::below(bare).any(refuse::is_account)
}

/// A pattern that names everything, or nearly.
fn is_all(path: &str) -> bool {
    path.bytes().all(|byte| matches!(byte, b'/' | b'*' | b'?'))
}

/// One slip away: a letter more, less, other, or two exchanged.
fn is_near(known: &str, written: &str) -> bool {
    let (known, written) = (known.as_bytes(), written.as_bytes());
    // Three letters are one slip away from too much.
    if known.len().abs_diff(written.len()) > 1 || known.len().max(written.len()) < 4 {
        return false;
    }
    let front = known.iter().zip(written).take_while(|(a, b)| a == b).count();
    let back = known[front..].iter().rev().zip(written[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    known.len().max(written.len()) - front - back <= 2
}
