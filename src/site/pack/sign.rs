//! Detached signatures in minisign's format (Ed25519 over the BLAKE2b of the file's bytes), `NAME.toml.minisig` beside the pack.
//!
//! Anyone can verify them with the `minisign` tool. Keys are made elsewhere: that takes random bits.

use minisign::{PublicKeyBox, SecretKeyBox, SignatureBox};
use std::io::Cursor;

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// There is none.
    #[error("the pack is not signed; put NAME.toml.minisig beside it, or move it to the node's own packs")]
    Missing,
    /// It cannot be read.
    #[error("the signature file is damaged; fetch it again")]
    Unreadable,
    /// Nobody is trusted.
    #[error("no key is trusted; add the publisher's public key to packs.trusted_keys")]
    NoKeys,
    /// None of the trusted keys made it.
    #[error("the signature is by an unknown key; add the publisher's public key to packs.trusted_keys")]
    Stranger,
    /// The right key, but other bytes.
    #[error("the signature does not fit the pack: the file was changed after signing; fetch both again")]
    Forged,
    /// A key in the configuration is no key.
    #[error("\"{0}\" is no minisign public key; it has 56 letters and starts with RW")]
    Key(String),
    /// The secret key is no key, or has a password.
    #[error("the secret key cannot be used ({0}); make one with: bulak pack keygen")]
    Secret(String),
}

/// Checks `signature` over `bytes` against the trusted keys; gives the one that fits.
///
/// # Errors
/// See [`Bad`].
pub fn verify<'k>(bytes: &[u8], signature: Option<&str>, trusted: &'k [String]) -> Result<&'k str, Bad> {
    let text = signature.ok_or(Bad::Missing)?;
    let signature = SignatureBox::from_string(text).map_err(|_| Bad::Unreadable)?;
    if !is_whole(text) {
        return Err(Bad::Unreadable);
    }
    if trusted.is_empty() {
        return Err(Bad::NoKeys);
    }
    for text in trusted {
        let key = public(text)?;
        if key.keynum() != signature.keynum() {
            continue;
        }
        let fits = minisign::verify(&key, &signature, Cursor::new(bytes), true, false, false).is_ok();
        return if fits { Ok(text) } else { Err(Bad::Forged) };
    }
    Err(Bad::Stranger)
}

/// Whether the second signature, that of the comment, has the 64 bytes of one: the library takes them for granted.
fn is_whole(text: &str) -> bool {
    let letters = text.lines().nth(3).map_or(0, |line| line.trim().trim_end_matches('=').len());
    letters * 3 / 4 >= 64
}

/// Signs `bytes`; `comment` is signed along (file name and date, say).
///
/// # Errors
/// [`Bad::Secret`].
pub fn sign(bytes: &[u8], secret: &str, comment: &str) -> Result<String, Bad> {
    let odd = |error: minisign::PError| Bad::Secret(error.to_string());
    let key = SecretKeyBox::from_string(secret).map_err(odd)?.into_unencrypted_secret_key().map_err(odd)?;
    let signed = minisign::sign(None, &key, Cursor::new(bytes), Some(comment), Some("signature of a Bulak pack"));
    Ok(signed.map_err(odd)?.into_string())
}

/// Reads a public key: the bare base64 line, or a whole key file.
///
/// # Errors
/// [`Bad::Key`].
pub fn public(text: &str) -> Result<minisign::PublicKey, Bad> {
    let bad = || Bad::Key(text.chars().take(80).collect());
    let text = text.trim();
    if text.contains('\n') {
        return PublicKeyBox::from_string(text).and_then(PublicKeyBox::into_public_key).map_err(|_| bad());
    }
    minisign::PublicKey::from_base64(text).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random bits");
        (pair.pk.to_base64(), pair.sk.to_box(None).expect("a key").into_string())
    }

    #[test]
    fn good_bad_and_missing_signatures() {
        let (public, secret) = pair();
        let (other, _) = pair();
        let signature = sign(b"id = 1", &secret, "demo.toml").expect("signs");
        let (own, both) = ([public.clone()], [other.clone(), public.clone()]);
        assert_eq!(verify(b"id = 1", Some(&signature), &own), Ok(public.as_str()));
        assert_eq!(verify(b"id = 1", Some(&signature), &both), Ok(public.as_str()));
        assert_eq!(verify(b"id = 2", Some(&signature), &own), Err(Bad::Forged));
        assert_eq!(verify(b"id = 1", None, &own), Err(Bad::Missing));
        assert_eq!(verify(b"id = 1", Some("nonsense"), &own), Err(Bad::Unreadable));
        assert_eq!(verify(b"id = 1", Some(&signature), &[]), Err(Bad::NoKeys));
        assert_eq!(verify(b"id = 1", Some(&signature), &[other]), Err(Bad::Stranger));
        assert_eq!(verify(b"id = 1", Some(&signature), &["RWx".into()]), Err(Bad::Key("RWx".into())));
        assert!(matches!(sign(b"", "nonsense", ""), Err(Bad::Secret(_))));
    }

    #[test]
    fn a_signature_that_was_cut_is_unreadable() {
        let (public, secret) = pair();
        let signature = sign(b"id = 1", &secret, "demo.toml").expect("signs");
        let end = signature.trim_end().len();
        for cut in 1..=88 {
            let short = verify(b"id = 1", Some(&signature[..end - cut]), std::slice::from_ref(&public)).map(str::to_owned);
            // The two signs that fill the last line up may be missing or not: they hold nothing.
            assert!(cut <= 2 || short == Err(Bad::Unreadable), "{cut}: {short:?}");
        }
    }
}
