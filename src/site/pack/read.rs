//! TOML to pack, or every complaint at once: key, line, value, remedy.
//!
//! A walk over the parsed tree with spans rather than serde: serde stops at the first mistake.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::base::unit::{Bytes, Wait};
use crate::site::glob::Glob;
use crate::site::pack::{Class, Complaint, MAX_BYTES, Pack, Scope, Seed, SeedKind, Status, Title, same_host};
use crate::site::refuse;
use std::ops::Range;
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
        let classes = self.classes(tree);
        let scope = self.scope(tree, &classes);
        let seeds = self.seeds(tree, scope.as_ref(), &classes);
        let digest = Digest::of(self.text.as_bytes());
        let (id, version, licence, scope) = (id?, version?, licence?, scope?);
        let pack =
            Pack { id, version, status, licence, permission, title, subject, grades, priority, seeds, scope, classes, refresh, digest };
        Some(pack)
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
            if refuse::is_account(host.trim_start_matches("*.")) && is_all(&path) {
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

    fn scope(&mut self, tree: &DeTable<'_>, classes: &[Class]) -> Option<Scope> {
        let Some(table) = self.table(tree, "scope") else {
            if !tree.contains_key("scope") {
                self.missing("scope", "add [scope] with hosts = [\"…\"]");
            }
            return None;
        };
        self.known(table, "scope.", &["hosts", "prefixes", "depth", "max_bytes", "requisites"]);
        let mut hosts = Vec::new();
        for (value, text) in self.texts(table, "scope.", "hosts") {
            let Some(host) = self.host(value, &text, "scope.hosts") else { continue };
            if refuse::is_account(host.trim_start_matches("*.")) && !classes.iter().any(|class| class.host == host) {
                self.wrong(value, "scope.hosts", "this host has accounts: add a [[class]] that names what may be fetched there");
                continue;
            }
            hosts.push(host);
        }
        if !table.contains_key("hosts") {
            self.missing("scope.hosts", "name the hosts that the pack may fetch from");
        }
        let prefixes = self.prefixes(table);
        let depth = u8::try_from(self.whole(table, "scope.", "depth", 0, 0..=DEEPEST)).unwrap_or(0);
        let max_bytes = self.size(table);
        let any_requisites = self.any_requisites(table);
        Some(Scope { hosts, prefixes, depth, max_bytes, any_requisites })
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

    fn size(&mut self, table: &DeTable<'_>) -> u64 {
        let Some(value) = table.get("max_bytes") else { return SIZE };
        let size = match value.get_ref() {
            DeValue::String(text) => text.parse::<Bytes>().ok().map(|size| size.0),
            other => whole(other).and_then(|size| u64::try_from(size).ok()),
        };
        size.filter(|size| *size > 0).unwrap_or_else(|| {
            self.wrong(value, "scope.max_bytes", "write it like \"2 GiB\" or \"500 MB\"");
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
            self.missing("seed", "add a [[seed]] with url, sitemap or list");
        }
        let mut seeds = Vec::new();
        for (span, table) in self.tables(tree, "seed") {
            let keys: Vec<&str> = SeedKind::ALL.iter().map(|(key, _)| *key).collect();
            self.known(table, "seed.", &keys);
            let named: Vec<_> = SeedKind::ALL.iter().filter(|(key, _)| table.contains_key(*key)).collect();
            let [(key, kind)] = named.as_slice() else {
                if table.iter().all(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
                    self.tell(&span, "seed", "", "name exactly one of url, sitemap, list, feed, hls, dash, zim in each [[seed]]");
                }
                continue;
            };
            let Some(text) = self.text(table, "seed.", key) else { continue };
            let (Some(value), place) = (table.get(*key), format!("seed.{key}")) else { continue };
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
