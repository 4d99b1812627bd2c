//! The fuzz targets on stable Rust: every corpus replayed, then so many mutations of it by seed.
//!
//! `BULAK_FUZZ_ROUNDS` (mutations of each decoder), `BULAK_FUZZ_SECONDS` (instead: so long for each), `BULAK_FUZZ_SEED`,
//! `BULAK_FUZZ_ONLY` (a decoder's name). What breaks one is made short and kept in `target/fuzz/`; put it into the corpus beside the
//! mend. cargo-fuzz runs the same targets, see `fuzz/cargo/Cargo.toml`.

#[path = "oracle/dice.rs"]
mod dice;
#[path = "fuzz/targets.rs"]
mod targets;

use bulak::base::clock::Clock;
use dice::Dice;
use std::cell::Cell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use targets::{DECODERS, Decoder};

/// Mutations of each decoder by default: a few seconds in all.
const ROUNDS: u64 = 1000;
/// The seed by default.
const SEED: u64 = 7;
/// Longest input: decoders have bounds of their own, and time goes into variety.
const LONGEST: usize = 64 << 10;
/// Most memory that the whole run may have held at once, bytes: all inputs together are below 1 MB, what a zstd or LZMA window takes
/// is below 64 MiB.
const MEMORY: u64 = 400 << 20;
/// Largest corpus, and largest seed, bytes.
const CORPUS: u64 = 300 << 10;
const LARGEST: usize = 8 << 10;

// Making an input short breaks its decoder hundreds of times; what it says is told once, at the end.
thread_local!(static TRYING: Cell<bool> = const { Cell::new(false) });
static QUIET: Once = Once::new();

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Where a decoder's seeds are: its own, and what is read elsewhere and fits it.
fn folders(name: &str) -> Vec<String> {
    let also: &[&str] = match name {
        "html" | "css" => &["data/demo"],
        "rewrite" => &["data/demo", "fuzz/corpus/html", "fuzz/corpus/css", "fuzz/corpus/script", "fuzz/corpus/hls"],
        _ => &[],
    };
    also.iter().map(|&folder| folder.to_owned()).chain([format!("fuzz/corpus/{name}")]).collect()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let all = folders(name).into_iter().filter_map(|folder| fs::read_dir(tests.join(folder)).ok());
    let mut files: Vec<PathBuf> = all.flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// What the decoder says to these bytes when it breaks.
fn breaks(decoder: &Decoder, bytes: &[u8]) -> Option<String> {
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !TRYING.get() {
                loud(info);
            }
        }));
    });
    TRYING.set(true);
    let broken = panic::catch_unwind(AssertUnwindSafe(|| (decoder.run)(bytes)));
    TRYING.set(false);
    let broken = broken.err()?;
    let text = broken.downcast_ref::<String>().cloned();
    Some(text.or_else(|| broken.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default())
}

/// A child of the corpus.
fn mutate(dice: &mut Dice, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = if dice.chance(3) { Vec::new() } else { seeds[dice.below(seeds.len())].clone() };
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let to = (at + 1 + dice.below(32)).min(bytes.len());
        match dice.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.one_of(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', b'<', b'%', b'9']),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let part = bytes[at..to].to_vec();
                let times = dice.one_of(&[1, 2, 50]);
                bytes.splice(at..at, part.iter().copied().cycle().take(part.len() * times));
            }
            5 | 6 => drop(bytes.splice(at..at, dice.pick(words).bytes())),
            7 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let number = dice.one_of(&[0_u64, 1, 0x7fff_ffff, u64::from(u32::MAX), u64::MAX]).to_le_bytes();
                let width = dice.one_of(&[1, 2, 4, 8]).min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// The same trouble in fewer bytes.
fn shorten(decoder: &Decoder, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut piece = bytes.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < bytes.len() {
            let mut fewer = bytes.clone();
            fewer.drain(at..(at + piece).min(fewer.len()));
            if breaks(decoder, &fewer).is_some() {
                bytes = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    bytes
}

/// Replays and mutates; the input that breaks it, if any, and how many were tried.
fn fuzz(decoder: &Decoder, seeds: &[Vec<u8>], seed: u64, until: &mut dyn FnMut(u64) -> bool) -> (u64, Option<Vec<u8>>) {
    if let Some(bad) = seeds.iter().find(|bytes| breaks(decoder, bytes).is_some()) {
        return (0, Some(bad.clone()));
    }
    let mut dice = Dice::new(seed);
    let mut count = 0;
    while !until(count) {
        count += 1;
        let bytes = mutate(&mut dice, seeds, decoder.words);
        if breaks(decoder, &bytes).is_some() {
            return (count, Some(bytes));
        }
    }
    (count, None)
}

/// Most memory that this process has held (Linux).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() << 10
}

#[test]
fn decoders_hold() {
    let (clock, seed, rounds) = (Clock::system(), number("BULAK_FUZZ_SEED").unwrap_or(SEED), number("BULAK_FUZZ_ROUNDS").unwrap_or(ROUNDS));
    let seconds = number("BULAK_FUZZ_SECONDS").map(Duration::from_secs);
    let only = std::env::var("BULAK_FUZZ_ONLY").ok();
    let mut faults = Vec::new();
    for decoder in DECODERS.iter().filter(|decoder| only.as_deref().is_none_or(|name| name == decoder.name)) {
        let seeds = corpus(decoder.name);
        assert!(!seeds.is_empty(), "{} has no corpus", decoder.name);
        let begun = clock.steady();
        let mut until = |count: u64| match seconds {
            Some(seconds) => clock.steady() - begun >= seconds,
            None => count >= rounds,
        };
        let (count, bad) = fuzz(decoder, &seeds, seed, &mut until);
        println!(
            "{:<10} {} seeds, {count} mutations by seed {seed}, {:.1?}, at most {} MiB",
            decoder.name,
            seeds.len(),
            clock.steady() - begun,
            peak() >> 20
        );
        assert!(peak() <= MEMORY, "{} took {} MiB", decoder.name, peak() >> 20);
        if let Some(bad) = bad {
            let bad = shorten(decoder, bad);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
            let file = folder.join(format!("{}-{:016x}", decoder.name, seed.wrapping_add(bad.len() as u64)));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(&file, &bad).expect("a file");
            let said = breaks(decoder, &bad).unwrap_or_default();
            faults.push(format!("{} breaks ({said}) on `{}`, kept in {}", decoder.name, bad.escape_ascii(), file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_broken_decoder_is_found() {
    let broken = |bytes: &[u8]| assert!(!bytes.windows(3).any(|part| part == b"<a\""), "broken");
    let decoder = Decoder { name: "broken", run: broken, words: &["<a", ">"] };
    let seeds = [b"<p title=\"x\">".to_vec()];
    let (count, bad) = fuzz(&decoder, &seeds, SEED, &mut |count| count >= 100_000);
    assert_eq!(shorten(&decoder, bad.expect("found")), b"<a\"", "after {count}");
}

#[test]
fn corpora_are_small_and_all_of_a_decoder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut all = 0;
    for entry in fs::read_dir(folder).expect("the corpora").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        assert!(DECODERS.iter().any(|decoder| decoder.name == name), "{name} is no decoder");
        for seed in corpus(&name) {
            assert!(seed.len() <= LARGEST, "a seed of {name} has {} bytes", seed.len());
            all += seed.len() as u64;
        }
    }
    assert!(all <= CORPUS, "{all} bytes");
}
