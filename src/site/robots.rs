//! Who may fetch what by robots.txt (RFC 9309), over the `robotxt` parser.
//!
//! Longest match wins, the first 500 KiB count, a missing file allows and a failing server forbids; how long an answer holds
//! is the fetcher's business.

use std::time::Duration;

/// Most bytes of a robots.txt that are read (RFC 9309 section 2.5 asks for at least 500 KiB).
pub const MAX_BYTES: u64 = 512 << 10;

/// Longest `Crawl-delay` that is honoured; a longer one would stop a pack for good.
const MOST_DELAY: Duration = Duration::from_secs(60);

/// The rules of one origin for us.
#[derive(Clone, Debug)]
pub struct Robots(robotxt::Robots);

impl Robots {
    /// Reads a file for this product token (`bulak`).
    pub fn parse(bytes: &[u8], agent: &str) -> Robots {
        Robots(robotxt::Robots::parse(bytes, agent))
    }

    /// No file, or the origin will not show it (4xx): everything is allowed (section 2.3.1.3).
    pub fn allow_all() -> Robots {
        Robots(robotxt::Robots::allow_all())
    }

    /// The server fails or cannot be reached: nothing is allowed (section 2.3.1.4).
    pub fn disallow_all() -> Robots {
        Robots(robotxt::Robots::disallow_all())
    }

    /// Whether path and query may be fetched.
    pub fn allows(&self, path_and_query: &str) -> bool {
        self.0.is_allowed(path_and_query)
    }

    /// The wait between requests that the site asks for, at most a minute; not in the RFC, honoured all the same.
    pub fn delay(&self) -> Option<Duration> {
        self.0.crawl_delay().map(|delay| delay.min(MOST_DELAY))
    }
}

/// For the fuzzing corpus: any bytes, no panic.
pub fn fuzz(bytes: &[u8]) {
    let robots = Robots::parse(bytes, "bulak");
    std::hint::black_box((robots.allows("/a/b?c"), robots.delay()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_wins_for_our_own_group() {
        let text = b"User-agent: *\nDisallow: /\n\nUser-agent: bulak\nDisallow: /private\nAllow: /private/open\nCrawl-delay: 2\n";
        let robots = Robots::parse(text, "bulak");
        let table = [("/", true), ("/private", false), ("/private/x", false), ("/private/open/a", true)];
        for (path, wanted) in table {
            assert_eq!(robots.allows(path), wanted, "{path}");
        }
        assert_eq!(robots.delay(), Some(Duration::from_secs(2)));
        assert!(!Robots::parse(text, "other").allows("/x"));
        assert!(Robots::allow_all().allows("/x"));
        assert!(!Robots::disallow_all().allows("/x"));
        fuzz(b"\xff\xfe: :\n*");
    }
}
