//! The ground floor: small words that every module may use.
//!
//! Everything here is pure but for `clock`, which alone asks the time, `socket`, which alone talks to libc, `arena`, which keeps bodies
//! where a socket can take them, `door`, which sets how long a connection may be silent, and `drip`, which waits.

/// Wall time, steady time and the one place that asks the system for either.
pub mod clock;

/// What a request is aimed at, in canonical form.
pub mod target;

/// Bodies as they travel between modules.
pub mod body;

/// Sizes, rates and shares with their units.
pub mod unit;

/// blake3 names.
pub mod digest;

/// Jittered, capped waits.
pub mod backoff;

/// Counters, gauges and histograms that can be read back.
pub mod count;

/// The error document of every API.
pub mod problem;

/// What the framework refuses, as such documents.
pub mod refusal;

/// Bearer tokens: shape, names, how they are shown.
pub mod bearer;

/// Who is in the same house.
pub mod near;

/// How often somebody may fail.
pub mod limit;

/// Who holds how many of what all share.
pub mod crowd;

/// What every port does with a connection first.
pub mod door;

/// Bodies that come too slowly.
pub mod drip;

/// Numbers in as few bytes as they need.
pub(crate) mod varint;

/// Bodies in small pieces.
pub mod pieces;

/// SQLite files that survive a power cut.
pub(crate) mod sqlite;

/// Days as people of a place count them.
pub mod calendar;

/// Tables for spreadsheets.
pub mod table;

/// The plane that charts are drawn on.
pub mod chart;

/// The languages of pages and papers.
pub mod language;

/// How an address may be written down.
pub mod redact;

/// The wire filter in front of hyper.
pub mod wire;

/// What only libc can say.
pub mod socket;

/// Memory that a socket can take from without a copy.
pub mod arena;

/// How threads share memory out.
pub mod heap;
