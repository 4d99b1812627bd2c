//! HTML pages (and SVG images, which the same reader understands), streaming over lol_html with bounded memory.

use crate::base::target::Target;
use crate::site::discover::{
    AFTER, BLOCKING, DEFERRED, Found, Kind, LOW, MAX_ADDRESS, MAX_HTML, MAYBE, Need, PLAIN, Raw, Reading, STYLE, Urgency, Written, bundle,
    css, join, kind_of, module, srcset, worker,
};
use lol_html::html_content::TextChunk;
use lol_html::send::{Element, HtmlRewriter, Settings};
use lol_html::{MemorySettings, element, text};
use parking_lot::Mutex;
use std::sync::Arc;

/// Most memory that the tokenizer may take: one start tag with a large inline image fits.
const MEMORY: usize = 8 << 20;
/// Most bytes of one inline script or style that are kept.
const MAX_INLINE: usize = 512 << 10;

/// Most folders of import maps that are remembered.
const MAX_FOLDERS: usize = 200;

/// What a page needs and where it leads.
pub(super) fn read(body: Reading<'_>) -> Found {
    let mut reader = Reader::at(body.base, body.soon);
    reader.read(body.bytes);
    reader.end()
}

type Sink = fn(&[u8]);

/// Reads a page piece by piece, as it comes.
pub struct Reader {
    page: Arc<Mutex<Page>>,
    /// `None` after the end, or after damage: what was found until then counts.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    /// Bytes that are still read.
    left: usize,
    /// Needs that have been told.
    told: usize,
}

impl Reader {
    /// At the beginning of the page at this address, for what a browser asks for at once, below [`MAYBE`].
    pub fn soon(at: &Target) -> Reader {
        Reader::at(at, true)
    }

    fn at(at: &Target, soon: bool) -> Reader {
        let page = Arc::new(Mutex::new(Page::new(at, soon)));
        let (opened, scripted, styled) = (Arc::clone(&page), Arc::clone(&page), Arc::clone(&page));
        let settings = Settings::new_send()
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MEMORY))
            .with_strict(false)
            .with_adjust_charset_on_meta_tag(true)
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                opened.lock().open(element);
                if element.tag_name() == "template" && element.can_have_content() {
                    let page = Arc::clone(&opened);
                    page.lock().raw.templates += 1;
                    element.on_end_tag(Box::new(move |_| {
                        page.lock().raw.templates -= 1;
                        Ok(())
                    }))?;
                }
                Ok(())
            }))
            .append_element_content_handler(text!("script", move |chunk: &mut TextChunk<'_>| {
                scripted.lock().inline(chunk.as_str());
                Ok(())
            }))
            .append_element_content_handler(text!("style", move |chunk: &mut TextChunk<'_>| {
                styled.lock().inline(chunk.as_str());
                Ok(())
            }));
        let left = usize::try_from(MAX_HTML).unwrap_or(usize::MAX);
        Reader { page, rewriter: Some(HtmlRewriter::new(settings, |_| {})), left, told: 0 }
    }

    /// Takes the next piece.
    pub fn read(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        // Damage or too much memory ends the reading.
        if self.rewriter.as_mut().is_some_and(|rewriter| rewriter.write(bytes).is_err()) {
            self.rewriter = None;
        }
    }

    /// Whether what still comes is not read any more.
    pub fn is_done(&self) -> bool {
        self.left == 0 || self.rewriter.is_none()
    }

    /// What the page was found to need since this was asked last, in its order and as often as it names it.
    pub fn needs(&mut self) -> Vec<Need> {
        let page = self.page.lock();
        let from = std::mem::replace(&mut self.told, page.raw.needs.len());
        page.raw.needs[from..].iter().filter_map(|written| written.resolve(page.base())).collect()
    }

    /// All that was found.
    pub fn end(mut self) -> Found {
        if let Some(rewriter) = self.rewriter.take() {
            rewriter.end().ok(); // damage at the very end: what was found counts
        }
        let mut page = self.page.lock();
        page.close();
        let raw = std::mem::take(&mut page.raw);
        raw.resolve(page.base())
    }
}

/// What an open `script` or `style` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inline {
    Module,
    Map,
    Style,
}

