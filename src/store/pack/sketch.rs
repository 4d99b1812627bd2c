//! Which bodies are alike: the newest of the same path without hash and version, and those that share features. A body's features
//! are the 16 smallest of its sampled rolling hashes (a bottom-k sketch, Broder 1997), so two of sixteen in common mean that about
//! an eighth of the windows is; the order of the text and its name do not matter. Bytes in, numbers out.

use crate::base::digest::Digest;
use crate::store::record::fingerprint;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// Features of a body.
const FEATURES: usize = 16;
/// That two must share.
const SHARED: usize = 2;
/// A window is sampled when these bits of its hash are zero: one in 64, so that the shortest body has its sixteen.
const SAMPLE_MASK: u64 = 63 << 58;
/// Shorter bodies have no sketch: a dictionary does more for them.
pub(crate) const SHORTEST: u64 = 4 << 10;
/// Most sketches: 80 B each and about 14 B for each feature are 40 MiB while the night lasts.
pub(crate) const SKETCHES_MAX: usize = 1 << 17;
/// A feature of more bodies than this is boilerplate; the newest are looked at.
const POPULAR: usize = 16;
/// Bytes of a sketch in the file.
const BYTES: usize = 8 + 8 + 4 * FEATURES;
/// The file's opening; another version is another word here.
const MAGIC: [u8; 8] = *b"BULAKSK1";

/// What a body is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// Fingerprint of its name.
    pub(crate) print: u64,
    /// Of its path.
    pub(crate) stem: u64,
    /// Ascending; `u32::MAX` where there are fewer.
    pub(crate) features: [u32; FEATURES],
}

/// The features of a body.
pub(crate) fn features(bytes: &[u8]) -> [u32; FEATURES] {
    let mut least = [u32::MAX; FEATURES];
    let mut hash = 0_u64;
    for byte in bytes {
        // The hash forgets a byte after 64 steps.
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if hash & SAMPLE_MASK == 0 {
            let feature = (mix(hash) >> 32) as u32;
            if feature < least[FEATURES - 1]
                && let Err(at) = least.binary_search(&feature)
            {
                least.copy_within(at..FEATURES - 1, at + 1);
                least[at] = feature;
            }
        }
    }
    least
}

/// A random number for each byte.
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut at = 0;
    while at < 256 {
        gear[at] = mix(at as u64 + 1);
        at += 1;
    }
    gear
};

/// SplitMix64.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The fingerprint of a URL's path without what changes from version to version: query, version numbers, hashes.
pub(crate) fn stem(url: &str) -> u64 {
    fingerprint(&Digest::of(stem_of(url).as_bytes()).0)
}

fn stem_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut out = format!("{scheme}://{host}/");
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let n = if first.is_alphanumeric() {
            version(rest).or_else(|| hash(rest)).unwrap_or_else(|| {
                let n = word(rest);
                out.push_str(&rest[..n]);
                n
            })
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[n..];
    }
    out
}

/// Length of the letters and digits at the start.
fn word(text: &str) -> usize {
    text.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(text.len())
}

/// The length of a version number at the start: digits and dots, at least one dot between digits, with or without a `v`.
fn version(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = digits.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(digits.len());
    let number = digits[..end].trim_end_matches('.');
    number.contains('.').then(|| text.len() - digits.len() + number.len())
}

/// The length of a hash at the start: letters and digits mixed, as bundlers name files.
fn hash(text: &str) -> Option<usize> {
    const HEX: Range<usize> = 6..129;
    const MIXED: Range<usize> = 8..129;
    let n = word(text);
    let word = &text[..n];
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let hex = HEX.contains(&n) && digits >= 1 && digits < n && word.chars().all(|letter| letter.is_ascii_hexdigit());
    let mixed = MIXED.contains(&n) && digits >= 2 && digits < n;
    (hex || mixed).then_some(n)
}

/// The sketches of bodies that deltas may be made against.
#[derive(Default)]
pub(crate) struct Sketches {
    all: Vec<Sketch>,
    prints: HashMap<u64, u32>,
    stems: HashMap<u64, u32>,
    features: BTreeSet<(u32, u32)>,
}

impl Sketches {
    /// Takes one more in, unless there are too many or it is known. The newest of a stem is found by it.
    pub(crate) fn add(&mut self, sketch: Sketch) {
        let Ok(at) = u32::try_from(self.all.len()) else { return };
        if self.all.len() >= SKETCHES_MAX || self.prints.contains_key(&sketch.print) {
            return;
        }
        self.prints.insert(sketch.print, at);
        self.stems.insert(sketch.stem, at);
        self.features.extend(sketch.features.iter().filter(|feature| **feature != u32::MAX).map(|feature| (*feature, at)));
        self.all.push(sketch);
    }

