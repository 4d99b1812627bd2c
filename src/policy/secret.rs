//! The names by which a secret or a person is known: in addresses and in fields.
//!
//! Cookie and Authorization are not the only ways to say who asks. Diaries' interfaces take `Access-Token`, old servers write
//! sessions into the path, files of pupils lie behind links that nobody can guess. What is recognised here errs towards
//! secrecy: it costs a cache hit.
//!
//! # Why not every address that nobody can guess
//! Half of the web's pictures have hashed names, and an answer is found by its address alone: whoever asks under it has it
//! already. So a hash makes an address personal only beside a word that says whose it is (`/avatars/5f3c…`). On hosts with
//! accounts no address qualifies by its looks at all.

use http::{HeaderMap, HeaderName, header};

/// Parts of a field's name that say who asks, or prove it.
const LOGIN: [&str; 18] = [
    "access-key",
    "account",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
    "user-id",
    "userid",
    "xsrf",
];

/// Whole names of that kind, with or without `x-`.
const LOGIN_WHOLE: [&str; 7] = ["remote-user", "sid", "uid", "user", "user-email", "user-name", "username"];

/// Whether a request field other than Cookie says who asks.
pub(super) fn is_login(name: &HeaderName) -> bool {
    match *name {
        header::AUTHORIZATION => return true,
        // What browsers send with everything: told by one comparison, since this runs for every field of every request.
        header::HOST
        | header::USER_AGENT
        | header::ACCEPT
        | header::ACCEPT_ENCODING
        | header::ACCEPT_LANGUAGE
        | header::CACHE_CONTROL
        | header::CONNECTION
        | header::COOKIE
        | header::DNT
        | header::IF_MODIFIED_SINCE
        | header::IF_NONE_MATCH
        | header::ORIGIN
        | header::RANGE
        | header::REFERER
        | header::UPGRADE_INSECURE_REQUESTS
        | header::VIA => return false,
        _ => {}
    }
    let text = name.as_str();
    if text.starts_with("sec-fetch-") || text.starts_with("sec-ch-") || text.starts_with("access-control-") {
        return false;
    }
    contains_any(text, &LOGIN) || LOGIN_WHOLE.contains(&text.strip_prefix("x-").unwrap_or(text))
}

/// Whether a request says who asks by another field than Cookie.
pub(super) fn has_login(headers: &HeaderMap) -> bool {
    headers.keys().any(is_login)
}

/// The same of a name in Vary, where Cookie counts too.
pub(super) fn is_login_name(name: &str) -> bool {
    name == "cookie" || HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| is_login(&name))
}

/// Fields that make an origin do another thing than the method says; no cache keys by them. Many origins take `_` for `-`.
pub(super) fn is_override(name: &HeaderName) -> bool {
    let known = |text: &str| matches!(text, "x-http-method-override" | "x-http-method" | "x-method-override");
    let text = name.as_str();
    known(text) || (text.contains('_') && known(&text.replace('_', "-")))
}

/// Whether an answer speaks to one person: it hands out or clears what proves a login.
pub(super) fn speaks_to_one(headers: &HeaderMap) -> bool {
    headers.keys().any(speaks)
}

/// The same of one field of an answer.
pub(super) fn speaks(name: &HeaderName) -> bool {
    match *name {
        header::AUTHORIZATION | header::SET_COOKIE => return true,
        header::DATE | header::CONTENT_TYPE | header::CONTENT_LENGTH | header::ETAG | header::CACHE_CONTROL | header::SERVER => {
            return false;
        }
        _ => {}
    }
    let text = name.as_str();
    let exact = matches!(text, "set-cookie2" | "clear-site-data" | "set-login" | "authentication-info" | "x-auth" | "x-user" | "x-user-id");
    exact || contains_any(text, &["access-token", "auth-token", "csrf", "id-token", "jwt", "refresh-token", "session", "xsrf"])
}

