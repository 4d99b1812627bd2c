//! Addresses that never end: calendars, paths that grow, spaces of parameters. Pure: what an address looks like, and how many like it
//! a night may follow; the frontier counts.
//!
//! # Why
//! No program can tell a calendar without end from a library of a hundred thousand lessons by looking at one page. What can be told is
//! the *pattern*: the address with its numbers, dates and hashes folded and its parameters' values left away. Links bring only so many
//! pages of one pattern, and what is left out is told to people, who know what it is: an owner names his lessons in a sitemap or a
//! list, and those are never held back.

use crate::base::target::Target;

/// Longest address that is followed; longer ones carry state.
const LONGEST: usize = 2_048;
/// A path with the same segment so many times is a relative link that grows.
const SAME: usize = 4;
/// Deepest path.
const DEEPEST: usize = 24;
/// Pages with one number: lessons, topics, pages of a list.
const NUMBERED: u32 = 5_000;
/// Pages with two numbers or more.
const TWICE: u32 = 1_000;
/// Pages with a date: a day's page for a school year.
const DATED: u32 = 400;
/// Pages of one pattern by how many parameters they have: one names a thing, three or more are a filter's every combination.
const BY_PARAMETERS: [u32; 3] = [5_000, 1_000, 300];
/// Pages of one host at the same number of links from a seed.
const ON_A_LEVEL: u32 = 50_000;
/// Parameters that hold dates.
const DATES: &[&str] = &["date", "year", "month", "day", "week", "cal", "calendar", "from", "to", "start", "end"];

/// How many addresses that look like this may be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What they have in common, for people: `http://a.kz/lesson/#?page`.
    pub pattern: String,
    /// How many.
    pub most: u32,
}

/// Whether an address is not to be followed at all.
pub fn is_hopeless(target: &Target) -> bool {
    if target.url().len() > LONGEST || target.has_bad_port() {
        return true;
    }
    let segments: Vec<&str> = target.path().split('/').filter(|segment| !segment.is_empty()).collect();
    segments.len() > DEEPEST || segments.iter().any(|one| segments.iter().filter(|other| *other == one).count() >= SAME)
}

/// The bounds of a page that a link names, so many links away from a seed.
pub fn of_page(target: &Target, depth: u8) -> Vec<Bound> {
    let level = Bound { pattern: format!("{}/ ({depth} links away)", target.origin()), most: ON_A_LEVEL };
    pattern(target, true).into_iter().chain([level]).collect()
}

/// The bounds of something that a page needs: names with numbers are ordinary there, parameters without end are not.
pub fn of_need(target: &Target) -> Vec<Bound> {
    pattern(target, false).into_iter().collect()
}

fn pattern(target: &Target, page: bool) -> Option<Bound> {
    let (path, query) = target.path_and_query().split_once('?').map_or((target.path_and_query(), ""), |(path, query)| (path, query));
    let mut folded = Folded::default();
    let mut text = target.origin().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let dated = is_year(segment) && segments.get(at + 1).is_some_and(|next| is_small(next));
        text.push('/');
        folded.last = folded.segment(segment, dated || is_date(segment), &mut text);
    }
    let mut names: Vec<&str> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        folded.dates |=
            is_date(value) || (DATES.contains(&name.to_ascii_lowercase().as_str()) && value.bytes().any(|byte| byte.is_ascii_digit()));
        names.push(name);
    }
    let of_query = names.len().checked_sub(1).map(|more| BY_PARAMETERS[more.min(2)]);
    // A path with a number somewhere whose end is a name of its own is one of a kind.
    let plain = |segment: &&&str| segment.len() <= 12 && segment.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'.');
    let alike = folded.last || segments.iter().rev().find(|segment| !segment.is_empty()).as_ref().is_some_and(plain);
    let of_path = match (page && alike, folded.dates, folded.numbers) {
        (false, ..) | (true, false, 0) => None,
        (true, true, _) => Some(DATED),
        (true, false, 1) => Some(NUMBERED),
        (true, false, _) => Some(TWICE),
    };
    let of_query = of_query.map(|most| if folded.dates { most.min(DATED) } else { most });
    let most = of_query.into_iter().chain(of_path).min()?;
    if !names.is_empty() {
        names.sort_unstable();
        names.dedup();
        text.push('?');
        text.push_str(&names.join("&"));
    }
    Some(Bound { pattern: text, most })
}

#[derive(Default)]
struct Folded {
    numbers: usize,
    dates: bool,
    /// Whether the last segment was folded.
    last: bool,
}