    /// Whether a body is known here.
    pub(crate) fn has(&self, print: u64) -> bool {
        self.prints.contains_key(&print)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The bodies that a delta of this one may be made against, the likeliest first: at most two.
    pub(crate) fn like(&self, sketch: &Sketch) -> Vec<u64> {
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for feature in sketch.features.iter().filter(|feature| **feature != u32::MAX) {
            for (_, at) in self.features.range((*feature, 0)..=(*feature, u32::MAX)).rev().take(POPULAR) {
                *shared.entry(*at).or_default() += 1;
            }
        }
        let alike = shared.into_iter().filter(|(_, count)| *count >= SHARED).map(|(at, count)| (count, at)).max().map(|(_, at)| at);
        let path = self.stems.get(&sketch.stem).copied().filter(|path| Some(*path) != alike);
        let found = alike.into_iter().chain(path).filter_map(|at| self.all.get(at as usize));
        found.map(|sketch| sketch.print).filter(|print| *print != sketch.print).collect()
    }

    /// For the file that spares the next night reading everything again: derived, it may be deleted.
    pub(crate) fn encode(&self, keep: impl Fn(u64) -> bool) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for sketch in self.all.iter().filter(|sketch| keep(sketch.print)) {
            out.extend_from_slice(&sketch.print.to_le_bytes());
            out.extend_from_slice(&sketch.stem.to_le_bytes());
            sketch.features.iter().for_each(|feature| out.extend_from_slice(&feature.to_le_bytes()));
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads the file, those that are of use; empty when it is damaged or another version's.
    pub(crate) fn decode(bytes: &[u8], keep: impl Fn(u64) -> bool) -> Sketches {
        let mut out = Sketches::default();
        let Some(body) = Sketches::body(bytes) else { return out };
        for bytes in body.chunks_exact(BYTES) {
            let mut features = [0; FEATURES];
            for (feature, word) in features.iter_mut().zip(bytes[16..].chunks_exact(4)) {
                *feature = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            }
            let sketch = Sketch { print: fingerprint(bytes), stem: fingerprint(&bytes[8..]), features };
            if keep(sketch.print) {
                out.add(sketch);
            }
        }
        out
    }

    fn body(bytes: &[u8]) -> Option<&[u8]> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        body.strip_prefix(&MAGIC).filter(|_| crc32c::crc32c(body) == u32::from_le_bytes(*crc))
    }

    /// Whether the file reads as it was written.
    pub(crate) fn are_whole(bytes: &[u8]) -> bool {
        Sketches::body(bytes).is_some_and(|body| body.len().is_multiple_of(BYTES))
    }

    /// Longest file that is read.
    pub(crate) const FILE_MAX: u64 = (MAGIC.len() + SKETCHES_MAX * BYTES + 4) as u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::kit::{noise, text};

    fn sketch(print: u64, url: &str, bytes: &[u8]) -> Sketch {
        Sketch { print, stem: stem(url), features: features(bytes) }
    }

    #[test]
    fn versions_and_hashes_leave_a_path() {
        for (one, two) in [
            ("http://a/bootstrap@5.3.2/dist/js/x.min.js", "http://a/bootstrap@5.3.3/dist/js/x.min.js"),
            ("http://a/jquery-3.5.1.min.js", "http://a/jquery-3.7.0.min.js"),
            ("http://a/v2.0/app.js?v=123", "http://a/v2.1/app.js?v=124"),
            ("http://a/main.3f2a9c1b.js", "http://a/main.0b1c2d3e.js"),
            ("http://a/assets/index-Bx92Y3z0.css", "http://a/assets/index-C47hQw9k.css"),
        ] {
            assert_eq!(stem_of(one), stem_of(two));
        }
        for (one, two) in [
            ("http://a/lesson/12", "http://a/lesson/13"),
            ("http://a/lesson-2.html", "http://a/lesson-3.html"),
            ("http://a/decade/x.js", "http://a/facade/x.js"),
            ("http://a/x.js", "http://b/x.js"),
            ("http://a/мектеп", "http://a/сабақ"),
        ] {
            assert_ne!(stem_of(one), stem_of(two));
        }
    }

    #[test]
    fn like_bodies_find_each_other_by_features_and_by_path() {
        let mut all = Sketches::default();
        for n in 1..50 {
            all.add(sketch(n, &format!("http://a/{n}.js"), &noise(n, 20_000)));
        }
        let mut moved = [&noise(7, 20_000)[3_000..], &noise(99, 4_000)].concat();
        moved[5_000] ^= 1;
        assert_eq!(all.like(&sketch(100, "http://a/else.js", &moved)), [7]);
        assert_eq!(all.like(&sketch(101, "http://a/9.js", &moved)), [7, 9], "features first, then the path");
        assert_eq!(all.like(&sketch(102, "http://a/9.js", &noise(200, 9_000))), [9]);
        assert!(all.like(&sketch(103, "http://a/none", &noise(201, 9_000))).is_empty());
        assert!(all.like(&sketch(7, "http://a/7.js", &noise(7, 20_000))).is_empty(), "not itself");
        assert_eq!(features(b""), [u32::MAX; FEATURES]);
        assert!(features(&text(1, 4096))[3] < u32::MAX);
    }

    #[test]
    fn the_newest_of_a_path_is_found() {
        let mut all = Sketches::default();
        all.add(sketch(1, "http://a/x-1.0.0.js", &noise(1, 9_000)));
        all.add(sketch(2, "http://a/x-1.1.0.js", &noise(2, 9_000)));
        assert_eq!(all.like(&sketch(3, "http://a/x-1.2.0.js", &noise(3, 9_000))), [2]);
    }

    #[test]
    fn the_file_reads_back_and_a_damaged_one_is_empty() {
        let mut all = Sketches::default();
        (1..20).for_each(|n| all.add(sketch(n, &format!("http://a/{n}"), &noise(n, 5_000))));
        let bytes = all.encode(|print| print != 3);
        let back = Sketches::decode(&bytes, |print| print != 4);
        assert_eq!(back.len(), 17);
        assert_eq!(back.all[0], all.all[0]);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(Sketches::decode(&bad, |_| true).len(), 0, "byte {at}");
            assert_eq!(Sketches::decode(&bytes[..at], |_| true).len(), 0, "cut at {at}");
        }
        assert!(bytes.len() as u64 <= Sketches::FILE_MAX);
    }
}
