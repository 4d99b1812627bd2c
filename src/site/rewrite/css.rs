//! Style sheets: `@import`, `url()`, `src()` and `image-set()`, over the cssparser tokenizer. Everything else stays byte for byte.
//!
//! A sheet is cut where no token and no bracket is open, behind `;`, `{` and `}`, by the bytes alone; so however it arrives, it is
//! cut in the same places and comes out the same. Bytes are read as Latin-1: to the tokenizer every byte above ASCII is a letter of
//! a name, as it would be in UTF-8.

use crate::site::discover::css::nested;
use crate::site::rewrite::address::Map;
use cssparser::{Parser, ParserInput, Token};
use std::ops::Range;
use std::sync::Arc;
use url::Url;

/// Longest piece that is looked into: a declaration with a font of a megabyte in it goes through as it is.
const MAX_PIECE: usize = 1 << 20;

/// Deepest nesting of brackets that is followed; real sheets stay below 10.
const DEEPEST: usize = 24;

/// A style sheet on its way.
#[derive(Debug)]
pub(super) struct Sheet {
    map: Arc<Map>,
    base: Url,
    cutter: Cutter,
    held: Vec<u8>,
    /// The piece at hand is too long and has gone out already.
    passing: bool,
}

impl Sheet {
    pub(super) fn new(map: Arc<Map>, base: Url) -> Sheet {
        Sheet { map, base, cutter: Cutter::default(), held: Vec::new(), passing: false }
    }

    /// Takes bytes of the sheet, gives what is ready.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let cut = self.cutter.step(*byte);
            if cut || self.held.len() + (at + 1 - from) >= MAX_PIECE {
                self.held.extend_from_slice(&bytes[from..=at]);
                from = at + 1;
                self.piece(out);
                self.passing = !cut;
            }
        }
        self.held.extend_from_slice(&bytes[from..]);
    }

    /// The rest.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.piece(out);
        self.passing = false;
        self.cutter = Cutter::default();
    }

    fn piece(&mut self, out: &mut Vec<u8>) {
        let long = self.passing || self.held.len() >= MAX_PIECE;
        if long || !may_hold_address(&self.held) {
            out.append(&mut self.held);
            return;
        }
        match declarations(&self.map, &self.base, &latin(&self.held)) {
            Some(text) => {
                out.extend(text.chars().map(byte));
                self.held.clear();
            }
            None => out.append(&mut self.held),
        }
    }
}

/// Whether anything here could be an address.
fn may_hold_address(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'(' | b'@'))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What is written holds no letter beyond Latin-1: see `quoted`.
fn byte(letter: char) -> u8 {
    u8::try_from(u32::from(letter)).unwrap_or(b'?')
}

