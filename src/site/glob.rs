//! Path patterns: `*` is any run of characters within a segment, `**` any run at all, `?` one character that is no slash.
//!
//! All places of the pattern that a path may have reached are kept as bits and moved on byte by byte, nine words at most: one pass over
//! the path, whatever the pattern, so a hostile address cannot make it slow. The idea is Baeza-Yates and Gonnet's Shift-And (1992).

use std::fmt;

/// Longest pattern; longer ones are a mistake in the pack.
pub const MAX_LEN: usize = 512;

/// A path pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Reads a pattern. It starts with `/`, holds visible ASCII only, and is at most [`MAX_LEN`] long.
    pub fn parse(text: &str) -> Option<Glob> {
        let clean = text.starts_with('/') && text.len() <= MAX_LEN && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        clean.then(|| Glob(text.into()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern names this path (without query).
    pub fn fits(&self, path: &str) -> bool {
        fits(self.0.as_bytes(), path.as_bytes(), || ())
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Words of a set of places.
const WORDS: usize = MAX_LEN / 64 + 1;
/// Bytes that a pattern can name, and one that stands for all others.
const BYTES: usize = 128;

/// A place for each character of the pattern and one behind it; stars that touch are one.
#[derive(Clone, Copy)]
struct Places([u64; WORDS]);

impl Places {
    const NONE: Places = Places([0; WORDS]);

    fn add(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }
}

/// `step` is called for each word of places that is looked at.
fn fits(pattern: &[u8], path: &[u8], mut step: impl FnMut()) -> bool {
    // What most have in common with no path of another place, and all that many are.
    let fixed = pattern.iter().position(|byte| matches!(byte, b'*' | b'?')).unwrap_or(pattern.len());
    let Some(path) = path.strip_prefix(&pattern[..fixed]) else { return false };
    let pattern = &pattern[fixed..];
    match pattern {
        [] => return path.is_empty(),
        b"**" => return true,
        _ => {}
    }
    // Where each byte leads on, where any but a slash does, and where stars stay.
    let (mut named, mut any) = ([Places::NONE; BYTES], Places::NONE);
    let (mut star, mut deep) = (Places::NONE, Places::NONE);
    let (mut end, mut at) = (0, 0);
    while let Some(byte) = pattern.get(at) {
        let stars = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
        match (stars, byte) {
            (0, b'?') => any.add(end),
            (0, byte) => named[usize::from(*byte).min(BYTES - 1)].add(end),
            (1, _) => star.add(end),
            _ => deep.add(end),
        }
        (end, at) = (end + 1, at + stars.max(1));
    }
    let words = end / 64 + 1;
    let mut now = Places::NONE;
    now.add(0);
    // A star is passed by eating nothing.
    now.0[0] |= ((star.0[0] | deep.0[0]) & 1) << 1;
    for byte in path {
        let (slash, named) = (*byte == b'/', &named[usize::from(*byte).min(BYTES - 1)]);
        let (mut moved, mut passed, mut alive) = (0, 0, 0);
        for word in 0..words {
            step();
            let (here, star) = (now.0[word], star.0[word]);
            let (any, stay) = if slash { (0, deep.0[word]) } else { (any.0[word], deep.0[word] | star) };
            let hit = here & (named.0[word] | any);
            let reached = (hit << 1) | moved | (here & stay);
            let over = reached & (star | deep.0[word]);
            now.0[word] = reached | (over << 1) | passed;
            (moved, passed) = (hit >> 63, over >> 63);
            alive |= now.0[word];
        }
        if alive == 0 {
            return false;
        }
    }
    now.has(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_paths() {
        let table = [
            ("/", "/", true),
            ("/a", "/ab", false),
            ("/static/**", "/static/js/app.js", true),
            ("/static/**", "/static/", true),
            ("/static/**", "/statics/", false),
            ("/static/*", "/static/js/app.js", false),
            ("/static/*.js", "/static/app.js", true),
            ("/**/*.woff2", "/a/b/c.woff2", true),
            ("/**.js", "/a/b.js", true),
            ("/*/v?/*.css", "/x/v1/y.css", true),
            ("/*/v?/*.css", "/x/v//y.css", false),
            ("/**/lesson/*/index.json", "/u/v/lesson/0123/index.json", true),
            ("/**/lesson/*/index.json", "/u/v/lesson/0123/x/index.json", false),
            ("/a*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, path, wanted) in table {
            assert_eq!(Glob::parse(pattern).expect(pattern).fits(path), wanted, "{pattern} {path}");
        }
        for bad in ["", "a", "/ b", "/\u{e9}"] {
            assert!(Glob::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_one_pass_over_a_hostile_path() {
        let path = format!("/{}", "a".repeat(8 << 10));
        for (pattern, wanted) in [
            (format!("/{}b", "**a*".repeat(100)), false),
            (format!("/**{}b", "a*".repeat(200)), false),
            (format!("/**{}b", "?*".repeat(200)), false),
            (format!("/**{}**", "a*a?".repeat(120)), true),
            (format!("/{}*a", "a".repeat(500)), true),
        ] {
            let (pattern, mut steps) = (Glob::parse(&pattern).expect("valid"), 0);
            assert_eq!(fits(pattern.0.as_bytes(), path.as_bytes(), || steps += 1), wanted, "{pattern:?}");
            assert!(steps <= WORDS * path.len(), "{steps} steps for {pattern:?}");
        }
    }

    /// As the words at the top say it, tried in every way.
    fn by_the_book(pattern: &[u8], path: &[u8]) -> bool {
        let eats = |rest: &[u8], deep: bool| {
            let most = path.iter().position(|byte| *byte == b'/' && !deep).unwrap_or(path.len());
            (0..=most).any(|eaten| by_the_book(rest, &path[eaten..]))
        };
        match (pattern, path) {
            ([], path) => path.is_empty(),
            ([b'*', b'*', rest @ ..], _) => eats(rest, true),
            ([b'*', rest @ ..], _) => eats(rest, false),
            ([wanted, rest @ ..], [byte, path @ ..]) => (wanted == byte || (*wanted == b'?' && *byte != b'/')) && by_the_book(rest, path),
            (_, []) => false,
        }
    }

    #[test]
    fn any_short_pattern_fits_what_the_book_says() {
        let words = |letters: &[u8], most: u32| {
            let count = letters.len();
            let all = (0..=most).flat_map(move |length| (0..count.pow(length)).map(move |number| (length, number)));
            let letters = letters.to_vec();
            all.map(move |(length, number)| (0..length).map(|at| letters[number / count.pow(at) % count]).collect::<Vec<u8>>())
                .collect::<Vec<_>>()
        };
        let paths = words(b"/ab", 4);
        for pattern in words(b"/ab*?", 5) {
            for path in &paths {
                let (pattern, path) = ([b"/", &pattern[..]].concat(), [b"/", &path[..]].concat());
                let told = || format!("{} {}", String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&path));
                assert_eq!(fits(&pattern, &path, || ()), by_the_book(&pattern, &path), "{}", told());
            }
        }
        // Also where the bits are more than a word.
        let long = "ab".repeat(40);
        for (pattern, path, wanted) in [
            (format!("/?{long}*c"), format!("/x{long}yyc"), true),
            (format!("/?{long}**c"), format!("/x{long}/yc"), true),
            (format!("/?{long}*c"), format!("/x{long}/yc"), false),
            (format!("/*{long}{long}?"), format!("/{long}{long}{long}\u{e9}"), false),
            (format!("/*{long}{long}??"), format!("/{long}{long}{long}\u{e9}"), true),
        ] {
            assert_eq!(Glob::parse(&pattern).expect("valid").fits(&path), wanted, "{pattern} {path}");
        }
    }
}
