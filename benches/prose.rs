//! Text that compresses about as prose does, made from a seed.

use crate::kit;

const WORDS: [&str; 16] = [
    "бұлақ ",
    "мектеп ",
    "сабақ ",
    "оқушы ",
    "мұғалім ",
    "кітап ",
    "тіл ",
    "сан ",
    "жер ",
    "су ",
    "күн ",
    "ауыл ",
    "дала ",
    "тау ",
    "жол ",
    "үй ",
];

/// A page of exactly `length` bytes.
pub(crate) fn page(seed: u64, length: usize) -> Vec<u8> {
    let choice = kit::noise(seed, length);
    let mut text: Vec<u8> = choice.iter().flat_map(|byte| WORDS[usize::from(byte % 16)].bytes()).take(length).collect();
    text.resize(length, b' ');
    text
}
