//! HTML pages (and SVG images, which the same reader understands), streaming over lol_html with bounded memory.

use crate::base::target::Target;
use crate::site::discover::{Found, Kind, MAX_HTML, Raw, bundle, css, kind_of, module, srcset, worker};
use lol_html::html_content::Element;
use lol_html::{DocumentContentHandlers, HtmlRewriter, MemorySettings, Settings, element, text};
use std::cell::RefCell;

/// Most memory that the tokenizer may take: one start tag with a large inline image fits.
const MEMORY: usize = 8 << 20;
/// Most bytes of one inline script or style that are kept.
const MAX_INLINE: usize = 512 << 10;

/// Most folders of import maps that are remembered.
const MAX_FOLDERS: usize = 200;

/// What a page needs and where it leads.
pub fn read(base: &Target, bytes: &[u8]) -> Found {
    let limit = usize::try_from(MAX_HTML).unwrap_or(usize::MAX).min(bytes.len());
    let page = RefCell::new(Page::new(base));
    let settings = Settings::new()
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MEMORY))
        .with_strict(false)
        .append_element_content_handler(element!("*", |element| {
            page.borrow_mut().open(element);
            Ok(())
        }))
        .append_element_content_handler(text!("script", |chunk| {
            page.borrow_mut().inline(chunk.as_str());
            Ok(())
        }))
        .append_element_content_handler(text!("style", |chunk| {
            page.borrow_mut().inline(chunk.as_str());
            Ok(())
        }))
        .append_document_content_handler(DocumentContentHandlers::default().end(|_: &mut lol_html::html_content::DocumentEnd<'_>| {
            page.borrow_mut().close();
            Ok(())
        }));
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    // Damage or too much memory ends the reading; what was found until then counts.
    if rewriter.write(&bytes[..limit]).is_ok() {
        rewriter.end().ok();
    } else {
        drop(rewriter);
    }
    let mut page = page.into_inner();
    page.close();
    let base = page.base.as_deref().and_then(|address| base.join(address)).unwrap_or_else(|| base.clone());
    page.raw.resolve(&base)
}

/// What an open `script` or `style` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inline {
    Module,
    Map,
    Style,
}

struct Page<'a> {
    at: &'a Target,
    base: Option<String>,
    raw: Raw,
    inline: Option<Inline>,
    text: String,
    /// The import map's folders: what a bare name begins with, and where that leads.
    folders: Vec<(String, String)>,
}

