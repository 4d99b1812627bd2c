//! The pieces of our work that every request or every night pays for, each by itself: without sockets, with content from seeds and a
//! time that stands still, so that an operation is the same work on every run. `counts` counts their instructions, `micro` takes
//! their time.
#![allow(dead_code, reason = "each bench uses its own part")]

/// The policy's decision.
mod decide;

/// From a request to the head of its answer.
mod hit;

/// Bodies into the store, answers out of it, and a night.
mod keep;

/// Reports.
mod report;

/// Links of pages and style sheets.
mod rewrite;

/// One operation, done once for each call.
pub(crate) type Operation = Box<dyn FnMut()>;

/// A piece of work.
pub(crate) struct Piece {
    /// Its name, in tables and in `counts.toml`.
    pub(crate) name: &'static str,
    /// Makes what it works on, for at least so many operations.
    pub(crate) make: fn(u64) -> Operation,
    /// Operations that are counted: as many as make start-up small beside them.
    pub(crate) times: u64,
    /// Each operation uses up what has been made for it.
    pub(crate) uses_up: bool,
}

/// All of them, in the order of a request's way.
pub(crate) const PIECES: [Piece; 13] = [
    piece("decide-fresh", decide::fresh, 20_000),
    piece("decide-stale", decide::stale, 20_000),
    piece("decide-miss", decide::miss, 20_000),
    piece("hit", hit::whole, 5_000),
    piece("hit-range", hit::range, 5_000),
    piece("hit-unmodified", hit::unmodified, 5_000),
    piece("records", keep::records, 40),
    piece("fill-10k", keep::fill_small, 500),
    piece("fill-1m", keep::fill_large, 100),
    Piece { uses_up: true, ..piece("repack", keep::repack, 1) },
    piece("report", report::day, 1),
    piece("rewrite-html", rewrite::html, 20),
    piece("rewrite-css", rewrite::css, 50),
];

const fn piece(name: &'static str, make: fn(u64) -> Operation, times: u64) -> Piece {
    Piece { name, make, times, uses_up: false }
}
