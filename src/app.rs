//! Builds the parts. SKELETON.