/// Whether any of `words` stands in `text`: one walk, and a word is tried only where its first letter stands.
fn contains_any(text: &str, words: &[&str]) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| words.iter().any(|word| word.as_bytes()[0] == bytes[at] && bytes[at..].starts_with(word.as_bytes())))
}

/// Whole names of parameters whose value is a key.
const KEYS: [&str; 16] = [
    "auth",
    "authorization",
    "authkey",
    "hmac",
    "iin",
    "jwt",
    "key-pair-id",
    "otp",
    "phpsessid",
    "pin",
    "sid",
    "sig",
    "sso",
    "ticket",
    "x-amz-credential",
    "x-goog-credential",
];

/// Parts of such names.
const KEY_PARTS: [&str; 13] = [
    "access_key",
    "accesskey",
    "api_key",
    "apikey",
    "auth_key",
    "credential",
    "oauth",
    "passw",
    "secret",
    "session",
    "sessid",
    "signature",
    "token",
];

/// Words in a path that say that the file behind a link belongs to somebody, or that the link itself is what was given.
const BELONGS: [&str; 24] = [
    "activate",
    "attachment",
    "attachments",
    "avatar",
    "avatars",
    "confirm",
    "homework",
    "homeworks",
    "invite",
    "invites",
    "personal",
    "portfolio",
    "private",
    "profile",
    "profiles",
    "reset",
    "share",
    "shared",
    "submissions",
    "unsubscribe",
    "userfiles",
    "userpic",
    "userpics",
    "verify",
];

/// Shortest run of letters and digits that nobody guesses: 22 of base64 and 32 of hex are 128 bits, 20 is what many ids have.
const UNGUESSABLE: usize = 20;

/// What an address gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Nothing.
    Plain,
    /// It leads to something of somebody, by a link that nobody guesses.
    Personal,
    /// It holds a key: a session, a token, a signature.
    Key,
}

/// Judges path and query, or a whole address.
pub(super) fn address(path_and_query: &str) -> Address {
    let (path, query) = path_and_query.split_once(['?', '#']).unwrap_or((path_and_query, ""));
    if has_key(path, query) {
        return Address::Key;
    }
    let mut segments = path.split('/').map(|segment| plain(segment.split(';').next().unwrap_or_default()));
    let belongs = segments.any(|segment| BELONGS.contains(&segment.as_str()));
    if belongs && is_unguessable(path_and_query) { Address::Personal } else { Address::Plain }
}

fn has_key(path: &str, query: &str) -> bool {
    let named = |pair: &str| is_key(&plain(pair.split('=').next().unwrap_or_default()));
    let (mut code, mut state) = (false, false);
    for pair in query.split(['&', ';', '?', '#']) {
        if named(pair) || pair.split('=').skip(1).any(is_jwt) {
            return true;
        }
        code |= pair.starts_with("code=");
        state |= pair.starts_with("state=");
    }
    // The way back from a sign-in (RFC 6749 section 4.1.2).
    if code && state {
        return true;
    }
    path.split('/').any(|segment| {
        // `;jsessionid=…`, and `(S(…))` of servers that keep sessions without cookies.
        segment.split(';').skip(1).any(named)
            || is_jwt(segment)
            || matches!(segment.as_bytes(), [b'(', b'A'..=b'Z' | b'a'..=b'z', b'(', ..])
    })
}

fn is_key(name: &str) -> bool {
    // `user[token]` is `token` of `user`.
    KEYS.contains(&name.trim_end_matches(']').rsplit('[').next().unwrap_or(name)) || contains_any(name, &KEY_PARTS)
}

/// Three parts of base64url, the first of which is `{"…`.
fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() >= 3 && text.len() > 60
}

fn is_unguessable(text: &str) -> bool {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-').any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= UNGUESSABLE && digits >= 3
    })
}

