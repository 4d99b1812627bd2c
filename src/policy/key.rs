//! Which stored answer fits a request: Vary (RFC 9111 section 4.1) and the key that names a variant in the store.
//!
//! Values are compared in a normal form that never joins what an origin may tell apart: lines combined, space around commas
//! gone, and for the fields of content negotiation letters in lower case, weights in one spelling and members sorted (RFC 9110
//! section 12.5 gives their order no meaning).
//!
//! An answer that names its language also fits whoever likes that language best.
//!
//! # Why a wildcard for codings
//! Bodies are kept decoded and coded for each client as it likes, so an entry whose body was decoded fits every
//! Accept-Encoding: `forget_coding` puts `ANY` in the value's place. A body that had to be kept in its coding keeps the
//! real value and fits only those who asked alike.

use crate::base::digest::{Digest, Hasher};
use crate::base::target::UrlKey;
use crate::policy::directive::Members;
use crate::policy::{Ask, Vary};
use http::{HeaderMap, HeaderValue, header};

/// A value that fits every request; no normalised value looks like it.
pub const ANY: &[u8] = b"*";

/// The Vary-nominated request fields, sorted by name, with their normalised values; `None` when Vary holds `*`.
pub(super) fn selecting(asked: &HeaderMap, answer: &HeaderMap) -> Option<Vary> {
    let mut names: Vec<String> = Vec::new();
    for line in answer.get_all(header::VARY) {
        for member in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
            if member == b"*" {
                return None;
            }
            names.push(String::from_utf8_lossy(member).to_ascii_lowercase());
        }
    }
    names.sort_unstable();
    names.dedup();
    let with_value = |name: String| {
        let mut value = normalise(&name, asked.get_all(&*name).iter());
        if name == "accept-language"
            && let Some(language) = answered_language(answer)
        {
            value = [&value, &[LANGUAGE_MARK][..], &language].concat().into_boxed_slice();
        }
        (name.into_boxed_str(), value)
    };
    Some(names.into_iter().map(with_value).collect())
}

/// Stands between what was asked and what was answered in the stored value of Accept-Language; no field holds it.
const LANGUAGE_MARK: u8 = 0;

/// The one language of an answer, in lower case.
fn answered_language(answer: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = answer.get_all(header::CONTENT_LANGUAGE).iter();
    let (Some(only), None) = (lines.next(), lines.next()) else { return None };
    let language = only.as_bytes().trim_ascii();
    let plain = !language.is_empty() && language.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    plain.then(|| language.to_ascii_lowercase())
}

/// The value of a request field that asks for what is stored under this one; `None` where the field was absent, or any would do.
pub fn asked_again(stored: &[u8]) -> Option<HeaderValue> {
    let value = stored.strip_prefix(b"=")?;
    let end = value.iter().position(|byte| *byte == LANGUAGE_MARK).unwrap_or(value.len());
    HeaderValue::from_bytes(&value[..end]).ok()
}

/// The first variant that fits; callers list the newest first.
pub(super) fn select<'v>(ask: &Ask<'_>, variants: impl Iterator<Item = &'v [(Box<str>, Box<[u8]>)]>) -> Option<usize> {
    variants.into_iter().position(|vary| vary.iter().all(|(name, stored)| fits(ask, name, stored)))
}