impl<'a> Page<'a> {
    fn new(at: &'a Target) -> Page<'a> {
        Page { at, base: None, raw: Raw::default(), inline: None, text: String::new(), folders: Vec::new() }
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
        bundle::scan(self.at, text, &mut self.raw);
        worker::scan(text, worker::Within::Page, &mut self.raw);
        let Page { folders, raw, .. } = self;
        module::bare(text, |name| {
            let fits = folders.iter().filter(|(folder, _)| name.starts_with(folder.as_str()));
            if let Some((folder, to)) = fits.max_by_key(|(folder, _)| folder.len()) {
                raw.need(format!("{to}{}", &name[folder.len()..]), Kind::Script);
            }
        });
    }

    fn open(&mut self, element: &Element<'_, '_>) {
        self.close();
        let of = |name: &str| element.get_attribute(name).map(|value| unescape(&value));
        if let Some(style) = of("style").filter(|style| style.contains("url(")) {
            css::scan(&style, &mut self.raw);
        }
        let lazy = of("loading").is_some_and(|value| value.eq_ignore_ascii_case("lazy"));
        match element.tag_name().as_str() {
            "base" if self.base.is_none() => self.base = of("href"),
            "link" => self.link(&of),
            "a" | "area" => {
                // A download or a link with side effects is not followed on the site's behalf.
                if let Some(href) = of("href").filter(|_| !has_word(of("rel").as_deref(), "nofollow")) {
                    self.raw.link(href);
                }
            }
            "script" => self.script(&of),
            "style" => self.inline = Some(Inline::Style),
            "img" | "source" => self.picture(&of, lazy),
            "video" | "audio" => {
                self.all(&of, &[("src", Kind::Media), ("poster", Kind::Image)], lazy);
            }
            "track" => self.all(&of, &[("src", Kind::Media)], lazy),
            "iframe" | "frame" | "embed" => self.all(&of, &[("src", Kind::Frame)], lazy),
            "object" => self.all(&of, &[("data", Kind::Frame)], lazy),
            "input" => self.all(&of, &[("src", Kind::Image)], lazy),
            "use" | "image" | "feimage" => self.all(&of, &[("href", Kind::Image), ("xlink:href", Kind::Image)], lazy),
            "body" | "table" | "td" => self.all(&of, &[("background", Kind::Image)], lazy),
            _ => {}
        }
    }

    fn all(&mut self, of: &impl Fn(&str) -> Option<String>, names: &[(&str, Kind)], lazy: bool) {
        for (name, kind) in names {
            if let Some(address) = of(name) {
                self.raw.need_lazy(address, *kind, lazy);
            }
        }
    }

    fn link(&mut self, of: &impl Fn(&str) -> Option<String>) {
        let rel = of("rel");
        let is = |word| has_word(rel.as_deref(), word);
        if of("media").is_some_and(|media| media.trim().eq_ignore_ascii_case("print")) {
            return;
        }
        if is("canonical") {
            self.raw.canonical = of("href");
        }
        let kind = if is("stylesheet") {
            Kind::Style
        } else if is("modulepreload") {
            Kind::Script
        } else if is("icon") || is("apple-touch-icon") || is("mask-icon") {
            Kind::Image
        } else if is("manifest") {
            Kind::Manifest
        } else if is("prefetch") && of("as").is_none() {
            // The next page is no part of this one; a bundle's chunk, named by its ending, is.
            match of("href").as_deref().map(kind_of) {
                Some(kind @ (Kind::Script | Kind::Style | Kind::Font)) => kind,
                _ => return,
            }
        } else if is("preload") || is("prefetch") {
            match of("as").unwrap_or_default().to_ascii_lowercase().as_str() {
                "style" => Kind::Style,
                "script" => Kind::Script,
                "image" => Kind::Image,
                "font" => Kind::Font,
                "video" | "audio" | "track" => Kind::Media,
                "document" if is("prefetch") => return,
                _ => Kind::Other,
            }
        } else {
            return;
        };
        if let Some(address) = of("imagesrcset").and_then(|set| srcset::choose(&set)).or_else(|| of("href")) {
            self.raw.need(address, kind);
        }
    }

    fn script(&mut self, of: &impl Fn(&str) -> Option<String>) {
        let kind = of("type").unwrap_or_default().trim().to_ascii_lowercase();
        let code = kind.is_empty() || kind == "module" || kind.ends_with("javascript") || kind.ends_with("ecmascript");
        match of("src") {
            Some(address) if code => self.raw.need(address, Kind::Script),
            None if code => self.inline = Some(Inline::Module),
            None if kind == "importmap" => self.inline = Some(Inline::Map),
            _ => {}
        }
    }

    /// One candidate of a set; the plain address only where there is no set.
    fn picture(&mut self, of: &impl Fn(&str) -> Option<String>, lazy: bool) {
        let kind = match of("type").unwrap_or_default() {
            kind if kind.starts_with("video/") || kind.starts_with("audio/") => Kind::Media,
            _ => Kind::Image,
        };
        if let Some(address) = of("srcset").and_then(|set| srcset::choose(&set)).or_else(|| of("src")) {
            self.raw.need_lazy(address, kind, lazy);
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
    fn pages_are_read_only_so_far() {
        let base = Target::parse("http://a.kz/").expect("valid");
        let mut page = b"<img src=a.png>".to_vec();
        page.resize(usize::try_from(MAX_HTML).expect("small") + 10, b' ');
        page.extend_from_slice(b"<img src=b.png>");
        assert_eq!(read(&base, &page).needs.len(), 1);
        assert_eq!(unescape("a&#38;b&#x26;c&copy;&"), "a&b&c&copy;&");
    }
}
