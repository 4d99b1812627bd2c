//! What this process may do and what others may do with its files; how many of them it may hold open, and who gets how many.
//!
//! Every connection is an open file, and the usual soft limit of 1,024 is spent by a class; the hard limit is what the machine's owner
//! allows (systemd's default: 524,288).
//!
//! # Why connections are counted against it
//! Without a share for the store and for origins, clients that merely hold connections would take every descriptor: then nobody is
//! answered, and the store cannot open a file. So clients get what is left after those.

use crate::admin::listen::Room;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Whatever a node or hub writes from now on is for its user and its group alone: wishes and tokens lie in the database, and what a
/// school reads lies in the store. Keys are closed to the group as well where they are made.
pub fn close_files() {
    umask(Mode::RWXO | Mode::WGRP);
}

/// Raises the soft limit to the hard one, and tells what is allowed now. When the system refuses, what is there must do; it is said.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => {
            tracing::debug!(from = ?limit.current, to = ?limit.maximum, "open files");
            limit.maximum
        }
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "the limit of open files could not be raised");
            limit.current
        }
    }
}

/// What of the open files is whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Connections to the proxy, of all clients and of one.
    pub(super) proxy: (usize, usize),
    /// Connections to the web port.
    pub(super) web: Room,
    /// Idle connections to origins.
    pub(super) idle: usize,
}

/// Below this the node does not promise to serve a class.
const SCANT: usize = 1024;

/// Shares out what is allowed; one address is to have `per_client` connections. With 20,000 files or more everybody has what he would
/// have without a limit.
pub(super) fn share_out(files: Option<u64>, per_client: usize) -> Shares {
    let usual = crate::proxy::Settings::default();
    let (room, idle) = (Room::default(), crate::upstream::Settings::default().idle);
    let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else {
        return Shares { proxy: (usual.total, per_client), web: room, idle };
    };
    if files < SCANT {
        tracing::warn!(files, "few files may be open: the node takes few connections; raise LimitNOFILE= of its service, or \"ulimit -n\"");
    }
    // The store, the databases, listeners and threads: some 60, and more while it tidies up.
    let left = files.saturating_sub((files / 4).clamp(64, 512));
    let connections = room.connections.min((left / 8).max(4));
    let idle = idle.min(left / 8);
    // Each connection of a client may need one to an origin.
    let total = usual.total.min((left.saturating_sub(connections + idle) / 2).max(8));
    Shares {
        proxy: (total, per_client.min((total / 4).max(4))),
        web: Room { connections, each: room.each.min((connections / 4).max(2)) },
        idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let told = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, told), (limit.maximum, limit.maximum));
    }

    #[test]
    fn clients_leave_files_for_the_store_and_for_origins() {
        let plenty = share_out(None, 256);
        assert_eq!((plenty.proxy, plenty.web, plenty.idle), ((8192, 256), Room { connections: 1024, each: 128 }, 512));
        assert_eq!(share_out(Some(524_288), 256), plenty);
        assert_eq!(share_out(Some(20_000), 256), plenty);
        for files in [128, 256, 1024, 4096, 16_384] {
            let shares = share_out(Some(files), 256);
            let (total, each) = shares.proxy;
            let taken = 2 * total + shares.web.connections + shares.idle + 64;
            assert!(taken as u64 <= files, "{files}: {shares:?}");
            assert!(
                each * 4 <= total && shares.web.each * 4 <= shares.web.connections,
                "{files}: no client has more than a quarter: {shares:?}"
            );
        }
        assert!(share_out(Some(0), 256).proxy.0 > 0);
        // A class behind one address has what was configured, but for a quarter of what there is.
        assert_eq!((share_out(None, 1000).proxy.1, share_out(Some(524_288), 2048).proxy.1), (1000, 2048));
        let scant = share_out(Some(1024), 1000).proxy;
        assert!(scant.1 * 4 <= scant.0, "{scant:?}");
    }
}
