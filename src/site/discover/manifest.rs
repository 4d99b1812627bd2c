//! Web app manifests (W3C Web Application Manifest): icons, pictures of the app, and the page that it starts with.

use crate::base::target::Target;
use crate::site::discover::{Found, Kind, Raw};
use serde_json::Value;

/// Largest manifest that is read; real ones have 1 to 4 KiB.
const MAX_BYTES: usize = 256 << 10;

/// What an installed app needs at its start.
pub(super) fn read(base: &Target, bytes: &[u8]) -> Found {
    let mut raw = Raw::default();
    let tree: Value = if bytes.len() > MAX_BYTES { Value::Null } else { serde_json::from_slice(bytes).unwrap_or_default() };
    pictures(&tree, &mut raw);
    // What it starts with is shown like a page within the page that names it; its links are another pack's business.
    if let Some(start) = tree.get("start_url").and_then(Value::as_str) {
        raw.need(start, Kind::Frame);
    }
    for shortcut in list(&tree, "shortcuts") {
        pictures(shortcut, &mut raw);
    }
    raw.resolve(base)
}

fn pictures(tree: &Value, raw: &mut Raw) {
    for icon in list(tree, "icons") {
        if let Some(address) = icon.get("src").and_then(Value::as_str) {
            raw.need(address, Kind::Image);
        }
    }
}

fn list<'a>(tree: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    tree.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_needs() {
        let base = Target::parse("http://a.kz/app/site.webmanifest").expect("valid");
        let table: &[(&str, &[(&str, Kind)])] = &[
            (
                r#"{"name":"A","start_url":".","icons":[{"src":"i/192.png","sizes":"192x192"},{"src":"/512.png"}],"shortcuts":[{"url":"no","icons":[{"src":"s.png"}]}]}"#,
                &[("/app/i/192.png", Kind::Image), ("/512.png", Kind::Image), ("/app/", Kind::Frame), ("/app/s.png", Kind::Image)],
            ),
            (r#"{"icons":{"src":"no"},"start_url":5,"shortcuts":[1]}"#, &[]),
            ("{", &[]),
        ];
        for (text, wanted) in table {
            let found: Vec<_> =
                read(&base, text.as_bytes()).needs.into_iter().map(|need| (need.target.path().to_owned(), need.kind)).collect();
            let wanted: Vec<_> = wanted.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect();
            assert_eq!(found, wanted, "{text}");
        }
        assert!(read(&base, &vec![b' '; MAX_BYTES + 1]).needs.is_empty());
    }
}
