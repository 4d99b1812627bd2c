//! Whom we trust upstream. SKELETON.

/// Roots for upstream.
pub mod trust;
