//! The life of one request. SKELETON.
