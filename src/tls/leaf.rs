//! A leaf per host, minted when first needed and kept: SAN only, one host, 30 days, one key per start of the node.
//!
//! Minting is one P-256 signature (some 0.1 ms), so it is done before the handshake, in the task that needs it.
//!
//! # Why tickets of one CA are of no use under another
//!
//! A resumed session shows no certificate. If the tickets of two CAs were alike, a device that trusts only the old one could
//! resume under the new one and seem to trust it. So each CA has its own ticket keys; within one, rustls resumes a session only
//! for the host that it was made for.

use crate::base::clock::{Clock, Time};
use crate::site::refuse;
use crate::tls::authority::{Authority, Error, Fingerprint, serial, valid};
use crate::tls::trust::OurTime;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Most leaves that are kept: each takes about 3 KiB with its configurations.
const KEPT: usize = 4096;

/// Valid since before it was minted, for devices whose clock lags.
const SLACK: Duration = Duration::from_hours(48);

/// From first to last moment: platforms refuse more than 398 days, and a leaked leaf should be of no use soon.
const LIFETIME: Duration = Duration::from_hours(24 * 30);

/// When the clock went back by more than this, a leaf was made at a wrong time: devices may not accept it yet.
const BACK: Duration = Duration::from_hours(24);

/// Most CAs whose ticket keys are kept: the one in force, the previous one, and those of a change under way.
const AUTHORITIES: usize = 4;

/// Leaves and the configurations that present them. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Leaves(Arc<Inner>);

struct Inner {
    clock: Clock,
    provider: Arc<CryptoProvider>,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    leaves: HashMap<(Fingerprint, String), Leaf>,
    tickets: Vec<(Fingerprint, Arc<dyn ProducesTickets>)>,
    /// Counts uses; the leaf with the smallest number goes first.
    uses: u64,
    minted: u64,
}

struct Leaf {
    certified: Arc<CertifiedKey>,
    minted: Time,
    /// From then on another is minted.
    renew: Time,
    used: u64,
    /// Without and with HTTP/2.
    configs: [Option<Arc<ServerConfig>>; 2],
}

impl Leaf {
    fn serves(&self, now: Time) -> bool {
        now < self.renew && now >= self.minted.minus(BACK)
    }
}

impl Leaves {
    /// With a fresh leaf key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(clock: &Clock) -> Result<Leaves, Error> {
        let provider = Arc::new(ring::default_provider());
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = provider.key_provider.load_private_key(der).map_err(failed)?;
        Ok(Leaves(Arc::new(Inner { clock: clock.clone(), provider, key, signing, kept: Mutex::default() })))
    }

    /// A configuration that presents a leaf for exactly this host (in lower case): minted when none is kept, well below a
    /// millisecond. `h2`: offers HTTP/2 and HTTP/1.1, else HTTP/1.1 alone. TLS 1.2 and 1.3; sessions are resumed by ticket, within
    /// one CA and host.
    ///
    /// # Errors
    /// When the host is outside of the CA's constraints or never opened, or the CA expired.
    pub fn config(&self, authority: &Authority, host: &str, h2: bool) -> Result<Arc<ServerConfig>, Error> {
        let (inner, now) = (&*self.0, self.0.clock.now());
        // The constraints let in much that lies below a listed host; this list lets nobody by. The school may have an `id` in its own zone,
        // but a name of the list is nobody's own, whatever a CA of old says its zone is.
        let own = authority.is_own(host) && !refuse::is_no_zone(authority.zone()) && !refuse::is_listed(host);
        if refuse::is_personal(host) && !own {
            return Err(Error::Personal { host: host.to_owned() });
        }
        if !authority.permits(host) {
            return Err(Error::Outside { host: host.to_owned() });
        }
        if now >= authority.not_after() {
            return Err(Error::Expired { at: authority.not_after() });
        }
        let key = (authority.fingerprint(), host.to_owned());
        let certified = {
            let mut kept = inner.kept.lock();
            kept.uses += 1;
            let uses = kept.uses;
            match kept.leaves.get_mut(&key).filter(|leaf| leaf.serves(now)) {
                Some(leaf) => {
                    leaf.used = uses;
                    if let Some(config) = &leaf.configs[usize::from(h2)] {
                        return Ok(config.clone());
                    }
                    Some(leaf.certified.clone())
                }
                None => None,
            }
        };
        // Signed without the lock: others go on meanwhile. Two that mint the same leaf at once do no harm, the later one stays.
        let (certified, fresh) = if let Some(certified) = certified {
            (certified, None)
        } else {
            let (certified, until) = inner.mint(authority, host, now)?;
            (certified, Some(until))
        };
        let config = inner.configure(authority, certified.clone(), h2)?;
        let mut kept = inner.kept.lock();
        let used = kept.uses;
        if let Some(until) = fresh {
            kept.minted += 1;
            kept.make_room(&key);
            // A third before its end: nobody meets one that ends within the hour.
            let renew = now.plus(until.since(now) * 2 / 3);
            kept.leaves.insert(key.clone(), Leaf { certified, minted: now, renew, used, configs: [None, None] });
        }
        if let Some(leaf) = kept.leaves.get_mut(&key) {
            leaf.configs[usize::from(h2)] = Some(config.clone());
        }
        Ok(config)
    }

    /// How many were minted since the start.
    pub fn minted(&self) -> u64 {
        self.0.kept.lock().minted
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.0.kept.lock().leaves.len()
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaves({})", self.kept())
    }
}

impl Kept {
    /// Lets the leaf go that was not used for longest. 4,096 numbers are looked through in microseconds, beside a signature.
    fn make_room(&mut self, new: &(Fingerprint, String)) {
        if self.leaves.len() < KEPT || self.leaves.contains_key(new) {
            return;
        }
        if let Some(oldest) = self.leaves.iter().min_by_key(|(_, leaf)| leaf.used).map(|(key, _)| key.clone()) {
            self.leaves.remove(&oldest);
        }
    }
}

impl Inner {
    fn mint(&self, authority: &Authority, host: &str, now: Time) -> Result<(Arc<CertifiedKey>, Time), Error> {
        let from = now.minus(SLACK);
        let until = from.plus(LIFETIME).min(authority.not_after());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(host.try_into().map_err(failed)?)];
        params.serial_number = Some(serial());
        valid(&mut params, from, until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.key, authority.issuer()).map_err(failed)?;
        Ok((Arc::new(CertifiedKey::new(vec![leaf.der().clone()], self.signing.clone())), until))
    }

    fn configure(&self, authority: &Authority, certified: Arc<CertifiedKey>, h2: bool) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), Arc::new(OurTime(self.clock.clone())))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = if h2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        // The device keeps the session, in its ticket.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets(authority.fingerprint())?;
        Ok(Arc::new(config))
    }

    fn tickets(&self, authority: Fingerprint) -> Result<Arc<dyn ProducesTickets>, Error> {
        let mut kept = self.kept.lock();
        if let Some((_, tickets)) = kept.tickets.iter().find(|(fingerprint, _)| *fingerprint == authority) {
            return Ok(tickets.clone());
        }
        let tickets = ring::Ticketer::new().map_err(failed)?;
        if kept.tickets.len() == AUTHORITIES {
            kept.tickets.remove(0);
        }
        kept.tickets.push((authority, tickets.clone()));
        Ok(tickets)
    }
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Make(error.to_string())
}

#[cfg(test)]
mod tests;
