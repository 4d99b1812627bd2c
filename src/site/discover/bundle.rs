//! What bundlers write instead of imports: the chunk names of webpack's runtime, the lists of vite's preloader, the address of a
//! file beside a module (`new URL("x", import.meta.url)`), files with a hash in their names.
//!
//! Nothing is run. A chunk's name is a sum of texts, the chunk's id and tables of literals, and that much is worked out for every id
//! that the tables name. What is written in another way names nothing to us.

use crate::base::target::Target;
use crate::site::discover::bundle::sum::Sum;
use crate::site::discover::token::{Lexer, Token, row};
use crate::site::discover::{Kind, MAX_ADDRESS, MAX_FOUND, Raw, kind_of};

/// Sums of texts and tables.
mod sum;

/// Adds what a bundle names beside its imports; `at` is where the script lies.
pub(super) fn scan(at: &Target, text: &str, raw: &mut Raw) {
    let mut found = Chunks::default();
    let mut lexer = Lexer::new(text);
    let mut last = [Token::Value; 3];
    // Once: in a script of four megabytes there are a million places to ask at.
    let is_vite = text.contains("__vite__mapDeps");
    while let Some(token) = lexer.next() {
        match (last, token) {
            ([_, _, Token::Word("new")], Token::Word("URL")) => beside_module(lexer.clone(), raw),
            ([_, Token::Mark(b'.'), Token::Word("u")], Token::Mark(b'=')) => found.chunks(Sum::of_function(lexer.clone()), None),
            ([_, Token::Mark(b'.'), Token::Word("miniCssF")], Token::Mark(b'=')) => {
                found.chunks(Sum::of_function(lexer.clone()), Some(Kind::Style));
            }
            // The place of all chunks, as the last of its texts says.
            ([_, Token::Mark(b'.'), Token::Word("p")], Token::Mark(b'=')) => found.place(lexer.clone()),
            // A file, or in webpack 4 the chunks: `n.p + "static/" + …`.
            ([_, Token::Mark(b'.'), Token::Word("p")], Token::Mark(b'+')) => found.chunks(Sum::of(lexer.clone()), None),
            // `n.e(17)`: a chunk of which no table may tell.
            ([_, Token::Mark(b'.'), Token::Word("e")], Token::Mark(b'(')) => found.asked(lexer.clone()),
            // `m.f = ["assets/a.js", …]`: what vite loads ahead of a dynamic import.
            ([_, Token::Mark(b'.'), Token::Word("f")], Token::Mark(b'=')) if is_vite => {
                texts(lexer.clone(), |dep| raw.need(anchored(at, dep, "/"), kind_of(dep)));
            }
            (_, Token::Text(name)) if is_hashed(name) => raw.need(name, kind_of(name)),
            _ => {}
        }
        last = [last[1], last[2], token];
    }
    found.tell(at, raw);
}

/// `new URL("x", import.meta.url)`, from behind `URL`.
fn beside_module(mut lexer: Lexer<'_>, raw: &mut Raw) {
    let (Some(Token::Mark(b'(')), Some(Token::Text(address)), Some(Token::Mark(b','))) = (lexer.next(), lexer.next(), lexer.next()) else {
        return;
    };
    let rest = [Token::Word("import"), Token::Mark(b'.'), Token::Word("meta"), Token::Mark(b'.'), Token::Word("url")];
    if rest.into_iter().all(|token| lexer.next() == Some(token)) && !address.contains('\\') && has_ending(address) {
        raw.need(address, kind_of(address));
    }
}

/// Tells the texts of a list, from before its bracket; ends at whatever is no text.
pub(super) fn texts<'a>(mut lexer: Lexer<'a>, tell: impl FnMut(&'a str)) {
    if lexer.next() == Some(Token::Mark(b'[')) {
        row(lexer, tell);
    }
}

/// What a webpack runtime says.
#[derive(Default)]
struct Chunks<'a> {
    sums: Vec<(Sum<'a>, Option<Kind>)>,
    asked: Vec<String>,
    place: Option<&'a str>,
}

/// Most sums of one script: a runtime has two, and each file that a script names by `n.p + "x"` is one.
const SUMS: usize = 2_000;
/// Most chunks that are asked for by number.
const ASKED: usize = 2_000;

impl<'a> Chunks<'a> {
    fn chunks(&mut self, sum: Option<Sum<'a>>, kind: Option<Kind>) {
        if let Some(sum) = sum.filter(|_| self.sums.len() < SUMS) {
            self.sums.push((sum, kind));
        }
    }

