//! Whom we trust upstream: which roots, which revocations, by whose clock.

/// Roots for upstream.
pub mod trust;
