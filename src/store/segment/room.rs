//! Whole segments of no more use leave the disk: those of parts whose bodies are whole, and those of one large body to which no
//! answer leads. No other record depends on what stands in them. Segments in which records are mixed wait for compaction.

use crate::base::digest::Digest;
use crate::store::Error;
use crate::store::segment::{Lane, Log, path};
use std::sync::atomic::Ordering;

impl Log {
    /// The segments of parts in which no part is of use any more.
    pub(crate) fn dead(&self) -> Vec<u32> {
        let live = self.table.read().part_segments();
        self.parts.lock().iter().filter(|number| !live.contains(number)).copied().collect()
    }

    /// The segments of a large body to which no answer leads any more.
    pub(crate) fn unused(&self) -> Vec<(u32, Digest)> {
        let table = self.table.read();
        self.alone
            .lock()
            .iter()
            .filter(|(number, object)| table.is_unused(object, **number))
            .map(|(number, object)| (*number, *object))
            .collect()
    }

    /// Removes such a segment if it still is one. What made the body useless must be on the medium, and the caller holds the
    /// object's lock, so that no answer comes to lead to it meanwhile.
    pub(crate) fn remove_unused(&self, number: u32, object: &Digest) -> Result<(), Error> {
        {
            let mut table = self.table.write();
            if !table.is_unused(object, number) {
                return Ok(());
            }
            table.drop_unused(object, number);
        }
        self.unlink(number, Lane::Main.endings().1, self.file(number)?.length()?)?;
        self.alone.lock().remove(&number);
        Ok(())
    }

    fn unlink(&self, number: u32, ending: &str, length: u64) -> Result<(), Error> {
        self.disk.remove(&path(&self.folder, number, ending)).map_err(|error| self.gate.note(error))?;
        self.files.lock().remove(&number);
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        Ok(())
    }

    /// Removes those of `dead` that still are. Whatever made the parts useless must be on the medium, or a power cut would take
    /// the parts and what replaced them.
    pub(crate) fn remove(&self, dead: &[u32]) -> Result<(), Error> {
        // No part is appended meanwhile.
        let mut open = self.open.lock();
        let live = self.table.read().part_segments();
        for number in dead.iter().filter(|number| !live.contains(number)) {
            let current = open.parts.take_if(|now| now.number == *number);
            let (ending, length) = match &current {
                Some(current) => (Lane::Parts.endings().0, current.end),
                None => (Lane::Parts.endings().1, self.file(*number)?.length()?),
            };
            self.unlink(*number, ending, length)?;
            self.parts.lock().remove(number);
        }
        self.unsynced.store(open.unsynced(), Ordering::Relaxed);
        Ok(())
    }
}
