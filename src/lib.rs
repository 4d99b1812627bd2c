//! Bulak: a learning-content cache server for schools on thin lines.

#![deny(unsafe_code)]

/// Small words everyone may use.
pub mod base;

/// How tasks live and end.
pub mod life;

/// What we know of hosts: packs, rules, refusals, what a page needs.
pub mod site;

/// The caching rules as pure functions.
pub mod policy;

/// The node's SQLite: history, statistics, outbox, frontier.
pub mod state;

/// The segment log and everything that keeps each byte once.
pub mod store;

/// The line: up, slow or down; how fast; what is left of its budget.
pub mod link;

/// Whom we trust upstream.
pub mod tls;

/// One request to an origin, with deadlines on every wait.
pub mod upstream;

/// Find, decide, act.
pub mod cache;

/// What is fetched before anyone asks.
pub mod prefetch;

/// Pages for the class.
pub mod portal;

/// The life of one request, first to last.
pub mod proxy;

/// What the school tells the region.
pub mod report;

/// The regional server.
pub mod hub;

/// Web port and local socket: status, metrics, operations.
pub mod admin;

/// The configuration, read and checked.
pub mod config;

/// Builds the node's or the hub's parts.
pub mod app;

/// The subcommands.
pub mod cli;
