//! What a page needs: the requisites of HTML, style sheets and modules, and what sitemaps and lists name.
//!
//! Pure and bounded: each reader looks at a limited number of bytes, finds a limited number of addresses, and treats damage as
//! the end of the text. Whether something found may be fetched is the pack's business.

/// HTML pages.
pub mod html;

/// Style sheets.
pub mod css;

/// JavaScript modules.
pub mod module;

/// What bundlers write instead of imports.
mod bundle;

/// What service workers keep.
mod worker;

/// Web app manifests.
mod manifest;

/// JavaScript's tokens.
mod token;

/// Sitemaps.
pub mod sitemap;

/// Lists, plain or as tables.
pub mod list;

/// RSS and Atom.
pub mod feed;

/// HLS playlists.
pub mod hls;

/// DASH manifests.
pub mod dash;

/// Which form of a film is taken.
pub mod media;

/// XML as a small tree.
mod xml;

/// `srcset` and which of its candidates to take.
mod srcset;

use crate::base::target::Target;
use serde::{Deserialize, Serialize};

/// Most HTML that is read; what a page needs stands near its top.
pub const MAX_HTML: u64 = 2 << 20;
/// Most of a style sheet or script that is read: the largest bundles of real sites are 3 to 4 MB.
pub const MAX_TEXT: u64 = 4 << 20;
/// Most addresses that one text gives: a page of 2 MiB full of links is a list and should be one.
pub const MAX_FOUND: usize = 5_000;

/// What a wish is, as far as it matters for what it needs in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A page whose links may be followed.
    Page,
    /// A page within a page.
    Frame,
    /// A style sheet.
    Style,
    /// A script or module.
    Script,
    /// An image, icon or poster.
    Image,
    /// A font.
    Font,
    /// Sound, film, subtitles.
    Media,
    /// A web app manifest, whatever media type a server gives it.
    Manifest,
    /// Anything else: preloads of unknown kind.
    Other,
}

impl Kind {
    /// The word for the database and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Page => "page",
            Kind::Frame => "frame",
            Kind::Style => "style",
            Kind::Script => "script",
            Kind::Image => "image",
            Kind::Font => "font",
            Kind::Media => "media",
            Kind::Manifest => "manifest",
            Kind::Other => "other",
        }
    }

    /// Back from the word.
    pub fn parse(word: &str) -> Option<Kind> {
        use Kind::{Font, Frame, Image, Manifest, Media, Other, Page, Script, Style};
        [Page, Frame, Style, Script, Image, Font, Media, Manifest, Other].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One thing that a text needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Where it is.
    pub target: Target,
    /// What it is.
    pub kind: Kind,
    /// Marked `loading=lazy`: comes last.
    pub lazy: bool,
    /// How soon a browser wants it.
    pub urgency: Urgency,
}

/// How soon a browser wants something, as in RFC 9218 section 4.1: 0 before 7, which nobody waits for or which may never be wanted.
pub type Urgency = u8;

/// Nothing is shown without it: style sheets.
pub const STYLE: Urgency = 1;
/// What stands behind it waits: scripts that are not deferred, what a page preloads.
pub const BLOCKING: Urgency = 2;
/// Before the page counts as read: deferred scripts and modules.
pub const DEFERRED: Urgency = 3;
/// In the order of the page: pictures, scripts that come when they come.
pub const PLAIN: Urgency = 4;
/// Posters, style sheets for other media, what is marked as of low priority.
pub const LOW: Urgency = 5;
/// Icons, manifests.
pub const AFTER: Urgency = 6;
/// Lazy, prefetched, or named by code that may never come to it.
pub const MAYBE: Urgency = 7;

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What it needs to be shown.
    pub needs: Vec<Need>,
    /// Where its links lead.
    pub links: Vec<Target>,
    /// The address that it calls its own (`rel=canonical`).
    pub canonical: Option<Target>,
    /// Addresses beyond [`MAX_FOUND`] that were left out.
    pub more: usize,
}

/// Addresses as written, before they are resolved.
#[derive(Debug, Default)]
struct Raw {
    /// Only what a browser asks for at once is wanted; nothing else is kept.
    soon: bool,
    /// Open `template` elements: what is named in them is no part of the page yet.
    templates: usize,
    needs: Vec<Written>,
    links: Vec<String>,
    canonical: Option<String>,
    more: usize,
}

