//! Addresses of mirrored hosts to the mirror's own, and back. A link is changed only where it begins: what follows the host stays
//! byte for byte, whatever its escapes and whatever the page's encoding.

use crate::base::digest::Digest;
use crate::base::target::{Scheme, Target};
use crate::site::Sites;
use crate::site::rewrite::label::{self, Origin};
use crate::site::rewrite::script;
use std::sync::Arc;
use url::{Position, Url};

/// Changes with what this program writes into pages: copies that browsers keep are told apart by it.
const EDITION: &str = "2";

/// Under this name below the zone, every host is reached by path.
const PATH_NAME: &str = "path";

/// Longest address that is changed: longer ones are data.
const MAX_ADDRESS: usize = 16 << 10;

/// How a device reaches mirrored hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Each host under a name of its own, `<host-with-dashes>.m.<zone>`.
    Names,
    /// All below `/m/<host>/`, where DNS has no wildcard.
    Path,
}

/// Where the mirror is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The names' common end, `m.<zone>`.
    pub zone: String,
    /// Over TLS.
    pub secure: bool,
    /// The port that devices use.
    pub port: u16,
}

impl Place {
    fn scheme(&self) -> Scheme {
        if self.secure { Scheme::Https } else { Scheme::Http }
    }

    /// `:8082`, or nothing for the scheme's own port.
    fn port(&self) -> String {
        if self.port == self.scheme().default_port() { String::new() } else { format!(":{}", self.port) }
    }
}

/// Which addresses lead to the mirror, and how: one for each form, made anew when packs change.
#[derive(Debug)]
pub struct Map {
    sites: Arc<Sites>,
    form: Form,
    place: Place,
    script: String,
    hash: String,
    stamp: String,
}

/// What a link becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The first bytes of the text are replaced; the rest stays.
    Begin(usize, String),
    /// All of it is replaced.
    Whole(String),
}

impl Change {
    /// The new text.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Change::Begin(until, mut begin) => {
                begin.push_str(text.get(until..).unwrap_or_default());
                begin
            }
            Change::Whole(text) => text,
        }
    }
}

impl Map {
    /// For the packs in force.
    pub fn new(sites: Arc<Sites>, form: Form, place: Place) -> Map {
        let hosts = sites.mirrored();
        let script = script::text(&hosts, form, &place);
        let known = format!("{EDITION} {form:?} {place:?} {} {script}", sites.edition());
        let stamp = Digest::of(known.as_bytes()).to_string()[..8].to_owned();
        let hash = script::hash(&script);
        Map { sites, form, place, script, hash, stamp }
    }

