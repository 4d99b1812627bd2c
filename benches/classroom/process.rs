//! A proxy's processes: CPU time and memory of one process and all that it has started.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A process and all below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family(pub(crate) u32);

impl Family {
    /// User and system time so far, if there is such a process. USER_HZ is 100 on every Linux that we run on.
    pub(crate) fn cpu(self) -> Option<Duration> {
        self.sum(ticks).map(|ticks| Duration::from_millis(ticks * 10))
    }

    /// Resident memory, bytes, if there is such a process.
    pub(crate) fn memory(self) -> Option<u64> {
        self.sum(|id| status(id, "VmRSS:"))
    }

    /// Most resident memory so far, bytes: the sum of each process's own peak.
    pub(crate) fn peak_memory(self) -> Option<u64> {
        self.sum(|id| status(id, "VmHWM:"))
    }

    /// Of those that have the figure; none where not even the first has it.
    fn sum(self, figure: impl Fn(u32) -> Option<u64>) -> Option<u64> {
        figure(self.0)?;
        Some(self.members().into_iter().filter_map(figure).sum())
    }

    /// Asks it to end, and makes all of it end that is left after two seconds.
    pub(crate) fn end(self, gone: impl Fn() -> bool) {
        let members = self.members();
        signal(self.0, Signal::TERM);
        for _ in 0..200 {
            if gone() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Only those that are still the same processes: their parents, ours among them, have not gone on to others within seconds.
        for id in members {
            signal(id, Signal::KILL);
        }
    }

    fn members(self) -> Vec<u32> {
        let mut below: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && let Some(parent) = field(id, 1).and_then(|parent| u32::try_from(parent).ok())
            {
                below.entry(parent).or_default().push(id);
            }
        }
        let mut all = vec![self.0];
        let mut at = 0;
        while let Some(id) = all.get(at) {
            all.extend(below.remove(id).unwrap_or_default());
            at += 1;
        }
        all
    }
}

fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _sent = kill_process(id, signal); // it may have ended by itself
    }
}

fn ticks(id: u32) -> Option<u64> {
    Some(field(id, 11)? + field(id, 12)?)
}

/// A number of `/proc/ID/stat`, counted after the name, which may hold spaces.
fn field(id: u32, at: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    text.rsplit(')').next()?.split_whitespace().nth(at)?.parse().ok()
}

fn status(id: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
