//! One program for all decoders: `BULAK_FUZZ_ONLY` names one, or the first byte of an input chooses.
#![no_main]

#[path = "../../targets.rs"]
#[allow(dead_code, reason = "the words are for the harness on stable Rust; libFuzzer finds its own")]
mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use targets::DECODERS;

fuzz_target!(|bytes: &[u8]| {
    static ONLY: OnceLock<Option<usize>> = OnceLock::new();
    let only = ONLY.get_or_init(|| {
        let name = std::env::var("BULAK_FUZZ_ONLY").ok()?;
        Some(DECODERS.iter().position(|decoder| decoder.name == name).unwrap_or_else(|| panic!("no decoder {name}")))
    });
    match (only, bytes.split_first()) {
        (Some(at), _) => (DECODERS[*at].run)(bytes),
        (None, Some((first, rest))) => (DECODERS[usize::from(*first) % DECODERS.len()].run)(rest),
        (None, None) => {}
    }
});
