//! Two pupils, each with a session, through every lane and policy: neither ever gets a byte of the other's, and nothing of either
//! is left on the disk, in logs, figures or reports.

use crate::kit::diary::{Pupil, holds};

/// The pupils' steps, and the search in what they get.
mod walk;

/// By which they reach their diaries.
mod lanes;

/// Through a real node.
mod node;

/// The same with a rule that is broken on purpose.
mod broken;

/// Two pupils.
fn pupils(seed: u64) -> Vec<Pupil> {
    vec![Pupil::new("Aigerim", seed * 2 + 1001), Pupil::new("Bolat", seed * 2 + 1002)]
}

/// Whose token lies in which of these things.
fn on_disk(pupils: &[Pupil], things: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bytes) in things {
        for pupil in pupils.iter().filter(|pupil| holds(&bytes, &pupil.token)) {
            found.push(format!("{name} holds {}'s token", pupil.name));
        }
    }
    found
}
