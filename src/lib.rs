//! Bulak (бұлақ, "spring" in Kazakh): a learning-content cache server for schools on thin lines.
//!
//! One binary. In a village school it is the *node*: a caching proxy that fetches lessons in the night, keeps every byte once,
//! serves the class when the line is down, and tells the region how line and cache are doing. In the region it is the *hub*.
//!
//! # The straight line
//!
//! Every request walks the same corridor:
//!
//! ```text
//! listen  ->  classify   ->  decide  ->  store     ->  upstream  ->  respond
//! accept      which lane?    pure        have it?      fetch it      say what happened
//! ```
//!
//! Start reading at [`proxy`] (the life of one request), then [`cache`] (find, decide, act), then [`policy`] (every rule, without
//! any I/O), then [`store`] (what survives a power cut, and why).
//!
//! # The floors
//!
//! A module names only modules above its own row. `tests/tidy.rs` holds this table against every `use`.
//!
//! | floor | modules | |
//! |---|---|---|
//! | ground | [`base`], [`life`] | words everyone may use; how tasks live and end |
//! | thinking | [`site`], [`policy`] | pure: what we know of hosts; what a shared cache may do |
//! | knowing | [`state`], [`store`], [`link`] | SQLite; objects on disk and in memory; the line |
//! | reaching | [`tls`], [`upstream`] | who we are to devices, whom we trust; one request to an origin |
//! | joining | [`cache`] | the only place where policy, store and upstream meet |
//! | doing | [`meter`], [`prefetch`], [`portal`], [`proxy`], [`report`] | the night; pages; requests; what leaves for the region |
//! | showing | [`admin`], [`hub`] | web port and local socket; the regional server |
//! | wiring | [`config`], [`app`], [`cli`] | from a file and arguments to running parts |
//!
//! # What is absent, on purpose
//!
//! - `policy` and `site` never learn that a disk, a clock or a network exists: time and stored answers come in as arguments.
//! - `store` never learns what HTTP means: it keeps metas and bodies, and understands keys, lengths and hashes only.
//! - `upstream` never learns that a cache exists, and nobody but `upstream` dials an origin.
//! - sled is never believed: what it says is checked against the record it points to, and its folder may be deleted at any time.
//! - No client address, path or query string is written to a log or leaves the node.
//! - No `unsafe` but in `base/socket.rs`, `base/arena.rs` and `base/heap.rs`.
//! - Only [`base::clock`] asks the time, and only [`life`] starts tasks.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | node, hub | the server in a school; the regional server |
//! | line, link | the school's Internet connection, in sentences and in code |
//! | lane | how one request is treated: Local, Cache, Tunnel, Pass, Refuse |
//! | way | how content became cacheable: plain HTTP, mirror, interception |
//! | open, splice | what happens to a connection of https: answered by ourselves under the school's CA, or passed on untouched |
//! | device | what a pupil holds; *enrolled* once it proved that it trusts the school's CA |
//! | why | the reason for an outcome; one word for header, log and counter |
//! | pack | a reviewed text file that names learning content to fetch and keep |
//! | foreground, background | what a person waits for; what gives way to it |
//! | raise | background becomes foreground: somebody came to wait for it |
//! | wish | one thing to fetch; *errand* is a wish on its way |
//! | proposal | what at least five devices missed on one day, for a person to approve |
//! | recording | one device browses a lesson once, and what it needed becomes a pack |
//! | window | when the night's work may run |
//! | calendar | days without school, on which other windows hold |
//! | cap | most bytes that a night (noon to noon) or a month may bring |
//! | turn | how long a pack has the line before another of its priority goes on |
//! | pause | a person wants the line left alone |
//! | object | one stored body, named by the blake3 of its decoded bytes |
//! | entry | one stored answer: URL and variant, pointing to an object |
//! | pin | what a pack keeps |
//! | crowd, seat | who holds how many of what all share; one place in it, given back by itself |
//! | asker | the device that waits for an answer: none takes what the others need |
//! | flight | one fetch under way, which many requests read along with |
//! | sample, rollup | one observation of the line; a summary over time |
//! | outage, sign, cause | a trouble that is told; what points to one; the one of several that explains the others |
//! | reach | whether a host is in the country: domestic, foreign, unknown |
//! | burst | ten packets of UDP to the hub and back |
//! | test, run | the line measured on purpose, both directions; one direction with one number of streams |
//! | slot | a part of the school's day with a test of its own, at an instant drawn once |
//! | cross traffic | what others moved during a test: it is added, so that a busy line is not called a slow one |
//! | plateau, estimate | the steady part of a run; from it the capacity of the line, and how sure that is |
//! | drain | how a node ends: no new work, what runs is finished, all within one grace period |
//! | outbox | reports waiting to leave |
//! | source, cursor | a part whose findings leave with the reports; up to which of them they are in the outbox |
//! | statement, paper | what a line did over a period, for people who pay for it; the same signed, so that it can be checked |
//! | job | long work that somebody asked for: it is watched, and may be ended |
//! | token, role | what a script shows to use the API; what it may do there |
//! | event | something that happened in the night, told while it happens |
//! | summary | what a night (noon to noon) brought and what not, told in the morning |

#![deny(unsafe_code)]

/// Ground: small words that everyone may use.
pub mod base;

/// Ground: how tasks live and end.
pub mod life;

/// Thinking: what we know of hosts; packs, rules, refusals, what a page needs.
pub mod site;

/// Thinking: the caching rules as pure functions.
pub mod policy;

/// Knowing: the node's SQLite; history, statistics, outbox, frontier.
pub mod state;

/// Knowing: the segment log and everything that keeps each byte once.
pub mod store;

/// Knowing: the line; up, slow or down; how fast.
pub mod link;

/// Reaching: who we are to devices, and whom we trust upstream.
pub mod tls;

/// Reaching: one request to an origin, with deadlines on every wait.
pub mod upstream;

/// Joining: find, decide, act.
pub mod cache;

/// Doing: speed tests, as everybody runs them.
pub mod meter;

/// Doing: what is fetched before anyone asks.
pub mod prefetch;

/// Doing: pages for the class.
pub mod portal;

/// Doing: the life of one request, first to last.
pub mod proxy;

/// Doing: what the school tells the region.
pub mod report;

/// Showing: web port and local socket; status, metrics, operations.
pub mod admin;

/// Showing: the regional server.
pub mod hub;

/// Wiring: the configuration, read and checked.
pub mod config;

/// Wiring: builds the node's or the hub's parts from the ground up.
pub mod app;

/// Wiring: the subcommands.
pub mod cli;
