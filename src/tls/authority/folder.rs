//! The folder of a CA.

use super::{Authorities, Error, Fingerprint, Wish};
use crate::base::clock::{Clock, Time};
use std::path::Path;

/// Whose key is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that devices moved away from.
    Previous,
    /// Both: nothing is opened any more.
    All,
}

/// A CA whose key is gone; devices may still carry its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// Whose it was.
    pub school: String,
    /// Until when devices would accept it.
    pub not_after: Time,
}

pub(super) fn load(_folder: &Path, _now: Time) -> Result<Option<Authorities>, Error> {
    Ok(None)
}

/// Makes a CA and puts it in force; the one before it becomes the previous one. Blocking.
///
/// # Errors
/// When the clock is not trusted, two CAs are there already, the wish cannot be fulfilled, or the folder cannot be written.
pub fn create(_folder: &Path, _wish: &Wish, _clock: &Clock) -> Result<Authorities, Error> {
    Err(Error::Clock)
}

/// Destroys keys; certificates go to the history. Tells which. Blocking.
///
/// # Errors
/// When there is nothing to retire or the folder cannot be written.
pub fn retire(_folder: &Path, _which: Which, _clock: &Clock) -> Result<Vec<Fingerprint>, Error> {
    Err(Error::Clock)
}

/// The CAs whose keys are gone.
///
/// # Errors
/// When the folder cannot be read.
pub fn history(_folder: &Path) -> Result<Vec<Retired>, Error> {
    Ok(Vec::new())
}
