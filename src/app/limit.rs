//! What this process may do and what others may do with its files.
//!
//! Every connection is an open file, and the usual soft limit of 1,024 is spent by a class; the hard limit is what the machine's owner
//! allows (systemd's default: 524,288).

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Whatever a node or hub writes from now on is for its user and its group alone: wishes and tokens lie in the database, and what a
/// school reads lies in the store. Keys are closed to the group as well where they are made.
pub fn close_files() {
    umask(Mode::RWXO | Mode::WGRP);
}

/// Raises the soft limit to the hard one. When the system refuses, what is there must do; it is said.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(from = ?limit.current, to = ?limit.maximum, "open files"),
        Err(error) => tracing::warn!(%error, limit = ?limit.current, "the limit of open files could not be raised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
