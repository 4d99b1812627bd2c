//! Roots for upstream TLS. SKELETON.
