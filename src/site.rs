//! What we know of hosts: packs, the rules they state, the refusals that no pack lifts, and what a page needs.
//!
//! Everything here is pure: text in, judgement out. Who fetches, when and how fast is the business of `prefetch`.

/// A pack: parse, check, sign, verify.
pub mod pack;

/// Host and path to what is known of them.
pub mod rule;

/// The compiled-in lists that no configuration lifts.
pub mod refuse;

/// Path patterns of packs.
pub mod glob;

/// What kind of file an address names.
pub mod kind;

/// What a page needs.
pub mod discover;

/// Links to the school's own names.
pub mod rewrite;

/// Who may fetch what by robots.txt (RFC 9309).
pub mod robots;

/// One address for one page.
pub mod canonical;

/// Addresses that never end.
pub mod trap;

pub use rule::{Known, Sites};
