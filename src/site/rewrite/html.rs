//! Pages (and SVG images) on their way, over lol_html with bounded memory.
//!
//! Only ASCII matters to us, so bytes are read as windows-1252, in which every byte is a letter and comes out as it went in,
//! whatever the page's own encoding. What is not changed is not written anew. The script goes in before the first element that
//! could run or need one, so that a `<meta charset>` stays where browsers look for it.

use crate::site::discover::html::unescape;
use crate::site::rewrite::address::Map;
use crate::site::rewrite::attribute::{address, candidates, escape, read, refresh, write};
use crate::site::rewrite::css::{self, Sheet};
use crate::site::rewrite::{csp, module};
use encoding_rs::WINDOWS_1252;
use lol_html::html_content::{ContentType, Doctype, TextChunk};
use lol_html::send::{Element, HtmlRewriter, Settings};
use lol_html::{AsciiCompatibleEncoding, MemorySettings, doctype, element, text};
use parking_lot::Mutex;
use std::sync::Arc;
use url::Url;

/// Most memory that the tokenizer may take: one start tag with a large inline image fits.
const MEMORY: usize = 8 << 20;
/// Longest inline module or import map that is changed.
const MAX_INLINE: usize = 512 << 10;
/// Longest `srcdoc` or `style` that is changed.
const MAX_VALUE: usize = 256 << 10;
/// Frames within `srcdoc` within `srcdoc`.
const MAX_FRAMES: u8 = 2;

/// What markup it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup {
    /// `text/html`.
    Html,
    /// `application/xhtml+xml`: scripts are read as XML.
    Xhtml,
    /// `image/svg+xml`: no script of ours.
    Svg,
}

type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A page on its way.
pub(super) struct Html {
    /// `None` only after the end.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    ready: Arc<Mutex<Vec<u8>>>,
}

impl Html {
    pub(super) fn new(map: Arc<Map>, base: Url, markup: Markup) -> Html {
        Html::within(map, base, markup, 0)
    }

    fn within(map: Arc<Map>, base: Url, markup: Markup, frames: u8) -> Html {
        let ready = Arc::new(Mutex::new(Vec::new()));
        let page = Arc::new(Mutex::new(Page {
            map,
            base,
            markup,
            frames,
            has_base: false,
            is_document: false,
            scripted: markup == Markup::Svg,
            inline: None,
            text: String::new(),
        }));
        let (opened, styled, scripted, typed) = (Arc::clone(&page), Arc::clone(&page), Arc::clone(&page), page);
        let latin = AsciiCompatibleEncoding::new(WINDOWS_1252).expect("windows-1252 is ASCII with letters added");
        let settings = Settings::new_send()
            .with_encoding(latin)
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MEMORY))
            .with_strict(false)
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                opened.lock().open(element);
                Ok(())
            }))
            .append_element_content_handler(text!("style", move |chunk: &mut TextChunk<'_>| {
                styled.lock().inline(chunk);
                Ok(())
            }))
            .append_element_content_handler(text!("script", move |chunk: &mut TextChunk<'_>| {
                scripted.lock().inline(chunk);
                Ok(())
            }))
            .append_document_content_handler(doctype!(move |_: &mut Doctype<'_>| {
                typed.lock().is_document = true;
                Ok(())
            }));
        let filled = Arc::clone(&ready);
        let sink: Sink = Box::new(move |bytes: &[u8]| filled.lock().extend_from_slice(bytes));
        Html { rewriter: Some(HtmlRewriter::new(settings, sink)), ready }
    }

    /// Takes bytes of the page, gives what is ready.
    ///
    /// # Errors
    /// When a single tag takes more memory than allowed.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.write(bytes).map_err(|error| error.to_string())?;
        }
        out.append(&mut self.ready.lock());
        Ok(())
    }

    /// The rest.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        if let Some(rewriter) = self.rewriter.take() {
            rewriter.end().map_err(|error| error.to_string())?;
        }
        out.append(&mut self.ready.lock());
        Ok(())
    }
}

/// Elements before which our script need not stand.
const QUIET: [&str; 8] = ["html", "head", "meta", "title", "base", "link", "style", "noscript"];

/// Elements that fragments, which scripts fetch, do not begin with.
const WHOLE: [&str; 6] = ["html", "head", "body", "frameset", "title", "meta"];