/// The text with its addresses changed: a sheet's piece, or the value of a `style` attribute. `None`: nothing changes.
pub(super) fn declarations(map: &Map, base: &Url, text: &str) -> Option<String> {
    let mut input = ParserInput::new(text);
    let mut edits = Edits { map, base, list: Vec::new() };
    block(&mut Parser::new(&mut input), &mut edits, Inside { depth: 0, strings: false });
    let mut list = edits.list;
    if list.is_empty() {
        return None;
    }
    list.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (range, new) in list {
        out.push_str(text.get(at..range.start)?);
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

struct Edits<'m> {
    map: &'m Map,
    base: &'m Url,
    list: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn address(&mut self, range: Range<usize>, address: &str, function: bool) {
        if let Some(new) = self.map.link(self.base, address) {
            let quoted = quoted(&new);
            self.list.push((range, if function { format!("url({quoted})") } else { quoted }));
        }
    }
}

/// A CSS string; what is beyond Latin-1 came from an escape and is percent-encoded, as a browser would send it.
fn quoted(address: &str) -> String {
    let mut plain = String::with_capacity(address.len());
    for letter in address.chars() {
        if u32::from(letter) > 0xff {
            plain.extend(url::form_urlencoded::byte_serialize(letter.encode_utf8(&mut [0; 4]).as_bytes()));
        } else {
            plain.push(letter);
        }
    }
    let mut text = String::with_capacity(plain.len() + 2);
    cssparser::serialize_string(&plain, &mut text).expect("a string grows");
    // Within a style element or attribute as well as in a sheet.
    text.replace("</", "<\\/")
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
    /// Names that look like addresses and are none.
    Namespace,
}

fn block(parser: &mut Parser<'_, '_>, edits: &mut Edits<'_>, inside: Inside) {
    let mut before = Before::Nothing;
    loop {
        parser.skip_whitespace();
        let start = parser.position().byte_index();
        let Ok(token) = parser.next_including_whitespace_and_comments() else { return };
        let token = token.clone();
        let end = parser.position().byte_index();
        match &token {
            Token::AtKeyword(name) if name.eq_ignore_ascii_case("import") => before = Before::Import,
            Token::AtKeyword(name) if name.eq_ignore_ascii_case("namespace") => before = Before::Namespace,
            Token::AtKeyword(_) | Token::Semicolon => before = Before::Nothing,
            Token::UnquotedUrl(address) if before != Before::Namespace => {
                edits.address(start..end, address, true);
                before = Before::Nothing;
            }
            Token::QuotedString(address) if inside.strings || before == Before::Import => {
                edits.address(start..end, address, false);
                before = Before::Nothing;
            }
            Token::Function(name) if name.eq_ignore_ascii_case("url") || name.eq_ignore_ascii_case("src") => {
                let known = before == Before::Namespace;
                nested(parser, |parser| first_string(parser, edits, known));
                before = Before::Nothing;
            }
            Token::Function(_) | Token::CurlyBracketBlock | Token::ParenthesisBlock | Token::SquareBracketBlock => {
                if inside.depth < DEEPEST {
                    let set = matches!(&token, Token::Function(name) if name.to_ascii_lowercase().ends_with("image-set"));
                    let strings = set || (inside.strings && !matches!(&token, Token::Function(_)));
                    nested(parser, |parser| block(parser, edits, Inside { depth: inside.depth + 1, strings }));
                }
                if token == Token::CurlyBracketBlock {
                    before = Before::Nothing;
                }
            }
            _ => {}
        }
    }
}

fn first_string(parser: &mut Parser<'_, '_>, edits: &mut Edits<'_>, leave: bool) {
    parser.skip_whitespace();
    let start = parser.position().byte_index();
    let Ok(Token::QuotedString(address)) = parser.next() else { return };
    let address = address.clone();
    if !leave {
        let end = parser.position().byte_index();
        edits.address(start..end, &address, false);
    }
}

/// Finds the places where a sheet may be cut.
#[derive(Clone, Copy, Debug, Default)]
struct Cutter {
    state: State,
    /// Open `(` and `[`.
    open: u32,
    /// The last letters, for `url(`.
    last: [u8; 4],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// Behind a backslash, and where to go back to.
    Escape(Quiet),
    /// Behind a `/`.
    Slash,
    Comment,
    CommentStar,
    Text(u8),
    /// Behind `url(`, before anything else.
    UrlStart,
    /// Within an unquoted address.
    Url,
}

/// What an escape interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    Plain,
    Text(u8),
    Url,
}

