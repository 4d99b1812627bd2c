//! Clusters of ZIM files from before 2021: one block of LZMA2 in the container of `.xz` (xz-file-format.txt 1.2.1, sections 2 and 3).
//!
//! The container is read here, so that the crate is only its decoder, and what a damaged file asks for is bounded. Its checksums are not
//! looked at: newer clusters have none either.

use lzma_rust2::Lzma2Reader;
use std::io::{self, Read};

const MAGIC: &[u8] = b"\xfd7zXZ\0";
/// The number of the filter LZMA2, and how many bytes say how large its window is.
const LZMA2: [u8; 2] = [0x21, 1];
/// No window is smaller.
const SMALLEST: u32 = 4096;

/// Unpacks the first block behind what is in `plain`, at most `most` bytes of it.
///
/// # Errors
/// When it is damaged, or packed otherwise.
pub(super) fn unpack(packed: &[u8], plain: &mut Vec<u8>, most: u32) -> io::Result<()> {
    let (window, data) = block(packed).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a cluster is damaged"))?;
    // Nothing within the first bytes points back further than that, whatever a file asks for.
    let window = u32::try_from(window).unwrap_or(u32::MAX).min(most).max(SMALLEST);
    Lzma2Reader::new(data, window, None).take(u64::from(most)).read_to_end(plain)?;
    Ok(())
}

/// How large a window the first block wants, and its data.
fn block(packed: &[u8]) -> Option<(u64, &[u8])> {
    // The magic is followed by two flags and their checksum.
    let blocks = packed.strip_prefix(MAGIC)?.get(6..)?;
    // A length of nothing would be the index: there is no block.
    let length = usize::from(*blocks.first()?).checked_sub(1)? * 4 + 8;
    let (header, data) = blocks.split_at_checked(length)?;
    let flags = *header.get(1)?;
    // One filter, and no flag that is not known.
    if flags & 0x3f != 0 {
        return None;
    }
    let mut rest = header.get(2..)?;
    for sized in [0x40, 0x80] {
        if flags & sized != 0 {
            // A number ends with its first byte below 128.
            rest = rest.get(rest.iter().position(|byte| byte & 0x80 == 0)? + 1..)?;
        }
    }
    let bits = *rest.strip_prefix(&LZMA2)?.first()?;
    (bits <= 40).then(|| (u64::from(2 | bits & 1) << (bits / 2 + 11), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `xz -9e --check=crc32`: two offsets, and forty letters.
    const PACKED: &[u8] = &[
        253, 55, 122, 88, 90, 0, 0, 1, 105, 34, 222, 54, 2, 0, 33, 1, 28, 0, 0, 0, 16, 207, 88, 204, 224, 0, 47, 0, 12, 93, 0, 4, 0, 52,
        255, 4, 234, 190, 130, 155, 210, 32, 0, 0, 196, 247, 129, 110, 0, 1, 36, 48, 33, 100, 183, 247, 144, 66, 153, 13, 1, 0, 0, 0, 0, 1,
        89, 90,
    ];

    #[test]
    fn a_block_is_unpacked_within_its_bound() {
        let of = |packed: &[u8], most| {
            let mut plain = vec![4];
            unpack(packed, &mut plain, most).map(|()| plain)
        };
        let wanted = [&[4, 8, 0, 0, 0, 48, 0, 0, 0][..], &[b'a'; 40]].concat();
        assert_eq!(of(PACKED, 64 << 20).expect("unpacks"), wanted);
        assert_eq!(of(PACKED, 20).expect("unpacks"), wanted[..21]);
        for end in 0..44 {
            assert!(of(&PACKED[..end], 1000).is_err(), "{end}");
        }
        // A delta before it, a window of no size that exists, another filter.
        for (at, byte) in [(13, 1), (16, 41), (14, 3), (12, 0), (0, 0)] {
            let mut other = PACKED.to_vec();
            other[at] = byte;
            assert!(of(&other, 1000).is_err(), "{at}");
        }
        // One of 4 GiB costs no more than what comes out.
        let mut wide = PACKED.to_vec();
        wide[16] = 40;
        assert_eq!(of(&wide, 4096).expect("unpacks"), wanted);
    }

    #[test]
    fn numbers_before_the_filter_are_passed_over() {
        let mut sized = PACKED[..12].to_vec();
        sized.extend([3, 0xc0, 0x94, 0x01, 48, 0x21, 1, 28, 0, 0, 0, 0, 0, 0, 0, 0]);
        sized.extend(&PACKED[24..]);
        assert_eq!(block(&sized).expect("a block"), (64 << 20, &PACKED[24..]));
    }
}
