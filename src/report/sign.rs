//! The node's key: made at the first start, kept 0600, signs the exact bytes of every record (Ed25519, RFC 8032).
//!
//! A sealed record is the 64 bytes of its signature followed by its JSON, so that it can travel by wire or stick and still be
//! checked. The node's id is made from its public key: nobody can take another's name.

use anyhow::Context;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt::{self, Write as _};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// The node's secret key.
pub struct Key(SigningKey);

impl Key {
    /// A new key from the system's randomness.
    pub fn make() -> Key {
        Key(SigningKey::from_bytes(&rand::random()))
    }

    /// Reads the key, or makes it: whole or not at all, readable by its owner only. Blocking.
    ///
    /// # Errors
    /// When the file is no key, may be read by others, or cannot be written. A damaged key is never replaced: the hub knows it.
    pub fn open(file: &Path) -> anyhow::Result<Key> {
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let mode = std::fs::metadata(file).with_context(|| format!("{}", file.display()))?.permissions().mode();
                anyhow::ensure!(
                    mode.trailing_zeros() >= 6,
                    "{} may be read by others (mode {:o}); chmod 600 it",
                    file.display(),
                    mode & 0o777
                );
                let key = SigningKey::from_pkcs8_pem(&text).map_err(|error| {
                    anyhow::anyhow!(
                        "{} is no ed25519 key ({error}); restore it from a copy, or move it away and enrol the node anew",
                        file.display()
                    )
                })?;
                Ok(Key(key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Key::make();
                key.save(file).with_context(|| format!("the node's key cannot be written to {}", file.display()))?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(|| format!("the node's key {} cannot be read", file.display())),
        }
    }

    fn save(&self, file: &Path) -> anyhow::Result<()> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let fresh = file.with_extension("new");
        let text = self.0.to_pkcs8_pem(LineEnding::LF).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&fresh, file)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// The node's id: 32 hex digits.
    pub fn node(&self) -> String {
        node_of(&self.0.verifying_key())
    }

    /// The public key, 64 hex digits: what the hub's `[[node]] key` wants.
    pub fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }

    /// Signature and record in one piece.
    pub fn seal(&self, record: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(SIGNATURE + record.len());
        sealed.extend_from_slice(&self.0.sign(record).to_bytes());
        sealed.extend_from_slice(record);
        sealed
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.node())
    }
}

/// Reads a public key of 64 hex digits.
pub fn public(text: &str) -> Option<VerifyingKey> {
    let bytes = *blake3::Hash::from_hex(text).ok()?.as_bytes();
    // A weak key lets anybody sign: strict verification would refuse every record, better to say so at once.
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
}

/// The id of the node that has this public key.
pub fn node_of(key: &VerifyingKey) -> String {
    hex(&blake3::hash(key.as_bytes()).as_bytes()[..16])
}

/// The record's bytes without a look at the signature; `None` when there is no room for one.
pub fn peel(sealed: &[u8]) -> Option<&[u8]> {
    sealed.get(SIGNATURE..)
}

/// The record's bytes when the signature is this key's.
pub fn open<'a>(sealed: &'a [u8], key: &VerifyingKey) -> Option<&'a [u8]> {
    let (signature, record) = sealed.split_at_checked(SIGNATURE)?;
    let signature = Signature::from_slice(signature).ok()?;
    key.verify_strict(record, &signature).ok().map(|()| record)
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_kept_private_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/report.key");
        let first = Key::open(&file).expect("made");
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Key::open(&file).expect("read");
        assert_eq!((first.node(), first.public()), (again.node(), again.public()));
        assert_eq!(first.node().len(), 32);

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(Key::open(&file).expect_err("open to others").to_string().contains("chmod 600"));
        std::fs::write(&file, "no key").expect("writes");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(Key::open(&file).expect_err("damaged").to_string().contains("no ed25519 key"));
        assert_eq!(std::fs::read_to_string(&file).expect("reads"), "no key");
    }

    #[test]
    fn only_the_exact_bytes_open() {
        let key = Key::make();
        let public_key = public(&key.public()).expect("valid");
        assert_eq!(node_of(&public_key), key.node());
        let sealed = key.seal(b"{\"v\":1}");
        assert_eq!(open(&sealed, &public_key), Some(b"{\"v\":1}".as_slice()));
        for at in [0, 63, 64, sealed.len() - 1] {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(open(&broken, &public_key), None, "byte {at}");
        }
        assert_eq!(open(&sealed[..63], &public_key), None);
        let other = public(&Key::make().public()).expect("valid");
        assert_eq!(open(&sealed, &other), None);
        for text in ["", "zz", &"0".repeat(64), &"f".repeat(63)] {
            assert!(public(text).is_none(), "{text}");
        }
    }
}
