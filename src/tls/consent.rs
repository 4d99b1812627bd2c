//! The school's consent: who agreed that listed hosts are opened, as what, when, and to which text. Nothing is opened without it.
//!
//! The text itself is here in three languages; its version is the blake3 of all three, so that it can be shown later what
//! exactly was agreed to.

use crate::base::clock::Time;
use crate::tls::authority::{Authority, Error, archive_consent, make_folder, read_text, write_whole};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Its file in the CA's folder.
pub const FILE: &str = "consent.json";

/// The text by language: Kazakh, Russian, English.
pub const TEXTS: [(&str, &str); 3] =
    [("kk", include_str!("consent/kk.txt")), ("ru", include_str!("consent/ru.txt")), ("en", include_str!("consent/en.txt"))];

/// Longest name or role, in characters.
const LONGEST: usize = 100;

/// Who agreed, when, and to which text and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Who agreed for the school.
    pub by: String,
    /// As what: head, deputy, …
    pub role: String,
    /// When, microseconds since 1970.
    pub at: Time,
    /// blake3 (hex) of the text that was shown.
    pub text_version: String,
    /// The names that the CA could open when it was shown.
    pub names: Vec<String>,
}

impl Consent {
    /// To the text of this program and these names.
    ///
    /// # Errors
    /// When name or role is empty, too long or not on one line.
    pub fn new(by: &str, role: &str, names: Vec<String>, at: Time) -> Result<Consent, Error> {
        let told = |value: &str, what: &'static str| {
            let value = value.trim();
            if value.is_empty() || value.chars().count() > LONGEST || value.chars().any(char::is_control) {
                return Err(Error::Wish { value: value.to_owned(), what, remedy: "write 1 to 100 characters on one line" });
            }
            Ok(value.to_owned())
        };
        Ok(Consent { by: told(by, "name of a person")?, role: told(role, "role in the school")?, at, text_version: version(), names })
    }

    /// The recorded one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Consent>, Error> {
        let path = folder.join(FILE);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let read = serde_json::from_str::<Consent>(&text);
        read.map(Some).map_err(|error| Error::Consent { path, what: error.to_string() })
    }

    /// Writes it down, whole or not at all; one that was there before is kept in the history. Blocking.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn record(&self, folder: &Path) -> Result<(), Error> {
        make_folder(folder)?;
        archive_consent(folder)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Make(error.to_string()))?;
        write_whole(&folder.join(FILE), format!("{text}\n").as_bytes(), 0o644)
    }

    /// Whether it was given for all that this CA can open.
    pub fn covers(&self, authority: &Authority) -> bool {
        authority.subtrees().iter().all(|name| self.names.contains(name))
    }

    /// Whether the school agreed to this host: by its name, or by one above it.
    pub fn names(&self, host: &str) -> bool {
        let below = |name: &String| host.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        self.names.iter().any(below)
    }

    /// Whether the text is still the one that was shown.
    pub fn is_current(&self) -> bool {
        self.text_version == version()
    }
}

/// The text in a language (`kk`, `ru`, `en`); another language reads Kazakh.
pub fn text(language: &str) -> &'static str {
    TEXTS.iter().find(|(tag, _)| *tag == language).map_or(TEXTS[0].1, |(_, text)| text)
}

/// The version of the text: blake3 of all languages, hex.
pub fn version() -> String {
    let mut hasher = blake3::Hasher::new();
    for (_, text) in TEXTS {
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_read_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("ca");
        assert_eq!(Consent::read(&folder).unwrap(), None);
        let names = vec!["abay.internal".to_owned()];
        let first = Consent::new(" Айгүл Сейітова ", "директор", names.clone(), Time::BUILT).unwrap();
        first.record(&folder).unwrap();
        assert_eq!(Consent::read(&folder).unwrap().unwrap(), first);
        assert!(first.is_current() && first.by == "Айгүл Сейітова");
        for (host, agreed) in [("abay.internal", true), ("proxy.abay.internal", true), ("xabay.internal", false), ("internal", false)] {
            assert_eq!(first.names(host), agreed, "{host}");
        }
        let second = Consent { by: "Б. Ахметов".to_owned(), text_version: "0".to_owned(), ..first.clone() };
        second.record(&folder).unwrap();
        assert!(!Consent::read(&folder).unwrap().unwrap().is_current());
        let kept: Vec<_> = std::fs::read_dir(folder.join("history")).unwrap().collect();
        assert_eq!(kept.len(), 1, "the first one stays provable");
        std::fs::write(folder.join(FILE), "{}").unwrap();
        assert!(Consent::read(&folder).unwrap_err().to_string().contains("bulak ca consent"));
        for (by, role) in [("", "head"), ("A", " "), ("A\nB", "head"), (&*"a".repeat(101), "head")] {
            assert!(Consent::new(by, role, names.clone(), Time::BUILT).is_err(), "{by:?} {role:?}");
        }
    }

    #[test]
    fn the_text_says_the_same_in_three_languages() {
        let paragraphs: Vec<usize> = TEXTS.iter().map(|(_, text)| text.trim().split("\n\n").count()).collect();
        assert_eq!(paragraphs, [paragraphs[0]; 3]);
        for (tag, text) in TEXTS {
            assert!(text.contains("bulak ca retire") && text.lines().all(|line| line.chars().count() <= 100), "{tag}");
        }
        assert_eq!((text("ru"), text("de")), (TEXTS[1].1, TEXTS[0].1));
        assert_eq!(version().len(), 64);
    }
}
