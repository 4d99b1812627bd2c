//! Who we are to devices, and whom we trust upstream: which roots, which revocations, by whose clock.
//!
//! Interception starts at [`crate::tls::authority::ready()`]: without this school's CA and its recorded consent there is none.

/// What a device says first, and whether its connection may be opened.
pub mod hello;

/// This school's CA: made here, constrained, retired.
pub mod authority;

/// Who agreed that listed hosts are opened, and to which text.
pub mod consent;

/// A leaf per host, minted and kept.
pub mod leaf;

/// Which devices trust the CA.
pub mod device;

/// A certificate that was given to us.
pub mod given;

/// Roots for upstream.
pub mod trust;
