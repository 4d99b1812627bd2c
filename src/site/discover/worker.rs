//! What a service worker keeps for the time without a line, which is just what a school wants of a page: workbox' list of addresses
//! with revisions, `cache.addAll([…])`, `importScripts(…)`, and the worker itself where a script registers it.
//!
//! A list is found by its shape (`{url: …, revision: …}`), wherever it stands: as an argument, in a variable, in place of
//! `self.__WB_MANIFEST`.

use crate::site::discover::bundle::texts;
use crate::site::discover::token::{Lexer, Token, row};
use crate::site::discover::{Kind, MAX_FOUND, Raw, kind_of};
use std::collections::{HashMap, HashSet};

/// Deepest nesting of braces in which lists are looked for.
const DEEPEST: usize = 1_000;
/// Most lists of plain texts that are remembered by name.
const LISTS: usize = 1_000;

/// Where a script stands, as far as its addresses depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// In a page: its addresses are the page's.
    Page,
    /// In a file of its own: what it asks a page for is relative to that page, which is not known here.
    File,
}

/// Adds what a script keeps for offline use, or registers.
pub(super) fn scan(text: &str, within: Within, raw: &mut Raw) {
    // Most scripts do nothing of this kind.
    let keeps = ["revision", "addAll", "importScripts", "precache"].iter().any(|word| text.contains(word));
    let registers = text.contains("serviceWorker");
    if !keeps && !registers {
        return;
    }
    let mut lexer = Lexer::new(text);
    let mut last = [Token::Value; 3];
    let (mut rows, mut lists, mut wanted) = (Rows::default(), HashMap::<&str, Vec<&str>>::new(), HashSet::<&str>::new());
    let imports = text.contains("importScripts");
    while let Some(token) = lexer.next() {
        match (last, token) {
            ([_, _, Token::Word("importScripts")], Token::Mark(b'(')) => row(lexer.clone(), |address| raw.need(address, Kind::Script)),
            // `cache.addAll([…])`, or of a list that has a name.
            ([_, Token::Mark(b'.'), Token::Word("addAll")], Token::Mark(b'(')) => {
                texts(lexer.clone(), |address| raw.need(address, kind_of(address)));
                if let Some(Token::Word(name)) = lexer.clone().next() {
                    wanted.insert(name);
                }
            }
            ([_, Token::Word(name), Token::Mark(b'=')], Token::Mark(b'[')) if lists.len() < LISTS => {
                let mut list = Vec::new();
                row(lexer.clone(), |address| list.push(address));
                if !list.is_empty() {
                    lists.insert(name, list);
                }
            }
            // The loader that workbox brings along: `define(["./workbox-1a2b"], …)` in a worker.
            ([_, _, Token::Word("define")], Token::Mark(b'(')) if imports => {
                texts(lexer.clone(), |name| {
                    if name.starts_with('.') {
                        raw.need(if kind_of(name) == Kind::Script { name.to_owned() } else { format!("{name}.js") }, Kind::Script);
                    }
                });
            }
            ([Token::Word("serviceWorker"), Token::Mark(b'.'), Token::Word("register")], Token::Mark(b'(')) => {
                if let Some(Token::Text(address)) = lexer.clone().next()
                    && (within == Within::Page || address.starts_with('/') || address.contains("://"))
                {
                    raw.need(address, Kind::Script);
                }
            }
            _ => {}
        }
        if keeps {
            rows.see(last, token, raw);
        }
        last = [last[1], last[2], token];
    }
    for name in wanted {
        for address in lists.get(name).into_iter().flatten() {
            raw.need(*address, kind_of(address));
        }
    }
}

/// Finds `{url: "x", revision: "y"}`, in any order and with whatever else.
#[derive(Default)]
struct Rows<'a> {
    /// Of every open brace, the address in it and whether there is a revision.
    open: Vec<(Option<&'a str>, bool)>,
    found: usize,
}

impl<'a> Rows<'a> {
    fn see(&mut self, last: [Token<'a>; 3], token: Token<'a>, raw: &mut Raw) {
        match (last, token) {
            (_, Token::Mark(b'{')) if self.open.len() < DEEPEST => self.open.push((None, false)),
            (_, Token::Mark(b'}')) => {
                if let Some((Some(address), true)) = self.open.pop()
                    && self.found < MAX_FOUND
                {
                    self.found += 1;
                    raw.need(address, kind_of(address));
                }
            }
            ([_, Token::Word("url") | Token::Text("url"), Token::Mark(b':')], Token::Text(address)) => {
                if let Some(row) = self.open.last_mut() {
                    row.0 = Some(address);
                }
            }
            ([_, _, Token::Word("revision") | Token::Text("revision")], Token::Mark(b':')) => {
                if let Some(row) = self.open.last_mut() {
                    row.1 = true;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;

    fn found(code: &str, within: Within) -> Vec<String> {
        let mut raw = Raw::default();
        scan(code, within, &mut raw);
        let base = Target::parse("http://a.kz/app/sw.js").expect("valid");
        raw.resolve(&base).needs.into_iter().map(|need| need.target.path_and_query().to_owned()).collect()
    }

    #[test]
    fn what_workers_keep() {
        let table: &[(&str, &[&str])] = &[
            // As workbox writes it into a worker, with its own loader before.
            (
                r#"if(!self.define){const e=(e,s)=>{importScripts(e)}}define(["./workbox-5ffe50d4"],function(e){"use strict";self.skipWaiting(),e.precacheAndRoute([{url:"index.html",revision:"0e5c"},{url:"assets/a-1.js",revision:null}],{}),e.registerRoute(new e.NavigationRoute(e.createHandlerBoundToURL("index.html")))});"#,
                &["/app/workbox-5ffe50d4.js", "/app/index.html", "/app/assets/a-1.js"],
            ),
            // As it stands where `self.__WB_MANIFEST` was, with names in quotes and the revision first.
            (
                r#"const m = [{"revision":"9","url":"/b.css"},{'revision':null,'url':'/c.123.png',integrity:'x'}]||[];precache(m)"#,
                &["/b.css", "/c.123.png"],
            ),
            (
                r#"self.addEventListener("install",e=>{e.waitUntil(caches.open("v1").then(c=>c.addAll(["./","/s.css",'i.svg'])))})"#,
                &["/app/", "/s.css", "/app/i.svg"],
            ),
            (r#"const FILES = ["/x.js","/y.js"]; const other = ["/no.js"]; cache.addAll(FILES)"#, &["/x.js", "/y.js"]),
            (r#"importScripts("./w1.js", '/w2.js'); importScripts(name)"#, &["/app/w1.js", "/w2.js"]),
            // Nothing is registered from a file by an address of an unknown page.
            (r#"navigator.serviceWorker.register("/sw.js",{scope:"/"});navigator.serviceWorker.register("sw2.js")"#, &["/sw.js"]),
            (r#"a={url:"/no",b:{revision:1}};set.addAll(x);c={revision:1};importScripts;addAll(["/no"])"#, &[]),
        ];
        for (code, wanted) in table {
            assert_eq!(&found(code, Within::File), wanted, "{code}");
        }
        assert_eq!(found(r#"navigator.serviceWorker.register("sw2.js")"#, Within::Page), ["/app/sw2.js"]);
        found(&format!("revision{}", "{".repeat(100_000)), Within::File);
    }
}
