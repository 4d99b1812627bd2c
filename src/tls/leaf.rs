//! A leaf per host.

use crate::base::clock::Clock;
use crate::tls::authority::{Authority, Error};
use rustls::ServerConfig;
use std::sync::Arc;

/// Leaves and the configurations that present them. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Leaves {
    #[expect(dead_code, reason = "comes with minting")]
    clock: Clock,
}

impl Leaves {
    /// With a fresh leaf key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(clock: &Clock) -> Result<Leaves, Error> {
        Ok(Leaves { clock: clock.clone() })
    }

    /// A configuration that presents a leaf for exactly this host: minted when none is kept, at most a millisecond. `h2`: offers
    /// HTTP/2 and HTTP/1.1, else HTTP/1.1 alone. Sessions are resumed by ticket, within one CA and host.
    ///
    /// # Errors
    /// When the host is outside of the CA's constraints or never opened, or the CA expired.
    pub fn config(&self, _authority: &Authority, host: &str, _h2: bool) -> Result<Arc<ServerConfig>, Error> {
        Err(Error::Outside { host: host.to_owned() })
    }
}
