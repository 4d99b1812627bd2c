//! A certificate that was given to the school, by its hub or its provider, for a listener of ours: chain and key from PEM files.

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// Reads both files; HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3.
///
/// # Errors
/// When a file cannot be read, holds nothing usable, or key and certificate are no pair; the message names the file.
pub fn server(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} is no PEM file that can be read", chain.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate", chain.display());
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} holds no key that can be read", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("ring supports TLS 1.2 and 1.3")?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .with_context(|| format!("{} and {} are no pair that can be used", chain.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring_tickets()?;
    Ok(Arc::new(config))
}

/// Sessions go on without a handshake in full.
fn ring_tickets() -> anyhow::Result<Arc<dyn rustls::server::ProducesTickets>> {
    ring::Ticketer::new().context("no keys for session tickets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_and_what_is_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path
        };
        let made = || rcgen::generate_simple_self_signed(vec!["*.m.s.internal".to_owned()]).expect("a certificate");
        let (one, other) = (made(), made());
        let (chain, key) = (file("chain.pem", &one.cert.pem()), file("key.pem", &one.signing_key.serialize_pem()));
        let config = server(&chain, &key).expect("a pair");
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let foreign = file("foreign.pem", &other.signing_key.serialize_pem());
        for (chain, key, named) in [(&chain, &foreign, "no pair"), (&key, &key, "holds no certificate"), (&chain, &chain, "chain.pem")] {
            let told = format!("{:#}", server(chain, key).expect_err(named));
            assert!(told.contains(named), "{told}");
        }
    }
}
