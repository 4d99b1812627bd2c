//! Which of two versions of a pack is the newer: by their numbers, then by their words, as people read them.
//!
//! `2026-11-02` is newer than `2026-11-01`, `1.10` than `1.9`, `2` than `1.9`, `1.0.1` than `1.0`; `1.0` and `1.0-rc1` are told apart by
//! the same rule that file managers use, so a publisher should write dates or plain numbers.

use std::cmp::Ordering;

/// Compares two versions.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.trim(), other.trim());
    loop {
        let (number, other_number) = (leading(one, true), leading(other, true));
        let (word, other_word) = (leading(one, false), leading(other, false));
        let order = match (number.is_empty(), other_number.is_empty()) {
            (false, false) => by_size(number, other_number),
            // A number stands above a word, a word above nothing.
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (true, true) => word.cmp(other_word),
        };
        if order != Ordering::Equal || (one.is_empty() && other.is_empty()) {
            return order;
        }
        one = &one[number.len().max(word.len())..];
        other = &other[other_number.len().max(other_word.len())..];
    }
}

/// The digits, or the letters that are none, at the beginning.
fn leading(text: &str, digits: bool) -> &str {
    let end = text.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(text.len());
    &text[..end]
}

/// Numbers of any length.
fn by_size(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_people_read_them() {
        let rising = [
            &["1", "1.0", "1.0.1", "1.1", "1.9", "1.10", "2", "10"][..],
            &["2025-12-31", "2026-01-01", "2026-11-01", "2026-11-01.2", "2026-11-02"],
            &["", "a", "b2", "b10"],
            &["9", "99999999999999999999999999"],
        ];
        for list in rising {
            for (at, one) in list.iter().enumerate() {
                for (other_at, other) in list.iter().enumerate() {
                    assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
                }
            }
        }
        assert_eq!(compare("01", "1"), Ordering::Equal);
    }
}