    fn place(&mut self, mut lexer: Lexer<'a>) {
        if let (Some(Token::Text(place)), None) = (lexer.next(), self.place)
            && place.ends_with('/')
            && place.len() <= MAX_ADDRESS
        {
            self.place = Some(place);
        }
    }

    fn asked(&mut self, mut lexer: Lexer<'a>) {
        if let (Some(Token::Word(id) | Token::Text(id)), Some(Token::Mark(b')'))) = (lexer.next(), lexer.next())
            && self.asked.len() < ASKED
        {
            self.asked.extend(sum::id(id));
        }
    }

    fn tell(self, at: &Target, raw: &mut Raw) {
        let folder = at.path().rfind('/').map_or("/", |end| &at.path()[..=end]);
        let mut room = MAX_FOUND;
        for (sum, kind) in &self.sums {
            if room == 0 {
                return;
            }
            sum.each(&self.asked, |name| {
                room = room.saturating_sub(1);
                if room > 0 && has_ending(name) && !name.contains(['\\', ' ', '{']) {
                    let address = match self.place {
                        Some(place) if !name.starts_with('/') => format!("{place}{name}"),
                        _ => anchored(at, name, folder),
                    };
                    raw.need(address, kind.unwrap_or_else(|| kind_of(name)));
                }
            });
        }
    }
}

/// The address of a file that a bundle names from its own root (`assets/a.js`), which no script says: it is above the folder that
/// the script and the file have in common, or else at `otherwise`.
fn anchored(at: &Target, name: &str, otherwise: &str) -> String {
    if name.starts_with(['/', '.']) || name.contains("://") {
        return name.to_owned();
    }
    let first = name.split_inclusive('/').next().filter(|first| first.ends_with('/')).unwrap_or(name);
    let shared = at.path().match_indices(first).filter(|(place, _)| *place > 0 && at.path().as_bytes()[place - 1] == b'/').last();
    match shared.filter(|_| first.len() < name.len()) {
        Some((place, _)) => format!("{}{name}", &at.path()[..place]),
        None => format!("{otherwise}{name}"),
    }
}

