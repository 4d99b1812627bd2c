//! What can go wrong, and what to do about it.

use std::path::Path;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// At the quota or at 95 % of the file system: nothing new is admitted.
    #[error("the store is full")]
    Full,
    /// The folder cannot be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// A person forgot it, or a newer version took its place, while it was being fetched.
    #[error("it was purged or replaced while it was being fetched")]
    Purged,
    /// A bundle cannot be written or taken in.
    #[error("{what}; {remedy}")]
    Bundle {
        /// `bundle.damaged`.
        id: &'static str,
        /// What is wrong with what.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A record did not verify; counted, and now a miss.
    #[error("a stored object was damaged and has been dropped")]
    Damaged,
    /// The disk said no.
    #[error("disk: {0}")]
    Disk(#[from] std::io::Error),
    /// Another process has the store open, or its format is newer than this program.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    pub(super) fn no_store(path: &Path) -> Error {
        Error::Unusable(format!("{} is no store; give the folder of store.path", path.display()))
    }

    /// For people: id, what, and what to do about it.
    pub fn told(&self) -> (&'static str, String, String) {
        let (id, remedy) = match self {
            Error::Full => ("store.full", "raise store.quota or purge what is not needed"),
            Error::ReadOnly => ("store.read_only", "make the folder of the store writable"),
            Error::Damaged => ("store.damaged", "stop the node and run \"bulak store check --deep\""),
            Error::Purged => ("store.purged", "ask for it again"),
            Error::Disk(_) => ("store.disk", "look at the disk's health, and whether this user may use the folder"),
            Error::Bundle { id, what, remedy } => return (id, what.clone(), remedy.clone()),
            // It says what to do itself.
            Error::Unusable(text) => {
                let (what, remedy) = text.rsplit_once("; ").unwrap_or((text, "see that no other process uses the store"));
                return ("store.unusable", what.to_owned(), remedy.to_owned());
            }
        };
        (id, self.to_string(), remedy.to_owned())
    }
}
