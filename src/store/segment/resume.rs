//! How a log must not go on after a start: in the segment that was open before, taking what reads well there for durable. Only so
//! that the power-cut tests can be seen to fail. Tests only.

use crate::store::recover;
use crate::store::segment::{Current, Lane, Log, Segment, Standing, path};
use std::io;
use std::sync::atomic::Ordering;

impl Log {
    /// Takes an old segment of the main lane for the open one.
    pub(crate) fn resume(&self, number: u32) -> io::Result<()> {
        let file = self.disk.open(&path(&self.folder, number, Lane::Main.endings().0), true)?;
        let mut lines = Vec::new();
        let scan = recover::scan(&*file, file.length()?, &self.uuid, |line, _, holds, _| {
            if holds {
                lines.push(line);
            }
        })?;
        let mut open = self.open.lock();
        for line in &lines {
            open.seq = open.seq.max(line.seq);
            self.table.write().apply(line, number);
        }
        self.next_number.fetch_max(number + 1, Ordering::Relaxed);
        let standing = Standing::Open;
        self.ledger.set(number, Segment { lane: Lane::Main, standing, bytes: scan.end, alone: None, first: None, gauge: None });
        let (synced_lines, end) = (lines.len(), scan.end);
        open.main = Some(Current { lane: Lane::Main, number, file, end, lines, copies: false, synced_lines, synced_end: end });
        Ok(())
    }
}
