//! Content-Security-Policy (CSP level 3), adjusted only as far as needed: mirrored hosts in lists are joined by their names on the
//! mirror, our script is allowed by its hash, what would force https on a plain mirror and what reports home goes. `'self'` still
//! means the host that serves the page.

use crate::site::rewrite::address::{Form, Map};
use url::Url;

/// Directives whose values are no source lists.
const PLAIN: [&str; 7] = ["sandbox", "plugin-types", "require-trusted-types-for", "trusted-types", "referrer", "reflected-xss", "webrtc"];

/// Directives that report, or ask for https.
const REPORTS: [&str; 2] = ["report-uri", "report-to"];
const UPGRADES: [&str; 2] = ["upgrade-insecure-requests", "block-all-mixed-content"];

/// Longest policy that is looked at; real ones stay below 8 KiB.
const MAX_POLICY: usize = 64 << 10;

/// One or more policies, separated by commas. `None` when nothing of them is left.
pub(super) fn rewrite(map: &Map, text: &str) -> Option<String> {
    if text.len() > MAX_POLICY {
        return None;
    }
    let policies: Vec<String> = text.split(',').map(|policy| one(map, policy)).filter(|policy| !policy.is_empty()).collect();
    (!policies.is_empty()).then(|| policies.join(", "))
}

fn one(map: &Map, policy: &str) -> String {
    let mut directives: Vec<(String, Vec<String>)> = Vec::new();
    for directive in policy.split(';') {
        let mut words = directive.split_ascii_whitespace().map(str::to_owned);
        let Some(name) = words.next().map(|name| name.to_ascii_lowercase()) else { continue };
        let dropped = REPORTS.contains(&name.as_str()) || (UPGRADES.contains(&name.as_str()) && !map.place().secure);
        // The first of a name counts.
        if dropped || directives.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let mut words: Vec<String> = words.collect();
        if !PLAIN.contains(&name.as_str()) {
            add_mirrored(map, &mut words);
        }
        directives.push((name, words));
    }
    allow_script(map, &mut directives);
    let written = directives.into_iter().map(|(name, words)| if words.is_empty() { name } else { format!("{name} {}", words.join(" ")) });
    written.collect::<Vec<_>>().join("; ")
}

/// Adds what mirrored sources are called here.
fn add_mirrored(map: &Map, list: &mut Vec<String>) {
    let added: Vec<String> = list.iter().flat_map(|word| mirrored(map, word)).collect();
    for word in added {
        if !list.contains(&word) {
            list.push(word);
        }
    }
}

/// The mirror's expressions for a scheme or host source.
fn mirrored(map: &Map, word: &str) -> Vec<String> {
    if word.starts_with('\'') {
        return Vec::new();
    }
    let lower = word.to_ascii_lowercase();
    if lower == "https:" {
        return if map.place().secure { Vec::new() } else { vec![map.everything()] };
    }
    let (scheme, rest) = lower.split_once("://").unwrap_or(("", &lower));
    let authority = rest.split('/').next().unwrap_or_default();
    if let Some(parent) = authority.strip_prefix("*.") {
        let parent = parent.split(':').next().unwrap_or_default();
        return wildcard(map, parent);
    }
    let home = map.sites().home(authority.split(':').next().unwrap_or_default());
    let Some(home) = home else { return Vec::new() };
    if map.form() == Form::Path {
        return vec![map.everything()];
    }
    let schemes: Vec<&str> = match scheme {
        "http" | "https" => vec![scheme],
        // Without a scheme: that of the page, and its better; for us the host's own.
        _ => vec![home.as_str()],
    };
    schemes.iter().filter_map(|scheme| map.mapped_origin(&Url::parse(&format!("{scheme}://{authority}")).ok()?)).collect()
}

/// The mirrored hosts below a name.
fn wildcard(map: &Map, parent: &str) -> Vec<String> {
    let below = |host: &str| host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    let mut list = Vec::new();
    for (host, scheme) in map.sites().mirrored() {
        let bare = host.strip_prefix("*.").unwrap_or(&host);
        if bare != host && (below(bare) || bare == parent || parent.ends_with(&host[1..])) {
            return vec![map.everything()];
        }
        if below(&host) {
            let own = || map.mapped_origin(&Url::parse(&format!("{}://{host}", scheme.as_str())).ok()?);
            list.extend(if map.form() == Form::Path { Some(map.everything()) } else { own() });
        }
    }
    list
}

