//! Style sheets: `@import`, `url()`, `image-set()` and fonts, over the cssparser tokenizer.
//!
//! Of the sources of a font one is taken (woff2 before anything else), and none when its `unicode-range` holds neither Latin nor
//! Cyrillic.

use crate::site::discover::{Found, Kind, MAYBE, Raw, Reading, STYLE};
use cssparser::{Parser, ParserInput, Token, UnicodeRange};

/// Deepest nesting of blocks that is followed; real style sheets stay below 10.
const DEEPEST: usize = 24;

/// What a style sheet needs.
pub(super) fn read(body: Reading<'_>) -> Found {
    let mut raw = Raw::new(body.soon);
    scan(&body.text(), &mut raw);
    raw.resolve(body.base)
}

/// Adds what a style sheet, or the value of a `style` attribute, names.
pub(super) fn scan(text: &str, raw: &mut Raw) {
    let mut input = ParserInput::new(text);
    block(&mut Parser::new(&mut input), raw, Inside { depth: 0, strings: false });
}

#[derive(Clone, Copy)]
struct Inside {
    depth: usize,
    /// Bare strings are addresses here (`image-set`).
    strings: bool,
}

/// What stood before the token at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Import,
    FontFace,
}

fn block(parser: &mut Parser<'_, '_>, raw: &mut Raw, inside: Inside) {
    let mut before = Before::Nothing;
    // One picture of an image-set is enough.
    let mut taken = false;
    while let Ok(token) = parser.next() {
        let token = token.clone();
        let kind = if before == Before::Import { Kind::Style } else { Kind::Image };
        match &token {
            Token::AtKeyword(name) if name.eq_ignore_ascii_case("import") => before = Before::Import,
            Token::AtKeyword(name) if name.eq_ignore_ascii_case("font-face") => before = Before::FontFace,
            Token::AtKeyword(_) | Token::Semicolon => before = Before::Nothing,
            Token::UnquotedUrl(address) if !(inside.strings && taken) => {
                add(raw, address, kind);
                taken = true;
                before = Before::Nothing;
            }
            Token::QuotedString(address) if (inside.strings && !taken) || before == Before::Import => {
                add(raw, address, kind);
                taken = true;
                before = Before::Nothing;
            }
            Token::Function(name) if name.eq_ignore_ascii_case("url") || name.eq_ignore_ascii_case("src") => {
                let address = first_string(parser);
                if let Some(address) = address.filter(|_| !(inside.strings && taken)) {
                    add(raw, &address, kind);
                    taken = true;
                }
                before = Before::Nothing;
            }
            Token::CurlyBracketBlock if before == Before::FontFace => {
                nested(parser, |parser| font_face(parser, raw));
                before = Before::Nothing;
            }
            Token::Function(_) | Token::CurlyBracketBlock | Token::ParenthesisBlock | Token::SquareBracketBlock => {
                if inside.depth < DEEPEST {
                    let set = matches!(&token, Token::Function(name) if name.to_ascii_lowercase().ends_with("image-set"));
                    let strings = set || (inside.strings && !matches!(&token, Token::Function(_)));
                    nested(parser, |parser| block(parser, raw, Inside { depth: inside.depth + 1, strings }));
                }
                if token == Token::CurlyBracketBlock {
                    before = Before::Nothing;
                }
            }
            _ => {}
        }
    }
}

/// Runs `read` over the block that the parser stands before; what it leaves unread is skipped.
pub(in crate::site) fn nested<'i>(parser: &mut Parser<'i, '_>, mut read: impl FnMut(&mut Parser<'i, '_>)) {
    let done: Result<(), cssparser::ParseError<'i, ()>> = parser.parse_nested_block(|parser| {
        read(parser);
        Ok(())
    });
    // Only our own closure could fail, and it does not; damage inside ends the block.
    done.ok();
}

fn first_string(parser: &mut Parser<'_, '_>) -> Option<String> {
    let mut found = None;
    nested(parser, |parser| {
        if let Ok(Token::QuotedString(text)) = parser.next() {
            found = Some(text.to_string());
        }
    });
    found
}

fn add(raw: &mut Raw, address: &str, kind: Kind) {
    if !address.starts_with("data:") {
        // A picture or font is wanted where something on the page has that style.
        raw.need_at(address, kind, if kind == Kind::Style { STYLE } else { MAYBE });
    }
}

