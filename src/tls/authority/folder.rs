//! The folder of a CA, `<state>/ca`, and how it changes.
//!
//! | file | holds |
//! |---|---|
//! | `ca.key` | key and certificate of the CA in force (0600): one file, so that one rename changes both |
//! | `ca.pem` | a copy of its certificate, for people |
//! | `previous.key`, `previous.pem` | the same of the CA before it, until it is retired |
//! | `consent.json` | who agreed (see `consent`) |
//! | `history/` | certificates whose keys are gone, and consents that were replaced |
//!
//! # Why nothing is lost in a crash
//!
//! A new CA comes into force by the one rename of `ca.key`; before it the old one was copied to `previous.key`, so a crash leaves
//! either the old one (and a copy, which is ignored) or the new one with the old one behind it. `ca.pem` follows; until then it
//! is missing or the previous one's, and both are fine. A key is retired by renaming it out of sight.

use super::files::{self, closed, destroy, lock, remove, secret, sweep, text, write};
use super::{Authorities, Authority, Error, Fingerprint, Wish, make, read};
use crate::base::clock::{Clock, Time};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most retired CAs that are told: one every five years is usual, one a week is not.
const HISTORY: usize = 100;

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

pub(super) fn load(folder: &Path, now: Time) -> Result<Option<Authorities>, Error> {
    closed(folder)?;
    let before = one(folder, "previous");
    let copied = before.as_ref().ok().and_then(Option::as_ref).map(Authority::fingerprint);
    let Some(current) = one(folder, "ca")? else { return Ok(None) };
    let file = folder.join("ca.pem");
    // Missing, or still the previous one's: a crash came between the two files.
    if let Some(copy) = text(&file)?
        && let found = read::certificate(&copy).map(|der| Fingerprint::of(&der))
        && found != Some(current.fingerprint)
        && (found.is_none() || found != copied)
    {
        return Err(Error::Mismatch { one: folder.join("ca.key"), other: file });
    }
    in_time(&current, now)?;
    let (previous, trouble) = match before {
        Ok(Some(previous)) if previous.fingerprint == current.fingerprint => (None, None),
        Ok(Some(previous)) => match in_time(&previous, now) {
            Ok(()) => (Some(Arc::new(previous)), None),
            Err(expired) => (None, Some(Arc::new(expired))),
        },
        Ok(None) => (None, None),
        Err(trouble) => (None, Some(Arc::new(trouble))),
    };
    Ok(Some(Authorities { current: Arc::new(current), previous, previous_trouble: trouble }))
}

fn in_time(authority: &Authority, now: Time) -> Result<(), Error> {
    if now < authority.not_after { Ok(()) } else { Err(Error::Expired { at: authority.not_after }) }
}

/// One CA of the folder; `None` when there is neither key nor certificate.
fn one(folder: &Path, name: &str) -> Result<Option<Authority>, Error> {
    let (key, copy) = paths(folder, name);
    let beside = text(&copy)?;
    match (secret(&key)?, beside) {
        (Some(text), beside) => read::authority(&key, &text, beside.as_deref().map(|text| (copy.as_path(), text))).map(Some),
        (None, Some(_)) => Err(Error::Damaged { path: key, what: String::from("it is missing, though its certificate is there") }),
        (None, None) => Ok(None),
    }
}

fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(name).with_extension("key"), folder.join(name).with_extension("pem"))
}

/// Whether [`create`] would go well, and to which names the CA would be bound. Changes nothing.
///
/// # Errors
/// As [`create`].
pub fn may_create(folder: &Path, wish: &Wish, clock: &Clock) -> Result<Vec<String>, Error> {
    let subtrees = wish.subtrees()?;
    if !clock.trusted() {
        return Err(Error::Clock);
    }
    closed(folder)?;
    let current = one(folder, "ca")?.map(|current| current.fingerprint);
    match one(folder, "previous") {
        Ok(None) => Ok(subtrees),
        // A crash came before the new one was in force.
        Ok(Some(previous)) if Some(previous.fingerprint) == current => Ok(subtrees),
        Ok(Some(_)) | Err(_) => Err(Error::Third),
    }
}

