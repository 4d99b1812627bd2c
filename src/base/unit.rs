//! Sizes, rates and waits with their units: `"20 GiB"`, `"8 Mbit/s"`, `"15 s"`. What is printed parses to the same value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Reads `64 MiB`, `2 GB`, `512 B`; a bare number means bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A rate in bits per second. Reads `8 Mbit/s`, `512 kbit/s`, `1 Gbit/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(pub u64);

/// A wait. Reads `250 ms`, `15 s`, `10 min`, `2 h`, `7 days`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wait(pub Duration);

/// The text is no such quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like {example}")]
pub struct BadUnit {
    example: &'static str,
}

impl Bytes {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Bytes {
        Bytes(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// For people: decimal, three digits (`4.1 GB`).
    pub fn human(self) -> String {
        human(self.0, &[("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)], "B")
    }
}

impl BitRate {
    /// `n` Mbit/s.
    pub const fn mbit(n: u64) -> BitRate {
        BitRate(n * 1_000_000)
    }

    /// The same in bytes per second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }

    /// For people (`7.8 Mbit/s`).
    pub fn human(self) -> String {
        human(self.0, &[("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)], "bit/s")
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
fn human(value: u64, steps: &[(&str, u64)], unit: &str) -> String {
    for (name, size) in steps {
        if value >= *size {
            return format!("{:.1} {name}", value as f64 / *size as f64);
        }
    }
    format!("{value} {unit}")
}

const BYTES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];
const RATES: &[(&str, u64)] = &[("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];
const WAITS: &[(&str, u64)] = &[
    ("days", 86_400_000_000),
    ("day", 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads `number unit` exactly: decimals only as far as they name whole smallest units.
fn read(text: &str, table: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let cut = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(cut);
    let size = table.iter().find(|(name, _)| *name == unit.trim())?.1;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 6 || (number.contains('.') && part.is_empty()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(size)?;
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = if part.is_empty() { 0 } else { u128::from(part.parse::<u64>().ok()?) * u128::from(size) / u128::from(scale) };
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Prints with the largest unit that divides the value.
fn print(value: u64, table: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(name, size): &&(&str, u64)| !name.is_empty() && value.is_multiple_of(*size) && (value != 0 || *size == 1);
    let (name, size) = table.iter().find(fits).unwrap_or(&("", 1));
    write!(f, "{} {name}", value / size)
}

impl FromStr for Bytes {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Bytes, BadUnit> {
        read(text, BYTES).map(Bytes).ok_or(BadUnit { example: "\"20 GiB\", \"64 MiB\" or \"500 kB\"" })
    }
}

impl FromStr for BitRate {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<BitRate, BadUnit> {
        read(text, RATES).map(BitRate).ok_or(BadUnit { example: "\"8 Mbit/s\" or \"512 kbit/s\"" })
    }
}

impl FromStr for Wait {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Wait, BadUnit> {
        read(text, WAITS)
            .map(|micros| Wait(Duration::from_micros(micros)))
            .ok_or(BadUnit { example: "\"15 s\", \"250 ms\", \"10 min\", \"2 h\" or \"7 days\"" })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.0, BYTES, f)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.0, RATES, f)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX), WAITS, f)
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Bytes, BitRate, Wait);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for bytes in [0, 1, 512, 1 << 10, 20 << 30, 1_500_000, 3 << 40] {
            let bytes = Bytes(bytes);
            assert_eq!(bytes.to_string().parse(), Ok(bytes));
        }
        for text in ["8 Mbit/s", "512 kbit/s", "1 Gbit/s", "7 bit/s"] {
            assert_eq!(text.parse::<BitRate>().expect(text).to_string(), text);
        }
        for text in ["15 s", "250 ms", "10 min", "2 h", "7 days"] {
            assert_eq!(text.parse::<Wait>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn odd_texts() {
        assert_eq!("1.5 GiB".parse(), Ok(Bytes((1 << 30) + (1 << 29))));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        for text in ["", "GiB", "-1 B", "1 XB", "1..5 B", "1. B", ".5 GiB", "99999999999 TiB", "1 gib"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(4_100_000_000).human(), "4.1 GB");
        assert_eq!(Bytes::gib(20 << 10).human(), "22.0 TB");
    }
}
