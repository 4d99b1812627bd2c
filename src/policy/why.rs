//! Every outcome by name. SKELETON.

/// Why a request went the way it went. One word for Cache-Status `detail`, log and counter.
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
    /// Not stored: no-store, private, Authorization, Set-Cookie, ...
    NoStore,
    /// See `NoStore`.
    Private,
    /// See `NoStore`.
    Authorization,
    /// See `NoStore`.
    SetCookie,
    /// See `NoStore`.
    Cookie,
    /// Host has accounts and no path class names the URL.
    Account,
    /// `Vary: *`.
    VaryStar,
    /// Status or freshness information does not allow storing.
    Unstorable,
    /// The store admits nothing.
    StoreFull,
}
