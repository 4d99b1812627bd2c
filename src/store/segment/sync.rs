//! Group commit: what was appended before a call is on the medium when it returns. A sync that failed is never repeated and
//! believed: what it covered is read back and written anew (`copy.rs`).

use crate::store::Error;
use crate::store::segment::{Lane, Log};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Everything appended before the call is on the medium when this returns. Blocking.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let _one = self.syncing.lock();
        self.sync_lane(Lane::Parts)?;
        self.sync_lane(Lane::Main)
    }

    fn sync_lane(&self, lane: Lane) -> Result<(), Error> {
        let Some((number, file, lines, end, before)) = ({
            let mut open = self.open.lock();
            if open.lost {
                return Err(Error::ReadOnly);
            }
            open.lane(lane)
                .as_ref()
                .filter(|now| now.synced_end < now.end)
                .map(|now| (now.number, Arc::clone(&now.file), now.lines.len(), now.end, now.synced_end))
        }) else {
            return Ok(());
        };
        let synced = file.sync();
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        let here = open.lane(lane).as_ref().is_some_and(|now| now.number == number);
        match synced {
            Ok(()) => {
                if let Some(current) = open.lane(lane).as_mut().filter(|_| here) {
                    (current.synced_lines, current.synced_end) = (lines, end);
                }
                self.unsynced.store(open.unsynced(), Ordering::Relaxed);
                Ok(())
            }
            Err(error) if here => {
                let current = open.lane(lane).take().expect("seen above");
                self.rescue(&mut open, &current, &error).map_err(|error| self.gate.note(error))
            }
            // Sealed meanwhile, with a sync of its own; but after one that failed a later one proves nothing.
            Err(error) => self.rescue_sealed(&mut open, (lane, number), before, &error).map_err(|error| self.gate.note(error)),
        }
    }

    /// Seals and syncs what is open. The log may go on: the next record starts a new segment.
    pub(crate) fn close(&self) -> Result<(), Error> {
        let mut open = self.open.lock();
        if open.lost {
            return Err(Error::ReadOnly);
        }
        for lane in [Lane::Parts, Lane::Main] {
            if open.lane(lane).as_ref().is_some_and(|now| !now.lines.is_empty()) {
                self.seal(&mut open, lane).map_err(|error| self.gate.note(error))?;
            }
        }
        Ok(())
    }
}
