//! JavaScript modules: `import … from "x"`, `import "x"`, `export … from "x"`, `import("x")`.
//!
//! A tokenizer, not a parser: it knows comments, strings, templates and (by what stands before) regular expressions, in one pass.
//! Only literal, relative or absolute addresses count; bare names need the page's import map, whose entries the page names itself.

use crate::base::target::Target;
use crate::site::discover::{Found, Kind, MAX_TEXT, Raw};

/// What a script needs.
pub fn read(base: &Target, bytes: &[u8]) -> Found {
    let limit = usize::try_from(MAX_TEXT).unwrap_or(usize::MAX).min(bytes.len());
    let mut raw = Raw::default();
    scan(&String::from_utf8_lossy(&bytes[..limit]), &mut raw);
    raw.resolve(base)
}

/// Where in a statement we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// After `import`.
    Import,
    /// After `import(`.
    Call,
    /// In the list of names after `import` or `export`, before `from`.
    Names,
    /// After `from`.
    From,
    /// After `export`.
    Export,
}

/// Adds what a script names.
pub(super) fn scan(text: &str, raw: &mut Raw) {
    each(text, |import| {
        if is_address(import.address) {
            raw.need(import.address, Kind::Script);
        }
    });
}

/// A module that a script names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Import<'a> {
    /// As it is written, escapes included.
    pub(crate) address: &'a str,
    /// Where it begins, behind its quote.
    pub(crate) at: usize,
    /// By a statement, which only a module can hold, not by a call.
    pub(crate) is_static: bool,
}

/// Tells each literal module name of a script, in order.
pub(crate) fn each<'a>(text: &'a str, mut tell: impl FnMut(Import<'a>)) {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, text_at: 0, value_before: false };
    let mut place = Place::Elsewhere;
    let mut dot = false;
    while let Some(token) = lexer.next() {
        let was_dot = std::mem::replace(&mut dot, token == Token::Mark(b'.'));
        place = match (place, token) {
            (_, Token::Word("import")) if !was_dot => Place::Import,
            (_, Token::Word("export")) if !was_dot => Place::Export,
            (Place::Names, Token::Word("from")) => Place::From,
            (Place::Import | Place::From | Place::Call, Token::Text(address)) => {
                tell(Import { address, at: lexer.text_at, is_static: place != Place::Call });
                Place::Elsewhere
            }
            (Place::Import, Token::Mark(b'(')) => Place::Call,
            // `import a from`, `import a, { b } from`, `export * as c from`.
            (Place::Import | Place::Export, Token::Mark(b'{' | b'*'))
            | (Place::Import, Token::Word(_))
            | (Place::Names, Token::Word(_) | Token::Text(_) | Token::Mark(b',' | b'{' | b'}' | b'*')) => Place::Names,
            _ => Place::Elsewhere,
        };
    }
}

fn is_address(text: &str) -> bool {
    !text.contains('\\') && (text.starts_with(['/', '.']) || text.starts_with("http://") || text.starts_with("https://"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Mark(u8),
    /// A number, a template, a regular expression.
    Value,
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last quoted text begins.
    text_at: usize,
    /// Whether the last token ends a value, so that a slash divides.
    value_before: bool,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let after = self.bytes.get(self.at + 1).copied();
            match (byte, after) {
                (b'/', Some(b'/')) => self.skip_to(b"\n"),
                (b'/', Some(b'*')) => {
                    self.at += 2;
                    self.skip_to(b"*/");
                }
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
        let byte = self.bytes[self.at];
        let token = match byte {
            b'"' | b'\'' => Token::Text(self.quoted(byte)),
            b'`' => {
                self.quoted(byte);
                Token::Value
            }
            b'/' if !self.value_before => {
                self.pattern();
                Token::Value
            }
            _ if is_word(byte) => self.word(),
            _ => {
                self.at += 1;
                Token::Mark(byte)
            }
        };
        self.value_before = match token {
            Token::Word(word) => {
                !matches!(word, "return" | "typeof" | "case" | "in" | "of" | "delete" | "void" | "throw" | "new" | "else" | "do")
            }
            Token::Text(_) | Token::Value => true,
            Token::Mark(mark) => matches!(mark, b')' | b']' | b'}'),
        };
        Some(token)
    }

    fn skip_to(&mut self, end: &[u8]) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.bytes.len(), |found| self.at + found + end.len());
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
        std::str::from_utf8(&self.bytes[start..self.at]).map_or(Token::Value, Token::Word)
    }

    /// The text between two quotes; a template's holes are part of it. A plain string ends with its line.
    fn quoted(&mut self, quote: u8) -> &'a str {
        let start = self.at + 1;
        (self.at, self.text_at) = (start, start);
        while let Some(byte) = self.bytes.get(self.at) {
            match *byte {
                b'\\' => self.at += 2,
                b'\n' if quote != b'`' => break,
                byte if byte == quote => break,
                _ => self.at += 1,
            }
        }
        let end = self.at.min(self.bytes.len());
        self.at = (end + 1).min(self.bytes.len());
        self.bytes.get(start..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn pattern(&mut self) {
        self.at += 1;
        let mut class = false;
        while let Some(byte) = self.bytes.get(self.at) {
            match *byte {
                b'\\' => self.at += 1,
                b'[' => class = true,
                b']' => class = false,
                b'/' if !class => break,
                b'\n' => return,
                _ => {}
            }
            self.at += 1;
        }
        self.at = (self.at + 1).min(self.bytes.len());
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_modules_need() {
        let base = Target::parse("http://a.kz/j/m.js").expect("valid");
        let table: &[(&str, &[&str])] = &[
            ("import './a.js';import b from \"./b.js\";", &["/j/a.js", "/j/b.js"]),
            ("import c, { d as e } from '../c.js'", &["/c.js"]),
            ("import * as f from '/f.js'", &["/f.js"]),
            ("import{g}from'./g.js';export*from'./h.js';export{i as j}from'./i.js'", &["/j/g.js", "/j/h.js", "/j/i.js"]),
            ("const k = await import('./k.js').then(x => x)", &["/j/k.js"]),
            ("import(`./no.js`); import(name); x.import('./no.js'); import vue from 'vue'", &[]),
            ("// import './no.js'\n/* import './no.js' */ 'import \"./no.js\"'", &[]),
            ("export const from = './no.js'; export default './no.js'; export { a }; const b = './no.js'", &[]),
            ("x = /['\"]/.test(y); import './l.js'", &["/j/l.js"]),
            ("a = b / c / d; import './m2.js'", &["/j/m2.js"]),
            ("import.meta.url; new URL('./no.png', import.meta.url)", &[]),
            ("'unclosed\nimport './n.js'", &["/j/n.js"]),
        ];
        for (code, wanted) in table {
            let found: Vec<_> = read(&base, code.as_bytes()).needs.into_iter().map(|need| need.target.path().to_owned()).collect();
            assert_eq!(&found, wanted, "{code}");
        }
    }
}