    /// The form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Where the mirror is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The packs' rules that it was made from.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.sites
    }

    /// The script for what pages fetch by themselves.
    pub(super) fn script(&self) -> &str {
        &self.script
    }

    /// Its source expression for a Content-Security-Policy.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Tells copies made by another map or edition apart.
    pub(super) fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The mirror's address of a target, if it is mirrored.
    pub fn address(&self, target: &Target) -> Option<String> {
        if !self.sites.is_mirrored(target) {
            return None;
        }
        let origin = Origin { scheme: target.scheme(), host: target.host().to_owned(), port: target.port() };
        Some(self.begin(&origin)? + target.path_and_query())
    }

    /// The target of an address on the mirror: of a Referer, an Origin.
    pub fn target(&self, address: &str) -> Option<Target> {
        let url = Url::parse(address).ok()?;
        let host = url.host_str()?;
        let tail = &url[Position::BeforePath..Position::AfterQuery];
        match self.of_name(host) {
            Some(origin) => Target::parse(&(origin.text() + tail)).ok(),
            None => self.of_path(tail).and_then(|(origin, rest)| Target::parse(&(origin.text() + rest)).ok()),
        }
    }

    /// The origin under a host name below the zone.
    pub fn of_name(&self, host: &str) -> Option<Origin> {
        let label = host.strip_suffix(self.place.zone.as_str())?.strip_suffix('.')?;
        label::of_label(label, |host| self.sites.home(host))
    }

    /// Whether this name below the zone is the one that serves by path.
    pub fn is_path_name(&self, host: &str) -> bool {
        host == self.place.zone || host.strip_suffix(self.place.zone.as_str()) == Some("path.")
    }

    /// The origin and the rest of `/m/<host>/…`; the rest is empty when the path ends with the host.
    pub fn of_path<'p>(&self, path: &'p str) -> Option<(Origin, &'p str)> {
        let inner = path.strip_prefix("/m/")?;
        let end = inner.find(['/', '?']).unwrap_or(inner.len());
        let origin = label::of_segment(&inner[..end], |host| self.sites.home(host))?;
        Some((origin, &inner[end..]))
    }

    /// What stands for an origin, without a path.
    fn begin(&self, origin: &Origin) -> Option<String> {
        let home = self.sites.home(&origin.host)?;
        let (scheme, zone, port) = (self.place.scheme().as_str(), &self.place.zone, self.place.port());
        match self.form {
            Form::Path => label::segment(origin, home).map(|segment| format!("/m/{segment}")),
            Form::Names => match label::label(origin, home) {
                Some(label) => Some(format!("{scheme}://{label}.{zone}{port}")),
                None => label::segment(origin, home).map(|segment| format!("{scheme}://{PATH_NAME}.{zone}{port}/m/{segment}")),
            },
        }
    }

    /// The mirror's origin for a mirrored one, as a browser compares origins.
    pub(super) fn origin(&self, origin: &Origin) -> Option<String> {
        let home = self.sites.home(&origin.host)?;
        let (scheme, zone, port) = (self.place.scheme().as_str(), &self.place.zone, self.place.port());
        let label = label::label(origin, home).unwrap_or_else(|| PATH_NAME.to_owned());
        (self.form == Form::Names).then(|| format!("{scheme}://{label}.{zone}{port}"))
    }

    /// A source expression for every mirrored host.
    pub(super) fn everything(&self) -> String {
        match self.form {
            Form::Path => "'self'".to_owned(),
            Form::Names => format!("{}://*.{}{}", self.place.scheme().as_str(), self.place.zone, self.place.port()),
        }
    }

    /// A link found on a page whose links are relative to `base`; `None`: it stays as it is.
    pub fn link(&self, base: &Url, text: &str) -> Option<String> {
        self.change(base, text).map(|change| change.apply(text))
    }

    /// Whether a link leads to the mirror, changed or not.
    pub(super) fn leads_here(&self, base: &Url, text: &str) -> bool {
        base.join(text.trim()).ok().is_some_and(|url| self.mirrored(&url).is_some())
    }

    /// What becomes of a link.
    pub(super) fn change(&self, base: &Url, text: &str) -> Option<Change> {
        let start = text.find(|letter: char| letter > ' ')?;
        let bare = &text[start..];
        let kind = Kind::of(bare);
        if text.len() > MAX_ADDRESS || (self.form == Form::Names && kind != Kind::Absolute) {
            return None;
        }
        let path_end = bare.find(['?', '#']).unwrap_or(bare.len());
        let cut = bare.contains(['\t', '\n', '\r']);
        // What climbs could climb out of its host's folder, so it is written out.
        let odd = cut || climbs(&bare[..path_end]);
        if kind == Kind::Relative && !odd {
            return None;
        }
        let url = base.join(bare).ok()?;
        let begin = self.begin(&self.mirrored(&url)?)?;
        let after = match kind {
            Kind::Relative => None,
            Kind::Rooted => Some(start),
            Kind::Absolute => authority_end(bare).map(|end| start + end),
        };
        match after {
            Some(after) if !odd => match text[after..].bytes().next() {
                Some(b'/') => Some(Change::Begin(after, begin)),
                _ => Some(Change::Begin(after, begin + "/")),
            },
            _ => Some(Change::Whole(begin + &url[Position::BeforePath..])),
        }
    }

    /// The origin of an address that is mirrored.
    fn mirrored(&self, url: &Url) -> Option<Origin> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let host = url.host_str()?;
        self.sites.home(host)?;
        let plain = url.username().is_empty() && url.password().is_none();
        let named = || Target::parse(&url[..Position::AfterQuery]).is_ok_and(|target| self.sites.is_mirrored(&target));
        (plain && named()).then(|| Origin { scheme, host: host.to_owned(), port: url.port().unwrap_or(scheme.default_port()) })
    }

    /// The mirror's origin of one that is mirrored by whatever address.
    pub(super) fn mapped_origin(&self, url: &Url) -> Option<String> {
        let scheme = if url.scheme() == "http" { Scheme::Http } else { Scheme::Https };
        let port = url.port().unwrap_or(scheme.default_port());
        self.origin(&Origin { scheme, host: url.host_str()?.to_owned(), port })
    }
}

