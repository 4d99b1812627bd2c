//! Why something did not come, in a handful of plain reasons with what to do about each: a summary names reasons, not addresses. Pure.
//!
//! The words stand in the database and in the API: they are only ever added to.

use crate::prefetch::caps::Which;
use crate::prefetch::crawl::End;
use crate::state::frontier::Fate;
use serde::{Deserialize, Serialize};

/// What kind of reason it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SummaryReasonKind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It could not be fetched.
    Failed,
    /// The host or the pack does not want it fetched.
    Refused,
    /// It is larger than what may come.
    LeftOut,
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `kind.cause`.
    pub word: &'static str,
    /// The same for people.
    pub told: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The origin has it no more.
pub const GONE: &str = "gone";

/// Too long for what may come, or longer than what is left.
pub const SIZE: &str = "left.size";

/// A cap of the pack's own.
pub const FULL: &str = "left.full";

/// Nothing to be done by a person.
const AGAIN: &str = "it is tried again in the next nights";

const fn reason(word: &'static str, told: &'static str, remedy: &'static str) -> Reason {
    Reason { word, told, remedy }
}

/// Every reason.
pub static REASONS: [Reason; 17] = [
    reason("failed.server", "the host answered with an error of its own (5xx)", AGAIN),
    reason("failed.busy", "the host was too busy (429, 503)", AGAIN),
    reason("failed.refused", "the host refuses it (4xx)", "open the page in a browser; if it needs a sign-in, take it out of the pack"),
    reason("failed.unreachable", "the host could not be reached, or broke off", AGAIN),
    reason("failed.name", "there is no host of this name", "see how it is written in the pack; if it has moved, change the pack"),
    reason("failed.days", "the host has failed for days", "open it in a browser; if it has moved, change the pack"),
    reason("failed.robots", "the host's robots.txt could not be read, so nothing may be fetched", AGAIN),
    reason("failed.unkept", "it came, but its origin forbids keeping it", "take it out of the pack"),
    reason("failed.moved", "it redirects in a circle or too often", "it may want a cookie: take it out of the pack"),
    reason("failed.private", "it lies in the school's own network", "name the server in proxy.allow_private_targets"),
    reason("failed.other", "it could not be fetched", "\"bulak pack list --json\" names it"),
    reason("refused.robots", "the host's robots.txt forbids it", "ask the host's owner, or take it out of the pack"),
    reason("refused.scope", "it lies outside of what the pack names", "add the host to scope.hosts if it belongs to the lesson"),
    reason("refused.form", "a film that may not or cannot be kept", "look for another form of the film"),
    reason(SIZE, "longer than a file of the pack may be", "raise scope.max_bytes, or store.quota: half of it at most is one file"),
    reason(FULL, "the pack holds as many bytes as it may", "raise scope.max_bytes or scope.sites"),
    reason("left.share", "all packs together keep as much as they may", "let a pack go, or raise store.pinned_share or store.quota"),
];

impl Reason {
    /// The reason of a word; `None` for one of another version.
    pub fn of(word: &str) -> Option<&'static Reason> {
        REASONS.iter().find(|reason| reason.word == word)
    }
}

/// What kind of reason a word is; `None`: it is none.
pub fn kind(word: &str) -> Option<Kind> {
    match word.split_once('.')?.0 {
        "failed" => Some(Kind::Failed),
        "refused" => Some(Kind::Refused),
        "left" => Some(Kind::LeftOut),
        _ => None,
    }
}

/// As what an end counts, as far as it is no coming.
pub fn word(fate: &Fate) -> Option<&'static str> {
    match fate {
        Fate::Gone => Some(GONE),
        Fate::Failed(why) => Some(failed(why)),
        Fate::Skipped(why) => Some(skipped(why)),
        Fate::Done { .. } | Fate::Later { .. } => None,
    }
}

/// The reason of what was given up, by what the crawl says of it.
pub fn failed(why: &str) -> &'static str {
    let begins = |words: &str| why.starts_with(words);
    match why {
        _ if begins("status 5") => "failed.server",
        _ if begins("the host is busy") => "failed.busy",
        _ if begins("status ") => "failed.refused",
        _ if begins("there is no such name") => "failed.name",
        _ if begins("the host has failed for") => "failed.days",
        _ if begins("robots.txt cannot be had") => "failed.robots",
        _ if begins("may not be kept") => "failed.unkept",
        _ if begins("it redirects") => "failed.moved",
        _ if why.contains("proxy.allow_private_targets") => "failed.private",
        _ if begins("no address") => "failed.other",
        _ => "failed.unreachable",
    }
}

/// The same for what was left out on purpose.
pub fn skipped(why: &str) -> &'static str {
    let begins = |words: &str| why.starts_with(words);
    match why {
        _ if begins("robots.txt forbids") => "refused.robots",
        _ if begins("outside ") || begins("moved out") || begins("parts of it lie on") => "refused.scope",
        _ if begins("longer than") => SIZE,
        _ if begins("packs keep as much") => "left.share",
        _ if why.contains("scope.max_bytes is reached") || why.contains("(scope.sites)") => FULL,
        _ => "refused.form",
    }
}

/// How work on a pack ended, in a word.
pub fn ended(end: &End) -> &'static str {
    match end {
        End::Done(_) => "done",
        End::Window => "window",
        End::Turn => "turn",
        End::Asked => "made_way",
        End::Cancelled => "cancelled",
        End::Paused => "paused",
        End::Cap(Which::Night) => "cap_night",
        End::Cap(Which::Month) => "cap_month",
        End::Waiting(_) => "host_waits",
        End::Full(_) => "store_full",
    }
}

