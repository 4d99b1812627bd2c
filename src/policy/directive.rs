//! Cache-Control parsed (RFC 9111 section 5.2), with the extensions of RFC 5861 and RFC 8246, and targeted fields (RFC 9213).
//!
//! Of repeated directives the first counts (RFC 9111 section 4.2.1). A freshness value that is no number makes the answer
//! stale; a number too large for anyone is 2^31 (section 1.2.2). What the directives mean is left to the other files.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// 2^31 s: what a larger number of seconds counts as (RFC 9111 section 1.2.2).
pub const MOST_SECONDS: u64 = 1 << 31;

/// The argument of a directive that takes seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delta {
    /// The directive is not there.
    #[default]
    Absent,
    /// It is there without a usable number.
    Bad,
    /// So many seconds, at most [`MOST_SECONDS`].
    Secs(u64),
}

impl Delta {
    /// Seconds; none when the directive is absent, 0 when its value is unusable.
    pub fn secs(self) -> Option<u64> {
        match self {
            Delta::Absent => None,
            Delta::Bad => Some(0),
            Delta::Secs(secs) => Some(secs),
        }
    }

    fn set(&mut self, value: Option<&[u8]>) {
        if *self == Delta::Absent {
            *self = value.and_then(seconds).map_or(Delta::Bad, Delta::Secs);
        }
    }
}

/// The directives of one message. Building one allocates only for field lists (`no-cache="a, b"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `max-age`, of either side.
    pub max_age: Delta,
    /// `s-maxage`.
    pub s_maxage: Delta,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Delta,
    /// `stale-if-error` (RFC 5861 section 4), of either side.
    pub stale_if_error: Delta,
    /// `max-stale` of a request; without a value any staleness is welcome.
    pub max_stale: Delta,
    /// `min-fresh` of a request.
    pub min_fresh: Delta,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without a field list.
    pub no_cache: bool,
    /// `private` without a field list.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `only-if-cached` of a request.
    pub only_if_cached: bool,
    /// Fields named by `no-cache="…"`.
    pub no_cache_fields: Vec<HeaderName>,
    /// Fields named by `private="…"`.
    pub private_fields: Vec<HeaderName>,
}

impl Directives {
    /// Reads all lines of Cache-Control.
    pub fn read(headers: &HeaderMap) -> Directives {
        let mut found = Directives::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for member in Members::new(line.as_bytes()) {
                found.take(member);
            }
        }
        found
    }

    /// Reads the first targeted field that is there, well formed and not empty (RFC 9213 section 2.2).
    pub fn read_targeted(headers: &HeaderMap, targeted: &[HeaderName]) -> Option<Directives> {
        targeted.iter().find_map(|name| Directives::read_structured(headers, name))
    }

    /// Reads one targeted field; `None` when it is not there, badly formed or empty.
    pub fn read_structured(headers: &HeaderMap, name: &HeaderName) -> Option<Directives> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return None;
        }
        let joined = lines.join(&b", "[..]);
        let members: sfv::Dictionary = sfv::Parser::new(&joined).parse().ok()?;
        if members.is_empty() {
            return None;
        }
        let mut found = Directives::default();
        for (key, entry) in &members {
            let sfv::ListEntry::Item(item) = entry else { continue };
            take_structured(&mut found, key.as_str(), &item.bare_item);
        }
        Some(found)
    }

    fn take(&mut self, member: &[u8]) {
        let (name, value) = match member.iter().position(|byte| *byte == b'=') {
            Some(at) => (&member[..at], Some(&member[at + 1..])),
            None => (member, None),
        };
        // No white space may stand around the equals sign; where it does the value is unusable, and an unusable value is stale.
        let spaced = name.len() != name.trim_ascii_end().len();
        self.apply(name.trim_ascii(), if spaced { Some(b" ") } else { value });
    }

    fn apply(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            6 if is("public") => self.public = true,
            7 if is("max-age") => self.max_age.set(value),
            7 if is("private") => note_fields(value, &mut self.private, &mut self.private_fields),
            8 if is("s-maxage") => self.s_maxage.set(value),
            8 if is("no-store") => self.no_store = true,
            8 if is("no-cache") => note_fields(value, &mut self.no_cache, &mut self.no_cache_fields),
            9 if is("immutable") => self.immutable = true,
            9 if is("max-stale") && value.is_none() => self.max_stale = Delta::Secs(u64::MAX),
            9 if is("max-stale") => self.max_stale.set(value),
            9 if is("min-fresh") => self.min_fresh.set(value),
            12 if is("no-transform") => self.no_transform = true,
            14 if is("only-if-cached") => self.only_if_cached = true,
            14 if is("stale-if-error") => self.stale_if_error.set(value),
            15 if is("must-revalidate") => self.must_revalidate = true,
            15 if is("must-understand") => self.must_understand = true,
            16 if is("proxy-revalidate") => self.proxy_revalidate = true,
            22 if is("stale-while-revalidate") => self.stale_while_revalidate.set(value),
            _ => {}
        }
    }
}

