//! The table as bytes, for a snapshot: slots as they are, row by row. Bodies are numbered in the order of their index, so that a start
//! reads words, index and memory in one direction. Whatever is read back is looked at, so that no bytes can make
//! a table that panics; whether they are right is the checksum's to say.

use crate::base::target::UrlKey;
use crate::store::table::answers::{self, ROWS as ANSWER_ROWS};
use crate::store::table::bodies::ROWS as BODY_ROWS;
use crate::store::table::{Parts, Place, Span, Table};
use std::io::{self, Read, Write};

impl Table {
    /// To bytes.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (count, words) in self.bodies.rows() {
            put_count(out, count)?;
            for word in words {
                out.write_all(&word.to_le_bytes())?;
            }
        }
        let numbers = self.bodies.renumbered();
        let new = |number: u32| numbers.get(number as usize).copied().unwrap_or(0);
        put_count(out, self.bodies.bases().len())?;
        for (number, base) in self.bodies.bases() {
            out.write_all(&new(*number).to_le_bytes())?;
            out.write_all(&base.to_le_bytes())?;
        }
        for (count, slots) in self.answers.rows() {
            put_count(out, count)?;
            for slot in slots {
                out.write_all(&answers::renumbered(slot, new).to_le_bytes())?;
            }
        }
        self.write_few(out)
    }

    /// Parts, pins, dictionaries.
    fn write_few(&self, out: &mut dyn Write) -> io::Result<()> {
        put_count(out, self.parts.len())?;
        for (entry, parts) in &self.parts {
            out.write_all(entry)?;
            out.write_all(&parts.url)?;
            out.write_all(&parts.total.to_le_bytes())?;
            put_count(out, parts.spans.len())?;
            for span in &parts.spans {
                for word in [span.offset, span.length, span.place.pack()] {
                    out.write_all(&word.to_le_bytes())?;
                }
            }
        }
        put_count(out, self.pins.iter().count())?;
        for pin in self.pins.iter() {
            out.write_all(&pin.url)?;
            out.write_all(&self.pins.set_of(pin).to_le_bytes())?;
            out.write_all(&pin.place().pack().to_le_bytes())?;
        }
        put_count(out, self.dicts.len())?;
        for (number, place) in &self.dicts {
            out.write_all(&number.to_le_bytes())?;
            out.write_all(&place.pack().to_le_bytes())?;
        }
        Ok(())
    }

    /// From bytes; does not count yet ([`Table::count`]).
    ///
    /// # Errors
    /// `InvalidData` when they cannot be a table, `UnexpectedEof` when there are too few.
    pub(crate) fn read(from: &mut dyn Read) -> io::Result<Table> {
        let mut table = Table::new();
        let sound = |sound: bool| if sound { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) };
        for row in 0..BODY_ROWS {
            let words = many(from, u128::from_le_bytes)?;
            sound(table.bodies.set_row(row, &words))?;
        }
        for _ in 0..count(from)? {
            let (number, base) = (u32::from_le_bytes(take(from)?), u64::from_le_bytes(take(from)?));
            sound(table.bodies.set_base(number, base))?;
        }
        let end = table.bodies.end();
        for row in 0..ANSWER_ROWS {
            let slots = many(from, u128::from_le_bytes)?;
            sound(table.answers.set_row(row, &slots, end))?;
        }
        table.read_few(from)?;
        Ok(table)
    }

    fn read_few(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let word = |from: &mut dyn Read| take(from).map(u64::from_le_bytes);
        for _ in 0..count(from)? {
            let (entry, url, total) = (take(from)?, take(from)?, word(from)?);
            let mut parts = Parts { url, total, spans: Vec::new() };
            for _ in 0..count(from)? {
                parts.spans.push(Span { offset: word(from)?, length: word(from)?, place: Place::unpack(word(from)?) });
            }
            self.parts.insert(entry, parts);
        }
        for _ in 0..count(from)? {
            let (url, set, place) = (UrlKey(take(from)?), word(from)?, Place::unpack(word(from)?));
            self.pins.set(&url, set, place);
        }
        for _ in 0..count(from)? {
            self.dicts.insert(u32::from_le_bytes(take(from)?), Place::unpack(word(from)?));
        }
        Ok(())
    }
}

fn put_count(out: &mut dyn Write, count: usize) -> io::Result<()> {
    out.write_all(&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes())
}

fn count(from: &mut dyn Read) -> io::Result<u32> {
    take(from).map(u32::from_le_bytes)
}

fn take<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Values read at a time.
const MANY: usize = 4096;

/// A count, then so many values. Grows as they come, so that a wrong count meets the end before it takes memory.
fn many<const N: usize, T>(from: &mut dyn Read, value: impl Fn([u8; N]) -> T) -> io::Result<Vec<T>> {
    let (mut values, mut left, mut bytes) = (Vec::new(), count(from)? as usize, vec![0; MANY * N]);
    while left > 0 {
        let some = &mut bytes[..left.min(MANY) * N];
        from.read_exact(some)?;
        left -= some.len() / N;
        values.extend(some.as_chunks().0.iter().map(|bytes| value(*bytes)));
    }
    Ok(values)
}