/// Attributes that may be changed; those after `data`, which is an address on an object alone, are one on any element.
const EDITED: [&str; 17] = [
    "srcset",
    "imagesrcset",
    "style",
    "srcdoc",
    "content",
    "ping",
    "integrity",
    "data",
    "href",
    "src",
    "poster",
    "action",
    "formaction",
    "background",
    "xlink:href",
    "longdesc",
    "lowsrc",
];

/// What an open element holds.
enum Inline {
    Style(Sheet),
    Module,
    Map,
}

struct Page {
    map: Arc<Map>,
    base: Url,
    markup: Markup,
    frames: u8,
    has_base: bool,
    is_document: bool,
    scripted: bool,
    inline: Option<Inline>,
    text: String,
}

impl Page {
    fn open(&mut self, element: &mut Element<'_, '_>) {
        let tag = element.tag_name();
        self.is_document |= WHOLE.contains(&tag.as_str());
        if !self.scripted && self.is_document && !QUIET.contains(&tag.as_str()) {
            self.scripted = true;
            let script = self.map.script();
            let whole = if self.markup == Markup::Xhtml {
                format!("<script><![CDATA[{script}]]></script>")
            } else {
                format!("<script>{script}</script>")
            };
            element.before(&whole, ContentType::Html);
        }
        self.begin_inline(&tag, element);
        let mut edits: Vec<(String, Option<String>)> = Vec::new();
        let mut drops_sum = false;
        // Of an attribute that is repeated the first counts, and what is written is written there.
        let mut seen = [false; EDITED.len()];
        for attribute in element.attributes() {
            let name = attribute.name();
            let Some(place) = EDITED.iter().position(|edited| *edited == name) else { continue };
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            match name.as_str() {
                "srcset" | "imagesrcset" => add(&mut edits, name, candidates(&self.map, &self.base, &attribute.value())),
                "style" => add(&mut edits, name, self.style(&attribute.value())),
                "srcdoc" if tag == "iframe" => add(&mut edits, name, self.frame(&attribute.value())),
                "content" if tag == "meta" => self.meta(element, &attribute.value(), &mut edits),
                // It tells the site who followed a link.
                "ping" => edits.push((name, None)),
                "integrity" => drops_sum = self.changes(&tag, element),
                "srcdoc" | "content" => {}
                "data" if tag != "object" => {}
                _ => add(&mut edits, name, address(&self.map, &self.base, &attribute.value())),
            }
        }
        if tag == "base" {
            // Its own address is relative to the page.
            self.set_base(element);
        }
        if drops_sum {
            element.remove_attribute("integrity");
        }
        for (name, value) in edits {
            match value {
                // The name is one that was read.
                Some(value) => drop(element.set_attribute(&name, &value)),
                None => element.remove_attribute(&name),
            }
        }
    }

    /// The first base that has an address counts.
    fn set_base(&mut self, element: &Element<'_, '_>) {
        let Some(href) = element.get_attribute("href").filter(|_| !self.has_base) else { return };
        self.has_base = true;
        let base = self.base.join(&unescape(&href)).ok();
        if let Some(base) = base.filter(|base| matches!(base.scheme(), "http" | "https")) {
            self.base = base;
        }
    }

    fn begin_inline(&mut self, tag: &str, element: &Element<'_, '_>) {
        self.text.clear();
        self.inline = match tag {
            "style" => Some(Inline::Style(Sheet::new(Arc::clone(&self.map), self.base.clone()))),
            "script" if !element.has_attribute("src") => match kind(element).as_str() {
                "module" => Some(Inline::Module),
                "importmap" => Some(Inline::Map),
                _ => None,
            },
            _ => None,
        };
    }

    /// Text of a style or script.
    fn inline(&mut self, chunk: &mut TextChunk<'_>) {
        let last = chunk.last_in_text_node();
        match &mut self.inline {
            Some(Inline::Style(sheet)) => {
                let mut out = Vec::new();
                sheet.write(&WINDOWS_1252.encode(chunk.as_str()).0, &mut out);
                if last {
                    sheet.finish(&mut out);
                }
                chunk.replace(&WINDOWS_1252.decode_without_bom_handling(&out).0, ContentType::Html);
            }
            Some(inline) => {
                self.text.push_str(chunk.as_str());
                let long = self.text.len() > MAX_INLINE;
                if last || long {
                    let held = std::mem::take(&mut self.text);
                    let truth = if long { None } else { read(&held) };
                    let change = if matches!(inline, Inline::Map) { module::import_map } else { module::script };
                    let new = truth.and_then(|text| change(&self.map, &self.base, &text)).map(|text| write(&text));
                    if long {
                        self.inline = None;
                    }
                    chunk.replace(&new.unwrap_or(held), ContentType::Html);
                } else {
                    chunk.remove();
                }
            }
            None => {}
        }
    }