impl Cutter {
    /// Takes a byte; whether the sheet may be cut behind it.
    fn step(&mut self, byte: u8) -> bool {
        match (self.state, byte) {
            (State::Comment | State::CommentStar, b'*') => self.state = State::CommentStar,
            (State::CommentStar, b'/') => self.state = State::Plain,
            (State::Comment | State::CommentStar, _) | (State::Slash, b'*') => self.state = State::Comment,
            (State::Escape(back), _) => {
                self.state = match back {
                    Quiet::Plain => State::Plain,
                    Quiet::Text(quote) => State::Text(quote),
                    Quiet::Url => State::Url,
                };
            }
            (State::Text(quote), b'\\') => self.state = State::Escape(Quiet::Text(quote)),
            (State::Text(quote), byte) if byte == quote || matches!(byte, b'\n' | b'\r' | b'\x0c') => self.state = State::Plain,
            (State::Text(_), _) | (State::UrlStart, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') => {}
            (State::UrlStart, b'"' | b'\'') => self.state = State::Text(byte),
            (State::Url | State::UrlStart, b'\\') => self.state = State::Escape(Quiet::Url),
            (State::Url | State::UrlStart, b')') => {
                self.state = State::Plain;
                self.open = self.open.saturating_sub(1);
            }
            (State::Url | State::UrlStart, _) => self.state = State::Url,
            (State::Plain | State::Slash, byte) => return self.plain(byte),
        }
        false
    }

    fn plain(&mut self, byte: u8) -> bool {
        let [a, b, c, d] = self.last;
        self.last = [b, c, d, byte.to_ascii_lowercase()];
        self.state = State::Plain;
        match byte {
            b'\\' => self.state = State::Escape(Quiet::Plain),
            b'/' => self.state = State::Slash,
            b'"' | b'\'' => self.state = State::Text(byte),
            b'(' | b'[' => {
                self.open += 1;
                let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'\\') || byte >= 0x80;
                if byte == b'(' && [b, c, d] == *b"url" && !named(a) {
                    self.state = State::UrlStart;
                }
            }
            b')' | b']' => self.open = self.open.saturating_sub(1),
            b';' | b'{' | b'}' => return self.open == 0,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::Form;
    use crate::site::rewrite::address::tests::map;
    use proptest::prelude::*;

    fn through(form: Form, pieces: &[&[u8]]) -> Vec<u8> {
        let mut sheet = Sheet::new(Arc::new(map(form, false)), Url::parse("https://a.kz/s/x.css").expect("valid"));
        let mut out = Vec::new();
        for piece in pieces {
            sheet.write(piece, &mut out);
        }
        sheet.finish(&mut out);
        out
    }

    const A: &str = "http://a-kz.m.s.internal:8082";

    #[test]
    fn addresses_of_sheets() {
        // by names, by path
        let table = [
            ("a{b:url(x.png)}", "", ""),
            ("a{b:url(/x.png)}", "", "a{b:url(\"/m/a.kz/x.png\")}"),
            ("a{b:url( 'https://a.kz/x.png' )}", "a{b:url( \"{A}/x.png\" )}", "a{b:url( \"/m/a.kz/x.png\" )}"),
            ("a{b:URL(//a.kz/x\\)y)}", "a{b:url(\"{A}/x)y\")}", "a{b:url(\"/m/a.kz/x)y\")}"),
            ("@import 'https://a.kz/b.css' screen;", "@import \"{A}/b.css\" screen;", "@import \"/m/a.kz/b.css\" screen;"),
            ("@import url(//a.kz/b.css);a{}", "@import url(\"{A}/b.css\");a{}", "@import url(\"/m/a.kz/b.css\");a{}"),
            ("@namespace url(https://a.kz/ns);", "", ""),
            ("@namespace svg 'https://a.kz/ns';", "", ""),
            ("a{content:'https://a.kz/'}/* url(https://a.kz/) */", "", ""),
            (
                "a{b:image-set('//a.kz/1.png' 1x, url(//a.kz/2.png) 2x)}",
                "a{b:image-set(\"{A}/1.png\" 1x, url(\"{A}/2.png\") 2x)}",
                "a{b:image-set(\"/m/a.kz/1.png\" 1x, url(\"/m/a.kz/2.png\") 2x)}",
            ),
            (
                "a{b:image-set('//a.kz/1.png' type('//a.kz/x'))}",
                "a{b:image-set(\"{A}/1.png\" type('//a.kz/x'))}",
                "a{b:image-set(\"/m/a.kz/1.png\" type('//a.kz/x'))}",
            ),
            (
                "@media x{@supports(a:b){p{q:url(//a.kz/r)}}}",
                "@media x{@supports(a:b){p{q:url(\"{A}/r\")}}}",
                "@media x{@supports(a:b){p{q:url(\"/m/a.kz/r\")}}}",
            ),
            (
                "a{b:url(data:image/png;base64,AA==);c:url(//a.kz/x)}",
                "a{b:url(data:image/png;base64,AA==);c:url(\"{A}/x\")}",
                "a{b:url(data:image/png;base64,AA==);c:url(\"/m/a.kz/x\")}",
            ),
            ("a{b:u\\72l(//a.kz/x)}", "a{b:url(\"{A}/x\")}", "a{b:url(\"/m/a.kz/x\")}"),
            (
                "@font-face{src:url(//a.kz/f.woff2) format('woff2'),url(g.woff)}",
                "@font-face{src:url(\"{A}/f.woff2\") format('woff2'),url(g.woff)}",
                "@font-face{src:url(\"/m/a.kz/f.woff2\") format('woff2'),url(g.woff)}",
            ),
            ("a{--x:url(//a.kz/x)}", "a{--x:url(\"{A}/x\")}", "a{--x:url(\"/m/a.kz/x\")}"),
            ("a{b:url(//other.kz/x)}", "", ""),
            ("a{b:url(//a.kz/\u{e9}\\444 )}", "a{b:url(\"{A}/\u{e9}%D1%84\")}", "a{b:url(\"/m/a.kz/\u{e9}%D1%84\")}"),
            ("a{b:url(", "", ""),
            ("}}a{b:url(//a.kz/x", "}}a{b:url(\"{A}/x\")", "}}a{b:url(\"/m/a.kz/x\")"),
            ("a{b:url(//a.kz/<\\/style>)}", "a{b:url(\"{A}/<\\/style>\")}", "a{b:url(\"/m/a.kz/<\\/style>\")}"),
        ];
        for (css, by_names, by_path) in table {
            let wanted = |text: &str| if text.is_empty() { css.to_owned() } else { text.replace("{A}", A) };
            for (form, text) in [(Form::Names, by_names), (Form::Path, by_path)] {
                let out = String::from_utf8(through(form, &[css.as_bytes()])).expect("as it came");
                assert_eq!(out, wanted(text), "{css}");
            }
        }
    }

    #[test]
    fn a_sheet_comes_out_the_same_however_it_is_cut() {
        let sheet = "@charset \"utf-8\";@import url( //a.kz/b.css );/* ; } ' */a{b:url(//a.kz/x;y/*z),url(\"//a.kz/;\\\"}\");c:'}'}\
                     @media (x:y;z){p[q=\"}\"]{r:image-set('//a.kz/1.png' 1x)}}\u{e9}\\;{s:url(/t)}";
        for form in [Form::Names, Form::Path] {
            let whole = through(form, &[sheet.as_bytes()]);
            assert_eq!(whole.windows(4).filter(|part| part == b"a.kz").count(), if form == Form::Path { 5 } else { 0 });
            let single: Vec<&[u8]> = sheet.as_bytes().chunks(1).collect();
            assert_eq!(through(form, &single), whole);
            for at in 0..sheet.len() {
                let (one, two) = sheet.as_bytes().split_at(at);
                assert_eq!(through(form, &[one, two]), whole, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_piece_without_end_goes_through_and_the_next_is_read_again() {
        let long = format!("a{{b:url(data:{});c:url(//a.kz/x)}}", "A".repeat(2 * MAX_PIECE));
        let out = through(Form::Path, &[long.as_bytes()]);
        assert!(out.ends_with(b"AAA);c:url(\"/m/a.kz/x\")}"), "{}", out.len());
        let chunks: Vec<&[u8]> = long.as_bytes().chunks(70_001).collect();
        assert!(through(Form::Path, &chunks) == out);
        let deep = "(".repeat(300_000) + "url(//a.kz/x)";
        assert!(through(Form::Path, &[deep.as_bytes()]).ends_with(b"url(//a.kz/x)"));
    }

    proptest! {
        #[test]
        fn any_bytes_however_cut(text in "[a(){};:'\"/*\\\\ \n@urlimpot.kz-]{0,80}", at in 0usize..80) {
            let at = at.min(text.len());
            let whole = through(Form::Path, &[text.as_bytes()]);
            prop_assert_eq!(through(Form::Path, &[&text.as_bytes()[..at], &text.as_bytes()[at..]]), whole);
        }

        #[test]
        fn what_holds_no_mirrored_address_stays(bytes: Vec<u8>) {
            prop_assert_eq!(through(Form::Names, &[&bytes]), bytes);
        }
    }
}
