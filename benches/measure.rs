//! What the benches that hold us against peers share: a process's CPU time, the middle of several rounds.

use std::fs;

/// CPU time that a process has used, user and system, in clock ticks.
pub(crate) fn cpu_ticks(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).expect("the server runs");
    // Fields 14 and 15; counted after the name, which may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// The middle one.
pub(crate) fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
