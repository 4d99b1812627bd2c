//! The configuration. SKELETON.
