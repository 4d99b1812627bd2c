//! The regional server. SKELETON.
