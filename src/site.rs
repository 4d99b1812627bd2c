//! What we know of hosts. SKELETON front door.

use crate::base::target::Target;
use std::sync::Arc;

/// A pack: parse, check, sign, verify.
pub mod pack;

/// What is known of a URL, from packs and the compiled-in lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The host has accounts.
    pub account: bool,
    /// A pack's path class names the URL.
    pub class: bool,
    /// A pack states permission to fetch from this host (manners).
    pub permitted: bool,
}

/// All rules in force, built from the packs. Swapped as a whole when packs change.
#[derive(Debug, Default)]
pub struct Sites(());

impl Sites {
    /// From verified packs.
    pub fn new(_packs: &[Arc<pack::Pack>]) -> Sites {
        todo!()
    }

    /// What is known of a target. Called for every request: fast for hosts without rules.
    pub fn look(&self, _target: &Target) -> Known {
        todo!()
    }
}