/// Whether an address ends like a file.
fn has_ending(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.is_empty() && (2..=11).contains(&end.len()) && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Whether a text is the rooted address of a file with a hash in its name: nobody writes such a thing for another purpose.
fn is_hashed(text: &str) -> bool {
    // Hashes are never longer, nor are bundlers' names.
    if !text.starts_with('/') || text.starts_with("//") || text.len() > 256 || matches!(kind_of(text), Kind::Other | Kind::Frame) {
        return false;
    }
    let odd = |byte: u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b'@' | b'%'));
    if text.bytes().any(odd) {
        return false;
    }
    let name = text.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let hash = stem.rsplit(['.', '-', '~']).next().unwrap_or_default();
    let (digits, letters) = (hash.bytes().any(|byte| byte.is_ascii_digit()), hash.bytes().any(|byte| byte.is_ascii_alphabetic()));
    hash.len() < stem.len() && (8..=64).contains(&hash.len()) && digits && letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str, code: &str) -> Vec<(String, Kind)> {
        let at = Target::parse(url).expect("valid");
        let mut raw = Raw::default();
        scan(&at, code, &mut raw);
        raw.resolve(&at).needs.into_iter().map(|need| (need.target.path_and_query().to_owned(), need.kind)).collect()
    }

    #[test]
    fn what_bundles_name() {
        let main = "http://a.kz/app/static/js/main.js";
        let vite = "http://a.kz/app/assets/index-B1x.js";
        let table: &[(&str, &str, &[&str])] = &[
            // webpack 5, with names and hashes, at a place of its own.
            (
                main,
                r#"r.u=e=>"static/js/"+({7:"map"}[e]||e)+"."+{7:"aa11",1e3:"bb22"}[e]+".chunk.js",r.miniCssF=e=>"static/css/"+e+"."+{7:"cc"}[e]+".css";r.p="/z/""#,
                &["/z/static/js/map.aa11.chunk.js", "/z/static/js/1000.bb22.chunk.js", "/z/static/css/7.cc.css"],
            ),
            // The same, at whatever place the script is.
            (main, r#"(()=>{r.u=function(e){return"static/js/"+e+"."+{3:"ab"}[e]+".js"};r.p=t+"../"})()"#, &["/app/static/js/3.ab.js"]),
            (
                "http://a.kz/r/ruffle.js",
                r#"n.u=e=>"core."+{159:"be6f",340:"2ad5"}[e]+".js",n.p=e"#,
                &["/r/core.be6f.js", "/r/core.2ad5.js"],
            ),
            // A few chunks with other names.
            (main, r#"r.u=e=>5===e?"five.js":(7===e?"map":e)+"."+{7:"x",8:"y"}[e]+".js";r.p="/""#, &["/five.js", "/map.x.js", "/8.y.js"]),
            // next.js puts a table into parentheses of its own.
            (
                main,
                r#"r.u=e=>"static/"+(({1:"one"})[e]||e)+"-"+({1:"h1",2:"h2"})[e]+".js";r.p="/_n/""#,
                &["/_n/static/one-h1.js", "/_n/static/2-h2.js"],
            ),
            // No table: what is asked for by number.
            (main, r#"r.u=e=>e+".js";r.p="/c/";r.e(17).then(r.bind(r,4));r.e("vendor")"#, &["/c/17.js", "/c/vendor.js"]),
            // webpack 4, and files.
            (
                main,
                r#"function s(e){return c.p+"js/"+({}[e]||e)+"."+{2:"z"}[e]+".js"}c.p="/q/";e.exports=n.p+"media/a.1.svg""#,
                &["/q/js/2.z.js", "/q/media/a.1.svg"],
            ),
            // vite.
            (
                vite,
                r#"const __vite__mapDeps=(i,m=__vite__mapDeps,d=(m.f||(m.f=["assets/a-1.js","assets/b-2.css"])))=>i.map(i=>d[i]);"#,
                &["/app/assets/a-1.js", "/app/assets/b-2.css"],
            ),
            (vite, r#"__vite__mapDeps=(i,m,d=(m.f||(m.f=["./a-1.js","other/c.js"])))"#, &["/app/assets/a-1.js", "/other/c.js"]),
            (
                vite,
                r#"new URL("w.wasm",import.meta.url),new URL('/x.png?a', import.meta.url), new URL("n", import.meta.url), new URL("o.js", b)"#,
                &["/app/assets/w.wasm", "/x.png?a"],
            ),
            // rooted names with a hash, and such as are none.
            (
                vite,
                r#"a="/assets/logo-BkYt7d2h.svg",b="/logo.svg",c="/a-b.js",d="/assets/x-abcdefghij.png",e="//h/x-12ab34cd.js",f="/t ${1}-12ab34cd.js""#,
                &["/assets/logo-BkYt7d2h.svg"],
            ),
            // What only looks alike.
            (main, r#"a.u=b;a.u=function(x){return x.y};a.u="x";a.e(b);m.f=["x.js"];n.p+"no ending";n.p+1;r.u=e=>{for(;;);}"#, &[]),
        ];
        for (url, code, wanted) in table {
            let found: Vec<_> = found(url, code).into_iter().map(|(path, _)| path).collect();
            assert_eq!(&found, wanted, "{code}");
        }
        assert_eq!(found(main, r#"r.miniCssF=e=>e+"."+{1:"a"}[e]+".x1";r.p="/""#), [("/1.a.x1".to_owned(), Kind::Style)]);
    }

    #[test]
    fn what_a_script_names_is_bounded() {
        let table = (0..20_000).map(|id| format!("{id}:\"h{id}\",")).collect::<Vec<_>>().concat();
        let code = format!("r.u=e=>e+\".\"+{{{table}}}[e]+\".js\"");
        assert_eq!(found("http://a.kz/m.js", &code).len(), MAX_FOUND - 1);
        found("http://a.kz/m.js", &format!("r.u=e=>{}", "(".repeat(100_000)));
        found("http://a.kz/m.js", &"r.u=e=>e+".repeat(50_000));
        // Nor do few letters make many: a long text before each of five thousand ids.
        let table = (0..5_000).map(|id| format!("{id}:\"\",")).collect::<Vec<_>>().concat();
        let mut raw = Raw::default();
        scan(
            &Target::parse("http://a.kz/").expect("valid"),
            &format!("r.u=e=>\"{}\"+{{{table}}}[e]+\".js\"", "a".repeat(400_000)),
            &mut raw,
        );
        assert!(raw.needs.is_empty(), "{}", raw.needs.len());
    }
}
