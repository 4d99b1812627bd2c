//! From findings to the outbox: what sources have kept becomes records, signed and packed, exactly once; and what a wrong clock has
//! dated is dated anew, as long as no hub can have it.

use crate::base::clock::Time;
use crate::report::coding::{Packer, unpack};
use crate::report::compose::{self, Record, Shift};
use crate::report::source::{Kept, Source};
use crate::report::{Inner, batch, sign};
use crate::state;
use crate::state::outbox::{Label, Sealed};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Findings in one transaction: a tenth of a second on a slow disk.
const LOT: u32 = 200;

/// Less than this is no correction of a clock that was wrong but its everyday trimming.
const TRIM: Duration = Duration::from_secs(10);

/// What is remembered of a clock that cannot be believed.
#[derive(Debug, Default)]
pub(crate) struct Blind {
    /// What it said, and the steady moment of it.
    seen: Option<(Time, Instant)>,
    /// By how much it was wrong.
    shift: Option<Shift>,
}

/// A record as it lies in the outbox.
pub(crate) fn seal(inner: &Inner, packer: &mut Packer, record: &[u8]) -> Sealed {
    let sealed = inner.key.seal(record);
    let (coding, bytes) = packer.pack(&sealed);
    Sealed { coding, size: sealed.len(), bytes }
}

/// A record of the outbox as it travels; `None` when it is damaged.
pub(crate) fn plain(sealed: &Sealed) -> Option<Vec<u8>> {
    unpack(sealed.coding, &sealed.bytes, batch::MOST_RECORD)
}

/// A waiting record signed anew after `change`; `None`: it cannot be read, may not leave any more, or stays as it is.
pub(crate) fn anew(inner: &Inner, packer: &mut Packer, old: &Sealed, change: impl FnOnce(&mut Record<Value>) -> bool) -> Option<Sealed> {
    let plain = plain(old)?;
    let mut record: Record<Value> = serde_json::from_slice(sign::peel(&plain)?).ok()?;
    if !change(&mut record) {
        return None;
    }
    let bytes = compose::bytes(&record).inspect_err(|why| tracing::warn!(why, "a waiting report stays as it is")).ok()?;
    Some(seal(inner, packer, &bytes))
}

/// Puts what sources have kept into the outbox. How many records of those that leave soon.
pub(crate) async fn collect(inner: &Inner, sources: &[std::sync::Arc<dyn Source>]) -> anyhow::Result<usize> {
    let mut prompt = 0;
    for source in sources {
        match drain(inner, &**source).await {
            Ok(count) if source.kind().is_prompt() => prompt += count,
            Ok(_) => {}
            // The others have found something too.
            Err(error) => tracing::warn!(kind = source.kind().word(), error = format!("{error:#}"), "findings could not be read"),
        }
    }
    Ok(prompt)
}

async fn drain(inner: &Inner, source: &dyn Source) -> anyhow::Result<usize> {
    let (outbox, kind) = (inner.state.outbox(), source.kind().word());
    let mut count = 0;
    loop {
        let from = outbox.cursor(kind).await?;
        let mut found = source.after(from, LOT).await?;
        let Some(until) = found.iter().map(|kept| kept.number).max().filter(|until| *until > from) else { return Ok(count) };
        let more = found.len() >= LOT as usize;
        correct_all(inner, &mut found);
        // One that may not leave must not keep the others here.
        found.retain(|kept| may_leave(inner, kind, kept));
        let now = inner.clock.now();
        let blind = !inner.clock.trusted();
        let labels: Vec<Label<'_>> = found.iter().map(|kept| Label { kind, made: now, blind: blind && !kept.clock_ok }).collect();
        let mut packer = Packer::new();
        let write = |at: usize, epoch: i64, seq: i64| {
            let record = frame(inner, kind, &found[at], (epoch, seq));
            compose::bytes(&record).map(|bytes| seal(inner, &mut packer, &bytes)).map_err(state::Error::Refused)
        };
        count += outbox.add_lot(now.secs(), (from, until), kind, &labels, write).await?;
        if !more {
            return Ok(count);
        }
    }
}

fn frame<'a>(inner: &Inner, kind: &str, kept: &'a Kept, name: (i64, i64)) -> Record<&'a Value> {
    // Nothing ends before it begins, whatever clocks did.
    compose::record(&inner.who, kind, name, (kept.start.min(kept.end), kept.end), kept.clock_ok, &kept.payload)
}

fn may_leave(inner: &Inner, kind: &str, kept: &Kept) -> bool {
    let why = match compose::bytes(&frame(inner, kind, kept, (0, 0))) {
        Ok(bytes) if bytes.len() + sign::SIGNATURE <= batch::MOST_RECORD => return true,
        Ok(bytes) => format!("it is {} bytes long", bytes.len()),
        Err(why) => why,
    };
    tracing::error!(kind, why, "a finding stays here: it holds what may not leave");
    false
}

/// Dates findings that came before the clock was right.
fn correct_all(inner: &Inner, found: &mut [Kept]) {
    let Some(shift) = inner.memory.lock().blind.shift.filter(|_| inner.clock.trusted()) else { return };
    for kept in found.iter_mut().filter(|kept| !kept.clock_ok && kept.end > shift.begun) {
        (kept.start, kept.end, kept.clock_ok) = (shift.right(kept.start), shift.right(kept.end), true);
    }
}

/// Looks whether the clock has become right; then what it has dated is dated anew, where no hub can have it.
pub(crate) async fn correct(inner: &Inner) -> anyhow::Result<()> {
    let (now, steady) = (inner.clock.now(), inner.clock.steady());
    let shift = {
        let mut memory = inner.memory.lock();
        if !inner.clock.trusted() {
            memory.blind.seen = Some((now, steady));
            return Ok(());
        }
        let Some((said, then)) = memory.blind.seen else { return Ok(()) };
        let until = said.plus(steady.saturating_duration_since(then));
        Shift { begun: memory.line.begun(), until, by: now.since(until) }
    };
    if shift.by >= TRIM {
        let mut packer = Packer::new();
        let boot = &inner.who.boot_id;
        let ours = |record: &mut Record<Value>| record.boot_id == *boot && shift.redate(record);
        let count = inner.state.outbox().redate(|ended| shift.right(ended), |old| Ok(anew(inner, &mut packer, old, ours))).await?;
        tracing::info!(count, behind_s = shift.by.as_secs(), "the clock is right now: what waits for the hub was dated anew");
    }
    let mut memory = inner.memory.lock();
    memory.blind = Blind { seen: None, shift: Some(shift).filter(|shift| shift.by >= TRIM) };
    Ok(())
}