    /// The value of a `style` attribute.
    fn style(&self, raw: &str) -> Option<String> {
        if raw.len() > MAX_VALUE || !raw.contains('(') {
            return None;
        }
        let plain = unescape(raw);
        // Byte by byte, as sheets are read.
        let (bytes, _, unmappable) = WINDOWS_1252.encode(&plain);
        let text: String = bytes.iter().filter(|_| !unmappable).map(|byte| char::from(*byte)).collect();
        let new = css::declarations(&self.map, &self.base, &text)?;
        let bytes: Vec<u8> = new.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect();
        Some(escape(&WINDOWS_1252.decode_without_bom_handling(&bytes).0))
    }

    /// A page within an attribute.
    fn frame(&self, raw: &str) -> Option<String> {
        if raw.len() > MAX_VALUE || self.frames >= MAX_FRAMES {
            return None;
        }
        let plain = unescape(raw);
        // A letter that the encoding has not becomes a character reference, which is read the same.
        let bytes = WINDOWS_1252.encode(&plain).0;
        let mut inner = Html::within(Arc::clone(&self.map), self.base.clone(), Markup::Html, self.frames + 1);
        let mut out = Vec::new();
        inner.write(&bytes, &mut out).and_then(|()| inner.finish(&mut out)).ok()?;
        (out != *bytes).then(|| escape(&WINDOWS_1252.decode_without_bom_handling(&out).0))
    }

    fn meta(&self, element: &Element<'_, '_>, raw: &str, edits: &mut Vec<(String, Option<String>)>) {
        match element.get_attribute("http-equiv").unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "refresh" => add(edits, "content".to_owned(), refresh(&self.map, &self.base, raw)),
            "content-security-policy" => {
                let new = csp::rewrite(&self.map, &unescape(raw)).unwrap_or_default();
                edits.push(("content".to_owned(), Some(escape(&new))));
            }
            _ => {}
        }
    }

    /// Whether what this element asks for is changed on the way, so that its checksum would not hold: sheets and modules of
    /// mirrored hosts.
    fn changes(&self, tag: &str, element: &Element<'_, '_>) -> bool {
        let of = |name: &str| element.get_attribute(name).map(|value| value.to_ascii_lowercase()).unwrap_or_default();
        let rel = of("rel");
        let is = |word: &str| rel.split_ascii_whitespace().any(|one| one == word);
        let changed = match tag {
            "link" => is("stylesheet") || is("modulepreload") || (is("preload") && of("as") == "style"),
            "script" => kind(element) == "module",
            _ => false,
        };
        let target = element.get_attribute(if tag == "script" { "src" } else { "href" }).unwrap_or_default();
        changed && self.map.leads_here(&self.base, &unescape(&target))
    }
}

fn kind(element: &Element<'_, '_>) -> String {
    element.get_attribute("type").unwrap_or_default().trim().to_ascii_lowercase()
}

