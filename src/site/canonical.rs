//! One address for one page: without marks that tell who sent the reader, and without session numbers.
//!
//! Scheme, host, port, fragment and dot segments are made equal where a `Target` is made; what is left is what sites add to the
//! same page for their own counting. Only names that are known to change nothing are taken away, the rest stays byte for byte.
//!
//! # Why
//! A page that is linked as `a?utm_source=menu` and as `a` would be fetched, kept and confirmed twice. The night fetches `a` alone.
//! The class will ask what the link says, so the cache looks an address up as it was asked and then, when that brings nothing, as
//! it is here (`cache`): only what is stored is found that way. What must be asked of the origin is asked as the browser wrote it, with
//! every mark: a school's cache has no business in a site's counting, and an address that we were wrong about costs one fetch, not
//! a wrong page. A redirect that a stored page leads to is kept under its own address and needs none of this.

use crate::base::target::Target;

/// Marks of campaigns, mails and social networks (the lists that browsers and privacy tools strip, as far as they are unmistakable).
const MARKS: &[&str] = &[
    "fbclid",
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "yclid",
    "ymclid",
    "ysclid",
    "msclkid",
    "twclid",
    "ttclid",
    "igshid",
    "igsh",
    "mc_cid",
    "mc_eid",
    "_openstat",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "vero_id",
    "vero_conv",
    "mkt_tok",
    "oly_anon_id",
    "oly_enc_id",
    "rb_clickid",
    "s_cid",
    "wickedid",
    "erid",
    "fb_action_ids",
    "fb_action_types",
    "fb_ref",
    "fb_source",
];
/// Beginnings of such names.
const FAMILIES: &[&str] = &["utm_", "pk_", "mtm_", "hsa_"];
/// Session numbers.
const SESSIONS: &[&str] = &["phpsessid", "jsessionid", "sessionid", "session_id", "cfid", "cftoken", "zenid", "oscsid"];
/// Names that are a session number only when what they hold looks like one.
const DOUBTFUL: &[&str] = &["sid", "session", "s"];
/// A session number in a path (servlets): `;jsessionid=…` at the end of a segment.
const IN_PATH: &str = ";jsessionid=";

/// The address without marks and session numbers; `None` when it has none.
pub fn canonical(target: &Target) -> Option<Target> {
    let whole = target.path_and_query();
    // Most addresses: nothing to look at.
    if !whole.contains(['?', ';']) {
        return None;
    }
    let (path, query) = whole.split_once('?').map_or((whole, None), |(path, query)| (path, Some(query)));
    let bare = without_session(path);
    let kept = query.map(|query| query.split('&').filter(|part| !is_mark(part)).collect::<Vec<_>>());
    let dropped = query.zip(kept.as_ref()).is_some_and(|(query, kept)| query.split('&').count() != kept.len());
    if bare.is_none() && !dropped {
        return None;
    }
    let mut text = target.origin().to_owned();
    text.push_str(bare.as_deref().unwrap_or(path));
    if let Some(kept) = kept.filter(|kept| !kept.is_empty()) {
        text.push('?');
        text.push_str(&kept.join("&"));
    }
    Target::parse(&text).ok()
}

/// The same, owned: what the night asks for.
#[must_use]
pub fn or_same(target: Target) -> Target {
    canonical(&target).unwrap_or(target)
}

fn without_session(path: &str) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let at = lower.find(IN_PATH)?;
    let rest = &path[at + IN_PATH.len()..];
    let end = rest.find(['/', ';']).unwrap_or(rest.len());
    Some(format!("{}{}", &path[..at], &rest[end..]))
}

fn is_mark(part: &str) -> bool {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let name = name.to_ascii_lowercase();
    MARKS.contains(&name.as_str())
        || FAMILIES.iter().any(|family| name.starts_with(family) && name.len() > family.len())
        || SESSIONS.contains(&name.as_str())
        || name.starts_with("aspsessionid")
        || (DOUBTFUL.contains(&name.as_str()) && is_session(value))
}

/// Letters and digits without a word in them: `sid=12` is a section, `sid=9f86d081884c7d65` is not.
fn is_session(value: &str) -> bool {
    value.len() >= 16
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && value.bytes().filter(u8::is_ascii_digit).count() >= 3
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_sessions_go_and_nothing_else() {
        let table = [
            ("http://a.kz/p", None),
            ("http://a.kz/p?id=5", None),
            ("http://a.kz/p?utm_source=x", Some("http://a.kz/p")),
            ("http://a.kz/p?a=1&UTM_Campaign=y&b=2&fbclid=zz", Some("http://a.kz/p?a=1&b=2")),
            ("http://a.kz/p?b=2&a=1", None),
            ("http://a.kz/p?utm_", None),
            ("http://a.kz/p?q=utm_source", None),
            ("http://a.kz/p?yclid=1", Some("http://a.kz/p")),
            ("http://a.kz/p?", None),
            ("http://a.kz/p?&gclid=1", Some("http://a.kz/p?")),
            ("http://a.kz/p;jsessionid=A1B2?x=1", Some("http://a.kz/p?x=1")),
            ("http://a.kz/s;JSESSIONID=A1/p", Some("http://a.kz/s/p")),
            ("http://a.kz/p;v=1", None),
            ("http://a.kz/p?PHPSESSID=abc&x=1", Some("http://a.kz/p?x=1")),
            ("http://a.kz/p?sid=12", None),
            ("http://a.kz/p?sid=9f86d081884c7d659a2f", Some("http://a.kz/p")),
            ("http://a.kz/p?s=kazakhstan-history-lessons", None),
            ("http://a.kz/p?ASPSESSIONIDQQ=1", Some("http://a.kz/p")),
            ("http://a.kz/%D0%90?utm_medium=%D0%91", Some("http://a.kz/%D0%90")),
        ];
        for (text, wanted) in table {
            let target = Target::parse(text).expect(text);
            let found = canonical(&target);
            assert_eq!(found.as_ref().map(Target::url), wanted, "{text}");
            // Once is enough.
            assert!(found.is_none_or(|found| canonical(&found).is_none()), "{text}");
        }
    }
}