struct Page {
    at: Target,
    /// What addresses are relative to, where the page says so itself.
    base: Option<Target>,
    raw: Raw,
    /// Of the picture that is open there are forms, of which a browser takes the first that it knows.
    formed: bool,
    inline: Option<Inline>,
    text: String,
    /// The import map's folders: what a bare name begins with, and where that leads.
    folders: Vec<(String, String)>,
}

impl Page {
    fn new(at: &Target, soon: bool) -> Page {
        let (raw, text, folders) = (Raw::new(soon), String::new(), Vec::new());
        Page { at: at.clone(), base: None, raw, formed: false, inline: None, text, folders }
    }

    fn base(&self) -> &Target {
        self.base.as_ref().unwrap_or(&self.at)
    }

    fn inline(&mut self, chunk: &str) {
        if self.inline.is_some() && self.text.len() + chunk.len() <= MAX_INLINE {
            self.text.push_str(chunk);
        }
    }

    /// Reads what the last inline element held.
    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        match self.inline.take() {
            Some(Inline::Module) => self.code(&text),
            Some(Inline::Map) => self.import_map(&text),
            Some(Inline::Style) => css::scan(&text, &mut self.raw),
            None => {}
        }
    }

    fn code(&mut self, text: &str) {
        module::scan(text, &mut self.raw);
        if self.raw.soon {
            return;
        }
        bundle::scan(&self.at, text, &mut self.raw);
        worker::scan(text, worker::Within::Page, &mut self.raw);
        let Page { folders, raw, .. } = self;
        module::bare(text, |name| {
            let fits = folders.iter().filter(|(folder, _)| name.starts_with(folder.as_str()));
            if let Some((folder, to)) = fits.max_by_key(|(folder, _)| folder.len()) {
                let rest = &name[folder.len()..];
                if to.len() + rest.len() <= MAX_ADDRESS {
                    raw.need(format!("{to}{rest}"), Kind::Script);
                }
            }
        });
    }

    fn open(&mut self, element: &Element<'_, '_>) {
        self.close();
        let of = |name: &str| element.get_attribute(name).map(|value| unescape(&value));
        if let Some(style) = of("style").filter(|style| style.contains("url(")) {
            css::scan(&style, &mut self.raw);
        }
        let is = |name: &str, wanted: &str| of(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted));
        let lazy = is("loading", "lazy");
        // What the page says of its own accord counts.
        let urgency = |usual: Urgency| match () {
            () if lazy => MAYBE,
            () if is("fetchpriority", "high") => usual.min(BLOCKING),
            () if is("fetchpriority", "low") => usual.max(LOW),
            () => usual,
        };
        let (plain, low, never) = ((urgency(PLAIN), lazy), (urgency(LOW), lazy), (MAYBE, lazy));
        match element.tag_name().as_str() {
            // The first address counts, even if it is none (HTML, 4.2.3).
            "base" if self.base.is_none() => {
                self.base = of("href").map(|address| join(&self.at, &address).unwrap_or_else(|| self.at.clone()));
            }
            "link" => self.link(&of, urgency),
            "a" | "area" => {
                // A download or a link with side effects is not followed on the site's behalf.
                if let Some(href) = of("href").filter(|_| !has_word(of("rel").as_deref(), "nofollow")) {
                    self.raw.link(href);
                }
            }
            "script" => self.script(&of, urgency),
            "style" => self.inline = Some(Inline::Style),
            "picture" => self.formed = false,
            "img" if std::mem::take(&mut self.formed) => self.picture(&of, never),
            "img" => self.picture(&of, plain),
            "source" => {
                self.formed |= of("srcset").is_some();
                self.picture(&of, never);
            }
            "video" | "audio" => {
                self.all(&of, &[("src", Kind::Media)], never);
                self.all(&of, &[("poster", Kind::Image)], low);
            }
            "track" => self.all(&of, &[("src", Kind::Media)], never),
            "iframe" | "frame" | "embed" => self.all(&of, &[("src", Kind::Frame)], never),
            "object" => self.all(&of, &[("data", Kind::Frame)], never),
            "input" => self.all(&of, &[("src", Kind::Image)], plain),
            "use" | "image" | "feimage" => self.all(&of, &[("href", Kind::Image), ("xlink:href", Kind::Image)], plain),
            "body" | "table" | "td" => self.all(&of, &[("background", Kind::Image)], plain),
            _ => {}
        }
    }

    fn all(&mut self, of: &impl Fn(&str) -> Option<String>, names: &[(&str, Kind)], (urgency, lazy): (Urgency, bool)) {
        for (name, kind) in names {
            if let Some(address) = of(name) {
                self.raw.add(Written { address, kind: *kind, lazy, urgency });
            }
        }
    }

    fn link(&mut self, of: &impl Fn(&str) -> Option<String>, urgency: impl Fn(Urgency) -> Urgency) {
        let rel = of("rel");
        let is = |word| has_word(rel.as_deref(), word);
        let media = of("media").unwrap_or_default().trim().to_ascii_lowercase();
        if media == "print" {
            return;
        }
        if is("canonical") {
            self.raw.canonical = of("href");
        }
        // For a screen of another width, perhaps: a browser takes a style sheet all the same, but after all else; nothing else.
        let fits = matches!(media.as_str(), "" | "all" | "screen");
        let (kind, usual) = if is("stylesheet") {
            let usual = if fits { STYLE } else { LOW };
            (Kind::Style, if is("alternate") { MAYBE } else { usual })
        } else if is("modulepreload") {
            (Kind::Script, DEFERRED)
        } else if is("icon") {
            (Kind::Image, AFTER)
        } else if is("apple-touch-icon") || is("mask-icon") {
            (Kind::Image, MAYBE)
        } else if is("manifest") {
            (Kind::Manifest, AFTER)
        } else if is("prefetch") && of("as").is_none() {
            // The next page is no part of this one; a bundle's chunk, named by its ending, is.
            match of("href").as_deref().map(kind_of) {
                Some(kind @ (Kind::Script | Kind::Style | Kind::Font)) => (kind, MAYBE),
                _ => return,
            }
        } else if is("preload") || is("prefetch") {
            let soon = |kind, usual| (kind, if is("preload") && fits { usual } else { MAYBE });
            match of("as").unwrap_or_default().to_ascii_lowercase().as_str() {
                "style" => soon(Kind::Style, STYLE),
                "script" => soon(Kind::Script, BLOCKING),
                "image" => soon(Kind::Image, PLAIN),
                "font" => soon(Kind::Font, BLOCKING),
                "video" | "audio" | "track" => (Kind::Media, MAYBE),
                "document" if is("prefetch") => return,
                _ => soon(Kind::Other, PLAIN),
            }
        } else {
            return;
        };
        if let Some(address) = of("imagesrcset").and_then(|set| srcset::choose(&set)).or_else(|| of("href")) {
            // Which of a set a device takes is its own affair.
            self.raw.need_at(address, kind, if of("imagesrcset").is_some() { MAYBE } else { urgency(usual) });
        }
    }

    fn script(&mut self, of: &impl Fn(&str) -> Option<String>, urgency: impl Fn(Urgency) -> Urgency) {
        let kind = of("type").unwrap_or_default().trim().to_ascii_lowercase();
        let code = kind.is_empty() || kind == "module" || kind.ends_with("javascript") || kind.ends_with("ecmascript");
        let usual = match (of("async"), of("defer"), kind.as_str()) {
            // For browsers that know no modules: hardly any.
            _ if of("nomodule").is_some() => MAYBE,
            (Some(_), ..) => PLAIN,
            (_, Some(_), _) | (.., "module") => DEFERRED,
            _ => BLOCKING,
        };
        match of("src") {
            Some(address) if code => self.raw.need_at(address, Kind::Script, urgency(usual)),
            None if code => self.inline = Some(Inline::Module),
            None if kind == "importmap" => self.inline = Some(Inline::Map),
            _ => {}
        }
    }

    /// One candidate of a set; the plain address only where there is no set. Which of a set a device takes is its own affair.
    fn picture(&mut self, of: &impl Fn(&str) -> Option<String>, (urgency, lazy): (Urgency, bool)) {
        let kind = match of("type").unwrap_or_default() {
            kind if kind.starts_with("video/") || kind.starts_with("audio/") => Kind::Media,
            _ => Kind::Image,
        };
        match of("srcset").and_then(|set| srcset::choose(&set)) {
            Some(address) => self.raw.add(Written { address, kind, lazy, urgency: MAYBE }),
            None => self.all(of, &[("src", kind)], (urgency, lazy)),
        }
    }

    /// Import maps name modules; those that end in a slash are folders, and inline modules tell what of them they need.
    fn import_map(&mut self, text: &str) {
        let tree: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let scopes = tree.get("scopes").and_then(|scopes| scopes.as_object()).into_iter().flat_map(|scopes| scopes.values());
        for map in tree.get("imports").into_iter().chain(scopes) {
            let rows = map.as_object().into_iter().flatten();
            for (name, address) in rows.filter_map(|(name, value)| Some((name, value.as_str()?))) {
                if !name.ends_with('/') {
                    self.raw.need(address, Kind::Script);
                } else if address.ends_with('/') && self.folders.len() < MAX_FOLDERS {
                    self.folders.push((name.clone(), address.to_owned()));
                }
            }
        }
    }
}

