//! Every outcome by name: the word in Cache-Status (RFC 9211), log and counter, and the rule behind it for `bulak why`.
//!
//! A new outcome is a variant here and a row in `Why::row`; everything printed follows from it.

/// Why a request went the way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Fresh and stored.
    Fresh,
    /// Stale, served while it is refreshed behind (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// Stale, origin failed (RFC 5861 section 4).
    StaleIfError,
    /// Stale, origin out of reach, as RFC 9111 section 4.2.4 allows.
    Disconnected,
    /// Stale beyond the RFC: the line is down (policy `school`).
    Offline,
    /// The request allowed it (`max-stale`).
    MaxStale,
    /// Stored, 304 confirmed it.
    Revalidated,
    /// Nothing stored.
    UriMiss,
    /// Stored, but no variant fits.
    VaryMiss,
    /// Stored but stale.
    Stale,
    /// The request demanded it (`no-cache`, `max-age`, `min-fresh`).
    Request,
    /// Only a part is stored.
    Partial,
    /// Method is not cacheable.
    Method,
    /// Upgrade or other reason to keep out.
    Bypass,
    /// `only-if-cached` without a stored answer.
    OnlyIfCached,
    /// Not stored: `no-store` of either side.
    NoStore,
    /// Not stored: `private`.
    Private,
    /// Not stored, or not shared: the request carried Authorization.
    Authorization,
    /// Not stored: the answer sets a cookie.
    SetCookie,
    /// Not stored, or not shared: the request carried a cookie.
    Cookie,
    /// Host has accounts and no path class names the URL.
    Account,
    /// `Vary: *`.
    VaryStar,
    /// Vary names Cookie or Authorization.
    VaryPersonal,
    /// Not stored: the answer speaks to one person.
    Personal,
    /// The address holds a token: whoever has the link has the content.
    SecretAddress,
    /// Status or freshness information does not allow storing.
    Unstorable,
    /// The host is a library on this node: nothing is asked for over the line.
    Library,
    /// The store admits nothing.
    StoreFull,
}

/// What is said of one outcome.
struct Row {
    word: &'static str,
    fwd: Option<&'static str>,
    label: &'static str,
    rule: &'static str,
}

impl Why {
    /// All outcomes, for tables and tests.
    pub const ALL: [Why; 28] = [
        Why::Fresh,
        Why::StaleWhileRevalidate,
        Why::StaleIfError,
        Why::Disconnected,
        Why::Offline,
        Why::MaxStale,
        Why::Revalidated,
        Why::UriMiss,
        Why::VaryMiss,
        Why::Stale,
        Why::Request,
        Why::Partial,
        Why::Method,
        Why::Bypass,
        Why::OnlyIfCached,
        Why::NoStore,
        Why::Private,
        Why::Authorization,
        Why::SetCookie,
        Why::Cookie,
        Why::Account,
        Why::VaryStar,
        Why::VaryPersonal,
        Why::Personal,
        Why::SecretAddress,
        Why::Unstorable,
        Why::Library,
        Why::StoreFull,
    ];

