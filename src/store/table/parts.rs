//! Places, and the parts of bodies that are not whole; those are few and lie in a plain map.

use std::ops::Range;

/// Segments have numbers below this: 20 bits of a place.
pub(crate) const SEGMENT_END: u32 = 1 << 20;
/// Bits of a packed place.
pub(super) const PLACE_BITS: u32 = 45;
pub(super) const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// Where a record is: segment number below 2^20, offset below 256 MiB and a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) at: u64,
}

impl Place {
    /// In 45 bits.
    pub(crate) fn pack(self) -> u64 {
        (u64::from(self.segment) << 25 | (self.at / 8) & 0x1ff_ffff) & PLACE_MASK
    }

    /// Out of 45 bits.
    pub(crate) fn unpack(word: u64) -> Place {
        Place { segment: u32::try_from((word & PLACE_MASK) >> 25).unwrap_or(0), at: (word & 0x1ff_ffff) * 8 }
    }
}

/// One part of a body that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) place: Place,
}

/// The parts of one entry, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) url: [u8; 16],
    pub(crate) total: u64,
    pub(crate) spans: Vec<Span>,
}

impl Parts {
    /// What is here, sorted and disjoint, neighbours merged.
    pub(crate) fn have(&self) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = self.spans.iter().map(|span| span.offset..span.offset + span.length).collect();
        spans.sort_by_key(|span| span.start);
        let mut have: Vec<Range<u64>> = Vec::new();
        for span in spans {
            match have.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => have.push(span),
            }
        }
        have
    }

    /// The span that holds byte `at` and reaches furthest.
    pub(crate) fn holding(&self, at: u64) -> Option<Span> {
        let holds = self.spans.iter().filter(|span| span.offset <= at && at < span.offset + span.length);
        holds.max_by_key(|span| span.offset + span.length).copied()
    }
}