/// One need, as written.
#[derive(Debug)]
struct Written {
    address: String,
    kind: Kind,
    lazy: bool,
    urgency: Urgency,
}

impl Written {
    fn resolve(&self, base: &Target) -> Option<Need> {
        Some(Need { target: join(base, &self.address)?, kind: self.kind, lazy: self.lazy, urgency: self.urgency })
    }
}

impl Raw {
    fn new(soon: bool) -> Raw {
        Raw { soon, ..Raw::default() }
    }

    /// Something that may be needed.
    fn need(&mut self, address: impl Into<String>, kind: Kind) {
        self.need_at(address, kind, MAYBE);
    }

    fn need_at(&mut self, address: impl Into<String>, kind: Kind, urgency: Urgency) {
        self.add(Written { address: address.into(), kind, lazy: false, urgency });
    }

    fn add(&mut self, written: Written) {
        let unwanted = self.soon && (written.urgency >= MAYBE || self.templates > 0);
        // Held by the thousand, and never followed.
        if unwanted || is_too_long(&written.address) {
            return;
        }
        if self.needs.len() < MAX_FOUND {
            self.needs.push(written);
        } else {
            self.more += 1;
        }
    }

    fn link(&mut self, address: impl Into<String>) {
        let address = address.into();
        if self.soon || is_too_long(&address) {
            return;
        }
        if self.links.len() < MAX_FOUND {
            self.links.push(address);
        } else {
            self.more += 1;
        }
    }

    /// Resolves against `base`, drops doubles, keeps the order; what is lazy goes last.
    fn resolve(self, base: &Target) -> Found {
        let canonical = self.canonical.as_deref().and_then(|address| join(base, address));
        let mut seen = std::collections::HashSet::new();
        let mut needs = Vec::new();
        for need in self.needs.iter().filter_map(|written| written.resolve(base)) {
            if seen.insert(need.target.clone()) {
                needs.push(need);
            }
        }
        needs.sort_by_key(|need| need.lazy);
        let mut seen = std::collections::HashSet::new();
        let links = self.links.iter().filter_map(|address| join(base, address)).filter(|target| seen.insert(target.clone())).collect();
        Found { needs, links, canonical, more: self.more }
    }
}

/// Longest address that is followed: longer ones are data or traps.
const MAX_ADDRESS: usize = 4096;

fn is_too_long(address: &str) -> bool {
    address.trim().len() > MAX_ADDRESS
}

fn join(base: &Target, address: &str) -> Option<Target> {
    let address = address.trim();
    // Letters in another encoding than the text was read in lead nowhere.
    let is_misread = address.contains(char::REPLACEMENT_CHARACTER);
    if address.is_empty() || address.starts_with('#') || is_misread || is_too_long(address) {
        return None;
    }
    base.join(address)
}

/// What a body needs, by its media type (parameters ignored) and, without one, by what it is wanted as.
pub fn of(kind: Kind, content_type: Option<&str>, base: &Target, bytes: &[u8]) -> Found {
    read(kind, content_type, Reading { base, bytes, soon: false })
}

/// Of what [`of`] finds, what a browser asks for as soon as it has read the body, below [`MAYBE`]: the code is not looked through for what
/// it may come to.
pub fn soon(kind: Kind, content_type: Option<&str>, base: &Target, bytes: &[u8]) -> Vec<Need> {
    read(kind, content_type, Reading { base, bytes, soon: true }).needs
}

/// A body, where it lies, and whether only what is needed at once is wanted.
#[derive(Clone, Copy)]
struct Reading<'a> {
    base: &'a Target,
    bytes: &'a [u8],
    soon: bool,
}

impl Reading<'_> {
    /// As much of it as is read of a text that is read at once.
    fn text(&self) -> std::borrow::Cow<'_, str> {
        let limit = usize::try_from(MAX_TEXT).unwrap_or(usize::MAX).min(self.bytes.len());
        String::from_utf8_lossy(&self.bytes[..limit])
    }
}

