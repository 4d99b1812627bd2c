//! A site under the school's own names: which addresses lead to the mirror, and pages, style sheets and fields of answers changed
//! so that they do.
//!
//! Everything here is pure: bytes in, bytes out, whatever way they are cut. Only links to mirrored hosts are changed; others lead
//! to the real site. Serving is the business of `proxy/mirror.rs`.
//!
//! # What does not work
//!
//! - Inline styles and modules that a policy allows by hash are blocked when they hold links that had to be changed.
//! - `import()` of an absolute address from a classic script, and absolute addresses in a worker's `fetch`, go to the real site.
//! - Feeds, DASH manifests and JSON stay as they are: absolute addresses in them reach the mirror only where a script asks for them.
//! - By path all hosts share one origin: their scripts could read each other's pages and storage. Nothing personal is in either.
//! - On plain HTTP a page is no secure context: no service workers, no `crypto.subtle`.
//! - Forms that POST, sign-ins and WebSockets: a mirror is for reading.

/// Origins and their names.
mod label;

/// Addresses to the mirror's own, and back.
mod address;

/// The script of pages.
mod script;

/// Content-Security-Policy.
mod csp;

/// Values of attributes.
mod attribute;

/// Style sheets.
mod css;

/// Modules, import maps, manifests.
mod module;

/// HLS playlists.
mod playlist;

/// Pages.
mod html;

/// Fields of requests and answers.
pub mod field;

pub use address::{Form, Map, Place};
pub use label::Origin;

use crate::base::target::Target;
use css::Sheet;
use encoding_rs::Encoding;
use html::{Html, Markup};
use std::sync::Arc;
use url::Url;

/// What kind of text an answer holds, where texts are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A page.
    Html,
    /// A page in XML.
    Xhtml,
    /// An image that can hold links.
    Svg,
    /// A style sheet.
    Style,
    /// A script.
    Script,
    /// A web manifest.
    Manifest,
    /// An HLS playlist: players that are no scripts read it.
    Playlist,
}

impl Kind {
    /// By the media type. `None`: such bodies are not changed, nor those in an encoding that is not built on ASCII.
    pub fn of(content_type: &str) -> Option<Kind> {
        let (mime, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let mime = mime.trim().to_ascii_lowercase();
        let kind = match mime.as_str() {
            "text/html" => Kind::Html,
            "application/xhtml+xml" => Kind::Xhtml,
            "image/svg+xml" => Kind::Svg,
            "text/css" => Kind::Style,
            "application/manifest+json" => Kind::Manifest,
            mime if mime.ends_with("mpegurl") => Kind::Playlist,
            mime if mime.ends_with("javascript") || mime.ends_with("ecmascript") => Kind::Script,
            _ => return None,
        };
        let charset = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
        });
        let plain = charset.and_then(|name| Encoding::for_label(name.as_bytes())).is_none_or(Encoding::is_ascii_compatible);
        plain.then_some(kind)
    }
}

/// A body on its way.
pub struct Rewriter(Inner);

enum Inner {
    Html(Box<Html>),
    Style(Sheet),
    /// Read whole, up to a limit.
    Whole(Kind, Arc<Map>, Url, Vec<u8>),
    /// As it is.
    Through,
}

impl Rewriter {
    /// For the body of `target`.
    pub fn new(map: &Arc<Map>, kind: Kind, target: &Target) -> Rewriter {
        let Ok(base) = Url::parse(target.url()) else { return Rewriter(Inner::Through) };
        let map = Arc::clone(map);
        let markup = |markup, map, base| Inner::Html(Box::new(Html::new(map, base, markup)));
        Rewriter(match kind {
            Kind::Html => markup(Markup::Html, map, base),
            Kind::Xhtml => markup(Markup::Xhtml, map, base),
            Kind::Svg => markup(Markup::Svg, map, base),
            Kind::Style => Inner::Style(Sheet::new(map, base)),
            Kind::Script | Kind::Manifest | Kind::Playlist => Inner::Whole(kind, map, base, Vec::new()),
        })
    }