    /// One word, a token of small letters and hyphens: Cache-Status `detail`, log, page.
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// The `fwd` word of Cache-Status; none when the answer came from the store, or from us.
    pub const fn fwd(self) -> Option<&'static str> {
        self.row().fwd
    }

    /// Whether the answer came from the store without waiting for the origin's.
    pub const fn is_hit(self) -> bool {
        matches!(self, Why::Fresh | Why::StaleWhileRevalidate | Why::StaleIfError | Why::Disconnected | Why::Offline | Why::MaxStale)
    }

    /// The metric label `cache`: hit, stale, offline, revalidated, miss or bypass.
    pub const fn cache_label(self) -> &'static str {
        self.row().label
    }

    /// The rule that decided, in one phrase, for `bulak why`.
    pub const fn rule(self) -> &'static str {
        self.row().rule
    }

    const fn row(self) -> Row {
        const fn row(word: &'static str, fwd: Option<&'static str>, label: &'static str, rule: &'static str) -> Row {
            Row { word, fwd, label, rule }
        }
        const MISS: Option<&str> = Some("uri-miss");
        const STALE: Option<&str> = Some("stale");
        const BYPASS: Option<&str> = Some("bypass");
        match self {
            Why::Fresh => row("fresh", None, "hit", "stored and fresh: RFC 9111 section 4.2"),
            Why::StaleWhileRevalidate => {
                row("stale-while-revalidate", None, "stale", "the origin allows it stale while it is refreshed: RFC 5861 section 3")
            }
            Why::StaleIfError => row("stale-if-error", None, "stale", "the origin failed and allowed it stale: RFC 5861 section 4"),
            Why::Disconnected => row("disconnected", None, "stale", "the origin is out of reach: RFC 9111 section 4.2.4"),
            Why::Offline => row("offline", None, "offline", "the line is down: policy school, cache.offline_override"),
            Why::MaxStale => row("max-stale", None, "stale", "the request allows it stale: RFC 9111 section 5.2.1.2"),
            Why::Revalidated => row("revalidated", STALE, "revalidated", "the origin confirmed it: RFC 9111 section 4.3"),
            Why::UriMiss => row("uri-miss", MISS, "miss", "nothing is stored under this URL"),
            Why::VaryMiss => row("vary-miss", Some("vary-miss"), "miss", "no stored variant fits: RFC 9111 section 4.1"),
            Why::Stale => row("stale", STALE, "miss", "stored but stale: RFC 9111 section 4.2"),
            Why::Request => row("request", Some("request"), "miss", "the request asks for a newer answer: RFC 9111 section 5.2.1"),
            Why::Partial => row("partial", Some("partial"), "miss", "only a part is stored: RFC 9111 section 3.3"),
            Why::Method => row("method", Some("method"), "bypass", "the method is not cached: RFC 9111 section 3"),
            Why::Bypass => row("bypass", BYPASS, "bypass", "the cache takes no part: upgrade, tunnel or setting"),
            Why::OnlyIfCached => row("only-if-cached", None, "bypass", "the request wants stored answers alone: RFC 9111 section 5.2.1.7"),
            Why::NoStore => row("no-store", MISS, "bypass", "no-store: RFC 9111 sections 5.2.1.5 and 5.2.2.5"),
            Why::Private => row("private", MISS, "bypass", "private: RFC 9111 section 5.2.2.7"),
            Why::Authorization => row("authorization", BYPASS, "bypass", "a login is never shared: RFC 9111 section 3.5, policy school"),
            Why::SetCookie => row("set-cookie", MISS, "bypass", "answers that set cookies are never shared: policy school"),
            Why::Cookie => row("cookie", BYPASS, "bypass", "with a cookie only what is public for all: policy school"),
            Why::Account => {
                row("account", BYPASS, "bypass", "the host has accounts and no pack's path class names this URL: policy school")
            }
            Why::VaryStar => row("vary-star", MISS, "bypass", "Vary: * fits no other request: RFC 9111 section 4.1"),
            Why::VaryPersonal => row("vary-personal", MISS, "bypass", "the answer depends on who asks: policy school"),
            Why::Personal => row("personal", MISS, "bypass", "the answer hands out or clears what proves a login: policy school"),
            Why::SecretAddress => row("secret-address", MISS, "bypass", "the address is itself a key: policy school"),
            Why::Unstorable => row("unstorable", MISS, "bypass", "neither status nor fields allow storing: RFC 9111 section 3"),
            Why::Library => {
                row("library", None, "bypass", "the host is a library (a ZIM file) on this node: never asked for over the line")
            }
            Why::StoreFull => row("store-full", MISS, "miss", "the store admits nothing now: store.quota"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_listed_once_and_says_what_others_understand() {
        let mut words: Vec<_> = Why::ALL.iter().map(|why| why.word()).collect();
        assert_eq!(Why::StoreFull as usize, Why::ALL.len() - 1, "the last variant is the last of the list");
        assert!(Why::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Why::ALL.len());
        for why in Why::ALL {
            assert!(why.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{why:?}");
            assert!(["hit", "stale", "offline", "revalidated", "miss", "bypass"].contains(&why.cache_label()), "{why:?}");
            let fwds = ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"];
            assert!(why.fwd().is_none_or(|fwd| fwds.contains(&fwd)), "{why:?}");
            assert!(!(why.is_hit() && why.fwd().is_some()), "{why:?}");
            assert!(why.rule().is_ascii() && !why.rule().ends_with('.'), "{why:?}");
        }
    }
}