/// A name in small letters with its percent signs undone.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(char::from(code.unwrap_or(bytes[at])).to_ascii_lowercase());
        at += if code.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).expect("a field name")
    }

    #[test]
    fn fields_that_say_who_asks() {
        for login in [
            "authorization",
            "access-token",
            "x-auth-token",
            "x-access-token",
            "x-api-key",
            "apikey",
            "x-csrf-token",
            "x-xsrf-token",
            "x-session-id",
            "x-user-id",
            "x-user",
            "x-amz-security-token",
            "cookie2",
            "signature-input",
            "sec-private-state-token",
        ] {
            assert!(is_login(&name(login)), "{login}");
        }
        for other in [
            "accept",
            "user-agent",
            "sec-fetch-user",
            "sec-ch-ua-platform",
            "x-requested-with",
            "priority",
            "save-data",
            "test-id",
            "test-name",
            "access-control-request-headers",
            "upgrade-insecure-requests",
            "foo",
            "te",
        ] {
            assert!(!is_login(&name(other)), "{other}");
        }
        assert!(is_login_name("cookie") && is_login_name("authorization") && !is_login_name("accept-language") && !is_login_name("ключ"));
        assert!(is_override(&name("X-HTTP-Method-Override")) && is_override(&name("x_http_method")) && !is_override(&name("x-method")));
    }

    #[test]
    fn answers_that_speak_to_one_person() {
        for personal in ["set-cookie", "clear-site-data", "x-csrf-token", "authorization", "x-access-token", "secure-session-registration"]
        {
            assert!(speaks(&name(personal)), "{personal}");
        }
        for other in ["access-control-allow-credentials", "content-signature", "www-authenticate", "x-powered-by", "etag", "x-user-agent"] {
            assert!(!speaks(&name(other)), "{other}");
        }
    }

    #[test]
    fn addresses_that_give_something_away() {
        const HASH: &str = "5f3c2a9be1d04c7788aa0b1c2d3e4f50";
        let key = [
            "/x?token=1",
            "/x?a=1&X-Amz-Signature=f",
            "/x?a;SIG=9",
            "/x?%74oken=1",
            "/x?user[token]=1",
            "/x?access_token=1",
            "/marks;jsessionid=0A1B",
            "/marks;JSESSIONID=0A1B/x.css",
            "/(S(abcdef))/marks.aspx",
            "/cb?code=1&state=2",
            "/p?iin=010203500123",
            "https://a.kz/home#id_token=1",
            "/r/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        ];
        for address in key {
            assert_eq!(super::address(address), Address::Key, "{address}");
        }
        for personal in ["/avatars/HASH.jpg", "/files/homework/HASH", "/img?f=HASH&d=/avatars/", "/Share/HASH", "/a%76atars/HASH.png"] {
            // A word in the query is no part of the path.
            let wanted = if personal.starts_with("/img") { Address::Plain } else { Address::Personal };
            assert_eq!(super::address(&personal.replace("HASH", HASH)), wanted, "{personal}");
        }
        for plain in [
            "/",
            "/token?tokens",
            "/upload/iblock/5f3/HASH.jpg",
            "/_nuxt/HASH.js",
            "/lesson/HASH/index.json",
            "/avatars/default.png",
            "/homework/how-to-do-it",
            "/x?v=HASH",
            "/x?code=1",
            "/x?q=author&page=2",
            "/wiki/(S)",
            "/x?keyboard=1",
        ] {
            let address = super::address(&plain.replace("HASH", HASH));
            let wanted = if plain == "/token?tokens" { Address::Key } else { Address::Plain };
            assert_eq!(address, wanted, "{plain}");
        }
    }

    proptest! {
        #[test]
        fn any_address_is_judged_and_a_key_stays_a_key(text in "[!-~]{0,80}", more in "[a-z0-9=]{0,10}") {
            if address(&text) == Address::Key && !text.contains('#') {
                let joined = if text.contains('?') { format!("{text}&{more}") } else { format!("{text}?{more}") };
                prop_assert_eq!(address(&joined), Address::Key);
            }
        }
    }
}
