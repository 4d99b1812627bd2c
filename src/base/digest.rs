//! blake3 names: the identity of an object is the hash of its decoded bytes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A blake3-256 digest. Prints as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hex digits")]
pub struct NotHex;

impl FromStr for Digest {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Digest, NotHex> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NotHex)?;
        Ok(Digest(*hash.as_bytes()))
    }
}

/// Hashes a stream as it passes by.
#[derive(Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was taken in.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_hashes_like_the_whole_and_prints_back() {
        let mut hasher = Hasher::default();
        hasher.update(b"bu");
        hasher.update(b"lak");
        let digest = hasher.finish();
        assert_eq!(digest, Digest::of(b"bulak"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("xyz".parse::<Digest>(), Err(NotHex));
    }
}
