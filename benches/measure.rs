//! What the benches that hold us against peers share.

/// The middle one of several rounds.
pub(crate) fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
