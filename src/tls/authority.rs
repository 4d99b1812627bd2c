//! This school's CA: made on the box, bound by critical name constraints, retired with overlap. The key never leaves it.
//!
//! The folder (`<state>/ca`) and what survives a crash in the midst of a change are in `folder`, how a CA is made in `make`.
//! [`crate::tls::authority::ready()`] is the one question that interception asks.

/// The folder, and how it changes.
mod folder;

/// A new CA.
mod make;

/// A CA from its text.
mod read;

/// Reading, writing and destroying single files.
mod files;

#[cfg(test)]
mod tests;

pub(super) use files::{folder as make_folder, text as read_text, write as write_whole};
pub(super) use folder::archive_consent;
pub use folder::{Retired, Which, create, history, may_create, retire};
pub use make::Wish;
#[cfg(test)]
pub(super) use make::pem as as_pem;
pub(super) use make::{serial, valid};

use crate::base::clock::Time;
use crate::tls::consent::Consent;
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One CA, loaded: it mints, and its key stays inside.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    fingerprint: Fingerprint,
    not_before: Time,
    not_after: Time,
    subtrees: Vec<String>,
    excluded: Vec<String>,
    school: String,
    name: String,
}

impl Authority {
    /// Whether its constraints allow a leaf for this host: a permitted name or one below it, no excluded one, never an address.
    pub fn permits(&self, host: &str) -> bool {
        make::covers(&self.subtrees, host) && !make::covers(&self.excluded, host)
    }

    /// The certificate.
    pub fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as text, for devices that want it so.
    pub fn certificate_pem(&self) -> String {
        self.pem.clone()
    }

    /// SHA-256 of the certificate: what a person compares on screen and paper.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// From when on devices accept it.
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// Until when devices accept it.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The names, each with all below it, for which it can vouch, but for refused ones below listed hosts.
    pub fn subtrees(&self) -> &[String] {
        &self.subtrees
    }

    /// The school's own zone: the first of the subtrees.
    pub fn zone(&self) -> &str {
        self.subtrees.first().map_or("", String::as_str)
    }

    /// Whether a host is the school's own, that is, within its zone.
    pub fn is_own(&self, host: &str) -> bool {
        make::is_below(host, self.zone())
    }

    /// Whose it is.
    pub fn school(&self) -> &str {
        &self.school
    }

    /// Its own name, as devices show it in their lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signs leaves; for `leaf` alone.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {})", self.school, self.fingerprint)
    }
}

/// The CA in force, and the one that devices may still carry.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// New devices enrol under this one.
    pub current: Arc<Authority>,
    /// Devices that enrolled under it go on until it is retired.
    pub previous: Option<Arc<Authority>>,
    /// Why the previous one is there and yet of no use: expired, damaged, readable by others.
    pub previous_trouble: Option<Arc<Error>>,
}

impl Authorities {
    /// Reads the folder; `None` when no CA was made. Blocking, changes nothing.
    ///
    /// # Errors
    /// When the current CA cannot be used: its files are damaged, do not belong together, may be read by others, or it expired.
    pub fn load(folder: &Path, now: Time) -> Result<Option<Authorities>, Error> {
        folder::load(folder, now)
    }

    /// The CA with this fingerprint.
    pub fn by(&self, fingerprint: Fingerprint) -> Option<&Arc<Authority>> {
        std::iter::once(&self.current).chain(&self.previous).find(|authority| authority.fingerprint == fingerprint)
    }

    /// Those of `hosts` for which the current CA cannot vouch: they are spliced, and the operator is told.
    pub fn outside<'h>(&self, hosts: &'h [String]) -> Vec<&'h str> {
        hosts.iter().map(String::as_str).filter(|host| !self.current.permits(host)).collect()
    }
}

/// What interception may do.
#[derive(Debug)]
pub enum Readiness {
    /// A CA is there and the school agreed to what it can open.
    Ready(Authorities, Consent),
    /// No CA was made here.
    Missing,
    /// Nobody agreed yet, or not to all the names that this CA can open.
    Unconsented,
    /// The CA or the consent cannot be used.
    Faulty(Error),
}

/// The one question before anything is opened. Asked at start and at each SIGHUP; blocking, changes nothing.
pub fn ready(folder: &Path, now: Time) -> Readiness {
    let read = || Ok((Authorities::load(folder, now)?, Consent::read(folder)?));
    match read() {
        Err(error) => Readiness::Faulty(error),
        Ok((None, _)) => Readiness::Missing,
        Ok((Some(authorities), Some(consent))) if consent.covers(&authorities.current) => Readiness::Ready(authorities, consent),
        Ok((Some(_), _)) => Readiness::Unconsented,
    }
}

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub fn of(der: &[u8]) -> Fingerprint {
        use sha2::Digest;
        Fingerprint(sha2::Sha256::digest(der).into())
    }

    /// The bytes.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// Reads what `Display` prints; colons may be missing, letters may be small.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let digits: String = text.chars().filter(|letter| *letter != ':').collect::<String>().to_ascii_lowercase();
        blake3::Hash::from_hex(digits).ok().map(|hash| Fingerprint(*hash.as_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why the CA cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{} cannot be {what} ({source}); see that the node's user owns the folder", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Read, written, removed.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others could read the key, or put another into its place.
    #[error("{} is open to others (mode {mode:o}); chmod {wanted:o} it, and if someone may have read it make a new CA", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// As it is.
        mode: u32,
        /// As it should be.
        wanted: u32,
    },
    /// Key and certificate are of two CAs.
    #[error("{} and {} do not belong together; restore both from one copy, or \"bulak ca retire --all\" and make a new CA", one.display(), other.display())]
    Mismatch {
        /// One file.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Not what this program writes.
    #[error("{} is damaged ({what}); restore it from a copy, or \"bulak ca retire --all\" and make a new CA", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The consent's file is not what this program writes.
    #[error("{} is damaged ({what}); record the consent anew with \"bulak ca consent\"", path.display())]
    Consent {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its time is over.
    #[error("the CA expired at {}; make a new one with \"bulak ca create\" and enrol the devices anew", at.to_rfc3339())]
    Expired {
        /// When.
        at: Time,
    },
    /// A host for which this CA cannot vouch.
    #[error("{host:?} is outside of what this CA may vouch for; \"bulak ca create\" makes one that includes it")]
    Outside {
        /// Which.
        host: String,
    },
    /// A host that is never opened.
    #[error("{host:?} is on the list of hosts that are never opened; take it out: nothing lifts that list")]
    Personal {
        /// Which.
        host: String,
    },
    /// A wish that no CA can fulfil.
    #[error("{value:?} is no {what}; {remedy}")]
    Wish {
        /// As given.
        value: String,
        /// What it should be.
        what: &'static str,
        /// What to write.
        remedy: &'static str,
    },
    /// Two CAs are there already.
    #[error("a previous CA is still kept; move its devices over, then \"bulak ca retire --previous\"")]
    Third,
    /// Nothing to retire.
    #[error("there is no {0}CA; \"bulak ca show\" tells what there is")]
    None(&'static str),
    /// Somebody else is changing the folder.
    #[error("{} is being changed by another command; wait until it is done", .0.display())]
    Busy(PathBuf),
    /// A CA made at a wrong time is refused by every device.
    #[error("the system's clock is behind this program's release; set it first (\"timedatectl set-ntp true\")")]
    Clock,
    /// The crypto refused.
    #[error("no certificate could be made ({0}); try again")]
    Make(String),
}