fn has_word(value: Option<&str>, word: &str) -> bool {
    value.is_some_and(|value| value.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(word)))
}

/// Character references as they occur in addresses.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        // The longest reference that we know has 10 letters: `&#x10ffff;`.
        let reference = after.char_indices().take(12).find(|(_, letter)| *letter == ';').map(|(end, _)| &after[1..end]);
        if let Some((name, letter)) = reference.and_then(|name| Some((name, letter(name)?))) {
            out.push(letter);
            rest = &after[name.len() + 2..];
        } else {
            out.push('&');
            rest = &after[1..];
        }
    }
    out.push_str(rest);
    out
}

fn letter(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(base: &Target, bytes: &[u8]) -> Found {
        super::read(Reading { base, bytes, soon: false })
    }

    fn needs(html: &str) -> Vec<(String, Kind)> {
        let base = Target::parse("http://a.kz/d/p.html").expect("valid");
        read(&base, html.as_bytes()).needs.into_iter().map(|need| (need.target.path_and_query().to_owned(), need.kind)).collect()
    }

    #[test]
    fn what_pages_need() {
        let table: &[(&str, &[(&str, Kind)])] = &[
            ("<link rel=stylesheet href=a.css><link rel='alternate' href=feed>", &[("/d/a.css", Kind::Style)]),
            (
                "<link rel=\"shortcut icon\" href=/i.ico><link rel=manifest href=m.json>",
                &[("/i.ico", Kind::Image), ("/d/m.json", Kind::Manifest)],
            ),
            ("<link rel=stylesheet media=print href=a.css>", &[]),
            ("<link rel=preload as=font href=f.woff2 crossorigin>", &[("/d/f.woff2", Kind::Font)]),
            ("<base href='/x/'><img src=a.png>", &[("/x/a.png", Kind::Image)]),
            ("<script src='a.js?x=1&amp;y=2'></script>", &[("/d/a.js?x=1&y=2", Kind::Script)]),
            ("<script type=module>import { x } from './m.js'</script>", &[("/d/m.js", Kind::Script)]),
            ("<script type=importmap>{\"imports\":{\"vue\":\"/vue.js\",\"x/\":\"/x/\"}}</script>", &[("/vue.js", Kind::Script)]),
            (
                "<script type=importmap>{\"imports\":{\"three\":\"/t.js\",\"three/\":\"/t/\"},\"scopes\":{\"/d/\":{\"x\":\"./x.js\"}}}</script>\
                 <script type=module>import a from 'three/addons/b.js'; import 'other/c.js'</script>",
                &[("/t.js", Kind::Script), ("/d/x.js", Kind::Script), ("/t/addons/b.js", Kind::Script)],
            ),
            ("<script>navigator.serviceWorker.register('sw.js')</script>", &[("/d/sw.js", Kind::Script)]),
            ("<script>r.u=e=>\"js/\"+{1:\"a\"}[e]+\".js\";r.p=\"/x/\"</script>", &[("/x/js/a.js", Kind::Script)]),
            (
                "<link rel=prefetch href=c.1.js><link rel=prefetch href=next.html><link rel=prefetch as=style href=s.css><link rel=prefetch as=document href=n>",
                &[("/d/c.1.js", Kind::Script), ("/d/s.css", Kind::Style)],
            ),
            ("<script type='application/ld+json' src=x></script>", &[]),
            ("<img srcset='a.png 300w, b.png 1300w' src=c.png>", &[("/d/b.png", Kind::Image)]),
            ("<img loading=lazy src=late.png><img src=soon.png>", &[("/d/soon.png", Kind::Image), ("/d/late.png", Kind::Image)]),
            (
                "<video poster=p.jpg><source src=v.mp4 type=video/mp4><track src=s.vtt></video>",
                &[("/d/p.jpg", Kind::Image), ("/d/v.mp4", Kind::Media), ("/d/s.vtt", Kind::Media)],
            ),
            (
                "<style>body{background:url(b.png)}</style><p style=\"background:url('c.png')\">",
                &[("/d/b.png", Kind::Image), ("/d/c.png", Kind::Image)],
            ),
            ("<svg><use xlink:href='s.svg#i'/></svg>", &[("/d/s.svg", Kind::Image)]),
            ("<img src='data:image/png;base64,AAAA'><img src='#'>", &[]),
            ("<img src=a.png><img src=a.png>", &[("/d/a.png", Kind::Image)]),
            ("<iframe src=f.html></iframe>", &[("/d/f.html", Kind::Frame)]),
        ];
        for (html, wanted) in table {
            let wanted: Vec<_> = wanted.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect();
            assert_eq!(needs(html), wanted, "{html}");
        }
    }

    #[test]
    fn links_are_told_apart_from_needs() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let found = read(&base, b"<a href=x#y>1</a><a href='mailto:a@b'>2</a><a rel=nofollow href=z>3</a><a href=x>4</a>");
        assert_eq!(found.links.iter().map(Target::url).collect::<Vec<_>>(), ["http://a.kz/x"]);
        assert!(found.needs.is_empty());
    }

    #[test]
    fn a_page_that_comes_in_pieces_tells_what_it_needs_as_it_comes() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let mut reader = Reader::at(&base, false);
        let mut told = |piece: &str| {
            reader.read(piece.as_bytes());
            reader.needs().into_iter().map(|need| (need.target.path().to_owned(), need.urgency)).collect::<Vec<_>>()
        };
        assert_eq!(told("<base href=/x/><link rel=stylesheet hr"), []);
        assert_eq!(told("ef=a.css><img src=1.png><script>import './m"), [("/x/a.css".to_owned(), STYLE), ("/x/1.png".to_owned(), PLAIN)]);
        assert_eq!(told(".js'</script><p>"), [("/x/m.js".to_owned(), DEFERRED)]);
        assert!(!reader.is_done());
        assert_eq!(reader.end().needs.len(), 3);
    }

    #[test]
    fn pages_are_read_only_so_far() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let mut page = b"<img src=a.png>".to_vec();
        page.resize(usize::try_from(MAX_HTML).expect("small") + 10, b' ');
        page.extend_from_slice(b"<img src=b.png>");
        assert_eq!(read(&base, &page).needs.len(), 1);
        assert_eq!(unescape("a&#38;b&#x26;c&copy;&"), "a&b&c&copy;&");
    }

    #[test]
    fn addresses_are_read_in_the_encoding_that_the_page_names_or_not_at_all() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let targets = |page: &[u8]| read(&base, page).needs.into_iter().map(|need| need.target.path().to_owned()).collect::<Vec<_>>();
        // The letter ф in windows-1251.
        let page = b"<img src=\"\xf4.jpg\"><img src=b.jpg>";
        assert_eq!(targets(&[b"<meta charset=windows-1251>", page.as_slice()].concat()), ["/%D1%84.jpg", "/b.jpg"]);
        assert_eq!(targets(page), ["/b.jpg"]);
    }

    #[test]
    fn the_first_base_counts_and_an_endless_one_is_none() {
        let base = Target::parse("http://a.kz/d/").expect("valid");
        let of = |page: &str| read(&base, page.as_bytes()).needs.into_iter().map(|need| need.target.url().to_owned()).collect::<Vec<_>>();
        assert_eq!(of("<base target=x><base href=/e/><base href=/f/><img src=1>"), ["http://a.kz/e/1"]);
        let long = format!("<base href='http://b.kz/{}'><base href=/f/><img src=1>", "x".repeat(MAX_ADDRESS));
        assert_eq!(of(&long), ["http://a.kz/d/1"]);
    }
}