fn read(kind: Kind, content_type: Option<&str>, body: Reading<'_>) -> Found {
    let mime = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match mime.as_str() {
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => html::read(body),
        "text/css" => css::read(body),
        mime if mime.ends_with("javascript") || mime.ends_with("ecmascript") => script(body),
        "application/manifest+json" => manifest::read(body.base, body.bytes),
        // Few servers know the ending.
        "application/json" | "application/octet-stream" | "text/plain" if kind == Kind::Manifest => manifest::read(body.base, body.bytes),
        "" => match kind {
            Kind::Page | Kind::Frame => html::read(body),
            Kind::Style => css::read(body),
            Kind::Script => script(body),
            Kind::Manifest => manifest::read(body.base, body.bytes),
            _ => Found::default(),
        },
        _ => Found::default(),
    }
}

/// What a script of its own file needs.
fn script(body: Reading<'_>) -> Found {
    let (text, mut raw) = (body.text(), Raw::new(body.soon));
    module::scan(&text, &mut raw);
    if !body.soon {
        bundle::scan(body.base, &text, &mut raw);
        worker::scan(&text, worker::Within::File, &mut raw);
    }
    raw.resolve(body.base)
}

/// What an address is, by how it ends.
fn kind_of(address: &str) -> Kind {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
        Some("css") => Kind::Style,
        Some("js" | "mjs" | "cjs") => Kind::Script,
        Some("png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico" | "bmp") => Kind::Image,
        Some("woff2" | "woff" | "ttf" | "otf" | "eot") => Kind::Font,
        Some("mp4" | "webm" | "ogv" | "ogg" | "oga" | "mp3" | "m4a" | "wav" | "vtt") => Kind::Media,
        Some("webmanifest") => Kind::Manifest,
        Some("html" | "htm" | "xhtml") => Kind::Frame,
        None if name.is_empty() => Kind::Frame,
        _ => Kind::Other,
    }
}

/// For the fuzzing corpus: any bytes through every reader, no panic.
pub fn fuzz(bytes: &[u8]) {
    let base = Target::parse("http://a.kz/b/c").expect("a valid address");
    for kind in ["text/html", "text/css", "text/javascript", "application/manifest+json"] {
        std::hint::black_box(of(Kind::Page, Some(kind), &base, bytes));
    }
    std::hint::black_box(sitemap::read(&base, bytes));
    list::fuzz(bytes);
    feed::fuzz(bytes);
    hls::fuzz(bytes);
    dash::fuzz(bytes);
    std::hint::black_box(srcset::choose(&String::from_utf8_lossy(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_decides_and_the_wish_helps_out() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let count = |kind, mime, text: &str| of(kind, mime, &base, text.as_bytes()).needs.len();
        assert_eq!(count(Kind::Page, Some("text/html; charset=utf-8"), "<img src=a.png>"), 1);
        assert_eq!(count(Kind::Style, None, "a{background:url(x.png)}"), 1);
        assert_eq!(count(Kind::Script, Some("application/javascript"), "import './x.js'"), 1);
        for mime in [None, Some("application/manifest+json"), Some("application/octet-stream"), Some("application/json; charset=utf-8")] {
            assert_eq!(count(Kind::Manifest, mime, r#"{"icons":[{"src":"i.png"}]}"#), 1, "{mime:?}");
        }
        assert_eq!(count(Kind::Other, Some("application/json"), r#"{"icons":[{"src":"i.png"}]}"#), 0);
        assert_eq!(count(Kind::Image, Some("image/png"), "<img src=a.png>"), 0);
    }

    #[test]
    fn damage_and_noise_do_not_panic() {
        let mut noise: u32 = 7;
        let letters = b"<>\"'`=/\\ (){};:,.*@!-#%&abcimportfromurl\xd0\x90\0\n";
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..400)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    letters[(noise >> 16) as usize % letters.len()]
                })
                .collect();
            fuzz(&bytes);
        }
        fuzz(&b"{".repeat(200_000));
        fuzz(&b"<div>".repeat(50_000));
        fuzz(&b"(".repeat(200_000));
        fuzz(&[0x1f, 0x8b, 8, 0, 1, 2]);
    }
}
