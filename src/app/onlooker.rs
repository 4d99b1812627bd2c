//! Hands what the proxy sees to the night: what many miss, and a lesson that is being recorded.

use crate::cache::Seen;
use crate::prefetch::Night;
use crate::proxy::watch::Watch;
use std::net::IpAddr;
use std::sync::Arc;

struct Onlooker(Night);

/// The night, looking on.
pub(super) fn onlooker(night: &Night) -> Arc<dyn Watch> {
    Arc::new(Onlooker(night.clone()))
}

impl Watch for Onlooker {
    fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    fn saw(&self, seen: &Seen<'_>) {
        self.0.saw(seen);
    }

    fn sealed(&self, client: IpAddr, host: &str) {
        self.0.saw_sealed(client, host);
    }

    fn offer(&self, url: &str) -> Option<String> {
        self.0.offer(url)
    }
}