    /// Takes bytes, gives what is ready.
    ///
    /// # Errors
    /// When a page takes more memory than allowed: what has gone out cannot be taken back, so the body must break off.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match &mut self.0 {
            Inner::Html(html) => html.write(bytes, out)?,
            Inner::Style(sheet) => sheet.write(bytes, out),
            Inner::Whole(_, _, _, held) => {
                held.extend_from_slice(bytes);
                if held.len() > module::MAX_TEXT {
                    out.append(held);
                    self.0 = Inner::Through;
                }
            }
            Inner::Through => out.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Gives the rest.
    ///
    /// # Errors
    /// As [`Rewriter::write`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match &mut self.0 {
            Inner::Html(html) => html.finish(out)?,
            Inner::Style(sheet) => sheet.finish(out),
            Inner::Whole(kind, map, base, held) => {
                let change = match *kind {
                    Kind::Script => module::script,
                    Kind::Playlist => playlist::playlist,
                    _ => module::manifest,
                };
                let new = std::str::from_utf8(held).ok().and_then(|text| change(map, base, text));
                match new {
                    Some(text) => out.extend_from_slice(text.as_bytes()),
                    None => out.append(held),
                }
            }
            Inner::Through => {}
        }
        self.0 = Inner::Through;
        Ok(())
    }
}

/// For the fuzzing corpus: any bytes through every kind, no panic.
pub fn fuzz(bytes: &[u8]) {
    let place = Place { zone: "m.a.internal".into(), secure: false, port: 8082 };
    let target = Target::parse("http://a.kz/b/c").expect("a valid address");
    for form in [Form::Names, Form::Path] {
        let map = Arc::new(Map::new(Arc::default(), form, place.clone()));
        for kind in [Kind::Html, Kind::Xhtml, Kind::Svg, Kind::Style, Kind::Script, Kind::Manifest, Kind::Playlist] {
            let (mut rewriter, mut out) = (Rewriter::new(&map, kind, &target), Vec::new());
            if rewriter.write(bytes, &mut out).is_ok() {
                std::hint::black_box(rewriter.finish(&mut out).is_ok());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_decides() {
        let table = [
            ("text/html", Some(Kind::Html)),
            ("Text/HTML; charset=\"windows-1251\"", Some(Kind::Html)),
            ("text/html; charset=utf-16", None),
            ("text/html; charset=iso-2022-jp", None),
            ("text/html; charset=unheard-of", Some(Kind::Html)),
            ("text/css;charset=utf-8", Some(Kind::Style)),
            ("application/x-javascript", Some(Kind::Script)),
            ("image/svg+xml", Some(Kind::Svg)),
            ("application/vnd.apple.mpegURL", Some(Kind::Playlist)),
            ("application/json", None),
            ("image/png", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(Kind::of(text), wanted, "{text}");
        }
    }

    #[test]
    fn long_scripts_go_through() {
        let map = Arc::new(address::tests::map(Form::Path, false));
        let target = Target::parse("https://a.kz/x.js").expect("valid");
        for (length, changed) in [(10, true), (module::MAX_TEXT + 1, false)] {
            let text = format!("import '/y.js'{}", " ".repeat(length));
            let (mut rewriter, mut out) = (Rewriter::new(&map, Kind::Script, &target), Vec::new());
            for piece in text.as_bytes().chunks(100_000) {
                rewriter.write(piece, &mut out).expect("writes");
            }
            rewriter.finish(&mut out).expect("ends");
            assert_eq!(out.starts_with(b"import '/m/a.kz/y.js'"), changed);
            assert_eq!(out.len(), text.len() + if changed { 7 } else { 0 });
        }
        fuzz(b"<a href=//a.kz/x>{}url(/x)import '/y'");
    }
}
