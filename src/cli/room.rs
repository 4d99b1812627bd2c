//! Whether the store has the room that its quota promises. Pure; status and doctor say the same of it.

use crate::base::unit::Bytes;

/// Less free space than this share of the file system is trouble: the store stops admitting at 95 %.
const FREE_PERCENT: u64 = 5;

/// What is known of a store and the disk below it, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The most that the store may take.
    pub(super) quota: u64,
    /// Free on the file system.
    pub(super) free: u64,
    /// All that the file system has.
    pub(super) total: u64,
    /// What the store takes already; unknown while no node runs.
    pub(super) used: Option<u64>,
}

/// What is wrong, how bad it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Whether it hinders the store now or for certain later.
    pub(super) failed: bool,
    /// Lower case, no full stop.
    pub(super) message: String,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// Holds the quota against the disk.
pub(super) fn look(room: Room) -> Option<Trouble> {
    let Room { quota, free, total, used } = room;
    let trouble = |failed, message, remedy| Some(Trouble { failed, message, remedy });
    let there = Bytes(free).human();
    if free.saturating_mul(100) < total.saturating_mul(FREE_PERCENT) {
        let message = format!("only {there} of {} are free: nothing new is kept", Bytes(total).human());
        return trouble(true, message, "free space, or move store.path");
    }
    let quota_told = format!("store.quota \"{}\"", Bytes(quota));
    if quota > total {
        let message = format!("{quota_told} is larger than the disk ({}, {there} of it free)", Bytes(total).human());
        return trouble(true, message, "choose less, or move store.path");
    }
    let used = used?;
    let to_come = quota.saturating_sub(used);
    if to_come <= free {
        return None;
    }
    let message = format!("{quota_told} leaves {} to come, but only {there} are free", Bytes(to_come).human());
    trouble(false, message, "choose less, free space, or move store.path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_held_against_the_disk() {
        let gib = |n: u64| n << 30;
        let table = [
            (gib(20), gib(100), gib(200), None, None),
            (gib(20), gib(10), gib(200), Some(gib(15)), None),
            (gib(20), gib(11), gib(200), Some(gib(5)), Some(false)),
            (gib(20_480), gib(931), gib(1000), None, Some(true)),
            (gib(20_480), gib(931), gib(1000), Some(0), Some(true)),
            (gib(20), gib(9), gib(200), None, Some(true)),
        ];
        for (quota, free, total, used, wanted) in table {
            let found = look(Room { quota, free, total, used });
            assert_eq!(found.as_ref().map(|trouble| trouble.failed), wanted, "{found:?}");
        }
        let found = look(Room { quota: gib(20_480), free: gib(900), total: gib(1000), used: None }).expect("too much");
        assert_eq!(found.message, "store.quota \"20 TiB\" is larger than the disk (1.1 TB, 966.4 GB of it free)");
    }
}