impl Folded {
    /// Writes a segment with its numbers as `#`, dates as `@` and hashes as `*`; whether it changed.
    fn segment(&mut self, segment: &str, dated: bool, text: &mut String) -> bool {
        if segment.is_empty() {
            return self.last;
        }
        if dated {
            self.dates = true;
            text.push('@');
            return true;
        }
        if is_hash(segment) {
            self.numbers += 1;
            text.push('*');
            return true;
        }
        let (mut changed, mut rest) = (false, segment);
        while let Some(first) = rest.chars().next() {
            // A percent-encoded letter is a letter, whatever its digits.
            let escaped = first == '%' && rest.len() >= 3 && rest.is_char_boundary(3);
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let step = if escaped { 3 } else { digits.max(first.len_utf8()) };
            if digits > 0 {
                text.push('#');
                self.numbers += 1;
                changed = true;
            } else {
                text.push_str(&rest[..step]);
            }
            rest = &rest[step..];
        }
        changed
    }
}

fn is_year(text: &str) -> bool {
    text.len() == 4
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.starts_with("19") || text.starts_with("20") || text.starts_with("21"))
}

fn is_small(text: &str) -> bool {
    (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2026-11`, `2026-11-25`, `20261125`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [whole] => whole.len() == 8 && whole.bytes().all(|byte| byte.is_ascii_digit()) && whole.get(..4).is_some_and(is_year),
        [year, month] => is_year(year) && is_small(month),
        [year, month, day] => is_year(year) && is_small(month) && is_small(day),
        _ => false,
    }
}

/// A long run of hexadecimal digits, dashes allowed: hashes, UUIDs.
fn is_hash(text: &str) -> bool {
    let hex = text.bytes().filter(u8::is_ascii_hexdigit).count();
    hex >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') && text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(url: &str) -> Option<(String, u32)> {
        let target = Target::parse(url).expect(url);
        pattern(&target, true).map(|bound| (bound.pattern.trim_start_matches("http://a").to_owned(), bound.most))
    }

    #[test]
    fn what_grows_without_end_is_not_followed() {
        let (long, deep) = (
            format!("http://a/{}", "x".repeat(3000)),
            format!("http://a{}", ('a'..='z').fold(String::new(), |path, letter| format!("{path}/{letter}"))),
        );
        for (url, hopeless) in
            [("http://a/b/b/b/c", false), ("http://a/b/c/b/c/b/c/b/c", true), (long.as_str(), true), (deep.as_str(), true)]
        {
            assert_eq!(is_hopeless(&Target::parse(url).expect(url)), hopeless, "{url}");
        }
    }

    #[test]
    fn patterns_and_how_many_of_each() {
        let table = [
            ("/about", None),
            ("/wiki/%D0%90%D0%B1%D0%B0%D0%B9", None),
            ("/lesson/12", Some(("/lesson/#", 5_000))),
            ("/lesson12/", Some(("/lesson#/", 5_000))),
            ("/grade/5/lesson/12", Some(("/grade/#/lesson/#", 1_000))),
            ("/grade/5/why-the-sky-is-blue", None),
            ("/grade/5/tests", Some(("/grade/#/tests", 5_000))),
            ("/cal/2026/11/", Some(("/cal/@/#/", 400))),
            ("/cal/2026-11-25", Some(("/cal/@", 400))),
            ("/cal/20261125/list", Some(("/cal/@/list", 400))),
            ("/news/2026/11/a-long-story-about-apples", None),
            ("/x/9f86d081884c7d659a2feaa0c55ad015", Some(("/x/*", 5_000))),
            ("/list?page=3", Some(("/list?page", 5_000))),
            ("/list?page=3&sort=a", Some(("/list?page&sort", 1_000))),
            ("/shop?c=1&b=2&a=3&a=4", Some(("/shop?a&b&c", 300))),
            ("/cal?month=11&year=2026", Some(("/cal?month&year", 400))),
            ("/events?on=2026-11-25", Some(("/events?on", 400))),
        ];
        for (path, wanted) in table {
            assert_eq!(bound(&format!("http://a{path}")), wanted.map(|(pattern, most)| (pattern.to_owned(), most)), "{path}");
        }
        let need = |url: &str| of_need(&Target::parse(url).expect(url)).len();
        assert_eq!((need("http://a/img/12.png"), need("http://a/img.php?id=12")), (0, 1));
        assert_eq!(of_page(&Target::parse("http://a/x").expect("valid"), 2).len(), 1);
    }

    #[test]
    fn any_address_has_a_pattern_without_a_panic() {
        for url in ["http://a/%", "http://a/%D", "http://a/%D0", "http://a//", "http://a/?&&=&", "http://a/1%2", "http://a/;;;1"] {
            of_page(&Target::parse(url).expect(url), 0);
        }
    }
}
