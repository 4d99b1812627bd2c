//! How often what is here is asked about: what never changes is asked about more rarely. Pure.
//!
//! # Why
//! A night over ten thousand unchanged pages is ten thousand round trips of 600 ms. What found nothing new in several checks is
//! asked in every second run, then in every fourth, at last in every eighth: each run has its share, so that no night has them all.
//! The bound is what a change may stay unseen. A sitemap's word on changes wins both ways, and so does a name that holds a hash of its
//! content.

use crate::base::clock::Time;
use crate::state::frontier::Wish;
use std::time::Duration;

/// The rarest: in every eighth run.
const RAREST: i64 = 8;
/// However rarely, not longer than this without a question: a school's term.
const LONGEST: Duration = Duration::from_hours(60 * 24);

/// What to do about something that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the origin, however fresh it is.
    Ask,
    /// Ask the origin if the stored answer is no longer fresh.
    IfStale,
    /// Take it as it is.
    Keep,
}

/// What to do about a wish in this run; `page`: its class reads it, and a refresh means it.
pub(super) fn step(wish: &Wish, page: bool, run: i64, started: Time, now: Time) -> Step {
    let Some(fetched) = wish.fetched else { return Step::IfStale };
    if wish.changed.is_some_and(|changed| changed > fetched) {
        return Step::Ask;
    }
    // By a clock that was ahead: nobody knows how long ago.
    if fetched > now {
        return Step::Ask;
    }
    if fetched >= started {
        return Step::IfStale;
    }
    let sure = wish.changed.is_some() || is_versioned(&wish.url);
    let rarely = if sure { RAREST } else { rate(wish.still) };
    // Each has its runs; which, its row says.
    let due = (run + wish.id).rem_euclid(rarely) == 0 || now.since(fetched) >= LONGEST;
    match (due, page) {
        (false, _) => Step::Keep,
        (true, true) => Step::Ask,
        (true, false) => Step::IfStale,
    }
}

/// In every how manieth run what found nothing new in so many checks is asked about.
fn rate(still: u32) -> i64 {
    match still {
        0 | 1 => 1,
        2 | 3 => 2,
        4..=7 => 4,
        _ => RAREST,
    }
}

/// Whether the file's name holds a hash of its content, as builders of sites write it: `app.3f2a1b9c.js`, `main-BX9f2kQ1.css`.
fn is_versioned(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or(url);
    let name = path.rsplit('/').next().unwrap_or_default();
    // A name, a hash, an ending: a bare hash may be anything.
    let parts: Vec<&str> = name.split(['.', '-', '_', '~']).collect();
    let hash = |part: &&str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_alphanumeric()) && digits >= 2 && digits < part.len()
    };
    parts.len() >= 3 && parts[1..parts.len() - 1].iter().any(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_changes_is_asked_about_more_rarely() {
        let (started, now) = (Time::from_secs(1_800_000_000), Time::from_secs(1_800_000_600));
        let before = Some(started.minus(Duration::from_hours(48)));
        let wish = |still, fetched, changed: Option<Time>| Wish { id: 8, still, fetched, changed, ..Wish::new("http://a.kz/p", "page", 0) };
        let asked = |still: u32| (0..16).filter(|run| step(&wish(still, before, None), true, *run, started, now) == Step::Ask).count();
        assert_eq!([0, 1, 2, 4, 8, 1000].map(asked), [16, 16, 8, 4, 2, 2]);
        let table = [
            ("never here", wish(9, None, None), Step::IfStale),
            ("in this run already", wish(0, Some(started), None), Step::IfStale),
            ("changed by the sitemap", wish(1000, before, Some(now)), Step::Ask),
            ("unchanged by the sitemap", wish(0, before, Some(Time::from_secs(1))), Step::Keep),
            ("by a clock that was ahead", wish(1000, Some(now.plus(LONGEST)), None), Step::Ask),
            ("too long ago", wish(1000, Some(started.minus(LONGEST)), None), Step::Ask),
        ];
        for (name, wish, wanted) in table {
            assert_eq!(step(&wish, true, 1, started, now), wanted, "{name}");
        }
        // What pages need is asked about only when it is stale.
        assert_eq!(step(&wish(0, before, None), false, 1, started, now), Step::IfStale);
        assert_eq!(step(&wish(9, before, None), false, 1, started, now), Step::Keep);
    }

    #[test]
    fn names_with_a_hash() {
        for (url, wanted) in [
            ("http://a/app.3f2a1b9c.js", true),
            ("http://a/assets/main-BX9f2kQ1.css?v=1", true),
            ("http://a/app.js", false),
            ("http://a/jquery-3.7.1.min.js", false),
            ("http://a/lesson-20261125.html", false),
            ("http://a/3f2a1b9c", false),
        ] {
            assert_eq!(is_versioned(url), wanted, "{url}");
        }
    }
}