/// Makes a CA and puts it in force; the one before it becomes the previous one, under which devices go on until it is retired.
/// A running node takes it over at SIGHUP. Blocking.
///
/// # Errors
/// When the clock is not trusted, two CAs are there already, the wish cannot be fulfilled, the CA in force is damaged, or the
/// folder cannot be written.
pub fn create(folder: &Path, wish: &Wish, clock: &Clock) -> Result<Authorities, Error> {
    may_create(folder, wish, clock)?;
    files::folder(folder)?;
    let _lock = lock(folder)?;
    // Once more: another command may have been at work.
    may_create(folder, wish, clock)?;
    sweep(folder)?;
    let (key, copy) = paths(folder, "ca");
    if let Some(current) = one(folder, "ca")? {
        let (old_key, old_copy) = paths(folder, "previous");
        // A key that was put back without its certificate is completed here.
        let text = secret(&key)?.filter(|text| read::certificate(text).is_some());
        let text = text.unwrap_or_else(|| format!("{}\n{}", current.issuer.key().serialize_pem().trim_end(), current.pem));
        write(&old_key, text.as_bytes(), 0o600)?;
        write(&old_copy, current.pem.as_bytes(), 0o644)?;
    }
    let now = clock.now();
    let made = make::make(wish, now)?;
    let certificate = read::certificate(&made).ok_or_else(|| Error::Make(String::from("it cannot be read back")))?;
    write(&key, made.as_bytes(), 0o600)?;
    write(&copy, make::pem(&certificate).as_bytes(), 0o644)?;
    load(folder, now)?.ok_or_else(|| Error::Make(String::from("it cannot be found again")))
}

/// Destroys keys; their certificates go to the history. Tells the fingerprints, as far as they could be read. Blocking.
///
/// # Errors
/// When there is nothing to retire or the folder cannot be written.
pub fn retire(folder: &Path, which: Which) -> Result<Vec<Fingerprint>, Error> {
    let names: &[&str] = match which {
        Which::Previous => &["previous"],
        Which::All => &["previous", "ca"],
    };
    if !names.iter().any(|name| is_there(folder, name)) {
        return Err(Error::None(if which == Which::All { "" } else { "previous " }));
    }
    let _lock = lock(folder)?;
    sweep(folder)?;
    if which == Which::All {
        // Consent ends with what it was given for.
        archive_consent(folder)?;
    }
    let current = one(folder, "ca").ok().flatten();
    if let (Which::Previous, Some(current)) = (which, &current) {
        // After a crash `ca.pem` may still be the previous one's, which is fine only as long as that is there.
        write(&paths(folder, "ca").1, current.pem.as_bytes(), 0o644)?;
    }
    let current = current.map(|current| current.fingerprint);
    let mut gone = Vec::new();
    for name in names {
        let (key, copy) = paths(folder, name);
        for der in certificates(folder, name) {
            let fingerprint = Fingerprint::of(&der);
            // The copy that a crash left of the CA in force is no CA of its own.
            if gone.contains(&fingerprint) || (*name == "previous" && current == Some(fingerprint)) {
                continue;
            }
            write_history(folder, &format!("{}.pem", hex(fingerprint)), make::pem(&der).as_bytes())?;
            gone.push(fingerprint);
        }
        remove(&copy)?;
        destroy(&key)?;
    }
    Ok(gone)
}

fn is_there(folder: &Path, name: &str) -> bool {
    let (key, copy) = paths(folder, name);
    key.exists() || copy.exists()
}

/// The certificates in the files of a CA, however damaged the rest is.
fn certificates(folder: &Path, name: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    let (key, copy) = paths(folder, name);
    [key, copy].iter().filter_map(|path| read::certificate(&text(path).ok()??)).collect()
}

/// Puts a replaced or ended consent aside: it stays provable who agreed when.
pub(in crate::tls) fn archive_consent(folder: &Path) -> Result<(), Error> {
    let file = folder.join(crate::tls::consent::FILE);
    let Some(old) = text(&file)? else { return Ok(()) };
    let name = blake3::hash(old.as_bytes()).to_hex();
    write_history(folder, &format!("consent-{}.json", &name[..16]), old.as_bytes())?;
    remove(&file)
}

fn write_history(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let history = folder.join("history");
    files::folder(&history)?;
    write(&history.join(name), bytes, 0o644)
}

fn hex(fingerprint: Fingerprint) -> String {
    fingerprint.bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The CAs whose keys are gone, those that devices would accept longest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn history(folder: &Path) -> Result<Vec<Retired>, Error> {
    let folder = folder.join("history");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files::failed(&folder, "read")(error)),
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pem"));
    let mut found: Vec<Retired> = paths
        .take(HISTORY)
        .filter_map(|path| {
            let der = read::certificate(&text(&path).ok()??)?;
            let told = read::told(&der, None).ok()?;
            Some(Retired { fingerprint: Fingerprint::of(&der), school: told.school, not_after: told.not_after })
        })
        .collect();
    found.sort_by_key(|retired| (std::cmp::Reverse(retired.not_after), retired.fingerprint));
    Ok(found)
}
