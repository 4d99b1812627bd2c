//! A small disk of a test's own: full at a few megabytes, read-only on command.

use crate::kit::program;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs at a folder; unmounted when dropped, which must be after the node and before the folder.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts one with these options (`size=24m`). `None` where mounting is not permitted, which is told as a skipped `test`.
    pub(crate) fn new(test: &str, at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        let output = program::run(&mount, 20);
        if output.status.success() {
            return Some(Mount(at.to_owned()));
        }
        let why = String::from_utf8_lossy(&output.stderr);
        program::skipped(test, &format!("mounting is not permitted here: {}", why.trim()));
        None
    }

    /// As a TOML value.
    pub(crate) fn path(&self) -> String {
        format!("\"{}\"", self.0.display())
    }

    /// Mounts it anew with these options (`ro`).
    pub(crate) fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        let output = program::run(&mount, 20);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        program::run(umount.arg("-l").arg(&self.0), 20);
    }
}
