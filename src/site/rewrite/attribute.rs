//! Values of attributes that hold addresses: one, a set of candidates, a refresh. They come as they are written, character
//! references and all, and go out so that whatever was not changed is still written the same way.

use crate::site::discover::html::unescape;
use crate::site::rewrite::address::{Change, Map};
use encoding_rs::WINDOWS_1252;
use url::Url;

/// Longest value that is looked at: a `srcset` of real sites has some kilobytes.
const MAX_VALUE: usize = 256 << 10;

/// One address.
pub(super) fn address(map: &Map, base: &Url, raw: &str) -> Option<String> {
    if raw.is_ascii() && !raw.contains('&') {
        return map.link(base, raw);
    }
    let truth = read(raw);
    let plain = unescape(truth.as_deref().unwrap_or(raw));
    match map.change(base, &plain)? {
        // The changed beginning holds no reference: what follows can stay as written.
        Change::Begin(until, begin) if raw.get(..until).is_some_and(|start| Some(start) == plain.get(..until) && !start.contains('&')) => {
            Some(begin + raw.get(until..)?)
        }
        // Written out it would be read in an encoding that we do not know.
        _ if truth.is_none() => None,
        change => Some(write(&escape(&change.apply(&plain)))),
    }
}

/// Pages are read byte by byte as windows-1252, in which every byte is a letter; what it says in UTF-8, if that is what it is.
pub(super) fn read(raw: &str) -> Option<String> {
    let (bytes, _, unmappable) = WINDOWS_1252.encode(raw);
    if unmappable { None } else { String::from_utf8(bytes.into_owned()).ok() }
}

/// The other way.
pub(super) fn write(text: &str) -> String {
    WINDOWS_1252.decode_without_bom_handling(text.as_bytes()).0.into_owned()
}

/// As the text of an attribute; quotes are the writer's matter.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
}

/// The candidates of a `srcset` (HTML Living Standard section 4.8.4.2).
pub(super) fn candidates(map: &Map, base: &Url, raw: &str) -> Option<String> {
    if raw.len() > MAX_VALUE {
        return None;
    }
    let mut out = String::with_capacity(raw.len() + 64);
    let (mut rest, mut changed) = (raw, false);
    while !rest.is_empty() {
        let start = rest.find(|letter: char| !letter.is_ascii_whitespace() && letter != ',').unwrap_or(rest.len());
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(rest.len());
        let bare = rest[..end].trim_end_matches(',');
        match address(map, base, bare) {
            Some(new) => {
                changed = true;
                out.push_str(&new);
            }
            None => out.push_str(bare),
        }
        let commas = end - bare.len();
        rest = &rest[bare.len()..];
        // Descriptors up to the next comma, which may stand within brackets.
        let after = if commas > 0 { commas } else { descriptors(rest) };
        out.push_str(&rest[..after]);
        rest = &rest[after..];
    }
    changed.then_some(out)
}

fn descriptors(text: &str) -> usize {
    let mut open = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => open = true,
            ')' => open = false,
            ',' if !open => return at,
            _ => {}
        }
    }
    text.len()
}

/// `5; url=x` of a Refresh field or `<meta http-equiv=refresh>`.
pub(super) fn refresh(map: &Map, base: &Url, raw: &str) -> Option<String> {
    let lower = raw.to_ascii_lowercase();
    let at = lower.find([';', ',']).map(|at| at + 1)?;
    let name = at + lower[at..].find(|letter: char| !letter.is_ascii_whitespace())?;
    let start = match lower[name..].strip_prefix("url").map(|rest| rest.trim_start().strip_prefix('=')) {
        Some(Some(rest)) => raw.len() - rest.trim_start().len(),
        _ => name,
    };
    let quote = raw[start..].chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let start = start + quote.map_or(0, char::len_utf8);
    let end = quote.and_then(|quote| raw[start..].find(quote)).map_or(raw.len(), |end| start + end);
    let new = address(map, base, &raw[start..end])?;
    Some(format!("{}{new}{}", &raw[..start], &raw[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::Form;
    use crate::site::rewrite::address::tests::map;

    type Read = fn(&Map, &Url, &str) -> Option<String>;

    #[test]
    fn values_of_attributes() {
        let base = Url::parse("https://a.kz/d/").expect("valid");
        let path = map(Form::Path, false);
        let byte_by_byte = write;
        let table: &[(Read, &str, &str)] = &[
            (address, "/x?a=1&b=2&amp;c", "/m/a.kz/x?a=1&b=2&amp;c"),
            (address, "&#104;ttps:&#x2f;/b.cdn.kz/x?a&amp;b", "/m/b.cdn.kz/x?a&amp;b"),
            (address, "/..&#47;x?a&b", "/m/a.kz/x?a&amp;b"),
            (address, "x?a&b", ""),
            (address, "&", ""),
            (address, &byte_by_byte("/\u{434}?\u{44f}"), &byte_by_byte("/m/a.kz/\u{434}?\u{44f}")),
            (address, &byte_by_byte("../\u{434}"), "/m/a.kz/%D0%B4"),
            (address, &byte_by_byte("&#47;\u{434}&amp;"), &byte_by_byte("/m/a.kz&#47;\u{434}&amp;")),
            (address, "../\u{e4}", ""),
            (candidates, "/a.png 1x, /b.png 2x,c.png 3x", "/m/a.kz/a.png 1x, /m/a.kz/b.png 2x,c.png 3x"),
            (candidates, "/a.png, //b.cdn.kz/x,y.png 100w", "/m/a.kz/a.png, /m/b.cdn.kz/x,y.png 100w"),
            (candidates, "data:image/png;base64,AA== 1x, /b 2x", "data:image/png;base64,AA== 1x, /m/a.kz/b 2x"),
            (candidates, "a.png 1x", ""),
            (candidates, " , ,", ""),
            (refresh, "5; url=/x", "5; url=/m/a.kz/x"),
            (refresh, "0;URL = 'https://a.kz/x?y' ", "0;URL = '/m/a.kz/x?y' "),
            (refresh, "0, /x", "0, /m/a.kz/x"),
            (refresh, "5", ""),
            (refresh, "5;", ""),
            (refresh, "5; url=", ""),
            (refresh, "5; url=\u{130}/x", ""),
        ];
        for (read, raw, wanted) in table {
            assert_eq!(read(&path, &base, raw).unwrap_or_default(), *wanted, "{raw}");
        }
    }
}
