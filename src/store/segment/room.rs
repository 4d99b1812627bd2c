//! Whole segments of no more use leave the disk: those of parts whose bodies are whole, and those of one large body to which no
//! answer leads. No other record depends on what stands in them. Segments in which records are mixed are rewritten
//! (`store/rewrite.rs`).

use crate::base::digest::Digest;
use crate::store::Error;
use crate::store::segment::ledger::Standing;
use crate::store::segment::{Lane, Log, path};
use std::sync::atomic::Ordering;

impl Log {
    /// The segments of parts in which no part is of use any more.
    pub(crate) fn dead(&self) -> Vec<u32> {
        let live = self.table.read().part_segments();
        let all = self.segments().into_iter().filter(|(_, segment)| segment.lane == Lane::Parts);
        all.map(|(number, _)| number).filter(|number| !live.contains(number)).collect()
    }

    /// The segments of a large body to which no answer leads any more.
    pub(crate) fn unused(&self) -> Vec<(u32, Digest)> {
        let alone = self.segments().into_iter().filter_map(|(number, segment)| segment.alone.map(|object| (number, object)));
        let table = self.table.read();
        alone.filter(|(number, object)| table.is_unused(object, *number)).collect()
    }

    /// Removes such a segment if it still is one; whether it was. What made the body useless must be on the medium. Whoever means
    /// to let an answer lead to it holds it in the table.
    pub(crate) fn remove_unused(&self, number: u32, object: &Digest) -> Result<bool, Error> {
        {
            let mut table = self.table.write();
            if !table.is_unused(object, number) {
                return Ok(false);
            }
            table.drop_unused(object, number);
        }
        self.unlink(number)?;
        Ok(true)
    }

    /// Removes a segment's file and strikes it out.
    pub(crate) fn unlink(&self, number: u32) -> Result<(), Error> {
        let Some(segment) = self.ledger.get(number) else { return Ok(()) };
        let (open, sealed) = segment.lane.endings();
        let ending = if segment.standing == Standing::Sealed { sealed } else { open };
        self.disk.remove(&path(&self.folder, number, ending)).map_err(|error| self.gate.note(error))?;
        self.loose.store(true, Ordering::Relaxed);
        self.ledger.strike(number);
        self.files.lock().remove(&number);
        self.bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// What was removed until now stays so. Called before anything leaves the disk that hid what was removed, by whoever rewrites.
    pub(crate) fn settle_removed(&self) -> Result<(), Error> {
        if self.loose.swap(false, Ordering::Relaxed)
            && let Err(error) = self.disk.sync_dir(&self.folder)
        {
            self.loose.store(true, Ordering::Relaxed);
            return Err(self.gate.note(error));
        }
        Ok(())
    }

    /// Removes those of `dead` that still are. Whatever made the parts useless must be on the medium, or a power cut would take
    /// the parts and what replaced them.
    pub(crate) fn remove(&self, dead: &[u32]) -> Result<(), Error> {
        // No part is appended meanwhile.
        let mut open = self.open.lock();
        let live = self.table.read().part_segments();
        for number in dead.iter().filter(|number| !live.contains(number)) {
            if let Some(current) = open.parts.take_if(|now| now.number == *number) {
                self.ledger.change(*number, |segment| segment.bytes = current.end);
            }
            self.unlink(*number)?;
        }
        self.unsynced.store(open.unsynced(), Ordering::Relaxed);
        Ok(())
    }
}