/// What names those who are answered alike: the values of the fields that an answer varies by.
pub(super) fn kin(ask: &Ask<'_>, vary: &[(Box<str>, Box<[u8]>)]) -> Digest {
    let mut hasher = Hasher::default();
    for (name, _) in vary {
        let value = normalise(name, ask.headers.get_all(&**name).iter());
        for part in [name.as_bytes(), &*value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finish()
}

fn fits(ask: &Ask<'_>, name: &str, stored: &[u8]) -> bool {
    if stored == ANY {
        return true;
    }
    let asked = normalise(name, ask.headers.get_all(name).iter());
    match stored.iter().position(|byte| *byte == LANGUAGE_MARK) {
        // What is stored in the language that somebody likes best is what they would get, whatever else they would take: the
        // weights are there to be used (RFC 9111 section 4.1).
        Some(at) => *asked == stored[..at] || best_language(&asked) == Some(&stored[at + 1..]),
        None => *asked == *stored,
    }
}

/// The one language that weighs most in a normalised Accept-Language; none when two weigh the same.
fn best_language(normal: &[u8]) -> Option<&[u8]> {
    let members = normal.strip_prefix(b"=")?.split(|byte| *byte == b',');
    let weighed = members.map(|member| match member.iter().position(|byte| *byte == b';') {
        // Normal weights are `0` or `0.` and up to three digits, so their text sorts as they do; no weight is 1.
        Some(at) => (&member[..at], member.get(at + 3..).unwrap_or_default()),
        None => (member, &b"1"[..]),
    });
    let mut best: Option<(&[u8], &[u8], bool)> = None;
    for (language, weight) in weighed {
        match best {
            Some((_, most, _)) if weight < most => {}
            Some((first, most, _)) if weight == most => best = Some((first, most, false)),
            _ => best = Some((language, weight, true)),
        }
    }
    best.filter(|(language, weight, alone)| *alone && *language != b"*" && *weight != b"0").map(|(language, ..)| language)
}

/// The normal form of a request field: empty when the field is absent, `=` and the value when it is there.
pub fn normalise<'v>(name: &str, values: impl IntoIterator<Item = &'v HeaderValue>) -> Box<[u8]> {
    let mut lines = values.into_iter().peekable();
    if lines.peek().is_none() {
        return Box::default();
    }
    let negotiates = ["accept", "accept-charset", "accept-encoding", "accept-language"].contains(&name);
    let mut members: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        members.extend(Members::new(line.as_bytes()).map(|member| if negotiates { normal_member(member) } else { member.to_vec() }));
    }
    if negotiates {
        members.sort_unstable();
        members.dedup();
    }
    [&b"="[..], &members.join(&b","[..])].concat().into_boxed_slice()
}

/// `Text/HTML ; Q=0.50` as `text/html;q=0.5`. Quoted strings keep their letters.
fn normal_member(member: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(member.len());
    let mut quoted = false;
    for byte in member {
        quoted ^= *byte == b'"';
        match byte {
            b' ' | b'\t' if !quoted => {}
            _ => plain.push(if quoted { *byte } else { byte.to_ascii_lowercase() }),
        }
    }
    if let Some(at) = plain.windows(3).position(|part| part == b";q=") {
        let weight = plain.split_off(at);
        plain.extend_from_slice(short_weight(&weight));
    }
    plain
}

/// `;q=0.50` as `;q=0.5`, `;q=1.0` as nothing; whatever else follows stays.
fn short_weight(weight: &[u8]) -> &[u8] {
    match &weight[3..] {
        b"1" | b"1." | b"1.0" | b"1.00" | b"1.000" => b"",
        [b'0', b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let kept = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
            if kept == 0 { &weight[..4] } else { &weight[..5 + kept] }
        }
        _ => weight,
    }
}

/// Makes a variant fit every Accept-Encoding: for entries whose body is kept decoded.
pub fn forget_coding(vary: &mut [(Box<str>, Box<[u8]>)]) {
    for (name, value) in vary {
        if &**name == "accept-encoding" {
            *value = ANY.into();
        }
    }
}