/// Digits, bare or in a quoted string.
fn seconds(value: &[u8]) -> Option<u64> {
    let digits = unquote(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum = digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(sum.min(MOST_SECONDS))
}

fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    }
}

/// A directive with a list of field names holds for these fields alone (RFC 9111 sections 5.2.2.4 and 5.2.2.7); with an
/// unreadable or empty list it holds for the whole answer, which is the safe reading.
fn note_fields(value: Option<&[u8]>, whole: &mut bool, fields: &mut Vec<HeaderName>) {
    let names: Option<Vec<HeaderName>> = value.map(unquote).and_then(|list| {
        let words = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty());
        words.map(|word| HeaderName::from_bytes(word).ok()).collect()
    });
    match names {
        Some(names) if !names.is_empty() => fields.extend(names),
        _ => *whole = true,
    }
}

/// The members of a comma-separated list; commas in quoted strings do not part, an opening quote without its end is a letter.
/// Every byte is looked at a fixed number of times, whatever a stranger sends.
pub struct Members<'v> {
    rest: &'v [u8],
    /// One quote was left open to the end of the text: so is every later one, and none is looked after again.
    open: bool,
}

impl<'v> Members<'v> {
    /// Those of one field value.
    pub fn new(text: &'v [u8]) -> Members<'v> {
        Members { rest: text, open: false }
    }

    fn member_end(&mut self) -> usize {
        let text = self.rest;
        let mut at = 0;
        while at < text.len() {
            match text[at] {
                b',' => return at,
                b'"' if !self.open => match quote_end(text, at) {
                    Some(end) => at = end,
                    None => self.open = true,
                },
                _ => {}
            }
            at += 1;
        }
        text.len()
    }
}

impl<'v> Iterator for Members<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        while !self.rest.is_empty() {
            let end = self.member_end();
            let member = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Where the quoted string that opens at `open` closes.
fn quote_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn take_structured(found: &mut Directives, name: &str, value: &sfv::BareItem) {
    match value {
        sfv::BareItem::Boolean(true) => found.apply(name.as_bytes(), None),
        sfv::BareItem::Boolean(false) => {}
        sfv::BareItem::Integer(secs) => found.apply(name.as_bytes(), Some(secs.to_string().as_bytes())),
        sfv::BareItem::String(fields) if matches!(name, "no-cache" | "private") => {
            found.apply(name.as_bytes(), Some(fields.as_str().as_bytes()));
        }
        // A value of the wrong type says nothing that could be relied upon.
        _ => found.apply(name.as_bytes(), Some(b"?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::Fields;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().expect("a field value"));
        }
        Directives::read(&headers)
    }

    #[test]
    fn max_age_in_every_shape() {
        let table: &[(&[&str], Delta)] = &[
            (&[], Delta::Absent),
            (&["max-age=3600"], Delta::Secs(3600)),
            (&["MaX-aGe=3600"], Delta::Secs(3600)),
            (&["foobar, max-age=3600"], Delta::Secs(3600)),
            (&["max-age=003600"], Delta::Secs(3600)),
            (&["max-age=\"3600\""], Delta::Secs(3600)),
            (&["max-age='3600'"], Delta::Bad),
            (&["max-age=-3600"], Delta::Bad),
            (&["max-age=3600.0"], Delta::Bad),
            (&["max-age=3600.5"], Delta::Bad),
            (&["max-age=a3600"], Delta::Bad),
            (&["max-age=3600a"], Delta::Bad),
            (&["max-age =3600"], Delta::Bad),
            (&["max-age= 3600"], Delta::Bad),
            (&["max-age="], Delta::Bad),
            (&["max-age"], Delta::Bad),
            (&["max-age=2147483647"], Delta::Secs(2_147_483_647)),
            (&["max-age=2147483648"], Delta::Secs(MOST_SECONDS)),
            (&["max-age=99999999999"], Delta::Secs(MOST_SECONDS)),
            (&["max-age=99999999999999999999999999"], Delta::Secs(MOST_SECONDS)),
            (&["max-age=3600, max-age=1800"], Delta::Secs(3600)),
            (&["max-age=1", "max-age=1800"], Delta::Secs(1)),
            (&["extension=\"max-age=3600\", max-age=1"], Delta::Secs(1)),
            (&["max-age=1, extension=\"max-age=3600\""], Delta::Secs(1)),
            (&["extension=\"max-age=3600, max-age=\\\"7\", max-age=\"1\""], Delta::Secs(1)),
            (&["extension=\"max-age=3600"], Delta::Absent),
            (&["extension=\"open, max-age=5"], Delta::Secs(5)),
            (&[",, max-age=9 ,"], Delta::Secs(9)),
        ];
        for (lines, wanted) in table {
            assert_eq!(read(lines).max_age, *wanted, "{lines:?}");
        }
    }

    /// Far more than a head may hold: a search from every quote would not come to an end today.
    #[test]
    fn quotes_that_never_close_cost_no_more_than_other_bytes() {
        let many = 2 << 20;
        for (start, piece, members) in [("\"", "\\\"", 1), ("\"", "\\\",", many), ("a=\"", "\\\", b=", many + 1)] {
            let text = [start, &piece.repeat(many)].concat();
            assert_eq!(Members::new(text.as_bytes()).count(), members, "{start} {piece}");
        }
        assert_eq!(Members::new(b"a=\"x,y\", \"b, c").collect::<Vec<_>>(), [&b"a=\"x,y\""[..], b"\"b", b"c"]);
    }

    #[test]
    fn switches_in_any_case_and_with_arguments() {
        let found = read(&["No-StOrE, PUBLIC;x", "must-revalidate=1, proxy-revalidate,immutable", "public, no-transform, must-understand"]);
        assert!(found.no_store && found.must_revalidate && found.proxy_revalidate && found.immutable);
        assert!(found.public && found.no_transform && found.must_understand);
        assert!(!found.no_cache && !found.private && !found.only_if_cached);
        let asked = read(&["max-stale, min-fresh=5, only-if-cached"]);
        assert_eq!((asked.max_stale, asked.min_fresh, asked.only_if_cached), (Delta::Secs(u64::MAX), Delta::Secs(5), true));
        assert_eq!(read(&["max-stale=1000"]).max_stale, Delta::Secs(1000));
    }

    #[test]
    fn field_lists_hold_for_fields_only() {
        let found = read(&["no-cache=\"a, B\", private=\"set-cookie\""]);
        assert!(!found.no_cache && !found.private);
        assert_eq!(found.no_cache_fields, ["a", "b"]);
        assert_eq!(found.private_fields, ["set-cookie"]);
        assert!(read(&["private=\"\""]).private);
        assert!(read(&["no-cache=\"a b\""]).no_cache);
        assert!(read(&["no-cache=\"a\", no-cache"]).no_cache);
    }

    #[test]
    fn targeted_fields_are_structured_and_the_first_usable_wins() {
        let names = [HeaderName::from_static("school-cache-control"), HeaderName::from_static("cdn-cache-control")];
        let table: &[(Fields<'_>, Option<Delta>)] = &[
            (&[("cdn-cache-control", "max-age=3600")], Some(Delta::Secs(3600))),
            (&[("cdn-cache-control", "foobar, max-age=3600;x=1")], Some(Delta::Secs(3600))),
            (&[("cdn-cache-control", "max-age=99999999999")], Some(Delta::Secs(MOST_SECONDS))),
            (&[("cdn-cache-control", "max-age=\"10000\"")], Some(Delta::Bad)),
            (&[("cdn-cache-control", "max-age=10000, &&&&&")], None),
            (&[("cdn-cache-control", "MaX-aGe=3600")], None),
            (&[("cdn-cache-control", "max-age =100")], None),
            (&[("cdn-cache-control", "")], None),
            (&[("cache-control", "max-age=1")], None),
            (&[("cdn-cache-control", "max-age=1"), ("school-cache-control", "max-age=2")], Some(Delta::Secs(2))),
            (&[("cdn-cache-control", "max-age=1"), ("school-cache-control", "?")], Some(Delta::Secs(1))),
            (&[("cdn-cache-control", "public"), ("cdn-cache-control", "max-age=4")], Some(Delta::Secs(4))),
        ];
        for (fields, wanted) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in *fields {
                headers.append(*name, value.parse().expect("a field value"));
            }
            assert_eq!(Directives::read_targeted(&headers, &names).map(|found| found.max_age), *wanted, "{fields:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("cdn-cache-control", "private, no-cache=?0".parse().expect("a field value"));
        let found = Directives::read_targeted(&headers, &names).expect("well formed");
        assert!(found.private && !found.no_cache);
    }

    proptest! {
        #[test]
        fn members_never_panic_and_never_invent(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let total: usize = Members::new(&line).map(<[u8]>::len).sum();
            prop_assert!(total <= line.len());
        }
    }
}
