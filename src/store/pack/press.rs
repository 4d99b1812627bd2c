//! What a night compresses with: one context for all plain frames, one of each dictionary that is in use. A context of its own for
//! each body costs a small page a tenth of its time; the frames are the same to the byte.

use crate::base::digest::Digest;
use crate::store::pack::dict::Dictionary;
use crate::store::pack::{NIGHT_LEVEL, compressor, of_pieces};
use crate::store::segment::New;
use std::collections::{HashMap, HashSet};
use std::io;
use zstd::bulk::{Compressor, Decompressor};

/// Plain frames, and back.
#[derive(Default)]
pub(crate) struct Press {
    compressor: Option<Compressor<'static>>,
    decompressor: Decompressor<'static>,
}

impl Press {
    /// The record of a body in memory when nothing else helps: one frame, or many.
    pub(crate) fn plain(&mut self, object: Digest, bytes: &[u8]) -> io::Result<New> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(compressor(NIGHT_LEVEL)?),
        };
        of_pieces(compressor, object, bytes)
    }

    /// Whether the record reads back as these bytes. Frames that stand one after the other are read as one.
    pub(crate) fn holds(&mut self, new: &New, bytes: &[u8]) -> bool {
        self.decompressor.decompress(&new.head, bytes.len()).is_ok_and(|decoded| decoded == bytes)
    }
}

/// Dictionaries at hand: one is 2 MiB with its tables and its context.
pub(crate) const AT_HAND: usize = 16;

/// The dictionaries of a night by the number of their group, those used last; and the groups that have none.
#[derive(Default)]
pub(crate) struct Shelf {
    here: HashMap<u32, (u64, Dictionary)>,
    none: HashSet<u32>,
    /// Times that one was asked for.
    asked: u64,
}

impl Shelf {
    /// The dictionary of a group; `load` finds one that is not at hand.
    pub(crate) fn take(
        &mut self,
        group: u32,
        load: impl FnOnce() -> io::Result<Option<Dictionary>>,
    ) -> io::Result<Option<&mut Dictionary>> {
        self.asked += 1;
        if !self.here.contains_key(&group) && !self.none.contains(&group) {
            match load()? {
                Some(dictionary) => {
                    self.make_place();
                    self.here.insert(group, (self.asked, dictionary));
                }
                None => {
                    self.none.insert(group);
                }
            }
        }
        Ok(self.here.get_mut(&group).map(|(asked, dictionary)| {
            *asked = self.asked;
            dictionary
        }))
    }

    fn make_place(&mut self) {
        let oldest = self.here.iter().min_by_key(|(_, (asked, _))| *asked).map(|(group, _)| *group);
        if self.here.len() >= AT_HAND
            && let Some(oldest) = oldest
        {
            self.here.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pack::dict::train;
    use crate::store::tests::kit::{noise, page, text};

    /// Long and short in turn: what a context keeps of one body must not be seen in the next.
    #[test]
    fn a_context_that_has_been_used_gives_the_frames_of_a_fresh_one() {
        let (mut press, mut before) = (Press::default(), Vec::new());
        for length in [5_000, 900_000, 70, 2_500_000, 5_000, 33_000] {
            for bytes in [text(length as u64, length), noise(length as u64, length)] {
                let (used, fresh) =
                    (press.plain(Digest::of(&bytes), &bytes).unwrap(), Press::default().plain(Digest::of(&bytes), &bytes).unwrap());
                assert_eq!((&used.head, &used.tail, used.crc), (&fresh.head, &fresh.tail, fresh.crc), "{length}");
                assert!(press.holds(&used, &bytes) && !press.holds(&used, &bytes[1..]) && !press.holds(&used, &before));
                before = bytes;
            }
        }
    }

    fn dictionary(number: u32) -> Dictionary {
        let pages: Vec<Vec<u8>> = (0..200).map(|n| page(n + 1_000 * u64::from(number))).collect();
        Dictionary::new(number, &train(&pages).unwrap()).unwrap()
    }

    #[test]
    fn a_shelf_keeps_what_was_used_last_and_never_more_than_it_may() {
        let (mut shelf, bytes) = (Shelf::default(), train(&(0..200).map(page).collect::<Vec<_>>()).unwrap());
        let ready = |number| Dictionary::new(number, &bytes).map(Some);
        let most = u32::try_from(AT_HAND).unwrap();
        for group in 0..=most {
            assert_eq!(shelf.take(group, || ready(group)).unwrap().map(|dict| dict.number), Some(group));
            shelf.take(0, || panic!("it is in use")).unwrap();
        }
        assert_eq!(shelf.here.len(), AT_HAND);
        assert!(shelf.here.contains_key(&0) && !shelf.here.contains_key(&1));
        let mut looked = 0;
        for _ in 0..3 {
            let none = shelf.take(99, || {
                looked += 1;
                Ok(None)
            });
            assert!(none.unwrap().is_none());
        }
        assert_eq!(looked, 1);
    }

    #[test]
    fn a_dictionary_that_has_been_used_gives_the_frames_of_a_fresh_one() {
        let mut used = dictionary(1);
        for n in 0..40 {
            let body = if n % 3 == 0 { text(n, 30_000) } else { page(n) };
            let frame = used.encode(&body).unwrap();
            assert_eq!(frame, dictionary(1).encode(&body).unwrap(), "{n}");
            assert_eq!(used.decode(&frame, body.len() as u64).unwrap(), body);
        }
    }
}