/// The store's name for one variant: blake3 of the URL key and the selecting fields, each with its length before it.
pub fn entry_key(url_key: &UrlKey, vary: &[(Box<str>, Box<[u8]>)]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&url_key.0);
    for (name, value) in vary {
        for part in [name.as_bytes(), value] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::Place;
    use crate::policy::tests::headers;
    use http::Method;
    use proptest::prelude::*;

    fn normal(name: &str, lines: &[&str]) -> String {
        let values: Vec<HeaderValue> = lines.iter().map(|line| line.parse().expect("a field value")).collect();
        String::from_utf8(normalise(name, &values).into_vec()).expect("ASCII")
    }

    #[test]
    fn equal_wishes_have_equal_forms() {
        let table: &[(&str, &[&str], &str)] = &[
            ("foo", &[], ""),
            ("foo", &[""], "="),
            ("foo", &["1, 2"], "=1,2"),
            ("foo", &["1", "2"], "=1,2"),
            ("foo", &[" 1, 2 "], "=1,2"),
            ("foo", &["2,1"], "=2,1"),
            ("foo", &["Aa"], "=Aa"),
            ("foo", &["\"a, b\" , c"], "=\"a, b\",c"),
            ("accept-language", &["en, de"], "=de,en"),
            ("accept-language", &["de,  eN "], "=de,en"),
            ("accept-language", &["de", "en"], "=de,en"),
            ("accept-language", &["kk;q=1.0, ru;q=0.80, en ; Q=0.7"], "=en;q=0.7,kk,ru;q=0.8"),
            ("accept-language", &["kk;q=1, ru;q=0.0"], "=kk,ru;q=0"),
            ("accept-encoding", &["gzip, br"], "=br,gzip"),
            ("accept-encoding", &["BR,GZIP"], "=br,gzip"),
            ("accept", &["Text/HTML;level=1, image/*; q=0.50"], "=image/*;q=0.5,text/html;level=1"),
            ("accept", &["a/b;profile=\"X, Y\""], "=a/b;profile=\"X, Y\""),
        ];
        for (name, lines, wanted) in table {
            assert_eq!(normal(name, lines), *wanted, "{name} {lines:?}");
        }
    }

    #[test]
    fn the_newest_fitting_variant_is_chosen() {
        let target = Target::parse("http://a.kz/").expect("a target");
        let asked = headers(&[("foo", "1"), ("accept-encoding", "br")]);
        let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
        let variant = |fields: &[(&str, &str)], answer: &str| selecting(&headers(fields), &headers(&[("vary", answer)])).expect("no star");
        let mut coded = variant(&[("foo", "1"), ("accept-encoding", "gzip")], "Foo, Accept-Encoding");
        let others = [variant(&[("foo", "2")], "foo"), variant(&[], "foo"), coded.clone()];
        assert_eq!(select(&ask, others.iter().map(Vec::as_slice)), None);
        forget_coding(&mut coded);
        let all = [others[0].clone(), coded, variant(&[("foo", "1")], "foo"), Vec::new()];
        assert_eq!(select(&ask, all.iter().map(Vec::as_slice)), Some(1));
        assert_eq!(select(&ask, all[2..].iter().map(Vec::as_slice)), Some(0));
        assert_eq!(select(&ask, all[3..].iter().map(Vec::as_slice)), Some(0));
    }

    #[test]
    fn keys_tell_variants_apart() {
        let url = UrlKey([7; 16]);
        let field = |name: &str, value: &str| (Box::from(name), Box::from(value.as_bytes()));
        let keys = [
            entry_key(&url, &[]),
            entry_key(&UrlKey([8; 16]), &[]),
            entry_key(&url, &[field("a", "bc")]),
            entry_key(&url, &[field("ab", "c")]),
            entry_key(&url, &[field("a", "b"), field("c", "")]),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }

    #[test]
    fn the_language_that_weighs_most_is_served_from_what_is_stored_in_it() {
        let target = Target::parse("http://a.kz/").expect("a target");
        let answer = headers(&[("vary", "Accept-Language"), ("content-language", "KK")]);
        let stored = selecting(&headers(&[("accept-language", "en, kk")]), &answer).expect("no star");
        let table = [
            ("en, kk", true),
            ("kk,en", true),
            ("ru;q=0.5, kk;q=1.0", true),
            ("kk", true),
            ("kk;q=0.3, ru;q=0.25", true),
            ("kk, ru", false),
            ("ru, kk;q=0.9", false),
            ("ru", false),
            ("kk;q=0", false),
            ("kk-KZ, kk;q=0.9", false),
            ("*", false),
            ("", false),
        ];
        for (asked, wanted) in table {
            let asked = headers(&[("accept-language", asked)]);
            let ask = Ask { method: &Method::GET, target: &target, headers: &asked, place: Place::default() };
            assert_eq!(select(&ask, std::iter::once(&stored[..])).is_some(), wanted, "{asked:?}");
        }
        let ask = Ask { method: &Method::GET, target: &target, headers: &HeaderMap::new(), place: Place::default() };
        assert_eq!(select(&ask, std::iter::once(&stored[..])), None);
    }

    #[test]
    fn a_variant_can_be_asked_for_again() {
        let asked = headers(&[("accept-language", "kk, ru;q=0.50"), ("foo", "1")]);
        let told = headers(&[("vary", "accept-language, foo, bar"), ("content-language", "kk")]);
        let vary = selecting(&asked, &told).expect("selecting fields");
        let again = vary.iter().filter_map(|(name, stored)| Some((name.parse().ok()?, asked_again(stored)?))).collect::<HeaderMap>();
        assert_eq!(again, headers(&[("accept-language", "kk,ru;q=0.5"), ("foo", "1")]), "the absent stays absent");
        assert_eq!(selecting(&again, &told), Some(vary));
        assert_eq!(asked_again(ANY), None);
    }

    proptest! {
        #[test]
        fn order_and_case_of_languages_do_not_count(mut tags in proptest::collection::vec("[a-z]{2}(-[A-Z]{2})?", 1..5)) {
            let one = normal("accept-language", &[&tags.join(", ")]);
            tags.reverse();
            let other = normal("accept-language", &[&tags.join(" ,").to_uppercase()]);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn unknown_fields_keep_their_order(members in proptest::collection::vec("[a-zA-Z0-9]{1,4}", 1..5)) {
            prop_assert_eq!(normal("foo", &[&members.join(" , ")]), format!("={}", members.join(",")));
        }
    }
}