/// Allows our script where inline scripts are not allowed as they are.
fn allow_script(map: &Map, directives: &mut Vec<(String, Vec<String>)>) {
    let at =
        ["script-src-elem", "script-src", "default-src"].iter().find_map(|name| directives.iter().position(|(other, _)| other == name));
    let Some(at) = at else { return };
    let list = &directives[at].1;
    let has = |start: &str| list.iter().any(|word| word.to_ascii_lowercase().starts_with(start));
    let strict = has("'nonce-") || has("'sha") || has("'strict-dynamic'");
    if has("'unsafe-inline'") && !strict {
        return;
    }
    let mut list: Vec<String> = list.iter().filter(|word| !word.eq_ignore_ascii_case("'none'")).cloned().collect();
    list.push(map.hash().to_owned());
    if directives[at].0 == "default-src" {
        // A hash among the defaults would shut out inline styles as well.
        directives.push(("script-src".to_owned(), list));
    } else {
        directives[at].1 = list;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::tests::map;

    #[test]
    fn policies_open_for_the_mirror_and_no_further() {
        let (names, path, secure) = (map(Form::Names, false), map(Form::Path, false), map(Form::Names, true));
        let hash = |map: &Map| map.hash().to_owned();
        let table = [
            ("img-src a.kz", "img-src a.kz http://a-kz.m.s.internal:8082", "img-src a.kz 'self'"),
            ("img-src https://other.kz data:", "img-src https://other.kz data:", "img-src https://other.kz data:"),
            ("img-src http://a.kz:81/x", "img-src http://a.kz:81/x http://h81---a-kz.m.s.internal:8082", "img-src http://a.kz:81/x 'self'"),
            ("img-src *.kz", "img-src *.kz http://*.m.s.internal:8082", "img-src *.kz 'self'"),
            ("img-src x.cdn.kz", "img-src x.cdn.kz http://x-cdn-kz.m.s.internal:8082", "img-src x.cdn.kz 'self'"),
            ("img-src *.other.kz", "img-src *.other.kz", "img-src *.other.kz"),
            ("img-src https:", "img-src https: http://*.m.s.internal:8082", "img-src https: 'self'"),
            ("upgrade-insecure-requests; report-uri /x; img-src 'self'", "img-src 'self'", "img-src 'self'"),
            ("script-src 'self' 'unsafe-inline'", "script-src 'self' 'unsafe-inline'", "script-src 'self' 'unsafe-inline'"),
            (
                "sandbox allow-scripts; IMG-SRC 'none'; img-src *",
                "sandbox allow-scripts; img-src 'none'",
                "sandbox allow-scripts; img-src 'none'",
            ),
            ("img-src 'self', font-src 'self'", "img-src 'self', font-src 'self'", "img-src 'self', font-src 'self'"),
        ];
        for (text, by_names, by_path) in table {
            assert_eq!(rewrite(&names, text).as_deref(), Some(by_names), "{text}");
            assert_eq!(rewrite(&path, text).as_deref(), Some(by_path), "{text}");
        }
        let h = hash(&names);
        let scripts = [
            ("script-src 'self'", format!("script-src 'self' {h}")),
            ("script-src 'none'", format!("script-src {h}")),
            ("script-src 'nonce-x' 'unsafe-inline'", format!("script-src 'nonce-x' 'unsafe-inline' {h}")),
            ("default-src 'none'; style-src 'unsafe-inline'", format!("default-src 'none'; style-src 'unsafe-inline'; script-src {h}")),
            ("default-src 'self'; script-src-elem x.kz", format!("default-src 'self'; script-src-elem x.kz {h}")),
        ];
        for (text, wanted) in scripts {
            assert_eq!(rewrite(&names, text), Some(wanted), "{text}");
        }
        assert_eq!(rewrite(&names, "report-uri https://a.kz/x"), None);
        assert_eq!(rewrite(&secure, "upgrade-insecure-requests").as_deref(), Some("upgrade-insecure-requests"));
        assert_eq!(rewrite(&secure, "img-src https:").as_deref(), Some("img-src https:"));
    }
}