/// Why something of a pack is left, by how work on it ended last; what to do about it. `cut`: the power went meanwhile.
pub fn left(ended: Option<&str>, cut: bool) -> (&'static str, &'static str, &'static str) {
    let goes_on = "it goes on in the next window";
    match ended {
        Some("window") => ("window", "the window closed", "a longer window (night.windows) holds more"),
        Some("turn") => ("turn", "other packs had their turn until the window closed", "a longer window or fewer packs"),
        Some("cap_night") => ("cap_night", "night.night_cap was reached", "raise night.night_cap, or wait for the next night"),
        Some("cap_month") => ("cap_month", "night.month_cap was reached", "raise night.month_cap, or wait for the next month"),
        Some("store_full") => ("store_full", "the store takes nothing more", "let a pack go, or raise store.quota or store.pinned_share"),
        Some("host_waits") => ("host_waits", "its hosts asked to wait, or failed too often", AGAIN),
        Some("metered") => ("metered", "every byte costs money here (night.metered)", "bulak pack fetch, for what must be here"),
        Some("paused") => ("paused", "a person paused the night", "bulak night resume"),
        Some("cancelled") => ("cancelled", "a person ended it", goes_on),
        Some("made_way") => ("made_way", "another pack went first", goes_on),
        _ if cut => ("power", "the power went while it was fetched", goes_on),
        _ => ("no_turn", "its turn did not come", "a longer window, fewer packs, or a larger priority"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;

    #[test]
    fn whatever_the_crawl_says_has_its_plain_reason() {
        let table = [
            (Fate::Failed("status 500".into()), "failed.server"),
            (Fate::Failed("status 503 Service Unavailable".into()), "failed.server"),
            (Fate::Failed("status 403".into()), "failed.refused"),
            (Fate::Failed("the host is busy".into()), "failed.busy"),
            (Fate::Failed("the host has failed for 3 days; it is tried again in later nights".into()), "failed.days"),
            (Fate::Failed("there is no such name: nobody.kz".into()), "failed.name"),
            (Fate::Failed("robots.txt cannot be had, so nothing here may be fetched".into()), "failed.robots"),
            (Fate::Failed("may not be kept: Private".into()), "failed.unkept"),
            (Fate::Failed("it redirects to itself; it may want a cookie".into()), "failed.moved"),
            (Fate::Failed("it redirects in a circle".into()), "failed.moved"),
            (Fate::Failed("x; where it is a server of the school's own, name it in proxy.allow_private_targets".into()), "failed.private"),
            (Fate::Failed("no address".into()), "failed.other"),
            (Fate::Failed("connection refused".into()), "failed.unreachable"),
            (Fate::Failed(String::new()), "failed.unreachable"),
            (Fate::Skipped("robots.txt forbids it".into()), "refused.robots"),
            (Fate::Skipped("outside the pack's scope and classes".into()), "refused.scope"),
            (Fate::Skipped("moved out of the pack's hosts".into()), "refused.scope"),
            (Fate::Skipped("parts of it lie on a.kz, which the pack does not name: add it to scope.hosts".into()), "refused.scope"),
            (Fate::Skipped("its pieces are locked (DRM)".into()), "refused.form"),
            (Fate::Skipped("longer than a list or playlist may be".into()), "left.size"),
            (Fate::Skipped("longer than what is left of scope.max_bytes or scope.sites".into()), "left.size"),
            (Fate::Skipped("longer than the store takes in one piece (10 GiB)".into()), "left.size"),
            (Fate::Skipped("scope.max_bytes is reached".into()), "left.full"),
            (Fate::Skipped("packs keep as much as they may".into()), "left.share"),
            (Fate::Skipped("*.b.kz holds its 100 B (scope.sites)".into()), "left.full"),
            (Fate::Gone, GONE),
        ];
        for (fate, wanted) in table {
            assert_eq!(word(&fate), Some(wanted), "{fate:?}");
            assert_eq!(kind(wanted).is_none(), wanted == GONE);
            assert!(wanted == GONE || Reason::of(wanted).is_some(), "{wanted} has no words");
        }
        assert_eq!(word(&Fate::Later { at: Time::default(), failed: true }), None);
        for (place, one) in REASONS.iter().enumerate() {
            assert!(kind(one.word).is_some() && REASONS.iter().position(|other| other.word == one.word) == Some(place), "{}", one.word);
        }
    }

    #[test]
    fn what_is_left_has_its_reason_too() {
        let ends = [
            (End::Window, "window"),
            (End::Turn, "turn"),
            (End::Cap(Which::Night), "cap_night"),
            (End::Cap(Which::Month), "cap_month"),
            (End::Full(String::new()), "store_full"),
            (End::Waiting(Time::default()), "host_waits"),
            (End::Paused, "paused"),
            (End::Cancelled, "cancelled"),
            (End::Asked, "made_way"),
            // Through once, and something was opened again since.
            (End::Done(0), "no_turn"),
        ];
        for (end, wanted) in ends {
            assert_eq!(left(Some(ended(&end)), false).0, wanted, "{end:?}");
        }
        assert_eq!((left(None, true).0, left(None, false).0), ("power", "no_turn"));
        assert_eq!(left(Some("metered"), false).0, "metered");
    }
}
