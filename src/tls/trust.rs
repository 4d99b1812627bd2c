//! Roots for upstream TLS: the system's, those the school adds, and its revocation lists; the crypto is ring's.
//!
//! Validity is judged by our own clock, which never runs behind its floor: after a power cut a box that believes in 1970 would
//! otherwise trust no certificate at all (`base::clock`).

use crate::base::clock::Clock;
use anyhow::Context;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use std::cell::Cell;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// TLS sessions remembered for resumption: two per host for some hundred hosts.
const SESSIONS: usize = 1024;

/// What to do about a file that cannot be used.
pub const UNTRUSTED: &str = "put the file back, let the node's user read it, or take it out of upstream.extra_roots or upstream.crls";

/// A file of roots or revocation lists cannot be used; the cause names it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("what is to be trusted cannot be read")]
pub struct Untrusted;

/// What upstream connections trust: built once, cloned cheaply.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, for upgrades (WebSocket), which HTTP/2 does not carry.
    pub h1: Arc<ClientConfig>,
}

impl Trust {
    /// Reads `roots` (PEM) beside the system's roots, and `crls` (PEM or DER).
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing usable; the message names it.
    pub fn load(roots: &[PathBuf], crls: &[PathBuf], clock: &Clock) -> anyhow::Result<Trust> {
        let provider = Arc::new(ring::default_provider());
        let store = Arc::new(root_store(roots).context(Untrusted)?);
        let lists = read_crls(crls).context(Untrusted)?;
        let verifier = verifier(store, lists, &provider).context(Untrusted)?;
        let nobody: Arc<dyn ResolvesClientCert> = Arc::new(Nobody);
        let build = |protocols: &[&[u8]]| -> anyhow::Result<Arc<ClientConfig>> {
            let time = Arc::new(OurTime(clock.clone()));
            let mut config = ClientConfig::builder_with_details(provider.clone(), time)
                .with_safe_default_protocol_versions()
                .context("ring supports TLS 1.2 and 1.3")?
                .with_webpki_verifier(verifier.clone())
                .with_client_cert_resolver(nobody.clone());
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Ok(Arc::new(config))
        };
        Ok(Trust { any: build(&[b"h2", b"http/1.1"])?, h1: build(&[b"http/1.1"])? })
    }
}

thread_local! {
    /// Whether an origin has asked for a certificate of ours since this was last looked at.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Has no certificate to show, and notes that it was asked.
///
/// # Why by way of the thread
/// A configuration with a resolver of its own for each connection would tell the same, but rustls resumes a session only under the
/// resolver that it began with. It asks within a poll of the handshake, so what is noted there belongs to that handshake.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        ASKED.set(true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Carries a handshake out, and tells whether the origin asked for a certificate of ours on the way. A session that is resumed
/// does not ask again. May be dropped at any await.
pub async fn noting_requests<T>(handshake: impl Future<Output = T>) -> (T, bool) {
    let mut handshake = pin!(handshake);
    let mut asked = false;
    poll_fn(|cx| {
        ASKED.set(false);
        let polled = handshake.as_mut().poll(cx);
        asked |= ASKED.replace(false);
        polled.map(|done| (done, asked))
    })
    .await
}

/// rustls asks our clock.
#[derive(Debug)]
pub(super) struct OurTime(pub(super) Clock);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        u64::try_from(self.0.now().secs()).ok().map(|secs| UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

fn verifier(
    store: Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<WebPkiServerVerifier>> {
    // A list speaks for its own issuer alone; certificates of others stay valid without one.
    WebPkiServerVerifier::builder_with_provider(store, provider.clone())
        .with_crls(lists)
        .allow_unknown_revocation_status()
        .build()
        .context("the revocation lists cannot be used")
}

/// The system's roots, or Mozilla's where it has none, and `extra`.
fn root_store(extra: &[PathBuf]) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(system_roots().iter().cloned());
    tracing::debug!(added, ignored, "the system's trust roots");
    if added == 0 {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in extra {
        add_roots(&mut store, path)?;
    }
    Ok(store)
}

fn add_roots(store: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let certs = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} is no PEM file that can be read", path.display()))?;
    anyhow::ensure!(!certs.is_empty(), "{} holds no certificate", path.display());
    for cert in certs {
        store.add(cert).with_context(|| format!("{} holds a certificate that cannot be a root", path.display()))?;
    }
    Ok(())
}

/// Whether a file of roots (PEM) can be used.
///
/// # Errors
/// When it cannot be read, or holds something else; the message names it.
pub fn check_roots(path: &Path) -> anyhow::Result<()> {
    add_roots(&mut RootCertStore::empty(), path)
}

/// Read once: some systems keep 140 files.
fn system_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a system trust root could not be read");
        }
        found.certs
    })
}

fn read_crls(paths: &[PathBuf]) -> anyhow::Result<Vec<CertificateRevocationListDer<'static>>> {
    let mut lists = Vec::new();
    for path in paths {
        lists.extend(read_crl(path).with_context(|| format!("{} is no revocation list that can be read", path.display()))?);
    }
    Ok(lists)
}

fn read_crl(path: &Path) -> anyhow::Result<Vec<CertificateRevocationListDer<'static>>> {
    let bytes = std::fs::read(path)?;
    // DER is a SEQUENCE (0x30), PEM is text.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!lists.is_empty(), "it holds none");
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;

    #[test]
    fn a_bad_file_is_named_and_none_is_fine() {
        let clock = Clock::manual(Time::BUILT);
        let trust = Trust::load(&[], &[], &clock).unwrap();
        assert_eq!(trust.any.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(trust.h1.alpn_protocols, [b"http/1.1".to_vec()]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        std::fs::write(&path, "nothing").unwrap();
        let list = std::slice::from_ref(&path);
        for result in [Trust::load(list, &[], &clock), Trust::load(&[], list, &clock)] {
            let told = format!("{:#}", result.unwrap_err());
            assert!(told.contains("roots.pem"), "{told}");
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(Trust::load(&[path], &[], &clock).is_err());
    }
}