/// How a reference is written (WHATWG URL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// With a scheme or a host.
    Absolute,
    /// From the host's root.
    Rooted,
    /// From the page.
    Relative,
}

impl Kind {
    fn of(text: &str) -> Kind {
        let slash = |byte: Option<u8>| matches!(byte, Some(b'/' | b'\\'));
        let mut bytes = text.bytes();
        match (bytes.next(), bytes.next()) {
            (first, second) if slash(first) && slash(second) => Kind::Absolute,
            (first, _) if slash(first) => Kind::Rooted,
            _ => {
                let scheme = text.split([':', '/', '?', '#', '\\']).next().unwrap_or_default();
                let named = text[scheme.len()..].starts_with(':') && scheme.starts_with(|first: char| first.is_ascii_alphabetic());
                if named { Kind::Absolute } else { Kind::Relative }
            }
        }
    }
}

/// Where scheme and host end, when they are written the usual way.
fn authority_end(text: &str) -> Option<usize> {
    let start = text.find("//")? + 2;
    if !matches!(text[..start - 2].to_ascii_lowercase().as_str(), "" | "http:" | "https:") || text[start..].starts_with(['/', '\\']) {
        return None;
    }
    Some(text[start..].find(['/', '?', '#', '\\']).map_or(text.len(), |end| start + end))
}

