//! Certificates of the tests' own: a root made anew for each test, what it signs, and what it should never have signed.
//!
//! Files lie in a folder that ends with the test: `root.pem` for `upstream.extra_roots`, `revocations.crl` (PEM) for `upstream.crls`,
//! `NAME.pem` and `NAME.key` for servers. ECDSA keys are rcgen's; ring makes no RSA keys, so these come from openssl.

use crate::kit::program;
use bulak::base::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// ECDSA P-256.
    Ec,
    /// RSA, 2,048 bits.
    Rsa,
}

/// What a certificate says beside its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing wrong.
    None,
    /// Ended yesterday.
    Expired,
    /// Signed by itself.
    SelfSigned,
    /// On the revocation list.
    Revoked,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// PEM: the certificate alone.
    pub(crate) certificate: PathBuf,
    /// PEM: its key.
    pub(crate) key: PathBuf,
    /// The certificate's DER.
    pub(crate) der: Vec<u8>,
}

/// A root and what it has signed.
pub(crate) struct Tls {
    issuer: Issuer<'static, KeyPair>,
    revoked: Vec<SerialNumber>,
    signed: u64,
    folder: TempDir,
}

impl Tls {
    /// Makes a root with this common name.
    pub(crate) fn new(name: &str) -> Tls {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let folder = tempfile::tempdir().expect("a folder");
        let root = params.self_signed(&key).expect("a root");
        fs::write(folder.path().join("root.pem"), root.pem()).expect("a file");
        let mut tls = Tls { issuer: Issuer::new(params, key), revoked: Vec::new(), signed: 0, folder };
        tls.list();
        tls
    }

    /// Signs as an authority of somebody else does: with the key and the certificate of its PEM file.
    pub(crate) fn as_authority(file: &Path) -> Tls {
        let pem = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let key = KeyPair::from_pem(&pem).expect("a key");
        let begin = pem.find("-----BEGIN CERTIFICATE").expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("root.pem"), &pem[begin..]).expect("a file");
        let issuer = Issuer::from_ca_cert_pem(&pem[begin..], key).expect("a CA");
        Tls { issuer, revoked: Vec::new(), signed: 0, folder }
    }

    /// The root's PEM file.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// The revocation list's PEM file, written anew whenever something is revoked.
    pub(crate) fn revocations(&self) -> PathBuf {
        self.folder.path().join("revocations.crl")
    }

    /// Signs a server's certificate for these names; `file` names its files.
    pub(crate) fn server(&mut self, file: &str, names: &[&str], key: Key, fault: Fault) -> Pair {
        let mut params = params(names, names.first().copied().unwrap_or(file));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(file, params, key, fault)
    }

    /// Signs a certificate for a client.
    pub(crate) fn client(&mut self, file: &str) -> Pair {
        let mut params = params(&[], file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, params, Key::Ec, Fault::None)
    }

    fn sign(&mut self, file: &str, mut params: CertificateParams, key: Key, fault: Fault) -> Pair {
        self.signed += 1;
        let serial = SerialNumber::from(self.signed);
        params.serial_number = Some(serial.clone());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        if fault == Fault::Expired {
            params.not_after = date_time_ymd(1970, 1, 1) + day(-1);
        }
        let key = match key {
            Key::Ec => KeyPair::generate().expect("a key"),
            Key::Rsa => rsa(),
        };
        let certificate = match fault {
            Fault::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.expect("a certificate");
        if fault == Fault::Revoked {
            self.revoked.push(serial);
            self.list();
        }
        let at = |end: &str| self.folder.path().join(format!("{file}.{end}"));
        let pair = Pair { certificate: at("pem"), key: at("key"), der: certificate.der().to_vec() };
        fs::write(&pair.certificate, certificate.pem()).expect("a file");
        fs::write(&pair.key, key.serialize_pem()).expect("a file");
        pair
    }

    /// Writes the revocation list.
    fn list(&mut self) {
        let revoked = |serial: &SerialNumber| RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: date_time_ymd(1970, 1, 1) + day(-1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + day(-1),
            next_update: date_time_ymd(1970, 1, 1) + day(30),
            crl_number: SerialNumber::from(self.signed + 1),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a revocation list");
        fs::write(self.revocations(), text).expect("a file");
    }
}

/// What all certificates of the kit have in common: begun two days ago, 60 days to go.
fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(1970, 1, 1) + day(-2);
    params.not_after = date_time_ymd(1970, 1, 1) + day(60);
    params
}

/// The time since 1970 of the moment so many days from now. rcgen's moments are of a crate that is not ours to name.
fn day(offset: i64) -> Duration {
    let secs = Clock::system().now().secs() + offset * 86_400;
    Duration::from_secs(u64::try_from(secs).expect("after 1970"))
}

fn rsa() -> KeyPair {
    let mut make = Command::new(program::need("openssl"));
    make.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let output = program::run(&make, 60);
    let pem = String::from_utf8_lossy(&output.stdout);
    KeyPair::from_pem(&pem).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The DER of a PEM file's first certificate.
pub(crate) fn der(file: &Path) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).to_vec()
}

/// What rustls says of a certificate as that of `name`'s server, when it trusts this root alone.
pub(crate) fn judge(root: &Path, certificate: &[u8], name: &str) -> Result<(), String> {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(der(root))).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let verified = verifier.verify_server_cert(&CertificateDer::from(certificate), &[], &name, &[], UnixTime::since_unix_epoch(day(0)));
    // `InvalidCertificate(Other(OtherError(NameConstraintViolation)))`: what counts is innermost.
    verified.map(|_| ()).map_err(|error| format!("{error:?}").trim_end_matches(')').rsplit('(').next().unwrap_or_default().to_owned())
}
