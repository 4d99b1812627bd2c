//! The node's SQLite. SKELETON.