/// Whether a path holds `..` in any of its spellings, or a backslash, which browsers take for a slash.
fn climbs(path: &str) -> bool {
    path.contains('\\') || path.contains("..") || path.as_bytes().windows(3).any(|part| part.eq_ignore_ascii_case(b"%2e"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::site::pack::Pack;

    /// A map over one pack: `a.kz`, `*.cdn.kz` and `diary.kz` (accounts, one class) by https, `old.kz` by http.
    pub(in crate::site::rewrite) fn map(form: Form, secure: bool) -> Map {
        let pack = |id: &str, seed: &str, hosts: &str, class: &str| {
            let text = format!(
                "id = \"{id}\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"x\"\n[[seed]]\nurl = \"{seed}\"\n[scope]\nhosts = [{hosts}]\n{class}"
            );
            Arc::new(Pack::parse(&text).expect("a good pack"))
        };
        let class = "[[class]]\nhost = \"diary.kz\"\npath = \"/static/**\"\naccounts = true\n";
        let packs = [
            pack("one", "https://a.kz/", "\"a.kz\", \"*.cdn.kz\", \"diary.kz\", \"a-b.kz\"", class),
            pack("two", "http://old.kz/", "\"old.kz\"", ""),
        ];
        Map::new(Arc::new(Sites::new(&packs)), form, Place { zone: "m.s.internal".into(), secure, port: if secure { 443 } else { 8082 } })
    }

    fn base(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    /// A host with accounts is in no page's list of names, but what of it is mirrored changes pages all the same.
    #[test]
    fn another_path_class_makes_another_stamp() {
        let of = |path: &str| {
            let text = format!(
                "id = \"x\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"x\"\n[[seed]]\nurl = \"https://a.kz/\"\n[scope]\nhosts = [\"a.kz\", \"diary.kz\"]\n[[class]]\nhost = \"diary.kz\"\npath = \"{path}\"\naccounts = true\n"
            );
            let pack = Arc::new(Pack::parse(&text).expect("a good pack"));
            let place = Place { zone: "m.s.internal".into(), secure: false, port: 8082 };
            Map::new(Arc::new(Sites::new(&[pack])), Form::Path, place).stamp().to_owned()
        };
        assert_eq!(of("/static/**"), of("/static/**"));
        assert_ne!(of("/static/**"), of("/lesson/**"));
    }

    #[test]
    fn links_in_both_forms() {
        let (names, path) = (map(Form::Names, false), map(Form::Path, false));
        let page = base("https://a.kz/d/p.html");
        // link, by names, by path; "" stays
        let table = [
            ("x.png", "", ""),
            ("", "", ""),
            ("#top", "", ""),
            ("?q=1", "", ""),
            ("../x.png?..", "", "/m/a.kz/x.png?.."),
            ("../../../m/b.kz/x", "", "/m/a.kz/m/b.kz/x"),
            ("%2E%2e/x", "", "/m/a.kz/x"),
            ("y\\..\\x", "", "/m/a.kz/d/x"),
            ("/x?q=\u{e9}&r#f", "", "/m/a.kz/x?q=\u{e9}&r#f"),
            ("/../x", "", "/m/a.kz/x"),
            ("/", "", "/m/a.kz/"),
            ("https://a.kz", "http://a-kz.m.s.internal:8082/", "/m/a.kz/"),
            ("https://a.kz?q", "http://a-kz.m.s.internal:8082/?q", "/m/a.kz/?q"),
            (" HTTPS://A.kz/%7e/../x#y ", "http://a-kz.m.s.internal:8082/x#y", "/m/a.kz/x#y"),
            ("//a.kz/x y", "http://a-kz.m.s.internal:8082/x y", "/m/a.kz/x y"),
            ("http://a.kz/x", "http://h---a-kz.m.s.internal:8082/x", "/m/http:a.kz/x"),
            ("https://a.kz:8443/x", "http://s8443---a-kz.m.s.internal:8082/x", "/m/a.kz:8443/x"),
            ("http://old.kz/x", "http://old-kz.m.s.internal:8082/x", "/m/old.kz/x"),
            ("https://a-b.kz/x", "http://a--b-kz.m.s.internal:8082/x", "/m/a-b.kz/x"),
            ("https://b.cdn.kz/x", "http://b-cdn-kz.m.s.internal:8082/x", "/m/b.cdn.kz/x"),
            ("https://cdn.kz/x", "", ""),
            ("https://other.kz/x", "", ""),
            ("https://login.cdn.kz/x", "", ""),
            ("https://diary.kz/static/x.js", "http://diary-kz.m.s.internal:8082/static/x.js", "/m/diary.kz/static/x.js"),
            ("https://diary.kz/marks", "", ""),
            ("https://user@a.kz/x", "", ""),
            ("https:\\\\a.kz\\x", "http://a-kz.m.s.internal:8082/x", "/m/a.kz/x"),
            ("https:x", "http://a-kz.m.s.internal:8082/d/x", "/m/a.kz/d/x"),
            ("https://a.\nkz/x", "http://a-kz.m.s.internal:8082/x", "/m/a.kz/x"),
            ("data:text/plain,https://a.kz/", "", ""),
            ("javascript:x('https://a.kz/')", "", ""),
            ("mailto:a@a.kz", "", ""),
            ("wss://a.kz/x", "", ""),
            ("https://", "", ""),
        ];
        for (text, by_names, by_path) in table {
            let told = |map: &Map| map.link(&page, text).unwrap_or_default();
            assert_eq!((told(&names).trim(), told(&path).trim()), (by_names, by_path), "{text:?}");
        }
        let long = format!("https://{}.{}.cdn.kz/x", "a".repeat(40), "b".repeat(40));
        let wanted = long.replace("https://", "http://path.m.s.internal:8082/m/");
        assert_eq!(names.link(&page, &long), Some(wanted), "too long for a label");
        assert_eq!(map(Form::Names, true).link(&page, "//a.kz/").as_deref(), Some("https://a-kz.m.s.internal/"));
        assert_eq!(path.link(&base("https://other.kz/"), "/x"), None, "relative to a site that is not mirrored");
    }

    #[test]
    fn addresses_map_back() {
        for form in [Form::Names, Form::Path] {
            let map = map(form, false);
            let page = base("https://a.kz/d/p.html");
            for text in ["https://a.kz/x?y", "http://a.kz:81/", "https://b.cdn.kz/", "https://a-b.kz/p", "https://diary.kz/static/a.js"] {
                let target = Target::parse(text).expect(text);
                let address = map.address(&target).expect(text);
                assert_eq!(map.link(&page, text).as_ref(), Some(&address));
                let whole = if form == Form::Path { format!("http://10.0.0.1:8082{address}") } else { address };
                assert_eq!(map.target(&whole), Some(target), "{whole}");
            }
            for text in
                ["http://10.0.0.1/", "http://x.m.s.internal/", "http://10.0.0.1/m/other.kz/", "http://a-kz.m.s.internal.evil/", "null"]
            {
                assert_eq!(map.target(text), None, "{text}");
            }
        }
    }
}
