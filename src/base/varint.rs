//! Numbers in as few bytes as they need (LEB128, as in Protocol Buffers): seven bits a byte, the lowest first; the eighth says that more
//! follow.

/// Writes a number behind what is there, in 1 to 10 bytes.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number from the beginning; `None` when the bytes end before it does, or when it does not fit into 64 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        number |= Some(bits << shift).filter(|word| word >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_put_is_taken(numbers: Vec<u64>, small: Vec<u16>) {
            let numbers: Vec<u64> = numbers.into_iter().chain(small.into_iter().map(u64::from)).collect();
            let mut bytes = Vec::new();
            for number in &numbers {
                put(&mut bytes, *number);
            }
            let mut rest = bytes.as_slice();
            let back: Vec<u64> = std::iter::from_fn(|| take(&mut rest)).collect();
            assert_eq!((back, rest), (numbers, [].as_slice()));
        }
    }

    #[test]
    fn sizes_and_what_is_no_number() {
        let size = |number| {
            let mut out = Vec::new();
            put(&mut out, number);
            out.len()
        };
        assert_eq!([0, 127, 128, 16_383, 16_384, u64::MAX].map(size), [1, 1, 2, 2, 3, 10]);
        assert_eq!(take(&mut [0x80].as_slice()), None);
        assert_eq!(take(&mut [0xff; 10].as_slice()), None);
        let ten = |last: u8| [vec![0xff; 9], vec![last]].concat();
        assert_eq!(take(&mut ten(1).as_slice()), Some(u64::MAX));
        assert_eq!(take(&mut ten(2).as_slice()), None);
    }
}
