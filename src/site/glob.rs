//! Path patterns: `*` is any run of characters within a segment, `**` any run at all, `?` one character that is no slash.
//!
//! Matching is linear in pattern times path at worst (one remembered star of each kind, no recursion), so a hostile address
//! cannot make it slow. The idea is the classic two-pointer wildcard match (Kirk Krauss, 2008).

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
        fits(self.0.as_bytes(), path.as_bytes())
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to go on when what follows a star did not fit: pattern position after the star, path position it has eaten up to.
type Back = Option<(usize, usize)>;

fn fits(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Back = None;
    let mut deep: Back = None;
    loop {
        if pattern[at..].starts_with(b"**") {
            at += 2;
            deep = Some((at, seen));
            star = None;
            continue;
        }
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, seen));
            continue;
        }
        match (pattern.get(at), path.get(seen)) {
            (None, None) => return true,
            (Some(wanted), Some(byte)) if wanted == byte || (*wanted == b'?' && *byte != b'/') => {
                at += 1;
                seen += 1;
            }
            _ => match step_back(&mut star, &mut deep, path) {
                Some(place) => (at, seen) = place,
                None => return false,
            },
        }
    }
}

/// Lets the nearest star eat one character more; a single star stops at a slash, then the double star before it goes on.
fn step_back(star: &mut Back, deep: &mut Back, path: &[u8]) -> Option<(usize, usize)> {
    if let Some((at, eaten)) = star {
        if path.get(*eaten).is_some_and(|byte| *byte != b'/') {
            *eaten += 1;
            return Some((*at, *eaten));
        }
        *star = None;
    }
    let (at, eaten) = deep.as_mut()?;
    if *eaten < path.len() {
        *eaten += 1;
        return Some((*at, *eaten));
    }
    None
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
    fn hostile_patterns_end() {
        let pattern = Glob::parse(&format!("/{}b", "**a*".repeat(60))).expect("valid");
        let path = format!("/{}", "a".repeat(20_000));
        assert!(!pattern.fits(&path));
    }
}