/// One source of a font, if it is for us.
fn font_face(parser: &mut Parser<'_, '_>, raw: &mut Raw) {
    let mut sources: Vec<(String, bool)> = Vec::new();
    let mut wanted = true;
    while let Ok(token) = parser.next() {
        match token.clone() {
            Token::Ident(name) if name.eq_ignore_ascii_case("unicode-range") => wanted = in_range(parser),
            Token::UnquotedUrl(address) => sources.push((address.to_string(), is_woff2(&address))),
            Token::Function(name) if name.eq_ignore_ascii_case("url") => {
                if let Some(address) = first_string(parser) {
                    let woff2 = is_woff2(&address);
                    sources.push((address, woff2));
                }
            }
            Token::Function(name) if name.eq_ignore_ascii_case("format") => {
                let mut woff2 = false;
                nested(parser, |parser| {
                    woff2 = matches!(parser.next(), Ok(Token::QuotedString(text) | Token::Ident(text)) if text.to_ascii_lowercase().starts_with("woff2"));
                });
                if let Some(last) = sources.last_mut() {
                    last.1 |= woff2;
                }
            }
            _ => {}
        }
    }
    let best = sources.iter().find(|(_, woff2)| *woff2).or(sources.first());
    if let Some((address, _)) = best.filter(|_| wanted) {
        add(raw, address, Kind::Font);
    }
}

fn is_woff2(address: &str) -> bool {
    address.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().ends_with(".woff2")
}

/// Whether a list of ranges holds Latin (0041-024F) or Cyrillic (0400-052F). Unreadable: yes, in doubt for the page.
fn in_range(parser: &mut Parser<'_, '_>) -> bool {
    if parser.expect_colon().is_err() {
        return true;
    }
    loop {
        match parser.try_parse(UnicodeRange::parse) {
            Ok(range) if (range.start <= 0x024f && range.end >= 0x41) || (range.start <= 0x052f && range.end >= 0x0400) => return true,
            Ok(_) => {}
            Err(_) => return true,
        }
        if parser.try_parse(Parser::expect_comma).is_err() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;

    fn read(base: &Target, bytes: &[u8]) -> Found {
        super::read(Reading { base, bytes, soon: false })
    }

    #[test]
    fn what_style_sheets_need() {
        let base = Target::parse("http://a.kz/s/x.css").expect("valid");
        let table: &[(&str, &[(&str, Kind)])] = &[
            ("@import 'b.css'; @import url(c.css) screen;", &[("/s/b.css", Kind::Style), ("/s/c.css", Kind::Style)]),
            ("@import url(\"d.css\");a{b:url( 'e.png' )}", &[("/s/d.css", Kind::Style), ("/s/e.png", Kind::Image)]),
            ("a{content:'no.png'} /* url(no.png) */ b{c:url(data:x)}", &[]),
            ("@media print{@supports(a:b){p{q:url(r.png)}}}", &[("/s/r.png", Kind::Image)]),
            ("a{b:image-set('x1.png' 1x, 'x2.png' 2x)}", &[("/s/x1.png", Kind::Image)]),
            ("a{b:-webkit-image-set(url(x1.png) 1x, url(x2.png) 2x)}", &[("/s/x1.png", Kind::Image)]),
            (
                "@font-face{font-family:F;src:url(f.woff) format('woff'),url(f.bin) format('woff2');unicode-range:U+0400-045F,U+4??}",
                &[("/s/f.bin", Kind::Font)],
            ),
            ("@font-face{src:url(g.woff2);unicode-range:U+4E00-9FFF}", &[]),
            ("@font-face{src:url(only.ttf)} a{b:url(c.png)}", &[("/s/only.ttf", Kind::Font), ("/s/c.png", Kind::Image)]),
            ("a{b:url(", &[]),
            ("a{b:c}}}} d{e:url(f.png)}", &[("/s/f.png", Kind::Image)]),
        ];
        for (css, wanted) in table {
            let found: Vec<_> =
                read(&base, css.as_bytes()).needs.into_iter().map(|need| (need.target.path().to_owned(), need.kind)).collect();
            let wanted: Vec<_> = wanted.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect();
            assert_eq!(found, wanted, "{css}");
        }
    }
}
