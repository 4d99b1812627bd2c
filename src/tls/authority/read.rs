//! A CA from its PEM text: everything that must hold is looked at, since someone may have put the files there by hand.

use super::{Authority, Error, Fingerprint, make};
use crate::base::clock::Time;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use std::path::Path;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

/// What a certificate of ours says.
pub(super) struct Told {
    pub(super) school: String,
    pub(super) name: String,
    pub(super) subtrees: Vec<String>,
    pub(super) excluded: Vec<String>,
    pub(super) not_before: Time,
    pub(super) not_after: Time,
}

/// The certificate within a PEM text, if there is one.
pub(super) fn certificate(text: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(text.as_bytes()).ok()
}

/// The CA of a key file; the certificate may be in another file when an older copy of the key was put back.
pub(super) fn authority(file: &Path, text: &str, beside: Option<(&Path, &str)>) -> Result<Authority, Error> {
    let damaged = |what: String| Error::Damaged { path: file.to_owned(), what };
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| damaged(format!("no private key: {error}")))?;
    let key =
        KeyPair::from_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| damaged(format!("no P-256 key: {error}")))?;
    let (from, der) = match (certificate(text), beside) {
        (Some(der), _) => (file, der),
        (None, Some((path, text))) => (path, certificate(text).ok_or_else(|| damaged(String::from("no certificate")))?),
        (None, None) => return Err(damaged(String::from("no certificate"))),
    };
    let told = told(&der, Some(&key.subject_public_key_info())).map_err(|wrong| match wrong {
        Wrong::Key => Error::Mismatch { one: file.to_owned(), other: from.to_owned() },
        Wrong::Form(what) => Error::Damaged { path: from.to_owned(), what: what.to_owned() },
    })?;
    let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| damaged(error.to_string()))?;
    let Told { school, name, subtrees, excluded, not_before, not_after } = told;
    let (fingerprint, pem) = (Fingerprint::of(&der), make::pem(&der));
    Ok(Authority { issuer, der, pem, fingerprint, not_before, not_after, subtrees, excluded, school, name })
}

/// Why a certificate is none of ours.
pub(super) enum Wrong {
    Key,
    Form(&'static str),
}

/// Reads a certificate that we made: self-signed, for this key, bound by critical constraints.
pub(super) fn told(der: &[u8], key: Option<&[u8]>) -> Result<Told, Wrong> {
    let form = |what: &'static str| Wrong::Form(what);
    let (rest, read) = x509_parser::parse_x509_certificate(der).map_err(|_| form("no certificate"))?;
    if !rest.is_empty() {
        return Err(form("bytes after the certificate"));
    }
    if key.is_some_and(|key| key != read.public_key().raw) {
        return Err(Wrong::Key);
    }
    // Whoever flips a bit of it breaks the signature, or the strict form that webpki asks for around it.
    if !is_self_signed(&read) || ParsedCertificate::try_from(&CertificateDer::from(der)).is_err() {
        return Err(form("its signature is not its own"));
    }
    if !read.is_ca() || !matches!(read.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign()) {
        return Err(form("the certificate is of no CA"));
    }
    let constraints = read.name_constraints().ok().flatten().filter(|found| found.critical).ok_or(form("no critical name constraints"))?;
    let named = |subtrees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<String> {
        let name = |subtree: &GeneralSubtree<'_>| match subtree.base {
            GeneralName::DNSName(name) => Some(name.trim_start_matches('.').to_ascii_lowercase()),
            _ => None,
        };
        subtrees.iter().flatten().filter_map(name).collect()
    };
    let (subtrees, excluded) = (named(&constraints.value.permitted_subtrees), named(&constraints.value.excluded_subtrees));
    let addresses =
        constraints.value.excluded_subtrees.iter().flatten().filter(|subtree| matches!(subtree.base, GeneralName::IPAddress(_))).count();
    // A constraint to nothing, or one without the addresses, would bind less than devices were told.
    if subtrees.is_empty() || subtrees.iter().any(String::is_empty) || addresses < 2 {
        return Err(form("its name constraints are not those of this program"));
    }
    let moment = |time: &x509_parser::time::ASN1Time| Time::from_secs(time.timestamp());
    let validity = read.validity();
    let school = read.subject().iter_organization().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    let name = read.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    Ok(Told { school, name, subtrees, excluded, not_before: moment(&validity.not_before), not_after: moment(&validity.not_after) })
}

fn is_self_signed(read: &X509Certificate<'_>) -> bool {
    let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let (key, message, signature) =
        (read.public_key().subject_public_key.as_ref(), read.tbs_certificate.as_ref(), read.signature_value.as_ref());
    let ours = known.mapping.iter().filter(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    ours.flat_map(|(_, algorithms)| algorithms.iter()).any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}
