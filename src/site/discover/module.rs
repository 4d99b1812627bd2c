//! JavaScript modules: `import … from "x"`, `import "x"`, `export … from "x"`, `import("x")`.
//!
//! Only literal, relative or absolute addresses count; bare names need the page's import map, whose entries the page names itself.

use crate::site::discover::token::{Lexer, Token};
use crate::site::discover::{DEFERRED, Kind, MAYBE, Raw};

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
            raw.need_at(import.address, Kind::Script, if import.is_static { DEFERRED } else { MAYBE });
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
    let mut lexer = Lexer::new(text);
    let mut place = Place::Elsewhere;
    let mut dot = false;
    while let Some(token) = lexer.next() {
        let was_dot = std::mem::replace(&mut dot, token == Token::Mark(b'.'));
        place = match (place, token) {
            (_, Token::Word("import")) if !was_dot => Place::Import,
            (_, Token::Word("export")) if !was_dot => Place::Export,
            (Place::Names, Token::Word("from")) => Place::From,
            (Place::Import | Place::From | Place::Call, Token::Text(address)) => {
                tell(Import { address, at: lexer.text_at(), is_static: place != Place::Call });
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

/// Tells the bare names of a script, which the page's import map leads on (`vue`, `three/addons/x.js`).
pub(super) fn bare<'a>(text: &'a str, mut tell: impl FnMut(&'a str)) {
    each(text, |import| {
        if !is_address(import.address) && !import.address.contains(['\\', ':']) {
            tell(import.address);
        }
    });
}

fn is_address(text: &str) -> bool {
    !text.contains('\\') && (text.starts_with(['/', '.']) || text.starts_with("http://") || text.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;

    #[test]
    fn what_modules_need() {
        let base = Target::parse("http://a.kz/j/m.js").expect("valid");
        let read = |code: &str| {
            let mut raw = Raw::default();
            scan(code, &mut raw);
            raw.resolve(&base)
        };
        let table: &[(&str, &[&str])] = &[
            ("import './a.js';import b from \"./b.js\";", &["/j/a.js", "/j/b.js"]),
            ("import c, { d as e } from '../c.js'", &["/c.js"]),
            ("import * as f from '/f.js'", &["/f.js"]),
            ("import{g}from'./g.js';export*from'./h.js';export{i as j}from'./i.js'", &["/j/g.js", "/j/h.js", "/j/i.js"]),
            ("const k = await import('./k.js').then(x => x)", &["/j/k.js"]),
            ("import(`./t.js`); import(`./no${a}.js`); import(name); x.import('./no.js'); import vue from 'vue'", &["/j/t.js"]),
            ("`${b?import('./o.js'):`${c}`}`;if(d)/'/.test(e),import('./p.js')", &["/j/o.js", "/j/p.js"]),
            ("// import './no.js'\n/* import './no.js' */ 'import \"./no.js\"'", &[]),
            ("export const from = './no.js'; export default './no.js'; export { a }; const b = './no.js'", &[]),
            ("x = /['\"]/.test(y); import './l.js'", &["/j/l.js"]),
            ("a = b / c / d; import './m2.js'", &["/j/m2.js"]),
            ("import.meta.url; new URL('./no.png', import.meta.url)", &[]),
            ("'unclosed\nimport './n.js'", &["/j/n.js"]),
        ];
        for (code, wanted) in table {
            let found: Vec<_> = read(code).needs.into_iter().map(|need| need.target.path().to_owned()).collect();
            assert_eq!(&found, wanted, "{code}");
        }
    }
}
