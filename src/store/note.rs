//! Notes beside the log: short texts that a restart reads again (how far the scrub is, what a day has written). The last line is the
//! sum of what stands before it; a note whose sum is wrong says nothing, and whoever kept it begins anew.

/// The word before the sum.
const SUM: &str = "crc ";

/// A text with its sum.
pub(crate) fn seal(text: &str) -> String {
    format!("{text}{SUM}{:08x}\n", crc32c::crc32c(text.as_bytes()))
}

/// The text of a note; `None` when it is not as it was written.
pub(crate) fn open(bytes: &[u8]) -> Option<&str> {
    let note = std::str::from_utf8(bytes).ok()?;
    let text = &note[..note.rfind(SUM)?];
    (seal(text) == note).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_any_change_of_it_is_seen() {
        let note = seal("day 5\nwritten 7\n").into_bytes();
        assert_eq!(open(&note), Some("day 5\nwritten 7\n"));
        assert_eq!(open(seal("").as_bytes()), Some(""));
        assert_eq!(open(b"day 5\nwritten 7\n"), None);
        for at in 0..note.len() {
            assert_eq!(open(&note[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut bad = note.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(open(&bad), None, "bit {bit} of {at}");
            }
        }
    }
}