fn add(edits: &mut Vec<(String, Option<String>)>, name: String, value: Option<String>) {
    if value.is_some() {
        edits.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::Form;
    use crate::site::rewrite::address::tests::map;
    use proptest::prelude::*;

    fn through(form: Form, markup: Markup, pieces: &[&[u8]]) -> Vec<u8> {
        let mut page = Html::new(Arc::new(map(form, false)), Url::parse("https://a.kz/d/p.html").expect("valid"), markup);
        let mut out = Vec::new();
        for piece in pieces {
            page.write(piece, &mut out).expect("small");
        }
        page.finish(&mut out).expect("small");
        out
    }

    fn text(form: Form, page: &str) -> String {
        String::from_utf8(through(form, Markup::Html, &[page.as_bytes()])).expect("UTF-8")
    }

    #[test]
    fn links_of_pages() {
        // page, by path; by names the same with other beginnings
        let table = [
            ("<a href=/x>", "<a href=\"/m/a.kz/x\">"),
            ("<a href='x?a&amp;b'>", "<a href='x?a&amp;b'>"),
            ("<A HREF=\"//b.cdn.kz/x?a&b\" ping=/p>", "<A HREF=\"/m/b.cdn.kz/x?a&b\">"),
            ("<img src=//a.kz/x srcset='/1 1x, y 2x'>", "<img src=\"/m/a.kz/x\" srcset=\"/m/a.kz/1 1x, y 2x\">"),
            ("<link rel=preload as=image imagesrcset='/1 1x'>", "<link rel=preload as=image imagesrcset=\"/m/a.kz/1 1x\">"),
            ("<video poster=/p><source src=/v></video>", "<video poster=\"/m/a.kz/p\"><source src=\"/m/a.kz/v\"></video>"),
            ("<object data=/o></object><div data=/o>", "<object data=\"/m/a.kz/o\"></object><div data=/o>"),
            ("<form action=/f><button formaction=/g>", "<form action=\"/m/a.kz/f\"><button formaction=\"/m/a.kz/g\">"),
            ("<body background=/b>", "<body background=\"/m/a.kz/b\">"),
            (
                "<svg><use xlink:href='/s#i'/><image href='/i'/></svg>",
                "<svg><use xlink:href=\"/m/a.kz/s#i\" /><image href=\"/m/a.kz/i\" /></svg>",
            ),
            ("<p style='a:url(\"/b\")'>", "<p style=\"a:url(&quot;/m/a.kz/b&quot;)\">"),
            ("<style>a{b:url(/c)}</style>", "<style>a{b:url(\"/m/a.kz/c\")}</style>"),
            ("<script>let a = '/x'</script>", "<script>let a = '/x'</script>"),
            ("<script type=module>import '/x'</script>", "<script type=module>import '/m/a.kz/x'</script>"),
            (
                "<script type=importmap>{\"imports\":{\"a\":\"/a\"}}</script>",
                "<script type=importmap>{\"imports\":{\"a\":\"/m/a.kz/a\"}}</script>",
            ),
            ("<iframe srcdoc='<a href=/x>&amp;amp;'></iframe>", "<iframe srcdoc=\"<a href=&quot;/m/a.kz/x&quot;>&amp;amp;\"></iframe>"),
            ("<link rel=stylesheet href=/a.css integrity=sha256-x>", "<link rel=stylesheet href=\"/m/a.kz/a.css\">"),
            (
                "<link rel=stylesheet href=//other.kz/a.css integrity=sha256-x>",
                "<link rel=stylesheet href=//other.kz/a.css integrity=sha256-x>",
            ),
            ("<script src=a.js integrity=sha256-x></script>", "<script src=a.js integrity=sha256-x></script>"),
            ("<script type=module src=a.js integrity=sha256-x></script>", "<script type=module src=a.js></script>"),
            ("<base href=/b/><img src=../x><base href=/c/>", "<base href=\"/m/a.kz/b/\"><img src=\"/m/a.kz/x\"><base href=\"/m/a.kz/c/\">"),
            ("<base href=../c/><img src=../x>", "<base href=\"/m/a.kz/c/\"><img src=\"/m/a.kz/x\">"),
            ("<base href=//other.kz/><img src=/x>", "<base href=//other.kz/><img src=/x>"),
            ("<img alt='\u{434}' src=/\u{434}>\u{434}", "<img alt='\u{434}' src=\"/m/a.kz/\u{434}\">\u{434}"),
            (
                "<img src=/a src=/b><p ping=/x ping=/y style=\"a:b\" style='a:url(/c)'>",
                "<img src=\"/m/a.kz/a\" src=/b><p style=\"a:b\" style='a:url(/c)'>",
            ),
            ("<!-- <a href=/x> --><textarea><a href=/x></textarea>", "<!-- <a href=/x> --><textarea><a href=/x></textarea>"),
        ];
        for (page, wanted) in table {
            // A body tag makes it a page, before which the script stands.
            let out = text(Form::Path, page);
            let out = out.rsplit_once("</script><body").map_or(out.clone(), |(_, rest)| format!("<body{rest}"));
            assert_eq!(out, wanted, "{page}");
        }
        let out = text(Form::Names, "<a href=/x><img src=//a.kz/y>");
        assert_eq!(out, "<a href=/x><img src=\"http://a-kz.m.s.internal:8082/y\">");
    }

    #[test]
    fn meta_refresh_and_policy() {
        let out = text(
            Form::Path,
            "<meta http-equiv=Refresh content='0;url=/x'><meta http-equiv=content-security-policy content=\"script-src 'self'; report-uri /r\"><meta name=x content='0;url=/x'>",
        );
        let hash = map(Form::Path, false).hash().to_owned();
        assert_eq!(
            out,
            format!(
                "<meta http-equiv=Refresh content=\"0;url=/m/a.kz/x\"><meta http-equiv=content-security-policy content=\"script-src 'self' {hash}\"><meta name=x content='0;url=/x'>"
            )
        );
    }

    #[test]
    fn the_script_stands_once_before_the_first_that_could_need_it() {
        let script = format!("<script>{}</script>", map(Form::Names, false).script());
        let table = [
            ("<!DOCTYPE html><html><head><meta charset=utf-8><title>x</title><link rel=icon href=x>@<script>1</script><body>", 1),
            ("<html><head></head>@<body><script>1</script>", 1),
            ("<!doctype html>@<p>x<p>y", 1),
            ("<title>x</title>@<p>", 1),
            ("<div>x</div><script>1</script>", 0),
            ("{\"a\": \"<b>\"}", 0),
            ("", 0),
        ];
        for (page, count) in table {
            let out = text(Form::Names, &page.replace('@', ""));
            assert_eq!(out, page.replace('@', &script), "{page}");
            assert_eq!(out.matches("(hosts, zone, root)").count(), count);
        }
        let xhtml = through(Form::Names, Markup::Xhtml, &[b"<html><body/></html>"]);
        assert!(String::from_utf8_lossy(&xhtml).contains("<script><![CDATA[(function"));
        let svg = b"<?xml version='1.0'?><svg xmlns=\"http://www.w3.org/2000/svg\"><style><![CDATA[a{b:url(//a.kz/x)}]]></style><script>1</script></svg>";
        let out = String::from_utf8(through(Form::Path, Markup::Svg, &[svg])).expect("UTF-8");
        assert!(out.contains("<![CDATA[a{b:url(\"/m/a.kz/x\")}]]>") && !out.contains("function"), "{out}");
    }

    #[test]
    fn a_page_comes_out_the_same_however_it_is_cut_and_in_any_encoding() {
        let page = b"<!DOCTYPE html><html><head><base href=/b/><style>a{b:url(/c);d:'}'}</style></head><body style=\"a:url('/x')\">\
            \xd0\xb4\xe4\x81<img src=/\xd1\x80 srcset=\"/1 1x,/2 2x\"><script type=importmap>{\"imports\":{\"a\":\"/a\"}}</script>\
            <script type=module>import '/x'; '\xd1\x84'</script><a href='/y?a&amp;b'>z</a></body></html>";
        let whole = through(Form::Path, Markup::Html, &[page]);
        let single: Vec<&[u8]> = page.chunks(1).collect();
        assert_eq!(through(Form::Path, Markup::Html, &single), whole);
        for at in 0..page.len() {
            let (one, two) = page.split_at(at);
            assert_eq!(through(Form::Path, Markup::Html, &[one, two]), whole, "cut at {at}");
        }
        assert!(whole.windows(13).any(|part| part == b"/m/a.kz/\xd1\x80\" s"));
        assert!(whole.windows(4).any(|part| part == b"\xd0\xb4\xe4\x81"), "what is no UTF-8 stays too");
    }

    #[test]
    fn damage_and_noise_do_not_panic() {
        for page in [&b"<a href=".repeat(50_000)[..], &b"<div>".repeat(50_000), b"<script type=module>", b"<style>a{", b"\xff\xfe<"] {
            through(Form::Path, Markup::Html, &[page]);
        }
        let mut page = Html::new(Arc::new(map(Form::Path, false)), Url::parse("https://a.kz/").expect("valid"), Markup::Html);
        let huge = [&b"<a href='"[..], &b"x".repeat(MEMORY + 10)].concat();
        assert!(page.write(&huge, &mut Vec::new()).is_err(), "memory is bounded");
    }

    proptest! {
        #[test]
        fn any_page_however_cut(page in "(<(a|img|base|style|script|p|link|meta|iframe)( (href|src|srcset|style|srcdoc|content|type|rel)=[\"']?[a-z/.:&;,(){}# ]{0,12}[\"']?){0,2}>|</(a|style|script)>|[a-z&{}()'/ ]{0,6}){0,10}", at in 0usize..200) {
            let bytes = page.as_bytes();
            let (one, two) = bytes.split_at(at.min(bytes.len()));
            for form in [Form::Names, Form::Path] {
                prop_assert_eq!(through(form, Markup::Html, &[one, two]), through(form, Markup::Html, &[bytes]));
            }
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            through(Form::Path, Markup::Html, &[&bytes]);
        }
    }
}
